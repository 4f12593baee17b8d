/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * standard streams that lead outside - stdin(3), tty(4), pipe(7), socket(7)
 *
 * A terminal, a pipe or a socket that is a standard stream of the program, and whose other end the program does not hold,
 * belongs to where the program was started. After a restart its place is taken by the same stream of the restart.
 * Every other descriptor that leads to the same object follows, such as the one at 255 by which bash(1) keeps its terminal.
 *
 * Seen:  stat(2) through /proc/PID/fd/0, 1, 2; of pipes poll(2) on the open file; of /dev/tty tty_nr in /proc/PID/stat
 * Lost:  the object itself, what waits in it unread, the settings of the terminal, O_NONBLOCK and the like: all these are
 *        those of the restart's streams
 * Needs: pidfd_getfd(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"
#include "kinds/unix.h"

struct outside {
	uint32_t streams;
	uint32_t flags;
	uint32_t type; /* S_IFMT */
	const char *link;
};

static const struct flag streams[] = {
	{ 1u << 0, "stdin" },
	{ 1u << 1, "stdout" },
	{ 1u << 2, "stderr" },
	{ 0 },
};

static const struct field fields[] = {
	FIELD_B(1, struct outside, streams, "", streams),
	FIELD_U(2, struct outside, flags, "file.f_flags"),
	FIELD_U(3, struct outside, type, "inode.i_mode"),
	FIELD_S(4, struct outside, link, "file.f_path"),
	FIELDS_END,
};

/* ---- which terminal ---- */

/* majors of terminals: Documentation/admin-guide/devices.txt */
enum {
	TTY_MAJOR = 4,
	TTYAUX_MAJOR = 5,
	PTY_SLAVE_MAJOR = 136,
	PTY_SLAVE_LAST = 143,
	ACM_MAJOR = 166,
	USB_MAJOR = 188,
	SERIAL_MAJOR = 204,
	HVC_MAJOR = 229,
};

static bool is_dev_tty(const struct proc_fd *f)
{
	return f->rdev == makedev(TTYAUX_MAJOR, 0);
}

static bool is_ptmx(const struct proc_fd *f)
{
	return f->has_stat && S_ISCHR(f->mode) && f->rdev == makedev(TTYAUX_MAJOR, 2);
}

static bool is_pty_slave(dev_t rdev)
{
	return major(rdev) >= PTY_SLAVE_MAJOR && major(rdev) <= PTY_SLAVE_LAST;
}

static bool is_tty(const struct proc_fd *f)
{
	if (!f->has_stat || !S_ISCHR(f->mode) || is_ptmx(f))
		return false;
	switch (major(f->rdev)) {
	case TTY_MAJOR:
	case TTYAUX_MAJOR:
	case ACM_MAJOR:
	case USB_MAJOR:
	case SERIAL_MAJOR:
	case HVC_MAJOR:
		return true;
	default:
		return is_pty_slave(f->rdev);
	}
}

/* The index that fdinfo shows of a master, "tty-index:\t3"; -1 when it is none. */
static int64_t master_index(const struct proc_fd *f)
{
	static const char key[] = "tty-index:\t";
	const char *const *line = f->extra.at;
	uint64_t index;

	for (size_t i = 0; i < f->extra.n; i++) {
		const char *digits = line[i] + sizeof(key) - 1;
		if (strncmp(line[i], key, sizeof(key) - 1) == 0 && parse_u64(&digits, 10, &index) == 0 &&
			index <= INT32_MAX)
			return (int64_t)index;
	}
	return -1;
}

/* Has the program itself the master of this pseudoterminal? Then it does not lead outside. */
static bool is_own_pty(const struct tree *tree, dev_t rdev)
{
	const struct holder *h = tree->holders.at;
	int64_t index = minor(rdev) + (int64_t)(major(rdev) - PTY_SLAVE_MAJOR) * 256;

	for (size_t i = 0; is_pty_slave(rdev) && i < tree->holders.n; i++)
		if (is_ptmx(h[i].fd) && master_index(h[i].fd) == index)
			return true;
	return false;
}

/* tty_nr of proc(5): new_encode_dev() of the kernel */
static dev_t controlling_tty(const struct process *p)
{
	uint64_t nr = p->stat.tty_nr;

	return nr ? makedev((nr >> 8) & 0xfff, (nr & 0xff) | ((nr >> 12) & 0xfff00)) : 0;
}

/* The streams of the tree that are the terminal @rdev, by whichever path each was opened; the root process comes first. */
static unsigned int streams_of_tty(const struct tree *tree, dev_t rdev)
{
	struct process *const *all = tree->processes.at;
	unsigned int mask = 0;

	for (size_t i = 0; i < tree->processes.n && !mask; i++) {
		const struct proc_fd *f = all[i]->fds.at;
		for (size_t k = 0; k < all[i]->fds.n && f[k].n <= 2; k++)
			if (f[k].n >= 0 && f[k].has_stat && S_ISCHR(f[k].mode) && f[k].rdev == rdev)
				mask |= 1u << f[k].n;
	}
	return mask;
}

/* The streams of the tree that are the terminal at s->fd; 0: it is none of them. */
static unsigned int tty_streams(const struct sight *s)
{
	dev_t rdev = is_dev_tty(s->fd) ? controlling_tty(s->process) : s->fd->rdev;

	if (is_own_pty(s->tree, rdev))
		return 0;
	unsigned int mask = openfile_stdio(s);
	return mask || !rdev ? mask : streams_of_tty(s->tree, rdev);
}

/* ---- saving ---- */

static unsigned int find_streams(const struct sight *s)
{
	if (s->fd->flags & O_PATH || !s->fd->has_stat)
		return 0;
	if (is_tty(s->fd))
		return tty_streams(s);
	if (S_ISSOCK(s->fd->mode))
		return unix_is_ours(s) ? 0 : openfile_stdio(s);
	return openfile_pipe_is_outside(s) ? openfile_stdio(s) : 0;
}

static bool outside_probe(const struct sight *s)
{
	return find_streams(s) != 0;
}

/* A socket can be a stream between two processes of the program just as well: then it was made by one of them. */
static int check_socket(struct op *op, const struct sight *s)
{
	struct ucred peer = { 0 };
	int listens = 0;
	socklen_t len = sizeof(peer), int_len = sizeof(listens);

	_cleanup_close_ int fd = openfile_take(s);
	if (fd < 0)
		return refuse(op, "fd-taken", strerror(-fd), NULL, "is a socket that cannot be examined");
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &int_len) == 0 && listens)
		return refuse(op, "socket-listening", NULL, NULL, "is a socket that listens");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid > 0 &&
		tree_has_pid(s->tree, peer.pid))
		return refuse(op, "socket-inside", NULL, NULL, "is a socket that the program made itself");
	return 0;
}

static int outside_check(struct op *op, const struct sight *s)
{
	int locks = openfile_check_locks(op, s, true);

	if (s->fd->flags & O_ASYNC)
		return refuse(op, "fd-async", NULL, "clear O_ASYNC of it", "sends a signal when it is ready (O_ASYNC)");
	int r = S_ISSOCK(s->fd->mode) ? check_socket(op, s) : 0;
	return r < 0 ? r : locks;
}

static int outside_save(struct op *op, const struct sight *s, void *rec)
{
	struct outside *o = rec;
	int waiting = 0;

	o->streams = find_streams(s);
	o->flags = s->fd->flags;
	o->type = s->fd->mode & S_IFMT;
	o->link = s->fd->link;
	if (!o->streams) /* the other end of the pipe went away just now: it was outside all the same */
		o->streams = openfile_stdio(s);
	_cleanup_close_ int fd = openfile_take(s);
	if (fd >= 0 && !S_ISCHR(o->type) && openfile_can_read(o->flags) && ioctl(fd, FIONREAD, &waiting) == 0 &&
		waiting > 0)
		note(op, "%d bytes that wait to be read from outside, at \"%s\", are not in the image", waiting,
			o->link);
	return 0;
}

/* ---- restarting ---- */

static bool can(int fd, bool (*test)(uint32_t flags))
{
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	return flags >= 0 && test((uint32_t)flags);
}

/*
 * One open file can be all three streams, and one of ours has to be all of them (but see outside_is_stream()): an output
 * where the program writes, as what it says must not be lost.
 */
static int choose(const struct outside *o, const struct site *site)
{
	static const int outputs_first[] = { 1, 2, 0 };
	bool writes = o->streams & ~1u && openfile_can_write(o->flags);

	for (int i = 0; i < 3; i++) {
		int n = writes ? outputs_first[i] : i;
		if (o->streams & 1u << n && can(site->stdio[n], writes ? openfile_can_write : openfile_can_read))
			return n;
	}
	for (int n = 0; n < 3; n++)
		if (o->streams & 1u << n && site->stdio[n] >= 0)
			return n;
	return -1;
}

static int outside_restore(struct op *op, void *rec, struct site *site)
{
	const struct outside *o = rec;
	int n = choose(o, site), fd;

	if (n >= 0) {
		fd = fcntl(site->stdio[n], F_DUPFD_CLOEXEC, 3);
		return fd < 0 ? fail(op, -errno, "take over %s", streams[n].name) : fd;
	}
	note(op, "the standard stream that led to \"%s\" is closed here: it leads to /dev/null now",
		o->link ? o->link : "");
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return fd < 0 ? fail(op, -errno, "open /dev/null") : fd;
}

/* a terminal is often one open file for all three; a pipe at two of them was put there on purpose (2>&1) and stays one */
static bool outside_is_stream(const void *rec)
{
	return S_ISCHR(((const struct outside *)rec)->type);
}

static void outside_describe(const void *rec, FILE *out)
{
	const struct outside *o = rec;
	const char *bar = "";

	for (int n = 0; n < 3; n++) {
		if (!(o->streams & 1u << n))
			continue;
		fprintf(out, "%s%s", bar, streams[n].name);
		bar = ", ";
	}
	fputs(", which led to ", out);
	print_quoted(out, o->link ? o->link : "");
}

const struct kind kind_fd_outside = {
	.name = "outside",
	.tag = 0x64,
	.scope = SCOPE_FD,
	.size = sizeof(struct outside),
	.fields = fields,
	.probe = outside_probe,
	.check = outside_check,
	.save = outside_save,
	.restore = outside_restore,
	.is_stream = outside_is_stream,
	.describe = outside_describe,
};
