/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the task kinds say of processes and threads: one batch a thread for what only the thread itself can ask the
 * kernel, everything else from outside.
 */
#include "core/core.h"

#include <sys/syscall.h>

static void add_part(struct checkpoint *c, struct span *parts, const struct kind *k)
{
	struct part *part = span_push(&c->op->arena, parts, sizeof(*part));

	*part = (struct part){ .kind = k, .rec = arena_alloc(&c->op->arena, k->size), .id = c->next_id++ };
}

/* of what several processes share the first has the record */
static void add_process_part(struct checkpoint *c, struct process *p, const struct kind *k)
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
static int admit(struct checkpoint *c, const struct sight *s)
{
	struct part *part = s->thread->parts.at;

	for (size_t i = 0; i < s->thread->parts.n; i++) {
		int r = part[i].kind->admit ? part[i].kind->admit(c->op, s, part[i].rec) : 0;

		if (r < 0) {
			was_refused(c, part[i].kind, r);
			return r;
		}
	}
	return 0;
}

/* @all: else only kinds that ask every thread. A refusal ends it: what comes next may rely on what was not asked. */
static int ask(struct checkpoint *c, struct span *parts, const struct sight *s, bool all)
{
	struct part *part = parts->at;

	for (size_t i = 0; i < parts->n; i++) {
		if (!part[i].kind->ask || part[i].shared || (!all && !part[i].kind->asks_all))
			continue;
		int r = part[i].kind->ask(c->op, s, part[i].rec);
		if (r < 0) {
			was_refused(c, part[i].kind, r);
			return r;
		}
	}
	return 0;
}

static int save(struct checkpoint *c, struct span *parts, const struct sight *s)
{
	struct part *part = parts->at;

	for (size_t i = 0; i < parts->n; i++) {
		int r = part[i].kind->save && !part[i].shared ? part[i].kind->save(c->op, s, part[i].rec) : 0;

		if (r < 0 && !was_refused(c, part[i].kind, r))
			return r;
	}
	return 0;
}

/* what kinds of open files ask in the process of the first descriptor; open files are in the order of processes */
static int ask_files(struct checkpoint *c, struct process *p, struct batch *b)
{
	struct open_file **f = c->open_files.at;

	for (; c->n_asked < c->open_files.n && f[c->n_asked]->process == p; c->n_asked++) {
		struct open_file *of = f[c->n_asked];
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

static int save_thread(struct checkpoint *c, struct process *p, struct thread *t, bool first)
{
	struct batch b;
	struct sight s = { .tree = &c->tree, .process = p, .thread = t, .batch = &b };

	WHERE(c->op, "thread", t->tid);
	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->scope == SCOPE_THREAD)
			add_part(c, &t->parts, *k);
		else if ((*k)->scope == SCOPE_PROCESS && first)
			add_process_part(c, p, *k);
	batch_init(&b, &c->op->arena, &p->room, &t->held);
	int r = admit(c, &s);
	if (r < 0)
		return r;
	r = room_enter(&p->room, &t->held);
	if (r < 0)
		return fail(c->op, r, "let the thread enter the stub");
	r = ask(c, &p->parts, &s, first);
	if (r == 0)
		r = ask(c, &t->parts, &s, true);
	if (r < 0)
		return r;
	r = batch_run(&b);
	if (r < 0)
		return fail(c->op, r, "%s", batch_what(&b));
	r = first ? find_shared_pages(c, p) : 0;
	if (r == 0 && first)
		r = ask_jobctl(c, p, &b);
	if (r == 0 && first)
		r = ask_files(c, p, &b);
	if (r < 0)
		return r;
	r = room_leave(&p->room, &t->held);
	if (r < 0)
		return fail(c->op, r, "let the thread leave the stub");
	s.batch = NULL;
	end_by_signal(p, t);
	return save(c, &t->parts, &s);
}

/* nobody can ask it any more */
static int save_ended(struct checkpoint *c, struct process *p)
{
	struct thread *t = p->ended;
	struct sight s = { .tree = &c->tree, .process = p, .thread = t };

	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->outlives)
			add_part(c, &t->parts, *k);
	return save(c, &t->parts, &s);
}

static int save_process(struct checkpoint *c, struct process *p)
{
	struct thread *t = p->threads.at;
	struct sight s = { .tree = &c->tree, .process = p, .thread = t };
	int r = p->ended ? save_ended(c, p) : 0;

	for (size_t k = 0; k < p->threads.n && r == 0; k++)
		r = save_thread(c, p, &t[k], k == 0);
	return r < 0 || p->zombie ? r : save(c, &p->parts, &s);
}

int save_parts(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	find_children(c);
	for (size_t i = 0; i < c->tree.processes.n; i++) {
		WHERE_TASK(c->op, p[i]->pid, p[i]->stat.comm);
		int r = p[i]->zombie ? 0 : dig_room(c, p[i]);
		if (r == 0)
			r = save_process(c, p[i]);
		if (r < 0)
			return r;
		if (p[i]->zombie)
			continue;
		r = watch_tell(c->op, &c->watch, "asking", i, 0);
		if (r < 0)
			return r;
		r = room_fill(&p[i]->room);
		if (r < 0)
			return fail(c->op, r, "take the stub out of the process again");
	}
	return 0;
}
