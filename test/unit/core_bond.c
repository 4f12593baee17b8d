/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes that are traced by one that dies: all of them end with it, or none.
 */
#include <errno.h>
#include <sys/ptrace.h>

#include "core/bond.h"
#include "lib/test.h"

enum { N = 40 };

enum when { TIED, HALF_SPARED, SPARED, CUT, HALF_GONE };

/* shared with those that are traced */
static struct {
	int go, ran;
} * page;

static pid_t child_held(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		while (!__atomic_load_n(&page->go, __ATOMIC_SEQ_CST))
			;
		__atomic_fetch_add(&page->ran, 1, __ATOMIC_SEQ_CST);
		for (;;)
			pause();
	}
	ASSERT_EQ(ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_EXITKILL), 0);
	ASSERT_EQ(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	ASSERT_EQ(waitpid(pid, &status, __WALL), pid);
	return pid;
}

/* holds processes, ties them, goes on until @when, and is killed there */
static void die(enum when when)
{
	struct arena arena;
	struct bond bond;
	pid_t pid[N];

	arena_init(&arena);
	for (size_t i = 0; i < N; i++)
		pid[i] = child_held();
	page->go = 1;
	ASSERT_EQ(bond_tie(&bond, &arena, pid, N), 0);
	for (size_t i = 0; when >= HALF_SPARED && i < (when == HALF_SPARED ? N / 2 : N); i++)
		ASSERT_EQ(ptrace(PTRACE_SETOPTIONS, pid[i], NULL, NULL), 0);
	if (when >= CUT)
		bond_cut(&bond);
	for (size_t i = 0; when == HALF_GONE && i < N / 2; i++)
		ASSERT_EQ(ptrace(PTRACE_DETACH, pid[i], NULL, NULL), 0);
	kill(getpid(), SIGKILL);
}

/* orphans are children of the test */
static int count_killed(void)
{
	int status, n = 0;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		n += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	return n;
}

static void expect_at(enum when when, int killed, int ran)
{
	int status;

	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(page != MAP_FAILED);
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	pid_t tracer = fork();
	if (tracer == 0)
		die(when);
	ASSERT_EQ(waitpid(tracer, &status, 0), tracer);
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	int seen = 0;
	for (int turn = 0; turn < 1000 && (seen < killed || page->ran < ran); turn++, usleep(5000))
		seen += count_killed();
	usleep(100000);
	EXPECT_EQ(seen + count_killed(), killed);
	EXPECT_EQ(page->ran, ran);
}

TEST(all_are_killed_before_they_make_a_step)
{
	expect_at(TIED, N, 0);
}

TEST(all_are_killed_while_some_are_spared)
{
	expect_at(HALF_SPARED, N, 0);
}

TEST(all_are_killed_when_all_are_spared)
{
	expect_at(SPARED, N, 0);
}

TEST(all_live_when_it_is_cut)
{
	expect_at(CUT, 0, N);
}

TEST(all_live_when_some_were_let_go)
{
	expect_at(HALF_GONE, 0, N);
}

TEST(nothing_is_left_of_it)
{
	struct arena arena;
	struct bond bond;
	pid_t pid = fork(), none[] = { pid, 0x7ffffff };
	int status;

	if (pid == 0)
		for (;;)
			pause();
	arena_init(&arena);
	int next = dup(0);
	close(next);
	/* and nobody is killed where one of them is gone */
	EXPECT_EQ(bond_tie(&bond, &arena, none, 2), -ESRCH);
	ASSERT_EQ(bond_tie(&bond, &arena, &pid, 1), 0);
	bond_cut(&bond);
	EXPECT_EQ(dup(0), next);
	usleep(20000);
	EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	arena_done(&arena);
}

TEST_MAIN
