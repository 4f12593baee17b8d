/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the kinds of memory of huge pages (hugetlbfs) share: the pool that the pages come from may have too few of them, which
 * must be an error here, and not one day a SIGBUS.
 */
#include "kinds/kind.h"

/** HUGETLB_MAP - what a call does that maps them, and fails when there are too few */
#define HUGETLB_MAP "map huge pages (there must be enough of them: sysctl vm.nr_hugepages)"

/** hugetlb_check_size() - refuse a mapping of huge pages whose size the image has no flag for */
int hugetlb_check_size(struct op *op, const struct sight *s);

/**
 * hugetlb_check_unopened() - refuse a shared mapping whose file may not be opened, and that may not be read in full either
 * Nobody tells then which pages exist. To read one that does not makes it, and if it was not promised to the mapping somebody
 * else misses it.
 */
int hugetlb_check_unopened(struct op *op, const struct sight *s);

/** hugetlb_flag() - the vma_flags of pages of @page bytes; 0: they have none */
uint32_t hugetlb_flag(uint64_t page);

/** hugetlb_page() - the size of the pages of the file @fd, when they are those of a hugetlbfs; else 0 */
uint64_t hugetlb_page(int fd);

/** hugetlb_check_vma() - fail when @v, of an image, is none of huge pages of @page bytes, or they do not divide it */
int hugetlb_check_vma(struct op *op, const struct vma *v, uint64_t page);

/** hugetlb_tell_failure() - fail with @err, by which huge pages of @page bytes for @what were not to be had */
int hugetlb_tell_failure(struct op *op, int err, const char *what, uint64_t page);

/**
 * hugetlb_fill() - put @len bytes into the file @fd of huge pages of @page bytes, for @what
 * It cannot be written to but in memory. Only the pages that @at and @len touch come into being, or it fails.
 */
int hugetlb_fill(struct op *op, int fd, const char *what, uint64_t page, uint64_t at, const void *data, size_t len);
