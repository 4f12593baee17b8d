/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/** struct attr - struct sched_attr, whose header does not go with libc's sched.h */
struct attr {
	unsigned int size, policy;
	unsigned long long flags;
	int nice;
	unsigned int priority;
	unsigned long long runtime, deadline, period;
};
