/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <xxhash.h>

#include "image/format.h"

uint64_t block_hash(const void *block)
{
	return XXH3_64bits(block, offsetof(struct section_header, hash));
}

struct index_entry section_entry(const struct section_header *h, uint64_t at)
{
	return (struct index_entry){ .type = h->type, .tag = h->tag, .id = h->id, .at = at, .hash = h->hash };
}

uint64_t section_padding(const struct section_header *h, uint64_t at)
{
	return -at & ((h->data && !h->packed ? IMAGE_PAGE : IMAGE_ALIGN) - 1);
}

uint64_t section_stored(const struct section_header *h)
{
	return h->packed ? h->packed : h->data;
}

uint64_t section_tail(const struct section_header *h)
{
	return -section_stored(h) & (IMAGE_ALIGN - 1);
}

int runs_check(const struct page_run *runs, size_t n, uint64_t *ret_pages)
{
	uint64_t free_at = 0, pages = 0;

	if (n == 0 || n > IMAGE_CHUNK_RUNS)
		return -EBADMSG;
	for (const struct page_run *run = runs; run < runs + n; run++) {
		if (run->kind != RUN_DATA && run->kind != RUN_INHERIT)
			return -EPROTONOSUPPORT;
		if (run->pages == 0 || run->at % IMAGE_PAGE || run->at < free_at)
			return -EBADMSG;
		if (__builtin_add_overflow(run->at, (uint64_t)run->pages * IMAGE_PAGE, &free_at))
			return -EBADMSG;
		if (run->kind == RUN_DATA)
			pages += run->pages;
	}
	if (pages > IMAGE_CHUNK_PAGES)
		return -EBADMSG;
	*ret_pages = pages;
	return 0;
}
