/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The harness gives one pipe as standard output and error. */
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static int elsewhere, other;
static pid_t child;

static void nothing(void)
{
}

static void make(void)
{
	elsewhere = fcntl(1, F_DUPFD_CLOEXEC, 100);
	dup2(1, 2);
	other = open("/proc/self/fd/1", O_WRONLY);
	child = witness_child(nothing);
}

static long same_file(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), child, KCMP_FILE, a, b);
}

static void look(void)
{
	struct stat one = { 0 }, two = { 0 };
	char c;

	SAY(read(0, &c, 1));
	SAY(write(1, "o", 1));
	SAY(write(2, "e", 1));
	SAY(write(elsewhere, "d", 1));
	SAY(write(other, "r", 1));
	SAY(fcntl(elsewhere, F_GETFD));
	SAY(fstat(1, &one));
	SAY(fstat(other, &two));
	SAY(one.st_mode & S_IFMT);
	SAY(one.st_ino == two.st_ino);
	SAY(same_file(1, 1));
	SAY(same_file(1, 2));
	SAY(same_file(1, elsewhere));
}

WITNESS(make, look)
