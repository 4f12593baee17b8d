/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/witness.h"

#define QUEUED 4

static int to_process, to_thread;

static void queue(int signo, int value, bool thread)
{
	siginfo_t info = { .si_signo = signo, .si_code = SI_QUEUE };

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value.sival_int = value;
	if (thread)
		syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), signo, &info);
	else
		syscall(SYS_rt_sigqueueinfo, getpid(), signo, &info);
}

static void make(void)
{
	sigset_t all;

	to_process = SIGRTMIN + 1;
	to_thread = SIGRTMIN + 2;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGTERM);
	syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1);
	for (int i = 0; i < QUEUED; i++) {
		queue(to_process, 100 + i, false);
		queue(to_thread, 200 + i, true);
	}
}

/* taken out, told, and put back */
static void look_at_queue(int signo, bool thread)
{
	const struct timespec now = { 0, 0 };
	int values[QUEUED + 1] = { 0 }, n = 0;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	for (siginfo_t info; n <= QUEUED && sigtimedwait(&set, &info, &now) == signo; n++) {
		values[n] = info.si_value.sival_int;
		SAY(info.si_code);
		SAY(info.si_pid == getpid());
		SAY(info.si_uid == getuid());
		SAY(values[n]);
	}
	SAY(n);
	for (int i = 0; i < n; i++)
		queue(signo, values[i], thread);
}

static void look_at_standard(int signo, bool thread)
{
	const struct timespec now = { 0, 0 };
	siginfo_t info = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	SAY(sigtimedwait(&set, &info, &now) == signo);
	SAY(info.si_code == (thread ? SI_TKILL : SI_USER));
	SAY(info.si_pid == getpid());
	SAY(sigtimedwait(&set, &info, &now)); /* there was one only */
	SAY(errno);
	if (thread)
		syscall(SYS_tgkill, getpid(), gettid(), signo);
	else
		kill(getpid(), signo);
}

static void look(void)
{
	sigset_t set;

	sigpending(&set);
	for (int signo = 1; signo <= SIGRTMAX; signo++)
		if (sigismember(&set, signo) == 1)
			SAY(signo);
	look_at_queue(to_process, false);
	look_at_queue(to_thread, true);
	look_at_standard(SIGTERM, false);
	look_at_standard(SIGUSR1, true);
}

WITNESS(make, look)
