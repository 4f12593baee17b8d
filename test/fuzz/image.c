/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the reader of images, as a file and as a stream, which must agree.
 *
 * The first byte of an input is not of the image. Its bit 0: every hash is made right, so that what lies behind the
 * hashes is reached; bit 1: the padding, the index and the end as well.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/io.h"
#include "fuzz.h"
#include "image/format.h"

#define INPUT_MAX ((size_t)1 << 20) /* what a pipe can hold */

enum { SEAL_HASHES = 1, SEAL_INDEX = 2 };

struct outcome_seen {
	int result;
	uint64_t sum;
};

#define SINKS_MOST 256 /* what is in later sections is verified, and not looked at */

/* adds up what comes, in whatever order that is */
struct adder {
	struct image_sink sink;
	uint64_t *to;
};

static uint64_t sum(const void *data, size_t len)
{
	return len ? XXH3_64bits(data, len) : 0;
}

static void check(bool claim)
{
	if (!claim)
		abort();
}

static int add(struct image_sink *sink, const struct section *s, const void *data)
{
	__atomic_fetch_add(((struct adder *)sink)->to, sum(data, s->data_len) * (s->at | 1), __ATOMIC_RELAXED);
	return 0;
}

static struct outcome_seen walk(int fd)
{
	struct adder adders[SINKS_MOST];
	uint64_t data_sum = 0;
	size_t n = 0;
	struct image_reader *r;
	struct outcome_seen o = { .result = image_open(&r, fd, NULL) };
	struct section s;

	while (o.result >= 0 && (o.result = image_next(r, &s)) == 1) {
		uint64_t pages = 0;

		check(s.type == SECTION_OBJECT || s.type == SECTION_PAGES);
		for (size_t i = 0; i < s.n_runs; i++)
			pages += s.runs[i].kind == RUN_DATA ? s.runs[i].pages : 0;
		check(pages * IMAGE_PAGE == s.data_len);
		o.sum = o.sum * 31 + s.at + sum(s.payload, s.len);
		o.sum = o.sum * 31 + sum(s.runs, s.n_runs * sizeof(*s.runs));
		if (s.type != SECTION_PAGES || n == SINKS_MOST)
			continue;
		adders[n] = (struct adder){ { add }, &data_sum };
		image_send(r, &adders[n++].sink);
	}
	o.sum += data_sum;
	check(!image_failed_sink(r));
	check((o.result == 0) == !*image_problem(r));
	image_close(r);
	return o;
}

/* ---- making hashes right ---- */

struct walk {
	uint8_t *at;
	size_t len, pos;
	XXH3_state_t *meta;
	struct index_entry entries[1024];
	size_t n;
};

static void meta(struct walk *w, size_t len)
{
	XXH3_64bits_update(w->meta, w->at + w->pos, len);
	w->pos += len;
}

/* Seal the section at the present position; false where it does not fit, or is the index. */
static bool seal_section(struct walk *w, uint8_t how)
{
	struct section_header *h = (struct section_header *)(w->at + w->pos);
	size_t at = w->pos, left;

	if (w->len - at < sizeof(*h) || at % IMAGE_ALIGN)
		return false;
	left = w->len - at - sizeof(*h);
	if (h->len > left || h->type == SECTION_INDEX) {
		h->hash = block_hash(h);
		return false;
	}
	size_t pad = section_padding(h, at + sizeof(*h) + h->len), stored = section_stored(h), tail = section_tail(h);
	left -= h->len;
	if (pad > left || stored > left - pad || tail > left - pad - stored) {
		h->hash = block_hash(h);
		return false;
	}
	h->payload_hash = XXH3_64bits(h + 1, h->len);
	uint8_t *data = (uint8_t *)(h + 1) + h->len + pad;
	if (how & SEAL_INDEX) {
		memset(data - pad, 0, pad);
		memset(data + stored, 0, tail);
	}
	if (h->data)
		h->data_hash = XXH3_64bits(data, stored);
	h->hash = block_hash(h);
	if (w->n < sizeof(w->entries) / sizeof(*w->entries))
		w->entries[w->n++] = section_entry(h, at);
	meta(w, sizeof(*h) + h->len + pad);
	w->pos += stored;
	meta(w, tail);
	return true;
}

/* The index and the end; with SEAL_INDEX they are what they ought to be. */
static size_t seal_end(struct walk *w, uint8_t how)
{
	size_t at = w->pos, len = w->n * sizeof(*w->entries), end_at = w->len - sizeof(struct image_end);
	struct section_header *h = (struct section_header *)(w->at + at);

	if (how & SEAL_INDEX) {
		if (w->len - at < sizeof(*h) + len + sizeof(struct image_end))
			return w->len;
		memset(h, 0, sizeof(*h) + len + sizeof(struct image_end));
		h->type = SECTION_INDEX;
		h->len = len;
		memcpy(h + 1, w->entries, len);
		end_at = at + sizeof(*h) + len;
		struct image_end *end = (struct image_end *)(w->at + end_at);
		memcpy(end->magic, IMAGE_END_MAGIC, sizeof(end->magic));
		memcpy(end->image_id, ((struct image_header *)w->at)->image_id, sizeof(end->image_id));
		end->index = at;
		end->sections = w->n;
		end->size = end_at + sizeof(*end);
	}
	if (end_at % IMAGE_ALIGN || end_at < at || end_at - at < sizeof(*h))
		return w->len;
	h->payload_hash = XXH3_64bits(h + 1, end_at - at - sizeof(*h));
	h->hash = block_hash(h);
	meta(w, end_at - at);
	struct image_end *end = (struct image_end *)(w->at + end_at);
	end->meta_hash = XXH3_64bits_digest(w->meta);
	end->hash = block_hash(end);
	return end_at + sizeof(*end);
}

static size_t seal(uint8_t *at, size_t len, uint8_t how)
{
	static struct walk w;
	struct image_header *head = (struct image_header *)at;

	if (len < sizeof(*head) + sizeof(struct section_header) + sizeof(struct image_end))
		return len;
	head->hash = block_hash(head);
	if (!w.meta)
		w.meta = XXH3_createState();
	XXH3_64bits_reset(w.meta);
	w.at = at;
	w.len = len;
	w.pos = w.n = 0;
	meta(&w, sizeof(*head));
	while (seal_section(&w, how))
		;
	if (w.pos % IMAGE_ALIGN || w.len - w.pos < sizeof(struct section_header) + sizeof(struct image_end))
		return len;
	return seal_end(&w, how);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *copy;
	static int file = -1;
	int p[2];

	if (!copy)
		copy = aligned_alloc(IMAGE_PAGE, INPUT_MAX);
	if (file < 0)
		file = memfd_create("image", MFD_CLOEXEC);
	if (size < 1 || size - 1 > INPUT_MAX)
		return 0;
	size_t len = size - 1;
	memcpy(copy, data + 1, len);
	if (data[0] & SEAL_HASHES)
		len = seal(copy, len, data[0]);

	check(ftruncate(file, 0) == 0 && pwrite_all(file, copy, len, 0) == 0);
	struct outcome_seen by_file = walk(file);

	check(pipe2(p, O_CLOEXEC) == 0);
	if (fcntl(p[1], F_SETPIPE_SZ, (int)INPUT_MAX) < 0 && len > 65536)
		len = 0;
	check(write_all(p[1], copy, len) == 0);
	close(p[1]);
	struct outcome_seen by_pipe = walk(p[0]);
	close(p[0]);
	check(!len || (by_file.result == 0) == (by_pipe.result == 0));
	check(!len || by_file.result || by_file.sum == by_pipe.sum);
	return 0;
}
