/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is there: directories whose entries are numbers, and the children of threads.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proc/parse.h"

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* in order, each once: a directory that changes while it is read may name an entry twice */
static void sort_numbers(struct span *s)
{
	pid_t *n = s->at;
	size_t kept = 0;
	bool sorted = true;

	for (size_t i = 1; i < s->n && sorted; i++)
		sorted = n[i - 1] < n[i];
	if (sorted)
		return;
	qsort(n, s->n, sizeof(*n), by_number);
	for (size_t i = 0; i < s->n; i++)
		if (kept == 0 || n[kept - 1] != n[i])
			n[kept++] = n[i];
	s->n = kept;
}

/* 1 and the number that @name is, 0 when it is none, -EBADMSG for one that the kernel would not print */
static int entry_number(const char *name, pid_t *ret)
{
	const char *p = name;
	uint64_t n;

	if (!isdigit((unsigned char)name[0]))
		return 0;
	if (scan_u64(&p, 10, INT_MAX, &n) < 0 || *p || (name[0] == '0' && name[1]))
		return -EBADMSG;
	*ret = (pid_t)n;
	return 1;
}

int list_numbers(struct arena *a, int dir, const char *path, struct span *ret)
{
	_cleanup_close_ int fd = open_below(dir, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	_cleanup_dir_ DIR *d = fdopendir(fd);
	if (!d)
		return -errno;
	TAKE_FD(fd);

	struct span numbers = { 0 };
	struct dirent *entry;
	while (errno = 0, (entry = readdir(d))) {
		pid_t n;
		int r = entry_number(entry->d_name, &n);
		if (r < 0)
			return r;
		if (r > 0)
			*(pid_t *)span_push(a, &numbers, sizeof(n)) = n;
	}
	if (errno)
		return missing(dir, -errno);
	sort_numbers(&numbers);
	*ret = numbers;
	return 0;
}

int proc_read_tids(struct arena *a, int dir, struct span *ret)
{
	struct span tids;
	int r = list_numbers(a, dir, "task", &tids);
	if (r < 0)
		return r;
	/* a living process has a thread, and so has a zombie */
	if (tids.n == 0)
		return -ESRCH;
	*ret = tids;
	return 0;
}

/* "812 813 ": a blank behind each tells a whole number from a cut one */
int parse_children(struct arena *a, struct lines *l, struct span *ret)
{
	struct span pids = *ret;
	struct line line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		const char *p = line.s;

		while (*p) {
			uint64_t pid;

			if (scan_u64(&p, 10, INT_MAX, &pid) < 0 || !scan_char(&p, ' '))
				return -EBADMSG;
			*(pid_t *)span_push(a, &pids, sizeof(pid_t)) = (pid_t)pid;
		}
	}
	if (r < 0)
		return r;
	*ret = pids;
	return 0;
}

/* the children of one thread; 0 as well when it has ended since it was seen */
static int read_children(struct arena *a, int dir, pid_t tid, struct span *pids)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "task/%d/children", tid);
	_cleanup_(lines_close) struct lines l;
	int r = lines_open(&l, dir, path);
	if (r == 0)
		r = parse_children(a, &l, pids);
	if (r != -ENOENT && r != -ESRCH)
		return r;

	*strrchr(path, '/') = '\0';
	return fstatat(dir, path, &st, 0) < 0 ? 0 : r;
}

int proc_read_children(struct arena *a, int dir, struct span *ret)
{
	struct span tids, pids = { 0 };
	int r = proc_read_tids(a, dir, &tids);
	if (r < 0)
		return r;
	for (size_t i = 0; i < tids.n; i++) {
		r = read_children(a, dir, ((pid_t *)tids.at)[i], &pids);
		if (r < 0)
			return r;
	}
	/* no thread left and nothing read: the process is what ended */
	r = missing(dir, -ENOENT);
	if (r == -ESRCH)
		return r;
	*ret = pids;
	return 0;
}
