/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory before fork: each process gets its memory from the image, then clones its children, who so share with it what
 * they shared when they were saved; what differs is put right in the child.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/vma.h"

#define PAGE		IMAGE_PAGE
#define STOP_TIMEOUT_MS 10000
#define AHEAD		16 /* processes that are on their way at once */

/* ---- what a process keeps of the memory it was born with ---- */

struct keep {
	uint64_t start, end;
	const struct vma *vma; /* the child's */
	uint32_t prot; /* what the parent has */
	bool moved; /* one of those that every process has */
};

/* both lists are in order of address; what of it is not shared any more, or never was, is dropped: drop_pages() */
static void keep_alike(struct restart *r, struct patient *p, struct span *keeps)
{
	const struct vma *v = p->mm->vmas.at, *w = p->parent->mm->vmas.at;
	size_t n = p->mm->vmas.n, m = p->parent->mm->vmas.n;

	for (size_t i = 0, k = 0; i < n && k < m;) {
		uint64_t start = max_u64(v[i].start, w[k].start), end = min_u64(v[i].end, w[k].end);

		if (start < end && !kind_by_tag(v[i].tag)->moves && vma_alike(&v[i], &w[k]) &&
			!(v[i].flags & VMA_DROPPABLE)) { /* which fork(2) wipes as well */
			struct keep *keep = span_push(&r->op->arena, keeps, sizeof(*keep));
			*keep = (struct keep){ start, end, &v[i], w[k].prot, false };
		}
		if (v[i].end <= w[k].end)
			i++;
		else
			k++;
	}
}

static int by_place(const void *a, const void *b)
{
	const struct keep *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static struct batch *batch_of(struct restart *r, struct patient *p)
{
	batch_init(&p->batch, &r->op->arena, &p->room, &p->threads[0]);
	return &p->batch;
}

int batch_failed(struct restart *r, const struct batch *b, int e)
{
	if (b->failed != UINT32_MAX && (e == -EFAULT || e == -EBADF))
		return fail_as(r->op, OUTCOME_IMAGE, "image", NULL, "%s: %s", batch_what(b), strerror(-e));
	return fail(r->op, e, "%s", batch_what(b));
}

int run_batch(struct restart *r, struct patient *p, struct batch *b)
{
	int e = batch_run(b);

	return e < 0 ? batch_failed(r, b, e) : 0;
}

/* batches are large, but not endless */
static int flush(struct restart *r, struct patient *p, struct batch *b)
{
	return batch_has_room(b, 64, 4096) ? 0 : run_batch(r, p, b);
}

/* has it anything there, as far as is known? All but the zone it has from its parent, if it has one */
static bool is_taken(const struct patient *p, uint64_t start, uint64_t end)
{
	const struct mm_record *mm = p->parent ? p->parent->mm : NULL;
	size_t i = mm ? vma_above(mm, start) : 0;

	return !mm || (i < mm->vmas.n && ((const struct vma *)mm->vmas.at)[i].start < end);
}

static int unmap_others(struct restart *r, struct patient *p, struct batch *b, const struct span *keeps)
{
	const struct keep *k = keeps->at;
	uint64_t at = 0;
	int e = 0;

	for (size_t i = 0; i <= keeps->n && e == 0; i++) {
		uint64_t next = i < keeps->n ? k[i].start : TASK_END;

		if (next > at && is_taken(p, at, next))
			BATCH_MUST(b, "unmap memory that it does not need", SYS_munmap, at, next - at);
		if (i < keeps->n)
			at = k[i].end;
		e = flush(r, p, b);
	}
	return e;
}

static bool overlaps(const struct span *ranges, uint64_t start, uint64_t end)
{
	const struct range *in = ranges->at;
	size_t lo = 0, hi = ranges->n;

	while (lo < hi) { /* the first that ends above @start */
		size_t mid = lo + (hi - lo) / 2;

		if (in[mid].at + in[mid].pages * PAGE <= start)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < ranges->n && in[lo].at < end;
}

/* others of its pages are zeros, or as the file is */
static bool has_own(struct restart *r, const struct patient *p, uint64_t start, uint64_t end)
{
	const struct patient *first = find_object(r, p->rec->mm)->first;

	return first->own_unknown || overlaps(&first->own, start, end) || overlaps(&p->mm->inherit, start, end);
}

static void note_own(struct restart *r, struct patient *p, const struct section *s)
{
	struct range *last = p->own.n ? (struct range *)p->own.at + p->own.n - 1 : NULL;

	if (!p->children.n && has_own_memory(r, p))
		return;
	for (size_t i = 0; i < s->n_runs; i++) {
		const struct page_run *run = &s->runs[i];
		const uint64_t end = last ? last->at + last->pages * PAGE : 0;

		p->own_unknown |= run->at < end;
		if (last && run->at == end) {
			last->pages += run->pages;
			continue;
		}
		last = span_push(&r->op->arena, &p->own, sizeof(*last));
		*last = (struct range){ run->at, run->pages };
	}
}

/* what the parent has of its own in a kept piece, and the child has not: dropped, so that it reads as zeros or as the file */
static int drop_pages(struct restart *r, struct patient *p, struct batch *b, const struct keep *k, size_t *in)
{
	const struct range *range = p->mm->inherit.at;
	uint64_t at = k->start;
	int e = 0;

	while (at < k->end && e == 0) {
		while (*in < p->mm->inherit.n && range[*in].at + range[*in].pages * PAGE <= at)
			(*in)++;
		uint64_t next = *in < p->mm->inherit.n ? min_u64(max_u64(range[*in].at, at), k->end) : k->end;

		if (next > at && has_own(r, p->parent, at, next))
			BATCH_MUST(b, "drop pages of the parent", SYS_madvise, at, next - at, MADV_DONTNEED);
		if (next == k->end)
			break;
		at = range[*in].at + range[*in].pages * PAGE;
		e = flush(r, p, b);
	}
	if (k->prot != k->vma->prot)
		BATCH_MUST(
			b, "protect memory", SYS_mprotect, k->start, k->end - k->start, vma_early_prot(k->vma->prot));
	return e;
}

/* ---- the mappings that every process has ---- */

static void keep_specials(struct restart *r, struct patient *p, struct span *keeps)
{
	const struct moved *m = p->moved.at;
	struct keep *zone = span_push(&r->op->arena, keeps, sizeof(*zone));

	*zone = (struct keep){ r->zone, r->zone_end, NULL, 0, true };
	for (size_t i = 0; i < p->moved.n; i++)
		if (m[i].object || r->other_specials) {
			struct keep *k = span_push(&r->op->arena, keeps, sizeof(*k));
			*k = (struct keep){ m[i].at, m[i].at + m[i].len, NULL, 0, true };
		}
}

/* ---- mapping ---- */

static int map_piece(struct restart *r, struct batch *b, const struct vma *v, uint64_t start, uint64_t end)
{
	const struct kind *k = kind_by_tag(v->tag);
	struct object *o = v->backing ? find_object(r, v->backing) : NULL;
	struct vma piece = *v;

	if (start >= end || k->moves)
		return 0;
	piece.start = start;
	piece.end = end;
	piece.prot = vma_early_prot(v->prot);
	if (v->backing)
		piece.pgoff += start - v->start;
	return k->map(r->op, &piece, o ? o->rec : NULL, o ? o->fd : -EBADF, b);
}

/* each mapping but for what was kept of it */
static int map_all(struct restart *r, struct patient *p, struct batch *b, const struct span *keeps)
{
	const struct vma *v = p->mm->vmas.at;
	const struct keep *k = keeps->at;
	size_t at = 0;
	int e = 0;

	for (size_t i = 0; i < p->mm->vmas.n && e == 0; i++) {
		uint64_t from = v[i].start;

		if (v[i].end > TASK_END) {
			if (kind_by_tag(v[i].tag)->moves)
				continue; /* vsyscall */
			return fail_as(
				r->op, OUTCOME_IMAGE, "image", NULL, "map memory at %#lx", (unsigned long)v[i].start);
		}
		while (at < keeps->n && k[at].end <= v[i].start)
			at++;
		for (size_t n = at; n < keeps->n && k[n].start < v[i].end && e == 0; n++) {
			if (k[n].vma != &v[i])
				continue;
			e = map_piece(r, b, &v[i], from, k[n].start);
			from = k[n].end;
		}
		if (e == 0)
			e = map_piece(r, b, &v[i], from, v[i].end);
		if (e == 0)
			e = flush(r, p, b);
	}
	return e;
}

static int forget_rseq(struct patient *p, struct batch *b)
{
	struct rseq_registration reg;

	/* registered by the libc of the process that it was cloned from; the kernel would miss the memory it lies in */
	if (hold_rseq(&p->threads[0], &reg) == 0 && reg.pointer)
		BATCH_MUST(b, "unregister the rseq area it was born with", SYS_rseq, reg.pointer, reg.size, 1,
			reg.signature);
	return 0;
}

/* into its batch, which is not run yet */
static int build_memory(struct restart *r, struct patient *p)
{
	struct span keeps = { 0 };
	struct batch *b = batch_of(r, p);
	size_t in = 0;

	p->moved = (struct span){ arena_dup(&r->op->arena, p->parent ? p->parent->moved.at : p->moved.at,
					  p->moved.n * sizeof(struct moved)),
		p->moved.n, p->moved.n };
	forget_rseq(p, b);
	if (!p->parent)
		BATCH_MUST(b, "outlive stasis", SYS_prctl, PR_SET_PDEATHSIG, 0);
	if (p->parent)
		keep_alike(r, p, &keeps);
	keep_specials(r, p, &keeps);
	qsort(keeps.at, keeps.n, sizeof(struct keep), by_place);
	int e = unmap_others(r, p, b, &keeps);
	if (e == 0)
		e = move_specials(r, p, b);
	const struct keep *k = keeps.at;
	for (size_t i = 0; i < keeps.n && e == 0; i++)
		if (!k[i].moved)
			e = drop_pages(r, p, b, &k[i], &in);
	if (e == 0)
		e = map_all(r, p, b, &keeps);
	if (e < 0 || !r->other_specials)
		return e;
	e = run_batch(r, p, b);
	return e < 0 ? e : stand_in_for_specials(r, p);
}

/* ---- pages ---- */

/* its memory file, opened when it is first needed, by whichever thread */
static int mem_of(const struct page_sink *k)
{
	int none = -EBADF, mem = atomic_load(k->mem);
	char path[64];

	if (mem >= 0)
		return mem;
	snprintf(path, sizeof(path), "/proc/%d/mem", k->patient->pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0)
		return -errno;
	if (atomic_compare_exchange_strong(k->mem, &none, mem))
		return mem;
	fd_close(mem);
	return none;
}

static int put_by_vm(const struct page_sink *k, uint64_t at, const unsigned char *data, size_t len)
{
	int e = remote_write(k->patient->pid, (struct taddr){ at }, data, len);

	if (e != -EFAULT)
		return e;
	/* the program may not write there: through its memory file a tracer may */
	int mem = mem_of(k);
	return mem < 0 ? mem : pwrite_all(mem, data, len, (off_t)at);
}

/* what lies in mappings that are filled, and what does not; a page that is there already is written as ever */
static int put_filled(const struct page_sink *k, uint64_t at, const unsigned char *data, size_t len)
{
	int e = 0;

	for (size_t n; len && e == 0; at += n, data += n, len -= n) {
		ssize_t put = fill_put(k->fill, at, data, len);

		n = put > 0 ? (size_t)put : put == -EEXIST ? PAGE : fill_step(k->fill, at, len);
		if (put == -EEXIST || put == -EOPNOTSUPP)
			e = put_by_vm(k, at, data, n);
		else if (put < 0)
			e = (int)put;
	}
	return e;
}

/* by any thread: all runs have data */
static int put_pages(struct image_sink *sink, const struct section *s, const void *from)
{
	struct page_sink *k = (struct page_sink *)sink;
	struct iovec here = { (void *)from, s->data_len }, there[IMAGE_CHUNK_PAGES];
	const unsigned char *data = from;

	if (!k->fill && s->n_runs <= IMAGE_CHUNK_PAGES) {
		for (size_t i = 0; i < s->n_runs; i++)
			there[i] = (struct iovec){ (void *)s->runs[i].at, (size_t)s->runs[i].pages * PAGE };
		ssize_t n = process_vm_writev(k->patient->pid, &here, 1, there, s->n_runs, 0);

		if (n == (ssize_t)s->data_len)
			return 0;
	}
	for (size_t i = 0; i < s->n_runs; i++) {
		size_t len = (size_t)s->runs[i].pages * PAGE;
		int e = (k->fill ? put_filled : put_by_vm)(k, s->runs[i].at, data, len);

		if (e < 0) {
			k->failed_at = s->runs[i].at;
			return e;
		}
		data += len;
	}
	return 0;
}

static bool has_pages_next(const struct restart *r, const struct patient *p)
{
	return !r->at_end && r->section.type == SECTION_PAGES && r->section.id == p->rec->mm;
}

static int take_pages(struct restart *r, struct patient *p)
{
	_Atomic int mem = -EBADF;
	struct fill fill = { .fd = -EBADF };
	struct page_sink sink = { .sink = { put_pages, .again = true }, .patient = p, .mem = &mem };
	int e = 0;

	if (!has_pages_next(r, p))
		return 0;
	if (r->hatching)
		image_rest(r->image);
	for (size_t n = 1; e == 0 && has_pages_next(r, p); n++) {
		e = check_pages(r, p, &r->section);
		if (e == 0 && r->hatching && n == IMAGE_ALONE) /* from here on there may be threads to help */
			e = hatch_all(r);
		if (e == 0)
			e = make_huge(r, p, &r->section);
		note_own(r, p, &r->section);
		if (e == 0 && !fill.mm && r->section.data_len == (size_t)IMAGE_CHUNK_PAGES * PAGE) {
			e = load_wait(r, 0); /* what was sent without it may be for the same mappings */
			e = e < 0 ? e : fill_open(r, p, &fill);
			sink.fill = fill.fd < 0 ? NULL : &fill;
		}
		if (e == 0 && sink.fill)
			fill_expect(r, p, &fill, &r->section);
		if (e == 0)
			e = load_pages(r, &sink, false);
		if (e == 0)
			e = watch_tell(r->op, &r->watch, "rebuilding", r->memory, 0);
	}
	e = load_wait(r, e);
	if (mem >= 0)
		fd_close(mem);
	fill_close(&fill);
	return e;
}

static int beyond_end(struct restart *r)
{
	return fail_as(r->op, OUTCOME_IMAGE, "image", NULL, "put pages beyond the end of shared memory");
}

/* it is mapped here, at the address where all tasks have inherited it, or there, where its namespace is; or its kind has it as a file */
static int put_shared_run(struct restart *r, const struct object *o, const struct page_run *run, const void *data)
{
	uint64_t len = (uint64_t)run->pages * PAGE, at = o->stash + run->at;

	if (o->kind->fill)
		return o->kind->fill(r->op, o->rec, o->fd, run->at, data, len);
	if (run->at > r->zone_end || at + len > o->stash_end || at < o->stash)
		return beyond_end(r);
	if (o->kind->has_own_pages && o->kind->has_own_pages(o->rec))
		return 0;
	if (!o->kind->make) {
		memcpy((void *)at, data, len);
		return 0;
	}
	/* by the kernel also here: where there are no huge pages left it gives an error, and no SIGBUS */
	pid_t there = r->crowded ? (*(struct patient **)r->patients.at)->pid : getpid();
	int e = remote_write(there, (struct taddr){ at }, data, len);
	return e < 0 ? fail(r->op, e, "put pages into %s", o->kind->name) : 0;
}

/* by any thread, while the one that owns the restart waits for it */
static int put_shared_pages(struct image_sink *sink, const struct section *s, const void *from)
{
	struct page_sink *k = (struct page_sink *)sink;
	const unsigned char *data = from;
	int e = 0;

	for (size_t i = 0; i < s->n_runs && e == 0; i++) {
		k->failed_at = s->runs[i].at;
		e = put_shared_run(k->restart, k->object, &s->runs[i], data);
		data += (uint64_t)s->runs[i].pages * PAGE;
	}
	return e;
}

static int check_shared_runs(struct restart *r)
{
	for (size_t i = 0; i < r->section.n_runs; i++)
		if (r->section.runs[i].kind != RUN_DATA)
			return beyond_end(r);
	return 0;
}

/* shared memory comes first in the image */
int take_shared_pages(struct restart *r)
{
	int e = 0;

	while (e == 0 && !r->at_end && r->section.type == SECTION_PAGES) {
		const struct object *o = find_object(r, r->section.id);

		if (!o || !o->kind || !o->kind->backing_has_pages)
			break;
		struct page_sink sink = { .sink = { put_shared_pages }, .restart = r, .object = o };
		e = check_shared_runs(r);
		if (e == 0)
			e = load_pages(r, &sink, true);
		if (e == 0)
			e = watch_tell(r->op, &r->watch, "rebuilding", r->memory, 0);
	}
	return e;
}

/* ---- process kinds, first stage ---- */

/* who cloned it, if that is a process of the program with all that is its own, or has what it has of such a one; else NULL */
static const struct patient *origin(const struct patient *p)
{
	do
		p = p->birth->maker ? p->birth->maker->subject : p->parent;
	while (p && p->rec->flags & TASK_ZOMBIE);
	return p;
}

/* what kind @k has of @from; mostly all processes have the same parts in the same order, and this is number @i */
static const void *part_of(const struct patient *from, const struct kind *k, size_t i)
{
	const struct pieces *parts = from ? &from->parts : NULL;

	for (size_t at = 0; parts && at < parts->n; at++) {
		const struct piece *part = &parts->at[(i + at) % parts->n];

		if (part->kind == k)
			return part->object->rec;
	}
	return NULL;
}

static int add_parts(struct restart *r, struct patient *p)
{
	const struct patient *from = origin(p);
	const struct piece *part = p->parts.at;
	struct batch *b = &p->batch;
	int e = flush(r, p, b);

	r->site.batch = b;
	r->site.pid = r->site.tid = p->pid;
	r->site.vpid = r->site.vtid = p->rec->pid;
	r->site.owners = p->owners;
	for (size_t i = 0; i < p->parts.n && e == 0; i++) {
		struct object *o = part[i].object;

		if (!part[i].kind->restore || o->first != p) /* who shares it was born with it */
			continue;
		r->site.born = part_of(from, part[i].kind, i);
		e = part[i].kind->restore(r->op, o->rec, &r->site);
		if (e == 0)
			e = flush(r, p, b);
	}
	r->site.born = NULL;
	return e;
}

static void settle_in_zone(struct restart *r, struct patient *p)
{
	p->room = (struct room){ .pid = p->pid, .code = { r->zone }, .data = { r->zone + ROOM_CODE }, .mem = -EBADF };
}

/* it is set going on its memory, and what its process kinds put into it */
static int begin(struct restart *r, struct patient *p)
{
	if (!p->parent)
		settle_in_zone(r, p);
	if (p->shares & CLONE_VM)
		p->syscall = p->parent->syscall;
	struct batch *b = batch_of(r, p);
	int e = p->shares & CLONE_VM ? 0 : build_memory(r, p);
	if (e == 0)
		e = add_parts(r, p);
	if (e < 0)
		return e;
	e = batch_start(b);
	p->begun = true;
	return e < 0 ? batch_failed(r, b, e) : 0;
}

/*
 * Who is there already does its work while another gets its pages and makes its children. Who shares anything with another
 * waits for its turn: it has the same memory, with the same room, or would use the same numbers for descriptors.
 */
static int begin_some(struct restart *r, size_t i)
{
	struct patient **p = r->patients.at;
	int e = 0;

	while (!p[i]->pid && p[i]->parent && p[i]->parent->brood && e == 0)
		e = hatch_more(r, p[i]->parent);
	for (size_t k = i; k < r->patients.n && k < i + AHEAD && e == 0; k++) {
		if (p[k]->begun || !p[k]->pid || p[k]->rec->flags & TASK_ZOMBIE || (k > i && p[k]->shares))
			continue;
		WHERE_PATIENT(r, p[k]);
		e = begin(r, p[k]);
	}
	return e;
}

/* ---- children ---- */

static int become_leader(struct restart *r, struct patient *p)
{
	const struct ref *ref = p->rec->parts.at;
	int e = 0;

	if (p->sid != p->rec->pid)
		return 0;
	struct batch *b = batch_of(r, p);
	BATCH_MUST(b, "begin its session", SYS_setsid, 0);
	r->site.batch = b;
	r->site.pid = r->site.tid = p->pid;
	r->site.vpid = r->site.vtid = p->rec->pid;
	for (size_t i = 0; i < p->rec->parts.n && e == 0; i++) {
		struct object *o = find_object(r, ref[i].id);

		e = o->kind->lead ? o->kind->lead(r->op, o->rec, &r->site) : 0;
	}
	if (e == 0)
		e = run_batch(r, p, b);
	p->group = p->rec->pid;
	return e;
}

/* a dead leader of a session, or its ghost, makes those who are still in that session */
static int grow_dead(struct restart *r, struct patient *p)
{
	WHERE_PATIENT(r, p);
	int e = become_leader(r, p);

	return e < 0 ? e : clone_children(r, p, &p->makes, true, false);
}

static int grow(struct restart *r, struct patient *p)
{
	int e = batch_finish(&p->batch);

	if (e < 0)
		return batch_failed(r, &p->batch, e);
	e = take_pages(r, p);
	if (e == 0 && !(p->shares & CLONE_VM))
		e = lock_memory(r, p);
	if (e == 0)
		e = clone_children(r, p, &p->children, false, true);
	if (e == 0)
		e = become_leader(r, p);
	if (e == 0 && may_hatch(r, p))
		return hatch_some(r, p);
	if (e == 0)
		e = clone_children(r, p, &p->children, false, false);
	struct patient **child = p->children.at;
	for (size_t i = 0; i < p->children.n && e == 0; i++)
		if (child[i]->rec->flags & TASK_ZOMBIE)
			e = grow_dead(r, child[i]);
	return e;
}

/* those at the top come first: what they make is at the top as well, and has no memory of theirs */
static int grow_dead_seeds(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++)
		if (!p[i]->parent && p[i]->rec->flags & TASK_ZOMBIE) {
			settle_in_zone(r, p[i]);
			e = grow_dead(r, p[i]);
		}
	return e;
}

int grow_tree(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = take_shared_pages(r);

	if (e == 0)
		e = grow_dead_seeds(r);
	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (p[i]->rec->flags & TASK_ZOMBIE)
			continue;
		e = begin_some(r, i);
		if (e < 0)
			return e;
		WHERE_PATIENT(r, p[i]);
		e = grow(r, p[i]);
	}
	if (e == 0 && !r->at_end)
		e = fail_as(r->op, OUTCOME_IMAGE, "image", NULL,
			"make sense of the image: page data of no process, or out of order");
	return e;
}
