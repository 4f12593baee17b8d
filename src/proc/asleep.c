/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that sleeps in a system call: syscall, wchan and sched below /proc/PID/task/TID.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "proc/parse.h"

/* "230 0x0 0x0 ... SP IP"; "running"; "-1 SP IP" outside of any call */
int parse_syscall(const char *text, struct proc_syscall *ret)
{
	struct proc_syscall s = { 0 };
	uint64_t *const to[] = { &s.arg[0], &s.arg[1], &s.arg[2], &s.arg[3], &s.arg[4], &s.arg[5], &s.sp, &s.ip };
	const char *p = text;

	if (strcmp(p, "running\n") == 0 || strncmp(p, "-1 ", 3) == 0)
		return -EAGAIN;
	if (scan_i64(&p, 0, INT32_MAX, &s.nr) < 0)
		return -EBADMSG;
	for (size_t i = 0; i < ARRAY_SIZE(to); i++)
		if (!scan_char(&p, ' ') || !scan_char(&p, '0') || !scan_char(&p, 'x') ||
			scan_u64(&p, 16, UINT64_MAX, to[i]) < 0)
			return -EBADMSG;
	if (strcmp(p, "\n") != 0)
		return -EBADMSG;
	*ret = s;
	return 0;
}

/* milliseconds, a point, and six digits: SPLIT_NS() in kernel/sched/debug.c */
static int scan_time(const char **p, uint64_t *ret)
{
	uint64_t ms, ns;

	scan_blanks(p);
	if (scan_u64(p, 10, INT64_MAX / 1000000 - 1, &ms) < 0 || !scan_char(p, '.'))
		return -EBADMSG;
	const char *digits = *p;
	if (scan_u64(p, 10, 999999, &ns) < 0 || *p - digits != 6)
		return -EBADMSG;
	*ret = ms * 1000000 + ns;
	return 0;
}

/* the lines "name   :   value" of @l that are wanted here; others come and go with the kernel */
int parse_sched(struct lines *l, struct proc_sched *ret)
{
	struct proc_sched s = { 0 };
	bool has_time = false, has_switches = false;
	struct line line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		const char *p = strrchr(line.s, ':');

		if (!p || line.cut)
			continue;
		p++;
		if (strncmp(line.s, "se.exec_start ", 14) == 0) {
			has_time = true;
			r = scan_time(&p, &s.exec_start);
		} else if (strncmp(line.s, "nr_voluntary_switches ", 22) == 0) {
			has_switches = true;
			scan_blanks(&p);
			r = scan_u64(&p, 10, UINT64_MAX, &s.voluntary);
		} else {
			continue;
		}
		if (r < 0 || *p)
			return -EBADMSG;
	}
	if (r < 0)
		return r;
	if (!has_time || !has_switches)
		return -EPROTONOSUPPORT;
	*ret = s;
	return 0;
}

static int read_short(int dir, const char *name, char *text, size_t room)
{
	_cleanup_close_ int fd = open_below(dir, name, O_RDONLY);

	if (fd < 0)
		return fd;
	ssize_t n = read_record(fd, text, room - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	return 0;
}

int proc_read_syscall(int dir, struct proc_syscall *ret)
{
	char text[256];
	int r = read_short(dir, "syscall", text, sizeof(text));

	return r < 0 ? r : parse_syscall(text, ret);
}

int proc_read_thread_syscall(int process, pid_t tid, struct proc_syscall *ret)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "task/%d/syscall", tid);
	int r = read_short(process, path, text, sizeof(text));
	return r < 0 ? r : parse_syscall(text, ret);
}

int proc_read_wchan(int dir, char *ret, size_t room)
{
	return read_short(dir, "wchan", ret, room);
}

int proc_read_sched(int dir, struct proc_sched *ret)
{
	struct lines l;
	int r = lines_open(&l, dir, "sched");

	if (r == 0)
		r = parse_sched(&l, ret);
	lines_close(&l);
	return r;
}
