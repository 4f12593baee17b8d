/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes that share their memory, and some their signal actions and descriptors as well: clone(2) with CLONE_VM.
 *
 * Each child answers questions through the memory alone. It has the thread-local memory of its parent, so that it makes
 * nothing but system calls.
 */
#include <linux/kcmp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "lib/witness.h"

enum { VM, SIGNALS, ALL, CHILDREN };

static const int flags[CHILDREN] = { CLONE_VM, CLONE_VM | CLONE_SIGHAND,
	CLONE_VM | CLONE_SIGHAND | CLONE_FILES | CLONE_FS };

static struct talk {
	_Atomic unsigned int question, answer;
	_Atomic pid_t forked;
} talk[CHILDREN];

static char stacks[CHILDREN][64 << 10] __attribute__((aligned(64)));
static pid_t child[CHILDREN], grandchild;
static volatile uint64_t value = 1111; /* what the grandchild has of it stays so */
static unsigned char *late; /* made when the children were there */

static int answer(void *arg)
{
	static const struct timespec nap = { 0, 2000000 };
	struct talk *t = arg;

	if (t == &talk[VM]) { /* has its memory copied */
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

		if (pid == 0)
			for (;;)
				syscall(SYS_pause);
		t->forked = pid;
	}
	for (;;) {
		if (t->answer != t->question)
			t->answer = t->question;
		syscall(SYS_nanosleep, &nap, NULL);
	}
	return 0;
}

static void heard(int signo)
{
	(void)signo;
}

static void make(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		child[i] = clone(answer, stacks[i] + sizeof(stacks[i]), flags[i] | SIGCHLD, &talk[i]);
		if (child[i] < 0)
			_exit(4);
		witness_children[witness_n_children++] = child[i];
	}
	while (!talk[VM].forked)
		witness_nap();
	grandchild = talk[VM].forked;
	witness_children[witness_n_children++] = grandchild;
	value = 2222;
	late = mmap(NULL, 3 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (late == MAP_FAILED)
		_exit(4);
	late[1 << 12] = 77;
	signal(SIGUSR2, heard);
}

static int share(pid_t pid, int type)
{
	return syscall(SYS_kcmp, getpid(), pid, type, 0, 0) == 0;
}

static int answers(int i)
{
	unsigned int now = talk[i].question + 1;

	talk[i].question = now;
	for (int turn = 0; turn < 2000 && talk[i].answer != now; turn++)
		witness_nap();
	return talk[i].answer == now;
}

static int peek(pid_t pid, const volatile void *at, size_t len)
{
	uint64_t got = 0;
	struct iovec here = { &got, len }, there = { (void *)at, len };

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)len ? (int)got : -1;
}

static int catches(pid_t pid, int signo)
{
	char path[64], line[128];
	unsigned long caught = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SigCgt: %lx", &caught) == 1)
			break;
	if (f)
		fclose(f);
	return (int)(caught >> (signo - 1) & 1);
}

/* is what is mapped here at once mapped there? */
static int gets_mapping(pid_t pid)
{
	unsigned char *at = mmap(NULL, 1 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -1;
	at[5] = 55;
	int got = peek(pid, at + 5, 1);
	munmap(at, 1 << 12);
	return got;
}

static void look(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		SAY(i);
		SAY(share(child[i], KCMP_VM));
		SAY(share(child[i], KCMP_SIGHAND));
		SAY(share(child[i], KCMP_FILES));
		SAY(share(child[i], KCMP_FS));
		SAY(answers(i));
		SAY(peek(child[i], &late[1 << 12], 1));
		SAY(gets_mapping(child[i]));
		SAY(catches(child[i], SIGUSR2));
	}
	SAY(late[1 << 12]);
	SAY(value);
	SAY(share(grandchild, KCMP_VM));
	SAY(peek(grandchild, &value, sizeof(value)));
	SAY(gets_mapping(grandchild));
}

WITNESS(make, look)
