/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Can the sessions and process groups of the program be made again?
 */
#include <sys/wait.h>

#include "core/births.h"
#include "core/core.h"

int check_tree(struct checkpoint *c)
{
	struct arena *a = &c->op->arena;
	struct process **p = c->tree.processes.at;
	size_t n = c->tree.processes.n;
	struct birth *births = arena_array(a, n, sizeof(*births));
	struct span all = { 0 };

	for (size_t i = 0; i < n; i++) {
		births[i] = (struct birth){ .pid = p[i]->vpid,
			.sid = p[i]->vsid,
			.pgid = p[i]->vpgid,
			.parent = p[i]->parent ? p[i]->parent->birth : NULL,
			.zombie = p[i]->zombie };
		p[i]->birth = &births[i];
		*(struct birth **)span_push(a, &all, sizeof(struct birth *)) = &births[i];
	}
	plan_births(a, &all);
	for (size_t i = 0; i < n; i++) {
		WHERE_TASK(c->op, p[i]->pid, p[i]->stat.comm);
		if (p[i]->zombie && WCOREDUMP((int)p[i]->stat.exit_code))
			note(c->op, "ended with a core dump: after a restart its parent is told of the signal alone");
		if (births[i].problem == BIRTH_NO_SESSION)
			refuse(c->op, "session", "the session cannot be handed on to it again as it was", NULL,
				"is in session %d, which its parent is not in, and never was", births[i].sid);
		else if (births[i].problem == BIRTH_NO_GROUP)
			refuse(c->op, "process-group", "a process group lies within one session", NULL,
				"is in process group %d, which began in another session", births[i].pgid);
	}
	return 0;
}
