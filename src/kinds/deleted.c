/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/deleted.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/openfile.h"

static int open_on(int root, const char *path, uint64_t dev)
{
	struct stat st;

	_cleanup_close_ int dir = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0 || fstat(dir, &st) < 0)
		return -errno;
	return st.st_dev == dev ? TAKE_FD(dir) : -EXDEV;
}

/* /proc shows paths from the root of who reads it, those of another mount namespace from the root of that */
int deleted_parent(struct op *op, const struct process *p, const char *path, uint64_t dev)
{
	const char *slash = path[0] == '/' ? strrchr(path, '/') : NULL;

	if (!slash)
		return -ENOENT;
	const char *dir = arena_strndup(&op->arena, path, (size_t)(slash - path) + 1);
	int fd = open_on(AT_FDCWD, dir, dev);
	if (fd >= 0)
		return fd;
	_cleanup_close_ int root = openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -errno : open_on(root, dir[1] ? dir + 1 : ".", dev);
}

uint64_t deleted_extent(const struct tree *tree, uint64_t dev, uint64_t ino)
{
	struct process *const *p = tree->processes.at;
	uint64_t extent = 0;

	for (size_t i = 0; i < tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t n = 0; n < p[i]->vmas.n; n++)
			if (v[n].ino == ino && v[n].shared && makedev(v[n].major, v[n].minor) == dev &&
				v[n].pgoff + (v[n].end - v[n].start) > extent)
				extent = v[n].pgoff + (v[n].end - v[n].start);
	}
	return extent;
}

int *deleted_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino)
{
	static const char files[1];

	return site_slot(op, site, files, ino ^ dev << 32);
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
	int fd = open(arena_strndup(&op->arena, path, (size_t)(strrchr(path, '/') - path) + 1), how, 0600);
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
