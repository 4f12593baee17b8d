/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Files that have a name in a file system in memory: POSIX shared memory and named semaphores, and what lies in /tmp where that is a
 * tmpfs. No reboot leaves anything of them, and another machine has none. So what the program writes to through mappings is in
 * the image (mem/tmpfs.c), and so is what it has open (fd/regular.c) or only reads there, up to TMPFS_MAX.
 *
 * Restarting, what is not there is made again; it goes if the restart fails. Root makes for others what they could make there themselves,
 * or could write to where nobody but root can put anything (--file PATH=allow makes any).
 */
#include <sys/stat.h>

#include "kinds/kind.h"

#define TMPFS_MAX (32u << 20)

/** kind_mem_tmpfs - keeps what is mapped of them */
extern const struct kind kind_mem_tmpfs;

/** tmpfs_is() - is a file system of type @fs (statfs(2)) in memory, and gone after a reboot? */
bool tmpfs_is(unsigned long fs);

/** tmpfs_has() - is what descriptor @fd leads to in memory, and gone after a reboot? */
bool tmpfs_has(int fd);

enum tmpfs_use {
	TMPFS_SHARED = 1u << 0,
	TMPFS_WRITTEN = 1u << 1, /* or may be, through a mapping */
};

/** tmpfs_use() - how the tree has the file at s->vma mapped; enum tmpfs_use */
unsigned int tmpfs_use(const struct sight *s);

/** tmpfs_is_open_to_write() - has the tree (@dev, @ino) open so that it can write to it? */
bool tmpfs_is_open_to_write(const struct tree *tree, uint64_t dev, uint64_t ino);

/** tmpfs_keeps() - is the file at s->vma, which @fd leads to, one that kind_mem_tmpfs keeps? */
bool tmpfs_keeps(const struct sight *s, int fd);

/** tmpfs_is_mapped() - does that kind keep (@dev, @ino)? Once mappings were judged */
bool tmpfs_is_mapped(const struct tree *tree, uint64_t dev, uint64_t ino);

/** struct tmpfs_dir - a directory that is as easily gone as the file in it */
struct tmpfs_dir {
	const char *path;
	uint32_t mode, uid, gid;
};

extern const struct field tmpfs_dir_fields[];

/** tmpfs_save_dirs() - those that @path goes through on device @dev, but for the root of that; the outermost first */
void tmpfs_save_dirs(struct op *op, const char *path, uint64_t dev, struct span *ret);

/** tmpfs_open_path() - an O_PATH descriptor of what is at @path, which leads through no symbolic link; -errno */
int tmpfs_open_path(const char *path, int flags);

/** tmpfs_is_used() - has anybody else the file at @fd open or mapped, as far as can be told? */
bool tmpfs_is_used(int fd);

/** tmpfs_slot() - restarting: the slot with what is at the path of (@dev, @ino) now, if that was made or is right as it is */
int *tmpfs_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino);

/** struct tmpfs_file - one to be made */
struct tmpfs_file {
	const char *path;
	uint32_t uid, gid;
	struct span dirs; /* of struct tmpfs_dir: made as well where they are not there */
	bool written; /* the program could write to it */
	const struct stat *instead; /* what is there, and makes way */
};

/**
 * tmpfs_may_make() - may it be made, for who has it? 1, 0 or < 0 after fail()
 * They could do it themselves; or they could write to what was there, where nobody but root can put anything; or the user has said so.
 */
int tmpfs_may_make(struct op *op, struct site *site, const struct tmpfs_file *file);

/** tmpfs_may_remove() - could they remove what is at @path, and is @st? 1, 0 or < 0 after fail() */
int tmpfs_may_remove(struct op *op, struct site *site, const char *path, const struct stat *st);

/** tmpfs_make() - make it, empty, mode 0600; open for both; < 0 after fail() */
int tmpfs_make(struct op *op, struct site *site, const struct tmpfs_file *file);

/** tmpfs_link() - another name, file->path, of the file at @fd; < 0 after fail() */
int tmpfs_link(struct op *op, struct site *site, int fd, const struct tmpfs_file *file);

/** tmpfs_set_mode() - of the file @path that was made, at @fd; < 0 after fail() */
int tmpfs_set_mode(struct op *op, int fd, const char *path, uint32_t mode);
