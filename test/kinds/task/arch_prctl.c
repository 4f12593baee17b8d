/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

static unsigned long perm(long get)
{
	unsigned long mask = 0;

	return syscall(SYS_arch_prctl, get, &mask) < 0 ? (unsigned long)-errno : mask;
}

static void make(void)
{
	syscall(SYS_arch_prctl, 0x1023, 18); /* ARCH_REQ_XCOMP_PERM of tile data, where the processor has it */
	syscall(SYS_arch_prctl, 0x1012, 0); /* ARCH_SET_CPUID, where the processor can forbid it */
}

static void look(void)
{
	SAY(perm(0x1022)); /* ARCH_GET_XCOMP_PERM */
	SAY(perm(0x1024)); /* ARCH_GET_XCOMP_GUEST_PERM */
	SAY(syscall(SYS_arch_prctl, 0x1011, 0)); /* ARCH_GET_CPUID */
}

WITNESS(make, look)
