/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * what the kernel takes back when a process ends: System V semaphores changed with SEM_UNDO - semop(2). It is refused.
 *
 * A restart could not put the list back: its semaphores have changed when the program was ended, or belong to others now.
 * Sets of semaphores and queues of messages are the host's. They stay where they are, and the program finds them as they
 * are then.
 *
 * Seen:  whether a thread has such a list, by KCMP_SYSVSEM of kcmp(2): stasis has none. /proc/sysvipc, GETPID of semctl(2):
 *	  sets and queues that a process of the program was the last to use
 * Lost:  System V semaphores and message queues are not in the image (noted, where they can be told to be used)
 * Needs: kcmp(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include "base/io.h"
#include "kinds/openfile.h"

#define ASKED_MAX 65536 /* semaphores of the host that are looked at */

static const struct field fields[] = {
	FIELDS_END,
};

static int sysvsem_check(struct op *op, const struct sight *s)
{
	const struct thread *t = s->process->threads.at;

	for (size_t i = 0; i < s->process->threads.n; i++) {
		int r = proc_kcmp(t[i].tid, getpid(), KCMP_SYSVSEM, 0, 0);

		if (r > 0)
			return refuse(op, "sysvsem-undo",
				"nothing shows what that is, and a restart could not promise it",
				"start it without them",
				"has changed System V semaphores with SEM_UNDO: the kernel takes back what it did when "
				"it ends");
		if (r < 0 && r != -ESRCH && r != -EOPNOTSUPP) /* no CONFIG_SYSVIPC */
			return fail(op, r, "compare it by kcmp(2)");
	}
	return 0;
}

/* ---- what is used ---- */

/* is process @pid, as we count, one of the program? */
static bool is_ours(const struct tree *tree, long pid)
{
	return pid > 0 && pid <= INT32_MAX && tree_has_pid(tree, (pid_t)pid);
}

static bool uses_set(const struct tree *tree, long id, long n, long *asked)
{
	for (long i = 0; i < n && (*asked)++ < ASKED_MAX; i++)
		if (is_ours(tree, semctl((int)id, (int)i, GETPID)))
			return true;
	return false;
}

/* "key id perms nsems ..." of sem, "key id perms cbytes qnum lspid lrpid ..." of msg: below a line of titles */
static size_t count_used(struct op *op, const struct tree *tree, const char *path, bool sets)
{
	char *text, *next = NULL;
	long asked = 0;
	size_t n = 0;

	if (read_text(&op->arena, AT_FDCWD, path, 16 << 20, &text, NULL) < 0)
		return 0;
	strtok_r(text, "\n", &next);
	for (char *line; (line = strtok_r(NULL, "\n", &next));) {
		long number[7] = { 0 };
		size_t k = 0;

		for (char *end; k < 7; k++, line = end) {
			number[k] = strtol(line, &end, 10);
			if (end == line)
				break;
		}
		if (sets)
			n += k > 3 && uses_set(tree, number[1], number[3], &asked);
		else
			n += k > 6 && (is_ours(tree, number[5]) || is_ours(tree, number[6]));
	}
	return n;
}

static int sysvsem_save(struct op *op, const struct sight *s, void *rec)
{
	const struct process *first = *(struct process **)s->tree->processes.at;

	if (s->process != first)
		return 0;
	size_t sets = count_used(op, s->tree, "/proc/sysvipc/sem", true);
	size_t queues = count_used(op, s->tree, "/proc/sysvipc/msg", false);
	if (sets || queues)
		note(op,
			"the program uses System V semaphores (%zu sets) or message queues (%zu): they are not in the "
			"image; "
			"after a restart it finds them as they are then",
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
