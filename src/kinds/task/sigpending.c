/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sigpending - signals that have been sent but not delivered, with what they carry: sigpending(2), sigqueue(3)
 *
 * Those of the process as a whole lie in the record of its first thread that lives. A SIGSTOP on its way is none: the process is stopped.
 *
 * Seen: PTRACE_PEEKSIGINFO; /proc/PID/status (SigPnd, ShdPnd).
 * Lost: nothing. A pending SIGTRAP is refused: restarted tasks report to us by it.
 * Needs: PTRACE_PEEKSIGINFO (Linux 3.10).
 */
#include "kinds/kind.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/text.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77
#endif
#define RESTORE_IDS_GET 2

#define QUEUE_MAX 512 /* so that they fit into a batch */

struct pending {
	unsigned char info[128]; /* siginfo_t */
};

struct sigpending {
	struct span private; /* of struct pending, in order of arrival */
	struct span shared;
};

_Static_assert(sizeof(siginfo_t) == sizeof(struct pending), "a siginfo_t is stored as it is");

static const struct field pending_fields[] = {
	FIELD_RAW(1, struct pending, info, "sigqueue.info"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct sigpending, private, "task_struct.pending", pending_fields, struct pending),
	FIELD_A(2, struct sigpending, shared, "signal_struct.shared_pending", pending_fields, struct pending),
	FIELDS_END,
};

static uint64_t bit(int signo)
{
	return 1ull << (signo - 1);
}

static siginfo_t info_of(const struct pending *p)
{
	siginfo_t info;

	memcpy(&info, p->info, sizeof(info));
	return info;
}

static int refuse_sigtrap(struct op *op)
{
	return refuse(op, "sigtrap-pending", "restarted tasks report to stasis by SIGTRAP", "try again later",
		"has a SIGTRAP pending");
}

static int sigpending_check(struct op *op, const struct sight *s)
{
	return (s->thread->status.sigpnd | s->thread->status.shdpnd) & bit(SIGTRAP) ? refuse_sigtrap(op) : 0;
}

static int keep(struct op *op, struct span *to, const siginfo_t *info)
{
	if (info->si_signo == SIGSTOP) /* core stops it */
		return 0;
	if (info->si_signo == SIGTRAP)
		return refuse_sigtrap(op);
	if (to->n == QUEUE_MAX)
		return refuse(
			op, "signal-queue", NULL, "try again later", "has more than %d pending signals", QUEUE_MAX);
	struct pending *p = span_push(&op->arena, to, sizeof(*p));
	memcpy(p->info, info, sizeof(*info));
	if (info->si_code == SI_TIMER) /* of a timer that is gone; behind its value is what only the kernel may see */
		memset(p->info + offsetof(siginfo_t, si_value) + sizeof(info->si_value), 0, sizeof(int));
	return 0;
}

static bool has_timer(struct op *op, const struct process *p, int id)
{
	struct span timers = { 0 };
	const struct proc_timer *t;

	if (proc_read_timers(&op->arena, p->dir, &timers) < 0)
		return false;
	t = timers.at;
	for (size_t i = 0; i < timers.n; i++)
		if (t[i].id == id)
			return true;
	return false;
}

/*
 * Newer kernels do not deliver a signal whose timer was deleted, although it can be seen in the queue. The probe is for
 * what came a little later.
 */
static bool forgets_deleted_timers(void)
{
	return prctl(PR_TIMER_CREATE_RESTORE_IDS, RESTORE_IDS_GET, 0, 0, 0) >= 0;
}

/* Does a timer send it again? Then it is part of that: only a signal of the kernel's own sets the timer going again. */
static bool is_of_timer(struct op *op, const struct sight *s, const siginfo_t *info, bool shared)
{
	if (info->si_code == SI_TIMER)
		return has_timer(op, s->process, info->si_timerid) || forgets_deleted_timers();
	return shared && info->si_signo == SIGALRM && info->si_code == SI_KERNEL;
}

/* @set: what /proc says is pending; signals that the kernel had no memory to queue are only there */
static int peek(struct op *op, const struct sight *s, bool shared, uint64_t set, struct span *to)
{
	struct span queue = { 0 };
	int r = hold_signals(&s->thread->held, &op->arena, shared, &queue);

	if (r < 0)
		return fail(op, r, "read its pending signals");
	const siginfo_t *info = queue.at;
	for (size_t i = 0; i < queue.n && r == 0; i++) {
		set &= ~bit(info[i].si_signo);
		if (!is_of_timer(op, s, &info[i], shared))
			r = keep(op, to, &info[i]);
	}
	for (int signo = 1; signo <= 64 && r == 0; signo++)
		if (signo != SIGKILL && set & bit(signo))
			r = keep(op, to, &(siginfo_t){ .si_signo = signo });
	return r;
}

/*
 * What is queued has its bit: __send_signal_locked(), collect_signal() and flush_sigqueue_mask() in kernel/signal.c. Only one that
 * has come since may have ended a call: hold_unmend().
 */
static bool has_any(const struct sight *s, uint64_t set)
{
	return set || arch_interrupted(&s->thread->held.regs) == GAVE_EINTR;
}

static int sigpending_save(struct op *op, const struct sight *s, void *rec)
{
	struct sigpending *p = rec;
	const struct proc_status *status = &s->thread->status;

	/* one may have come since for the process, and have ended the call of any thread: so the first looks always */
	const bool first = s->thread->tid == s->process->tid;
	int r = first || has_any(s, status->sigpnd) ? peek(op, s, false, status->sigpnd, &p->private) : 0;
	if (r == 0 && first)
		r = peek(op, s, true, status->shdpnd, &p->shared);
	return r;
}

/*
 * By the thread itself, to its own number, also when it is for the process: nobody else may send a signal that claims to come
 * from the kernel (do_rt_sigqueueinfo() in kernel/signal.c).
 */
static int resend(struct op *op, const struct site *site, const struct span *signals, bool shared)
{
	const struct pending *p = signals->at;

	if (signals->n > QUEUE_MAX)
		return fail(op, -EBADMSG, "queue %zu pending signals", signals->n);
	for (size_t i = 0; i < signals->n; i++, p++) {
		const siginfo_t info = info_of(p);
		int signo = info.si_signo;

		if (signo < 1 || signo > 64 || signo == SIGKILL || signo == SIGSTOP || signo == SIGTRAP)
			return fail(op, -EBADMSG, "queue signal %d", signo);
		struct taddr in = batch_in(site->batch, &info, sizeof(info));
		if (shared)
			BATCH_MUST(site->batch, "queue a signal", SYS_rt_sigqueueinfo, (uint64_t)site->vtid,
				(uint64_t)signo, in.at);
		else
			BATCH_MUST(site->batch, "queue a signal", SYS_rt_tgsigqueueinfo, (uint64_t)site->vpid,
				(uint64_t)site->vtid, (uint64_t)signo, in.at);
	}
	return 0;
}

static int sigpending_settle(struct op *op, void *rec, struct site *site)
{
	const struct sigpending *p = rec;

	if (p->shared.n && !site->first)
		return fail(op, -EBADMSG, "queue signals of the process by another thread than its first");
	int r = resend(op, site, &p->private, false);
	return r < 0 ? r : resend(op, site, &p->shared, true);
}

static void describe_queue(const struct span *signals, const char *whose, FILE *out)
{
	const struct pending *p = signals->at;

	for (size_t i = 0; i < signals->n; i++, p++)
		fprintf(out, "%s%s", i ? "," : whose, signal_name(info_of(p).si_signo));
}

static void sigpending_describe(const void *rec, FILE *out)
{
	const struct sigpending *p = rec;

	describe_queue(&p->private, " private=", out);
	describe_queue(&p->shared, " shared=", out);
}

const struct kind kind_task_sigpending = {
	.name = "sigpending",
	.tag = 0x22,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct sigpending),
	.fields = fields,
	.check = sigpending_check,
	.save = sigpending_save,
	.settle = sigpending_settle,
	.describe = sigpending_describe,
};
