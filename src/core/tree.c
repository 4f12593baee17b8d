/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions and process groups: which of them can be made again, and when.
 *
 * A session is entered by birth or by setsid(2). A process whose session is not its parent's, and not its own, was born
 * before its parent called setsid: it is cloned before that call again ("early").
 */
#include "core/core.h"

#include <errno.h>

static struct process *by_vpid(const struct checkpoint *c, pid_t vpid)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++)
		if (p[i]->vpid == vpid)
			return p[i];
	return NULL;
}

/* could a process below @p have been born into session @sid? up the line each must have left it by its own setsid */
static bool born_into(const struct checkpoint *c, const struct process *p, pid_t sid)
{
	for (const struct process *a = p->parent; a; a = a->parent) {
		if (a->vsid == sid)
			return true;
		if (a->vsid != a->vpid)
			return false;
	}
	return sid == 0 || sid == c->root->vsid; /* top-level: the session of the caller of restart */
}

static bool group_exists(const struct checkpoint *c, pid_t vpgid)
{
	return vpgid == 0 || by_vpid(c, vpgid);
}

int check_tree(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		WHERE_TASK(c->op, p[i]->pid, p[i]->stat.comm);
		if (p[i]->vsid != p[i]->vpid && !born_into(c, p[i], p[i]->vsid))
			refuse(c->op, "session", "the process that began the session has ended", NULL,
				"is in session %d, which none of its ancestors in the program could have handed on",
				p[i]->vsid);
		if (p[i]->vpgid != c->root->vpgid && !group_exists(c, p[i]->vpgid))
			refuse(c->op, "process-group", "the process that the group is named after has ended", NULL,
				"is in process group %d, whose leader is gone", p[i]->vpgid);
	}
	return 0;
}
