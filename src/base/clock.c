/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/clock.h"

#include <stdbool.h>

#define SECOND INT64_C(1000000000)

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t timespec_ns(const struct timespec *ts)
{
	bool is_time = ts->tv_sec >= 0 && ts->tv_sec < INT64_MAX / SECOND && ts->tv_nsec >= 0 && ts->tv_nsec < SECOND;

	return is_time ? ts->tv_sec * SECOND + ts->tv_nsec : -1;
}

void nap_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

struct timespec ns_timespec(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / SECOND, .tv_nsec = ns % SECOND };
}
