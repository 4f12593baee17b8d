/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What processes share because one was cloned so: each such object is saved once.
 *
 * A child gets its parent's at the restart, by clone(2) again. So who shares something must do so with its parent; that of
 * others, who got it from one that has ended or has left it since by unshare(2) or execve(2), is refused.
 */
#include "core/core.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/births.h"

static const struct shareable {
	uint64_t flag;
	int kcmp;
	const char *what, *slug;
} shareable[SHARE_N] = {
	[SHARE_VM] = { CLONE_VM, KCMP_VM, "memory", "shared-vm" },
	[SHARE_FILES] = { CLONE_FILES, KCMP_FILES, "descriptor table", "shared-files" },
	[SHARE_FS] = { CLONE_FS, KCMP_FS, "working directory", "shared-fs" },
	[SHARE_SIGHAND] = { CLONE_SIGHAND, KCMP_SIGHAND, "signal actions", "shared-sighand" },
};

struct process *first_sharer(const struct process *p, uint64_t flag)
{
	for (size_t i = 0; i < SHARE_N; i++)
		if (shareable[i].flag == flag)
			return p->shares->first[i];
	return (struct process *)p;
}

/* ---- finding out ---- */

/** struct owner - a process in the list that is sorted by what it has */
struct owner {
	struct process *process;
	size_t order; /* in the tree */
	int kcmp;
};

/* kcmp(2) gives an order, so that sorting finds the equal ones */
static int by_object(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;
	int r = x == y ? 0 : proc_kcmp(x->process->tid, y->process->tid, x->kcmp, 0, 0);

	if (r == 1 || r == 2)
		return r == 1 ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int find_first(const struct checkpoint *c, void *data, size_t type)
{
	const struct span *owners = data;
	size_t n = owners->n;
	struct owner *o = arena_dup(&c->op->arena, owners->at, n * sizeof(*o));

	for (size_t i = 0; i < n; i++)
		o[i].kcmp = shareable[type].kcmp;
	qsort(o, n, sizeof(*o), by_object);
	for (size_t i = 0; i < n; i++) {
		struct process *p = o[i].process;
		bool same = i && proc_kcmp(o[i - 1].process->tid, p->tid, shareable[type].kcmp, 0, 0) == 0;

		p->shares->first[type] = same ? o[i - 1].process->shares->first[type] : p;
	}
	return 0;
}

static void mark_sharers(struct process *p)
{
	for (size_t i = 0; i < SHARE_N; i++)
		if (p->shares->first[i] != p)
			p->shares->any = p->shares->first[i]->shares->any = true;
}

void find_shares(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;
	struct span owners = { 0 };

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		if (p[i]->zombie)
			continue;
		p[i]->shares = arena_alloc(&c->op->arena, sizeof(*p[i]->shares));
		*(struct owner *)span_push(&c->op->arena, &owners, sizeof(struct owner)) =
			(struct owner){ .process = p[i], .order = i };
	}
	crew_share(c, NULL, SHARE_N, find_first, &owners);
	for (size_t i = 0; i < c->tree.processes.n; i++)
		if (!p[i]->zombie)
			mark_sharers(p[i]);
}

/* ---- can it be made again? ---- */

static void check_outside(struct checkpoint *c, const struct process *p, const struct shareable *s)
{
	pid_t parent = p->parent ? 0 : p->status.ppid;

	if (parent > 0 && proc_kcmp(parent, p->tid, s->kcmp, 0, 0) == 0)
		refuse(c->op, s->slug, "the parent is no part of the program", "wait for the exec that follows a vfork",
			"shares its %s with its parent, pid %d", s->what, parent);
}

static void check_shared(struct checkpoint *c, const struct process *p, enum share type)
{
	const struct shareable *s = &shareable[type];
	const struct process *first = p->shares->first[type], *up = p->parent;

	check_outside(c, p, s);
	if (first == p)
		return;
	if (!up || up->zombie || up->shares->first[type] != first)
		refuse(c->op, s->slug, "only a child can be given what its parent has", NULL,
			"shares its %s with pid %d, but not with its parent", s->what, first->pid);
	else if (p->birth->maker)
		refuse(c->op, s->slug, "it can only be put into its session by another than its parent", NULL,
			"shares its %s with its parent", s->what);
}

static int check_threads(struct checkpoint *c, const struct process *p, const struct shareable *s)
{
	const struct thread *t = p->threads.at;

	/* threads cannot but share memory and signal actions (copy_process() in kernel/fork.c) */
	for (size_t i = 1; i < p->threads.n && s->kcmp != KCMP_VM && s->kcmp != KCMP_SIGHAND; i++) {
		if (t[i].like)
			continue;
		int same = proc_kcmp(t[0].tid, t[i].tid, s->kcmp, 0, 0);

		if (same < 0 && same != -ESRCH)
			return fail(c->op, same, "compare its threads by kcmp(2)");
		if (same > 0) {
			refuse(c->op, "thread-unshare", "unshare(2) in a thread is not kept yet", NULL,
				"has a thread %d with a %s of its own", t[i].tid, s->what);
			break;
		}
	}
	return 0;
}

int check_shares(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		if (p[i]->zombie)
			continue;
		WHERE_TASK(c->op, p[i]->pid, p[i]->stat.comm);
		for (enum share type = 0; type < SHARE_N; type++) {
			check_shared(c, p[i], type);
			int r = check_threads(c, p[i], &shareable[type]);
			if (r < 0)
				return r;
		}
	}
	return 0;
}
