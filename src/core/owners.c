/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who has what: with whose rights it is to be opened. Most programs are their caller's, and there is nothing to be found out.
 */
#include "core/rebuild.h"

#include <string.h>

#include "kinds/rights.h"

static bool same_rights(const struct rights *a, const struct rights *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->caps == b->caps && a->groups.n == b->groups.n &&
	       (!a->groups.n || memcmp(a->groups.at, b->groups.at, a->groups.n * sizeof(gid_t)) == 0);
}

/* each once; there are few of them, and the last is mostly the next */
static const struct rights *keep(struct restart *r, const struct rights *rights)
{
	const struct rights *const *all = r->owners.at;

	for (size_t i = r->owners.n; i-- > 0;)
		if (same_rights(all[i], rights))
			return all[i];
	*(const struct rights **)span_push(&r->op->arena, &r->owners, sizeof(rights)) = rights;
	return rights;
}

/* those of the thread that acts for it: the others could take them in its memory */
static const struct rights *rights_of(struct restart *r, const struct patient *p)
{
	const struct pieces *parts = &p->thread_parts[p->rec->flags & TASK_LEADER_GONE ? 1 : 0];

	for (size_t i = 0; i < parts->n; i++) {
		struct rights saved;

		if (!parts->at[i].kind->rights)
			continue;
		parts->at[i].kind->rights(parts->at[i].rec, &saved);
		const struct rights *own = rights_within(&r->op->arena, r->site.own, &saved);
		return own ? keep(r, own) : NULL;
	}
	return NULL;
}

static void add_owner(struct restart *r, uint64_t id, const struct rights *rights)
{
	struct object *o = id ? find_object(r, id) : NULL;
	const struct rights *const *has = o ? o->owners.at : NULL;

	if (!o)
		return;
	o->has_owner = true;
	for (size_t i = 0; i < o->owners.n; i++)
		if (has[i] == rights)
			return;
	if (rights)
		*(const struct rights **)span_push(&r->op->arena, &o->owners, sizeof(rights)) = rights;
}

static void add_files(struct restart *r, const struct patient *p)
{
	const struct rights *rights = p->owners.n ? *(const struct rights *const *)p->owners.at : NULL;
	const struct fd_record *f = p->fdtable->fds.at;
	const struct vma *v = p->mm->vmas.at;

	for (size_t i = 0; i < p->fdtable->fds.n; i++)
		add_owner(r, f[i].file, rights);
	for (size_t i = 0; i < p->mm->vmas.n; i++)
		if (!i || v[i].backing != v[i - 1].backing)
			add_owner(r, v[i].backing, rights);
}

/* what no process has, as it is on its way through a socket, must be open to each */
static void add_rest(struct restart *r)
{
	struct object *o = r->objects.at;

	for (size_t i = 0; i < r->objects.n; i++)
		if (!o[i].has_owner)
			o[i].owners = r->owners;
}

int find_owners(struct restart *r)
{
	struct patient **p = r->patients.at;
	struct rights *own = arena_alloc(&r->op->arena, sizeof(*own));
	int e = rights_own(r->op, own);

	if (e < 0)
		return e;
	r->site.own = own;
	for (size_t i = 0; i < r->patients.n; i++) {
		const struct rights *rights = p[i]->rec->flags & TASK_ZOMBIE ? NULL : rights_of(r, p[i]);

		if (rights)
			*(const struct rights **)span_push(&r->op->arena, &p[i]->owners, sizeof(rights)) = rights;
	}
	for (size_t i = 0; i < r->patients.n && r->owners.n; i++)
		if (!(p[i]->rec->flags & TASK_ZOMBIE))
			add_files(r, p[i]);
	if (r->owners.n)
		add_rest(r);
	return 0;
}
