/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Bytes of which most are zero, as they are stored.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "image/field.h"

/** struct island - what is not zero lies in these */
struct island {
	uint32_t at;
	struct span bytes;
};

extern const struct field island_fields[];

/** sparse_pack() - islands (of struct island) of @len bytes, in order; copied into @a */
void sparse_pack(struct arena *a, const void *whole, size_t len, struct span *ret);

/** sparse_unpack() - fills @whole, of @len bytes. -EBADMSG: they overlap, are out of order, or do not lie in it */
int sparse_unpack(const struct span *islands, void *whole, size_t len);
