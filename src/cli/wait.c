/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Standing by a program: its end through a pidfd, our signals through a signalfd, so that nothing can be missed.
 */
#include <errno.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "cli/cli.h"

#define NSEC_PER_SEC 1000000000

void forwarded_signals(sigset_t *set)
{
	static const int signals[] = {
		SIGHUP,
		SIGINT,
		SIGQUIT,
		SIGUSR1,
		SIGUSR2,
		SIGALRM,
		SIGTERM,
		SIGCONT,
		SIGTSTP,
		SIGWINCH,
		SIGXCPU,
		SIGPWR,
	};

	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(set, signals[i]);
	for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
		sigaddset(set, n);
}

int watch_begin(struct watch *w, const struct stasis_job *job, const sigset_t *signals)
{
	*w = (struct watch){ .job = *job, .signal_fd = -EBADF, .wait_fd = -EBADF, .pid_fd = -EBADF };

	w->wait_fd = pidfd_open(job->wait_pid, 0);
	if (w->wait_fd < 0)
		return -errno;
	/* it may have ended and been reaped by the init of its namespace: then there is nobody to signal */
	w->pid_fd = pidfd_open(job->pid, 0);
	w->signal_fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w->signal_fd < 0) {
		int err = errno;
		watch_end(w);
		return -err;
	}
	return 0;
}

void watch_end(struct watch *w)
{
	w->signal_fd = fd_close(w->signal_fd);
	w->wait_fd = fd_close(w->wait_fd);
	w->pid_fd = fd_close(w->pid_fd);
}

static bool has_ended(struct watch *w)
{
	int status;
	pid_t pid = waitpid(w->job.wait_pid, &status, WNOHANG);

	if (pid == 0 || (pid < 0 && errno != ECHILD))
		return false;
	if (pid < 0)
		w->status = EXIT_ENVIRONMENT; /* somebody else has reaped it: cannot be */
	else
		w->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return true;
}

static bool next_signal(struct watch *w, struct signalfd_siginfo *ret)
{
	return read(w->signal_fd, ret, sizeof(*ret)) == (ssize_t)sizeof(*ret);
}

enum watch_event watch_next(struct watch *w, uint64_t deadline_ns, struct signalfd_siginfo *ret_signal)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = w->wait_fd, .events = POLLIN },
			{ .fd = w->signal_fd, .events = POLLIN } };
		uint64_t now = clock_ns();

		if (has_ended(w))
			return WATCH_ENDED;
		if (next_signal(w, ret_signal))
			return WATCH_SIGNAL;
		if (deadline_ns && now >= deadline_ns)
			return WATCH_TIMEOUT;
		uint64_t left = deadline_ns ? deadline_ns - now : 0;
		struct timespec timeout = { (time_t)(left / NSEC_PER_SEC), (long)(left % NSEC_PER_SEC) };
		ppoll(fds, ARRAY_SIZE(fds), deadline_ns ? &timeout : NULL, NULL);
	}
}

/* Stop as the shell that started us expects it; the kernel does not stop a group that nobody could continue. */
static void stop_here(void)
{
	sigset_t stop, old;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, &old);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

void watch_forward(struct watch *w, int signo, bool from_kernel)
{
	pid_t group = from_kernel ? getpgid(w->job.pid) : -1;

	if (!from_kernel || group <= 1)
		pidfd_send_signal(w->pid_fd, signo, NULL, 0);
	else if (group != getpgrp() && pidfd_send_signal(w->pid_fd, 0, NULL, 0) == 0)
		kill(-group, signo);
	if (signo == SIGTSTP)
		stop_here();
}
