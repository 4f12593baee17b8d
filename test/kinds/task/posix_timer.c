/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/witness.h"

#define LONG 5000 /* seconds: no test takes that long */

enum {
	PERIODIC,
	ONCE,
	BOOT,
	DAY,
	NONE,
	DISARMED,
	PROCESS,
	CHILD,
	OWN,
	OTHER,
	TO_THREAD,
	SPENT,
	DUE,
	RAN_OUT,
	AGAIN,
	TIMERS
};

static int ids[TIMERS], next_id;
static int signo;
static pid_t helper;
static sem_t go, done;
static bool moved;

static int timer_create_id(clockid_t clock, int notify, int sig, pid_t tid, long value)
{
	struct sigevent e = { .sigev_notify = notify, .sigev_signo = sig };
	int id = -1;

	e.sigev_value.sival_ptr = (void *)value;
	e._sigev_un._tid = tid;
	return syscall(SYS_timer_create, clock, &e, &id) < 0 ? -1 : id;
}

static void set(int which, int flags, long sec, long nsec, long interval)
{
	const struct itimerspec its = { { interval, interval ? 7 : 0 }, { sec, nsec } };

	syscall(SYS_timer_settime, ids[which], flags, &its, NULL);
}

static struct itimerspec get(int which)
{
	struct itimerspec its = { 0 };

	syscall(SYS_timer_gettime, ids[which], &its);
	return its;
}

/* what is left of the one on its clock becomes less while the helper runs */
static void *help(void *arg)
{
	ids[OWN] = timer_create_id(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, signo, 0, 88);
	set(OWN, 0, LONG, 0, 0);
	helper = gettid();
	for (;;) {
		sem_post(&done);
		while (sem_wait(&go) < 0)
			;
		struct itimerspec before = get(OWN), after = before;
		for (unsigned int i = 0; i < 1000 && before.it_value.tv_nsec == after.it_value.tv_nsec; i++)
			after = get(OWN);
		moved = before.it_value.tv_nsec != after.it_value.tv_nsec;
	}
	return arg;
}

/* a timer that has run out more than once before its signal is taken */
static void spend(void)
{
	struct timespec now;
	siginfo_t info;
	sigset_t set_of_one;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec < 400) /* it would run out once more before the end */
		return;
	long interval = now.tv_sec / 4;
	set(SPENT, TIMER_ABSTIME, now.tv_sec - 2 * interval - interval / 2, 0, interval);
	sigemptyset(&set_of_one);
	sigaddset(&set_of_one, signo + 1);
	sigwaitinfo(&set_of_one, &info);
}

/* two whose signals wait, and one that was set again when its did; if that signal ever comes is up to the kernel */
static void run_out(void)
{
	set(AGAIN, 0, 0, 1, 0);
	set(RAN_OUT, 0, 0, 1, 0);
	set(DUE, 0, 0, 1, LONG);
	witness_nap();
	set(AGAIN, 0, LONG, 0, 0);
}

static void idle(void)
{
}

static void make_for_others(void)
{
	pthread_t thread;
	clockid_t clock;

	clock_getcpuclockid(witness_child(idle), &clock);
	ids[CHILD] = timer_create_id(clock, SIGEV_SIGNAL, signo, 0, 7);
	set(CHILD, 0, LONG, 0, 10);
	sem_init(&go, 0, 0);
	sem_init(&done, 0, 0);
	pthread_create(&thread, NULL, help, NULL);
	while (sem_wait(&done) < 0)
		;
	pthread_getcpuclockid(thread, &clock);
	ids[OTHER] = timer_create_id(clock, SIGEV_SIGNAL, signo, 0, 99);
	set(OTHER, 0, LONG, 0, 0);
	ids[TO_THREAD] = timer_create_id(CLOCK_MONOTONIC, SIGEV_THREAD_ID, signo + 4, helper, -1);
	set(TO_THREAD, 0, 0, 1, LONG);
}

static void make(void)
{
	sigset_t all;

	signo = SIGRTMIN + 3;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < 20; i++)
		syscall(SYS_timer_delete, timer_create_id(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0));
	ids[PERIODIC] = timer_create_id(CLOCK_MONOTONIC, SIGEV_SIGNAL, signo, 0, 0x1122334455667788);
	set(PERIODIC, 0, LONG, 0, 300);
	syscall(SYS_timer_delete, timer_create_id(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0));
	ids[ONCE] = timer_create_id(CLOCK_TAI, SIGEV_SIGNAL, SIGALRM, 0, 2);
	set(ONCE, 0, LONG, 0, 0);
	ids[BOOT] = timer_create_id(CLOCK_BOOTTIME, SIGEV_SIGNAL, signo, 0, 3);
	set(BOOT, 0, LONG, 0, LONG);
	ids[DAY] = timer_create_id(CLOCK_REALTIME, SIGEV_THREAD, signo, 0, 3);
	set(DAY, 0, LONG, 0, 0);
	ids[NONE] = timer_create_id(CLOCK_MONOTONIC, SIGEV_NONE, -5, 0, 4);
	set(NONE, 0, LONG, 0, 1);
	ids[DISARMED] = timer_create_id(CLOCK_MONOTONIC, SIGEV_SIGNAL, signo, 0, 5);
	ids[PROCESS] = timer_create_id(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGPROF, 0, 6);
	set(PROCESS, 0, LONG, 0, 10);
	ids[SPENT] = timer_create_id(CLOCK_MONOTONIC, SIGEV_SIGNAL, signo + 1, 0, 8);
	ids[DUE] = timer_create_id(CLOCK_MONOTONIC, SIGEV_SIGNAL, signo + 2, 0, 9);
	ids[RAN_OUT] = timer_create_id(CLOCK_BOOTTIME, SIGEV_SIGNAL, signo + 3, 0, 10);
	ids[AGAIN] = timer_create_id(CLOCK_MONOTONIC, SIGEV_SIGNAL, signo + 5, 0, 11);
	make_for_others();
	spend();
	run_out();
	next_id = timer_create_id(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
	syscall(SYS_timer_delete, next_id);
}

static void look_at(int which)
{
	struct itimerspec its = get(which);
	/* the one that ran out in between counts from then on */
	long most = which == DUE || which == TO_THREAD ? LONG + 1 : which == SPENT ? its.it_interval.tv_sec : LONG;

	SAY(ids[which]);
	SAY(its.it_interval.tv_sec);
	SAY(its.it_interval.tv_nsec);
	SAY(its.it_value.tv_sec || its.it_value.tv_nsec);
	SAY(its.it_value.tv_sec <= most);
	if (which != DISARMED && which != RAN_OUT && which != SPENT)
		SAY(its.it_value.tv_sec > most - 600);
	SAY(syscall(SYS_timer_getoverrun, ids[which]));
}

static void look_at_signal(int sig)
{
	const struct timespec at_once = { 0, 0 };
	siginfo_t info = { 0 };
	sigset_t set_of_one;

	sigemptyset(&set_of_one);
	sigaddset(&set_of_one, sig);
	SAY(sigtimedwait(&set_of_one, &info, &at_once) == sig);
	SAY(info.si_code == SI_TIMER);
	SAY(info.si_timerid);
	SAY(info.si_overrun);
	SAY((long)info.si_value.sival_ptr);
	SAY(sigtimedwait(&set_of_one, &info, &at_once));
}

/* as the kernel tells it, but for the clocks of threads, which can be named in two ways */
static void look_at_kernel(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/timers", "re");

	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "ClockID: -", 10) != 0)
			SAY(line);
	}
	if (f)
		fclose(f);
}

static bool stands_still(int which)
{
	struct itimerspec before = get(which), after;

	for (int i = 0; i < 1000; i++, before = after) {
		witness_nap();
		after = get(which);
		if (before.it_value.tv_nsec == after.it_value.tv_nsec)
			return true;
	}
	return false;
}

static void look(void)
{
	sigset_t pending;

	look_at_kernel();
	for (int which = 0; which < TIMERS; which++)
		look_at(which);
	sem_post(&go);
	while (sem_wait(&done) < 0)
		;
	SAY(moved);
	SAY(stands_still(OWN)); /* the helper sleeps */
	look_at_signal(signo + 2);
	look_at_signal(signo + 3);
	look_at_signal(signo + 5);
	sigpending(&pending);
	for (int s = 1; s <= SIGRTMAX; s++)
		if (sigismember(&pending, s) == 1)
			SAY(s);
	SAY(get(DUE).it_value.tv_sec > 0); /* it goes on by itself */
	int id = timer_create_id(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
	SAY(id >= next_id); /* none that a timer has */
	syscall(SYS_timer_delete, id);
	run_out();
}

WITNESS(make, look)
