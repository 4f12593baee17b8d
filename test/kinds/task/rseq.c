/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static volatile struct rseq *area(void)
{
	return (volatile struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static void make(void)
{
}

/* registering the same area once more says EBUSY, another one EINVAL */
static int again(void)
{
	return syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG) < 0 ? errno : 0;
}

static int another(void)
{
	static struct rseq other __attribute__((aligned(32)));

	return syscall(SYS_rseq, &other, 32, 0, RSEQ_SIG) < 0 ? errno : 0;
}

static int follows_the_cpu(void)
{
	for (int i = 0; i < 1000; i++)
		if (area()->cpu_id == (unsigned int)sched_getcpu())
			return 1;
	return 0;
}

static void look(void)
{
	SAY(__rseq_size);
	SAY(again());
	SAY(another());
	SAY(follows_the_cpu());
}

WITNESS(make, look)
