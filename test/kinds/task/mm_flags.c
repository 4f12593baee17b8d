/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/witness.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

static unsigned int coredump_filter(void)
{
	unsigned int value = 0;
	FILE *f = fopen("/proc/self/coredump_filter", "re");

	if (f) {
		if (fscanf(f, "%x", &value) != 1)
			value = ~0u;
		fclose(f);
	}
	return value;
}

static void filter_coredump(const char *value)
{
	FILE *f = fopen("/proc/self/coredump_filter", "we");

	if (f) {
		fputs(value, f);
		fclose(f);
	}
}

static int mergeable(void)
{
	return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
}

static int mdwe(void)
{
	return prctl(PR_GET_MDWE, 0, 0, 0, 0);
}

static int thp(void)
{
	return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
}

static int ask[2], answer[2];

/* with other settings than its parent; it ends with it */
static void be_child(void)
{
	char byte;
	int seen[4];

	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
	filter_coredump("0x7f");
	close(ask[1]);
	for (;;) {
		if (read(ask[0], &byte, 1) != 1)
			_exit(0);
		seen[0] = thp();
		seen[1] = mergeable();
		seen[2] = mdwe();
		seen[3] = (int)coredump_filter();
		if (write(answer[1], seen, sizeof(seen)) != sizeof(seen))
			_exit(0);
	}
}

static void make(void)
{
	if (pipe(ask) < 0 || pipe(answer) < 0)
		_exit(3);
	prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	if (prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) < 0)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (fork() == 0)
		be_child();
	close(ask[0]);
	close(answer[1]);
	prctl(PR_SET_MDWE, 1, 0, 0, 0);
	mlockall(MCL_FUTURE);
	filter_coredump("0x21");
}

/* memory that was writable becomes executable */
static int gain(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err = mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;

	munmap(p, 4096);
	return err;
}

/* is new memory there at once? */
static int is_locked(void)
{
	unsigned char there = 0;
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mincore(p, 4096, &there);
	munmap(p, 4096);
	return there & 1;
}

static void look(void)
{
	int seen[4] = { -1, -1, -1, -1 };

	SAY(thp());
	SAY(mergeable());
	SAY(mdwe());
	SAY(gain());
	SAY(is_locked());
	SAY(coredump_filter());
	if (write(ask[1], "x", 1) != 1 || read(answer[0], seen, sizeof(seen)) != sizeof(seen))
		SAY("the child is gone");
	for (int i = 0; i < 4; i++)
		SAY(seen[i]);
}

WITNESS(make, look)
