/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * PAGES sections of an image out of memory that the test has, and back to it.
 */
#include <string.h>

#include "image/image.h"

struct given {
	struct image_source source;
	const void *data;
	const struct page_run *runs;
	size_t n;
};

static inline int given_fetch(struct image_source *source, struct image_room *room)
{
	const struct given *g = (const struct given *)source;
	size_t pages = 0;

	for (size_t i = 0; i < g->n && i < IMAGE_CHUNK_RUNS; i++)
		pages += g->runs[i].kind == RUN_DATA ? g->runs[i].pages : 0;
	if (pages > IMAGE_CHUNK_PAGES)
		pages = IMAGE_CHUNK_PAGES; /* the writer sees it by the runs */
	if (pages)
		memcpy(room->data, g->data, pages * IMAGE_PAGE);
	room->n_runs = g->n;
	memcpy(room->runs, g->runs, (g->n < IMAGE_CHUNK_RUNS ? g->n : IMAGE_CHUNK_RUNS) * sizeof(*g->runs));
	return 0;
}

/** given_put() - one section: the @n runs, and at @data the pages of those that have data */
static inline int given_put(
	struct image_writer *w, uint64_t id, const void *data, const struct page_run *runs, size_t n)
{
	struct given g = { { given_fetch }, data, runs, n };
	int err = image_pages(w, id, &g.source);

	return err < 0 ? err : image_pages_wait(w);
}

struct taken {
	struct image_sink sink;
	unsigned char data[IMAGE_CHUNK_PAGES * IMAGE_PAGE];
};

static inline int taken_put(struct image_sink *sink, const struct section *s, const void *data)
{
	memcpy(((struct taken *)sink)->data, data, s->data_len);
	return 0;
}

/** taken() - the page data of the section that image_next() gave, until the next call; NULL: image_next() says why */
static inline const unsigned char *taken(struct image_reader *r)
{
	static struct taken t = { .sink = { taken_put } };

	return image_send(r, &t.sink) < 0 || image_wait(r) < 0 ? NULL : t.data;
}
