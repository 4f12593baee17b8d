/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

static int ask[2], answer[2];

/* call number @nr gives @err from now on */
static long forbid(int nr, unsigned int err, unsigned int flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static int call(int nr)
{
	return syscall(nr, -1, -1, -1, -1, -1, -1) < 0 ? errno : 0;
}

static void look_at_thread(void)
{
	char line[256], path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", gettid());
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "Seccomp", 7) == 0 || strncmp(line, "NoNewPrivs", 10) == 0)
			line[strcspn(line, "\n")] = '\0', SAY((char *)line);
	if (f)
		fclose(f);
	SAY(call(1234501));
	SAY(call(1234502));
	SAY(call(1234503));
	SAY(call(SYS_setuid));
	SAY(call(SYS_seccomp));
}

/* a thread with a filter of its own, that looks when it is asked to */
static void *other(void *arg)
{
	char byte;

	forbid(1234502, 42, SECCOMP_FILTER_FLAG_LOG);
	for (;;) {
		if (write(answer[1], "x", 1) != 1 || read(ask[0], &byte, 1) != 1)
			return NULL;
		look_at_thread();
	}
}

static int in_child(void)
{
	return call(1234501);
}

static void make(void)
{
	pthread_t thread;
	char byte;

	if (geteuid() != 0) /* nobody else can have it saved */
		return;
	if (pipe(ask) < 0 || pipe(answer) < 0)
		_exit(3);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	forbid(1234501, 41, 0);
	if (pthread_create(&thread, NULL, other, NULL) != 0 || read(answer[0], &byte, 1) != 1)
		_exit(3);
	forbid(1234503, 43, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	forbid(SYS_setuid, 44, 0);
	forbid(SYS_seccomp, 45, 0);
}

static void look(void)
{
	char byte;

	SAY(witness_in_child(in_child));
	look_at_thread();
	if (geteuid() == 0 && (write(ask[1], "x", 1) != 1 || read(answer[0], &byte, 1) != 1))
		SAY("the thread is gone");
}

WITNESS(make, look)
