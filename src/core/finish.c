/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What mappings get when their pages are there: first that they are locked; and last, when all processes have their memory and
 * all their children, what would have been in the way.
 */
#include "core/rebuild.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "kinds/vma.h"

static bool any(const struct mm_record *mm, bool (*has)(const struct vma *v))
{
	const struct vma *v = mm->vmas.at;

	for (size_t i = 0; i < mm->vmas.n; i++)
		if (has(&v[i]))
			return true;
	return false;
}

bool is_last_in(struct restart *r, const struct patient *p)
{
	return !(p->rec->flags & TASK_ZOMBIE) && find_object(r, p->rec->mm)->last == p;
}

static bool is_named(const struct vma *v)
{
	return v->name;
}

static bool is_locked(const struct vma *v)
{
	return v->flags & VMA_LOCKED && !kind_by_tag(v->tag)->locks;
}

/* the program may have lowered it since, or raised it: what it had comes with its limits, later */
static void raise_limit(struct batch *b)
{
	struct rlimit limit; /* that of the process, which has ours still */

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	BATCH_CALL(b, "raise the limit of locked memory", SYS_setrlimit, RLIMIT_MEMLOCK,
		batch_in(b, &limit, sizeof(limit)).at);
}

/* each process for itself: fork(2) does not pass it on */
int lock_memory(struct restart *r, struct patient *p)
{
	const struct vma *v = p->mm->vmas.at;
	struct batch b;
	int e = 0;

	if (!any(p->mm, is_locked))
		return 0;
	batch_init(&b, &r->op->arena, &p->room, &p->threads[0]);
	raise_limit(&b);
	for (size_t i = 0; i < p->mm->vmas.n && e == 0; i++) {
		if (is_locked(&v[i]))
			vma_lock(&v[i], &b);
		if (!batch_has_room(&b, 16, 4096))
			e = run_batch(r, p, &b);
	}
	return e < 0 ? e : run_batch(r, p, &b);
}

static int protect(struct restart *r, struct patient *p)
{
	const struct vma *v = p->mm->vmas.at;
	struct batch b;
	int e = 0;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[p->first]);
	for (size_t i = 0; i < p->mm->vmas.n && e == 0; i++) {
		if (!vma_is_open(&v[i]))
			continue;
		BATCH_MUST(&b, "protect memory", SYS_mprotect, v[i].start, v[i].end - v[i].start, v[i].prot);
		if (!batch_has_room(&b, 16, 4096))
			e = run_batch(r, p, &b);
	}
	return e < 0 ? e : run_batch(r, p, &b);
}

int protect_memory(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (!is_last_in(r, p[i]))
			continue;
		WHERE_PATIENT(r, p[i]);
		e = protect(r, p[i]);
	}
	return e;
}

static int finish(struct restart *r, struct patient *p, bool can_name, uint32_t *unkept)
{
	const struct vma *v = p->mm->vmas.at;
	struct batch b;
	int e = 0;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[p->first]);
	for (size_t i = 0; i < p->mm->vmas.n && e == 0; i++) {
		struct vma last = v[i];

		if (!can_name)
			last.name = NULL;
		*unkept |= vma_unkept(&last);
		e = vma_finish(r->op, &last, &b);
		if (e == 0 && !batch_has_room(&b, 16, 4096))
			e = run_batch(r, p, &b);
	}
	return e < 0 ? e : run_batch(r, p, &b);
}

static void tell(struct restart *r, bool names, uint32_t flags)
{
	if (names)
		note(r->op, "memory loses the names that it had: this kernel keeps none (CONFIG_ANON_VMA_NAME)");
	for (const struct flag *f = vma_flag_names; f->name; f++)
		if (flags & f->bit)
			note(r->op, "memory that was %s is not: this kernel does not know that", f->name);
}

int finish_memory(struct restart *r)
{
	struct patient **p = r->patients.at;
	bool can_name = vma_can_name(), names = false;
	uint32_t unkept = 0;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (!is_last_in(r, p[i]))
			continue;
		WHERE_PATIENT(r, p[i]);
		names |= !can_name && any(p[i]->mm, is_named);
		e = finish(r, p[i], can_name, &unkept);
	}
	if (e == 0)
		tell(r, names, unkept);
	return e;
}
