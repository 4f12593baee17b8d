/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Bytes that end where a page begins that cannot be touched: reading one too many is a fault.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/** struct guarded - a place for up to .room bytes; reuse it for many inputs */
struct guarded {
	char *end; /* the first byte that faults */
	size_t room;
};

static inline struct guarded guarded_new(size_t room)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t len = (room + page - 1) / page * page + page;
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || mprotect(at + len - page, page, PROT_NONE) < 0)
		abort();
	return (struct guarded){ at + len - page, len - page };
}

/** guarded_put() - @len bytes of @data, the last one just before the end */
static inline void *guarded_put(const struct guarded *g, const void *data, size_t len)
{
	if (len > g->room)
		abort();
	return len ? memcpy(g->end - len, data, len) : g->end;
}
