/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registration of a restartable sequences area, rseq(2). A thread stopped within a sequence has been put to its abort
 * handler before its registers were saved.
 *
 * Seen:  ptrace(2), PTRACE_GET_RSEQ_CONFIGURATION
 * Lost:  nothing
 * Needs: rseq
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/syscall.h>

#include "kinds/kind.h"

#define RSEQ_ALIGN 32 /* and its least size */

struct rseq_area {
	uint64_t pointer;
	uint32_t size;
	uint32_t signature;
	uint32_t flags;
};

static const struct field rseq_fields[] = {
	FIELD_U(1, struct rseq_area, pointer, "task_struct.rseq"),
	FIELD_U(2, struct rseq_area, size, "task_struct.rseq_len"),
	FIELD_U(3, struct rseq_area, signature, "task_struct.rseq_sig"),
	FIELD_U(4, struct rseq_area, flags, "task_struct.rseq"),
	FIELDS_END,
};

static int rseq_save(struct op *op, const struct sight *s, void *rec)
{
	struct rseq_area *area = rec;
	struct rseq_registration reg;
	int r = hold_rseq(&s->thread->held, &reg);

	if (r < 0 && r != -EIO && r != -EINVAL) /* a kernel without rseq knows no such request */
		return fail(op, r, "read its rseq registration");
	if (r == 0 && reg.flags)
		return refuse(op, "rseq-flags", "this version has not considered them", NULL,
			"has an rseq area with the flags %#" PRIx32, reg.flags);
	if (r == 0)
		*area = (struct rseq_area){ reg.pointer, reg.size, reg.signature, reg.flags };
	return 0;
}

static int rseq_settle(struct op *op, void *rec, struct site *site)
{
	const struct rseq_area *area = rec;

	if (area->pointer && (area->pointer % RSEQ_ALIGN || area->size < RSEQ_ALIGN || area->flags))
		return fail(op, -EBADMSG, "register a rseq area of %u bytes", area->size);
	if (area->pointer)
		BATCH_MUST(site->batch, "register its rseq area", SYS_rseq, area->pointer, area->size, area->flags,
			area->signature);
	return 0;
}

const struct kind kind_task_rseq = {
	.name = "rseq",
	.tag = 0x26,
	.scope = SCOPE_THREAD,
	.size = sizeof(struct rseq_area),
	.fields = rseq_fields,
	.save = rseq_save,
	.settle = rseq_settle,
};
