/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#define PAGE 4096

static int fd, twin, empty, size = 6 * PAGE + 10;
static pid_t child;

static void stay(void)
{
}

static void make(void)
{
	fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	empty = (int)syscall(SYS_memfd_secret, 0);
	if (fd < 0)
		return;
	char *at = ftruncate(fd, size) < 0 ? MAP_FAILED : mmap(NULL, 7 * PAGE, PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		_exit(3);
	strcpy(at + PAGE, "one");
	strcpy(at + 6 * PAGE, "six");
	munmap(at, 7 * PAGE);
	fchmod(fd, 0640);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	twin = dup(fd);
	child = witness_child(stay);
}

static void say_state(int of)
{
	char name[64], link[64] = "";
	struct stat st = { 0 };

	snprintf(name, sizeof(name), "/proc/self/fd/%d", of);
	if (readlink(name, link, sizeof(link) - 1) < 0)
		link[0] = 0;
	SAY(link);
	SAY(fstat(of, &st));
	SAY(st.st_size);
	SAY(st.st_mode);
	SAY(st.st_uid == geteuid());
	SAY(fcntl(of, F_GETFL));
	SAY(fcntl(of, F_GETFD));
}

/* which pages there are, and what is in them */
static void say_content(void)
{
	unsigned char there[7] = "";
	char *at = mmap(NULL, 7 * PAGE, PROT_READ, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return;
	SAY(mincore(at, 7 * PAGE, there));
	for (int i = 0; i < 7; i++)
		if (there[i] & 1)
			witness_say("page %d: %s\n", i, at + i * PAGE);
	munmap(at, 7 * PAGE);
}

static void look(void)
{
	struct stat st = { 0 }, its = { .st_ino = 1 };
	char name[64];

	SAY(fd >= 0);
	if (fd < 0)
		return;
	say_state(fd);
	say_state(empty);
	say_content();
	SAY(fcntl(twin, F_SETFL, 0));
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(twin, F_SETFL, O_NONBLOCK));
	snprintf(name, sizeof(name), "/proc/%d/fd/%d", child, fd);
	SAY(fstat(fd, &st));
	SAY(stat(name, &its));
	SAY(st.st_ino == its.st_ino);
}

WITNESS(make, look)
