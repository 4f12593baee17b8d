/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registration of a restartable sequences area, rseq(2). A thread stopped within a sequence has been put to its abort
 * handler before its registers were saved.
 *
 * Seen:  ptrace(2), PTRACE_GET_RSEQ_CONFIGURATION; task_struct
 * Lost:  nothing
 * Needs: rseq
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "kinds/kind.h"

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif
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

/* before Linux 6.3 all have one of the same size, which is not kept: ptrace_get_rseq_configuration() in kernel/ptrace.c */
static bool keeps_size(void)
{
	return getauxval(AT_RSEQ_FEATURE_SIZE) != 0;
}

static int rseq_tell(struct op *op, const struct sight *s, void *rec, const unsigned char *told)
{
	struct rseq_area *area = rec;

	memcpy(&area->pointer, told, sizeof(area->pointer));
	memcpy(&area->signature, told + 8, sizeof(area->signature));
	memcpy(&area->size, told + 12, sizeof(area->size));
	if (!area->size && !keeps_size())
		area->size = RSEQ_ALIGN;
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

static const struct member told[] = {
	{ .path = "rseq", .size = 8, .spare = true },
	{ .path = "rseq_sig", .size = 4, .spare = true },
	{ .path = "rseq_len", .size = 4, .needed = keeps_size, .spare = true },
	{ NULL, 0, NULL },
};

const struct kind kind_task_rseq = {
	.name = "rseq",
	.tag = 0x26,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct rseq_area),
	.fields = rseq_fields,
	.told = told,
	.tell = rseq_tell,
	.save = rseq_save,
	.settle = rseq_settle,
};
