/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mappings that every process has because the kernel puts them there: the vdso and its data. They are not made, but
 * moved to where the program had them. Where this kernel has others, these are moved to a free place instead, in the
 * distance from each other that their code counts on, and what their kind gives stands in for the old ones.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/io.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MAP_PLAIN (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* ---- what there is ---- */

static void add_moved(struct restart *r, struct span *moved, const struct kind *k, const struct proc_vma *v)
{
	struct moved *m = span_push(&r->op->arena, moved, sizeof(*m));
	struct object *o = r->objects.at;

	*m = (struct moved){ NULL, v->start, v->end - v->start, v->prot & PROC_EXEC };
	for (size_t i = 0; i < r->objects.n; i++)
		if (o[i].kind == k && k->match(o[i].rec, v)) {
			m->object = &o[i];
			o[i].here = true;
		}
	if (m->has_code) {
		ssize_t at = arch_find_syscall((const unsigned char *)v->start, m->len);

		r->syscall_offset = at < 0 ? 0 : (size_t)at;
	}
}

/* has the process something that this kernel has not? Above TASK_END nothing can be, nor need be, changed. */
static bool has_others(struct restart *r, const struct mm_record *mm)
{
	const struct vma *v = mm->vmas.at;

	for (size_t i = 0; i < mm->vmas.n; i++) {
		const struct object *o = v[i].backing && v[i].start < TASK_END ? find_object(r, v[i].backing) : NULL;

		if (o && o->kind->moves && !o->here)
			return true;
	}
	return false;
}

void find_specials(struct restart *r, const struct span *maps)
{
	const struct proc_vma *v = maps->at;
	struct patient **p = r->patients.at;
	struct span moved = { 0 };

	for (size_t i = 0; i < maps->n; i++) {
		struct sight s = { .vma = &v[i] };
		const struct kind *k = v[i].end <= TASK_END ? kind_of_vma(&s) : NULL;

		if (k && k->moves)
			add_moved(r, &moved, k, &v[i]);
	}
	for (size_t i = 0; i < r->patients.n; i++) {
		p[i]->moved = moved;
		r->other_specials |= p[i]->mm && has_others(r, p[i]->mm);
	}
	if (r->other_specials)
		note(r->op,
			"this kernel has another vdso: who calls the one that the program knows gets to the new one; "
			"a signal handler that came in the middle of such a call may see a wrong time");
}

/* ---- the same ones, to their old places ---- */

static int move_home(struct restart *r, struct patient *p, struct batch *b)
{
	struct moved *m = p->moved.at;
	const struct vma *v = p->mm->vmas.at;
	uint64_t spare = r->spare;

	for (size_t i = 0; i < p->mm->vmas.n; i++) {
		const struct kind *k = kind_by_tag(v[i].tag);
		struct moved *from = NULL;

		if (!k->moves || v[i].start >= TASK_END)
			continue;
		for (size_t n = 0; n < p->moved.n; n++)
			if (m[n].object && m[n].object->id == v[i].backing && m[n].len == v[i].end - v[i].start)
				from = &m[n];
		if (!from)
			return fail_as(r->op, OUTCOME_IMAGE, "image", NULL, "give the process its %s: of another size",
				k->name);
		if (from->has_code) {
			p->vdso.at = v[i].start;
			p->vdso_end.at = v[i].end;
		}
		if (from->at == v[i].start)
			continue;
		/* first all to the spare place, as old and new places may overlap */
		BATCH_MUST(b, "move the vdso", SYS_mremap, from->at, from->len, from->len,
			MREMAP_MAYMOVE | MREMAP_FIXED, spare);
		from->at = spare;
		spare += from->len;
	}
	for (size_t i = 0; i < p->mm->vmas.n; i++)
		for (size_t n = 0; n < p->moved.n; n++)
			if (m[n].object && m[n].object->id == v[i].backing && m[n].at >= r->spare &&
				m[n].at < r->spare + ROOM_SPARE) {
				BATCH_MUST(b, "move the vdso to its place", SYS_mremap, m[n].at, m[n].len, m[n].len,
					MREMAP_MAYMOVE | MREMAP_FIXED, v[i].start);
				m[n].at = v[i].start;
			}
	return 0;
}

/* ---- others: out of the way ---- */

static uint64_t lowest(const struct patient *p)
{
	const struct moved *m = p->moved.at;
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < p->moved.n; i++)
		at = m[i].at < at ? m[i].at : at;
	return at;
}

/* from the first to the last of them */
static uint64_t extent(const struct patient *p)
{
	const struct moved *m = p->moved.at;
	const uint64_t from = lowest(p);
	uint64_t len = 0;

	for (size_t i = 0; i < p->moved.n; i++)
		len = m[i].at + m[i].len - from > len ? m[i].at + m[i].len - from : len;
	return len;
}

static int move_all(struct restart *r, struct patient *p, struct batch *b, uint64_t to)
{
	struct moved *m = p->moved.at;
	const uint64_t from = lowest(p);

	if (extent(p) > ROOM_SPARE)
		return fail_as(
			r->op, OUTCOME_CANNOT, "vdso-changed", NULL, "move the vdso of this kernel: it is too large");
	for (size_t i = 0; i < p->moved.n; i++) {
		const uint64_t at = m[i].at - from + to;

		BATCH_MUST(
			b, "move the vdso", SYS_mremap, m[i].at, m[i].len, m[i].len, MREMAP_MAYMOVE | MREMAP_FIXED, at);
		m[i].at = at;
	}
	return 0;
}

static void take_syscall(const struct restart *r, struct patient *p)
{
	if (p->vdso.at && r->syscall_offset)
		p->syscall.at = p->vdso.at + r->syscall_offset;
}

static void find_syscall(struct restart *r, struct patient *p)
{
	const struct moved *m = p->moved.at;

	for (size_t i = 0; i < p->moved.n; i++)
		if (m[i].has_code) {
			p->vdso.at = m[i].at;
			p->vdso_end.at = m[i].at + m[i].len;
		}
	take_syscall(r, p);
}

int move_specials(struct restart *r, struct patient *p, struct batch *b)
{
	if (r->other_specials)
		return p->moved.n ? move_all(r, p, b, r->spare) : 0;
	int e = move_home(r, p, b);
	take_syscall(r, p);
	return e;
}

/* where the kernel puts any new mapping of the process, once it has all others */
static int settle_specials(struct restart *r, struct patient *p)
{
	struct batch b;

	if (!p->moved.n)
		return 0;
	batch_init(&b, &r->op->arena, &p->room, &p->threads[0]);
	struct stub_call *map = BATCH_CALL(
		&b, "find a place for the vdso", SYS_mmap, 0, extent(p), PROT_NONE, MAP_PLAIN, (uint64_t)-1, 0);
	map->flags |= STUB_MUST;
	int e = run_batch(r, p, &b);
	if (e == 0)
		e = move_all(r, p, &b, (uint64_t)map->ret);
	if (e == 0)
		e = run_batch(r, p, &b);
	find_syscall(r, p);
	return e;
}

/* the next mapping of the process from number *@i on that only stands in; NULL: none */
static const struct vma *next_old(struct restart *r, const struct patient *p, size_t *i)
{
	const struct vma *v = p->mm->vmas.at;

	for (; *i < p->mm->vmas.n; ++*i)
		if (v[*i].backing && v[*i].start < TASK_END && find_object(r, v[*i].backing)->kind->moves)
			return &v[(*i)++];
	return NULL;
}

static int map_old(struct restart *r, struct patient *p)
{
	const struct vma *v;
	struct batch b;
	int e = 0;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[0]);
	for (size_t i = 0; e == 0 && (v = next_old(r, p, &i));) {
		BATCH_MUST(&b, "map what stands in for the old vdso", SYS_mmap, v->start, v->end - v->start, v->prot,
			MAP_PLAIN | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0);
		e = batch_has_room(&b, 64, 4096) ? 0 : run_batch(r, p, &b);
	}
	return e < 0 ? e : run_batch(r, p, &b);
}

static int fill_old(struct restart *r, struct patient *p, int mem, const struct vma *v)
{
	struct object *o = find_object(r, v->backing);
	struct span bytes = { 0 };
	int e = o->kind->stand_in(r->op, o->rec, p->vdso, &bytes);

	if (e < 0 || !bytes.n)
		return e;
	if (bytes.n > v->end - v->start)
		return fail_as(
			r->op, OUTCOME_IMAGE, "image", NULL, "give the process its %s: of another size", o->kind->name);
	p->old_code.at = v->start;
	p->old_code_end.at = v->end;
	e = pwrite_all(mem, bytes.at, bytes.n, (off_t)v->start);
	return e < 0 ? fail(r->op, e, "write what stands in for the old vdso") : 0;
}

int stand_in_for_specials(struct restart *r, struct patient *p)
{
	const struct vma *v;
	char path[64];

	if (!r->other_specials)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", p->pid);
	_cleanup_close_ int mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0)
		return fail(r->op, -errno, "open its memory");
	int e = map_old(r, p);
	if (e == 0)
		e = settle_specials(r, p);
	for (size_t i = 0; e == 0 && (v = next_old(r, p, &i));)
		e = fill_old(r, p, mem, v);
	return e;
}

int check_stop(struct restart *r, struct patient *p, size_t n)
{
	const struct patient *first = find_object(r, p->rec->mm)->first;
	const uint64_t ip = arch_ip(&p->regs[n]);

	if (ip < first->old_code.at || ip >= first->old_code_end.at)
		return 0;
	return fail_as(r->op, OUTCOME_CANNOT, "vdso-inside",
		"restart an earlier or a later image, or restart this one under the kernel that it names (stasis show)",
		"let thread %d go on: it was in the middle of a call of the vdso, and this kernel has another",
		p->threads[n].tid);
}
