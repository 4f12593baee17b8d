/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages that are shared with a child: what each of them writes, what one has written that has ended, what was never touched,
 * and a child that has but a piece of them, elsewhere. Only root sees which pages there are, so only root has many that nobody
 * has promised.
 */
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/hugepool.h"
#include "lib/witness.h"

#define INTS  (HUGE / sizeof(int))
#define PAGES 6
#define LOOSE 64
#define POOL  10

static volatile int *all, *loose;
static volatile int *moved; /* the child's second half of it */
static pid_t child;

static void live(void)
{
	all[2 * INTS] = 33;
	if (mremap((void *)(all + 3 * INTS), 3 * HUGE, 3 * HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved) != moved)
		_exit(3);
	munmap((void *)all, HUGE);
}

static int write_once(void)
{
	all[INTS + 5] = 22;
	return 0;
}

static volatile int *map(size_t pages, int more)
{
	void *at = mmap(
		NULL, pages * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | more, -1, 0);

	if (at == MAP_FAILED)
		_exit(3);
	return at;
}

static void make(void)
{
	if (!hugepool_have(POOL)) {
		witness_hidden(HUGEPOOL_WHY);
		return;
	}
	all = map(PAGES, 0);
	all[0] = 11;
	all[5 * INTS - 1] = 55;
	witness_in_child(write_once);
	char *place = mmap(NULL, 4 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = (int *)(((uintptr_t)place + HUGE - 1) / HUGE * HUGE);
	child = witness_child(live);
	mprotect((void *)(all + 2 * INTS), HUGE, PROT_READ);
	madvise((void *)(all + 3 * INTS), HUGE, MADV_DONTDUMP);
	if (geteuid() != 0)
		return;
	loose = map(LOOSE, MAP_NORESERVE);
	loose[62 * INTS] = 77;
}

static int childs(const volatile int *at)
{
	return witness_int_of(child, at);
}

/* one memory for both? */
static int is_shared(volatile int *mine, const volatile int *theirs)
{
	int was = *mine, seen;

	*mine = was + 1;
	seen = childs(theirs);
	*mine = was;
	return seen == was + 1;
}

/* the name of the mapping at @at, how large its pages are, and its flags */
static void say_mapping(const volatile int *at)
{
	char line[512];
	unsigned long start, end;
	int name;
	bool ours = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &name) == 2) {
			ours = start <= (unsigned long)at && (unsigned long)at < end;
			if (ours && geteuid() == 0)
				SAY((char *)line + name);
		}
		if (ours && (!strncmp(line, "KernelPageSize", 14) || !strncmp(line, "VmFlags", 7)))
			SAY((char *)line);
	}
	if (f)
		fclose(f);
}

/* how many pages of the file behind the mapping of @pages at @at there are */
static long count(const volatile int *at, size_t pages)
{
	char path[80];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		(unsigned long)at + pages * HUGE);
	return stat(path, &st) < 0 ? -1 : st.st_blocks / (long)(HUGE / 512);
}

static void look(void)
{
	SAY(all != NULL);
	if (!all)
		return;
	for (int i = 0; i < 4; i++)
		say_mapping(all + i * INTS);
	SAY(all[0]);
	SAY(all[INTS + 5]);
	SAY(all[2 * INTS]);
	SAY(all[5 * INTS - 1]);
	SAY(childs(all));
	SAY(childs(all + INTS + 5));
	SAY(childs(all + 2 * INTS));
	SAY(childs(all + 4 * INTS));
	SAY(childs(moved + 2 * INTS - 1));
	SAY(is_shared(all + INTS, all + INTS));
	SAY(is_shared(all + 4 * INTS, moved + INTS));
	if (!loose)
		return;
	say_mapping(loose);
	SAY(loose[62 * INTS]);
	SAY(count(loose, LOOSE));
	SAY(count(all, 2));
}

WITNESS(make, look)
