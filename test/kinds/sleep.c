/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that sleep, each in another call, for the same time. They do so in rounds: a look is in the middle of one. Each
 * call must end with the right result when its time has passed, by the clock that goes on.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define MS    1000000ll
#define SLEEP 3000 /* ms; a call that begins anew in the middle lasts half as long again */
#define EARLY 30
#define LATE  1000

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static int never[2];
static uint32_t futex_word;

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

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

static const struct sleeper {
	const char *name;
	long (*call)(void);
	long result;
	int err;
} sleepers[] = {
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
enum { SLEEPERS = sizeof(sleepers) / sizeof(sleepers[0]) };

static pthread_barrier_t begin, end;
static long results[SLEEPERS];
static int errs[SLEEPERS];
static long long began[SLEEPERS], lasted[SLEEPERS];

static void *sleep_in_rounds(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	for (;;) {
		pthread_barrier_wait(&begin);
		errno = 0;
		began[i] = now();
		results[i] = sleepers[i].call();
		lasted[i] = (now() - began[i]) / MS;
		errs[i] = errno;
		pthread_barrier_wait(&end);
	}
	return arg;
}

static void begin_round(void)
{
	long long middle = now() + SLEEP / 2 * MS;

	pthread_barrier_wait(&begin);
	while (now() < middle)
		witness_nap();
}

static void make(void)
{
	pthread_t t;

	if (pipe(never) < 0)
		exit(1);
	pthread_barrier_init(&begin, NULL, SLEEPERS + 1);
	pthread_barrier_init(&end, NULL, SLEEPERS + 1);
	for (size_t i = 0; i < SLEEPERS; i++)
		pthread_create(&t, NULL, sleep_in_rounds, (void *)(uintptr_t)i);
	begin_round();
}

static void look(void)
{
	pthread_barrier_wait(&end);
	for (int i = 0; i < SLEEPERS; i++) {
		const struct sleeper *s = &sleepers[i];

		SAY(s->name);
		SAY(results[i] == s->result && errs[i] == s->err ? 0 : errs[i] ? errs[i] : -1);
		SAY(lasted[i] < SLEEP - EARLY || lasted[i] > SLEEP + LATE ? lasted[i] : SLEEP);
	}
	begin_round();
}

WITNESS(make, look)
