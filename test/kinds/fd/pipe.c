/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static int plain[2], full[2], fifo[2], child_end[2], no_writer, no_reader, reopened, both_ways, unwritten;
static pid_t child;

static void keep_write_end(void)
{
	close(child_end[0]);
}

static int open_again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

static void put(int fd, const char *s)
{
	if (write(fd, s, strlen(s)) != (ssize_t)strlen(s))
		_exit(4);
}

static void fill(int fd)
{
	static const char block[4096] = "the first of many";

	for (int i = 0; i < 24; i++)
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			_exit(4);
}

static void make(void)
{
	int broken[2];

	if (pipe2(plain, O_NONBLOCK) < 0 || pipe2(full, O_CLOEXEC) < 0 || pipe(child_end) < 0)
		_exit(4);
	put(plain[1], "some ");
	put(plain[1], "data");
	reopened = open_again(plain[0], O_RDONLY);
	both_ways = open_again(plain[0], O_RDWR | O_NONBLOCK);
	fcntl(full[1], F_SETPIPE_SZ, 131072);
	fill(full[1]);
	mkfifo(witness_path("fifo"), 0600);
	fifo[0] = open(witness_path("fifo"), O_RDONLY | O_NONBLOCK);
	fifo[1] = open(witness_path("fifo"), O_WRONLY);
	put(fifo[1], "in a fifo");
	mkfifo(witness_path("unwritten"), 0600);
	unwritten = open(witness_path("unwritten"), O_RDONLY | O_NONBLOCK);
	if (pipe(broken) == 0)
		no_writer = broken[0];
	put(broken[1], "the last words");
	close(broken[1]);
	if (pipe(broken) == 0)
		no_reader = broken[1];
	close(broken[0]);
	child = witness_child(keep_write_end);
	close(child_end[1]);
}

/* What waits in the pipe, its first line, left there. */
static const char *peek(int fd)
{
	static char text[1u << 17];
	int copy[2], size = 1 << 17;

	memset(text, 0, sizeof(text));
	if (pipe2(copy, O_NONBLOCK) < 0 || fcntl(copy[1], F_SETPIPE_SZ, size) < 0)
		return "cannot peek";
	ssize_t n = tee(fd, copy[1], (size_t)size, SPLICE_F_NONBLOCK);
	if (n > 0 && read(copy[0], text, sizeof(text) - 1) != n)
		return "cannot read";
	close(copy[0]);
	close(copy[1]);
	return text;
}

static void say_pipe(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	int waiting = -1;

	SAY(fd);
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(fd, F_GETFD));
	SAY(fcntl(fd, F_GETPIPE_SZ));
	SAY(ioctl(fd, FIONREAD, &waiting));
	SAY(waiting);
	SAY(poll(&p, 1, 0));
	SAY(p.revents);
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY)
		SAY(peek(fd));
}

static void look(void)
{
	const int all[] = { plain[0], plain[1], reopened, both_ways, full[0], full[1], fifo[0], fifo[1], child_end[0],
		no_writer, no_reader, unwritten };
	char byte;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		say_pipe(all[i]);
	SAY(read(unwritten, &byte, 1));
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, plain[0], plain[0]));
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, plain[0], reopened) != 0);
}

WITNESS(make, look)
