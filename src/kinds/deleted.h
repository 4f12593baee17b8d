/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Files that nothing leads to any more but descriptors and mappings of the program. They are made anew without a name
 * (O_TMPFILE), in the directory that they were in.
 */
#include "kinds/kind.h"

/** deleted_parent() - the directory of @path, a deleted file of @p on device @dev, when that is still on it; or -errno */
int deleted_parent(struct op *op, const struct process *p, const char *path, uint64_t dev);

/**
 * deleted_extent() - how far into the file (@dev, @ino) the shared mappings of the tree reach, bytes; 0: there are none
 */
uint64_t deleted_extent(const struct tree *tree, uint64_t dev, uint64_t ino);

/** deleted_slot() - the slot with the new file for what was (@dev, @ino); valid until the next slot is asked for */
int *deleted_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino);

/**
 * deleted_make() - what is in that slot, made when it is asked for first, with @flags (O_*) then; < 0 after fail()
 * *@ret_made: was it made now? Then the open file has these flags.
 */
int deleted_make(
	struct op *op, struct site *site, const char *path, uint64_t dev, uint64_t ino, uint32_t flags, bool *ret_made);
