/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/sysvshm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "kinds/hugetlb.h"

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif

#ifndef SHM_HUGE_SHIFT
#define SHM_HUGE_SHIFT 26
#endif

#ifndef SHM_LOCKED
#define SHM_LOCKED 02000 /* include/uapi/linux/shm.h */
#endif

#define PAGE	 4096ull
#define SIZE_END (1ull << 46) /* what an address space can hold */

#define NEXT_ID "/proc/sys/kernel/shm_next_id" /* of the reader's ipc namespace, whoever has mounted this /proc */

#define TRIES 8

enum { MADE = 'm', KEEP = 'k' };

bool sysvshm_is_taken(const struct sysvshm *m)
{
	struct shmid_ds ds;

	/* it looks at the place in the table alone, and so does who makes one: ipc_idr_alloc() in ipc/util.c */
	return shmctl((int)m->id, SHM_STAT_ANY, &ds) >= 0;
}

uint64_t sysvshm_page(const struct sysvshm *m)
{
	return hugetlb_flag(m->page) ? m->page : PAGE;
}

uint64_t sysvshm_pages(const struct sysvshm *m)
{
	uint64_t page = sysvshm_page(m);

	return m->size < SIZE_END ? (m->size + page - 1) & ~(page - 1) : SIZE_END;
}

static bool is_the_same(const struct sysvshm *m, const struct shmid_ds *ds)
{
	const struct ipc_perm *p = &ds->shm_perm;

	return p->__key == m->key && ds->shm_segsz == m->size && ds->shm_ctime == m->ctime && p->uid == m->uid &&
	       p->gid == m->gid && p->cuid == m->cuid && p->cgid == m->cgid &&
	       p->mode == (m->mode | (m->state & SYSVSHM_LOCKED ? SHM_LOCKED : 0));
}

bool sysvshm_is_left(const struct sysvshm *m)
{
	struct shmid_ds ds;

	if (!m->hash || sysvshm_pages(m) > SYSVSHM_SMALL || shmctl((int)m->id, IPC_STAT, &ds) < 0 || ds.shm_nattch ||
		!is_the_same(m, &ds))
		return false;
	void *at = shmat((int)m->id, NULL, 0);
	if (at == (void *)-1)
		return false;
	uint64_t hash = XXH3_64bits(at, sysvshm_pages(m));
	shmdt(at);
	return hash == m->hash;
}

bool sysvshm_is_free(const struct sysvshm *m)
{
	_cleanup_close_ int fd = open(NEXT_ID, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || sysvshm_is_taken(m))
		return false;
	/* of one that is marked for removal the key is only a part of its name */
	return m->key == IPC_PRIVATE || m->state & SYSVSHM_DEST || (shmget(m->key, 0, 0) < 0 && errno == ENOENT);
}

bool sysv_is_elsewhere(int dir, pid_t other)
{
	char path[32] = "/proc/self";
	uint64_t theirs, ours;

	if (other)
		snprintf(path, sizeof(path), "/proc/%d", other);
	_cleanup_close_ int here = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return here >= 0 && proc_read_ns(dir, "ipc", &theirs) == 0 && proc_read_ns(here, "ipc", &ours) == 0 &&
	       theirs != ours;
}

/* ---- who outlives us ---- */

/* a signal for all of us, as of Ctrl-C, must not end who has to clear up after us */
static void block_signals(void)
{
	const uint64_t all = ~0ull;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
}

static bool tell(int socket, char byte)
{
	return send(socket, &byte, 1, MSG_NOSIGNAL) == 1;
}

/* 0 when all who had the other end have closed it */
static char hear(int socket)
{
	char byte;
	ssize_t n;

	do
		n = read(socket, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? byte : 0;
}

static _Noreturn void stand_guard(int id, int socket)
{
	bool made = false;
	char word;

	block_signals();
	prctl(PR_SET_NAME, "stasis-guard");
	setsid();
	if (socket != 0)
		dup2(socket, 0);
	close_range(1, ~0u, 0);
	while ((word = hear(0))) {
		if (word == KEEP)
			_exit(0);
		made |= word == MADE;
	}
	if (made)
		shmctl(id, IPC_RMID, NULL);
	_exit(0);
}

static pid_t clone_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = pid > 0 ? (uint64_t)(uintptr_t)&pid : 0, .set_tid_size = pid > 0
	};
	long got = syscall(SYS_clone3, &args, sizeof(args));

	return got < 0 ? -errno : (pid_t)got;
}

static void wait_for(pid_t pid)
{
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}

/* it is nobody's child here: it may end when it likes */
static int post_guard(int id)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid_t pid = clone_as(0);
	if (pid == 0) {
		pid = clone_as(0);
		if (pid == 0)
			stand_guard(id, ends[0]);
		_exit(pid < 0);
	}
	close(ends[0]);
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
		;
	if (pid > 0 && status == 0)
		return ends[1];
	close(ends[1]);
	return pid < 0 ? pid : -EAGAIN;
}

/* ---- the creator ---- */

/* the number that the next segment gets, whoever makes it, must not be left to others */
static void give_up_number(void)
{
	int id = shmget(IPC_PRIVATE, 1, IPC_CREAT | 0600);

	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
}

static int get(const struct sysvshm *m, int flags)
{
	if (m->page)
		flags |= SHM_HUGETLB | __builtin_ctzll(m->page) << SHM_HUGE_SHIFT;
	int id = shmget(m->key, m->size, IPC_CREAT | IPC_EXCL | 0600 | flags);

	if (id < 0 && errno == EEXIST && m->state & SYSVSHM_DEST)
		id = shmget(IPC_PRIVATE, m->size, IPC_CREAT | 0600 | flags);
	return id < 0 ? -errno : id;
}

static int get_by_number(const struct sysvshm *m)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", m->id);
	int id = write_text(AT_FDCWD, NEXT_ID, text);
	if (id < 0)
		return id;
	/* who may not choose them stays who he is */
	syscall(SYS_setresgid, -1, m->cgid, -1);
	syscall(SYS_setresuid, -1, m->cuid, -1);
	id = get(m, 0);
	if (id == -ENOMEM && !m->page) /* nothing shows whether it was made with that */
		id = get(m, SHM_NORESERVE);
	if (id == -EPERM && m->page) { /* what he had for it then he may not have now */
		syscall(SYS_setresuid, -1, getuid(), -1);
		syscall(SYS_setresgid, -1, getgid(), -1);
		id = get(m, 0);
	}
	if (id < 0)
		give_up_number();
	if (id < 0 || id == (int)m->id)
		return id;
	shmctl(id, IPC_RMID, NULL);
	return -EEXIST;
}

/* it stays until it is told to keep what it has made */
static _Noreturn void create(const struct sysvshm *m, int socket)
{
	block_signals();
	int id = get_by_number(m);
	bool known = id < 0 || m->guard < 0 || tell(m->guard, MADE);

	if (!known || send(socket, &id, sizeof(id), MSG_NOSIGNAL) != sizeof(id) || hear(socket) != KEEP) {
		shmctl(id, IPC_RMID, NULL);
		if (m->guard >= 0)
			tell(m->guard, KEEP); /* another may have the id next */
	}
	_exit(0);
}

/* struct creator - a child with the pid and the ids of whom the kernel is to name as the one who has made the segment */
struct creator {
	pid_t pid;
	int socket;
};

static int start_creator(struct creator *c, const struct sysvshm *m)
{
	int ends[2], id = -ECHILD;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	c->pid = clone_as(m->cpid);
	if (c->pid < 0) /* another has it, or we may not choose pids */
		c->pid = clone_as(0);
	if (c->pid == 0) {
		close(ends[1]);
		create(m, ends[0]);
	}
	c->socket = ends[1];
	close(ends[0]);
	if (c->pid < 0)
		return c->pid;
	return read_all(c->socket, &id, sizeof(id)) == sizeof(id) ? id : -ECHILD;
}

static void end_creator(struct creator *c, bool keep)
{
	if (keep)
		tell(c->socket, KEEP);
	c->socket = fd_close(c->socket);
	if (c->pid > 0)
		wait_for(c->pid);
}

/* ---- the segment ---- */

static int attach(const struct sysvshm *m, int id)
{
	/* (void *)-1 is no address that anything is attached at */
	if (shmat(id, (void *)m->at, 0) != (void *)m->at)
		return -errno;
	if (m->state & SYSVSHM_READONLY && !m->page &&
		shmat(id, (void *)m->at_readonly, SHM_RDONLY) != (void *)m->at_readonly)
		return -errno;
	return 0;
}

/* what it has besides its pages; the mark comes last, as nobody may change it afterwards */
static int furnish(const struct sysvshm *m, int id)
{
	struct shmid_ds ds;
	int missed = 0;

	if (shmctl(id, IPC_STAT, &ds) < 0)
		return -errno;
	if (ds.shm_perm.cuid != m->cuid || ds.shm_perm.cgid != m->cgid)
		missed |= SYSVSHM_CREATOR;
	struct shmid_ds to = ds;
	to.shm_perm.uid = m->uid;
	to.shm_perm.gid = m->gid;
	to.shm_perm.mode = (unsigned short)m->mode;
	ds.shm_perm.mode = (unsigned short)m->mode;
	if (shmctl(id, IPC_SET, &to) < 0) {
		missed |= SYSVSHM_OWNER;
		if (shmctl(id, IPC_SET, &ds) < 0)
			return -errno;
	}
	if (m->state & SYSVSHM_LOCKED && shmctl(id, SHM_LOCK, NULL) < 0)
		missed |= SYSVSHM_LOCK;
	if (m->state & SYSVSHM_DEST && shmctl(id, IPC_RMID, NULL) < 0)
		return -errno;
	return missed;
}

void sysvshm_keep(struct sysvshm *m)
{
	if (m->guard < 0)
		return;
	tell(m->guard, KEEP);
	m->guard = fd_close(m->guard);
}

static int make_once(struct sysvshm *m)
{
	struct creator c = { .socket = -EBADF };

	m->guard = m->own_place || m->state & SYSVSHM_DEST ? -EBADF : post_guard((int)m->id);
	if (m->guard < 0 && m->guard != -EBADF)
		return m->guard;
	int id = start_creator(&c, m), r = id < 0 ? id : attach(m, id);
	if (r == 0)
		r = furnish(m, id);
	end_creator(&c, r >= 0);
	if (r < 0)
		m->guard = fd_close(m->guard);
	return m->guard < 0 ? r : r | SYSVSHM_GUARDED;
}

int sysvshm_make(struct sysvshm *m)
{
	int r = -EEXIST;

	if (!m->own_place && sysvshm_is_left(m)) {
		m->guard = -EBADF;
		m->left = true;
		return attach(m, (int)m->id);
	}
	/* the next number is one for the whole namespace: two who choose at once take each other's */
	for (unsigned i = 0; r == -EEXIST && i < TRIES; i++) {
		if (i)
			nap_ms(1 + ((unsigned)getpid() >> i % 8) % 8);
		r = make_once(m);
	}
	return r;
}
