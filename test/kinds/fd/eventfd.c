/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define FULL (UINT64_MAX - 1)

static int counter, semaphore, full, empty, copy;
static pid_t child;

static void nothing(void)
{
}

/* before Linux 6.5 nobody can see which are semaphores: there are none there */
static int semaphore_flag(void)
{
	int fd = eventfd(0, EFD_SEMAPHORE);
	char path[64], line[128];
	bool seen = false;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		seen |= strncmp(line, "eventfd-semaphore:", 18) == 0;
	if (f)
		fclose(f);
	close(fd);
	return seen ? EFD_SEMAPHORE : 0;
}

static void make(void)
{
	const int semaphores = semaphore_flag();
	uint64_t most = FULL;

	counter = eventfd(300, EFD_NONBLOCK);
	semaphore = eventfd(3, semaphores | EFD_CLOEXEC);
	full = eventfd(0, EFD_NONBLOCK);
	empty = eventfd(0, EFD_NONBLOCK | semaphores);
	fcntl(empty, F_SETFL, O_APPEND | O_NONBLOCK);
	copy = fcntl(counter, F_DUPFD, 70);
	if (write(full, &most, sizeof(most)) != sizeof(most))
		_exit(4);
	child = witness_child(nothing);
}

static void say_one(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	SAY(fd);
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(fd, F_GETFD));
	SAY(poll(&p, 1, 0));
	SAY(p.revents);
}

/* one read, and what it took put back */
static void say_read(int fd)
{
	uint64_t n = 0;
	ssize_t got = read(fd, &n, sizeof(n));

	SAY(got < 0 ? -errno : got);
	SAY((unsigned long long)n);
	if (got > 0)
		SAY(write(fd, &n, sizeof(n)));
}

/* how often a semaphore can be taken */
static void say_takes(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t takes = 0, one = 0;

	while (poll(&p, 1, 0) == 1 && read(fd, &one, sizeof(one)) == sizeof(one))
		takes += one;
	SAY(takes);
	SAY(one);
	if (takes)
		SAY(write(fd, &takes, sizeof(takes)));
}

static void look(void)
{
	const int all[] = { counter, semaphore, full, empty, copy };
	uint64_t two = 2;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		say_one(all[i]);
	say_read(counter);
	say_read(copy);
	say_takes(semaphore);
	SAY(write(full, &two, sizeof(two)) < 0 ? errno : 0);
	say_read(full);
	say_read(empty);
	SAY(write(empty, &two, sizeof(two)));
	SAY(read(empty, &two, sizeof(two)));
	SAY(two);
	SAY(read(empty, &two, sizeof(two)));
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, counter, copy));
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, counter, full) != 0);
}

WITNESS(make, look)
