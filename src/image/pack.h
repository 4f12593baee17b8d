/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The data of one PAGES section made smaller: one frame of zstd, as RFC 8878 has it, that knows the size of its content.
 */
#include <stddef.h>

#include "base/pool.h"

/** struct packers - what it takes, one for each worker of a pool: struct work says which */
struct packers {
	void *context[POOL_MOST + 1];
};

/**
 * pack() - @len bytes at @data to @to, at @level 1 to PACK_MOST
 * Returns the bytes of the frame, or 0 where it would not be smaller by a sixteenth at least.
 */
size_t pack(struct packers *p, unsigned int worker, int level, const void *data, size_t len, void *to);
void packers_done(struct packers *p);

/** unpackers_init() - for workers 0 to @n; 0 or -ENOMEM. unpack() takes no memory from then on */
int unpackers_init(struct packers *p, unsigned int n);

/** unpack() - @len hostile bytes at @data must be one frame of exactly @want bytes, which then are at @to; 0 or -EBADMSG */
int unpack(struct packers *p, unsigned int worker, const void *data, size_t len, void *to, size_t want);
void unpackers_done(struct packers *p);
