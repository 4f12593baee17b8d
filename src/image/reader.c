/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading an image, which is hostile until shown otherwise.
 *
 * Nothing is believed before its hash was compared, and no hash makes it believed: lengths are bounded before they are
 * used, and buffers grow only as bytes arrive. All is copied before it is looked at, so that a file that changes meanwhile
 * cannot change what was checked, and one that is cut, or whose disk fails, is an error and no SIGBUS.
 *
 * Page data goes through buffers of one chunk each that stay in the cache of a processor while one thread reads, hashes and
 * puts it into the program; the page faults there are most of the work, and several threads take less time for them. To map
 * the file instead saves that copy, and was measured to take longer: 1 GiB into a program took 560 ms of processor time by
 * a mapping of a file on tmpfs, and 494 ms so (Linux 6.18, 2 cores, medians): the page faults cost more.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/io.h"
#include "image/format.h"
#include "image/lines.h"
#include "image/pack.h"

#define READ_FIRST ((size_t)64 << 10) /* the first step of a growing buffer */

#define RAW_MOST   3 /* threads for data that is not compressed: one that uses it has no use for more */
#define SLOTS_MOST (POOL_MOST + 3)

/* memory that grows */
struct buffer {
	char *at;
	size_t room;
};

enum fault { FAULT_NONE, FAULT_READ, FAULT_CUT, FAULT_HASH, FAULT_PACKED, FAULT_SINK };

/* struct slot - a PAGES section; its page data is dealt with by whichever thread has time */
struct slot {
	struct work work;
	struct image_reader *r;
	struct image_sink *sink; /* or NULL */
	struct section section;
	struct section_header h;
	uint64_t from; /* place of the page data in the image */
	struct buffer runs;
	void *data, *packed; /* room for one chunk each */
	int err;
	enum fault fault;
};

/* what was read of a file before it was asked for */
struct ahead {
	unsigned char bytes[16 << 10];
	uint64_t at;
	size_t n;
};

struct image_reader {
	int fd;
	bool is_file;
	const volatile sig_atomic_t *cancel;
	int result; /* of the last image_next: 1 while there is more */
	uint64_t pos; /* bytes read */
	uint64_t size; /* of a file */
	uint64_t index; /* a file: where the end says that the index is */
	struct ahead ahead;
	struct image_header head;
	XXH3_state_t *meta; /* of all that is not page data */
	struct buffer payload; /* of an OBJECT */
	struct pool *pool;
	struct packers unpackers;
	unsigned int n_threads;
	struct slot slots[SLOTS_MOST]; /* used one after the other, round and round */
	size_t n_slots, first, n_used; /* that may be used at once; the first that is used; how many are */
	struct slot *given; /* the caller has it, and has not yet sent it */
	uint64_t n_pages; /* PAGES sections so far */
	struct image_sink *failed;
	struct index_entry *seen;
	size_t n_seen, seen_room;
	char problem[256];
};

__attribute__((format(printf, 3, 4))) static int refuse(struct image_reader *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->problem, sizeof(r->problem), fmt, ap);
	va_end(ap);
	return err;
}

static int no_memory(struct image_reader *r)
{
	return refuse(r, -ENOMEM, "there is no memory to read the image at byte %" PRIu64, r->pos);
}

static int unknown_type(struct image_reader *r, uint64_t at, uint32_t type)
{
	return refuse(r, -EPROTONOSUPPORT,
		"the section at byte %" PRIu64 " is of a type (%" PRIu32 ") that this stasis does not know", at, type);
}

/* Of a file: objects are small and many, and each has a header; to read them one by one takes longer than all else about them. */
static ssize_t read_file(struct image_reader *r, void *buf, size_t len)
{
	struct ahead *a = &r->ahead;

	if (len > sizeof(a->bytes))
		return pread_all(r->fd, buf, len, (off_t)r->pos);
	if (r->pos < a->at || r->pos + len > a->at + a->n) {
		ssize_t n = pread_all(r->fd, a->bytes, sizeof(a->bytes), (off_t)r->pos);
		a->at = r->pos;
		a->n = n < 0 ? 0 : (size_t)n;
		if (n < 0)
			return n;
	}
	size_t from = (size_t)(r->pos - a->at);
	if (len > a->n - from)
		len = a->n - from;
	memcpy(buf, a->bytes + from, len);
	return (ssize_t)len;
}

/* Exactly len bytes at the present position; what says whose they are. */
static int get(struct image_reader *r, void *buf, size_t len, const char *what)
{
	ssize_t n = r->is_file ? read_file(r, buf, len) : read_stream(r->fd, buf, len, r->cancel);

	if (n < 0)
		return refuse(r, (int)n, "the image cannot be read at byte %" PRIu64 " (%s)", r->pos, what);
	if ((size_t)n < len)
		return refuse(r, -ENODATA, "the image is cut: byte %" PRIu64 " is missing, within %s",
			r->pos + (uint64_t)n, what);
	r->pos += len;
	return 0;
}

static int get_meta(struct image_reader *r, void *buf, size_t len, const char *what)
{
	int err = get(r, buf, len, what);

	if (err == 0)
		XXH3_64bits_update(r->meta, buf, len);
	return err;
}

/* The same into memory that grows with what arrives, so that a length alone takes none. */
static int get_grown(struct image_reader *r, struct buffer *b, uint64_t len, const char *what)
{
	for (uint64_t done = 0, step; done < len; done += step) {
		step = done < READ_FIRST ? READ_FIRST : done;
		if (step > len - done)
			step = len - done;
		if (b->room < done + step) {
			char *more = realloc(b->at, done + step);
			if (!more)
				return no_memory(r);
			*b = (struct buffer){ more, done + step };
		}
		int err = get(r, b->at + done, step, what);
		if (err < 0)
			return err;
	}
	return 0;
}

/* ---- the header ---- */

static int check_header(struct image_reader *r)
{
	const struct image_header *h = &r->head;
	static const uint8_t zero[sizeof(h->pad)];

	if (memcmp(h->magic, IMAGE_MAGIC, sizeof(h->magic)) != 0)
		return refuse(r, -EBADMSG, "this is no image of stasis: it does not begin as one");
	if (block_hash(h) != h->hash)
		return refuse(r, -EBADMSG, "the header at byte 0 does not match its checksum");
	if (h->version > IMAGE_VERSION)
		return refuse(r, -EPROTONOSUPPORT,
			"the image has format version %" PRIu32 ", and this stasis reads versions up to %d", h->version,
			IMAGE_VERSION);
	if (h->version == 0)
		return refuse(r, -EBADMSG, "the header at byte 0 has the format version 0");
	if (h->flags & ~(IMAGE_PACKED | IMAGE_LINES) || memcmp(h->pad, zero, sizeof(zero)) != 0)
		return refuse(r, -EPROTONOSUPPORT, "the header at byte 0 uses flags (%#" PRIx32 ") of a newer stasis",
			h->flags);
	return 0;
}

static int read_header(struct image_reader *r)
{
	ssize_t n = r->is_file ? pread_all(r->fd, &r->head, sizeof(r->head), 0)
			       : read_stream(r->fd, &r->head, sizeof(r->head), r->cancel);
	size_t got = n < 0 ? 0 : (size_t)n, magic = sizeof(r->head.magic);

	if (n < 0)
		return refuse(r, (int)n, "the image cannot be read at byte 0 (the header)");
	if (got == 0)
		return refuse(r, -ENODATA, "the image is empty");
	if (memcmp(r->head.magic, IMAGE_MAGIC, got < magic ? got : magic) == 0 && got < sizeof(r->head))
		return refuse(r, -ENODATA, "the image is cut: it ends at byte %zu, within the header", got);
	r->pos = got;
	XXH3_64bits_update(r->meta, &r->head, got);
	return check_header(r);
}

/* ---- the end and the index ---- */

/* What the end alone shows; where it is, at, is the place behind the index. */
static int check_end(struct image_reader *r, const struct image_end *end, uint64_t at)
{
	if (memcmp(end->magic, IMAGE_END_MAGIC, sizeof(end->magic)) != 0)
		return refuse(r, r->is_file ? -ENODATA : -EBADMSG,
			"the last 64 bytes at byte %" PRIu64
			" are not the end of an image: it was cut, or bytes were added",
			at);
	if (block_hash(end) != end->hash)
		return refuse(r, -EBADMSG, "the end at byte %" PRIu64 " does not match its checksum", at);
	if (memcmp(end->image_id, r->head.image_id, sizeof(end->image_id)) != 0)
		return refuse(r, -EBADMSG, "the end at byte %" PRIu64 " belongs to another image", at);
	if (end->size != at + sizeof(*end))
		return refuse(r, -EBADMSG,
			"the image has %" PRIu64 " bytes, and the end at byte %" PRIu64 " says %" PRIu64,
			at + (uint64_t)sizeof(*end), at, end->size);
	if (end->index < sizeof(r->head) || end->index % IMAGE_ALIGN ||
		end->index > at - sizeof(struct section_header) || end->sections > at / sizeof(struct index_entry) ||
		end->index + sizeof(struct section_header) + end->sections * sizeof(struct index_entry) != at)
		return refuse(
			r, -EBADMSG, "the end at byte %" PRIu64 " gives a place for the index where it cannot be", at);
	return 0;
}

/* at: of the header h; sections: how many there are */
static int check_index_header(struct image_reader *r, const struct section_header *h, uint64_t at, uint64_t sections)
{
	if (block_hash(h) != h->hash || h->type != SECTION_INDEX)
		return refuse(r, -EBADMSG, "the index at byte %" PRIu64 " does not match its checksum", at);
	if (h->tag || h->id || h->data || h->data_hash || h->packed ||
		h->len / sizeof(struct index_entry) != sections || h->len % sizeof(struct index_entry))
		return refuse(r, -EBADMSG, "the index at byte %" PRIu64 " is malformed or of the wrong size", at);
	return 0;
}

/* Do the entries name sections that can be? free_at: behind the header of the section before; at: of the index. */
static int check_entries(struct image_reader *r, const struct index_entry *e, size_t n, uint64_t *free_at, uint64_t at)
{
	for (; n; e++, n--) {
		bool is_first = *free_at == sizeof(struct image_header);

		if (e->at % IMAGE_ALIGN || e->at < *free_at || (is_first && e->at != *free_at) ||
			e->at > at - sizeof(struct section_header))
			return refuse(r, -EBADMSG,
				"the index at byte %" PRIu64 " puts a section at byte %" PRIu64 ", where it cannot be",
				at, e->at);
		if (e->type != SECTION_OBJECT && e->type != SECTION_PAGES)
			return unknown_type(r, e->at, e->type);
		*free_at = e->at + sizeof(struct section_header);
	}
	return 0;
}

static int scan_index(struct image_reader *r, const struct section_header *h, uint64_t at, XXH3_state_t *state)
{
	struct index_entry some[128];
	uint64_t free_at = sizeof(struct image_header);

	XXH3_64bits_reset(state);
	for (uint64_t left = h->len, step; left; left -= step) {
		step = left < sizeof(some) ? left : sizeof(some);
		int err = get(r, some, step, "the index");
		if (err < 0)
			return err;
		XXH3_64bits_update(state, some, step);
		err = check_entries(r, some, step / sizeof(*some), &free_at, at);
		if (err < 0)
			return err;
	}
	if (XXH3_64bits_digest(state) != h->payload_hash)
		return refuse(r, -EBADMSG, "the index at byte %" PRIu64 " does not match its checksum", at);
	return 0;
}

/* A file: the end and the index before anything else. Leaves the position behind the header. */
static int verify_file(struct image_reader *r)
{
	struct section_header h;
	struct image_end end;
	uint64_t least = sizeof(r->head) + sizeof(h) + sizeof(end);

	if (r->size < least)
		return refuse(r, -ENODATA, "the image is cut: it ends at byte %" PRIu64 ", without its end", r->size);
	r->pos = r->size - sizeof(end);
	int err = get(r, &end, sizeof(end), "its end");
	if (err < 0)
		return err;
	err = check_end(r, &end, r->size - sizeof(end));
	if (err < 0)
		return err;

	r->pos = r->index = end.index;
	err = get(r, &h, sizeof(h), "the index");
	if (err < 0)
		return err;
	err = check_index_header(r, &h, r->index, end.sections);
	if (err < 0)
		return err;
	XXH3_state_t *state = XXH3_createState();
	if (!state)
		return no_memory(r);
	err = scan_index(r, &h, r->index, state);
	XXH3_freeState(state);
	r->pos = sizeof(r->head);
	return err;
}

static int finish(struct image_reader *r, const struct section_header *h, uint64_t at)
{
	struct image_end end;
	struct index_entry some[128];
	int err = check_index_header(r, h, at, r->n_seen);

	if (err < 0)
		return err;
	if (XXH3_64bits(r->seen, h->len) != h->payload_hash)
		return refuse(r, -EBADMSG, "the index at byte %" PRIu64 " does not agree with the sections", at);
	for (size_t done = 0, step; done < h->len; done += step) {
		step = h->len - done < sizeof(some) ? h->len - done : sizeof(some);
		err = get_meta(r, some, step, "the index");
		if (err < 0)
			return err;
		if (memcmp(some, (const char *)r->seen + done, step) != 0)
			return refuse(r, -EBADMSG, "the index at byte %" PRIu64 " does not match its checksum", at);
	}

	uint64_t end_at = r->pos;
	err = get(r, &end, sizeof(end), "its end");
	if (err < 0)
		return err;
	err = check_end(r, &end, end_at);
	if (err < 0)
		return err;
	if (end.index != at || end.meta_hash != XXH3_64bits_digest(r->meta))
		return refuse(
			r, -EBADMSG, "the end at byte %" PRIu64 " does not agree with the image before it", end_at);

	char more;
	ssize_t n = r->is_file ? pread_all(r->fd, &more, 1, (off_t)r->pos) : read_stream(r->fd, &more, 1, r->cancel);
	if (n < 0)
		return refuse(r, (int)n, "the image cannot be read at byte %" PRIu64, r->pos);
	if (n > 0)
		return refuse(r, -EBADMSG, "bytes follow the end of the image at byte %" PRIu64, r->pos);
	return 0;
}

/* ---- sections ---- */

static int check_section(struct image_reader *r, const struct section_header *h, uint64_t at)
{
	uint64_t most = h->type == SECTION_PAGES ? IMAGE_CHUNK_RUNS * sizeof(struct page_run) : IMAGE_OBJECT_MAX;
	uint64_t room = r->index - r->pos;

	if (!h->data && h->data_hash)
		return refuse(r, -EPROTONOSUPPORT,
			"the section at byte %" PRIu64 " uses fields of its header that this stasis does not know", at);
	if (h->packed && (!(r->head.flags & (IMAGE_PACKED | IMAGE_LINES)) || h->packed >= h->data))
		return refuse(r, -EBADMSG,
			"the section at byte %" PRIu64 " claims to be compressed, and the image does not, or it is no "
			"smaller by it",
			at);
	if (h->len > most)
		return refuse(r, -EBADMSG,
			"the section at byte %" PRIu64 " claims %" PRIu64 " bytes, more than a section may have", at,
			h->len);
	if (h->type == SECTION_OBJECT ? h->data != 0 : (h->tag || !h->len || h->len % sizeof(struct page_run)))
		return refuse(r, -EBADMSG, "the section at byte %" PRIu64 " has a header that contradicts itself", at);
	if (h->data > IMAGE_CHUNK_PAGES * IMAGE_PAGE || h->data % IMAGE_PAGE)
		return refuse(r, -EBADMSG,
			"the section at byte %" PRIu64 " claims %" PRIu64 " bytes of page data, which cannot be", at,
			h->data);
	if (r->is_file &&
		(r->pos > r->index || room < h->len ||
			room - h->len < section_padding(h, r->pos + h->len) + section_stored(h) + section_tail(h)))
		return refuse(r, -EBADMSG, "the section at byte %" PRIu64 " reaches into the index", at);
	return 0;
}

static int get_padding(struct image_reader *r, size_t len, uint64_t at)
{
	char pad[IMAGE_PAGE];
	int err = get_meta(r, pad, len, "a section");

	if (err < 0)
		return err;
	for (size_t i = 0; i < len; i++) {
		if (pad[i])
			return refuse(r, -EBADMSG,
				"byte %" PRIu64 ", between the parts of the section at byte %" PRIu64 ", is not zero",
				r->pos - len + i, at);
	}
	return 0;
}

/* By any thread: the page data as it lies in the image, and what it is. */
static int read_data(struct slot *s, void *stored)
{
	size_t len = section_stored(&s->h);
	ssize_t n = s->r->is_file ? pread_all(s->r->fd, stored, len, (off_t)s->from) : (ssize_t)len;

	if (n < 0) {
		s->fault = FAULT_READ;
		return (int)n;
	}
	if ((size_t)n < len) {
		s->fault = FAULT_CUT;
		s->from += (uint64_t)n;
		return -ENODATA;
	}
	s->fault = FAULT_HASH;
	return XXH3_64bits(stored, len) == s->h.data_hash ? 0 : -EBADMSG;
}

static int unpack_data(struct slot *s, unsigned int worker)
{
	const struct image_reader *r = s->r;
	const struct section_header *h = &s->h;

	if (r->head.flags & IMAGE_LINES && lines_are(s->packed, h->packed))
		return lines_unpack(s->packed, h->packed, s->data, h->data);
	if (!(r->head.flags & IMAGE_PACKED))
		return -EBADMSG;
	return unpack(&s->r->unpackers, worker, s->packed, h->packed, s->data, h->data);
}

static void slot_do(struct work *work, unsigned int worker)
{
	struct slot *s = (struct slot *)work;

	s->err = read_data(s, s->h.packed ? s->packed : s->data);
	if (s->err == 0 && s->h.packed) {
		s->fault = FAULT_PACKED;
		s->err = unpack_data(s, worker);
	}
	if (s->err == 0 && s->sink) {
		s->fault = FAULT_SINK;
		s->err = s->sink->put(s->sink, &s->section, s->data);
	}
}

static int slot_result(struct image_reader *r, struct slot *s)
{
	if (s->err == 0)
		return 0;
	switch (s->fault) {
	case FAULT_SINK:
		r->failed = s->sink;
		return refuse(r, s->err, "the page data of the section at byte %" PRIu64 " cannot be put in its place",
			s->section.at);
	case FAULT_READ:
		return refuse(r, s->err, "the image cannot be read at byte %" PRIu64 " (page data)", s->from);
	case FAULT_CUT:
		return refuse(r, s->err, "the image is cut: byte %" PRIu64 " is missing, within page data", s->from);
	case FAULT_PACKED:
		return refuse(r, s->err,
			"the page data of the section at byte %" PRIu64 " is not compressed as it claims to be",
			s->section.at);
	case FAULT_HASH:
	case FAULT_NONE:
		break;
	}
	return refuse(r, s->err, "the page data of the section at byte %" PRIu64 " does not match its checksum",
		s->section.at);
}

static int slot_room(struct image_reader *r, struct slot *s)
{
	if (!s->data)
		s->data = aligned_alloc(IMAGE_PAGE, CHUNK_BYTES);
	if (s->h.packed && !s->packed)
		s->packed = malloc(CHUNK_BYTES);
	if (!s->data || (s->h.packed && !s->packed))
		return no_memory(r);
	const bool frames = s->h.packed && r->head.flags & IMAGE_PACKED;
	return frames && unpackers_init(&r->unpackers, r->n_threads) < 0 ? no_memory(r) : 0;
}

/* The page data of a stream must be read now; that of a file can be when there is time. */
static int find_data(struct image_reader *r, struct slot *s)
{
	int err = slot_room(r, s);

	if (err < 0)
		return err;
	s->r = r;
	s->section.data_len = s->h.data;
	s->from = r->pos;
	if (r->is_file)
		r->pos += section_stored(&s->h);
	else
		err = get(r, s->h.packed ? s->packed : s->data, section_stored(&s->h), "page data");
	return err < 0 ? err : get_padding(r, section_tail(&s->h), s->section.at);
}

/* The runs are here, and the page data is behind them. */
static int get_pages(struct image_reader *r, struct slot *slot)
{
	struct section *s = &slot->section;
	uint64_t pages;

	s->runs = (const struct page_run *)slot->runs.at;
	s->n_runs = slot->h.len / sizeof(*s->runs);
	int err = runs_check(s->runs, s->n_runs, &pages);
	if (err == -EPROTONOSUPPORT)
		return refuse(r, err,
			"the section at byte %" PRIu64 " has runs of a kind that this stasis does not know", s->at);
	if (err < 0 || pages * IMAGE_PAGE != slot->h.data)
		return refuse(r, -EBADMSG, "the section at byte %" PRIu64 " has malformed runs of pages", s->at);
	r->n_pages++;
	return slot->h.data ? find_data(r, slot) : 0;
}

static int remember(struct image_reader *r, const struct section_header *h, uint64_t at)
{
	if (r->n_seen == r->seen_room) {
		size_t room = r->seen_room ? r->seen_room * 2 : 64;
		struct index_entry *more = reallocarray(r->seen, room, sizeof(*more));
		if (!more)
			return no_memory(r);
		r->seen = more;
		r->seen_room = room;
	}
	r->seen[r->n_seen++] = section_entry(h, at);
	return 0;
}

static int get_section(struct image_reader *r, struct slot *slot)
{
	struct section *s = &slot->section;
	const struct section_header *h = &slot->h;
	struct buffer *b = h->type == SECTION_PAGES ? &slot->runs : &r->payload;
	int err = check_section(r, h, s->at);

	if (err < 0)
		return err;
	err = get_grown(r, b, h->len, "a section");
	if (err < 0)
		return err;
	XXH3_64bits_update(r->meta, b->at, h->len);
	if (XXH3_64bits(b->at, h->len) != h->payload_hash)
		return refuse(r, -EBADMSG, "the section at byte %" PRIu64 " does not match its checksum", s->at);
	err = get_padding(r, section_padding(h, r->pos), s->at);
	if (err < 0)
		return err;
	err = remember(r, h, s->at);
	if (err < 0)
		return err;
	if (h->type == SECTION_PAGES)
		return get_pages(r, slot);
	s->payload = h->len ? r->payload.at : "";
	s->len = h->len;
	return 0;
}

static int read_section(struct image_reader *r, struct slot *s)
{
	struct section_header *h = &s->h;
	uint64_t at = r->pos;
	int err = get_meta(r, h, sizeof(*h), "the header of a section");

	if (err < 0)
		return err;
	if (block_hash(h) != h->hash)
		return refuse(
			r, -EBADMSG, "the header of the section at byte %" PRIu64 " does not match its checksum", at);
	if (r->is_file && (at == r->index) != (h->type == SECTION_INDEX))
		return refuse(
			r, -EBADMSG, "the section at byte %" PRIu64 " is not where the end says that the index is", at);
	if (h->type == SECTION_INDEX)
		return finish(r, h, at);
	if (h->type != SECTION_OBJECT && h->type != SECTION_PAGES)
		return unknown_type(r, at, h->type);
	s->section = (struct section){ .type = h->type, .tag = h->tag, .id = h->id, .at = at };
	err = get_section(r, s);
	return err < 0 ? err : 1;
}

/* ---- work ---- */

/* no slot is used */
static void start_work(struct image_reader *r)
{
	unsigned int threads = pool_cpus() - 1;

	if (!(r->head.flags & IMAGE_PACKED) && threads > RAW_MOST)
		threads = RAW_MOST;
	r->n_threads = pool_start(&r->pool, threads);
	r->first = 0;
	if (r->n_threads)
		r->n_slots = r->n_threads + 3; /* who waits has one too, and some wait for the next who has time */
}

static void stop_work(struct image_reader *r)
{
	pool_stop(r->pool);
	r->pool = NULL;
}

/* The page data that was sent first is where it belongs, or that is the end. */
static int reap_first(struct image_reader *r)
{
	struct slot *s = &r->slots[r->first];

	pool_wait(r->pool, &s->work);
	/* memory that the program may not write to may be open to the thread that traces it alone (proc_mem.force_override, in v6.12) */
	if ((s->err == -EIO || s->err == -EFAULT) && s->fault == FAULT_SINK && s->sink->again)
		slot_do(&s->work, 0);
	int err = slot_result(r, s);
	r->first = (r->first + 1) % r->n_slots;
	r->n_used--;
	if (err < 0) {
		stop_work(r);
		r->n_used = 0;
		r->result = err;
	}
	return err;
}

void image_rest(struct image_reader *r)
{
	r->n_pages = 0;
	if (!r->pool)
		return;
	stop_work(r);
	r->first = r->given ? (size_t)(r->given - r->slots) : 0;
	r->n_slots = 1;
}

int image_wait(struct image_reader *r)
{
	while (r->n_used)
		reap_first(r);
	return r->result < 0 ? r->result : 0;
}

struct image_sink *image_failed_sink(const struct image_reader *r)
{
	return r->failed;
}

int image_send(struct image_reader *r, struct image_sink *sink)
{
	struct slot *s = r->given;

	r->given = NULL;
	if (r->result != 1)
		return r->result;
	s->sink = sink;
	s->work.run = slot_do;
	s->work.done = true;
	s->err = 0;
	r->n_used++;
	if (s->h.data)
		pool_put(r->pool, &s->work);
	return r->pool ? 0 : reap_first(r);
}

int image_next(struct image_reader *r, struct section *ret)
{
	if (r->given)
		image_send(r, NULL);
	if (r->result == 1 && r->n_pages == IMAGE_ALONE && r->n_slots == 1)
		start_work(r);
	if (r->n_used == r->n_slots)
		reap_first(r);
	if (r->result != 1)
		return r->result;
	struct slot *s = &r->slots[(r->first + r->n_used) % r->n_slots];
	int result = read_section(r, s);
	if (result != 1 && image_wait(r) == 0) { /* what came before is told before */
		stop_work(r);
		r->result = result;
	}
	if (r->result != 1)
		return r->result;
	if (s->section.type == SECTION_PAGES)
		r->given = s;
	*ret = s->section;
	return 1;
}

/* ---- the door ---- */

static int begin(struct image_reader *r)
{
	struct stat st;

	r->meta = XXH3_createState();
	if (!r->meta)
		return no_memory(r);
	XXH3_64bits_reset(r->meta);
	if (fstat(r->fd, &st) < 0)
		return refuse(r, -errno, "the image cannot be looked at");
	r->is_file = S_ISREG(st.st_mode);
	r->size = (uint64_t)st.st_size;
	int err = read_header(r);
	return err < 0 || !r->is_file ? err : verify_file(r);
}

int image_open(struct image_reader **ret, int fd, const volatile sig_atomic_t *cancel)
{
	struct image_reader *r = calloc(1, sizeof(*r));

	*ret = r;
	if (!r)
		return -ENOMEM;
	r->fd = fd;
	r->cancel = cancel;
	r->n_slots = 1;
	int err = begin(r);
	r->result = err < 0 ? err : 1;
	return err;
}

const char *image_problem(const struct image_reader *r)
{
	return r ? r->problem : "there is no memory to read the image";
}

const struct image_header *image_head(const struct image_reader *r)
{
	return &r->head;
}

void image_close(struct image_reader *r)
{
	if (!r)
		return;
	stop_work(r);
	for (size_t i = 0; i < SLOTS_MOST; i++) {
		free(r->slots[i].data);
		free(r->slots[i].packed);
		free(r->slots[i].runs.at);
	}
	unpackers_done(&r->unpackers);
	XXH3_freeState(r->meta);
	free(r->payload.at);
	free(r->seen);
	free(r);
}
