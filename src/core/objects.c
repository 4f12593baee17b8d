/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which kernel objects there are: each open file and each backing of a mapping once, with the kind it belongs to and
 * whether that kind can keep it. The same code serves `check` and `checkpoint`.
 */
#include "core/core.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>

/* ---- which descriptors share one open file ---- */

struct entry {
	struct process *process;
	struct proc_fd *fd;
	size_t order;
	struct proc_fd *like; /* the same open file in the parent */
};

/*
 * Descriptors of the same inode with the same position and flags may be the same open file; kcmp(2) tells, and gives an
 * order besides, so that sorting finds the equal ones.
 */
static int by_likeness(const struct entry *x, const struct entry *y)
{
#define ORDER(m)                  \
	if (x->fd->m != y->fd->m) \
	return x->fd->m < y->fd->m ? -1 : 1
	ORDER(dev);
	ORDER(st_ino);
	ORDER(flags);
	ORDER(pos);
#undef ORDER
	return 0;
}

static int by_file(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int r = by_likeness(x, y);

	if (r)
		return r;
	r = proc_kcmp(x->process->tid, y->process->tid, KCMP_FILE, (unsigned long)x->fd->n, (unsigned long)y->fd->n);
	if (r == 1 || r == 2)
		return r == 1 ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool same_file(const struct entry *x, const struct entry *y)
{
	return by_likeness(x, y) == 0 && proc_kcmp(x->process->tid, y->process->tid, KCMP_FILE, (unsigned long)x->fd->n,
						 (unsigned long)y->fd->n) == 0;
}

/* Mostly a descriptor is what fork made of the parent's with that number: the parent's, or NULL. @from: where to look first */
static struct proc_fd *inherited_from(const struct entry *e, size_t *from)
{
	const struct process *up = e->process->parent;
	struct proc_fd *f = up ? up->fds.at : NULL;
	size_t n = up ? up->fds.n : 0;

	if (e->fd->like) /* it was found out when they were read */
		return e->fd->like;
	while (*from < n && f[*from].n < e->fd->n)
		(*from)++;
	if (*from == n || f[*from].n != e->fd->n)
		return NULL;
	const struct entry theirs = { .process = (struct process *)up, .fd = &f[*from] };
	return same_file(&theirs, e) ? &f[*from] : NULL;
}

/* all that have to be compared with each other in @e, all others in @rest, whose ->like is one that comes before them */
static struct entry *list_descriptors(struct checkpoint *c, size_t *ret_n, struct span *rest)
{
	struct process **p = c->tree.processes.at;
	size_t n = c->tree.holders.n, at = 0, order = 0;
	struct entry *e = arena_array(&c->op->arena, n + 1, sizeof(*e));

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct proc_fd *f = p[i]->fds.at;
		size_t from = 0;

		for (size_t k = 0; k < p[i]->fds.n; k++, order++) {
			e[at] = (struct entry){ p[i], &f[k], order, NULL };
			e[at].like = inherited_from(&e[at], &from);
			if (e[at].like)
				*(struct entry *)span_push(&c->op->arena, rest, sizeof(*e)) = e[at];
			else
				at++;
		}
	}
	*ret_n = at;
	return e;
}

static int by_first(const void *a, const void *b)
{
	const struct open_file *const *x = a, *const *y = b;

	return (*x)->order < (*y)->order ? -1 : (*x)->order > (*y)->order;
}

/* gives every descriptor its open file (in fd->file), and lists the open files in tree order */
int collect_open_files(struct checkpoint *c)
{
	size_t n;
	struct span rest = { 0 };
	struct entry *e = list_descriptors(c, &n, &rest);
	struct open_file *of = NULL;

	qsort(e, n, sizeof(*e), by_file);
	for (size_t i = 0; i < n; i++) {
		if (!i || !same_file(&e[i - 1], &e[i])) {
			of = arena_alloc(&c->op->arena, sizeof(*of));
			*(struct open_file **)span_push(&c->op->arena, &c->open_files, sizeof(of)) = of;
			*of = (struct open_file){ .process = e[i].process, .fd = e[i].fd, .order = e[i].order };
		}
		if (e[i].order < of->order) {
			of->process = e[i].process;
			of->fd = e[i].fd;
			of->order = e[i].order;
		}
		e[i].fd->open_file = of;
	}
	e = rest.at;
	for (size_t i = 0; i < rest.n; i++)
		e[i].fd->open_file = e[i].like->open_file;
	if (c->open_files.n)
		qsort(c->open_files.at, c->open_files.n, sizeof(of), by_first);
	return 0;
}

/* ---- verdicts ---- */

static void add_object(const struct checkpoint *c, const char *kind, const char *what, bool can)
{
	if (!c->objects)
		return;
	struct stasis_object *o = span_push(&c->op->arena, c->objects, sizeof(*o));
	*o = (struct stasis_object){ op_where(c->op), kind, what, can };
}

/* is @where the place @object, or within it? */
static bool is_within(const char *where, const char *object)
{
	size_t n = strlen(object);

	return strncmp(where, object, n) == 0 && (!where[n] || where[n] == ':');
}

bool was_refused(const struct checkpoint *c, const struct kind *k, int r)
{
	struct stasis_object *o = c->objects ? c->objects->at : NULL;

	if (r != -EOPNOTSUPP || c->op->err || c->op->obstacles.n == c->lane->n_refused)
		return false;
	c->lane->n_refused = c->op->obstacles.n;
	const char *where = op_where(c->op);
	for (size_t i = 0; o && i < c->objects->n; i++)
		if (strcmp(o[i].kind, k->name) == 0 && is_within(where, o[i].where)) {
			o[i].can = false;
			return true;
		}
	add_object(c, k->name, "", false);
	return true;
}

/* refusals are obstacles, and the walk goes on; anything else is a failure */
static int judge(const struct checkpoint *c, const struct kind *k, const struct sight *s, const char *what)
{
	size_t before = c->op->obstacles.n;
	int r = k->check ? k->check(c->op, s) : 0;

	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	add_object(c, k->name, what, c->op->obstacles.n == before);
	return 0;
}

/* the list of objects is in the order of the processes: then the threads are judged with theirs, else side by side */
static bool is_listed(const struct checkpoint *c)
{
	return c->objects;
}

static int judge_thread(const struct checkpoint *c, const struct kind *k, struct process *p, struct thread *t)
{
	struct sight s = { .tree = &c->tree, .process = p, .thread = t };

	WHERE(c->op, "thread", t->tid);
	if (t->like && k->alike) { /* which was judged, and there is an image only if nothing stands against it */
		if (k->check)
			add_object(c, k->name, "", true);
		return 0;
	}
	return k->check || t == p->threads.at ? judge(c, k, &s, "") : 0;
}

static int judge_tasks(const struct checkpoint *c, struct process *p)
{
	struct thread *t = p->threads.at;
	int r = 0;

	for (const struct kind *const *k = kinds; *k && r == 0; k++) {
		struct sight s = { .tree = &c->tree, .process = p, .thread = t };
		const size_t n = is_listed(c) || (*k)->by_tracer ? p->threads.n : 1;

		if ((*k)->scope == SCOPE_PROCESS)
			r = judge(c, *k, &s, "");
		for (size_t i = 0; (*k)->scope == SCOPE_THREAD && i < n && r == 0; i++)
			r = judge_thread(c, *k, p, &t[i]);
	}
	return r;
}

static int judge_other(const struct checkpoint *c, struct process *p, struct thread *t)
{
	int r = 0;

	for (const struct kind *const *k = kinds; *k && r == 0 && t != p->ended; k++)
		if ((*k)->scope == SCOPE_THREAD && !(*k)->by_tracer)
			r = judge_thread(c, *k, p, t);
	return r;
}

static struct backing *find_backing(struct checkpoint *c, const struct kind *k, const struct sight *s)
{
	uint64_t key[2] = { 0, 0 };

	k->key(s, key);
	uint64_t mix = ((key[0] << 32 | key[0] >> 32) ^ key[1]) + k->tag;
	struct backing *first = map_get(&c->by_key, mix);
	for (struct backing *b = first; b; b = b->same_mix)
		if (b->kind == k && b->key[0] == key[0] && b->key[1] == key[1])
			return b;
	struct backing *fresh = arena_alloc(&c->op->arena, sizeof(*fresh));
	*fresh = (struct backing){ .kind = k,
		.key = { key[0], key[1] },
		.same_mix = first,
		.process = s->process,
		.vma = s->vma,
		.fd = s->fd };
	map_set(&c->op->arena, &c->by_key, mix, fresh);
	return fresh;
}

/* what keeps the object of kind @k at @s: what has its key, or what another kind has of it that this one picks */
static struct backing *find_keeper(struct checkpoint *c, const struct kind *k, const struct sight *s)
{
	struct backing *b = find_backing(c, k, s);

	if (b->keeper)
		return b->keeper;
	const struct kind *picked = k->pick ? k->pick(s) : k;
	b->keeper = picked == k ? b : find_keeper(c, picked, s);
	if (b->keeper == b)
		*(struct backing **)span_push(&c->op->arena, &c->backings, sizeof(b)) = b;
	return b->keeper;
}

/* which kind each mapping is, and what is behind it */
static void know_memory(struct checkpoint *c, struct process *p)
{
	struct proc_vma *vma = p->vmas.at;

	for (size_t i = 0; i < p->vmas.n; i++) {
		struct sight s = { .tree = &c->tree, .process = p, .vma = &vma[i] };

		const struct kind *k = kind_of_vma(&s);

		vma[i].kind = k;
		if (!k || !k->key)
			continue;
		struct backing *b = find_keeper(c, k, &s);
		vma[i].kind = b->kind;
		vma[i].backing = b;
		*(struct view *)span_push(&c->op->arena, &b->views, sizeof(struct view)) = (struct view){ p, &vma[i] };
	}
}

/* was what is behind it found to be well by another mapping of the name? By whom depends on who was first, the answer does not */
static bool is_again(const struct backing *b, const struct proc_vma *vma)
{
	return b && __atomic_load_n(&b->can, __ATOMIC_RELAXED) && b->vma && b->vma->deleted == vma->deleted &&
	       !strcmp(b->vma->name, vma->name);
}

static int judge_memory(const struct checkpoint *c, struct process *p)
{
	struct proc_vma *vma = p->vmas.at;
	struct op *op = c->op;

	for (size_t i = 0; i < p->vmas.n; i++) {
		struct sight s = { .tree = &c->tree, .process = p, .vma = &vma[i] };
		struct backing *b = vma[i].backing;
		size_t before = op->obstacles.n, noted = op->notes.n;

		WHERE_RANGE(op, "mapping", vma[i].start, vma[i].end);
		if (!vma[i].kind) {
			refuse(op, "vma-unknown", NULL, NULL, "is a mapping of \"%s\" that stasis cannot save",
				vma[i].name);
			add_object(c, "?", vma[i].name, false);
			continue;
		}
		s.again = is_again(b, &vma[i]);
		int r = judge(c, vma[i].kind, &s, vma[i].name);
		if (r < 0)
			return r;
		/* else the first has noted it, or is just about to */
		if (b && b->vma != &vma[i] && b->vma && op->obstacles.n == before && !strcmp(b->vma->name, vma[i].name))
			op->notes.n = noted;
		if (b && b->vma == &vma[i])
			__atomic_store_n(&b->can, op->obstacles.n == before, __ATOMIC_RELAXED);
	}
	return 0;
}

static int judge_process(const struct checkpoint *c, struct process *p)
{
	int r = p->zombie ? 0 : judge_tasks(c, p);

	return r < 0 || p->zombie ? r : judge_memory(c, p);
}

static int judge_files(struct checkpoint *c)
{
	struct open_file **of = c->open_files.at;
	struct op *op = c->op;

	for (size_t i = 0; i < c->open_files.n; i++) {
		struct sight s = { .tree = &c->tree, .process = of[i]->process, .fd = of[i]->fd };

		WHERE_TASK(op, of[i]->process->pid, of[i]->process->stat.comm);
		WHERE(op, "fd", of[i]->fd->n);
		of[i]->kind = kind_of_fd(&s);
		if (!of[i]->kind) {
			refuse(op, "fd-unknown", NULL, NULL, "is %s, which stasis cannot save", fd_in_words(op, &s));
			add_object(c, "?", of[i]->fd->link, false);
			continue;
		}
		int r = judge(c, of[i]->kind, &s, of[i]->fd->link);
		if (r < 0)
			return r;
		if (of[i]->kind->backed_by)
			of[i]->backing = find_keeper(c, of[i]->kind->backed_by, &s);
	}
	return 0;
}

int describe_tree(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;
	int r = check_tree(c);

	if (r == 0)
		r = check_shares(c);
	for (size_t i = 0; i < c->tree.processes.n && r == 0; i++)
		know_memory(c, p[i]);
	if (r == 0)
		r = crew_each(c, "looking", judge_process);
	if (r == 0 && !is_listed(c))
		r = crew_others(c, "looking", judge_other);
	return r < 0 ? r : judge_files(c);
}
