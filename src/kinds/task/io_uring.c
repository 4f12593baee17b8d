/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rings of io_uring(7) that a thread knows by an index: IORING_REGISTER_RING_FDS, IORING_SETUP_REGISTERED_FD_ONLY. They are
 * refused, as those are that have a descriptor or are mapped. With IORING_SETUP_NO_MMAP such a ring has neither.
 *
 * Seen:  io_uring_enter(2) by the thread itself, for nothing
 * Lost:  where a thread has seccomp filters, which seldom let that call through, it is not asked
 * Needs: nothing
 */
#include <errno.h>
#include <sys/syscall.h>

#include "kinds/kind.h"

#define RINGS		16 /* IO_RINGFD_REG_MAX of the kernel */
#define REGISTERED_RING (1u << 4) /* IORING_ENTER_REGISTERED_RING, Linux 5.18 */

struct io_uring {
	const struct stub_call *entered[RINGS];
};

static const struct field fields[] = {
	FIELDS_END,
};

/* with nothing to hand in and nothing to wait for, it looks the ring up */
static int io_uring_ask(struct op *op, const struct sight *s, void *rec)
{
	struct io_uring *u = rec;

	(void)op;
	if (s->thread->status.seccomp)
		return 0;
	for (uint64_t i = 0; i < RINGS; i++)
		u->entered[i] =
			BATCH_CALL(s->batch, "look for a ring", SYS_io_uring_enter, i, 0, 0, REGISTERED_RING, 0, 0);
	return 0;
}

/* EINVAL: the thread never had a ring, or the kernel knows no index; EBADF: there is none; EBADFD: not yet enabled */
static bool is_there(int64_t ret)
{
	return ret >= 0 || ret == -EBADFD;
}

static int io_uring_save(struct op *op, const struct sight *s, void *rec)
{
	const struct io_uring *u = rec;

	(void)s;
	for (size_t i = 0; i < RINGS && u->entered[i]; i++)
		if (is_there(u->entered[i]->ret))
			return fail_as(op, OUTCOME_CANNOT, "io-uring", "start it without io_uring",
				"keep ring %zu of a thread (io_uring): what is under way in it cannot be kept", i);
	return 0;
}

static const struct member alike[] = {
	{ "io_uring", 8, NULL },
	{ "seccomp.mode", 4, NULL },
	{ NULL, 0, NULL },
};

const struct kind kind_task_io_uring = {
	.name = "io_uring",
	.tag = 0x3d,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct io_uring),
	.fields = fields,
	.alike = alike,
	.ask = io_uring_ask,
	.save = io_uring_save,
};
