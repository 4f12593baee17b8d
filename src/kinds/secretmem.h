/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Secret memory, as mappings and as open files show it: memfd_secret(2).
 */
#include <sys/stat.h>

#include "kinds/kind.h"

/** kind_mem_secretmem - keeps the memory, whoever has it, and makes it again */
extern const struct kind kind_mem_secretmem;

/** secretmem_is_name() - as the links of all of them are */
bool secretmem_is_name(const char *link);

/** secretmem_open() - a descriptor here of the very open file at s->vma or s->fd; -ENXIO when the tree has it not open */
int secretmem_open(const struct sight *s);

/** secretmem_look() - -EINVAL when @fd, which may be negative, is no secret memory */
int secretmem_look(int fd, struct stat *ret);
