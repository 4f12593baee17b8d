/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sigaction - what a process does on each signal: sigaction(2)
 *
 * Seen: rt_sigaction() by the process itself; /proc/PID/status shows only which are caught and which are ignored.
 * Lost: nothing.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#define SIGNALS 64

/* struct kernel_sigaction - as rt_sigaction() has it, which is not as libc has it */
struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

struct action {
	uint32_t signo;
	uint64_t handler, flags, restorer, mask;
};

struct actions {
	struct span actions; /* of struct action: those that are not SIG_DFL without flags */
	const struct kernel_sigaction *asked; /* SIGNALS of them */
};

static const struct flag sa_flags[] = {
	{ 0x00000001, "NOCLDSTOP" },
	{ 0x00000002, "NOCLDWAIT" },
	{ 0x00000004, "SIGINFO" },
	{ 0x00000800, "EXPOSE_TAGBITS" },
	{ 0x04000000, "RESTORER" },
	{ 0x08000000, "ONSTACK" },
	{ 0x10000000, "RESTART" },
	{ 0x40000000, "NODEFER" },
	{ 0x80000000, "RESETHAND" },
	{ 0, NULL },
};

static const struct field action_fields[] = {
	FIELD_U(1, struct action, signo, ""),
	FIELD_U(2, struct action, handler, "sigaction.sa_handler"),
	FIELD_B(3, struct action, flags, "sigaction.sa_flags", sa_flags),
	FIELD_U(4, struct action, restorer, "sigaction.sa_restorer"),
	FIELD_U(5, struct action, mask, "sigaction.sa_mask"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct actions, actions, "sighand_struct.action", action_fields, struct action),
	FIELDS_END,
};

/* its action cannot be changed */
static bool is_fixed(unsigned int signo)
{
	return signo == SIGKILL || signo == SIGSTOP;
}

static uint64_t unknown_flags(uint64_t flags)
{
	for (const struct flag *f = sa_flags; f->name; f++)
		flags &= ~f->bit;
	return flags;
}

static int actions_ask(struct op *op, const struct sight *s, void *rec)
{
	struct actions *a = rec;
	struct taddr out = batch_out(s->batch, SIGNALS * sizeof(*a->asked), &a->asked);

	for (unsigned int signo = 1; signo <= SIGNALS; signo++, out.at += sizeof(*a->asked))
		if (!is_fixed(signo))
			BATCH_MUST(s->batch, "read a signal action", SYS_rt_sigaction, signo, 0, out.at, 8);
	return 0;
}

static int actions_save(struct op *op, const struct sight *s, void *rec)
{
	struct actions *a = rec;

	for (unsigned int signo = 1; signo <= SIGNALS; signo++) {
		const struct kernel_sigaction *k = &a->asked[signo - 1];

		if (is_fixed(signo) || !(k->handler | k->flags | k->restorer | k->mask))
			continue;
		if (unknown_flags(k->flags))
			return refuse(op, "sigaction-flags", "this version has not considered them", NULL,
				"has an action of signal %u with the flags %#" PRIx64, signo, unknown_flags(k->flags));
		struct action *action = span_push(&op->arena, &a->actions, sizeof(*action));
		*action = (struct action){ signo, k->handler, k->flags, k->restorer, k->mask };
	}
	return 0;
}

/* @ret: SIGNALS of them; 0, or the number of a signal that can have no such action */
static uint32_t list_actions(const struct actions *a, struct kernel_sigaction *ret)
{
	const struct action *action = a->actions.at;

	memset(ret, 0, SIGNALS * sizeof(*ret));
	for (size_t i = 0; i < a->actions.n; i++, action++) {
		if (action->signo < 1 || action->signo > SIGNALS || is_fixed(action->signo))
			return action->signo ? action->signo : UINT32_MAX;
		ret[action->signo - 1] = (struct kernel_sigaction){
			action->handler,
			action->flags,
			action->restorer,
			action->mask,
		};
	}
	return 0;
}

/* All of them are set, but for those that the process was born with: of stasis it has some that nobody asks for. */
static int actions_restore(struct op *op, void *rec, struct site *site)
{
	struct kernel_sigaction set[SIGNALS], born[SIGNALS];
	uint32_t bad = list_actions(rec, set);

	if (bad)
		return fail(op, -EBADMSG, "set the action of signal %" PRIu32, bad);
	if (site->born)
		list_actions(site->born, born);
	for (unsigned int signo = 1; signo <= SIGNALS; signo++) {
		const struct kernel_sigaction *s = &set[signo - 1];

		if (is_fixed(signo) || (site->born && memcmp(s, &born[signo - 1], sizeof(*s)) == 0))
			continue;
		BATCH_MUST(site->batch, "set a signal action", SYS_rt_sigaction, signo,
			batch_in(site->batch, s, sizeof(*s)).at, 0, 8);
	}
	return 0;
}

const struct kind kind_task_sigaction = {
	.name = "sigaction",
	.tag = 0x21,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_SIGHAND,
	.size = sizeof(struct actions),
	.fields = fields,
	.ask = actions_ask,
	.save = actions_save,
	.restore = actions_restore,
};
