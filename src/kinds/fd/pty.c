/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pseudoterminals whose master the program holds - pts(4), pty(7), termios(3), TIOCPKT(2const)
 *
 * A master has one open file, its slave any number, opened as /dev/pts/N or as /dev/tty. What the pair shares is in the
 * record of the master. devpts gives out the lowest free number, so masters are opened until the right one comes;
 * where somebody has it, the program gets a devpts of its own, in a mount namespace of its own. They are made before the processes, who take them for their sessions (task/ctty).
 * A slave whose master is closed ("hung up") is one again: a pair is made for it whose master goes at once.
 *
 * Seen:  stat(2) through /proc/PID/fd, fdinfo: tty-index of the master; ioctl(2) on the open files, all of which only look
 * Lost:  what is under way in it, either direction, as reading consumes it: how much is noted, but for the unfinished line
 *        of a slave in canonical mode and the input of a slave that is not open, which nothing shows; a status of packet
 *        mode that was not read yet; whether output was stopped by Ctrl-S or by TCOOFF: with IXON it is taken for Ctrl-S;
 *        TIOCEXCL of a slave that nobody has open; what processes outside of the tree have of it
 * Needs: pidfd_getfd(2), TIOCGPTPEER
 */
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "kinds/openfile.h"
#include "kinds/tty.h"

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_SYNC | O_NOFOLLOW | O_NOATIME,
	INDEX_END = 1 << 20, /* NR_UNIX98_PTY_MAX */
	HELD_MAX = 1024, /* so many lower numbers may be free */
	ROOMY = 2048, /* bytes: with fewer under way a side that cannot be written to is a stopped one */
};

enum state {
	STATE_MASTER = 1u << 0,
	STATE_DEV_TTY = 1u << 1, /* a slave that was opened as /dev/tty */
	STATE_HUNG_UP = 1u << 2, /* a slave without a master */
	/* of masters: */
	STATE_LEFT = 1u << 3, /* the last slave was closed: reads of the master give EIO */
	STATE_LOCKED = 1u << 4,
	STATE_PACKET = 1u << 5,
	STATE_EXCLUSIVE = 1u << 6, /* the slave */
	STATE_MASTER_EXCLUSIVE = 1u << 7,
	STATE_STOPPED = 1u << 8, /* the output of the slave */
	STATE_MASTER_STOPPED = 1u << 9,
	STATE_ALL = (1u << 10) - 1,
};

struct pty {
	uint32_t index;
	uint32_t flags;
	uint32_t state;
	const char *path;
	/* of masters: */
	uint32_t mode, uid, gid; /* of /dev/pts/N; the mode of slaves too, where it matters when they are hung up */
	uint32_t rows, columns, width, height;
	struct span modes, locked; /* of struct tty_modes: one each; those that are locked have their bits set */
};

static const struct flag states[] = {
	{ STATE_MASTER, "MASTER" },
	{ STATE_DEV_TTY, "DEV_TTY" },
	{ STATE_HUNG_UP, "HUNG_UP" },
	{ STATE_LEFT, "LEFT" },
	{ STATE_LOCKED, "LOCKED" },
	{ STATE_PACKET, "PACKET" },
	{ STATE_EXCLUSIVE, "EXCLUSIVE" },
	{ STATE_MASTER_EXCLUSIVE, "MASTER_EXCLUSIVE" },
	{ STATE_STOPPED, "STOPPED" },
	{ STATE_MASTER_STOPPED, "MASTER_STOPPED" },
	{ 0 },
};

static const struct field fields[] = {
	FIELD_U(1, struct pty, index, "tty_struct.index"),
	FIELD_B(2, struct pty, flags, "file.f_flags", openfile_flags),
	FIELD_B(3, struct pty, state, "tty_struct.flags", states),
	FIELD_S(4, struct pty, path, "file.f_path"),
	FIELD_U(5, struct pty, mode, "inode.i_mode"),
	FIELD_U(6, struct pty, uid, "inode.i_uid"),
	FIELD_U(7, struct pty, gid, "inode.i_gid"),
	FIELD_U(8, struct pty, rows, "tty_struct.winsize.ws_row"),
	FIELD_U(9, struct pty, columns, "tty_struct.winsize.ws_col"),
	FIELD_U(10, struct pty, width, "tty_struct.winsize.ws_xpixel"),
	FIELD_U(11, struct pty, height, "tty_struct.winsize.ws_ypixel"),
	FIELD_A(12, struct pty, modes, "tty_struct.termios", tty_modes_fields, struct tty_modes),
	FIELD_A(13, struct pty, locked, "tty_struct.termios_locked", tty_modes_fields, struct tty_modes),
	FIELDS_END,
};

/* ---- saving ---- */

static bool pty_probe(const struct sight *s)
{
	const struct proc_fd *f = s->fd;

	if (f->flags & O_PATH)
		return false;
	if (tty_is_master(f))
		return true;
	if (!tty_is_terminal(f))
		return false;
	if (tty_own_master(s))
		return true;
	return tty_is_hung_up(s) && !openfile_stdio(s); /* else fd/outside */
}

/* A descriptor in the tree of a slave of this master, for what can only be seen of a slave; NULL where it is not open. */
static const struct holder *find_slave(const struct sight *s)
{
	const struct holder *h = s->tree->holders.at;

	for (size_t i = 0; i < s->tree->holders.n; i++) {
		const struct sight other = { .tree = s->tree, .process = h[i].process, .fd = h[i].fd };

		if (h[i].fd->flags & O_PATH || !tty_is_terminal(h[i].fd))
			continue;
		const struct holder *master = tty_own_master(&other);
		if (master && tty_index(master->fd) == tty_index(s->fd))
			return &h[i];
	}
	return NULL;
}

static int take_slave(const struct sight *s)
{
	const struct holder *h = find_slave(s);
	const struct sight other = { .tree = s->tree, .process = h ? h->process : NULL, .fd = h ? h->fd : NULL };

	return h ? openfile_take(&other) : -ENOENT;
}

static bool is_second(const struct sight *s)
{
	const struct holder *h = s->tree->holders.at;

	for (size_t i = 0; i < s->tree->holders.n; i++)
		if (tty_is_master(h[i].fd) && tty_index(h[i].fd) == tty_index(s->fd) &&
			proc_kcmp(s->process->tid, h[i].process->tid, KCMP_FILE, (unsigned long)s->fd->n,
				(unsigned long)h[i].fd->n) > 0)
			return true;
	return false;
}

static int check_discipline(struct op *op, int fd)
{
	int discipline;

	if (fd < 0 || ioctl(fd, TIOCGETD, &discipline) < 0 || discipline == 0)
		return 0;
	return refuse(op, "pty-discipline", "only that of terminals (N_TTY) is kept", "set the line discipline 0",
		"is a pseudoterminal with the line discipline %d", discipline);
}

static int check_master(struct op *op, const struct sight *s)
{
	int session, index;

	_cleanup_close_ int fd = openfile_take(s), slave = take_slave(s);
	if (fd < 0)
		return refuse(op, "fd-taken", strerror(-fd), NULL, "is a pseudoterminal that cannot be examined");
	if (ioctl(fd, TIOCGPTN, &index) < 0 || index != tty_index(s->fd))
		return refuse(op, "pty-unknown", NULL, NULL, "is a pseudoterminal that shows no number");
	if (is_second(s))
		return refuse(op, "pty-instances", "they are of different devpts file systems", NULL,
			"is one of two pseudoterminals with the number %d", index);
	int r = check_discipline(op, fd), q = check_discipline(op, slave);
	if (ioctl(fd, TIOCGSID, &session) == 0 && session > 0 && !tree_has_pid(s->tree, session))
		return refuse(op, "pty-session", "its processes would lose it",
			"checkpoint the process that started both",
			"controls a session outside of the program: that of process %d", session);
	return r < 0 ? r : q;
}

static int pty_check(struct op *op, const struct sight *s)
{
	int locks = openfile_check_locks(op, s, true), flags = openfile_check_flags(op, s, FLAGS);

	if (flags < 0 || !tty_is_master(s->fd))
		return flags < 0 ? flags : locks;
	if ((s->fd->flags & O_ACCMODE) != O_RDWR)
		return refuse(op, "fd-flags", NULL, NULL, "is a pseudoterminal that is not open for both ways");
	int r = check_master(op, s);
	return r < 0 ? r : locks;
}

static short ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLPRI };

	return poll(&p, 1, 0) < 0 ? 0 : p.revents;
}

static int waiting(int fd)
{
	int n = 0;

	return fd >= 0 && ioctl(fd, FIONREAD, &n) == 0 ? n : 0;
}

static uint32_t bit(int fd, unsigned long request, uint32_t state)
{
	int yes = 0;

	return fd >= 0 && ioctl(fd, request, &yes) == 0 && yes ? state : 0;
}

static void save_state(struct op *op, struct pty *p, int master, int slave)
{
	/*
	 * poll(2) has the kernel finish what it is moving from one side to the other, if nothing has arrived there yet; FIONREAD alone
	 * would not count that. What arrives at the slave may have an echo.
	 */
	short slave_events = slave < 0 ? 0 : ready(slave), events = ready(master);
	int output = waiting(master), input = waiting(slave);

	p->state |= bit(master, TIOCGPTLCK, STATE_LOCKED) | bit(master, TIOCGPKT, STATE_PACKET) |
		    bit(slave, TIOCGEXCL, STATE_EXCLUSIVE) | bit(master, TIOCGEXCL, STATE_MASTER_EXCLUSIVE);
	p->state |= events & POLLHUP ? STATE_LEFT : 0;
	if (slave >= 0 && !(slave_events & POLLOUT) && output < ROOMY)
		p->state |= STATE_STOPPED;
	if (!(events & (POLLOUT | POLLHUP)) && input < ROOMY)
		p->state |= STATE_MASTER_STOPPED;
	if (output > 0)
		note(op, "%d bytes of output that were not read yet from the pseudoterminal %u are not in the image",
			output, p->index);
	if (input > 0)
		note(op, "%d bytes of input that were not read yet from /dev/pts/%u are not in the image", input,
			p->index);
	if (p->state & STATE_PACKET && events & POLLPRI)
		note(op, "a status of packet mode that was not read yet is not in the image");
}

static struct tty_modes *new_modes(struct op *op, struct span *span)
{
	return span_push(&op->arena, span, sizeof(struct tty_modes));
}

/* TIOCGLCKTRMIOS has them without the speeds, which cannot be locked */
static bool get_locked(int fd, struct tty_modes *m)
{
	struct termios t;

	if (ioctl(fd, TIOCGLCKTRMIOS, &t) < 0)
		return false;
	*m = (struct tty_modes){ t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_line, { 0 }, 0, 0 };
	memcpy(m->cc, t.c_cc, sizeof(m->cc));
	const struct tty_modes none = { 0 };
	return memcmp(m, &none, sizeof(none)) != 0;
}

/* /dev/pts/N as the program sees it */
static void save_node(const struct sight *s, struct pty *p, int slave)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "root/dev/pts/%u", p->index);
	int r = slave >= 0 ? fstat(slave, &st) : -1;
	if (r < 0 || tty_slave_index(st.st_rdev) != p->index)
		r = fstatat(s->process->dir, path, &st, 0);
	if (r < 0)
		st = (struct stat){ .st_mode = 0600, .st_uid = geteuid(), .st_gid = getegid() };
	p->mode = st.st_mode & 07777;
	p->uid = st.st_uid;
	p->gid = st.st_gid;
}

static int save_master(struct op *op, const struct sight *s, struct pty *p)
{
	struct winsize size = { 0 };
	struct tty_modes locked;

	_cleanup_close_ int fd = openfile_take(s), slave = take_slave(s);
	int r = fd < 0 ? fd : tty_get_modes(fd, new_modes(op, &p->modes));
	if (r == 0 && ioctl(fd, TIOCGWINSZ, &size) < 0)
		r = -errno;
	if (r < 0)
		return fail(op, r, "examine the pseudoterminal");
	if (get_locked(fd, &locked))
		*new_modes(op, &p->locked) = locked;
	p->rows = size.ws_row;
	p->columns = size.ws_col;
	p->width = size.ws_xpixel;
	p->height = size.ws_ypixel;
	save_node(s, p, slave);
	save_state(op, p, fd, slave);
	return 0;
}

static int pty_save(struct op *op, const struct sight *s, void *rec)
{
	struct pty *p = rec;

	p->flags = s->fd->flags;
	p->path = s->fd->link;
	if (tty_is_master(s->fd)) {
		p->index = (uint32_t)tty_index(s->fd);
		p->state = STATE_MASTER;
		return save_master(op, s, p);
	}
	const struct holder *master = tty_own_master(s);
	p->index = master ? (uint32_t)tty_index(master->fd) : 0;
	p->state = (tty_is_dev_tty(s->fd) ? STATE_DEV_TTY : 0) | (master ? 0 : STATE_HUNG_UP);
	p->mode = s->fd->mode & 07777;
	return 0;
}

/* ---- making pairs ---- */

/* a slave of each pair, for its settings, until the program runs */
static const char slaves[1];

static int open_master(struct op *op, const struct site *site, uint32_t *ret_index)
{
	int unlocked = 0;
	unsigned int index;

	const char *path = arena_printf(&op->arena, "%s/dev/ptmx", site->root);
	_cleanup_close_ int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno; /* -ENOSPC: there are no more */
	if (ioctl(fd, TIOCGPTN, &index) < 0 || ioctl(fd, TIOCSPTLCK, &unlocked) < 0)
		return -EIO;
	*ret_index = index;
	return TAKE_FD(fd);
}

/* The master that comes under the number @index, else the first above it */
static int open_number(struct op *op, const struct site *site, uint32_t index, uint32_t *ret_index)
{
	int held[HELD_MAX], fd = -EAGAIN, err = 0;
	size_t n = 0;

	while (n < HELD_MAX) {
		fd = open_master(op, site, ret_index);
		if (fd < 0)
			err = fd;
		if (fd < 0 || *ret_index >= index)
			break;
		held[n++] = fd;
	}
	if (n == HELD_MAX)
		fd = held[--n];
	while (n > 0)
		fd_close(held[--n]);
	return fd < 0 ? err : fd;
}

static int make_pair(struct op *op, struct site *site, uint32_t index)
{
	int *slot = tty_pair(op, site, index);
	uint32_t got;

	if (*slot >= 0)
		return *slot;
	int fd = open_number(op, site, index, &got);
	if (fd == -ENOSPC)
		return fail_as(op, OUTCOME_ENVIRONMENT, "pty-max", "raise /proc/sys/kernel/pty/max",
			"make a pseudoterminal: there are too many");
	if (fd < 0)
		return fail(op, fd, "make a pseudoterminal");
	*slot = fd;
	if (got != index)
		note(op, "/dev/pts/%u of the program is /dev/pts/%u here, as the number is taken", index, got);
	return fd;
}

static bool pty_reserve(struct op *op, const void *rec, struct site *site)
{
	const struct pty *p = rec;
	uint32_t got;

	if (!(p->state & STATE_MASTER) || p->index >= INDEX_END)
		return true;
	int fd = open_number(op, site, p->index, &got);
	if (fd >= 0 && got != p->index)
		fd = fd_close(fd);
	if (fd >= 0)
		*tty_pair(op, site, p->index) = fd;
	return fd >= 0;
}

/* in the mount namespace of the program: a devpts of its own, which counts from 0 */
static int pty_make_place(void)
{
	struct statfs fs;

	if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666") < 0 &&
		mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666") < 0)
		return -errno;
	/* the device of devtmpfs looks beside itself; one that was mounted there belongs to another instance */
	if (statfs("/dev/ptmx", &fs) == 0 && fs.f_type == DEVPTS_SUPER_MAGIC)
		return mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL) < 0 ? -errno : 0;
	return 0;
}

/* ---- opening slaves ---- */

static int open_peer(int master, uint32_t flags)
{
	int fd = ioctl(master, TIOCGPTPEER, (long)(flags | O_NOCTTY));

	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/*
 * /dev/tty leads to the terminal of the session: a child that shares our descriptors begins one, on this terminal, opens
 * it and ends. So the terminal is free again for the session of the program.
 */
static int open_dev_tty(int slave, uint32_t flags)
{
	int status;

	_cleanup_close_ int place = fcntl(slave, F_DUPFD_CLOEXEC, 3);
	if (place < 0)
		return -errno;
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		int fd = -1;

		signal(SIGHUP, SIG_IGN);
		if (setsid() >= 0 && ioctl(slave, TIOCSCTTY, 0) == 0)
			fd = open("/dev/tty", (int)flags | O_CLOEXEC);
		int err = fd < 0 || dup3(fd, place, O_CLOEXEC) < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
		_exit(err);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return pid < 0 ? -errno : WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
	return TAKE_FD(place);
}

static int open_slave(int master, const struct pty *p)
{
	if (!(p->state & STATE_DEV_TTY))
		return open_peer(master, p->flags);
	_cleanup_close_ int slave = open_peer(master, O_RDWR);
	return slave < 0 ? slave : open_dev_tty(slave, p->flags);
}

static int restore_slave(struct op *op, const struct pty *p, struct site *site)
{
	uint32_t index;
	bool hung_up = p->state & STATE_HUNG_UP;

	_cleanup_close_ int brief = hung_up ? open_master(op, site, &index) : -EBADF;
	int master = hung_up ? brief : make_pair(op, site, p->index);
	if (master < 0)
		return hung_up ? fail(op, master, "make a pseudoterminal") : master;
	_cleanup_close_ int fd = open_slave(master, p);
	int r = fd < 0 ? fd : openfile_set_status(fd, p->flags);
	if (r < 0)
		return fail(op, r, "open the slave of a pseudoterminal");
	if (hung_up && !(p->state & STATE_DEV_TTY))
		fchmod(fd, p->mode & 07777); /* nobody can open it any more: only fstat(2) shows this */
	int *slot = hung_up ? NULL : site_slot(op, site, slaves, p->index);
	if (slot && *slot < 0)
		*slot = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return TAKE_FD(fd);
}

/* ---- settings ---- */

static int set_locked(int fd, const struct tty_modes *m)
{
	struct termios t = { m->iflag, m->oflag, m->cflag, m->lflag, m->line, { 0 } };

	memcpy(t.c_cc, m->cc, sizeof(m->cc));
	return ioctl(fd, TIOCSLCKTRMIOS, &t) < 0 ? -errno : 0;
}

static int restore_master(struct op *op, const struct pty *p, struct site *site)
{
	const struct tty_modes *modes = tty_modes_in(&p->modes);
	const struct winsize size = { (unsigned short)p->rows, (unsigned short)p->columns, (unsigned short)p->width,
		(unsigned short)p->height };

	if (!modes || p->rows > UINT16_MAX || p->columns > UINT16_MAX || p->width > UINT16_MAX ||
		p->height > UINT16_MAX || (p->flags & O_ACCMODE) != O_RDWR)
		return fail(op, -EBADMSG, "set up a pseudoterminal from the image");
	int master = make_pair(op, site, p->index);
	if (master < 0)
		return master;
	int r = tty_set_modes(master, modes);
	if (r == 0 && ioctl(master, TIOCSWINSZ, &size) < 0)
		r = -errno;
	_cleanup_close_ int slave = r == 0 && p->state & STATE_LEFT ? open_peer(master, O_RDWR) : -EBADF;
	(void)slave; /* it has been there, and is gone */
	_cleanup_close_ int fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
	if (r == 0)
		r = fd < 0 ? -errno : openfile_set_status(fd, p->flags);
	return r < 0 ? fail(op, r, "set up a pseudoterminal") : TAKE_FD(fd);
}

static int pty_restore(struct op *op, void *rec, struct site *site)
{
	const struct pty *p = rec;

	if (p->flags & ~(FLAGS | O_ACCMODE | OPENFILE_LARGE) || (p->flags & O_ACCMODE) == O_ACCMODE ||
		p->index >= INDEX_END || p->state & ~STATE_ALL)
		return fail(op, -EBADMSG, "make a pseudoterminal from the image");
	return p->state & STATE_MASTER ? restore_master(op, p, site) : restore_slave(op, p, site);
}

/* Ctrl-S, typed at the master, arrives by way of a kernel thread. */
static bool type_stop(int master, int slave, unsigned char stop)
{
	if (write(master, &stop, 1) != 1)
		return false;
	for (int turn = 0; ready(slave) & POLLOUT; turn++) {
		if (turn == 1000)
			return false;
		nap_ms(1);
	}
	return true;
}

static void stop_output(struct op *op, const struct pty *p, int master, int slave)
{
	const struct tty_modes *m = tty_modes_in(&p->modes);
	bool done;

	if (m->iflag & IXON && m->cc[VSTOP])
		done = type_stop(master, slave, m->cc[VSTOP]);
	else
		done = ioctl(slave, TCXONC, TCOOFF) == 0;
	if (!done)
		note(op, "the output of /dev/pts/%u was stopped, and goes on", p->index);
}

static void set_node(struct op *op, const struct pty *p, const struct site *site, uint32_t index)
{
	struct stat st;

	const char *path = arena_printf(&op->arena, "%s/dev/pts/%u", site->root, index);
	if (stat(path, &st) < 0 || tty_slave_index(st.st_rdev) != index)
		return;
	if ((st.st_mode & 07777) != p->mode && chmod(path, p->mode & 07777) < 0)
		note(op, "/dev/pts/%u keeps its mode %#o (octal), not %#o", index, st.st_mode & 07777, p->mode);
	if ((st.st_uid != p->uid || st.st_gid != p->gid) && chown(path, p->uid, p->gid) < 0)
		note(op, "/dev/pts/%u belongs to user %u and group %u, not %u and %u", index, st.st_uid, st.st_gid,
			p->uid, p->gid);
}

/* what others who open it notice comes last; packet mode last of all, as it would report what is done here */
static int settle_master(struct op *op, const struct pty *p, struct site *site, int master, int slave)
{
	const struct tty_modes *locked = tty_modes_in(&p->locked);
	int locks = (p->state & STATE_LOCKED) != 0, packet = (p->state & STATE_PACKET) != 0;
	uint32_t index = p->index;

	ioctl(master, TIOCGPTN, &index);
	set_node(op, p, site, index);
	if (p->state & STATE_STOPPED && slave >= 0)
		stop_output(op, p, master, slave);
	if (p->state & STATE_MASTER_STOPPED && ioctl(master, TCXONC, TCOOFF) < 0)
		note(op, "the input of /dev/pts/%u was stopped, and goes on", index);
	if (locked && set_locked(master, locked) < 0)
		note(op, "the settings of /dev/pts/%u are not locked: that takes CAP_CHECKPOINT_RESTORE", index);
	if (p->state & STATE_EXCLUSIVE && slave >= 0 && ioctl(slave, TIOCEXCL) < 0)
		return fail(op, -errno, "make /dev/pts/%u exclusive", index);
	if (p->state & STATE_MASTER_EXCLUSIVE && ioctl(master, TIOCEXCL) < 0)
		return fail(op, -errno, "make a pseudoterminal exclusive");
	if (ioctl(master, TIOCSPTLCK, &locks) < 0 || ioctl(master, TIOCPKT, &packet) < 0)
		return fail(op, -errno, "set the packet mode of a pseudoterminal");
	return 0;
}

static int pty_settle(struct op *op, void *rec, struct site *site)
{
	const struct pty *p = rec;

	if (!(p->state & STATE_MASTER))
		return 0;
	int slave = *site_slot(op, site, slaves, p->index);
	int r = settle_master(op, p, site, *tty_pair(op, site, p->index), slave);
	*site_slot(op, site, slaves, p->index) = slave < 0 ? slave : fd_close(slave);
	int *master = tty_pair(op, site, p->index);
	*master = *master < 0 ? *master : fd_close(*master);
	return r;
}

static void pty_describe(const void *rec, FILE *out)
{
	const struct pty *p = rec;
	const struct tty_modes *m = tty_modes_in(&p->modes);

	if (p->state & STATE_HUNG_UP) {
		fputs("a terminal that was hung up", out);
		return;
	}
	fprintf(out, "%s of /dev/pts/%u", p->state & STATE_MASTER ? "master" : "slave", p->index);
	if (p->state & STATE_DEV_TTY)
		fputs(", opened as /dev/tty", out);
	if (m)
		fprintf(out, ", %ux%u, %s", p->columns, p->rows, m->lflag & ICANON ? "canonical" : "raw");
	if (p->state & STATE_PACKET)
		fputs(", packet mode", out);
}

const struct kind kind_fd_pty = {
	.name = "pty",
	.tag = 0x78,
	.scope = SCOPE_FD,
	.size = sizeof(struct pty),
	.fields = fields,
	.early = true,
	.probe = pty_probe,
	.check = pty_check,
	.save = pty_save,
	.restore = pty_restore,
	.reserve = pty_reserve,
	.make_place = pty_make_place,
	.settle = pty_settle,
	.describe = pty_describe,
};
