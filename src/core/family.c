/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes out of records: who is whose child, what belongs to whom, and when each must be born.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <linux/sched.h>
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

/* There are few kinds, and the first double ends it. */
static bool has_kind(const struct pieces *p, const struct kind *k)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].kind == k)
			return true;
	return false;
}

/* @more: that it may get */
static int check_parts(struct restart *r, const struct span *parts, size_t more, enum scope scope, struct pieces *ret)
{
	const struct ref *ref = parts->at;

	*ret = (struct pieces){ arena_array(&r->op->arena, parts->n + more, sizeof(*ret->at)), 0, false };
	for (size_t i = 0; i < parts->n; i++) {
		struct object *o = find_object(r, ref[i].id);

		if (!o || !o->kind || o->kind->scope != scope)
			return malformed(r, "a task refers to a record that is none of a task");
		if (has_kind(ret, o->kind))
			return malformed(r, "a task has two records of a kind");
		ret->at[ret->n++] = (struct piece){ o, o->kind, o->rec };
		ret->concerns_all |= o->kind->concerns_all && o->kind->concerns_all(o->rec);
	}
	return 0;
}

static int check_mm(struct restart *r, const struct mm_record *mm)
{
	const struct vma *v = mm->vmas.at;
	uint64_t at = 0;

	for (size_t i = 0; i < mm->vmas.n; i++) {
		struct object *o = v[i].backing ? find_object(r, v[i].backing) : NULL;
		const struct kind *k = kind_by_tag(v[i].tag);

		if ((v[i].start | v[i].end | v[i].pgoff) & PAGE_REST || v[i].start < at || v[i].end <= v[i].start ||
			v[i].prot > 7)
			return malformed(r, "mappings overlap or are out of order");
		if (!k || k->scope != SCOPE_MEM || (k->size && (!o || o->kind != k)) || (!k->size && v[i].backing))
			return malformed(r, "a mapping lacks what backs it");
		if (v[i].pgoff > INT64_MAX || v[i].end - v[i].start > INT64_MAX - v[i].pgoff)
			return malformed(r, "a mapping goes beyond the end of its file");
		/* above is what the kernel itself maps (vsyscall) */
		if (v[i].end > TASK_END && (!k->moves || v[i].start < TASK_END))
			return malformed(r, "a mapping lies where no program can have one");
		if (k->moves && o && o->seen_in == mm)
			return malformed(r, "a process has twice what each has once");
		if (k->moves && o)
			o->seen_in = mm;
		at = v[i].end;
	}
	return 0;
}

static int check_ranges(struct restart *r, const struct span *ranges, uint64_t unit, const char *what)
{
	const struct range *in = ranges->at;
	uint64_t at = 0;

	for (size_t i = 0; i < ranges->n; i++) {
		if (in[i].at % unit || in[i].at < at || !in[i].pages || in[i].pages > TASK_END / IMAGE_PAGE ||
			in[i].pages * IMAGE_PAGE % unit || in[i].at > TASK_END)
			return malformed(r, what);
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

/* what is kept of a first thread that has ended; somebody else must live */
static int check_leader(struct restart *r, const struct task_record *t)
{
	const struct thread_record *ended = t->threads.at;
	const struct ref *ref = ended->parts.at;

	if (t->threads.n < 2 || t->exit_code & ~0xff00)
		return malformed(r, "the first thread of a process ended in an impossible way");
	for (size_t i = 0; i < ended->parts.n; i++)
		if (!find_object(r, ref[i].id)->kind->outlives)
			return malformed(r, "a thread that has ended has what only a living one can have");
	return 0;
}

/* what it has no record of is said by that of the thread before it that it is like */
static int take_after(struct restart *r, const struct pieces *model, struct pieces *own)
{
	const size_t n = own->n;

	for (size_t i = 0; i < model->n; i++) {
		struct piece piece = model->at[i];
		const struct kind *k = piece.kind;

		if (has_kind(&(struct pieces){ own->at, n, false }, k))
			continue;
		if (!k->common)
			return malformed(r, "a thread lacks what it cannot have from another");
		piece.rec = arena_dup(&r->op->arena, piece.rec, k->size);
		own->at[own->n++] = piece;
		own->concerns_all |= k->concerns_all && k->concerns_all(piece.rec);
	}
	return 0;
}

static int check_thread(struct restart *r, struct patient *p, size_t n)
{
	const struct thread_record *t = p->rec->threads.at;
	const size_t place = t[n].like; /* counted from 1; whose leader has ended has none that is like it */

	if (place > n || (place && (t[place - 1].like || (place == 1 && p->rec->flags & TASK_LEADER_GONE))))
		return malformed(r, "a thread is like one that it cannot be like");
	const struct pieces *model = place ? &p->thread_parts[place - 1] : NULL;
	int e = check_parts(r, &t[n].parts, model ? model->n : 0, SCOPE_THREAD, &p->thread_parts[n]);
	return e == 0 && model ? take_after(r, model, &p->thread_parts[n]) : e;
}

static int check_threads(struct restart *r, struct patient *p)
{
	const struct thread_record *t = p->rec->threads.at;
	int e = check_parts(r, &p->rec->parts, 0, SCOPE_PROCESS, &p->parts);

	p->thread_parts = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->thread_parts));
	if (!p->rec->threads.n || t[0].tid != p->rec->pid)
		return malformed(r, "a process has no first thread");
	for (size_t i = 0; i < p->rec->threads.n && e == 0; i++) {
		if (t[i].tid <= 0 || t[i].tid >= PID_END)
			return malformed(r, "a thread has an impossible id");
		e = check_thread(r, p, i);
	}
	return e == 0 && p->rec->flags & TASK_LEADER_GONE ? check_leader(r, p->rec) : e;
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
	if (!is_jobctl(p->rec))
		return malformed(r, "a process was stopped or continued in an impossible way");
	if (p->rec->flags & TASK_ZOMBIE && !is_exit_code(p->rec->exit_code))
		return malformed(r, "a process ended in an impossible way");
	if (p->rec->flags & TASK_ZOMBIE)
		return p->rec->threads.n || p->rec->flags & TASK_LEADER_GONE
			       ? malformed(r, "an ended process has threads")
			       : 0;
	p->mm = record(r, p->rec->mm, TAG_MM);
	p->fdtable = record(r, p->rec->fdtable, TAG_FDTABLE);
	if (!p->mm || !p->fdtable)
		return malformed(r, "a process lacks memory or descriptors of its own");
	int e = check_threads(r, p);
	struct object *mm = find_object(r, p->rec->mm);
	if (e == 0 && !mm->checked)
		e = check_mm(r, p->mm);
	if (e == 0 && !mm->checked)
		e = check_ranges(r, &p->mm->inherit, IMAGE_PAGE, "inherited pages overlap or are out of order");
	if (e == 0 && !mm->checked)
		e = check_ranges(r, &p->mm->huge, HUGE_PAGE, "huge pages overlap or are out of order");
	mm->checked = true;
	if (e == 0)
		e = check_fdtable(r, p->fdtable);
	if (e < 0)
		return e;
	p->threads = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->threads));
	p->regs = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->regs));
	p->sigmasks = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->sigmasks));
	p->naps = arena_array(&r->op->arena, p->rec->threads.n, sizeof(*p->naps));
	return 0;
}

/* ids of threads are as those of processes: nobody else has them; the init of the namespace has 1 */
static int claim_ids(struct restart *r, struct patient *p, struct patient **by_pid)
{
	const struct thread_record *t = p->rec->threads.at;

	if (by_pid[p->rec->pid] || (p->rec->pid == 1 && r->patients.n > 1))
		return malformed(r, "two processes have the same id");
	by_pid[p->rec->pid] = p;
	for (size_t i = 1; i < p->rec->threads.n; i++) {
		if (by_pid[t[i].tid] || t[i].tid == 1)
			return malformed(r, "two threads have the same id");
		by_pid[t[i].tid] = p;
	}
	return 0;
}

/* ---- what is shared ---- */

/* An object belongs to one task, or to a process and those of its children that can have it by clone(2). */
static int claim(struct restart *r, struct patient *p, uint64_t id, bool of_parent)
{
	struct object *o = find_object(r, id);

	if (o->last == p || (o->first && !of_parent))
		return malformed(r, "tasks share what they cannot share");
	if (!o->first)
		o->first = p;
	o->last = p;
	return 0;
}

static bool has_part(const struct patient *p, uint64_t id)
{
	const struct ref *ref = p->rec->parts.at;

	for (size_t i = 0; i < p->rec->parts.n; i++)
		if (ref[i].id == id)
			return true;
	return false;
}

static int claim_parts(struct restart *r, struct patient *p, uint64_t *shared, uint64_t *own)
{
	const struct ref *ref = p->rec->parts.at;
	const struct thread_record *t = p->rec->threads.at;
	int e = 0;

	for (size_t i = 0; i < p->rec->parts.n && e == 0; i++) {
		uint64_t flag = find_object(r, ref[i].id)->kind->shared_by;
		bool of_parent = flag && p->parent && has_part(p->parent, ref[i].id);

		*(of_parent ? shared : own) |= flag;
		e = claim(r, p, ref[i].id, of_parent);
	}
	for (size_t n = 0; n < p->rec->threads.n; n++) {
		const struct ref *part = t[n].parts.at;

		for (size_t i = 0; i < t[n].parts.n && e == 0; i++)
			e = claim(r, p, part[i].id, false);
	}
	return e;
}

static int claim_all(struct restart *r, struct patient *p)
{
	uint64_t shared = 0, own = 0;

	if (p->rec->flags & TASK_ZOMBIE)
		return 0;
	bool mm = p->parent && p->parent->rec->mm == p->rec->mm;
	bool fdtable = p->parent && p->parent->rec->fdtable == p->rec->fdtable;
	*(mm ? &shared : &own) |= CLONE_VM;
	*(fdtable ? &shared : &own) |= CLONE_FILES;
	int e = claim(r, p, p->rec->mm, mm);
	if (e == 0)
		e = claim(r, p, p->rec->fdtable, fdtable);
	if (e == 0)
		e = claim_parts(r, p, &shared, &own);
	if (e == 0 && (shared & own || (shared & CLONE_SIGHAND && !(shared & CLONE_VM))))
		e = malformed(r, "a process shares but a part of what goes together");
	p->shares = shared;
	return e;
}

/* ---- the tree ---- */

/* id of a process or thread -> patient, as the records come; they are small numbers */
static int add_patient(struct restart *r, struct object *o, struct patient **by_pid)
{
	struct patient *p = arena_alloc(&r->op->arena, sizeof(*p));

	p->rec = o->rec;
	*(struct patient **)span_push(&r->op->arena, &r->patients, sizeof(p)) = p;
	int e = check_patient(r, p);
	if (e < 0)
		return e;
	if (p->rec->ppid) {
		struct patient *up = p->rec->ppid > 0 && p->rec->ppid < PID_END ? by_pid[p->rec->ppid] : NULL;

		if (!up || up->rec->pid != p->rec->ppid)
			return malformed(r, "a process comes before its parent");
		p->parent = up;
		if (p->parent->rec->flags & TASK_ZOMBIE)
			return malformed(r, "an ended process has children");
		*(struct patient **)span_push(&r->op->arena, &p->parent->children, sizeof(p)) = p;
	} else if (p->rec->flags & TASK_ZOMBIE) {
		return malformed(r, "an ended process has no parent");
	}
	e = claim_ids(r, p, by_pid);

	return e < 0 ? e : claim_all(r, p);
}

/* one that is made for its number and ends before the program runs: a zombie to all but its maker */
static void add_ghost(struct restart *r, struct birth *b)
{
	struct patient *p = arena_alloc(&r->op->arena, sizeof(*p)), *up = b->parent ? b->parent->subject : NULL;
	struct task_record *rec = arena_alloc(&r->op->arena, sizeof(*rec));

	*rec = (struct task_record){ .pid = b->pid,
		.ppid = up ? up->rec->pid : 0,
		.sid = b->sid,
		.pgid = b->pgid,
		.comm = "ghost",
		.flags = TASK_ZOMBIE,
		.exit_signal = SIGCHLD };
	*p = (struct patient){ .rec = rec, .parent = up, .birth = b, .sid = b->sid };
	b->subject = p;
	*(struct patient **)span_push(&r->op->arena, &r->patients, sizeof(p)) = p;
	if (up)
		*(struct patient **)span_push(&r->op->arena, &up->children, sizeof(p)) = p;
}

static int order_births(struct restart *r)
{
	struct arena *a = &r->op->arena;
	struct patient **p = r->patients.at;
	size_t n = r->patients.n;
	struct birth *births = arena_array(a, n, sizeof(*births));
	struct span all = { 0 };

	for (size_t i = 0; i < n; i++) {
		const struct task_record *t = p[i]->rec;

		births[i] = (struct birth){ .pid = t->pid,
			.sid = p[i]->sid,
			.pgid = t->pgid,
			.parent = p[i]->parent ? p[i]->parent->birth : NULL,
			.zombie = t->flags & TASK_ZOMBIE,
			.subject = p[i] };
		p[i]->birth = &births[i];
		*(struct birth **)span_push(a, &all, sizeof(struct birth *)) = &births[i];
	}
	plan_births(a, &all);
	for (size_t i = n; i < all.n; i++)
		add_ghost(r, ((struct birth **)all.at)[i]);
	for (size_t i = 0; i < n; i++) {
		if (births[i].problem)
			return malformed(r, "a process is in a session or group that it cannot be in");
		struct patient *maker = births[i].maker ? births[i].maker->subject : NULL;
		if (maker && p[i]->shares)
			return malformed(r, "a process shares what only its parent could give it");
		if (maker)
			*(struct patient **)span_push(a, &maker->makes, sizeof(struct patient *)) = births[i].subject;
	}
	return 0;
}

static bool joins_caller(struct restart *r, const struct patient *p)
{
	const struct ref *ref = p->rec->parts.at;

	for (size_t i = 0; i < p->rec->parts.n; i++) {
		struct object *o = find_object(r, ref[i].id);

		if (o->kind->joins && o->kind->joins(o->rec, &r->site))
			return true;
	}
	return false;
}

/* A session whose terminal is the caller's now can only be the caller's. */
static void join_sessions(struct restart *r)
{
	struct patient **p = r->patients.at;

	for (size_t i = 0; i < r->patients.n; i++)
		p[i]->sid = p[i]->rec->sid;
	for (size_t i = 0; i < r->patients.n; i++) {
		if (p[i]->rec->sid != p[i]->rec->pid || !joins_caller(r, p[i]))
			continue;
		for (size_t k = 0; k < r->patients.n; k++)
			p[k]->sid = p[k]->rec->sid == p[i]->rec->pid ? 0 : p[k]->sid;
		note(r->op, "session %d is a part of the caller's session now, as its terminal is", p[i]->rec->pid);
	}
}

static int32_t higher(int32_t a, int32_t b)
{
	return b > a && b < PID_END ? b : a;
}

/* what is above all ids that are possible */
static size_t ids_end(struct restart *r)
{
	const struct object *o = r->objects.at;
	int32_t highest = 1;

	for (size_t i = 0; i < r->objects.n; i++) {
		const struct task_record *t = o[i].tag == TAG_TASK ? o[i].rec : NULL;
		const struct thread_record *thread = t ? t->threads.at : NULL;

		for (size_t k = 0; t && k < t->threads.n; k++)
			highest = higher(highest, thread[k].tid);
		if (t)
			highest = higher(higher(highest, t->pid), t->ppid);
	}
	return (size_t)highest + 1;
}

int gather_family(struct restart *r)
{
	struct object *o = r->objects.at;
	struct patient **by_pid = calloc(ids_end(r), sizeof(*by_pid));
	int e = by_pid ? 0 : fail(r->op, -ENOMEM, "remember the processes");

	for (size_t i = 0; i < r->objects.n && e == 0; i++)
		if (o[i].tag == TAG_TASK)
			e = add_patient(r, &o[i], by_pid);
	free(by_pid);
	if (e < 0)
		return e;
	if (!r->patients.n)
		return malformed(r, "it holds no process");
	join_sessions(r);
	return order_births(r);
}

size_t vma_above(const struct mm_record *mm, uint64_t at)
{
	const struct vma *v = mm->vmas.at;
	size_t lo = 0, hi = mm->vmas.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* a run may go on in the next mapping; what is shared with others, or is no memory of the program, is not written to */
int check_pages(struct restart *r, const struct patient *p, const struct section *s)
{
	const struct vma *v = p->mm->vmas.at;

	for (size_t i = 0; i < s->n_runs; i++) {
		uint64_t at = s->runs[i].at, end = at + (uint64_t)s->runs[i].pages * IMAGE_PAGE;

		if (s->runs[i].kind != RUN_DATA)
			return malformed(r, "pages without data");
		for (size_t k = vma_above(p->mm, at); at < end; at = v[k++].end)
			if (k == p->mm->vmas.n || v[k].start > at || v[k].flags & VMA_SHARED ||
				!kind_by_tag(v[k].tag)->has_pages)
				return malformed(r, "pages where the process has no memory of its own");
	}
	return 0;
}
