/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pidfd - pidfd_open(2)
 *
 * It leads to a process of the program, or to one that has ended and been waited for: then to one that stasis has made
 * and waited for.
 *
 * Seen:  fdinfo: flags, Pid
 * Lost:  the inode number (pidfs); how a process ended that nobody can wait for any more (PIDFD_GET_INFO); F_SETOWN, F_SETSIG
 * Needs: pidfd_open(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/openfile.h"

enum {
	THREAD = O_EXCL, /* PIDFD_THREAD of linux/pidfd.h: it tells the end of this one thread */
	FLAGS = O_APPEND | O_NONBLOCK | O_NOATIME | THREAD,
};

struct pidfd {
	int32_t pid; /* as the program counts; 0: it has ended, and nobody waits for it */
	uint32_t flags;
};

static const struct flag flag_names[] = {
	{ O_RDWR, "RDWR" },
	{ O_APPEND, "APPEND" },
	{ O_NONBLOCK, "NONBLOCK" },
	{ OPENFILE_LARGE, "LARGEFILE" },
	{ O_NOATIME, "NOATIME" },
	{ THREAD, "THREAD" },
	{ 0 },
};

static const struct field fields[] = {
	FIELD_I(1, struct pidfd, pid, "pid.numbers"),
	FIELD_B(2, struct pidfd, flags, "file.f_flags", flag_names),
	FIELDS_END,
};

/* ---- saving ---- */

static bool pidfd_probe(const struct sight *s)
{
	return openfile_is_anon(s, "pidfd");
}

/* As we count; -1: nobody's any more, 0: of another pid namespace. */
static int read_pid(const struct sight *s, pid_t *ret)
{
	const char *digits = openfile_line(s, "Pid:");
	uint64_t pid;

	if (!digits)
		return -EBADMSG;
	if (strcmp(digits, "-1") == 0) {
		*ret = -1;
		return 0;
	}
	if (parse_u64(&digits, 10, &pid) < 0 || *digits || pid > INT32_MAX)
		return -EBADMSG;
	*ret = (pid_t)pid;
	return 0;
}

static const struct process *find_process(const struct tree *tree, pid_t pid)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++)
		if (p[i]->pid == pid)
			return p[i];
	return NULL;
}

static bool is_thread(const struct tree *tree, pid_t tid)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++) {
		const struct thread *t = p[i]->threads.at;

		for (size_t k = 0; k < p[i]->threads.n; k++)
			if (t[k].tid == tid)
				return true;
	}
	return false;
}

/* "cat" (pid 812) */
static const char *name_of(struct op *op, pid_t pid)
{
	char path[64], *comm;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (read_text(&op->arena, AT_FDCWD, path, 64, &comm, NULL) < 0)
		return NULL;
	comm[strcspn(comm, "\n")] = 0;
	return arena_printf(&op->arena, "it is %s", quoted(&op->arena, comm));
}

static int check_process(struct op *op, const struct sight *s)
{
	pid_t pid;

	if (read_pid(s, &pid) < 0)
		return refuse(
			op, "fd-line", "its Pid in fdinfo makes no sense", NULL, "is a pidfd that cannot be examined");
	if (pid < 0 || find_process(s->tree, pid))
		return 0;
	if (is_thread(s->tree, pid))
		return refuse(op, "pidfd-thread", "threads are made after descriptors",
			"close it before the checkpoint", "is a pidfd of thread %d", pid);
	if (!s->tree->frozen && pid > 0 && kill(pid, 0) < 0 && errno == ESRCH) /* it has ended just now */
		return 0;
	return refuse(op, "pidfd-outside", pid ? name_of(op, pid) : "it is in another pid namespace",
		"close it before the checkpoint", "is a pidfd of a process outside of the program: %d", pid);
}

static int pidfd_check(struct op *op, const struct sight *s)
{
	static const char *const lines[] = { "Pid:", "NSpid:", NULL };
	int locks = openfile_check_locks(op, s, true), flags = openfile_check_flags(op, s, FLAGS);
	int known = openfile_check_lines(op, s, lines), process = check_process(op, s);

	if (locks < 0 || flags < 0)
		return locks < 0 ? locks : flags;
	return known < 0 ? known : process;
}

static int pidfd_save(struct op *op, const struct sight *s, void *rec)
{
	struct pidfd *f = rec;
	pid_t pid;
	int r = read_pid(s, &pid);
	const struct process *p = r < 0 ? NULL : find_process(s->tree, pid);

	if (r == 0 && pid >= 0 && !p)
		r = -ESRCH;
	if (r < 0)
		return fail(op, r, "find the process of a pidfd");
	f->pid = p ? p->vpid : 0;
	f->flags = s->fd->flags;
	return 0;
}

/* ---- restarting ---- */

static int open_pid(pid_t pid, uint32_t flags)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, flags & (O_NONBLOCK | THREAD));

	return fd < 0 ? -errno : fd;
}

/* The pidfd of a process that has ended and been waited for, as @at, which is replaced. */
static int open_ended(int at, uint32_t flags)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return -errno;
	_cleanup_close_ int fd = open_pid(pid, flags); /* it stays at least a zombie until it is waited for */
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (fd < 0)
		return fd;
	return dup3(fd, at, O_CLOEXEC) < 0 ? -errno : 0;
}

/* The pid namespace that process @pid lives in; 0: it cannot be told. */
static uint64_t pidns_of(pid_t pid)
{
	char path[32];
	uint64_t ns = 0;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	_cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		proc_read_ns(dir, "pid", &ns);
	return ns;
}

/* In a child that has our descriptors: only what it forks lives in the namespace that it has entered. */
static int open_ended_in(pid_t pid, bool user_ns, int at, uint32_t flags)
{
	int status = 0;
	pid_t helper = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);

	if (helper == 0) {
		int ns = open_pid(pid, 0);
		int r = ns < 0 ? ns : setns(ns, CLONE_NEWPID | (user_ns ? CLONE_NEWUSER : 0)) < 0 ? -errno : 0;

		if (r == 0)
			r = open_ended(at, flags);
		if (ns >= 0)
			close(ns);
		_exit(-r);
	}
	if (helper < 0)
		return -errno;
	while (waitpid(helper, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

/* Where the program has a pid namespace of its own, the process must have lived there for the program to reach it. */
static int make_ended(const struct site *site, uint32_t flags)
{
	pid_t first = site_process(site, 0);
	uint64_t there = pidns_of(first);

	_cleanup_close_ int at = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (at < 0)
		return -errno;
	int r = !there || there == pidns_of(getpid()) ? open_ended(at, flags)
						      : open_ended_in(first, site->user_ns, at, flags);
	return r < 0 ? r : TAKE_FD(at);
}

static int pidfd_restore(struct op *op, void *rec, struct site *site)
{
	const struct pidfd *f = rec;
	pid_t pid = f->pid > 0 ? site_process(site, f->pid) : 0;

	if (f->flags & ~(FLAGS | O_ACCMODE | OPENFILE_LARGE) || (f->flags & O_ACCMODE) != O_RDWR || f->pid < 0 ||
		pid < 0)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "make a pidfd from the image");
	_cleanup_close_ int fd = pid ? open_pid(pid, f->flags) : make_ended(site, f->flags);
	if (fd == -EINVAL && f->flags & THREAD)
		return fail_as(op, OUTCOME_CANNOT, "pidfd-thread", "restart on a newer kernel",
			"make a pidfd of a thread: this kernel has none (PIDFD_THREAD)");
	if (fd < 0)
		return fail(op, fd, "make a pidfd of process %d", f->pid);
	int r = openfile_set_status(fd, f->flags);
	return r < 0 ? fail(op, r, "set the status flags of a pidfd") : TAKE_FD(fd);
}

static void pidfd_describe(const void *rec, FILE *out)
{
	const struct pidfd *f = rec;

	if (f->pid)
		fprintf(out, "of %s %d", f->flags & THREAD ? "thread" : "process", f->pid);
	else
		fputs("of a process that has ended", out);
}

const struct kind kind_fd_pidfd = {
	.name = "pidfd",
	.tag = 0x69,
	.scope = SCOPE_FD,
	.size = sizeof(struct pidfd),
	.fields = fields,
	.probe = pidfd_probe,
	.check = pidfd_check,
	.save = pidfd_save,
	.restore = pidfd_restore,
	.describe = pidfd_describe,
};
