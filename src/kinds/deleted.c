/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/deleted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/inode.h"
#include "kinds/openfile.h"
#include "kinds/vma.h"

static int open_on(int root, const char *path, uint64_t dev)
{
	struct stat st;

	_cleanup_close_ int dir = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0 || fstat(dir, &st) < 0)
		return -errno;
	return st.st_dev == dev ? TAKE_FD(dir) : -EXDEV;
}

/* /proc shows paths from the root of who reads it, those of another mount namespace from the root of that */
int deleted_parent(const struct process *p, const char *path, uint64_t dev)
{
	const char *slash = path[0] == '/' ? strrchr(path, '/') : NULL;
	char dir[PATH_MAX];

	if (!slash)
		return -ENOENT;
	if (slash - path + 1 >= PATH_MAX)
		return -ENAMETOOLONG;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path + 1), path);
	int fd = open_on(AT_FDCWD, dir, dev);
	if (fd >= 0)
		return fd;
	_cleanup_close_ int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -errno : open_on(root, dir[1] ? dir + 1 : ".", dev);
}

static int open_name(int dir, const char *name, const struct proc_vma *v)
{
	struct stat st;

	_cleanup_close_ int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return st.st_ino == v->ino && st.st_dev == makedev(v->major, v->minor) ? TAKE_FD(fd) : -ESTALE;
}

/* sem_open(3) makes its files under one name and lets them go under another */
int deleted_find_other(const struct sight *s, char path[PATH_MAX])
{
	const struct proc_vma *v = s->vma;
	_cleanup_close_ int fd = deleted_parent(s->process, v->name, makedev(v->major, v->minor));
	_cleanup_dir_ DIR *dir = fd < 0 ? NULL : fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 3));

	for (struct dirent *e; dir && (e = readdir(dir));) {
		int named = e->d_ino == v->ino ? open_name(fd, e->d_name, v) : -ENOENT;
		int len = (int)(strrchr(v->name, '/') - v->name);

		if (named < 0)
			continue;
		if (snprintf(path, PATH_MAX, "%.*s/%s", len, v->name, e->d_name) < PATH_MAX)
			return named;
		fd_close(named);
		return -ENAMETOOLONG;
	}
	return dir ? -ENOENT : fd < 0 ? fd : -errno;
}

static const char gone[] = " (deleted)";

/* is @link what /proc calls the file @name, which is @deleted? */
static bool is_link_to(const char *link, const char *name, bool deleted)
{
	size_t n = strlen(name);

	return strncmp(link, name, n) == 0 && strcmp(link + n, deleted ? gone : "") == 0;
}

bool deleted_is_mapped(const struct proc_vma *v, const struct proc_fd *f)
{
	if (!f->has_stat || v->ino != f->st_ino)
		return false;
	if (!v->deleted && v->kind == &kind_mem_deleted)
		return makedev(v->major, v->minor) == f->dev || strcmp(v->name, f->link) == 0;
	return vma_is_deleted(v) &&
	       (makedev(v->major, v->minor) == f->dev || (f->nlink == 0 && is_link_to(f->link, v->name, true)));
}

const struct proc_vma *deleted_mapping(const struct tree *tree, const struct proc_fd *f)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t n = 0; n < p[i]->vmas.n; n++)
			if (deleted_is_mapped(&v[n], f))
				return &v[n];
	}
	return NULL;
}

static int open_held(const struct sight *s)
{
	const struct holder *h = s->tree->holders.at;
	int r = -ENOENT;

	for (size_t i = 0; i < s->tree->holders.n && r < 0; i++) {
		if (!deleted_is_mapped(s->vma, h[i].fd))
			continue;
		if (openfile_is_leased(h[i].fd))
			return -EBUSY;
		_cleanup_close_ int fd =
			openfile_take(&(struct sight){ .tree = s->tree, .process = h[i].process, .fd = h[i].fd });
		r = fd < 0 ? fd : openfile_reopen(fd, O_RDONLY | O_NONBLOCK);
	}
	return r;
}

/* a process may look at its executable, and so may who may trace it */
static int open_exe(const struct sight *s)
{
	char link[PATH_MAX + sizeof(gone)];
	ssize_t n = readlinkat(s->process->dir, "exe", link, sizeof(link) - 1);

	if (n < 0)
		return -errno;
	link[n] = '\0';
	if (!is_link_to(link, s->vma->name, s->vma->deleted))
		return -EPERM;
	int fd = openat(s->process->dir, "exe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int deleted_open(const struct sight *s)
{
	struct stat st;
	int r = open_held(s);

	if (r < 0 && r != -EBUSY)
		r = vma_open_file(s);
	if (r == -EPERM || r == -EACCES)
		r = open_exe(s);
	_cleanup_close_ int fd = r;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	/* a program that runs on may have put something else there meanwhile */
	return st.st_ino == s->vma->ino ? TAKE_FD(fd) : -ESTALE;
}

int *deleted_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino)
{
	static const char files[1];

	return site_slot(op, site, files, ino ^ dev << 32);
}

/* the path held no symbolic link */
static int make_nameless(const char *dir, int how)
{
	_cleanup_close_ int at = inode_walk(AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	errno = at < 0 ? -at : 0;
	return at < 0 ? -1 : openat(at, ".", how, 0600);
}

int deleted_make(
	struct op *op, struct site *site, const char *path, uint64_t dev, uint64_t ino, uint32_t flags, bool *ret_made)
{
	int *slot = deleted_slot(op, site, dev, ino), how = (int)flags | O_TMPFILE | O_RDWR | O_CLOEXEC;

	*ret_made = *slot < 0;
	if (*slot >= 0)
		return *slot;
	if (!path || path[0] != '/')
		return fail_as(op, OUTCOME_IMAGE, "image-path", NULL, "make a deleted file that had no path");
	int fd = make_nameless(arena_strndup(&op->arena, path, (size_t)(strrchr(path, '/') - path) + 1), how);
	if (fd < 0 && (openfile_is_absent(errno) || errno == EOPNOTSUPP || errno == EISDIR || errno == EACCES ||
			      errno == EROFS)) {
		note(op, "\"%s\", which was deleted, is a file in /tmp now: %s", path, strerror(errno));
		fd = open("/tmp", how, 0600);
	}
	if (fd < 0)
		return fail(op, -errno, "make a file in place of \"%s\", which was deleted", path);
	*slot = fd;
	return fd;
}
