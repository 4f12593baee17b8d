/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that wait for events that never come, each in another call on an epoll, for the same time, in rounds: a look is in
 * the middle of one. Each call must end when its time has passed, by the clock that goes on.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define MS    1000000ll
#define SLEEP 3000 /* ms; a call that begins anew in the middle lasts half as long again */
#define EARLY 30
#define LATE  1000

static int epoll, never[2];
static sigset_t none;

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static long wait_plain(void)
{
	struct epoll_event e;

	return epoll_wait(epoll, &e, 1, SLEEP);
}

static long wait_masked(void)
{
	struct epoll_event e;

	return epoll_pwait(epoll, &e, 1, SLEEP, &none);
}

static long wait_timespec(void)
{
	static const struct timespec ts = { SLEEP / 1000, 0 };
	struct epoll_event e;

	return syscall(SYS_epoll_pwait2, epoll, &e, 1, &ts, &none, 8);
}

static long (*const calls[])(void) = { wait_plain, wait_masked, wait_timespec };
enum { SLEEPERS = sizeof(calls) / sizeof(calls[0]) };

static pthread_barrier_t begin, end;
static long results[SLEEPERS];
static long long lasted[SLEEPERS];

static void *sleep_in_rounds(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	for (;;) {
		pthread_barrier_wait(&begin);
		long long began = now();
		results[i] = calls[i]();
		lasted[i] = (now() - began) / MS;
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
	struct epoll_event e = { .events = EPOLLIN };
	pthread_t t;

	epoll = epoll_create1(0);
	if (pipe(never) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, never[0], &e) < 0)
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
	for (size_t i = 0; i < SLEEPERS; i++) {
		SAY(results[i]);
		SAY(lasted[i] < SLEEP - EARLY || lasted[i] > SLEEP + LATE ? lasted[i] : SLEEP);
	}
	begin_round();
}

WITNESS(make, look)
