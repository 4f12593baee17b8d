/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/stat.h>

#include "lib/witness.h"

static pid_t child, jailed;

static void go_elsewhere(void)
{
	if (chdir("..") < 0)
		_exit(4);
	umask(0);
}

/* an ordinary user may not; then it stays where it is */
static void enter_jail(void)
{
	if (chroot(witness_path("jail")) == 0 && chdir("/inner") < 0)
		_exit(4);
}

static void make(void)
{
	mkdir(witness_path("place"), 0700);
	mkdir(witness_path("jail"), 0755);
	mkdir(witness_path("jail/inner"), 0755);
	if (chdir(witness_path("place")) < 0)
		_exit(4);
	umask(0137);
	child = witness_child(go_elsewhere);
	jailed = witness_child(enter_jail);
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

static const char *umask_of(pid_t pid)
{
	static char line[64];
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f) && strncmp(line, "Umask:", 6) != 0)
		;
	if (f)
		fclose(f);
	line[strcspn(line, "\n")] = 0;
	return line;
}

static void look(void)
{
	char cwd[PATH_MAX];
	mode_t mask = umask(0);

	umask(mask);
	SAY(mask);
	SAY(getcwd(cwd, sizeof(cwd)));
	SAY(access("../place", F_OK));
	for (int i = 0; i < 3; i++) {
		pid_t pids[] = { getpid(), child, jailed };

		SAY(link_of(pids[i], "cwd"));
		SAY(link_of(pids[i], "root"));
		SAY(umask_of(pids[i]));
	}
}

WITNESS(make, look)
