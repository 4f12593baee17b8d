/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open addressing with linear probing, never more than half full.
 */
#include "base/map.h"

#define FIRST_ROOM 64

struct map_entry {
	uint64_t key;
	void *value; /* NULL: free */
};

/* where @key is or would be; there is always a free slot */
static struct map_entry *slot_of(const struct map *m, uint64_t key)
{
	size_t at = (size_t)(key * 0x9e3779b97f4a7c15ull >> 20); /* the golden ratio: Knuth, TAOCP 6.4 */

	while (m->slots[at & (m->room - 1)].value && m->slots[at & (m->room - 1)].key != key)
		at++;
	return &m->slots[at & (m->room - 1)];
}

static void grow(struct arena *a, struct map *m)
{
	const struct map old = *m;

	m->room = old.room ? old.room * 2 : FIRST_ROOM;
	m->slots = arena_array(a, m->room, sizeof(*m->slots));
	for (size_t i = 0; i < old.room; i++)
		if (old.slots[i].value)
			*slot_of(m, old.slots[i].key) = old.slots[i];
}

void map_set(struct arena *a, struct map *m, uint64_t key, void *value)
{
	if (m->n * 2 >= m->room)
		grow(a, m);
	struct map_entry *e = slot_of(m, key);
	m->n += !e->value;
	*e = (struct map_entry){ key, value };
}

void *map_get(const struct map *m, uint64_t key)
{
	return m->room ? slot_of(m, key)->value : NULL;
}
