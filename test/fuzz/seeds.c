/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seeds image|record FILE... - write a different small seed of the corpus to each FILE
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "../lib/given.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "record_fields.h"

/* what compresses well */
static int put_pages(struct image_writer *w, uint64_t id, uint32_t pages)
{
	struct page_run runs[2] = { { 0x400000, pages, RUN_DATA }, { 0x7f0000000000, 9, RUN_INHERIT } };
	char data[2 * IMAGE_PAGE];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i % 100 + id);
	return given_put(w, id, data, pages ? runs : runs + 1, pages ? 2 : 1);
}

/* The first byte is for the harness: whether hashes are made right. */
static int seed_image(int fd, unsigned int nth)
{
	struct image_writer *w;
	uint8_t how = nth % 4;
	int err = write_all(fd, &how, 1);

	if (err == 0)
		err = image_create(&w, NULL, fd, nth / 2 % 3, NULL);
	if (err < 0)
		return err;
	unsigned int n = nth < 8 ? nth : 4 * nth; /* so many that threads share them */
	for (unsigned int i = 0; err == 0 && i < n; i++)
		err = i % 3 < 2 ? image_put(w, i, i, "payload", i % 8) : put_pages(w, i, i / 3 % 3);
	if (err == 0)
		return image_commit(w, NULL);
	image_abort(w);
	return err;
}

static int seed_record(int fd, unsigned int nth)
{
	struct arena a;
	struct span wire = { NULL, 0 };
	struct fuzz_record below[2] = { { .u8 = 1, .text = "" }, { .i16 = -5, .bits = 6 } };
	struct fuzz_record rec = {
		.u8 = 255, .u64 = UINT64_MAX, .i64 = -1, .yes = nth & 1, .text = nth & 2 ? "text" : NULL
	};

	rec.bytes = (struct span){ below, nth % 7 };
	rec.bits = nth & 4 ? 0x80000002 : 0;
	below[0].below = (struct span){ below + 1, nth % 2 };
	rec.below = (struct span){ below, nth % 3 };
	arena_init(&a);
	record_encode(&a, fuzz_fields, &rec, &wire);
	int err = write_all(fd, wire.at, nth ? wire.n : 0);
	arena_done(&a);
	return err;
}

int main(int argc, char **argv)
{
	bool is_image = argc > 1 && strcmp(argv[1], "image") == 0;

	if (argc < 3 || (!is_image && strcmp(argv[1], "record") != 0)) {
		fprintf(stderr, "usage: seeds image|record FILE...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		_cleanup_close_ int fd = open(argv[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		int err = fd < 0 ? -errno : (is_image ? seed_image : seed_record)(fd, (unsigned int)i - 2);

		if (err < 0) {
			fprintf(stderr, "seeds: %s: %s\n", argv[i], strerror(-err));
			return 1;
		}
	}
	return 0;
}
