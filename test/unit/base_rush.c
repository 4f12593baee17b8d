/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/resource.h>

#include "base/pool.h"
#include "base/rush.h"
#include "lib/test.h"

static bool may(void)
{
	const struct sched_param p = { .sched_priority = 0 }, rt = { .sched_priority = 1 };

	return sched_setscheduler(0, SCHED_FIFO, &rt) == 0 && sched_setscheduler(0, SCHED_OTHER, &p) == 0;
}

TEST(who_may_rushes_and_is_then_as_before)
{
	EXPECT_EQ(setpriority(PRIO_PROCESS, 0, 5), 0);
	struct rush r = rush_begin(RUSH_WORTH);
	const int during = sched_getscheduler(0);
	rush_end(&r);

	EXPECT_EQ(during, may() ? SCHED_FIFO : SCHED_OTHER);
	EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
	EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 5);
}

static void *look(void *ret)
{
	*(int *)ret = sched_getscheduler(0);
	return NULL;
}

static int policy_of_new(void)
{
	int policy = -1;
	pthread_t t;

	EXPECT_EQ(thread_start(&t, STACK_SMALL, look, &policy), 0);
	pthread_join(t, NULL);
	return policy;
}

TEST(who_is_made_meanwhile_does_not)
{
	struct rush r = rush_begin(RUSH_WORTH);

	EXPECT_EQ(policy_of_new(), SCHED_OTHER);
	EXPECT_EQ(sched_getscheduler(0), r.is ? SCHED_FIFO : SCHED_OTHER);
	struct rush again = rush_begin(RUSH_WORTH);
	rush_end(&again);
	EXPECT_EQ(sched_getscheduler(0), r.is ? SCHED_FIFO : SCHED_OTHER);
	EXPECT_EQ(policy_of_new(), SCHED_OTHER);
	rush_end(&r);
	EXPECT_EQ(policy_of_new(), SCHED_OTHER);
}

TEST(who_may_not_compute_for_long_does_not)
{
	const struct rlimit second = { 1000000, RLIM_INFINITY };

	ASSERT_EQ(setrlimit(RLIMIT_RTTIME, &second), 0);
	struct rush r = rush_begin(RUSH_WORTH);
	EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
	rush_end(&r);
}

TEST(few_are_not_worth_it)
{
	struct rush r = rush_begin(RUSH_WORTH - 1);

	EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
	rush_end(&r);
	EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

TEST(who_is_ahead_already_stays_so)
{
	if (!may())
		SKIP("no right to real-time scheduling");
	const struct sched_param high = { .sched_priority = 7 };
	struct sched_param now;

	ASSERT_EQ(sched_setscheduler(0, SCHED_RR, &high), 0);
	struct rush r = rush_begin(RUSH_WORTH);
	rush_end(&r);
	ASSERT_EQ(sched_getparam(0, &now), 0);
	EXPECT_EQ(sched_getscheduler(0), SCHED_RR);
	EXPECT_EQ(now.sched_priority, 7);
}

TEST_MAIN
