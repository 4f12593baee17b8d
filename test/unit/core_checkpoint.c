/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "base/clock.h"
#include "core/core.h"
#include "lib/test.h"

#define SECOND UINT64_C(1000000000)

/* a program that no signal reaches for @seconds, as vfork(2) sleeps so; then it ends with status 7 */
static pid_t start_vfork(unsigned int seconds)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (vfork() == 0) {
		sleep(seconds);
		_exit(0);
	}
	_exit(7);
}

TEST_TIMEOUT(who_could_not_be_stopped_goes_on_though_the_caller_lives, 60)
{
	const struct stasis_checkpoint_options options = { .size = sizeof(options),
		.fd = open("/dev/null", O_WRONLY | O_CLOEXEC) };
	struct stasis_report report = { 0 };
	int status = 0;
	pid_t pid = start_vfork(12), got = 0;

	usleep(100000);
	EXPECT_EQ(stasis_checkpoint(pid, &options, &report), (int)OUTCOME_TIMEOUT);
	EXPECT_STREQ(report.slug, "vfork");
	EXPECT_EQ(strstr(report.state, "runs on as before") != NULL, true);
	stasis_report_done(&report);
	for (uint64_t end = now_ns() + 10 * SECOND; got == 0 && now_ns() < end; usleep(10000))
		got = waitpid(pid, &status, WNOHANG);
	ASSERT_EQ(got, pid);
	ASSERT_EQ(WIFEXITED(status) && WEXITSTATUS(status) == 7, true);
}

TEST_MAIN
