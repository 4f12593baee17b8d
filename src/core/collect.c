/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the processes of a program and holding them still.
 *
 * A stopped process has no new children, so the walk goes from the root downwards, stopping as it goes (freeze.c), and is
 * repeated until a whole pass finds nothing new: a child may have been handed to its grandparent meanwhile.
 */
#include "core/core.h"
#include "core/mappings.h"
#include "core/twins.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/rush.h"
#include "kinds/bystander.h"

#define INIT_COMM    "stasis-init"
#define THREADS_MANY 500
#define MOUNTS_MOST  ((size_t)1 << 20) /* bytes */
#define WALKS_MOST   100 /* that find nothing but what is gone */
#define PF_KTHREAD   0x00200000 /* include/linux/sched.h */

/*
 * Has it ended? A leader that ended before its threads looks like a zombie too, and so does, for a moment, the old leader of
 * a process in which another thread calls execve(2): but for the number of threads. It is 0 of a task that was released
 * while it was looked at (do_task_stat() in fs/proc/array.c): whether another has its number now the next look tells.
 */
static int read_end(struct process *p)
{
	/* what a process says of itself takes longer: it adds up the times of all its threads */
	_cleanup_close_ int leader = proc_count_threads(p->dir) > 1 ? proc_open_thread(p->dir, p->pid) : -EBADF;
	int r = 0;

	p->stat.num_threads = 0;
	for (int turn = 0; turn < 1000 && r == 0 && !p->stat.num_threads; turn++)
		r = proc_read_stat(leader < 0 ? p->dir : leader, &p->stat);
	p->zombie = r < 0 || ((p->stat.state == 'Z' || p->stat.state == 'X') && p->stat.num_threads == 1);
	return r;
}

static int hold_process(const struct checkpoint *c, struct process *p, bool freeze)
{
	WHERE_TASK(c->op, p->pid, p->stat.comm);
	if (p->stat.flags & PF_KTHREAD)
		return fail_as(
			c->op, OUTCOME_CANNOT, "kernel-thread", NULL, "is a thread of the kernel, not a program");
	for (int turn = 0; turn < 100; turn++) {
		int r = freeze ? freeze_process(c, p) : list_threads(c, p);

		if (r == 0)
			r = reach_process(c, p, freeze);
		if (r != -ESRCH || c->op->err)
			return r;
		p->threads.n = 0;
		r = read_end(p); /* it is a zombie now, or gone; or its threads are not what they were */
		if (r < 0 || p->zombie)
			return r;
	}
	return -ESRCH;
}

/* is /proc mounted with hidepid, so that it may not show what belongs to others? */
static bool hides(const struct checkpoint *c)
{
	char *text;

	if (geteuid() == 0)
		return false;
	return read_text(&c->op->arena, c->procfd, "self/mountinfo", MOUNTS_MOST, &text, NULL) < 0 ||
	       strstr(text, "hidepid=");
}

/* by asking all processes of the system who their parent is; it is not done, which is -E2BIG, if there are more than @most */
static int scan_children(const struct checkpoint *c, pid_t pid, size_t most, struct span *ret)
{
	struct span all = { 0 };
	int r = hides(c) ? -EPERM : proc_read_all(&c->op->arena, c->procfd, &all);
	const pid_t *p = all.at;

	if (r == 0 && all.n > most)
		return -E2BIG;
	for (size_t i = 0; r == 0 && i < all.n; i++) {
		_cleanup_close_ int d = p[i] == pid ? -EBADF : proc_open(c->procfd, p[i]);
		struct proc_stat st;

		if (d >= 0 && proc_read_stat(d, &st) == 0 && st.ppid == pid)
			*(pid_t *)span_push(&c->op->arena, ret, sizeof(pid_t)) = p[i];
	}
	return r;
}

/* of those that are held; what an ended one had is another's by then, or a parent's further up */
static int read_held_children(const struct checkpoint *c, const struct process *p, struct span *ret)
{
	const struct thread *t = p->threads.at;
	pid_t *tid = arena_array(&c->op->arena, p->threads.n, sizeof(*tid));

	for (size_t i = 0; i < p->threads.n; i++)
		tid[i] = t[i].tid;
	return proc_read_children_of(&c->op->arena, p->dir, tid, p->threads.n, ret);
}

/* the kernel lists the children of each thread, in order; where it does not, or there are many threads, it takes less to scan */
static int look_for_children(
	const struct checkpoint *c, const struct process *p, bool held, struct span *ret, bool *ret_at_once)
{
	struct span some = { 0 };

	*ret = some;
	*ret_at_once = false;
	if (p->threads.n >= THREADS_MANY && scan_children(c, p->pid, p->threads.n, &some) == 0 && !some.n)
		return 0;
	*ret_at_once = p->threads.n == 1;
	int r = held ? read_held_children(c, p, ret) : proc_read_children(&c->op->arena, p->dir, ret);
	if (r != -ENOENT)
		return r;
	*ret_at_once = false;
	return scan_children(c, p->pid, SIZE_MAX, ret);
}

static void add_missing(const struct checkpoint *c, struct span *to, const struct span *from)
{
	const pid_t *pid = from->at;
	struct map known = { 0 };

	for (size_t i = 0; i < to->n; i++)
		map_set(&c->op->arena, &known, (uint64_t)((pid_t *)to->at)[i], to);
	for (size_t i = 0; i < from->n; i++)
		if (!map_get(&known, (uint64_t)pid[i]))
			*(pid_t *)span_push(&c->op->arena, to, sizeof(pid_t)) = pid[i];
}

/*
 * Where one list is read after the other, a child that ends in between leaves its own to a thread that was read before
 * (find_new_reaper() in kernel/exit.c), and neither is seen. A second look sees those, or the first has seen the one that ended
 * in the second: then there is another turn.
 */
static int read_children(const struct checkpoint *c, const struct process *p, bool held, struct span *ret)
{
	struct span once;
	bool at_once;
	int r = look_for_children(c, p, held, ret, &at_once);

	if (r < 0 || at_once)
		return r;
	once = *ret;
	r = look_for_children(c, p, held, ret, &at_once);
	if (r == 0)
		add_missing(c, ret, &once);
	return r;
}

static int list_children(const struct checkpoint *c, struct process *p, bool held)
{
	p->listed = (struct span){ 0 };
	int r = p->zombie ? 0 : read_children(c, p, held, &p->listed);

	return r < 0 && r != -ESRCH ? fail(c->op, r, "read the children of process %d", p->pid) : 0;
}

static int list_again(const struct checkpoint *c, struct process *p)
{
	return list_children(c, p, c->tree.frozen);
}

/* struct found - a process that was found, and is to be one of the tree */
struct found {
	pid_t pid;
	struct process *parent, *process; /* NULL: not looked at yet, or gone before it could be held */
	bool freeze;
};

static int add_found(const struct checkpoint *c, void *data, size_t i)
{
	struct found *f = (struct found *)data + i;
	struct process *p = arena_alloc(&c->op->arena, sizeof(*p));

	*p = (struct process){ .pid = f->pid,
		.tid = f->pid,
		.dir = proc_open(c->procfd, f->pid),
		.parent = f->parent,
		.mem = -EBADF,
		.root = &c->lane->root_dir,
		.seen = arena_alloc(&c->op->arena, sizeof(struct seen)),
		.lane = c->lane->n,
		.pidfd = -EBADF };
	if (p->dir >= 0)
		f->process = p; /* whatever becomes of it: it may have to be let go */
	int r = p->dir < 0 ? p->dir : read_end(p);
	if (r == 0 && !p->zombie)
		r = hold_process(c, p, f->freeze);
	if (r == 0 && !c->op->err)
		r = list_children(c, p, f->freeze);
	if (r == 0 || c->op->err)
		return r;
	if ((r == -ESRCH || r == -EPERM) && f->parent && (kill(f->pid, 0) == 0 || errno == EPERM) && hides(c))
		return fail_as(c->op, OUTCOME_PERMISSION, "hidden", "run stasis as root",
			"look at process %d, which belongs to it: /proc does not show it to this user (hidepid)",
			f->pid);
	if (r != -ESRCH)
		return fail(c->op, r, "look at process %d", f->pid);
	f->process = NULL; /* it is not there any more, nor is its number */
	p->dir = fd_close(p->dir);
	return 0;
}

/* held side by side; in the tree they are in the order in which they were found */
static int add_all(struct checkpoint *c, const struct span *found, bool *ret_lost)
{
	struct found *f = found->at;
	int r = crew_share(c, "freezing", found->n, add_found, f);

	for (size_t i = 0; i < found->n; i++) {
		if (!f[i].process) {
			*ret_lost = true;
			continue;
		}
		*(struct process **)span_push(&c->op->arena, &c->tree.processes, sizeof(f->process)) = f[i].process;
		map_set(&c->op->arena, &c->by_pid, (uint64_t)f[i].pid, f[i].process);
	}
	return r;
}

/* struct walk - one pass through the tree */
struct walk {
	struct span found; /* of struct found: not in the tree yet */
	struct map by_pid; /* of those: all there is of one, by pid as we count */
	bool freeze;
	bool lost; /* one was gone, and its children may be another's now */
};

/* of @children, those of @parent (NULL: of the init), who is new? */
static int find_new(struct checkpoint *c, struct walk *w, const struct span *children, struct process *parent)
{
	const pid_t *child = children->at, self = children->n ? getpid() : 0;

	for (size_t i = 0; i < children->n; i++) {
		if (child[i] == self)
			return fail_as(c->op, OUTCOME_USAGE, "self", "run stasis from outside of the program",
				"save stasis itself: it is a child of process %d", parent ? parent->pid : c->init);
		if (map_get(&c->by_pid, (uint64_t)child[i]) || map_get(&w->by_pid, (uint64_t)child[i]))
			continue;
		map_set(&c->op->arena, &w->by_pid, (uint64_t)child[i], w);
		*(struct found *)span_push(&c->op->arena, &w->found, sizeof(struct found)) =
			(struct found){ .pid = child[i], .parent = parent, .freeze = w->freeze };
	}
	return 0;
}

static int find_below_init(struct checkpoint *c, struct walk *w)
{
	_cleanup_close_ int dir = proc_open(c->procfd, c->init);
	const struct process init = { .pid = c->init, .dir = dir };
	struct span children = { 0 };
	int r = dir < 0 ? dir : read_children(c, &init, false, &children);

	if (r < 0)
		return fail(c->op, r, "look at the init of the program's pid namespace");
	return find_new(c, w, &children, NULL);
}

/* from the root downwards, the children of all that are there at once */
static int walk_down(struct checkpoint *c, struct walk *w)
{
	int r = crew_each(c, "freezing", list_again);

	if (r == 0 && c->init)
		r = find_below_init(c, w);
	for (size_t at = 0; r == 0 && (at < c->tree.processes.n || w->found.n);) {
		r = add_all(c, &w->found, &w->lost);
		w->found = (struct span){ 0 };
		for (size_t end = c->tree.processes.n; at < end && r == 0; at++) {
			struct process *p = ((struct process **)c->tree.processes.at)[at];

			r = find_new(c, w, &p->listed, p);
		}
	}
	return r;
}

static int walk(struct checkpoint *c, bool freeze)
{
	for (unsigned int turn = 0;; turn++) {
		struct walk w = { .freeze = freeze };
		size_t before = c->tree.processes.n;
		int r = walk_down(c, &w);

		if (r < 0 || (c->tree.processes.n == before && (!w.lost || turn >= WALKS_MOST)))
			return r;
	}
}

/* our init stays out: it is made anew wherever the program is restarted */
static void find_init(struct checkpoint *c, const struct proc_stat *target)
{
	_cleanup_close_ int dir = proc_open(c->procfd, target->ppid);
	struct proc_stat st;

	if (dir >= 0 && proc_read_stat(dir, &st) == 0 && strcmp(st.comm, INIT_COMM) == 0)
		c->init = c->tree.init = target->ppid;
}

/* Then it would stop who has started us, and maybe who traces us, or reads what we say */
static bool is_above_us(struct checkpoint *c, pid_t pid)
{
	struct proc_stat st = { .ppid = getppid() };

	while (st.ppid > 0 && st.ppid != pid) {
		_cleanup_close_ int dir = proc_open(c->procfd, st.ppid);

		if (dir < 0 || proc_read_stat(dir, &st) < 0)
			return false;
	}
	return st.ppid == pid;
}

int collect_tree(struct checkpoint *c, bool freeze)
{
	struct op *op = c->op;
	uint64_t theirs, ours;
	_cleanup_close_ int dir = proc_open(c->procfd, c->target);
	_cleanup_close_ int self = openat(c->procfd, "self", O_DIRECTORY | O_CLOEXEC);
	struct proc_stat st;

	if (c->target == getpid())
		return fail_as(
			op, OUTCOME_USAGE, "self", "run stasis from outside of the program", "save stasis itself");
	if (is_above_us(c, c->target))
		return fail_as(op, OUTCOME_USAGE, "self", "run stasis from outside of the program",
			"save stasis itself: it is a child of process %d, or of a child of it", c->target);
	if (dir == -ESRCH || dir == -ENOENT)
		return fail_as(op, OUTCOME_USAGE, "no-process", "see ps(1) or stasis ls for what runs",
			"find process %d", c->target);
	if (dir < 0)
		return fail(op, dir, "look at process %d", c->target);
	if (proc_read_ns(dir, "pid", &theirs) == 0 && self >= 0 && proc_read_ns(self, "pid", &ours) == 0)
		c->own_pidns = theirs != ours;
	if (c->own_pidns && proc_read_stat(dir, &st) == 0)
		find_init(c, &st);
	c->frozen_at = now_ns();
	struct found root = { .pid = c->target, .freeze = freeze };
	bool lost = false;
	int r = add_all(c, &(struct span){ &root, 1, 0 }, &lost);
	if (r == 0 && lost)
		r = fail(op, -ESRCH, "look at process %d", c->target);
	if (r < 0)
		return r;
	c->root = *(struct process **)c->tree.processes.at;
	if (c->root->zombie)
		return fail_as(op, OUTCOME_CANNOT, "zombie", NULL, "save process %d: it has ended already", c->target);
	c->tree.frozen = freeze;
	c->tree.cpus = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	c->tree.bystanders = &c->bystanders;
	c->tree.outsiders = &c->outsiders;
	c->tree.sockets = &c->sockets;
	c->tree.abilities = &c->abilities;
	r = walk(c, freeze);
	c->held = r == 0 && freeze;
	if (r == 0 && freeze && clocks_of(c->root->dir, &c->clocks) < 0)
		note(op, "its CLOCK_MONOTONIC cannot be read: after a restart it is that of the host");
	return r;
}

/*
 * A sleep that was interrupted goes on by restart_syscall(2), which filters see, and some end the thread for it. Where no kind
 * has looked at the filters, or it could not, the call begins anew.
 */
static void spare_restart(const struct process *p, struct thread *t)
{
	struct proc_status st;

	if (!t->held.still || t->held.away || arch_interrupted(&t->held.regs) != RESTARTS_BY_BLOCK)
		return;
	_cleanup_close_ int dir = proc_open_thread(p->dir, t->tid);
	struct arena a;

	arena_init(&a);
	if (dir >= 0 && proc_read_status(&a, dir, &st) == 0 && st.seccomp == SECCOMP_MODE_FILTER) {
		arch_restart_call(&t->held.regs);
		arch_set_regs(t->tid, &t->held.regs);
	}
	arena_done(&a);
}

static int let_go(const struct checkpoint *c, struct process *p)
{
	struct thread *t = p->threads.at;

	for (size_t k = 0; k < p->threads.n; k++)
		room_leave(&p->room, &t[k].held);
	room_fill(&p->room);
	const struct rush rush = rush_begin(p->threads.n);
	for (size_t k = 0; k < p->threads.n; k++) {
		p->was_held |= t[k].held.seized;
		leave_nap(p, &t[k]);
		if (!c->judged)
			spare_restart(p, &t[k]);
		hold_let_go(&t[k].held);
	}
	rush_end(&rush);
	return 0;
}

static int forget(const struct checkpoint *c, struct process *p)
{
	(void)c;
	fd_close(p->dir);
	fd_close(p->mem);
	fd_close(p->pidfd);
	return 0;
}

void release_tree(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	bystanders_end(&c->tree);
	crew_each(c, NULL, let_go);
	for (size_t i = 0; i < c->tree.processes.n; i++)
		c->tree.frozen |= p[i]->was_held; /* also where a part of it did not stop */
	if (c->tree.frozen && !c->thawed_at)
		c->thawed_at = now_ns();
	crew_each(c, NULL, forget);
	twins_close(c);
	mappings_close(c);
	c->tree.processes.n = 0;
}
