/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/witness.h"

#define LONG   5000 /* seconds: no test takes that long */
#define MISSED 1000

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif

enum { PERIODIC, AT_TIME, BOOT, DISARMED, ALARM, ONCE, LATE, COUNTED, TIMERS };

static int fds[TIMERS];
static struct timespec day;

static void set(int which, int flags, time_t sec, long nsec, time_t interval)
{
	const struct itimerspec its = { { interval, interval ? 9 : 0 }, { sec, nsec } };

	timerfd_settime(fds[which], flags, &its, NULL);
}

/* these have ticks that nobody has read, which are read in each look */
static void run_out(void)
{
	uint64_t ticks = 77;
	struct timespec now;
	struct pollfd p[] = { { .fd = fds[ONCE], .events = POLLIN }, { .fd = fds[LATE], .events = POLLIN } };

	clock_gettime(CLOCK_REALTIME, &now);
	set(ONCE, 0, 0, 1, 0);
	set(LATE, TFD_TIMER_ABSTIME, now.tv_sec - 2 * MISSED - MISSED / 2, 0, MISSED);
	set(COUNTED, 0, LONG, 0, LONG);
	ioctl(fds[COUNTED], TFD_IOC_SET_TICKS, &ticks);
	poll(&p[0], 1, -1);
	poll(&p[1], 1, -1);
}

static void make(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &day);
	clock_gettime(CLOCK_BOOTTIME, &now);
	fds[PERIODIC] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	set(PERIODIC, 0, LONG, 0, 300);
	fds[AT_TIME] = timerfd_create(CLOCK_REALTIME, 0);
	set(AT_TIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, day.tv_sec + LONG, 0, 0);
	fds[BOOT] = timerfd_create(CLOCK_BOOTTIME, 0);
	set(BOOT, TFD_TIMER_ABSTIME, now.tv_sec + LONG, 0, 0);
	fds[DISARMED] = timerfd_create(CLOCK_MONOTONIC, 0);
	fds[ALARM] = timerfd_create(CLOCK_BOOTTIME_ALARM, 0); /* needs CAP_WAKE_ALARM */
	if (fds[ALARM] >= 0)
		set(ALARM, 0, LONG, 0, LONG);
	fds[ONCE] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	fds[LATE] = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
	fds[COUNTED] = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
	dup2(fds[COUNTED], 100);
	run_out();
}

static void look_at_kernel(int fd)
{
	char path[64], line[128];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "it_value", 8) != 0 && strncmp(line, "ino", 3) != 0 &&
			strncmp(line, "mnt_id", 6) != 0)
			SAY(line);
	}
	if (f)
		fclose(f);
}

static void look_at(int which, time_t most)
{
	struct itimerspec its = { 0 };

	look_at_kernel(fds[which]);
	SAY(fcntl(fds[which], F_GETFL));
	SAY(fcntl(fds[which], F_GETFD));
	SAY(timerfd_gettime(fds[which], &its));
	SAY(its.it_interval.tv_sec);
	SAY(its.it_interval.tv_nsec);
	SAY(its.it_value.tv_sec || its.it_value.tv_nsec);
	SAY(its.it_value.tv_sec <= most && its.it_value.tv_sec >= most - 600);
}

static void look_at_ticks(int which)
{
	struct pollfd p = { .fd = fds[which], .events = POLLIN };
	uint64_t ticks = 0;

	SAY(poll(&p, 1, 0));
	SAY(read(fds[which], &ticks, sizeof(ticks)));
	SAY(ticks);
	SAY(read(fds[which], &ticks, sizeof(ticks)));
	SAY(errno);
}

/* the time of day at which it comes is the one that was set; a look can be interrupted, but not each of them */
static bool is_on_time(void)
{
	struct itimerspec its;
	struct timespec now;
	double late = 1;

	for (int i = 0; i < 100 && late > 0.05; i++) {
		timerfd_gettime(fds[AT_TIME], &its);
		clock_gettime(CLOCK_REALTIME, &now);
		late = (double)(now.tv_sec + its.it_value.tv_sec - day.tv_sec - LONG) +
		       (double)(now.tv_nsec + its.it_value.tv_nsec) / 1e9;
	}
	return late >= 0 && late <= 0.05;
}

static void look(void)
{
	look_at(PERIODIC, LONG);
	look_at(AT_TIME, LONG);
	SAY(is_on_time());
	look_at(BOOT, LONG);
	look_at(DISARMED, 0);
	if (fds[ALARM] >= 0)
		look_at(ALARM, LONG);
	look_at_ticks(ONCE);
	look_at(ONCE, 0);
	look_at_ticks(LATE);
	look_at(LATE, MISSED);
	look_at_ticks(COUNTED);
	look_at(COUNTED, LONG);
	SAY(fcntl(100, F_GETFD));
	run_out();
	uint64_t ticks = 0;
	SAY(read(100, &ticks, sizeof(ticks))); /* the same open file */
	SAY(ticks);
	run_out();
}

WITNESS(make, look)
