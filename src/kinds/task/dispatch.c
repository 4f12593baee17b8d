/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dispatch - system calls that the kernel sends back to the program as SIGSYS: syscall user dispatch,
 * PR_SET_SYSCALL_USER_DISPATCH(2const)
 *
 * The calls of the stub would be sent back too, and it must not be switched off meanwhile: if stasis died the program
 * would go on without. So a thread is saved while its selector lets calls through, as it does while the thread sleeps in one.
 *
 * Seen: PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG (Linux 6.4).
 * Lost: nothing. Before Linux 6.4 nothing shows it: there a program that catches SIGSYS, which is for them, is refused.
 * Needs: PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/ptrace.h>

#define GET_CONFIG   0x4211 /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG; glibc 2.36 has none of these */
#define SET_CONFIG   0x4210
#define MODE_OFF     0 /* PR_SYS_DISPATCH_OFF */
#define MODE_ON	     1 /* PR_SYS_DISPATCH_ON, which 6.17 calls EXCLUSIVE_ON */
#define MODE_ONLY_IN 2 /* PR_SYS_DISPATCH_INCLUSIVE_ON, Linux 6.17 */
#define LETS_THROUGH 0 /* SYSCALL_DISPATCH_FILTER_ALLOW */

/* struct config - struct ptrace_sud_config */
struct config {
	uint64_t mode, selector, offset, len;
};

struct dispatch {
	bool on;
	uint64_t selector, offset, len; /* calls from [offset, offset + len) are let through; it may wrap around */
};

static const struct field fields[] = {
	FIELD_U(1, struct dispatch, on, "thread_info.syscall_work"),
	FIELD_U(2, struct dispatch, selector, "syscall_user_dispatch.selector"),
	FIELD_U(3, struct dispatch, offset, "syscall_user_dispatch.offset"),
	FIELD_U(4, struct dispatch, len, "syscall_user_dispatch.len"),
	FIELDS_END,
};

/* the whole page of the stub and the system call instructions of the vdso that it is in */
static bool is_let_through(const struct dispatch *d, const struct sight *s)
{
	const struct room *room = s->batch->room;
	unsigned char selector = 1;
	uint64_t first = room->code.at, last = room->code.at + room->was_len;

	if (first - d->offset < d->len && last - d->offset < d->len)
		return true;
	return d->selector && remote_read(s->process->tid, (struct taddr){ d->selector }, &selector, 1) == 0 &&
	       selector == LETS_THROUGH;
}

/* a call that is sent back while SIGSYS is blocked, as in the stub, costs the program its handler (kernel/signal.c) */
static int admit_unseen(struct op *op, const struct sight *s)
{
	if (!(s->process->status.sigcgt & 1ull << (SIGSYS - 1)))
		return 0;
	return refuse(op, "syscall-dispatch", "Linux tells from 6.4 on whether they are",
		"save it under a newer kernel, or start it without its handler of SIGSYS",
		"catches SIGSYS, so its system calls may be sent back to it (syscall user dispatch)");
}

static int dispatch_admit(struct op *op, const struct sight *s, void *rec)
{
	struct dispatch *d = rec;
	struct config c = { 0 };

	if (ptrace(GET_CONFIG, s->thread->tid, (void *)sizeof(c), &c) < 0)
		return errno == EIO || errno == EINVAL ? admit_unseen(op, s)
						       : fail(op, -errno, "read its syscall user dispatch");
	if (c.mode != MODE_OFF && c.mode != MODE_ON)
		return refuse(op, "syscall-dispatch", "this version has not considered it", NULL,
			"has syscall user dispatch in mode %" PRIu64, c.mode);
	if (c.mode == MODE_OFF)
		return 0;
	*d = (struct dispatch){ true, c.selector, c.offset, c.len };
	if (!is_let_through(d, s))
		return refuse(op, "syscall-dispatch", "no call can be made in it to ask for its state",
			"try again: it depends on where the thread is just now",
			"has all its system calls sent back to it just now (syscall user dispatch)");
	return 0;
}

static int dispatch_leave(struct op *op, void *rec, struct site *site)
{
	const struct dispatch *d = rec;
	struct config c = { MODE_ON, d->selector, d->offset, d->len };

	if (!d->on)
		return 0;
	if (c.offset && c.offset + c.len <= c.offset) /* turned inside out: only calls from within are sent back */
		c = (struct config){ MODE_ONLY_IN, d->selector, d->offset + d->len, -d->len };
	if (ptrace(SET_CONFIG, site->tid, (void *)sizeof(c), &c) < 0)
		return fail_as(op, errno == EINVAL || errno == EFAULT ? OUTCOME_IMAGE : OUTCOME_CANNOT,
			"syscall-dispatch", "restart under Linux 6.4 or later",
			"have its system calls sent back to it (syscall user dispatch)");
	return 0;
}

static const struct member alike[] = {
	{ "syscall_dispatch.selector", 8, NULL },
	{ "syscall_dispatch.offset", 8, NULL },
	{ "syscall_dispatch.len", 8, NULL },
	{ "thread_info.syscall_work", 8, NULL },
	{ NULL, 0, NULL },
};

const struct kind kind_task_dispatch = {
	.name = "syscall user dispatch",
	.tag = 0x33,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct dispatch),
	.fields = fields,
	.alike = alike,
	.admit = dispatch_admit,
	.leave = dispatch_leave,
};
