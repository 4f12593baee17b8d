/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the processor and the kernel hold of a running thread: general registers (with FS and GS base), the extended state,
 * the signal mask, and the system call that it slept in.
 *
 * Seen:  ptrace(2): NT_PRSTATUS, NT_X86_XSTATE, PTRACE_GETSIGMASK
 * Lost:  of a poll(2), a futex(2) wait for a time, and a nanosleep(2) that does not ask for what is left of it: the time
 *	  that had passed when an earlier checkpoint or check stopped the same call; all of it, where the kernel does not show
 *	  /proc/PID/sched. Of semtimedop(2), sigtimedwait(2) and sockets with SO_RCVTIMEO or SO_SNDTIMEO: the time that
 *	  had passed. That much longer the call can last.
 * Needs: a processor with the features whose state is in use
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "kinds/kind.h"

#define SECOND (int64_t)1000000000

struct regs {
	struct span general; /* struct arch_regs */
	struct span extended; /* the XSAVE area */
	uint64_t sigmask;
	uint8_t has_rest; /* the call slept for a time, and this is left of it: */
	int64_t rest_sec;
	int64_t rest_nsec;
};

static const struct field regs_fields[] = {
	FIELD_BLOB(1, struct regs, general, "task_struct.thread"),
	FIELD_BLOB(2, struct regs, extended, "fpu.fpstate"),
	FIELD_U(3, struct regs, sigmask, "task_struct.blocked"),
	FIELD_U(4, struct regs, has_rest, "task_struct.restart_block"),
	FIELD_I(5, struct regs, rest_sec, "restart_block.nanosleep.expires"),
	FIELD_I(6, struct regs, rest_nsec, "restart_block.nanosleep.expires"),
	FIELDS_END,
};

/* where the caller wants to be told how much is left, the kernel has just told (hrtimer_nanosleep() in kernel/time/hrtimer.c) */
static uint64_t rest_address(const struct arch_regs *r)
{
	if (arch_syscall_nr(r) == SYS_nanosleep)
		return arch_syscall_arg(r, 1);
	if (arch_syscall_nr(r) == SYS_clock_nanosleep)
		return arch_syscall_arg(r, 3);
	return 0;
}

/* memory of the program: may hold anything */
static int64_t in_ns(const struct timespec *ts)
{
	bool is_time = ts->tv_sec >= 0 && ts->tv_sec < INT64_MAX / SECOND && ts->tv_nsec >= 0 && ts->tv_nsec < SECOND;

	return is_time ? ts->tv_sec * SECOND + ts->tv_nsec : -1;
}

static void set_rest(struct regs *r, int64_t ns)
{
	r->has_rest = ns >= 0;
	r->rest_sec = ns >= 0 ? ns / SECOND : 0;
	r->rest_nsec = ns >= 0 ? ns % SECOND : 0;
}

/* a call that an earlier stop interrupted is begun again under its own number */
static void name_call(struct op *op, const struct thread *t, struct arch_regs *regs)
{
	if (t->nap && t->nap->nr >= 0)
		arch_set_syscall_nr(regs, t->nap->nr);
	else
		note(op,
			"it sleeps in a call that goes on after an earlier stop, and the kernel does not say in which: "
			"in a restarted program it ends with EINTR");
}

static int regs_save(struct op *op, const struct sight *s, void *rec)
{
	struct regs *r = rec;
	const struct held *h = &s->thread->held;
	enum interrupted how = arch_interrupted(&h->regs);
	struct arch_regs *general = arena_dup(&op->arena, &h->regs, sizeof(h->regs));
	struct timespec rest;

	if (how == RESTARTS_BY_BLOCK && arch_syscall_nr(general) == SYS_restart_syscall)
		name_call(op, s->thread, general);
	uint64_t at = how == RESTARTS_BY_BLOCK ? rest_address(general) : 0;
	r->general = (struct span){ general, sizeof(*general) };
	r->sigmask = h->sigmask;
	int e = arch_get_xstate(&op->arena, h->tid, &r->extended);
	if (e < 0)
		return fail(op, e, "read the floating point and vector registers");
	if (at && remote_read(h->tid, (struct taddr){ at }, &rest, sizeof(rest)) == 0)
		set_rest(r, in_ns(&rest));
	else if (how == RESTARTS_BY_BLOCK)
		set_rest(r, nap_left(s->thread->nap, h));
	return 0;
}

/* the arguments of a call that sleeps for @rest, which lies at @at in the task; false: none that does */
static bool shorten(long nr, uint64_t arg[6], struct taddr at, const struct timespec *rest)
{
	const int64_t most = INT32_MAX / 1000;

	switch (nr) {
	case SYS_nanosleep:
		arg[0] = at.at;
		return true;
	case SYS_clock_nanosleep:
		arg[2] = at.at;
		return true;
	case SYS_futex:
		arg[3] = at.at;
		return true;
	case SYS_poll:
		arg[2] = (uint64_t)((rest->tv_sec < most ? rest->tv_sec : most) * 1000 +
				    (rest->tv_nsec + 999999) / 1000000);
		return true;
	default:
		return false;
	}
}

static int restart_sleep(struct op *op, const struct regs *r, struct site *site, struct arch_regs *g)
{
	struct timespec rest = { r->rest_sec, r->rest_nsec };
	const struct taddr at = site->batch->room->data;
	uint64_t arg[6];
	int64_t result = 0;

	for (unsigned int i = 0; i < 6; i++)
		arg[i] = arch_syscall_arg(g, i);
	if (!r->has_rest || rest.tv_sec < 0 || rest.tv_nsec < 0 || rest.tv_nsec > 999999999) {
		arch_restart_call(g);
		return 0;
	}
	if (!shorten(arch_syscall_nr(g), arg, at, &rest))
		return fail_as(op, OUTCOME_IMAGE, "image-regs", NULL, "go on with system call %ld for a time",
			arch_syscall_nr(g));
	int e = remote_write(site->pid, at, &rest, sizeof(rest));
	if (e == 0)
		e = remote_sleep(site->held, site->syscall, arch_syscall_nr(g), arg, &result);
	if (e == -ECANCELED) { /* it is over: nothing was left of it, or what it waits for is there */
		arch_set_result(g, result);
		return 0;
	}
	return e < 0 ? fail(op, e, "go on with the interrupted sleep") : 0;
}

static int regs_settle(struct op *op, void *rec, struct site *site)
{
	const struct regs *r = rec;
	uint64_t missing = 0;

	if (r->general.n != sizeof(struct arch_regs))
		return fail_as(op, OUTCOME_IMAGE, "image-regs", NULL, "load registers of %zu bytes", r->general.n);
	memcpy(site->regs, r->general.at, sizeof(*site->regs));
	*site->sigmask = r->sigmask;
	if (!arch_is_native(site->regs))
		return fail_as(op, OUTCOME_IMAGE, "image-regs", NULL, "load registers of another kind of program");
	int e = arch_check_xstate(&r->extended, &missing);
	if (e == -EOPNOTSUPP)
		return fail_as(op, OUTCOME_CANNOT, "cpu-features",
			"restart on a processor with the features of the first",
			"load its registers: this processor lacks the features %#lx (XCR0) that the program uses",
			(unsigned long)missing);
	if (e == 0)
		e = arch_set_xstate(site->tid, &r->extended);
	if (e < 0)
		return fail(op, e, "load the floating point and vector registers");
	if (arch_interrupted(site->regs) == RESTARTS_BY_BLOCK)
		return restart_sleep(op, r, site, site->regs);
	return 0;
}

const struct kind kind_task_regs = {
	.name = "registers",
	.tag = 0x20,
	.scope = SCOPE_THREAD,
	.size = sizeof(struct regs),
	.fields = regs_fields,
	.save = regs_save,
	.settle = regs_settle,
};
