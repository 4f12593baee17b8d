/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reap run [-t SECONDS] CMD ARGS...   run CMD; whatever it leaves behind is named, killed and waited for
 * reap kill PID                       SIGKILL to a process and everything below it; returns when all are gone
 *
 * `run` is the reaper of all that its command starts, detached or orphaned: nothing escapes it but what enters another
 * pid namespace's init. Its status is that of CMD, 128 + n for signal n, 124 when the time was over, 99 when CMD ended well
 * but left processes behind. Only processes below the given one are ever signalled.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIDS_MAX 65536

/* struct pids - processes, parents before children */
struct pids {
	size_t n;
	pid_t at[PIDS_MAX];
};

static bool pids_add(struct pids *p, pid_t pid)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i] == pid)
			return false;
	if (p->n == PIDS_MAX) {
		fputs("reap: too many processes\n", stderr);
		exit(125);
	}
	p->at[p->n++] = pid;
	return true;
}

/* Adds the children of every thread of @pid; true when one was new. */
static bool pids_add_children(struct pids *p, pid_t pid)
{
	char path[320];
	bool any = false;
	int child;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, e->d_name);
		FILE *f = fopen(path, "re");
		while (f && fscanf(f, "%d", &child) == 1)
			any |= pids_add(p, child);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return any;
}

static bool is_zombie(pid_t pid)
{
	char path[64], state = 'X';

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(f);
	return state == 'Z';
}

/* Stops a tree from the top down, so that nothing new appears, and kills it. The first @keep of @p are left alone. */
static void kill_tree(struct pids *p, size_t keep)
{
	for (bool again = true; again;) {
		again = false;
		for (size_t i = 0; i < p->n; i++) {
			if (i >= keep)
				kill(p->at[i], SIGSTOP);
			again |= pids_add_children(p, p->at[i]);
		}
	}
	for (size_t i = keep; i < p->n; i++)
		kill(p->at[i], SIGKILL);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

static int cmd_kill(pid_t pid)
{
	static struct pids p;

	pids_add(&p, pid);
	kill_tree(&p, 0);
	time_t end = time(NULL) + 20;
	for (size_t i = 0; i < p.n;) {
		if (kill(p.at[i], 0) < 0 && errno == ESRCH) {
			i++;
			continue;
		}
		if (time(NULL) > end) {
			fprintf(stderr, "reap: process %d %s\n", (int)p.at[i],
				is_zombie(p.at[i]) ? "is dead, and nobody waits for it" : "cannot be killed");
			return 1;
		}
		nap();
	}
	return 0;
}

static void name_stray(pid_t pid)
{
	char path[64], name[64] = "?";

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	FILE *f = fopen(path, "re");
	if (f && fgets(name, sizeof(name), f))
		name[strcspn(name, "\n")] = 0;
	if (f)
		fclose(f);
	fprintf(stderr, "reap: left behind: %s (pid %d)\n", name, (int)pid);
}

/* Kills all that is left below us; true when something lived. */
static bool sweep(void)
{
	static struct pids p;
	bool any = false;

	for (time_t end = time(NULL) + 20; time(NULL) <= end; nap()) {
		p.n = 0;
		pids_add(&p, getpid());
		pids_add_children(&p, getpid());
		for (size_t i = 1; !any && i < p.n; i++) {
			if (is_zombie(p.at[i]))
				continue;
			/* it may be on its way out; the init of a namespace waits for all in it, of the lowest priority too */
			for (time_t late = time(NULL) + 3;
				kill(p.at[i], 0) == 0 && !is_zombie(p.at[i]) && time(NULL) < late; nap())
				while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) /* it may be us who keep it waiting */
					;
			if (kill(p.at[i], 0) == 0 && !is_zombie(p.at[i])) {
				name_stray(p.at[i]);
				any = true;
			}
		}
		kill_tree(&p, 1);
		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG | __WALL) < 0)
			return any;
	}
	fputs("reap: some processes cannot be killed\n", stderr);
	return true;
}

static int cmd_run(unsigned int seconds, char **argv)
{
	sigset_t set, old;
	int status = 0, code = 124;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, &old);
	pid_t pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		close_range(3, ~0u, 0); /* a descriptor that leads to our caller would bind the program to him */
		execvp(argv[0], argv);
		fprintf(stderr, "reap: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	for (time_t end = time(NULL) + seconds; pid > 0 && time(NULL) < end;) {
		int signo = sigtimedwait(&set, NULL, &(struct timespec){ .tv_sec = 1 });
		if (signo == SIGTERM || signo == SIGINT) {
			code = 128 + signo;
			break;
		}
		for (pid_t got; (got = waitpid(-1, &status, WNOHANG | __WALL)) > 0;) {
			if (got != pid)
				continue;
			code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			pid = 0;
		}
	}
	bool stray = sweep();
	return stray && code == 0 ? 99 : code;
}

int main(int argc, char **argv)
{
	bool is_run = argc > 2 && strcmp(argv[1], "run") == 0;

	if (argc == 3 && strcmp(argv[1], "kill") == 0 && atoi(argv[2]) > 1)
		return cmd_kill(atoi(argv[2]));
	if (is_run && argc > 4 && strcmp(argv[2], "-t") == 0)
		return cmd_run((unsigned int)atoi(argv[3]), argv + 4);
	if (is_run && argv[2][0] != '-')
		return cmd_run(3600, argv + 2);
	fputs("usage: reap run [-t SECONDS] CMD ARGS... | reap kill PID\n", stderr);
	return 120;
}
