/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two sessions on pseudoterminals of the witness. In the first a child of the leader has the foreground, and another has
 * left the terminal; the leader of the second was its own foreground, and holds nothing but /dev/tty.
 */
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "lib/witness.h"

enum { FIRST, JOB, LEFT, SECOND, TASKS };

struct shared {
	pid_t pid[TASKS];
	volatile int interrupted[TASKS], stopped[TASKS];
};

static struct shared *shared;
static int master[2], me, slave = -1, tty = -1;

static void on_signal(int signo)
{
	(*(signo == SIGINT ? &shared->interrupted[me] : &shared->stopped[me]))++;
}

static void rest(int who)
{
	me = who;
	shared->pid[who] = getpid();
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTSTP, &act, NULL);
	for (;;)
		pause();
}

static void be(int who)
{
	pid_t pid = fork();

	if (pid == 0 && who == JOB)
		setpgid(0, 0);
	if (pid == 0 && who == LEFT)
		ioctl(open("/dev/tty", O_RDWR | O_NOCTTY), TIOCNOTTY);
	if (pid == 0)
		rest(who);
	while (!shared->pid[who])
		witness_nap();
}

static void first(void)
{
	setsid();
	slave = open(ptsname(master[0]), O_RDWR);
	tty = open("/dev/tty", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	close(master[0]);
	close(master[1]);
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		_exit(4);
	be(JOB);
	be(LEFT);
	pid_t job = shared->pid[JOB];
	if (ioctl(slave, TIOCSPGRP, &job) < 0)
		_exit(4);
	rest(FIRST);
}

static void second(void)
{
	setsid();
	slave = open(ptsname(master[1]), O_RDWR);
	tty = open("/dev/tty", O_RDWR);
	if (slave < 0 || tty < 0)
		_exit(4);
	close(slave);
	rest(SECOND);
}

static void make(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 2; i++)
		if ((master[i] = posix_openpt(O_RDWR | O_NOCTTY)) < 0 || unlockpt(master[i]) < 0)
			_exit(4);
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (pid == 0)
			i == 0 ? first() : second();
		while (!shared->pid[i == 0 ? FIRST : SECOND])
			witness_nap();
		witness_children[witness_n_children++] = pid;
	}
	witness_children[witness_n_children++] = shared->pid[JOB];
	witness_children[witness_n_children++] = shared->pid[LEFT];
	while (shared->pid[LEFT] == 0)
		witness_nap();
}

/* fields 7 and 8 of /proc/PID/stat: tty_nr and tpgid */
static void say_stat(int who)
{
	char path[64], text[1024] = "", state;
	int ppid, pgrp = -1, session = -1, nr = -1, tpgid = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", shared->pid[who]);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = 0;
	close(fd);
	char *p = strrchr(text, ')');
	SAY(p ? sscanf(p, ") %c %d %d %d %d %d", &state, &ppid, &pgrp, &session, &nr, &tpgid) : 0);
	SAY(pgrp);
	SAY(session);
	SAY(nr);
	SAY(tpgid);
}

static void say_link(int who, int fd)
{
	char path[64], link[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", shared->pid[who], fd);
	SAY(readlink(path, link, sizeof(link) - 1));
	SAY(link);
}

/* What is typed reaches the foreground alone: how many signals each got. */
static void type(int fd, char what, volatile int *counts)
{
	int before[TASKS];
	char eaten[64];

	for (int i = 0; i < TASKS; i++)
		before[i] = counts[i];
	SAY(write(fd, &what, 1));
	for (int n = 0; n < 500 && memcmp(before, (void *)counts, sizeof(before)) == 0; n++)
		witness_nap();
	for (int i = 0; i < TASKS; i++)
		SAY(counts[i] - before[i]);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	while (poll(&p, 1, 50) == 1 && read(fd, eaten, sizeof(eaten)) > 0) /* the echo */
		;
}

static void look(void)
{
	int group = -1, session = -1;

	for (int i = 0; i < TASKS; i++) {
		SAY(shared->pid[i]);
		say_stat(i);
	}
	for (int i = 0; i < 2; i++) {
		SAY(ptsname(master[i]));
		SAY(ioctl(master[i], TIOCGSID, &session));
		SAY(session);
		SAY(ioctl(master[i], TIOCGPGRP, &group));
		SAY(group);
		type(master[i], 'C' & 037, shared->interrupted);
		type(master[i], 'Z' & 037, shared->stopped);
	}
	say_link(FIRST, 5);
	say_link(FIRST, 6);
	say_link(SECOND, 6);
}

WITNESS(make, look)
