/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads on their way: what one was given to do it does while others are given theirs.
 */
#include "core/rebuild.h"

bool has_own_memory(struct restart *r, const struct patient *p)
{
	const struct object *mm = find_object(r, p->rec->mm);

	return mm->first == p && mm->last == p;
}

/*
 * Of a process with one thread all are in the same memory, which is there already. Those of others board one after the other,
 * and there are as many rooms as can be on their way.
 */
static struct room room_of(const struct restart *r, const struct patient *p, size_t n)
{
	struct room room = p->room;

	if (p->rec->threads.n > 1)
		room.data.at = r->zone + ROOM_CODE + n % r->rooms * ROOM_DATA;
	return room;
}

static int land(struct restart *r, struct flight *f)
{
	struct patient *p = f->patient;

	if (!p)
		return 0;
	f->patient = NULL;
	WHERE_PATIENT(r, p);
	WHERE(r->op, "thread", ((const struct thread_record *)p->rec->threads.at)[f->thread].tid);
	int e = batch_finish(&f->batch);
	return e < 0 ? batch_failed(r, &f->batch, e) : 0;
}

int flights_land(struct restart *r, struct flights *all)
{
	int e = 0;

	for (size_t i = 0; i < all->width && e == 0; i++)
		e = land(r, &all->at[(all->next + i) % all->width]);
	return e;
}

int flights_board(struct restart *r, struct flights *all, struct patient *p, size_t n, struct flight **ret)
{
	struct flight *f = &all->at[all->next];
	int e = land(r, f);

	if (e < 0)
		return e;
	*f = (struct flight){ .patient = p, .thread = n, .room = room_of(r, p, all->next) };
	all->next = (all->next + 1) % all->width;
	batch_init(&f->batch, &r->op->arena, &f->room, &p->threads[n]);
	*ret = f;
	return 0;
}

int flight_start(struct restart *r, struct flight *f)
{
	int e = batch_start(&f->batch);

	return e < 0 ? batch_failed(r, &f->batch, e) : 0;
}
