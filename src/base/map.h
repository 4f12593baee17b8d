/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A map from numbers to pointers, in an arena. Nothing is taken out of it.
 */
#include <stdint.h>

#include "base/arena.h"

/** struct map - all zero: empty */
struct map {
	struct map_entry *slots;
	size_t n, room; /* room: a power of two */
};

/** map_set() - what @key leads to from now on; not NULL */
void map_set(struct arena *a, struct map *m, uint64_t key, void *value);

/** map_get() - NULL when the key was never set */
void *map_get(const struct map *m, uint64_t key);
