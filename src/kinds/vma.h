/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the kinds of mappings share: the flags of a mapping.
 */
#include "kinds/kind.h"

/** vma_check_flags() - refuse VmFlags that this version does not know how to put back */
int vma_check_flags(struct op *op, const struct sight *s);

/** vma_check_flags_but() - the same, but the flags @also ("ht de") come back with what is mapped */
int vma_check_flags_but(struct op *op, const struct sight *s, const char *also);
/** vma_flags() - what smaps says of it, as enum vma_flags */
uint32_t vma_flags(const struct proc_vma *v);

/** vma_given_name() - by PR_SET_VMA_ANON_NAME, a copy; NULL: none */
const char *vma_given_name(struct arena *a, const struct proc_vma *v);

/** vma_can_name() - does this kernel keep such names (CONFIG_ANON_VMA_NAME)? */
bool vma_can_name(void);

/** vma_check_image() - fail when @v, of an image, has one of the flags @never, or lacks one of @always */
int vma_check_image(struct op *op, const struct vma *v, uint32_t never, uint32_t always);

/**
 * vma_early_prot() - what a mapping of @prot is to have until its pages are there and its keys: memory that may only be executed takes a protection key,
 * which may be one that the program has allocated
 */
uint32_t vma_early_prot(uint32_t prot);

/** vma_unkept() - those of its flags that this kernel does not know; it is mapped without */
uint32_t vma_unkept(const struct vma *v);

/** vma_mmap_flags() - MAP_* for @v at its exact address, where nothing is mapped */
uint64_t vma_mmap_flags(const struct vma *v);

/** vma_advise() - add the calls for what mmap(2) cannot say, and fork(2) passes on: advice */
void vma_advise(const struct vma *v, struct batch *b);

/**
 * vma_set_size() - of the new file @fd, which is to be mapped; @what, @where: "a memfd", "" or more words behind the size
 * 0, or it has called fail(): a bad image when no file can have that size.
 */
int vma_set_size(struct op *op, int fd, uint64_t size, const char *what, const char *where);

/**
 * vma_part() - how many of @len bytes at @at belong to the pages of a file of @size bytes
 * Somebody outside may have made it longer between the look at its size and at its pages.
 */
size_t vma_part(uint64_t size, uint64_t at, size_t len);

/** vma_lock() - lock it if it was: once its pages are there, and before children share them, as it gives it pages of its own */
void vma_lock(const struct vma *v, struct batch *b);

/** vma_is_open() - is it still to be protected as the program had it? Once protection keys are allocated, before they are given */
bool vma_is_open(const struct vma *v);

/** vma_finish() - add the calls for what comes when the memory of all processes is complete: its name, that it is sealed */
int vma_finish(struct op *op, const struct vma *v, struct batch *b);

/** vma_is_sysv() - is it System V shared memory? */
bool vma_is_sysv(const struct proc_vma *v);

/** vma_is_memfd() - is it called as a memfd is? */
bool vma_is_memfd(const struct proc_vma *v);

/** vma_is_secret() - is it called as secret memory is? */
bool vma_is_secret(const struct proc_vma *v);

/** vma_is_hugetlb() - are its pages those of hugetlbfs (MAP_HUGETLB)? */
bool vma_is_hugetlb(const struct proc_vma *v);

/** vma_is_anon_huge() - is it mapped by MAP_HUGETLB without a file? */
bool vma_is_anon_huge(const struct proc_vma *v);

/** vma_is_aio() - the ring of an AIO context, io_setup(2)? */
bool vma_is_aio(const struct proc_vma *v);

/** vma_is_special() - is it one of those, which no path leads to, whatever its name says? */
bool vma_is_special(const struct proc_vma *v);

/** vma_is_shm() - is it shared memory without a name, or with one of PR_SET_VMA_ANON_NAME? */
bool vma_is_shm(const struct proc_vma *v);

/** vma_is_deleted() - is it of a file that has been deleted? */
bool vma_is_deleted(const struct proc_vma *v);

/** vma_open_file() - the regular file of s->vma, for reading: takes CAP_CHECKPOINT_RESTORE (-EPERM); -ENODEV: it is none */
int vma_open_file(const struct sight *s);
