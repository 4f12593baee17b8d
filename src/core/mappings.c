/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/mappings.h"

#include <pthread.h>

#include "base/cleanup.h"
#include "base/pool.h"
#include "proc/vmas.h"

enum {
	WORTH = 1000, /* mappings: smaps of fewer takes no longer than to make ready */
	WORTH_THREADS = WORTH / 2, /* each has a stack, and its guard */
};

struct mappings {
	struct vmas *vmas; /* NULL: smaps is read */
	pthread_t maker; /* makes ready while other things are, and while the program is being stopped */
	bool makes;
};

static void *make_ready(void *data)
{
	struct mappings *m = data;

	if (vmas_open(&m->vmas) < 0)
		m->vmas = NULL;
	return NULL;
}

void mappings_look_ahead(struct checkpoint *c)
{
	_cleanup_close_ int dir = proc_open(c->procfd, c->target);

	if (dir < 0 || (proc_count_threads(dir) < WORTH_THREADS && !proc_has_mappings(dir, WORTH)))
		return;
	c->mappings = arena_alloc(&c->op->arena, sizeof(*c->mappings));
	c->mappings->makes = thread_start(&c->mappings->maker, STACK_SMALL, make_ready, c->mappings) == 0;
}

void mappings_await(struct checkpoint *c)
{
	if (c->mappings && c->mappings->makes)
		pthread_join(c->mappings->maker, NULL);
	if (c->mappings)
		c->mappings->makes = false;
}

void mappings_close(struct checkpoint *c)
{
	mappings_await(c);
	if (c->mappings)
		vmas_close(c->mappings->vmas);
	c->mappings = NULL;
}

/* of the others smaps is read: most are small, and to ask how small takes as long */
static bool is_worth(const struct checkpoint *c, const struct process *p)
{
	return c->mappings && c->mappings->vmas && c->tree.frozen && (p == c->root || p->threads.n >= WORTH_THREADS);
}

int mappings_read(const struct checkpoint *c, struct process *p)
{
	struct arena *a = &c->op->arena;

	if (is_worth(c, p) && vmas_read(c->mappings->vmas, a, p->dir, p->tid, &p->vmas, &p->sums) == 0)
		return 0;
	return proc_read_maps(a, p->dir, true, &p->vmas);
}

static void take_counters(struct proc_vma *to, const struct proc_vma *from)
{
	to->rss = from->rss;
	to->anonymous = from->anonymous;
	to->huge = from->huge;
	to->swap = from->swap;
	to->pss = from->pss;
	to->has_counters = true;
}

int mappings_count(const struct checkpoint *c, struct process *p)
{
	struct span all = { 0 };
	struct proc_vma *v = p->vmas.at;
	int r = proc_read_maps(&c->op->arena, p->dir, true, &all);
	const struct proc_vma *from = all.at;
	size_t at = 0;

	for (size_t i = 0; i < p->vmas.n && r == 0; i++) {
		while (at < all.n && from[at].end <= v[i].start)
			at++;
		if (at < all.n && from[at].start == v[i].start && from[at].end == v[i].end)
			take_counters(&v[i], &from[at]);
	}
	return r;
}
