/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * prctl - what a thread has chosen by prctl(2), and its personality(2): the time stamp counter, what happens to it on broken
 * memory, whether it flushes I/O for others, which speculation the processor may do for it
 *
 * Put back while the thread has the rights of the caller still.
 *
 * Seen: prctl() by the thread itself; whether it is an I/O flusher also in /proc/PID/task/TID/stat (flags), as the call
 *	needs a right.
 * Lost: that an I/O flusher is one, where the right (CAP_SYS_RESOURCE) is missing, and what this processor cannot do about
 *	speculation (both named). Whom it lets trace it (PR_SET_PTRACER of the Yama module), which nothing shows. PR_SET_TIMING,
 *	which does nothing. A core scheduling cookie is refused.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef PR_GET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE	  62
#define PR_SCHED_CORE_GET 0
#endif

#define FLUSHER	      0x00180000 /* PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE: include/linux/sched.h */
#define PERSONALITIES 0x0ffe00ff /* PER_MASK, UNAME26 to ADDR_LIMIT_3GB: include/uapi/linux/personality.h */
#define N_SPECULATION 3 /* PR_SPEC_STORE_BYPASS, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_L1D_FLUSH */
#define RESTRICTED    (PR_SPEC_DISABLE | PR_SPEC_FORCE_DISABLE | PR_SPEC_DISABLE_NOEXEC)

struct prctl {
	uint32_t personality;
	uint32_t tsc; /* PR_TSC_*; 0: this processor has no such choice */
	uint32_t mce_kill; /* PR_MCE_KILL_* */
	bool io_flusher;
	uint32_t store_bypass, indirect_branch, l1d_flush; /* 0: the processor is not affected, or has no such choice */
	const struct stub_call *asked_personality, *asked_tsc, *asked_mce, *asked_flusher, *asked_core;
	const struct stub_call *speculation[N_SPECULATION]; /* also while restarting: what it is now */
	const int *tsc_out;
	const uint64_t *cookie;
};

static const struct flag speculation_bits[] = {
	{ PR_SPEC_PRCTL, "PRCTL" },
	{ PR_SPEC_ENABLE, "ENABLE" },
	{ PR_SPEC_DISABLE, "DISABLE" },
	{ PR_SPEC_FORCE_DISABLE, "FORCE_DISABLE" },
	{ PR_SPEC_DISABLE_NOEXEC, "DISABLE_NOEXEC" },
	{ 0, NULL },
};

static const struct field fields[] = {
	FIELD_U(1, struct prctl, personality, "task_struct.personality"),
	FIELD_U(2, struct prctl, tsc, "thread_info.flags"),
	FIELD_U(3, struct prctl, mce_kill, "task_struct.flags"),
	FIELD_U(4, struct prctl, io_flusher, "task_struct.flags"),
	FIELD_B(5, struct prctl, store_bypass, "task_struct.atomic_flags", speculation_bits),
	FIELD_B(6, struct prctl, indirect_branch, "task_struct.atomic_flags", speculation_bits),
	FIELD_B(7, struct prctl, l1d_flush, "thread_info.flags", speculation_bits),
	FIELDS_END,
};

static const char *const speculation_names[N_SPECULATION] = {
	"past stores (PR_SPEC_STORE_BYPASS)",
	"on indirect branches (PR_SPEC_INDIRECT_BRANCH)",
	"across L1D flushes (PR_SPEC_L1D_FLUSH)",
};

/* ---- saving ---- */

static int prctl_ask(struct op *op, const struct sight *s, void *rec)
{
	struct prctl *p = rec;
	struct batch *b = s->batch;

	p->asked_personality = BATCH_CALL(b, "read the personality", SYS_personality, 0xffffffff);
	struct taddr out = batch_out(b, sizeof(int), &p->tsc_out);
	p->asked_tsc = BATCH_CALL(b, "ask for the time stamp counter", SYS_prctl, PR_GET_TSC, out.at);
	p->asked_mce = BATCH_CALL(b, "ask what broken memory does to it", SYS_prctl, PR_MCE_KILL_GET);
	p->asked_flusher = BATCH_CALL(b, "ask whether it flushes I/O", SYS_prctl, PR_GET_IO_FLUSHER);
	for (unsigned int i = 0; i < N_SPECULATION; i++)
		p->speculation[i] = BATCH_CALL(b, "ask for speculation control", SYS_prctl, PR_GET_SPECULATION_CTRL, i);
	out = batch_out(b, sizeof(uint64_t), &p->cookie);
	p->asked_core = BATCH_CALL(
		b, "ask for the core scheduling cookie", SYS_prctl, PR_SCHED_CORE, PR_SCHED_CORE_GET, 0, 0, out.at);
	return 0;
}

/* a choice that the kernel or the processor does not have */
static bool is_absent(int64_t ret)
{
	return ret == -EINVAL || ret == -ENODEV || ret == -ENOSYS || ret == -ENXIO;
}

static int unknown(struct op *op, const char *what, int64_t value)
{
	if (value < 0)
		return fail(op, (int)value, "ask for %s of a thread", what);
	return refuse(op, "prctl-unknown", "this version has not considered it", NULL, "has %s %#" PRIx64, what,
		(uint64_t)value);
}

static int save_speculation(struct op *op, const struct prctl *p, unsigned int which, uint32_t *ret)
{
	int64_t got = p->speculation[which]->ret;

	if (is_absent(got))
		return 0;
	if (got < 0 || got & ~(int64_t)(PR_SPEC_PRCTL | PR_SPEC_ENABLE | RESTRICTED))
		return unknown(op, "speculation control", got);
	*ret = (uint32_t)got;
	return 0;
}

static int save_choices(struct op *op, struct prctl *p)
{
	if (p->asked_personality->ret < 0)
		return unknown(op, "the personality", p->asked_personality->ret);
	p->personality = (uint32_t)p->asked_personality->ret;
	if (p->personality & ~(uint32_t)PERSONALITIES)
		return unknown(op, "the personality", p->personality);
	if (!is_absent(p->asked_tsc->ret)) {
		if (p->asked_tsc->ret < 0)
			return unknown(op, "the time stamp counter", p->asked_tsc->ret);
		if (*p->tsc_out != PR_TSC_ENABLE && *p->tsc_out != PR_TSC_SIGSEGV)
			return unknown(op, "the time stamp counter", *p->tsc_out);
		p->tsc = (uint32_t)*p->tsc_out;
	}
	if (p->asked_mce->ret < 0 || p->asked_mce->ret > PR_MCE_KILL_DEFAULT)
		return unknown(op, "the memory failure policy", p->asked_mce->ret);
	p->mce_kill = (uint32_t)p->asked_mce->ret;
	return 0;
}

static int prctl_save(struct op *op, const struct sight *s, void *rec)
{
	struct prctl *p = rec;
	int64_t flusher = p->asked_flusher->ret;

	int r = save_choices(op, p);
	if (r == 0)
		r = save_speculation(op, p, PR_SPEC_STORE_BYPASS, &p->store_bypass);
	if (r == 0)
		r = save_speculation(op, p, PR_SPEC_INDIRECT_BRANCH, &p->indirect_branch);
	if (r == 0)
		r = save_speculation(op, p, PR_SPEC_L1D_FLUSH, &p->l1d_flush);
	if (r < 0)
		return r;
	if (flusher > 1)
		return unknown(op, "the I/O flusher state", flusher);
	p->io_flusher = flusher < 0 ? (s->thread->stat.flags & FLUSHER) == FLUSHER : flusher;
	if (p->asked_core->ret < 0 && !is_absent(p->asked_core->ret))
		return unknown(op, "the core scheduling cookie", p->asked_core->ret);
	if (p->asked_core->ret == 0 && *p->cookie)
		return refuse(op, "core-scheduling", "no other task can be given one that others share",
			"start it without one", "has a core scheduling cookie");
	return 0;
}

/* ---- restarting ---- */

static int check_image(struct op *op, const struct prctl *p)
{
	if (p->tsc > PR_TSC_SIGSEGV || p->mce_kill > PR_MCE_KILL_DEFAULT)
		return fail_as(op, OUTCOME_IMAGE, "image-prctl", NULL, "put back what a thread chose by prctl(2)");
	return 0;
}

static uint32_t wanted(const struct prctl *p, unsigned int which)
{
	const uint32_t want[N_SPECULATION] = { p->store_bypass, p->indirect_branch, p->l1d_flush };

	return want[which];
}

/* struct own - what stasis has */
struct own {
	int tsc; /* 0: there is no choice */
	int mce_kill, flusher, speculation[N_SPECULATION];
};

static const struct own *own_choices(struct op *op, struct site *site)
{
	const struct own *known = site_known(site, fields);

	if (known)
		return known;
	struct own *own = arena_alloc(&op->arena, sizeof(*own));
	*own = (struct own){ .mce_kill = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0),
		.flusher = prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) };
	if (prctl(PR_GET_TSC, &own->tsc) < 0)
		own->tsc = 0;
	for (unsigned int i = 0; i < N_SPECULATION; i++)
		own->speculation[i] = prctl(PR_GET_SPECULATION_CTRL, i, 0, 0, 0);
	site_keep(op, site, fields, own);
	return own;
}

/* a task begins with what stasis has: what is so already needs no call */
static int prctl_restore(struct op *op, void *rec, struct site *site)
{
	struct prctl *p = rec;
	struct batch *b = site->batch;
	const struct own *own = own_choices(op, site);

	if (check_image(op, p) < 0)
		return -EBADMSG;
	BATCH_MUST(b, "set the personality", SYS_personality, p->personality);
	if (p->tsc && own->tsc && p->tsc != (uint32_t)own->tsc)
		BATCH_MUST(b, "set what reading the time stamp counter does", SYS_prctl, PR_SET_TSC, p->tsc);
	if (p->mce_kill != (uint32_t)own->mce_kill)
		BATCH_MUST(b, "set what broken memory does to it", SYS_prctl, PR_MCE_KILL,
			p->mce_kill == PR_MCE_KILL_DEFAULT ? PR_MCE_KILL_CLEAR : PR_MCE_KILL_SET,
			p->mce_kill == PR_MCE_KILL_DEFAULT ? 0 : p->mce_kill);
	p->asked_flusher = NULL;
	if (p->io_flusher || own->flusher == 1)
		p->asked_flusher = BATCH_CALL(b, "become an I/O flusher", SYS_prctl, PR_SET_IO_FLUSHER, p->io_flusher);
	for (unsigned int i = 0; i < N_SPECULATION; i++) {
		uint32_t want = wanted(p, i);

		p->speculation[i] = NULL;
		if ((int)want == own->speculation[i])
			continue;
		if (want & PR_SPEC_PRCTL)
			BATCH_CALL(b, "set speculation control", SYS_prctl, PR_SET_SPECULATION_CTRL, i,
				want & ~(uint32_t)PR_SPEC_PRCTL);
		p->speculation[i] = BATCH_CALL(b, "ask for speculation control", SYS_prctl, PR_GET_SPECULATION_CTRL, i);
	}
	return 0;
}

/* what could not be had is named, when the calls are made */
static int prctl_leave(struct op *op, void *rec, struct site *site)
{
	const struct prctl *p = rec;

	if (p->asked_flusher && p->asked_flusher->ret < 0)
		note(op, "it is no I/O flusher any more: the right to be one (CAP_SYS_RESOURCE) is missing");
	for (unsigned int i = 0; i < N_SPECULATION; i++) {
		if (!p->speculation[i])
			continue;
		int64_t now = p->speculation[i]->ret < 0 ? (int64_t)PR_SPEC_ENABLE : p->speculation[i]->ret;
		bool was_restricted = wanted(p, i) & RESTRICTED, is_restricted = now == 0 || now & RESTRICTED;

		if (was_restricted && !is_restricted)
			note(op, "the processor may speculate %s for it, which it could not", speculation_names[i]);
		else if (wanted(p, i) & PR_SPEC_ENABLE && now & RESTRICTED)
			note(op, "the processor may not speculate %s for it, which it could", speculation_names[i]);
	}
	return 0;
}

/* see prctl_save() */
static bool has_core_scheduling(void)
{
	uint64_t cookie;

	return prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, 0, 0, &cookie) == 0 || !is_absent(-errno);
}

static const struct member alike[] = {
	{ "personality", 4, NULL },
	{ "flags", 4, NULL },
	{ "atomic_flags", 8, NULL },
	{ "thread_info.flags", 8, NULL },
	{ "core_cookie", 8, has_core_scheduling },
	{ NULL, 0, NULL },
};

const struct kind kind_task_prctl = {
	.name = "prctl",
	.tag = 0x31,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct prctl),
	.fields = fields,
	.alike = alike,
	.ask = prctl_ask,
	.save = prctl_save,
	.restore = prctl_restore,
	.leave = prctl_leave,
};
