/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/go.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "proc/proc.h"

#define END_TIMEOUT_NS 10000000000ull
#define LEADER_MS      100 /* after which to look whether it has ended */

uint64_t stub_way_home(const struct held *h, const struct room *room)
{
	return room->code.at + (uint64_t)(stub_context - stub_begin) + h->context * sizeof(struct stub_context);
}

static int write_way_home(const struct held *h, const struct room *room)
{
	struct stub_context ctx;

	arch_call_home(&ctx, &h->regs);
	ctx.sigmask = h->sigmask;
	ctx.scratch = room->data.at;
	ctx.scratch_len = ROOM_DATA;
	return pwrite_all(room->mem, &ctx, sizeof(ctx), (off_t)stub_way_home(h, room));
}

int stub_enter(struct held *h, const struct room *room, struct taddr calls, unsigned int n, bool store)
{
	struct arch_regs regs = h->regs;
	/* SIGTRAP is sent, not raised by int3: an action that ignores or a mask that blocks it would be reset to the default */
	int signo = room->signo ? room->signo : SIGTRAP;
	uint64_t mask = ~(1ull << (signo - 1));
	/* from its first run to its last it has the same way home and the same mask */
	int r = room->mem >= 0 && !h->away ? write_way_home(h, room) : 0;

	if (r < 0)
		return r;
	arch_enter_stub(&regs, room->code.at, stub_way_home(h, room), calls.at, n, store, signo);
	r = arch_set_regs(h->tid, &regs);
	if (r < 0)
		return r;
	h->away = true;
	if (!h->masked && ptrace(PTRACE_SETSIGMASK, h->tid, (void *)sizeof(mask), &mask) < 0)
		return -errno;
	h->masked = true;
	return 0;
}

int stub_go(struct held *h, const struct room *room, struct taddr calls, unsigned int n, bool store)
{
	int r = stub_enter(h, room, calls, n, store);

	if (r == 0 && ptrace(PTRACE_CONT, h->tid, NULL, NULL) < 0)
		r = -errno;
	return r;
}

static bool is_fault(int signo)
{
	return signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE || signo == SIGTRAP ||
	       signo == SIGSYS;
}

static bool is_where_it_stops(const struct room *room, const struct arch_regs *regs)
{
	return arch_ip(regs) == room->code.at + (uint64_t)(stub_stopped - stub_begin);
}

static bool has_ended(pid_t tid)
{
	_cleanup_close_ int procfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc_open(procfd, tid);
	struct proc_stat st;

	return dir < 0 || proc_read_stat(dir, &st) < 0 || st.state == 'Z' || st.state == 'X';
}

/*
 * The end of a leader is told when its other threads have been reaped (delay_group_leader() in kernel/exit.c), which only their
 * tracer can do, and that is us, who wait.
 */
static int wait_for_event(const struct held *h, int *status)
{
	int r = -ETIMEDOUT;

	if (!h->leads)
		return waitpid(h->tid, status, __WALL) < 0 ? -errno : 0;
	while (r == -ETIMEDOUT) {
		r = wait_for(h->tid, LEADER_MS, status);
		if (r == -ETIMEDOUT && has_ended(h->tid))
			r = -ESRCH;
	}
	return r;
}

int stub_wait(struct held *h, const struct room *room, struct arch_regs *ret)
{
	struct arch_regs regs;
	int signo = room && room->signo ? room->signo : SIGTRAP;

	for (;;) {
		int status, r = wait_for_event(h, &status);

		if (r < 0 && r != -ECHILD && r != -ESRCH)
			continue; /* there is no other way to learn that it has stopped */
		if (r < 0 || !WIFSTOPPED(status)) {
			h->gone = true;
			return -ESRCH;
		}
		int stop = WSTOPSIG(status), event = status >> 16;
		r = room && !event && stop == signo ? arch_get_regs(h->tid, &regs) : 0;
		if (!event && stop == signo && (!room || r < 0 || is_where_it_stops(room, &regs))) {
			if (ret && r == 0)
				*ret = regs;
			return ret ? r : 0;
		}
		if (!event && stop != signo && is_fault(stop))
			return -EFAULT;
		if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
			unsigned long pid = 0;

			if (ptrace(PTRACE_GETEVENTMSG, h->tid, NULL, &pid) == 0 && h->n_born < h->born_room)
				h->born[h->n_born++] = (pid_t)pid;
		}
		if (!event && stop == SIGSTOP)
			h->killed_stop = true; /* cannot be blocked: sent again when the task is let go */
		if (ptrace(PTRACE_CONT, h->tid, NULL, NULL) < 0)
			return -errno;
	}
}

/* twice: whatever made the first fail, the thread must get back what is its own */
int stub_leave(struct held *h)
{
	int r = -EIO;

	h->masked = false;
	for (int turn = 0; turn < 2 && r < 0; turn++) {
		r = ptrace(PTRACE_SETSIGMASK, h->tid, (void *)sizeof(h->sigmask), &h->sigmask) < 0 ? -errno : 0;
		if (r == 0)
			r = arch_set_regs(h->tid, &h->regs);
	}
	if (r == 0)
		h->away = false;
	return r;
}

static int set_call(struct held *h, struct taddr ip, long nr, const uint64_t arg[6])
{
	struct arch_regs regs = h->regs;

	arch_set_syscall(&regs, ip.at, nr, arg);
	return arch_set_regs(h->tid, &regs);
}

static int go_to_stop(const struct held *h, bool step)
{
	return ptrace(step ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, h->tid, NULL, NULL) < 0 ? -errno : 0;
}

/* to the entry of system call @nr by the instruction at @ip */
static int enter_call(struct held *h, struct taddr ip, long nr, const uint64_t arg[6])
{
	int r = set_call(h, ip, nr, arg);

	if (r == 0)
		r = go_to_stop(h, false);
	return r < 0 ? r : stub_wait(h, NULL, NULL);
}

int remote_call_start(struct held *h, struct taddr ip, long nr, const uint64_t arg[6], bool step)
{
	int r = set_call(h, ip, nr, arg);

	return r < 0 ? r : go_to_stop(h, step);
}

int remote_call_finish(struct held *h, struct taddr ip, bool step, int64_t *ret)
{
	struct arch_regs regs;
	int r = stub_wait(h, NULL, NULL);

	if (r == 0 && !step)
		r = go_to_stop(h, false);
	if (r == 0 && !step)
		r = stub_wait(h, NULL, NULL);
	if (r == 0)
		r = arch_get_regs(h->tid, &regs);
	while (r == 0 && step && arch_ip(&regs) == ip.at) { /* somebody has sent a SIGTRAP */
		r = go_to_stop(h, true);
		if (r == 0)
			r = stub_wait(h, NULL, NULL);
		if (r == 0)
			r = arch_get_regs(h->tid, &regs);
	}
	if (r == 0)
		*ret = arch_result(&regs);
	return r;
}

int remote_call(struct held *h, struct taddr ip, long nr, const uint64_t arg[6], int64_t *ret)
{
	int r = remote_call_start(h, ip, nr, arg, false);

	return r < 0 ? r : remote_call_finish(h, ip, false, ret);
}

/* by then its children have new parents: exit_notify() in kernel/exit.c */
static int wait_for_zombie(pid_t tid)
{
	const struct timespec nap = { 0, 50000 };
	const uint64_t end = now_ns() + END_TIMEOUT_NS;
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc < 0 ? -errno : proc_open(proc, tid);
	struct proc_stat st;
	int r = dir < 0 ? dir : 0;

	while (r == 0 && now_ns() < end) {
		r = proc_read_stat(dir, &st);
		if (r == 0 && st.state == 'Z')
			return 0;
		nanosleep(&nap, NULL);
	}
	return r < 0 ? r : -ETIMEDOUT;
}

int remote_exit(struct held *h, struct taddr ip, int status)
{
	const uint64_t arg[6] = { (uint64_t)status };
	int r = enter_call(h, ip, SYS_exit, arg);

	if (r < 0)
		return r;
	/* from there on it needs no memory */
	if (ptrace(PTRACE_DETACH, h->tid, NULL, NULL) < 0)
		return -errno;
	h->gone = true;
	return wait_for_zombie(h->tid);
}

int remote_sleep(struct held *h, struct taddr ip, long nr, const uint64_t arg[6], int64_t *ret)
{
	struct arch_regs regs;
	int status, r = enter_call(h, ip, nr, arg);

	if (r < 0)
		return r;
	/* interrupted from there on, it begins to sleep and ends at once */
	/* to its exit: if it is over before that, the thread must not run on with these registers */
	if (ptrace(PTRACE_SYSCALL, h->tid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, h->tid, NULL, NULL) < 0)
		return -errno;
	r = stub_wait(h, NULL, NULL);
	if (r == 0)
		r = arch_get_regs(h->tid, &regs);
	if (r < 0)
		return r;
	/*
	 * That stop took the other's place (ptrace_stop() in kernel/signal.c): ask once more. Only from there on, where signals are
	 * looked for, does the kernel see that a call is to go on.
	 */
	if (ptrace(PTRACE_INTERRUPT, h->tid, NULL, NULL) < 0 || ptrace(PTRACE_CONT, h->tid, NULL, NULL) < 0)
		return -errno;
	while (waitpid(h->tid, &status, __WALL) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFSTOPPED(status))
		return -ESRCH;
	if (arch_interrupted(&regs) == RESTARTS_BY_BLOCK)
		return 0;
	*ret = arch_result(&regs);
	return -ECANCELED;
}
