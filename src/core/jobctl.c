/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stopped by job control: SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU; and what a parent has not waited for yet.
 *
 * The kernel keeps the signal until the parent has waited for the stop (signal_struct.group_exit_code, in /proc/PID/stat as
 * exit_code), and after a SIGCONT that it has not waited for that (SIGNAL_STOP_CONTINUED), which only the parent can ask.
 * Both are made again as they came to be, when no process has its pending signals yet. The threads stay traced meanwhile.
 */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/text.h"
#include "core/core.h"
#include "core/rebuild.h"

#define BIT(signo) (1ull << ((signo)-1))

/* ---- saving ---- */

/* A SIGSTOP that waits does so only until a thread runs on. */
void find_stop(struct process *p)
{
	const struct thread *t = p->threads.at;
	uint64_t pending = p->status.shdpnd;

	for (size_t i = 0; i < p->threads.n; i++) {
		pending |= t[i].status.sigpnd;
		if (t[i].held.stop_signal)
			p->stop_signal = t[i].held.stop_signal;
	}
	if (!p->stop_signal && pending & BIT(SIGSTOP))
		p->stop_signal = SIGSTOP;
}

void find_children(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++)
		if (p[i]->parent)
			*(struct process **)span_push(&c->op->arena, &p[i]->parent->children, sizeof(*p)) = p[i];
}

/* struct question - was this child continued? */
struct question {
	struct process *child;
	const struct stub_call *call;
	const siginfo_t *info;
};

static int answer(const struct checkpoint *c, struct batch *b, struct span *questions)
{
	struct question *q = questions->at;
	int r = batch_run(b);

	for (size_t i = 0; i < questions->n && r == 0; i++)
		q[i].child->continued = q[i].call->ret == 0 && q[i].info->si_pid == q[i].child->vpid;
	*questions = (struct span){ 0 };
	return r < 0 ? fail(c->op, r, "%s", batch_what(b)) : 0;
}

static void ask_about(const struct checkpoint *c, struct process *child, struct batch *b, struct span *questions)
{
	struct question *q = span_push(&c->op->arena, questions, sizeof(*q));
	struct taddr info = batch_out(b, sizeof(*q->info), &q->info);

	q->child = child;
	q->call = BATCH_CALL(b, "look which child was continued", SYS_waitid, P_PID, (uint64_t)child->vpid, info.at,
		WCONTINUED | WNOHANG | WNOWAIT | __WALL);
}

int ask_jobctl(const struct checkpoint *c, struct process *p, struct batch *b)
{
	struct process **child = p->children.at;
	struct span questions = { 0 };
	int r = 0;

	for (size_t i = 0; i < p->children.n && r == 0; i++) {
		if (child[i]->zombie || child[i]->stop_signal)
			continue;
		ask_about(c, child[i], b, &questions);
		if (questions.n == 1 && !batch_allowed(b)) {
			note(c->op, "cannot be asked which of its children were stopped and continued: a seccomp "
				    "filter forbids it");
			batch_empty(b);
			return 0;
		}
		if (!batch_has_room(b, 128, 8192))
			r = answer(c, b, &questions);
	}
	return r < 0 ? r : answer(c, b, &questions);
}

uint32_t jobctl_flags(const struct process *p)
{
	const struct thread *t = p->threads.at;
	bool waits = true;

	if (!p->stop_signal)
		return p->continued ? TASK_CONTINUED : 0;
	for (size_t i = 0; i < p->threads.n; i++)
		waits &= !t[i].held.stop_signal;
	/* else the code is that by which the thread reports to us */
	if (waits || p->stat.exit_code & ~0x7f)
		return TASK_STOPPED | TASK_STOP_UNTOLD;
	return TASK_STOPPED | (p->stat.exit_code ? 0 : TASK_STOP_WAITED);
}

/* ---- restarting ---- */

bool is_jobctl(const struct task_record *t)
{
	const uint32_t how = TASK_STOP_WAITED | TASK_STOP_UNTOLD;
	bool is_stop = !t->stop_signal || t->stop_signal == SIGSTOP || t->stop_signal == SIGTSTP ||
		       t->stop_signal == SIGTTIN || t->stop_signal == SIGTTOU;

	if (!(t->flags & TASK_STOPPED))
		return !t->stop_signal && !(t->flags & how) && !(t->flags & TASK_CONTINUED && t->flags & TASK_ZOMBIE);
	return is_stop && !(t->flags & (TASK_CONTINUED | TASK_ZOMBIE)) && (t->flags & how) != how;
}

/* struct action - what a signal does, in the kernel's layout */
struct action {
	uint64_t handler, flags, restorer, mask;
};

/* set the action of @signo, and say in @ret_old what it was */
static int set_action(struct restart *r, struct patient *p, int signo, const struct action *a, struct action *ret_old)
{
	const struct action *old;
	struct batch b;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[p->first]);
	struct taddr out = batch_out(&b, sizeof(*old), &old);
	BATCH_MUST(&b, "set a signal action", SYS_rt_sigaction, (uint64_t)signo, batch_in(&b, a, sizeof(*a)).at, out.at,
		8);
	int e = run_batch(r, p, &b);
	if (e == 0)
		*ret_old = *old;
	return e;
}

/* if one is pending for the process it is no more */
static int forget_signal(struct restart *r, struct patient *p, int signo)
{
	const struct action ignore = { .handler = (uint64_t)(uintptr_t)SIG_IGN };
	struct action was, unused;
	int e = set_action(r, p, signo, &ignore, &was);

	return e < 0 ? e : set_action(r, p, signo, &was, &unused);
}

static int stop(struct restart *r, struct patient *p, int signo)
{
	const struct action normal = { 0 };
	struct action was, unused;
	int e = signo == SIGSTOP ? 0 : set_action(r, p, signo, &normal, &was);

	if (e < 0)
		return e;
	e = hold_stop(p->threads + p->first, p->n_threads - p->first, signo);
	if (e == -EAGAIN && signo != SIGSTOP) {
		note(r->op, "it was stopped by %s, and is by SIGSTOP: nobody in its session could continue it",
			signal_name(signo));
		e = hold_stop(p->threads + p->first, p->n_threads - p->first, SIGSTOP);
	}
	if (e < 0)
		return fail(r->op, e, "stop it by %s", signal_name(signo));
	return signo == SIGSTOP ? 0 : set_action(r, p, signo, &was, &unused);
}

static int stop_and_continue(struct restart *r, struct patient *p)
{
	int e = stop(r, p, SIGSTOP);

	if (e < 0)
		return e;
	e = hold_continue(p->threads + p->first, p->n_threads - p->first);
	return e < 0 ? fail(r->op, e, "continue it") : forget_signal(r, p, SIGCONT);
}

/* what its parent knows already */
static int tell_parent(struct restart *r, struct patient *p)
{
	struct patient *up = p->parent;
	struct batch b;

	if (!up || p->rec->flags & TASK_STOP_UNTOLD)
		return 0;
	batch_init(&b, &r->op->arena, &up->room, &up->threads[up->first]);
	if (p->rec->flags & TASK_STOP_WAITED)
		BATCH_MUST(&b, "wait for a child to stop", SYS_waitid, P_PID, (uint64_t)p->rec->pid, 0,
			WSTOPPED | WNOHANG | __WALL);
	int e = run_batch(r, up, &b);
	return e < 0 ? e : forget_signal(r, up, SIGCHLD);
}

int stop_tasks(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	/* who has not been told yet is last, as what was to be forgotten is by then */
	for (int untold = 0; untold <= 1; untold++)
		for (size_t i = 0; i < r->patients.n && e == 0; i++) {
			const struct task_record *t = p[i]->rec;
			bool is_untold = t->flags & TASK_STOP_UNTOLD;

			if (!(t->flags & (TASK_STOPPED | TASK_CONTINUED)) || is_untold != untold)
				continue;
			WHERE_PATIENT(r, p[i]);
			if (t->flags & TASK_CONTINUED)
				e = stop_and_continue(r, p[i]);
			else
				e = stop(r, p[i], t->stop_signal ? t->stop_signal : SIGSTOP);
			if (e == 0)
				e = tell_parent(r, p[i]);
		}
	return e;
}
