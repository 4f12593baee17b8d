/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Files that nothing leads to any more but descriptors and mappings of the program. They are made anew without a name
 * (O_TMPFILE), in the directory that they were in; those that are mapped in a file system of their own (limbo.h).
 *
 * One that is open and mapped is one object: that of the mapping (mem/deleted.c). In some file systems (btrfs, overlayfs) a
 * mapping shows another device than stat(2): it is the one that counts.
 */
#include <limits.h>

#include "kinds/kind.h"

/** kind_mem_deleted - keeps what is mapped of them, and of files that their path does not lead to any more */
extern const struct kind kind_mem_deleted;

/** deleted_parent() - the directory of @path, a deleted file of @p on device @dev, when that is still on it; or -errno */
int deleted_parent(const struct process *p, const char *path, uint64_t dev);

/**
 * deleted_find_other() - an O_PATH descriptor of the deleted file at s->vma under another name, in the same directory: @path
 * -ENOENT: it has none there.
 */
int deleted_find_other(const struct sight *s, char path[PATH_MAX]);

/** deleted_is_mapped() - do mapping @v, of a deleted file or one that was judged to be out of reach, and descriptor @f lead to the same? */
bool deleted_is_mapped(const struct proc_vma *v, const struct proc_fd *f);

/** deleted_mapping() - a mapping in the tree of the deleted file at descriptor @f; NULL: there is none */
const struct proc_vma *deleted_mapping(const struct tree *tree, const struct proc_fd *f);

/** deleted_open() - a new open file here of the deleted file that is mapped at s->vma, for reading; or -errno */
int deleted_open(const struct sight *s);

/** deleted_slot() - the slot with the new file for what was (@dev, @ino); valid until the next slot is asked for */
int *deleted_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino);

/**
 * deleted_make() - what is in that slot, made when it is asked for first, with @flags (O_*) then; < 0 after fail()
 * *@ret_made: was it made now? Then the open file has these flags.
 */
int deleted_make(
	struct op *op, struct site *site, const char *path, uint64_t dev, uint64_t ino, uint32_t flags, bool *ret_made);
