/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way to a process, and where it stands: namespaces, cgroup.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "proc/parse.h"

static int open_number(int dir, const char *prefix, pid_t n)
{
	char path[32];

	if (n <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "%s%d", prefix, n);
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return fd;
}

int proc_open(int procfd, pid_t pid)
{
	return open_number(procfd, "", pid);
}

int proc_open_thread(int dir, pid_t tid)
{
	return open_number(dir, "task/", tid);
}

int proc_read_all(struct arena *a, int procfd, struct span *ret)
{
	return list_numbers(a, procfd, ".", ret);
}

int parse_ns(const char *link, uint64_t *ret_ino)
{
	const char *p = strstr(link, ":[");
	uint64_t ino;

	if (!p)
		return -EBADMSG;
	p += 2;
	if (scan_u64(&p, 10, UINT64_MAX, &ino) < 0 || strcmp(p, "]") != 0)
		return -EBADMSG;
	*ret_ino = ino;
	return 0;
}

int proc_read_ns(int dir, const char *name, uint64_t *ret_ino)
{
	char path[NAME_MAX + 4], link[64];

	if (snprintf(path, sizeof(path), "ns/%s", name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	ssize_t n = readlinkat(dir, path, link, sizeof(link) - 1);
	if (n < 0)
		return missing(dir, -errno);
	link[n] = '\0';
	return parse_ns(link, ret_ino);
}

const char *const proc_ns_names[PROC_NS_N] = {
	"net",
	"ipc",
	"uts",
	"mnt",
	"cgroup",
	"time_for_children",
	"pid_for_children",
	"user",
	"time",
	"pid",
};

int proc_read_namespaces(int dir, unsigned int n, uint64_t *ret_ino)
{
	int r = 0;

	for (unsigned int i = 0; i < n && r == 0; i++) {
		ret_ino[i] = 0;
		r = proc_read_ns(dir, proc_ns_names[i], &ret_ino[i]);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

int parse_cgroup(struct arena *a, struct lines *l, const char **ret)
{
	struct line line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		if (line.cut)
			return -EBADMSG;
		if (strncmp(line.s, "0::", 3) != 0)
			continue;
		if (line.s[3] != '/')
			return -EBADMSG;
		*ret = arena_strdup(a, line.s + 3);
		return 0;
	}
	return r < 0 ? r : -ENOENT;
}

int proc_cgroup(struct arena *a, int dir, const char **ret)
{
	_cleanup_(lines_close) struct lines l;
	int r = lines_open(&l, dir, "cgroup");

	return r < 0 ? r : parse_cgroup(a, &l, ret);
}

/* "\040" and the like, of which mountinfo has four */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
			s[3] <= '7') {
			char c = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			if (c) {
				*to++ = c;
				s += 4;
				continue;
			}
		}
		*to++ = *s++;
	}
	*to = '\0';
}

struct mount_line {
	const char *id, *dev;
	char *root, *point;
	const char *type;
};

/* "31 23 0:28 ROOT POINT options [tags] - TYPE source options" */
static int parse_mount(char *s, struct mount_line *ret)
{
	char *field[6];

	for (size_t i = 0; i < ARRAY_SIZE(field); i++) {
		field[i] = s;
		s = strchr(s, ' ');
		if (!s)
			return -EBADMSG;
		*s++ = '\0';
	}
	char *type = strncmp(s, "- ", 2) == 0 ? s + 2 : strstr(s, " - ");
	if (!type)
		return -EBADMSG;
	type += strspn(type, " -");
	char *end = strchr(type, ' ');
	if (!end)
		return -EBADMSG;
	*end = '\0';
	*ret = (struct mount_line){ field[0], field[2], field[3], field[4], type };
	return 0;
}

/* a mount of the whole hierarchy, or else the first of a part of it */
int parse_cgroup2_mount(struct arena *a, struct lines *l, const char **ret)
{
	const char *part = NULL;
	struct line line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		struct mount_line m;

		if (line.cut || parse_mount(line.s, &m) < 0)
			return -EBADMSG;
		if (strcmp(m.type, "cgroup2") != 0)
			continue;
		unescape(m.point);
		if (m.point[0] != '/')
			return -EBADMSG;
		bool whole = strcmp(m.root, "/") == 0;
		if (whole || !part)
			part = arena_strdup(a, m.point);
		if (whole)
			break;
	}
	if (r < 0)
		return r;
	if (!part)
		return -ENOENT;
	*ret = part;
	return 0;
}

int proc_cgroup2_mount(struct arena *a, int procfd, const char **ret)
{
	_cleanup_(lines_close) struct lines l;
	int r = lines_open(&l, procfd, "self/mountinfo");

	return r < 0 ? r : parse_cgroup2_mount(a, &l, ret);
}

int parse_mount_dev(struct lines *l, uint64_t id, uint64_t *ret_dev)
{
	uint64_t this, major, minor;
	struct line line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		struct mount_line m;

		if (line.cut || parse_mount(line.s, &m) < 0 || scan_u64(&m.id, 10, UINT64_MAX, &this) < 0)
			return -EBADMSG;
		if (this != id)
			continue;
		if (scan_u64(&m.dev, 10, UINT32_MAX, &major) < 0 || !scan_char(&m.dev, ':') ||
			scan_u64(&m.dev, 10, UINT32_MAX, &minor) < 0)
			return -EBADMSG;
		*ret_dev = makedev((unsigned int)major, (unsigned int)minor);
		return 0;
	}
	return r < 0 ? r : -ENOENT;
}

int proc_mount_dev(int dir, uint64_t id, uint64_t *ret_dev)
{
	_cleanup_(lines_close) struct lines l;
	int r = lines_open(&l, dir, "mountinfo");

	return r < 0 ? r : parse_mount_dev(&l, id, ret_dev);
}
