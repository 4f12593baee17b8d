/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
#include <stdint.h>
#include <time.h>

/** now_ns() - CLOCK_MONOTONIC, in nanoseconds */
uint64_t now_ns(void);

/** timespec_ns() - a span of time that may come from anywhere, in nanoseconds; -1 when it is none, or is too long */
int64_t timespec_ns(const struct timespec *ts);

/** nap_ms() - sleeps for @ms milliseconds, less when a signal comes */
void nap_ms(unsigned ms);

/** ns_timespec() - the reverse; @ns is not negative */
struct timespec ns_timespec(int64_t ns);
