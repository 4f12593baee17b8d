/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

static int ask[2], answer[2];

/* the time stamp counter is the last: libc reads it nowhere, and what the kernel maps for us does in clock_gettime() */
static void choose(int speculation, int kill, unsigned long persona)
{
	prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, speculation, 0, 0);
	prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_DISABLE, 0, 0);
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, kill, 0, 0);
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	personality(persona);
}

static void look_at_thread(void)
{
	int tsc = -1;

	SAY(personality(0xffffffff));
	SAY(prctl(PR_GET_TSC, &tsc));
	SAY(tsc);
	SAY(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
	SAY(prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0));
	SAY(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0));
	SAY(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0));
	SAY(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_L1D_FLUSH, 0, 0, 0));
}

/* a thread that has chosen otherwise, and looks when it is asked to */
static void *other(void *arg)
{
	char byte;

	choose(PR_SPEC_DISABLE, PR_MCE_KILL_LATE, UNAME26);
	prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
	for (;;) {
		if (write(answer[1], "x", 1) != 1 || read(ask[0], &byte, 1) != 1)
			return NULL;
		look_at_thread();
	}
}

static void make(void)
{
	pthread_t thread;
	char byte;

	if (pipe(ask) < 0 || pipe(answer) < 0 || pthread_create(&thread, NULL, other, NULL) != 0 ||
		read(answer[0], &byte, 1) != 1)
		_exit(3);
	choose(PR_SPEC_FORCE_DISABLE, PR_MCE_KILL_EARLY, ADDR_NO_RANDOMIZE | SHORT_INODE);
}

static void look(void)
{
	char byte;

	look_at_thread();
	if (write(ask[1], "x", 1) != 1 || read(answer[0], &byte, 1) != 1) /* the thread speaks between the two */
		SAY("the thread is gone");
}

WITNESS(make, look)
