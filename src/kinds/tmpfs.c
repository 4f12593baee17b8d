/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/tmpfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/goal.h"
#include "kinds/inode.h"
#include "kinds/made.h"
#include "kinds/openfile.h"
#include "kinds/rights.h"
#include "kinds/vma.h"

/* ---- saving ---- */

bool tmpfs_is(unsigned long fs)
{
	return fs == TMPFS_MAGIC || fs == RAMFS_MAGIC;
}

bool tmpfs_has(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && tmpfs_is((unsigned long)fs.f_type);
}

unsigned int tmpfs_use(const struct sight *s)
{
	struct process *const *p = s->tree->processes.at;
	unsigned int use = 0;

	for (size_t i = 0; i < s->tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t n = 0; n < p[i]->vmas.n; n++) {
			if (v[n].ino != s->vma->ino || v[n].major != s->vma->major || v[n].minor != s->vma->minor)
				continue;
			if (v[n].shared)
				use |= TMPFS_SHARED | (vma_flags(&v[n]) & VMA_MAYWRITE_OFF ? 0 : TMPFS_WRITTEN);
		}
	}
	return use;
}

bool tmpfs_is_open_to_write(const struct tree *tree, uint64_t dev, uint64_t ino)
{
	size_t n;
	const struct holder *h = tree_holders(tree, dev, ino, &n);

	for (size_t i = 0; i < n; i++)
		if (openfile_can_write(h[i].fd->flags))
			return true;
	return false;
}

bool tmpfs_keeps(const struct sight *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !tmpfs_has(fd))
		return false;
	unsigned int use = tmpfs_use(s);
	if (!(use & TMPFS_SHARED) || (!(use & TMPFS_WRITTEN) && st.st_size > TMPFS_MAX))
		return false;
	_cleanup_close_ int in = openfile_reopen(fd, O_RDONLY | O_NONBLOCK);
	return in >= 0;
}

bool tmpfs_is_mapped(const struct tree *tree, uint64_t dev, uint64_t ino)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t n = 0; n < p[i]->vmas.n; n++)
			if (v[n].ino == ino && v[n].kind == &kind_mem_tmpfs && makedev(v[n].major, v[n].minor) == dev)
				return true;
	}
	return false;
}

const struct field tmpfs_dir_fields[] = {
	FIELD_S(1, struct tmpfs_dir, path, "file.f_path"),
	FIELD_U(2, struct tmpfs_dir, mode, "inode.i_mode"),
	FIELD_U(3, struct tmpfs_dir, uid, "inode.i_uid"),
	FIELD_U(4, struct tmpfs_dir, gid, "inode.i_gid"),
	FIELDS_END,
};

/* how long the path of the directory is that is above the first @len bytes of @path; 0: that is the root */
static size_t above(const char *path, size_t len)
{
	while (len && path[len - 1] != '/')
		len--;
	return len ? len - 1 : 0;
}

void tmpfs_save_dirs(struct op *op, const char *path, uint64_t dev, struct span *ret)
{
	size_t len = above(path, strlen(path));
	struct stat st, next;

	*ret = (struct span){ 0 };
	if (!len || lstat(arena_strndup(&op->arena, path, len), &st) < 0)
		return;
	for (; len && S_ISDIR(st.st_mode) && st.st_dev == dev; st = next) {
		size_t up = above(path, len);

		/* the last of that device is where it is mounted */
		if (lstat(up ? arena_strndup(&op->arena, path, up) : "/", &next) < 0 || next.st_dev != dev)
			break;
		struct tmpfs_dir *dir = span_push(&op->arena, ret, sizeof(*dir));
		*dir = (struct tmpfs_dir){ arena_strndup(&op->arena, path, len), st.st_mode & 07777, st.st_uid,
			st.st_gid };
		len = up;
	}
	struct tmpfs_dir *all = ret->at;
	for (size_t i = 0; i < ret->n / 2; i++) {
		const struct tmpfs_dir inner = all[i];

		all[i] = all[ret->n - 1 - i];
		all[ret->n - 1 - i] = inner;
	}
}

/* ---- restarting ---- */

/*
 * A lease for writing is only given to who is the only one that has it open; a mapping counts as well (check_conflicting_open() in
 * fs/locks.c). Somebody may open it at that moment, which sends a signal: one that nobody minds. To whom it is not given, as the
 * file is another user's, the answer is yes.
 */
bool tmpfs_is_used(int fd)
{
	_cleanup_close_ int own = openfile_reopen(fd, O_RDONLY | O_NONBLOCK);

	if (own < 0 || fcntl(own, F_SETSIG, SIGURG) < 0 || fcntl(own, F_SETLEASE, F_WRLCK) < 0)
		return true;
	fcntl(own, F_SETLEASE, F_UNLCK);
	return false;
}

int *tmpfs_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino)
{
	static const char files[1];

	return site_slot(op, site, files, ino ^ dev << 32);
}

static int cannot_make(struct op *op, int err, const char *path)
{
	if (err == -ELOOP)
		return fail_as(op, OUTCOME_CANNOT, "file-missing", "make the directory and restart again",
			"make \"%s\" again, which was in memory: its path leads through a symbolic link now", path);
	if (openfile_is_absent(-err))
		return fail_as(op, OUTCOME_CANNOT, "file-missing", "make the directory and restart again",
			"make \"%s\" again, which was in memory: its directory is not there", path);
	return fail(op, err, "make \"%s\" again, which was in memory", path);
}

/* The paths of images hold no symbolic links: who has put one there since may want us to act where he may not. */
int tmpfs_open_path(const char *path, int flags)
{
	return inode_walk(AT_FDCWD, path, O_PATH | O_NOFOLLOW | O_CLOEXEC | flags);
}

/* struct reach - a directory that is to be changed by those who have what is in it */
struct reach {
	const char *dir;
	const struct stat *st; /* what stasis has found there */
	const struct stat *victim; /* what is to be removed in it; NULL: nothing is */
};

static int can_change(const void *data)
{
	const struct reach *r = data;
	_cleanup_close_ int fd = inode_walk(AT_FDCWD, r->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	uid_t own = (uid_t)syscall(SYS_setfsuid, -1);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	if (!same_file(&st, r->st))
		return -ESTALE;
	if (r->victim && st.st_mode & S_ISVTX && own != st.st_uid && own != r->victim->st_uid)
		return -EPERM;
	return rights_access(fd, W_OK | X_OK);
}

/* could they change the directory @above, that of @path? */
static int may_change(struct op *op, struct site *site, int above, const char *path, const struct stat *victim)
{
	const char *dir = arena_strndup(&op->arena, path, (size_t)(strrchr(path, '/') - path) + 1);
	struct stat st;

	if (fstat(above, &st) < 0)
		return fail(op, -errno, "look at \"%s\"", shown(&op->arena, dir));
	int r = rights_each(op, site, can_change, &(struct reach){ dir, &st, victim });
	return op->err ? r : r == 0;
}

int tmpfs_may_remove(struct op *op, struct site *site, const char *path, const struct stat *st)
{
	const char *name;
	int above = made_dir(op, site, path, true, &name);

	return above < 0 ? 0 : may_change(op, site, above, path, st);
}

/* @path: of the file, or of a directory that is to be made for it */
static int may_make(struct op *op, struct site *site, const struct tmpfs_file *file, int above, const char *path)
{
	if (!site->owners.n || goal_has_rule(site, file->path, FILE_ALLOW) || (file->written && inode_root_alone(path)))
		return 1;
	return may_change(op, site, above, path, NULL);
}

int tmpfs_may_make(struct op *op, struct site *site, const struct tmpfs_file *file)
{
	const char *name;
	int above = made_dir(op, site, file->path, true, &name);

	return above < 0 ? 0 : may_make(op, site, file, above, file->path);
}

static int check_place(struct op *op, struct site *site, const struct tmpfs_file *file, int above, const char *path)
{
	int may = may_make(op, site, file, above, path);
	const char *name = shown(&op->arena, file->path);

	if (may)
		return may < 0 ? may : 0;
	return fail_as(op, OUTCOME_CANNOT, "file-rights",
		arena_printf(&op->arena, "put it back as it was, or --file %s=allow makes it for the program", name),
		"make \"%s\" again, which was in memory, for user %u, who may not make it there", name,
		(*(const struct rights *const *)site->owners.at)->uid);
}

/* a directory that was made */
struct made_dir {
	int above;
	const char *name;
};

static void remove_dir(void *rec)
{
	const struct made_dir *dir = rec;

	unlinkat(dir->above, dir->name, AT_REMOVEDIR);
}

static bool is_above(const struct tmpfs_dir *dir, const char *path)
{
	size_t len = dir->path ? strlen(dir->path) : 0;

	return len && dir->mode <= 07777 && path[0] == '/' && strncmp(dir->path, path, len) == 0 && path[len] == '/';
}

/* struct fresh - a directory that was just made, and is nobody else's yet */
struct fresh {
	const struct tmpfs_dir *dir;
	int fd;
};

static bool is_fresh(const struct span *fresh, int dir)
{
	const struct fresh *all = fresh->at;
	struct stat st, own;

	for (size_t i = 0; i < fresh->n; i++)
		if (fstat(dir, &st) == 0 && fstat(all[i].fd, &own) == 0 && same_file(&st, &own))
			return true;
	return false;
}

static int make_dir(struct op *op, struct site *site, const struct tmpfs_file *file, const struct tmpfs_dir *dir,
	struct span *fresh)
{
	struct made_dir made;
	struct stat st;

	made.above = made_dir(op, site, dir->path, true, &made.name);
	if (made.above < 0)
		return made.above;
	if (fstatat(made.above, made.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	int r = is_fresh(fresh, made.above) ? 0 : check_place(op, site, file, made.above, dir->path);
	if (r < 0)
		return r;
	if (mkdirat(made.above, made.name, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	*(struct undoing *)span_push(&op->arena, &site->undoings, sizeof(struct undoing)) =
		(struct undoing){ remove_dir, arena_dup(&op->arena, &made, sizeof(made)) };
	_cleanup_close_ int fd = openat(made.above, made.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 07777 & ~(mode_t)S_ISGID) != 0700)
		return -ESTALE;
	*(struct fresh *)span_push(&op->arena, fresh, sizeof(struct fresh)) = (struct fresh){ dir, TAKE_FD(fd) };
	return 0;
}

/* the innermost first: what is in one that is somebody's already may be moved by him */
static int hand_over(struct op *op, const struct span *fresh)
{
	const struct fresh *all = fresh->at;
	int r = 0;

	for (size_t i = fresh->n; i-- > 0;) {
		const struct tmpfs_dir *dir = all[i].dir;

		if (r == 0 && fchown(all[i].fd, dir->uid, dir->gid) < 0)
			note(op, "\"%s\", which was made again, has another owner now", shown(&op->arena, dir->path));
		if (r == 0 && fchmod(all[i].fd, dir->mode) < 0)
			r = cannot_make(op, -errno, shown(&op->arena, dir->path));
		fd_close(all[i].fd);
	}
	return r;
}

static int make_dirs(struct op *op, struct site *site, const struct tmpfs_file *file, struct span *fresh)
{
	const struct tmpfs_dir *dir = file->dirs.at;

	for (size_t i = 0; i < file->dirs.n; i++) {
		if (!is_above(&dir[i], file->path))
			return fail_as(op, OUTCOME_IMAGE, "image-tmpfs", NULL,
				"make a directory from the image: \"%s\" is not in it", shown(&op->arena, file->path));
		int r = make_dir(op, site, file, &dir[i], fresh);
		if (r < 0)
			return cannot_make(op, r, shown(&op->arena, dir[i].path));
	}
	return 0;
}

static int make_new(struct op *op, struct site *site, const struct tmpfs_file *file, const struct span *fresh)
{
	const char *name;
	int above = made_dir(op, site, file->path, true, &name);

	if (above < 0)
		return above;
	int r = is_fresh(fresh, above) ? 0 : check_place(op, site, file, above, file->path);
	if (r < 0)
		return r;
	int fd = openat(above, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static void remove_new(struct op *op, struct site *site, const char *path, int fd)
{
	const char *name;
	int above = made_dir(op, site, path, true, &name);

	unlinkat(above, name, 0);
	fd_close(fd);
}

static int make_with_dirs(struct op *op, struct site *site, const struct tmpfs_file *file)
{
	struct span fresh = { 0 };
	int fd = make_new(op, site, file, &fresh);

	if (fd != -ENOENT || !file->dirs.n)
		return fd < 0 ? cannot_make(op, fd, shown(&op->arena, file->path)) : fd;
	int r = make_dirs(op, site, file, &fresh);
	if (r == 0 && (fd = make_new(op, site, file, &fresh)) < 0)
		r = cannot_make(op, fd, shown(&op->arena, file->path));
	int given = hand_over(op, &fresh);
	if (r < 0 || given < 0) {
		if (fd >= 0)
			remove_new(op, site, file->path, fd);
		return r < 0 ? r : given;
	}
	return fd;
}

/* nothing that has the new name goes, and who has opened it at the last moment keeps it under the old one */
static int put_aside(
	struct op *op, int above, const char *name, const char *aside, const char *path, const struct stat *judged)
{
	struct stat st;

	if (renameat2(above, name, above, aside, RENAME_NOREPLACE) < 0)
		return fail(op, -errno, "put \"%s\" aside", shown(&op->arena, path));
	_cleanup_close_ int fd = inode_walk(above, aside, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && same_file(&st, judged) && !tmpfs_is_used(fd))
		return 0;
	renameat2(above, aside, above, name, RENAME_NOREPLACE);
	return fail_as(op, OUTCOME_CANNOT, "file-changed", "restart again", "put \"%s\" aside: it is being used now",
		shown(&op->arena, path));
}

int tmpfs_make(struct op *op, struct site *site, const struct tmpfs_file *file)
{
	const char *shown_path = shown(&op->arena, file->path), *name, *was = NULL;
	int above = file->instead ? made_dir(op, site, file->path, true, &name) : -EBADF;

	if (file->instead && above < 0)
		return cannot_make(op, above, shown_path);
	int r = file->instead ? check_place(op, site, file, above, file->path) : 0;
	if (r < 0)
		return r;
	if (file->instead)
		was = arena_printf(&op->arena, "%s.stasis-%d", name, getpid());
	r = was ? put_aside(op, above, name, was, file->path, file->instead) : 0;
	if (r < 0)
		return r;
	int fd = make_with_dirs(op, site, file);
	if (fd < 0) {
		if (was)
			renameat(above, was, above, name);
		return fd;
	}
	above = made_dir(op, site, file->path, true, &name);
	made_add(op, site, above, file->path, name, was);
	struct stat st;
	if (fstat(fd, &st) == 0 && (st.st_uid != file->uid || st.st_gid != file->gid) &&
		fchown(fd, file->uid, file->gid) < 0)
		note(op, "\"%s\", which was made again, belongs to user %u and group %u, not %u and %u", shown_path,
			st.st_uid, st.st_gid, file->uid, file->gid);
	return fd;
}

int tmpfs_link(struct op *op, struct site *site, int fd, const struct tmpfs_file *file)
{
	const char *path = file->path, *name;
	char link[32];
	int above = made_dir(op, site, path, true, &name);
	int r = above < 0 ? 0 : check_place(op, site, file, above, path);

	if (r < 0)
		return r;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (above < 0 || linkat(AT_FDCWD, link, above, name, AT_SYMLINK_FOLLOW) < 0)
		return cannot_make(op, above < 0 ? above : -errno, shown(&op->arena, path));
	made_add(op, site, above, path, name, NULL);
	return 0;
}

/* The content is the program's: it does not run with the rights of others because the one that was there did. */
int tmpfs_set_mode(struct op *op, int fd, const char *path, uint32_t mode)
{
	const uint32_t special = mode & (S_ISUID | S_ISGID);

	if (special)
		note(op, "\"%s\", which was made again, is not set-user-ID or set-group-ID any more",
			shown(&op->arena, path));
	return fchmod(fd, mode & 07777 & ~special) < 0
		       ? fail(op, -errno, "make \"%s\" as it was", shown(&op->arena, path))
		       : 0;
}
