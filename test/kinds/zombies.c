/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Children that have ended and were not waited for: how they ended, and the process groups and sessions that they are in,
 * also such whose first process is long gone, as those of a pipeline that a shell has half waited for.
 */
#include <errno.h>

#include "lib/witness.h"

static struct child {
	const char *name;
	pid_t group; /* as setpgid(2) takes it; -1: a session of its own; -2: that of the first of the pipeline, who is waited for */
	int code, signo;
	pid_t pid;
} children[] = {
	{ "exits with 3", 0, 3, 0, 0 },
	{ "killed, in the group of its parent", -3, 0, SIGKILL, 0 },
	{ "in a session of its own", -1, 4, 0, 0 },
	{ "the second of a pipeline", -2, 5, 0, 0 },
	{ "the third of a pipeline", -2, 0, SIGTERM, 0 },
};
enum { CHILDREN = sizeof(children) / sizeof(children[0]) };

static pid_t first; /* of the pipeline */

static void end(const struct child *c)
{
	if (c->group == -1)
		setsid();
	else if (c->group != -3)
		setpgid(0, c->group == -2 ? first : c->group);
	if (c->signo)
		raise(c->signo);
	_exit(c->code);
}

static void make(void)
{
	siginfo_t info;

	first = fork();
	if (first == 0) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(first, first);
	for (int i = 0; i < CHILDREN; i++) {
		children[i].pid = fork();
		if (children[i].pid == 0)
			end(&children[i]);
		waitid(P_PID, (id_t)children[i].pid, &info, WEXITED | WNOWAIT);
	}
	kill(first, SIGKILL);
	waitpid(first, NULL, 0);
}

static void look(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		siginfo_t info = { 0 };

		witness_say("%s:\n", children[i].name);
		SAY(waitid(P_PID, (id_t)children[i].pid, &info, WEXITED | WNOHANG | WNOWAIT));
		SAY(info.si_pid == children[i].pid);
		SAY(info.si_code);
		SAY(info.si_status);
		SAY(getpgid(children[i].pid) == (children[i].group == -2 ? first : children[i].pid));
		SAY(getpgid(children[i].pid) == getpgid(0));
		SAY(getsid(children[i].pid) == children[i].pid);
	}
	siginfo_t info = { 0 };
	SAY(waitid(P_PGID, (id_t)first, &info, WEXITED | WNOHANG | WNOWAIT));
	SAY(info.si_status);
	SAY(kill(first, 0) < 0 ? errno : 0);
	SAY(kill(-first, 0) < 0 ? errno : 0);
}

WITNESS(make, look)
