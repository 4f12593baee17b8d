/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Standing by a program: its end through a pidfd, our signals through a signalfd, so that nothing can be missed.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"

#include "cli/cli.h"

#define NSEC_PER_SEC 1000000000
#define LOOK_NS	     200000000 /* how often to look whether the program was stopped: it may not be our child */
#define DRAW_MS	     50

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
	w->terminal.fd = w->lent.fd = -EBADF;

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
	if (w->is_lent && w->restarted)
		terminal_set(&w->terminal);
	else if (w->is_lent)
		terminal_set_group(w->terminal.fd, getpgrp());
	w->is_lent = false;
}

/* ---- the terminal ---- */

/*
 * A program on the whole screen draws it again when the size changes, but it has come to a screen that shows something
 * else, of perhaps the same size. So the size changes to another one and, when it has had time to see that, back.
 */
static void draw_again(int fd)
{
	struct winsize size, other;
	struct termios now;

	if (tcgetattr(fd, &now) < 0 || now.c_lflag & ICANON || ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_row < 2)
		return;
	other = size;
	other.ws_row--;
	ioctl(fd, TIOCSWINSZ, &other);
	nap_ms(DRAW_MS);
	if (ioctl(fd, TIOCGWINSZ, &other) == 0 && other.ws_row == size.ws_row - 1 && other.ws_col == size.ws_col)
		ioctl(fd, TIOCSWINSZ, &size);
}

void watch_lend(struct watch *w, const struct terminal *terminal, bool restarted)
{
	w->terminal = *terminal;
	w->restarted = restarted;
	w->is_lent = terminal->fd >= 0 && terminal->group == getpgrp();
	if (w->is_lent && restarted)
		draw_again(terminal->fd);
}

static void take_back(struct watch *w)
{
	if (!w->is_lent)
		return;
	w->lent = w->terminal;
	terminal_look(&w->lent);
	terminal_set(&w->terminal);
	w->is_lent = false;
}

/* The shell has put us into the foreground, or left us in the background. */
static void lend_again(struct watch *w)
{
	if (w->is_lent || !terminal_is_ours(&w->terminal))
		return;
	terminal_look(&w->terminal);
	if (w->lent.fd >= 0)
		terminal_set(&w->lent);
	else
		terminal_set_group(w->terminal.fd, getpgid(w->job.pid));
	w->is_lent = true;
}

static bool has_stopped(const struct watch *w)
{
	char path[64], text[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)w->job.pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read_all(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = 0;
	const char *end = strrchr(text, ')');
	return end && strncmp(end, ") T", 3) == 0;
}

/*
 * Stop as the shell that started us expects it; the kernel does not stop a group that nobody could continue. Whoever
 * continues us continues the program.
 */
static void stop_here(struct watch *w)
{
	sigset_t stop, old;

	take_back(w);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, &old);
	sigprocmask(SIG_SETMASK, &old, NULL);
	lend_again(w);
	pid_t group = getpgid(w->job.pid);
	if (w->terminal.fd >= 0 && group > 1 && group != getpgrp())
		kill(-group, SIGCONT);
	if (w->lent.fd >= 0 && w->lent.group != group && w->lent.group != getpgrp())
		kill(-w->lent.group, SIGCONT);
}

/* ---- events ---- */

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
		uint64_t now = now_ns();

		if (has_ended(w))
			return WATCH_ENDED;
		if (next_signal(w, ret_signal))
			return WATCH_SIGNAL;
		if (deadline_ns && now >= deadline_ns)
			return WATCH_TIMEOUT;
		if (w->terminal.fd >= 0 && has_stopped(w))
			stop_here(w);
		uint64_t left = deadline_ns ? deadline_ns - now : 0;
		if (w->terminal.fd >= 0 && (!left || left > LOOK_NS))
			left = LOOK_NS;
		struct timespec timeout = { (time_t)(left / NSEC_PER_SEC), (long)(left % NSEC_PER_SEC) };
		ppoll(fds, ARRAY_SIZE(fds), left ? &timeout : NULL, NULL);
	}
}

void watch_forward(struct watch *w, int signo, bool from_kernel)
{
	pid_t group = from_kernel ? getpgid(w->job.pid) : -1;

	if (!from_kernel || group <= 1)
		pidfd_send_signal(w->pid_fd, signo, NULL, 0);
	else if (group != getpgrp() && pidfd_send_signal(w->pid_fd, 0, NULL, 0) == 0)
		kill(-group, signo);
	if (signo == SIGTSTP)
		stop_here(w);
	if (signo == SIGCONT)
		lend_again(w);
}
