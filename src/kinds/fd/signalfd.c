/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * signalfd - signalfd(2)
 *
 * It holds a mask and no signals: whoever reads from it takes those that are pending for himself.
 *
 * Seen:  fdinfo: flags, sigmask
 * Lost:  F_SETOWN, F_SETSIG
 * Needs: nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"

#define BIT(signo) (1ull << ((signo)-1))

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_NOATIME,
};

struct signalfd {
	uint64_t sigmask; /* the signals that it gives: bit n - 1 for signal n */
	uint32_t flags;
};

static const struct field fields[] = {
	FIELD_U(1, struct signalfd, sigmask, "signalfd_ctx.sigmask"),
	FIELD_B(2, struct signalfd, flags, "file.f_flags", openfile_flags),
	FIELDS_END,
};

static bool signalfd_probe(const struct sight *s)
{
	return openfile_is_anon(s, "signalfd");
}

static int read_mask(const struct sight *s, uint64_t *ret)
{
	const char *digits = openfile_line(s, "sigmask:");
	uint64_t mask;

	if (!digits || parse_u64(&digits, 16, &mask) < 0 || *digits)
		return -EBADMSG;
	*ret = mask;
	return 0;
}

static int signalfd_check(struct op *op, const struct sight *s)
{
	static const char *const lines[] = { "sigmask:", NULL };
	int locks = openfile_check_locks(op, s, true), flags = openfile_check_flags(op, s, FLAGS);
	int known = openfile_check_lines(op, s, lines);
	uint64_t mask;

	if (read_mask(s, &mask) < 0)
		return refuse(op, "fd-line", "its mask in fdinfo makes no sense", NULL,
			"is a signalfd that cannot be examined");
	if (locks < 0 || flags < 0)
		return locks < 0 ? locks : flags;
	return known;
}

static int signalfd_save(struct op *op, const struct sight *s, void *rec)
{
	struct signalfd *f = rec;
	int r = read_mask(s, &f->sigmask);

	f->flags = s->fd->flags;
	return r < 0 ? fail(op, r, "examine the signalfd") : 0;
}

static int signalfd_restore(struct op *op, void *rec, struct site *site)
{
	const struct signalfd *f = rec;

	if (f->flags & ~(FLAGS | O_ACCMODE | OPENFILE_LARGE) || (f->flags & O_ACCMODE) != O_RDWR ||
		f->sigmask & (BIT(SIGKILL) | BIT(SIGSTOP)))
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "make a signalfd from the image");
	_cleanup_close_ int fd =
		(int)syscall(SYS_signalfd4, -1, &f->sigmask, sizeof(f->sigmask), O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(op, -errno, "make a signalfd");
	int r = openfile_set_status(fd, f->flags);
	return r < 0 ? fail(op, r, "set the status flags of a signalfd") : TAKE_FD(fd);
}

static void signalfd_describe(const void *rec, FILE *out)
{
	const struct signalfd *f = rec;
	const char *between = "";

	fputs("of ", out);
	for (int signo = 1; signo <= 64; signo++) {
		if (!(f->sigmask & BIT(signo)))
			continue;
		fprintf(out, "%s%s", between, signal_name(signo));
		between = ",";
	}
	if (!f->sigmask)
		fputs("no signal", out);
}

const struct kind kind_fd_signalfd = {
	.name = "signalfd",
	.tag = 0x67,
	.scope = SCOPE_FD,
	.size = sizeof(struct signalfd),
	.fields = fields,
	.probe = signalfd_probe,
	.check = signalfd_check,
	.save = signalfd_save,
	.restore = signalfd_restore,
	.describe = signalfd_describe,
};
