/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory of transparent huge pages: made so by hand, of its own accord where the mapping was advised, and shared with a child.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "lib/witness.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define HUGE  ((size_t)2 << 20)
#define PAGES (HUGE / 4096)

static unsigned char *by_hand, *advised, *sparse, *small;
static pid_t child;

/* can anybody see which pages are huge? PAGEMAP_SCAN in Documentation/admin-guide/mm/pagemap.rst, since v6.7 */
static bool are_seen(void)
{
	uint64_t arg[12] = { sizeof(arg) };
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool seen = fd >= 0 && (ioctl(fd, _IOWR('f', 16, arg), arg) >= 0 || errno != ENOTTY);

	close(fd);
	return seen;
}

/* AnonHugePages of the mapping that begins at @at, KiB; -1 when there is none. Another at it is not merged with it. */
static long huge_of(pid_t pid, const void *at)
{
	char path[64], line[512];
	unsigned long start, end;
	bool mine = false;
	long kib = -1;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			mine = start == (unsigned long)at;
		if (mine)
			sscanf(line, "AnonHugePages: %ld kB", &kib);
	}
	if (f)
		fclose(f);
	return kib;
}

static unsigned char *map(size_t len)
{
	unsigned char *at = mmap(NULL, len + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		exit(121);
	at = (unsigned char *)(((uintptr_t)at + HUGE - 1) / HUGE * HUGE);
	if (mprotect(at, len, PROT_READ | PROT_WRITE) < 0)
		exit(121);
	return at;
}

static void fill(unsigned char *at, size_t pages, size_t step)
{
	for (size_t i = 0; i < pages; i += step)
		memset(at + i * 4096, (int)(i % 251 + 1), 4096);
}

static unsigned long sum(const unsigned char *at, size_t len)
{
	unsigned long n = 0;

	for (size_t i = 0; i < len; i += 64)
		n = n * 31 + at[i];
	return n;
}

/* from then on it is in pieces for the child */
static void write_one(void)
{
	memset(by_hand + HUGE, 7, 4096);
}

static void make(void)
{
	by_hand = map(3 * HUGE);
	advised = map(2 * HUGE);
	sparse = map(2 * HUGE);
	small = map(HUGE);
	madvise(advised, 2 * HUGE, MADV_HUGEPAGE);
	madvise(small, HUGE, MADV_NOHUGEPAGE);
	fill(by_hand, 3 * PAGES, 1);
	fill(advised, 2 * PAGES, 1);
	fill(sparse, 2 * PAGES, 100);
	fill(small, PAGES, 1);
	madvise(by_hand + HUGE, 2 * HUGE, MADV_COLLAPSE);
	madvise(sparse, 2 * HUGE, MADV_COLLAPSE);
	child = witness_child(write_one);
	if (huge_of(getpid(), by_hand) < 4096 || huge_of(getpid(), sparse) < 4096)
		witness_hidden("there are no huge pages to be had");
	if (!are_seen())
		witness_hidden("this kernel does not tell which pages are huge");
}

static void look(void)
{
	SAY(huge_of(getpid(), by_hand));
	SAY(huge_of(getpid(), advised));
	SAY(huge_of(getpid(), sparse));
	SAY(huge_of(getpid(), small));
	SAY(huge_of(child, by_hand));
	SAY(huge_of(child, sparse));
	SAY(sum(by_hand, 3 * HUGE));
	SAY(sum(advised, 2 * HUGE));
	SAY(sum(sparse, 2 * HUGE));
	SAY(sum(small, HUGE));
}

WITNESS(make, look)
