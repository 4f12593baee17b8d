/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who else holds what a descriptor leads to: standard streams, and the ends of pipes.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/openfile.h"

static const struct process *root_process(const struct tree *tree)
{
	return tree->processes.n ? *(struct process *const *)tree->processes.at : NULL;
}

bool tree_has_pid(const struct tree *tree, pid_t pid)
{
	struct process *const *all = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++)
		if (all[i]->pid == pid)
			return true;
	return false;
}

int openfile_take(const struct sight *s)
{
	if (s->process->pidfd >= 0)
		return sight_take_fd(s);
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, s->process->pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, s->fd->n, 0);
	return fd < 0 ? -errno : fd;
}

/* Masks of 0, 1 and 2: where the root process and where other processes have the object of s->fd. */
static void stdio_of(const struct sight *s, unsigned int *ret_root, unsigned int *ret_others)
{
	size_t n;

	*ret_root = *ret_others = 0;
	if (!s->fd->has_stat)
		return;
	const struct holder *h = tree_holders(s->tree, s->fd->dev, s->fd->st_ino, &n);
	for (size_t i = 0; i < n; i++) {
		if (h[i].fd->n < 0 || h[i].fd->n > 2)
			continue;
		*(h[i].process == root_process(s->tree) ? ret_root : ret_others) |= 1u << h[i].fd->n;
	}
}

unsigned int openfile_stdio(const struct sight *s)
{
	unsigned int root, others;

	stdio_of(s, &root, &others);
	return root ? root : others;
}

unsigned int openfile_pipe_ends(const struct sight *s)
{
	unsigned int ends = 0;
	size_t n;

	const struct holder *h = tree_holders(s->tree, s->fd->dev, s->fd->st_ino, &n);
	for (size_t i = 0; i < n; i++) {
		ends |= openfile_can_read(h[i].fd->flags) ? PIPE_END_READ : 0;
		ends |= openfile_can_write(h[i].fd->flags) ? PIPE_END_WRITE : 0;
	}
	return ends;
}

/* tee(2) of an empty pipe, which takes nothing out, finds the end when nobody can write, and else would have to wait */
bool openfile_pipe_is_unwritten(int fd)
{
	struct pollfd p = { .fd = fd };
	int ends[2];

	if (fd < 0 || poll(&p, 1, 0) != 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return false;
	_cleanup_close_ int out = ends[0], in = ends[1];
	return out >= 0 && tee(fd, in, 1, SPLICE_F_NONBLOCK) == 0;
}

bool openfile_pipe_is_broken(const struct sight *s)
{
	_cleanup_close_ int fd = openfile_take(s);
	struct pollfd p = { .fd = fd };

	if (fd >= 0 && poll(&p, 1, 0) == 1)
		return p.revents & (POLLERR | POLLHUP);
	return openfile_pipe_is_unwritten(fd);
}

/*
 * What waits in a pipe that nobody writes to any more is the program's, and so is a broken pipe between its processes.
 * But a standard output of the program whose reader has gone is joined to where the restart is run.
 */
bool openfile_pipe_is_outside(const struct sight *s)
{
	unsigned int ends, root, others;

	if (!s->fd->has_stat || !S_ISFIFO(s->fd->mode))
		return false;
	ends = openfile_pipe_ends(s);
	stdio_of(s, &root, &others);
	if (!ends || ends == PIPE_ENDS || !(root | others))
		return false;
	return (root && ends == PIPE_END_WRITE) || !openfile_pipe_is_broken(s);
}
