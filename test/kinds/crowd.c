/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads of one process, most of them alike, and some of which the kernel keeps something else.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#include "lib/sched_attr.h"
#include "lib/witness.h"

#define THREADS	     180
#define STACK	     8192
#define ALTERNATIVES 20
#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

static struct member {
	pthread_t thread;
	int n, tid_word;
	long nice, slack, policy, priority, runtime, deadline, tsc, cpus, ioprio, personality, mce, privileges, fsuid,
		mempolicy, flags, size;
	long own_stack, own_address, blocked, pending, robust, restartable;
	struct robust_list_head head, *robust_at;
	struct rseq area, *area_at;
	unsigned int signature;
	char name[16], stack[STACK];
} member[THREADS];

static pthread_barrier_t gate;

static void set_policy(int policy)
{
	sched_setscheduler(0, policy, &(struct sched_param){ 0 });
}

static void set_cpu(void)
{
	cpu_set_t all, one;

	CPU_ZERO(&one);
	sched_getaffinity(0, sizeof(all), &all);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void set_mempolicy(void)
{
	const unsigned long node = 1;

	syscall(SYS_set_mempolicy, MPOL_PREFERRED, &node, 64);
}

static void set_deadline(int n)
{
	const struct attr a = { sizeof(a), 6 /* SCHED_DEADLINE */, 0, 0, 0, 1000000, 50000000 + n, 60000000 };

	syscall(SYS_sched_setattr, 0, &a, 0);
}

static void set_slice(int n)
{
	const struct attr a = { .size = sizeof(a), .runtime = 300000 + (unsigned int)n };

	syscall(SYS_sched_setattr, 0, &a, 0);
}

static void set_stack(struct member *m, int flags)
{
	const stack_t ss = { .ss_sp = m->stack, .ss_size = sizeof(m->stack), .ss_flags = flags };

	sigaltstack(&ss, NULL);
}

static void set_pending(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_kill(pthread_self(), SIGUSR2);
}

static void set_blocked(int n)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + n % 20);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void set_robust(struct member *m)
{
	m->head.list.next = &m->head.list;
	if (syscall(SYS_set_robust_list, &m->head, sizeof(m->head)) == 0)
		m->robust_at = &m->head;
}

static long change_area(const struct member *m, int flags)
{
	return syscall(SYS_rseq, m->area_at, sizeof(m->area), flags, m->signature) < 0 ? errno : 0;
}

/* only of the very area that is registered it is told that it is busy; where none is, this one is for a moment */
static long try_area(const struct member *m)
{
	long e = change_area(m, 0);

	return e ? e : change_area(m, RSEQ_FLAG_UNREGISTER);
}

static void set_area(struct member *m)
{
	if (change_area(m, RSEQ_FLAG_UNREGISTER))
		return;
	m->area_at = &m->area;
	m->signature = 4711 + (unsigned int)m->n;
	if (m->n % 3)
		change_area(m, 0);
}

/* what the library has made */
static void know_own(struct member *m)
{
	size_t len;

	m->area_at = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	m->signature = RSEQ_SIG;
	syscall(SYS_get_robust_list, 0, &m->robust_at, &len);
}

/* most threads keep what they were born with */
static void become(struct member *m)
{
	char name[24];

	switch (m->n % ALTERNATIVES) {
	case 1:
		setpriority(PRIO_PROCESS, 0, m->n % 3 + 1);
		break;
	case 2:
		prctl(PR_SET_TIMERSLACK, 70000 + m->n);
		break;
	case 3:
		set_policy(SCHED_BATCH);
		break;
	case 4:
		set_cpu();
		break;
	case 5:
		syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6);
		break;
	case 6:
		personality(ADDR_NO_RANDOMIZE);
		break;
	case 7:
		prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
		break;
	case 8:
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		break;
	case 9:
		syscall(SYS_setfsuid, 4711); /* of this thread alone; without the right to it nothing happens */
		break;
	case 10:
		set_mempolicy();
		break;
	case 11:
		set_pending();
		break;
	case 12:
		set_policy(SCHED_RESET_ON_FORK);
		break;
	case 13: /* the right to it may be missing, as for the next one */
		sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ 1 + m->n % 3 });
		break;
	case 14:
		set_deadline(m->n);
		break;
	case 15:
		prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
		break;
	case 16:
		set_slice(m->n);
		break;
	case 17:
		set_robust(m);
		break;
	case 18:
		set_area(m);
		break;
	default:
		break;
	}
	if (m->n % 3 == 1)
		set_stack(m, m->n % 2 ? 0 : (int)(1u << 31) /* SS_AUTODISARM */);
	if (m->n % 4 == 1)
		set_blocked(m->n);
	if (m->n % 5 == 1) {
		snprintf(name, sizeof(name), "member %d", m->n);
		prctl(PR_SET_NAME, name);
	}
	if (m->n % 7 == 1)
		syscall(SYS_set_tid_address, &m->tid_word);
}

static void see(struct member *m)
{
	sigset_t blocked, pending;
	size_t len = 0;
	void *head = NULL;
	int *address = NULL, mode = -1;
	cpu_set_t cpus;
	struct attr a = { 0 };
	int tsc = 0;
	stack_t ss;

	m->nice = getpriority(PRIO_PROCESS, 0);
	m->slack = prctl(PR_GET_TIMERSLACK);
	m->policy = sched_getscheduler(0);
	syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0);
	m->priority = a.priority;
	m->runtime = (long)a.runtime;
	m->deadline = (long)a.deadline;
	prctl(PR_GET_TSC, &tsc);
	m->tsc = tsc;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	m->cpus = CPU_COUNT(&cpus);
	m->ioprio = syscall(SYS_ioprio_get, 1, 0);
	m->personality = personality(0xffffffff);
	m->mce = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	m->privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	m->fsuid = syscall(SYS_setfsuid, -1);
	syscall(SYS_get_mempolicy, &mode, NULL, 0, 0, 0);
	m->mempolicy = mode;
	prctl(PR_GET_NAME, m->name);
	sigaltstack(NULL, &ss);
	m->own_stack = ss.ss_sp == m->stack;
	m->size = (long)ss.ss_size;
	m->flags = ss.ss_flags;
	prctl(PR_GET_TID_ADDRESS, &address);
	m->own_address = address == &m->tid_word ? 2 : address != NULL;
	syscall(SYS_get_robust_list, 0, &head, &len);
	m->robust = head == m->robust_at ? (long)len : -1;
	m->restartable = try_area(m);
	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	sigpending(&pending);
	m->blocked = 0;
	for (int signo = 1; signo <= 64; signo++)
		m->blocked = m->blocked * 3 + sigismember(&blocked, signo);
	m->pending = sigismember(&pending, SIGUSR2);
}

static void *live(void *arg)
{
	struct member *m = arg;

	setpriority(PRIO_PROCESS, 0, -1); /* a use of privilege leaves a mark: all have it, whatever they become */
	setpriority(PRIO_PROCESS, 0, 0);
	know_own(m);
	become(m);
	pthread_barrier_wait(&gate);
	for (;;) {
		pthread_barrier_wait(&gate);
		see(m);
		pthread_barrier_wait(&gate);
	}
	return NULL;
}

static void make(void)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	pthread_barrier_init(&gate, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		member[i].n = i;
		if (pthread_create(&member[i].thread, &attr, live, &member[i]) != 0)
			_exit(4);
	}
	pthread_barrier_wait(&gate);
}

static void look(void)
{
	pthread_barrier_wait(&gate);
	pthread_barrier_wait(&gate);
	for (int i = 0; i < THREADS; i++) {
		const struct member *m = &member[i];

		witness_say("%d: %ld %ld %ld %ld %ld %ld %ld", m->n, m->nice, m->slack, m->policy, m->priority,
			m->runtime, m->deadline, m->cpus);
		witness_say(" %ld %lx %ld %ld %ld %ld %ld", m->ioprio, m->personality, m->tsc, m->mce, m->privileges,
			m->fsuid, m->mempolicy);
		witness_say(" %ld %ld %lx %ld %ld %ld %ld %ld \"%.16s\"\n", m->own_stack, m->size, m->flags,
			m->own_address, m->blocked, m->pending, m->robust, m->restartable, m->name);
	}
}

WITNESS(make, look)
