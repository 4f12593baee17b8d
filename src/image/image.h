/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The image: one file or stream, readable front to back without seeking.
 *
 *   header   struct image_header, 64 bytes, hashed
 *   sections each: struct section_header (64 bytes, hashed), payload, zero padding to 8 bytes
 *            OBJECT  the encoded record of one object: kind tag, object id
 *            PAGES   page data of one address space: the runs, then (4 KiB-aligned in the file) the data of the runs
 *                    that have data, at most IMAGE_CHUNK_PAGES of it; or that data as one frame of zstd, or without lines of
 *                    zeros
 *   index    a section whose payload is one struct index_entry for every other section
 *   end      struct image_end: place of the index, hash of everything before it that is not page data; the last byte of
 *            the image is the last byte of this struct
 *
 * Every byte of an image is covered by a hash or must be zero. All integers are little-endian, written byte for byte as
 * the structs below lie in memory (static assertions keep their layout). doc/format.md says it for other readers.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"

#define IMAGE_MAGIC	  "STASIS\r\n" /* 8 bytes: a text-mode transfer destroys it */
#define IMAGE_END_MAGIC	  "stasis\r\n"
#define IMAGE_VERSION	  1
#define IMAGE_PAGE	  4096
#define IMAGE_CHUNK_PAGES 256 /* most pages with data in one PAGES section */
#define IMAGE_CHUNK_RUNS  4096 /* most runs in one PAGES section */
#define IMAGE_OBJECT_MAX  (64u << 20)
#define IMAGE_LEVEL_MAX \
	19 /* of compression; the ones beyond take memory, and gain nothing with sections of this size */

/* flags of the header: what a reader must know */
#define IMAGE_PACKED 1u /* PAGES sections may be compressed */
#define IMAGE_LINES  2u /* they may be stored without lines of zeros: image/lines.h */

enum section_type {
	SECTION_OBJECT = 1,
	SECTION_PAGES = 2,
	SECTION_INDEX = 3,
};

struct image_header {
	char magic[8];
	uint32_t version;
	uint32_t flags; /* IMAGE_PACKED, IMAGE_LINES */
	uint8_t image_id[16]; /* random, the identity of this image */
	uint8_t pad[24];
	uint64_t hash; /* xxh3 of all before */
};

struct section_header {
	uint32_t type;
	uint32_t tag; /* OBJECT: the kind */
	uint64_t id; /* OBJECT: the object; PAGES: the address space */
	uint64_t len; /* bytes of payload (PAGES: of the run table) */
	uint64_t data; /* PAGES: bytes of page data; else 0 */
	uint64_t payload_hash; /* of the payload */
	uint64_t data_hash; /* of the page data as it lies in the image; 0 where there is none */
	uint64_t packed; /* PAGES: bytes of page data as it lies in the image, if these are fewer; else 0 */
	uint64_t hash; /* of this header before it */
};

/** struct index_entry - where a section is; the entries lie in the order of the sections */
struct index_entry {
	uint32_t type;
	uint32_t tag;
	uint64_t id;
	uint64_t at; /* offset of the section header in the image */
	uint64_t hash; /* the hash in that header */
};

/** struct image_end - the last 64 bytes of an image */
struct image_end {
	char magic[8]; /* IMAGE_END_MAGIC */
	uint64_t index; /* offset of the header of the index */
	uint64_t size; /* of the image, this struct included */
	uint64_t sections; /* entries in the index */
	uint8_t image_id[16]; /* as in the header */
	uint64_t meta_hash; /* of everything before this struct that is not page data */
	uint64_t hash; /* of this struct before it */
};

/** enum run_kind - what a run of pages holds */
enum run_kind {
	RUN_DATA = 1, /* its bytes follow */
	RUN_INHERIT = 2, /* the same as in the parent process's address space: no bytes */
};

struct page_run {
	uint64_t at; /* address, page-aligned */
	uint32_t pages;
	uint32_t kind; /* enum run_kind */
};

/* ---- writing ---- */

struct image_writer;

/**
 * image_create() - begin an image
 * @path: where it is to appear, or NULL to write to @fd as a stream (which is borrowed; pipes, sockets and files do)
 * @level: 0, or 1 to IMAGE_LEVEL_MAX: page data is compressed where that makes it smaller
 * @cancel: becomes non-zero when a stream that blocks is to be given up (-EINTR); may be NULL
 *
 * With a path the image is written under a temporary name in the same directory (".NAME.XXXXXX.tmp", mode 0600, removed by
 * image_abort; an O_TMPFILE that is linked at commit where the filesystem can) and appears under its name at commit.
 * An image of that name is replaced then, and is untouched before. What is no regular file is never replaced: -EEXIST.
 * Writing to a pipe that nobody reads raises SIGPIPE, writing over RLIMIT_FSIZE SIGXFSZ: the caller ignores both.
 * Returns 0 or -errno. The writer is on the heap. After an error of any call below only image_abort is left to do.
 */
int image_create(struct image_writer **ret, const char *path, int fd, int level, const volatile sig_atomic_t *cancel);

/** image_hurry() - let the disk begin at once: that ends sooner, but takes longer until all sources have been asked */
void image_hurry(struct image_writer *w);

/** image_put() - add an object; 0 or -errno (-E2BIG over IMAGE_OBJECT_MAX) */
int image_put(struct image_writer *w, uint32_t tag, uint64_t id, const void *payload, size_t len);

/** struct image_room - where a source puts what becomes one PAGES section; contents are undefined at first */
struct image_room {
	unsigned char *data; /* room for IMAGE_CHUNK_PAGES pages: those of the RUN_DATA runs, in order, without gaps */
	struct page_run *runs; /* room for IMAGE_CHUNK_RUNS */
	size_t n_runs; /* 0: there is to be no section */
};

/** struct image_source - where the content of one PAGES section comes from; embed it */
struct image_source {
	/**
	 * fetch() - fill @room; 0 or -errno. Called once, by any thread, while others may fetch from other sources; after -EIO or -EFAULT
	 * once more, by the thread that waits: that may read what others may not
	 */
	int (*fetch)(struct image_source *source, struct image_room *room);
};

/**
 * image_pages() - add a PAGES section, which @source is asked for sometime before image_pages_wait() returns
 *
 * Fetching, hashing and compressing are shared by as many threads as there are CPUs, once there are some sections; their
 * order stays. Returns 0; -EINVAL (runs that image_next would refuse: over IMAGE_CHUNK_RUNS, more data than
 * IMAGE_CHUNK_PAGES, not ascending or overlapping, empty, unaligned) or another -errno: of this section or one before.
 * After an error no source is asked any more.
 */
int image_pages(struct image_writer *w, uint64_t id, struct image_source *source);

/** image_pages_wait() - until all sources have been asked, and the sections are written */
int image_pages_wait(struct image_writer *w);

/** image_failed() - after an error of image_pages() or image_pages_wait(): the source that gave it, or NULL: the writer did */
struct image_source *image_failed(const struct image_writer *w);

uint64_t image_pages_written(const struct image_writer *w); /* bytes of page data so far, before compression */
uint64_t image_written(const struct image_writer *w); /* bytes so far */
const uint8_t *image_writer_id(const struct image_writer *w); /* the 16 bytes of image_id */

/**
 * image_commit() - index, end, fsync, the name, fsync of the directory; then the writer is gone, whatever happens
 * On error nothing remains under either name, but for one case: where an older image of that name was replaced and then
 * the directory cannot be synced, the new image, which is complete, stays. A stream is not synced. @ret_size may be NULL.
 */
int image_commit(struct image_writer *w, uint64_t *ret_size);

/** image_abort() - nothing remains, accepts NULL */
void image_abort(struct image_writer *w);

/* ---- reading ---- */

struct image_reader;

struct section {
	uint32_t type; /* SECTION_OBJECT or SECTION_PAGES */
	uint32_t tag;
	uint64_t id;
	uint64_t at; /* offset of the section header in the image */
	const void *payload; /* OBJECT; valid until the next call */
	size_t len;
	const struct page_run *runs; /* PAGES: checked: sorted, aligned, no overlap, no overflow, known kinds */
	size_t n_runs;
	size_t data_len; /* PAGES: bytes of page data: image_send() */
};

/**
 * image_open() - begin to read the image at @fd (borrowed)
 * @ret: set whenever memory allows, on a refusal too, for image_problem(); else NULL. The caller closes it.
 *
 * Of a regular file the image is the whole file, wherever its position is; of a stream, all that comes until its end.
 * Of a regular file the end and the index are verified at once, so that a cut image is refused here, before anything is
 * built. Returns 0; -EBADMSG (no image, or altered), -ENODATA (cut), -EPROTONOSUPPORT (a newer format) with the words in
 * image_problem(), or another -errno.
 */
int image_open(struct image_reader **ret, int fd, const volatile sig_atomic_t *cancel);

/**
 * image_next() - the next section, verified but for its page data: 1, or 0 at the verified end, or as image_open() below zero
 *
 * After 0 or an error it returns the same again. What was verified is a copy: whoever writes to the file or cuts it while
 * it is read changes what comes next, and that is refused. Page data that nobody asks for is verified all the same.
 */
int image_next(struct image_reader *r, struct section *ret);

/** struct image_sink - where the page data of one section goes; embed it */
struct image_sink {
	/**
	 * put() - @data is verified: that of the RUN_DATA runs, in order; 0 or -errno
	 * Called by any thread, while others may put other data elsewhere; once at most, or twice with @again.
	 */
	int (*put)(struct image_sink *sink, const struct section *section, const void *data);
	bool again; /* after -EIO or -EFAULT it is tried once more, by the thread that waits: that may do what others may not */
};

/**
 * image_send() - the page data of the section that image_next() has just given go to @sink
 *
 * That is done sometime before image_wait() returns, or before image_next() returns 0. Reading, decompressing, verifying
 * and putting are shared by as many threads as there are CPUs, once there are some sections. Where there is no data the
 * sink is not asked. Returns 0, or an error of this section or one before, as image_next() then does too.
 */
int image_send(struct image_reader *r, struct image_sink *sink);

#define IMAGE_ALONE 4 /* so many PAGES sections are read without threads: to make these would take longer */

/**
 * image_rest() - no threads until there is much page data again; what was sent has been waited for
 * They would have pids that those to be cloned may need, and count where pids are limited.
 */
void image_rest(struct image_reader *r);

/** image_wait() - until all page data that was sent is where it belongs; after an error until nobody puts any more */
int image_wait(struct image_reader *r);

/** image_failed_sink() - after an error: the sink that gave it, or NULL: it is the image's, and image_problem() has words */
struct image_sink *image_failed_sink(const struct image_reader *r);

/**
 * image_problem() - one sentence on why the last call refused: "the section at byte 8256 does not match its checksum"
 * @r may be NULL; the result never is, and is "" while nothing was refused.
 */
const char *image_problem(const struct image_reader *r);

const struct image_header *image_head(const struct image_reader *r);
void image_close(struct image_reader *r); /* accepts NULL */
