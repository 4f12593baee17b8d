/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lanes: whoever does what, it is told in the order of the items, and a process is always done by the same thread.
 */
#include <stdatomic.h>
#include <sys/syscall.h>

#include "core/core.h"
#include "lib/test.h"

#define N     500
#define LANES 4

static struct op op;
static struct checkpoint c;
static struct process process[N], *processes[N];
static struct shares shares[N];
static atomic_uint done[N], turn;

static void begin(void)
{
	op_init(&op, "save");
	c = (struct checkpoint){ .op = &op };
	crew_init(&c, LANES);
}

static void end(void)
{
	crew_done(&c);
	op_done(&op);
}

static int tell_all(const struct checkpoint *lane, void *data, size_t i)
{
	(void)data;
	WHERE(lane->op, "item", (int64_t)i);
	done[i]++;
	for (volatile unsigned int k = 0; k < i % 7 * 1000;)
		k++;
	note(lane->op, "number %zu", i);
	if (i % 3 == 0)
		refuse(lane->op, "third", NULL, NULL, "number %zu", i);
	return 0;
}

TEST(all_is_told_in_order)
{
	char text[32];

	begin();
	WHERE(&op, "test", 1);
	ASSERT_EQ(crew_share(&c, NULL, N, tell_all, NULL), 0);
	const struct note *n = op.notes.at;
	ASSERT_EQ(op.notes.n, N);
	for (size_t i = 0; i < N; i++) {
		snprintf(text, sizeof(text), "number %zu", i);
		EXPECT_STREQ(n[i].what, text);
		snprintf(text, sizeof(text), "test 1: item %zu", i);
		EXPECT_STREQ(n[i].where, text);
		EXPECT_EQ(done[i], 1);
	}
	const struct obstacle *o = op.obstacles.at;
	ASSERT_EQ(op.obstacles.n, (N + 2) / 3);
	for (size_t i = 0; i < op.obstacles.n; i++) {
		snprintf(text, sizeof(text), "number %zu", 3 * i);
		EXPECT_STREQ(o[i].what, text);
	}
	end();
}

static int fail_some(const struct checkpoint *lane, void *data, size_t i)
{
	(void)data;
	done[i]++;
	if (i != 120 && i != 121 && i != 400)
		return 0;
	for (volatile unsigned int k = 0; i == 120 && k < 1000000;)
		k++;
	return fail(lane->op, -(int)i, "do number %zu", i);
}

TEST(the_first_failure_is_told)
{
	begin();
	EXPECT_EQ(crew_share(&c, NULL, N, fail_some, NULL), -120);
	EXPECT_EQ(op.err, -120);
	EXPECT_TRUE(strstr(op.story, "do number 120"));
	for (size_t i = 0; i <= 120; i++)
		EXPECT_EQ(done[i], 1);
	end();
}

static int own(const struct checkpoint *lane, void *data, size_t i)
{
	(void)data;
	process[i].lane = lane->lane->n;
	process[i].tid = (pid_t)syscall(SYS_gettid);
	return 0;
}

static int check_own(const struct checkpoint *lane, struct process *p)
{
	EXPECT_EQ(p->lane, lane->lane->n);
	EXPECT_EQ(p->tid, (pid_t)syscall(SYS_gettid));
	p->vpid = (pid_t)turn++;
	return 0;
}

TEST(a_process_stays_with_its_thread)
{
	begin();
	for (size_t i = 0; i < N; i++) {
		process[i].pid = (pid_t)i;
		process[i].shares = &shares[i];
		shares[i].any = i % 50 == 0;
		processes[i] = &process[i];
	}
	ASSERT_EQ(crew_share(&c, NULL, 1, own, NULL), 0);
	ASSERT_EQ(crew_share(&c, NULL, N, own, NULL), 0);
	process[0].lane = 0;
	process[0].tid = (pid_t)syscall(SYS_gettid);
	c.tree.processes = (struct span){ processes, N, 0 };
	for (int round = 0; round < 20; round++) {
		turn = 0;
		ASSERT_EQ(crew_each(&c, NULL, check_own), 0);
		ASSERT_EQ(turn, N);
		EXPECT_EQ(process[0].vpid, 0);
		for (size_t i = 50; i < N; i += 50) /* the nine that share are last, in order */
			EXPECT_EQ(process[i].vpid, N - 10 + (int)(i / 50));
	}
	end();
}

TEST_MAIN
