/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that sleep for a time, or until one, and that the kernel goes on with when their thread was stopped.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "lib/many.h"
#include "lib/rounds.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static int never[2];
static uint32_t futex_word;

static const struct timespec *span(void)
{
	static const struct timespec ts = { SLEEP / 1000, SLEEP % 1000 * MS };

	return &ts;
}

static struct timespec until(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_sec += SLEEP / 1000;
	return ts;
}

static long nap(void)
{
	return nanosleep(span(), NULL);
}

/* as sleep(3) does: the rest comes to where the time was */
static long nap_rest(void)
{
	struct timespec ts = *span();

	return nanosleep(&ts, &ts);
}

static long nap_by(clockid_t clock)
{
	return clock_nanosleep(clock, 0, span(), NULL);
}

static long nap_boottime(void)
{
	return nap_by(CLOCK_BOOTTIME);
}

static long nap_until(void)
{
	struct timespec end = until(CLOCK_MONOTONIC);

	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
}

static long do_poll(void)
{
	struct pollfd p = { .fd = never[0], .events = POLLIN };

	return poll(&p, 1, SLEEP);
}

static long do_ppoll(void)
{
	struct pollfd p = { .fd = never[0], .events = POLLIN };

	return ppoll(&p, 1, span(), NULL);
}

static long do_select(void)
{
	struct timeval tv = { SLEEP / 1000, 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(never[0], &set);
	return select(never[0] + 1, &set, NULL, NULL, &tv);
}

static long do_pselect(void)
{
	return pselect(0, NULL, NULL, NULL, span(), NULL);
}

static long futex_for(void)
{
	return syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, span());
}

static long futex_until(void)
{
	struct timespec end = until(CLOCK_MONOTONIC);

	return syscall(SYS_futex, &futex_word, FUTEX_WAIT_BITSET_PRIVATE, 0, &end, NULL, 1);
}

static long futex_vector(void)
{
	struct timespec end = until(CLOCK_MONOTONIC);
	struct {
		uint64_t val, at;
		uint32_t flags, pad;
	} wait = { 0, (uintptr_t)&futex_word, 2 | FUTEX_PRIVATE_FLAG, 0 };

	return syscall(SYS_futex_waitv, &wait, 1, 0, &end, CLOCK_MONOTONIC);
}

static const struct sleeper sleepers[] = {
	{ "nanosleep", nap, 0, 0 },
	{ "nanosleep with rest", nap_rest, 0, 0 },
	{ "clock_nanosleep", nap_boottime, 0, 0 },
	{ "clock_nanosleep until", nap_until, 0, 0 },
	{ "poll", do_poll, 0, 0 },
	{ "ppoll", do_ppoll, 0, 0 },
	{ "select", do_select, 0, 0 },
	{ "pselect", do_pselect, 0, 0 },
	{ "futex", futex_for, -1, ETIMEDOUT },
	{ "futex until", futex_until, -1, ETIMEDOUT },
	{ "futex_waitv", futex_vector, -1, ETIMEDOUT },
};

static void make(void)
{
	if (pipe(never) < 0)
		exit(1);
	be_many(100);
	rounds_begin(sleepers, sizeof(sleepers) / sizeof(sleepers[0]));
}

WITNESS(make, rounds_look)
