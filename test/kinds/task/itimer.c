/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/witness.h"

/* armed for so long that no test takes it */
#define VIRTUAL_SEC 3500
#define PROF_SEC    4000
#define REAL_SEC    3000

static int question[2][2], answer[2][2];

static void set(__itimer_which_t which, long value_sec, long value_usec, long interval_sec, long interval_usec)
{
	const struct itimerval v = { { interval_sec, interval_usec }, { value_sec, value_usec } };

	setitimer(which, &v, NULL);
}

/* what has run out is told as one microsecond until the interrupt has come, which it may take a while to do */
static void wait_until_it_ran_out(void)
{
	struct itimerval t;

	do
		getitimer(ITIMER_REAL, &t);
	while (t.it_value.tv_sec || t.it_value.tv_usec);
}

/* children with timers of their own: of the first it is armed, of the second it ran out, and its signal was ignored */
static void answer_questions(int which)
{
	struct itimerval t;
	char byte;

	if (pipe(question[which]) < 0 || pipe(answer[which]) < 0)
		_exit(3);
	if (fork())
		return;
	for (int i = 0; i <= which; i++)
		close(question[i][1]);
	signal(SIGALRM, SIG_IGN);
	if (which) {
		set(ITIMER_REAL, 0, 1, REAL_SEC, 0);
		wait_until_it_ran_out();
	} else {
		set(ITIMER_REAL, REAL_SEC, 0, 5000, 250000);
	}
	while (read(question[which][0], &byte, 1) == 1) {
		getitimer(ITIMER_REAL, &t);
		if (write(answer[which][1], &t, sizeof(t)) != sizeof(t))
			break;
	}
	_exit(0);
}

static void ask(int which, struct itimerval *t)
{
	SAY(write(question[which][1], "", 1));
	SAY(read(answer[which][0], t, sizeof(*t)) == sizeof(*t));
}

static void run_out(void)
{
	sigset_t pending;

	set(ITIMER_REAL, 0, 1, 5000, 0);
	do
		sigpending(&pending);
	while (!sigismember(&pending, SIGALRM));
}

static void make(void)
{
	sigset_t alarm;

	answer_questions(0);
	answer_questions(1);
	witness_nap();
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, NULL);
	set(ITIMER_VIRTUAL, VIRTUAL_SEC, 0, 1, 0);
	set(ITIMER_PROF, PROF_SEC, 0, 0, 0);
	run_out();
}

/* the kernel adds a tick to a CPU timer when it is set, but it must not grow by that */
static bool is_within(const struct timeval *left, long limit)
{
	struct timespec tick;

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	return left->tv_sec > limit - 600 &&
	       (left->tv_sec < limit || (left->tv_sec == limit && left->tv_usec <= tick.tv_nsec / 1000));
}

static void look_at(const struct itimerval *t, long limit)
{
	SAY(t->it_interval.tv_sec);
	SAY(t->it_interval.tv_usec);
	SAY(is_within(&t->it_value, limit));
	SAY(t->it_value.tv_sec || t->it_value.tv_usec);
}

static void look_at_signal(void)
{
	const struct timespec at_once = { 0, 0 };
	siginfo_t info = { 0 };
	struct itimerval t;
	sigset_t alarm;

	getitimer(ITIMER_REAL, &t);
	look_at(&t, 5000);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	SAY(sigtimedwait(&alarm, &info, &at_once) == SIGALRM);
	SAY(info.si_code);
	SAY(info.si_pid);
	SAY(sigtimedwait(&alarm, &info, &at_once)); /* there was one */
	getitimer(ITIMER_REAL, &t);
	look_at(&t, 5000);
	run_out();
}

static void look(void)
{
	struct itimerval t = { 0 };

	ask(0, &t);
	look_at(&t, REAL_SEC);
	ask(1, &t);
	look_at(&t, 0);
	getitimer(ITIMER_VIRTUAL, &t);
	look_at(&t, VIRTUAL_SEC);
	getitimer(ITIMER_PROF, &t);
	look_at(&t, PROF_SEC);
	look_at_signal();
}

WITNESS(make, look)
