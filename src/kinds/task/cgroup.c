/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * where in the control groups of the program a process and its threads are - cgroups(7), version 2
 *
 * The control group of the first process is that of the place: after a restart it is the caller's, or the one that
 * `stasis run` makes. Groups below it are the program's own: they are made again, where they are not there, and processes go
 * back to theirs; of a process in a threaded subtree ("thread mode") each thread does.
 *
 * Seen:  /proc/PID/cgroup, /proc/PID/task/TID/cgroup, cgroup.type
 * Lost:  limits and other settings of groups that have to be made again; that a process is in a group which is not below that
 *	  of the first one (noted); hierarchies of version 1
 * Needs: to be allowed to make groups there, else it is noted
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/kind.h"

struct seat {
	int32_t vtid;
	const char *path; /* "a/b" below the group of the first process; "" for that one itself */
	uint32_t threaded; /* so many of its names, from the end, are of groups for threads */
};

struct cgroup {
	struct span seats; /* of struct seat: of the leader, then of each thread that is elsewhere */
	const char *path; /* while saving: the group of the process */
};

extern const struct kind kind_task_cgroup;

static const struct field seat_fields[] = {
	FIELD_I(1, struct seat, vtid, "pid.numbers"),
	FIELD_S(2, struct seat, path, "cgroup.kn"),
	FIELD_U(3, struct seat, threaded, "cgroup.dom_cgrp"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct cgroup, seats, "task_struct.cgroups", seat_fields, struct seat),
	FIELDS_END,
};

/* ---- saving ---- */

/* opens a group by its path from the reader's root of the hierarchy */
static int open_group(struct op *op, const char *path)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *mount;
	int r = proc < 0 ? -errno : proc_cgroup2_mount(&op->arena, proc, &mount);

	if (r < 0)
		return r;
	int fd = open(arena_printf(&op->arena, "%s%s", mount, path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static bool is_threaded(struct op *op, int group)
{
	char *type;

	return read_text(&op->arena, group, "cgroup.type", 64, &type, NULL) == 0 && strcmp(type, "threaded\n") == 0;
}

/* the root of the hierarchy has no cgroup.type: threads can be in groups of their own when a group below it is for threads */
static bool is_thread_domain(struct op *op, int group)
{
	char *type;
	int r = read_text(&op->arena, group, "cgroup.type", 64, &type, NULL);

	if (r != -ENOENT)
		return r == 0 && strcmp(type, "domain\n") != 0;
	int fd = openat(group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_dir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool any = false;
	for (struct dirent *e; d && !any && (e = readdir(d));) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		_cleanup_close_ int below = openat(group, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		any = below >= 0 && is_threaded(op, below);
	}
	return any;
}

/* @rest: the names below the group of the first process, at the end of @path */
static uint32_t count_threaded(struct op *op, const char *path, const char *rest)
{
	char *at = arena_strdup(&op->arena, path);
	size_t least = strlen(path) - strlen(rest);

	for (uint32_t n = 0;; n++) {
		char *name = strrchr(at, '/');
		_cleanup_close_ int group = open_group(op, at);

		if (!name || (size_t)(name - at) + 1 < least || group < 0 || !is_threaded(op, group))
			return n;
		*name = 0;
	}
}

/* what follows @above in @path; NULL: it is not below */
static const char *path_below(const char *path, const char *above)
{
	size_t n = strcmp(above, "/") == 0 ? 0 : strlen(above);

	if (strncmp(path, above, n) != 0 || (path[n] && path[n] != '/'))
		return NULL;
	return path[n] ? path + n + 1 : "";
}

/* @above: the group of the first process */
static void add_seat(struct op *op, struct cgroup *c, int32_t vtid, const char *path, const char *above)
{
	const char *rest = path_below(path, above);

	if (!rest) {
		note(op,
			"is in the control group \"%s\", which is not below \"%s\" of the program: after a restart it "
			"is in "
			"that of the program",
			shown(&op->arena, path), shown(&op->arena, above));
		rest = "";
	}
	struct seat *p = span_push(&op->arena, &c->seats, sizeof(*p));
	*p = (struct seat){ vtid, rest, rest[0] ? count_threaded(op, path, rest) : 0 };
}

static int add_threads(struct op *op, const struct sight *s, struct cgroup *c, const char *leader, const char *above)
{
	const struct thread *t = s->process->threads.at;
	int r = 0;

	for (size_t i = 1; i < s->process->threads.n && r == 0; i++) {
		const char *path;

		_cleanup_close_ int dir = proc_open_thread(s->process->dir, t[i].tid);
		r = dir < 0 ? dir : proc_cgroup(&op->arena, dir, &path);
		if (r < 0)
			return fail(op, r, "read the control group of thread %d", t[i].tid);
		if (strcmp(path, leader) != 0)
			add_seat(op, c, t[i].vtid, path, above);
	}
	return r;
}

static int cgroup_save(struct op *op, const struct sight *s, void *rec)
{
	const struct process *first = *(struct process **)s->tree->processes.at;
	struct cgroup *c = rec;
	int r = proc_cgroup(&op->arena, s->process->dir, &c->path);

	if (r == -ENOENT) /* no version 2 here */
		return 0;
	if (r < 0)
		return fail(op, r, "read its control group");
	/* the first process comes first */
	const struct cgroup *of_first = part_record(&first->parts, &kind_task_cgroup);
	const char *path = c->path, *above = of_first && of_first->path ? of_first->path : path;
	if (strcmp(path, above) != 0)
		add_seat(op, c, s->process->vpid, path, above);
	_cleanup_close_ int group = s->process->threads.n > 1 ? open_group(op, path) : -EBADF;
	return group >= 0 && is_thread_domain(op, group) ? add_threads(op, s, c, path, above) : 0;
}

/* ---- restarting ---- */

/* one step down; @path leads there, for when all has to be taken back */
static int make_below(struct op *op, struct site *site, int above, const char *name, const char *path, bool threaded)
{
	bool is_new = mkdirat(above, name, 0755) == 0;

	if (!is_new && errno != EEXIST)
		return -errno;
	if (is_new)
		*(const char **)span_push(&op->arena, &site->made_groups, sizeof(path)) = path;
	_cleanup_close_ int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = is_new && threaded ? write_text(fd, "cgroup.type", "threaded") : 0;
	return r < 0 ? r : TAKE_FD(fd);
}

static size_t count_names(const char *path)
{
	size_t n = path[0] != 0;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

/* the group of @p below @above, which is made where it is not there; a descriptor */
static int make_group(struct op *op, struct site *site, const char *above, const struct seat *p)
{
	_cleanup_close_ int at = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *names = arena_strdup(&op->arena, p->path), *next = NULL;
	size_t left = count_names(p->path);
	const char *path = above;

	if (at < 0)
		return -errno;
	for (char *name = strtok_r(names, "/", &next); name; name = strtok_r(NULL, "/", &next), left--) {
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			return -EBADMSG;
		path = arena_printf(&op->arena, "%s/%s", path, name);
		int below = make_below(op, site, at, name, path, left <= p->threaded);
		if (below < 0)
			return below;
		fd_close(at);
		at = below;
	}
	return TAKE_FD(at);
}

/* a thread as we count, by its id as the program counts */
static int map_threads(struct op *op, pid_t pid, struct map *ret)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc < 0 ? -EBADF : proc_open(proc, pid);
	struct span tids = { 0 };
	int r = dir < 0 ? dir : proc_read_tids(&op->arena, dir, &tids);
	pid_t *tid = tids.at;

	for (size_t i = 0; r == 0 && i < tids.n; i++) {
		_cleanup_close_ int thread = proc_open_thread(dir, tid[i]);
		struct proc_status st;

		if (thread >= 0 && proc_read_status(&op->arena, thread, &st) == 0 && st.levels)
			map_set(&op->arena, ret, (uint64_t)st.nspid[st.levels - 1], &tid[i]);
	}
	return r;
}

static int move(struct op *op, struct site *site, const char *above, const struct seat *p, const struct map *threads)
{
	const pid_t *thread = map_get(threads, (uint64_t)p->vtid);
	pid_t tid = p->vtid == site->vpid ? site->pid : thread ? *thread : -ESRCH;

	if (tid < 0)
		return tid;
	_cleanup_close_ int group = make_group(op, site, above, p);
	if (group < 0)
		return group;
	/* all threads go with the first; those that are elsewhere follow */
	return write_text(
		group, tid == site->pid ? "cgroup.procs" : "cgroup.threads", arena_printf(&op->arena, "%d", tid));
}

/* where the process is now, in the file system */
static int find_above(struct op *op, const struct site *site, const char **ret)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc < 0 ? -EBADF : proc_open(proc, site->pid);
	const char *mount, *path;
	int r = dir < 0 ? dir : proc_cgroup2_mount(&op->arena, proc, &mount);

	if (r == 0)
		r = proc_cgroup(&op->arena, dir, &path);
	if (r == 0)
		*ret = arena_printf(&op->arena, "%s%s", mount, path[1] ? path : "");
	return r;
}

static int cgroup_settle(struct op *op, void *rec, struct site *site)
{
	const struct cgroup *c = rec;
	const struct seat *p = c->seats.at;
	const char *above = NULL;
	struct map threads = { 0 };
	size_t i;

	for (i = 0; i < c->seats.n; i++)
		if (!p[i].path || p[i].vtid <= 0)
			return fail(op, -EBADMSG, "put it into its control group");
	int r = c->seats.n ? find_above(op, site, &above) : 0;
	if (r == 0 && c->seats.n && (c->seats.n > 1 || p[0].vtid != site->vpid))
		r = map_threads(op, site->pid, &threads);
	for (i = 0; i < c->seats.n && r == 0; i++)
		if (p[i].vtid != site->vpid || p[i].path[0]) /* else it is there */
			r = move(op, site, above, &p[i], &threads);
	if (r == -EBADMSG)
		return fail(op, r, "put it into its control group");
	if (r < 0)
		note(op, "is not in its control group \"%s\" below that of the restart: %s",
			shown(&op->arena, p[i ? i - 1 : 0].path), strerror(-r));
	return 0;
}

static void cgroup_describe(const void *rec, FILE *out)
{
	const struct cgroup *c = rec;
	const struct seat *p = c->seats.at;

	fputs(c->seats.n ? "below that of the program:" : "that of the program", out);
	for (size_t i = 0; i < c->seats.n; i++) {
		fprintf(out, " %d in ", p[i].vtid);
		print_quoted(out, p[i].path ? p[i].path : "");
	}
}

const struct kind kind_task_cgroup = {
	.name = "cgroup",
	.tag = 0x3a,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct cgroup),
	.fields = fields,
	.save = cgroup_save,
	.settle = cgroup_settle,
	.describe = cgroup_describe,
};
