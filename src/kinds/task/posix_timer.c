/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * POSIX timers of a process, with their ids: timer_create(2), timer_settime(2)
 *
 * A signal of one that waits to be delivered (SI_TIMER) is part of the timer: it is sent again by the kernel itself, as
 * only then delivery sets the timer going again.
 *
 * Seen: /proc/PID/timers; timer_gettime(), timer_getoverrun() by the process; PTRACE_PEEKSIGINFO. On the CPU clock of
 *	which thread a timer runs is not shown where the thread did not name itself when it made it: its own clock is the
 *	one that goes on while it asks.
 * Lost: the id that the next timer gets. Whether a timer was set to an absolute time: it goes on with the time that was
 *	left (CLOCK_REALTIME: named). Overruns of a signal that waits, which nothing shows; those of the last signal
 *	(timer_getoverrun) on CPU clocks, CLOCK_REALTIME, and when another thread than the first gets the signal (named).
 *	Of a periodic timer on a CPU clock or CLOCK_REALTIME whose signal waits, when in its interval it comes next.
 * Needs: CONFIG_CHECKPOINT_RESTORE; PR_TIMER_CREATE_RESTORE_IDS (Linux 6.15) for ids from SKIP_MAX on.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS /* Linux 6.15 */
#define PR_TIMER_CREATE_RESTORE_IDS 77
#endif
#define RESTORE_IDS_OFF 0
#define RESTORE_IDS_ON	1
#define RESTORE_IDS_GET 2

#define SKIP_MAX (1 << 20) /* ids that are made and deleted to come to the next, where none can be asked for */
#define NO_TIME	 INT64_MAX
#define SECOND	 1000000000ull

struct posix_timer {
	uint32_t id;
	int32_t clock;
	uint32_t notify, signo;
	uint64_t sigval;
	int32_t tid; /* of SIGEV_THREAD_ID, as the process counts; else 0 */
	uint64_t value_ns, interval_ns;
	uint32_t overrun; /* of the last signal */
	bool pending; /* its signal waits */
	bool waited; /* that it did was seen before its time was */
	const struct itimerspec *asked;
	const struct stub_call *overrun_asked;
	const int32_t *made; /* the id that it got */
	int32_t owner; /* the thread on whose CPU clock it was seen to run */
};

/* struct look - what a thread saw of a timer that runs on the CPU clock of the thread that made it, twice */
struct look {
	struct posix_timer *timer;
	int32_t tid;
	const struct itimerspec *asked;
};

struct posix_timers {
	struct span timers; /* of struct posix_timer, the oldest first */
	bool restore_ids; /* PR_TIMER_CREATE_RESTORE_IDS is on */
	struct span looks; /* by the thread that was asked last */
	const struct stub_call *ids_asked;
	uint64_t asked_at;
};

static const struct field timer_fields[] = {
	FIELD_U(1, struct posix_timer, id, "k_itimer.it_id"),
	FIELD_I(2, struct posix_timer, clock, "k_itimer.it_clock"),
	FIELD_U(3, struct posix_timer, notify, "k_itimer.it_sigev_notify"),
	FIELD_U(4, struct posix_timer, signo, "sigqueue.info"),
	FIELD_U(5, struct posix_timer, sigval, "sigqueue.info"),
	FIELD_I(6, struct posix_timer, tid, "k_itimer.it_pid"),
	FIELD_U(7, struct posix_timer, value_ns, "hrtimer.node.expires"),
	FIELD_U(8, struct posix_timer, interval_ns, "k_itimer.it_interval"),
	FIELD_U(9, struct posix_timer, overrun, "k_itimer.it_overrun_last"),
	FIELD_U(10, struct posix_timer, pending, "k_itimer.it_status"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct posix_timers, timers, "signal_struct.posix_timers", timer_fields, struct posix_timer),
	FIELD_U(2, struct posix_timers, restore_ids, "signal_struct.timer_create_restore_ids"),
	FIELDS_END,
};

/* ---- clocks ---- */

enum {
	CPU_WHICH = 3, /* CPUCLOCK_PROF, _VIRT, _SCHED; 3 is a clock behind a descriptor */
	CPU_PERTHREAD = 4,
};

static bool is_cpu_clock(int32_t clock)
{
	return clock < 0 && (clock & CPU_WHICH) != CPU_WHICH;
}

/* whose CPU clock it is, as the program counts; 0: of the process or thread that made the timer */
static pid_t cpu_clock_pid(int32_t clock)
{
	return ~(clock >> 3);
}

static bool is_own_thread_clock(int32_t clock)
{
	return is_cpu_clock(clock) && clock & CPU_PERTHREAD && cpu_clock_pid(clock) == 0;
}

static int32_t thread_clock(int32_t clock, pid_t tid)
{
	return (int32_t)((uint32_t)~tid << 3) | (clock & (CPU_PERTHREAD | CPU_WHICH));
}

static bool is_alarm_clock(int32_t clock)
{
	return clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
}

/* a time of day: set to an absolute time, a timer on it would follow when the clock is set */
static bool is_day_clock(int32_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
}

static bool is_known_clock(int32_t clock)
{
	return is_cpu_clock(clock) || is_day_clock(clock) || is_alarm_clock(clock) || clock == CLOCK_MONOTONIC ||
	       clock == CLOCK_BOOTTIME || clock == CLOCK_TAI;
}

/* what comes back from the program may be anything; NO_TIME: no time of the kernel's */
static uint64_t to_ns(const struct timespec *ts)
{
	if (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= (long)SECOND ||
		(uint64_t)ts->tv_sec >= NO_TIME / SECOND)
		return NO_TIME;
	return (uint64_t)ts->tv_sec * SECOND + (uint64_t)ts->tv_nsec;
}

static struct timespec from_ns(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / SECOND), (long)(ns % SECOND) };
}

/* ---- checking ---- */

static const struct thread *find_thread(const struct process *p, pid_t tid, bool as_it_counts)
{
	const struct thread *t = p->threads.at;

	for (size_t i = 0; i < p->threads.n; i++)
		if ((as_it_counts ? t[i].vtid : t[i].tid) == tid)
			return &t[i];
	return NULL;
}

static bool is_in_tree(const struct tree *tree, pid_t vpid)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++)
		if (p[i]->vpid == vpid && !p[i]->zombie)
			return true;
	return false;
}

static int check_clock(struct op *op, const struct sight *s, const struct proc_timer *t)
{
	pid_t pid = is_cpu_clock(t->clock) ? cpu_clock_pid(t->clock) : 0;

	if (!is_known_clock(t->clock))
		return refuse(op, "posix-timer-clock", "this version has not considered it", NULL,
			"has POSIX timer %" PRId32 " on clock %" PRId32, t->id, t->clock);
	if (!pid)
		return 0;
	if (t->clock & CPU_PERTHREAD && !find_thread(s->process, pid, true))
		return refuse(op, "posix-timer-thread", "such a timer cannot be made", "delete the timer",
			"has POSIX timer %" PRId32 " on the CPU clock of thread %d, which has ended", t->id, pid);
	if (!(t->clock & CPU_PERTHREAD) && !is_in_tree(s->tree, pid))
		return refuse(op, "posix-timer-process", "it is no process of the program", "delete the timer",
			"has POSIX timer %" PRId32 " on the CPU clock of process %d", t->id, pid);
	return 0;
}

static int check_notify(struct op *op, const struct sight *s, const struct proc_timer *t)
{
	if (t->notify == SIGEV_THREAD_ID && !find_thread(s->process, t->target, false))
		return refuse(op, "posix-timer-thread", "such a timer cannot be made", "delete the timer",
			"has POSIX timer %" PRId32 ", whose signal goes to a thread that has ended", t->id);
	if (t->notify != SIGEV_NONE && t->signo == SIGTRAP)
		return refuse(op, "posix-timer-sigtrap", "restarted tasks report to stasis by SIGTRAP", NULL,
			"has POSIX timer %" PRId32 ", which sends SIGTRAP", t->id);
	return 0;
}

static int read_timers(struct op *op, const struct process *p, struct span *ret)
{
	int r = proc_read_timers(&op->arena, p->dir, ret);

	if (r == -ENOENT) /* no CONFIG_CHECKPOINT_RESTORE, which tid_address refuses */
		return 0;
	if (r == -EPROTONOSUPPORT)
		return refuse(op, "posix-timer-notify", "this version has not considered it", NULL,
			"has a POSIX timer that notifies in an unknown way");
	return r < 0 ? fail(op, r, "read its timers") : 0;
}

static int timers_check(struct op *op, const struct sight *s)
{
	struct span *seen = &s->process->seen->timers;

	*seen = (struct span){ 0 };
	int r = s->process->zombie ? 0 : read_timers(op, s->process, seen);
	const struct proc_timer *t = seen->at;

	for (size_t i = 0; i < seen->n; i++) {
		int clock = check_clock(op, s, &t[i]), notify = check_notify(op, s, &t[i]);

		r = r < 0 ? r : clock < 0 ? clock : notify;
	}
	return r;
}

/* ---- asking ---- */

static int spare_room(struct op *op, struct batch *b)
{
	int r = batch_has_room(b, 512, 64 << 10) ? 0 : batch_run(b);

	return r < 0 ? fail(op, r, "%s", batch_what(b)) : 0;
}

static struct posix_timer *find_timer(const struct posix_timers *rec, uint32_t id)
{
	struct posix_timer *t = rec->timers.at;

	for (size_t i = 0; i < rec->timers.n; i++)
		if (t[i].id == id)
			return &t[i];
	return NULL;
}

static int mark_queue(struct op *op, const struct posix_timers *rec, const struct thread *t, bool shared)
{
	struct span queue = { 0 };
	int r = hold_signals(&t->held, &op->arena, shared, &queue);
	const siginfo_t *info = queue.at;

	for (size_t i = 0; i < queue.n; i++) {
		struct posix_timer *timer =
			info[i].si_code == SI_TIMER ? find_timer(rec, (uint32_t)info[i].si_timerid) : NULL;

		if (timer)
			timer->pending = true;
	}
	return r < 0 ? fail(op, r, "read its pending signals") : 0;
}

/* whose signal waits? */
static int mark_pending(struct op *op, const struct process *p, const struct posix_timers *rec)
{
	const struct posix_timer *timer = rec->timers.at;
	const struct thread *t = p->threads.at;
	bool to_threads = false;

	for (size_t i = 0; i < rec->timers.n; i++)
		to_threads |= timer[i].tid != 0;
	int r = rec->timers.n ? mark_queue(op, rec, t, true) : 0;
	for (size_t i = 0; i < p->threads.n && to_threads && r == 0; i++)
		r = mark_queue(op, rec, &t[i], false);
	return r;
}

static int ask_process(struct op *op, const struct sight *s, struct posix_timers *rec)
{
	const struct span *seen = &s->process->seen->timers;
	const struct proc_timer *t = seen->at;

	for (size_t i = seen->n; i-- > 0;) {
		struct posix_timer *timer = span_push(&op->arena, &rec->timers, sizeof(*timer));
		const struct thread *to = find_thread(s->process, t[i].target, false);

		*timer = (struct posix_timer){ .id = (uint32_t)t[i].id, .clock = t[i].clock, .notify = t[i].notify };
		timer->signo = (uint32_t)t[i].signo;
		timer->sigval = t[i].value;
		timer->tid = t[i].notify == SIGEV_THREAD_ID && to ? to->vtid : 0;
	}
	int r = mark_pending(op, s->process, rec);
	struct posix_timer *timer = rec->timers.at;
	rec->asked_at = now_ns();
	for (size_t i = 0; i < rec->timers.n && r == 0; i++, timer++) {
		struct taddr out = batch_out(s->batch, sizeof(*timer->asked), &timer->asked);

		timer->waited = timer->pending;
		BATCH_MUST(s->batch, "read a POSIX timer", SYS_timer_gettime, timer->id, out.at);
		BATCH_MUST(s->batch, "read the overruns of a POSIX timer", SYS_timer_getoverrun, timer->id);
		timer->overrun_asked = batch_last(s->batch);
		r = spare_room(op, s->batch);
	}
	rec->ids_asked = BATCH_CALL(
		s->batch, "ask how timers get their ids", SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, RESTORE_IDS_GET);
	return r;
}

/* A clock that went on between two looks of a thread is that thread's: all others stood still. */
static void find_owners(struct posix_timers *rec)
{
	const struct look *look = rec->looks.at;

	for (size_t i = 0; i < rec->looks.n; i++)
		if (to_ns(&look[i].asked[0].it_value) != to_ns(&look[i].asked[1].it_value))
			look[i].timer->owner = look[i].tid;
	rec->looks.n = 0;
}

/* was every timer made by the thread that is there? */
static bool has_one_thread(const struct process *p)
{
	return p->threads.n == 1 && !p->ended;
}

/* a timer whose signal goes to one thread is mostly that one's: no other is asked */
static bool is_maybe_of(const struct posix_timer *t, const struct sight *s)
{
	return is_own_thread_clock(t->clock) && !t->owner && (!t->tid || t->tid == s->thread->vtid);
}

static int ask_thread(struct op *op, const struct sight *s, struct posix_timers *rec)
{
	struct posix_timer *t = rec->timers.at;
	int r = 0;

	find_owners(rec);
	for (size_t i = 0; i < rec->timers.n && r == 0; i++) {
		if (!is_maybe_of(&t[i], s))
			continue;
		struct look *look = span_push(&op->arena, &rec->looks, sizeof(*look));
		*look = (struct look){ .timer = &t[i], .tid = s->thread->vtid };
		struct taddr out = batch_out(s->batch, 2 * sizeof(*look->asked), &look->asked);
		BATCH_MUST(s->batch, "read a POSIX timer", SYS_timer_gettime, t[i].id, out.at);
		BATCH_MUST(s->batch, "read a POSIX timer", SYS_timer_gettime, t[i].id, out.at + sizeof(*look->asked));
		r = spare_room(op, s->batch);
	}
	return r;
}

static bool timers_ask_thread(const struct sight *s, const void *rec)
{
	const struct posix_timers *timers = rec;
	const struct posix_timer *t = timers->timers.at;

	for (size_t i = 0; i < timers->timers.n; i++)
		if (is_maybe_of(&t[i], s))
			return true;
	return false;
}

static int timers_ask(struct op *op, const struct sight *s, void *rec)
{
	struct posix_timers *timers = rec;
	int r = s->thread->tid == s->process->tid ? ask_process(op, s, timers) : 0;

	return r == 0 && !has_one_thread(s->process) ? ask_thread(op, s, timers) : r;
}

/* ---- saving ---- */

static int save_clock(struct op *op, const struct sight *s, struct posix_timer *t)
{
	int32_t owner = t->owner;

	if (!is_own_thread_clock(t->clock) || has_one_thread(s->process))
		return 0;
	if (!owner && !t->value_ns && t->tid) {
		owner = t->tid;
		note(op,
			"POSIX timer %" PRIu32
			", which is not armed, is taken to be on the CPU clock of thread %" PRId32
			", which gets its signal",
			t->id, owner);
	}
	if (!owner)
		return refuse(op, "posix-timer-thread", "on the CPU clock of which thread it runs cannot be seen",
			"make it on the clock of pthread_getcpuclockid(3)", "has POSIX timer %" PRIu32, t->id);
	if (owner != s->thread->vtid)
		t->clock = thread_clock(t->clock, owner);
	return 0;
}

/*
 * The timer went on meanwhile. One whose signal came only after its time was read is as good as still armed; a periodic
 * one that had more time left than has passed since must have run out before.
 */
static bool is_pending(const struct posix_timer *t, uint64_t passed)
{
	if (t->waited || !t->pending)
		return t->waited;
	return !t->value_ns || (t->interval_ns && t->value_ns > passed);
}

static int save_timer(struct op *op, const struct sight *s, const struct posix_timers *rec, struct posix_timer *t)
{
	t->value_ns = to_ns(&t->asked->it_value);
	t->interval_ns = to_ns(&t->asked->it_interval);
	if (t->overrun_asked->ret < 0 || t->overrun_asked->ret > INT_MAX)
		return fail(op, -ERANGE, "read the overruns of POSIX timer %" PRIu32, t->id);
	t->overrun = (uint32_t)t->overrun_asked->ret;
	t->pending = is_pending(t, now_ns() - rec->asked_at);
	return save_clock(op, s, t);
}

static int timers_save(struct op *op, const struct sight *s, void *rec)
{
	struct posix_timers *timers = rec;
	struct posix_timer *t = timers->timers.at;
	unsigned int days = 0;

	timers->restore_ids = timers->ids_asked->ret == RESTORE_IDS_ON;
	int r = mark_pending(op, s->process, timers);
	find_owners(timers);
	for (size_t i = 0; i < timers->timers.n && r == 0; i++) {
		r = save_timer(op, s, timers, &t[i]);
		days += is_day_clock(t[i].clock) && t[i].value_ns;
	}
	if (days)
		note(op,
			"%u POSIX timer(s) on CLOCK_REALTIME go on with the time they had left: one that was set to a "
			"time of day "
			"comes late",
			days);
	return r;
}

/* ---- restarting: made by link() ---- */

static int run(struct op *op, struct batch *b)
{
	int r = batch_run(b);

	return r < 0 ? fail(op, r, "%s", batch_what(b)) : 0;
}

static int verify(struct op *op, const struct posix_timer *t)
{
	bool signal = t->signo >= 1 && t->signo <= 64 && t->signo != SIGTRAP;

	if (t->id > INT_MAX || t->overrun > INT_MAX || t->value_ns > NO_TIME || t->interval_ns > NO_TIME ||
		!is_known_clock(t->clock) ||
		(t->notify != SIGEV_NONE && t->notify != SIGEV_SIGNAL && t->notify != SIGEV_THREAD &&
			t->notify != SIGEV_THREAD_ID) ||
		(t->notify == SIGEV_NONE ? t->pending : !signal))
		return fail_as(op, OUTCOME_IMAGE, "posix-timer", NULL, "make POSIX timer %" PRIu32, t->id);
	return 0;
}

static void create(struct batch *b, const struct posix_timer *t, const int32_t **ret_made)
{
	struct sigevent event = { .sigev_notify = (int)t->notify, .sigev_signo = (int)t->signo };
	int32_t *id;

	event.sigev_value.sival_ptr = (void *)(uintptr_t)t->sigval;
	event._sigev_un._tid = t->tid;
	struct taddr out = batch_out(b, sizeof(*id), &id);
	*id = (int32_t)t->id; /* PR_TIMER_CREATE_RESTORE_IDS reads it */
	*ret_made = id;
	BATCH_MUST(b, is_alarm_clock(t->clock) ? "make a timer that wakes the system" : "make a POSIX timer",
		SYS_timer_create, (uint64_t)t->clock, batch_in(b, &event, sizeof(event)).at, out.at);
}

/* The kernel counts: the next id comes when the one before has been used. */
static int skip_to(struct op *op, struct batch *b, uint32_t *next, uint32_t id)
{
	const struct posix_timer none = { .clock = CLOCK_MONOTONIC, .notify = SIGEV_NONE };
	const int32_t *made;
	int r = 0;

	if (id >= SKIP_MAX)
		return fail_as(op, OUTCOME_CANNOT, "posix-timer-id", "restart it on Linux 6.15 or later",
			"make a POSIX timer with the id %" PRIu32, id);
	for (; *next < id && r == 0; ++*next) {
		create(b, &none, &made);
		BATCH_MUST(b, "skip the id of a POSIX timer", SYS_timer_delete, *next);
		r = spare_room(op, b);
	}
	++*next;
	return r;
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct posix_timer *)a)->id, y = ((const struct posix_timer *)b)->id;

	return x < y ? -1 : x > y;
}

static int timers_link(struct op *op, void *rec, struct site *site)
{
	struct posix_timers *timers = rec;
	struct posix_timer *t = timers->timers.at;
	struct batch *b = site->batch;
	uint32_t next = 0;

	if (!timers->timers.n && !timers->restore_ids)
		return 0;
	const struct stub_call *exact =
		BATCH_CALL(b, "choose the ids of timers", SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, RESTORE_IDS_ON);
	int r = run(op, b);
	if (r == 0 && exact->ret < 0)
		qsort(t, timers->timers.n, sizeof(*t), by_id);
	for (size_t i = 0; i < timers->timers.n && r == 0; i++) {
		r = verify(op, &t[i]);
		if (r == 0 && exact->ret < 0)
			r = skip_to(op, b, &next, t[i].id);
		create(b, &t[i], &t[i].made);
		if (r == 0)
			r = spare_room(op, b);
	}
	if (exact->ret == 0)
		BATCH_MUST(b, "let timers have any id", SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS,
			timers->restore_ids ? RESTORE_IDS_ON : RESTORE_IDS_OFF);
	if (r == 0)
		r = run(op, b);
	for (size_t i = 0; i < timers->timers.n && r == 0; i++)
		if (*t[i].made != (int32_t)t[i].id)
			r = fail(op, -EEXIST, "make POSIX timer %" PRIu32, t[i].id);
	return r;
}

/* ---- restarting: armed by settle() ---- */

static void set(struct batch *b, const struct posix_timer *t, int flags, uint64_t value_ns)
{
	const struct itimerspec its = { from_ns(t->interval_ns), from_ns(value_ns) };

	BATCH_MUST(b, "arm a POSIX timer", SYS_timer_settime, t->id, (uint64_t)flags, batch_in(b, &its, sizeof(its)).at,
		0);
}

/*
 * When it must have run out first, so that now it has done so @times times and comes next when it would have; 0 where
 * that cannot be said: CPU clocks begin anew, and a time of day would follow when the clock is set.
 */
static int find_past(struct op *op, struct batch *b, const struct posix_timer *t, uint64_t times, uint64_t *ret)
{
	const struct timespec *asked;
	uint64_t back;

	*ret = 0;
	if (is_cpu_clock(t->clock) || is_day_clock(t->clock) || t->value_ns > t->interval_ns ||
		__builtin_mul_overflow(times, t->interval_ns, &back))
		return 0;
	BATCH_MUST(b, "read a clock", SYS_clock_gettime, (uint64_t)t->clock, batch_out(b, sizeof(*asked), &asked).at);
	int r = run(op, b);
	if (r < 0)
		return r;
	uint64_t then = to_ns(asked) + t->value_ns; /* both are below 2^63 */
	*ret = then > back ? then - back : 0;
	return 0;
}

/* by running out that often, and its signal being taken: *@ret_done says whether it now counts as many */
static int overrun(struct op *op, struct site *site, const struct posix_timer *t, bool *ret_done)
{
	const uint64_t set_of_one = t->signo ? 1ull << (t->signo - 1) : 0;
	const struct timespec limit = { 1, 0 };
	struct batch *b = site->batch;
	uint64_t first = 0;

	*ret_done = false;
	if (!t->overrun || t->notify == SIGEV_NONE)
		return 0;
	bool mine = !t->tid || t->tid == site->vtid;
	int r = mine && !t->pending ? find_past(op, b, t, (uint64_t)t->overrun + 1, &first) : 0;
	if (r == 0 && first) {
		set(b, t, TIMER_ABSTIME, first);
		BATCH_CALL(b, "take the signal of a timer", SYS_rt_sigtimedwait,
			batch_in(b, &set_of_one, sizeof(set_of_one)).at, 0, batch_in(b, &limit, sizeof(limit)).at,
			sizeof(set_of_one));
		const struct stub_call *now =
			BATCH_CALL(b, "read the overruns of a POSIX timer", SYS_timer_getoverrun, t->id);
		r = run(op, b);
		*ret_done = r == 0 && now->ret == (int64_t)t->overrun;
	}
	if (r == 0 && !*ret_done)
		note(op, "POSIX timer %" PRIu32 " has forgotten that its last signal stood for %" PRIu32 " more", t->id,
			t->overrun);
	return r;
}

/* its signal waited: so that it does again, the timer runs out */
static int run_out(struct op *op, struct batch *b, const struct posix_timer *t)
{
	uint64_t first = 0;
	int r = t->interval_ns ? find_past(op, b, t, 1, &first) : 0;

	set(b, t, is_day_clock(t->clock) ? 0 : TIMER_ABSTIME, first ? first : 1);
	return r;
}

static int timers_settle(struct op *op, void *rec, struct site *site)
{
	const struct posix_timers *timers = rec;
	struct posix_timer *t = timers->timers.at;
	const struct timespec nap = { 0, 1000000 };
	bool *done = arena_array(&op->arena, timers->timers.n + 1, sizeof(*done)), any = false;
	int r = 0;

	for (size_t i = 0; i < timers->timers.n && r == 0; i++)
		r = overrun(op, site, &t[i], &done[i]);
	for (size_t i = 0; i < timers->timers.n && r == 0; i++) {
		if (!t[i].pending)
			continue;
		r = run_out(op, site->batch, &t[i]);
		done[i] = t[i].interval_ns || !t[i].value_ns; /* else it was armed again, and its signal waits still */
		any = true;
	}
	if (any)
		BATCH_CALL(site->batch, "let timers run out", SYS_nanosleep,
			batch_in(site->batch, &nap, sizeof(nap)).at, 0);
	for (size_t i = 0; i < timers->timers.n && r == 0; i++) {
		if (!done[i] && (t[i].value_ns || t[i].interval_ns))
			set(site->batch, &t[i], 0, t[i].value_ns);
		r = spare_room(op, site->batch);
	}
	return r;
}

const struct kind kind_task_posix_timer = {
	.name = "posix_timer",
	.tag = 0x30,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct posix_timers),
	.fields = fields,
	.asks = timers_ask_thread,
	.check = timers_check,
	.ask = timers_ask,
	.save = timers_save,
	.link = timers_link,
	.settle = timers_settle,
};
