/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program that lies in a memfd, and in no other file.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static int counter = 5;
static pid_t child;

extern char **environ;

/* again, from a memfd */
static void run_copy(char **argv)
{
	static char text[1 << 20];
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = (int)syscall(SYS_memfd_create, "copy", MFD_CLOEXEC);
	ssize_t n = read(in, text, sizeof(text));

	if (n <= 0 || write(fd, text, (size_t)n) != n)
		_exit(3);
	close(in);
	fexecve(fd, argv, environ);
	_exit(4);
}

static void stay(void)
{
	counter = 7;
}

static void make(void)
{
	counter++;
	child = witness_child(stay);
}

static const char *exe_of(pid_t pid)
{
	static char link[300];
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/exe", pid);
	ssize_t n = readlink(name, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = 0;
	return link;
}

static void look(void)
{
	SAY(exe_of(getpid()));
	SAY(exe_of(child));
	SAY(counter);
}

int main(int argc, char **argv)
{
	if (strncmp(exe_of(getpid()), "/memfd:", 7) != 0)
		run_copy(argv);
	return witness_main(argc, argv, make, look);
}
