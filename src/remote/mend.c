/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a stop does to a thread that it should not notice, put right at once.
 */
#include "remote/remote.h"

#include <errno.h>
#include <linux/rseq.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif

#ifndef PTRACE_PEEKSIGINFO_SHARED
#define PTRACE_PEEKSIGINFO_SHARED (1 << 0)
#endif

int hold_rseq(const struct held *h, struct rseq_registration *ret)
{
	memset(ret, 0, sizeof(*ret));
	long n = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, h->tid, (void *)sizeof(*ret), ret);

	return n < 0 ? -errno : 0;
}

/*
 * A thread that is interrupted in a restartable sequence goes on at the abort handler. The kernel sees to that on the way
 * back to user mode by the instruction pointer; as ours points elsewhere for a while, it would forget.
 *
 * @at: an address the program gave: if it cannot be read the kernel will find out in its own way
 */
static int abort_sequence(struct held *h, uint64_t at)
{
	struct rseq_cs cs;

	if (!at || remote_read(h->tid, (struct taddr){ at }, &cs, sizeof(cs)) < 0)
		return 0;
	if (arch_ip(&h->regs) - cs.start_ip >= cs.post_commit_offset)
		return 0;
	arch_set_ip(&h->regs, cs.abort_ip);
	return arch_set_regs(h->tid, &h->regs);
}

int hold_mend_rseq(struct held *const *h, const uint64_t *area, size_t n)
{
	struct trange where[REMOTE_RANGES];
	uint64_t at[REMOTE_RANGES] = { 0 };
	int r = 0;

	for (size_t i = 0; i < n; i++)
		where[i] = (struct trange){ { area[i] + offsetof(struct rseq, rseq_cs) }, sizeof(uint64_t) };
	for (size_t i = 0; i < n; i++) /* it ends before one that cannot be read */
		i += remote_gather(h[i]->tid, where + i, n - i, at + i);
	for (size_t i = 0; i < n; i++) {
		int e = abort_sequence(h[i], at[i]);

		r = e < 0 ? e : r;
	}
	return r;
}

/* does one of the signals @of wait, which the thread does not block? */
static bool has_signal(const struct held *h, int which, uint64_t of)
{
	struct __ptrace_peeksiginfo_args arg = { .off = 0, .flags = (uint32_t)which, .nr = 32 };
	unsigned char info[32][128];
	long n;

	while ((n = ptrace(PTRACE_PEEKSIGINFO, h->tid, &arg, info)) > 0) {
		for (long i = 0; i < n; i++) {
			int signo;

			memcpy(&signo, info[i], sizeof(signo));
			if (signo >= 1 && signo <= 64 && of & ~h->sigmask & 1ull << (signo - 1))
				return true;
		}
		arg.off += (uint64_t)n;
	}
	return false;
}

/*
 * Some calls end with EINTR when their task is stopped, although no signal is delivered ("Interruption of system calls … by
 * stop signals", signal(7)): epoll_wait, semtimedop, sigtimedwait, calls on sockets with a timeout … Nothing was done by
 * then, so the call is made once more. Not so for close and connect, which have done their work.
 */
static bool gave_eintr_to_us(const struct held *h)
{
	if (arch_interrupted(&h->regs) != GAVE_EINTR)
		return false;
	long nr = arch_syscall_nr(&h->regs);
	if (nr == SYS_close || nr == SYS_connect || nr == SYS_close_range)
		return false;
	return !has_signal(h, 0, UINT64_MAX) && !has_signal(h, PTRACE_PEEKSIGINFO_SHARED, UINT64_MAX);
}

/*
 * A call with a signal mask of its own that ends with EINTR (epoll_pwait, io_uring_enter) leaves that mask in force, for the
 * signal to be delivered under it. If it is made again, the first mask must be back before: a signal that came just now
 * and is blocked there then ends the call once more, as it should, instead of being delivered before the call.
 */
static int mend_mask(const struct held *h)
{
	uint64_t mask = h->sigmask;

	return ptrace(PTRACE_SETSIGMASK, h->tid, (void *)sizeof(mask), &mask) < 0 ? -errno : 0;
}

int hold_mend(struct held *h, struct nap *n)
{
	int r = 0;

	if (gave_eintr_to_us(h)) {
		r = mend_mask(h);
		h->again = true;
		h->ended = h->regs;
		nap_make_again(n, &h->regs);
		arch_restart_call(&h->regs);
		if (r == 0)
			r = arch_set_regs(h->tid, &h->regs);
	}
	return r;
}

bool hold_unmend(struct held *h, uint64_t own, uint64_t shared)
{
	if (!h->again || (!has_signal(h, 0, own) && !has_signal(h, PTRACE_PEEKSIGINFO_SHARED, shared)))
		return false;
	h->again = false;
	h->regs = h->ended;
	return true;
}
