/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a thread has slept in a call with a timeout.
 *
 * The kernel tells nobody how much is left of poll(2), of a futex(2) wait, of nanosleep(2) that gives no place for the rest,
 * or of the calls that end with EINTR when their task is stopped. But a thread that sleeps was last on a processor when it
 * began to, and its sched file says when that was, by the clock of the scheduler. Stopping it wakes it up: so this is read
 * before.
 *
 * That clock goes with each processor, and leaves out what interrupts and the host of a virtual machine take: it is
 * compared with ours on the same processor. An error makes the sleep too long rather than too short.
 *
 * What is left when the thread goes on is told to the call that is made again, and written down (memo.c): of one that
 * the kernel goes on with, the next stop would else see but what passed since this one.
 */
#include "remote/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "proc/proc.h"

#define MS ((int64_t)1000000)

/* struct timed - a call that takes the longest time to sleep as its argument @arg */
static const struct timed {
	long nr;
	unsigned int arg;
	bool is_ms; /* else the address of a struct timespec */
} timed[] = {
	{ SYS_nanosleep, 0, false },
	{ SYS_clock_nanosleep, 2, false },
	{ SYS_futex, 3, false },
	{ SYS_poll, 2, true },
	{ SYS_epoll_wait, 3, true },
	{ SYS_epoll_pwait, 3, true },
	{ SYS_epoll_pwait2, 3, false },
	{ SYS_rt_sigtimedwait, 2, false },
	{ SYS_semtimedop, 3, false },
};

static const struct timed *find_timed(long nr)
{
	for (size_t i = 0; i < ARRAY_SIZE(timed); i++)
		if (timed[i].nr == nr)
			return &timed[i];
	return NULL;
}

/* ---- before the stop ---- */

/* struct cpu_clock - how far CLOCK_MONOTONIC is ahead of the scheduler's clock of one processor, ns */
struct cpu_clock {
	int64_t cpu, ahead;
};

/* yielding makes the kernel note the time at which it did */
static int compare_clocks(int64_t *ret)
{
	_cleanup_close_ int self = open("/proc/thread-self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct proc_sched own;

	if (self < 0)
		return -errno;
	sched_yield();
	int64_t now = now_ns();
	int r = proc_read_sched(self, &own);
	*ret = r < 0 ? 0 : now - (int64_t)own.exec_start;
	return r;
}

static int compare_on(int64_t cpu, int64_t *ret)
{
	uint64_t was[1024 / 64], one[1024 / 64] = { 0 };
	long len = syscall(SYS_sched_getaffinity, 0, sizeof(was), was);

	if (len < 0 || cpu < 0 || cpu >= len * 8)
		return -ERANGE;
	one[cpu / 64] = 1ull << (cpu % 64);
	if (syscall(SYS_sched_setaffinity, 0, sizeof(one), one) < 0)
		return -errno;
	int r = compare_clocks(ret);
	syscall(SYS_sched_setaffinity, 0, len, was);
	return r;
}

static int ahead_on(struct arena *a, struct span *clocks, int64_t cpu, int64_t *ret)
{
	const struct cpu_clock *c = clocks->at;
	int64_t ahead = 0;

	for (size_t i = 0; i < clocks->n; i++)
		if (c[i].cpu == cpu) {
			*ret = c[i].ahead;
			return 0;
		}
	int r = compare_on(cpu, &ahead);
	if (r < 0)
		return r;
	*(struct cpu_clock *)span_push(a, clocks, sizeof(*c)) = (struct cpu_clock){ cpu, ahead };
	*ret = ahead;
	return 0;
}

/*
 * A call that goes on after an earlier stop is a restart_syscall(2) with the registers of the first: which it was tells the
 * function of the kernel that it sleeps in, if it may be known. Of those for nanosleep(2) some are left out there (they are
 * __sched): then it is one further out, do_syscall_64 for example. Nothing else is restarted that way.
 */
static long restarted_call(int dir, const struct proc_syscall *s)
{
	char wchan[128];

	if (proc_read_wchan(dir, wchan, sizeof(wchan)) < 0 || !wchan[0] || strcmp(wchan, "0") == 0)
		return -1;
	if (strstr(wchan, "poll"))
		return SYS_poll;
	if (strstr(wchan, "futex"))
		return SYS_futex;
	/* a clock and no flags, or an address; clocks of processes are negative */
	uint64_t high = s->arg[0] >> 31;
	bool is_clock = s->arg[0] < 4096 || high == 1 || high == UINT64_MAX >> 31;
	return is_clock && !s->arg[1] ? SYS_clock_nanosleep : SYS_nanosleep;
}

/* does it sleep until something wakes it up, however long that takes? Then there is nothing to measure */
static bool is_endless(const struct timed *t, const struct proc_syscall *s)
{
	return t && (t->is_ms ? (int32_t)s->arg[t->arg] < 0 : !s->arg[t->arg]);
}

bool nap_is_likely(const struct proc_syscall *s)
{
	const struct timed *t = find_timed(s->nr);

	return s->nr == SYS_restart_syscall || (t && !is_endless(t, s));
}

struct nap *nap_look(struct arena *a, struct span *clocks, int dir)
{
	struct proc_sched before, after;
	struct proc_syscall s;
	struct proc_stat st;
	int64_t ahead;

	if (proc_read_syscall(dir, &s) < 0 || (s.nr != SYS_restart_syscall && !find_timed(s.nr)))
		return NULL;
	struct nap *n = arena_alloc(a, sizeof(*n));
	*n = (struct nap){ .call = s, .nr = s.nr };
	if (s.nr == SYS_restart_syscall)
		n->nr = restarted_call(dir, &s);
	if (is_endless(find_timed(n->nr), &s))
		return n;
	/* it did not stir between the two looks, and slept in between: so it slept all the time */
	if (proc_read_sched(dir, &before) < 0 || proc_read_stat(dir, &st) < 0 || proc_read_syscall(dir, &n->call) < 0 ||
		proc_read_sched(dir, &after) < 0 || memcmp(&before, &after, sizeof(before)) != 0 ||
		memcmp(&s, &n->call, sizeof(s)) != 0)
		return n;
	if (!before.exec_start || ahead_on(a, clocks, st.processor, &ahead) < 0)
		return n;
	n->since = (int64_t)before.exec_start + ahead;
	n->switches = before.voluntary;
	return n;
}

/* ---- after it ---- */

static int64_t full_time(const struct timed *t, const struct held *h)
{
	const uint64_t arg = arch_syscall_arg(&h->regs, t->arg), first = arch_syscall_arg(&h->regs, 0),
		       second = arch_syscall_arg(&h->regs, 1);
	struct timespec ts;

	if (t->is_ms)
		return (int32_t)arg < 0 ? -1 : (int32_t)arg * MS;
	if (t->nr == SYS_futex && (second & (uint64_t)FUTEX_CMD_MASK) != FUTEX_WAIT)
		return -1; /* until a time, not for a time */
	if (t->nr == SYS_clock_nanosleep && ((int32_t)first < 0 || first == CLOCK_PROCESS_CPUTIME_ID || second))
		return -1; /* likewise; and time that processes use is not what passes */
	if (!arg || remote_read(h->tid, (struct taddr){ arg }, &ts, sizeof(ts)) < 0)
		return -1;
	return timespec_ns(&ts);
}

void nap_end(struct nap *n, const struct held *h, int dir, uint64_t asked)
{
	const struct arch_regs *r = &h->regs;
	struct proc_sched now;
	int64_t since = n->since;

	n->since = 0;
	n->full = -1;
	for (unsigned int i = 0; i < 6; i++)
		if (arch_syscall_arg(r, i) != n->call.arg[i])
			n->nr = -1;
	if (arch_interrupted(r) == NOT_INTERRUPTED || arch_syscall_nr(r) != n->call.nr || arch_ip(r) != n->call.ip ||
		arch_sp(r) != n->call.sp)
		n->nr = -1;
	const struct timed *t = find_timed(n->nr);
	if (t)
		n->full = full_time(t, h);
	/* waking up for us and stopping is one turn */
	if (n->nr < 0 || !since || proc_read_sched(dir, &now) < 0 || now.voluntary != n->switches + 1)
		return;
	n->slept = (int64_t)asked - since;
	n->since = since;
}

int64_t nap_left(const struct nap *n)
{
	if (!n || !n->since || n->full < 0)
		return -1;
	return n->full > n->slept ? n->full - n->slept : 0;
}

uint64_t nap_tells(long nr, const struct arch_regs *regs)
{
	if (nr == SYS_nanosleep)
		return arch_syscall_arg(regs, 1);
	if (nr == SYS_clock_nanosleep)
		return arch_syscall_arg(regs, 3);
	return 0;
}

/* ---- and on ---- */

static void put_ms(const struct nap *n, struct arch_regs *regs, int64_t left)
{
	left = (left + MS - 1) / MS;
	arch_set_syscall_arg(regs, n->arg, (uint64_t)(left < INT32_MAX ? left : INT32_MAX));
}

void nap_make_again(struct nap *n, struct arch_regs *regs)
{
	const struct timed *t = n ? find_timed(n->nr) : NULL;
	int64_t left = nap_left(n);

	if (!t)
		return;
	n->in = t->is_ms ? NAP_IN_REGISTER : NAP_IN_MEMORY;
	n->arg = t->arg;
	if (left >= 0 && t->is_ms)
		put_ms(n, regs, left);
}

int nap_go_on(const struct nap *n, struct memos *m, pid_t tid, struct arch_regs *regs, int dir)
{
	if (!n || !n->since || n->full < 0)
		return 0;
	int64_t slept = (int64_t)now_ns() - n->since, left = n->full > slept ? n->full - slept : 0;
	if (n->in == NAP_IN_REGISTER) {
		put_ms(n, regs, left);
		return 1;
	}
	if (n->in == NAP_IN_MEMORY)
		return memo_refer(m, tid, regs, n->arg, left);
	if (arch_interrupted(regs) != RESTARTS_BY_BLOCK || nap_tells(n->nr, regs))
		return 0;
	return memo_leave(m, tid, regs, left, dir);
}
