/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * itimer - the three interval timers of a process, alarm(2) among them: setitimer(2)
 *
 * Seen: getitimer() by the process itself.
 * Lost: nothing. The time between checkpoint and restart does not count. A timer that ran out is restarted by the kernel
 *	only when its signal is delivered: one that waits for that is set to run out at once, which gives the same signal.
 *	One that runs out while the program stands still can run out once more in the restarted one.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define TIMERS 3 /* ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF */

struct itimer {
	uint32_t which;
	uint64_t interval_us, value_us;
};

struct itimers {
	struct span itimers; /* of struct itimer: those that are armed */
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

static int itimers_ask(struct op *op, const struct sight *s, void *rec)
{
	struct itimers *t = rec;
	struct taddr out = batch_out(s->batch, TIMERS * sizeof(*t->asked), &t->asked);

	for (unsigned int which = 0; which < TIMERS; which++, out.at += sizeof(*t->asked))
		BATCH_MUST(s->batch, "read an interval timer", SYS_getitimer, which, out.at);
	return 0;
}

static int itimers_save(struct op *op, const struct sight *s, void *rec)
{
	struct itimers *t = rec;

	for (uint32_t which = 0; which < TIMERS; which++) {
		const struct itimer i = {
			which,
			to_us(&t->asked[which].it_interval),
			to_us(&t->asked[which].it_value),
		};

		if (i.interval_us || i.value_us)
			*(struct itimer *)span_push(&op->arena, &t->itimers, sizeof(i)) = i;
	}
	return 0;
}

static int itimers_settle(struct op *op, void *rec, struct site *site)
{
	const struct itimers *t = rec;
	const struct itimer *i = t->itimers.at;

	for (size_t n = 0; n < t->itimers.n; n++, i++) {
		if (i->which >= TIMERS)
			return fail(op, -EBADMSG, "arm interval timer %" PRIu32, i->which);
		uint64_t value_us = i->value_us;

		if (i->which == ITIMER_REAL && !value_us) /* it ran out, and its signal waits */
			value_us = 1;
		const struct itimerval v = { from_us(i->interval_us), from_us(value_us) };
		BATCH_MUST(site->batch, "arm an interval timer", SYS_setitimer, i->which,
			batch_in(site->batch, &v, sizeof(v)).at, 0);
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
	.settle = itimers_settle,
};
