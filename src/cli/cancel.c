/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ctrl-C and its kin ask a checkpoint or restart to roll back. The flag is the only state of the program that is not
 * passed down: a signal handler can be given nothing.
 */
#include <signal.h>
#include <stddef.h>

#include "base/cleanup.h"

#include "cli/cli.h"

static volatile sig_atomic_t came; /* the signal */
static volatile sig_atomic_t from_kernel; /* that is, from a terminal */

static void on_signal(int signo, siginfo_t *info, void *context)
{
	if (!came)
		from_kernel = info->si_code == SI_KERNEL;
	came = signo;
}

const volatile sig_atomic_t *cancel_begin(void)
{
	static const int signals[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP };
	sigset_t stop;

	/* Ctrl-Z waits: a program that we hold would stand still for as long as we do */
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_BLOCK, &stop, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction old, new = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

		sigemptyset(&new.sa_mask);
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &new, NULL);
	}
	return &came;
}

int cancel_signal(bool *ret_kernel)
{
	if (ret_kernel)
		*ret_kernel = from_kernel;
	return came;
}
