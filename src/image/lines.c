/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/lines.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "image/image.h"

#define LINE	((size_t)64)
#define MAGIC	((size_t)8)
#define SAMPLES ((size_t)8) /* pages, by which most data is known to have no zeros worth the search */

static bool is_zero(const unsigned char *line)
{
	uint64_t w[LINE / sizeof(uint64_t)], any = 0;

	memcpy(w, line, sizeof(w));
	for (size_t i = 0; i < LINE / sizeof(uint64_t); i++)
		any |= w[i];
	return !any;
}

/* one bit for each line that is not zero */
static uint64_t lines_of(const unsigned char *page)
{
	uint64_t set = 0;

	for (size_t i = 0; i < IMAGE_PAGE / LINE; i++)
		set |= (uint64_t)!is_zero(page + i * LINE) << i;
	return set;
}

static bool is_worth(const unsigned char *data, size_t pages)
{
	const size_t step = pages > SAMPLES ? pages / SAMPLES : 1;
	size_t seen = 0, set = 0;

	for (size_t i = 0; i < pages; i += step, seen++)
		set += (size_t)__builtin_popcountll(lines_of(data + i * IMAGE_PAGE));
	return set <= seen * (IMAGE_PAGE / LINE) / 2;
}

size_t lines_pack(const void *data, size_t len, void *to)
{
	const unsigned char *page = data, *end = page + len;
	unsigned char *out = to;
	size_t n = MAGIC;

	if (!is_worth(page, len / IMAGE_PAGE))
		return 0;
	memcpy(out, LINES_MAGIC, MAGIC);
	for (; page < end; page += IMAGE_PAGE) {
		uint64_t set = lines_of(page);

		if (n + sizeof(set) + (size_t)__builtin_popcountll(set) * LINE > len / 2)
			return 0;
		memcpy(out + n, &set, sizeof(set));
		n += sizeof(set);
		for (; set; set &= set - 1, n += LINE)
			memcpy(out + n, page + (size_t)__builtin_ctzll(set) * LINE, LINE);
	}
	return n;
}

bool lines_are(const void *data, size_t len)
{
	return len >= MAGIC && memcmp(data, LINES_MAGIC, MAGIC) == 0;
}

int lines_unpack(const void *data, size_t len, void *to, size_t want)
{
	const unsigned char *in = data, *end = in + len;
	unsigned char *page = to;

	if (!lines_are(data, len) || want % IMAGE_PAGE)
		return -EBADMSG;
	in += MAGIC;
	for (; want; page += IMAGE_PAGE, want -= IMAGE_PAGE) {
		uint64_t set;

		if ((size_t)(end - in) < sizeof(set))
			return -EBADMSG;
		memcpy(&set, in, sizeof(set));
		in += sizeof(set);
		if ((size_t)(end - in) < (size_t)__builtin_popcountll(set) * LINE)
			return -EBADMSG;
		memset(page, 0, IMAGE_PAGE);
		for (; set; set &= set - 1, in += LINE)
			memcpy(page + (size_t)__builtin_ctzll(set) * LINE, in, LINE);
	}
	return in == end ? 0 : -EBADMSG;
}
