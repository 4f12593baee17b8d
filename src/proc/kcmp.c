/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proc/proc.h"

int proc_kcmp(pid_t a, pid_t b, int type, unsigned long ia, unsigned long ib)
{
	long r = syscall(SYS_kcmp, a, b, type, ia, ib);

	return r < 0 ? -errno : (int)r;
}
