/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Alters inputs of the harness `family` so that they stay images with well-formed records: the fields of a record say of
 * themselves what they are (doc/format.md), so no table of them is needed here.
 */
#include <string.h>

#include "family.h"
#include "fuzz.h"
#include "image/field.h"
#include "image/image.h"

#define ITEMS_MAX  512
#define VALUES_MAX 256
#define CORE_TAGS  0x20

/* libFuzzer's own, which driver.c has not */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room) __attribute__((weak));

struct wire_field {
	uint16_t id;
	uint8_t type, zero;
	uint32_t len;
};

struct mutator {
	uint64_t random;
	uint64_t values[VALUES_MAX]; /* numbers that the input holds */
	size_t n_values;
	size_t own_values; /* where those of the record that is altered begin */
	size_t nodes; /* fields and elements of arrays met so far */
	size_t target; /* the one to alter; SIZE_MAX: none */
	uint8_t *out;
	size_t len, room;
	bool full;
};

static uint64_t pick(struct mutator *m, uint64_t below)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (m->random >> 11) % below;
}

static uint64_t pick_value(struct mutator *m)
{
	static const uint64_t edges[] = { 0, 1, 2, 3, 4, 5, 7, 8, 19, 64, 65, 4095, 4096, 8192, 1 << 22, (1 << 22) - 1,
		INT32_MAX, UINT32_MAX, 1ull << 30, 1ull << 40, 0x7ffffffff000, 0x7fffffffe000, 0x7fffffffffff,
		0xffffffffff600000, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 4095 };
	static const uint64_t steps[] = { 0, 0, 0, 1, UINT64_MAX, 4096, (uint64_t)-4096, 2, 1 << 20 };

	if (m->n_values > m->own_values && pick(m, 2)) /* its first ones say who it is */
		return m->values[m->own_values +
				 pick(m, m->n_values - m->own_values < 8 ? m->n_values - m->own_values : 8)];
	if (m->n_values && pick(m, 3))
		return m->values[pick(m, m->n_values)] + steps[pick(m, sizeof(steps) / sizeof(*steps))];
	return edges[pick(m, sizeof(edges) / sizeof(*edges))];
}

static void put(struct mutator *m, const void *data, size_t len)
{
	if (len > m->room - m->len) {
		m->full = true;
		return;
	}
	if (len)
		memcpy(m->out + m->len, data, len);
	m->len += len;
}

static void put_u32_at(struct mutator *m, size_t at, size_t v)
{
	uint32_t v32 = (uint32_t)v;

	if (!m->full)
		memcpy(m->out + at, &v32, sizeof(v32));
}

static void put_odd_string(struct mutator *m)
{
	static const char *const strings[] = { "", "/", "x", "/nowhere", "/proc/self/exe", "/dev/null", "[vdso]",
		"[vvar]", "[vsyscall]", "\033[31m\n", "x86_64" };
	size_t n = pick(m, sizeof(strings) / sizeof(*strings) + 1);

	for (size_t i = 0; n == sizeof(strings) / sizeof(*strings) && i < 2500; i++)
		put(m, "/a", 2);
	if (n < sizeof(strings) / sizeof(*strings))
		put(m, strings[n], strlen(strings[n]));
}

/* most small numbers are in members that hold no large ones */
static void put_odd_number(struct mutator *m, uint8_t type, uint64_t v)
{
	bool is_small = v < 1 << 22;

	if (type == FIELD_BITS || !pick(m, 4))
		v ^= 1ull << pick(m, is_small ? 13 : 64);
	else
		v = pick_value(m);
	if (is_small && type != FIELD_REF && pick(m, 4))
		v &= pick(m, 2) ? (1 << 22) - 1 : INT32_MAX;
	put(m, &v, sizeof(v));
}

/* another value for a field that is no array */
static void put_odd_value(struct mutator *m, const struct wire_field *f, const uint8_t *at)
{
	uint64_t v = 0;

	switch (f->type) {
	case FIELD_UINT:
	case FIELD_INT:
	case FIELD_BITS:
	case FIELD_REF:
		if (f->len == sizeof(v))
			memcpy(&v, at, sizeof(v));
		put_odd_number(m, f->type, v);
		break;
	case FIELD_STRING:
		put_odd_string(m);
		break;
	default:
		v = pick(m, f->len + 1);
		put(m, at, (size_t)v);
		v = pick_value(m);
		put(m, &v, pick(m, 9));
		break;
	}
}

static void rewrite(struct mutator *m, const uint8_t *in, size_t len, unsigned int depth);

/* its elements, one of them perhaps left out, doubled, or first */
static void rewrite_array(struct mutator *m, const uint8_t *in, size_t len, unsigned int depth)
{
	uint32_t count, n = 0, size;
	size_t count_at = m->len, at = sizeof(count);

	if (len < sizeof(count))
		return;
	memcpy(&count, in, sizeof(count));
	put(m, &count, sizeof(count));
	for (uint32_t i = 0; i < count && len - at >= sizeof(size); i++, at += size) {
		unsigned int times = 1;

		memcpy(&size, in + at, sizeof(size));
		at += sizeof(size);
		if (size > len - at)
			break;
		if (m->nodes++ == m->target)
			times = (unsigned int)pick(m, 8) ? (unsigned int)pick(m, 3) : 40;
		for (; times; times--, n++) {
			size_t size_at = m->len;

			put(m, &size, sizeof(size));
			rewrite(m, in + at, size, depth + 1);
			put_u32_at(m, size_at, m->len - size_at - sizeof(size));
		}
	}
	put_u32_at(m, count_at, n);
}

static void note_value(struct mutator *m, const uint8_t *at)
{
	if (m->target == SIZE_MAX && m->n_values < VALUES_MAX)
		memcpy(&m->values[m->n_values++], at, sizeof(uint64_t));
}

static void rewrite(struct mutator *m, const uint8_t *in, size_t len, unsigned int depth)
{
	struct wire_field f;

	for (size_t at = 0; len - at >= sizeof(f) && !m->full; at += f.len) {
		memcpy(&f, in + at, sizeof(f));
		at += sizeof(f);
		if (f.len > len - at)
			return;
		bool odd = m->nodes++ == m->target;
		size_t head = m->len;
		if (odd && !pick(m, 8))
			continue;
		put(m, &f, sizeof(f));
		if (f.type == FIELD_ARRAY && depth < FIELD_DEPTH_MAX && !odd)
			rewrite_array(m, in + at, f.len, depth);
		else if (odd && f.type == FIELD_ARRAY)
			put(m, &(uint32_t){ 0 }, sizeof(uint32_t));
		else if (odd)
			put_odd_value(m, &f, in + at);
		else
			put(m, in + at, f.len);
		if (!odd && f.type >= FIELD_UINT && f.type <= FIELD_REF && f.len == sizeof(uint64_t))
			note_value(m, in + at);
		put_u32_at(m, head + sizeof(f) - sizeof(f.len), m->len - head - sizeof(f));
	}
}

/* the first page run at an odd place, or longer, or another kind */
static void alter_runs(struct mutator *m, uint8_t *runs, size_t len)
{
	struct page_run run;
	size_t n = len / sizeof(run), at = n ? (size_t)pick(m, n) * sizeof(run) : 0;

	if (!n)
		return;
	memcpy(&run, runs + at, sizeof(run));
	if (pick(m, 2))
		run.at = pick_value(m) & ~4095ull;
	else if (pick(m, 2))
		run.pages = (uint32_t)pick_value(m);
	else
		run.kind = 1 + (uint32_t)pick(m, 2);
	memcpy(runs + at, &run, sizeof(run));
}

static size_t find_items(const uint8_t *data, size_t size, size_t *place, struct item *items)
{
	size_t n = 0;

	for (size_t at = 0; n < ITEMS_MAX && size - at >= sizeof(struct item); n++) {
		memcpy(&items[n], data + at, sizeof(struct item));
		if (items[n].len > size - at - sizeof(struct item))
			break;
		place[n] = at + sizeof(struct item);
		at = place[n] + items[n].len;
	}
	return n;
}

/* the item @i, altered, to the end of what is made */
static void put_altered(struct mutator *m, struct item item, const uint8_t *payload)
{
	size_t head = m->len;

	put(m, &item, sizeof(item));
	if (item.tag == ITEM_PAGES) {
		put(m, payload, item.len);
		if (!m->full)
			alter_runs(m, m->out + head + sizeof(item), item.len);
		return;
	}
	m->nodes = 0;
	m->target = SIZE_MAX;
	m->own_values = m->n_values;
	size_t before = m->len, room = m->room;
	rewrite(m, payload, item.len, 0);
	m->len = before;
	m->room = room;
	m->target = m->nodes ? (size_t)pick(m, m->nodes > 12 && pick(m, 2) ? 12 : m->nodes) : 0;
	m->nodes = 0;
	rewrite(m, payload, item.len, 0);
	if (LLVMFuzzerMutate && !m->full && !pick(m, 16))
		m->len = before + LLVMFuzzerMutate(m->out + before, m->len - before, m->room - before);
	put_u32_at(m, head + offsetof(struct item, len), m->len - before);
}

static void alter_item(struct mutator *m, const uint8_t *data, struct item item, size_t place, uint32_t n)
{
	switch (pick(m, 16)) {
	case 0: /* left out */
		return;
	case 1: /* a copy with an id of its own before it, which others may refer to */
		put(m, &(struct item){ item.tag, n + 1 + (uint32_t)pick(m, 4), item.len }, sizeof(item));
		put(m, data + place, item.len);
		break;
	case 2:
		item.id = (uint32_t)pick_value(m);
		break;
	case 3:
		item.tag = (uint32_t)pick(m, 0x70);
		break;
	default:
		put_altered(m, item, data + place);
		return;
	}
	put(m, &item, sizeof(item));
	put(m, data + place, item.len);
}

static size_t mutate(struct mutator *m, uint8_t *data, size_t size)
{
	static struct item items[ITEMS_MAX];
	static size_t place[ITEMS_MAX];
	size_t n = find_items(data, size, place, items);
	size_t which = n ? (size_t)pick(m, n) : 0;

	/* most of what can be senseless together is in the records of core */
	for (int turn = 0; n && turn < 8 && items[which].tag >= CORE_TAGS && pick(m, 4); turn++)
		which = (size_t)pick(m, n);

	for (size_t i = 0; i < n && m->n_values < VALUES_MAX / 2; i++)
		m->values[m->n_values++] = items[i].id;
	for (size_t i = 0; i < n; i++) {
		if (i == which) {
			alter_item(m, data, items[i], place[i], (uint32_t)n);
			continue;
		}
		put(m, &items[i], sizeof(items[i]));
		put(m, data + place[i], items[i].len);
	}
	if (m->full || !m->len)
		return size;
	memcpy(data, m->out, m->len);
	return m->len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned int seed)
{
	static uint8_t out[1 << 20];
	struct mutator m = { .random = 0x9e3779b97f4a7c15 ^ ((uint64_t)seed << 20 | seed), .out = out };

	m.room = room < sizeof(out) ? room : sizeof(out);
	for (uint64_t n = 1 + pick(&m, 3); n; n--) {
		m.len = m.n_values = m.own_values = 0;
		m.full = false;
		size = mutate(&m, data, size);
	}
	return size;
}
