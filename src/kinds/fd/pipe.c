/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pipes and FIFOs - pipe(7), fifo(7)
 *
 * Each open file of a pipe has a record; the record of the first one in the tree that reads holds the data. They are
 * copied with tee(2), which consumes nothing. At the restart both ends are held open until the program runs, so an end
 * that nobody had is then missed as before.
 *
 * Seen:  stat(2) through /proc/PID/fd, fdinfo: flags; F_GETPIPE_SZ, FIONREAD and tee(2) on the open file
 * Lost:  page references: data given with vmsplice(2) are kept as they are now; F_SETSIG; an end that a process outside
 *        of the tree holds too is cut off (named, where this user may see the descriptors of that process); that a reader
 *        of a FIFO has not had a writer, while another one has
 * Needs: pidfd_getfd(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/goal.h"
#include "kinds/openfile.h"
#include "kinds/outsiders.h"
#include "kinds/rights.h"

#define PIPE_MIN 4096 /* a page: capacities are powers of 2 pages */

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_SYNC | O_NOFOLLOW | O_NOATIME,
};

struct pipe {
	uint64_t pipe; /* its number: the inode, as "pipe:[123]" has it */
	const char *path; /* of a FIFO; NULL for a pipe without a name */
	uint32_t flags;
	uint64_t capacity; /* in bytes */
	uint32_t mode, uid, gid;
	struct inode inode; /* of a FIFO */
	struct span data; /* bytes */
	bool unwritten; /* a FIFO without a writer since it was opened */
};

static const struct field fields[] = {
	FIELD_U(1, struct pipe, pipe, "inode.i_ino"),
	FIELD_S(2, struct pipe, path, "file.f_path"),
	FIELD_B(3, struct pipe, flags, "file.f_flags", openfile_flags),
	FIELD_U(4, struct pipe, capacity, "pipe_inode_info.max_usage"),
	FIELD_U(5, struct pipe, mode, "inode.i_mode"),
	FIELD_U(6, struct pipe, uid, "inode.i_uid"),
	FIELD_U(7, struct pipe, gid, "inode.i_gid"),
	FIELD_BLOB(8, struct pipe, data, "pipe_inode_info.bufs"),
	FIELD_U(9, struct pipe, unwritten, "file.f_version"),
	INODE_FIELDS(10, struct pipe, inode),
	FIELDS_END,
};

/* ---- saving ---- */

static bool pipe_probe(const struct sight *s)
{
	return s->fd->has_stat && S_ISFIFO(s->fd->mode) && !openfile_pipe_is_outside(s);
}

static bool is_named(const struct sight *s)
{
	return s->fd->link[0] == '/';
}

static size_t place_in_tree(const struct tree *tree, const struct process *p)
{
	struct process *const *all = tree->processes.at;
	size_t i = 0;

	while (i < tree->processes.n && all[i] != p)
		i++;
	return i;
}

/* Is it this open file whose record holds the data: the first in the tree that reads? */
static bool keeps_data(const struct sight *s)
{
	size_t n, mine = place_in_tree(s->tree, s->process);

	if (!openfile_can_read(s->fd->flags))
		return false;
	const struct holder *h = tree_holders(s->tree, s->fd->dev, s->fd->st_ino, &n);
	for (size_t i = 0; i < n; i++) {
		if (!openfile_can_read(h[i].fd->flags))
			continue;
		size_t place = place_in_tree(s->tree, h[i].process);
		if (place < mine || (place == mine && h[i].fd->n < s->fd->n))
			return false;
	}
	return true;
}

/* Copies of what is in the pipe @from, in a pipe of ours whose read end is returned; -EINVAL: @from is no usual pipe. */
static int copy_data(int from, uint64_t capacity, size_t *ret_len)
{
	int ends[2], waiting = 0;

	if (ioctl(from, FIONREAD, &waiting) < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	_cleanup_close_ int out = ends[0], in = ends[1];
	if (capacity > (uint64_t)fcntl(in, F_GETPIPE_SZ) && fcntl(in, F_SETPIPE_SZ, (int)capacity) < 0)
		return -errno;
	ssize_t n = tee(from, in, INT_MAX, SPLICE_F_NONBLOCK);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	*ret_len = n < 0 ? 0 : (size_t)n;
	/* a program that runs may change it under our eyes; one that stands still does not */
	return *ret_len < (size_t)waiting ? -ENOSPC : TAKE_FD(out);
}

static int save_data(struct op *op, int from, struct pipe *p)
{
	size_t len = 0;

	_cleanup_close_ int copy = copy_data(from, p->capacity, &len);
	if (copy < 0)
		return fail(op, copy, "copy the data in the pipe");
	p->data = (struct span){ .at = arena_alloc(&op->arena, len + 1), .n = len };
	ssize_t n = read(copy, p->data.at, len);
	if (n < 0)
		return fail(op, -errno, "read the data in the pipe");
	/* one read(2) takes all but packets, which stay packets when O_DIRECT is cleared again (pipe_read() in fs/pipe.c) */
	if ((size_t)n != len)
		return refuse(op, "pipe-packets", "the bounds of packets would be lost",
			"have the program read them first", "is a pipe with packets in it");
	return 0;
}

static int check_data(struct op *op, const struct sight *s)
{
	size_t len;

	_cleanup_close_ int from = openfile_take(s);
	if (from < 0)
		return refuse(op, "fd-taken", strerror(-from), NULL, "is a pipe that cannot be examined");
	_cleanup_close_ int copy = copy_data(from, (uint64_t)fcntl(from, F_GETPIPE_SZ), &len);
	if (copy == -EINVAL)
		return refuse(op, "pipe-notification", NULL, NULL, "is a pipe for notifications of the kernel");
	if (copy == -EPERM)
		return refuse(op, "pipe-large",
			"the copy needs a pipe beyond /proc/sys/fs/pipe-max-size or pipe-user-pages-soft",
			"run stasis as root", "is a pipe whose data cannot be copied");
	/* of a running program the data may change meanwhile */
	if (copy < 0 && copy != -ENOSPC)
		return refuse(op, "fd-taken", strerror(-copy), NULL, "is a pipe whose data cannot be copied");
	return 0;
}

static int refuse_outside(struct op *op, const struct sight *s)
{
	const char *who = outsider_of(op, s->tree, s->fd->link);

	return refuse(op, "pipe-outside", who ? arena_printf(&op->arena, "it is held by %s", who) : NULL,
		"checkpoint the process that starts both",
		"is a pipe whose other end is outside of the program: \"%s\"", s->fd->link);
}

static int pipe_check(struct op *op, const struct sight *s)
{
	int r = openfile_check_locks(op, s, true);

	if (s->fd->flags & O_DIRECT)
		return refuse(op, "pipe-packets", "the bounds of packets would be lost", "clear O_DIRECT of it",
			"is a pipe in packet mode");
	int flags = openfile_check_flags(op, s, FLAGS);
	if (flags < 0)
		return flags;
	int path = is_named(s) ? openfile_check_path(op, s) : 0;
	if (path < 0)
		return path;
	if (openfile_pipe_ends(s) != PIPE_ENDS && !openfile_pipe_is_broken(s))
		return refuse_outside(op, s);
	if (keeps_data(s) && !is_named(s)) /* of a FIFO all find their ends again */
		outsider_note(op, s, "pipe");
	int data = keeps_data(s) ? check_data(op, s) : 0;
	return r < 0 ? r : data;
}

static int pipe_save(struct op *op, const struct sight *s, void *rec)
{
	struct pipe *p = rec;
	struct stat st;

	_cleanup_close_ int fd = openfile_take(s);
	if (fd < 0)
		return fail(op, fd, "examine the pipe");
	int capacity = fcntl(fd, F_GETPIPE_SZ);
	if (capacity < 0 || fstat(fd, &st) < 0)
		return fail(op, -errno, "examine the pipe");
	p->pipe = s->fd->st_ino;
	p->path = is_named(s) ? s->fd->link : NULL;
	p->flags = s->fd->flags;
	p->capacity = (uint64_t)capacity;
	p->mode = st.st_mode & 07777;
	p->uid = st.st_uid;
	p->gid = st.st_gid;
	if (p->path)
		inode_of_fd(s, &p->inode);
	p->unwritten = p->path && openfile_pipe_is_unwritten(fd);
	return keeps_data(s) ? save_data(op, fd, p) : 0;
}

/* ---- restarting ---- */

/* Both ends of each pipe are kept in slots under its number; of a FIFO one descriptor for both, under the record. */
static const char read_ends[1], write_ends[1], fifos[1];

static int set_capacity(struct op *op, const struct pipe *p, int fd, bool may)
{
	int now = fcntl(fd, F_GETPIPE_SZ);

	if (p->capacity < PIPE_MIN || p->capacity > INT_MAX || p->capacity & (p->capacity - 1))
		return fail(op, -EBADMSG, "set the capacity of a pipe to %" PRIu64 " bytes", p->capacity);
	if (now == (int)p->capacity)
		return 0;
	if (!may) {
		note(op,
			"\"%s\" holds %d bytes instead of %" PRIu64
			": it is another FIFO, and who has it may only read it",
			shown(&op->arena, p->path), now, p->capacity);
		return 0;
	}
	if (fcntl(fd, F_SETPIPE_SZ, (int)p->capacity) >= 0)
		return 0;
	if (errno != EPERM && errno != EBUSY)
		return fail(op, -errno, "set the capacity of a pipe to %" PRIu64 " bytes", p->capacity);
	note(op,
		"a pipe holds %d bytes instead of %" PRIu64 ": see /proc/sys/fs/pipe-max-size and pipe-user-pages-soft",
		now, p->capacity);
	return 0;
}

static void set_owner(struct op *op, const struct pipe *p, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	if ((st.st_mode & 07777) != p->mode && fchmod(fd, p->mode & 0777) < 0)
		note(op, "a pipe keeps its mode %#o (octal), not %#o", st.st_mode & 07777, p->mode);
	if ((st.st_uid != p->uid || st.st_gid != p->gid) && fchown(fd, p->uid, p->gid) < 0)
		note(op, "a pipe belongs to user %u, not %u", st.st_uid, p->uid);
}

static int make_ends(struct op *op, const struct pipe *p, struct site *site, int *ret_read, int *ret_write)
{
	int ends[2];

	*ret_read = *site_slot(op, site, read_ends, p->pipe);
	*ret_write = *site_slot(op, site, write_ends, p->pipe);
	if (*ret_read >= 0)
		return 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail(op, -errno, "create a pipe");
	*site_slot(op, site, read_ends, p->pipe) = *ret_read = ends[0];
	*site_slot(op, site, write_ends, p->pipe) = *ret_write = ends[1];
	set_owner(op, p, ends[0]);
	return set_capacity(op, p, ends[0], true);
}

static int fill(struct op *op, const struct pipe *p, int end)
{
	int there = 0;

	if (!p->data.n)
		return 0;
	if (p->data.n > p->capacity)
		return fail(op, -EBADMSG, "put %zu bytes back into a pipe that holds %" PRIu64, p->data.n, p->capacity);
	_cleanup_close_ int fd = openfile_reopen(end, O_WRONLY | O_NONBLOCK);
	if (fd < 0 || ioctl(fd, FIONREAD, &there) < 0)
		return fail(op, fd < 0 ? fd : -errno, "open a pipe to put back its data");
	if (there)
		return fail_as(op, OUTCOME_CANNOT, "pipe-busy", "end the program that uses it",
			"put back the data of \"%s\": others have data in it", p->path ? p->path : "a pipe");
	int r = write_all(fd, p->data.at, p->data.n);
	if (r == -EAGAIN) /* it is smaller than it was: see set_capacity() */
		return fail_as(op, OUTCOME_CANNOT, "pipe-large", "run stasis as root",
			"put %zu bytes back into a pipe: it holds fewer here", p->data.n);
	return r < 0 ? fail(op, r, "put %zu bytes back into a pipe", p->data.n) : 0;
}

/* The two open files that pipe(2) made are not "large"; all others were opened through /proc. */
static int restore_nameless(struct op *op, const struct pipe *p, struct site *site)
{
	int read_end, write_end, access = (int)(p->flags & O_ACCMODE);

	int r = make_ends(op, p, site, &read_end, &write_end);
	if (r == 0)
		r = fill(op, p, write_end);
	if (r < 0)
		return r;
	int end = access == O_WRONLY ? write_end : read_end;
	bool made_by_pipe = !(p->flags & OPENFILE_LARGE) && access != O_RDWR;
	int fd = made_by_pipe ? fcntl(end, F_DUPFD_CLOEXEC, 3) : openfile_reopen(end, access | O_NONBLOCK);
	if (made_by_pipe && fd < 0)
		fd = -errno;
	return fd < 0 ? fail(op, fd, "open a pipe") : fd;
}

/* may we write to it, or be one of its writers, for those who have it? That which was given to them we may */
static int is_theirs(struct op *op, const struct pipe *p, struct site *site, int at)
{
	struct inode now;

	if (openfile_can_write(p->flags) || p->data.n || !site->owners.n)
		return 1;
	int r = inode_look(at, &now);
	if (r < 0)
		return fail(op, r, "look at FIFO \"%s\"", shown(&op->arena, p->path));
	return inode_is_same(&p->inode, &now) ? 1 : rights_may(op, site, at, W_OK);
}

/* both ends of the one at @at are open until the program runs, and what was in it is in it again */
static int furnish(struct op *op, const struct pipe *p, struct site *site, int at)
{
	int theirs = is_theirs(op, p, site, at);

	if (theirs < 0)
		return theirs;
	/* one more writer, even for a moment, would be one that it has had */
	int both = openfile_reopen(at, (p->unwritten || !theirs ? O_RDONLY : O_RDWR) | O_NONBLOCK);
	if (both < 0)
		return fail(op, both, "open both ends of FIFO \"%s\"", p->path);
	*site_slot(op, site, fifos, (uintptr_t)p) = both;
	int r = set_capacity(op, p, both, theirs);
	return r < 0 ? r : fill(op, p, both);
}

static int restore_fifo(struct op *op, const struct pipe *p, struct site *site)
{
	static const char put_back[] = "put the FIFO back under this path (mkfifo) and restart again";
	struct goal goal = { .path = p->path,
		.what = "FIFO ",
		.flags = O_PATH | O_CLOEXEC,
		.need = (openfile_can_read(p->flags) ? R_OK : 0) |
			(openfile_can_write(p->flags) || p->data.n ? W_OK : 0),
		.was = &p->inode,
		.type = S_IFIFO };
	struct stat st, now;

	_cleanup_close_ int at = goal_open(op, site, &goal, &st);
	if (at == -EMEDIUMTYPE || (at < 0 && openfile_is_absent(-at)))
		return fail_as(
			op, OUTCOME_CANNOT, "file-missing", put_back, "open FIFO \"%s\": it is not there", p->path);
	if (at < 0)
		return fail(op, at, "open FIFO \"%s\"", p->path);
	int r = furnish(op, p, site, at);
	if (r < 0)
		return r;
	goal.flags = (int)p->flags | O_NONBLOCK | O_CLOEXEC;
	_cleanup_close_ int fd = goal_open(op, site, &goal, &now);
	if (fd == -ELOOP) /* O_NOFOLLOW */
		return fail_as(op, OUTCOME_CANNOT, "file-missing", put_back,
			"open FIFO \"%s\": it is a symbolic link now", p->path);
	if (fd < 0)
		return fail(op, fd, "open FIFO \"%s\"", p->path);
	if (!same_file(&now, &st))
		return fail(op, -ESTALE, "open FIFO \"%s\"", p->path);
	return TAKE_FD(fd);
}

static int pipe_restore(struct op *op, void *rec, struct site *site)
{
	const struct pipe *p = rec;

	if (openfile_is_odd(p->flags, FLAGS) || (p->path && p->path[0] != '/') ||
		(p->unwritten && (!p->path || p->flags & O_ACCMODE || p->data.n)))
		return fail(op, -EBADMSG, "make a pipe from the image");
	_cleanup_close_ int fd = p->path ? restore_fifo(op, p, site) : restore_nameless(op, p, site);
	if (fd < 0)
		return fd;
	int r = openfile_set_status(fd, p->flags);
	return r < 0 ? fail(op, r, "set the status flags of a pipe") : TAKE_FD(fd);
}

static void drop(struct op *op, struct site *site, const void *owner, uint64_t key)
{
	int *slot = site_slot(op, site, owner, key);

	if (*slot >= 0)
		*slot = fd_close(*slot);
}

static int pipe_settle(struct op *op, void *rec, struct site *site)
{
	const struct pipe *p = rec;

	drop(op, site, read_ends, p->pipe);
	drop(op, site, write_ends, p->pipe);
	drop(op, site, fifos, (uintptr_t)p);
	return 0;
}

static void pipe_describe(const void *rec, FILE *out)
{
	const struct pipe *p = rec;
	char size[32];

	fprintf(out, "%s end of ",
		openfile_can_write(p->flags) ? openfile_can_read(p->flags) ? "either" : "write" : "read");
	if (p->path)
		print_quoted(out, p->path);
	else
		fprintf(out, "pipe %" PRIu64, p->pipe);
	if (p->data.n)
		fprintf(out, " with %s in it", human_size(p->data.n, size, sizeof(size)));
}

const struct kind kind_fd_pipe = {
	.name = "pipe",
	.tag = 0x63,
	.scope = SCOPE_FD,
	.size = sizeof(struct pipe),
	.fields = fields,
	.probe = pipe_probe,
	.check = pipe_check,
	.save = pipe_save,
	.restore = pipe_restore,
	.settle = pipe_settle,
	.describe = pipe_describe,
};
