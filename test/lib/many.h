/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * For witnesses: threads that do nothing, besides those that do something: of a hundred and more all are looked at at once, where that can be had.
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

/** be_many() - @n threads that sleep */
static inline void be_many(int n)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int i = 0; i < n; i++)
		if (pthread_create(&t, &attr, many_sleep, NULL) != 0)
			exit(1);
}
