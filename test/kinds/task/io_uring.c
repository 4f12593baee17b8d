/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that had a ring of io_uring(7), and has closed it.
 */
#include <errno.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static void make(void)
{
	unsigned char params[120] = { 0 }; /* struct io_uring_params */

	int fd = (int)syscall(SYS_io_uring_setup, 4, params);
	if (fd >= 0)
		close(fd);
}

/* IORING_ENTER_REGISTERED_RING */
static int has_ring(unsigned int index)
{
	return syscall(SYS_io_uring_enter, index, 0, 0, 1u << 4, 0, 0) >= 0;
}

static void look(void)
{
	SAY(has_ring(0));
	SAY(has_ring(15));
}

WITNESS(make, look)
