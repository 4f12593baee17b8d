/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * To be ahead of who is woken up. Each thread of a program that is asked to stop, or let go, wakes up, and takes the processor
 * from who asks: half of the time goes into switching between both. While this one comes first they run where it does not, one
 * after the other.
 */
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#define RUSH_WORTH ((size_t)100) /* threads to be woken up */

/** struct rush - of the calling thread: how it is scheduled otherwise */
struct rush {
	bool is;
	int policy;
	struct sched_param param;
};

/**
 * rush_begin() - from here on nobody but real-time tasks comes before the caller, if there are @woken enough and it may so:
 * CAP_SYS_NICE, or RLIMIT_RTPRIO. It must not wait in a loop for others: they may have no other processor. Who rushes already, or is a
 * real-time task anyway, goes on as he is. A thread that it makes by thread_start() does not rush.
 */
struct rush rush_begin(size_t woken);
void rush_end(const struct rush *r);

/** rush_of_caller() - in which it is, for a thread that it makes: that inherits how it is scheduled, and ends this first */
struct rush rush_of_caller(void);
