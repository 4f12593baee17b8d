/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that could shut itself into a Landlock domain, and has not.
 */
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

static pid_t child;

static void nothing(void)
{
}

/* who is in a domain may look at what is in it, and at nothing outside */
static int looks_at(pid_t pid)
{
	void *head;
	size_t len;

	return syscall(SYS_get_robust_list, pid, &head, &len) < 0 ? errno : 0;
}

static int by_child(void)
{
	return looks_at(getppid());
}

static void make(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	child = witness_child(nothing);
}

static void look(void)
{
	SAY(looks_at(child));
	SAY(witness_in_child(by_child));
	SAY(syscall(444, NULL, 0, 1) > 0); /* landlock_create_ruleset */
}

WITNESS(make, look)
