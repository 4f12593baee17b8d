/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The inputs of the harness `family`: not an image, but what is to be put into one. Header, hashes and index are then
 * always right, so that what is tried is what the records say.
 */
#include <stdint.h>

/** struct item - followed by @len bytes: the record of an object, or the runs of a PAGES section */
struct item {
	uint32_t tag; /* of the object; ITEM_PAGES: page data */
	uint32_t id;
	uint32_t len;
};

#define ITEM_PAGES 0u
