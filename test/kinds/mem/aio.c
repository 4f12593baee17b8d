/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AIO contexts: one that is idle, one with events that nobody has taken yet, one that is large and whose events go around its end.
 */
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static aio_context_t idle, some, large;
static int fd;

static long submit(aio_context_t ctx, uint64_t data, int64_t at, size_t len)
{
	static char buf[64];
	struct iocb iocb = { .aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)fd,
		.aio_buf = (uintptr_t)buf,
		.aio_nbytes = len,
		.aio_offset = at,
		.aio_data = data },
		    *one = &iocb;
	long done = syscall(SYS_io_submit, ctx, 1, &one);

	return done < 0 ? -errno : done;
}

/* all that are done, and how long each read was */
static long take(aio_context_t ctx, long n, uint64_t *data, int64_t *res)
{
	struct io_event e[64];
	struct timespec none = { 0 };
	long got = syscall(SYS_io_getevents, ctx, 0, n, e, &none);

	*data = 0;
	*res = 0;
	for (long i = 0; i < got; i++) {
		*data = *data * 31 + e[i].data;
		*res = *res * 31 + e[i].res;
	}
	return got < 0 ? -errno : got;
}

/* a child has the memory of the rings, but no contexts */
static void rest(void)
{
}

static void make(void)
{
	uint64_t data;
	int64_t res;

	fd = open(witness_path("f"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (write(fd, "0123456789", 10) != 10)
		_exit(3);
	if (syscall(SYS_io_setup, 4, &idle) < 0) {
		witness_hidden("this kernel has no AIO (io_setup)");
		return;
	}
	syscall(SYS_io_setup, 8, &some);
	syscall(SYS_io_setup, 700, &large);
	for (int i = 0; i < 3; i++)
		submit(idle, 1, 0, 1);
	take(idle, 64, &data, &res);
	for (uint64_t i = 0; i < 5; i++)
		submit(some, 100 + i, (int64_t)i * 2, 5);
	take(some, 2, &data, &res);
	/* until it is near its end */
	for (uint64_t i = 0; i < ((uint32_t *)large)[1] - 10; i++) {
		submit(large, i, 0, 3);
		take(large, 1, &data, &res);
	}
	for (uint64_t i = 0; i < 30; i++)
		submit(large, i, (int64_t)i % 12, 3);
	witness_child(rest);
}

/* takes what is there and asks for it anew */
static void look(void)
{
	uint64_t data;
	int64_t res;

	SAY(idle != 0);
	if (!idle)
		return;
	SAY(submit(idle, 7, 4, 3));
	SAY(take(idle, 64, &data, &res));
	SAY(data);
	SAY(res);
	SAY(take(some, 64, &data, &res));
	SAY(data);
	SAY(res);
	for (uint64_t i = 2; i < 5; i++)
		SAY(submit(some, 100 + i, (int64_t)i * 2, 5));
	SAY(take(large, 64, &data, &res));
	SAY(data);
	SAY(res);
	for (uint64_t i = 0; i < 30; i++)
		SAY(submit(large, i, (int64_t)i % 12, 3));
	SAY(((uint32_t *)large)[1]);
	SAY(submit(idle + 4096, 1, 0, 1));
}

WITNESS(make, look)
