/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * robust_list - the futexes that the kernel releases when a thread ends: set_robust_list(2)
 *
 * Seen: get_robust_list(); task_struct.
 * Lost: nothing. The list of 32-bit tasks is not looked at: such tasks are refused.
 * Needs: CONFIG_FUTEX.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEAD_LEN 24 /* struct robust_list_head */

struct robust_list {
	uint64_t head; /* 0: none */
	uint64_t len; /* of the head, as the kernel knows it */
};

static const struct field fields[] = {
	FIELD_U(1, struct robust_list, head, "task_struct.robust_list"),
	FIELD_U(2, struct robust_list, len, ""),
	FIELDS_END,
};

static int robust_list_save(struct op *op, const struct sight *s, void *rec)
{
	struct robust_list *l = rec;

	if (syscall(SYS_get_robust_list, s->thread->tid, &l->head, &l->len) < 0)
		return fail(op, -errno, "read the robust list of a thread");
	if (l->head && l->len != HEAD_LEN)
		return refuse(op, "robust-list", "this version has not considered it", NULL,
			"has a robust list with a head of %" PRIu64 " bytes", l->len);
	return 0;
}

/* futex_get_robust_list_common() in kernel/futex/syscalls.c */
static int robust_list_tell(struct op *op, const struct sight *s, void *rec, const unsigned char *told)
{
	struct robust_list *l = rec;

	memcpy(&l->head, told, sizeof(l->head));
	l->len = HEAD_LEN;
	return 0;
}

static int robust_list_restore(struct op *op, void *rec, struct site *site)
{
	const struct robust_list *l = rec;

	if (l->head && l->len != HEAD_LEN)
		return fail(op, -EBADMSG, "set a robust list with a head of %lu bytes", (unsigned long)l->len);
	if (l->head) /* a new task has none */
		BATCH_MUST(site->batch, "set the robust list", SYS_set_robust_list, l->head, l->len);
	return 0;
}

static const struct member told[] = {
	{ .path = "robust_list", .size = 8, .spare = true },
	{ NULL, 0, NULL },
};

const struct kind kind_task_robust_list = {
	.name = "robust_list",
	.tag = 0x25,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct robust_list),
	.fields = fields,
	.told = told,
	.tell = robust_list_tell,
	.save = robust_list_save,
	.restore = robust_list_restore,
};
