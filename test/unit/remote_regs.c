/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Registers and signal masks as they are read out of the kernel, against what ptrace(2) says of the same tasks.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "lib/test.h"
#include "proc/proc.h"
#include "remote/remote.h"

static void block(int signo)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signo);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void run_in_user_mode(void)
{
	__asm__ volatile("mov $0x1122334455667788, %%r15\n\t"
			 "mov $0x99, %%rbx\n\t"
			 "std\n"
			 "1:	jmp 1b"
			 :
			 :
			 : "r15", "rbx");
}

static void sleep_with_another_mask(void)
{
	sigset_t none;

	block(SIGUSR1);
	sigfillset(&none);
	sigdelset(&none, SIGUSR2);
	sigsuspend(&none);
}

static void poll_with_another_mask(void)
{
	const struct timespec hour = { 3600, 0 };
	sigset_t none;

	block(SIGUSR1);
	sigemptyset(&none);
	ppoll(NULL, 0, &hour, &none);
}

static void have_a_base(void)
{
	static long there;

	syscall(SYS_arch_prctl, ARCH_SET_GS, &there);
	pause();
}

/* its base comes from the table of segments */
static void have_a_selector(void)
{
	__asm__ volatile("mov %0, %%gs" : : "r"(0x2b));
	pause();
}

static void sleep_for_a_time(void)
{
	nanosleep(&(struct timespec){ 3600, 0 }, NULL);
}

static void wait_for_a_signal(void)
{
	pause();
}

static const struct state {
	void (*enter)(void);
	bool by_ptrace; /* alone */
} states[] = {
	{ run_in_user_mode, false },
	{ wait_for_a_signal, false },
	{ sleep_with_another_mask, false },
	{ poll_with_another_mask, false },
	{ have_a_base, false },
	{ have_a_selector, true },
	{ sleep_for_a_time, false },
};

/* struct known - as proc_read_regs() tells of one */
struct known {
	struct proc_regs regs;
	struct arch_regs unpacked;
	bool can;
	int n;
};

static void keep(void *data, const struct proc_regs *regs)
{
	struct known *k = data;

	k->regs = *regs;
	k->can = arch_unpack_regs(regs->regs, &k->unpacked);
	k->n++;
}

static void compare(int fd, pid_t pid, bool by_ptrace)
{
	struct known k = { 0 };
	struct held h;

	ASSERT_EQ(hold_seize(&h, pid, 0), 0);
	ASSERT_EQ(hold_wait(&h, 5000), 0);
	ASSERT_EQ(proc_read_regs(fd, pid, keep, &k), 0);
	ASSERT_EQ(k.n, 1);
	EXPECT_EQ(k.regs.tid, pid);
	EXPECT_EQ(k.regs.rests, true);
	EXPECT_EQ(k.regs.sigmask, h.sigmask);
	EXPECT_EQ(k.can, !by_ptrace);
	if (!by_ptrace)
		EXPECT_EQ(memcmp(&k.unpacked, &h.regs, sizeof(h.regs)), 0);
	hold_let_go(&h);
}

TEST(each_register_is_as_ptrace_says)
{
	const struct proc_reg_names names = { arch_task_regs, arch_entry_regs };
	int fd = proc_open_regs(&names);

	if (fd == -EPERM || fd == -EOPNOTSUPP || fd == -ENOENT)
		SKIP("bpf(2) is not to be had here, or the kernel describes no types");
	ASSERT_EQ(fd >= 0, 1);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				states[i].enter();
		nap_ms(30);
		compare(fd, pid, states[i].by_ptrace);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(fd);
}

TEST_MAIN
