/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The zone: a piece of address space that no process of the image uses, and we do not either. The stub's room and the
 * shared memory lie in it; all tasks inherit it from us at the same address, and give it up last.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "kinds/rights.h"

#include <fcntl.h>

#define MARGIN (1ull << 30) /* stacks grow, and mmap_min_addr is near 0 */

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct used {
	uint64_t start, end;
};

static void add_used(struct restart *r, struct span *s, uint64_t start, uint64_t end)
{
	struct used *u = span_push(&r->op->arena, s, sizeof(*u));

	*u = (struct used){ start, end };
}

static int by_start(const void *a, const void *b)
{
	const struct used *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static bool in_stash(const struct kind *k)
{
	return k->backing_has_pages && !k->fill;
}

static uint64_t align_of(const struct object *o)
{
	return o->kind && o->kind->align ? o->kind->align(o->rec) : IMAGE_PAGE;
}

/* shared memory knows its size only as a record of its kind: its kind or the mappings tell how much is reached */
static uint64_t stash_size(struct restart *r)
{
	struct patient **p = r->patients.at;
	const struct object *all = r->objects.at;
	uint64_t total = 0;

	for (size_t i = 0; i < r->objects.n && total <= TASK_END; i++) {
		uint64_t room = all[i].kind && all[i].kind->room ? all[i].kind->room(all[i].rec) : 0;

		room += room ? align_of(&all[i]) : 0;
		total += room < TASK_END ? room : TASK_END + 1;
	}
	for (size_t i = 0; i < r->patients.n; i++) {
		const struct vma *v = p[i]->mm ? p[i]->mm->vmas.at : NULL;

		for (size_t k = 0; v && k < p[i]->mm->vmas.n; k++) {
			struct object *o = v[k].backing ? find_object(r, v[k].backing) : NULL;
			uint64_t end = v[k].pgoff + (v[k].end - v[k].start);

			if (o && in_stash(o->kind) && !o->kind->room && end > o->stash && total <= TASK_END) {
				total += end - o->stash; /* no more than INT64_MAX: check_mm() has seen to that */
				o->stash = end; /* for now: the largest end seen */
			}
		}
	}
	return total;
}

static int look_here(struct restart *r, struct span *ret)
{
	_cleanup_close_ int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int e = self < 0 ? -errno : proc_read_maps(&r->op->arena, self, false, ret);

	return e < 0 ? fail(r->op, e, "read the memory map of stasis itself") : 0;
}

static uint64_t widest_gap(struct span *used, uint64_t need)
{
	const struct used *u = used->at;
	uint64_t at = 0, best = 0, width = 0;

	qsort(used->at, used->n, sizeof(*u), by_start);
	for (size_t i = 0; i <= used->n; i++) {
		uint64_t next = i < used->n && u[i].start < TASK_END ? u[i].start : TASK_END;

		if (next > at && next - at > width) {
			width = next - at;
			best = at + width / 2;
		}
		if (i < used->n && u[i].end > at)
			at = u[i].end;
	}
	return width / 2 > need + MARGIN ? best & ~((2ull << 20) - 1) : 0;
}

/* a power of two, so that threads of one process that are on their way together never have the same: see room_of() */
static size_t count_rooms(struct restart *r)
{
	struct patient **p = r->patients.at;
	size_t rooms = 1;

	for (size_t i = 0; i < r->patients.n; i++)
		while (rooms < ROOMS && rooms < p[i]->rec->threads.n)
			rooms *= 2;
	return rooms;
}

int choose_zone(struct restart *r)
{
	struct patient **p = r->patients.at;
	struct span used = { 0 }, maps = { 0 };
	r->rooms = count_rooms(r);
	uint64_t stash = stash_size(r), rooms = ROOM_CODE + r->rooms * ROOM_DATA, need = rooms + ROOM_SPARE + stash;
	int e = look_here(r, &maps);

	if (e < 0)
		return e;
	const struct proc_vma *own = maps.at;
	for (size_t i = 0; i < maps.n; i++)
		add_used(r, &used, own[i].start, own[i].end);
	for (size_t i = 0; i < r->patients.n; i++) {
		const struct vma *v = p[i]->mm ? p[i]->mm->vmas.at : NULL;

		for (size_t k = 0; v && k < p[i]->mm->vmas.n; k++)
			add_used(r, &used, v[k].start, v[k].end);
	}
	r->zone = stash > TASK_END ? 0 : widest_gap(&used, need);
	if (!r->zone)
		return fail_as(r->op, OUTCOME_CANNOT, "address-space", NULL,
			"find %lu bytes of address space that the program leaves free", (unsigned long)need);
	r->zone_end = r->zone + need;
	r->spare = r->zone + rooms;
	r->site.stash.at = r->spare + ROOM_SPARE;
	r->site.stash_end.at = r->zone_end;

	unsigned char *code = mmap((void *)r->zone, rooms, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
	if (code == MAP_FAILED)
		return fail(r->op, -errno, "make a room for the stub");
	memcpy(code, stub_begin, (size_t)(stub_end - stub_begin));
	if (mprotect(code, ROOM_CODE, PROT_READ | PROT_EXEC) < 0)
		return fail(r->op, -errno, "make the stub executable");
	find_specials(r, &maps);
	return 0;
}

int restore_backings(struct restart *r)
{
	struct object *o = r->objects.at;
	const struct kind *last = NULL;

	for (size_t i = 0; i < r->objects.n; i++) {
		if (!o[i].kind || o[i].kind->scope != SCOPE_MEM)
			continue;
		int e = o[i].kind == last ? 0 : rights_give_back(r->op, &r->site);
		if (e < 0)
			return e;
		last = o[i].kind;
		const uint64_t mask = align_of(&o[i]) - 1;
		r->site.stash.at = (r->site.stash.at + mask) & ~mask;
		o[i].stash = r->site.stash.at;
		r->site.owners = o[i].owners;
		e = o[i].kind->restore(r->op, o[i].rec, &r->site);
		if (e < 0)
			return e;
		o[i].stash_end = r->site.stash.at;
		if (!in_stash(o[i].kind) && !o[i].kind->moves)
			o[i].fd = e;
		o[i].restored = true;
	}
	return rights_give_back(r->op, &r->site);
}

int make_backings(struct restart *r)
{
	struct object *o = r->objects.at;
	int e = 0;

	for (size_t i = 0; i < r->objects.n && e == 0; i++) {
		const struct kind *k = o[i].kind;

		if (!k || !k->make)
			continue;
		int result = r->crowded ? nest_call(&r->nest, k->make, o[i].rec) : k->make(o[i].rec);
		e = k->made(r->op, o[i].rec, &r->site, result);
	}
	return e;
}

void keep_backings(struct restart *r)
{
	struct object *o = r->objects.at;

	for (size_t i = 0; i < r->objects.n; i++)
		if (o[i].kind && o[i].kind->keep)
			o[i].kind->keep(o[i].rec);
}

static int unmap_zone(void *data)
{
	const struct restart *r = data;

	return munmap((void *)r->zone, r->zone_end - r->zone) < 0 ? -errno : 0;
}

int leave_zone(struct restart *r)
{
	int e = nest_call(&r->nest, unmap_zone, r);

	return e < 0 ? fail(r->op, e, "have the init of the pid namespace give up shared memory") : 0;
}
