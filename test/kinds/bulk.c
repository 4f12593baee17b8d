/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Much memory of every sort, side by side: readable, hidden, in stripes, with holes, to be huge or not, half of zeros, below a mapped
 * file.
 */
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "lib/witness.h"

#define MIB   (1ul << 20)
#define SIZE  (16 * MIB)
#define FRONT (10 * MIB) /* before it, in the same mapping */
#define PAGE  4096ul

static unsigned char *area, *heap, *cut;
static pid_t child;

static uint64_t number(uint64_t n)
{
	n = (n ^ n >> 31) * 0x9e3779b97f4a7c15;
	return n ^ n >> 29;
}

static void fill(unsigned char *at, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += sizeof(uint64_t))
		*(uint64_t *)(at + i) = number(seed + i);
}

static uint64_t sum(const unsigned char *at, size_t len)
{
	uint64_t all = 0;

	for (size_t i = 0; i < len; i += sizeof(uint64_t))
		all = number(all + *(const uint64_t *)(at + i));
	return all;
}

/* of @n MiB, the last one of them a file of which some pages were written */
static void map_area(void)
{
	int fd = open(witness_path("file"), O_RDWR | O_CREAT, 0600);
	unsigned char *file;

	if (ftruncate(fd, MIB) < 0)
		_exit(4);
	area = mmap(NULL, FRONT + SIZE + 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	area = (unsigned char *)(((uintptr_t)area + 2 * MIB - 1) & ~(2 * MIB - 1)) + FRONT;
	file = mmap(area + SIZE - MIB, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
	close(fd);
	fill(area - FRONT, FRONT + SIZE - MIB, 1);
	for (size_t i = 0; i < 6 * MIB; i += 2 * PAGE)
		memset(area - FRONT + i, 0, PAGE);
	for (size_t i = 0; i < MIB; i += 3 * PAGE)
		fill(file + i, PAGE, i);
}

static void write_cut(void)
{
	fill(cut, 6 * MIB, 3);
}

static void make(void)
{
	map_area();
	mprotect(area + 2 * MIB, MIB, PROT_READ);
	mprotect(area + 3 * MIB, MIB, PROT_NONE);
	for (size_t i = 0; i < MIB; i += 2 * PAGE) {
		mprotect(area + 4 * MIB + i, PAGE, PROT_READ);
		madvise(area + 5 * MIB + i, PAGE, MADV_DONTNEED);
	}
	madvise(area + 6 * MIB, 2 * MIB, MADV_HUGEPAGE);
	madvise(area + 8 * MIB, MIB, MADV_NOHUGEPAGE);
	madvise(area + 9 * MIB, MIB, MADV_DONTFORK);
	mlock(area + 10 * MIB, 8 * PAGE);
	heap = malloc(100000); /* small enough to be of the heap */
	fill(heap, 80000, 7);
	cut = mmap(NULL, 6 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(cut, 6 * MIB, 2);
	child = witness_child(write_cut);
	munmap(cut + 3 * MIB, 3 * MIB); /* the child has all of it */
}

/* its memory at @at */
static uint64_t sum_of_child(const unsigned char *at, size_t len)
{
	static unsigned char copy[MIB];
	uint64_t all = 0;

	for (size_t i = 0; i < len; i += sizeof(copy)) {
		struct iovec here = { copy, sizeof(copy) }, there = { (void *)(at + i), sizeof(copy) };

		all = process_vm_readv(child, &here, 1, &there, 1, 0) < 0 ? 0 : number(all + sum(copy, sizeof(copy)));
	}
	return all;
}

/* pages that are there among @n MiB from @first on */
static size_t count_pages(size_t first, size_t n)
{
	unsigned char in_core[MIB / PAGE];
	size_t count = 0;

	for (size_t i = first; i < first + n; i++) {
		mincore(area + i * MIB, MIB, in_core);
		for (size_t k = 0; k < sizeof(in_core); k++)
			count += in_core[k] & 1;
	}
	return count;
}

/* memory that another watches for faults (userfaultfd(2)) */
static int count_watched(void)
{
	char line[512];
	int n = 0;
	FILE *f = fopen("/proc/self/smaps", "re");

	while (f && fgets(line, sizeof(line), f))
		n += strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " um ");
	if (f)
		fclose(f);
	return n;
}

static void look(void)
{
	SAY(count_watched());
	SAY(count_pages(5, 1));
	SAY(sum(area - FRONT, FRONT));
	mprotect(area + 3 * MIB, MIB, PROT_READ);
	for (size_t i = 0; i < SIZE / MIB; i++)
		if (i != 5)
			SAY(sum(area + i * MIB, MIB));
	mprotect(area + 3 * MIB, MIB, PROT_NONE);
	for (size_t i = PAGE; i < MIB; i += 2 * PAGE)
		SAY(sum(area + 5 * MIB + i, PAGE));
	SAY(sum(heap, 80000));
	SAY(sum(cut, 3 * MIB));
	SAY(sum_of_child(cut, 6 * MIB));
}

WITNESS(make, look)
