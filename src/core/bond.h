/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A bond: as long as it holds, the kernel kills all processes in it when we die, before they make another step. It is cut
 * for all of them at once, which PTRACE_O_EXITKILL of each cannot be.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/arena.h"

struct bond {
	int *fds; /* one for each process */
	size_t n;
	int low, high; /* see bond.c */
};

/** bond_tie() - a bond of the @n processes @pid; 0, or -errno and there is none */
int bond_tie(struct bond *b, struct arena *a, const pid_t *pid, size_t n);

/** bond_cut() - from here on they live, even if we die; nothing is left of it. */
void bond_cut(struct bond *b);
