/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that sleep for a time, and that end with EINTR when their thread is stopped, although there is no signal.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/syscall.h>

#include "lib/rounds.h"

static int epoll, never[2], semaphores;
static sigset_t none, all;
static const struct timespec span = { SLEEP / 1000, SLEEP % 1000 * MS };

static long wait_plain(void)
{
	struct epoll_event e;

	return epoll_wait(epoll, &e, 1, SLEEP);
}

static long wait_masked(void)
{
	struct epoll_event e;

	return epoll_pwait(epoll, &e, 1, SLEEP, &none);
}

static long wait_timespec(void)
{
	struct epoll_event e;

	return syscall(SYS_epoll_pwait2, epoll, &e, 1, &span, &none, 8);
}

static long wait_signal(void)
{
	return sigtimedwait(&all, NULL, &span);
}

static long wait_semaphore(void)
{
	struct sembuf take = { 0, -1, 0 };

	return semtimedop(semaphores, &take, 1, &span);
}

static const struct sleeper sleepers[] = {
	{ "epoll_wait", wait_plain, 0, 0 },
	{ "epoll_pwait", wait_masked, 0, 0 },
	{ "epoll_pwait2", wait_timespec, 0, 0 },
	{ "sigtimedwait", wait_signal, -1, EAGAIN },
	{ "semtimedop", wait_semaphore, -1, EAGAIN },
};

static void make(void)
{
	struct epoll_event e = { .events = EPOLLIN };

	sigaddset(&all, SIGUSR1);
	sigprocmask(SIG_BLOCK, &all, NULL);
	epoll = epoll_create1(0);
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	if (pipe(never) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, never[0], &e) < 0 || semaphores < 0)
		exit(1);
	rounds_begin(sleepers, sizeof(sleepers) / sizeof(sleepers[0]));
}

int main(int argc, char **argv)
{
	int r = witness_main(argc, argv, make, rounds_look);

	semctl(semaphores, 0, IPC_RMID);
	return r;
}
