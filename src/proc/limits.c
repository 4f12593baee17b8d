/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/limits: a head line, then a line per limit: a name of several words, soft, hard, unit.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "proc/parse.h"

static const char *const names[PROC_LIMITS] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};

static int scan_limit(const char **p, uint64_t *ret)
{
	static const char none[] = "unlimited";

	if (!scan_blanks(p))
		return -EBADMSG;
	if (strncmp(*p, none, sizeof(none) - 1) == 0) {
		*p += sizeof(none) - 1;
		*ret = UINT64_MAX;
		return 0;
	}
	return scan_u64(p, 10, UINT64_MAX, ret);
}

static int parse_line(const char *p, struct proc_limit *limits)
{
	for (size_t i = 0; i < PROC_LIMITS; i++) {
		size_t n = strlen(names[i]);

		if (strncmp(p, names[i], n) != 0 || p[n] != ' ')
			continue;
		p += n;
		if (limits[i].seen || scan_limit(&p, &limits[i].soft) < 0 || scan_limit(&p, &limits[i].hard) < 0 ||
			*p != ' ')
			return -EBADMSG;
		limits[i].seen = true;
		return 0;
	}
	return -EPROTONOSUPPORT;
}

/* all limits, or none: a process that is about to be reaped has no text here */
int parse_limits(struct lines *l, struct proc_limit ret[PROC_LIMITS])
{
	struct proc_limit limits[PROC_LIMITS] = { 0 };
	struct line line;
	size_t n = 0;
	int r;

	for (; (r = lines_next(l, &line)) > 0; n++) {
		if (line.cut)
			return -EBADMSG;
		if (n == 0)
			r = strncmp(line.s, "Limit ", 6) == 0 ? 0 : -EBADMSG;
		else
			r = parse_line(line.s, limits);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (n != 0 && n != 1 + PROC_LIMITS)
		return -EBADMSG;
	memcpy(ret, limits, sizeof(limits));
	return 0;
}

int proc_read_limits(struct arena *a, int dir, struct proc_limit ret[PROC_LIMITS])
{
	_cleanup_(lines_close) struct lines l;
	int r = lines_open(&l, dir, "limits");

	return r < 0 ? r : parse_limits(&l, ret);
}
