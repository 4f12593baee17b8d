/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * open secret memory - memfd_secret(2)
 *
 * The memory itself is an object of its own (mem/secretmem.c). It cannot be opened a second time, so that all descriptors of it lead to
 * one open file.
 *
 * Seen:  /proc/PID/fd, "/secretmem (deleted)", though the file has a link; its file system; fdinfo: flags
 * Lost:  F_SETOWN and F_SETSIG
 * Needs: nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kinds/openfile.h"
#include "kinds/secretmem.h"

enum {
	FLAGS = O_APPEND | O_NONBLOCK, /* it has no use for them */
};

struct secretmem_file {
	uint64_t memory; /* the object */
	uint32_t flags;
};

static const struct field fields[] = {
	FIELD_R(1, struct secretmem_file, memory, "file.f_inode"),
	FIELD_B(2, struct secretmem_file, flags, "file.f_flags", openfile_flags),
	FIELDS_END,
};

static bool secretmem_probe(const struct sight *s)
{
	return s->fd->has_stat && S_ISREG(s->fd->mode) && secretmem_is_name(s->fd->link);
}

static int secretmem_check(struct op *op, const struct sight *s)
{
	int locks = openfile_check_locks(op, s, true), flags = openfile_check_flags(op, s, FLAGS);
	struct stat st;

	if (flags < 0)
		return flags;
	_cleanup_close_ int fd = secretmem_open(s);
	int r = secretmem_look(fd, &st);
	if (r == -EINVAL)
		return refuse(op, "file-deleted", "it is named as secret memory is, and is none",
			"wait until the program has closed it", "leads to \"%s\"", s->fd->link);
	if (r < 0)
		return refuse(op, "memfd-unreachable", strerror(-r), NULL, "has secret memory (memfd_secret) open");
	return locks;
}

static int secretmem_save(struct op *op, const struct sight *s, void *rec)
{
	struct secretmem_file *f = rec;

	(void)op;
	f->memory = s->backing;
	f->flags = s->fd->flags;
	return 0;
}

static int secretmem_restore(struct op *op, void *rec, struct site *site)
{
	const struct secretmem_file *f = rec;
	int here = site_backing(site, f->memory, &kind_mem_secretmem);

	if (here < 0 || openfile_is_odd(f->flags, FLAGS) || (f->flags & O_ACCMODE) != O_RDWR)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "open secret memory from the image");
	_cleanup_close_ int fd = fcntl(here, F_DUPFD_CLOEXEC, 3);
	int r = fd < 0 ? -errno : openfile_set_status(fd, f->flags);
	return r < 0 ? fail(op, r, "open secret memory") : TAKE_FD(fd);
}

static void secretmem_describe(const void *rec, FILE *out)
{
	fprintf(out, "object %" PRIu64, ((const struct secretmem_file *)rec)->memory);
}

const struct kind kind_fd_secretmem = {
	.name = "secretmem",
	.tag = 0x72,
	.scope = SCOPE_FD,
	.size = sizeof(struct secretmem_file),
	.fields = fields,
	.backed_by = &kind_mem_secretmem,
	.probe = secretmem_probe,
	.check = secretmem_check,
	.save = secretmem_save,
	.restore = secretmem_restore,
	.describe = secretmem_describe,
};
