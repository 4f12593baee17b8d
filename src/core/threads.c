/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which threads a process has, and the calls in which they sleep.
 */
#include "core/core.h"
#include "core/twins.h"

#include <stdlib.h>

#include "base/cleanup.h"

#define REGS_WORTH ((size_t)100) /* threads: it takes as long to make ready as to read so many one by one */

struct thread *find_thread(const struct process *p, pid_t tid, size_t guess)
{
	struct thread *t = p->threads.at;

	if (guess < p->threads.n && t[guess].tid == tid)
		return &t[guess];
	for (size_t i = 0; i < p->threads.n; i++)
		if (t[i].tid == tid)
			return &t[i];
	return NULL;
}

void leader_to_front(struct process *p)
{
	struct thread *leader = find_thread(p, p->pid, 0), *t = p->threads.at;

	if (leader && leader != t) {
		struct thread first = t[0];

		t[0] = *leader;
		*leader = first;
	}
}

int list_threads(const struct checkpoint *c, struct process *p)
{
	struct span tids = { 0 };
	int r = proc_read_tids(&c->op->arena, p->dir, &tids);
	const pid_t *tid = tids.at;

	for (size_t i = 0; r == 0 && i < tids.n; i++) {
		struct thread *t = span_push(&c->op->arena, &p->threads, sizeof(*t));
		t->tid = tid[i];
	}
	if (r == 0)
		leader_to_front(p);
	return r;
}

bool read_all_regs(const struct checkpoint *c, const struct process *p, size_t n, proc_regs_fn *fn, void *data)
{
	const struct proc_reg_names names = { arch_task_regs, arch_entry_regs };
	struct reading *r = &c->lane->regs;

	if (n < REGS_WORTH)
		return false;
	if (!r->tried)
		*r = (struct reading){ true, proc_open_regs(&names) };
	return r->fd >= 0 && proc_read_regs(r->fd, p->pid, fn, data) == 0;
}

/* struct listing - of a process, as it is read */
struct listing {
	struct arena *arena;
	struct span *to;
	bool sorted;
};

/* one that runs has made that call last, and is back from it */
static void list_one(void *data, const struct proc_regs *regs)
{
	struct listing *l = data;
	struct listed *to = span_push(l->arena, l->to, sizeof(*to));
	struct arch_regs a;

	l->sorted &= l->to->n == 1 || to[-1].tid < regs->tid;
	to->tid = regs->tid;
	to->is_known = arch_unpack_regs(regs->regs, &a);
	to->call.nr = arch_syscall_nr(&a);
	for (unsigned int i = 0; i < ARRAY_SIZE(to->call.arg); i++)
		to->call.arg[i] = arch_syscall_arg(&a, i);
}

static int by_number(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static bool list_with_calls(const struct checkpoint *c, const struct process *p, size_t n, struct span *ret)
{
	struct listing l = { &c->op->arena, ret, true };

	if (n >= REGS_WORTH)
		span_reserve(l.arena, ret, n, sizeof(struct listed));
	if (!read_all_regs(c, p, n, list_one, &l) || !ret->n) {
		ret->n = 0;
		return false;
	}
	if (!l.sorted)
		qsort(ret->at, ret->n, sizeof(struct listed), by_number);
	return true;
}

static void add_listed(const struct checkpoint *c, struct span *list, pid_t tid)
{
	struct listed *l = span_push(&c->op->arena, list, sizeof(*l));

	l->tid = tid;
}

/* The only one of a process has its number: who calls execve(2) gets that before the leader is released (de_thread() in fs/exec.c) */
int list_running(const struct checkpoint *c, const struct process *p, struct span *ret)
{
	const size_t n = proc_count_threads(p->dir);
	struct span tids = { 0 };

	if (!p->threads.n && list_with_calls(c, p, n, ret))
		return 0;
	if (n == 1) {
		add_listed(c, ret, p->pid);
		return 0;
	}
	int r = proc_read_tids(&c->op->arena, p->dir, &tids);
	for (size_t i = 0; i < tids.n; i++)
		add_listed(c, ret, ((pid_t *)tids.at)[i]);
	return r;
}

static bool may_nap(const struct process *p, const struct listed *t)
{
	struct proc_syscall s = t->call;

	return (t->is_known || proc_read_thread_syscall(p->dir, t->tid, &s) == 0) && nap_is_likely(&s);
}

struct nap *look_at_nap(const struct checkpoint *c, const struct process *p, const struct listed *t)
{
	_cleanup_close_ int dir = may_nap(p, t) ? proc_open_thread(p->dir, t->tid) : -EBADF;

	return dir < 0 ? NULL : nap_look(&c->op->arena, &c->lane->cpu_clocks, dir);
}

/* 0: none, or nothing is to be done: there are no system calls in sequences, rseq(2) */
static uint64_t rseq_of(const struct checkpoint *c, const struct thread *t)
{
	struct rseq_registration reg;
	uint64_t area;

	if (arch_syscall_nr(&t->held.regs) >= 0)
		return 0;
	if (find_rseq(c, t, &area))
		return area;
	return hold_rseq(&t->held, &reg) < 0 ? 0 : reg.pointer;
}

int mend_sequences(const struct checkpoint *c, const struct process *p)
{
	struct thread *t = p->threads.at;
	struct held *some[REMOTE_RANGES];
	uint64_t area[REMOTE_RANGES];
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < p->threads.n && r == 0; i++) {
		some[n] = &t[i].held;
		area[n] = rseq_of(c, &t[i]);
		n += area[n] != 0;
		if (n < REMOTE_RANGES)
			continue;
		r = hold_mend_rseq(some, area, n);
		n = 0;
	}
	return r < 0 || !n ? r : hold_mend_rseq(some, area, n);
}
