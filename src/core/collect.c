/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the processes of a program and holding them still.
 *
 * A stopped process has no new threads and children, so the walk goes from the root downwards, stopping as it goes, and is
 * repeated until a whole pass finds nothing new: a child may have been handed to its grandparent meanwhile.
 */
#include "core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define STOP_TIMEOUT_MS 10000
#define INIT_COMM	"stasis-init"

/* Documentation/admin-guide/LSM/Yama.rst: from 1 on only ancestors may trace */
static bool is_yama_strict(struct checkpoint *c)
{
	char *text;

	return read_text(&c->op->arena, c->procfd, "sys/kernel/yama/ptrace_scope", 16, &text, NULL) == 0 &&
	       text[0] > '0';
}

static int explain_seize(struct checkpoint *c, const struct process *p, int err)
{
	struct proc_status st;

	if (err != -EPERM || proc_read_status(&c->op->arena, p->dir, &st) < 0)
		return fail(c->op, err, "stop it");
	if (st.tracer) {
		_cleanup_close_ int dir = proc_open(c->procfd, st.tracer);
		struct proc_stat tracer = { .comm = "?" };

		if (dir >= 0)
			proc_read_stat(dir, &tracer);
		return fail_as(c->op, OUTCOME_CANNOT, "traced", "end the debugger or tracer first",
			"is traced by \"%s\" (pid %d), and a process has one tracer at a time", tracer.comm, st.tracer);
	}
	if (is_yama_strict(c))
		return fail_as(c->op, OUTCOME_PERMISSION, "ptrace-scope",
			"run stasis as root, or set kernel.yama.ptrace_scope to 0, or start the program with stasis "
			"run "
			"--every or --on",
			"stop it: this host lets users trace only what they have started (kernel.yama.ptrace_scope)");
	return fail_as(c->op, OUTCOME_PERMISSION, "ptrace",
		"run stasis as the program's owner or as root; a setuid or non-dumpable program needs root",
		"stop it: the kernel does not let this user trace it");
}

static struct thread *find_thread(struct process *p, pid_t tid)
{
	struct thread *t = p->threads.at;

	for (size_t i = p->threads.n; i-- > 0;)
		if (t[i].tid == tid)
			return &t[i];
	return NULL;
}

/* a thread on its way out cannot be traced any more (-EPERM from ptrace_attach() in kernel/ptrace.c): wait until it is gone */
static bool is_ending(const struct process *p, pid_t tid)
{
	const struct timespec nap = { 0, 1000000 };
	const uint64_t pf_exiting = 4; /* include/linux/sched.h */

	for (int turn = 0; turn < 1000; turn++) {
		_cleanup_close_ int dir = proc_open_thread(p->dir, tid);
		struct proc_stat st;

		if (dir < 0 || proc_read_stat(dir, &st) < 0 || st.state == 'Z' || st.state == 'X')
			return true;
		if (!(st.flags & pf_exiting))
			return false;
		nanosleep(&nap, NULL);
	}
	return false;
}

/* new threads are rare after the first look */
static int add_threads(struct checkpoint *c, struct process *p, bool freeze, bool *found)
{
	struct span tids = { 0 };
	int r = proc_read_tids(&c->op->arena, p->dir, &tids);

	if (r < 0)
		return r;
	*found = false;
	if (tids.n == p->threads.n)
		return 0;
	pid_t *tid = tids.at;
	size_t known = p->threads.n;
	for (size_t i = 0; !known && i < tids.n; i++)
		if (tid[i] == p->pid) { /* the leader first: numbers wrap around, and it need not be the lowest */
			tid[i] = tid[0];
			tid[0] = p->pid;
		}
	for (size_t i = 0; i < tids.n; i++) {
		if (known && find_thread(p, tid[i]))
			continue;
		struct thread *t = span_push(&c->op->arena, &p->threads, sizeof(*t));
		t->tid = tid[i];
		t->dir = -EBADF;
		if (!freeze)
			continue;
		r = hold_seize(&t->held, tid[i], 0);
		if (r == -ESRCH || (r == -EPERM && is_ending(p, tid[i]))) {
			p->threads.n--;
			continue;
		}
		if (r < 0)
			return explain_seize(c, p, r);
		*found = true;
	}
	return 0;
}

static int stop_threads(struct checkpoint *c, struct process *p)
{
	struct thread *t = p->threads.at;
	size_t kept = 0;

	for (size_t i = 0; i < p->threads.n; i++) {
		int r = 0;

		if (!arch_is_native(&t[i].held.regs)) { /* not yet looked at: registers are zero */
			r = hold_wait(&t[i].held, STOP_TIMEOUT_MS);
			if (r == 0)
				r = hold_mend(&t[i].held);
		}
		if (r == -ESRCH)
			continue; /* it ended by itself */
		if (r == -ETIMEDOUT)
			return fail_as(c->op, OUTCOME_TIMEOUT, "uninterruptible", "try again later",
				"stop thread %d within %d s: it sleeps in the kernel where no signal reaches it",
				t[i].tid, STOP_TIMEOUT_MS / 1000);
		if (r == -EOPNOTSUPP)
			return fail_as(c->op, OUTCOME_CANNOT, "task-32bit", NULL, "is a 32-bit program");
		if (r < 0)
			return fail(c->op, r, "stop thread %d", t[i].tid);
		t[kept++] = t[i];
	}
	p->threads.n = kept;
	return 0;
}

static int freeze_process(struct checkpoint *c, struct process *p)
{
	bool found = true;

	while (found) {
		int r = add_threads(c, p, true, &found);

		if (r == 0 && found)
			r = stop_threads(c, p);
		if (r < 0)
			return r;
	}
	return p->threads.n ? 0 : -ESRCH;
}

static struct process *find_process(struct checkpoint *c, pid_t pid)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = c->tree.processes.n; i-- > 0;)
		if (p[i]->pid == pid)
			return p[i];
	return NULL;
}

static int add_process(struct checkpoint *c, pid_t pid, struct process *parent, bool freeze)
{
	_cleanup_close_ int dir = proc_open(c->procfd, pid);
	struct proc_stat st;

	if (dir < 0)
		return dir;
	int r = proc_read_stat(dir, &st);
	if (r < 0)
		return r;
	struct process *p = arena_alloc(&c->op->arena, sizeof(*p));
	*p = (struct process){ .pid = pid, .parent = parent, .stat = st, .mem = -EBADF, .pidfd = -EBADF };
	p->zombie = st.state == 'Z' || st.state == 'X';
	p->dir = TAKE_FD(dir);
	*(struct process **)span_push(&c->op->arena, &c->tree.processes, sizeof(p)) = p;
	if (p->zombie)
		return 0;
	WHERE_TASK(c->op, pid, p->stat.comm);
	bool found;
	r = freeze ? freeze_process(c, p) : add_threads(c, p, false, &found);
	if (r == -ESRCH && !c->op->err) { /* died while we looked: it is a zombie now, or gone */
		r = proc_read_stat(p->dir, &p->stat);
		p->zombie = true;
		p->threads.n = 0;
		if (r < 0) {
			fd_close(p->dir);
			c->tree.processes.n--;
		}
		return r;
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
		if (find_process(c, child[i]))
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

int collect_tree(struct checkpoint *c, bool freeze)
{
	struct op *op = c->op;
	uint64_t theirs, ours;
	_cleanup_close_ int dir = proc_open(c->procfd, c->target);
	_cleanup_close_ int self = openat(c->procfd, "self", O_DIRECTORY | O_CLOEXEC);
	struct proc_stat st;

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
	return walk(c, freeze);
}

void release_tree(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct thread *t = p[i]->threads.at;

		for (size_t k = 0; k < p[i]->threads.n; k++)
			room_leave(&p[i]->room, &t[k].held);
		room_fill(&p[i]->room);
		for (size_t k = 0; k < p[i]->threads.n; k++)
			hold_let_go(&t[k].held);
	}
	if (c->tree.frozen && !c->thawed_at)
		c->thawed_at = now_ns();
	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct thread *t = p[i]->threads.at;

		for (size_t k = 0; k < p[i]->threads.n; k++)
			fd_close(t[k].dir);
		fd_close(p[i]->dir);
		fd_close(p[i]->mem);
		fd_close(p[i]->pidfd);
	}
	c->tree.processes.n = 0;
}
