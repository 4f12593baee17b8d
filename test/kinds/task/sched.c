/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/sched_attr.h"
#include "lib/witness.h"

static pid_t idle_tid, deadline_tid;

/* where the right to it is missing it stays ordinary */
static void *deadline(void *arg)
{
	const struct attr attr = { sizeof(attr), 6 /* SCHED_DEADLINE */, 1 /* SCHED_FLAG_RESET_ON_FORK */, 0, 0,
		1000000, 20000000, 30000000 };
	int *ready = arg;

	syscall(SYS_sched_setattr, 0, &attr, 0);
	deadline_tid = gettid();
	if (write(*ready, "x", 1) == 1)
		pause();
	return NULL;
}

static void *idle(void *arg)
{
	const struct sched_param none = { 0 };
	int *ready = arg;

	sched_setscheduler(0, SCHED_IDLE, &none);
	prctl(PR_SET_TIMERSLACK, 123456);
	idle_tid = gettid();
	if (write(*ready, "x", 1) == 1)
		pause();
	return NULL;
}

static void make(void)
{
	const struct sched_param none = { 0 };
	pthread_t thread;
	const unsigned long node = 1;
	cpu_set_t cpus, one;
	int ready[2];
	char byte;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &cpus))
			CPU_SET(cpu, &one);
	if (pipe(ready) < 0 || pthread_create(&thread, NULL, idle, &ready[1]) != 0 || read(ready[0], &byte, 1) != 1)
		return;
	if (pthread_create(&thread, NULL, deadline, &ready[1]) != 0 || read(ready[0], &byte, 1) != 1)
		return;
	close(ready[0]);
	close(ready[1]);
	sched_setaffinity(0, sizeof(one), &one);
	sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none);
	setpriority(PRIO_PROCESS, 0, 7);
	syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6);
	prctl(PR_SET_TIMERSLACK, 77777);
	syscall(SYS_set_mempolicy, MPOL_BIND | MPOL_F_STATIC_NODES, &node, 64);
}

static void look_at(pid_t tid)
{
	struct sched_param param = { -1 };
	struct attr attr = { 0 };
	cpu_set_t cpus;

	SAY(syscall(SYS_sched_getattr, tid, &attr, sizeof(attr), 0));
	SAY(attr.policy);
	SAY(attr.flags);
	SAY(attr.runtime);
	SAY(attr.deadline);
	SAY(attr.period);
	SAY(sched_getscheduler(tid));
	SAY(sched_getparam(tid, &param));
	SAY(param.sched_priority);
	SAY(getpriority(PRIO_PROCESS, (id_t)tid));
	SAY(sched_getaffinity(tid, sizeof(cpus), &cpus));
	SAY(CPU_COUNT(&cpus));
	SAY(syscall(SYS_ioprio_get, 1, tid));
}

static void look(void)
{
	unsigned long nodes[16] = { 0 };
	int mode = -1;

	look_at(0);
	SAY(prctl(PR_GET_TIMERSLACK));
	SAY(syscall(SYS_get_mempolicy, &mode, &nodes, 1024, 0, 0));
	SAY(mode);
	SAY(nodes[0]);
	look_at(idle_tid);
	look_at(deadline_tid);
}

WITNESS(make, look)
