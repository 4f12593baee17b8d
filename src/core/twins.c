/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is read of a thread: first what differs, for core and for the kinds that have a tell(), then all that must be alike.
 */
#include "core/twins.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/pool.h"
#include "core/core.h"

enum {
	WORTH = 100, /* threads: it takes as long to make ready as to ask so many */
	MODELS = 32, /* of a process: with them others are compared */
	COMM_LEN = 16, /* TASK_COMM_LEN */
};

/* the first members, in the order of struct differs */
enum {
	OWN_COMM,
	OWN_PENDING,
	OWN_RSEQ,
	OWN_NUMBER,
};

/* struct differs - what core wants to know of a thread that is like another, as it is read */
struct differs {
	char comm[COMM_LEN];
	uint64_t sigpnd;
	uint64_t rseq; /* its area */
	int32_t vtid;
};

/* what decides about the rest of /proc/PID/task/TID/status and stat, and about namespaces */
static const struct member alike[] = {
	{ "cred", 8, NULL },
	{ "real_cred", 8, NULL },
	{ "nsproxy", 8, NULL },
	{ "fs", 8, NULL },
	{ "files", 8, NULL },
	{ "flags", 4, NULL },
	{ "atomic_flags", 8, NULL },
	{ "seccomp.mode", 4, NULL },
	{ "seccomp.filter", 8, NULL },
	{ NULL, 0, NULL },
};

/* struct own - a kind of which each thread that is like another has a part */
struct own {
	const struct kind *kind;
	size_t rec; /* where its record is, behind the parts */
	size_t told, first; /* where what it is told begins: in what is read, and in the members */
	bool is_told; /* and all of it is there */
};

struct twins {
	struct insight *insight; /* NULL: it is not to be had */
	struct span members; /* of struct member */
	struct own *own;
	size_t n_own, recs_len; /* bytes of its records */
	uint32_t alike_at, len;
	bool lacks_rseq; /* of the members that differ */
	unsigned int levels; /* of pid namespaces: in the innermost a thread has its number */
	pthread_t reader;
	bool reads; /* the reader is there */
	struct arena arena; /* its */
	struct map kept; /* by tid */
	int err;
};

/* ---- making ready ---- */

static size_t round_up(size_t len)
{
	return (len + 15) / 16 * 16;
}

static bool has(const struct twins *w, size_t from, const struct member *m)
{
	const struct member *all = w->members.at;

	for (size_t i = from; i < w->members.n; i++)
		if (strcmp(all[i].path, m->path) == 0 && all[i].size == m->size)
			return true;
	return false;
}

static void add(struct arena *a, struct twins *w, const struct member *m)
{
	*(struct member *)span_push(a, &w->members, sizeof(*m)) = *m;
	w->len = insight_place(w->len, m) + m->size;
}

static void add_differing(struct arena *a, struct twins *w, unsigned int level)
{
	const struct member own[] = {
		[OWN_COMM] = { "comm", COMM_LEN, NULL },
		[OWN_PENDING] = { "pending.signal", sizeof(uint64_t), NULL },
		[OWN_RSEQ] = { .path = "rseq", .size = sizeof(uint64_t), .spare = true },
		[OWN_NUMBER] = { arena_printf(a, "thread_pid->numbers[%u].nr", level), sizeof(int32_t), NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		add(a, w, &own[i]);
}

static void add_own(struct arena *a, struct twins *w, const struct kind *k)
{
	struct own *o = &w->own[w->n_own++];

	*o = (struct own){ k, w->recs_len, k->told ? insight_place(w->len, k->told) : 0, w->members.n, k->told };
	w->recs_len += round_up(k->size);
	for (const struct member *m = k->told; m && m->path; m++)
		add(a, w, m);
}

static void list_own(struct arena *a, struct twins *w)
{
	size_t n = 0;

	while (kinds[n])
		n++;
	w->own = arena_array(a, n, sizeof(*w->own));
	for (size_t i = 0; i < n; i++)
		if (kinds[i]->scope == SCOPE_THREAD && !kinds[i]->alike)
			add_own(a, w, kinds[i]);
}

static void add_alike(struct arena *a, struct twins *w)
{
	const size_t from = w->members.n;

	w->alike_at = w->len;
	for (const struct member *m = alike; m->path; m++)
		add(a, w, m);
	for (const struct kind *const *k = kinds; *k; k++)
		for (const struct member *m = (*k)->alike; m && m->path; m++)
			if (!has(w, from, m))
				add(a, w, m);
}

static bool is_enough(const struct tree *tree)
{
	bool enough = true;

	for (const struct kind *const *k = kinds; *k; k++)
		enough &= !(*k)->likens || (*k)->likens(tree);
	return enough;
}

/* a kind that lacks one of its members sees by itself, and so does core */
static void find_incomplete(struct twins *w)
{
	w->lacks_rseq = insight_lacks(w->insight, OWN_RSEQ);
	for (size_t i = 0; i < w->n_own; i++)
		for (size_t k = 0; w->own[i].kind->told && w->own[i].kind->told[k].path; k++)
			w->own[i].is_told &= !insight_lacks(w->insight, w->own[i].first + k);
}

/* @n: threads besides the first of each process; once is enough, whatever comes of it. @dir: /proc/PID of the root */
static void make_ready(struct checkpoint *c, int dir, size_t n)
{
	struct arena *a = &c->op->arena;
	struct proc_status root;

	if (n < WORTH || c->twins || proc_read_status(a, dir, &root) < 0 || !root.levels)
		return;
	struct twins *w = arena_alloc(a, sizeof(*w));
	c->twins = w;
	arena_init(&w->arena);
	if (!is_enough(&c->tree))
		return;
	w->levels = root.levels;
	add_differing(a, w, w->levels - 1);
	list_own(a, w);
	add_alike(a, w);
	if (insight_open(w->members.at, w->members.n, &w->insight) < 0)
		w->insight = NULL;
	else
		find_incomplete(w);
}

void twins_look_ahead(struct checkpoint *c)
{
	_cleanup_close_ int dir = proc_open(c->procfd, c->target);

	if (dir >= 0)
		make_ready(c, dir, proc_count_threads(dir));
}

void twins_close(struct checkpoint *c)
{
	struct twins *w = c->twins;

	if (!w)
		return;
	if (w->reads)
		pthread_join(w->reader, NULL);
	arena_done(&w->arena);
	insight_close(w->insight);
	c->twins = NULL;
}

/* ---- reading ---- */

static void *read_all_threads(void *data)
{
	struct twins *w = data;

	w->err = insight_read(w->insight, &w->arena, &w->kept);
	return NULL;
}

void twins_read(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;
	size_t n = 0;

	for (size_t i = 0; i < c->tree.processes.n; i++)
		n += p[i]->threads.n > 1 ? p[i]->threads.n - 1 : 0;
	if (!c->tree.frozen)
		return;
	make_ready(c, c->root->dir, n);
	struct twins *w = c->twins;
	if (!w || !w->insight)
		return;
	w->reads = thread_start(&w->reader, STACK_SMALL, read_all_threads, w) == 0;
	if (!w->reads)
		read_all_threads(w);
}

/* ---- comparing ---- */

/* has it something that nobody else can have a share in? */
static bool is_apart(const struct twins *w, const struct thread *t)
{
	const struct member *m = w->members.at;
	uint32_t at = 0;

	for (size_t i = 0; i < w->members.n; at += m[i++].size) {
		at = insight_place(at, &m[i]);
		for (uint32_t k = 0; m[i].sets_apart && k < m[i].size; k++)
			if (t->kept[at + k])
				return true;
	}
	return false;
}

/* with those that were like none before */
static struct thread *find_model(const struct twins *w, const struct span *models, const struct thread *t)
{
	struct thread **m = models->at;

	for (size_t i = 0; i < models->n; i++)
		if (memcmp(m[i]->kept + w->alike_at, t->kept + w->alike_at, w->len - w->alike_at) == 0)
			return m[i];
	return NULL;
}

static void compare(struct checkpoint *c, struct process *p)
{
	struct thread *t = p->threads.at;
	struct span models = { 0 };

	for (size_t i = 0; i < p->threads.n; i++) {
		t[i].kept = map_get(&c->twins->kept, (uint64_t)t[i].tid);
		if (t[i].kept && is_apart(c->twins, &t[i]))
			t[i].kept = NULL;
		t[i].like = t[i].kept ? find_model(c->twins, &models, &t[i]) : NULL;
		if (t[i].kept && !t[i].like && models.n < MODELS)
			*(struct thread **)span_push(&c->op->arena, &models, sizeof(struct thread *)) = &t[i];
	}
}

void find_twins(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;
	struct twins *w = c->twins;

	if (!w || !w->insight || !c->tree.frozen)
		return;
	if (w->reads)
		pthread_join(w->reader, NULL);
	w->reads = false;
	if (w->err < 0 || c->root->status.levels != w->levels)
		return;
	for (size_t i = 0; i < c->tree.processes.n; i++)
		if (p[i]->threads.n > 1)
			compare(c, p[i]);
}

bool find_rseq(const struct checkpoint *c, const struct thread *t, uint64_t *ret)
{
	struct differs d;

	if (!t->kept || c->twins->lacks_rseq)
		return false;
	memcpy(&d, t->kept, sizeof(d));
	*ret = d.rseq;
	return true;
}

static void take_after_one(const struct checkpoint *c, const struct process *p, struct thread *t)
{
	struct differs d;

	memcpy(&d, t->kept, sizeof(d));
	t->vtid = d.vtid;
	t->status = t->like->status;
	t->status.pid = t->tid;
	t->status.nspid[c->root->status.levels - 1] = d.vtid;
	t->status.sigpnd = d.sigpnd;
	t->stat = t->like->stat;
	t->stat.pid = t->tid;
	snprintf(t->stat.comm, sizeof(t->stat.comm), "%.*s", COMM_LEN, d.comm);
	memcpy(t->ns, t->like == p->threads.at ? p->ns : t->like->ns, sizeof(t->ns));
}

void take_after(const struct checkpoint *c, struct process *p)
{
	struct thread *t = p->threads.at;

	for (size_t i = 1; i < p->threads.n; i++)
		if (t[i].like)
			take_after_one(c, p, &t[i]);
}

/* ---- parts ---- */

int give_parts(const struct checkpoint *c, const struct sight *s, struct span *ret)
{
	const struct twins *w = c->twins;
	const size_t parts_len = round_up(w->n_own * sizeof(struct part));
	struct part *part = arena_alloc(&c->op->arena, parts_len + w->recs_len);
	int r = 0;

	*ret = (struct span){ part, w->n_own, w->n_own };
	for (size_t i = 0; i < w->n_own && r == 0; i++) {
		const struct own *o = &w->own[i];

		part[i] = (struct part){ .kind = o->kind, .given = o->is_told };
		part[i].rec = (char *)part + parts_len + o->rec;
		if (o->is_told)
			r = o->kind->tell(c->op, s, part[i].rec, s->thread->kept + o->told);
	}
	return r;
}

/* @model has one of each kind, in the order of the table as well */
static void drop_equal(struct span *parts, const struct part *model)
{
	struct part *part = parts->at;
	size_t kept = 0;

	for (size_t i = 0; i < parts->n; i++) {
		const struct kind *k = part[i].kind;

		while (model->kind != k)
			model++;
		if (!k->common || !record_same(k->fields, part[i].rec, model->rec))
			part[kept++] = part[i];
	}
	parts->n = kept;
}

void drop_common(struct process *p)
{
	struct thread *t = p->threads.at;

	for (size_t i = 0; i < p->threads.n; i++)
		if (t[i].like)
			drop_equal(&t[i].parts, t[i].like->parts.at);
}
