/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where the file is that is mapped: does its path lead there?
 */
#include <sys/stat.h>

#include "kinds/kind.h"

/**
 * mapped_find() - an O_PATH descriptor of what the name of s->vma leads to, here or from the root of the process
 * -ESTALE, or what openfile_is_absent() knows: not to the file that is mapped; or another -errno.
 */
int mapped_find(const struct sight *s, struct stat *ret_st);
