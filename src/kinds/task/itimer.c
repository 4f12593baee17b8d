/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * itimer - the three interval timers of a process, alarm(2) among them: setitimer(2)
 *
 * ITIMER_REAL that has run out is set going again by the kernel when its SIGALRM is delivered. So a SIGALRM of its own
 * that waits is part of the timer, and sent again by it.
 *
 * Seen: getitimer() by the process itself; PTRACE_PEEKSIGINFO.
 * Lost: when in its interval an ITIMER_REAL comes next whose SIGALRM waits: nothing shows it. The time between checkpoint
 *	and restart does not count.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#define TIMERS	  3 /* ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF */
#define SIGACTION 32 /* bytes of the kernel's */

struct itimer {
	uint32_t which;
	uint64_t interval_us, value_us;
};

struct itimers {
	struct span itimers; /* of struct itimer: those that are armed */
	bool pending; /* the SIGALRM of ITIMER_REAL waits */
	bool waited; /* that it did was seen before the time of the timer was */
	const struct itimerval *asked;
};

static const struct field itimer_fields[] = {
	FIELD_U(1, struct itimer, which, ""),
	FIELD_U(2, struct itimer, interval_us, "cpu_itimer.incr"),
	FIELD_U(3, struct itimer, value_us, "cpu_itimer.expires"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct itimers, itimers, "signal_struct.it", itimer_fields, struct itimer),
	FIELD_U(2, struct itimers, pending, "signal_struct.shared_pending"),
	FIELDS_END,
};

static uint64_t to_us(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
}

static struct timeval from_us(uint64_t us)
{
	return (struct timeval){ (time_t)(us / 1000000), (suseconds_t)(us % 1000000) };
}

/* ---- saving ---- */

static int see_pending(struct op *op, const struct sight *s, bool *ret)
{
	struct span queue = { 0 };
	int r = hold_signals(&s->thread->held, &op->arena, true, &queue);
	const siginfo_t *info = queue.at;

	*ret = false;
	for (size_t i = 0; i < queue.n; i++)
		*ret |= info[i].si_signo == SIGALRM && info[i].si_code == SI_KERNEL;
	return r < 0 ? fail(op, r, "read its pending signals") : 0;
}

static int itimers_ask(struct op *op, const struct sight *s, void *rec)
{
	struct itimers *t = rec;
	struct taddr out = batch_out(s->batch, TIMERS * sizeof(*t->asked), &t->asked);

	for (unsigned int which = 0; which < TIMERS; which++, out.at += sizeof(*t->asked))
		BATCH_MUST(s->batch, "read an interval timer", SYS_getitimer, which, out.at);
	return see_pending(op, s, &t->waited);
}

static int itimers_save(struct op *op, const struct sight *s, void *rec)
{
	struct itimers *t = rec;

	int r = see_pending(op, s, &t->pending);
	/* it went on meanwhile: one that ran out after its time was read is as good as still armed */
	t->pending = t->waited || (t->pending && to_us(&t->asked[ITIMER_REAL].it_value) == 0);
	for (uint32_t which = 0; which < TIMERS; which++) {
		const struct itimer i = {
			which,
			to_us(&t->asked[which].it_interval),
			to_us(&t->asked[which].it_value),
		};

		if (i.interval_us || i.value_us)
			*(struct itimer *)span_push(&op->arena, &t->itimers, sizeof(i)) = i;
	}
	return r;
}

/* ---- restarting ---- */

static void set(struct batch *b, uint32_t which, uint64_t interval_us, uint64_t value_us)
{
	const struct itimerval v = { from_us(interval_us), from_us(value_us) };

	BATCH_MUST(b, "arm an interval timer", SYS_setitimer, which, batch_in(b, &v, sizeof(v)).at, 0);
}

static void run_out(struct batch *b, uint64_t interval_us)
{
	const struct timespec nap = { 0, 1000000 };

	set(b, ITIMER_REAL, interval_us, 1);
	BATCH_CALL(b, "let a timer run out", SYS_nanosleep, batch_in(b, &nap, sizeof(nap)).at, 0);
}

static const struct itimer *find_real(const struct itimers *t)
{
	const struct itimer *i = t->itimers.at;

	for (size_t n = 0; n < t->itimers.n; n++)
		if (i[n].which == ITIMER_REAL)
			return &i[n];
	return NULL;
}

/*
 * It ran out, and no signal of its own waits: SIGALRM is ignored, or another one waits for it. So it does again, and its
 * signal goes: one that becomes ignored leaves the queue without being delivered. There is no other in the queue yet.
 */
static int itimers_link(struct op *op, void *rec, struct site *site)
{
	const struct itimers *t = rec;
	const struct itimer *real = find_real(t);
	const uint64_t ignore[SIGACTION / sizeof(uint64_t)] = { (uint64_t)(uintptr_t)SIG_IGN };
	struct batch *b = site->batch;
	void *was;

	if (!real || real->value_us || t->pending)
		return 0;
	run_out(b, real->interval_us);
	struct taddr old = batch_out(b, SIGACTION, &was);
	BATCH_MUST(b, "forget a signal", SYS_rt_sigaction, SIGALRM, batch_in(b, ignore, sizeof(ignore)).at, old.at, 8);
	BATCH_MUST(b, "set a signal's action", SYS_rt_sigaction, SIGALRM, old.at, 0, 8);
	return 0;
}

/* to a CPU timer the kernel adds a tick each time that it is set */
static uint64_t less_a_tick(uint64_t value_us)
{
	struct timespec tick = { 0 };

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	uint64_t tick_us = (uint64_t)tick.tv_nsec / 1000;
	return value_us > tick_us ? value_us - tick_us : value_us ? 1 : 0;
}

static int itimers_settle(struct op *op, void *rec, struct site *site)
{
	const struct itimers *t = rec;
	const struct itimer *i = t->itimers.at, *real = find_real(t);

	if (t->pending)
		run_out(site->batch, real ? real->interval_us : 0);
	for (size_t n = 0; n < t->itimers.n; n++, i++) {
		if (i->which >= TIMERS)
			return fail_as(op, OUTCOME_IMAGE, "itimer", NULL, "arm interval timer %" PRIu32, i->which);
		if (i->which != ITIMER_REAL)
			set(site->batch, i->which, i->interval_us, less_a_tick(i->value_us));
		else if (i->value_us)
			set(site->batch, i->which, i->interval_us, i->value_us);
	}
	return 0;
}

const struct kind kind_task_itimer = {
	.name = "itimer",
	.tag = 0x2c,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct itimers),
	.fields = fields,
	.ask = itimers_ask,
	.save = itimers_save,
	.link = itimers_link,
	.settle = itimers_settle,
};
