/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests that must not be reported as ok: tools/check-harness runs this program and reads what it says.
 * The first word of each name says what is right: ok, bad or skip.
 */
#include "lib/test.h"

static pid_t spawn(void)
{
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	return pid;
}

TEST(ok_empty)
{
}

TEST(ok_compares)
{
	uint64_t big = UINT64_MAX;
	int minus = -1;
	const char *none = NULL;

	ASSERT_NE(big, minus);
	ASSERT_LT(minus, big);
	ASSERT_EQ(none, NULL);
	ASSERT_STREQ("a%d", "a%d");
	ASSERT_STRNE("a", none);
	ASSERT_MEMEQ("abc", "abd", 2);
	ASSERT_TRUE(big % 2 == 1);
}

TEST(ok_stdout_is_not_ours)
{
	puts("not ok 77 - a line that is none of the report");
}

TEST(bad_assert)
{
	ASSERT_EQ(1 + 1, 3);
}

TEST(bad_expect)
{
	EXPECT_STREQ("one", "two");
}

TEST(bad_unsigned_minus_one)
{
	uint32_t a = UINT32_MAX;
	int b = -1;

	ASSERT_EQ(a, b);
}

TEST(bad_exit_early)
{
	exit(0);
}

TEST(bad_exec)
{
	execl("/bin/true", "true", NULL);
}

TEST(bad_abort)
{
	abort();
}

TEST(bad_assert_in_grandchild_nobody_waits_for)
{
	if (spawn() == 0)
		ASSERT_TRUE(0);
	usleep(200 * 1000);
}

TEST(bad_assert_in_grandchild_status_ignored)
{
	int status;
	pid_t pid = spawn();

	if (pid == 0)
		ASSERT_TRUE(0);
	waitpid(pid, &status, 0);
}

TEST(bad_grandchild_runs_out_of_the_body)
{
	pid_t pid = spawn();

	if (pid > 0)
		waitpid(pid, NULL, 0);
}

TEST(bad_skip_after_failure)
{
	EXPECT_TRUE(0);
	SKIP("too late");
}

TEST_TIMEOUT(bad_hangs, 1)
{
	signal(SIGTERM, SIG_IGN);
	for (;;)
		pause();
}

TEST(ok_leaves_processes_behind)
{
	for (int i = 0; i < 3; i++)
		if (spawn() == 0) {
			setsid();
			if (i < 2)
				fork();
			if (i == 0)
				kill(getpid(), SIGSTOP);
			for (;;)
				pause();
		}
	usleep(50 * 1000);
}

TEST(ok_nothing_is_left_of_it)
{
	char path[64], line[256] = "";

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", getppid(), getppid());
	FILE *f = fopen(path, "re");
	if (!f)
		SKIP("no /proc/PID/task/TID/children");
	ASSERT_NE(fgets(line, sizeof(line), f), NULL);
	ASSERT_EQ(atoi(line), getpid());
	ASSERT_EQ(strchr(line, ' ')[1], 0);
	fclose(f);
}

TEST(skip_this)
{
	SKIP("no such thing here");
}

TEST_MAIN
