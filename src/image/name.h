/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A file that appears under its name at once and complete, or not at all.
 */
#include <errno.h>
#include <stdbool.h>

struct image_name {
	int dir; /* the directory */
	int fd; /* the file, without a name or under temp */
	char *base; /* its name to be, in dir */
	char *temp; /* its name now, in dir; NULL while it has none */
};

#define NAME_NONE ((struct image_name){ .dir = -EBADF, .fd = -EBADF })

/**
 * name_begin() - make the file that name_commit will show as @path, empty, of mode 0600
 *
 * It has no name where the file system can do that (then SIGKILL leaves nothing), else ".NAME.XXXXXX.tmp" beside @path.
 * Returns a descriptor for writing, which @n owns, or -errno: -EEXIST where what stands at @path is no regular file,
 * -EISDIR where @path names no file.
 */
int name_begin(struct image_name *n, const char *path);

/**
 * name_commit() - sync the file, give it its name in place of a file that has it, sync the directory; @n is done then
 * A file that had the name stays until the new one is on disk. Returns 0, or -errno and the file is gone, but see
 * image_commit().
 */
int name_commit(struct image_name *n);

/** name_abort() - the file is gone, under whatever name; accepts NAME_NONE */
void name_abort(struct image_name *n);
