/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A time namespace adds an offset to CLOCK_MONOTONIC and one to CLOCK_BOOTTIME. Offsets count from the clocks of the host,
 * whatever namespace one is in, and can be set until the first process is born into the namespace.
 */
#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "proc/proc.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define SECOND (int64_t)1000000000
#define JUMP   SECOND /* programs are used to standing still for less */

/* nanoseconds to be added to the clocks of the host */
struct offsets {
	int64_t monotonic, boottime;
};

static int64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static struct clocks own_clocks(void)
{
	return (struct clocks){ (uint64_t)now(CLOCK_MONOTONIC), (uint64_t)now(CLOCK_BOOTTIME) };
}

static int parse_offset(const char *text, const char *name, int64_t *ret)
{
	const char *line = strstr(text, name);
	char *end;

	if (!line)
		return -EPROTONOSUPPORT;
	errno = 0;
	long long sec = strtoll(line + strlen(name), &end, 10), nsec = strtoll(end, &end, 10);
	if (errno || *end != '\n' || nsec < 0 || nsec >= SECOND || sec > CLOCK_END / SECOND ||
		sec < -CLOCK_END / SECOND)
		return -EBADMSG;
	*ret = sec * SECOND + nsec;
	return 0;
}

/* the file shows what the children of the process get: its own offsets when that is the namespace it lives in */
static int read_offsets(int dir, struct offsets *ret)
{
	uint64_t own, children;
	char text[256];
	int r = proc_read_ns(dir, "time", &own);

	if (r == 0)
		r = proc_read_ns(dir, "time_for_children", &children);
	if (r < 0)
		return r;
	if (own != children)
		return -EXDEV;
	_cleanup_close_ int fd = openat(dir, "timens_offsets", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read_all(fd, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	r = parse_offset(text, "monotonic", &ret->monotonic);
	return r < 0 ? r : parse_offset(text, "boottime", &ret->boottime);
}

int clocks_of(int dir, struct clocks *ret)
{
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t ours = 0, theirs = 0;
	struct offsets a, b;
	struct clocks c = own_clocks();

	*ret = (struct clocks){ 0 };
	if (self < 0)
		return -errno;
	int r = proc_read_ns(self, "time", &ours), q = proc_read_ns(dir, "time", &theirs);
	if (r != q)
		return -EXDEV;
	if (r == 0 && ours != theirs) {
		if (read_offsets(self, &a) < 0 || read_offsets(dir, &b) < 0)
			return -EXDEV;
		c.monotonic += (uint64_t)(b.monotonic - a.monotonic);
		c.boottime += (uint64_t)(b.boottime - a.boottime);
	}
	*ret = c;
	return 0;
}

static void print_offset(char *to, size_t len, const char *name, int64_t ns)
{
	int64_t sec = ns / SECOND - (ns % SECOND < 0); /* downwards: nanoseconds are never negative there */

	snprintf(to, len, "%s %" PRId64 " %" PRId64 "\n", name, sec, ns - sec * SECOND);
}

/*
 * CLOCK_MONOTONIC_COARSE has the same offset, but stands between two ticks: the program may have read it just after one, and a restart
 * takes less time than to the next. For it not to go backwards it begins where the others were, and these are ahead by less than a tick.
 */
int clocks_continue(const struct clocks *c)
{
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct offsets o;
	char text[128];

	if (self < 0)
		return -errno;
	int r = read_offsets(self, &o);
	if (r < 0)
		return r;
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	const int64_t coarse = now(CLOCK_MONOTONIC_COARSE), monotonic = now(CLOCK_MONOTONIC);
	print_offset(text, sizeof(text), "monotonic", o.monotonic + (int64_t)c->monotonic - coarse);
	print_offset(text + strlen(text), sizeof(text) - strlen(text), "boottime",
		o.boottime + (int64_t)c->boottime - now(CLOCK_BOOTTIME) + monotonic - coarse);
	return write_text(self, "timens_offsets", text);
}

static const char *duration(struct op *op, int64_t ns)
{
	int64_t s = ns / SECOND;

	if (s >= 172800)
		return arena_printf(&op->arena, "%" PRId64 " days", s / 86400);
	if (s >= 7200)
		return arena_printf(&op->arena, "%" PRId64 " hours", s / 3600);
	if (s >= 120)
		return arena_printf(&op->arena, "%" PRId64 " minutes", s / 60);
	return arena_printf(&op->arena, "%.1f seconds", (double)ns / 1e9);
}

static void tell(struct op *op, const char *clock, uint64_t was, uint64_t is, int why)
{
	int64_t jump = (int64_t)(is - was);
	const char *reason =
		why ? arena_printf(&op->arena, ": it cannot have a time namespace here (%s)", strerror(-why)) : "";

	if (jump < 0)
		note(op, "its %s goes back by %s%s", clock, duration(op, -jump), reason);
	else if (why && jump > JUMP)
		note(op, "its %s jumps forward by %s%s", clock, duration(op, jump), reason);
}

void clocks_tell_jump(struct op *op, const struct clocks *c, int why)
{
	const struct clocks here = own_clocks();

	if (c->monotonic)
		tell(op, "CLOCK_MONOTONIC", c->monotonic, here.monotonic, why);
	if (c->boottime)
		tell(op, "CLOCK_BOOTTIME", c->boottime, here.boottime, why);
}
