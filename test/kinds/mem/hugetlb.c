/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages of hugetlbfs, and a child that has changed some.
 */
#include <sys/mman.h>

#include "lib/hugepool.h"
#include "lib/witness.h"

#define PAGES 4
#define POOL  12 /* for this one and its child, each with its own */

static char *pages;
static pid_t child;

static void differ(void)
{
	pages[HUGE + 4096] = 'c';
	munmap(pages + 3 * HUGE, HUGE);
}

static void make(void)
{
	if (!hugepool_have(POOL)) {
		witness_hidden(HUGEPOOL_WHY);
		return;
	}
	pages = mmap(NULL, PAGES * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (pages == MAP_FAILED)
		_exit(3);
	pages[0] = 'a';
	pages[HUGE - 1] = 'z';
	pages[HUGE] = 'b';
	pages[3 * HUGE + 12345] = 'd';
	mprotect(pages + 3 * HUGE, HUGE, PROT_READ);
	madvise(pages, HUGE, MADV_DONTDUMP);
	child = witness_child(differ);
}

static int childs(const char *at)
{
	char path[64], c = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pread(fd, &c, 1, (off_t)(unsigned long)at) != 1)
		c = '-';
	close(fd);
	return c;
}

/* how much of it is of pages of that size, in kB, and how many mappings it is */
static void say_sizes(void)
{
	char line[512];
	unsigned long start, end;
	bool ours = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s", &start, &end) == 2)
			ours = start >= (unsigned long)pages && end <= (unsigned long)pages + PAGES * HUGE;
		if (ours && (!strncmp(line, "KernelPageSize", 14) || !strncmp(line, "VmFlags", 7)))
			SAY((char *)line);
	}
	if (f)
		fclose(f);
}

static void look(void)
{
	SAY(pages != NULL);
	if (!pages)
		return;
	say_sizes();
	SAY(pages[0]);
	SAY(pages[HUGE - 1]);
	SAY(pages[HUGE]);
	SAY(pages[HUGE + 4096]);
	SAY(pages[3 * HUGE + 12345]);
	SAY(childs(pages));
	SAY(childs(pages + HUGE));
	SAY(childs(pages + HUGE + 4096));
	SAY(childs(pages + 3 * HUGE + 12345));
}

WITNESS(make, look)
