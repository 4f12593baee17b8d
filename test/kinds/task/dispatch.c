/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

#define GET_CONFIG 0x4211 /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, Linux 6.4 */

static volatile char selector[2];
static volatile int caught, number;

static void on_sigsys(int signo, siginfo_t *info, void *context)
{
	selector[0] = selector[1] = 0;
	number = info->si_syscall;
	caught++;
}

/* a call that is sent back to us */
static int blocked_call(volatile char *mine)
{
	caught = 0;
	number = -1;
	*mine = 1;
	long ret = syscall(1234567);
	*mine = 0;
	return caught ? number : ret < 0 ? -errno : -1;
}

static int ask[2], answer[2];

/* calls from the second page of memory, where there is none, are always let through */
static void *other(void *arg)
{
	char byte;

	prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 4096, 4096, &selector[1]);
	for (;;) {
		if (write(answer[1], "x", 1) != 1 || read(ask[0], &byte, 1) != 1)
			return NULL;
		SAY(blocked_call(&selector[1]));
	}
}

static bool is_shown(void)
{
	unsigned char config[64];
	pid_t pid = fork();

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	errno = 0;
	ptrace(GET_CONFIG, pid, (void *)sizeof(config), config); /* EIO: no such request; EINVAL: of another size */
	int err = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return err != EIO;
}

static void make(void)
{
	const struct sigaction act = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	pthread_t thread;
	char byte;

	if (!is_shown())
		witness_barred("Linux shows syscall user dispatch from 6.4 on");
	sigaction(SIGSYS, &act, NULL);
	if (pipe(ask) < 0 || pipe(answer) < 0 || pthread_create(&thread, NULL, other, NULL) != 0 ||
		read(answer[0], &byte, 1) != 1)
		_exit(3);
	prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector[0]);
}

static void look(void)
{
	char byte;

	SAY(blocked_call(&selector[0]));
	if (write(ask[1], "x", 1) != 1 || read(answer[0], &byte, 1) != 1)
		SAY("the thread is gone");
}

WITNESS(make, look)
