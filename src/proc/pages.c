/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that hold data: Documentation/admin-guide/mm/pagemap.rst. The headers of older systems lack PAGEMAP_SCAN.
 */
#include <errno.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/io.h"
#include "proc/parse.h"

/* as struct pm_scan_arg of linux/fs.h */
struct scan_arg {
	uint64_t size, flags;
	uint64_t start, end, walk_end;
	uint64_t vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN	 _IOWR('f', 16, struct scan_arg) /* PAGEMAP_SCAN */
#define SCAN_VEC 512

/* struct proc_pages is struct page_region of linux/fs.h, too */
_Static_assert(sizeof(struct scan_arg) == 96, "not what the kernel wants");
_Static_assert(sizeof(struct proc_pages) == 24, "not what the kernel writes");

#define DATA (PAGES_PRESENT | PAGES_SWAPPED)

/* an entry of pagemap */
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE    (1ull << 61) /* or shared memory */
#define ENTRY_GUARD   (1ull << 58)
#define ENTRY_ALONE   (1ull << 56)

/* append a run; one that goes on where the last of this scan (those from @first on) ended becomes a part of it */
static void add_run(struct arena *a, struct span *runs, size_t first, struct proc_pages run)
{
	struct proc_pages *last = runs->n > first ? (struct proc_pages *)runs->at + runs->n - 1 : NULL;

	if (last && last->end == run.start && last->what == run.what)
		last->end = run.end;
	else
		*(struct proc_pages *)span_push(a, runs, sizeof(run)) = run;
}

/* struct want - pages that are one of @any and none of @not; @tell is what to say of them */
struct want {
	uint64_t any, not, tell;
};

static int scan(struct arena *a, int pagemap, uint64_t start, uint64_t end, struct want want, struct span *ret)
{
	struct proc_pages vec[SCAN_VEC];
	size_t first = ret->n;

	while (start < end) {
		struct scan_arg arg = {
			.size = sizeof(arg),
			.start = start,
			.end = end,
			.vec = (uintptr_t)vec,
			.vec_len = SCAN_VEC,
			.category_inverted = want.not,
			.category_mask = want.not,
			.category_anyof_mask = want.any,
			.return_mask = want.tell,
		};
		int n = ioctl(pagemap, SCAN, &arg);
		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++)
			add_run(a, ret, first, vec[i]);
		if (arg.walk_end <= start)
			return -EIO;
		start = arg.walk_end;
	}
	return 0;
}

static bool is_range(uint64_t start, uint64_t end)
{
	return start <= end && (start | end) % (uint64_t)sysconf(_SC_PAGESIZE) == 0;
}

static bool is_lacking(int err)
{
	return err == -ENOTTY || err == -EINVAL || err == -ENOSYS || err == -EPERM;
}

int scan_pagemap(struct arena *a, int pagemap, uint64_t start, uint64_t end, bool file, struct span *ret)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t entries[4096];
	size_t first = ret->n;

	while (start < end) {
		size_t n = ARRAY_SIZE(entries);
		if ((end - start) / page < n)
			n = (end - start) / page;
		ssize_t got =
			pread_all(pagemap, entries, n * sizeof(entries[0]), (off_t)(start / page * sizeof(entries[0])));
		if (got < 0)
			return (int)got;
		/* there is an entry for every page, as long as there is a process */
		if ((size_t)got < n * sizeof(entries[0]))
			return -ESRCH;
		for (size_t i = 0; i < n; i++, start += page) {
			uint64_t e = entries[i], what = (e & ENTRY_PRESENT ? PAGES_PRESENT : 0) |
							(e & ENTRY_SWAPPED ? PAGES_SWAPPED : 0) |
							(e & ENTRY_FILE ? PAGES_FILE : 0);

			if (what & DATA && !(e & ENTRY_GUARD) && (file || !(what & PAGES_FILE)))
				add_run(a, ret, first, (struct proc_pages){ start, start + page, what });
		}
	}
	return 0;
}

int proc_scan_pages(struct arena *a, int pagemap, uint64_t start, uint64_t end, bool file, struct span *ret)
{
	struct want want = {
		.any = DATA,
		.not = PAGES_ZERO | PAGES_GUARD | (file ? 0 : PAGES_FILE),
		.tell = DATA | PAGES_FILE | PAGES_HUGE,
	};
	struct span runs = *ret;

	if (!is_range(start, end))
		return -EINVAL;
	int r = scan(a, pagemap, start, end, want, &runs);
	if (r == -EINVAL) {
		/* PAGE_IS_GUARD came later than the rest, in v6.15 */
		want.not &= ~(uint64_t)PAGES_GUARD;
		runs = *ret;
		r = scan(a, pagemap, start, end, want, &runs);
	}
	if (is_lacking(r)) {
		runs = *ret;
		r = scan_pagemap(a, pagemap, start, end, file, &runs);
	}
	if (r == 0)
		*ret = runs;
	return r;
}

int proc_scan_all(struct arena *a, int pagemap, uint64_t start, uint64_t end, struct span *ret)
{
	struct want want = {
		.any = DATA, .not = PAGES_ZERO | PAGES_FILE, .tell = DATA | PAGES_FILE | PAGES_HUGE | PAGES_GUARD
	};
	struct span runs = *ret;

	if (!is_range(start, end))
		return -EINVAL;
	int r = scan(a, pagemap, start, end, want, &runs);
	if (r == -EINVAL) { /* before v6.15 */
		want.tell &= ~(uint64_t)PAGES_GUARD;
		runs = *ret;
		r = scan(a, pagemap, start, end, want, &runs);
	}
	if (is_lacking(r))
		return -EOPNOTSUPP;
	if (r == 0)
		*ret = runs;
	return r;
}

int proc_scan_guards(struct arena *a, int pagemap, uint64_t start, uint64_t end, struct span *ret)
{
	const struct want want = { .any = PAGES_GUARD, .tell = PAGES_GUARD };
	struct span runs = *ret;

	if (!is_range(start, end))
		return -EINVAL;
	int r = scan(a, pagemap, start, end, want, &runs);
	if (is_lacking(r))
		return -EOPNOTSUPP;
	if (r == 0)
		*ret = runs;
	return r;
}

int proc_read_alone(int pagemap, uint64_t start, size_t n, bool *ret)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t entries[512];

	for (size_t done = 0, some; done < n; done += some) {
		some = n - done < ARRAY_SIZE(entries) ? n - done : ARRAY_SIZE(entries);
		size_t len = some * sizeof(entries[0]);
		ssize_t got = pread_all(pagemap, entries, len, (off_t)((start / page + done) * sizeof(entries[0])));
		if (got < 0)
			return (int)got;
		if ((size_t)got < len)
			return -ESRCH;
		for (size_t i = 0; i < some; i++)
			ret[done + i] = entries[i] & ENTRY_ALONE;
	}
	return 0;
}
