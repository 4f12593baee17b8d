/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is there: directories whose entries are numbers, and the children of threads.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proc/parse.h"

#define ENTRY_BYTES ((size_t)16 << 10) /* of a directory at once: of some hundred entries */

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

static int add_numbers(struct arena *a, const char *entries, size_t len, struct span *numbers)
{
	for (size_t at = 0; at < len;) {
		const struct dirent64 *entry = (const struct dirent64 *)(entries + at);
		pid_t n;
		int r = entry_number(entry->d_name, &n);
		if (r < 0)
			return r;
		if (r > 0)
			*(pid_t *)span_push(a, numbers, sizeof(n)) = n;
		at += entry->d_reclen;
	}
	return 0;
}

/* not by readdir(3), which asks three more things about the descriptor each time */
int list_numbers(struct arena *a, int dir, const char *path, struct span *ret)
{
	_Alignas(struct dirent64) char entries[ENTRY_BYTES];
	struct span numbers = { 0 };
	ssize_t len;

	_cleanup_close_ int fd = open_below(dir, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	while ((len = getdents64(fd, entries, sizeof(entries))) > 0) {
		int r = add_numbers(a, entries, (size_t)len, &numbers);
		if (r < 0)
			return r;
	}
	if (len < 0)
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

/* as links of the directory (proc_task_getattr() in fs/proc/base.c), besides those that each directory has */
size_t proc_count_threads(int dir)
{
	struct stat st;

	return fstatat(dir, "task", &st, 0) < 0 || st.st_nlink < 2 ? 0 : st.st_nlink - 2;
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

/* the children of one thread; 1 when it has ended since it was seen */
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
	return fstatat(dir, path, &st, 0) < 0 ? 1 : r;
}

int proc_read_children_of(struct arena *a, int dir, const pid_t *tid, size_t n, struct span *ret)
{
	struct span pids = { 0 };
	size_t ended = 0;

	for (size_t i = 0; i < n; i++) {
		int r = read_children(a, dir, tid[i], &pids);

		if (r < 0)
			return r;
		ended += r > 0;
	}
	/* no thread left and nothing read: the process is what ended */
	if (ended && missing(dir, -ENOENT) == -ESRCH)
		return -ESRCH;
	*ret = pids;
	return 0;
}

int proc_read_children(struct arena *a, int dir, struct span *ret)
{
	struct span tids;
	int r = proc_read_tids(a, dir, &tids);

	return r < 0 ? r : proc_read_children_of(a, dir, tids.at, tids.n, ret);
}
