/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Children are cloned by their parents, some at a time. A parent of many makes some while those that it has made get what is
 * theirs: fork(2) is most of what making small processes takes.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>

#define STOP_TIMEOUT_MS 10000
#define BROOD		256 /* children made by one batch, */
#define HATCH		32 /* and while others get what is theirs */

uint64_t quietly(const struct restart *r)
{
	return r->own_pidns ? 0 : CLONE_PTRACE | CLONE_UNTRACED;
}

/* a sibling is a child of the same parent, and has the exit signal of its maker (copy_process() in kernel/fork.c) */
static void add_clone(struct restart *r, struct batch *b, const struct patient *child, bool sibling)
{
	int32_t pid = child->rec->pid;
	struct clone_args args = { .flags = (sibling ? CLONE_PARENT : child->shares) | quietly(r),
		.exit_signal = sibling ? 0 : (uint64_t)child->rec->exit_signal,
		.set_tid_size = 1 };

	args.set_tid = batch_in(b, &pid, sizeof(pid)).at;
	BATCH_MUST(b, "make a child with its pid", SYS_clone3, batch_in(b, &args, sizeof(args)).at, sizeof(args));
}

/* struct brood - children that are made by one batch */
struct brood {
	struct patient *child[BROOD];
	const struct stub_call *call[BROOD];
	pid_t born[BROOD];
	unsigned int n;
};

/* who they are, also those that were made before one could not be: they are not to stay behind */
static int name_children(struct restart *r, struct held *h, struct brood *all)
{
	unsigned int n = r->own_pidns ? h->n_born : 0;

	for (unsigned int i = 0; i < all->n && !r->own_pidns; i++)
		if (all->call[i]->ret == all->child[i]->rec->pid)
			all->born[n++] = all->child[i]->rec->pid;
	for (unsigned int i = 0; i < n; i++) {
		if (!all->child[i]->threads) /* a zombie to be */
			all->child[i]->threads = arena_alloc(&r->op->arena, sizeof(*all->child[i]->threads));
		all->child[i]->pid = all->born[i];
	}
	return n == all->n ? 0 : -ECHILD;
}

static int adopt(struct restart *r, struct patient *p, struct brood *all)
{
	struct held *h = &p->threads[0];

	for (unsigned int i = 0; i < all->n; i++) {
		struct patient *child = all->child[i];

		child->moved = p->moved;
		child->group = p->group;
		child->room =
			(struct room){ .pid = child->pid, .code = p->room.code, .data = p->room.data, .mem = -EBADF };
		int e = hold_adopt(&child->threads[0], child->pid, h, STOP_TIMEOUT_MS);
		child->n_threads = 1;
		if (e < 0)
			return fail(r->op, e, "hold child %d", child->rec->pid);
	}
	return 0;
}

/* those of @all from number *@i on, as many as go into one: *@i moves on */
static int start_brood(
	struct restart *r, struct patient *p, const struct span *all, size_t *i, bool sibling, bool early, size_t most)
{
	struct patient **child = all->at;
	struct held *h = &p->threads[0];
	struct brood *b = p->brood;

	batch_init(&p->batch, &r->op->arena, &p->room, h);
	for (b->n = 0; *i < all->n && b->n < most; ++*i)
		if (child[*i]->birth->early == early && (sibling || !child[*i]->birth->maker)) {
			add_clone(r, &p->batch, child[*i], sibling);
			b->call[b->n] = batch_last(&p->batch);
			b->child[b->n++] = child[*i];
		}
	h->born = b->born;
	h->born_room = BROOD;
	h->n_born = 0;
	int e = batch_start(&p->batch);
	return e < 0 ? batch_failed(r, &p->batch, e) : 0;
}

static int finish_brood(struct restart *r, struct patient *p)
{
	struct held *h = &p->threads[0];
	int e = batch_finish(&p->batch), named = name_children(r, h, p->brood);

	h->born = NULL;
	if (e < 0)
		return batch_failed(r, &p->batch, e);
	return named < 0 ? fail(r->op, named, "find the children just made") : adopt(r, p, p->brood);
}

int clone_children(struct restart *r, struct patient *p, const struct span *all, bool sibling, bool early)
{
	struct brood brood;
	int e = 0;

	if (all->n)
		image_rest(r->image);
	p->brood = &brood;
	for (size_t i = 0; i < all->n && e == 0;) {
		e = start_brood(r, p, all, &i, sibling, early, BROOD);
		if (e == 0)
			e = finish_brood(r, p);
	}
	p->brood = NULL;
	return e;
}

/* who shares memory with it would be in its way, and the dead make others in their turn */
bool may_hatch(struct restart *r, const struct patient *p)
{
	struct patient *const *child = p->children.at;

	for (size_t i = 0; i < p->children.n; i++)
		if (child[i]->shares || child[i]->rec->flags & TASK_ZOMBIE || child[i]->birth->maker)
			return false;
	return p->children.n > HATCH && has_own_memory(r, p);
}

int hatch_some(struct restart *r, struct patient *p)
{
	image_rest(r->image);
	p->brood = arena_alloc(&r->op->arena, sizeof(*p->brood));
	p->hatched = 0;
	r->hatching++;
	return start_brood(r, p, &p->children, &p->hatched, false, false, HATCH);
}

int hatch_more(struct restart *r, struct patient *p)
{
	WHERE_PATIENT(r, p);
	int e = finish_brood(r, p);

	if (e < 0)
		return e;
	if (p->hatched < p->children.n)
		return start_brood(r, p, &p->children, &p->hatched, false, false, HATCH);
	p->brood = NULL;
	r->hatching--;
	return 0;
}

int hatch_all(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++)
		while (p[i]->brood && e == 0)
			e = hatch_more(r, p[i]);
	return e;
}
