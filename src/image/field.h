/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Records are declared, not coded: one table of fields gives the encoder, the bounds-checked decoder,
 * `stasis show` and JSON. Field ids are never reused; an id the reader does not know is refused.
 * A table lists its fields by ascending id. The wire form is in doc/format.md.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"

struct json;

/** FIELD_DEPTH_MAX - how deep arrays may lie in arrays */
#define FIELD_DEPTH_MAX 4

/* The values are on disk: new ones are added at the end. */
enum field_type {
	FIELD_END,
	FIELD_UINT, /* unsigned integer of 1, 2, 4 or 8 bytes in memory; 8 on disk */
	FIELD_INT, /* the same, signed */
	FIELD_BITS, /* FIELD_UINT shown by names; bits without a name in .flags are refused when read */
	FIELD_STRING, /* const char *; NULL is not written and reads as NULL; no NUL inside */
	FIELD_BYTES, /* struct span of bytes */
	FIELD_FIXED, /* bytes inside the struct, exactly .size of them */
	FIELD_REF, /* uint64_t id of another object; 0 means none. core reads these as edges */
	FIELD_ARRAY, /* struct span of structs described by .sub, each .sub_size bytes */
};

/**
 * struct flag - a named bit (or mask): tables end with a NULL name
 * A mask goes before the bits that it holds; an entry for 0 names the value that has no bit set.
 */
struct flag {
	uint64_t bit;
	const char *name;
};

struct field {
	uint16_t id; /* never 0, never reused within a table */
	uint8_t type; /* enum field_type */
	uint32_t offset; /* in the record */
	uint32_t size; /* of the member */
	const char *name; /* shown; the member's own name */
	const char *cr; /* the kernel field that this one mirrors, "eventfd_ctx.count"; "" where none does */
	const struct flag *flags;
	const struct field *sub;
	uint32_t sub_size; /* FIELD_ARRAY: of an element. FIELD_UINT: not 0 says that the member is a bool */
};

/* clang-format off */
#define FIELD_MEMBER_(t, m) __typeof__(((t *)0)->m)
#define FIELD_IS_(t, m, type) __builtin_types_compatible_p(FIELD_MEMBER_(t, m), type)
#define FIELD_IS_UNSIGNED_(t, m) ((FIELD_MEMBER_(t, m))-1 > 0)
#define FIELD_CHECK_(cond, text) (0 * sizeof(struct { _Static_assert(cond, text); int unused; }))
#define FIELD_(i, ty, t, m, k, cond, text) \
	.id = (i), .type = (ty), .offset = offsetof(t, m), .name = #m, .cr = (k), \
	.size = sizeof(((t *)0)->m) + FIELD_CHECK_(cond, #m text)

/* FIELD_U(1, struct eventfd, count, "eventfd_ctx.count") and so on; a member of the wrong type does not compile */
#define FIELD_U(i, t, m, k) \
	{ FIELD_(i, FIELD_UINT, t, m, k, FIELD_IS_UNSIGNED_(t, m), " is not unsigned"), .sub_size = FIELD_IS_(t, m, _Bool) }
#define FIELD_I(i, t, m, k) { FIELD_(i, FIELD_INT, t, m, k, !FIELD_IS_UNSIGNED_(t, m), " is not signed") }
#define FIELD_B(i, t, m, k, table) \
	{ FIELD_(i, FIELD_BITS, t, m, k, FIELD_IS_UNSIGNED_(t, m), " is not unsigned"), .flags = (table) }
#define FIELD_S(i, t, m, k) \
	{ FIELD_(i, FIELD_STRING, t, m, k, FIELD_IS_(t, m, const char *), " is no const char *") }
#define FIELD_BLOB(i, t, m, k) { FIELD_(i, FIELD_BYTES, t, m, k, FIELD_IS_(t, m, struct span), " is no span") }
#define FIELD_RAW(i, t, m, k) \
	{ FIELD_(i, FIELD_FIXED, t, m, k, !FIELD_IS_(t, m, struct span) && !FIELD_IS_(t, m, const char *), \
		" holds a pointer") }
#define FIELD_R(i, t, m, k) { FIELD_(i, FIELD_REF, t, m, k, FIELD_IS_(t, m, uint64_t), " is no uint64_t") }
#define FIELD_A(i, t, m, k, table, st) \
	{ FIELD_(i, FIELD_ARRAY, t, m, k, FIELD_IS_(t, m, struct span), " is no span"), \
	  .sub = (table), .sub_size = sizeof(st) }
#define FIELDS_END { .type = FIELD_END }
/* clang-format on */

/**
 * record_encode() - append the wire form of @rec to @out (a span of bytes); zero scalars and empty spans are written too
 *
 * A member of 4 GiB or more is cut in its length field: such a record exceeds IMAGE_OBJECT_MAX, and image_put refuses it.
 */
void record_encode(struct arena *a, const struct field *fields, const void *rec, struct span *out);

/** record_same() - have @a and @b, of these @fields, the same wire form? */
bool record_same(const struct field *fields, const void *a, const void *b);

/**
 * record_decode() - fill @rec (zeroed by the caller, @fields' struct) from @len hostile bytes
 *
 * Strings, spans and arrays are copied into @a, so that @data may go away. A missing field stays zero.
 * Returns 0; -EBADMSG (malformed: cut, wrong type or size, twice the same id, value out of range, string with a NUL,
 * unordered ids, trailing bytes, arrays nested too deep or too large for @len), -EPROTONOSUPPORT (an unknown field id or
 * unknown flag bit); then @rec holds an undefined part. The arrays taken together are at most 32 times @len and 64 KiB.
 */
int record_decode(struct arena *a, const struct field *fields, const void *data, size_t len, void *rec);

/**
 * record_print() - " count=30 flags=SEMAPHORE|NONBLOCK", without a newline at the end
 * The elements of an array follow, each on a line of its own that begins with @indent + 1 tabs.
 */
void record_print(const struct field *fields, const void *rec, FILE *out, unsigned int indent);

/** record_json() - the members of @rec into the open object of @j */
void record_json(const struct field *fields, const void *rec, struct json *j);
