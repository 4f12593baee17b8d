/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * standard streams that lead outside - stdin(3), tty(4), pipe(7), socket(7)
 *
 * A terminal, a pipe or a socket that is a standard stream of the program, and whose other end the program does not hold,
 * belongs to where the program was started. After a restart its place is taken by the same stream of the restart.
 * Every other descriptor that leads to the same object follows, such as the one at 255 by which bash(1) keeps its terminal.
 *
 * A restart that is attached to a terminal, in its foreground, gives it the settings that the program's terminal had.
 *
 * Seen:  stat(2) through /proc/PID/fd/0, 1, 2; of pipes poll(2) on the open file; TIOCGDEV and TCGETS2 of terminals
 * Lost:  the object itself, what waits in it unread, O_NONBLOCK and the like: all these are those of the restart's streams;
 *        the size of the terminal; its settings where the restart has no terminal to give them to
 * Needs: pidfd_getfd(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"
#include "kinds/tty.h"
#include "kinds/unix.h"

struct outside {
	uint32_t streams;
	uint32_t flags;
	uint32_t type; /* S_IFMT */
	const char *link;
	struct span modes; /* of struct tty_modes: of a terminal, one */
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
	FIELD_A(5, struct outside, modes, "tty_struct.termios", tty_modes_fields, struct tty_modes),
	FIELDS_END,
};

/* ---- saving ---- */

/* The streams of the tree that are the terminal at s->fd; 0: it is none of them, or a pseudoterminal of the program. */
static unsigned int streams_of_tty(const struct sight *s)
{
	unsigned int mask = tty_own_master(s) ? 0 : openfile_stdio(s);

	if (mask || tty_own_master(s) || tty_is_hung_up(s))
		return mask;
	dev_t rdev = tty_device(s);
	return rdev ? tty_streams(s->tree, rdev) : 0;
}

static unsigned int find_streams(const struct sight *s)
{
	if (s->fd->flags & O_PATH || !s->fd->has_stat)
		return 0;
	if (tty_is_terminal(s->fd))
		return streams_of_tty(s);
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
	struct tty_modes modes;
	if (fd >= 0 && S_ISCHR(o->type) && tty_get_modes(fd, &modes) == 0)
		*(struct tty_modes *)span_push(&op->arena, &o->modes, sizeof(modes)) = modes;
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

/* The caller has seen to it that his terminal can be had, and puts his own settings back when the program has ended. */
static int outside_settle(struct op *op, void *rec, struct site *site)
{
	const struct outside *o = rec;
	const struct tty_modes *modes = tty_modes_in(&o->modes);
	struct stat here, terminal;
	int n = choose(o, site);

	if (!modes || n < 0 || site->terminal < 0 || fstat(site->stdio[n], &here) < 0 ||
		fstat(site->terminal, &terminal) < 0 || here.st_rdev != terminal.st_rdev)
		return 0;
	int r = tty_set_modes(site->terminal, modes);
	if (r < 0)
		note(op, "this terminal keeps its settings: %s", strerror(-r));
	return 0;
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
	.settle = outside_settle,
	.describe = outside_describe,
};
