/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

static int membarrier(int cmd)
{
	return syscall(SYS_membarrier, cmd, 0, 0) < 0 ? -errno : 0;
}

/* a child has what its parent had at its birth */
static int of_child(void)
{
	return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) == -EPERM;
}

static void make(void)
{
	membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
	membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
	membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

static void look(void)
{
	SAY(syscall(SYS_membarrier, 1 << 9, 0, 0)); /* MEMBARRIER_CMD_GET_REGISTRATIONS */
	SAY(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
	SAY(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE));
	SAY(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ));
	SAY(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED));
	SAY(witness_in_child(of_child));
}

WITNESS(make, look)
