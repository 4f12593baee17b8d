/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The data of one PAGES section without what is zero in it: stacks, tables and arenas are mostly so, and what is left out need not
 * be written, kept and read. It is done as fast as memory is copied, so that it is always done, unlike compression.
 *
 * What is stored begins with LINES_MAGIC. Each page then has 8 bytes with a bit for each of its 64 lines of 64 bytes, the first
 * line's lowest, and behind them those lines whose bit is set.
 */
#include <stdbool.h>
#include <stddef.h>

#define LINES_MAGIC "lines\0\0\0" /* 8 bytes, which no frame of zstd begins with */

/** lines_pack() - @len bytes at @data, whole pages, to @to; returns how many these are, or 0 where it would be more than half of @len */
size_t lines_pack(const void *data, size_t len, void *to);

/** lines_are() - do these bytes begin as what lines_pack() makes? */
bool lines_are(const void *data, size_t len);

/** lines_unpack() - @len hostile bytes at @data must be exactly @want bytes of pages, which then are at @to; 0 or -EBADMSG */
int lines_unpack(const void *data, size_t len, void *to, size_t want);
