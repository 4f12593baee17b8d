/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One supervisor for a job: .NAME.lock in its directory, held with flock(2). The file says which process the program of
 * the holder lives below: when a supervisor is killed the kernel ends its program, but a moment later, and two of the
 * same program must never run together.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/text.h"

#include "cli/cli.h"

#define LOCK_FILE_MAX (16u << 20)
#define PATIENCE_NS   UINT64_C(10000000000) /* an earlier program may have much memory to give back */
#define RETRY_MS      10

/* This boot and pid namespace: what makes a pid mean something. */
static const char *here(struct arena *a)
{
	char *boot, *space;

	if (read_text(a, AT_FDCWD, "/proc/sys/kernel/random/boot_id", 128, &boot, NULL) < 0 ||
		read_link(a, AT_FDCWD, "/proc/self/ns/pid", &space) < 0)
		return NULL;
	boot[strcspn(boot, "\n")] = 0;
	return arena_printf(a, "%s/%s", boot, space);
}

/* The file may have been removed, and made again by another, between open and flock. */
static bool is_current(int fd, int dirfd, const char *file)
{
	struct stat held, named;

	return fstat(fd, &held) == 0 && fstatat(dirfd, file, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       same_file(&held, &named);
}

/* Returns a locked descriptor, -EWOULDBLOCK while another holds it, or another -errno. */
static int try_lock(int dirfd, const char *file)
{
	for (;;) {
		_cleanup_close_ int fd = openat(dirfd, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			return -errno;
		if (is_current(fd, dirfd, file))
			return TAKE_FD(fd);
	}
}

static bool read_number(const char *text, const char *key, uint64_t *ret)
{
	size_t len;
	const char *p = line_value(text, key, &len);

	return p && parse_u64(&p, 10, ret) == 0;
}

/* The pid of the earlier program's root while it still lives, 0 otherwise. */
static pid_t earlier(struct arena *a, const char *text)
{
	const char *place = here(a), *its;
	uint64_t pid, start, now;
	size_t len;

	its = line_value(text, "host", &len);
	if (!place || !its || strlen(place) != len || strncmp(place, its, len) != 0)
		return 0;
	if (!read_number(text, "pid", &pid) || !read_number(text, "start", &start) || pid == 0 || pid > INT_MAX)
		return 0;
	if (process_start(a, (pid_t)pid, &now) < 0 || now != start)
		return 0;
	return (pid_t)pid;
}

static int lock_busy(struct lock *l, struct arena *a, struct stasis_report *r)
{
	char *text;
	uint64_t pid;
	const char *who = "";

	if (read_text(a, l->dirfd, l->file, LOCK_FILE_MAX, &text, NULL) == 0 && read_number(text, "supervisor", &pid))
		who = arena_printf(a, " (pid %" PRIu64 ")", pid);
	return report_fail(r, a, EXIT_ENVIRONMENT, "job-runs", "wait for it, or give this one another --name or --dir",
		"this job runs already, below another stasis run%s", who);
}

int lock_take(struct lock *l, struct arena *a, int dirfd, const char *name, struct stasis_report *r)
{
	uint64_t deadline = now_ns() + PATIENCE_NS;
	char *text = NULL;
	size_t len;

	*l = (struct lock){ .fd = -EBADF, .dirfd = dirfd, .file = arena_printf(a, ".%s.lock", name) };
	while ((l->fd = try_lock(dirfd, l->file)) == -EWOULDBLOCK && now_ns() < deadline)
		nap_ms(RETRY_MS);
	if (l->fd == -EWOULDBLOCK)
		return lock_busy(l, a, r);
	if (l->fd < 0)
		return report_fail(r, a, report_errno(l->fd), "lock", "name a directory of your own with --dir",
			"cannot lock %s: %s", l->file, strerror(-l->fd));
	if (read_text(a, dirfd, l->file, LOCK_FILE_MAX, &text, NULL) < 0)
		return 0;
	while (earlier(a, text) && now_ns() < deadline)
		nap_ms(RETRY_MS);
	pid_t pid = earlier(a, text);
	if (pid) {
		lock_release(l, false);
		return report_fail(r, a, EXIT_ENVIRONMENT, "job-runs", arena_printf(a, "kill -KILL %d", (int)pid),
			"the program of an earlier stasis run is still alive (pid %d)", (int)pid);
	}
	l->command = line_value(text, "command", &len);
	if (l->command)
		l->command = arena_strndup(a, l->command, len);
	return 0;
}

int lock_tell(struct lock *l, struct arena *a, pid_t wait_pid, const char *command)
{
	const char *place = here(a);
	uint64_t start = 0;

	process_start(a, wait_pid, &start);
	const char *text = arena_printf(a, "supervisor %d\npid %d\nstart %" PRIu64 "\nhost %s\ncommand %s\n",
		(int)getpid(), (int)wait_pid, start, place ? place : "?", command);
	int r = pwrite_all(l->fd, text, strlen(text), 0);
	if (r < 0)
		return r;
	return ftruncate(l->fd, (off_t)strlen(text)) < 0 ? -errno : 0;
}

void lock_release(struct lock *l, bool remove)
{
	if (l->fd >= 0 && remove)
		unlinkat(l->dirfd, l->file, 0);
	l->fd = fd_close(l->fd);
}
