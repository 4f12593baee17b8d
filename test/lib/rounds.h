/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * For witnesses: threads that sleep, each in another call, for the same time. They do so in rounds: a look is in the middle
 * of one. Each call must end with the right result when its time has passed, by the clock that goes on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "lib/witness.h"

#define MS    1000000ll
#define SLEEP 3000 /* ms; a call that begins anew in the middle lasts half as long again */
#define EARLY 30
#define LATE  1000

struct sleeper {
	const char *name;
	long (*call)(void);
	long result;
	int err;
};

static const struct sleeper *rounds_sleepers;
static size_t rounds_n;

static struct {
	long result;
	int err;
	long long lasted; /* ms */
} rounds_seen[32];

static pthread_barrier_t rounds_first, rounds_last;

static inline long long rounds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static inline void *rounds_sleep(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	for (;;) {
		pthread_barrier_wait(&rounds_first);
		long long began = rounds_now();
		errno = 0;
		rounds_seen[i].result = rounds_sleepers[i].call();
		rounds_seen[i].err = errno;
		rounds_seen[i].lasted = (rounds_now() - began) / MS;
		pthread_barrier_wait(&rounds_last);
	}
	return arg;
}

/** rounds_next() - another round, up to its middle */
static inline void rounds_next(void)
{
	long long middle = rounds_now() + SLEEP / 2 * MS;

	pthread_barrier_wait(&rounds_first);
	while (rounds_now() < middle)
		witness_nap();
}

/** rounds_begin() - for make(): one thread for each of @n sleepers, at most 32 */
static inline void rounds_begin(const struct sleeper *s, size_t n)
{
	pthread_t t;

	rounds_sleepers = s;
	rounds_n = n;
	pthread_barrier_init(&rounds_first, NULL, (unsigned int)n + 1);
	pthread_barrier_init(&rounds_last, NULL, (unsigned int)n + 1);
	for (size_t i = 0; i < n; i++)
		pthread_create(&t, NULL, rounds_sleep, (void *)(uintptr_t)i);
	rounds_next();
}

/** rounds_look() - as look() */
static inline void rounds_look(void)
{
	pthread_barrier_wait(&rounds_last);
	for (size_t i = 0; i < rounds_n; i++) {
		const struct sleeper *s = &rounds_sleepers[i];
		long long lasted = rounds_seen[i].lasted;

		SAY(s->name);
		SAY(rounds_seen[i].result);
		SAY(rounds_seen[i].result == s->result && rounds_seen[i].err == s->err ? 0 : rounds_seen[i].err);
		SAY(lasted < SLEEP - EARLY || lasted > SLEEP + LATE ? lasted : SLEEP);
		if (getenv("ROUNDS_SHOW"))
			fprintf(stderr, "%s lasted %lld\n", s->name, lasted);
	}
	rounds_next();
}
