/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/witness.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

static char stack[64 << 10];
static volatile int on_stack;

static void on_signal(int signo)
{
	char here;

	on_stack = (uintptr_t)&here >= (uintptr_t)stack && (uintptr_t)&here < (uintptr_t)stack + sizeof(stack);
}

static void make(void)
{
	const stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack), .ss_flags = (int)SS_AUTODISARM };

	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = on_signal, .sa_flags = SA_ONSTACK }, NULL);
}

static void look(void)
{
	stack_t ss;

	SAY(sigaltstack(NULL, &ss));
	SAY(ss.ss_sp == stack);
	SAY(ss.ss_size);
	SAY(ss.ss_flags);
	on_stack = -1;
	raise(SIGUSR1);
	SAY(on_stack);
}

WITNESS(make, look)
