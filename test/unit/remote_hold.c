/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that job control stops while it is traced, and what its parent is told.
 */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "lib/test.h"
#include "remote/remote.h"

#define SECOND UINT64_C(1000000000)

static struct talk {
	atomic_int child, question, answer;
} * talk;

/* a process that forgets what it was told of its child when it is asked to */
static pid_t start_parent(void)
{
	const struct timespec at_once = { 0, 0 };
	pid_t pid = fork();
	sigset_t set;

	if (pid)
		return pid;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = fork();
	while (pid == 0)
		pause();
	for (talk->child = pid;; sched_yield())
		if (talk->answer != talk->question) {
			while (sigtimedwait(&set, NULL, &at_once) == SIGCHLD)
				;
			talk->answer = talk->question;
		}
}

static bool is_told(const struct held *parent)
{
	struct span all = { 0 };
	struct arena a = { 0 };
	bool found = false;

	EXPECT_EQ(hold_signals(parent, &a, true, &all), 0);
	const siginfo_t *info = all.at;
	for (size_t i = 0; i < all.n; i++)
		found |= info[i].si_signo == SIGCHLD;
	arena_done(&a);
	return found;
}

static void hold(struct held *h, pid_t pid)
{
	ASSERT_EQ(hold_seize(h, pid, 0), 0);
	ASSERT_EQ(hold_wait(h, 10000), 0);
}

/* the kernel tells the tracer first, and once in ten thousand times that is too quick */
TEST(who_has_stopped_has_told_its_parent)
{
	const uint64_t end = now_ns() + 5 * SECOND;
	struct held parent, child;

	talk = mmap(NULL, sizeof(*talk), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = start_parent();
	while (!talk->child)
		sched_yield();
	hold(&child, talk->child);
	int turns = 0, late = 0;

	for (; now_ns() < end; turns++) {
		hold(&parent, pid);
		ASSERT_EQ(hold_stop(&child, 1, SIGSTOP), 0);
		late += !is_told(&parent);
		hold_let_go(&parent);
		ASSERT_EQ(hold_continue(&child, 1), 0);
		talk->question++;
		while (talk->answer != talk->question)
			sched_yield();
	}
	TH_LOG("%d of %d", late, turns);
	EXPECT_EQ(late, 0);
}

TEST_MAIN
