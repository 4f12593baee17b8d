/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Mappings as programs mostly have them, of our own and for a moment, so that it can be seen what the kernel says of such.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

struct samples {
	unsigned char *at;
	size_t len; /* bytes */
	size_t guards; /* guard pages among them */
};

/** samples_make() - -errno; samples_end() takes them away again */
int samples_make(struct samples *ret);
void samples_end(const struct samples *s);

/**
 * samples_are_seen() - does PAGEMAP_SCAN say what these have: no page, and each guard that there is?
 * @self: /proc/self. v6.13 and v6.14 have guards and show them as pages in swap.
 */
bool samples_are_seen(const struct samples *s, struct arena *a, int self);
