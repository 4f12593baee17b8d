/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that has looked for keyrings of its own, and has none.
 */
#include <errno.h>
#include <sys/syscall.h>

#include "lib/witness.h"

/* KEYCTL_GET_KEYRING_ID, without making one */
static int find(int which)
{
	return syscall(SYS_keyctl, 0, which, 0) < 0 ? errno : 0;
}

static void make(void)
{
	find(-1);
}

static void look(void)
{
	SAY(find(-1)); /* KEY_SPEC_THREAD_KEYRING */
	SAY(find(-2));
}

WITNESS(make, look)
