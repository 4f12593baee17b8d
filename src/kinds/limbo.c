/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/limbo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

/* ---- the file system ---- */

static int set(int fs, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* without limits of its own: those of the memory of who has the files are enough */
static int set_up(int fs, uint64_t huge)
{
	char size[24];

	snprintf(size, sizeof(size), "%" PRIu64, huge);
	if (set(fs, "mode", "0700") < 0)
		return -errno;
	if (huge)
		return set(fs, "pagesize", size);
	return set(fs, "size", "0") < 0 ? -errno : set(fs, "nr_inodes", "0");
}

static int mount_one(uint64_t huge)
{
	_cleanup_close_ int fs = (int)syscall(SYS_fsopen, huge ? "hugetlbfs" : "tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0 || set_up(fs, huge) < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	int mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	return mount < 0 ? -errno : mount;
}

static bool put(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write_all(fd, text, strlen(text)) == 0;
}

/* for itself: files of nobody could not be made */
static bool map_own_ids(uid_t uid, gid_t gid)
{
	char uids[64], gids[64];

	snprintf(uids, sizeof(uids), "%u %u 1", uid, uid);
	snprintf(gids, sizeof(gids), "%u %u 1", gid, gid);
	return put("/proc/self/setgroups", "deny") && put("/proc/self/uid_map", uids) &&
	       put("/proc/self/gid_map", gids);
}

/* in a child that shares our descriptors */
static int mount_as_owner(int place)
{
	const uid_t uid = geteuid();
	const gid_t gid = getegid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return errno;
	if (!map_own_ids(uid, gid))
		return EPERM;
	int mount = mount_one(0);
	if (mount < 0)
		return -mount;
	return dup3(mount, place, O_CLOEXEC) < 0 ? errno : close(mount);
}

/* who may not mount may so in a user namespace of his own, which only has to be there for that moment */
static int mount_by_child(void)
{
	_cleanup_close_ int place = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int status;

	if (place < 0)
		return -errno;
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(mount_as_owner(place));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFEXITED(status))
		return -EINTR;
	return WEXITSTATUS(status) ? -WEXITSTATUS(status) : TAKE_FD(place);
}

/* one for all files; it goes with the slot. Of a hugetlbfs no user namespace is enough */
static int find_mount(struct op *op, struct site *site, uint64_t huge)
{
	static const char mounts[1];
	int *slot = site_slot(op, site, mounts, huge);

	if (*slot == -EBADF)
		*slot = mount_one(huge);
	if (*slot == -EPERM && !huge)
		*slot = mount_by_child();
	return *slot;
}

/* ---- files in it ---- */

static bool is_plain(const char *path)
{
	size_t len = strlen(path);

	if (path[0] != '/' || len >= PATH_MAX)
		return false;
	for (const char *name = path + 1; name <= path + len; name += strcspn(name, "/") + 1) {
		size_t n = strcspn(name, "/");

		if (!n || n > NAME_MAX || (n <= 2 && strncmp(name, "..", n) == 0))
			return false;
	}
	return true;
}

int limbo_make(struct op *op, struct site *site, const char *path, uint64_t huge)
{
	if (!is_plain(path))
		return -EINVAL;
	int root = find_mount(op, site, huge);
	if (root < 0)
		return root;
	char *name = arena_strdup(&op->arena, path + 1);
	for (char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdirat(root, name, 0700) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	_cleanup_close_ int fd = openat(root, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0700);
	if (fd < 0 || unlinkat(root, name, 0) < 0 || fchmod(fd, 0700) < 0)
		return -errno;
	return TAKE_FD(fd);
}
