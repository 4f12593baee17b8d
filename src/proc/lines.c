/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines of a file, and what lines are made of. Files of proc have no size and come a page at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "proc/parse.h"

/* the children of one thread are one line: 4 million pids of 8 bytes */
#define LINE_MAX_LEN ((size_t)64 << 20)

int missing(int dir, int err)
{
	struct stat st;

	if (err == -ENOENT && fstatat(dir, "stat", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -ESRCH;
	return err;
}

int open_below(int dir, const char *path, int flags)
{
	int fd = openat(dir, path, flags | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? missing(dir, -errno) : fd;
}

void lines_mem(struct lines *l, char *text, size_t len)
{
	l->fd = -EBADF;
	l->buf = text;
	l->room = l->len = len;
	l->at = 0;
	arena_init(&l->spill);
}

int lines_open(struct lines *l, int dir, const char *path)
{
	lines_mem(l, l->first, 0);
	l->room = LINES_FIRST;
	l->fd = open_below(dir, path, O_RDONLY);
	return l->fd < 0 ? l->fd : 0;
}

int lines_record(struct lines *l)
{
	ssize_t n = read_record(l->fd, l->buf, l->room);

	if (n < 0)
		return (int)n;
	l->len = (size_t)n;
	if (l->len < l->room)
		l->fd = fd_close(l->fd);
	return 0;
}

void lines_close(struct lines *l)
{
	l->fd = fd_close(l->fd);
	arena_done(&l->spill);
}

/* more bytes behind those that are there, of which the first unread one goes to the front; 0 at the end of the file */
static int lines_fill(struct lines *l)
{
	ssize_t n;

	if (l->fd < 0)
		return 0;
	l->len -= l->at;
	memmove(l->buf, l->buf + l->at, l->len);
	l->at = 0;
	if (l->len == l->room) {
		if (l->room >= LINE_MAX_LEN)
			return -EBADMSG;
		l->buf = arena_grow(&l->spill, l->buf, l->len, l->room * 2 + 1, 1);
		l->room *= 2;
	}
	do
		n = read(l->fd, l->buf + l->len, l->room - l->len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		l->fd = fd_close(l->fd);
	l->len += (size_t)n;
	return n > 0;
}

int lines_next(struct lines *l, struct line *ret)
{
	size_t looked = 0; /* bytes of this line that hold no newline */
	char *newline;

	while (!(newline = memchr(l->buf + l->at + looked, '\n', l->len - l->at - looked))) {
		looked = l->len - l->at;
		int r = lines_fill(l);
		if (r < 0)
			return r;
		if (r == 0)
			break;
	}
	if (!newline && looked == 0)
		return 0;

	struct line line = { l->buf + l->at, newline ? (size_t)(newline - l->buf) - l->at : looked, !newline };
	line.s[line.len] = '\0';
	l->at += line.len + !line.cut;
	if (memchr(line.s, '\0', line.len))
		return -EBADMSG;
	*ret = line;
	return 1;
}

ssize_t read_record(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int scan_u64(const char **p, int base, uint64_t max, uint64_t *ret)
{
	const char *s = *p;
	uint64_t value;

	if (parse_u64(&s, base, &value) < 0 || value > max)
		return -EBADMSG;
	*p = s;
	*ret = value;
	return 0;
}

int scan_i64(const char **p, int64_t min, int64_t max, int64_t *ret)
{
	const char *s = *p;
	bool negative = scan_char(&s, '-');
	uint64_t value;

	if (scan_u64(&s, 10, (uint64_t)INT64_MAX + negative, &value) < 0)
		return -EBADMSG;
	int64_t n = negative ? (int64_t)(0 - value) : (int64_t)value;
	if (n < min || n > max)
		return -EBADMSG;
	*p = s;
	*ret = n;
	return 0;
}

bool scan_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

bool scan_blanks(const char **p)
{
	const char *from = *p;

	while (**p == ' ' || **p == '\t') /* mostly few: a call takes longer */
		(*p)++;
	return *p > from;
}

int scan_word(const char **p, char *buf, size_t room)
{
	size_t n = strcspn(*p, " \t");

	if (n == 0 || n >= room)
		return -EBADMSG;
	memcpy(buf, *p, n);
	buf[n] = '\0';
	*p += n;
	return 0;
}
