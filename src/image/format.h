/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the writer and the reader of images share: the layout, the hashes, the rules for runs.
 */
#include <assert.h>

#include "image/image.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are little-endian, and are written as they lie in memory"
#endif

#define IMAGE_ALIGN 8 /* of section headers */
#define CHUNK_BYTES ((size_t)IMAGE_CHUNK_PAGES * IMAGE_PAGE) /* most page data in one PAGES section */

static_assert(sizeof(struct image_header) == 64 && offsetof(struct image_header, hash) == 56, "on disk");
static_assert(sizeof(struct section_header) == 64 && offsetof(struct section_header, hash) == 56, "on disk");
static_assert(sizeof(struct image_end) == 64 && offsetof(struct image_end, hash) == 56, "on disk");
static_assert(sizeof(struct index_entry) == 32 && sizeof(struct page_run) == 16, "on disk");
static_assert(sizeof(struct page_run) * IMAGE_CHUNK_RUNS <= IMAGE_OBJECT_MAX, "one bound for all payloads");

/** block_hash() - the hash of the first 56 of the 64 bytes of a header, section header or end */
uint64_t block_hash(const void *block);

/** section_entry() - what the index says about the section at @at */
struct index_entry section_entry(const struct section_header *h, uint64_t at);

/** section_padding() - the zero bytes between a payload that ends at @at and what follows it */
uint64_t section_padding(const struct section_header *h, uint64_t at);

/** section_stored() - bytes of page data in the image, and section_tail() - the zero bytes behind it */
uint64_t section_stored(const struct section_header *h);
uint64_t section_tail(const struct section_header *h);

/**
 * runs_check() - are the @n runs of one PAGES section as the format wants them?
 * Returns 0 with the number of pages that have data, -EBADMSG, or -EPROTONOSUPPORT for an unknown kind.
 */
int runs_check(const struct page_run *runs, size_t n, uint64_t *ret_pages);
