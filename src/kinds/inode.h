/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Is what a path leads to now the very object that it was? Numbers of inodes are used again, and those of devices change with a reboot:
 * so the image has also when it was made, and whose it was.
 */
#include <sys/stat.h>

#include "image/field.h"
#include "kinds/kind.h"

enum inode_born {
	INODE_UNKNOWN, /* an older image */
	INODE_BORN,
	INODE_CHANGED, /* its file system does not know: it is when it was changed last */
};

/** struct inode - what a file, directory or FIFO is known by; all but dev, ino and mode are 0 in older images */
struct inode {
	uint64_t dev, ino;
	uint64_t fsid; /* statfs(2); 0: it has none */
	uint32_t mode, uid, gid;
	int64_t born_sec; /* when it was made */
	uint64_t born_nsec;
	uint32_t born; /* enum inode_born: may it be believed? */
};

/* the last four: where a record has the others by other numbers */
/* clang-format off */
#define INODE_BIRTH_FIELDS(first, type, m) \
	FIELD_U(first, type, m.fsid, "super_block.s_uuid"), \
	FIELD_I((first) + 1, type, m.born_sec, "inode.i_ctime_sec"), \
	FIELD_U((first) + 2, type, m.born_nsec, "inode.i_ctime_nsec"), \
	FIELD_U((first) + 3, type, m.born, "")

#define INODE_FIELDS(first, type, m) \
	FIELD_U(first, type, m.dev, "super_block.s_dev"), \
	FIELD_U((first) + 1, type, m.ino, "inode.i_ino"), \
	FIELD_U((first) + 2, type, m.mode, "inode.i_mode"), \
	FIELD_U((first) + 3, type, m.uid, "inode.i_uid"), \
	FIELD_U((first) + 4, type, m.gid, "inode.i_gid"), \
	INODE_BIRTH_FIELDS((first) + 5, type, m)
/* clang-format on */

/** inode_of_fd() - what is at s->fd, which its path leads to */
void inode_of_fd(const struct sight *s, struct inode *ret);

/** inode_look() - what descriptor @fd (O_PATH too) of ours leads to; 0 or -errno */
int inode_look(int fd, struct inode *ret);

/** inode_look_at() - what is at @name itself, in the directory @dir, but for its fsid; 0 or -errno */
int inode_look_at(int dir, const char *name, struct inode *ret, dev_t *ret_rdev);

/** inode_is_known() - does the image say enough of it to know it again? */
bool inode_is_known(const struct inode *was);

/** inode_is_same() - is @now what @was is, with the same owner, and still open to all whom it was open to? */
bool inode_is_same(const struct inode *was, const struct inode *now);

/** inode_is_alike() - is it of the same sort, with the same owner, and open to all whom the other was open to? */
bool inode_is_alike(const struct inode *was, const struct inode *now);

/** inode_root_alone() - can nobody but root change what the directories lead to in which @path is? */
bool inode_root_alone(const char *path);

/** inode_walk() - openat2(2) on a path that leads through no symbolic link; -errno */
int inode_walk(int at, const char *path, int flags);

/** inode_walk_links() - the same of one that leads through no link but symbolic ones: none of proc(5) to what a process has */
int inode_walk_links(int at, const char *path, int flags);
