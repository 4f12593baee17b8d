/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * More than a thousand mappings, with pages of every sort in some of them and none in others.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "lib/many.h"
#include "lib/witness.h"

#define PAGE	      4096ul
#define HUGE_PAGE     (2ul << 20)
#define MANY	      1200ul
#define THREADS	      20
#define GUARD_INSTALL 102 /* MADV_GUARD_INSTALL, Linux 6.13 */
#define RW	      (PROT_READ | PROT_WRITE)
#define OWN	      (MAP_PRIVATE | MAP_ANONYMOUS)

static struct area {
	const char *name;
	size_t pages; /* that are looked at */
	char *at;
} areas[] = {
	{ "many", MANY },
	{ "zeros", 4 },
	{ "reserved", 4 },
	{ "hidden", 2 },
	{ "guarded", 4 },
	{ "stack", 4 },
	{ "sparse", 4 },
	{ "shared", 4 },
	{ "shared, not reserved", 4 },
	{ "file", 3 },
	{ "file, written", 3 },
	{ "file, only read", 3 },
	{ "deleted file", 3 },
	{ "code", 1 },
	{ "was writable", 2 },
	{ "no pages at all", 4 },
	{ "only read", 4 },
};

enum {
	MANY_OF,
	ZEROS,
	RESERVED,
	HIDDEN,
	GUARDED,
	STACK,
	SPARSE,
	SHARED,
	SHARED_NR,
	OF_FILE,
	WRITTEN,
	READ_ONLY,
	DELETED,
	CODE,
	WAS,
	EMPTY,
	READ,
};

static char *map(int area, size_t len, int prot, int flags, int fd)
{
	areas[area].at = mmap(NULL, len, prot, flags, fd, 0);
	if (areas[area].at == MAP_FAILED)
		_exit(3);
	return areas[area].at;
}

static void protect(char *at, size_t len, int prot)
{
	if (mprotect(at, len, prot) < 0)
		_exit(3);
}

static void fill(char *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i * PAGE + i % PAGE] = (char)(i | 1);
}

/* the kernel touches it: no signal comes */
static void say_page(const char *at)
{
	char page[PAGE];
	struct iovec here = { page, PAGE }, there = { (void *)at, PAGE };
	unsigned int sum = 1;

	if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != (ssize_t)PAGE) {
		witness_say(" %s", strerrorname_np(errno));
		return;
	}
	for (size_t i = 0; i < PAGE; i++)
		sum = sum * 31 + (unsigned char)page[i];
	witness_say(" %x", sum);
}

static void make_private(void)
{
	char *at = map(MANY_OF, MANY * PAGE, RW, OWN, -1);

	fill(at, MANY);
	for (size_t i = 0; i < MANY; i += 2)
		protect(at + i * PAGE, PAGE, i % 6 ? PROT_READ : PROT_NONE);
	at = map(ZEROS, 4 * PAGE, RW, OWN, -1);
	at[0] = 0;
	at[PAGE] = at[2 * PAGE];
	map(RESERVED, 1ul << 40, PROT_NONE, OWN | MAP_NORESERVE, -1);
	fill(map(HIDDEN, 2 * PAGE, RW, OWN, -1), 2);
	protect(areas[HIDDEN].at, PAGE, PROT_NONE);
	fill(map(GUARDED, 4 * PAGE, RW, OWN, -1), 4);
	madvise(areas[GUARDED].at + PAGE, PAGE, GUARD_INSTALL);
	fill(map(STACK, 4 * PAGE, RW, OWN | MAP_STACK, -1) + 2 * PAGE, 2);
	fill(map(SPARSE, 1ul << 30, RW, OWN | MAP_NORESERVE, -1) + (1ul << 29), 3);
	areas[SPARSE].at += 1ul << 29;
	map(CODE, PAGE, PROT_READ | PROT_EXEC, OWN, -1);
	fill(map(WAS, 2 * PAGE, RW, OWN, -1), 2);
	protect(areas[WAS].at, 2 * PAGE, PROT_READ);
	map(EMPTY, 4 * PAGE, RW, OWN, -1);
	map(READ, 2 * HUGE_PAGE, RW, OWN, -1);
	areas[READ].at += HUGE_PAGE - (uintptr_t)areas[READ].at % HUGE_PAGE;
	if (*(volatile char *)areas[READ].at) /* the page of zeros, a huge one where such may be */
		_exit(3);
}

static int make_file(const char *name)
{
	int fd = open(witness_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (char i = 1; i < 4; i++)
		if (fd < 0 || pwrite(fd, &i, 1, i * (off_t)PAGE - 1) != 1)
			_exit(3);
	return fd;
}

static void make_others(void)
{
	int fd = make_file("kept"), gone = make_file("gone"),
	    readable = open(witness_path("kept"), O_RDONLY | O_CLOEXEC);

	unlink(witness_path("gone"));
	fill(map(SHARED, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1), 2);
	fill(map(SHARED_NR, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1), 3);
	map(OF_FILE, 3 * PAGE, RW, MAP_SHARED, fd);
	fill(map(WRITTEN, 3 * PAGE, RW, MAP_PRIVATE, fd) + PAGE, 1);
	map(READ_ONLY, 3 * PAGE, PROT_READ, MAP_SHARED, readable);
	fill(map(DELETED, 3 * PAGE, RW, MAP_PRIVATE, gone), 1);
	close(fd);
	close(gone);
	close(readable);
}

static void make(void)
{
	pthread_t thread;

	make_private();
	make_others();
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, many_sleep, NULL))
			_exit(3);
}

/* that it counts as memory that was promised follows from what could once be written there, and is not the program's */
static void without_account(char *flags)
{
	char *at = strstr(flags, " ac");

	if (at)
		memmove(at, at + 3, strlen(at + 3) + 1);
}

/* protection and flags of all that lies in the area */
static void say_flags(const struct area *area)
{
	const uint64_t from = (uintptr_t)area->at, to = from + area->pages * PAGE;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[4096], prot[8] = "";
	unsigned long start, end;
	unsigned int n = 0, sum = 1;
	unsigned long rss;
	bool is_here = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %4s", &start, &end, prot) == 3)
			is_here = start < to && end > from;
		if (is_here && sscanf(line, "Rss: %lu kB", &rss) == 1 && rss > 64)
			witness_say("more than a few pages, ");
		if (!is_here || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		without_account(line);
		if (n++ == 0)
			witness_say("%s %s,", prot, line);
		for (const char *p = line; *p; p++)
			sum = sum * 31 + (unsigned char)*p;
		sum = sum * 31 + (unsigned char)prot[1];
	}
	if (f)
		fclose(f);
	witness_say(" of %u: %x\n", n, sum);
}

static void look(void)
{
	for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		witness_say("%s:", areas[i].name);
		for (size_t k = 0; k < areas[i].pages; k++)
			say_page(areas[i].at + k * PAGE);
		witness_say("\n");
		say_flags(&areas[i]);
	}
}

WITNESS(make, look)
