/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where the file is that is mapped: does its path lead there?
 */
#include <sys/stat.h>

#include "kinds/kind.h"

/** mapped_keep() - restarting: descriptor @fd, for reading only, is of the file @path that is mapped; all tasks inherit it */
void mapped_keep(struct op *op, struct site *site, const char *path, int fd);

/** mapped_kept() - the descriptor of the file @path; -EBADF: none of that path is mapped so that it is only read */
int mapped_kept(const struct site *site, const char *path);

/**
 * mapped_find() - an O_PATH descriptor of what the name of s->vma leads to, here or from the root of the process
 * -ESTALE, or what openfile_is_absent() knows: not to the file that is mapped; or another -errno.
 */
int mapped_find(const struct sight *s, struct stat *ret_st);
