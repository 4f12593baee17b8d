/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/tmpfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"
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
	if (openfile_is_absent(-err))
		return fail_as(op, OUTCOME_CANNOT, "file-missing", "make the directory and restart again",
			"make \"%s\" again, which was in memory: its directory is not there", path);
	return fail(op, err, "make \"%s\" again, which was in memory", path);
}

static void remove_dir(void *rec)
{
	rmdir(rec);
}

static bool is_above(const struct tmpfs_dir *dir, const char *path)
{
	size_t len = dir->path ? strlen(dir->path) : 0;

	return len && dir->mode <= 07777 && path[0] == '/' && strncmp(dir->path, path, len) == 0 && path[len] == '/';
}

static int make_dirs(struct op *op, struct site *site, const struct tmpfs_file *file)
{
	const struct tmpfs_dir *dir = file->dirs.at;

	for (size_t i = 0; i < file->dirs.n; i++) {
		if (!is_above(&dir[i], file->path))
			return fail_as(op, OUTCOME_IMAGE, "image-tmpfs", NULL,
				"make a directory from the image: \"%s\" is not in it", shown(&op->arena, file->path));
		if (mkdir(dir[i].path, 0700) < 0) {
			if (errno == EEXIST)
				continue;
			return cannot_make(op, -errno, shown(&op->arena, dir[i].path));
		}
		*(struct undoing *)span_push(&op->arena, &site->undoings, sizeof(struct undoing)) =
			(struct undoing){ remove_dir, arena_strdup(&op->arena, dir[i].path) };
		if (lchown(dir[i].path, dir[i].uid, dir[i].gid) < 0)
			note(op, "\"%s\", which was made again, has another owner now", shown(&op->arena, dir[i].path));
		if (chmod(dir[i].path, dir[i].mode) < 0)
			return cannot_make(op, -errno, shown(&op->arena, dir[i].path));
	}
	return 0;
}

static int make_new(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

int tmpfs_make(struct op *op, struct site *site, const struct tmpfs_file *file)
{
	struct made_file made = { .path = file->path };
	const char *name = shown(&op->arena, file->path);

	if (file->instead)
		made.was = arena_printf(&op->arena, "%s.stasis-%d", file->path, getpid());
	if (made.was && rename(file->path, made.was) < 0)
		return fail(op, -errno, "put \"%s\" aside", name);
	int fd = make_new(file->path);
	if (fd == -ENOENT && file->dirs.n) {
		int r = make_dirs(op, site, file);

		if (r < 0)
			return r;
		fd = make_new(file->path);
	}
	if (fd < 0) {
		if (made.was)
			rename(made.was, file->path);
		return cannot_make(op, fd, name);
	}
	*(struct made_file *)span_push(&op->arena, &site->made_files, sizeof(made)) = made;
	struct stat st;
	if (fstat(fd, &st) == 0 && (st.st_uid != file->uid || st.st_gid != file->gid) &&
		fchown(fd, file->uid, file->gid) < 0)
		note(op, "\"%s\", which was made again, belongs to user %u and group %u, not %u and %u", name,
			st.st_uid, st.st_gid, file->uid, file->gid);
	return fd;
}
