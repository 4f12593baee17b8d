/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What proc says of a thread that sleeps in a system call.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/test.h"
#include "proc/parse.h"

TEST(syscall_lines)
{
	struct proc_syscall s = { .nr = 5 };

	ASSERT_EQ(parse_syscall("7 0x0 0x1 0xffffffff 0x3 0x4 0xffffffffffffffff 0x7ffe7d5b1498 0x7f517cb1a230\n", &s),
		0);
	EXPECT_EQ(s.nr, 7);
	EXPECT_EQ(s.arg[2], 0xffffffff);
	EXPECT_EQ(s.arg[5], UINT64_MAX);
	EXPECT_EQ(s.sp, 0x7ffe7d5b1498);
	EXPECT_EQ(s.ip, 0x7f517cb1a230);
	EXPECT_EQ(parse_syscall("running\n", &s), -EAGAIN);
	EXPECT_EQ(parse_syscall("-1 0x7ffe7d5b1498 0x7f517cb1a230\n", &s), -EAGAIN);
	EXPECT_EQ(parse_syscall("", &s), -EBADMSG);
	EXPECT_EQ(parse_syscall("7\n", &s), -EBADMSG);
	EXPECT_EQ(parse_syscall("7 0x0 0x1 0x2 0x3 0x4 0x5 0x6\n", &s), -EBADMSG);
	EXPECT_EQ(parse_syscall("7 0x0 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8\n", &s), -EBADMSG);
	EXPECT_EQ(parse_syscall("7 0x0 0x1 0x2 0x3 0x4 0x5 0x6 7\n", &s), -EBADMSG);
	EXPECT_EQ(parse_syscall("7 0x10000000000000000 0x1 0x2 0x3 0x4 0x5 0x6 0x7\n", &s), -EBADMSG);
	EXPECT_EQ(s.nr, 7);
}

static int sched_of(const char *text, struct proc_sched *s)
{
	char copy[512];
	struct lines l;

	snprintf(copy, sizeof(copy), "%s", text);
	lines_mem(&l, copy, strlen(copy));
	int r = parse_sched(&l, s);
	lines_close(&l);
	return r;
}

TEST(sched_lines)
{
	struct proc_sched s = { 0 };

	ASSERT_EQ(sched_of("a: (1, #threads: 1)\n-----\n"
			   "se.exec_start                                :       2373709.338478\n"
			   "se.vruntime                                  :             0.000001\n"
			   "nr_switches                                  :                    5\n"
			   "nr_voluntary_switches                        :                    3\n",
			  &s),
		0);
	EXPECT_EQ(s.exec_start, 2373709338478);
	EXPECT_EQ(s.voluntary, 3);
	EXPECT_EQ(sched_of("se.exec_start   :  1.000002\n", &s), -EPROTONOSUPPORT);
	EXPECT_EQ(sched_of("", &s), -EPROTONOSUPPORT);
	EXPECT_EQ(sched_of("se.exec_start   :  1.00002\nnr_voluntary_switches : 1\n", &s), -EBADMSG);
	EXPECT_EQ(sched_of("se.exec_start   :  -1.000002\nnr_voluntary_switches : 1\n", &s), -EBADMSG);
	EXPECT_EQ(sched_of("se.exec_start   :  1.000002\nnr_voluntary_switches : x\n", &s), -EBADMSG);
	EXPECT_EQ(sched_of("se.exec_start   :  99999999999999999.000002\nnr_voluntary_switches : 1\n", &s), -EBADMSG);
	EXPECT_EQ(s.voluntary, 3);
}

TEST(asleep_live)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct proc_syscall s;
	struct proc_sched before, after;
	char wchan[64];

	pid_t pid = fork();
	if (pid == 0) {
		poll(NULL, 0, 600000);
		_exit(0);
	}
	int dir = proc_open_thread(proc_open(proc, pid), pid), r = -EAGAIN;
	for (int i = 0; i < 1000 && r == -EAGAIN; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		r = proc_read_syscall(dir, &s);
	}
	EXPECT_EQ(r, 0);
	EXPECT_EQ(s.nr, SYS_poll);
	EXPECT_EQ(s.arg[2], 600000);
	EXPECT_EQ(proc_read_wchan(dir, wchan, sizeof(wchan)), 0);
	EXPECT_GT(strlen(wchan), 0);
	r = proc_read_sched(dir, &before);
	if (r == 0) {
		EXPECT_EQ(proc_read_sched(dir, &after), 0);
		EXPECT_EQ(before.exec_start, after.exec_start);
		EXPECT_EQ(before.voluntary, after.voluntary);
	} else {
		EXPECT_EQ(r, -ENOENT); /* no CONFIG_SCHED_DEBUG */
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

TEST_MAIN
