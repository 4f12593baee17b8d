/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/nest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

/* what init is asked for, and what it answers: one message each; a pidfd comes with the answer to plant and spawn */
struct order {
	enum { ORDER_PLANT = 1, ORDER_SPAWN, ORDER_CALL, ORDER_CLOCKS, ORDER_RELEASE } what;
	pid_t pid;
	bool detach;
	struct clocks clocks;
	char *const *argv; /* as we had it when init was made: init is our copy */
	int (*fn)(void *data); /* likewise */
	void *data;
};

struct answer {
	int err; /* -errno or 0 */
};

static pid_t clone_child(uint64_t flags, pid_t pid, int *pidfd)
{
	struct clone_args args = { .flags = flags | (pidfd ? CLONE_PIDFD : 0),
		.exit_signal = SIGCHLD,
		.pidfd = (uint64_t)(uintptr_t)pidfd,
		.set_tid = pid ? (uint64_t)(uintptr_t)&pid : 0,
		.set_tid_size = pid ? 1 : 0 };
	long got = syscall(SYS_clone3, &args, sizeof(args));

	return got < 0 ? -errno : (pid_t)got;
}

/* handlers are addresses of ours, and what we ignore the program need not */
static void default_signals(void)
{
	for (int s = 1; s < 65; s++)
		if (s != SIGKILL && s != SIGSTOP)
			syscall(SYS_rt_sigaction, s, &(const uint64_t[4]){ 0 }, NULL, 8);
}

/* @maker: whoever is to hold us. If he died before we were told to die with him nobody else would end us. */
static void __attribute__((noreturn)) lie_still(pid_t maker)
{
	const uint64_t all = ~0ull;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
	syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL); /* until we are traced, which ends us as well */
	if (syscall(SYS_getppid) != maker)
		_exit(1);
	default_signals();
	for (;;)
		syscall(SYS_pause);
}

/* what the go-between of plant_with_clocks() has to tell */
struct planted {
	pid_t pid; /* or -errno */
	int clocks;
};

/* a child of our own that sees to the namespace, as we could not leave it again, and makes a sibling of itself in it */
static void __attribute__((noreturn)) go_between(pid_t maker, int to, pid_t pid, const struct clocks *clocks)
{
	struct planted p = { .clocks = clocks_continue(clocks) };
	struct clone_args args = { .flags = CLONE_PARENT, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1 };
	long got = syscall(SYS_clone3, &args, sizeof(args));

	if (got == 0) {
		close(to);
		lie_still(maker);
	}
	p.pid = got < 0 ? -errno : (pid_t)got;
	_exit(write(to, &p, sizeof(p)) != sizeof(p));
}

static pid_t plant_with_clocks(pid_t pid, const struct clocks *clocks, int *ret_clocks)
{
	struct planted p = { .pid = -ECHILD };
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	pid_t self = getpid(), got = clone_child(0, 0, NULL);
	if (got == 0)
		go_between(self, pair[1], pid, clocks);
	close(pair[1]);
	if (got > 0) {
		if (read_all(pair[0], &p, sizeof(p)) == sizeof(p))
			*ret_clocks = p.clocks;
		else
			p.pid = -ECHILD;
		while (waitpid(got, NULL, __WALL) < 0 && errno == EINTR)
			;
	}
	close(pair[0]);
	return got < 0 ? got : p.pid;
}

pid_t plant_here(pid_t pid, const struct clocks *clocks, int *ret_clocks)
{
	if (clocks)
		return plant_with_clocks(pid, clocks, ret_clocks);
	pid_t self = getpid(), got = clone_child(0, pid, NULL);

	if (got == 0)
		lie_still(self);
	return got;
}

/* ---- the init ---- */

static int send_answer(int socket, int err, int fd)
{
	struct answer a = { err };
	struct iovec io = { &a, sizeof(a) };
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(socket, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* struct signals - what a command begins with, as if the caller had started it himself: nohup(1) may have */
struct signals {
	sigset_t mask, ignored;
};

static void find_ignored(sigset_t *ret)
{
	struct sigaction action;

	sigemptyset(ret);
	for (int s = 1; s <= SIGRTMAX; s++)
		if (sigaction(s, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			sigaddset(ret, s);
	sigdelset(ret, SIGXFSZ); /* it is us who ignore that */
}

static void __attribute__((noreturn)) run_command(char *const *argv, const struct signals *signals)
{
	default_signals();
	for (int s = 1; s <= SIGRTMAX; s++)
		if (sigismember(&signals->ignored, s) == 1)
			signal(s, SIG_IGN);
	sigprocmask(SIG_SETMASK, &signals->mask, NULL);
	/* what the caller happens to have open leads outside of the program, and would stand against its checkpoints */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	execvp(argv[0], argv);
	int err = errno;
	fprintf(stderr, "stasis: cannot execute \"%s\": %s\n", argv[0], strerror(err));
	_exit(err == ENOENT ? 127 : 126);
}

static void __attribute__((noreturn)) reap(pid_t main)
{
	close_range(3, ~0u, 0); /* the image, and whatever else we were born with */
	for (;;) {
		int status;
		pid_t got = waitpid(-1, &status, __WALL);

		if (got < 0 && errno != EINTR)
			_exit(OUTCOME_ENVIRONMENT);
		if (got == main && WIFEXITED(status))
			_exit(WEXITSTATUS(status));
		if (got == main && WIFSIGNALED(status))
			_exit(128 + WTERMSIG(status));
	}
}

/* whoever reads the caller's output waits for its end: the init, which says nothing, must not hold it open */
static void detach_init(void)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, 0);
	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	if (null > 2)
		close(null);
}

static void obey(int socket, const struct signals *signals)
{
	pid_t first = 0;

	for (;;) {
		struct order o;
		ssize_t n = recv(socket, &o, sizeof(o), 0);

		if (n != sizeof(o))
			_exit(OUTCOME_ENVIRONMENT); /* whoever ordered us is gone */
		if (o.what == ORDER_RELEASE) {
			if (o.detach)
				detach_init();
			send_answer(socket, 0, -EBADF);
			reap(first);
		}
		if (o.what == ORDER_CALL) {
			send_answer(socket, o.fn(o.data), -EBADF);
			continue;
		}
		if (o.what == ORDER_CLOCKS) {
			send_answer(socket, clocks_continue(&o.clocks), -EBADF);
			continue;
		}
		int pidfd = -EBADF;
		pid_t self = getpid(), pid = clone_child(0, o.pid, &pidfd);
		if (pid == 0 && o.what == ORDER_PLANT)
			lie_still(self);
		if (pid == 0)
			run_command(o.argv, signals);
		if (!first && pid > 0)
			first = pid;
		send_answer(socket, pid < 0 ? pid : 0, pidfd);
		if (pidfd >= 0)
			close(pidfd);
	}
}

/* the mounts of the program are ours but for /proc, which must show its own pids */
static int mount_proc(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return -errno;
	return mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno : 0;
}

static void __attribute__((noreturn)) init_main(int socket, const sigset_t *mask)
{
	struct signals signals;
	sigset_t all;
	char go;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &signals.mask);
	if (mask)
		signals.mask = *mask;
	find_ignored(&signals.ignored);
	default_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "stasis-init");
	if (recv(socket, &go, 1, 0) != 1) /* ids are mapped now */
		_exit(OUTCOME_ENVIRONMENT);
	int err = mount_proc();
	if (send_answer(socket, err, -EBADF) < 0)
		_exit(OUTCOME_ENVIRONMENT);
	obey(socket, &signals);
	_exit(OUTCOME_ENVIRONMENT);
}

/* ---- our side ---- */

static bool has_cap(unsigned int cap)
{
	char line[256];
	_cleanup_fclose_ FILE *f = fopen("/proc/self/status", "re");
	unsigned long long eff = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &eff) == 1)
			break;
	return eff >> cap & 1;
}

bool nest_needs_user_ns(void)
{
	return !has_cap(21); /* CAP_SYS_ADMIN */
}

static int write_map(pid_t pid, const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return write_text(AT_FDCWD, path, text);
}

/* the caller is mapped to himself and to nobody else */
static int map_ids(pid_t pid)
{
	char uid[64], gid[64];

	snprintf(uid, sizeof(uid), "%u %u 1", geteuid(), geteuid());
	snprintf(gid, sizeof(gid), "%u %u 1", getegid(), getegid());
	int r = write_map(pid, "setgroups", "deny");
	if (r == 0)
		r = write_map(pid, "uid_map", uid);
	return r < 0 ? r : write_map(pid, "gid_map", gid);
}

static int take_answer(int socket, int *ret_fd)
{
	struct answer a;
	struct iovec io = { &a, sizeof(a) };
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n;

	do
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(a))
		return n < 0 ? -errno : -ECHILD;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (ret_fd && c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return a.err;
}

int nest_build(struct op *op, struct nest *nest, const sigset_t *mask)
{
	int pair[2];

	*nest = (struct nest){ .socket = -EBADF, .user_ns = nest_needs_user_ns() };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(op, -errno, "make a socket");
	pid_t init = clone_child(CLONE_NEWPID | CLONE_NEWNS | (nest->user_ns ? CLONE_NEWUSER : 0), 0, NULL);
	if (init == 0) {
		close(pair[0]);
		init_main(pair[1], mask);
	}
	close(pair[1]);
	if (init < 0) {
		close(pair[0]);
		return fail_as(op, OUTCOME_PERMISSION, "namespaces",
			"run as root, or allow users their own namespaces (sysctl user.max_user_namespaces, "
			"kernel.unprivileged_userns_clone)",
			"make a pid namespace for the program: %s", strerror(-init));
	}
	nest->init = init;
	nest->socket = pair[0];
	int r = nest->user_ns ? map_ids(init) : 0;
	if (r < 0) {
		nest_raze(nest);
		return fail(op, r, "map this user into a user namespace");
	}
	r = send(pair[0], "", 1, MSG_NOSIGNAL) == 1 ? take_answer(pair[0], NULL) : -errno;
	if (r == -ECHILD) {
		nest_raze(nest);
		return fail(op, r, "start the init of the pid namespace");
	}
	if (r < 0)
		note(op, "/proc still shows the pids of the host to the program: it cannot be mounted anew here (%s)",
			strerror(-r));
	return 0;
}

/* the pid behind a pidfd, as our /proc counts */
static pid_t pid_of(int pidfd)
{
	char path[64], line[128];
	int pid = -ESRCH;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	return pid > 0 ? pid : -ESRCH;
}

static pid_t order_child(struct nest *nest, const struct order *o)
{
	int pidfd = -EBADF;

	if (send(nest->socket, o, sizeof(*o), MSG_NOSIGNAL) < 0)
		return -errno;
	int r = take_answer(nest->socket, &pidfd);
	if (r < 0)
		return r;
	pid_t pid = pid_of(pidfd);
	fd_close(pidfd);
	return pid;
}

int nest_set_clocks(struct nest *nest, const struct clocks *c)
{
	const struct order o = { .what = ORDER_CLOCKS, .clocks = *c };

	if (send(nest->socket, &o, sizeof(o), MSG_NOSIGNAL) < 0)
		return -errno;
	return take_answer(nest->socket, NULL);
}

pid_t nest_plant(struct nest *nest, pid_t vpid)
{
	return order_child(nest, &(struct order){ .what = ORDER_PLANT, .pid = vpid });
}

pid_t nest_spawn(struct nest *nest, char *const argv[])
{
	return order_child(nest, &(struct order){ .what = ORDER_SPAWN, .argv = argv });
}

int nest_call(struct nest *nest, int (*fn)(void *data), void *data)
{
	struct order o = { .what = ORDER_CALL, .fn = fn, .data = data };

	if (send(nest->socket, &o, sizeof(o), MSG_NOSIGNAL) < 0)
		return -errno;
	return take_answer(nest->socket, NULL);
}

int nest_release(struct nest *nest, bool detach)
{
	struct order o = { .what = ORDER_RELEASE, .detach = detach };

	if (send(nest->socket, &o, sizeof(o), MSG_NOSIGNAL) < 0)
		return -errno;
	int r = take_answer(nest->socket, NULL);
	nest->socket = fd_close(nest->socket);
	return r;
}

/* do we trace it? then it is a task of a restart, and no other child of the caller */
bool is_traced(pid_t pid)
{
	char path[64], line[256];
	int tracer = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	return tracer == gettid();
}

void reap_tracees(void)
{
	for (;;) {
		siginfo_t info = { 0 };

		if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0 || !info.si_pid ||
			!is_traced(info.si_pid))
			return;
		if (info.si_code != CLD_EXITED && info.si_code != CLD_KILLED && info.si_code != CLD_DUMPED)
			kill(info.si_pid, SIGKILL);
		waitpid(info.si_pid, NULL, __WALL | WNOHANG);
	}
}

void nest_raze(struct nest *nest)
{
	if (nest->init > 0) {
		kill(nest->init, SIGKILL);
		while (waitpid(nest->init, NULL, __WALL | WNOHANG) == 0) {
			const struct timespec nap = { 0, 1000000 };

			reap_tracees();
			nanosleep(&nap, NULL);
		}
		nest->init = 0;
	}
	if (nest->socket >= 0)
		nest->socket = fd_close(nest->socket);
}
