/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mapping with each flag that one can have (VmFlags of smaps), and the same mappings in a child, which has changed some.
 */
#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define PAGE  4096
#define PAGES 4

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* Linux 6.11 */
#endif
#define SYS_MSEAL 462 /* mseal(2), Linux 6.10 */

enum what {
	ADVICE,
	LOCK,
	SEAL,
	NOTHING,
};

static struct {
	const char *name;
	int flags; /* of mmap(2); 0: MAP_PRIVATE | MAP_ANONYMOUS. Without MAP_ANONYMOUS it is of a file */
	int prot; /* at the end */
	enum what what;
	int arg;
	char *at;
} maps[] = {
	{ "MADV_DONTFORK", 0, 3, ADVICE, MADV_DONTFORK, NULL },
	{ "MADV_WIPEONFORK", 0, 3, ADVICE, MADV_WIPEONFORK, NULL },
	{ "MADV_DONTDUMP", 0, 3, ADVICE, MADV_DONTDUMP, NULL },
	{ "MADV_MERGEABLE", 0, 3, ADVICE, MADV_MERGEABLE, NULL },
	{ "MADV_HUGEPAGE", 0, 3, ADVICE, MADV_HUGEPAGE, NULL },
	{ "MADV_NOHUGEPAGE", 0, 3, ADVICE, MADV_NOHUGEPAGE, NULL },
	{ "MADV_SEQUENTIAL", 0, 3, ADVICE, MADV_SEQUENTIAL, NULL },
	{ "MADV_RANDOM", 0, 3, ADVICE, MADV_RANDOM, NULL },
	{ "MAP_NORESERVE", MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 3, NOTHING, 0, NULL },
	{ "MAP_GROWSDOWN", MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, 3, NOTHING, 0, NULL },
	{ "mlock", 0, 3, LOCK, 0, NULL },
	{ "mlock PROT_NONE", 0, 0, LOCK, 0, NULL },
	{ "MLOCK_ONFAULT", 0, 3, LOCK, MLOCK_ONFAULT, NULL },
	{ "mseal", 0, 3, SEAL, 0, NULL },
	{ "mseal PROT_READ", 0, 1, SEAL, 0, NULL },
	{ "shared mseal", MAP_SHARED | MAP_ANONYMOUS, 3, SEAL, 0, NULL },
	{ "file mseal", MAP_PRIVATE, 1, SEAL, 0, NULL },
	{ "PROT_EXEC", 0, 4, NOTHING, 0, NULL },
	{ "file PROT_EXEC", MAP_PRIVATE, 4, NOTHING, 0, NULL },
	{ "MAP_DROPPABLE", MAP_DROPPABLE | MAP_ANONYMOUS, 3, NOTHING, 0, NULL },
	{ "shared MADV_DONTFORK", MAP_SHARED | MAP_ANONYMOUS, 3, ADVICE, MADV_DONTFORK, NULL },
	{ "shared MADV_DONTDUMP", MAP_SHARED | MAP_ANONYMOUS, 3, ADVICE, MADV_DONTDUMP, NULL },
	{ "shared MADV_HUGEPAGE", MAP_SHARED | MAP_ANONYMOUS, 3, ADVICE, MADV_HUGEPAGE, NULL },
	{ "shared MADV_RANDOM", MAP_SHARED | MAP_ANONYMOUS, 3, ADVICE, MADV_RANDOM, NULL },
	{ "shared MAP_NORESERVE", MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, 3, NOTHING, 0, NULL },
	{ "shared MLOCK_ONFAULT", MAP_SHARED | MAP_ANONYMOUS, 3, LOCK, MLOCK_ONFAULT, NULL },
	{ "file MADV_SEQUENTIAL", MAP_PRIVATE, 3, ADVICE, MADV_SEQUENTIAL, NULL },
	{ "file MADV_DONTFORK", MAP_PRIVATE, 3, ADVICE, MADV_DONTFORK, NULL },
	{ "file mlock", MAP_PRIVATE, 1, LOCK, 0, NULL },
	{ "shared file MADV_RANDOM", MAP_SHARED, 3, ADVICE, MADV_RANDOM, NULL },
	{ "shared file MADV_DONTFORK", MAP_SHARED, 3, ADVICE, MADV_DONTFORK, NULL },
	{ "shared file MLOCK_ONFAULT", MAP_SHARED, 3, LOCK, MLOCK_ONFAULT, NULL },
};

#define MAPS (sizeof(maps) / sizeof(maps[0]))

static char *grows;
static pid_t child;

static char *of(const char *name)
{
	for (size_t i = 0; i < MAPS; i++)
		if (strcmp(maps[i].name, name) == 0)
			return maps[i].at;
	_exit(3);
}

/* by itself, with nothing beside it to grow together with, and data in its first page */
static char *map(int flags, int fd)
{
	char *at = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(at, (PAGES + 2) * PAGE);
	at = mmap(at + PAGE, PAGES * PAGE, 3, (flags ? flags : MAP_PRIVATE | MAP_ANONYMOUS) | MAP_FIXED,
		flags && !(flags & MAP_ANONYMOUS) ? fd : -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	at[0] = 'd';
	return at;
}

static void treat(size_t i)
{
	if (maps[i].what == ADVICE)
		madvise(maps[i].at, PAGES * PAGE, maps[i].arg);
	if (maps[i].what == LOCK)
		syscall(SYS_mlock2, maps[i].at, PAGES * PAGE, maps[i].arg);
	if (maps[i].what == SEAL)
		syscall(SYS_MSEAL, maps[i].at, PAGES * PAGE, 0);
}

/* fork(2) passes on what is locked as what is not */
static void change(void)
{
	syscall(SYS_mlock2, of("mlock"), PAGES * PAGE, MLOCK_ONFAULT);
	mlock(of("MADV_HUGEPAGE"), PAGE);
	madvise(of("MADV_RANDOM"), PAGE, MADV_NORMAL);
	of("MADV_WIPEONFORK")[PAGE] = 'c';
	of("MADV_DONTDUMP")[0] = 'c';
	of("mseal")[0] = 'c';
	syscall(SYS_MSEAL, of("MADV_DONTDUMP"), PAGE, 0);
}

/* far from all else, as the kernel keeps a gap below what grows */
static void map_stack(void)
{
	const size_t room = 4 << 20;
	char *at = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(at, room);
	grows = mmap(at + room - PAGE, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	grows[0] = 'g';
}

static int grow(void)
{
	for (int i = 0; i < 8; i++)
		grows[-i * PAGE] = (char)i;
	return grows[-7 * PAGE];
}

static void make(void)
{
	int fd = open(witness_path("f"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, PAGES * PAGE) < 0)
		_exit(3);
	for (size_t i = 0; i < MAPS; i++) {
		maps[i].at = map(maps[i].flags, fd);
		if (!maps[i].at)
			continue;
		if (maps[i].prot != 3)
			mprotect(maps[i].at, PAGES * PAGE, maps[i].prot);
		treat(i);
	}
	close(fd);
	map_stack();
	child = witness_child(change);
	/* less than is locked already */
	struct rlimit limit;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	limit.rlim_cur = 2 * PAGE;
	setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* what is no choice of the program: "ac" says that memory of this mapping was reserved once, "sd" who looked at it */
static void forget(char *line, const char *flag)
{
	char *at = strstr(line, flag);

	if (at)
		memmove(at, at + 3, strlen(at + 3) + 1);
}

/* VmFlags of each mapping between @at and its end */
static const char *flags(pid_t pid, const char *at)
{
	static char all[1024];
	char path[64], line[512];
	unsigned long start, end;
	bool ours = false;

	all[0] = 0;
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s", &start, &end) == 2)
			ours = start >= (unsigned long)at && end <= (unsigned long)at + PAGES * PAGE;
		forget(line, " sd");
		forget(line, " ac");
		if (ours && strncmp(line, "VmFlags:", 8) == 0)
			strncat(all, line + 8, sizeof(all) - strlen(all) - 1);
	}
	if (f)
		fclose(f);
	return all;
}

/* 0: it is not there */
static int byte(pid_t pid, const char *at)
{
	char path[64], c = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pread(fd, &c, 1, (off_t)(unsigned long)at) != 1)
		c = '-';
	close(fd);
	return c;
}

static void look(void)
{
	unsigned char in_core[PAGES];

	for (size_t i = 0; i < MAPS; i++) {
		witness_say("%s: %d\n", maps[i].name, maps[i].at != NULL);
		SAY(flags(getpid(), maps[i].at));
		SAY(flags(child, maps[i].at));
		SAY(byte(getpid(), maps[i].at));
		SAY(byte(child, maps[i].at));
	}
	SAY(byte(child, of("MADV_WIPEONFORK") + PAGE));
	SAY(mprotect(of("mseal PROT_READ"), PAGE, PROT_READ) < 0 ? errno : 0);
	SAY(mprotect(of("mseal"), PAGE, PROT_READ | PROT_WRITE) < 0 ? errno : 0);
	SAY(mprotect(of("file mseal"), PAGE, PROT_READ) < 0 ? errno : 0);
	SAY(grows[0]);
	SAY(witness_in_child(grow));
	SAY(mincore(of("MLOCK_ONFAULT"), PAGES * PAGE, in_core));
	SAY(in_core[0] & 1);
	SAY(in_core[1] & 1);
}

WITNESS(make, look)
