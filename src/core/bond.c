/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has asked for signals of a file (O_ASYNC, F_SETOWN) gets them, of the kind that he asked for (F_SETSIG), when nobody
 * can write any more to the pipe that he reads: pipe_release() in fs/pipe.c, send_sigio() in fs/fcntl.c. So a pipe is read
 * by one open file for each process, owned by that process and with SIGKILL for a signal, and is written to by us alone.
 *
 * The kernel closes what a process had open in order of number, and releases it in the opposite order (close_files() in
 * fs/file.c, task_work_run() in kernel/task_work.c), long before it lets go of those whom it traced (do_exit() in
 * kernel/exit.c). The write end has two numbers, one below and one above those of the readers. While it has the upper one
 * it is the first to be released, and all are killed. With the lower one alone it is the last, when nobody listens any
 * more: the one close(2) of the upper number cuts the bond for all.
 *
 * A kernel that did it in another order, or that does not let us send the signal (sigio_perm() in fs/fcntl.c knows no
 * capabilities: processes of other users, in the user namespace of a container), would not kill, as if there were no bond.
 */
#include "core/bond.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"

/* no more signals, whoever has a copy of such a descriptor */
static void drop(struct bond *b)
{
	for (size_t i = 0; i < b->n; i++) {
		fcntl(b->fds[i], F_SETFL, O_NONBLOCK);
		fd_close(b->fds[i]);
	}
	fd_close(b->low);
}

/* who is killed when there is no writer */
static int open_reader(int pipe_end, pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe_end);
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_SETOWN, pid) == 0 && fcntl(fd, F_SETSIG, SIGKILL) == 0 &&
		fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC) == 0)
		return fd;
	int e = -errno;
	fd_close(fd);
	return e;
}

int bond_tie(struct bond *b, struct arena *a, const pid_t *pid, size_t n)
{
	int ends[2], top = 0, e = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*b = (struct bond){ .fds = arena_array(a, n + 1, sizeof(int)), .low = ends[1] };
	for (size_t i = 0; i < n && e == 0; i++) {
		int fd = open_reader(ends[0], pid[i]);

		if (fd >= 0)
			b->fds[b->n++] = fd;
		if (fd < b->low) /* if it is one: another thread has closed something just then */
			e = fd < 0 ? fd : -EAGAIN;
		top = fd > top ? fd : top;
	}
	fd_close(ends[0]);
	b->high = e < 0 ? e : fcntl(b->low, F_DUPFD_CLOEXEC, top + 1);
	if (b->high >= 0)
		return 0;
	e = e < 0 ? e : -errno;
	drop(b);
	return e;
}

void bond_cut(struct bond *b)
{
	fd_close(b->high);
	drop(b);
}
