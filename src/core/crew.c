/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/crew.h"

#include <pthread.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/pool.h"
#include "core/core.h"

#define LANES_MOST 16
#define ITEMS_MIN  3 /* for which it is worth to make threads */

/* struct turn - what an item has left in the operation of the lane that did it */
struct turn {
	struct op *op;
	size_t obstacle, obstacles, note, notes; /* from where on, and to where */
};

struct pass {
	const char *phase;
	crew_fn *fn;
	void *data;
	size_t from, to; /* items */
	struct process **owners; /* the processes that are the items; NULL: whoever is free takes one */
	bool alone; /* of these: is it the turn of those that share? */
	size_t next, failed; /* the first that is not taken yet, and the first that failed */
	struct turn *turns;
};

/* struct hand - a lane, its thread, and what it works with */
struct hand {
	struct lane lane;
	struct crew *crew;
	pthread_t thread;
	unsigned int seen; /* passes that it knows of */
	struct checkpoint c;
	struct op op;
	int r; /* of the item that failed, */
	size_t failed; /* and which that is */
};

struct crew {
	pthread_mutex_t lock; /* of what belongs to several processes */
	pthread_mutex_t tree_lock; /* of what kinds find out about the tree */
	pthread_mutex_t gate; /* of what follows */
	pthread_cond_t go, done;
	unsigned int passes, busy; /* how many have begun; who is not done with the last one */
	bool ends;
	struct pass pass;
	unsigned int most, n; /* lanes there may be, and are */
	struct hand hands[LANES_MOST];
};

void crew_lock(const struct checkpoint *c)
{
	pthread_mutex_lock(&c->crew->lock);
}

void crew_unlock(const struct checkpoint *c)
{
	pthread_mutex_unlock(&c->crew->lock);
}

/* ---- one lane ---- */

static bool shares(const struct process *p)
{
	return p->shares && p->shares->any;
}

static bool is_mine(const struct hand *h, const struct pass *p, size_t i)
{
	return p->owners[i]->lane == h->lane.n && (i == 0 || h->crew->most == 1 || shares(p->owners[i]) == p->alone);
}

static size_t next_item(struct hand *h, struct pass *p, size_t after)
{
	if (!p->owners)
		return __atomic_fetch_add(&p->next, 1, __ATOMIC_RELAXED);
	while (after < p->to && !is_mine(h, p, after))
		after++;
	return after;
}

static void tell_failure(struct pass *p, size_t i)
{
	size_t was = __atomic_load_n(&p->failed, __ATOMIC_RELAXED);

	while (i < was && !__atomic_compare_exchange_n(&p->failed, &was, i, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void do_item(struct hand *h, struct pass *p, size_t i)
{
	struct turn *t = &p->turns[i - p->from];

	*t = (struct turn){ .op = &h->op, .obstacle = h->op.obstacles.n, .note = h->op.notes.n };
	int r = p->fn(&h->c, p->data, i);
	if (r == 0 && p->phase)
		r = watch_tell(&h->op, &h->c.watch, p->phase, i, 0);
	t->obstacles = h->op.obstacles.n;
	t->notes = h->op.notes.n;
	if (r == 0)
		return;
	h->r = r;
	h->failed = i;
	tell_failure(p, i);
}

/* others may be ahead: what comes before the first that failed is done all the same, so that it is the same each time */
static void walk(struct hand *h, struct pass *p)
{
	for (size_t i = next_item(h, p, p->from); i < p->to && h->r == 0; i = next_item(h, p, i + 1)) {
		if (i > __atomic_load_n(&p->failed, __ATOMIC_RELAXED))
			break;
		do_item(h, p, i);
	}
}

/* ---- all of them ---- */

static void *stand_by(void *data)
{
	struct hand *h = data;
	struct crew *crew = h->crew;

	pthread_mutex_lock(&crew->gate);
	for (;;) {
		while (crew->passes == h->seen && !crew->ends)
			pthread_cond_wait(&crew->go, &crew->gate);
		if (crew->ends)
			break;
		h->seen = crew->passes;
		pthread_mutex_unlock(&crew->gate);
		walk(h, &crew->pass);
		pthread_mutex_lock(&crew->gate);
		if (--crew->busy == 0)
			pthread_cond_signal(&crew->done);
	}
	pthread_mutex_unlock(&crew->gate);
	return NULL;
}

/* no more of them than there is to be done at once, which may be more another time */
static void call_up(struct crew *crew, size_t items)
{
	while (crew->n < crew->most && crew->n < items) {
		struct hand *h = &crew->hands[crew->n];

		*h = (struct hand){ .lane = { .n = crew->n }, .crew = crew, .seen = crew->passes };
		if (thread_start(&h->thread, LANE_STACK, stand_by, h) < 0) {
			crew->most = crew->n;
			return;
		}
		crew->n++;
	}
}

static void prepare(struct hand *h, const struct checkpoint *c)
{
	op_fork(&h->op, c->op);
	h->c = *c;
	h->c.op = &h->op;
	h->c.lane = &h->lane;
	h->lane.n_refused = 0;
	if (h->lane.n)
		h->c.watch.progress = NULL; /* who follows it hears of it from one */
	h->r = 0;
}

/* is there nobody else, or one thing that nobody else need wake up for? */
static bool is_for_us(const struct crew *crew)
{
	const struct pass *p = &crew->pass;

	return crew->n == 1 || (p->to - p->from == 1 && (!p->owners || p->owners[p->from]->lane == 0));
}

static void work(struct crew *crew)
{
	if (is_for_us(crew)) {
		walk(&crew->hands[0], &crew->pass);
		return;
	}
	pthread_mutex_lock(&crew->gate);
	crew->passes++;
	crew->busy = crew->n - 1;
	pthread_cond_broadcast(&crew->go);
	pthread_mutex_unlock(&crew->gate);
	walk(&crew->hands[0], &crew->pass);
	pthread_mutex_lock(&crew->gate);
	while (crew->busy)
		pthread_cond_wait(&crew->done, &crew->gate);
	pthread_mutex_unlock(&crew->gate);
}

static void join_turn(struct op *op, const struct turn *t)
{
	for (size_t i = t->obstacle; i < t->obstacles; i++)
		*(struct obstacle *)span_push(&op->arena, &op->obstacles, sizeof(struct obstacle)) =
			((struct obstacle *)t->op->obstacles.at)[i];
	for (size_t i = t->note; i < t->notes; i++)
		*(struct note *)span_push(&op->arena, &op->notes, sizeof(struct note)) =
			((struct note *)t->op->notes.at)[i];
}

static int join(struct checkpoint *c, struct pass *p)
{
	struct crew *crew = c->crew;
	int r = 0;

	/* who was ahead of the first that failed has told what it would not have come to */
	for (size_t i = 0; i < p->to - p->from && p->from + i <= p->failed; i++)
		if (p->turns[i].op)
			join_turn(c->op, &p->turns[i]);
	crew->hands[0].lane.n_refused = c->op->obstacles.n;
	for (unsigned int i = 0; i < crew->n; i++) {
		struct hand *h = &crew->hands[i];

		if (h->r < 0 && h->failed == p->failed) { /* its story is told, and of no other */
			r = h->r;
			op_join(c->op, &h->op);
		}
	}
	for (unsigned int i = 0; i < crew->n; i++)
		arena_join(&c->op->arena, &crew->hands[i].op.arena);
	c->watch.last = crew->hands[0].c.watch.last;
	return r;
}

static int run(struct checkpoint *c, const struct pass *pass)
{
	struct crew *crew = c->crew;
	struct pass *p = &crew->pass;
	size_t n = pass->to - pass->from;

	if (!n)
		return 0;
	if (n >= ITEMS_MIN)
		call_up(crew, n);
	*p = *pass;
	p->next = p->from;
	p->failed = SIZE_MAX;
	p->turns = arena_array(&c->op->arena, n, sizeof(*p->turns));
	for (unsigned int i = 0; i < crew->n; i++)
		prepare(&crew->hands[i], c);
	work(crew);
	return join(c, p);
}

int crew_share(struct checkpoint *c, const char *phase, size_t n, crew_fn *fn, void *data)
{
	return run(c, &(struct pass){ .phase = phase, .fn = fn, .data = data, .to = n });
}

/* struct each - what crew_each() is to do */
struct each {
	struct process **processes;
	crew_process_fn *fn;
};

static int do_process(const struct checkpoint *c, void *data, size_t i)
{
	const struct each *e = data;
	struct process *p = e->processes[i];

	WHERE_TASK(c->op, p->pid, p->stat.comm);
	return e->fn(c, p);
}

static int run_range(struct checkpoint *c, struct pass *pass, size_t from, size_t to)
{
	pass->from = from;
	pass->to = to;
	return from < to && to <= c->tree.processes.n ? run(c, pass) : 0;
}

int crew_each(struct checkpoint *c, const char *phase, crew_process_fn *fn)
{
	struct process **p = c->tree.processes.at;
	size_t n = c->tree.processes.n;
	struct each each = { p, fn };
	struct pass pass = { .phase = phase, .fn = do_process, .data = &each, .owners = p };
	int r = run_range(c, &pass, 0, 1);

	if (r == 0)
		r = run_range(c, &pass, 1, n);
	pass.alone = true;
	for (size_t i = 1; i < n && r == 0 && c->crew->most > 1; i++)
		if (shares(p[i]))
			r = run_range(c, &pass, i, i + 1);
	return r;
}

/* struct others - what crew_others() is to do, to each of @all */
struct others {
	crew_thread_fn *fn;
	struct span all; /* of struct other */
};

struct other {
	struct process *process;
	struct thread *thread;
};

static int do_other(const struct checkpoint *c, void *data, size_t i)
{
	const struct others *o = data;
	const struct other *t = (struct other *)o->all.at + i;

	WHERE_TASK(c->op, t->process->pid, t->process->stat.comm);
	return o->fn(c, t->process, t->thread);
}

static void add_other(struct checkpoint *c, struct others *o, struct process *p, struct thread *t)
{
	*(struct other *)span_push(&c->op->arena, &o->all, sizeof(struct other)) = (struct other){ p, t };
}

int crew_others(struct checkpoint *c, const char *phase, crew_thread_fn *fn)
{
	struct process **p = c->tree.processes.at;
	struct others others = { .fn = fn };

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct thread *t = p[i]->threads.at;

		if (p[i]->ended)
			add_other(c, &others, p[i], p[i]->ended);
		for (size_t k = 1; k < p[i]->threads.n; k++)
			add_other(c, &others, p[i], &t[k]);
	}
	return crew_share(c, phase, others.all.n, do_other, &others);
}

/* ---- its life ---- */

void crew_init(struct checkpoint *c, unsigned int lanes)
{
	struct crew *crew = arena_alloc(&c->op->arena, sizeof(*crew));

	pthread_mutex_init(&crew->lock, NULL);
	pthread_mutex_init(&crew->tree_lock, NULL);
	pthread_mutex_init(&crew->gate, NULL);
	pthread_cond_init(&crew->go, NULL);
	pthread_cond_init(&crew->done, NULL);
	crew->most = lanes < LANES_MOST ? lanes : LANES_MOST;
	crew->n = 1;
	crew->hands[0].crew = crew;
	c->crew = crew;
	c->tree.lock = &crew->tree_lock;
	c->lane = &crew->hands[0].lane;
}

void crew_done(struct checkpoint *c)
{
	struct crew *crew = c->crew;

	pthread_mutex_lock(&crew->gate);
	crew->ends = true;
	pthread_cond_broadcast(&crew->go);
	pthread_mutex_unlock(&crew->gate);
	for (; crew->n > 1; crew->n--)
		pthread_join(crew->hands[crew->n - 1].thread, NULL);
	for (unsigned int i = 0; i < crew->most; i++) {
		struct lane *l = &crew->hands[i].lane;

		if (l->root_dir.of)
			fd_close(l->root_dir.fd);
		if (l->regs.tried)
			fd_close(l->regs.fd);
	}
	pthread_cond_destroy(&crew->done);
	pthread_cond_destroy(&crew->go);
	pthread_mutex_destroy(&crew->gate);
	pthread_mutex_destroy(&crew->tree_lock);
	pthread_mutex_destroy(&crew->lock);
}
