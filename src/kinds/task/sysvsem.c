/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * what the kernel takes back when a process ends: System V semaphores changed with SEM_UNDO - semop(2). It is refused.
 *
 * A restart could not put the list back: its semaphores have changed when the program was ended, or belong to others now.
 * Nothing shows what is in the list, and pthread_create(3) makes one anyway (CLONE_SYSVSEM). So a process without threads is
 * refused that has a list and was the last to change a semaphore, as who holds one mostly was; with threads it is noted.
 *
 * Sets of semaphores and queues of messages are the host's. They stay where they are, and the program finds them as they
 * are then.
 *
 * Seen:  whether it has such a list, by KCMP_SYSVSEM of kcmp(2), beside a thread of stasis that has none. Who was the last to use a set or a queue:
 *	  /proc/sysvipc, GETPID of semctl(2)
 * Lost:  System V semaphores and message queues are not in the image (noted, where the program was the last to use them);
 *	  SEM_UNDO of a semaphore that another process has changed since
 * Needs: kcmp(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include "base/io.h"
#include "kinds/openfile.h"

#define ASKED_MAX 65536 /* semaphores of the host that are looked at */
#define NUMBERS	  7 /* of a line */

static const struct field fields[] = {
	FIELDS_END,
};

/* struct sem_user - whose use is looked for: a process, or any of the program */
struct sem_user {
	const struct tree *tree;
	pid_t pid; /* 0: any */
	long asked;
};

static bool is_by(const struct sem_user *u, long pid)
{
	if (pid <= 0 || pid > INT32_MAX)
		return false;
	return u->pid ? u->pid == pid : tree_has_pid(u->tree, (pid_t)pid);
}

/* "key semid perms nsems ..." */
static bool uses_set(struct sem_user *u, const long *number)
{
	for (int i = 0; i < number[3] && u->asked++ < ASKED_MAX; i++)
		if (is_by(u, semctl((int)number[1], i, GETPID)))
			return true;
	return false;
}

/* "key msqid perms cbytes qnum lspid lrpid ..." */
static bool uses_queue(struct sem_user *u, const long *number)
{
	return is_by(u, number[5]) || is_by(u, number[6]);
}

/* how many lines of @path, below one of titles, are used */
static size_t count_used(
	struct op *op, struct sem_user u, const char *path, bool (*uses)(struct sem_user *, const long *))
{
	char *text, *next = NULL;
	size_t n = 0;

	if (read_text(&op->arena, AT_FDCWD, path, 16 << 20, &text, NULL) < 0)
		return 0;
	strtok_r(text, "\n", &next);
	for (char *line; (line = strtok_r(NULL, "\n", &next));) {
		long number[NUMBERS] = { 0 };

		for (size_t k = 0; k < NUMBERS; k++)
			number[k] = strtol(line, &line, 10);
		n += uses(&u, number);
	}
	return n;
}

static bool has_list(const struct process *p)
{
	const struct thread *t = p->threads.at;

	unshare(CLONE_SYSVSEM); /* whoever makes a thread has one, and so has that */
	for (size_t i = 0; i < p->threads.n; i++)
		if (proc_kcmp(t[i].tid, gettid(), KCMP_SYSVSEM, 0, 0) > 0)
			return true;
	return false;
}

static int sysvsem_check(struct op *op, const struct sight *s)
{
	const struct sem_user user = { .pid = s->process->pid };

	if (s->process->threads.n > 1 || !has_list(s->process) || !count_used(op, user, "/proc/sysvipc/sem", uses_set))
		return 0;
	return refuse(op, "sysvsem-undo", "whether it did so with SEM_UNDO, which ends with it, cannot be seen",
		"start it without them",
		"was the last to change System V semaphores, which the kernel may change back when it ends");
}

static int sysvsem_save(struct op *op, const struct sight *s, void *rec)
{
	const struct sem_user user = { .tree = s->tree };

	(void)rec;
	if (s->process != *(struct process **)s->tree->processes.at)
		return 0;
	size_t sets = count_used(op, user, "/proc/sysvipc/sem", uses_set);
	size_t queues = count_used(op, user, "/proc/sysvipc/msg", uses_queue);
	if (sets || queues)
		note(op,
			"it uses System V semaphores (%zu sets) or message queues (%zu): they are not in the image; "
			"after a "
			"restart it finds them as they are then, and holds none by SEM_UNDO",
			sets, queues);
	return 0;
}

const struct kind kind_task_sysvsem = {
	.name = "sysvsem",
	.tag = 0x3b,
	.scope = SCOPE_PROCESS,
	.fields = fields,
	.check = sysvsem_check,
	.save = sysvsem_save,
};
