/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define PAGE 4096
#define HUGE (2l << 20)
#define INTS (PAGE / (int)sizeof(int))

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif

static volatile int *closed, *open_too, *part, *own, *own_closed, *future, *constant, *read_only, *late, *huge;
static int open_fd, future_fd, constant_fd, huge_fd;
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
}

/* memory that only processes which have ended have ever touched */
static int write_late(void)
{
	late[INTS] = 4711;
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

static void make(void)
{
	make_closed();
	make_open();
	make_sealed();
	huge_fd = make_memfd("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB, 2 * HUGE);
	huge = huge_fd < 0 ? NULL : map_all(huge_fd, HUGE / PAGE);
	if (huge)
		huge[7 * INTS] = 99;
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

static void look(void)
{
	look_closed();
	look_open();
	look_sealed();
	SAY(huge != NULL);
	if (huge) {
		SAY(huge[7 * INTS]);
		SAY(huge[8 * INTS]);
		SAY(is_shared(&huge[7 * INTS]));
		SAY(name_at(huge));
		SAY(get(huge_fd, 7));
	}
}

WITNESS(make, look)
