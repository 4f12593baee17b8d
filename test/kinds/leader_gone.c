/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes whose first thread has ended while others go on: with files, timers, a child, a name and many that wait; one that is
 * stopped; and one that is ended at each look, to see what its parent is told.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "lib/many.h"
#include "lib/witness.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

enum { RUNS, STOPPED, ENDS, CHILDREN };

#define CROWD 120 /* so many that what they have in common is stored once */

/* what a child is asked, and says */
static struct talk {
	_Atomic unsigned int question, answer;
	atomic_int end;
	atomic_ulong counted, ticks, sent;
	int pid, is_first, offset, echoed, grandchild, waits, group;
	char byte, name[16];
} * talk;

static pid_t child[CHILDREN];
static int to_child[2], from_child[2], file;
static struct talk *self; /* of this child */
static pid_t grandchild;
static int value = 17;

static void on_signal(int signo)
{
	++*(signo == SIGALRM ? &self->ticks : &self->sent);
}

static void tell(struct talk *t)
{
	siginfo_t info = { 0 };
	char byte = 0;

	t->pid = getpid();
	t->is_first = syscall(SYS_gettid) == getpid();
	t->offset = (int)lseek(file, 0, SEEK_CUR);
	pread(file, &t->byte, 1, 3);
	t->echoed = t == &talk[RUNS] && read(to_child[0], &byte, 1) == 1 && write(from_child[1], &byte, 1) == 1;
	t->waits = waitid(P_PID, (id_t)grandchild, &info, WEXITED | WNOHANG | WNOWAIT);
	t->group = getpgrp();
	pthread_getname_np(pthread_self(), t->name, sizeof(t->name));
}

static void leave(struct talk *t)
{
	if (t->end)
		syscall(SYS_exit, 3);
	witness_nap();
}

static void *answer(void *arg)
{
	struct talk *t = arg;

	pthread_setname_np(pthread_self(), "answers");
	grandchild = fork();
	if (grandchild == 0)
		for (;;)
			pause();
	t->grandchild = grandchild;
	for (t->answer = t->question = 1;; leave(t))
		if (t->answer != t->question) {
			tell(t);
			t->answer = t->question;
		}
	return NULL;
}

static void *count(void *arg)
{
	for (struct talk *t = arg;; leave(t))
		t->counted += (unsigned long)(value == 17);
	return NULL;
}

static void run_child(struct talk *t)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	const struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	pthread_t thread;
	sigset_t waits;

	self = t;
	setpgid(0, 0);
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	lseek(file, 5, SEEK_SET);
	sigemptyset(&waits);
	sigaddset(&waits, SIGUSR2);
	sigprocmask(SIG_BLOCK, &waits, NULL);
	kill(getpid(), SIGUSR2);
	pthread_create(&thread, NULL, answer, t);
	pthread_create(&thread, NULL, count, t);
	if (t == &talk[RUNS])
		be_many(CROWD);
	prctl(PR_SET_NAME, "first");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* of this thread alone */
	syscall(SYS_exit, 42);
}

/* the first number of a line of /proc/PID/status */
static long status(pid_t pid, const char *name, int base)
{
	char path[64], line[256];
	size_t len = strlen(name);
	long n = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && n < 0 && fgets(line, sizeof(line), f))
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			n = strtol(line + len + 1, NULL, base);
	if (f)
		fclose(f);
	return n;
}

static const char *text_of(pid_t pid, const char *name)
{
	static char text[1024];
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return text;
}

static char state(pid_t pid)
{
	const char *end = strrchr(text_of(pid, "stat"), ')');

	return end ? end[2] : '?';
}

static int exit_code(pid_t pid)
{
	const char *last = strrchr(text_of(pid, "stat"), ' ');

	return last ? atoi(last + 1) : -1;
}

static void make_child(int n)
{
	talk[n].question = talk[n].answer = 0;
	talk[n].end = 0;
	child[n] = fork();
	if (child[n] == 0)
		run_child(&talk[n]);
	while (!talk[n].answer || state(child[n]) != 'Z')
		witness_nap();
}

static int goes_on(atomic_ulong *n)
{
	unsigned long before = *n;

	for (int turn = 0; turn < 1000 && *n == before; turn++)
		witness_nap();
	return *n != before;
}

static int answers(int n)
{
	unsigned int now = talk[n].question + 1;

	talk[n].question = now;
	for (int turn = 0; turn < 2000 && talk[n].answer != now; turn++)
		witness_nap();
	return talk[n].answer == now;
}

/* when it has just stopped its threads may still be on their way to it */
static int stands_still(int n)
{
	for (int turn = 0; turn < 1000; turn++) {
		unsigned long before = talk[n].counted;

		for (int i = 0; i < 10; i++)
			witness_nap();
		if (talk[n].counted == before)
			return 1;
	}
	return 0;
}

static void *wait_for_it(void *arg)
{
	atomic_int *tid = arg;

	*tid = (int)syscall(SYS_gettid);
	while (*tid)
		witness_nap();
	return NULL;
}

/* EINVAL: pidfds are of leaders alone */
static int is_reached(void)
{
	atomic_int tid = 0;
	pthread_t thread;

	pthread_create(&thread, NULL, wait_for_it, &tid);
	while (!tid)
		witness_nap();
	int fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
	tid = 0;
	pthread_join(thread, NULL);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void make(void)
{
	const size_t len = sizeof(*talk) * CHILDREN;

	if (!is_reached())
		witness_barred("Linux has pidfds of threads, to reach what a process has by, from 6.9 on");
	talk = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file = open(witness_path("data"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (talk == MAP_FAILED || file < 0 || write(file, "0123456789", 10) != 10 || pipe(to_child) < 0 ||
		pipe(from_child) < 0)
		exit(1);
	for (int i = 0; i < CHILDREN; i++)
		make_child(i);
	kill(child[STOPPED], SIGSTOP);
	stands_still(STOPPED);
}

static void look_from_outside(pid_t pid)
{
	char path[64];
	struct stat st = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	SAY(state(pid) == 'Z');
	SAY(exit_code(pid));
	SAY(strcmp(text_of(pid, "comm"), "first\n"));
	SAY(status(pid, "NoNewPrivs", 10));
	SAY(status(pid, "ShdPnd", 16) >> (SIGUSR2 - 1) & 1);
	SAY(status(pid, "Uid", 10));
	SAY(status(pid, "Gid", 10));
	SAY(stat(path, &st));
	SAY(st.st_nlink); /* two and its threads */
}

static void look_at_talk(int n)
{
	char byte = 'x';

	if (n == RUNS)
		SAY(write(to_child[1], &byte, 1));
	SAY(answers(n));
	SAY(talk[n].pid == child[n]);
	SAY(talk[n].is_first);
	SAY(talk[n].offset);
	SAY(talk[n].byte);
	SAY(talk[n].waits);
	SAY(talk[n].group == child[n]);
	SAY(talk[n].name);
	SAY(goes_on(&talk[n].counted));
	SAY(goes_on(&talk[n].ticks));
	SAY(status(talk[n].grandchild, "PPid", 10) == child[n]);
	SAY(status(talk[n].grandchild, "NoNewPrivs", 10));
	unsigned long sent = talk[n].sent;
	SAY(kill(child[n], SIGUSR1));
	for (int turn = 0; turn < 1000 && talk[n].sent == sent; turn++)
		witness_nap();
	SAY(talk[n].sent - sent);
	if (n == RUNS)
		SAY(read(from_child[0], &byte, 1));
}

static void look_at_stopped(void)
{
	siginfo_t info = { 0 };
	pid_t pid = child[STOPPED];

	SAY(stands_still(STOPPED));
	SAY(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG | WNOWAIT));
	SAY(info.si_pid == pid);
	SAY(info.si_status);
	SAY(kill(pid, SIGCONT));
	look_at_talk(STOPPED);
	SAY(kill(pid, SIGSTOP));
	SAY(stands_still(STOPPED));
}

/* as it ends its child goes to whoever takes orphans: it is ended before */
static void look_at_end(void)
{
	siginfo_t info = { 0 };
	pid_t pid = child[ENDS];

	look_at_talk(ENDS);
	SAY(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT));
	SAY(info.si_pid);
	kill(talk[ENDS].grandchild, SIGKILL);
	talk[ENDS].end = 1;
	SAY(waitid(P_PID, (id_t)pid, &info, WEXITED));
	SAY(info.si_code);
	SAY(info.si_status);
	make_child(ENDS);
}

static void look(void)
{
	for (int i = 0; i < CHILDREN; i++)
		look_from_outside(child[i]);
	look_at_talk(RUNS);
	look_at_stopped();
	look_at_end();
}

static void end(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		kill(talk[i].grandchild, SIGKILL);
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
	}
}

int main(int argc, char **argv)
{
	int r = witness_main(argc, argv, make, look);

	if (talk)
		end();
	return r;
}
