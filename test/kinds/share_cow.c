/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that fork(2) has shared: what is in it for each process, and which of its pages are mapped but once.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "lib/witness.h"

#define PAGE  4096ul
#define PAGES 300ul

enum { OLD, CHANGED, GRANDCHILD, PROCESSES };

static unsigned char *area;
static pid_t pid[PROCESSES];
static int made[2];

static void fill(size_t from, size_t to, int what)
{
	for (size_t i = from; i < to; i++)
		memset(area + i * PAGE, (int)(i * 7 + (size_t)what) | 1, PAGE);
}

static pid_t fork_child(void (*run)(void))
{
	pid_t child = fork();

	if (child == 0) {
		run();
		for (;;)
			pause();
	}
	if (child < 0)
		_exit(4);
	return child;
}

/* says that it is there, by its pid */
static void tell(void)
{
	pid_t self = getpid();

	if (write(made[1], &self, sizeof(self)) != sizeof(self))
		_exit(4);
}

static pid_t hear(void)
{
	pid_t child;

	if (read(made[0], &child, sizeof(child)) != sizeof(child))
		_exit(4);
	return child;
}

static void write_same(void)
{
	fill(120, 125, 0); /* what was there, but pages of its own now */
	tell();
}

static void write_two(void)
{
	fill(4, 6, 3);
	tell();
}

static void change(void)
{
	fill(3, 6, 1);
	fill(7, 9, 0);
	if (madvise(area + 10 * PAGE, 10 * PAGE, MADV_DONTNEED) < 0 ||
		mprotect(area + 30 * PAGE, 10 * PAGE, PROT_READ) < 0 ||
		mprotect(area + 42 * PAGE, 5 * PAGE, PROT_NONE) < 0 || munmap(area + 50 * PAGE, 10 * PAGE) < 0)
		_exit(4);
	fork_child(write_two);
}

static void make(void)
{
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED || madvise(area, PAGES * PAGE, MADV_NOHUGEPAGE) < 0 || pipe(made) < 0)
		_exit(4);
	fill(0, 200, 0);
	pid[OLD] = fork_child(write_same);
	hear();
	fill(100, 110, 2);
	pid[CHANGED] = fork_child(change);
	pid[GRANDCHILD] = hear();
	for (int i = 0; i < PROCESSES; i++)
		witness_children[witness_n_children++] = pid[i];
}

/* not by process_vm_readv(2): it pins what it reads, and by that gives its owner a copy (gup_must_unshare() in mm/gup.c) */
static int see_page(int mem, size_t i)
{
	unsigned char page[PAGE];

	if (pread(mem, page, PAGE, (off_t)(uintptr_t)(area + i * PAGE)) != (ssize_t)PAGE)
		return -errno;
	return memcmp(page, page + 1, PAGE - 1) == 0 ? page[0] : 1000;
}

static const char *const word[] = { "none", "mine", "shared" };

/* for each page its word: mine is mapped but once; false when it cannot be seen */
static int see_entries(pid_t who, uint64_t entry[PAGES])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)who);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd, entry, PAGES * 8, (off_t)((uintptr_t)area / PAGE * 8));
	close(fd);
	for (size_t i = 0; i < PAGES; i++)
		entry[i] = entry[i] >> 63 ? 2 - (entry[i] >> 56 & 1) : 0;
	return n == PAGES * 8;
}

static void look_at(pid_t who)
{
	char path[64];
	uint64_t entry[PAGES] = { 0 };
	int usual = 0;

	SAY(see_entries(who, entry));
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)who);
	int mem = open(path, O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < PAGES; i++) {
		if (!i || entry[i] != entry[i - 1])
			witness_say("%zu: %s\n", i, word[entry[i]]);
		/* reading what is not there would map a page of zeros */
		int now = entry[i] ? see_page(mem, i) : 0;

		if (now == (int)(((i * 7) & 255) | 1))
			usual++;
		else if (entry[i])
			witness_say("%zu: %d\n", i, now);
	}
	close(mem);
	SAY(usual);
}

static void look(void)
{
	look_at(getpid());
	for (int i = 0; i < PROCESSES; i++) {
		SAY(i);
		look_at(pid[i]);
	}
}

WITNESS(make, look)
