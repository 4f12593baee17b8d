/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Threads that take work in the order in which it was put. Who waits for work helps with it, so that there is one thread
 * less than CPUs, and that without any thread (NULL for the pool) all is done all the same, by who waits.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define STACK_SMALL ((size_t)256 << 10) /* enough for what reads, writes and computes */
#define POOL_MOST   15 /* threads in one pool */

/** struct work - a piece of it; embed it, set .run */
struct work {
	/** @worker: 0 who waits, 1 ... the threads of the pool: each does one thing at a time */
	void (*run)(struct work *work, unsigned int worker);
	struct work *next;
	bool done;
};

struct pool;

/**
 * thread_start() - a thread with a stack of @stack bytes, whatever RLIMIT_STACK is, that runs @fn; 0 or -errno
 * All signals are blocked in it: these are for the caller's others.
 */
int thread_start(pthread_t *ret, size_t stack, void *(*fn)(void *), void *data);

/** pool_cpus() - how many CPUs the caller may use */
unsigned int pool_cpus(void);

/**
 * pool_start() - make @threads threads, or as many as can be had; *@ret is NULL where there are none
 * Returns how many there are.
 */
unsigned int pool_start(struct pool **ret, unsigned int threads);

/** pool_put() - have @work done sometime */
void pool_put(struct pool *pool, struct work *work);

/** pool_wait() - until @work, which was put, is done; does work meanwhile. Only one thread, that which puts, may call it */
void pool_wait(struct pool *pool, struct work *work);

/** pool_stop() - what has begun is done, what has not begun never will be; then the threads are gone. Accepts NULL */
void pool_stop(struct pool *pool);
