/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that sleep under a signal mask that only the call has: sigsuspend, ppoll, pselect. Each is woken by a signal that
 * is blocked but in the call; the handler must run, before the call returns EINTR, and the mask be what it was before.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static int never[2];

static long wait_suspend(const sigset_t *mask)
{
	return sigsuspend(mask);
}

static long wait_ppoll(const sigset_t *mask)
{
	struct pollfd p = { .fd = never[0], .events = POLLIN };

	return ppoll(&p, 1, &(struct timespec){ 1000, 0 }, mask);
}

static long wait_ppoll_for_ever(const sigset_t *mask)
{
	struct pollfd p = { .fd = never[0], .events = POLLIN };

	return ppoll(&p, 1, NULL, mask);
}

static long wait_pselect(const sigset_t *mask)
{
	return pselect(0, NULL, NULL, NULL, &(struct timespec){ 1000, 0 }, mask);
}

static const struct waiter {
	const char *name;
	long (*call)(const sigset_t *mask);
} waiters[] = {
	{ "sigsuspend", wait_suspend },
	{ "ppoll", wait_ppoll },
	{ "ppoll for ever", wait_ppoll_for_ever },
	{ "pselect", wait_pselect },
};
enum { WAITERS = sizeof(waiters) / sizeof(waiters[0]) };

static __thread int self = -1;
static atomic_int handled[WAITERS], returned[WAITERS], early[WAITERS], late[WAITERS], wrong[WAITERS],
	mask_differs[WAITERS];
static atomic_int tids[WAITERS];
static pthread_t threads[WAITERS];

/* USR1 is let in by the call alone; USR2 is not blocked but in the call; HUP is blocked in both */
static void on_signal(int signo)
{
	if (self < 0)
		return;
	if (signo == SIGUSR1)
		handled[self]++;
	else
		late[self]++;
}

static void *wait_for_signals(void *arg)
{
	int me = self = (int)(intptr_t)arg;
	sigset_t usual, in_call, now;

	sigemptyset(&usual);
	sigaddset(&usual, SIGUSR1);
	sigaddset(&usual, SIGHUP);
	pthread_sigmask(SIG_SETMASK, &usual, NULL);
	sigemptyset(&in_call);
	sigaddset(&in_call, SIGUSR2);
	sigaddset(&in_call, SIGHUP);
	tids[me] = (int)syscall(SYS_gettid);
	for (;;) {
		int before = handled[me];

		errno = 0;
		long r = waiters[me].call(&in_call);
		wrong[me] += r != -1 || errno != EINTR;
		early[me] += handled[me] == before;
		pthread_sigmask(SIG_SETMASK, NULL, &now);
		for (int s = 1; s < 32; s++)
			mask_differs[me] += sigismember(&now, s) != sigismember(&usual, s);
		returned[me]++;
	}
	return arg;
}

/* as the kernel shows it: that of the call, while it sleeps */
static unsigned long blocked(int i)
{
	char path[64], line[256];
	unsigned long mask = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tids[i]);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "SigBlk: %lx", &mask);
	if (f)
		fclose(f);
	return mask;
}

static int settles(int i)
{
	const unsigned long in_call = 1ul << (SIGUSR2 - 1) | 1ul << (SIGHUP - 1);

	for (int turn = 0; turn < 2000; turn++) {
		if (tids[i] && blocked(i) == in_call)
			return 1;
		witness_nap();
	}
	return 0;
}

static void make(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	if (pipe(never) < 0)
		exit(1);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	for (int i = 0; i < WAITERS; i++)
		pthread_create(&threads[i], NULL, wait_for_signals, (void *)(intptr_t)i);
	for (int i = 0; i < WAITERS; i++)
		settles(i);
}

static void look(void)
{
	for (int i = 0; i < WAITERS; i++) {
		int before = returned[i], was = handled[i];

		SAY(waiters[i].name);
		SAY(settles(i));
		pthread_kill(threads[i], SIGUSR2); /* waits until the call is over */
		for (int turn = 0; turn < 10; turn++)
			witness_nap();
		SAY(returned[i] - before);
		SAY(late[i] == handled[i]);
		pthread_kill(threads[i], SIGUSR1);
		for (int turn = 0; turn < 2000 && (returned[i] == before || late[i] == was); turn++)
			witness_nap();
		SAY(returned[i] - before);
		SAY(handled[i] - was);
		SAY(early[i]);
		SAY(wrong[i]);
		SAY(mask_differs[i]);
		SAY(settles(i));
	}
}

WITNESS(make, look)
