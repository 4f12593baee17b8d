/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which threads a process has, and the calls in which they sleep.
 */
#include "core/core.h"
#include "core/twins.h"

#include "base/cleanup.h"

#define CALLS_WORTH ((size_t)100) /* threads: it takes as long to make ready as to read so many one by one */

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

/* of many threads all at once, with their calls, if that can be had */
static bool list_calls(const struct checkpoint *c, const struct process *p, struct span *ret)
{
	struct calls *calls = &c->lane->calls;

	if (!calls->tried)
		*calls = (struct calls){ true, proc_open_calls(arch_call_regs) };
	return calls->fd >= 0 && proc_read_calls(calls->fd, p->pid, &c->op->arena, ret) == 0 && ret->n;
}

/* The only one of a process has its number: who calls execve(2) gets that before the leader is released (de_thread() in fs/exec.c) */
int list_calling(const struct checkpoint *c, const struct process *p, struct span *ret)
{
	const size_t n = proc_count_threads(p->dir);
	struct span tids = { 0 };

	if (n >= CALLS_WORTH && !p->threads.n && list_calls(c, p, ret))
		return 0;
	if (n == 1)
		*(pid_t *)span_push(&c->op->arena, &tids, sizeof(pid_t)) = p->pid;
	int r = n == 1 ? 0 : proc_read_tids(&c->op->arena, p->dir, &tids);
	for (size_t i = 0; i < tids.n; i++)
		((struct proc_call *)span_push(&c->op->arena, ret, sizeof(struct proc_call)))->tid =
			((pid_t *)tids.at)[i];
	return r;
}

static bool may_nap(const struct process *p, const struct proc_call *t)
{
	struct proc_syscall s = t->call;

	return (t->known || proc_read_thread_syscall(p->dir, t->tid, &s) == 0) && nap_is_likely(&s);
}

struct nap *look_at_nap(const struct checkpoint *c, const struct process *p, const struct proc_call *t)
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
		area[n++] = rseq_of(c, &t[i]);
		if (n < REMOTE_RANGES && i + 1 < p->threads.n)
			continue;
		r = hold_mend_rseq(some, area, n);
		n = 0;
	}
	return r;
}
