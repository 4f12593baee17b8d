/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that fork shared and nobody has written since: they are stored with the parent only, and the child inherits them.
 *
 * Page frames tell, to those who may see them (CAP_SYS_ADMIN; 0 to others: ab676b7d6fbf, in v4.0); else contents do, but for
 * pages that the kernel says are mapped but once. There are as many to look at as there are children times pages.
 */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"

#define PAGE IMAGE_PAGE

/* an entry of pagemap */
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_ONCE    (1ull << 56) /* 77bb499bb60f, in v4.2 */
#define ENTRY_FRAME   ((1ull << 55) - 1)

#define ENTRIES_MAX ((size_t)1 << 19) /* that are kept of a process with many children: 4 MiB, for 2 GiB */
#define ENTRIES_FEW ((size_t)1 << 13) /* of any other, of which there may be many: 64 KiB, for 32 MiB */
#define AT_ONCE	    ((size_t)4096) /* entries */
#define GAP_MOST    ((uint64_t)128 * PAGE) /* between two runs that are read at once */

/** struct window - entries of pagemap, or contents, of some pages from @start on */
struct window {
	const struct process *process;
	int pagemap;
	uint64_t start, end;
	uint64_t entries[4096];
	uint64_t text_start, text_end;
	unsigned char text[16 * PAGE];
};

struct cut {
	const struct checkpoint *c;
	struct mm_plan *child;
	const struct mm_plan *parent;
	size_t run, at; /* in child->all and parent->all: both lists are walked upwards */
	struct span own; /* what is left to the child */
	struct window mine, theirs;
};

/* @end: where the last page ends that is of interest. 0 if nothing can be seen */
static uint64_t entry_at(struct window *w, uint64_t at, uint64_t end)
{
	if (at < w->start || at >= w->end) {
		size_t len = (size_t)min_u64((end - at) / PAGE * sizeof(w->entries[0]), sizeof(w->entries));
		ssize_t got = pread_all(w->pagemap, w->entries, len, (off_t)(at / PAGE * sizeof(w->entries[0])));

		w->start = at;
		w->end = at + (got < 0 ? 0 : (uint64_t)got / sizeof(w->entries[0]) * PAGE);
	}
	return at < w->end ? w->entries[(at - w->start) / PAGE] : 0;
}

/* NULL if it cannot be read. process_vm_readv(2) would end the sharing: see proc_read_alone() */
static const unsigned char *text_at(struct window *w, uint64_t at, uint64_t end)
{
	if (at < w->text_start || at >= w->text_end) {
		size_t len = (size_t)min_u64(end - at, sizeof(w->text));
		ssize_t got = pread_all(w->process->mem, w->text, len, (off_t)at);

		w->text_start = at;
		w->text_end = at + (got < 0 ? 0 : (uint64_t)got / PAGE * PAGE);
	}
	return at < w->text_end ? w->text + (at - w->text_start) : NULL;
}

/* of run @n, in which @at lies */
static uint64_t entry_of(const struct mm_plan *p, size_t n, struct window *w, uint64_t at, uint64_t end)
{
	const struct proc_pages *run = p->all.at;

	if (!p->entries)
		return entry_at(w, at, end);
	return p->entries[p->first_entry[n] + (at - run[n].start) / PAGE];
}

/*
 * Both have it; so they do all to @end. One that is mapped but once is nobody else's: frames are not seen all at the same time, and
 * one of them may have been given to another page in between.
 */
static bool same_page(struct cut *k, uint64_t at, uint64_t end)
{
	uint64_t x = entry_of(k->child, k->run, &k->mine, at, end), y = entry_of(k->parent, k->at, &k->theirs, at, end);

	if ((x & ENTRY_PRESENT && x & ENTRY_ONCE) || (y & ENTRY_PRESENT && y & ENTRY_ONCE))
		return false;
	if (x & y & ENTRY_PRESENT && x & ENTRY_FRAME && y & ENTRY_FRAME)
		return (x & ENTRY_FRAME) == (y & ENTRY_FRAME);
	const unsigned char *mine = text_at(&k->mine, at, end), *theirs = text_at(&k->theirs, at, end);
	return mine && theirs && memcmp(mine, theirs, PAGE) == 0;
}

static void keep_own(struct cut *k, uint64_t start, uint64_t end, uint64_t what)
{
	struct proc_pages *last = k->own.n ? (struct proc_pages *)k->own.at + k->own.n - 1 : NULL;

	if (start == end)
		return;
	if (last && last->end == start && last->what == what) {
		last->end = end;
		return;
	}
	struct proc_pages *run = span_push(&k->c->op->arena, &k->own, sizeof(*run));
	*run = (struct proc_pages){ start, end, what };
}

static void inherit(struct cut *k, uint64_t at)
{
	struct span *s = &k->child->rec.inherit;
	struct range *last = s->n ? (struct range *)s->at + s->n - 1 : NULL;

	if (last && last->at + last->pages * PAGE == at) {
		last->pages++;
		return;
	}
	last = span_push(&k->c->op->arena, s, sizeof(*last));
	*last = (struct range){ at, 1 };
}

/* from @at on: where the parent's pages end, or @at if it has none there */
static uint64_t parent_has(struct cut *k, uint64_t at)
{
	const struct proc_pages *run = k->parent->all.at;

	while (k->at < k->parent->all.n && run[k->at].end <= at)
		k->at++;
	return k->at < k->parent->all.n && run[k->at].start <= at ? run[k->at].end : at;
}

static void cut_run(struct cut *k, const struct proc_pages *run, uint64_t start, uint64_t end)
{
	uint64_t begin = start;

	for (uint64_t at = start; at < end; at += PAGE) {
		uint64_t theirs = min_u64(parent_has(k, at), end);

		if (theirs == at || !same_page(k, at, theirs))
			continue;
		keep_own(k, begin, at, run->what);
		inherit(k, at);
		begin = at + PAGE;
	}
	keep_own(k, begin, end, run->what);
}

static const struct vma *vma_at(const struct mm_plan *plan, size_t *from, uint64_t at)
{
	const struct vma *v = plan->rec.vmas.at;

	while (*from < plan->rec.vmas.n && v[*from].end <= at)
		(*from)++;
	return *from < plan->rec.vmas.n && v[*from].start <= at ? &v[*from] : NULL;
}

/* @mine, @theirs: places in the lists of mappings, which are walked upwards as well */
static void share_run(struct cut *k, size_t n, size_t *mine, size_t *theirs)
{
	const struct proc_pages *run = (const struct proc_pages *)k->child->all.at + n;

	k->run = n;
	for (uint64_t at = run->start, end; at < run->end; at = end) {
		const struct vma *v = vma_at(k->child, mine, at);
		const struct vma *w = vma_at(k->parent, theirs, at);

		end = v ? min_u64(run->end, v->end) : run->end;
		if (v && w && vma_alike(v, w)) {
			end = min_u64(end, w->end);
			cut_run(k, run, at, end);
			continue;
		}
		/* on to the next mapping of the parent, if one begins before the run ends */
		const struct vma *next =
			*theirs < k->parent->rec.vmas.n ? (const struct vma *)k->parent->rec.vmas.at + *theirs : NULL;

		if (next && next->start > at)
			end = min_u64(end, next->start);
		else if (w)
			end = min_u64(end, w->end);
		keep_own(k, at, end, run->what);
	}
}

static bool have_entries(const struct process *p, size_t pages)
{
	return p->children.n > 1 ? pages <= ENTRIES_MAX : (p->parent || p->children.n) && pages <= ENTRIES_FEW;
}

/* how many of the runs from @run on lie so close that a call for each would take longer */
static size_t close_runs(const struct proc_pages *run, size_t n)
{
	size_t i = 1;

	while (i < n && run[i].start - run[i - 1].end <= GAP_MOST && run[i].end - run->start <= AT_ONCE * PAGE)
		i++;
	return i;
}

static int read_entries(int pagemap, uint64_t start, uint64_t end, uint64_t *to)
{
	const size_t len = (end - start) / PAGE * sizeof(*to);
	ssize_t got = pread_all(pagemap, to, len, (off_t)(start / PAGE * sizeof(*to)));

	return got < 0 ? (int)got : (size_t)got == len ? 0 : -ESRCH;
}

static int read_runs(int pagemap, const struct proc_pages *run, size_t n, uint64_t *to)
{
	uint64_t some[AT_ONCE];
	int r = 0;

	for (size_t i = 0, many; i < n && r == 0; i += many) {
		many = close_runs(run + i, n - i);
		const bool apart = many == 1;

		r = read_entries(pagemap, run[i].start, run[i + many - 1].end, apart ? to : some);
		for (size_t k = i; k < i + many; k++) {
			const size_t pages = (run[k].end - run[k].start) / PAGE;

			if (!apart)
				memcpy(to, some + (run[k].start - run[i].start) / PAGE, pages * sizeof(*to));
			to += pages;
		}
	}
	return r;
}

int remember_entries(const struct checkpoint *c, struct mm_plan *plan)
{
	const struct process *p = plan->process;
	const struct proc_pages *run = plan->all.at;
	size_t n = 0;

	plan->first_entry = arena_array(&c->op->arena, plan->all.n + 1, sizeof(*plan->first_entry));
	for (size_t i = 0; i < plan->all.n; i++) {
		plan->first_entry[i] = n;
		n += (run[i].end - run[i].start) / PAGE;
	}
	if (!n || !have_entries(p, n))
		return 0;
	_cleanup_close_ int pagemap = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return fail(c->op, -errno, "open its pagemap");
	uint64_t *entries = arena_array(&c->op->arena, n, sizeof(*entries));
	if (read_runs(pagemap, run, plan->all.n, entries) ==
		0) /* else they are read again, and what is wrong is told */
		plan->entries = entries;
	return 0;
}

/* of the pages from @at on, or NULL: where they were not remembered, and where not all of them are in one run */
static const uint64_t *find_entries(const struct mm_plan *plan, uint64_t at, size_t n)
{
	const struct proc_pages *run = plan->all.at;
	size_t first = 0, end = plan->all.n;

	while (end - first > 1) { /* which run holds it? */
		size_t middle = first + (end - first) / 2;

		*(run[middle].start <= at ? &first : &end) = middle;
	}
	if (!plan->entries || first == end || at < run[first].start || at + n * PAGE > run[first].end)
		return NULL;
	return plan->entries + plan->first_entry[first] + (at - run[first].start) / PAGE;
}

bool is_mapped_alone(const struct mm_plan *plan, uint64_t at, size_t n, bool *ret)
{
	const uint64_t *entry = find_entries(plan, at, n);

	for (size_t i = 0; entry && i < n; i++)
		ret[i] = entry[i] & ENTRY_ONCE;
	return entry;
}

bool are_all_alone(const struct mm_plan *plan, uint64_t start, uint64_t end)
{
	const size_t n = (end - start) / PAGE;
	const uint64_t *entry = find_entries(plan, start, n);
	size_t i = 0;

	while (entry && i < n && entry[i] & ENTRY_ONCE)
		i++;
	return entry && i == n;
}

static void look_through(struct window *w, const struct process *p, int pagemap)
{
	w->process = p;
	w->pagemap = pagemap;
	w->start = w->end = w->text_start = w->text_end = 0;
}

int share_with_parent(const struct checkpoint *c, struct mm_plan *child, struct mm_plan *parent)
{
	_cleanup_close_ int mine =
		child->entries ? -EBADF : openat(child->process->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int theirs =
		parent->entries ? -EBADF : openat(parent->process->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	size_t at_mine = 0, at_theirs = 0;
	struct cut k; /* large: not all of it is to be set to zero for each child */

	if ((!child->entries && mine < 0) || (!parent->entries && theirs < 0))
		return fail(c->op, -errno, "open its pagemap");
	k.c = c;
	k.child = child;
	k.parent = parent;
	k.run = k.at = 0;
	k.own = (struct span){ 0 };
	look_through(&k.mine, child->process, mine);
	look_through(&k.theirs, parent->process, theirs);
	for (size_t i = 0; i < child->own.n; i++)
		share_run(&k, i, &at_mine, &at_theirs);
	child->own = k.own;
	return 0;
}
