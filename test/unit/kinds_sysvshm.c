/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System V shared memory made by many at once: the number that the next one gets is there once for all of them.
 */
#include <errno.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "kinds/sysvshm.h"
#include "lib/test.h"

#define MAKERS 4
#define ROUNDS 200

static void make_and_remove(unsigned maker)
{
	struct sysvshm m = {
		.id = 32768 + 100 + maker,
		.key = (int32_t)(0x42000000 + maker),
		.size = 4096,
		.mode = 0600,
		.at = 0x200000000000,
		.guard = -EBADF,
		.own_place = true,
	};

	for (unsigned i = 0; i < ROUNDS; i++) {
		int r = sysvshm_make(&m);

		ASSERT_GE(r, 0);
		ASSERT_EQ(shmdt((void *)m.at), 0);
		ASSERT_EQ(shmctl((int)m.id, IPC_RMID, NULL), 0);
	}
}

TEST(many_make_some_at_once)
{
	if (unshare(CLONE_NEWIPC) < 0)
		SKIP("an ipc namespace of its own needs root");
	for (unsigned i = 0; i < MAKERS; i++)
		if (fork() == 0) {
			make_and_remove(i);
			_exit(0);
		}
	for (unsigned i = 0; i < MAKERS; i++) {
		int status = -1;

		ASSERT_GT(wait(&status), 0);
		EXPECT_EQ(status, 0);
	}
}

TEST_MAIN
