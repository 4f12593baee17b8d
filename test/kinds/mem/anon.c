/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "lib/witness.h"

#define PAGES 64
#define PAGE  4096

static unsigned char *plain, *secret, *reserved, *below, *wiped;
static char *heap;
static pid_t child;

static unsigned int sum(const unsigned char *at, size_t len)
{
	unsigned int s = 0;

	for (size_t i = 0; i < len; i++)
		s = s * 31 + at[i];
	return s;
}

/* in the child: some pages differ from the parent's, some are dropped, the rest is shared by fork */
static void differ(void)
{
	plain[3 * PAGE] = 99;
	madvise(plain + 5 * PAGE, PAGE, MADV_DONTNEED);
	mprotect(plain + 8 * PAGE, PAGE, PROT_READ);
	munmap(plain + 10 * PAGE, PAGE);
	memset(plain + 12 * PAGE, 0, PAGE);
}

static void make(void)
{
	plain = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < PAGES; i += 1)
		if (i % 7)
			memset(plain + i * PAGE, i, PAGE);
	secret = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(secret, 42, 4 * PAGE);
	mprotect(secret, 4 * PAGE, PROT_NONE);
	reserved = mmap(NULL, 1ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	below = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(below, 7, 16 * PAGE);
	mprotect(below + 2 * PAGE, 3 * PAGE, PROT_READ | PROT_EXEC);
	wiped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(wiped, PAGE, MADV_WIPEONFORK);
	memset(wiped, 1, PAGE);
	heap = malloc(100000);
	memset(heap, 'h', 100000);
	child = witness_child(differ);
}

static unsigned int sum_of_secret(void)
{
	mprotect(secret, 4 * PAGE, PROT_READ);
	unsigned int s = sum(secret, 4 * PAGE);
	mprotect(secret, 4 * PAGE, PROT_NONE);
	return s;
}

/* what the child has at its place of plain, read from outside */
static unsigned int sum_of_child(int page)
{
	static unsigned char buf[PAGE];
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	int fd = open(path, O_RDONLY);
	ssize_t n = pread(fd, buf, PAGE, (off_t)(uintptr_t)(plain + page * PAGE));
	close(fd);
	return n == PAGE ? sum(buf, PAGE) : 1;
}

static void look(void)
{
	SAY(sum(plain, PAGES * PAGE));
	SAY(sum_of_secret());
	SAY(mmap(reserved, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
	SAY(sum(below, 16 * PAGE));
	SAY(sum(wiped, PAGE));
	SAY(sum((unsigned char *)heap, 100000));
	SAY(sbrk(0) != (void *)-1);
	for (int i = 0; i < 14; i++)
		SAY(sum_of_child(i));
}

WITNESS(make, look)
