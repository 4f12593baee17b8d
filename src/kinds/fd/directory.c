/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * directories - open(2) with O_DIRECTORY, getdents(2)
 *
 * Seen:  /proc/PID/fd (path), stat(2) through it, fdinfo: pos (the cookie of the next entry), flags, lock
 * Lost:  notifications asked for with fcntl(2) F_NOTIFY; F_SETOWN, F_SETSIG; a deleted directory is refused
 * Needs: openat2(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/goal.h"
#include "kinds/openfile.h"

enum {
	FLAGS = O_DIRECTORY | O_NONBLOCK | O_NOFOLLOW | O_NOATIME | O_PATH,
};

struct directory {
	const char *path;
	uint32_t flags;
	uint64_t pos;
	int64_t mtime_sec, mtime_nsec;
	struct inode inode;
	uint32_t flock;
	struct span ofd_locks; /* of struct ofd_lock */
};

static const struct field fields[] = {
	FIELD_S(1, struct directory, path, "file.f_path"),
	FIELD_B(2, struct directory, flags, "file.f_flags", openfile_flags),
	FIELD_U(3, struct directory, pos, "file.f_pos"),
	FIELD_I(4, struct directory, mtime_sec, "inode.i_mtime_sec"),
	FIELD_I(5, struct directory, mtime_nsec, "inode.i_mtime_nsec"),
	FIELD_U(6, struct directory, inode.dev, "super_block.s_dev"),
	FIELD_U(7, struct directory, inode.ino, "inode.i_ino"),
	FIELD_U(8, struct directory, flock, "file_lock_context.flc_flock"),
	FIELD_A(9, struct directory, ofd_locks, "file_lock_context.flc_posix", ofd_lock_fields, struct ofd_lock),
	FIELD_U(10, struct directory, inode.mode, "inode.i_mode"),
	FIELD_U(11, struct directory, inode.uid, "inode.i_uid"),
	FIELD_U(12, struct directory, inode.gid, "inode.i_gid"),
	INODE_BIRTH_FIELDS(13, struct directory, inode),
	FIELDS_END,
};

static bool directory_probe(const struct sight *s)
{
	return s->fd->has_stat && S_ISDIR(s->fd->mode);
}

static int directory_check(struct op *op, const struct sight *s)
{
	int locks = openfile_check_locks(op, s, false);
	int r = openfile_check_flags(op, s, FLAGS);
	int path = openfile_check_path(op, s);

	if (path < 0)
		return path;
	return r < 0 ? r : locks;
}

static int directory_save(struct op *op, const struct sight *s, void *rec)
{
	struct directory *d = rec;

	d->path = s->fd->link;
	d->flags = s->fd->flags;
	d->pos = s->fd->pos;
	d->mtime_sec = s->fd->mtime_sec;
	d->mtime_nsec = s->fd->mtime_nsec;
	inode_of_fd(s, &d->inode);
	openfile_save_locks(op, s, &d->flock, &d->ofd_locks);
	return 0;
}

static int restore_pos(struct op *op, const struct directory *d, int fd)
{
	struct stat st;

	if (lseek(fd, (off_t)d->pos, SEEK_SET) < 0)
		return fail(op, -errno, "move to position %" PRIu64 " of directory \"%s\"", d->pos, d->path);
	if (fstat(fd, &st) < 0)
		return fail(op, -errno, "examine directory \"%s\"", d->path);
	if (d->pos && (st.st_mtim.tv_sec != d->mtime_sec || st.st_mtim.tv_nsec != d->mtime_nsec))
		note(op,
			"directory \"%s\" has changed since the checkpoint: the listing under way may miss or repeat "
			"names",
			d->path);
	return 0;
}

static int directory_restore(struct op *op, void *rec, struct site *site)
{
	const struct directory *d = rec;
	struct stat st;

	if (!d->path || d->path[0] != '/' || openfile_is_odd(d->flags, FLAGS) || d->flags & O_ACCMODE ||
		d->pos > INT64_MAX)
		return fail(op, -EBADMSG, "open a directory from the image");
	/* nobody waits for the writer of a FIFO that somebody puts there at this moment */
	int flags = (int)d->flags | O_CLOEXEC | (d->flags & O_PATH ? 0 : O_NONBLOCK);
	const struct goal goal = {
		.path = d->path, .what = "directory ", .flags = flags, .was = &d->inode, .type = S_IFDIR
	};
	_cleanup_close_ int fd = goal_open(op, site, &goal, &st);
	if (fd == -EMEDIUMTYPE || (fd < 0 && openfile_is_absent(-fd)))
		return fail_as(op, OUTCOME_CANNOT, "file-missing", "make the directory again and restart",
			"open directory \"%s\": it is not there", d->path);
	if (fd < 0)
		return fail(op, fd, "open directory \"%s\"", d->path);
	if (d->flags & O_PATH)
		return TAKE_FD(fd);
	if (!(d->flags & O_NONBLOCK) && fcntl(fd, F_SETFL, d->flags) < 0)
		return fail(op, -errno, "set the status flags of directory \"%s\"", d->path);
	int r = restore_pos(op, d, fd);
	if (r == 0)
		r = openfile_lock(op, fd, d->flock, &d->ofd_locks, d->path);
	return r < 0 ? r : TAKE_FD(fd);
}

static void directory_describe(const void *rec, FILE *out)
{
	const struct directory *d = rec;

	print_quoted(out, d->path ? d->path : "");
	fprintf(out, "%s%s", d->pos ? ", being listed" : "", d->flock || d->ofd_locks.n ? ", locked" : "");
}

const struct kind kind_fd_directory = {
	.name = "directory",
	.tag = 0x61,
	.scope = SCOPE_FD,
	.size = sizeof(struct directory),
	.fields = fields,
	.probe = directory_probe,
	.check = directory_check,
	.save = directory_save,
	.restore = directory_restore,
	.describe = directory_describe,
};
