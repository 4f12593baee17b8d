/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static int some, all, none, shared;
static pid_t child;

static void nothing(void)
{
}

static int open_mask(int flags, const int *signo, size_t n)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < n; i++)
		sigaddset(&set, signo[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, flags);
}

static void make(void)
{
	sigset_t every, set;

	sigfillset(&every);
	some = open_mask(SFD_NONBLOCK, (const int[]){ SIGUSR1, 64 }, 2);
	none = open_mask(SFD_NONBLOCK | SFD_CLOEXEC, NULL, 0);
	all = signalfd(-1, &every, SFD_CLOEXEC);
	shared = fcntl(some, F_DUPFD_CLOEXEC, 80);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = witness_child(nothing);
	kill(getpid(), SIGUSR2); /* stays pending: nobody reads it */
}

/* the mask as the kernel tells it */
static const char *mask_of(int fd)
{
	static char line[128];
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	if (!f)
		return "cannot read";
	while (fgets(line, sizeof(line), f) && strncmp(line, "sigmask:", 8) != 0)
		;
	fclose(f);
	line[strcspn(line, "\n")] = 0;
	return line;
}

static void say_one(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	SAY(fd);
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(fd, F_GETFD));
	SAY(mask_of(fd));
	SAY(poll(&p, 1, 0));
}

static void say_signal(int fd)
{
	struct signalfd_siginfo info = { 0 };

	SAY(read(fd, &info, sizeof(info)) < 0 ? -errno : 0);
	SAY(info.ssi_signo);
	SAY(info.ssi_pid == (uint32_t)getpid());
	SAY(info.ssi_int);
}

static void look(void)
{
	say_one(some);
	say_one(all);
	say_one(none);
	say_one(shared);
	say_signal(some);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), 64, (union sigval){ .sival_int = 77 });
	say_one(shared);
	say_signal(shared);
	say_signal(some);
	say_signal(some);
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, some, some));
	SAY(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, some, shared));
}

WITNESS(make, look)
