/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * An arena: memory that lives as long as one operation. Nothing is freed alone.
 *
 * Allocation never fails: when the machine has no memory left, the arena says so in one line and
 * ends stasis with status 125. That is safe by construction: the kernel lets a program that is
 * being saved go on, and ends one that is being restarted and is not yet complete.
 */
#include <stdarg.h>
#include <stddef.h>

struct arena {
	struct arena_block *last;
	size_t size; /* bytes, of all blocks */
};

void arena_init(struct arena *a);
void arena_done(struct arena *a);

/** arena_join() - what lives in @from lives as long as @to from here on; @from is empty then */
void arena_join(struct arena *to, struct arena *from);

/** arena_alloc() - @size zeroed bytes, aligned for any type */
void *arena_alloc(struct arena *a, size_t size) __attribute__((malloc, alloc_size(2)));

/** arena_array() - @n zeroed elements of @size bytes; an overflow of the product counts as out of memory */
void *arena_array(struct arena *a, size_t n, size_t size) __attribute__((alloc_size(2, 3)));

/** arena_grow() - a copy of @old (@old_n elements) with room for @new_n; the old one stays valid */
void *arena_grow(struct arena *a, const void *old, size_t old_n, size_t new_n, size_t size);

void *arena_dup(struct arena *a, const void *data, size_t size);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/**
 * struct span - @n elements at @at: an array that lives in an arena
 * Whoever fills one by hand sets @at and @n and leaves @room 0; a span that is copied is pushed to no more.
 */
struct span {
	void *at;
	size_t n;
	size_t room; /* elements that span_push() has made room for */
};

/** span_reserve() - that the next @n times span_push() need not move what is there */
void span_reserve(struct arena *a, struct span *s, size_t n, size_t size);

/** span_push() - append one zeroed element of @size bytes to @s; returns it, valid until the next push */
void *span_push(struct arena *a, struct span *s, size_t size);
