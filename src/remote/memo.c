/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stasis leaves in a program about the calls in which its threads sleep, in the zeros behind the section headers of the
 * vdso: of that page the stub gave the process a copy anyway, and nothing reads it.
 *
 * - A call that is made again takes its timeout from memory, and that is the program's: it may be constant, or be used
 *   again. So the argument is made to refer to a memo with the time that is left. The registers that the call then returns
 *   with are not quite those it was made with; functions do not promise to keep these.
 * - A call that the kernel goes on with by itself needs nothing; but at the next stop nobody could tell when it began. The
 *   memo says what was left when the thread was let go, and that the thread had gone to sleep so many times. If it has
 *   done so once more, and sleeps in a call that goes on, then it is that call.
 *
 * A memo to which a register refers is never written to, as stasis may be killed half way. When another thread's memo lies
 * there later, it is at least a time.
 */
#include "remote/remote.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "remote/go.h"

#define MEMOS_MAX 64 /* bits of memos.taken */

struct memo {
	struct timespec left;
	uint64_t switches;
	uint32_t tid, sp; /* of whom, and the low half of its stack pointer; 0, 0: for whoever refers to it */
};

void memos_find(struct memos *m, struct taddr vdso, struct taddr vdso_end)
{
	struct taddr end;

	*m = (struct memos){ 0 };
	if (room_padding(vdso, vdso_end, &m->at, &end) < 0)
		return;
	size_t n = (end.at - m->at.at) / sizeof(struct memo);
	m->n = n < MEMOS_MAX ? (unsigned int)n : MEMOS_MAX;
}

static int number(const struct memos *m, uint64_t at)
{
	const uint64_t offset = at - m->at.at;

	return offset / sizeof(struct memo) < m->n && offset % sizeof(struct memo) == 0
		       ? (int)(offset / sizeof(struct memo))
		       : -ENOENT;
}

void memos_take(struct memos *m, const struct arch_regs *regs)
{
	for (unsigned int arg = 0; arg < 6; arg++) {
		int n = number(m, arch_syscall_arg(regs, arg));

		if (n >= 0)
			m->taken |= 1ull << n;
	}
}

int memo_in(const struct memos *m, pid_t pid, const struct arch_regs *regs, int64_t *ret)
{
	struct timespec left;

	for (unsigned int arg = 0; arg < 6; arg++) {
		const uint64_t at = arch_syscall_arg(regs, arg);

		if (number(m, at) < 0 || remote_read(pid, (struct taddr){ at }, &left, sizeof(left)) < 0)
			continue;
		*ret = timespec_ns(&left);
		return *ret < 0 ? -ENOENT : (int)arg;
	}
	return -ENOENT;
}

static int take(struct memos *m, struct taddr *ret)
{
	unsigned int n = 0;

	while (n < m->n && m->taken & 1ull << n)
		n++;
	if (n == m->n)
		return -ENOSPC;
	m->taken |= 1ull << n;
	ret->at = m->at.at + n * sizeof(struct memo);
	return 0;
}

/* word by word: until the last it is nobody's */
static int put(pid_t tid, struct taddr at, const struct memo *memo)
{
	int r = remote_poke(tid, (struct taddr){ at.at + offsetof(struct memo, tid) }, &(uint64_t){ 0 }, 8);

	return r < 0 ? r : remote_poke(tid, at, memo, sizeof(*memo));
}

int memo_refer(struct memos *m, pid_t tid, struct arch_regs *regs, unsigned int arg, int64_t left)
{
	const struct memo memo = { .left = ns_timespec(left) };
	struct taddr at;
	int r = take(m, &at);

	if (r == 0)
		r = put(tid, at, &memo);
	if (r < 0)
		return r;
	arch_set_syscall_arg(regs, arg, at.at);
	return 1;
}

int memo_leave(struct memos *m, pid_t tid, const struct arch_regs *regs, int64_t left, int dir)
{
	struct proc_sched sched;
	struct taddr at;
	int r = take(m, &at);

	if (r == 0)
		r = proc_read_sched(dir, &sched);
	if (r < 0)
		return r;
	const struct memo memo = { .left = ns_timespec(left),
		.switches = sched.voluntary,
		.tid = (uint32_t)tid,
		.sp = (uint32_t)arch_sp(regs) };
	return put(tid, at, &memo);
}

void nap_recall(struct nap *n, const struct memos *m, const struct held *h)
{
	struct memo memo[MEMOS_MAX];

	if (!n->since || n->call.nr != SYS_restart_syscall ||
		remote_read(h->tid, m->at, memo, m->n * sizeof(struct memo)) < 0)
		return;
	for (unsigned int i = 0; i < m->n; i++)
		if (memo[i].tid == (uint32_t)h->tid && memo[i].sp == (uint32_t)arch_sp(&h->regs) &&
			memo[i].switches + 1 == n->switches && timespec_ns(&memo[i].left) >= 0)
			n->full = timespec_ns(&memo[i].left);
}
