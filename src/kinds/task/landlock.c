/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * landlock - the Landlock domain that a thread has shut itself into: landlock(7). It must not come back without: it is refused.
 *
 * No interface shows a domain. But whatever its rules, a thread in one may not look at processes outside of it
 * (hook_ptrace_access_check() in security/landlock/task.c). So each thread asks for something small of a process of ours that
 * it may look at otherwise: one of its own user and group, without rights, in its namespaces. The answer tells.
 *
 * Seen: get_robust_list(2) of another process.
 * Lost: a domain that stasis is in itself: it is taken for one of the place. Where another security module forbids such a
 *	look, the thread is refused as well.
 * Needs: nothing; a kernel without Landlock has no domains.
 */
#include "kinds/bystander.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#define RULESET_VERSION 1 /* LANDLOCK_CREATE_RULESET_VERSION */

struct landlock {
	const struct stub_call *asked; /* NULL: there are no domains here */
};

static const struct field fields[] = {
	FIELDS_END,
};

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION) >= 0;
}

static int landlock_ask(struct op *op, const struct sight *s, void *rec)
{
	struct landlock *l = rec;
	const void *unused;
	pid_t vpid;

	if (!tree_can(s->tree, ABILITY_LANDLOCK, has_landlock))
		return 0;
	int r = bystander_of(s, &op->arena, &vpid);
	if (r < 0)
		return fail(op, r, "put a process beside it, to see whether it is in a Landlock domain");
	struct taddr out = batch_out(s->batch, 16, &unused);
	l->asked = BATCH_CALL(
		s->batch, "look at another process", SYS_get_robust_list, (uint64_t)vpid, out.at, out.at + 8);
	return 0;
}

static int landlock_save(struct op *op, const struct sight *s, void *rec)
{
	const struct landlock *l = rec;

	if (!l->asked || l->asked->ret == 0 || l->asked->ret == -ENOSYS)
		return 0;
	if (l->asked->ret == -EPERM)
		return refuse(op, "landlock", "no interface shows what it forbids: it would come back without",
			"start it without its sandbox", "is in a Landlock domain");
	return fail(op, (int)l->asked->ret, "see whether a thread is in a Landlock domain");
}

static const struct member alike[] = {
	{ "cred", 8, NULL },
	{ "real_cred", 8, NULL },
	{ NULL, 0, NULL },
};

const struct kind kind_task_landlock = {
	.name = "landlock",
	.tag = 0x37,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct landlock),
	.fields = fields,
	.alike = alike,
	.ask = landlock_ask,
	.save = landlock_save,
};
