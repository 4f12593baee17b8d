/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tid_address - where the kernel writes 0 and wakes a futex when a thread ends: set_tid_address(2), pthread_join(3)
 *
 * Seen: prctl(PR_GET_TID_ADDRESS) by the thread itself; task_struct.
 * Lost: nothing.
 * Needs: CONFIG_CHECKPOINT_RESTORE.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct tid_address {
	uint64_t address; /* 0: none */
	const uint64_t *asked;
	const struct stub_call *call;
};

static const struct field fields[] = {
	FIELD_U(1, struct tid_address, address, "task_struct.clear_child_tid"),
	FIELDS_END,
};

static const char try[] = "use a kernel with CONFIG_CHECKPOINT_RESTORE";

/* Our kernel is theirs: what it says of us holds for them. */
static bool tells_address(void)
{
	void *address;

	return prctl(PR_GET_TID_ADDRESS, &address) == 0 || errno != EINVAL;
}

static int tid_address_check(struct op *op, const struct sight *s)
{
	if (tree_can(s->tree, ABILITY_TID_ADDRESS, tells_address))
		return 0;
	return refuse(op, "tid-address", "this kernel does not tell where the end of a thread is to be reported", try,
		"has threads");
}

static int tid_address_ask(struct op *op, const struct sight *s, void *rec)
{
	struct tid_address *t = rec;
	struct taddr out = batch_out(s->batch, sizeof(*t->asked), &t->asked);

	t->call = BATCH_CALL(s->batch, "read the tid address", SYS_prctl, PR_GET_TID_ADDRESS, out.at);
	return 0;
}

static int tid_address_save(struct op *op, const struct sight *s, void *rec)
{
	struct tid_address *t = rec;

	if (t->call->ret == -EINVAL)
		return refuse(op, "tid-address",
			"this kernel does not tell where the end of a thread is to be reported", try, "has threads");
	if (t->call->ret < 0)
		return fail(op, (int)t->call->ret, "ask a thread where its end is to be reported");
	t->address = *t->asked;
	return 0;
}

static int tid_address_tell(struct op *op, const struct sight *s, void *rec, const unsigned char *told)
{
	struct tid_address *t = rec;

	memcpy(&t->address, told, sizeof(t->address));
	return 0;
}

static int tid_address_restore(struct op *op, void *rec, struct site *site)
{
	const struct tid_address *t = rec;

	BATCH_MUST(site->batch, "set the tid address", SYS_set_tid_address, t->address);
	return 0;
}

static const struct member told[] = {
	{ "clear_child_tid", 8, NULL },
	{ NULL, 0, NULL },
};

const struct kind kind_task_tid_address = {
	.name = "tid_address",
	.tag = 0x24,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct tid_address),
	.fields = fields,
	.check = tid_address_check,
	.told = told,
	.tell = tid_address_tell,
	.ask = tid_address_ask,
	.save = tid_address_save,
	.restore = tid_address_restore,
};
