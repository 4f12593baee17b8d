/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The clocks that count from the boot of the host, as a program sees them: time_namespaces(7).
 */
#include <stdint.h>

#include "base/op.h"

#define CLOCK_END \
	(INT64_MAX / 2) /* ns; KTIME_SEC_MAX / 2 in kernel/time/namespace.c: later than that no clock can be set */

/** struct clocks - nanoseconds of CLOCK_MONOTONIC and CLOCK_BOOTTIME; 0: not known */
struct clocks {
	uint64_t monotonic, boottime;
};

/**
 * clocks_of() - the clocks of the process at @dir (/proc/PID) now
 * -EXDEV when its time namespace is another than ours and what lies between cannot be told; *ret is then all zero.
 */
int clocks_of(int dir, struct clocks *ret);

/**
 * clocks_continue() - the children of the calling thread are born with clocks that show @c now: in a time namespace of their own
 *
 * The caller's own clocks stay. Makes only system calls: it may be used in a copy of a process with threads.
 * -ENOENT: the kernel has no time namespaces; -EPERM, -ENOSPC and others: none can be had here.
 */
int clocks_continue(const struct clocks *c);

/** clocks_tell_jump() - note that a program goes on with our clocks instead of @c, if it can notice; @why: -errno, 0: wanted */
void clocks_tell_jump(struct op *op, const struct clocks *c, int why);
