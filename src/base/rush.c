/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/rush.h"

#include <sys/resource.h>

static _Thread_local struct rush current;

struct rush rush_begin(size_t woken)
{
	struct rush r = { .policy = sched_getscheduler(0) };
	struct rlimit most;

	if (getrlimit(RLIMIT_RTTIME, &most) < 0 || most.rlim_cur != RLIM_INFINITY)
		return r; /* who computes for so long as a real-time task is killed */
	if (woken < RUSH_WORTH || (r.policy != SCHED_OTHER && r.policy != SCHED_BATCH) ||
		sched_getparam(0, &r.param) < 0)
		return r;
	r.is = sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ sched_get_priority_min(SCHED_FIFO) }) == 0;
	if (r.is)
		current = r;
	return r;
}

void rush_end(const struct rush *r)
{
	if (!r->is)
		return;
	sched_setscheduler(0, r->policy, &r->param);
	current.is = false;
}

struct rush rush_of_caller(void)
{
	return current;
}
