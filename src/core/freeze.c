/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holding all threads of one process.
 *
 * A stopped thread makes no new ones, so: list them, stop those that are new, until the process has no others. Threads end
 * meanwhile; and one may call execve(2), which ends all others and takes over the number of the leader. So whenever a
 * thread turns out to be gone, those that are held are looked at once more, and the leader always.
 */
#include "core/core.h"

#include <errno.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/rush.h"

enum {
	STOP_TIMEOUT_MS = 10000,
	STOP_SLICE_MS = 20, /* after which the ended are reaped: the thread may wait for that in execve(2) */
	LAST_WORDS_MS = 50, /* how long a thread may take to end, each time it is tried */
	NAME_TRIES = 3, /* to see in which call a thread sleeps */
	NAME_LOOKS = 50, /* each time */
	VDSO_TRIES = 25, /* to stop it elsewhere */
	LIST_TRIES = 100, /* of lists that lack threads, one after the other */
	DENIED_TRIES = 150, /* in a row, when no thread can be seized: it is no exec that replaced one just then */
};

/* Documentation/admin-guide/LSM/Yama.rst; 0 without Yama */
static int yama_scope(const struct checkpoint *c)
{
	char *text;
	int r = read_text(&c->op->arena, c->procfd, "sys/kernel/yama/ptrace_scope", 16, &text, NULL);

	return r == 0 && text[0] >= '0' && text[0] <= '9' ? text[0] - '0' : 0;
}

static int explain_yama(const struct checkpoint *c, int scope)
{
	if (scope == 1)
		return fail_as(c->op, OUTCOME_PERMISSION, "ptrace-scope",
			"run stasis as root, or set kernel.yama.ptrace_scope to 0, or start the program with "
			"stasis run --every or --on",
			"stop it: this host lets users trace only what they have started (kernel.yama.ptrace_scope)");
	if (scope == 2)
		return fail_as(c->op, OUTCOME_PERMISSION, "ptrace-scope",
			"run stasis as root, or set kernel.yama.ptrace_scope to 0",
			"stop it: this host lets only root trace (kernel.yama.ptrace_scope)");
	return fail_as(c->op, OUTCOME_PERMISSION, "ptrace-scope", "boot with kernel.yama.ptrace_scope below 3",
		"stop it: this host lets nobody trace (kernel.yama.ptrace_scope)");
}

static int explain_seize(const struct checkpoint *c, const struct process *p, pid_t tid, int err)
{
	_cleanup_close_ int thread = proc_open_thread(p->dir, tid);
	struct proc_status st;

	if (err != -EPERM || thread < 0 || proc_read_status(&c->op->arena, thread, &st) < 0)
		return fail(c->op, err, "stop it");
	if (st.tracer) {
		_cleanup_close_ int dir = proc_open(c->procfd, st.tracer);
		struct proc_stat tracer = { .comm = "?" };

		if (dir >= 0)
			proc_read_stat(dir, &tracer);
		return fail_as(c->op, OUTCOME_CANNOT, "traced", "end the debugger or tracer first",
			"is traced by \"%s\" (pid %d), and a process has one tracer at a time", tracer.comm, st.tracer);
	}
	int scope = yama_scope(c);
	if (scope)
		return explain_yama(c, scope);
	return fail_as(c->op, OUTCOME_PERMISSION, "ptrace",
		"run stasis as the program's owner or as root; a setuid or non-dumpable program needs root",
		"stop it: the kernel does not let this user trace it");
}

enum fate {
	FATE_LIVES,
	FATE_ZOMBIE, /* and stays so: the leader, or one that another traces */
	FATE_GONE, /* or about to be; it may be the old leader, under the number of who called execve(2): de_thread() in fs/exec.c */
	FATE_OURS, /* it is traced by us: it took its number over from one that we have seized */
};

/* of the thread at @dir; 0: nobody */
static pid_t tracer_of(const struct checkpoint *c, int dir)
{
	struct proc_status st;

	return proc_read_status(&c->op->arena, dir, &st) == 0 ? st.tracer : -ESRCH;
}

/* why could it not be seized? A thread on its way out gives -EPERM (ptrace_attach() in kernel/ptrace.c) until it is gone */
static enum fate learn_fate(const struct checkpoint *c, const struct process *p, pid_t tid)
{
	const struct timespec nap = { 0, 1000000 };
	const uint64_t pf_exiting = 4; /* include/linux/sched.h */

	for (int turn = 0; turn < LAST_WORDS_MS; turn++) {
		_cleanup_close_ int dir = proc_open_thread(p->dir, tid);
		struct proc_stat st;

		if (dir < 0 || proc_read_stat(dir, &st) < 0)
			return FATE_GONE;
		pid_t tracer = tracer_of(c, dir);
		if (st.state == 'Z' || st.state == 'X')
			return tid == p->pid || (tracer > 0 && tracer != gettid()) ? FATE_ZOMBIE : FATE_GONE;
		if (!(st.flags & pf_exiting))
			return tracer == gettid() ? FATE_OURS : FATE_LIVES;
		nanosleep(&nap, NULL);
	}
	return FATE_LIVES;
}

/* struct freeze - one process on its way to stand still */
struct freeze {
	const struct checkpoint *c;
	struct process *p;
	struct span seized; /* of pid_t: all that were ever tried: when they end it is us who reap them */
	size_t listed; /* in the last list */
	size_t zombies; /* of them: threads that have ended, and are not ours to reap */
	bool found; /* the last list brought new ones */
	bool lost; /* one was gone: an exec may have replaced others */
	uint64_t asked; /* now_ns() when the first of the last ones was asked to stop */
	unsigned int denied; /* how often in a row all that was tried lives and could not be seized */
};

/*
 * Thread @tid lives, and could not be seized: @err. The number may be that of another by now, so that is final when it has
 * been so for a while.
 */
static int denied(struct freeze *f, pid_t tid, int err)
{
	const struct timespec nap = { 0, 1000000 };

	if (++f->denied > DENIED_TRIES)
		return explain_seize(f->c, f->p, tid, err);
	nanosleep(&nap, NULL);
	return 0;
}

/* keeps those of the threads from number @first on that could be seized */
static int keep_seized(struct freeze *f, size_t first, const int *err)
{
	const struct checkpoint *c = f->c;
	struct process *p = f->p;
	struct thread *t = p->threads.at;
	size_t kept = first;
	pid_t last = 0; /* of those that were denied */
	int why = 0;

	f->zombies = 0;
	for (size_t i = first; i < p->threads.n; i++) {
		int e = err[i - first];
		enum fate fate = e == -ESRCH ? FATE_GONE : e < 0 ? learn_fate(c, p, t[i].tid) : FATE_LIVES;

		if (e < 0 && fate == FATE_LIVES) {
			last = t[i].tid;
			why = e;
		}
		f->lost |= fate == FATE_GONE || (e < 0 && fate == FATE_LIVES);
		f->zombies += fate == FATE_ZOMBIE;
		if (fate == FATE_OURS)
			e = hold_reseize(&t[i].held, t[i].tid);
		if (e == 0)
			t[kept++] = t[i];
	}
	p->threads.n = kept;
	f->found = kept > first;
	if (last && !f->found)
		return denied(f, last, why);
	f->denied = 0;
	return 0;
}

static void end_nap(struct process *p, struct thread *t, uint64_t asked)
{
	_cleanup_close_ int dir = t->nap && t->nap->since ? proc_open_thread(p->dir, t->tid) : -EBADF;

	if (t->nap)
		nap_end(t->nap, &t->held, dir, asked);
}

static int seize_new(struct freeze *f, const struct span *list)
{
	struct arena *a = &f->c->op->arena;
	struct process *p = f->p;
	size_t known = p->threads.n;
	const struct listed *of = list->at;
	struct held **held = arena_array(a, list->n, sizeof(struct held *));
	int *err = arena_array(a, list->n, sizeof(*err));

	if (!known)
		span_reserve(a, &p->threads, list->n, sizeof(struct thread));
	for (size_t i = 0; i < list->n; i++)
		if (!known || !find_thread(p, of[i].tid, i)) {
			struct thread *t = span_push(a, &p->threads, sizeof(*t));
			t->tid = t->held.tid = of[i].tid;
			/* all before the first is stopped, as it takes a while */
			t->nap = look_at_nap(f->c, p, &of[i]);
			*(pid_t *)span_push(a, &f->seized, sizeof(pid_t)) = of[i].tid;
		}
	struct thread *t = p->threads.at;
	const size_t n = p->threads.n - known;
	for (size_t i = 0; i < n; i++)
		held[i] = &t[known + i].held;
	hold_seize_all(held, err, n, f->seized.at, f->seized.n, p->pid);
	f->asked = now_ns();
	const struct rush rush = rush_begin(n);
	for (size_t i = 0; i < n; i++)
		if (err[i] == 0)
			err[i] = hold_reseize(held[i], held[i]->tid);
	rush_end(&rush);
	return keep_seized(f, known, err);
}

/* wait_for_vfork_done() in kernel/fork.c; where clone3(2) takes its flags from is not looked at: it sleeps so for nothing else */
static bool is_in_vfork(const struct process *p, pid_t tid)
{
	_cleanup_close_ int dir = proc_open_thread(p->dir, tid);
	struct proc_syscall call;

	if (dir < 0 || proc_read_syscall(dir, &call) < 0)
		return false;
	return call.nr == SYS_vfork || call.nr == SYS_clone3 || (call.nr == SYS_clone && call.arg[0] & CLONE_VFORK);
}

static int explain_stop(const struct checkpoint *c, const struct process *p, pid_t tid, int err)
{
	if (err == -ETIMEDOUT && is_in_vfork(p, tid))
		return fail_as(c->op, OUTCOME_TIMEOUT, "vfork",
			"try again when the child has called execve(2) or has ended",
			"stop thread %d within %d s: it waits in vfork(2) for its child, and no signal reaches it", tid,
			STOP_TIMEOUT_MS / 1000);
	if (err == -ETIMEDOUT)
		return fail_as(c->op, OUTCOME_TIMEOUT, "uninterruptible", "try again later",
			"stop thread %d within %d s: it sleeps in the kernel where no signal reaches it", tid,
			STOP_TIMEOUT_MS / 1000);
	if (err == -EOPNOTSUPP)
		return fail_as(c->op, OUTCOME_CANNOT, "task-32bit", NULL,
			"is a program for 32 bits: registers, vdso and stub are those of 64 bits");
	return fail(c->op, err, "stop thread %d", tid);
}

static int await_stop(struct freeze *f, struct thread *t)
{
	struct held *h = &t->held;
	int r = -ETIMEDOUT;

	for (unsigned int ms = 0; r == -ETIMEDOUT && ms < STOP_TIMEOUT_MS; ms += STOP_SLICE_MS) {
		r = hold_wait_stop(h, STOP_SLICE_MS);
		if (r == -ETIMEDOUT) {
			hold_reap_ended(f->seized.at, f->seized.n, f->p->pid);
			hold_ask_again(h);
		}
		/* nobody is told of its end before that of the others */
		if (r == -ETIMEDOUT && t->tid == f->p->pid && learn_fate(f->c, f->p, t->tid) == FATE_ZOMBIE)
			r = -ESRCH;
	}
	h->gone |= r == -ESRCH;
	return r;
}

/* @read: its registers were, since it stopped */
static int look_at(struct freeze *f, struct thread *t, bool read, uint64_t asked)
{
	int r = 0;

	if (read)
		t->held.still = true;
	else
		r = hold_look(&t->held);
	if (read && t->nap) /* how often it has gone to sleep counts this time too */
		r = hold_await_rest(&t->held);
	if (r == 0)
		end_nap(f->p, t, asked);
	return r;
}

static int stop_now(struct freeze *f, struct thread *t)
{
	const uint64_t asked = now_ns();
	int r = hold_reseize(&t->held, t->tid);

	if (r == 0)
		r = await_stop(f, t);
	return r < 0 ? r : look_at(f, t, false, asked);
}

/* a call that goes on after an earlier stop: was the thread looked at while it slept in it, so that it is known which? */
static bool is_nameless(const struct thread *t)
{
	const struct arch_regs *regs = &t->held.regs;

	return arch_interrupted(regs) == RESTARTS_BY_BLOCK && arch_syscall_nr(regs) == SYS_restart_syscall &&
	       (!t->nap || t->nap->nr < 0) && !t->held.stop_signal;
}

/* it goes on with that call until it is seen asleep in it, or has run for a while */
static int stop_again(struct freeze *f, struct thread *t)
{
	const struct timespec nap = { 0, 200000 };
	int r = hold_run_on(&t->held);

	if (r < 0)
		return r;
	t->nap = NULL;
	for (unsigned int look = 0; look < NAME_LOOKS && (!t->nap || t->nap->nr < 0); look++) {
		nanosleep(&nap, NULL);
		t->nap = look_at_nap(f->c, f->p, &(struct listed){ .tid = t->tid });
	}
	return stop_now(f, t);
}

/* is it in the middle of a function of the vdso, or of a system call that one of these makes? */
static bool is_in_vdso(const struct thread *t)
{
	static const long made_there[] = { -1, SYS_clock_gettime, SYS_clock_getres, SYS_gettimeofday, SYS_time,
		SYS_getcpu, SYS_getrandom };
	const long nr = arch_syscall_nr(&t->held.regs);
	size_t i = 0;

	while (i < ARRAY_SIZE(made_there) && nr != made_there[i])
		i++;
	return i < ARRAY_SIZE(made_there) && !t->held.stop_signal && hold_in_vdso(&t->held);
}

/* so that the image can be restarted under a kernel with another one; if it is always there, the restart will say so */
static int leave_vdso(struct freeze *f, struct thread *t)
{
	int r = 0;

	for (unsigned int turn = 0; r == 0 && turn < VDSO_TRIES && is_in_vdso(t); turn++) {
		const struct timespec nap = { 0, 1000 * (turn + 1) };

		r = hold_run_on(&t->held);
		if (r < 0)
			return r;
		nanosleep(&nap, NULL);
		r = stop_now(f, t);
	}
	return r;
}

/* it has stopped; where it was is not known yet */
static int settle_thread(struct freeze *f, struct thread *t, bool read)
{
	int r = t->held.gone ? -ESRCH : look_at(f, t, read, f->asked);

	if (r == 0)
		r = leave_vdso(f, t);
	for (unsigned int turn = 0; r == 0 && turn < NAME_TRIES && is_nameless(t); turn++)
		r = stop_again(f, t);
	return r < 0 ? r : hold_mend(&t->held, t->nap);
}

/* struct reading_all - of the threads of a process */
struct reading_all {
	struct arena *arena;
	const struct span *threads;
	struct map by_tid; /* of struct thread: those that have just been stopped */
	bool *read; /* of each */
};

static void index_fresh(struct reading_all *r)
{
	struct thread *t = r->threads->at;

	for (size_t i = 0; i < r->threads->n; i++)
		if (!t[i].held.still)
			map_set(r->arena, &r->by_tid, (uint64_t)t[i].tid, &t[i]);
}

static void read_one(void *data, const struct proc_regs *regs)
{
	struct reading_all *r = data;

	if (!r->by_tid.n)
		index_fresh(r);
	struct thread *t = map_get(&r->by_tid, (uint64_t)regs->tid);

	if (!t || !regs->rests || !arch_unpack_regs(regs->regs, &t->held.regs))
		return;
	t->held.sigmask = regs->sigmask;
	r->read[t - (struct thread *)r->threads->at] = true;
}

static int stop_threads(struct freeze *f)
{
	struct process *p = f->p;
	struct thread *t = p->threads.at;
	struct arena *a = &f->c->op->arena;
	struct reading_all all = { a, &p->threads, { 0 }, arena_array(a, p->threads.n, sizeof(bool)) };
	size_t kept = 0, fresh = 0;

	for (size_t i = p->threads.n; i-- > 0;) { /* the last one stops last: then nobody need be waited for any more */
		int r = t[i].held.still ? 0 : await_stop(f, &t[i]);

		fresh += !t[i].held.still;
		if (r < 0 && r != -ESRCH)
			return explain_stop(f->c, f->p, t[i].tid, r);
	}
	read_all_regs(f->c, p, fresh, read_one, &all);
	for (size_t i = 0; i < p->threads.n; i++) {
		int r = t[i].held.still ? 0 : settle_thread(f, &t[i], all.read[i]);

		if (r < 0 && r != -ESRCH)
			return explain_stop(f->c, f->p, t[i].tid, r);
		if (r < 0)
			f->lost = true; /* it ended by itself */
		else
			t[kept++] = t[i];
	}
	p->threads.n = kept;
	struct thread *leader = find_thread(p, p->pid, 0);
	/* who ran on for a moment may have called execve(2), and ended those that were looked at before */
	const bool lacks = kept + f->zombies > f->listed;
	for (size_t i = 0; (f->lost || lacks) && i < kept; i++)
		hold_look_again(&t[i].held);
	/* a whole execve(2) between two lists leaves its number alone of those that are held, to another */
	if (leader && !f->lost) {
		hold_look_again(&leader->held);
		f->lost = !leader->held.still;
	}
	return 0;
}

/* a list made while threads end may lack others, also those that end, and some may have been made since: was it complete? */
static bool is_complete(const struct freeze *f)
{
	struct proc_stat st;

	if (f->listed != f->p->threads.n + f->zombies)
		return false;
	return proc_count_threads(f->p->dir) == f->listed || proc_read_stat(f->p->dir, &st) < 0 ||
	       st.num_threads == (int64_t)f->listed;
}

int freeze_process(const struct checkpoint *c, struct process *p)
{
	const struct timespec nap = { 0, 1000000 };
	struct freeze f = { .c = c, .p = p, .found = true };

	for (unsigned int tries = 0; !f.listed || f.lost || !is_complete(&f);) {
		struct span list = { 0 };

		tries = f.found || f.lost ? 0 : tries + 1;
		if (tries > LIST_TRIES)
			return fail_as(c->op, OUTCOME_TIMEOUT, "threads-hidden", "try again",
				"stop all its threads: /proc does not list them all");
		if (tries)
			nanosleep(&nap, NULL);
		int r = list_running(c, p, &list);

		f.found = f.lost = false;
		f.listed = list.n;
		if (r == 0)
			r = seize_new(&f, &list);
		if (r == 0)
			r = stop_threads(&f);
		if (r < 0)
			return r;
	}
	leader_to_front(p);
	if (p->threads.n > 1) {
		struct thread *first = p->threads.at;

		first->held.leads = first->tid == p->pid;
	}
	return p->threads.n ? 0 : -ESRCH;
}
