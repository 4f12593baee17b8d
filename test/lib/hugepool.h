/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Huge pages of 2 MiB for a witness. Root adds what it needs to the pool, and takes it back at the end. Who may not do that takes
 * what is above the pool (vm.nr_overcommit_hugepages): what is free in it may be somebody else's.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define HUGE (2ul << 20)

/* who takes back what it has added has some in use still, so that others miss as many until it has ended */
#define HUGEPOOL_SPARE 32

#define HUGEPOOL_WHY                                                                       \
	"the pool of huge pages cannot be made larger (vm.nr_hugepages), and nobody else " \
	"may go beyond it (vm.nr_overcommit_hugepages)"

static long hugepool_added;
static pid_t hugepool_owner;

static inline long hugepool_number(int fd)
{
	char text[32];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	text[len > 0 ? len : 0] = 0;
	return strtol(text, NULL, 10);
}

/* others do so as well: one at a time */
static inline bool hugepool_add(long n)
{
	int fd = open("/proc/sys/vm/nr_hugepages", O_RDWR | O_CLOEXEC);
	bool done = false;

	if (fd >= 0 && flock(fd, LOCK_EX) == 0) {
		long before = hugepool_number(fd);

		dprintf(fd, "%ld\n", before + n);
		done = hugepool_number(fd) == before + n;
		if (!done)
			dprintf(fd, "%ld\n", before);
	}
	close(fd);
	return done;
}

static inline void hugepool_shrink(void)
{
	if (getpid() == hugepool_owner)
		hugepool_add(-hugepool_added);
}

/** hugepool_have() - are there @n huge pages for this process and its children? Until it ends */
static inline bool hugepool_have(long n)
{
	int fd = open("/proc/sys/vm/nr_overcommit_hugepages", O_RDONLY | O_CLOEXEC);
	bool beyond = hugepool_number(fd) >= n;

	close(fd);
	if (!hugepool_add(n + HUGEPOOL_SPARE))
		return beyond;
	hugepool_added = n + HUGEPOOL_SPARE;
	hugepool_owner = getpid();
	return atexit(hugepool_shrink) == 0;
}
