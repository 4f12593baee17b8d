/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing an image, front to back, to a file that has no name until it is complete, or to a stream.
 *
 * Small things are gathered in a buffer. Page data goes through a buffer of one chunk, whose hash is taken while it is
 * in the cache, into space that was allocated ahead. Measured with 1 GiB from the memory of another process (Linux 6.18,
 * 2 cores, medians, without the fsync): ext4 377 ms so, 497 ms without allocating ahead, 610 ms (windows of 64 MiB) to
 * 1429 ms (of 1 MiB) copying once, straight into a shared mapping of the allocated file; tmpfs 638, 656, 986 and 1014 ms.
 * In tmpfs nothing is allocated any more: it makes no difference for a large image, and takes 15 ms of one of 32 MiB.
 * The page faults of the mapping cost more than the copy; and no write to a mapping can end in SIGBUS on a full disk.
 *
 * The disk begins with the fsync(2), when the program runs again, or at once (image_hurry): 1 GiB to ext4 took 470 and
 * 340 ms so, for 200 and 310 ms of which the pages were being read. O_DIRECT is no faster than that to the end, and the image
 * is not in the page cache when it is wanted again soon. RWF_DONTCACHE (v6.14) is as the disk that begins at once: a copy of
 * 1 GiB took 288 ms, and 289 to the end; in the page cache 210 and 465 ms; by O_DIRECT 500 ms.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/io.h"
#include "image/format.h"
#include "image/lines.h"
#include "image/name.h"
#include "image/pack.h"

#define GATHER	   ((size_t)64 << 10)
#define HURRY_STEP ((uint64_t)8 << 20)
#define AHEAD_MOST ((uint64_t)64 << 20) /* bytes of a file allocated at once */

#define ALONE	   2 /* so many PAGES sections are made without threads: to make these would take longer */
#define RAW_MOST   3 /* threads for data that is not compressed: one that writes has no use for more */
#define SLOTS_MOST (POOL_MOST + 3)

/* struct slot - a PAGES section in the making: by whichever thread has time up to here, and then written in its turn */
struct slot {
	struct work work;
	struct image_writer *w;
	struct image_source *source;
	struct section_header h;
	struct image_room room;
	void *packed;
	int err;
	bool not_fetched; /* err is the source's */
};

struct image_writer {
	int fd;
	int level;
	bool is_file;
	const volatile sig_atomic_t *cancel;
	int err; /* the first one; nothing is written after it */
	struct image_name name;
	uint64_t pos; /* bytes so far, with those gathered */
	uint64_t flushed; /* bytes that the kernel has */
	bool hurry;
	uint64_t begun; /* hurry: bytes that are on their way to the disk */
	uint64_t ahead; /* bytes of the file that are allocated; UINT64_MAX: it is not done here */
	XXH3_state_t *meta;
	struct image_header head;
	struct pool *pool;
	struct packers packers;
	struct slot slots[SLOTS_MOST]; /* used one after the other, round and round */
	size_t n_slots, first, n_used; /* that may be used at once; the first that is used; how many are */
	uint64_t n_pages; /* PAGES sections begun */
	uint64_t data; /* bytes of page data in those that are written */
	struct image_source *failed;
	struct index_entry *index;
	size_t n_index, index_room;
	char gather[GATHER];
};

/* ---- bytes ---- */

static int write_out(struct image_writer *w, const void *data, size_t len)
{
	if (len == 0)
		return 0;
	int err = w->is_file ? pwrite_all(w->fd, data, len, (off_t)w->flushed)
			     : write_stream(w->fd, data, len, w->cancel);
	if (err < 0)
		return w->err = err;
	w->flushed += len;
	return 0;
}

static int flush(struct image_writer *w)
{
	return write_out(w, w->gather, w->pos - w->flushed);
}

/* Append anything but page data. */
static int put_meta(struct image_writer *w, const void *data, size_t len)
{
	size_t gathered = w->pos - w->flushed;
	int err = 0;

	if (len)
		XXH3_64bits_update(w->meta, data, len);
	if (len > GATHER - gathered) {
		err = flush(w);
		gathered = 0;
	}
	if (err < 0)
		return err;
	w->pos += len;
	if (len > GATHER)
		return write_out(w, data, len);
	if (len)
		memcpy(w->gather + gathered, data, len);
	return 0;
}

/*
 * Allocate the file for len more bytes and for as much again as there is, so that a small image takes little for a while.
 * Where that cannot be, for whatever reason, it is left: the write says what is wrong, if anything is.
 */
static void allocate_ahead(struct image_writer *w, size_t len)
{
	uint64_t more = w->flushed < AHEAD_MOST ? w->flushed : AHEAD_MOST;

	if (!w->is_file || w->ahead >= w->flushed + len)
		return;
	if (more < len)
		more = len;
	if (fallocate(w->fd, 0, (off_t)w->flushed, (off_t)more) < 0)
		w->ahead = UINT64_MAX;
	else
		w->ahead = w->flushed + more;
}

static int put_data(struct image_writer *w, const void *data, size_t len)
{
	int err = flush(w);

	if (err < 0)
		return err;
	w->pos += len;
	allocate_ahead(w, len);
	err = write_out(w, data, len);
	if (err == 0 && w->hurry && w->flushed - w->begun >= HURRY_STEP) {
		/* a hint: where it is of no use or goes wrong, fsync(2) does all and tells */
		sync_file_range(w->fd, (off_t)w->begun, (off_t)(w->flushed - w->begun), SYNC_FILE_RANGE_WRITE);
		w->begun = w->flushed;
	}
	return err;
}

void image_hurry(struct image_writer *w)
{
	w->hurry = w->is_file;
}

/* ---- sections ---- */

static int remember(struct image_writer *w, const struct section_header *h)
{
	if (w->n_index == w->index_room) {
		size_t room = w->index_room ? w->index_room * 2 : 256;
		struct index_entry *more = reallocarray(w->index, room, sizeof(*more));
		if (!more)
			return w->err = -ENOMEM;
		w->index = more;
		w->index_room = room;
	}
	w->index[w->n_index++] = section_entry(h, w->pos);
	return 0;
}

static int put_zeros(struct image_writer *w, size_t len)
{
	static const char zeros[IMAGE_PAGE];

	return put_meta(w, zeros, len);
}

/* All of a section but its page data. */
static int put_section(struct image_writer *w, struct section_header *h, const void *payload)
{
	h->payload_hash = XXH3_64bits(payload, h->len);
	h->hash = block_hash(h);
	int err = h->type == SECTION_INDEX ? 0 : remember(w, h);
	if (err < 0)
		return err;
	err = put_meta(w, h, sizeof(*h));
	if (err < 0)
		return err;
	err = put_meta(w, payload, h->len);
	if (err < 0)
		return err;
	return put_zeros(w, section_padding(h, w->pos));
}

/* ---- page data ---- */

static int slot_hash(struct slot *s, unsigned int worker)
{
	struct section_header *h = &s->h;
	const void *stored = s->room.data;
	uint64_t pages;

	if (runs_check(s->room.runs, s->room.n_runs, &pages) < 0)
		return -EINVAL;
	h->len = s->room.n_runs * sizeof(*s->room.runs);
	h->data = pages * IMAGE_PAGE;
	if (h->data && s->w->level)
		h->packed = pack(&s->w->packers, worker, s->w->level, s->room.data, h->data, s->packed);
	else if (h->data)
		h->packed = lines_pack(s->room.data, h->data, s->packed);
	if (h->packed)
		stored = s->packed;
	if (h->data)
		h->data_hash = XXH3_64bits(stored, section_stored(h));
	return 0;
}

/* by any thread */
static void slot_make(struct work *work, unsigned int worker)
{
	struct slot *s = (struct slot *)work;

	s->room.n_runs = 0;
	s->err = s->source->fetch(s->source, &s->room);
	s->not_fetched = s->err < 0;
	if (s->err == 0 && s->room.n_runs)
		s->err = slot_hash(s, worker);
}

static int slot_write(struct image_writer *w, struct slot *s)
{
	if (s->not_fetched)
		w->failed = s->source;
	if (s->err < 0)
		return w->err = s->err;
	if (!s->room.n_runs)
		return 0;
	int err = put_section(w, &s->h, s->room.runs);
	if (err == 0 && s->h.data)
		err = put_data(w, s->h.packed ? s->packed : s->room.data, section_stored(&s->h));
	w->data += s->h.data;
	return err < 0 ? err : put_zeros(w, section_tail(&s->h));
}

static void stop_work(struct image_writer *w)
{
	pool_stop(w->pool);
	w->pool = NULL;
	w->n_used = 0;
}

static int write_first(struct image_writer *w)
{
	struct slot *s = &w->slots[w->first];

	pool_wait(w->pool, &s->work);
	/* memory that the program may not read may be open to the thread that traces it alone (proc_mem.force_override, in v6.12) */
	if (s->not_fetched && (s->err == -EIO || s->err == -EFAULT))
		slot_make(&s->work, 0);
	int err = slot_write(w, s);
	w->first = (w->first + 1) % w->n_slots;
	w->n_used--;
	if (err < 0)
		stop_work(w);
	return err;
}

/* no slot is used */
static void start_work(struct image_writer *w)
{
	unsigned int threads = pool_cpus() - 1;

	if (!w->level && threads > RAW_MOST)
		threads = RAW_MOST;
	threads = pool_start(&w->pool, threads);
	w->first = 0;
	if (threads)
		w->n_slots = threads + 3; /* one that is written, and some that are ready */
}

static int slot_init(struct image_writer *w, struct slot *s)
{
	s->w = w;
	s->work.run = slot_make;
	s->h = (struct section_header){ .type = SECTION_PAGES };
	if (!s->room.data)
		s->room.data = aligned_alloc(IMAGE_PAGE, CHUNK_BYTES);
	if (!s->room.runs)
		s->room.runs = malloc(IMAGE_CHUNK_RUNS * sizeof(struct page_run));
	if (!s->packed)
		s->packed = malloc(CHUNK_BYTES);
	return s->room.data && s->room.runs && s->packed ? 0 : (w->err = -ENOMEM);
}

int image_pages(struct image_writer *w, uint64_t id, struct image_source *source)
{
	if (w->err)
		return w->err;
	if (w->n_pages++ == ALONE)
		start_work(w);
	if (w->n_used == w->n_slots && write_first(w) < 0)
		return w->err;
	struct slot *s = &w->slots[(w->first + w->n_used) % w->n_slots];
	if (slot_init(w, s) < 0) {
		stop_work(w);
		return w->err;
	}
	s->h.id = id;
	s->source = source;
	w->n_used++;
	pool_put(w->pool, &s->work);
	return w->pool ? 0 : write_first(w);
}

int image_pages_wait(struct image_writer *w)
{
	while (!w->err && w->n_used)
		write_first(w);
	return w->err;
}

struct image_source *image_failed(const struct image_writer *w)
{
	return w->failed;
}

uint64_t image_pages_written(const struct image_writer *w)
{
	return w->data;
}

/* ---- objects ---- */

int image_put(struct image_writer *w, uint32_t tag, uint64_t id, const void *payload, size_t len)
{
	struct section_header h = { .type = SECTION_OBJECT, .tag = tag, .id = id, .len = len };

	if (image_pages_wait(w) < 0)
		return w->err;
	if (len > IMAGE_OBJECT_MAX)
		return w->err = -E2BIG;
	return put_section(w, &h, payload);
}

uint64_t image_written(const struct image_writer *w)
{
	return w->pos;
}

const uint8_t *image_writer_id(const struct image_writer *w)
{
	return w->head.image_id;
}

/* ---- beginning and end ---- */

static int put_header(struct image_writer *w)
{
	struct image_header *h = &w->head;

	memcpy(h->magic, IMAGE_MAGIC, sizeof(h->magic));
	h->version = IMAGE_VERSION;
	h->flags = w->level ? IMAGE_PACKED : IMAGE_LINES;
	if (getrandom(h->image_id, sizeof(h->image_id), 0) != sizeof(h->image_id))
		return -EIO;
	h->hash = block_hash(h);
	return put_meta(w, h, sizeof(*h));
}

/* what is allocated ahead there are pages, half of which may go back in the end, and nothing has to lie together */
static bool is_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == TMPFS_MAGIC;
}

static int begin(struct image_writer *w, const char *path, int fd)
{
	w->fd = fd;
	w->meta = XXH3_createState();
	if (!w->meta)
		return -ENOMEM;
	XXH3_64bits_reset(w->meta);
	if (path) {
		int r = name_begin(&w->name, path);
		if (r < 0)
			return r;
		w->fd = r;
		w->is_file = true;
		w->ahead = is_memory(w->fd) ? UINT64_MAX : 0;
	}
	return put_header(w);
}

int image_create(struct image_writer **ret, const char *path, int fd, int level, const volatile sig_atomic_t *cancel)
{
	struct image_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->name = NAME_NONE;
	w->level = level;
	w->cancel = cancel;
	w->n_slots = 1;
	int err = begin(w, path, fd);
	if (err < 0) {
		image_abort(w);
		return err;
	}
	*ret = w;
	return 0;
}

static int put_end(struct image_writer *w)
{
	struct section_header h = { .type = SECTION_INDEX, .len = w->n_index * sizeof(*w->index) };
	struct image_end end = { .index = w->pos, .sections = w->n_index };
	int err = put_section(w, &h, w->index);

	if (err < 0)
		return err;
	memcpy(end.magic, IMAGE_END_MAGIC, sizeof(end.magic));
	memcpy(end.image_id, w->head.image_id, sizeof(end.image_id));
	end.size = w->pos + sizeof(end);
	end.meta_hash = XXH3_64bits_digest(w->meta);
	end.hash = block_hash(&end);
	err = put_meta(w, &end, sizeof(end));
	if (err == 0)
		err = flush(w);
	/* give back what was allocated ahead, where an attempt that failed may have left it behind the end too */
	if (err == 0 && w->ahead && ftruncate(w->fd, (off_t)w->pos) < 0)
		err = -errno;
	return err;
}

static void writer_free(struct image_writer *w)
{
	stop_work(w);
	for (size_t i = 0; i < SLOTS_MOST; i++) {
		free(w->slots[i].room.data);
		free(w->slots[i].room.runs);
		free(w->slots[i].packed);
	}
	packers_done(&w->packers);
	XXH3_freeState(w->meta);
	free(w->index);
	free(w);
}

int image_commit(struct image_writer *w, uint64_t *ret_size)
{
	int err = image_pages_wait(w) < 0 ? w->err : put_end(w);

	if (err < 0) {
		image_abort(w);
		return err;
	}
	uint64_t size = w->pos;
	if (w->is_file)
		err = name_commit(&w->name);
	writer_free(w);
	if (err == 0 && ret_size)
		*ret_size = size;
	return err;
}

void image_abort(struct image_writer *w)
{
	if (!w)
		return;
	name_abort(&w->name);
	writer_free(w);
}
