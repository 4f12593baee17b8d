/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/sparse.h"

#include <errno.h>
#include <string.h>

#define ISLANDS 32 /* the last has all that comes behind these */
#define GAP	64 /* bytes: fewer zeros between two islands cost less than another island */

const struct field island_fields[] = {
	FIELD_U(1, struct island, at, ""),
	FIELD_BLOB(2, struct island, bytes, ""),
	FIELDS_END,
};

static uint64_t word_at(const unsigned char *bytes, size_t at)
{
	uint64_t word;

	memcpy(&word, bytes + at, sizeof(word));
	return word;
}

/* to the next word that is not zero, or the next byte, behind the last word; @len: there is none */
static size_t skip_zeros(const unsigned char *bytes, size_t at, size_t len)
{
	while (at + sizeof(uint64_t) <= len && !word_at(bytes, at))
		at += sizeof(uint64_t);
	if (at + sizeof(uint64_t) <= len)
		return at;
	while (at < len && !bytes[at])
		at++;
	return at;
}

/* to the next word that is zero, or the end */
static size_t skip_data(const unsigned char *bytes, size_t at, size_t len)
{
	while (at + sizeof(uint64_t) <= len && word_at(bytes, at))
		at += sizeof(uint64_t);
	return at + sizeof(uint64_t) <= len ? at : len;
}

/* the next island at or behind @at; its end, 0: there is none */
static size_t find_island(const unsigned char *bytes, size_t at, size_t len, size_t *ret_at)
{
	size_t end = 0, next = skip_zeros(bytes, at, len);

	*ret_at = next;
	while (next < len && (!end || next - end < GAP)) {
		end = skip_data(bytes, next, len);
		next = skip_zeros(bytes, end, len);
	}
	return end;
}

void sparse_pack(struct arena *a, const void *whole, size_t len, struct span *ret)
{
	struct island found[ISLANDS];
	size_t n = 0, total = 0, at;

	for (size_t end = 0; n < ISLANDS && (end = find_island(whole, end, len, &at)); n++) {
		if (n == ISLANDS - 1)
			end = len;
		found[n] = (struct island){ (uint32_t)at, { (char *)whole + at, end - at, 0 } };
		total += end - at;
	}
	char *copy = arena_alloc(a, n * sizeof(*found) + total);
	*ret = (struct span){ copy, n, n };
	copy += n * sizeof(*found);
	for (size_t i = 0; i < n; copy += found[i++].bytes.n)
		found[i].bytes.at = memcpy(copy, found[i].bytes.at, found[i].bytes.n);
	if (n)
		memcpy(ret->at, found, n * sizeof(*found));
}

int sparse_unpack(const struct span *islands, void *whole, size_t len)
{
	const struct island *island = islands->at;
	size_t end = 0;

	memset(whole, 0, len);
	for (size_t i = 0; i < islands->n; i++, island++) {
		if (island->at < end || island->at > len || island->bytes.n > len - island->at)
			return -EBADMSG;
		if (island->bytes.n)
			memcpy((char *)whole + island->at, island->bytes.at, island->bytes.n);
		end = island->at + island->bytes.n;
	}
	return 0;
}
