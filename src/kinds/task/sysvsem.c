/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * what the kernel takes back when a process ends: System V semaphores changed with SEM_UNDO - semop(2). It is refused.
 *
 * A restart could not put the list back: its semaphores have changed when the program was ended, or belong to others now.
 * Nothing shows what is in the list, and pthread_create(3) makes one anyway (CLONE_SYSVSEM). So a process without threads is
 * refused that has a list and was the last to change a semaphore, as who holds one mostly was; with threads it is noted.
 *
 * Sets of semaphores and queues of messages are the host's. They stay where they are, and the program finds them as they
 * are then. In an ipc namespace that stasis has made for the program (mem/sysvshm.c) they would end with it: that is refused, and so
 * is shared memory there that no process has attached.
 *
 * Seen:  whether it has such a list, by KCMP_SYSVSEM of kcmp(2), beside a thread of stasis that has none. Who was the last to use a set or a queue:
 *	  /proc/sysvipc, GETPID of semctl(2). Of another ipc namespace how many there are: SEM_INFO, MSG_INFO, SHM_INFO, asked by the program
 * Lost:  System V semaphores and message queues are not in the image (noted, where the program was the last to use them, or is in
 *	  an ipc namespace of its own, and again when a restart gives it one); SEM_UNDO of a semaphore that another process has changed since
 * Needs: kcmp(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/openfile.h"
#include "kinds/sysvshm.h"
#include "kinds/vma.h"

#define ASKED_MAX 65536 /* semaphores of the host that are looked at */
#define NUMBERS	  7 /* of a line */

/* struct sysvsem - what the first process has to tell of all */
struct sysvsem {
	uint32_t sets, queues; /* of the host, which the program was the last to use */
	uint32_t segments; /* of the host, which it has made, and nobody has attached */
	/* saving: of another ipc namespace; NULL: it was not asked */
	const struct seminfo *sem;
	const struct msginfo *msg;
	const struct shm_info *shm;
};

static const struct field fields[] = {
	FIELD_U(1, struct sysvsem, sets, ""),
	FIELD_U(2, struct sysvsem, queues, ""),
	FIELD_U(3, struct sysvsem, segments, ""),
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

/* "key shmid perms size cpid lpid nattch ..." */
static bool made_segment(struct sem_user *u, const long *number)
{
	return !number[6] && is_by(u, number[4]);
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

/* ---- another ipc namespace ---- */

static bool is_first(const struct sight *s)
{
	return s->process == *(struct process **)s->tree->processes.at;
}

static int sysvsem_ask(struct op *op, const struct sight *s, void *rec)
{
	struct sysvsem *m = rec;
	struct batch *b = s->batch;

	if (!is_first(s) || !sysv_is_elsewhere(s->process->dir, 0))
		return 0;
	int r = batch_run(b);
	if (r < 0)
		return fail(op, r, "%s", batch_what(b));
	BATCH_CALL(b, "count its semaphores", SYS_semctl, 0, 0, SEM_INFO,
		batch_out(b, sizeof(struct seminfo), &m->sem).at);
	BATCH_CALL(b, "count its message queues", SYS_msgctl, 0, MSG_INFO,
		batch_out(b, sizeof(struct msginfo), &m->msg).at);
	BATCH_CALL(b, "count its shared memory", SYS_shmctl, 0, SHM_INFO,
		batch_out(b, sizeof(struct shm_info), &m->shm).at);
	if (batch_allowed(b))
		return 0;
	batch_empty(b);
	*m = (struct sysvsem){ 0 };
	return 0;
}

/* how many segments the tree has attached */
static size_t count_attached(struct op *op, const struct tree *tree)
{
	struct process *const *p = tree->processes.at;
	struct map seen = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t k = 0; k < p[i]->vmas.n; k++) {
			if (!vma_is_sysv(&v[k]) || map_get(&seen, v[k].ino + 1))
				continue;
			map_set(&op->arena, &seen, v[k].ino + 1, (void *)v);
			n++;
		}
	}
	return n;
}

static int save_elsewhere(struct op *op, const struct sight *s, const struct sysvsem *m)
{
	bool ours = s->tree->init && !sysv_is_elsewhere(s->process->dir, s->tree->init);

	if (!m->sem) {
		note(op, "whether there are System V semaphores in its ipc namespace cannot be asked: a seccomp filter "
			 "forbids it");
		return 0;
	}
	size_t attached = count_attached(op, s->tree), shm = m->shm->used_ids < 0 ? 0 : (size_t)m->shm->used_ids;
	shm = shm > attached ? shm - attached : 0;
	if (!m->sem->semusz && !m->msg->msgpool && !shm)
		return 0;
	if (ours)
		return refuse(op, "sysvipc-namespace", "they end with the namespace, as the program does",
			"remove those that are not needed (nsenter -i, ipcs, ipcrm)",
			"has an ipc namespace of its own with %d sets of System V semaphores, %d message queues and "
			"%zu "
			"pieces of shared memory that no process has attached",
			m->sem->semusz, m->msg->msgpool, shm);
	note(op,
		"its ipc namespace has %d sets of System V semaphores, %d message queues and %zu pieces of shared "
		"memory "
		"that it has not attached: they are not in the image",
		m->sem->semusz, m->msg->msgpool, shm);
	return 0;
}

static int sysvsem_save(struct op *op, const struct sight *s, void *rec)
{
	const struct sem_user user = { .tree = s->tree };
	struct sysvsem *m = rec;

	if (!is_first(s))
		return 0;
	if (sysv_is_elsewhere(s->process->dir, 0))
		return save_elsewhere(op, s, m);
	size_t sets = count_used(op, user, "/proc/sysvipc/sem", uses_set);
	size_t queues = count_used(op, user, "/proc/sysvipc/msg", uses_queue);
	m->sets = (uint32_t)sets;
	m->queues = (uint32_t)queues;
	m->segments = (uint32_t)count_used(op, user, "/proc/sysvipc/shm", made_segment);
	if (m->segments)
		note(op,
			"System V shared memory (%u pieces) that it has made and no process has attached is not in the "
			"image: "
			"after a restart it finds it as it is then",
			m->segments);
	if (sets || queues)
		note(op,
			"it uses System V semaphores (%zu sets) or message queues (%zu): they are not in the image; "
			"after a "
			"restart it finds them as they are then, and holds none by SEM_UNDO",
			sets, queues);
	return 0;
}

static int sysvsem_settle(struct op *op, void *rec, struct site *site)
{
	const struct sysvsem *m = rec;
	char path[32];

	if (!m->sets && !m->queues && !m->segments)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d", site->tid);
	_cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0 && sysv_is_elsewhere(dir, 0))
		note(op,
			"System V semaphores (%u sets), message queues (%u) and shared memory (%u pieces) that it has "
			"used "
			"are the host's, and not to be found in the ipc namespace that it has now for what it had "
			"attached",
			m->sets, m->queues, m->segments);
	return 0;
}

const struct kind kind_task_sysvsem = {
	.name = "sysvsem",
	.tag = 0x3b,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct sysvsem),
	.fields = fields,
	.check = sysvsem_check,
	.ask = sysvsem_ask,
	.save = sysvsem_save,
	.settle = sysvsem_settle,
};
