/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * With whose rights a restart opens what the program had open.
 *
 * Root who restarts a user's program may open everything; the user may have put something else at its paths meanwhile, such as a
 * symbolic link to what he may not read. So it is opened as the processes themselves would open it, by each of those who
 * have it (site->owners), with the user, groups and capabilities that they had. But they may also have what they could not open: it
 * was opened before rights were given up, or came from another. What is denied to them is opened with the rights of stasis, if no
 * symbolic link leads there (the image knows none), and it is
 *
 *	- the same object, with the same owner: it hands out nothing that the program did not have;
 *	- of the same sort and owner, where nobody but root can have put it, as on another machine;
 *	- what the caller has named (--file PATH=allow).
 */
#include <sys/stat.h>

#include "kinds/inode.h"
#include "kinds/kind.h"

/** struct goal - what is to be opened */
struct goal {
	const char *path; /* absolute */
	const char *what; /* for the story: "directory "; "" for a file */
	int flags; /* O_* */
	int need; /* with O_PATH: R_OK and so on, what is going to be done with it */
	const struct inode *was;
	mode_t type; /* S_IFREG and so on; another one is not even opened: a device might act on it, a FIFO might wait; 0: any */
	dev_t device; /* a character device that will do as well; 0: none */
	bool straight; /* never through a symbolic link */
	bool asks_opener; /* what it shows depends on who has opened it, as in /proc */
	bool stays; /* the rights may stay what they were needed for, until rights_give_back() */
};

/**
 * goal_open() - a descriptor of it, and in *@ret_st what it is; or -errno
 * -EMEDIUMTYPE: it is of another type. Where that lies in the rights of the processes it has called fail().
 */
int goal_open(struct op *op, struct site *site, const struct goal *g, struct stat *ret_st);

/** goal_has_rule() - is that what the user has said of @path (--file PATH=POLICY)? */
bool goal_has_rule(const struct site *site, const char *path, enum file_policy policy);
