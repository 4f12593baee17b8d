/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * With whose rights a restart opens what the program had open.
 *
 * Root who restarts a user's program may open everything; the user may have put something else at its paths meanwhile, such as a
 * symbolic link to what he may not read. But he may also have had what he could not open: it was opened before rights were given up, or
 * came from another. So with the rights of stasis is opened, if no symbolic link leads there (the image knows none):
 *
 *	- what is the same object, with the same owner: it hands out nothing that the program did not have;
 *	- what is of the same sort and owner, where nobody but root can have put it, as on another machine;
 *	- what the caller has named (--file PATH=allow).
 *
 * All else is opened as the processes themselves would open it, by each of those who have it (site->owners), with the
 * user, groups and capabilities for files that they had.
 */
#include <sys/stat.h>

#include "kinds/inode.h"
#include "kinds/kind.h"

/** rights_own() - those of this thread; < 0 after fail() */
int rights_own(struct op *op, struct rights *ret);

/** rights_within() - of @want as much as who has @own may take; NULL: that makes no difference to @own */
const struct rights *rights_within(struct arena *a, const struct rights *own, const struct rights *want);

/** struct goal - what is to be opened */
struct goal {
	const char *path; /* absolute */
	const char *what; /* for the story: "directory "; "" for a file */
	int flags; /* O_* */
	int need; /* with O_PATH: R_OK and so on, what is going to be done with it */
	const struct inode *was;
	bool (*fits)(mode_t mode,
		dev_t rdev); /* else it is not even opened: a device might act on it, a FIFO might wait; NULL: all do */
	bool straight; /* never through a symbolic link */
	bool stays; /* the rights may stay what they were needed for, until rights_give_back() */
};

/**
 * rights_open() - a descriptor of it, and in *@ret_st what it is; or -errno
 * -EMEDIUMTYPE: it does not fit. Where that lies in the rights of the processes it has called fail().
 */
int rights_open(struct op *op, struct site *site, const struct goal *g, struct stat *ret_st);

/** rights_give_back() - this thread has those of stasis again; 0 or < 0 after fail() */
int rights_give_back(struct op *op, struct site *site);

/** rights_reopen() - openfile_reopen() as the processes would; -errno */
int rights_reopen(struct op *op, struct site *site, int fd, int flags);

/** rights_check() - rights_open() of what descriptor @at leads to already, without a symbolic link; 0 or < 0 after fail() */
int rights_check(struct op *op, struct site *site, const struct goal *g, int at);

/** rights_may() - may all of them do with descriptor @fd (O_PATH too) what @need (R_OK and so on) says? 1, 0 or < 0 */
int rights_may(struct op *op, struct site *site, int fd, int need);

/** rights_take() - this thread has the rights of one of those who have it, until rights_give_back(); 0 or < 0 after fail() */
int rights_take(struct op *op, struct site *site);

/** rights_each() - make the call with the rights of each of them, until it gives < 0: that, or 0 */
int rights_each(struct op *op, struct site *site, int (*call)(const void *data), const void *data);
