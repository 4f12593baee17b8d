/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/bystander.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

/* struct bystander - one of a tree, all of whose processes are in the same namespaces */
struct bystander {
	uint32_t uid, gid; /* as we count */
	uint64_t rights; /* those that it may have, so that a thread must have them too to look at it */
	pid_t vpid;
	int fd; /* it waits for the end of this pipe; -EBADF: it is this very process */
};

static int set_ids(uint32_t uid, uint32_t gid)
{
	if (getgid() != gid && syscall(SYS_setresgid, gid, gid, gid) < 0)
		return -errno;
	if (getuid() != uid && syscall(SYS_setresuid, uid, uid, uid) < 0)
		return -errno;
	return 0;
}

static int drop_rights(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	const struct __user_cap_data_struct none[2] = { { 0 }, { 0 } };

	if (syscall(SYS_capset, &head, none) < 0)
		return -errno;
	return prctl(PR_SET_DUMPABLE, 1) < 0 ? -errno : 0;
}

/* until the other end of the pipe is closed, by us or by our end */
static _Noreturn void stand_by(int fd, int ready)
{
	char byte = 0;

	if (drop_rights() < 0 || write(ready, &byte, 1) != 1)
		_exit(1);
	if (fd != 0)
		dup2(fd, 0);
	close_range(1, ~0u, 0);
	while (read(0, &byte, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* who may enter the pid namespace may not when he has changed his ids, and owns the user namespace only then */
static int enter(const struct sight *s, unsigned int user, unsigned int pid)
{
	const struct proc_status *st = &s->thread->status;
	int fd = s->process->pidfd;

	if (pid && !user && setns(fd, CLONE_NEWPID) < 0)
		return -errno;
	int r = set_ids(st->uid[0], st->gid[0]);
	if (r == 0 && user && setns(fd, (int)(user | pid)) < 0)
		r = -errno;
	return r;
}

static unsigned int differs(const struct process *p, const char *name, unsigned int flag)
{
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t ours = 0, theirs = 0;

	return proc_read_ns(self, name, &ours) == 0 && proc_read_ns(p->dir, name, &theirs) == 0 && ours != theirs ? flag
														  : 0;
}

/* enter, have a child that stays, tell its pid when it is ready */
static _Noreturn void send(const struct sight *s, int fd, int tell, unsigned int user, unsigned int pid)
{
	int ready[2];
	char byte;

	if (pipe(ready) < 0 || enter(s, user, pid) < 0)
		_exit(1);
	pid_t child = fork();
	if (child == 0)
		stand_by(fd, ready[1]);
	close(ready[1]);
	_exit(child < 0 || read(ready[0], &byte, 1) != 1 || write(tell, &child, sizeof(child)) != sizeof(child));
}

/* namespaces cannot be left again: a child of ours enters them. The pid of its child, as we count. */
static pid_t plant(const struct sight *s, const int pipe_fd[2])
{
	unsigned int user = differs(s->process, "user", CLONE_NEWUSER), pid = differs(s->process, "pid", CLONE_NEWPID);
	pid_t planted = -EPERM;
	int told[2], status;

	if (pipe2(told, O_CLOEXEC) < 0)
		return -errno;
	pid_t child = fork();
	if (child == 0) {
		close(pipe_fd[1]);
		send(s, pipe_fd[0], told[1], user, pid);
	}
	close(told[1]);
	if (child > 0 && read_all(told[0], &planted, sizeof(planted)) != sizeof(planted))
		planted = -EPERM;
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	close(told[0]);
	return planted;
}

static int count_as(struct arena *a, pid_t pid, unsigned int levels, pid_t *ret)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc < 0 ? -EBADF : proc_open(proc, pid);
	struct proc_status st;

	int r = dir < 0 ? dir : proc_read_status(a, dir, &st);
	if (r < 0)
		return r;
	if (st.levels != levels)
		return -EXDEV;
	*ret = st.nspid[levels - 1];
	return 0;
}

/* does this very process fit, and which rights has it? cap_ptrace_access_check() in security/commoncap.c */
static bool fits_self(const struct sight *s, uint64_t *ret_rights)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct own[2] = { { 0 } };
	const struct proc_status *st = &s->thread->status;
	uid_t uid[3];
	gid_t gid[3];

	if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0)
		return false;
	for (size_t i = 0; i < 3; i++)
		if (uid[i] != st->uid[0] || gid[i] != st->gid[0])
			return false;
	if (syscall(SYS_capget, &head, own) < 0)
		return false;
	*ret_rights = (uint64_t)own[1].permitted << 32 | own[0].permitted;
	return !(*ret_rights & ~st->cap_prm) && prctl(PR_GET_DUMPABLE) == 1 &&
	       !differs(s->process, "user", CLONE_NEWUSER) && !differs(s->process, "pid", CLONE_NEWPID);
}

static int find_or_plant(const struct sight *s, struct arena *a, pid_t *ret)
{
	const struct proc_status *st = &s->thread->status;
	struct span *all = s->tree->bystanders;
	const struct bystander *b = all->at;
	struct bystander new = { .uid = st->uid[0], .gid = st->gid[0] };
	int pipe_fd[2];

	for (size_t i = 0; i < all->n; i++)
		if (b[i].uid == new.uid && b[i].gid == new.gid && !(b[i].rights & ~st->cap_prm)) {
			*ret = b[i].vpid;
			return 0;
		}
	if (fits_self(s, &new.rights)) {
		new.fd = -EBADF;
		*ret = new.vpid = getpid();
		*(struct bystander *)span_push(a, all, sizeof(new)) = new;
		return 0;
	}
	new.rights = 0;
	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return -errno;
	pid_t pid = plant(s, pipe_fd);
	int r = pid < 0 ? pid : count_as(a, pid, st->levels, &new.vpid);
	close(pipe_fd[0]);
	if (r < 0) {
		close(pipe_fd[1]);
		return r;
	}
	new.fd = pipe_fd[1];
	*(struct bystander *)span_push(a, all, sizeof(new)) = new;
	*ret = new.vpid;
	return 0;
}

int bystander_of(const struct sight *s, struct arena *a, pid_t *ret)
{
	tree_lock(s->tree);
	int r = find_or_plant(s, a, ret);
	tree_unlock(s->tree);
	return r;
}

void bystanders_end(struct tree *tree)
{
	const struct bystander *b = tree->bystanders ? tree->bystanders->at : NULL;

	for (size_t i = 0; b && i < tree->bystanders->n; i++)
		fd_close(b[i].fd);
	tree->bystanders = NULL;
}
