/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was mapped by transparent huge pages is so again, whatever the mapping's advice and whoever had made it so. That also
 * makes writing it three times as fast: one page fault instead of 512.
 *
 * Advice cannot be given for a while, as there is no way to take it back; but one page that is there can be made a huge one
 * (MADV_COLLAPSE: 7d8faaf15545 "mm/madvise: introduce MADV_COLLAPSE sync hugepage collapse" in v6.1), before the others
 * come, which spares copying them. Where that fails it is memory like any other.
 */
#include "core/rebuild.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/io.h"

/* at once, as each call waits for all processors (lru_add_drain_all() in mm/swap.c), and these may be busy */
#define HUGE_AT_ONCE (32 * HUGE_PAGE)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* MADV_COLLAPSE does not ask for it: Documentation/admin-guide/mm/transhuge.rst */
static bool is_allowed(struct restart *r)
{
	char *text;

	if (r->huge == HUGE_UNKNOWN) {
		int e = read_text(
			&r->op->arena, AT_FDCWD, "/sys/kernel/mm/transparent_hugepage/enabled", 256, &text, NULL);

		r->huge = e < 0			     ? HUGE_ALLOWED
			  : strstr(text, "[never]")  ? HUGE_NEVER
			  : strstr(text, "[always]") ? HUGE_ALWAYS
						     : HUGE_ALLOWED;
	}
	return r->huge != HUGE_NEVER;
}

bool is_huge_by_itself(struct restart *r, const struct vma *v)
{
	if (!is_allowed(r) || v->flags & VMA_NOHUGEPAGE)
		return false;
	return r->huge == HUGE_ALWAYS || v->flags & VMA_HUGEPAGE;
}

/* the page at @at is the program's own: so is the rest of its mapping. How far from there on is it to be huge? */
static uint64_t end_of(const struct patient *p, const struct range *h, uint64_t from, uint64_t at)
{
	const struct vma *v = p->mm->vmas.at;
	const uint64_t end = min_u64(h->at + h->pages * IMAGE_PAGE, v[vma_above(p->mm, at)].end);

	return max_u64(min_u64(end, from + HUGE_AT_ONCE), from + HUGE_PAGE);
}

/* of the pages in [at, end), which lie in memory of the program's own */
static int make_run_huge(struct restart *r, struct patient *p, struct batch *b, uint64_t at, uint64_t end)
{
	const struct range *huge = p->mm->huge.at;
	int e = 0;

	while (p->huge < p->mm->huge.n && e == 0) {
		const struct range *h = &huge[p->huge];
		const uint64_t from = max_u64(max_u64(at / HUGE_PAGE * HUGE_PAGE, h->at), p->huge_end);

		if (h->at + h->pages * IMAGE_PAGE <= from) {
			p->huge++;
			continue;
		}
		if (from >= end)
			break;
		p->huge_end = end_of(p, h, from, max_u64(from, at));
		for (uint64_t touch = max_u64(from, at); touch < p->huge_end;
			touch = touch / HUGE_PAGE * HUGE_PAGE + HUGE_PAGE)
			BATCH_CALL(b, "touch memory", SYS_madvise, touch, IMAGE_PAGE, MADV_POPULATE_WRITE);
		BATCH_CALL(b, "make memory huge", SYS_madvise, from, p->huge_end - from, MADV_COLLAPSE);
		e = batch_has_room(b, 64, 4096) ? 0 : run_batch(r, p, b);
	}
	return e;
}

int make_huge(struct restart *r, struct patient *p, const struct section *s)
{
	struct batch b;
	int e = 0;

	if (p->huge == p->mm->huge.n || !is_allowed(r))
		return 0;
	batch_init(&b, &r->op->arena, &p->room, &p->threads[0]);
	for (size_t i = 0; i < s->n_runs && e == 0; i++)
		e = make_run_huge(r, p, &b, s->runs[i].at, s->runs[i].at + (uint64_t)s->runs[i].pages * IMAGE_PAGE);
	return e < 0 ? e : run_batch(r, p, &b);
}
