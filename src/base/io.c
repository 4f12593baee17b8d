/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/io.h"

#define FDS_USUAL 16384u /* a table of 128 KiB */

int fd_close(int fd)
{
	int saved = errno;

	/* EINTR of close(2) means closed, on Linux */
	if (fd >= 0)
		close(fd);
	errno = saved;
	return -EBADF;
}

/*
 * A table of descriptors that is full is doubled; where threads have it in common the kernel waits each time until no processor
 * can be looking at the old one (expand_fdtable() in fs/file.c): 15 ms, and five times for a thousand processes, which stand
 * still. So it is made wide at once, while there is one thread: two links of the directory are those of any.
 */
static void widen_fd_table(uint64_t limit)
{
	const uint64_t want = limit < FDS_USUAL ? limit : FDS_USUAL;
	_cleanup_close_ int task = open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (task >= 0 && want && fstat(task, &st) == 0 && st.st_nlink == 3)
		fd_close(fcntl(task, F_DUPFD_CLOEXEC, (int)want - 1));
}

uint64_t raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 0;
	const struct rlimit most = { lim.rlim_max, lim.rlim_max };
	const uint64_t limit = setrlimit(RLIMIT_NOFILE, &most) < 0 ? lim.rlim_cur : most.rlim_cur;

	widen_fd_table(limit);
	return limit;
}

/* read(2), or pread(2) where at is not negative, until len bytes or the end */
static ssize_t read_loop(int fd, char *buf, size_t len, off_t at)
{
	size_t done = 0;

	if (len > SSIZE_MAX)
		return -EINVAL;
	while (done < len) {
		ssize_t n =
			at < 0 ? read(fd, buf + done, len - done) : pread(fd, buf + done, len - done, at + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int write_loop(int fd, const char *buf, size_t len, off_t at)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = at < 0 ? write(fd, buf + done, len - done)
				   : pwrite(fd, buf + done, len - done, at + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

ssize_t read_all(int fd, void *buf, size_t len)
{
	return read_loop(fd, buf, len, -1);
}

ssize_t pread_all(int fd, void *buf, size_t len, off_t at)
{
	off_t end;

	if (at < 0 || __builtin_add_overflow(at, len, &end))
		return -EINVAL;
	return read_loop(fd, buf, len, at);
}

int write_all(int fd, const void *buf, size_t len)
{
	return write_loop(fd, buf, len, -1);
}

int pwrite_all(int fd, const void *buf, size_t len, off_t at)
{
	off_t end;

	if (at < 0 || __builtin_add_overflow(at, len, &end))
		return -EINVAL;
	return write_loop(fd, buf, len, at);
}

int read_text(struct arena *a, int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;

	/* files of proc have no size: read until the end, and one byte more than allowed to see a larger one */
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, room = 0;
	for (;;) {
		if (len == room) {
			room = room ? room * 2 : 4096;
			char *more = realloc(buf, room);
			if (!more)
				return -ENOMEM;
			buf = more;
		}
		ssize_t n = read_all(fd, buf + len, room - len);
		if (n < 0)
			return (int)n;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (len < room)
			break;
	}
	*ret = arena_grow(a, buf, len, len + 1, 1);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int write_text(int dirfd, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	size_t len = strlen(text);
	ssize_t n;
	do
		n = write(fd, text, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int read_link(struct arena *a, int dirfd, const char *path, char **ret)
{
	/* links of proc give at most a page; others PATH_MAX */
	for (size_t room = 256; room <= 64 * 1024; room *= 4) {
		char *buf = arena_alloc(a, room);
		ssize_t n = readlinkat(dirfd, path, buf, room);
		if (n < 0)
			return -errno;
		if ((size_t)n < room) {
			*ret = buf;
			return 0;
		}
	}
	return -ENAMETOOLONG;
}

/* until @fd is ready: 0, or -EINTR when told to stop. Never longer than it takes a person to notice. */
static int await(int fd, short what, const volatile sig_atomic_t *cancel)
{
	struct pollfd p = { .fd = fd, .events = what };

	for (;;) {
		if (cancel && *cancel)
			return -EINTR;
		int n = poll(&p, 1, 100);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

int write_stream(int fd, const void *buf, size_t len, const volatile sig_atomic_t *cancel)
{
	for (size_t done = 0; done < len;) {
		/* a pipe that is ready takes this much without blocking, pipe(7) */
		size_t some = len - done < PIPE_BUF ? len - done : PIPE_BUF;
		int r = await(fd, POLLOUT, cancel);

		if (r < 0)
			return r;
		ssize_t n = write(fd, (const char *)buf + done, some);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

ssize_t read_stream(int fd, void *buf, size_t len, const volatile sig_atomic_t *cancel)
{
	size_t done = 0;

	while (done < len) {
		int r = await(fd, POLLIN, cancel);

		if (r < 0)
			return r;
		ssize_t n = read(fd, (char *)buf + done, len - done);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n == 0)
			break;
		if (n > 0)
			done += (size_t)n;
	}
	return (ssize_t)done;
}
