/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How sessions and process groups come about again.
 *
 * A session is entered by birth or by setsid(2). Who is in a session that is neither his own nor his parent's was born
 * before his parent called setsid ("early"), or his session's first process has ended and its children were handed on. That
 * one is made again for a while, as a ghost under its old number: it begins the session, makes the process with CLONE_PARENT,
 * and ends. A process group whose first process has ended has a ghost likewise, which lasts until all have joined.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"

/** struct birth - what decides how one process is made */
struct birth {
	pid_t pid, sid, pgid; /* 0: outside of the tree's pid namespace */
	struct birth *parent; /* NULL: top-level */
	bool zombie;
	void *subject; /* the caller's; NULL for a ghost */
	/* found by plan_births(): */
	pid_t birth_sid; /* the session it must be born into; -1: any */
	bool early; /* it is cloned before its parent calls setsid */
	bool joins; /* its group is one of the tree's, to be joined by setpgid(2) */
	bool ghost; /* made up: has no part in the program */
	struct birth *maker; /* who clones it, being a child of the same parent; NULL: the parent does */
	enum { BIRTH_POSSIBLE, BIRTH_NO_SESSION, BIRTH_NO_GROUP } problem;
};

/**
 * plan_births() - find out how all of them can be made
 * @births: of struct birth *, parents before children, the root first. Ghosts are added at the end, in @a.
 * Each birth that is impossible has a ->problem.
 */
void plan_births(struct arena *a, struct span *births);
