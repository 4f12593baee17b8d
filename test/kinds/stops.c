/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Children that job control has stopped, each by another signal, and some that go on: what their parent can wait for, how
 * often it was told, and that they can be continued and stopped once more.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "lib/witness.h"

static volatile sig_atomic_t told;

static void on_child(int signo)
{
	told++;
}

/* what the children count, as long as they run; [1] is the second thread's */
struct counters {
	atomic_ulong n[2];
};

static struct counters *counters;

static void *count(void *arg)
{
	for (atomic_ulong *n = arg;; witness_nap())
		++*n;
	return arg;
}

static struct child {
	const char *name;
	int signo, threads;
	int waits; /* for the stop */
	int continues;
	int waits_again; /* for that */
	int inner; /* it has a stopped child itself, that it has not waited for */
	pid_t pid;
} children[] = {
	{ "runs", 0, 1, 0, 0, 0, 0, 0 },
	{ "stopped, waited for", SIGSTOP, 1, 1, 0, 0, 0, 0 },
	{ "stopped, not waited for", SIGSTOP, 1, 0, 0, 0, 0, 0 },
	{ "stopped by TSTP, waited for", SIGTSTP, 1, 1, 0, 0, 0, 0 },
	{ "stopped by TTIN, not waited for", SIGTTIN, 1, 0, 0, 0, 0, 0 },
	{ "stopped by TTOU, two threads", SIGTTOU, 2, 1, 0, 0, 0, 0 },
	{ "stopped, two threads, not waited for", SIGSTOP, 2, 0, 0, 0, 0, 0 },
	{ "continued, not waited for", SIGTSTP, 1, 0, 1, 0, 0, 0 },
	{ "continued, two threads, not waited for", SIGSTOP, 2, 1, 1, 0, 0, 0 },
	{ "continued, waited for", SIGTSTP, 1, 1, 1, 1, 0, 0 },
	{ "stopped, with a stopped child", SIGSTOP, 1, 1, 0, 0, 1, 0 },
};
enum { CHILDREN = sizeof(children) / sizeof(children[0]) };

static atomic_int *grandchild;

static char state(pid_t pid)
{
	char path[64], text[512] = "";

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (f)
		fclose(f);
	const char *end = n ? strrchr(text, ')') : NULL;
	return end ? end[2] : '?';
}

static void wait_for_state(pid_t pid, int stopped)
{
	for (int turn = 0; turn < 2000 && (state(pid) == 'T') != stopped; turn++)
		witness_nap();
}

static void grow_grandchild(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	*grandchild = pid;
	kill(pid, SIGSTOP);
	wait_for_state(pid, 1);
}

static void run_child(struct child *c)
{
	pthread_t t;
	sigset_t all;

	setpgid(0, 0); /* not that of its parent, which could continue it */
	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	sigdelset(&all, SIGTSTP);
	sigdelset(&all, SIGTTIN);
	sigdelset(&all, SIGTTOU);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (c->inner)
		grow_grandchild();
	if (c->threads > 1)
		pthread_create(&t, NULL, count, &counters[c - children].n[1]);
	count(&counters[c - children].n[0]);
}

static int counts(const struct child *c)
{
	const struct counters *n = &counters[c - children];
	unsigned long before[2] = { n->n[0], n->n[1] };

	for (int turn = 0; turn < 1000; turn++) {
		if (n->n[0] != before[0] && (c->threads == 1 || n->n[1] != before[1]))
			return 1;
		if (state(c->pid) == 'T')
			return n->n[0] != before[0] || n->n[1] != before[1];
		witness_nap();
	}
	return 0;
}

/* as a shell does it */
static void bring_to(struct child *c)
{
	siginfo_t info;

	if (!c->signo)
		return;
	kill(c->pid, c->signo);
	wait_for_state(c->pid, 1);
	if (c->waits)
		waitid(P_PID, (id_t)c->pid, &info, WSTOPPED);
	if (!c->continues)
		return;
	kill(c->pid, SIGCONT);
	wait_for_state(c->pid, 0);
	if (c->waits_again)
		waitid(P_PID, (id_t)c->pid, &info, WCONTINUED);
}

static void settle(void)
{
	for (int turn = 0, was = -1; turn < 1000 && was != told; turn++) {
		was = told;
		for (int i = 0; i < 10; i++)
			witness_nap();
	}
}

static void make(void)
{
	struct sigaction sa = { .sa_handler = on_child, .sa_flags = SA_RESTART };
	const size_t len = sizeof(*counters) * CHILDREN + sizeof(*grandchild);

	counters = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED)
		exit(1);
	grandchild = (atomic_int *)(counters + CHILDREN);
	sigaction(SIGCHLD, &sa, NULL);
	for (int i = 0; i < CHILDREN; i++) {
		struct child *c = &children[i];

		c->pid = fork();
		if (c->pid == 0)
			run_child(c);
		witness_children[witness_n_children++] = c->pid;
		while (!counters[i].n[0] || (c->threads > 1 && !counters[i].n[1]))
			witness_nap();
		bring_to(c);
	}
	pid_t ended = fork();
	if (ended == 0)
		_exit(7);
	while (waitid(P_PID, (id_t)ended, &(siginfo_t){ 0 }, WEXITED | WNOWAIT) < 0)
		;
	settle();
	told = 0;
}

/* what a wait would give, without taking it */
static void say_wait(const struct child *c)
{
	siginfo_t info = { 0 };

	SAY(waitid(P_PID, (id_t)c->pid, &info, WSTOPPED | WCONTINUED | WEXITED | WNOHANG | WNOWAIT));
	SAY(info.si_pid == c->pid);
	SAY(info.si_code);
	SAY(info.si_status);
}

static void continue_and_stop(struct child *c)
{
	siginfo_t info = { 0 };

	SAY(kill(c->pid, SIGCONT));
	SAY(waitid(P_PID, (id_t)c->pid, &info, WCONTINUED));
	SAY(info.si_code);
	SAY(counts(c));
	bring_to(c);
}

static void look(void)
{
	siginfo_t info = { 0 };
	struct sigaction sa;

	SAY(told); /* nothing is new */
	sigaction(SIGCHLD, NULL, &sa);
	SAY(sa.sa_handler == on_child);
	SAY(sa.sa_flags & SA_RESTART);
	for (int i = 0; i < CHILDREN; i++) {
		struct child *c = &children[i];

		SAY(c->name);
		SAY(state(c->pid) == 'T');
		SAY(counts(c));
		say_wait(c);
		if (c->inner)
			SAY(state(*grandchild) == 'T');
		if (c->signo && !c->continues)
			continue_and_stop(c);
	}
	SAY(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT));
	SAY(info.si_status); /* the one that has ended */
	settle();
	told = 0;
}

static void end(void)
{
	if (*grandchild > 0)
		kill(*grandchild, SIGKILL);
}

int main(int argc, char **argv)
{
	int r = witness_main(argc, argv, make, look);

	end();
	return r;
}
