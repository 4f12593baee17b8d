/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/witness.h"

static pthread_t thread;

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static void make(void)
{
	prctl(PR_SET_NAME, "a) \n\xff\\name");
	pthread_create(&thread, NULL, wait_for_ever, NULL);
	pthread_setname_np(thread, "fifteen bytes!!");
}

static void look(void)
{
	char name[16] = "";

	SAY(prctl(PR_GET_NAME, name));
	SAY(strcmp(name, "a) \n\xff\\name"));
	SAY(pthread_getname_np(thread, name, sizeof(name)));
	SAY(strcmp(name, "fifteen bytes!!"));
}

WITNESS(make, look)
