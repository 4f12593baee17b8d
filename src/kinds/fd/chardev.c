/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * character devices without state - null(4), zero(4), full(4), random(4)
 *
 * Seen:  stat(2) through /proc/PID/fd: st_rdev; fdinfo: flags
 * Lost:  nothing: their offset has no meaning
 * Needs: nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/inode.h"
#include "kinds/openfile.h"

#define MEM_MAJOR 1

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_SYNC | O_NOFOLLOW | O_NOATIME,
};

struct chardev {
	const char *path;
	uint32_t minor; /* the major is MEM_MAJOR */
	uint32_t flags;
};

static const struct field fields[] = {
	FIELD_S(1, struct chardev, path, "file.f_path"),
	FIELD_U(2, struct chardev, minor, "inode.i_rdev"),
	FIELD_B(3, struct chardev, flags, "file.f_flags", openfile_flags),
	FIELDS_END,
};

/* Where the device is on every Linux; NULL for those that are not ours. */
static const char *usual_path(uint32_t minor)
{
	switch (minor) {
	case 3:
		return "/dev/null";
	case 5:
		return "/dev/zero";
	case 7:
		return "/dev/full";
	case 8:
		return "/dev/random";
	case 9:
		return "/dev/urandom";
	default:
		return NULL;
	}
}

static bool chardev_probe(const struct sight *s)
{
	return s->fd->has_stat && S_ISCHR(s->fd->mode) && major(s->fd->rdev) == MEM_MAJOR &&
	       usual_path(minor(s->fd->rdev));
}

static int chardev_check(struct op *op, const struct sight *s)
{
	int locks = openfile_check_locks(op, s, true);
	int r = openfile_check_flags(op, s, FLAGS);

	return r < 0 ? r : locks;
}

static int chardev_save(struct op *op, const struct sight *s, void *rec)
{
	struct chardev *c = rec;

	c->path = s->fd->link;
	c->minor = minor(s->fd->rdev);
	c->flags = s->fd->flags;
	return 0;
}

/* A new open file of the device when @path leads to it; -ENODEV when it leads elsewhere. No device is behind a symbolic link. */
static int open_device(const struct chardev *c, const char *path)
{
	struct stat st;

	_cleanup_close_ int at = inode_walk(AT_FDCWD, path, O_PATH | O_CLOEXEC);
	if (at < 0 || fstat(at, &st) < 0)
		return at < 0 ? at : -errno;
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(MEM_MAJOR, c->minor))
		return -ENODEV;
	_cleanup_close_ int fd = inode_walk(AT_FDCWD, path, (int)c->flags | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(MEM_MAJOR, c->minor) ? TAKE_FD(fd) : -ESTALE;
}

static int chardev_restore(struct op *op, void *rec, struct site *site)
{
	const struct chardev *c = rec;
	const char *usual = usual_path(c->minor);

	if (!usual || openfile_is_odd(c->flags, FLAGS))
		return fail(op, -EBADMSG, "open a character device from the image");
	int fd = c->path && c->path[0] == '/' ? open_device(c, c->path) : -ENOENT;
	if (fd < 0)
		fd = open_device(c, usual);
	if (fd < 0)
		return fail(op, fd, "open the device \"%s\"", usual);
	return fd;
}

static void chardev_describe(const void *rec, FILE *out)
{
	const struct chardev *c = rec;

	print_quoted(out, c->path ? c->path : "");
}

const struct kind kind_fd_chardev = {
	.name = "chardev",
	.tag = 0x62,
	.scope = SCOPE_FD,
	.size = sizeof(struct chardev),
	.fields = fields,
	.probe = chardev_probe,
	.check = chardev_check,
	.save = chardev_save,
	.restore = chardev_restore,
	.describe = chardev_describe,
};
