/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the processes of a program and holding them still.
 *
 * A stopped process has no new children, so the walk goes from the root downwards, stopping as it goes (freeze.c), and is
 * repeated until a whole pass finds nothing new: a child may have been handed to its grandparent meanwhile.
 */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/bystander.h"

#define INIT_COMM  "stasis-init"
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

static bool is_known(struct checkpoint *c, pid_t pid)
{
	const struct process *p = map_get(&c->by_pid, (uint64_t)pid);

	return p && p->dir >= 0; /* else it was gone before it could be held, and another has its number now */
}

/*
 * Has it ended? A leader that ended before its threads looks like a zombie too, and so does, for a moment, the old leader of
 * a process in which another thread calls execve(2): but for the number of threads. It is 0 of a task that was released
 * while it was looked at (do_task_stat() in fs/proc/array.c): whether another has its number now the next look tells.
 */
static int read_end(struct process *p)
{
	int r = 0;

	p->stat.num_threads = 0;
	for (int turn = 0; turn < 1000 && r == 0 && !p->stat.num_threads; turn++)
		r = proc_read_stat(p->dir, &p->stat);
	p->zombie = r < 0 || ((p->stat.state == 'Z' || p->stat.state == 'X') && p->stat.num_threads == 1);
	return r;
}

static int hold_process(struct checkpoint *c, struct process *p, bool freeze)
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

static int add_process(struct checkpoint *c, pid_t pid, struct process *parent, bool freeze)
{
	_cleanup_close_ int dir = proc_open(c->procfd, pid);

	if (dir < 0)
		return dir;
	struct process *p = arena_alloc(&c->op->arena, sizeof(*p));
	*p = (struct process){ .pid = pid,
		.tid = pid,
		.dir = dir,
		.parent = parent,
		.mem = -EBADF,
		.root = &c->root_dir,
		.pidfd = -EBADF };
	int r = read_end(p);
	if (r < 0)
		return r;
	p->dir = TAKE_FD(dir);
	*(struct process **)span_push(&c->op->arena, &c->tree.processes, sizeof(p)) = p;
	map_set(&c->op->arena, &c->by_pid, (uint64_t)pid, p);
	r = p->zombie ? 0 : hold_process(c, p, freeze);
	if (r == -ESRCH && !c->op->err) {
		p->dir = fd_close(p->dir); /* it is not there any more, nor is its number */
		c->tree.processes.n--;
	}
	return r;
}

/* the children of one process, or of the whole system where the kernel does not list them */
static int read_children(struct checkpoint *c, int dir, pid_t pid, struct span *ret)
{
	int r = proc_read_children(&c->op->arena, dir, ret);
	struct span all = { 0 };

	if (r != -ENOENT)
		return r;
	r = proc_read_all(&c->op->arena, c->procfd, &all);
	const pid_t *p = all.at;
	for (size_t i = 0; r == 0 && i < all.n; i++) {
		_cleanup_close_ int d = proc_open(c->procfd, p[i]);
		struct proc_stat st;

		if (d >= 0 && proc_read_stat(d, &st) == 0 && st.ppid == pid)
			*(pid_t *)span_push(&c->op->arena, ret, sizeof(pid_t)) = p[i];
	}
	return r;
}

static int add_children(struct checkpoint *c, int dir, pid_t pid, struct process *parent, bool freeze)
{
	struct span children = { 0 };
	int r = read_children(c, dir, pid, &children);

	if (r == -ESRCH)
		return 0;
	if (r < 0)
		return fail(c->op, r, "read the children of process %d", pid);
	const pid_t *child = children.at;
	for (size_t i = 0; i < children.n; i++) {
		if (child[i] == getpid())
			return fail_as(c->op, OUTCOME_USAGE, "self", "run stasis from outside of the program",
				"save stasis itself: it is a child of process %d", pid);
		if (is_known(c, child[i]))
			continue;
		r = add_process(c, child[i], parent, freeze);
		if (r < 0 && r != -ESRCH)
			return c->op->err ? r : fail(c->op, r, "look at process %d", child[i]);
	}
	return 0;
}

static int walk(struct checkpoint *c, bool freeze)
{
	for (;;) {
		size_t before = c->tree.processes.n;

		if (c->init) {
			_cleanup_close_ int dir = proc_open(c->procfd, c->init);
			int r = dir < 0 ? dir : add_children(c, dir, c->init, NULL, freeze);

			if (r < 0)
				return c->op->err ? r
						  : fail(c->op, r, "look at the init of the program's pid namespace");
		}
		for (size_t i = 0; i < c->tree.processes.n; i++) {
			struct process *p = ((struct process **)c->tree.processes.at)[i];
			int r = p->zombie ? 0 : add_children(c, p->dir, p->pid, p, freeze);

			if (r == 0)
				r = watch_tell(c->op, &c->watch, "freezing", i, 0);
			if (r < 0)
				return r;
		}
		if (c->tree.processes.n == before)
			return 0;
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
	int r = dir < 0 ? dir : proc_read_stat(dir, &st);
	if (r < 0)
		return fail(op, r, "look at process %d", c->target);
	if (proc_read_ns(dir, "pid", &theirs) == 0 && self >= 0 && proc_read_ns(self, "pid", &ours) == 0)
		c->own_pidns = theirs != ours;
	if (c->own_pidns)
		find_init(c, &st);
	c->frozen_at = now_ns();
	r = add_process(c, c->target, NULL, freeze);
	if (r < 0)
		return op->err ? r : fail(op, r, "look at process %d", c->target);
	c->root = *(struct process **)c->tree.processes.at;
	if (c->root->zombie)
		return fail_as(op, OUTCOME_CANNOT, "zombie", NULL, "save process %d: it has ended already", c->target);
	c->tree.frozen = freeze;
	c->tree.cpus = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	c->tree.bystanders = &c->bystanders;
	c->tree.outsiders = &c->outsiders;
	r = walk(c, freeze);
	c->held = r == 0 && freeze;
	if (r == 0 && freeze && clocks_of(c->root->dir, &c->clocks) < 0)
		note(op, "its CLOCK_MONOTONIC cannot be read: after a restart it is that of the host");
	return r;
}

void release_tree(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	bystanders_end(&c->tree);
	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct thread *t = p[i]->threads.at;

		for (size_t k = 0; k < p[i]->threads.n; k++)
			room_leave(&p[i]->room, &t[k].held);
		room_fill(&p[i]->room);
		for (size_t k = 0; k < p[i]->threads.n; k++) {
			c->tree.frozen |= t[k].held.seized; /* also where a part of it did not stop */
			leave_nap(p[i], &t[k]);
			hold_let_go(&t[k].held);
		}
	}
	if (c->tree.frozen && !c->thawed_at)
		c->thawed_at = now_ns();
	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct thread *t = p[i]->threads.at;

		for (size_t k = 0; k < p[i]->threads.n; k++)
			fd_close(t[k].dir);
		if (p[i]->ended)
			fd_close(p[i]->ended->dir);
		fd_close(p[i]->dir);
		fd_close(p[i]->mem);
		fd_close(p[i]->pidfd);
	}
	if (c->root_dir.of)
		fd_close(c->root_dir.fd);
	c->root_dir = (struct root){ 0 };
	c->tree.processes.n = 0;
}
