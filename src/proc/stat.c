/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/stat: one line of numbers behind a name that may hold anything, ')' and newlines too.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/io.h"
#include "proc/parse.h"

enum how {
	PID, /* pid_t; -1 and 0 stand for none */
	DEV, /* printed as int, but is a number without sign of 32 bits */
	I64,
	U64,
};

#define FIELD(n, how, member)                              \
	{                                                  \
		n, how, offsetof(struct proc_stat, member) \
	}

/* by the numbers of proc(5), rising */
static const struct {
	unsigned int n;
	enum how how;
	size_t at;
} fields[] = {
	FIELD(4, PID, ppid),
	FIELD(5, PID, pgrp),
	FIELD(6, PID, session),
	FIELD(7, DEV, tty_nr),
	FIELD(8, I64, tpgid),
	FIELD(9, U64, flags),
	FIELD(18, I64, priority),
	FIELD(19, I64, nice),
	FIELD(20, I64, num_threads),
	FIELD(22, U64, starttime),
	FIELD(26, U64, start_code),
	FIELD(27, U64, end_code),
	FIELD(28, U64, start_stack),
	FIELD(38, I64, exit_signal),
	FIELD(39, I64, processor),
	FIELD(40, I64, rt_priority),
	FIELD(41, I64, policy),
	FIELD(45, U64, start_data),
	FIELD(46, U64, end_data),
	FIELD(47, U64, start_brk),
	FIELD(48, U64, arg_start),
	FIELD(49, U64, arg_end),
	FIELD(50, U64, env_start),
	FIELD(51, U64, env_end),
	FIELD(52, I64, exit_code),
};

static int scan_field(const char **p, enum how how, void *to)
{
	int64_t n = 0;
	int r = 0;

	switch (how) {
	case PID:
		r = scan_i64(p, -1, INT_MAX, &n);
		*(pid_t *)to = (pid_t)n;
		break;
	case DEV:
		r = scan_i64(p, INT_MIN, UINT32_MAX, &n);
		*(uint64_t *)to = (uint32_t)n;
		break;
	case I64:
		r = scan_i64(p, INT64_MIN, INT64_MAX, to);
		break;
	case U64:
		r = scan_u64(p, 10, UINT64_MAX, to);
		break;
	}
	return r;
}

/* the numbers from field 4 on; later kernels append some */
static int scan_numbers(const char *p, struct proc_stat *st)
{
	const size_t count = sizeof(fields) / sizeof(fields[0]);
	size_t next = 0;

	for (unsigned int n = 4; next < count; n++) {
		if (!scan_char(&p, ' '))
			return -EBADMSG;
		if (n < fields[next].n) {
			p += *p == '-';
			p += strspn(p, "0123456789");
			continue;
		}
		if (scan_field(&p, fields[next].how, (char *)st + fields[next].at) < 0)
			return -EBADMSG;
		next++;
	}
	return *p == ' ' || *p == '\n' ? 0 : -EBADMSG;
}

int parse_stat(const char *text, size_t len, struct proc_stat *ret)
{
	struct proc_stat st = { 0 };
	const char *p = text;
	int64_t pid;

	if (len == 0 || text[len - 1] != '\n')
		return -EBADMSG;
	if (scan_i64(&p, 0, INT_MAX, &pid) < 0 || !scan_char(&p, ' ') || !scan_char(&p, '('))
		return -EBADMSG;
	st.pid = (pid_t)pid;

	size_t left = len - (size_t)(p - text);
	const char *end = memrchr(p, ')', left);
	if (!end || (size_t)(end - p) >= sizeof(st.comm) || memchr(p, '\0', left))
		return -EBADMSG;
	memcpy(st.comm, p, (size_t)(end - p));

	p = end + 1;
	if (!scan_char(&p, ' ') || !isalpha((unsigned char)*p))
		return -EBADMSG;
	st.state = *p++;
	if (scan_numbers(p, &st) < 0)
		return -EBADMSG;
	*ret = st;
	return 0;
}

int proc_read_stat(int dir, struct proc_stat *ret)
{
	char text[4096];
	_cleanup_close_ int fd = open_below(dir, "stat", O_RDONLY);
	if (fd < 0)
		return fd;
	ssize_t n = read_record(fd, text, sizeof(text));
	if (n < 0)
		return (int)n;
	if ((size_t)n == sizeof(text))
		return -EBADMSG;
	text[n] = '\0';
	return parse_stat(text, (size_t)n, ret);
}
