/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * arch_prctl - what a thread has asked of an x86 processor: arch_prctl(2)
 *
 * Kept: large register sets that it has asked for (AMX: ARCH_REQ_XCOMP_PERM), which must come before the registers; whether
 * CPUID may be used (ARCH_SET_CPUID).
 * Refused: shadow stacks, tagged addresses (LAM), I/O ports (ioperm(2)), descriptors of segments (modify_ldt(2),
 * set_thread_area(2)).
 *
 * Seen: arch_prctl() and modify_ldt() by the thread itself; PTRACE_GET_THREAD_AREA; NT_386_IOPERM; /proc/PID/status
 *	(x86_Thread_features, untag_mask).
 * Lost: iopl(2), which nothing shows and only CAP_SYS_RAWIO gives.
 * Needs: a processor with what was asked for.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/io.h"

/* arch/x86/include/uapi/asm/prctl.h, much of which is younger than Debian 12 */
enum {
	GET_CPUID = 0x1011, /* ARCH_GET_CPUID */
	SET_CPUID = 0x1012,
	GET_XCOMP_PERM = 0x1022,
	REQ_XCOMP_PERM = 0x1023,
	GET_XCOMP_GUEST_PERM = 0x1024,
	REQ_XCOMP_GUEST_PERM = 0x1025,
	SHSTK_STATUS = 0x5005, /* ARCH_SHSTK_STATUS */
};

#define GET_THREAD_AREA 25 /* PTRACE_GET_THREAD_AREA, which glibc has for 32-bit programs only */
#define IOPERM_REGSET	0x201 /* NT_386_IOPERM */
#define TLS_FIRST	12 /* GDT_ENTRY_TLS_MIN */
#define TLS_LAST	14

struct arch_prctl {
	uint64_t xcomp, xcomp_guest; /* bits of XCR0 that it may use and stasis, which never asked, may not */
	bool no_cpuid;
	const uint64_t *xcomp_out, *guest_out;
	const struct stub_call *asked_cpuid, *asked_xcomp, *asked_guest, *asked_ldt;
};

static const struct field fields[] = {
	FIELD_U(1, struct arch_prctl, xcomp, "fpu.perm"),
	FIELD_U(2, struct arch_prctl, xcomp_guest, "fpu.guest_perm"),
	FIELD_U(3, struct arch_prctl, no_cpuid, "thread_info.flags"),
	FIELDS_END,
};

/* ---- saving ---- */

static int arch_prctl_check(struct op *op, const struct sight *s)
{
	const struct proc_status *st = &s->thread->status;
	int r = 0;

	if (st->x86_features && st->x86_features[strspn(st->x86_features, " ")])
		r = refuse(op, "shadow-stack", "they cannot be made again yet",
			"start it without GLIBC_TUNABLES for shadow stacks",
			"has a thread with the processor features %s", st->x86_features);
	if (st->untag_mask && st->untag_mask != UINT64_MAX)
		r = refuse(op, "tagged-address", "linear address masking is not kept yet", NULL,
			"has tagged addresses (untag_mask %#lx)", (unsigned long)st->untag_mask);
	return r;
}

static int arch_prctl_ask(struct op *op, const struct sight *s, void *rec)
{
	struct arch_prctl *a = rec;
	struct batch *b = s->batch;
	const void *ldt;

	a->asked_cpuid = BATCH_CALL(b, "ask for the use of CPUID", SYS_arch_prctl, GET_CPUID);
	struct taddr out = batch_out(b, sizeof(uint64_t), &a->xcomp_out);
	a->asked_xcomp = BATCH_CALL(b, "ask for large registers", SYS_arch_prctl, GET_XCOMP_PERM, out.at);
	out = batch_out(b, sizeof(uint64_t), &a->guest_out);
	a->asked_guest = BATCH_CALL(b, "ask for large registers", SYS_arch_prctl, GET_XCOMP_GUEST_PERM, out.at);
	out = batch_out(b, 16, &ldt);
	a->asked_ldt = BATCH_CALL(b, "ask for segments", SYS_modify_ldt, 0, out.at, 16);
	return 0;
}

/* fill_user_desc() in arch/x86/kernel/tls.c: struct user_desc has base and limit behind the number; an empty one is all zero */
static bool has_segments(pid_t tid)
{
	for (long i = TLS_FIRST; i <= TLS_LAST; i++) {
		uint32_t desc[4] = { 0 };

		if (ptrace((enum __ptrace_request)GET_THREAD_AREA, tid, i, desc) == 0 && (desc[1] || desc[2]))
			return true;
	}
	return false;
}

static bool has_ports(pid_t tid)
{
	unsigned char bitmap[8192];
	struct iovec io = { bitmap, sizeof(bitmap) };

	return ptrace(PTRACE_GETREGSET, tid, (void *)IOPERM_REGSET, &io) == 0 && io.iov_len > 0;
}

/* what a task may use by itself; all of it where nobody can ask for more */
static uint64_t own_mask(int get)
{
	uint64_t own = 0;

	return syscall(SYS_arch_prctl, get, &own) < 0 ? UINT64_MAX : own;
}

static int take_mask(struct op *op, const struct stub_call *call, const uint64_t *out, int get, uint64_t *ret)
{
	if (call->ret == 0)
		*ret = *out & ~own_mask(get);
	else if (call->ret != -EINVAL && call->ret != -ENOSYS && call->ret != -ENODEV)
		return fail(op, (int)call->ret, "ask which large registers it may use");
	return 0;
}

static int arch_prctl_save(struct op *op, const struct sight *s, void *rec)
{
	struct arch_prctl *a = rec;

	if (a->asked_ldt->ret > 0 || has_segments(s->thread->tid))
		return refuse(op, "segments", NULL, NULL,
			"has memory segments of its own (modify_ldt(2), set_thread_area(2))");
	if (has_ports(s->thread->tid))
		return refuse(op, "io-ports", NULL, NULL, "uses I/O ports (ioperm(2))");
	int64_t cpuid = a->asked_cpuid->ret;
	if (cpuid < 0 && cpuid != -EINVAL)
		return fail(op, (int)cpuid, "ask whether it may use CPUID");
	a->no_cpuid = cpuid == 0;
	int r = take_mask(op, a->asked_xcomp, a->xcomp_out, GET_XCOMP_PERM, &a->xcomp);
	return r < 0 ? r : take_mask(op, a->asked_guest, a->guest_out, GET_XCOMP_GUEST_PERM, &a->xcomp_guest);
}

/* ---- restarting ---- */

static void request(struct batch *b, int req, uint64_t want)
{
	for (uint64_t i = 0; i < 64; i++)
		if (want >> i & 1)
			BATCH_MUST(b, "be allowed large registers (AMX)", SYS_arch_prctl, (uint64_t)req, i);
}

static int arch_prctl_restore(struct op *op, void *rec, struct site *site)
{
	const struct arch_prctl *a = rec;

	if (site->first) { /* for all threads */
		request(site->batch, REQ_XCOMP_PERM, a->xcomp);
		request(site->batch, REQ_XCOMP_GUEST_PERM, a->xcomp_guest);
	}
	const bool *own = site_known(site, fields); /* may stasis use CPUID? */
	if (!own) {
		const bool may = syscall(SYS_arch_prctl, GET_CPUID, 0) != 0;

		own = arena_dup(&op->arena, &may, sizeof(may));
		site_keep(op, site, fields, own);
	}
	if (a->no_cpuid != !*own)
		BATCH_MUST(site->batch, "set the use of CPUID", SYS_arch_prctl, SET_CPUID, !a->no_cpuid);
	return 0;
}

static bool has_ioperm(void)
{
	return syscall(SYS_ioperm, 0, 0, 0) == 0 || errno != ENOSYS;
}

static bool has_shadow_stacks(void)
{
	uint64_t features;

	return syscall(SYS_arch_prctl, SHSTK_STATUS, &features) == 0 || errno != EINVAL;
}

static const struct member alike[] = {
	{ "thread.tls_array", 24, NULL },
	{ "thread.io_bitmap", 8, has_ioperm },
	{ "thread_info.flags", 8, NULL },
	{ "thread.features", 8, has_shadow_stacks },
	{ NULL, 0, NULL },
};

const struct kind kind_task_arch_prctl = {
	.name = "arch_prctl",
	.tag = 0x36,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct arch_prctl),
	.fields = fields,
	.alike = alike,
	.check = arch_prctl_check,
	.ask = arch_prctl_ask,
	.save = arch_prctl_save,
	.restore = arch_prctl_restore,
};
