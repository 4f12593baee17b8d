/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process whose first thread, the leader, has ended before others.
 *
 * The kernel keeps it as a zombie that nobody can wait for, as the process has its number. It has neither memory nor files any
 * more, and so /proc/PID shows none. They are reached by another thread, whose /proc/TID is there although it is not listed.
 *
 * In the middle of an execve(2) by another thread the leader looks the same (de_thread() in fs/exec.c). But that thread cannot
 * stop there: when all others have stopped the leader has ended for good.
 */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#define THREAD O_EXCL /* PIDFD_THREAD of linux/pidfd.h */

enum {
	LOOKS = 10, /* at a leader whose threads run: an execve(2) is over by then */
	LOOK_MS = 5,
};

static bool has_ended(const struct process *p, bool frozen)
{
	const struct timespec nap = { 0, LOOK_MS * 1000000 };

	for (int look = frozen ? LOOKS : 1;; look++) {
		struct proc_stat st;

		if (proc_read_stat(p->dir, &st) < 0 || (st.state != 'Z' && st.state != 'X'))
			return false;
		if (look == LOOKS)
			return true;
		nanosleep(&nap, NULL);
	}
}

/* a pidfd of the process leads to the leader, which has no files: PIDFD_THREAD (v6.9) makes one of another thread */
static int open_way(const struct checkpoint *c, struct process *p, pid_t tid)
{
	_cleanup_close_ int dir = proc_open(c->procfd, tid);
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, tid, THREAD);
	int err = errno;
	struct proc_status st;

	if (pidfd < 0 && err == EINVAL)
		return fail_as(c->op, OUTCOME_CANNOT, "leader-gone", "save it under Linux 6.9 or later",
			"reach its files: its first thread has ended, and this kernel has no pidfd of another");
	int r = dir < 0 ? dir : pidfd < 0 ? -err : proc_read_status(&c->op->arena, dir, &st);
	if (r == 0 && st.tgid != p->pid)
		r = -ESRCH;
	if (r < 0)
		return r;
	fd_close(p->dir);
	p->dir = TAKE_FD(dir);
	p->pidfd = TAKE_FD(pidfd);
	p->tid = tid;
	return 0;
}

int reach_process(const struct checkpoint *c, struct process *p, bool frozen)
{
	struct thread *t = p->threads.at;
	bool listed = p->threads.n && t[0].tid == p->pid;

	if ((listed && frozen) || !has_ended(p, frozen))
		return listed || !frozen ? 0 : fail(c->op, -EAGAIN, "find its first thread");
	p->ended = arena_alloc(&c->op->arena, sizeof(*p->ended));
	*p->ended = (struct thread){ .tid = p->pid };
	if (listed)
		memmove(t, t + 1, --p->threads.n * sizeof(*t));
	return p->threads.n ? open_way(c, p, t[0].tid) : -ESRCH;
}

/* its status is what /proc says; what the parent gets is that of the last (synchronize_group_exit() in kernel/exit.c) */
void take_ended(const struct checkpoint *c, struct process *p)
{
	struct proc_stat *st = &p->ended->stat;

	memcpy(p->stat.comm, st->comm, sizeof(st->comm));
	p->stat.exit_signal = st->exit_signal;
	if (st->exit_code & ~0xff00)
		note(c->op, "its first thread was ended alone by %s: in a restarted program it has ended by itself",
			signal_name((int)st->exit_code & 0x7f));
	st->exit_code &= 0xff00;
}
