/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/outsiders.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

#define THREADS_MOST 500
#define LOOK_MOST    50 /* processes: where these have none, others of the program will not have many */
#define FIRST_MOST \
	256 /* descriptors of one: it has a pipe among the first or, most likely, none; else it is looked later */

/** struct outside_fd - a descriptor */
struct outside_fd {
	uint64_t link; /* its hash */
	pid_t pid;
	int n;
	const struct outside_fd *next; /* with the same hash */
};

static int open_proc(void)
{
	return open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static DIR *open_fds(int procfd, pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "%d/fd", pid);
	_cleanup_close_ int fd = openat(procfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir)
		TAKE_FD(fd);
	return dir;
}

/* the next descriptor and its link, or -1 */
static int next_fd(DIR *dir, char link[PATH_MAX + 1])
{
	for (struct dirent *e; (e = readdir(dir));) {
		const char *digits = e->d_name;
		uint64_t n;
		ssize_t len;

		if (parse_u64(&digits, 10, &n) < 0 || *digits || n > INT_MAX)
			continue;
		len = readlinkat(dirfd(dir), e->d_name, link, PATH_MAX);
		if (len < 0)
			continue;
		link[len] = 0;
		return (int)n;
	}
	return -1;
}

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash(const char *link)
{
	uint64_t h = 0xcbf29ce484222325;

	while (*link)
		h = (h ^ (unsigned char)*link++) * 0x100000001b3;
	return h;
}

/* at whoever was not looked at yet */
static void look(struct arena *a, struct outsiders *o)
{
	_cleanup_close_ int procfd = open_proc();
	struct span pids = { 0 };
	char link[PATH_MAX + 1];

	if (procfd < 0 || proc_read_all(a, procfd, &pids) < 0)
		return;
	const pid_t *pid = pids.at;
	for (size_t i = 0; i < pids.n; i++) {
		if (map_get(&o->known, (uint64_t)pid[i]))
			continue;
		map_set(a, &o->known, (uint64_t)pid[i], o);
		_cleanup_dir_ DIR *dir = open_fds(procfd, pid[i]);
		for (int n; dir && (n = next_fd(dir, link)) >= 0;) {
			struct outside_fd *f = span_push(a, &o->fds, sizeof(*f));
			*f = (struct outside_fd){ .link = hash(link), .pid = pid[i], .n = n };
		}
	}
}

static bool has_nameless(int procfd, pid_t pid)
{
	_cleanup_dir_ DIR *dir = open_fds(procfd, pid);
	char link[PATH_MAX + 1];

	for (int i = 0; dir && i < FIRST_MOST && next_fd(dir, link) >= 0; i++)
		if (strncmp(link, "pipe:", 5) == 0 || strncmp(link, "socket:", 7) == 0 ||
			strncmp(link, "/memfd:", 7) == 0 || strncmp(link, "/secretmem", 10) == 0)
			return true;
	return false;
}

void outsiders_look_ahead(struct arena *a, struct outsiders *o, pid_t root)
{
	_cleanup_close_ int procfd = open_proc();
	struct span todo = { 0 };

	*(pid_t *)span_push(a, &todo, sizeof(root)) = root;
	for (size_t i = 0; i < todo.n && i < LOOK_MOST; i++) {
		pid_t pid = ((pid_t *)todo.at)[i];
		_cleanup_close_ int dir = proc_open(procfd, pid);
		struct span children = { 0 };

		if (has_nameless(procfd, pid)) {
			look(a, o);
			return;
		}
		/* each thread has a list of children of its own */
		if (dir < 0 || proc_count_threads(dir) > THREADS_MOST || proc_read_children(a, dir, &children) < 0)
			continue;
		for (size_t k = 0; k < children.n; k++)
			*(pid_t *)span_push(a, &todo, sizeof(pid_t)) = ((pid_t *)children.at)[k];
	}
}

/* from the last to the first, so that the first is found first */
static void sort(struct arena *a, struct outsiders *o, const struct tree *tree)
{
	struct process *const *p = tree->processes.at;
	struct outside_fd *f = o->fds.at;
	struct map inside = { 0 };

	for (size_t i = 0; i < tree->processes.n; i++)
		map_set(a, &inside, (uint64_t)p[i]->pid, p[i]);
	for (size_t i = o->fds.n; i-- > 0;) {
		if (map_get(&inside, (uint64_t)f[i].pid))
			continue;
		f[i].next = map_get(&o->by_link, f[i].link);
		map_set(a, &o->by_link, f[i].link, &f[i]);
	}
	o->sorted = true;
}

/* does it lead there still? To @file as well, unless that is NULL: many may have the same name */
static bool leads_to(int procfd, const struct outside_fd *f, const char *link, const struct proc_fd *file)
{
	char path[64], to[PATH_MAX + 1];
	struct stat st;

	snprintf(path, sizeof(path), "%d/fd/%d", f->pid, f->n);
	ssize_t len = readlinkat(procfd, path, to, PATH_MAX);
	to[len < 0 ? 0 : len] = 0;
	if (len < 0 || strcmp(to, link) != 0 || !file)
		return len >= 0 && strcmp(to, link) == 0;
	return fstatat(procfd, path, &st, 0) == 0 && st.st_dev == file->dev && st.st_ino == file->st_ino;
}

static const char *find(struct op *op, const struct tree *tree, const char *link, const struct proc_fd *file)
{
	struct outsiders *o = tree->outsiders;
	_cleanup_close_ int procfd = open_proc();
	char path[32], *comm;

	if (!o)
		return NULL;
	tree_lock(tree);
	if (!o->sorted) {
		look(&op->arena, o);
		sort(&op->arena, o, tree);
	}
	tree_unlock(tree);
	for (const struct outside_fd *f = map_get(&o->by_link, hash(link)); f; f = f->next) {
		snprintf(path, sizeof(path), "%d/comm", f->pid);
		if (!leads_to(procfd, f, link, file) || read_text(&op->arena, procfd, path, 64, &comm, NULL) < 0)
			continue;
		comm[strcspn(comm, "\n")] = 0;
		return arena_printf(&op->arena, "%s (pid %d)", quoted(&op->arena, comm), f->pid);
	}
	return NULL;
}

const char *outsider_of(struct op *op, const struct tree *tree, const char *link)
{
	return find(op, tree, link, NULL);
}

void outsider_note_file(struct op *op, const struct tree *tree, const struct proc_fd *file, const char *what)
{
	const char *who = find(op, tree, file->link, file);

	if (who)
		note(op, "has %s that is also held by %s, outside of the program: a restart cuts that off", what, who);
}

void outsider_note(struct op *op, const struct sight *s, const char *what)
{
	const char *who = outsider_of(op, s->tree, s->fd->link);

	if (who)
		note(op, "is a %s that is also held by %s, outside of the program: a restart cuts that off", what, who);
}
