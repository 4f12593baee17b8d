/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/timers: four lines a timer, the newest first. Process and threads of SIGEV_THREAD_ID are as the mount counts
 * them, those in clocks as the process does.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "proc/parse.h"

#define LINES_A_TIMER 4

/* "signal/tid.812" */
static int scan_notify(const char *p, struct proc_timer *t)
{
	static const struct {
		const char *text;
		uint32_t notify;
	} modes[] = {
		{ "signal/pid.", SIGEV_SIGNAL },
		{ "signal/tid.", SIGEV_THREAD_ID },
		{ "none/pid.", SIGEV_NONE },
		{ "thread/pid.", SIGEV_THREAD },
	};
	uint64_t target;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		size_t n = strlen(modes[i].text);

		if (strncmp(p, modes[i].text, n) != 0)
			continue;
		p += n;
		t->notify = modes[i].notify;
		if (scan_u64(&p, 10, INT_MAX, &target) < 0 || *p)
			return -EBADMSG;
		t->target = (pid_t)target;
		return 0;
	}
	return -EPROTONOSUPPORT;
}

/* "14/00007ffc12345678"; without a signal (SIGEV_NONE) the number is whatever the program left there */
static int scan_signal(const char *p, struct proc_timer *t)
{
	int64_t signo;

	if (scan_i64(&p, INT_MIN, INT_MAX, &signo) < 0 || !scan_char(&p, '/') ||
		scan_u64(&p, 16, UINT64_MAX, &t->value) < 0 || *p)
		return -EBADMSG;
	t->signo = (int32_t)signo;
	return 0;
}

static int parse_line(size_t which, const char *s, struct proc_timer *t)
{
	static const char *const keys[LINES_A_TIMER] = { "ID: ", "signal: ", "notify: ", "ClockID: " };
	size_t n = strlen(keys[which]);
	int64_t number;

	if (strncmp(s, keys[which], n) != 0)
		return -EBADMSG;
	s += n;
	if (which == 1)
		return scan_signal(s, t);
	if (which == 2)
		return scan_notify(s, t);
	if (scan_i64(&s, which ? INT_MIN : 0, INT_MAX, &number) < 0 || *s)
		return -EBADMSG;
	if (which)
		t->clock = (int32_t)number;
	else
		t->id = (int32_t)number;
	return 0;
}

int parse_timers(struct arena *a, struct lines *l, struct span *ret)
{
	struct span timers = { 0 };
	struct proc_timer t = { 0 };
	struct line line;
	size_t n = 0;
	int r;

	for (; (r = lines_next(l, &line)) > 0; n++) {
		r = line.cut ? -EBADMSG : parse_line(n % LINES_A_TIMER, line.s, &t);
		if (r < 0)
			return r;
		if (n % LINES_A_TIMER == LINES_A_TIMER - 1)
			*(struct proc_timer *)span_push(a, &timers, sizeof(t)) = t;
	}
	if (r < 0)
		return r;
	if (n % LINES_A_TIMER)
		return -EBADMSG;
	*ret = timers;
	return 0;
}

int proc_read_timers(struct arena *a, int dir, struct span *ret)
{
	_cleanup_(lines_close) struct lines l;
	int r = lines_open(&l, dir, "timers");

	return r < 0 ? r : parse_timers(a, &l, ret);
}
