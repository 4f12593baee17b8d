/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a child has slept in a call when it is stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "lib/test.h"
#include "proc/proc.h"
#include "remote/remote.h"

#define MS    1000000ll
#define SLEEP 5000 /* ms */
#define SLACK 300 /* how much later than it was made a process may begin to sleep, and what clocks differ by */

static const struct timespec time_to_sleep = { SLEEP / 1000, 0 };
static uint32_t word;
static int semaphore;

static void do_nanosleep(void)
{
	nanosleep(&time_to_sleep, NULL);
}

static void do_clock_nanosleep(void)
{
	clock_nanosleep(CLOCK_BOOTTIME, 0, &time_to_sleep, NULL);
}

static void do_raw_nanosleep(void)
{
	syscall(SYS_nanosleep, &time_to_sleep, NULL);
}

static void do_poll(void)
{
	poll(NULL, 0, SLEEP);
}

static void do_futex(void)
{
	syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time_to_sleep);
}

static void do_epoll(void)
{
	struct epoll_event e;

	epoll_wait(epoll_create1(0), &e, 1, SLEEP);
}

static void do_epoll_timespec(void)
{
	struct epoll_event e;

	syscall(SYS_epoll_pwait2, epoll_create1(0), &e, 1, &time_to_sleep, NULL, 8);
}

static void do_sigtimedwait(void)
{
	sigset_t set;

	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigtimedwait(&set, NULL, &time_to_sleep);
}

static void do_semtimedop(void)
{
	struct sembuf take = { 0, -1, 0 };

	semtimedop(semaphore, &take, 1, &time_to_sleep);
}

static void do_pause(void)
{
	pause();
}

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * MS }, NULL);
}

static pid_t start(void (*call)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		call();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, __WALL);
}

static int open_dir(pid_t pid)
{
	return proc_open_thread(proc_open(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), pid), pid);
}

static bool has_sched(void)
{
	struct proc_sched s;

	return proc_read_sched(open_dir(getpid()), &s) == 0;
}

/* stopped after 400 ms of its sleep, with what was seen before that */
static struct nap *stop(struct arena *a, pid_t pid, struct held *h)
{
	struct span clocks = { 0 };
	int dir = open_dir(pid);

	wait_ms(400);
	struct nap *n = nap_look(a, &clocks, dir);
	EXPECT_EQ(hold_seize(h, pid, 0), 0);
	EXPECT_EQ(hold_wait(h, 5000), 0);
	if (n)
		nap_end(n, h, dir, now_ns());
	return n;
}

static void expect_rest(void (*call)(void), long nr)
{
	struct arena a = { 0 };
	struct held h;
	const uint64_t begin = now_ns();
	pid_t pid = start(call);
	struct nap *n = stop(&a, pid, &h);

	ASSERT_TRUE(n);
	EXPECT_EQ(n->nr, nr);
	EXPECT_LE(nap_left(n), (SLEEP - 400 + SLACK) * MS);
	EXPECT_GE(nap_left(n), SLEEP * MS - (int64_t)(now_ns() - begin) - 10 * MS);
	EXPECT_EQ(hold_mend(&h, n), 0);
	if (nr == SYS_epoll_wait) {
		EXPECT_LE(arch_syscall_arg(&h.regs, 3), SLEEP - 400 + SLACK);
		EXPECT_GE(
			(int64_t)arch_syscall_arg(&h.regs, 3) * MS, SLEEP * MS - (int64_t)(now_ns() - begin) - 10 * MS);
	}
	hold_let_go(&h);
	end(pid);
	arena_done(&a);
}

TEST(rest_of_calls)
{
	if (!has_sched())
		SKIP("this kernel does not show /proc/PID/sched");
	semaphore = semget(IPC_PRIVATE, 1, 0600);
	expect_rest(do_nanosleep, SYS_clock_nanosleep);
	expect_rest(do_raw_nanosleep, SYS_nanosleep);
	expect_rest(do_clock_nanosleep, SYS_clock_nanosleep);
	expect_rest(do_poll, SYS_poll);
	expect_rest(do_futex, SYS_futex);
	expect_rest(do_epoll, SYS_epoll_wait);
	expect_rest(do_epoll_timespec, SYS_epoll_pwait2);
	expect_rest(do_sigtimedwait, SYS_rt_sigtimedwait);
	expect_rest(do_semtimedop, SYS_semtimedop);
	semctl(semaphore, 0, IPC_RMID);
}

static void find_memos(struct arena *a, struct memos *m, const struct held *h)
{
	struct span vmas = { 0 };
	int dir = proc_open(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), h->tid);

	ASSERT_EQ(proc_read_maps(a, dir, false, &vmas), 0);
	const struct proc_vma *v = vmas.at;
	for (size_t i = 0; i < vmas.n; i++)
		if (strcmp(v[i].name, "[vdso]") == 0)
			memos_find(m, (struct taddr){ v[i].start }, (struct taddr){ v[i].end });
	EXPECT_GE(m->n, 15);
	memos_take(m, &h->regs);
}

/* stopped again and again, and let go, it knows each time how long it has slept in all */
static void expect_rest_each_time(void (*call)(void))
{
	struct arena a = { 0 };
	const uint64_t begin = now_ns();
	pid_t pid = start(call);
	int dir = open_dir(pid);

	for (int round = 1; round <= 3; round++) {
		struct memos m = { 0 };
		struct held h;
		struct nap *n = stop(&a, pid, &h);
		const long left = SLEEP - 400 * round;

		ASSERT_TRUE(n);
		find_memos(&a, &m, &h);
		nap_recall(n, &m, &h);
		EXPECT_LE(nap_left(n), (left + SLACK) * MS);
		EXPECT_GE(nap_left(n), SLEEP * MS - (int64_t)(now_ns() - begin) - 10 * MS);
		EXPECT_EQ(hold_mend(&h, n), 0);
		int r = nap_go_on(n, &m, pid, &h.regs, dir);
		EXPECT_GE(r, 0);
		if (r > 0)
			EXPECT_EQ(arch_set_regs(pid, &h.regs), 0);
		hold_let_go(&h);
	}
	end(pid);
	arena_done(&a);
}

TEST(rest_of_calls_stopped_again)
{
	if (!has_sched())
		SKIP("this kernel does not show /proc/PID/sched");
	semaphore = semget(IPC_PRIVATE, 1, 0600);
	expect_rest_each_time(do_nanosleep);
	expect_rest_each_time(do_raw_nanosleep);
	expect_rest_each_time(do_poll);
	expect_rest_each_time(do_futex);
	expect_rest_each_time(do_epoll);
	expect_rest_each_time(do_epoll_timespec);
	expect_rest_each_time(do_sigtimedwait);
	expect_rest_each_time(do_semtimedop);
	semctl(semaphore, 0, IPC_RMID);
}

static void expect_named(void (*call)(void), long nr)
{
	struct arena a = { 0 };
	struct held h;
	pid_t pid = start(call);

	wait_ms(100);
	kill(pid, SIGSTOP);
	waitpid(pid, NULL, WUNTRACED);
	kill(pid, SIGCONT);
	struct nap *n = stop(&a, pid, &h);
	ASSERT_TRUE(n);
	EXPECT_EQ(n->call.nr, SYS_restart_syscall);
	EXPECT_EQ(n->nr, nr);
	hold_let_go(&h);
	end(pid);
	arena_done(&a);
}

TEST(restarted_calls_have_their_names)
{
	expect_named(do_raw_nanosleep, SYS_nanosleep);
	expect_named(do_clock_nanosleep, SYS_clock_nanosleep);
	expect_named(do_poll, SYS_poll);
	expect_named(do_futex, SYS_futex);
}

TEST(others_do_not_count)
{
	struct arena a = { 0 };
	struct held h;
	pid_t pid = start(do_pause);

	EXPECT_FALSE(stop(&a, pid, &h));
	EXPECT_EQ(nap_left(NULL), -1);
	hold_let_go(&h);
	end(pid);
	arena_done(&a);
}

static void on_signal(int signo)
{
}

/* ends with 1 when the call ends with EINTR */
static void do_epoll_with_handler(void)
{
	struct epoll_event e;

	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	_exit(epoll_wait(epoll_create1(0), &e, 1, 1000) < 0 && errno == EINTR);
}

static int end_of(void (*send)(pid_t pid), uint64_t own, uint64_t shared)
{
	struct arena a = { 0 };
	pid_t pid = start(do_epoll_with_handler);
	struct held h;
	struct nap *n = stop(&a, pid, &h);
	int status = 0;

	EXPECT_EQ(hold_mend(&h, n), 0);
	EXPECT_TRUE(h.again);
	send(pid);
	if (hold_unmend(&h, own, shared))
		EXPECT_EQ(arch_set_regs(pid, &h.regs), 0);
	hold_let_go(&h);
	EXPECT_EQ(waitpid(pid, &status, __WALL), pid);
	arena_done(&a);
	return WEXITSTATUS(status);
}

static void send_nothing(pid_t pid)
{
}

static void send_own(pid_t pid)
{
	syscall(SYS_tgkill, pid, pid, SIGUSR1);
}

static void send_shared(pid_t pid)
{
	kill(pid, SIGUSR1);
}

static void send_ignored(pid_t pid)
{
	kill(pid, SIGWINCH);
}

TEST(signals_end_calls_that_would_be_made_again)
{
	const uint64_t usr1 = 1ull << (SIGUSR1 - 1), usr2 = 1ull << (SIGUSR2 - 1);

	EXPECT_EQ(end_of(send_nothing, usr1 | usr2, usr1 | usr2), 0);
	EXPECT_EQ(end_of(send_ignored, usr1 | usr2, usr1 | usr2), 0);
	EXPECT_EQ(end_of(send_own, usr1, 0), 1);
	EXPECT_EQ(end_of(send_own, usr2, usr1), 0);
	EXPECT_EQ(end_of(send_shared, 0, usr1), 1);
	EXPECT_EQ(end_of(send_shared, usr1, usr2), 0);
}

static void do_polls(void)
{
	for (;;)
		poll(NULL, 0, 150);
}

TEST(one_that_stirred_is_forgotten)
{
	struct arena a = { 0 };
	struct span clocks = { 0 };
	struct held h;
	pid_t pid = start(do_polls);
	int dir = open_dir(pid);
	struct nap *n = NULL;

	for (int i = 0; i < 1000 && !n; i++) {
		wait_ms(2);
		n = nap_look(&a, &clocks, dir);
	}
	ASSERT_TRUE(n);
	wait_ms(500);
	ASSERT_EQ(hold_seize(&h, pid, 0), 0);
	ASSERT_EQ(hold_wait(&h, 5000), 0);
	nap_end(n, &h, dir, now_ns());
	EXPECT_EQ(nap_left(n), -1);
	hold_let_go(&h);
	end(pid);
	arena_done(&a);
}

TEST_MAIN
