/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core.h"

#include <errno.h>
#include <string.h>

#include "core/cgroup.h"
#include "core/nest.h"

int stasis_spawn(const struct stasis_spawn_options *o, struct stasis_job *job, struct stasis_report *report)
{
	struct op op;
	struct nest nest;
	pid_t pid = 0;
	char cgroup[sizeof(job->cgroup)] = "";
	uint64_t began = now_ns();

	op_init(&op, "start the program");
	int r = nest_build(&op, &nest, o->sigmask);
	if (r == 0) {
		cgroup_make(nest.init, cgroup, sizeof(cgroup));
		pid = nest_spawn(&nest, o->argv);
		r = pid < 0 ? fail(&op, pid, "start \"%s\"", o->argv[0]) : nest_release(&nest, false);
		if (r < 0) {
			fail(&op, r, "hand the program over to its init");
			nest_raze(&nest);
			cgroup_remove(cgroup);
		}
	}
	if (r == 0) {
		*job = (struct stasis_job){ pid, nest.init, true };
		memcpy(job->cgroup, cgroup, sizeof(cgroup));
	} else {
		op.state = "nothing was started";
	}
	report->pid = pid;
	report->own_pidns = true;
	report->wall_ns = now_ns() - began;
	return report_from(&op, report);
}

void stasis_job_done(const struct stasis_job *job)
{
	cgroup_remove(job->cgroup);
}
