/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the processor and the kernel hold of a running thread: general registers (with FS and GS base), the extended state,
 * the signal mask, and the system call that it slept in.
 *
 * Seen:  ptrace(2): NT_PRSTATUS, NT_X86_XSTATE, PTRACE_GETSIGMASK
 * Lost:  of calls on sockets with SO_RCVTIMEO or SO_SNDTIMEO: the time that had passed. Of a poll(2), a futex(2) wait for
 *	  a time, and a nanosleep(2) that does not ask for what is left of it, if another than stasis had stopped and
 *	  continued it (SIGSTOP, a debugger): the time before that. Where the kernel does not show /proc/PID/sched, of these
 *	  and of epoll_wait(2), semtimedop(2) and sigtimedwait(2) all of it; likewise if more than 15 threads at once sleep
 *	  in them, and an earlier checkpoint had stopped the same call. That much longer the call can last.
 * Needs: a processor with the features whose state is in use
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "kinds/kind.h"
#include "kinds/sparse.h"

struct regs {
	struct span general; /* struct arch_regs */
	struct span extended; /* the XSAVE area, whole, as images before had it; else it is empty, and there are: */
	struct span islands; /* of struct island: what of it is not zero */
	uint32_t extended_len; /* bytes of all of it */
	uint64_t sigmask;
	uint8_t has_rest; /* the call slept for a time, and this is left of it: */
	int64_t rest_sec;
	int64_t rest_nsec;
	uint8_t memo; /* 1 + the argument of the call, to be made again, that is to refer to a memo of that; 0: none is */
};

static const struct field regs_fields[] = {
	FIELD_BLOB(1, struct regs, general, "task_struct.thread"),
	FIELD_BLOB(2, struct regs, extended, "fpu.fpstate"),
	FIELD_U(3, struct regs, sigmask, "task_struct.blocked"),
	FIELD_U(4, struct regs, has_rest, "task_struct.restart_block"),
	FIELD_I(5, struct regs, rest_sec, "restart_block.nanosleep.expires"),
	FIELD_I(6, struct regs, rest_nsec, "restart_block.nanosleep.expires"),
	FIELD_U(7, struct regs, memo, ""),
	FIELD_A(8, struct regs, islands, "fpu.fpstate", island_fields, struct island),
	FIELD_U(9, struct regs, extended_len, "fpu.fpstate"),
	FIELDS_END,
};

static void set_rest(struct regs *r, int64_t ns)
{
	struct timespec rest = ns_timespec(ns >= 0 ? ns : 0);

	r->has_rest = ns >= 0;
	r->rest_sec = rest.tv_sec;
	r->rest_nsec = rest.tv_nsec;
}

/* ns, or -1: it comes from an image */
static int64_t rest_of(const struct regs *r)
{
	return r->has_rest ? timespec_ns(&(struct timespec){ r->rest_sec, r->rest_nsec }) : -1;
}

/* of a call that goes on by itself; if the program wanted to be told, the kernel has just done so */
static void save_rest(struct regs *r, const struct thread *t, const struct arch_regs *general)
{
	struct timespec rest;
	uint64_t at = nap_tells(arch_syscall_nr(general), general);

	if (at && remote_read(t->tid, (struct taddr){ at }, &rest, sizeof(rest)) == 0)
		set_rest(r, timespec_ns(&rest));
	else
		set_rest(r, nap_left(t->nap));
}

/* a register that refers to a memo takes it along, whatever the thread was about to do */
static void save_memo(struct regs *r, const struct process *p, const struct thread *t)
{
	int64_t left = t->nap && t->nap->in == NAP_IN_MEMORY ? nap_left(t->nap) : -1;
	int arg = left >= 0 ? (int)t->nap->arg : memo_in(p->memos, t->tid, &t->held.regs, &left);

	if (arg < 0)
		return;
	set_rest(r, left);
	r->memo = (uint8_t)(1 + arg);
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

/* mostly a tenth of it is not zero */
static int save_extended(struct op *op, pid_t tid, struct regs *r)
{
	unsigned char area[ARCH_XSTATE_MAX];
	size_t len;
	int e = arch_get_xstate(tid, area, &len);

	if (e < 0)
		return fail(op, e, "read the floating point and vector registers");
	sparse_pack(&op->arena, area, len, &r->islands);
	r->extended_len = (uint32_t)len;
	return 0;
}

static int regs_save(struct op *op, const struct sight *s, void *rec)
{
	struct regs *r = rec;
	const struct held *h = &s->thread->held;
	enum interrupted how = arch_interrupted(&h->regs);
	const bool nameless = how == RESTARTS_BY_BLOCK && arch_syscall_nr(&h->regs) == SYS_restart_syscall;
	struct arch_regs *general =
		nameless ? arena_dup(&op->arena, &h->regs, sizeof(h->regs)) : (struct arch_regs *)&h->regs;

	if (nameless)
		name_call(op, s->thread, general);
	r->general = (struct span){ general, sizeof(*general) };
	r->sigmask = h->sigmask;
	int e = save_extended(op, h->tid, r);
	if (e < 0)
		return e;
	if (how == RESTARTS_BY_BLOCK)
		save_rest(r, s->thread, general);
	else
		save_memo(r, s->process, s->thread);
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
	const struct timespec rest = { r->rest_sec, r->rest_nsec };
	const struct taddr at = site->batch->room->data;
	const struct nap nap = { .nr = arch_syscall_nr(g), .since = (int64_t)now_ns(), .full = rest_of(r) };
	uint64_t arg[6];
	int64_t result = 0;

	for (unsigned int i = 0; i < 6; i++)
		arg[i] = arch_syscall_arg(g, i);
	if (nap.full < 0) {
		arch_restart_call(g);
		return 0;
	}
	if (!shorten(arch_syscall_nr(g), arg, at, &rest))
		return fail_as(op, OUTCOME_IMAGE, "image-regs", NULL, "go on with system call %ld for a time",
			arch_syscall_nr(g));
	int e = remote_write(site->tid, at, &rest, sizeof(rest));
	if (e == 0)
		e = remote_sleep(site->held, site->syscall, arch_syscall_nr(g), arg, &result);
	if (e == -ECANCELED) { /* it is over: nothing was left of it, or what it waits for is there */
		arch_set_result(g, result);
		return 0;
	}
	*site->nap = nap;
	return e < 0 ? fail(op, e, "go on with the interrupted sleep") : 0;
}

/* core leaves the memo when the zone is gone */
static int restart_again(struct op *op, const struct regs *r, struct site *site)
{
	*site->nap = (struct nap){
		.since = (int64_t)now_ns(), .full = rest_of(r), .in = NAP_IN_MEMORY, .arg = r->memo - 1u
	};
	if (site->nap->full < 0 || site->nap->arg >= 6)
		return fail_as(op, OUTCOME_IMAGE, "image-regs", NULL, "make a system call again for a time");
	return 0;
}

/* all tasks have it alike */
static int look_at_xstate(struct op *op, struct site *site, const struct arch_xstate **ret)
{
	struct arch_xstate found;

	*ret = site_known(site, regs_fields);
	int e = *ret ? 0 : arch_look_at_xstate(site->tid, &found);
	if (e < 0 || *ret)
		return e;
	*ret = arena_dup(&op->arena, &found, sizeof(found));
	site_keep(op, site, regs_fields, *ret);
	return 0;
}

/* @area: where it is made of islands; EBADMSG: they make none */
static int whole_extended(const struct regs *r, unsigned char *area, struct span *ret)
{
	*ret = r->extended;
	if (ret->n)
		return r->islands.n || r->extended_len ? -EBADMSG : 0;
	if (r->extended_len > ARCH_XSTATE_MAX)
		return -EBADMSG;
	*ret = (struct span){ area, r->extended_len, 0 };
	return sparse_unpack(&r->islands, area, r->extended_len);
}

static int load_extended(struct op *op, struct site *site, const struct regs *r, uint64_t *ret_missing)
{
	unsigned char area[ARCH_XSTATE_MAX];
	const struct arch_xstate *own;
	struct span whole;
	int e = look_at_xstate(op, site, &own);

	if (e == 0)
		e = whole_extended(r, area, &whole);
	return e < 0 ? e : arch_set_xstate(site->tid, own, &whole, ret_missing);
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
	int e = load_extended(op, site, r, &missing);
	if (e == -EOPNOTSUPP)
		return fail_as(op, OUTCOME_CANNOT, "cpu-features",
			"restart on a processor with the features of the first",
			"load its registers: this processor lacks the features %#lx (XCR0) that the program uses",
			(unsigned long)missing);
	if (e < 0)
		return fail(op, e, "load the floating point and vector registers");
	if (arch_interrupted(site->regs) == RESTARTS_BY_BLOCK)
		return restart_sleep(op, r, site, site->regs);
	return r->memo ? restart_again(op, r, site) : 0;
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
