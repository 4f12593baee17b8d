/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes out of records: who is whose child, what belongs to whom, and when each must be born.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <stdlib.h>

#define PAGE_REST ((uint64_t)IMAGE_PAGE - 1)
#define PID_END	  (1 << 22)

static int malformed(struct restart *r, const char *what)
{
	return fail_as(r->op, OUTCOME_IMAGE, "image", NULL, "make sense of the image: %s", what);
}

static void *record(struct restart *r, uint64_t id, uint32_t tag)
{
	struct object *o = id ? find_object(r, id) : NULL;

	return o && o->tag == tag ? o->rec : NULL;
}

static int check_parts(struct restart *r, const struct span *parts, enum scope scope)
{
	const struct ref *ref = parts->at;

	for (size_t i = 0; i < parts->n; i++) {
		struct object *o = find_object(r, ref[i].id);

		if (!o || !o->kind || o->kind->scope != scope)
			return malformed(r, "a task refers to a record that is none of a task");
	}
	return 0;
}

static int check_mm(struct restart *r, const struct mm_record *mm)
{
	const struct vma *v = mm->vmas.at;
	const struct range *in = mm->inherit.at;
	uint64_t at = 0;

	for (size_t i = 0; i < mm->vmas.n; i++) {
		struct object *o = v[i].backing ? find_object(r, v[i].backing) : NULL;
		const struct kind *k = kind_by_tag(v[i].tag);

		if ((v[i].start | v[i].end | v[i].pgoff) & PAGE_REST || v[i].start < at || v[i].end <= v[i].start ||
			v[i].prot > 7)
			return malformed(r, "mappings overlap or are out of order");
		if (!k || k->scope != SCOPE_MEM || (k->size && (!o || o->kind != k)) || (!k->size && v[i].backing))
			return malformed(r, "a mapping lacks what backs it");
		if (v[i].pgoff + (v[i].end - v[i].start) < v[i].pgoff)
			return malformed(r, "a mapping goes beyond the end of its file");
		at = v[i].end;
	}
	at = 0;
	for (size_t i = 0; i < mm->inherit.n; i++) {
		if (in[i].at & PAGE_REST || in[i].at < at || !in[i].pages || in[i].pages > TASK_END / IMAGE_PAGE ||
			in[i].at > TASK_END)
			return malformed(r, "inherited pages overlap or are out of order");
		at = in[i].at + in[i].pages * IMAGE_PAGE;
	}
	return 0;
}

static int check_fdtable(struct restart *r, const struct fdtable_record *t)
{
	const struct fd_record *f = t->fds.at;

	for (size_t i = 0; i < t->fds.n; i++) {
		struct object *o = find_object(r, f[i].file);

		if (f[i].n >= 1u << 30 || (i && f[i].n <= f[i - 1].n) || !o || !o->kind || o->kind->scope != SCOPE_FD)
			return malformed(r, "a descriptor leads nowhere");
	}
	return 0;
}

static int check_threads(struct restart *r, struct patient *p)
{
	const struct thread_record *t = p->rec->threads.at;
	int e = check_parts(r, &p->rec->parts, SCOPE_PROCESS);

	if (!p->rec->threads.n || t[0].tid != p->rec->pid)
		return malformed(r, "a process has no first thread");
	for (size_t i = 0; i < p->rec->threads.n && e == 0; i++) {
		if (t[i].tid <= 0 || t[i].tid >= PID_END)
			return malformed(r, "a thread has an impossible id");
		e = check_parts(r, &t[i].parts, SCOPE_THREAD);
	}
	return e;
}

/* as wait(2) encodes it: exit(3) or a signal, which may have left a core file */
static bool is_exit_code(int32_t code)
{
	int signo = code & 0x7f;

	return signo ? signo <= 64 && !(code & ~0xff) : !(code & ~0xff00);
}

static int check_patient(struct restart *r, struct patient *p)
{
	if (p->rec->pid <= 0 || p->rec->pid >= PID_END || !p->rec->comm || p->rec->exit_signal < 0 ||
		p->rec->exit_signal > 64)
		return malformed(r, "a process has an impossible id");
	if (p->rec->pgid < 0 || p->rec->pgid >= PID_END || p->rec->sid < 0 || p->rec->sid >= PID_END)
		return malformed(r, "a process is in an impossible group or session");
	if (p->rec->flags & TASK_ZOMBIE && !is_exit_code(p->rec->exit_code))
		return malformed(r, "a process ended in an impossible way");
	if (p->rec->flags & TASK_ZOMBIE)
		return p->rec->threads.n ? malformed(r, "an ended process has threads") : 0;
	p->mm = record(r, p->rec->mm, TAG_MM);
	p->fdtable = record(r, p->rec->fdtable, TAG_FDTABLE);
	if (!p->mm || !p->fdtable)
		return malformed(r, "a process lacks its memory or descriptors");
	int e = check_threads(r, p);
	if (e == 0)
		e = check_mm(r, p->mm);
	if (e == 0)
		e = check_fdtable(r, p->fdtable);
	p->threads = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->threads));
	p->regs = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->regs));
	p->sigmasks = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->sigmasks));
	return e;
}

/* pid -> patient, as the records come; pids are small numbers */
static int add_patient(struct restart *r, struct object *o, struct patient **by_pid)
{
	struct patient *p = arena_alloc(&r->op->arena, sizeof(*p));

	p->rec = o->rec;
	*(struct patient **)span_push(&r->op->arena, &r->patients, sizeof(p)) = p;
	int e = check_patient(r, p);
	if (e < 0)
		return e;
	if (by_pid[p->rec->pid])
		return malformed(r, "two processes have the same id");
	by_pid[p->rec->pid] = p;
	if (p->rec->ppid) {
		if (p->rec->ppid < 0 || p->rec->ppid >= PID_END || !by_pid[p->rec->ppid])
			return malformed(r, "a process comes before its parent");
		p->parent = by_pid[p->rec->ppid];
		if (p->parent->rec->flags & TASK_ZOMBIE)
			return malformed(r, "an ended process has children");
		*(struct patient **)span_push(&r->op->arena, &p->parent->children, sizeof(p)) = p;
	} else if (p->rec->flags & TASK_ZOMBIE) {
		return malformed(r, "an ended process has no parent");
	}
	return 0;
}

/*
 * The session a process is born into: its own unless it leads one; then whatever its own early children need, else any.
 * Children come after parents, so a walk from the end sees them first.
 */
static void order_births(struct restart *r)
{
	struct patient **p = r->patients.at;

	for (size_t i = 0; i < r->patients.n; i++)
		p[i]->birth_sid = p[i]->rec->sid == p[i]->rec->pid ? -1 : p[i]->rec->sid;
	for (size_t i = r->patients.n; i-- > 0;) {
		struct patient *q = p[i], *up = q->parent;

		if (!up || q->birth_sid < 0)
			continue;
		q->early = up->rec->sid == up->rec->pid && q->birth_sid != up->rec->sid;
		if (q->early && up->birth_sid < 0)
			up->birth_sid = q->birth_sid;
	}
}

int gather_family(struct restart *r)
{
	struct object *o = r->objects.at;
	struct patient **by_pid = calloc(PID_END, sizeof(*by_pid));
	int e = by_pid ? 0 : fail(r->op, -ENOMEM, "remember the processes");

	for (size_t i = 0; i < r->objects.n && e == 0; i++)
		if (o[i].tag == TAG_TASK)
			e = add_patient(r, &o[i], by_pid);
	free(by_pid);
	if (e < 0)
		return e;
	if (!r->patients.n)
		return malformed(r, "it holds no process");
	order_births(r);
	return 0;
}
