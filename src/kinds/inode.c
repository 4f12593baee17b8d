/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/openfile.h"

#define PATH_FLAGS                           \
	(O_PATH | O_DIRECTORY | O_NOFOLLOW | \
		O_CLOEXEC) /* what openat2(2) takes with O_PATH, where open(2) ignores the rest */

static int resolve(int at, const char *path, int flags, uint64_t how_to)
{
	struct open_how how = { .flags = (uint64_t)(flags & O_PATH ? flags & PATH_FLAGS : flags), .resolve = how_to };
	int fd = (int)syscall(SYS_openat2, at, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

int inode_walk(int at, const char *path, int flags)
{
	return resolve(at, path, flags, RESOLVE_NO_SYMLINKS);
}

int inode_walk_links(int at, const char *path, int flags)
{
	return resolve(at, path, flags, RESOLVE_NO_MAGICLINKS);
}

static uint64_t fsid_of(int fd)
{
	struct statfs fs;
	uint64_t id = 0;

	if (fstatfs(fd, &fs) == 0)
		memcpy(&id, &fs.f_fsid, sizeof(id));
	return id;
}

void inode_of_fd(const struct sight *s, struct inode *ret)
{
	const struct proc_fd *f = s->fd;

	*ret = (struct inode){ .dev = f->dev,
		.ino = f->st_ino,
		.fsid = openfile_fsid(s),
		.mode = f->mode,
		.uid = f->uid,
		.gid = f->gid,
		.born_sec = f->born_sec,
		.born_nsec = f->born_nsec,
		.born = f->by_change ? INODE_CHANGED : INODE_BORN };
}

static int look(int dir, const char *name, int flags, struct inode *ret, dev_t *ret_rdev)
{
	struct statx x;

	if (statx(dir, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &x) < 0)
		return -errno;
	const bool has_birth = x.stx_mask & STATX_BTIME;
	const struct statx_timestamp *born = has_birth ? &x.stx_btime : &x.stx_ctime;
	*ret = (struct inode){ .dev = makedev(x.stx_dev_major, x.stx_dev_minor),
		.ino = x.stx_ino,
		.mode = x.stx_mode,
		.uid = x.stx_uid,
		.gid = x.stx_gid,
		.born_sec = born->tv_sec,
		.born_nsec = born->tv_nsec,
		.born = has_birth ? INODE_BORN : INODE_CHANGED };
	*ret_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
	return 0;
}

int inode_look_at(int dir, const char *name, struct inode *ret, dev_t *ret_rdev)
{
	return look(dir, name, AT_SYMLINK_NOFOLLOW, ret, ret_rdev);
}

int inode_look(int fd, struct inode *ret)
{
	dev_t rdev;
	int r = look(fd, "", AT_EMPTY_PATH, ret, &rdev);

	if (r == 0)
		ret->fsid = fsid_of(fd);
	return r;
}

bool inode_is_known(const struct inode *was)
{
	return was->born != INODE_UNKNOWN;
}

bool inode_is_alike(const struct inode *was, const struct inode *now)
{
	return inode_is_known(was) && (was->mode & S_IFMT) == (now->mode & S_IFMT) && was->uid == now->uid &&
	       was->gid == now->gid && !(was->mode & ~now->mode & 0777);
}

bool inode_is_same(const struct inode *was, const struct inode *now)
{
	if (!inode_is_alike(was, now) || was->ino != now->ino || was->born_sec != now->born_sec ||
		was->born_nsec != now->born_nsec || was->born != now->born)
		return false;
	return was->dev == now->dev || (was->fsid && was->fsid == now->fsid);
}

/* an access control list shows as rights of the group */
static bool is_roots(int dir)
{
	struct stat st;

	return fstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

bool inode_root_alone(const char *path)
{
	_cleanup_close_ int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *slash;

	while (dir >= 0 && is_roots(dir)) {
		char name[NAME_MAX + 1];

		path += strspn(path, "/");
		slash = strchr(path, '/');
		if (!slash)
			return true;
		size_t len = (size_t)(slash - path);
		if (len > NAME_MAX)
			return false;
		memcpy(name, path, len);
		name[len] = '\0';
		int next = inode_walk(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd_close(dir);
		dir = next;
		path = slash;
	}
	return false;
}
