/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * eventfd - eventfd(2)
 *
 * Seen:  fdinfo: flags, eventfd-count, eventfd-semaphore
 * Lost:  EFD_SEMAPHORE where the kernel does not show it, as 6.1 (named); eventfd-id; F_SETOWN, F_SETSIG; an eventfd that a process
 *        outside of the tree holds too is cut off from it
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/openfile.h"

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_NOATIME,
};

struct eventfd {
	uint64_t count;
	uint32_t flags;
	bool semaphore;
};

static const struct field fields[] = {
	FIELD_U(1, struct eventfd, count, "eventfd_ctx.count"),
	FIELD_B(2, struct eventfd, flags, "file.f_flags", openfile_flags),
	FIELD_U(3, struct eventfd, semaphore, "eventfd_ctx.flags"),
	FIELDS_END,
};

static bool eventfd_probe(const struct sight *s)
{
	return openfile_is_anon(s, "eventfd");
}

/* The number in a line of fdinfo, which ends with it. */
static int read_line(const struct sight *s, const char *key, int base, uint64_t *ret)
{
	const char *digits = openfile_line(s, key);
	uint64_t value;

	if (!digits)
		return -ENODATA;
	if (parse_u64(&digits, base, &value) < 0 || *digits)
		return -EBADMSG;
	*ret = value;
	return 0;
}

static int read_state(const struct sight *s, uint64_t *ret_count, uint64_t *ret_semaphore)
{
	int r = read_line(s, "eventfd-count:", 16, ret_count);

	return r < 0 ? -EBADMSG : read_line(s, "eventfd-semaphore:", 10, ret_semaphore);
}

/* as read_state(); what the kernel does not tell is taken for a plain counter, as nearly all are */
static int take_state(const struct sight *s, uint64_t *ret_count, uint64_t *ret_semaphore)
{
	int r = read_state(s, ret_count, ret_semaphore);

	if (r == -ENODATA)
		*ret_semaphore = 0;
	return r == -ENODATA ? 0 : r;
}

static int check_state(struct op *op, const struct sight *s)
{
	uint64_t count, semaphore;
	int r = read_state(s, &count, &semaphore);

	if (r == -ENODATA) {
		note(op,
			"if this eventfd was made with EFD_SEMAPHORE it comes back without: this kernel does not tell");
		r = take_state(s, &count, &semaphore);
	}
	if (r < 0 || semaphore > 1)
		return refuse(op, "fd-line", "its count in fdinfo makes no sense", NULL,
			"is an eventfd that cannot be examined");
	if (count == UINT64_MAX)
		return refuse(op, "eventfd-overflow", "only the kernel itself can count so far",
			"let the program read it", "has counted too many events");
	return 0;
}

static int eventfd_check(struct op *op, const struct sight *s)
{
	static const char *const lines[] = { "eventfd-count:", "eventfd-id:", "eventfd-semaphore:", NULL };
	int locks = openfile_check_locks(op, s, true), flags = openfile_check_flags(op, s, FLAGS);
	int known = openfile_check_lines(op, s, lines), state = check_state(op, s);

	if (locks < 0 || flags < 0)
		return locks < 0 ? locks : flags;
	return known < 0 ? known : state;
}

static int eventfd_save(struct op *op, const struct sight *s, void *rec)
{
	struct eventfd *e = rec;
	uint64_t semaphore;
	int r = take_state(s, &e->count, &semaphore);

	if (r < 0)
		return fail(op, r, "examine the eventfd");
	e->flags = s->fd->flags;
	e->semaphore = semaphore != 0;
	return 0;
}

static int eventfd_restore(struct op *op, void *rec, struct site *site)
{
	const struct eventfd *e = rec;

	if (e->flags & ~(FLAGS | O_ACCMODE | OPENFILE_LARGE) || (e->flags & O_ACCMODE) != O_RDWR ||
		e->count == UINT64_MAX)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "make an eventfd from the image");
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (e->semaphore ? EFD_SEMAPHORE : 0));
	if (fd < 0)
		return fail(op, -errno, "make an eventfd");
	int r = e->count ? write_all(fd, &e->count, sizeof(e->count)) : 0;
	if (r < 0)
		return fail(op, r, "set the count of an eventfd to %" PRIu64, e->count);
	r = openfile_set_status(fd, e->flags);
	return r < 0 ? fail(op, r, "set the status flags of an eventfd") : TAKE_FD(fd);
}

static void eventfd_describe(const void *rec, FILE *out)
{
	const struct eventfd *e = rec;

	fprintf(out, "%s at %" PRIu64, e->semaphore ? "semaphore" : "counter", e->count);
}

const struct kind kind_fd_eventfd = {
	.name = "eventfd",
	.tag = 0x66,
	.scope = SCOPE_FD,
	.size = sizeof(struct eventfd),
	.fields = fields,
	.probe = eventfd_probe,
	.check = eventfd_check,
	.save = eventfd_save,
	.restore = eventfd_restore,
	.describe = eventfd_describe,
};
