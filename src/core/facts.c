/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading what proc knows of each process, once the tree is complete.
 */
#include "core/core.h"
#include "core/mappings.h"
#include "core/twins.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define BIT(signo) (1ull << ((signo)-1))

/* the pids of @st at the level of the tree's root; deeper ones live in namespaces of their own */
static int level_ids(const struct checkpoint *c, struct process *p)
{
	const struct proc_status *st = &p->status;
	unsigned int level = c->root->status.levels - 1;

	if (st->levels != c->root->status.levels)
		return refuse(c->op, "pidns", "its pid namespace is nested in that of the program", NULL,
			"lives in a pid namespace of its own");
	p->vpid = st->nstgid[level];
	p->vpgid = st->nspgid[level];
	p->vsid = st->nssid[level];
	return 0;
}

/* by which the process is reached: it has what that has */
static void read_first(const struct checkpoint *c, struct process *p)
{
	unsigned int level = c->root->status.levels ? c->root->status.levels - 1 : 0;
	struct thread *t = p->threads.at;

	t->stat = p->stat;
	t->status = p->status;
	t->vtid = t->status.nspid[level];
}

static int read_other(const struct checkpoint *c, struct process *p, struct thread *t)
{
	unsigned int level = c->root->status.levels ? c->root->status.levels - 1 : 0;

	if (t->like)
		return 0;
	_cleanup_close_ int dir = proc_open_thread(p->dir, t->tid);
	int r = dir < 0 ? dir : proc_read_stat(dir, &t->stat);
	if (r == 0)
		r = proc_read_status(&c->op->arena, dir, &t->status);
	if (r == 0 && t != p->ended)
		r = proc_read_namespaces(dir, PROC_NS_OF_THREADS, t->ns);
	if (r < 0)
		return fail(c->op, r, "read the state of thread %d", t->tid);
	t->vtid = t->status.nspid[level];
	return 0;
}

/* signals that may be sent to it without any effect while nobody traces it */
static uint64_t ignored_signals(const struct process *p)
{
	const uint64_t by_default = BIT(SIGCHLD) | BIT(SIGURG) | BIT(SIGWINCH) | BIT(SIGCONT);
	const struct thread *t = p->threads.at;
	uint64_t mask = (p->status.sigign | by_default) & ~p->status.sigcgt & ~p->status.shdpnd;

	for (size_t i = 0; i < p->threads.n; i++)
		mask &= ~t[i].status.sigpnd;
	return mask & ~(BIT(SIGKILL) | BIT(SIGSTOP));
}

/* is a signal pending that a SIGCONT would take away? */
static bool stop_waits(const struct process *p)
{
	const uint64_t stop = BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU);
	const struct thread *t = p->threads.at;
	uint64_t pending = p->status.shdpnd;

	for (size_t i = 0; i < p->threads.n; i++)
		pending |= t[i].status.sigpnd;
	return pending & stop;
}

/* in the middle of the widest gap, where the kernel, which maps from the top down and from the bottom up, puts nothing */
static uint64_t free_address(const struct process *p)
{
	const struct proc_vma *v = p->vmas.at;
	uint64_t at = 0, best = 0, width = 0;

	for (size_t i = 0; i < p->vmas.n; i++) {
		if (v[i].start > at && v[i].start - at > width && v[i].start < 1ull << 47) {
			width = v[i].start - at;
			best = at + width / 2;
		}
		at = v[i].end;
	}
	return best & ~(uint64_t)(IMAGE_PAGE - 1);
}

static struct room_plan plan_room(const struct process *p)
{
	const struct proc_vma *v = p->vmas.at;
	struct room_plan plan = { .scratch = { free_address(p) },
		.ignored = ignored_signals(p),
		.stopped = p->stop_signal || stop_waits(p) };

	for (size_t i = 0; i < p->vmas.n; i++)
		if (strcmp(v[i].name, "[vdso]") == 0) {
			plan.vdso.at = v[i].start;
			plan.vdso_end.at = v[i].end;
		}
	return plan;
}

static int open_room(const struct checkpoint *c, struct process *p)
{
	const struct thread *t = p->threads.at;
	const struct room_plan plan = plan_room(p);

	if (p->zombie)
		return 0;
	for (size_t i = 0; i < p->threads.n; i++)
		if (room_has_guest(p->tid, &plan, &t[i].held))
			return fail_as(c->op, OUTCOME_TIMEOUT, "stub-busy", "try again",
				"go on: an earlier stasis was killed just now, and the program is still putting itself "
				"right");
	int r = mend_sequences(c, p);
	if (r < 0)
		return fail(c->op, r, "abort the restartable sequences that it was stopped in");
	p->mem = openat(p->dir, "mem", O_RDWR | O_CLOEXEC);
	if (p->mem < 0)
		return fail(c->op, -errno, "open its memory");
	if (p->pidfd < 0)
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	return p->pidfd < 0 ? fail(c->op, -errno, "open a descriptor of the process") : 0;
}

int dig_room(const struct checkpoint *c, struct process *p)
{
	const struct room_plan plan = plan_room(p);
	int r = plan.vdso.at ? room_dig(&p->room, p->tid, p->mem, &plan) : -ENOSPC;

	if (r == -ENOSPC)
		return fail_as(c->op, OUTCOME_CANNOT, "no-vdso", NULL,
			"find room for the stub: the process has no vdso as this kernel makes it");
	if (r == -EBUSY)
		return fail_as(c->op, OUTCOME_CANNOT, "no-signal", NULL,
			"find a signal that the process ignores: it catches all of them");
	return r < 0 ? fail(c->op, r, "put the stub into the process") : 0;
}

static bool same_as_parents(void *data, int n)
{
	const struct process *p = data;

	return proc_kcmp(p->parent->tid, p->tid, KCMP_FILE, (unsigned long)n, (unsigned long)n) == 0;
}

/* Mostly they are what fork made of the parent's, which have been read already, unless another lane is about to */
static int read_fds(const struct checkpoint *c, struct process *p)
{
	struct arena *a = &c->op->arena;
	struct proc_model model = { .same = same_as_parents, .data = p };
	const bool known = c->tree.frozen && p->parent && __atomic_load_n(&p->parent->has_fds, __ATOMIC_ACQUIRE);

	if (known)
		model.fds = p->parent->fds;
	int r = proc_read_fds_like(a, p->dir, known ? &model : NULL, &p->fds);
	if (r == 0)
		__atomic_store_n(&p->has_fds, true, __ATOMIC_RELEASE);
	return r < 0 ? fail(c->op, r, "read its descriptors") : 0;
}

static int read_process(const struct checkpoint *c, struct process *p)
{
	struct op *op = c->op;
	int r = proc_read_status(&op->arena, p->dir, &p->status);

	if (r == 0)
		r = proc_read_stat(p->dir, &p->stat);
	if (r < 0)
		return fail(op, r, "read its state");
	r = p->zombie ? 0 : proc_read_namespaces(p->dir, PROC_NS_N, p->ns);
	if (r < 0)
		return fail(op, r, "read its namespaces");
	r = level_ids(c, p);
	if (p->zombie || r < 0)
		return r == -EOPNOTSUPP ? 0 : r;
	read_first(c, p);
	r = mappings_read(c, p);
	if (r < 0)
		return fail(op, r, "read its memory map");
	return read_fds(c, p);
}

static int by_object(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd; /* same array: by number; else any fixed order */
}

static void index_holders(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		const struct proc_fd *f = p[i]->fds.at;

		for (size_t k = 0; k < p[i]->fds.n; k++) {
			struct holder *h = span_push(&c->op->arena, &c->tree.holders, sizeof(*h));
			*h = (struct holder){ f[k].dev, f[k].st_ino, p[i], &f[k] };
		}
	}
	if (c->tree.holders.n)
		qsort(c->tree.holders.at, c->tree.holders.n, sizeof(struct holder), by_object);
}

int collect_facts(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	twins_read(c);
	mappings_await(c);
	int r = crew_each(c, "looking", read_process);

	if (r == 0)
		find_twins(c);
	if (r == 0)
		r = crew_others(c, "looking", read_other);
	for (size_t i = 0; i < c->tree.processes.n && r == 0; i++) {
		WHERE_TASK(c->op, p[i]->pid, p[i]->stat.comm);
		p[i]->vppid = p[i]->parent ? p[i]->parent->vpid : 0;
		take_after(c, p[i]);
		if (p[i]->ended)
			take_ended(c, p[i]);
		find_stop(p[i]);
	}
	index_holders(c);
	return r;
}

int open_rooms(struct checkpoint *c)
{
	return crew_each(c, "opening", open_room);
}
