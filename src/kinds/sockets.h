/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Sockets of unix(7) in our network namespace, each asked for by its inode. The kernel goes through all that there are for
 * each answer, so when many are asked for they are all listed by one question: once before records are saved, and once then.
 */
#include "kinds/kind.h"

/** struct sockets - all zero: nothing was asked */
struct sockets {
	size_t asked;
	bool listed, saving; /* when the program's records were being saved */
	struct span all; /* of struct proc_unix */
	struct map by_ino; /* of them */
	bool has_listeners;
	struct span listeners; /* of struct proc_unix: ino, type and name */
};

/** sockets_find() - as proc_unix_read(); it may be what the socket was like when others of @tree were asked for */
int sockets_find(struct op *op, const struct tree *tree, uint64_t ino, struct proc_unix *ret);

/** sockets_listeners() - as proc_unix_listeners(), likewise */
int sockets_listeners(struct op *op, const struct tree *tree, struct span *ret);
