/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

static pthread_mutex_t mutex;
static pthread_t holder;
static int go[2], held[2];

/* ends with the mutex held */
static void *hold(void *arg)
{
	char byte;

	pthread_mutex_lock(&mutex);
	if (write(held[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1)
		return &mutex;
	return NULL;
}

static int start(void)
{
	char byte;

	return pthread_create(&holder, NULL, hold, NULL) == 0 && read(held[0], &byte, 1) == 1;
}

static void make(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&mutex, &attr);
	if (pipe(go) == 0 && pipe(held) == 0)
		start();
}

static void look(void)
{
	void *head = NULL;
	size_t len = 0;

	SAY(syscall(SYS_get_robust_list, 0, &head, &len));
	SAY(head != NULL);
	SAY(len);
	SAY(pthread_mutex_trylock(&mutex));
	SAY(write(go[1], "x", 1));
	SAY(pthread_join(holder, NULL));
	SAY(pthread_mutex_lock(&mutex) == EOWNERDEAD);
	SAY(pthread_mutex_consistent(&mutex));
	SAY(pthread_mutex_unlock(&mutex));
	SAY(start());
}

WITNESS(make, look)
