/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages a process has. The kernel is asked about many mappings at once: for small ones the call takes longer than
 * to walk their page tables, those that nobody asks about and the gaps between them too.
 */
#include "core/core.h"
#include "core/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>

#include "base/cleanup.h"

#define SMALL ((uint64_t)512 * IMAGE_PAGE) /* a mapping, and its table is walked without need */

/*
 * As smaps told when it stood still already: each page is there and its own, none of zeros, none in swap; all huge or none. Of a
 * mapping without counters that is not known.
 */
static bool is_full(const struct proc_vma *v)
{
	return v->rss == v->end - v->start && v->anonymous == v->rss && (!v->huge || v->huge == v->rss);
}

/* without PAGEMAP_SCAN (before v6.7) it takes a second to see that a reserved TiB is empty */
static bool has_own_pages(const struct proc_vma *v)
{
	const struct kind *k = v->kind;

	return k && k->has_pages && !v->shared &&
	       (!v->has_counters || (v->rss | v->swap | v->own_huge | v->shared_huge));
}

/* where each page is there, none is a guard */
static bool may_have_guards(const struct proc_vma *v)
{
	const struct kind *k = v->kind;

	return k && !k->moves && v->rss != v->end - v->start;
}

/* struct scan - one look at the page tables of a process */
struct scan {
	struct arena *arena;
	struct process *process;
	int pagemap;
	uint64_t start, end; /* what was put off, to be looked at together */
	bool each; /* the kernel has no PAGEMAP_SCAN: mapping by mapping, and of guards it tells nothing */
};

static void add_run(struct scan *s, struct span *to, struct proc_pages run)
{
	*(struct proc_pages *)span_push(s->arena, to, sizeof(run)) = run;
}

static int scan_one(struct scan *s, const struct proc_vma *v)
{
	struct span *to = &s->process->pages;

	if (!has_own_pages(v))
		return 0;
	if (!is_full(v))
		return proc_scan_pages(s->arena, s->pagemap, v->start, v->end, false, to);
	add_run(s, to, (struct proc_pages){ v->start, v->end, v->huge ? PAGES_HUGE : 0 });
	return 0;
}

static int scan_each(struct scan *s)
{
	const struct proc_vma *v = s->process->vmas.at;
	int r = 0;

	for (size_t i = 0; i < s->process->vmas.n && r == 0; i++)
		if (v[i].start >= s->start && v[i].end <= s->end)
			r = scan_one(s, &v[i]);
	return r;
}

static int scan_together(struct scan *s)
{
	struct span runs = { 0 };
	int r = s->start == s->end ? 0
		: s->each	   ? -EOPNOTSUPP
				   : proc_scan_all(s->arena, s->pagemap, s->start, s->end, &runs);
	const struct proc_pages *run = runs.at;

	for (size_t i = 0; i < runs.n; i++)
		add_run(s, run[i].what & PAGES_GUARD ? &s->process->guards : &s->process->pages, run[i]);
	if (r == -EOPNOTSUPP) {
		s->each = true;
		r = scan_each(s);
	}
	s->start = s->end = 0;
	return r;
}

/* a large one of which all is known, or nobody asks about anything but guards */
static int scan_aside(struct scan *s, const struct proc_vma *v)
{
	int r = scan_together(s);

	if (r == 0)
		r = scan_one(s, v);
	if (r < 0 || !may_have_guards(v))
		return r;
	r = proc_scan_guards(s->arena, s->pagemap, v->start, v->end, &s->process->guards);
	return r == -EOPNOTSUPP ? 0 : r;
}

static int scan_mapping(struct scan *s, const struct proc_vma *v)
{
	const bool has = has_own_pages(v);

	if (v->end - v->start > SMALL && (!has || is_full(v)))
		return scan_aside(s, v);
	if (!has && !may_have_guards(v))
		return 0;
	if (s->start == s->end)
		s->start = v->start;
	s->end = v->end;
	return 0;
}

static int scan_all(const struct checkpoint *c, struct process *p, int pagemap)
{
	const struct proc_vma *v = p->vmas.at;
	struct scan s = { .arena = &c->op->arena, .process = p, .pagemap = pagemap };
	int r = 0;

	p->pages = p->guards = (struct span){ 0 };
	for (size_t i = 0; i < p->vmas.n && r == 0; i++)
		r = scan_mapping(&s, &v[i]);
	return r < 0 ? r : scan_together(&s);
}

/*
 * Some kernels do not tell the huge page of zeros from others (is_zero_pfn() in pagemap_thp_category() of fs/proc/task_mmu.c, v6.7):
 * memory that was only read, and where counters tell that there is nothing, may look as if it were full of them.
 */
static bool has_seeming_pages(const struct process *p)
{
	const struct proc_vma *v = p->vmas.at;
	const struct proc_pages *run = p->pages.at;
	uint64_t huge = 0;

	for (size_t i = 0; i < p->pages.n; i++)
		huge += run[i].what & PAGES_HUGE ? run[i].end - run[i].start : 0;
	return p->vmas.n && !v->has_counters && huge > p->sums.huge;
}

int find_own_pages(const struct checkpoint *c, struct process *p)
{
	if (first_sharer(p, CLONE_VM) != p)
		return 0;
	_cleanup_close_ int pagemap = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return fail(c->op, -errno, "open its pagemap");
	int r = scan_all(c, p, pagemap);
	if (r == 0 && has_seeming_pages(p)) {
		r = mappings_count(c, p);
		r = r < 0 ? r : scan_all(c, p, pagemap);
	}
	return r < 0 ? fail(c->op, r, "find its pages") : 0;
}

/* struct proc_pages.what in a list of what is to be saved of mapping @v */
static uint64_t how_saved(const struct proc_vma *v, uint64_t what)
{
	const uint64_t huge = v->page_size > IMAGE_PAGE ? 0 : PAGES_HUGE; /* those of hugetlbfs are so by themselves */

	/* a page in swap is nobody's resident page */
	return (what & huge) | (v->backing ? KEEP_ZEROS : 0) |
	       (v->pss < v->rss || v->swap || v->shared_huge ? FORK_SHARED : 0);
}

void pages_of_mapping(
	const struct checkpoint *c, const struct process *p, const struct proc_vma *v, size_t *from, struct span *ret)
{
	const struct proc_pages *run = p->pages.at;

	while (*from < p->pages.n && run[*from].end <= v->start)
		(*from)++;
	for (size_t i = *from; has_own_pages(v) && i < p->pages.n && run[i].start < v->end; i++)
		*(struct proc_pages *)span_push(&c->op->arena, ret, sizeof(*run)) =
			(struct proc_pages){ run[i].start > v->start ? run[i].start : v->start,
				min_u64(run[i].end, v->end), how_saved(v, run[i].what) };
}
