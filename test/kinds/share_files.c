/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes that share their descriptors, or their directories and umask, and no memory: clone(2) with CLONE_FILES, CLONE_FS.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

enum { FILES, FS, BOTH, GRANDCHILD, CHILDREN };

static pid_t child[CHILDREN];
static int made[2];

static pid_t clone_child(unsigned long flags, void (*run)(void))
{
	pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0) {
		if (run)
			run();
		for (;;)
			pause();
	}
	if (pid < 0)
		_exit(4);
	witness_children[witness_n_children++] = pid;
	return pid;
}

static void tell_grandchild(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_FS | SIGCHLD, 0, 0, 0, 0);

	if (pid != 0 && write(made[1], &pid, sizeof(pid)) != sizeof(pid))
		_exit(4);
}

static void make(void)
{
	char byte = 'x';

	mkdir(witness_path("place"), 0755);
	if (chdir(witness_path("place")) < 0 || pipe(made) < 0)
		_exit(4);
	umask(0131);
	child[FILES] = clone_child(CLONE_FILES, NULL);
	child[FS] = clone_child(CLONE_FS, NULL);
	child[BOTH] = clone_child(CLONE_FILES | CLONE_FS, tell_grandchild);
	if (read(made[0], &child[GRANDCHILD], sizeof(pid_t)) != sizeof(pid_t))
		_exit(4);
	witness_children[witness_n_children++] = child[GRANDCHILD];
	if (write(made[1], &byte, 1) != 1) /* stays in the pipe */
		_exit(4);
}

static const char *link_of(pid_t pid, const char *name)
{
	static char text[PATH_MAX];
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	ssize_t n = readlink(path, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = 0;
	return text;
}

static int umask_of(pid_t pid)
{
	char path[64], line[128];
	unsigned int mask = 01000;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Umask: %o", &mask) == 1)
			break;
	if (f)
		fclose(f);
	return (int)mask;
}

static int share(pid_t pid, int type)
{
	return syscall(SYS_kcmp, getpid(), pid, type, 0, 0) == 0;
}

/* opened here, is it open there? */
static int sees_new_file(pid_t pid)
{
	char name[32];
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	snprintf(name, sizeof(name), "fd/%d", fd);
	int seen = strcmp(link_of(pid, name), "/dev/zero") == 0;
	close(fd);
	return seen;
}

static int goes_along(pid_t pid)
{
	char here[PATH_MAX];

	if (!getcwd(here, sizeof(here)) || chdir("/") < 0)
		return -1;
	umask(0027);
	int along = strcmp(link_of(pid, "cwd"), "/") == 0 && umask_of(pid) == 0027;
	umask(0131);
	return chdir(here) < 0 ? -1 : along;
}

static void look(void)
{
	char cwd[PATH_MAX];

	SAY(getcwd(cwd, sizeof(cwd)));
	for (int i = 0; i < CHILDREN; i++) {
		SAY(i);
		SAY(share(child[i], KCMP_FILES));
		SAY(share(child[i], KCMP_FS));
		SAY(share(child[i], KCMP_VM));
		SAY(sees_new_file(child[i]));
		SAY(goes_along(child[i]));
		SAY(link_of(child[i], "cwd"));
		SAY(umask_of(child[i]));
	}
	SAY(fcntl(made[0], F_GETFD));
}

WITNESS(make, look)
