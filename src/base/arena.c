/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Blocks in a list, the newest first; memory is taken from the front of the newest one.
 *
 * Where much is needed it is the kernel's work for each page that takes the time: so then blocks are huge pages, if there are any.
 *
 * Under AddressSanitizer each allocation has a block of its own, so that reading past its end is seen.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/op.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EXACT_BLOCKS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define EXACT_BLOCKS 1
#endif

#ifdef EXACT_BLOCKS
static const size_t block_size = 0, least_mapped = SIZE_MAX;
#else
static const size_t block_size = 64 * 1024, least_mapped = 2 * 1024 * 1024;
#endif
#define HUGE ((size_t)2 << 20) /* bytes of a huge page */
#define MUCH ((size_t)1 << 20) /* bytes, and there will be more */

#define ALIGNMENT  _Alignof(max_align_t)
#define SPAN_FIRST ((size_t)8)

struct arena_block {
	struct arena_block *older;
	size_t size; /* of bytes */
	size_t used;
	size_t mapped; /* by mmap(2), so many bytes; 0: it is from malloc() */
	_Alignas(max_align_t) unsigned char bytes[];
};

static void __attribute__((noreturn)) out_of_memory(void)
{
	static const char line[] = "stasis: out of memory\n";

	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		_exit(OUTCOME_ENVIRONMENT);
	_exit(OUTCOME_ENVIRONMENT);
}

void arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
}

void arena_done(struct arena *a)
{
	while (a->last) {
		struct arena_block *b = a->last;

		a->last = b->older;
		if (b->mapped)
			munmap(b, b->mapped);
		else
			free(b);
	}
	a->size = 0;
}

void arena_join(struct arena *to, struct arena *from)
{
	struct arena_block **oldest = &from->last;

	while (*oldest)
		oldest = &(*oldest)->older;
	if (to->last) { /* which stays the one that memory is taken from */
		*oldest = to->last->older;
		to->last->older = from->last;
	} else {
		to->last = from->last;
	}
	to->size += from->size;
	arena_init(from);
}

/* at the start of a huge page; NULL: there is no memory */
static struct arena_block *map_block(size_t whole)
{
	char *at = mmap(NULL, whole + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	size_t before = -(uintptr_t)at % HUGE;
	if (before)
		munmap(at, before);
	munmap(at + before + whole, HUGE - before);
	madvise(at + before, whole, MADV_HUGEPAGE);
	struct arena_block *b = (struct arena_block *)(at + before);
	b->mapped = whole;
	return b;
}

static struct arena_block *block_new(struct arena *a, size_t size)
{
	size_t whole, rounded;

	if (__builtin_add_overflow(sizeof(struct arena_block), size, &whole) ||
		__builtin_add_overflow(whole, 2 * HUGE, &rounded))
		out_of_memory();
	rounded = (whole + HUGE - 1) / HUGE * HUGE;
	struct arena_block *b = whole >= least_mapped ? map_block(rounded) : calloc(1, whole);
	if (!b)
		out_of_memory();
	b->size = size;
	a->size += size;
	return b;
}

/* A block for something large goes behind the newest one, whose rest stays of use. */
static void *alloc_alone(struct arena *a, size_t size)
{
	struct arena_block *b = block_new(a, size);

	b->used = size;
	if (a->last) {
		b->older = a->last->older;
		a->last->older = b;
	} else {
		a->last = b;
	}
	return b->bytes;
}

void *arena_alloc(struct arena *a, size_t size)
{
	if (size >= block_size / 4)
		return alloc_alone(a, size);
	size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (!a->last || a->last->size - a->last->used < size) {
		struct arena_block *b = block_new(a, a->size < MUCH ? block_size : HUGE - sizeof(struct arena_block));

		b->older = a->last;
		a->last = b;
	}
	void *p = a->last->bytes + a->last->used;
	a->last->used += size;
	return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t whole;

	if (__builtin_mul_overflow(n, size, &whole))
		out_of_memory();
	return arena_alloc(a, whole);
}

void *arena_grow(struct arena *a, const void *old, size_t old_n, size_t new_n, size_t size)
{
	void *p = arena_array(a, new_n, size);
	size_t kept = old_n < new_n ? old_n : new_n;

	if (kept)
		memcpy(p, old, kept * size);
	return p;
}

void *arena_dup(struct arena *a, const void *data, size_t size)
{
	return arena_grow(a, data, size, size, 1);
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_dup(a, s, strlen(s) + 1);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	size_t len = strnlen(s, n);

	return arena_grow(a, s, len, len + 1, 1);
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int len = vsnprintf(NULL, 0, fmt, ap);
	if (len < 0)
		out_of_memory();
	char *s = arena_alloc(a, (size_t)len + 1);
	vsnprintf(s, (size_t)len + 1, fmt, again);
	va_end(again);
	return s;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *s = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return s;
}

void span_reserve(struct arena *a, struct span *s, size_t n, size_t size)
{
	size_t room;

	if (__builtin_add_overflow(s->n, n, &room))
		out_of_memory();
	if (room <= s->room)
		return;
	s->at = arena_grow(a, s->at, s->n, room, size);
	s->room = room;
}

void *span_push(struct arena *a, struct span *s, size_t size)
{
	if (s->n >= s->room) {
		size_t room = SPAN_FIRST;

		if (s->n >= SPAN_FIRST / 2 && __builtin_mul_overflow(s->n, 2, &room))
			out_of_memory();
		s->at = arena_grow(a, s->at, s->n, room, size);
		s->room = room;
	}
	return memset((char *)s->at + s->n++ * size, 0, size);
}
