/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stddef.h>

#include "lib/witness.h"

static void on_signal(int signo)
{
}

static void on_info(int signo, siginfo_t *info, void *context)
{
}

static void make(void)
{
	struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };

	sigaddset(&a.sa_mask, SIGUSR2);
	sigaddset(&a.sa_mask, SIGRTMIN + 3);
	sigaction(SIGUSR1, &a, NULL);
	sigaction(SIGTRAP, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	sigaction(SIGHUP, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	sigaction(SIGRTMAX,
		&(struct sigaction){ .sa_sigaction = on_info, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESETHAND },
		NULL);
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP }, NULL);
}

static void look(void)
{
	for (int signo = 1; signo < SIGRTMAX + 1; signo++) {
		struct sigaction a;

		if (sigaction(signo, NULL, &a) < 0)
			continue;
		SAY(signo);
		SAY(a.sa_handler == SIG_DFL);
		SAY(a.sa_handler == SIG_IGN);
		SAY(a.sa_handler == on_signal);
		SAY(a.sa_sigaction == on_info);
		SAY(a.sa_flags);
		SAY(sigismember(&a.sa_mask, SIGUSR2));
		SAY(sigismember(&a.sa_mask, SIGRTMIN + 3));
		SAY(sigismember(&a.sa_mask, SIGTERM));
	}
}

WITNESS(make, look)
