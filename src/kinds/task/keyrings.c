/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * keyrings of a process or a thread - keyrings(7), process-keyring(7), thread-keyring(7). They are refused: what is in a key
 * may be secret even from its owner.
 *
 * Seen:  KEYCTL_GET_KEYRING_ID of keyctl(2) by the thread itself
 * Lost:  the session keyring: it is the caller's after a restart. Where a thread has seccomp filters, which seldom let
 *	  keyctl(2) through, it is not asked
 * Needs: nothing
 */
#include <errno.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>

#include "kinds/kind.h"

struct keyrings {
	const struct stub_call *of_thread, *of_process;
};

static const struct field fields[] = {
	FIELDS_END,
};

static const struct stub_call *ask(struct batch *b, int32_t which)
{
	return BATCH_CALL(b, "ask for a keyring", SYS_keyctl, KEYCTL_GET_KEYRING_ID, (uint64_t)(int64_t)which, 0);
}

static int keyrings_ask(struct op *op, const struct sight *s, void *rec)
{
	struct keyrings *k = rec;

	(void)op;
	if (s->thread->status.seccomp)
		return 0;
	k->of_thread = ask(s->batch, KEY_SPEC_THREAD_KEYRING);
	k->of_process = ask(s->batch, KEY_SPEC_PROCESS_KEYRING);
	return 0;
}

static int keyrings_save(struct op *op, const struct sight *s, void *rec)
{
	const struct keyrings *k = rec;

	(void)s;
	if (!k->of_thread || (k->of_thread->ret < 0 && k->of_process->ret < 0))
		return 0;
	return fail_as(op, OUTCOME_CANNOT, "keyring", "start it without one",
		"keep the keyring of %s: its keys cannot be read", k->of_thread->ret < 0 ? "a process" : "a thread");
}

static const struct member alike[] = {
	{ "cred", 8, NULL },
	{ "seccomp.mode", 4, NULL },
	{ NULL, 0, NULL },
};

const struct kind kind_task_keyrings = {
	.name = "keyrings",
	.tag = 0x3c,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct keyrings),
	.fields = fields,
	.alike = alike,
	.ask = keyrings_ask,
	.save = keyrings_save,
};
