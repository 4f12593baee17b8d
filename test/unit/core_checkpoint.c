/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "core/core.h"
#include "lib/test.h"

#define SECOND UINT64_C(1000000000)

/* a program that no signal reaches while its child lives, as vfork(2) sleeps so; then it ends with status 7 */
static pid_t start_vfork(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (vfork() == 0)
		for (;;)
			pause();
	_exit(7);
}

/* 0: it has none yet */
static pid_t child_of(pid_t pid)
{
	char path[64];
	pid_t child = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%d", &child) != 1)
		child = 0;
	if (f)
		fclose(f);
	return child;
}

TEST_TIMEOUT(who_could_not_be_stopped_goes_on_though_the_caller_lives, 60)
{
	const struct stasis_checkpoint_options options = { .size = sizeof(options),
		.fd = open("/dev/null", O_WRONLY | O_CLOEXEC) };
	struct stasis_report report = { 0 };
	int status = 0;
	pid_t pid = start_vfork(), child, got = 0;

	while ((child = child_of(pid)) == 0)
		usleep(10000);
	ASSERT_EQ(stasis_checkpoint(pid, &options, &report), (int)OUTCOME_TIMEOUT);
	EXPECT_STREQ(report.slug, "vfork");
	EXPECT_EQ(strstr(report.state, "runs on as before") != NULL, true);
	stasis_report_done(&report);
	kill(child, SIGKILL);
	for (uint64_t end = now_ns() + 10 * SECOND; got == 0 && now_ns() < end; usleep(10000))
		got = waitpid(pid, &status, WNOHANG);
	ASSERT_EQ(got, pid);
	ASSERT_EQ(WIFEXITED(status) && WEXITSTATUS(status) == 7, true);
}

static void *__attribute__((noreturn)) wait_for_ever(void *unused)
{
	for (;;)
		pause();
}

/* *@ready: becomes true when all threads are there */
static pid_t start_threads(unsigned int n, volatile bool *ready)
{
	pthread_t thread;
	pid_t pid = fork();

	if (pid)
		return pid;
	close_range(3, ~0u, 0);
	for (unsigned int i = 1; i < n; i++)
		ASSERT_EQ(pthread_create(&thread, NULL, wait_for_ever, NULL), 0);
	*ready = true;
	wait_for_ever(NULL);
}

TEST(more_threads_than_the_soft_limit_on_descriptors)
{
	const struct stasis_checkpoint_options options = { .size = sizeof(options),
		.fd = open("/dev/null", O_WRONLY | O_CLOEXEC) };
	struct stasis_report report = { 0 };
	struct rlimit lim;
	bool *ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pid_t pid = start_threads(60, ready);
	while (!*(volatile bool *)ready)
		usleep(1000);
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = 40;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lim), 0);
	EXPECT_EQ(stasis_checkpoint(pid, &options, &report), 0);
	EXPECT_EQ(report.threads, 60);
	TH_LOG("%s", report.error ? report.error : "saved");
	stasis_report_done(&report);
}

static char state_of(pid_t pid)
{
	struct proc_stat st = { .state = '?' };
	int procfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir = proc_open(procfd, pid);

	proc_read_stat(dir, &st);
	close(dir);
	close(procfd);
	return st.state;
}

/* @wait: in ms, until @pid is stopped and, with @resume, continued a little later */
static pid_t start_nagger(pid_t pid, unsigned int wait, bool resume)
{
	pid_t nagger = fork();

	if (nagger)
		return nagger;
	usleep(wait * 1000);
	kill(pid, SIGSTOP);
	usleep(2000);
	if (resume)
		kill(pid, SIGCONT);
	_exit(0);
}

/* one of the threads takes the SIGSTOP while it makes calls for us */
TEST_TIMEOUT(stopped_and_continued_meanwhile, 120)
{
	const struct stasis_checkpoint_options options = { .size = sizeof(options),
		.fd = open("/dev/null", O_WRONLY | O_CLOEXEC) };
	struct stasis_report report = { 0 };
	bool *ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = start_threads(200, ready);
	const uint64_t end = now_ns() + 60 * SECOND; /* enough of it, where a turn takes seconds */

	while (!*(volatile bool *)ready)
		usleep(1000);
	for (unsigned int turn = 0; turn < 60 && now_ns() < end; turn++) {
		bool resume = turn % 5;
		pid_t nagger = start_nagger(pid, 5 + turn, resume);

		EXPECT_EQ(stasis_checkpoint(pid, &options, &report), 0);
		stasis_report_done(&report);
		waitpid(nagger, NULL, 0);
		usleep(5000);
		ASSERT_EQ(state_of(pid) == 'T', !resume);
		kill(pid, SIGCONT);
	}
}

static int refuse_to_run(void *data, pid_t pid)
{
	return -ECANCELED;
}

static void *restart_in_vain(void *data)
{
	const struct stasis_restart_options options = {
		.size = sizeof(options), .fd = *(int *)data, .before_run = refuse_to_run
	};
	struct stasis_report report = { 0 };
	struct stasis_job job;

	EXPECT_EQ(stasis_restart(&options, &job, &report), (int)OUTCOME_ENVIRONMENT);
	EXPECT_EQ(strstr(report.error, strerror(ECANCELED)) != NULL, true);
	stasis_report_done(&report);
	return NULL;
}

/* its tracer is that thread, not the process */
TEST(a_restart_in_any_thread_of_the_caller_can_be_taken_back)
{
	struct stasis_checkpoint_options options = { .size = sizeof(options), .stop = true };
	struct stasis_report report = { 0 };
	bool *ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_t thread;
	pid_t pid = start_threads(30, ready);

	while (!*(volatile bool *)ready)
		usleep(1000);
	options.fd = memfd_create("image", MFD_CLOEXEC);
	ASSERT_EQ(stasis_checkpoint(pid, &options, &report), 0);
	stasis_report_done(&report);
	waitpid(pid, NULL, 0);
	ASSERT_EQ(pthread_create(&thread, NULL, restart_in_vain, &options.fd), 0);
	ASSERT_EQ(pthread_join(thread, NULL), 0);
	EXPECT_EQ(waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD, true);
}

/* KiB that the process shares with nobody, by smaps_rollup */
static long private_kb(pid_t pid)
{
	char path[64], line[128];
	long kb, total = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		total += sscanf(line, "Private_%*[^:]: %ld", &kb) == 1 ? kb : 0;
	if (f)
		fclose(f);
	return total;
}

/* a process that shares @size bytes with its child; *@ready: becomes true when they have been written and the child is there */
static pid_t start_sharers(size_t size, volatile bool *ready)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	close_range(3, ~0u, 0);
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < size; i++)
		memory[i] = (unsigned char)(i >> 12 | 1);
	if (fork() > 0)
		*ready = true;
	for (;;)
		pause();
}

TEST(memory_that_fork_shared_stays_shared)
{
	const struct stasis_checkpoint_options options = { .size = sizeof(options),
		.fd = open("/dev/null", O_WRONLY | O_CLOEXEC) };
	struct stasis_report report = { 0 };
	bool *ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pid_t pid = start_sharers(16 << 20, ready);
	while (!*(volatile bool *)ready)
		usleep(1000);
	long before = private_kb(pid);
	EXPECT_EQ(stasis_checkpoint(pid, &options, &report), 0);
	TH_LOG("%s", report.error ? report.error : "saved");
	EXPECT_EQ(report.memory >= 16 << 20 && report.memory < 30 << 20, true); /* once; and what sanitizers have */
	stasis_report_done(&report);
	/* but for pages that were written to: the stub's, and what the two have done meanwhile */
	EXPECT_LE(private_kb(pid), before + 256);
}

TEST_MAIN
