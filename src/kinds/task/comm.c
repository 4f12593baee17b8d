/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * comm - the name of a thread: pthread_setname_np(3), PR_SET_NAME(2const)
 *
 * Seen: /proc/PID/task/TID/stat.
 * Lost: nothing.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define COMM_LEN 16 /* TASK_COMM_LEN */

struct comm {
	const char *comm;
};

static const struct field fields[] = {
	FIELD_S(1, struct comm, comm, "task_struct.comm"),
	FIELDS_END,
};

static int comm_save(struct op *op, const struct sight *s, void *rec)
{
	struct comm *c = rec;

	c->comm = arena_strdup(&op->arena, s->thread->stat.comm);
	return 0;
}

static int comm_restore(struct op *op, void *rec, struct site *site)
{
	const struct comm *c = rec;
	char name[COMM_LEN] = "";
	size_t len = c->comm ? strlen(c->comm) : 0;

	if (len >= sizeof(name))
		return fail(op, -EBADMSG, "name a thread by %zu bytes", len);
	if (len)
		memcpy(name, c->comm, len);
	BATCH_MUST(site->batch, "set the name of a thread", SYS_prctl, PR_SET_NAME,
		batch_in(site->batch, name, sizeof(name)).at);
	return 0;
}

const struct kind kind_task_comm = {
	.name = "comm",
	.tag = 0x27,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct comm),
	.fields = fields,
	.outlives = true,
	.save = comm_save,
	.restore = comm_restore,
};
