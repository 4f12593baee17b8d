/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sigaltstack - the stack on which a thread runs signal handlers: sigaltstack(2)
 *
 * Seen: sigaltstack() by the thread itself; task_struct.
 * Lost: nothing. That a handler runs on it (SS_ONSTACK) is not stored: it follows from the stack pointer.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

#define STACK_MIN 2048 /* MINSIGSTKSZ of the kernel */

struct altstack {
	uint64_t sp, size;
	uint32_t flags;
	const stack_t *asked;
};

static const struct flag ss_flags[] = {
	{ SS_DISABLE, "DISABLE" },
	{ SS_AUTODISARM, "AUTODISARM" },
	{ 0, NULL },
};

static const struct field fields[] = {
	FIELD_U(1, struct altstack, sp, "task_struct.sas_ss_sp"),
	FIELD_U(2, struct altstack, size, "task_struct.sas_ss_size"),
	FIELD_B(3, struct altstack, flags, "task_struct.sas_ss_flags", ss_flags),
	FIELDS_END,
};

static int altstack_ask(struct op *op, const struct sight *s, void *rec)
{
	struct altstack *a = rec;
	struct taddr out = batch_out(s->batch, sizeof(*a->asked), &a->asked);

	BATCH_MUST(s->batch, "read the signal stack", SYS_sigaltstack, 0, out.at);
	return 0;
}

static int refuse_flags(struct op *op, uint32_t flags)
{
	return refuse(op, "sigaltstack-flags", "this version has not considered them", NULL,
		"has a signal stack with the flags %#" PRIx32, flags);
}

static int altstack_save(struct op *op, const struct sight *s, void *rec)
{
	struct altstack *a = rec;

	a->sp = (uint64_t)(uintptr_t)a->asked->ss_sp;
	a->size = a->asked->ss_size;
	a->flags = (uint32_t)a->asked->ss_flags & ~(uint32_t)SS_ONSTACK;
	if (a->flags & ~(SS_DISABLE | SS_AUTODISARM))
		return refuse_flags(op, a->flags);
	return 0;
}

/* do_sigaltstack() in kernel/signal.c */
static int altstack_tell(struct op *op, const struct sight *s, void *rec, const unsigned char *told)
{
	struct altstack *a = rec;

	memcpy(&a->sp, told, sizeof(a->sp));
	memcpy(&a->size, told + sizeof(a->sp), sizeof(a->size));
	memcpy(&a->flags, told + sizeof(a->sp) + sizeof(a->size), sizeof(a->flags));
	if (a->flags & ~(uint32_t)(SS_DISABLE | SS_ONSTACK | SS_AUTODISARM))
		return refuse_flags(op, a->flags);
	a->flags &= SS_AUTODISARM;
	if (!a->size)
		a->flags |= SS_DISABLE;
	return 0;
}

/* A stack that is disabled is set too: a forked task has the one of its parent. */
static int altstack_restore(struct op *op, void *rec, struct site *site)
{
	const struct altstack *a = rec;

	if (!(a->flags & SS_DISABLE) && a->size < STACK_MIN)
		return fail(op, -EBADMSG, "set a signal stack of %" PRIu64 " bytes", a->size);
	const stack_t ss = { .ss_sp = (void *)(uintptr_t)a->sp, .ss_flags = (int)a->flags, .ss_size = a->size };

	BATCH_MUST(site->batch, "set the signal stack", SYS_sigaltstack, batch_in(site->batch, &ss, sizeof(ss)).at, 0);
	return 0;
}

static const struct member told[] = {
	{ "sas_ss_sp", 8, NULL },
	{ "sas_ss_size", 8, NULL },
	{ "sas_ss_flags", 4, NULL },
	{ NULL, 0, NULL },
};

const struct kind kind_task_sigaltstack = {
	.name = "sigaltstack",
	.tag = 0x23,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct altstack),
	.fields = fields,
	.told = told,
	.tell = altstack_tell,
	.ask = altstack_ask,
	.save = altstack_save,
	.restore = altstack_restore,
};
