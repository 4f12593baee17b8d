/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * membarrier - which barriers a process has registered for: membarrier(2)
 *
 * Set when all processes exist, as the registrations are inherited by fork(2).
 *
 * Seen: MEMBARRIER_CMD_GET_REGISTRATIONS (Linux 6.3) by the process itself; before that by trying the private barriers, which
 *	are refused to who has not registered.
 * Lost: nothing. Before Linux 6.3 nothing tells whether it has registered for global barriers: then it has afterwards.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GET_REGISTRATIONS (1 << 9) /* MEMBARRIER_CMD_GET_REGISTRATIONS */

struct membarrier {
	uint32_t registered; /* MEMBARRIER_CMD_REGISTER_* */
	const struct stub_call *asked;
	const struct stub_call *tried[3];
};

static const struct flag commands[] = {
	{ MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, "GLOBAL_EXPEDITED" },
	{ MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, "PRIVATE_EXPEDITED" },
	{ MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, "PRIVATE_EXPEDITED_SYNC_CORE" },
	{ MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, "PRIVATE_EXPEDITED_RSEQ" },
	{ 0, NULL },
};

static const struct field fields[] = {
	FIELD_B(1, struct membarrier, registered, "mm_struct.membarrier_state", commands),
	FIELDS_END,
};

static const int private[3] = {
	MEMBARRIER_CMD_PRIVATE_EXPEDITED,
	MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE,
	MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
};

static bool tells_registrations(void)
{
	return syscall(SYS_membarrier, GET_REGISTRATIONS, 0, 0) >= 0;
}

/* a barrier changes nothing */
static int membarrier_ask(struct op *op, const struct sight *s, void *rec)
{
	struct membarrier *m = rec;

	m->asked = BATCH_CALL(s->batch, "ask for registered barriers", SYS_membarrier, GET_REGISTRATIONS);
	if (!tree_can(s->tree, ABILITY_BARRIERS, tells_registrations))
		for (size_t i = 0; i < 3; i++)
			m->tried[i] = BATCH_CALL(s->batch, "try a barrier", SYS_membarrier, (uint64_t) private[i]);
	return 0;
}

static int membarrier_save(struct op *op, const struct sight *s, void *rec)
{
	struct membarrier *m = rec;
	int64_t got = m->asked->ret;

	if (got == -ENOSYS)
		return 0;
	if (got == -EINVAL && m->tried[0]) {
		got = MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
		for (size_t i = 0; i < 3; i++)
			if (m->tried[i]->ret == 0)
				got |= private[i] << 1; /* each is followed by the command that registers for it */
	}
	if (got < 0)
		return fail(op, (int)got, "ask for the barriers that it has registered for");
	for (const struct flag *f = commands; f->name; f++)
		if ((uint64_t)got & f->bit)
			m->registered |= (uint32_t)f->bit;
	if (m->registered != (uint64_t)got)
		return refuse(op, "membarrier", "this version has not considered them", NULL,
			"has registered for the barriers %#" PRIx64, (uint64_t)got);
	return 0;
}

static int membarrier_settle(struct op *op, void *rec, struct site *site)
{
	const struct membarrier *m = rec;

	for (const struct flag *f = commands; f->name; f++)
		if (m->registered & f->bit)
			BATCH_MUST(site->batch, "register for a barrier", SYS_membarrier, f->bit);
	return 0;
}

const struct kind kind_task_membarrier = {
	.name = "membarrier",
	.tag = 0x34,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_VM,
	.size = sizeof(struct membarrier),
	.fields = fields,
	.ask = membarrier_ask,
	.save = membarrier_save,
	.settle = membarrier_settle,
};
