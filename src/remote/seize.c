/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Seizing the threads of one process, one of which may be in the middle of execve(2).
 *
 * exec ends the other threads and waits until each of them is reaped (de_thread() in fs/exec.c); those that are traced are
 * reaped by their tracer only. PTRACE_SEIZE in turn waits until exec is over (cred_guard_mutex, ptrace_attach() in
 * kernel/ptrace.c). So while one thread of ours may wait in PTRACE_SEIZE, another reaps.
 */
#include "remote/remote.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/pool.h"

/* a first look, as waitid() takes the report of a traced task that has stopped even when asked for ended ones only */
static void reap_ended(pid_t tid)
{
	siginfo_t is = { 0 };

	if (waitid(P_PID, (id_t)tid, &is, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 && is.si_pid == tid &&
		(is.si_code == CLD_EXITED || is.si_code == CLD_KILLED || is.si_code == CLD_DUMPED))
		waitid(P_PID, (id_t)tid, &is, WEXITED | WNOHANG | __WALL);
}

/* nobody waits for the end of the leader, who may be a child of the caller */
void hold_reap_ended(const pid_t *tid, size_t n, pid_t leader)
{
	for (size_t i = 0; i < n; i++)
		if (tid[i] != leader)
			reap_ended(tid[i]);
}

struct reaper {
	const pid_t *tid;
	size_t n;
	pid_t leader;
	atomic_size_t turn; /* of the one that seizes */
	sem_t over;
};

static bool is_over_soon(struct reaper *r)
{
	struct timespec until = ns_timespec((int64_t)now_ns() + 2000000);

	return sem_clockwait(&r->over, CLOCK_MONOTONIC, &until) == 0;
}

static void *reap(void *data)
{
	struct reaper *r = data;
	size_t seen = SIZE_MAX;

	do {
		size_t turn = atomic_load(&r->turn);

		if (turn == seen)
			hold_reap_ended(r->tid, r->n, r->leader);
		seen = turn;
	} while (!is_over_soon(r));
	return NULL;
}

void hold_seize_all(struct held *const *held, int *err, size_t n, const pid_t *tid, size_t n_tids, pid_t leader)
{
	struct reaper r = { .tid = tid, .n = n_tids, .leader = leader };
	pthread_t thread;

	sem_init(&r.over, 0, 0);
	bool helped = n_tids > 1 && n && thread_start(&thread, STACK_SMALL, reap, &r) == 0;

	for (size_t i = 0; i < n; i++) {
		held[i]->seized = ptrace(PTRACE_SEIZE, held[i]->tid, NULL, NULL) == 0;
		err[i] = held[i]->seized ? 0 : -errno;
		atomic_store(&r.turn, i + 1);
	}
	sem_post(&r.over);
	if (helped)
		pthread_join(thread, NULL);
	sem_destroy(&r.over);
}
