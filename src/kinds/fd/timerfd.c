/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timers behind a descriptor - timerfd_create(2)
 *
 * One that was set to an absolute time of day still comes at that time, and at once when it has passed. All others go on
 * with the time that was left.
 *
 * Seen:  /proc/PID/fdinfo: clockid, ticks, settime flags, it_value, it_interval. A periodic one that has run out and was
 *        not read stands still, and only timerfd_gettime(2) on the open file tells how often it would have come
 *        meanwhile; it goes on then, as after a read(2).
 * Lost:  that the clock was set (TFD_TIMER_CANCEL_ON_SET) and the program has not been told yet;
 *        F_SETOWN, F_SETSIG
 * Needs: pidfd_getfd(2); TFD_IOC_SET_TICKS (CONFIG_CHECKPOINT_RESTORE); CAP_WAKE_ALARM for clocks that wake the system
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

#define SECOND 1000000000ull
#define SOON   10000000ull /* it could run out between two calls of ours */
#define TURNS  8

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_NOATIME,
	SETTIME_FLAGS = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
};

struct timerfd {
	uint32_t clock, flags, settime_flags;
	uint64_t ticks, value_ns, interval_ns;
	uint64_t at_ns; /* an absolute time of day: when */
	int fd; /* while restarting: borrowed */
};

static const struct flag settime_flags[] = {
	{ TFD_TIMER_ABSTIME, "ABSTIME" },
	{ TFD_TIMER_CANCEL_ON_SET, "CANCEL_ON_SET" },
	{ 0 },
};

static const struct field fields[] = {
	FIELD_U(1, struct timerfd, clock, "timerfd_ctx.clockid"),
	FIELD_B(2, struct timerfd, flags, "file.f_flags", openfile_flags),
	FIELD_B(3, struct timerfd, settime_flags, "timerfd_ctx.settime_flags", settime_flags),
	FIELD_U(4, struct timerfd, ticks, "timerfd_ctx.ticks"),
	FIELD_U(5, struct timerfd, value_ns, "timerfd_ctx.t"),
	FIELD_U(6, struct timerfd, interval_ns, "timerfd_ctx.tintv"),
	FIELD_U(7, struct timerfd, at_ns, "timerfd_ctx.t"),
	FIELDS_END,
};

static bool is_known_clock(uint32_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
	       clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
}

static bool is_at_time_of_day(const struct timerfd *t)
{
	return t->settime_flags & TFD_TIMER_ABSTIME && (t->clock == CLOCK_REALTIME || t->clock == CLOCK_REALTIME_ALARM);
}

static uint64_t to_ns(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * SECOND + (uint64_t)ts->tv_nsec;
}

static struct timespec from_ns(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / SECOND), (long)(ns % SECOND) };
}

/* @clock may be one that wakes the system: where it has no way to wake up, that cannot be read */
static uint64_t now_on(uint32_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock == CLOCK_REALTIME_ALARM   ? CLOCK_REALTIME
		      : clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME
						      : (clockid_t)clock,
		&ts);
	return to_ns(&ts);
}

/* ---- what fdinfo says ---- */

static int parse_number(const char *p, int base, uint64_t max, uint64_t *ret)
{
	return parse_u64(&p, base, ret) < 0 || *p || *ret > max ? -EBADMSG : 0;
}

/* "(12, 500000000)" */
static int parse_time(const char *p, uint64_t *ret)
{
	uint64_t sec, nsec;

	if (*p++ != '(' || parse_u64(&p, 10, &sec) < 0 || *p++ != ',' || *p++ != ' ' || parse_u64(&p, 10, &nsec) < 0 ||
		strcmp(p, ")") != 0 || nsec >= SECOND || sec >= INT64_MAX / SECOND)
		return -EBADMSG;
	*ret = sec * SECOND + nsec;
	return 0;
}

/* returns a bit for what @line is about; -EPROTONOSUPPORT for what is not known */
static int parse_line(const char *line, struct timerfd *t)
{
	static const char *const keys[] = { "clockid: ", "ticks: ", "settime flags: ", "it_value: ", "it_interval: " };
	uint64_t number = 0;
	size_t which = 0;
	int r;

	while (which < ARRAY_SIZE(keys) && strncmp(line, keys[which], strlen(keys[which])) != 0)
		which++;
	if (which == ARRAY_SIZE(keys))
		return -EPROTONOSUPPORT;
	const char *p = line + strlen(keys[which]);
	if (which >= 3)
		return parse_time(p, which == 3 ? &t->value_ns : &t->interval_ns) < 0 ? -EBADMSG : 1 << which;
	r = parse_number(p, which == 2 ? 8 : 10, which == 1 ? UINT64_MAX : INT32_MAX, &number);
	if (which == 0)
		t->clock = (uint32_t)number;
	else if (which == 1)
		t->ticks = number;
	else
		t->settime_flags = (uint32_t)number;
	return r < 0 ? r : 1 << which;
}

static int parse(const struct proc_fd *f, struct timerfd *t)
{
	const char *const *line = f->extra.at;
	int seen = 0;

	for (size_t i = 0; i < f->extra.n; i++) {
		int which = parse_line(line[i], t);

		if (which < 0)
			return which;
		if (seen & which)
			return -EBADMSG;
		seen |= which;
	}
	return seen == 0x1f ? 0 : -EBADMSG;
}

/* ---- saving ---- */

static bool timerfd_probe(const struct sight *s)
{
	return strcmp(s->fd->link, "anon_inode:[timerfd]") == 0;
}

static int timerfd_check(struct op *op, const struct sight *s)
{
	int locks = openfile_check_locks(op, s, true), flags = openfile_check_flags(op, s, FLAGS);
	struct timerfd t = { 0 };
	int r = parse(s->fd, &t);

	if (r == -EPROTONOSUPPORT ||
		(r == 0 && (t.settime_flags & ~(uint32_t)SETTIME_FLAGS || !is_known_clock(t.clock))))
		return refuse(op, "timerfd-new", "this version has not considered what the kernel says about it", NULL,
			"is a timer of an unknown way");
	if (r < 0)
		return fail(op, r, "read what the kernel says about a timer");
	return flags < 0 ? flags : locks;
}

/* It stands still until somebody reads it or asks; both count what it has missed, and let it go on. */
static int wind_up(const struct sight *s)
{
	struct itimerspec its;

	_cleanup_close_ int fd = openfile_take(s);
	if (fd < 0)
		return fd;
	return timerfd_gettime(fd, &its) < 0 ? -errno : 0;
}

static int read_timer(struct op *op, const struct sight *s, struct timerfd *t)
{
	for (int turn = 0; turn < TURNS; turn++) {
		struct proc_fd f;
		int r = proc_read_fdinfo(&op->arena, s->process->dir, s->fd->n, &f);

		if (r == 0)
			r = parse(&f, t);
		if (r < 0)
			return r;
		/* the clock is read after the time that is left: so it never comes before its time */
		t->at_ns = is_at_time_of_day(t) && t->value_ns ? now_on(t->clock) + t->value_ns : 0;
		if (t->value_ns || !t->interval_ns || !t->ticks)
			return 0;
		r = wind_up(s);
		if (r < 0)
			return r;
	}
	t->value_ns = 1; /* so fast that it has always run out */
	t->at_ns = is_at_time_of_day(t) ? now_on(t->clock) : 0;
	return 0;
}

static int timerfd_save(struct op *op, const struct sight *s, void *rec)
{
	struct timerfd *t = rec;

	t->flags = s->fd->flags;
	int r = read_timer(op, s, t);
	return r < 0 ? fail(op, r, "read what the kernel says about a timer") : 0;
}

/* ---- restarting ---- */

static int timerfd_restore(struct op *op, void *rec, struct site *site)
{
	struct timerfd *t = rec;

	if (!is_known_clock(t->clock) || t->flags & ~(FLAGS | O_ACCMODE | OPENFILE_LARGE) || t->value_ns > INT64_MAX ||
		t->interval_ns > INT64_MAX || t->at_ns > INT64_MAX)
		return fail_as(op, OUTCOME_IMAGE, "timerfd", NULL, "make a timer from the image");
	_cleanup_close_ int fd = timerfd_create((clockid_t)t->clock, TFD_CLOEXEC);
	if (fd < 0 && errno == EPERM)
		return fail_as(op, OUTCOME_PERMISSION, "timerfd-alarm", "restart it as root",
			"make a timer that wakes the system: that needs CAP_WAKE_ALARM");
	if (fd < 0)
		return fail(op, -errno, "make a timer");
	int r = openfile_set_status(fd, t->flags);
	if (r < 0)
		return fail(op, r, "set the status flags of a timer");
	t->fd = fd;
	return TAKE_FD(fd);
}

/* @soon: it runs out now, which is the first tick of its own */
static int set_ticks(struct op *op, const struct timerfd *t, bool soon)
{
	struct pollfd p = { .fd = t->fd, .events = POLLIN };
	uint64_t ticks = t->ticks;

	if (!ticks)
		return 0;
	if (soon && poll(&p, 1, 1000) == 1)
		ticks++;
	if (ioctl(t->fd, TFD_IOC_SET_TICKS, &ticks) == 0)
		return 0;
	if (errno != ENOTTY)
		return fail(op, -errno, "put the ticks of a timer back");
	note(op, "a timer has forgotten %" PRIu64 " ticks that were not read: this kernel has no TFD_IOC_SET_TICKS",
		ticks);
	return 0;
}

static int timerfd_settle(struct op *op, void *rec, struct site *site)
{
	const struct timerfd *t = rec;
	uint64_t now = now_on(t->clock), left = t->value_ns, value = left;

	if (t->value_ns && t->settime_flags & TFD_TIMER_ABSTIME) {
		value = is_at_time_of_day(t) ? t->at_ns : now + left;
		left = value > now ? value - now : 0;
	}
	const struct itimerspec its = { from_ns(t->interval_ns), from_ns(value) };
	if (timerfd_settime(t->fd, (int)t->settime_flags, &its, NULL) < 0)
		return fail(op, -errno, "arm a timer");
	return set_ticks(op, t, t->value_ns && left < SOON);
}

static void timerfd_describe(const void *rec, FILE *out)
{
	const struct timerfd *t = rec;
	const struct timespec left = from_ns(t->value_ns);

	if (t->value_ns)
		fprintf(out, "runs out in %lld.%03ld s", (long long)left.tv_sec, left.tv_nsec / 1000000);
	else
		fputs("not armed", out);
	if (t->ticks)
		fprintf(out, ", %" PRIu64 " ticks not read", t->ticks);
}

const struct kind kind_fd_timerfd = {
	.name = "timerfd",
	.tag = 0x65,
	.scope = SCOPE_FD,
	.size = sizeof(struct timerfd),
	.fields = fields,
	.probe = timerfd_probe,
	.check = timerfd_check,
	.save = timerfd_save,
	.restore = timerfd_restore,
	.settle = timerfd_settle,
	.describe = timerfd_describe,
};
