/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/map.h"

/* the device of the superblock that @fd is on, which maps show */
static bool is_on(const struct process *p, int fd, uint64_t dev)
{
	struct statx x;
	uint64_t of_mount;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &x) < 0 || !(x.stx_mask & STATX_MNT_ID))
		return false;
	if (proc_mount_dev(p->dir, x.stx_mnt_id, &of_mount) == 0)
		return of_mount == dev;
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return self >= 0 && proc_mount_dev(self, x.stx_mnt_id, &of_mount) == 0 && of_mount == dev;
}

/* before v6.8 maps show device and number of the file in the layer below */
static bool is_on_overlay(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

/*
 * Is the file at @fd the one that is mapped? In some file systems (btrfs, overlayfs) stat(2) shows another device than maps do.
 * Who has CAP_CHECKPOINT_RESTORE may compare what it shows of both. Others go by the number and by what is mounted there.
 */
static bool is_same(const struct sight *s, int fd, const struct stat *st)
{
	const struct proc_vma *v = s->vma;
	const uint64_t dev = makedev(v->major, v->minor);
	struct stat mapped;
	char link[64];

	if (st->st_ino == v->ino && st->st_dev == dev)
		return true;
	snprintf(link, sizeof(link), "map_files/%" PRIx64 "-%" PRIx64, v->start, v->end);
	if (fstatat(s->process->dir, link, &mapped, 0) == 0)
		return same_file(&mapped, st);
	return st->st_ino == v->ino && (is_on(s->process, fd, dev) || is_on_overlay(fd));
}

static int open_at(const struct sight *s, int root, struct stat *st)
{
	const char *name = s->vma->name;
	_cleanup_close_ int fd = openat(root, root == AT_FDCWD ? name : name + 1, O_PATH | O_CLOEXEC);

	if (fd < 0 || fstat(fd, st) < 0)
		return -errno;
	return is_same(s, fd, st) ? TAKE_FD(fd) : -ESTALE;
}

/* maps shows the path as it is for the reader; where the process has another root or other mounts it may be meant there */
int mapped_find(const struct sight *s, struct stat *ret_st)
{
	int fd = open_at(s, AT_FDCWD, ret_st);

	if (fd >= 0)
		return fd;
	_cleanup_close_ int root = openat(s->process->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int inside = root < 0 ? -errno : open_at(s, root, ret_st);
	return inside >= 0 ? inside : fd;
}

/* struct kept - the descriptor of a file that is mapped */
struct kept {
	const char *path;
	int fd;
};

static const char files;

static uint64_t key_of(const char *path)
{
	return XXH3_64bits(path, strlen(path));
}

void mapped_keep(struct op *op, struct site *site, const char *path, int fd)
{
	struct map *all = (struct map *)(uintptr_t)site_known(site, &files);
	const struct kept k = { path, fd };

	if (!all) {
		all = arena_dup(&op->arena, &(struct map){ 0 }, sizeof(*all));
		site_keep(op, site, &files, all);
	}
	map_set(&op->arena, all, key_of(path), arena_dup(&op->arena, &k, sizeof(k)));
}

int mapped_kept(const struct site *site, const char *path)
{
	const struct map *all = site_known(site, &files);
	const struct kept *k = all ? map_get(all, key_of(path)) : NULL;

	return k && strcmp(k->path, path) == 0 ? k->fd : -EBADF;
}
