/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The wire form of records. Fields by ascending id, each: u16 id, u8 type, u8 zero, u32 length, the bytes of the value.
 * Scalars take 8 bytes. An array is a u32 count, then for each element a u32 length and its fields.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "image/field.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the wire form is little-endian, and is written as it lies in memory"
#endif

#define ARRAY_MEMORY_RATIO 32
#define ARRAY_MEMORY_FLOOR (64u << 10)

struct wire_field {
	uint16_t id;
	uint8_t type;
	uint8_t zero;
	uint32_t len;
};
_Static_assert(sizeof(struct wire_field) == 8, "on disk");

/* The 8 bytes on disk of a scalar: as it lies in memory, FIELD_INT with its sign extended. */
static uint64_t load(const struct field *f, const void *member)
{
	uint64_t v = 0;

	memcpy(&v, member, f->size);
	if (f->type != FIELD_INT || f->size == sizeof(v))
		return v;
	uint64_t sign = (uint64_t)1 << (8 * f->size - 1);
	return (v ^ sign) - sign;
}

/* ---- encoding ---- */

static size_t record_size(const struct field *fields, const void *rec, unsigned int depth);

static size_t array_size(const struct field *f, const struct span *s, unsigned int depth)
{
	size_t size = sizeof(uint32_t);

	assert(depth < FIELD_DEPTH_MAX);
	for (size_t i = 0; i < s->n; i++)
		size += sizeof(uint32_t) + record_size(f->sub, (const char *)s->at + i * f->sub_size, depth + 1);
	return size;
}

/* How long the value is on disk; SIZE_MAX: it is not written. */
static size_t value_size(const struct field *f, const void *member, unsigned int depth)
{
	const char *string;

	switch ((enum field_type)f->type) {
	case FIELD_UINT:
	case FIELD_INT:
	case FIELD_BITS:
	case FIELD_REF:
		return sizeof(uint64_t);
	case FIELD_STRING:
		memcpy(&string, member, sizeof(string));
		return string ? strlen(string) : SIZE_MAX;
	case FIELD_BYTES:
		return ((const struct span *)member)->n;
	case FIELD_FIXED:
		return f->size;
	case FIELD_ARRAY:
		return array_size(f, member, depth);
	case FIELD_END:
		break;
	}
	assert(!"a field of no known type");
	return SIZE_MAX;
}

static size_t record_size(const struct field *fields, const void *rec, unsigned int depth)
{
	size_t size = 0;

	for (const struct field *f = fields; f->type != FIELD_END; f++) {
		size_t len = value_size(f, (const char *)rec + f->offset, depth);

		assert(f == fields ? f->id > 0 : f->id > f[-1].id);
		if (len != SIZE_MAX)
			size += sizeof(struct wire_field) + len;
	}
	return size;
}

static char *put_bytes(char *at, const void *data, size_t len)
{
	if (len)
		memcpy(at, data, len);
	return at + len;
}

static char *put_record(char *at, const struct field *fields, const void *rec, unsigned int depth);

static char *put_array(char *at, const struct field *f, const struct span *s, unsigned int depth)
{
	uint32_t count = (uint32_t)s->n;

	at = put_bytes(at, &count, sizeof(count));
	for (size_t i = 0; i < s->n; i++) {
		char *end = put_record(at + sizeof(uint32_t), f->sub, (const char *)s->at + i * f->sub_size, depth + 1);
		uint32_t len = (uint32_t)(end - at - (ptrdiff_t)sizeof(uint32_t));

		put_bytes(at, &len, sizeof(len));
		at = end;
	}
	return at;
}

static char *put_value(char *at, const struct field *f, const void *member, size_t len, unsigned int depth)
{
	const char *string;
	uint64_t v;

	switch ((enum field_type)f->type) {
	case FIELD_UINT:
	case FIELD_INT:
	case FIELD_BITS:
	case FIELD_REF:
		v = load(f, member);
		return put_bytes(at, &v, sizeof(v));
	case FIELD_STRING:
		memcpy(&string, member, sizeof(string));
		return put_bytes(at, string, len);
	case FIELD_BYTES:
		return put_bytes(at, ((const struct span *)member)->at, len);
	case FIELD_FIXED:
		return put_bytes(at, member, len);
	case FIELD_ARRAY:
		return put_array(at, f, member, depth);
	case FIELD_END:
		break;
	}
	return at;
}

static char *put_record(char *at, const struct field *fields, const void *rec, unsigned int depth)
{
	for (const struct field *f = fields; f->type != FIELD_END; f++) {
		const char *member = (const char *)rec + f->offset;
		size_t len = value_size(f, member, depth);

		if (len == SIZE_MAX)
			continue;
		struct wire_field head = { .id = f->id, .type = f->type, .len = (uint32_t)len };
		at = put_bytes(at, &head, sizeof(head));
		at = put_value(at, f, member, len, depth);
	}
	return at;
}

void record_encode(struct arena *a, const struct field *fields, const void *rec, struct span *out)
{
	size_t len = record_size(fields, rec, 0);

	span_reserve(a, out, len, 1);
	if (!len)
		return;
	char *at = (char *)out->at + out->n;
	char *end = put_record(at, fields, rec, 0);
	assert(end == at + len);
	out->n += len;
}

/* ---- comparing ---- */

static bool same_array(const struct field *f, const struct span *a, const struct span *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!record_same(f->sub, (const char *)a->at + i * f->sub_size, (const char *)b->at + i * f->sub_size))
			return false;
	return true;
}

static bool same_string(const void *a, const void *b)
{
	const char *x, *y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x && y ? strcmp(x, y) == 0 : x == y;
}

static bool same_value(const struct field *f, const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	switch ((enum field_type)f->type) {
	case FIELD_STRING:
		return same_string(a, b);
	case FIELD_BYTES:
		return x->n == y->n && (!x->n || memcmp(x->at, y->at, x->n) == 0);
	case FIELD_ARRAY:
		return same_array(f, x, y);
	case FIELD_UINT:
	case FIELD_INT:
	case FIELD_BITS:
	case FIELD_REF:
	case FIELD_FIXED:
	case FIELD_END:
		break;
	}
	return memcmp(a, b, f->size) == 0;
}

bool record_same(const struct field *fields, const void *a, const void *b)
{
	for (const struct field *f = fields; f->type != FIELD_END; f++)
		if (!same_value(f, (const char *)a + f->offset, (const char *)b + f->offset))
			return false;
	return true;
}

/* ---- decoding ---- */

/* What is still to be read; never moves behind its end. */
struct wire {
	const char *at;
	size_t left;
};

struct decoder {
	struct arena *arena;
	size_t memory; /* bytes that arrays may still take */
};

static const char *take(struct wire *w, size_t len)
{
	const char *at = w->at;

	if (len > w->left)
		return NULL;
	w->at += len;
	w->left -= len;
	return at;
}

static int take_u32(struct wire *w, uint32_t *ret)
{
	const char *at = take(w, sizeof(*ret));

	if (!at)
		return -EBADMSG;
	memcpy(ret, at, sizeof(*ret));
	return 0;
}

static int get_scalar(const struct field *f, struct wire *w, void *member)
{
	uint64_t v;

	if (w->left != sizeof(v))
		return -EBADMSG;
	memcpy(&v, w->at, sizeof(v));
	memcpy(member, &v, f->size);
	if (load(f, member) != v || (f->type == FIELD_UINT && f->sub_size && v > 1))
		return -EBADMSG;
	if (f->type != FIELD_BITS)
		return 0;
	for (const struct flag *flag = f->flags; flag->name; flag++)
		v &= ~flag->bit;
	return v ? -EPROTONOSUPPORT : 0;
}

static int get_string(struct decoder *d, struct wire *w, void *member)
{
	if (w->left && memchr(w->at, 0, w->left))
		return -EBADMSG;
	const char *string = arena_grow(d->arena, w->at, w->left, w->left + 1, 1);
	memcpy(member, &string, sizeof(string));
	return 0;
}

static int get_bytes(struct decoder *d, struct wire *w, struct span *s)
{
	if (w->left)
		*s = (struct span){ arena_dup(d->arena, w->at, w->left), w->left };
	return 0;
}

static int get_record(struct decoder *d, const struct field *fields, struct wire *w, void *rec, unsigned int depth);

static int get_array(struct decoder *d, const struct field *f, struct wire *w, struct span *s, unsigned int depth)
{
	uint32_t count;
	size_t memory;

	if (depth >= FIELD_DEPTH_MAX || take_u32(w, &count) < 0)
		return -EBADMSG;
	/* each element has at least its length here; its memory is to be paid for by what was sent */
	if (count > w->left / sizeof(uint32_t) || __builtin_mul_overflow(count, (size_t)f->sub_size, &memory) ||
		memory > d->memory)
		return -EBADMSG;
	d->memory -= memory;
	if (count)
		*s = (struct span){ arena_array(d->arena, count, f->sub_size), count };
	for (size_t i = 0; i < count; i++) {
		uint32_t len;

		if (take_u32(w, &len) < 0)
			return -EBADMSG;
		struct wire element = { take(w, len), len };
		if (!element.at)
			return -EBADMSG;
		int r = get_record(d, f->sub, &element, (char *)s->at + i * f->sub_size, depth + 1);
		if (r < 0)
			return r;
	}
	return w->left ? -EBADMSG : 0;
}

static int get_value(struct decoder *d, const struct field *f, struct wire *w, void *member, unsigned int depth)
{
	switch ((enum field_type)f->type) {
	case FIELD_UINT:
	case FIELD_INT:
	case FIELD_BITS:
	case FIELD_REF:
		return get_scalar(f, w, member);
	case FIELD_STRING:
		return get_string(d, w, member);
	case FIELD_BYTES:
		return get_bytes(d, w, member);
	case FIELD_FIXED:
		if (w->left != f->size)
			return -EBADMSG;
		memcpy(member, w->at, f->size);
		return 0;
	case FIELD_ARRAY:
		return get_array(d, f, w, member, depth);
	case FIELD_END:
		break;
	}
	return -EBADMSG;
}

static int get_record(struct decoder *d, const struct field *fields, struct wire *w, void *rec, unsigned int depth)
{
	uint16_t last = 0;

	while (w->left) {
		const char *at = take(w, sizeof(struct wire_field));
		struct wire_field head;

		if (!at)
			return -EBADMSG;
		memcpy(&head, at, sizeof(head));
		struct wire value = { take(w, head.len), head.len };
		if (!value.at || head.zero || head.id <= last)
			return -EBADMSG;
		last = head.id;

		const struct field *f = fields;
		while (f->type != FIELD_END && f->id < head.id)
			f++;
		if (f->type == FIELD_END || f->id != head.id)
			return -EPROTONOSUPPORT;
		if (f->type != head.type)
			return -EBADMSG;
		int r = get_value(d, f, &value, (char *)rec + f->offset, depth);
		if (r < 0)
			return r;
		fields = f;
	}
	return 0;
}

int record_decode(struct arena *a, const struct field *fields, const void *data, size_t len, void *rec)
{
	struct decoder d = { .arena = a };
	struct wire w = { len ? data : "", len };

	if (__builtin_mul_overflow(len, ARRAY_MEMORY_RATIO, &d.memory) ||
		__builtin_add_overflow(d.memory, ARRAY_MEMORY_FLOOR, &d.memory))
		return -EBADMSG;
	return get_record(&d, fields, &w, rec, 0);
}
