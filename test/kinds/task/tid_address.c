/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/witness.h"

static pthread_t waiter;
static int go[2], address_is_same;
static void *address;

static void *wait_for_byte(void *arg)
{
	char byte;

	prctl(PR_GET_TID_ADDRESS, &address);
	while (read(go[0], &byte, 1) == 1) {
		void *now = NULL;

		prctl(PR_GET_TID_ADDRESS, &now);
		address_is_same = now == address;
		if (byte == 'q')
			break;
	}
	return &address;
}

static void make(void)
{
	if (pipe(go) == 0)
		pthread_create(&waiter, NULL, wait_for_byte, NULL);
}

/* a thread is joined by what the kernel writes to its address; a new one waits for the next look */
static void look(void)
{
	void *mine = NULL, *ret = NULL;

	SAY(prctl(PR_GET_TID_ADDRESS, &mine));
	SAY(mine != NULL);
	SAY(write(go[1], "q", 1));
	SAY(pthread_join(waiter, &ret));
	SAY(ret == &address);
	SAY(address_is_same);
	SAY(pthread_create(&waiter, NULL, wait_for_byte, NULL));
}

WITNESS(make, look)
