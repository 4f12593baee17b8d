/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The harness gives a pipe as standard output, and /dev/null, which nobody can wait for, as input. */
#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

#include "lib/witness.h"

enum {
	FILLED = 1,
	EMPTY,
	OUTPUT,
	EDGE,
	EXCLUSIVE,
	FIRED,
	FIRED_PIPE,
	ARMED,
	WAKEUP,
	MOVED,
	TAKEN,
	ORPHAN,
	SIGNALS,
	CHILDS,
	UNNUMBERED,
	INNER,
};

static int ep, outer, filled[2], empty[2], edge, exclusive[2], fired, fired_pipe[2], armed, wakeup, moved[2], taken,
	orphan[2], signals, childs, unnumbered;
static pid_t holder, sharer;

static int ctl(int at, int what, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data << 40 | data };

	return epoll_ctl(at, what, fd, &event) < 0 ? -errno : 0;
}

static void watch(int at, int fd, uint32_t events, uint64_t data)
{
	if (ctl(at, EPOLL_CTL_ADD, fd, events, data) < 0)
		_exit(5);
}

static void hold_the_end(void)
{
	close(ep);
	close(filled[0]);
}

/* an epoll of its own, in which it alone waits for its own signals, beside the one that it has from its parent */
static void share(void)
{
	sigset_t set;

	close(signals);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	childs = signalfd(-1, &set, SFD_NONBLOCK);
	watch(ep, childs, EPOLLIN, CHILDS);
}

/* it has told one event, and waits to be armed again */
static void fire(int fd, uint32_t events, uint64_t data)
{
	struct epoll_event got;

	watch(ep, fd, events | EPOLLONESHOT, data);
	if (epoll_wait(ep, &got, 1, 0) != 1 || (got.data.u64 & 255) != data)
		_exit(6);
}

static void make_fired(void)
{
	char byte = 0;

	fired = eventfd(1, EFD_NONBLOCK);
	fire(fired, EPOLLIN, FIRED);
	if (pipe2(fired_pipe, O_NONBLOCK) < 0 || write(fired_pipe[1], "x", 1) != 1)
		_exit(4);
	fire(fired_pipe[0], EPOLLIN | EPOLLET, FIRED_PIPE);
	if (read(fired_pipe[0], &byte, 1) != 1)
		_exit(4);
	armed = eventfd(0, EFD_NONBLOCK);
	watch(ep, armed, EPOLLIN | EPOLLONESHOT, ARMED);
}

/* the number of one file leads to another now, and both are watched under it */
static void make_moved(void)
{
	if (pipe2(moved, O_NONBLOCK) < 0 || write(moved[1], "x", 1) != 1)
		_exit(4);
	watch(ep, moved[0], EPOLLIN, MOVED);
	taken = moved[0];
	moved[0] = fcntl(taken, F_DUPFD, 200);
	dup2(fired, taken);
	watch(ep, taken, EPOLLIN, TAKEN);
	unnumbered = eventfd(1, 0);
	dup2(unnumbered, 300);
	watch(ep, 300, EPOLLIN | EPOLLRDHUP, UNNUMBERED);
	close(300); /* its number leads nowhere */
}

static void make_pipes(void)
{
	if (pipe(filled) < 0 || pipe(empty) < 0 || pipe(exclusive) < 0 || pipe(orphan) < 0)
		_exit(4);
	if (write(filled[1], "data", 4) != 4 || write(orphan[1], "x", 1) != 1)
		_exit(4);
	watch(ep, filled[0], EPOLLIN | EPOLLPRI, FILLED);
	watch(ep, empty[0], EPOLLIN, EMPTY);
	watch(ep, exclusive[0], EPOLLIN | EPOLLEXCLUSIVE, EXCLUSIVE);
	watch(ep, orphan[0], EPOLLIN, ORPHAN);
	watch(ep, 1, EPOLLOUT, OUTPUT);
}

static void make(void)
{
	sigset_t set;

	ep = epoll_create1(EPOLL_CLOEXEC);
	fcntl(ep, F_SETFL, O_NONBLOCK);
	make_fired();
	make_moved();
	make_pipes();
	edge = eventfd(0, EFD_NONBLOCK);
	watch(ep, edge, EPOLLIN | EPOLLET, EDGE);
	wakeup = eventfd(1, 0);
	watch(ep, wakeup, EPOLLIN | EPOLLWAKEUP, WAKEUP);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigdelset(&set, SIGUSR2);
	signals = signalfd(-1, &set, SFD_NONBLOCK);
	watch(ep, signals, EPOLLIN, SIGNALS);
	outer = epoll_create1(0);
	watch(outer, ep, EPOLLIN, INNER);
	holder = witness_child(hold_the_end);
	close(orphan[0]);
	sharer = witness_child(share);
}

static int by_data(const void *a, const void *b)
{
	const struct epoll_event *x = a, *y = b;

	return x->data.u64 < y->data.u64 ? -1 : x->data.u64 > y->data.u64;
}

static struct epoll_event ready[32];

static int drain(int at)
{
	int n = epoll_wait(at, ready, 32, 0);

	if (n > 0)
		qsort(ready, (size_t)n, sizeof(ready[0]), by_data);
	return n;
}

static void say_ready(const char *when, int at)
{
	int n = drain(at);

	witness_say("%s:", when);
	for (int i = 0; i < n; i++)
		witness_say(" %llx=%x", (unsigned long long)ready[i].data.u64, ready[i].events);
	witness_say("\n");
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* what is registered, as the kernel tells it */
static void say_registrations(int at)
{
	char lines[64][96], path[64], line[256];
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", at);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f) && n < 64)
		if (strncmp(line, "tfd:", 4) == 0)
			snprintf(lines[n++], sizeof(lines[0]), "%.*s", (int)strcspn(line, "p"), line);
	if (f)
		fclose(f);
	qsort(lines, n, sizeof(lines[0]), by_text);
	for (size_t i = 0; i < n; i++)
		witness_say("%s\n", lines[i]);
}

static void look_at_fired(void)
{
	char byte = 0;

	SAY(ctl(ep, EPOLL_CTL_MOD, fired, EPOLLIN | EPOLLONESHOT, FIRED));
	SAY(ctl(ep, EPOLL_CTL_MOD, fired_pipe[0], EPOLLIN | EPOLLET | EPOLLONESHOT, FIRED_PIPE));
	say_ready("armed again", ep);
	say_ready("fired", ep);
	SAY(write(fired_pipe[1], "x", 1));
	say_ready("with data", ep);
	SAY(read(fired_pipe[0], &byte, 1));
	SAY(byte);
	SAY(read(fired_pipe[0], &byte, 1));
	SAY(write(armed, &(uint64_t){ 1 }, 8));
	say_ready("first shot", ep);
	SAY(read(armed, &(uint64_t){ 0 }, 8));
	SAY(ctl(ep, EPOLL_CTL_MOD, armed, EPOLLIN | EPOLLONESHOT, ARMED));
}

static void look_at_numbers(void)
{
	int now = fcntl(taken, F_DUPFD, 400);

	SAY(ctl(ep, EPOLL_CTL_ADD, taken, EPOLLIN, TAKEN));
	SAY(ctl(ep, EPOLL_CTL_MOD, taken, EPOLLIN, TAKEN));
	SAY(ctl(ep, EPOLL_CTL_MOD, moved[0], EPOLLIN, MOVED));
	dup2(moved[0], taken);
	SAY(ctl(ep, EPOLL_CTL_ADD, taken, EPOLLIN, MOVED));
	SAY(ctl(ep, EPOLL_CTL_DEL, taken, 0, 0));
	say_ready("without the moved one", ep);
	SAY(ctl(ep, EPOLL_CTL_ADD, taken, EPOLLIN, MOVED));
	dup2(now, taken);
	close(now);
	SAY(ctl(ep, EPOLL_CTL_MOD, exclusive[0], EPOLLIN, EXCLUSIVE));
	SAY(ctl(ep, EPOLL_CTL_MOD, empty[0], EPOLLIN, EMPTY));
	SAY(ctl(ep, EPOLL_CTL_ADD, 1, EPOLLOUT, OUTPUT));
	SAY(ctl(ep, EPOLL_CTL_ADD, 0, EPOLLIN, 0));
}

static void look_at_events(void)
{
	struct signalfd_siginfo info = { 0 };
	char byte;

	SAY(write(edge, &(uint64_t){ 1 }, 8));
	say_ready("edge", ep);
	say_ready("no edge", ep);
	SAY(read(edge, &(uint64_t){ 0 }, 8));
	SAY(write(exclusive[1], "x", 1));
	SAY(write(empty[1], "x", 1));
	say_ready("pipes", ep);
	SAY(read(exclusive[0], &byte, 1));
	SAY(read(empty[0], &byte, 1));
	kill(getpid(), SIGUSR1);
	say_ready("signal", ep);
	SAY(read(signals, &info, sizeof(info)));
	SAY(info.ssi_signo);
	SAY(drain(outer));
	SAY(ready[0].data.u64);
}

static void look(void)
{
	drain(ep); /* an edge may be told once more */
	SAY(fcntl(ep, F_GETFL));
	SAY(fcntl(ep, F_GETFD));
	say_registrations(ep);
	say_registrations(outer);
	say_ready("ready", ep);
	look_at_fired();
	look_at_numbers();
	look_at_events();
	SAY(syscall(SYS_kcmp, getpid(), sharer, KCMP_FILE, ep, ep));
	SAY(syscall(SYS_kcmp, getpid(), sharer, KCMP_FILE, outer, outer));
	say_registrations(ep);
}

WITNESS(make, look)
