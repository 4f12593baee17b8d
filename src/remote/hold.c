/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stopping a thread and letting it go. PTRACE_SEIZE and PTRACE_INTERRUPT leave no trace: the thread stops on its way out
 * of the kernel, before any signal is delivered, with an interrupted system call's -ERESTART* still in its registers.
 * Detaching with those registers makes the kernel go on with the call.
 */
#include "remote/remote.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "remote/go.h"

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif
#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

int hold_seize(struct held *h, pid_t tid, unsigned long options)
{
	*h = (struct held){ .tid = tid };
	if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)options) < 0)
		return -errno;
	return hold_reseize(h, tid);
}

int hold_reseize(struct held *h, pid_t tid)
{
	*h = (struct held){ .tid = tid, .seized = true };
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0) {
		int err = -errno;

		if (err == -ESRCH)
			h->gone = true;
		return err;
	}
	return 0;
}

void hold_ask_again(const struct held *h)
{
	ptrace(PTRACE_INTERRUPT, h->tid, NULL, NULL);
}

int hold_run_on(struct held *h)
{
	h->still = false;
	return ptrace(PTRACE_CONT, h->tid, NULL, NULL) < 0 ? -errno : 0;
}

int wait_for(pid_t tid, unsigned int timeout_ms, int *status)
{
	uint64_t end = now_ns() + timeout_ms * 1000000ull;

	for (unsigned int turn = 0;; turn++) {
		pid_t got = waitpid(tid, status, __WALL | WNOHANG);

		if (got == tid)
			return 0;
		if (got < 0 && errno != EINTR)
			return -errno;
		if (turn < 64) {
			sched_yield();
			continue;
		}
		if (now_ns() >= end)
			return -ETIMEDOUT;
		const struct timespec nap = { 0, turn < 256 ? 50000 : 1000000 };
		nanosleep(&nap, NULL);
	}
}

int hold_look(struct held *h)
{
	int r = arch_get_regs(h->tid, &h->regs);

	if (r < 0)
		return r;
	if (ptrace(PTRACE_GETSIGMASK, h->tid, (void *)sizeof(h->sigmask), &h->sigmask) < 0)
		return -errno;
	h->still = true;
	return 0;
}

void hold_look_again(struct held *h)
{
	h->still = false;
	int r = hold_look(h);
	if (r < 0 && r != -ESRCH) /* it stands still all the same: nothing would come of waiting for that */
		r = hold_look(h);
	if (r < 0) /* whoever has this number now may not have been asked to stop yet */
		hold_ask_again(h);
}

int hold_wait_stop(struct held *h, unsigned int timeout_ms)
{
	for (;;) {
		int status, r = wait_for(h->tid, timeout_ms, &status);

		if (r == -ECHILD || (r == 0 && !WIFSTOPPED(status))) {
			h->gone = true;
			return -ESRCH;
		}
		if (r < 0)
			return r;
		if (status >> 16 == PTRACE_EVENT_STOP) {
			h->stop_signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
			h->again = false;
			return 0;
		}
		/* a signal came first (or another event): it reaches the program, the stop that we asked for is next */
		int signo = status >> 16 ? 0 : WSTOPSIG(status);
		if (ptrace(PTRACE_CONT, h->tid, NULL, (void *)(long)signo) < 0 && errno != ESRCH)
			return -errno;
	}
}

int hold_wait(struct held *h, unsigned int timeout_ms)
{
	int r = hold_wait_stop(h, timeout_ms);

	return r < 0 ? r : hold_look(h);
}

int hold_adopt(struct held *h, pid_t tid, const struct held *maker, unsigned int timeout_ms)
{
	*h = (struct held){ .tid = tid, .seized = true };
	int r = hold_wait_stop(h, timeout_ms);

	if (r < 0)
		return r;
	h->regs = maker->regs;
	h->sigmask = maker->sigmask;
	h->masked = maker->masked; /* it was born with it */
	h->still = true;
	return 0;
}

int hold_signals(const struct held *h, struct arena *a, bool shared, struct span *ret)
{
	struct __ptrace_peeksiginfo_args args = { .flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 16 };
	siginfo_t info[16];
	long n;

	do {
		n = ptrace(PTRACE_PEEKSIGINFO, h->tid, &args, info);
		if (n < 0)
			return -errno;
		for (long i = 0; i < n; i++)
			*(siginfo_t *)span_push(a, ret, sizeof(siginfo_t)) = info[i];
		args.off += (uint64_t)n;
	} while (n == args.nr);
	return 0;
}

/* to the next stop; as its low byte says by what, and the next why */
static int go_on(struct held *h, int signo, int *ret)
{
	int status;

	if (ptrace(PTRACE_CONT, h->tid, NULL, (void *)(long)signo) < 0)
		return -errno;
	while (waitpid(h->tid, &status, __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFSTOPPED(status)) {
		h->gone = true;
		return -ESRCH;
	}
	*ret = status >> 8;
	return 0;
}

/* the kernel has marked each of them: it stops before it runs on in user mode */
static int stop_again(struct held *h, size_t n, int signo)
{
	int why = 0, r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		r = go_on(&h[i], 0, &why);
		if (r == 0 && why != (signo | PTRACE_EVENT_STOP << 8))
			r = -EPROTO;
	}
	return r;
}

/*
 * The last one to stop tells us first and then its parent (kernel/signal.c: ptrace_stop()). A request of ptrace(2) waits until
 * it has come to rest (kernel/ptrace.c: ptrace_check_attach()), which is after both.
 */
int hold_await_rest(const struct held *h)
{
	unsigned long unused;

	return ptrace(PTRACE_GETEVENTMSG, h->tid, NULL, &unused) < 0 ? -errno : 0;
}

/* kernel/signal.c: get_signal(), do_signal_stop(), task_participate_group_stop() */
int hold_stop(struct held *h, size_t n, int signo)
{
	const uint64_t mask = ~(1ull << (signo - 1));
	int why = 0;

	h->masked = false;
	if (ptrace(PTRACE_SETSIGMASK, h->tid, (void *)sizeof(mask), &mask) < 0 || syscall(SYS_tkill, h->tid, signo) < 0)
		return -errno;
	int r = go_on(h, 0, &why);
	if (r == 0 && why != signo)
		r = -EPROTO;
	/* one way or the other it stops before it runs on */
	if (r == 0 && ptrace(PTRACE_INTERRUPT, h->tid, NULL, NULL) < 0)
		r = -errno;
	if (r == 0)
		r = go_on(h, signo, &why);
	if (r < 0)
		return r;
	if (why == (SIGTRAP | PTRACE_EVENT_STOP << 8))
		return -EAGAIN;
	r = stop_again(h + 1, n - 1, signo);
	return r < 0 ? r : hold_await_rest(&h[n - 1]);
}

int hold_continue(struct held *h, size_t n)
{
	return kill(h->tid, SIGCONT) < 0 ? -errno : stop_again(h, n, SIGTRAP);
}

int hold_suspend_seccomp(const struct held *h)
{
	return ptrace(PTRACE_SETOPTIONS, h->tid, NULL, PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP) < 0 ? -errno : 0;
}

/* Was the process continued after it took the SIGSTOP? Then that waits; any before is forgotten (prepare_signal() in kernel/signal.c) */
static bool was_continued(const struct held *h)
{
	struct span all = { 0 };
	struct arena a;
	bool found = false;

	arena_init(&a);
	hold_signals(h, &a, true, &all);
	hold_signals(h, &a, false, &all);
	const siginfo_t *info = all.at;
	for (size_t i = 0; i < all.n; i++)
		found |= info[i].si_signo == SIGCONT;
	arena_done(&a);
	return found;
}

void stop_give_back(struct held *h)
{
	if (h->killed_stop && !was_continued(h))
		syscall(SYS_tkill, h->tid, SIGSTOP);
	h->killed_stop = false;
}

void hold_let_go(struct held *h)
{
	int status, signo = 0;

	if (!h->seized || h->gone)
		return;
	h->seized = false;
	stop_give_back(h);
	/* a signal may have come before the stop that was asked for: it is the program's */
	if (!h->still && wait_for(h->tid, 0, &status) == 0 && WIFSTOPPED(status) && !(status >> 16))
		signo = WSTOPSIG(status);
	if (ptrace(PTRACE_DETACH, h->tid, NULL, (void *)(long)signo) == 0)
		return;
	/* it runs in the stub, and can be detached when it has stopped */
	for (int turn = 0; turn < 2 && h->away; turn++) {
		hold_ask_again(h);
		wait_for(h->tid, 100, &status);
		if (ptrace(PTRACE_DETACH, h->tid, NULL, NULL) == 0)
			return;
	}
}
