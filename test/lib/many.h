/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * For witnesses: so many threads, besides those that do something, that they are looked at all at once, where that can be had.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static inline void *many_sleep(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/** be_many() - a hundred threads that sleep */
static inline void be_many(void)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int i = 0; i < 100; i++)
		if (pthread_create(&t, &attr, many_sleep, NULL) != 0)
			exit(1);
}
