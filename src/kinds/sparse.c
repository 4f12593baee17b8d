/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/sparse.h"

#include <errno.h>
#include <string.h>

#define GAP 64 /* bytes: fewer zeros between two islands cost less than another island */

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

void sparse_pack(struct arena *a, const void *whole, size_t len, struct span *ret)
{
	const unsigned char *bytes = whole;

	*ret = (struct span){ 0 };
	for (size_t at = skip_zeros(bytes, 0, len), end, next = at; at < len; at = next) {
		do {
			end = skip_data(bytes, next, len);
			next = skip_zeros(bytes, end, len);
		} while (next < len && next - end < GAP);
		*(struct island *)span_push(a, ret, sizeof(struct island)) =
			(struct island){ (uint32_t)at, { arena_dup(a, bytes + at, end - at), end - at, 0 } };
	}
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
