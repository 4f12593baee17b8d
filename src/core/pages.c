/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page data: what is where is decided for all address spaces first, then the pages go from the program to the image.
 */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/vma.h"

#define PAGE   IMAGE_PAGE
#define WINDOW (1u << 20)

static void fill_vma(const struct checkpoint *c, const struct proc_vma *from, struct vma *to)
{
	const struct kind *k = from->kind;
	const struct backing *b = from->backing;

	*to = (struct vma){ .start = from->start,
		.end = from->end,
		.pgoff = from->pgoff,
		.prot = from->prot,
		.flags = vma_flags(from),
		.tag = k->tag,
		.backing = b ? b->id : 0,
		.name = vma_given_name(&c->op->arena, from) };
	if (!b)
		to->pgoff = 0;
}

static void list_mappings(const struct checkpoint *c, struct mm_plan *plan)
{
	const struct process *p = plan->process;
	const struct proc_vma *v = p->vmas.at;
	size_t from = 0;

	span_reserve(&c->op->arena, &plan->rec.vmas, p->vmas.n, sizeof(struct vma));
	span_reserve(&c->op->arena, &plan->own, p->pages.n, sizeof(struct proc_pages));
	for (size_t i = 0; i < p->vmas.n; i++) {
		fill_vma(c, &v[i], span_push(&c->op->arena, &plan->rec.vmas, sizeof(struct vma)));
		pages_of_mapping(c, p, &v[i], &from, &plan->own);
	}
}

/* what fork has left to it of a huge page is none any more */
static void note_huge(const struct checkpoint *c, struct mm_plan *plan)
{
	const struct proc_pages *run = plan->own.at;

	for (size_t i = 0; i < plan->own.n; i++) {
		const uint64_t start = (run[i].start + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE,
			       end = run[i].end / HUGE_PAGE * HUGE_PAGE;

		if (run[i].what & PAGES_HUGE && start < end)
			*(struct range *)span_push(&c->op->arena, &plan->rec.huge, sizeof(struct range)) =
				(struct range){ start, (end - start) / PAGE };
	}
}

static int scan_process(const struct checkpoint *c, struct process *p)
{
	struct mm_plan *plan = p->plan;

	if (p->zombie || plan->process != p)
		return 0;
	list_mappings(c, plan);
	plan->all = plan->own;
	return remember_entries(c, plan);
}

static int cut_process(const struct checkpoint *c, struct process *p)
{
	struct mm_plan *plan = p->plan;

	if (p->zombie || plan->process != p)
		return 0;
	int r = p->parent && p->parent->plan ? share_with_parent(c, plan, p->parent->plan) : 0;
	note_huge(c, plan);
	return r;
}

int plan_memory(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		if (p[i]->zombie)
			continue;
		const struct process *first = first_sharer(p[i], CLONE_VM);
		if (first != p[i]) {
			p[i]->mm = first->mm;
			p[i]->plan = first->plan;
			continue;
		}
		struct mm_plan *plan = arena_alloc(&c->op->arena, sizeof(*plan));
		plan->process = p[i];
		p[i]->mm = c->next_id++;
		p[i]->plan = plan;
		*(struct mm_plan **)span_push(&c->op->arena, &c->mms, sizeof(plan)) = plan;
	}
	int r = crew_each(c, "looking for pages", scan_process);
	return r < 0 ? r : crew_each(c, "looking for pages", cut_process);
}

/* ---- writing ---- */

/* struct stretch - pages of a process, or of shared memory that a process has */
struct stretch {
	const struct process *process;
	int file; /* what is read, the process where there is none: -EBADF */
	const unsigned char *here; /* what was read or mapped before, from @at on, or NULL */
	uint64_t at, end; /* in the process, or the file */
	uint64_t shift; /* what to add for the name in the image */
	uint64_t what; /* KEEP_ZEROS, FORK_SHARED */
};

/* struct chunk - what becomes one section, when it is this one's turn: @n pages from @at in *@stretch on */
struct chunk {
	struct image_source source;
	const struct stretch *stretch;
	uint64_t at;
	size_t n;
	uint64_t failed_at; /* which address could not be read, and whose */
	const struct process *failed;
};

/* struct saver - cuts stretches into chunks */
struct saver {
	struct checkpoint *c;
	struct image_writer *w;
	uint64_t id;
};

static bool is_zero(const unsigned char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

static int fetch_by_mem(const struct process *p, uint64_t at, void *to, size_t len)
{
	ssize_t n = pread_all(p->mem, to, len, (off_t)at);

	return n < 0 ? (int)n : (size_t)n == len ? 0 : -EFAULT;
}

/* from outside; where the mapping forbids reading, through /proc/PID/mem, which does not mind */
static int fetch_by_vm(const struct process *p, uint64_t at, void *to, size_t len)
{
	int r = remote_read(p->tid, (struct taddr){ at }, to, len);

	return r == -EFAULT ? fetch_by_mem(p, at, to, len) : r;
}

/* the faster way would end the sharing of pages with relatives: see proc_read_alone() */
static int fetch_shared(const struct process *p, uint64_t at, unsigned char *to, size_t n)
{
	bool alone[IMAGE_CHUNK_PAGES];
	const bool known = is_mapped_alone(p->plan, at, n, alone);
	_cleanup_close_ int pagemap = known ? -EBADF : openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	int r = known ? 0 : pagemap < 0 ? -errno : proc_read_alone(pagemap, at, n, alone);

	for (size_t i = 0, end; i < n && r == 0; i = end) {
		for (end = i + 1; end < n && alone[end] == alone[i];)
			end++;
		r = (alone[i] ? fetch_by_vm : fetch_by_mem)(p, at + i * PAGE, to + i * PAGE, (end - i) * PAGE);
	}
	return r;
}

/* from a file whose last page may not be whole */
static int fetch_file(int fd, uint64_t at, unsigned char *to, size_t len)
{
	ssize_t n = pread_all(fd, to, len, (off_t)at);

	if (n >= 0)
		memset(to + n, 0, len - (size_t)n);
	return n < 0 ? (int)n : 0;
}

static int fetch(const struct stretch *s, uint64_t at, unsigned char *to, size_t n)
{
	if (s->file >= 0)
		return fetch_file(s->file, at, to, n * PAGE);
	if (s->here) {
		memcpy(to, s->here + (at - s->at), n * PAGE);
		return 0;
	}
	if (!(s->what & FORK_SHARED))
		return fetch_by_vm(s->process, at, to, n * PAGE);
	/* a huge page that others share in part has parts that nobody else has mapped; for these it would be split */
	return s->what & PAGES_HUGE ? fetch_by_mem(s->process, at, to, n * PAGE) : fetch_shared(s->process, at, to, n);
}

/*
 * Append @n pages that lie at @from in the room, or further back as what came before had zeros; @at: their name in the image.
 * Returns how many are there then.
 */
static size_t append(
	struct image_room *room, size_t have, const unsigned char *from, uint64_t at, size_t n, bool keep_zeros)
{
	for (size_t i = 0; i < n; i++, at += PAGE, from += PAGE) {
		if (!keep_zeros && is_zero(from))
			continue;
		unsigned char *to = room->data + have * PAGE;
		if (to != from)
			memcpy(to, from, PAGE);
		struct page_run *last = room->n_runs ? &room->runs[room->n_runs - 1] : NULL;
		if (last && last->at + (uint64_t)last->pages * PAGE == at)
			last->pages++;
		else
			room->runs[room->n_runs++] = (struct page_run){ at, 1, RUN_DATA };
		have++;
	}
	return have;
}

/* struct reach - where a chunk is being read */
struct reach {
	const struct stretch *s;
	uint64_t at;
	size_t left; /* pages */
};

/* how much of @r lies in one stretch; moves behind it */
static size_t step(struct reach *r)
{
	size_t n = (size_t)min_u64(r->left, (r->s->end - r->at) / PAGE);

	r->left -= n;
	r->at += n * PAGE;
	if (r->at == r->s->end && r->left)
		r->at = (++r->s)->at;
	return n;
}

static bool is_by_vm(const struct stretch *s)
{
	return s->file < 0 && !s->here && !(s->what & FORK_SHARED);
}

/* Of one process many at once: a call for each takes as long as a page of it. Returns the pages read, and moves behind them */
static size_t fetch_many(struct reach *r, unsigned char *to)
{
	const struct process *p = r->s->process;
	struct trange ranges[REMOTE_RANGES];
	struct reach ahead = *r;
	size_t n = 0, pages = 0;

	while (ahead.left && n < REMOTE_RANGES && is_by_vm(ahead.s) && ahead.s->process == p) {
		ranges[n].at.at = ahead.at;
		ranges[n++].len = step(&ahead) * PAGE;
	}
	n = n > 1 ? remote_gather(p->tid, ranges, n, to) : 0;
	for (size_t i = 0; i < n; i++)
		pages += step(r);
	return pages;
}

/* by any thread */
static int fetch_chunk(struct image_source *source, struct image_room *room)
{
	struct chunk *k = (struct chunk *)source;
	struct reach r = { k->stretch, k->at, k->n };
	unsigned char *to = room->data;
	size_t have = 0;

	for (size_t n; r.left; to += n * PAGE) {
		n = fetch_many(&r, to);
		if (n)
			continue;
		const struct reach here = r;
		n = step(&r);
		int err = fetch(here.s, here.at, to, n);
		if (err < 0) {
			k->failed = here.s->process;
			k->failed_at = here.at;
			return err;
		}
	}
	r = (struct reach){ k->stretch, k->at, k->n };
	to = room->data;
	for (size_t n; r.left; to += n * PAGE) {
		const struct reach here = r;

		n = step(&r);
		have = append(room, have, to, here.at + here.s->shift, n, here.s->what & KEEP_ZEROS);
	}
	return 0;
}

static int save_failed(struct saver *s, int r)
{
	const struct chunk *k = (const struct chunk *)image_failed(s->w);

	if (!k)
		return fail(s->c->op, r, "write memory to the image");
	WHERE_TASK(s->c->op, k->failed->pid, k->failed->stat.comm);
	return fail(s->c->op, r, "read its memory at %#lx", (unsigned long)k->failed_at);
}

static int save_chunk(struct saver *s, const struct chunk *chunk)
{
	struct checkpoint *c = s->c;
	struct chunk *k = arena_dup(&c->op->arena, chunk, sizeof(*chunk));
	int r = image_pages(s->w, s->id, &k->source);

	c->memory = image_pages_written(s->w);
	return r < 0 ? save_failed(s, r) : watch_tell(c->op, &c->watch, "reading memory", c->memory, c->planned);
}

/* @stretches: ascending by their names */
static int save_stretches(struct saver *s, const struct span *stretches)
{
	const struct stretch *t = stretches->at;
	struct chunk k = { .source = { fetch_chunk } };
	int r = 0;

	for (size_t i = 0; i < stretches->n && r == 0; i++, t++)
		for (uint64_t at = t->at; at < t->end && r == 0;) {
			size_t n = (size_t)min_u64((t->end - at) / PAGE, IMAGE_CHUNK_PAGES - k.n);

			if (!k.n) {
				k.stretch = t;
				k.at = at;
			}
			k.n += n;
			at += n * PAGE;
			if (k.n < IMAGE_CHUNK_PAGES)
				continue;
			r = save_chunk(s, &k);
			k.n = 0;
		}
	return r < 0 || !k.n ? r : save_chunk(s, &k);
}

static void add_stretch(struct checkpoint *c, struct span *to, struct stretch stretch)
{
	*(struct stretch *)span_push(&c->op->arena, to, sizeof(stretch)) = stretch;
}

/* of a mapping in which others have pages too, mostly those that are left to it are its own by now */
static uint64_t what_of(const struct mm_plan *plan, const struct proc_pages *run)
{
	const bool own = !(run->what & PAGES_HUGE) && are_all_alone(plan, run->start, run->end);

	return own ? run->what & ~FORK_SHARED : run->what;
}

static int save_mm(struct saver *s, const struct mm_plan *plan)
{
	const struct proc_pages *run = plan->own.at;
	struct span stretches = { 0 };

	s->id = plan->process->mm;
	for (size_t i = 0; i < plan->own.n; i++)
		add_stretch(s->c, &stretches,
			(struct stretch){ .process = plan->process,
				.file = -EBADF,
				.at = run[i].start,
				.end = run[i].end,
				.what = what_of(plan, &run[i]) });
	return save_stretches(s, &stretches);
}

/** struct piece - pages of shared memory that exist, and where they can be read */
struct piece {
	uint64_t off, end; /* in the object */
	const struct process *process;
	uint64_t shift; /* off minus the address there */
	const unsigned char *here; /* what was read inside, or NULL */
};

#define MINCORE_PAGES ((uint64_t)65536)

/* @here: its bytes, where they were read inside; else NULL */
static void add_piece(const struct checkpoint *c, struct backing *b, const struct process *p, const struct proc_vma *v,
	uint64_t start, uint64_t end, const unsigned char *here)
{
	struct piece *last = b->pieces.n ? (struct piece *)b->pieces.at + b->pieces.n - 1 : NULL;
	uint64_t shift = v->pgoff - v->start;

	if (last && last->process == p && last->shift == shift && last->end == start + shift && !here && !last->here) {
		last->end = end + shift;
		return;
	}
	last = span_push(&c->op->arena, &b->pieces, sizeof(*last));
	*last = (struct piece){ start + shift, end + shift, p, shift, here };
}

static int add_pages(const struct checkpoint *c, struct backing *b, struct process *p, const struct proc_vma *v,
	uint64_t start, uint64_t end)
{
	if (!b->kind->inside)
		add_piece(c, b, p, v, start, end, NULL);
	for (uint64_t at = start, next; b->kind->inside && at < end; at = next) {
		unsigned char *here;

		next = min_u64(end, at + INSIDE_STEP);
		int r = read_inside(c, p, v, at, next - at, &here);
		if (r < 0)
			return r;
		b->inside += next - at;
		add_piece(c, b, p, v, at, next, here);
	}
	return 0;
}

/* is the part of the object that @v maps known already through other mappings? */
static bool is_covered(const struct backing *b, const struct proc_vma *v)
{
	const struct range *r = b->covered.at;
	uint64_t end = v->pgoff + (v->end - v->start);

	for (size_t i = 0; i < b->covered.n; i++)
		if (r[i].at <= v->pgoff && end <= r[i].at + r[i].pages)
			return true;
	return false;
}

static void cover(const struct checkpoint *c, struct backing *b, const struct proc_vma *v)
{
	struct range *r = span_push(&c->op->arena, &b->covered, sizeof(*r));

	*r = (struct range){ v->pgoff, v->end - v->start }; /* here in bytes */
}

static int find_in_core(const struct checkpoint *c, struct process *p, struct backing *b, const struct proc_vma *v,
	uint64_t at, uint64_t n)
{
	const struct thread *t = p->threads.at;
	struct batch batch;
	unsigned char *in_core;

	batch_init(&batch, &c->op->arena, &p->room, (struct held *)&t[0].held);
	struct taddr out = batch_out(&batch, n, &in_core);
	struct stub_call *call =
		BATCH_CALL(&batch, "ask for the pages of shared memory", SYS_mincore, at, n * PAGE, out.at);
	int r = batch_run(&batch);
	if (r < 0)
		return fail(c->op, r, "ask for the pages of shared memory");
	/* what mincore(2) does not want to tell is read in full */
	bool all = call->ret < 0;
	for (uint64_t i = 0, next; i < n && r == 0; i = next) {
		for (next = i; next < n && (all || in_core[next] & 1); next++)
			;
		r = next > i ? add_pages(c, b, p, v, at + i * PAGE, at + next * PAGE) : 0;
		next += next == i;
	}
	return r;
}

static int open_backing(const struct checkpoint *c, const struct backing *b)
{
	const struct sight s = { .tree = &c->tree, .process = b->process, .vma = b->vma, .fd = b->fd };

	return b->kind->open ? b->kind->open(&s) : -EOPNOTSUPP;
}

/* can it be read by itself? */
static bool is_readable(const struct checkpoint *c, struct backing *b)
{
	_cleanup_close_ int fd = -EBADF;

	if (!b->tried)
		fd = open_backing(c, b);
	b->opens |= fd >= 0;
	b->tried = true;
	return b->opens;
}

/* struct look - one that has a backing mapped is looked at for pages of that */
struct look {
	const struct checkpoint *c;
	struct process *process;
	struct backing *backing;
	const struct proc_vma *vma;
	bool all; /* also those that are not in memory */
};

static int find_between(const struct look *l, uint64_t start, uint64_t end)
{
	int r = 0;

	if (l->all && start < end)
		return add_pages(l->c, l->backing, l->process, l->vma, start, end);
	for (uint64_t at = start; at < end && r == 0; at += MINCORE_PAGES * PAGE)
		r = find_in_core(l->c, l->process, l->backing, l->vma, at, min_u64((end - at) / PAGE, MINCORE_PAGES));
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct proc_pages *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* where the backing does not show in the mapping: pages of a private one's own, and what must not be touched */
static int find_hidden(const struct checkpoint *c, const struct process *p, const struct proc_vma *v, struct span *ret)
{
	_cleanup_close_ int pagemap = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	int r = pagemap < 0 ? -errno : proc_scan_guards(&c->op->arena, pagemap, v->start, v->end, ret);

	if (r == 0 || r == -EOPNOTSUPP)
		r = v->shared ? 0 : proc_scan_pages(&c->op->arena, pagemap, v->start, v->end, false, ret);
	if (ret->n)
		qsort(ret->at, ret->n, sizeof(struct proc_pages), by_start);
	return r < 0 ? fail(c->op, r, "find its pages between %#lx and %#lx", (unsigned long)v->start,
			       (unsigned long)v->end)
		     : 0;
}

/* of what may be mapped privately as well, or beyond its end */
static int find_shown(struct look *l)
{
	const struct proc_vma *v = l->vma;
	const struct sight s = { .tree = &l->c->tree, .process = l->process, .vma = v };
	uint64_t at = v->start, end = v->start + l->backing->kind->reach(l->c->op, &s, &l->all);
	struct span hidden = { 0 };
	int r = find_hidden(l->c, l->process, v, &hidden);

	l->all |= v->swap != 0;
	const struct proc_pages *h = hidden.at;
	for (size_t i = 0; i < hidden.n && r == 0; i++) {
		r = find_between(l, at, min_u64(h[i].start, end));
		at = h[i].end;
	}
	if (r == 0 && !hidden.n)
		cover(l->c, l->backing, v);
	return r < 0 ? r : find_between(l, at, end);
}

/*
 * A page of shared memory may have been written by a process that has ended, and be in no page table: only mincore(2) by a
 * process that has the memory mapped tells of it. It does not tell of pages in swap, but smaps does: then all are read.
 */
static int find_pages(const struct checkpoint *c, struct process *p)
{
	const struct proc_vma *v = p->vmas.at;
	int r = 0;

	for (size_t i = 0; i < p->vmas.n && r == 0; i++) {
		struct backing *b = v[i].backing;
		struct look look = { c, p, b, &v[i], v[i].swap != 0 };

		if (!b || !b->kind->backing_has_pages || (!v[i].shared && !b->kind->reach))
			continue;
		if (is_readable(c, b) || is_covered(b, &v[i]))
			continue;
		if (b->kind->reach) {
			r = find_shown(&look);
			continue;
		}
		cover(c, b, &v[i]);
		r = find_between(&look, v[i].start, v[i].end);
	}
	return r;
}

int find_shared_pages(const struct checkpoint *c, struct process *p)
{
	crew_lock(c); /* others have the same memory */
	int r = find_pages(c, p);
	crew_unlock(c);
	return r;
}

static int by_offset(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static int shared_failed(struct saver *s, const struct backing *b, int err, const char *what)
{
	WHERE_TASK(s->c->op, b->process->pid, b->process->stat.comm);
	return fail(s->c->op, err, "%s memory that is shared", what);
}

/* what was to be read from its place until now has been */
static int settle(struct saver *s, int err)
{
	int last = image_pages_wait(s->w);

	return err < 0 || last == 0 ? err : save_failed(s, last);
}

/* @len bytes of it from @off on are mapped at @at, and those that exist are saved */
static int save_window(struct saver *s, const struct backing *b, unsigned char *at, uint64_t off, uint64_t len)
{
	unsigned char in_core[WINDOW / PAGE];
	struct span stretches = { 0 };

	if (mincore(at, len, in_core) < 0)
		return shared_failed(s, b, -errno, "find the pages of");
	for (uint64_t i = 0; i < len; i += PAGE)
		if (in_core[i / PAGE] & 1)
			add_stretch(s->c, &stretches,
				(struct stretch){ .process = b->process,
					.file = -EBADF,
					.here = at + i,
					.at = off + i,
					.end = off + i + PAGE });
	return settle(s, save_stretches(s, &stretches));
}

/* what can be read in no other way; what is mapped of it counts as locked, and that is limited */
static int save_mapped(struct saver *s, const struct backing *b, int fd)
{
	uint64_t window = WINDOW, size, len;
	struct stat st;
	int r = 0;

	if (fstat(fd, &st) < 0)
		return shared_failed(s, b, -errno, "examine");
	size = ((uint64_t)st.st_size + PAGE - 1) / PAGE * PAGE;
	for (uint64_t off = 0; off < size && r == 0; off += len) {
		len = min_u64(size - off, window);
		void *at = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)off);
		if (at == MAP_FAILED && errno == EAGAIN && window > PAGE) {
			window /= 2;
			len = 0;
			continue;
		}
		if (at == MAP_FAILED)
			return shared_failed(s, b, -errno, "map");
		r = save_window(s, b, at, off, len);
		munmap(at, len);
		if (r == 0)
			r = watch_tell(s->c->op, &s->c->watch, "reading memory", s->c->memory, s->c->planned);
	}
	return r;
}

/* its holes are left out */
static int save_data(struct saver *s, const struct backing *b, int fd)
{
	struct span stretches = { 0 };

	for (off_t at = 0, end; (at = lseek(fd, at, SEEK_DATA)) >= 0; at = end) {
		end = lseek(fd, at, SEEK_HOLE);
		if (end < 0)
			break;
		end = (off_t)(((uint64_t)end + PAGE - 1) / PAGE * PAGE);
		add_stretch(s->c, &stretches,
			(struct stretch){ .process = b->process,
				.file = fd,
				.at = (uint64_t)at / PAGE * PAGE,
				.end = (uint64_t)end });
	}
	if (errno != ENXIO)
		return shared_failed(s, b, -errno, "find the pages of");
	return settle(s, save_stretches(s, &stretches));
}

static int save_file(struct saver *s, const struct backing *b)
{
	_cleanup_close_ int fd = open_backing(s->c, b);

	if (fd < 0)
		return shared_failed(s, b, fd, "open");
	return lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE ? save_mapped(s, b, fd) : save_data(s, b, fd);
}

static int save_backing(struct saver *s, struct backing *b)
{
	const struct piece *p = b->pieces.at;
	struct span stretches = { 0 };
	uint64_t done = 0;

	s->id = b->id;
	if (b->kind->backing_has_pages && is_readable(s->c, b))
		return save_file(s, b);
	if (b->pieces.n)
		qsort(b->pieces.at, b->pieces.n, sizeof(struct piece), by_offset);
	for (size_t i = 0; i < b->pieces.n; i++) {
		uint64_t from = p[i].off > done ? p[i].off : done;

		if (from >= p[i].end)
			continue;
		done = p[i].end;
		add_stretch(s->c, &stretches,
			(struct stretch){ .process = p[i].process,
				.file = -EBADF,
				.here = p[i].here ? p[i].here + (from - p[i].off) : NULL,
				.at = from - p[i].shift,
				.end = p[i].end - p[i].shift,
				.shift = p[i].shift });
	}
	return save_stretches(s, &stretches);
}

static int save_all(struct saver *s)
{
	struct backing **b = s->c->backings.at;
	struct mm_plan **m = s->c->mms.at;
	int r = 0;

	for (size_t i = 0; i < s->c->backings.n && r == 0; i++)
		r = save_backing(s, b[i]);
	for (size_t i = 0; i < s->c->mms.n && r == 0; i++)
		r = save_mm(s, m[i]);
	return r;
}

int save_pages(struct checkpoint *c, struct image_writer *w)
{
	struct saver s = { .c = c, .w = w };
	struct mm_plan **m = c->mms.at;

	for (size_t i = 0; i < c->mms.n; i++) {
		const struct proc_pages *run = m[i]->own.at;

		for (size_t k = 0; k < m[i]->own.n; k++)
			c->planned += run[k].end - run[k].start;
	}
	int r = settle(&s, save_all(&s)); /* whatever happened: nobody may read any more from here on */
	c->memory = image_pages_written(w);
	return r;
}
