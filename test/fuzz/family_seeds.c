/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * family_seeds FILE... - write a different small program to each FILE, as items for the harness `family`
 *
 * Records of kinds are filled by their tables alone: with small numbers, which a restart takes before it makes a process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "core/records.h"
#include "family.h"
#include "image/image.h"

struct seed {
	struct arena arena;
	struct span objects, pages; /* of bytes: items */
	uint32_t next_id;
};

static void add_bytes(struct arena *a, struct span *s, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*(char *)span_push(a, s, 1) = ((const char *)data)[i];
}

static void add_item(struct seed *s, uint32_t tag, uint64_t id, const void *payload, size_t len)
{
	struct span *to = tag == ITEM_PAGES ? &s->pages : &s->objects;
	struct item item = { tag, (uint32_t)id, (uint32_t)len };

	add_bytes(&s->arena, to, &item, sizeof(item));
	add_bytes(&s->arena, to, payload, len);
}

static void add_record(struct seed *s, uint32_t tag, uint32_t id, const struct field *fields, const void *rec)
{
	struct span wire = { 0 };

	record_encode(&s->arena, fields, rec, &wire);
	add_item(s, tag, id, wire.at, wire.n);
}

/* a record of any kind, without its struct */
static void sample(struct seed *s, const struct field *fields, char *rec)
{
	for (const struct field *f = fields; f->type != FIELD_END; f++) {
		uint64_t v = f->size == sizeof(v) ? IMAGE_PAGE : 1;
		const char *path = "/proc/self/exe";
		struct span array = { arena_alloc(&s->arena, 4096), f->type == FIELD_ARRAY ? 1 : 8 };

		if (f->type == FIELD_UINT || f->type == FIELD_INT)
			memcpy(rec + f->offset, &v, f->size);
		else if (f->type == FIELD_STRING)
			memcpy(rec + f->offset, &path, sizeof(path));
		else if (f->type == FIELD_BYTES || f->type == FIELD_ARRAY)
			memcpy(rec + f->offset, &array, sizeof(array));
		if (f->type == FIELD_ARRAY)
			sample(s, f->sub, array.at);
	}
}

static uint32_t add_kind(struct seed *s, const struct kind *k)
{
	char *rec = arena_alloc(&s->arena, k->size);

	sample(s, k->fields, rec);
	add_record(s, k->tag, ++s->next_id, k->fields, rec);
	return s->next_id;
}

/* @ended: only what a thread that has ended has still; @like: only what none has from another */
static struct span add_parts(struct seed *s, enum scope scope, bool ended, bool like)
{
	struct span parts = { 0 };

	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->scope == scope && (!ended || (*k)->outlives) && (!like || !(*k)->common))
			((struct ref *)span_push(&s->arena, &parts, sizeof(struct ref)))->id = add_kind(s, *k);
	return parts;
}

/* one mapping of each kind of memory, those that need no file at least; pages in the first */
static uint32_t add_memory(struct seed *s, bool child, bool files)
{
	struct mm_record mm = { 0 };
	uint64_t at = 0x400000;
	struct vma *v = span_push(&s->arena, &mm.vmas, sizeof(*v));

	*v = (struct vma){ .start = at, .end = at + 4 * IMAGE_PAGE, .prot = 3, .tag = 0x40 };
	for (const struct kind *const *k = kinds; *k; k++) {
		if ((*k)->scope != SCOPE_MEM || !(*k)->size || ((*k)->has_pages && !files))
			continue;
		at += 16 * IMAGE_PAGE;
		v = span_push(&s->arena, &mm.vmas, sizeof(*v));
		*v = (struct vma){ .start = at, .end = at + IMAGE_PAGE, .prot = 1, .tag = (*k)->tag };
		v->flags = (*k)->backing_has_pages ? VMA_SHARED : 0;
		v->backing = add_kind(s, *k);
		const struct page_run run = { 0, 1, RUN_DATA };
		if ((*k)->backing_has_pages)
			add_item(s, ITEM_PAGES, v->backing, &run, sizeof(run));
	}
	if (child)
		*(struct range *)span_push(&s->arena, &mm.inherit, sizeof(struct range)) =
			(struct range){ 0x400000, 2 };
	add_record(s, TAG_MM, ++s->next_id, mm_fields, &mm);
	return s->next_id;
}

static uint32_t add_descriptors(struct seed *s)
{
	struct fdtable_record t = { 0 };
	uint32_t n = 0;

	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->scope == SCOPE_FD) {
			*(struct fd_record *)span_push(&s->arena, &t.fds, sizeof(struct fd_record)) =
				(struct fd_record){ n, n & 1, add_kind(s, *k) };
			n++;
		}
	add_record(s, TAG_FDTABLE, ++s->next_id, fdtable_fields, &t);
	return s->next_id;
}

static void add_task(struct seed *s, int32_t pid, int32_t ppid, unsigned int threads, bool ended, bool files)
{
	struct task_record t = {
		.pid = pid, .ppid = ppid, .pgid = 100, .sid = 100, .comm = "seed", .exit_signal = SIGCHLD
	};

	for (unsigned int i = 0; i < threads; i++) {
		struct thread_record *thread = span_push(&s->arena, &t.threads, sizeof(*thread));

		thread->tid = pid + (int32_t)i;
		thread->like = i == 2 ? 1 : 0;
		thread->parts = add_parts(s, SCOPE_THREAD, ended && !i, thread->like);
	}
	if (threads) {
		t.flags = ended ? TASK_LEADER_GONE : 0;
		t.parts = add_parts(s, SCOPE_PROCESS, false, false);
		t.mm = add_memory(s, ppid != 0, files);
		t.fdtable = add_descriptors(s);
	} else {
		t.flags = TASK_ZOMBIE;
		t.exit_code = SIGKILL;
	}
	add_record(s, TAG_TASK, ++s->next_id, task_fields, &t);
	const struct page_run runs[] = { { 0x400000, 1, RUN_DATA }, { 0x402000, 1, RUN_DATA } };
	if (threads)
		add_item(s, ITEM_PAGES, t.mm, runs, sizeof(runs));
}

static int seed(int fd, unsigned int nth)
{
	struct seed s = { .next_id = 1 };
	const struct note_record note = { "here", "it is old" };
	struct head head = { .stasis = "0", .release = "6.1", .isa = ISA_NAME, .name = "seed", .processes = 1 };

	arena_init(&s.arena);
	head.notes = (struct span){ (void *)&note, 1 };
	add_record(&s, TAG_HEAD, 1, head_fields, &head);
	add_task(&s, 100, 0, 1 + nth % 3, nth == 5, nth == 4);
	if (nth & 1)
		add_task(&s, 110, 100, 1, false, false);
	if (nth & 2)
		add_task(&s, 120, 100, 0, false, false);
	int err = write_all(fd, s.objects.at, s.objects.n);
	if (err == 0)
		err = write_all(fd, s.pages.at, s.pages.n);
	arena_done(&s.arena);
	return err;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		_cleanup_close_ int fd = open(argv[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		int err = fd < 0 ? -errno : seed(fd, (unsigned int)i - 1);

		if (err < 0) {
			fprintf(stderr, "family_seeds: %s: %s\n", argv[i], strerror(-err));
			return 1;
		}
	}
	return 0;
}
