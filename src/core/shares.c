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

#define PIECE 128 /* processes that are sorted by one lane at once */

/** struct owner - a process in the list that is sorted by what it has */
struct owner {
	struct process *process;
	size_t order; /* in the tree */
	enum share type;
	uint64_t key; /* the same where they have the same, and mostly another where not */
};

/*
 * kcmp(2) gives an order, so that sorting finds the equal ones. Neighbours in the end are compared on the way: who was never equal
 * to another has it for himself.
 */
static int by_object(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	int r = x == y ? 0 : proc_kcmp(x->process->tid, y->process->tid, shareable[x->type].kcmp, 0, 0);
	if (r == 1 || r == 2)
		return r == 1 ? -1 : 1;
	if (r == 0 && x != y)
		x->process->shares->equal[x->type] = y->process->shares->equal[y->type] = true;
	return x->order < y->order ? -1 : x->order > y->order;
}

static uint64_t mix(uint64_t key, uint64_t value)
{
	return (key ^ value) * 0x9e3779b97f4a7c15 + 1;
}

static uint64_t key_of_memory(const struct process *p)
{
	const struct proc_stat *st = &p->stat;
	const uint64_t fixed[] = { st->start_code, st->end_code, st->start_data, st->end_data, st->start_stack,
		st->arg_start, st->arg_end, st->env_start, st->env_end };
	uint64_t key = p->vmas.n;

	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		key = mix(key, fixed[i]);
	return key;
}

static uint64_t key_of_files(const struct process *p)
{
	const struct proc_fd *f = p->fds.at;
	uint64_t key = p->fds.n;

	for (size_t i = 0; i < p->fds.n; i++)
		key = mix(key, (uint64_t)f[i].n << 1 | f[i].cloexec); /* all else others can change meanwhile */
	return key;
}

/* what was read of one that ran on may be another's by now */
static uint64_t key_of(const struct checkpoint *c, const struct process *p, enum share type)
{
	if (!c->tree.frozen)
		return 0;
	return type == SHARE_VM ? key_of_memory(p) : type == SHARE_FILES ? key_of_files(p) : 0;
}

/** struct sorting - lists of the same processes by what they have, being sorted by whichever lane is free */
struct sorting {
	struct owner *list[SHARE_N], *spare[SHARE_N];
	size_t n; /* in each */
	size_t width; /* of pieces that are sorted */
};

static size_t pieces(const struct sorting *s, size_t width)
{
	return (s->n + width - 1) / width;
}

static int sort_piece(const struct checkpoint *c, void *data, size_t i)
{
	const struct sorting *s = data;
	const size_t from = i % pieces(s, s->width) * s->width;

	(void)c;
	qsort(s->list[i / pieces(s, s->width)] + from, min_u64(s->width, s->n - from), sizeof(struct owner), by_object);
	return 0;
}

static int merge_pieces(const struct checkpoint *c, void *data, size_t i)
{
	const struct sorting *s = data;
	const size_t type = i / pieces(s, 2 * s->width), from = i % pieces(s, 2 * s->width) * 2 * s->width;
	const struct owner *a = s->list[type] + from, *a_end = s->list[type] + min_u64(from + s->width, s->n);
	const struct owner *b = a_end, *b_end = s->list[type] + min_u64(from + 2 * s->width, s->n);
	struct owner *to = s->spare[type] + from;

	(void)c;
	while (a < a_end || b < b_end)
		*to++ = b == b_end || (a < a_end && by_object(a, b) < 0) ? *a++ : *b++;
	return 0;
}

static void sort_all(struct checkpoint *c, struct sorting *s, size_t types)
{
	s->width = PIECE;
	crew_share(c, NULL, types * pieces(s, s->width), sort_piece, s);
	for (; s->width < s->n; s->width *= 2) {
		crew_share(c, NULL, types * pieces(s, 2 * s->width), merge_pieces, s);
		for (size_t type = 0; type < types; type++) {
			struct owner *list = s->list[type];

			s->list[type] = s->spare[type];
			s->spare[type] = list;
		}
	}
}

static void find_first(const struct owner *o, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct process *p = o[i].process, *before = i ? o[i - 1].process : NULL;
		const enum share type = o[i].type;
		bool same = before && before->shares->equal[type] && p->shares->equal[type] &&
			    o[i - 1].key == o[i].key && proc_kcmp(before->tid, p->tid, shareable[type].kcmp, 0, 0) == 0;

		p->shares->first[type] = same ? before->shares->first[type] : p;
	}
}

/*
 * Who has the same actions of signals has the same memory: clone(2) wants it so, unshare(2) takes neither from who shares it, and
 * execve(2) gives both anew (copy_process() and check_unshare_flags() in kernel/fork.c, begin_new_exec() in fs/exec.c).
 */
static void find_sighands(struct checkpoint *c, const struct owner *by_memory, size_t n)
{
	struct owner *o = arena_array(&c->op->arena, n + 1, sizeof(*o));
	size_t some = 0;

	for (size_t i = 0; i < n; i++) {
		struct process *p = by_memory[i].process;

		p->shares->first[SHARE_SIGHAND] = p;
		if (!p->shares->equal[SHARE_VM])
			continue;
		o[some] = by_memory[i];
		o[some++].type = SHARE_SIGHAND;
	}
	qsort(o, some, sizeof(*o), by_object);
	find_first(o, some);
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
	struct sorting s = { 0 };

	for (size_t type = 0; type < SHARE_SIGHAND; type++) {
		s.list[type] = arena_array(&c->op->arena, c->tree.processes.n, sizeof(struct owner));
		s.spare[type] = arena_array(&c->op->arena, c->tree.processes.n, sizeof(struct owner));
	}
	for (size_t i = 0; i < c->tree.processes.n; i++) {
		if (p[i]->zombie)
			continue;
		p[i]->shares = arena_alloc(&c->op->arena, sizeof(*p[i]->shares));
		for (enum share type = 0; type < SHARE_SIGHAND; type++)
			s.list[type][s.n] = (struct owner){ p[i], i, type, key_of(c, p[i], type) };
		s.n++;
	}
	sort_all(c, &s, SHARE_SIGHAND);
	for (size_t type = 0; type < SHARE_SIGHAND; type++)
		find_first(s.list[type], s.n);
	find_sighands(c, s.list[SHARE_VM], s.n);
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
