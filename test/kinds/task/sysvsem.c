/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that uses a System V semaphore and a queue, without SEM_UNDO: they are on the host, and stay there.
 */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

#include "lib/witness.h"

static int set, queue;

static void remove_both(void)
{
	semctl(set, 0, IPC_RMID);
	msgctl(queue, IPC_RMID, NULL);
}

static void make(void)
{
	const struct {
		long type;
		char text[8];
	} message = { 1, "waiting" };
	struct sembuf up = { .sem_op = 3 };

	set = semget(IPC_PRIVATE, 2, 0600);
	queue = msgget(IPC_PRIVATE, 0600);
	if (set < 0 || queue < 0 || semop(set, &up, 1) < 0 || msgsnd(queue, &message, sizeof(message.text), 0) < 0)
		exit(1);
	atexit(remove_both);
}

static void look(void)
{
	struct msqid_ds ds = { 0 };

	SAY(semctl(set, 0, GETVAL));
	SAY(msgctl(queue, IPC_STAT, &ds));
	SAY((long)ds.msg_qnum);
}

WITNESS(make, look)
