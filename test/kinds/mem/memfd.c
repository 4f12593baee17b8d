/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/hugepool.h"
#include "lib/witness.h"

#define PAGE	4096
#define INTS	(PAGE / (int)sizeof(int))
#define IN_HUGE ((int)(HUGE / sizeof(int)))
#define POOL	14

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

static volatile int *closed, *open_too, *part, *own, *own_closed, *future, *constant, *read_only, *late;
static volatile int *huge, *huge_own, *huge_const, *huge_closed, *huge_short;
static int open_fd, future_fd, constant_fd, huge_fd, huge_short_fd;
static pid_t child;

static int make_memfd(const char *name, unsigned int flags, off_t size)
{
	int fd = (int)syscall(SYS_memfd_create, name, flags);

	if (fd >= 0 && ftruncate(fd, size) < 0)
		_exit(3);
	return fd;
}

static int *map(int fd, int prot, int how, size_t pages, off_t from)
{
	void *at = mmap(NULL, pages * PAGE, prot, how, fd, from * PAGE);

	return at == MAP_FAILED ? NULL : at;
}

static int *map_all(int fd, size_t pages)
{
	return map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, pages, 0);
}

static void set(int fd, int page, int value)
{
	if (pwrite(fd, &value, sizeof(value), (off_t)page * PAGE) != sizeof(value))
		_exit(3);
}

static int get(int fd, int page)
{
	int value = -1;

	return pread(fd, &value, sizeof(value), (off_t)page * PAGE) == sizeof(value) ? value : -1;
}

/* the child has but a part of one, and a private page of its own */
static void live(void)
{
	munmap((void *)(closed + 8 * INTS), 8 * PAGE);
	own[2 * INTS] = 222;
	if (huge)
		huge_own[IN_HUGE] = 666;
}

/* memory that only processes which have ended have ever touched */
static int write_late(void)
{
	late[INTS] = 4711;
	return 0;
}

static int write_closed(void)
{
	huge_closed[IN_HUGE + 3] = 4712;
	return 0;
}

static int read_late(void)
{
	return late[INTS] == 4711 && late[0] == 0;
}

static int again(int fd, int flags)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, flags | O_CLOEXEC);
}

static void make_closed(void)
{
	int fd = make_memfd("closed", MFD_CLOEXEC, 16 * PAGE);

	closed = map_all(fd, 16);
	close(fd);
	for (int i = 0; i < 16; i += 3)
		closed[i * INTS] = 100 + i;
	fd = make_memfd("late\n", MFD_CLOEXEC, 4 * PAGE);
	late = map_all(fd, 4);
	close(fd);
	witness_in_child(write_late);
	if (geteuid() != 0)
		return;
	fd = make_memfd("own, closed", MFD_CLOEXEC, 4 * PAGE);
	for (int i = 0; i < 4; i++)
		set(fd, i, 500 + i);
	own_closed = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 4, 0);
	close(fd);
	own_closed[INTS] = 51;
}

static void make_open(void)
{
	open_fd = make_memfd("open", MFD_CLOEXEC, 64 * PAGE);
	open_too = map_all(open_fd, 8);
	part = map(open_fd, PROT_READ | PROT_WRITE, MAP_SHARED, 2, 4);
	own = map(open_fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 4, 0);
	int reader = again(open_fd, O_RDONLY);
	read_only = map(reader, PROT_READ, MAP_SHARED, 2, 40);
	close(reader);
	for (int i = 0; i < 64; i += 10)
		set(open_fd, i, 300 + i);
	part[INTS] = 5;
	own[INTS] = 61;
	own[3 * INTS] = 63;
	own[3 * INTS] = 0;
}

static void make_sealed(void)
{
	future_fd = make_memfd("future", MFD_CLOEXEC | MFD_ALLOW_SEALING, 4 * PAGE);
	future = map_all(future_fd, 4);
	fcntl(future_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK);
	future[INTS] = 77;
	constant_fd = make_memfd("constant", MFD_CLOEXEC | MFD_ALLOW_SEALING, 4 * PAGE);
	set(constant_fd, 1, 88);
	fcntl(constant_fd, F_ADD_SEALS, F_SEAL_WRITE);
	/* before v6.13 only a descriptor for reading will do */
	constant = map(constant_fd, PROT_READ, MAP_SHARED, 4, 0);
	int reader = again(constant_fd, O_RDONLY);
	if (!constant)
		constant = map(reader, PROT_READ, MAP_SHARED, 4, 0);
	close(reader);
}

/* two pages of it are mapped shared, and twice privately; what is beyond its end cannot be touched */
static void make_huge(void)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB;

	if (!hugepool_have(POOL))
		return;
	huge_fd = make_memfd("huge", flags, 3 * HUGE);
	huge = map_all(huge_fd, 2 * HUGE / PAGE);
	huge_own = map(huge_fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 2 * HUGE / PAGE, 0);
	huge_const = map(huge_fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, HUGE / PAGE, HUGE / PAGE);
	huge[7 * INTS] = 99;
	huge[IN_HUGE] = 98;
	huge_own[8 * INTS] = 97;
	huge_const[INTS] = 96;
	mprotect((void *)huge_const, HUGE, PROT_READ);
	int fd = make_memfd("huge, closed", flags, 2 * HUGE);
	huge_closed = map_all(fd, 2 * HUGE / PAGE);
	close(fd);
	witness_in_child(write_closed);
	huge_short_fd = make_memfd("huge, short", flags, 2 * HUGE);
	huge_short = map_all(huge_short_fd, 2 * HUGE / PAGE);
	if (ftruncate(huge_short_fd, HUGE) < 0)
		_exit(3);
}

static void make(void)
{
	make_closed();
	make_open();
	make_sealed();
	make_huge();
	child = witness_child(live);
}

static int childs(const volatile int *at)
{
	return witness_int_of(child, at);
}

/* one memory for both? */
static int is_shared(volatile int *at)
{
	int was = *at, seen;

	*at = was + 1;
	seen = childs(at);
	*at = was;
	return seen == was + 1;
}

static int errno_of(long r)
{
	return r < 0 ? errno : 0;
}

/* the name in maps */
static const char *name_at(const volatile int *at)
{
	static char line[4200];
	unsigned long start;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx", &start) == 1 && start == (unsigned long)at)
			break;
	if (f)
		fclose(f);
	line[strcspn(line, "\n")] = 0;
	return strchr(line, '/') ? strchr(line, '/') : "";
}

static void look_closed(void)
{
	for (int i = 0; i < 16; i++) {
		SAY(closed[i * INTS]);
		SAY(childs(&closed[i * INTS]));
	}
	SAY(is_shared(&closed[3 * INTS]));
	SAY(name_at(closed));
	SAY(name_at(late));
	SAY(witness_in_child(read_late));
	for (int i = 0; own_closed && i < 4; i++)
		SAY(own_closed[i * INTS]);
}

static void look_open(void)
{
	struct stat st = { 0 };

	for (int i = 0; i < 64; i++)
		SAY(get(open_fd, i));
	SAY(fstat(open_fd, &st));
	SAY(st.st_size);
	SAY(is_shared(&open_too[0]));
	SAY(open_too[5 * INTS]);
	SAY(part[INTS]);
	for (int i = 0; i < 4; i++) {
		SAY(own[i * INTS]);
		SAY(childs(&own[i * INTS]));
	}
	set(open_fd, 0, 1234); /* a page that is not the mapping's own yet, and one that is */
	set(open_fd, 1, 1234);
	SAY(own[0]);
	SAY(own[INTS]);
	SAY(open_too[INTS]);
	set(open_fd, 0, 300);
	set(open_fd, 1, 0);
	SAY(read_only[0]);
	SAY(errno_of(mprotect((void *)read_only, PAGE, PROT_READ | PROT_WRITE)));
	SAY(errno_of(mprotect((void *)part, PAGE, PROT_READ)));
	SAY(errno_of(mprotect((void *)part, PAGE, PROT_READ | PROT_WRITE)));
}

static void look_sealed(void)
{
	SAY(fcntl(future_fd, F_GET_SEALS));
	SAY(is_shared(&future[0]));
	SAY(get(future_fd, 1));
	SAY(errno_of(pwrite(future_fd, "x", 1, 0)));
	SAY(map_all(future_fd, 4) == NULL);
	SAY(fcntl(constant_fd, F_GET_SEALS));
	SAY(constant[INTS]);
	SAY(errno_of(pwrite(constant_fd, "x", 1, 0)));
	SAY(errno_of(mprotect((void *)constant, PAGE, PROT_READ | PROT_WRITE)));
}

static void look_huge(void)
{
	struct stat st = { 0 };

	SAY(huge[7 * INTS]);
	SAY(huge[8 * INTS]);
	SAY(is_shared(&huge[7 * INTS]));
	SAY(name_at(huge));
	SAY(get(huge_fd, 7));
	SAY(fstat(huge_fd, &st));
	SAY(st.st_size / (long)HUGE);
	SAY(st.st_blocks * 512 / (long)HUGE);
	SAY(huge_own[7 * INTS]);
	SAY(huge_own[8 * INTS]);
	SAY(childs(&huge_own[8 * INTS]));
	SAY(childs(&huge_own[IN_HUGE]));
	huge[IN_HUGE] = 1234; /* a page that is not the mapping's own yet, and one that is */
	SAY(huge_own[IN_HUGE]);
	SAY(huge_const[0]);
	huge[IN_HUGE] = 98;
	SAY(huge_const[INTS]);
	SAY(childs(&huge_const[INTS]));
	SAY(errno_of(mprotect((void *)huge_const, HUGE, PROT_READ | PROT_WRITE)));
	SAY(errno_of(mprotect((void *)huge_const, HUGE, PROT_READ)));
	SAY(huge_closed[IN_HUGE + 3]);
	SAY(is_shared(&huge_closed[5]));
	SAY(fstat(huge_short_fd, &st));
	SAY(st.st_size / (long)HUGE);
	SAY(childs(huge_short));
	SAY(childs(&huge_short[IN_HUGE]));
}

static void look(void)
{
	look_closed();
	look_open();
	look_sealed();
	SAY(huge != NULL);
	if (huge)
		look_huge();
}

WITNESS(make, look)
