/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes what a restart does before it makes the first process: images with right hashes and senseless content. Each is
 * also shown. Whatever it holds, a refusal says why, and does not blame the host.
 */
#include <errno.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/given.h"
#include "base/cleanup.h"
#include "core/rebuild.h"
#include "family.h"
#include "fuzz.h"

#define PAGES_MAX 8 /* with data, in one section */

static void must(bool claim)
{
	if (!claim)
		abort();
}

/* ---- from items to an image ---- */

/* runs that the writer refuses are left out; the data are always the same */
static void put_pages(struct image_writer *w, uint64_t id, const uint8_t *data, size_t len)
{
	struct page_run runs[PAGES_MAX] = { 0 };
	size_t n = len / sizeof(*runs) < PAGES_MAX ? len / sizeof(*runs) : PAGES_MAX;
	static char room[PAGES_MAX * IMAGE_PAGE];
	uint64_t pages = 0, end = 0;

	if (n)
		memcpy(runs, data, n * sizeof(*runs));
	for (size_t i = 0; i < n; i++) {
		uint64_t bytes = (uint64_t)runs[i].pages * IMAGE_PAGE;

		pages += runs[i].kind == RUN_DATA ? runs[i].pages : 0;
		if (runs[i].at % IMAGE_PAGE || runs[i].at < end || !bytes || runs[i].at + bytes < bytes ||
			pages > PAGES_MAX || (runs[i].kind != RUN_DATA && runs[i].kind != RUN_INHERIT))
			return;
		end = runs[i].at + bytes;
	}
	if (!n)
		return;
	memset(room, 0x5a, sizeof(room));
	must(given_put(w, id, room, runs, n) == 0);
}

static void make_image(int fd, const uint8_t *data, size_t size)
{
	struct image_writer *w;
	struct item item;

	must(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0 && image_create(&w, NULL, fd, 0, NULL) == 0);
	for (size_t at = 0; size - at >= sizeof(item); at += item.len) {
		memcpy(&item, data + at, sizeof(item));
		at += sizeof(item);
		if (item.len > size - at)
			break;
		if (item.tag == ITEM_PAGES)
			put_pages(w, item.id, data + at, item.len);
		else
			must(image_put(w, item.tag, item.id, data + at, item.len) == 0);
	}
	must(image_commit(w, NULL) == 0);
}

/* ---- trying it ---- */

/* which the story of a failure must not be: the host has to do with it only where files or memory are asked for */
static void judge(const struct op *op, bool asked)
{
	enum outcome o = op_outcome(op);

	must(op->err < 0 && op->story && *op->story);
	if (asked && (o == OUTCOME_PERMISSION || op->err == -ENOMEM))
		return;
	must(o == OUTCOME_IMAGE || o == OUTCOME_CANNOT);
}

/* one of each kind, and what is not the record of the thread alone is a copy */
static void check_pieces(const struct patient *p, size_t n)
{
	const struct thread_record *t = p->rec->threads.at;
	const struct piece *own = p->thread_parts[n].at;

	for (size_t i = 0; i < p->thread_parts[n].n; i++) {
		must(own[i].object->last == p && own[i].kind->scope == SCOPE_THREAD);
		must((own[i].rec == own[i].object->rec) == (i < t[n].parts.n));
		must(i < t[n].parts.n || (t[n].like && own[i].kind->common));
		for (size_t k = 0; k < i; k++)
			must(own[k].kind != own[i].kind);
	}
}

/* whatever the records say: parents come first, and what is a process's own is no other's but that of who shares it */
static void check_family(const struct restart *r)
{
	struct patient **p = r->patients.at;

	for (size_t i = 0; i < r->patients.n; i++) {
		bool is_known = !p[i]->parent;

		for (size_t k = 0; k < i; k++) {
			is_known |= p[i]->parent == p[k];
			must(p[i]->rec->pid != p[k]->rec->pid);
			must(!p[i]->mm || p[i]->mm != p[k]->mm || p[i]->shares & CLONE_VM);
			must(!p[i]->fdtable || p[i]->fdtable != p[k]->fdtable || p[i]->shares & CLONE_FILES);
		}
		must(is_known);
		for (size_t k = 0; p[i]->thread_parts && k < p[i]->rec->threads.n; k++)
			check_pieces(p[i], k);
	}
}

/* the page data, as a restart takes them process by process */
static int check_sections(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = take_shared_pages(r);

	for (size_t i = 0; i < r->patients.n && e == 0; i++)
		while (!r->at_end && p[i]->mm && r->section.type == SECTION_PAGES && r->section.id == p[i]->rec->mm &&
			e == 0) {
			e = check_pages(r, p[i], &r->section);
			if (e == 0)
				e = load_next(r);
		}
	return e;
}

/* what is made in its places in the stash is nothing here that others could see */
static void make_nothing(struct restart *r)
{
	const struct object *o = r->objects.at;

	for (size_t i = 0; i < r->objects.n; i++)
		if (o[i].kind && o[i].kind->make)
			must(mmap((void *)o[i].stash, o[i].stash_end - o[i].stash, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED);
}

/* the calls that would make the mappings: nobody makes them */
static int plan_mappings(struct restart *r)
{
	struct patient **p = r->patients.at;
	struct room room = { .mem = -EBADF };
	struct held nobody = { 0 };
	struct batch b;

	for (size_t i = 0; i < r->patients.n; i++) {
		const struct vma *v = p[i]->mm ? p[i]->mm->vmas.at : NULL;

		for (size_t k = 0; v && k < p[i]->mm->vmas.n; k++) {
			const struct kind *kind = kind_by_tag(v[k].tag);
			struct object *o = v[k].backing ? find_object(r, v[k].backing) : NULL;

			batch_init(&b, &r->op->arena, &room, &nobody);
			int e = kind->moves ? 0 : kind->map(r->op, &v[k], o ? o->rec : NULL, o ? o->fd : -EBADF, &b);
			if (e < 0)
				return e;
		}
	}
	return 0;
}

static void rehearse(int fd)
{
	struct op op;

	op_init(&op, "restart");
	struct restart r = { .op = &op, .nest = { .socket = -EBADF } };
	r.site.slots = &r.slots;
	must(image_open(&r.image, fd, NULL) == 0);
	int e = load_objects(&r);
	if (e == 0)
		e = gather_family(&r);
	if (e == 0)
		check_family(&r);
	if (e == 0)
		e = choose_zone(&r);
	if (e < 0)
		judge(&op, false);
	if (e == 0) {
		e = restore_backings(&r);
		if (e == 0)
			make_nothing(&r);
		if (e == 0)
			e = plan_mappings(&r);
		if (e == 0)
			e = check_sections(&r);
		if (e < 0)
			judge(&op, true);
	}
	struct object *o = r.objects.at;
	for (size_t i = 0; i < r.objects.n; i++)
		if (o[i].fd >= 0)
			fd_close(o[i].fd);
	if (r.zone)
		munmap((void *)r.zone, r.zone_end - r.zone);
	image_close(r.image);
	op_done(&op);
}

static void show(int fd, bool json)
{
	static FILE *out;
	struct stasis_report report = { 0 };

	if (!out)
		out = fopen("/dev/null", "we");
	must(out != NULL);
	int status = stasis_show(fd, json, out, &report);
	must(status == 0 || status == OUTCOME_IMAGE);
	stasis_report_done(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("image", MFD_CLOEXEC);
	make_image(fd, data, size);
	rehearse(fd);
	show(fd, size & 1);
	return 0;
}
