/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the task kinds say of processes and threads: one batch a thread for what only the thread itself can ask the
 * kernel, everything else from outside.
 */
#include "core/core.h"
#include "core/twins.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "base/pool.h"

#define SCAN_ASIDE 1000 /* threads: to save them takes longer than to make one */

static void add_part(const struct checkpoint *c, struct span *parts, const struct kind *k)
{
	struct part *part = span_push(&c->op->arena, parts, sizeof(*part));

	*part = (struct part){ .kind = k, .rec = arena_alloc(&c->op->arena, k->size) };
}

/* of what several processes share the first has the record */
static void add_process_part(const struct checkpoint *c, struct process *p, const struct kind *k)
{
	struct process *first = first_sharer(p, k->shared_by);
	const struct part *theirs = first->parts.at;

	if (first == p) {
		add_part(c, &p->parts, k);
		return;
	}
	for (size_t i = 0; i < first->parts.n; i++)
		if (theirs[i].kind == k) {
			struct part *part = span_push(&c->op->arena, &p->parts, sizeof(*part));

			*part = theirs[i];
			part->shared = true;
		}
}

/* before a call is made in the thread */
static int admit(const struct checkpoint *c, const struct sight *s)
{
	struct part *part = s->thread->parts.at;

	for (size_t i = 0; i < s->thread->parts.n; i++) {
		int r = part[i].kind->admit && !part[i].given ? part[i].kind->admit(c->op, s, part[i].rec) : 0;

		if (r < 0) {
			was_refused(c, part[i].kind, r);
			return r;
		}
	}
	return 0;
}

/* @first: of its process; else of process kinds those alone that ask this thread too */
static bool asks(const struct part *part, const struct sight *s, bool first)
{
	const struct kind *k = part->kind;

	if (!k->ask || part->shared || part->given)
		return false;
	return first || k->scope == SCOPE_THREAD || (k->asks && k->asks(s, part->rec));
}

/* A refusal ends it: what comes next may rely on what was not asked. */
static int ask(const struct checkpoint *c, struct span *parts, const struct sight *s, bool first)
{
	struct part *part = parts->at;

	for (size_t i = 0; i < parts->n; i++) {
		if (!asks(&part[i], s, first))
			continue;
		int r = part[i].kind->ask(c->op, s, part[i].rec);
		if (r < 0) {
			was_refused(c, part[i].kind, r);
			return r;
		}
	}
	return 0;
}

static int save(const struct checkpoint *c, struct span *parts, const struct sight *s)
{
	struct part *part = parts->at;

	for (size_t i = 0; i < parts->n; i++) {
		const bool saved = part[i].kind->save && !part[i].shared && !part[i].given;
		int r = saved ? part[i].kind->save(c->op, s, part[i].rec) : 0;

		if (r < 0 && !was_refused(c, part[i].kind, r))
			return r;
	}
	return 0;
}

/* what kinds of mappings ask in the first process that has one; backings are in the order of processes */
static int ask_memory(const struct checkpoint *c, struct process *p, struct batch *batch)
{
	struct backing **all = c->backings.at;
	int r = 0;

	for (size_t i = p->first_backing; r == 0 && i < c->backings.n && all[i]->process == p; i++) {
		struct backing *b = all[i];
		struct sight s = { .tree = &c->tree, .process = p, .vma = b->vma, .batch = batch };

		if (!b->kind->ask)
			continue;
		b->rec = arena_alloc(&c->op->arena, b->kind->size);
		r = b->kind->ask(c->op, &s, b->rec);
		was_refused(c, b->kind, r);
	}
	return r;
}

/* what kinds of open files ask in the process of the first descriptor; open files are in the order of processes */
static int ask_files(const struct checkpoint *c, struct process *p, struct batch *b)
{
	struct open_file **f = c->open_files.at;

	for (size_t i = p->first_file; i < c->open_files.n && f[i]->process == p; i++) {
		struct open_file *of = f[i];
		struct sight s = { .tree = &c->tree, .process = p, .fd = of->fd, .batch = b };

		if (!of->kind->ask)
			continue;
		WHERE(c->op, "fd", of->fd->n);
		of->rec = arena_alloc(&c->op->arena, of->kind->size);
		int r = of->kind->ask(c->op, &s, of->rec);
		was_refused(c, of->kind, r);
		if (r == 0 && !batch_has_room(b, 128, 8192) && (r = batch_run(b)) < 0)
			fail(c->op, r, "%s", batch_what(b));
		if (r < 0)
			return r;
	}
	int r = batch_run(b);
	return r < 0 ? fail(c->op, r, "%s", batch_what(b)) : 0;
}

/* where in these lists are those of each process? What is but open comes after what is mapped, and is not asked about */
static void find_first(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;
	struct open_file **f = c->open_files.at;
	struct backing **b = c->backings.at;

	for (size_t i = 0, file = 0, backing = 0; i < c->tree.processes.n; i++) {
		p[i]->first_file = file;
		p[i]->first_backing = backing;
		while (file < c->open_files.n && f[file]->process == p[i])
			file++;
		while (backing < c->backings.n && b[backing]->process == p[i])
			backing++;
	}
}

/* struct turn - the turn of a thread in the stub */
struct turn {
	struct process *process;
	struct thread *thread;
	bool first; /* of its process */
	struct batch batch;
	struct sight sight;
};

static int let_in(const struct checkpoint *c, struct turn *turn, struct turn *before)
{
	struct room *room = &turn->process->room;
	struct held *h = &turn->thread->held;
	int r = before ? room_take_over(room, h, &before->thread->held) : room_enter(room, h);

	return r < 0 ? fail(c->op, r, "let the thread enter the stub") : 0;
}

static void add_parts(const struct checkpoint *c, const struct turn *turn)
{
	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->scope == SCOPE_THREAD)
			add_part(c, &turn->thread->parts, *k);
		else if ((*k)->scope == SCOPE_PROCESS && turn->first)
			add_process_part(c, turn->process, *k);
}

static int prepare_turn(const struct checkpoint *c, struct turn *turn)
{
	struct process *p = turn->process;
	struct thread *t = turn->thread;
	struct sight *s = &turn->sight;
	int r = 0;

	WHERE(c->op, "thread", t->tid);
	batch_init(&turn->batch, &c->op->arena, &p->room, &t->held);
	*s = (struct sight){ .tree = &c->tree, .process = p, .thread = t, .batch = &turn->batch };
	if (t->like)
		r = give_parts(c, s, &t->parts);
	else
		add_parts(c, turn);
	return r < 0 ? r : admit(c, s);
}

/* does a kind want something that only the thread itself can ask? */
static bool is_asked(const struct turn *turn, const struct span *parts)
{
	const struct part *part = parts->at;

	for (size_t i = 0; i < parts->n; i++)
		if (asks(&part[i], &turn->sight, turn->first))
			return true;
	return false;
}

static bool needs_turn(const struct turn *turn)
{
	return is_asked(turn, &turn->thread->parts) || is_asked(turn, &turn->process->parts);
}

/* set it going with what only it can ask */
static int begin_turn(const struct checkpoint *c, struct turn *turn, struct turn *before)
{
	const struct sight *s = &turn->sight;

	WHERE(c->op, "thread", turn->thread->tid);
	int r = let_in(c, turn, before);

	if (r == 0)
		r = ask(c, &turn->process->parts, s, turn->first);
	if (r == 0)
		r = ask(c, &turn->thread->parts, s, turn->first);
	if (r < 0)
		return r;
	r = batch_start(&turn->batch);
	return r < 0 ? fail(c->op, r, "%s", batch_what(&turn->batch)) : 0;
}

static int end_turn(const struct checkpoint *c, struct turn *turn)
{
	struct process *p = turn->process;
	struct batch *b = &turn->batch;

	WHERE(c->op, "thread", turn->thread->tid);
	int r = batch_finish(b);
	if (r < 0)
		return fail(c->op, r, "%s", batch_what(b));
	if (!turn->first)
		return 0;
	r = find_shared_pages(c, p);
	if (r == 0)
		r = ask_jobctl(c, p, b);
	if (r == 0)
		r = ask_memory(c, p, b);
	return r < 0 ? r : ask_files(c, p, b);
}

static int save_thread(const struct checkpoint *c, struct process *p, struct thread *t)
{
	const struct sight s = { .tree = &c->tree, .process = p, .thread = t };

	WHERE(c->op, "thread", t->tid);
	end_by_signal(p, t);
	return save(c, &t->parts, &s);
}

/*
 * Each thread that is asked is let in when the one before it has ended its turn, and while it runs what that has said is saved; of
 * the first thread before that, as its kinds may look at the others, which must stand still.
 */
static int take_turn(const struct checkpoint *c, struct turn *turn, struct turn *before)
{
	int r = begin_turn(c, turn, before);
	int saved = r == 0 && before && !before->first ? save_thread(c, before->process, before->thread) : 0;

	if (r == 0)
		r = end_turn(c, turn); /* in any case: nobody may be left running */
	r = saved < 0 ? saved : r;
	return r == 0 && turn->first ? save_thread(c, turn->process, turn->thread) : r;
}

/* @late: which of them are left to save_late(), as nobody in the stub need wait for that */
static int save_threads(const struct checkpoint *c, struct process *p, bool *late)
{
	struct thread *t = p->threads.at;
	struct turn *turn = NULL, *before = NULL;
	int r = 0;

	for (size_t i = 0; i < p->threads.n && r == 0; i++) {
		if (turn == before)
			turn = arena_alloc(&c->op->arena, sizeof(*turn));
		*turn = (struct turn){ .process = p, .thread = &t[i], .first = i == 0 };
		r = prepare_turn(c, turn);
		if (r == 0 && !needs_turn(turn)) {
			late[i] = t[i].like;
			r = late[i] ? 0 : save_thread(c, p, &t[i]);
			continue;
		}
		if (r == 0)
			r = take_turn(c, turn, before);
		before = turn;
	}
	if (r < 0 || !before)
		return r;
	r = room_leave(&p->room, &before->thread->held);
	if (r < 0)
		return fail(c->op, r, "let the thread leave the stub");
	return before->first ? 0 : save_thread(c, p, before->thread);
}

static int save_late(const struct checkpoint *c, struct process *p, const bool *late)
{
	struct thread *t = p->threads.at;
	int r = 0;

	for (size_t i = 0; i < p->threads.n && r == 0; i++)
		if (late[i])
			r = save_thread(c, p, &t[i]);
	return r;
}

/* struct scanning - of the page tables of a process, beside what its tracer does */
struct scanning {
	struct checkpoint c;
	struct op op;
	struct process *process;
	pthread_t thread;
	int r;
};

static void *scan(void *data)
{
	struct scanning *s = data;

	s->r = find_own_pages(&s->c, s->process);
	return NULL;
}

/* false: it is not worth a thread, or there is none */
static bool scan_begin(struct scanning *s, const struct checkpoint *c, struct process *p)
{
	if (p->threads.n < SCAN_ASIDE || pool_cpus() == 1)
		return false;
	*s = (struct scanning){ .c = *c, .process = p };
	op_fork(&s->op, c->op);
	s->c.op = &s->op;
	return thread_start(&s->thread, STACK_SMALL, scan, s) == 0;
}

static int scan_end(struct scanning *s, const struct checkpoint *c)
{
	pthread_join(s->thread, NULL);
	if (s->r < 0)
		op_join(c->op, &s->op);
	else
		arena_join(&c->op->arena, &s->op.arena);
	return s->r;
}

/* all threads of a process; when none of them is in the stub any more, the pages that it has */
static int save_living(const struct checkpoint *c, struct process *p)
{
	bool *late = arena_array(&c->op->arena, p->threads.n, sizeof(*late));
	struct scanning scanning;
	int r = save_threads(c, p, late);

	if (r < 0)
		return r;
	const bool aside = scan_begin(&scanning, c, p);
	r = save_late(c, p, late);
	int scanned = aside ? scan_end(&scanning, c) : r < 0 ? 0 : find_own_pages(c, p);
	return r < 0 ? r : scanned;
}

/* nobody can ask it any more */
static int save_ended(const struct checkpoint *c, struct process *p)
{
	struct thread *t = p->ended;
	struct sight s = { .tree = &c->tree, .process = p, .thread = t };

	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->outlives)
			add_part(c, &t->parts, *k);
	return save(c, &t->parts, &s);
}

static int save_process(const struct checkpoint *c, struct process *p)
{
	struct thread *t = p->threads.at;
	struct sight s = { .tree = &c->tree, .process = p, .thread = t };
	int r = p->zombie ? 0 : dig_room(c, p);

	if (r == 0 && p->ended)
		r = save_ended(c, p);
	if (r == 0 && !p->zombie)
		r = save_living(c, p);
	if (r < 0 || p->zombie)
		return r;
	drop_common(p);
	r = save(c, &p->parts, &s);
	if (r < 0)
		return r;
	r = room_fill(&p->room);
	return r < 0 ? fail(c->op, r, "take the stub out of the process again") : 0;
}

static void number(struct checkpoint *c, struct span *parts, const struct process *p)
{
	struct part *part = parts->at;

	for (size_t i = 0; i < parts->n; i++) {
		if (!part[i].shared) {
			part[i].id = c->next_id++;
			continue;
		}
		const struct process *first = first_sharer(p, part[i].kind->shared_by);
		const struct part *theirs = first->parts.at;
		for (size_t k = 0; k < first->parts.n; k++)
			if (theirs[k].kind == part[i].kind)
				part[i].id = theirs[k].id;
	}
}

int save_parts(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	find_children(c);
	find_first(c);
	int r = crew_each(c, "asking", save_process);
	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct thread *t = p[i]->threads.at;

		if (p[i]->ended)
			number(c, &p[i]->ended->parts, p[i]);
		number(c, &p[i]->parts, p[i]);
		for (size_t k = 0; k < p[i]->threads.n; k++)
			number(c, &t[k].parts, p[i]);
	}
	return r;
}
