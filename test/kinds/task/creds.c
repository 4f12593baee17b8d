/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/witness.h"

static int ask[2], answer[2];

static void capabilities(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };

	syscall(SYS_capget, &head, data);
}

/* Plain system calls: libc's change all threads. */
static void drop_root(void)
{
	const struct __user_cap_data_struct data[2] = {
		{ 1u << CAP_CHOWN, 1u << CAP_CHOWN | 1u << CAP_NET_RAW, 1u << CAP_CHOWN },
		{ 0, 0, 0 },
	};
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	const gid_t groups[] = { 7, 20, 1234567 };

	prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE);
	syscall(SYS_setgroups, 3, groups);
	syscall(SYS_setresgid, 1001, 1002, 1003);
	prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_KEEP_CAPS);
	syscall(SYS_setresuid, 1001, 1002, 1003);
	syscall(SYS_capset, &head, data);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0);
	syscall(SYS_setfsuid, 1003);
}

static void look_at_ids(void)
{
	uid_t r, e, s;
	gid_t groups[16] = { 0 };

	SAY(getresuid(&r, &e, &s));
	SAY(r);
	SAY(e);
	SAY(s);
	SAY(syscall(SYS_setfsuid, -1));
	SAY(getresgid(&r, &e, &s));
	SAY(r);
	SAY(e);
	SAY(s);
	SAY(syscall(SYS_setfsgid, -1));
	SAY(getgroups(16, groups));
	SAY(groups[0]);
	SAY(groups[2]);
}

static void look_at_thread(void)
{
	struct __user_cap_data_struct data[2] = { 0 };
	int subreaper = -1, death = -1;

	look_at_ids();
	capabilities(data);
	SAY(data[0].effective);
	SAY(data[0].permitted);
	SAY(data[0].inheritable);
	SAY(data[1].permitted);
	SAY(prctl(PR_CAPBSET_READ, CAP_SYS_MODULE));
	SAY(prctl(PR_CAPBSET_READ, CAP_NET_ADMIN));
	SAY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0));
	SAY(prctl(PR_GET_SECUREBITS));
	SAY(prctl(PR_GET_DUMPABLE));
	SAY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	SAY(prctl(PR_GET_CHILD_SUBREAPER, &subreaper));
	SAY(subreaper);
	SAY(prctl(PR_GET_PDEATHSIG, &death));
	SAY(death);
}

/* a thread with credentials of its own, that looks when it is asked to */
static void *dropped(void *arg)
{
	char byte;

	if (geteuid() == 0)
		drop_root();
	prctl(PR_SET_DUMPABLE, geteuid() == getuid());
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (;;) {
		if (write(answer[1], "x", 1) != 1 || read(ask[0], &byte, 1) != 1)
			return NULL;
		look_at_thread();
	}
}

/* a child that would be told of our death */
static int child_ask[2], child_answer[2];

static void be_child(void)
{
	int death = -1;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	close(child_ask[1]);
	while (read(child_ask[0], &byte, 1) == 1) {
		prctl(PR_GET_PDEATHSIG, &death);
		if (write(child_answer[1], &death, sizeof(death)) != sizeof(death))
			break;
	}
	_exit(0);
}

static void make(void)
{
	pthread_t thread;
	char byte;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe(child_ask) < 0 || pipe(child_answer) < 0)
		_exit(3);
	if (fork() == 0)
		be_child();
	close(child_ask[0]);
	close(child_answer[1]);
	if (pipe(ask) < 0 || pipe(answer) < 0 || pthread_create(&thread, NULL, dropped, NULL) != 0 ||
		read(answer[0], &byte, 1) != 1)
		_exit(3);
}

static void look(void)
{
	int death = -1;
	char byte;

	if (write(child_ask[1], "x", 1) != 1 || read(child_answer[0], &death, sizeof(death)) != sizeof(death))
		SAY("the child is gone");
	SAY(death);
	SAY(getuid());
	SAY(geteuid());
	SAY(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	SAY(prctl(PR_GET_SECUREBITS));
	if (write(ask[1], "x", 1) != 1 || read(answer[0], &byte, 1) != 1) /* the thread speaks between the two */
		SAY("the thread is gone");
}

WITNESS(make, look)
