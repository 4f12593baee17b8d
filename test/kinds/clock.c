/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that reads the clocks all the time, through the vdso and by system call: they go on without jumps, and agree.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define MS	     1000000ll
#define LONGEST_STEP (1500 * MS)

static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE };
enum { CLOCKS = sizeof(clocks) / sizeof(clocks[0]) };

static atomic_long turns, backwards[CLOCKS], jumps[CLOCKS], quarrels[CLOCKS];

static long long now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static long long asked(clockid_t clock)
{
	struct timespec ts;

	syscall(SYS_clock_gettime, clock, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static void *read_clocks(void *arg)
{
	long long last[CLOCKS];

	for (int i = 0; i < CLOCKS; i++)
		last[i] = now(clocks[i]);
	for (;; turns++) {
		for (int i = 0; i < CLOCKS; i++) {
			long long at = now(clocks[i]);

			backwards[i] += at < last[i];
			jumps[i] += at - last[i] > LONGEST_STEP;
			quarrels[i] += asked(clocks[i]) < at || asked(clocks[i]) > now(clocks[i]) + 20 * MS;
			last[i] = at;
		}
		witness_nap();
	}
	return arg;
}

static void make(void)
{
	pthread_t t;

	pthread_create(&t, NULL, read_clocks, NULL);
}

static void look(void)
{
	long before = turns;

	while (turns < before + 20)
		witness_nap();
	for (int i = 0; i < CLOCKS; i++) {
		SAY(clocks[i]);
		SAY(backwards[i]);
		SAY(jumps[i]);
		SAY(quarrels[i]);
	}
}

WITNESS(make, look)
