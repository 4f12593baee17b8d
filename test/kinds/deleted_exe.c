/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program whose executable has been deleted, and another one put in its place.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/witness.h"

static int counter = 5;
static pid_t child;

extern char **environ;

/* again, from a copy */
static void run_copy(char **argv)
{
	static char text[1 << 20], path[PATH_MAX];
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	snprintf(path, sizeof(path), "%s/copy", argv[1]);
	int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n = read(in, text, sizeof(text));

	if (n <= 0 || write(out, text, (size_t)n) != n || close(out) < 0)
		_exit(3);
	close(in);
	execve(path, argv, environ);
	_exit(4);
}

static void stay(void)
{
	counter = 7;
}

static void make(void)
{
	unlink(witness_path("copy"));
	int other = open(witness_path("copy"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	if (other < 0 || write(other, "other\n", 6) != 6)
		_exit(3);
	close(other);
	counter++;
	child = witness_child(stay);
}

static const char *exe_of(pid_t pid)
{
	static char link[PATH_MAX];
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/exe", pid);
	ssize_t n = readlink(name, link, sizeof(link) - 1);
	link[n < 0 ? 0 : n] = 0;
	return strrchr(link, '/') ? strrchr(link, '/') : link;
}

/* how long it is, as it can be opened */
static long size_of_exe(pid_t pid)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "/proc/%d/exe", pid);
	return stat(name, &st) == 0 ? st.st_size : -1;
}

static int is_mapped_deleted(void)
{
	char of_child[64], line[PATH_MAX + 200];
	int lines = 0;

	snprintf(of_child, sizeof(of_child), "/proc/%d/maps", child);
	FILE *f = fopen(of_child, "re");
	while (f && fgets(line, sizeof(line), f))
		lines += strstr(line, "/copy (deleted)\n") != NULL;
	if (f)
		fclose(f);
	return lines;
}

static void look(void)
{
	char other[16] = "";
	int fd = open(witness_path("copy"), O_RDONLY | O_CLOEXEC);

	SAY(exe_of(getpid()));
	SAY(exe_of(child));
	SAY(size_of_exe(getpid()));
	SAY(size_of_exe(child));
	SAY(is_mapped_deleted());
	SAY(counter);
	SAY(read(fd, other, sizeof(other) - 1));
	SAY(other);
	close(fd);
}

int main(int argc, char **argv)
{
	if (strcmp(exe_of(getpid()), "/copy (deleted)") != 0 && strcmp(exe_of(getpid()), "/copy") != 0)
		run_copy(argv);
	return witness_main(argc, argv, make, look);
}
