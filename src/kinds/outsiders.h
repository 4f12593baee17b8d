/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Outsiders: processes that are no part of the program, and hold open what the program holds. The kernel does not tell who
 * holds a file, so the descriptors of all processes in sight are looked at: once, and for the most part before the program
 * stands still.
 */
#include "kinds/kind.h"

/** struct outsiders - all zero: nobody was looked at */
struct outsiders {
	struct map known; /* by pid: who was */
	struct span fds; /* of struct outside_fd, of the program's own processes too */
	struct map
		by_link; /* of struct outside_fd, by the hash of the link: the first of those that are none of the program's */
	bool sorted; /* by_link is complete */
};

/** outsiders_look_ahead() - look at all processes, if it seems that @root or a process below it has a pipe, a socket or memory without a name */
void outsiders_look_ahead(struct arena *a, struct outsiders *o, pid_t root);

/**
 * outsider_of() - ""cat" (pid 812)": the first process outside of the tree that has a descriptor leading to @link, such
 * as "pipe:[123]"; NULL when none is in sight. What stasis itself has taken of it must be closed before.
 */
const char *outsider_of(struct op *op, const struct tree *tree, const char *link);

/** outsider_note() - note that one holds the @what ("pipe") at s->fd too, and that a restart cuts it off */
void outsider_note(struct op *op, const struct sight *s, const char *what);

/** outsider_note_file() - the same of @what ("secret memory") at @file, whose link is a name that other files may have too */
void outsider_note_file(struct op *op, const struct tree *tree, const struct proc_fd *file, const char *what);
