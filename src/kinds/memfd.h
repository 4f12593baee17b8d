/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * memfds, as mappings and as open files show them: memfd_create(2).
 */
#include <sys/stat.h>

#include "kinds/kind.h"

/** kind_mem_memfd - keeps the memory, whoever has it, and makes it again */
extern const struct kind kind_mem_memfd;

/** memfd_is_name() - "/memfd:x" */
bool memfd_is_name(const char *name);

/** memfd_id() - which one is at s->vma or s->fd */
void memfd_id(const struct sight *s, uint64_t *ret_dev, uint64_t *ret_ino);

/** memfd_size_flags() - MFD_* for pages of @huge bytes; 0: as all memory has them */
uint32_t memfd_size_flags(uint64_t huge);

/** memfd_is_device() - is it that of the file system in which memfds of such pages lie, and which nobody can mount? */
bool memfd_is_device(uint64_t dev, uint64_t huge);

/**
 * memfd_open() - a new open file here of the memfd at s->vma or s->fd, for reading
 * By a descriptor of the tree, if there is one. To open what is only mapped takes CAP_CHECKPOINT_RESTORE, unless the process
 * runs it. -EBUSY when there is a lease on it, which this might break; or another -errno.
 */
int memfd_open(const struct sight *s);

/** memfd_holder() - a descriptor of the tree that leads to it; NULL: none */
const struct holder *memfd_holder(const struct sight *s);

/** struct memfd_state - what is to be seen of one */
struct memfd_state {
	struct stat st;
	uint32_t seals;
	uint64_t huge; /* size of its pages, when they are those of hugetlbfs; else 0 */
};

/** memfd_look() - -EINVAL when @fd is no memfd */
int memfd_look(int fd, struct memfd_state *ret);

/** memfd_check() - refuse what cannot be made again of the memfd that memfd_open() has given as @fd, or -errno; closes it */
int memfd_check(struct op *op, int fd, const char *name);

/** memfd_slot() - restarting: the slot with a descriptor, for reading only, of the new memfd for what was (@dev, @ino) */
int *memfd_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino);

/** memfd_seals - F_SEAL_*, which a record may hold */
extern const struct flag memfd_seals[];
