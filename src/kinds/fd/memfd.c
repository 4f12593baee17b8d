/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * open memfds - memfd_create(2)
 *
 * The memory itself is an object of its own (mem/memfd.c). There may be several open files of it: by way of /proc/PID/fd it can be
 * opened again, for reading only as well. The open file that memfd_create(2) gives is not counted among those that may write to it (in
 * i_writecount), so that a program can be executed while it is open: the first one that could be that is that again.
 *
 * Seen:  /proc/PID/fd, "/memfd:name (deleted)", and no link leads to it; fdinfo: pos, flags, lock
 * Lost:  as of other files: advice (posix_fadvise(2)), F_SETOWN and F_SETSIG; that the one that memfd_create(2) gave is closed, and
 *        another open for both hinders that it is executed
 * Needs: nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/memfd.h"
#include "kinds/openfile.h"

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_NOATIME | O_PATH,
};

struct memfd_file {
	uint64_t memory; /* the object */
	uint32_t flags;
	uint64_t pos;
	uint32_t flock;
	struct span ofd_locks; /* of struct ofd_lock */
};

static const struct field fields[] = {
	FIELD_R(1, struct memfd_file, memory, "file.f_inode"),
	FIELD_B(2, struct memfd_file, flags, "file.f_flags", openfile_flags),
	FIELD_U(3, struct memfd_file, pos, "file.f_pos"),
	FIELD_U(4, struct memfd_file, flock, "file_lock_context.flc_flock"),
	FIELD_A(5, struct memfd_file, ofd_locks, "file_lock_context.flc_posix", ofd_lock_fields, struct ofd_lock),
	FIELDS_END,
};

static bool memfd_probe(const struct sight *s)
{
	return s->fd->has_stat && S_ISREG(s->fd->mode) && !s->fd->nlink && memfd_is_name(s->fd->link);
}

static int memfd_file_check(struct op *op, const struct sight *s)
{
	int locks = openfile_check_locks(op, s, false), flags = openfile_check_flags(op, s, FLAGS);

	if (locks < 0) /* a lease */
		return locks;
	int r = memfd_check(op, memfd_open(s), s->fd->link);
	return flags < 0 ? flags : r;
}

static int memfd_save(struct op *op, const struct sight *s, void *rec)
{
	struct memfd_file *f = rec;

	f->memory = s->backing;
	f->flags = s->fd->flags;
	f->pos = s->fd->pos;
	openfile_save_locks(op, s, &f->flock, &f->ofd_locks);
	return 0;
}

/* @here, which memfd_create(2) gave, can be had once */
static int open_again(struct op *op, const struct memfd_file *f, struct site *site, int here)
{
	static const char firsts[1];
	int *slot = site_slot(op, site, firsts, f->memory);
	uint32_t own = O_ACCMODE | O_SYNC | O_PATH;

	if ((f->flags & own) != O_RDWR || *slot == -EEXIST)
		return openfile_reopen(here, (int)f->flags | (f->flags & O_PATH ? 0 : O_NONBLOCK));
	*slot = -EEXIST;
	int fd = fcntl(here, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

static int memfd_restore(struct op *op, void *rec, struct site *site)
{
	const struct memfd_file *f = rec;
	int here = site_backing(site, f->memory, &kind_mem_memfd);

	if (here < 0 || openfile_is_odd(f->flags, FLAGS) || f->pos > INT64_MAX)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "open a memfd from the image");
	_cleanup_close_ int fd = open_again(op, f, site, here);
	if (fd < 0)
		return fail(op, fd, "open a memfd");
	if (f->flags & O_PATH)
		return TAKE_FD(fd);
	if (lseek(fd, (off_t)f->pos, SEEK_SET) < 0)
		return fail(op, errno == EINVAL ? -EBADMSG : -errno, "move to offset %" PRIu64 " of a memfd", f->pos);
	int r = openfile_set_status(fd, f->flags);
	if (r < 0)
		return fail(op, r, "set the status flags of a memfd");
	r = openfile_lock(op, fd, f->flock, &f->ofd_locks, "memfd");
	return r < 0 ? r : TAKE_FD(fd);
}

static void memfd_describe(const void *rec, FILE *out)
{
	const struct memfd_file *f = rec;

	fprintf(out, "object %" PRIu64 " at %" PRIu64 "%s%s%s", f->memory, f->pos,
		openfile_can_write(f->flags) ? ", writing" : "", f->flags & O_APPEND ? ", appending" : "",
		f->flock || f->ofd_locks.n ? ", locked" : "");
}

const struct kind kind_fd_memfd = {
	.name = "memfd",
	.tag = 0x71,
	.scope = SCOPE_FD,
	.size = sizeof(struct memfd_file),
	.fields = fields,
	.backed_by = &kind_mem_memfd,
	.probe = memfd_probe,
	.check = memfd_file_check,
	.save = memfd_save,
	.restore = memfd_restore,
	.describe = memfd_describe,
};
