/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "lib/witness.h"

static int fd, other;
static pid_t child;

static int lock(int at, short type, off_t start, off_t len)
{
	return fcntl(at, F_SETLK, &(struct flock){ .l_type = type, .l_start = start, .l_len = len });
}

static void lock_and_wait(void)
{
	int file = open(witness_path("file"), O_RDWR);

	lock(file, F_RDLCK, 300, 10);
	lock(file, F_WRLCK, 400, 0);
}

static void make(void)
{
	fd = open(witness_path("file"), O_RDWR | O_CREAT, 0600);
	other = open(witness_path("file"), O_RDONLY);
	dup2(fd, 50);
	if (write(fd, "locked", 6) != 6)
		_exit(4);
	lock(fd, F_WRLCK, 0, 100);
	lock(other, F_RDLCK, 200, 1);
	lock(50, F_RDLCK, 300, 50);
	child = witness_child(lock_and_wait);
}

static struct flock found;

/* Who keeps another process from writing at this byte? */
static void probe(off_t at)
{
	int ends[2];
	struct flock l = { .l_type = F_WRLCK, .l_start = at, .l_len = 1 };

	memset(&found, 0, sizeof(found));
	if (pipe(ends) < 0)
		return;
	if (fork() == 0) {
		fcntl(fd, F_GETLK, &l);
		_exit(write(ends[1], &l, sizeof(l)) != sizeof(l));
	}
	if (read(ends[0], &found, sizeof(found)) != sizeof(found))
		found.l_type = -1;
	close(ends[0]);
	close(ends[1]);
	wait(NULL);
}

static void say_who(off_t at)
{
	probe(at);
	SAY(at);
	SAY(found.l_type);
	SAY(found.l_start);
	SAY(found.l_len);
	SAY(found.l_pid == getpid());
	SAY(found.l_pid == child);
}

static void look(void)
{
	static const off_t places[] = { 0, 99, 100, 200, 201, 349, 450, 1000000 };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		say_who(places[i]);
	/* of two who share a place the kernel names the one who came first, and nothing shows who that was */
	SAY(lock(fd, F_UNLCK, 300, 50));
	say_who(305);
	SAY(lock(fd, F_RDLCK, 300, 50));
	SAY(lock(fd, F_WRLCK, 450, 1) < 0 ? errno : 0);
	SAY(lock(fd, F_WRLCK, 0, 100));
}

WITNESS(make, look)
