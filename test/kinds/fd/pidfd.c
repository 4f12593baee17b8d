/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define IS_PIDFD ((idtype_t)3) /* P_PIDFD, which older headers lack */
#define THREAD	 O_EXCL /* PIDFD_THREAD */

static int self, living, ended, buried, thread, childs;
static pid_t child, zombie;

static int open_pid(pid_t pid, unsigned int flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags);
}

static void nothing(void)
{
}

static pid_t end(int code)
{
	pid_t pid = fork();
	siginfo_t info;

	if (pid == 0)
		_exit(code);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	return pid;
}

static void make(void)
{
	self = open_pid(getpid(), 0);
	child = witness_child(nothing);
	living = open_pid(child, O_NONBLOCK);
	fcntl(living, F_SETFD, 0);
	zombie = end(7);
	ended = open_pid(zombie, 0);
	pid_t gone = end(1);
	buried = open_pid(gone, 0);
	waitpid(gone, NULL, 0);
	thread = open_pid(getpid(), THREAD); /* not in every kernel */
	childs = dup(living);
}

/* the pid as the kernel tells it */
static int pid_of(int fd)
{
	char path[64], line[128];
	int pid = -2;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	if (f)
		fclose(f);
	return pid;
}

static void say_one(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	SAY(fd);
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(fd, F_GETFD));
	SAY(pid_of(fd));
	SAY(poll(&p, 1, 0));
	SAY(p.revents & POLLIN);
	SAY(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0 ? errno : 0);
}

static void say_wait(int fd)
{
	siginfo_t info = { 0 };

	SAY(waitid(IS_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ? errno : 0);
	SAY(info.si_pid);
	SAY(info.si_status);
}

static void look(void)
{
	const int all[] = { self, living, ended, buried, thread, childs };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		say_one(all[i]);
	SAY(pid_of(self) == getpid());
	SAY(pid_of(living) == child);
	SAY(pid_of(ended) == zombie);
	say_wait(living);
	say_wait(ended);
	say_wait(buried);
	SAY(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, living, childs));
}

WITNESS(make, look)
