/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/births.h"

#include "base/map.h"

struct plan {
	struct arena *arena;
	struct map by_pid; /* of struct birth: all of them, ghosts too */
	struct span ghosts; /* of struct birth * */
	pid_t outer_sid, outer_pgid; /* those of the root, when they are the business of where it was started */
};

static struct birth *find_birth(const struct plan *p, pid_t pid)
{
	return map_get(&p->by_pid, (uint64_t)pid);
}

static void know_birth(struct plan *p, struct birth *b)
{
	map_set(p->arena, &p->by_pid, (uint64_t)b->pid, b);
}

static struct birth *add_ghost(struct plan *p, pid_t pid, pid_t sid, struct birth *parent)
{
	struct birth *g = arena_alloc(p->arena, sizeof(*g));

	*g = (struct birth){ .pid = pid, .sid = sid, .pgid = pid, .parent = parent, .zombie = true, .ghost = true };
	g->birth_sid = sid == pid ? -1 : sid;
	g->joins = sid != pid;
	*(struct birth **)span_push(p->arena, &p->ghosts, sizeof(g)) = g;
	know_birth(p, g);
	return g;
}

static bool is_outer_session(const struct plan *p, pid_t sid)
{
	return sid == 0 || sid == p->outer_sid;
}

/* is the process that began the session alive, and above @q? */
static bool has_leader_above(const struct birth *q, pid_t sid)
{
	for (const struct birth *a = q->parent; a; a = a->parent)
		if (a->pid == sid)
			return !a->zombie;
	return false;
}

/* by a ghost, or by the dead leader itself before it becomes a zombie again: a child of the same parent */
static void find_maker(struct plan *p, struct birth *q)
{
	struct birth *m = find_birth(p, q->birth_sid);

	if (!m)
		m = add_ghost(p, q->birth_sid, q->birth_sid, q->parent);
	if (m->parent == q->parent && m->zombie && m->sid == m->pid)
		q->maker = m;
	else
		q->problem = BIRTH_NO_SESSION;
}

static void plan_session(struct plan *p, struct birth *q)
{
	struct birth *up = q->parent;

	if (q->birth_sid < 0 || (up && up->sid == q->birth_sid))
		return;
	if (!is_outer_session(p, q->birth_sid) && !has_leader_above(q, q->birth_sid)) {
		find_maker(p, q);
		return;
	}
	if (!up)
		return;
	q->early = up->sid == up->pid && q->birth_sid != up->sid;
	if (q->early && up->birth_sid < 0)
		up->birth_sid = q->birth_sid;
	if (q->birth_sid != (q->early ? up->birth_sid : up->sid))
		q->problem = BIRTH_NO_SESSION;
}

/*
 * The ghost of a group is a child of somebody who is in its session already: of its first member or, where that has ended,
 * of its parent. Where the parent is in another session nobody is left who could be asked for the group.
 */
static struct birth *add_group_ghost(struct plan *p, struct birth *first)
{
	struct birth *parent = first->zombie ? first->parent : first;

	return parent && parent->sid == first->sid ? add_ghost(p, first->pgid, first->sid, parent) : NULL;
}

static void plan_group(struct plan *p, struct birth *q)
{
	if (q->pgid <= 0 || q->pgid == p->outer_pgid || q->sid == q->pid)
		return;
	struct birth *leader = find_birth(p, q->pgid);
	if (!leader)
		leader = add_group_ghost(p, q);
	if (!leader)
		return;
	if (leader->sid != q->sid || leader->pgid != leader->pid)
		q->problem = BIRTH_NO_GROUP;
	else
		q->joins = true;
}

void plan_births(struct arena *a, struct span *births)
{
	struct birth **b = births->at, *root = births->n ? b[0] : NULL;
	struct plan p = { .arena = a };

	if (!root)
		return;
	for (size_t i = 0; i < births->n; i++)
		know_birth(&p, b[i]);
	p.outer_sid = find_birth(&p, root->sid) ? 0 : root->sid;
	p.outer_pgid = find_birth(&p, root->pgid) ? 0 : root->pgid;
	for (size_t i = 0; i < births->n; i++)
		b[i]->birth_sid = b[i]->sid == b[i]->pid ? -1 : b[i]->sid;
	/* children come after parents, so a walk from the end sees them first */
	for (size_t i = births->n; i-- > 0;)
		plan_session(&p, b[i]);
	for (size_t i = 0; i < births->n; i++)
		plan_group(&p, b[i]);
	struct birth **g = p.ghosts.at;
	for (size_t i = 0; i < p.ghosts.n; i++)
		*(struct birth **)span_push(a, births, sizeof(*g)) = g[i];
}
