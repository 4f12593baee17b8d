/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>

#include "core/core.h"
#include "core/rebuild.h"
#include "lib/test.h"

static bool can_be(uint32_t flags, int stop_signal)
{
	return is_jobctl(&(struct task_record){ .flags = flags, .stop_signal = stop_signal });
}

TEST(a_process_runs_or_is_stopped_by_a_signal_that_stops)
{
	ASSERT_EQ(can_be(0, 0), true);
	ASSERT_EQ(can_be(TASK_ZOMBIE, 0), true);
	ASSERT_EQ(can_be(TASK_STOPPED, 0), true); /* as images of 0.1 have it */
	ASSERT_EQ(can_be(TASK_STOPPED, SIGSTOP), true);
	ASSERT_EQ(can_be(TASK_STOPPED | TASK_STOP_WAITED, SIGTSTP), true);
	ASSERT_EQ(can_be(TASK_STOPPED | TASK_STOP_UNTOLD, SIGTTIN), true);
	ASSERT_EQ(can_be(TASK_STOPPED, SIGTTOU), true);
	ASSERT_EQ(can_be(TASK_CONTINUED, 0), true);
}

TEST(what_an_image_says_of_a_stop_must_fit_together)
{
	ASSERT_EQ(can_be(0, SIGSTOP), false);
	ASSERT_EQ(can_be(TASK_STOPPED, SIGKILL), false);
	ASSERT_EQ(can_be(TASK_STOPPED, SIGCONT), false);
	ASSERT_EQ(can_be(TASK_STOPPED, -1), false);
	ASSERT_EQ(can_be(TASK_STOPPED, 65), false);
	ASSERT_EQ(can_be(TASK_STOP_WAITED, 0), false);
	ASSERT_EQ(can_be(TASK_STOP_UNTOLD, 0), false);
	ASSERT_EQ(can_be(TASK_STOPPED | TASK_STOP_WAITED | TASK_STOP_UNTOLD, SIGSTOP), false);
	ASSERT_EQ(can_be(TASK_STOPPED | TASK_CONTINUED, SIGSTOP), false);
	ASSERT_EQ(can_be(TASK_STOPPED | TASK_ZOMBIE, SIGSTOP), false);
	ASSERT_EQ(can_be(TASK_CONTINUED | TASK_ZOMBIE, 0), false);
	ASSERT_EQ(can_be(TASK_CONTINUED, SIGSTOP), false);
}

static struct process with_threads(struct thread *t, size_t n)
{
	return (struct process){ .threads = { .at = t, .n = n } };
}

TEST(a_stop_is_that_of_any_thread)
{
	struct thread t[2] = { 0 };
	struct process p = with_threads(t, 2);

	find_stop(&p);
	ASSERT_EQ(p.stop_signal, 0);
	ASSERT_EQ(jobctl_flags(&p), 0);
	t[1].held.stop_signal = SIGTSTP;
	find_stop(&p);
	ASSERT_EQ(p.stop_signal, SIGTSTP);
	p.stat.exit_code = SIGTSTP;
	ASSERT_EQ(jobctl_flags(&p), TASK_STOPPED);
	p.stat.exit_code = 0;
	ASSERT_EQ(jobctl_flags(&p), TASK_STOPPED | TASK_STOP_WAITED);
	p.stat.exit_code = SIGTRAP | 128 << 8; /* the first thread has stopped for us before */
	ASSERT_EQ(jobctl_flags(&p), TASK_STOPPED | TASK_STOP_UNTOLD);
}

TEST(a_stop_that_is_on_its_way_has_come)
{
	struct thread t[2] = { 0 };
	struct process p = with_threads(t, 2);

	t[1].status.sigpnd = 1ull << (SIGTSTP - 1); /* may be blocked */
	find_stop(&p);
	ASSERT_EQ(p.stop_signal, 0);
	t[1].status.sigpnd |= 1ull << (SIGSTOP - 1);
	find_stop(&p);
	ASSERT_EQ(p.stop_signal, SIGSTOP);
	ASSERT_EQ(jobctl_flags(&p), TASK_STOPPED | TASK_STOP_UNTOLD);
	p.continued = true;
	p.stop_signal = 0;
	ASSERT_EQ(jobctl_flags(&p), TASK_CONTINUED);
}

TEST_MAIN
