/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/tty.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"

/* ---- settings ---- */

const struct field tty_modes_fields[] = {
	FIELD_U(1, struct tty_modes, iflag, "ktermios.c_iflag"),
	FIELD_U(2, struct tty_modes, oflag, "ktermios.c_oflag"),
	FIELD_U(3, struct tty_modes, cflag, "ktermios.c_cflag"),
	FIELD_U(4, struct tty_modes, lflag, "ktermios.c_lflag"),
	FIELD_U(5, struct tty_modes, line, "ktermios.c_line"),
	FIELD_RAW(6, struct tty_modes, cc, "ktermios.c_cc"),
	FIELD_U(7, struct tty_modes, ispeed, "ktermios.c_ispeed"),
	FIELD_U(8, struct tty_modes, ospeed, "ktermios.c_ospeed"),
	FIELDS_END,
};

int tty_get_modes(int fd, struct tty_modes *ret)
{
	struct termios2 t;

	if (ioctl(fd, TCGETS2, &t) < 0)
		return -errno;
	*ret = (struct tty_modes){ t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_line, { 0 }, t.c_ispeed,
		t.c_ospeed };
	_Static_assert(sizeof(ret->cc) == sizeof(t.c_cc), "as many control characters as the kernel has");
	memcpy(ret->cc, t.c_cc, sizeof(ret->cc));
	return 0;
}

int tty_set_modes(int fd, const struct tty_modes *m)
{
	struct termios2 t = { m->iflag, m->oflag, m->cflag, m->lflag, m->line, { 0 }, m->ispeed, m->ospeed };
	sigset_t stop, old;

	memcpy(t.c_cc, m->cc, sizeof(t.c_cc));
	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	sigprocmask(SIG_BLOCK, &stop, &old);
	int r = ioctl(fd, TCSETS2, &t) < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

const struct tty_modes *tty_modes_in(const struct span *span)
{
	return span->n ? span->at : NULL;
}

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

bool tty_is_dev_tty(const struct proc_fd *f)
{
	return f->has_stat && S_ISCHR(f->mode) && f->rdev == makedev(TTYAUX_MAJOR, 0);
}

bool tty_is_master(const struct proc_fd *f)
{
	return f->has_stat && S_ISCHR(f->mode) && f->rdev == makedev(TTYAUX_MAJOR, 2) && !(f->flags & O_PATH);
}

int64_t tty_slave_index(dev_t rdev)
{
	if (major(rdev) < PTY_SLAVE_MAJOR || major(rdev) > PTY_SLAVE_LAST)
		return -1;
	/* a minor has 20 bits: the majors behind the first are reserved and unused */
	return major(rdev) == PTY_SLAVE_MAJOR ? (int64_t)minor(rdev)
					      : minor(rdev) + (int64_t)(major(rdev) - PTY_SLAVE_MAJOR) * 256;
}

bool tty_is_terminal(const struct proc_fd *f)
{
	if (!f->has_stat || !S_ISCHR(f->mode) || f->rdev == makedev(TTYAUX_MAJOR, 2))
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
		return tty_slave_index(f->rdev) >= 0;
	}
}

/* "tty-index:\t3" */
int64_t tty_index(const struct proc_fd *master)
{
	static const char key[] = "tty-index:\t";
	const char *const *line = master->extra.at;
	uint64_t index;

	for (size_t i = 0; i < master->extra.n; i++) {
		const char *digits = line[i] + sizeof(key) - 1;
		if (strncmp(line[i], key, sizeof(key) - 1) == 0 && parse_u64(&digits, 10, &index) == 0 &&
			index <= INT32_MAX)
			return (int64_t)index;
	}
	return -1;
}

/* new_encode_dev() of the kernel */
static dev_t decode_device(uint64_t nr)
{
	return nr ? makedev((nr >> 8) & 0xfff, (nr & 0xff) | ((nr >> 12) & 0xfff00)) : 0;
}

dev_t tty_controlling(const struct process *p)
{
	return decode_device(p->stat.tty_nr);
}

dev_t tty_device(const struct sight *s)
{
	unsigned int nr;

	if (!tty_is_dev_tty(s->fd))
		return s->fd->rdev;
	_cleanup_close_ int fd = openfile_take(s);
	return fd >= 0 && ioctl(fd, TIOCGDEV, &nr) == 0 ? decode_device(nr) : tty_controlling(s->process);
}

bool tty_is_hung_up(const struct sight *s)
{
	unsigned int nr;

	if (tty_slave_index(s->fd->rdev) >= 0)
		return s->fd->nlink == 0;
	if (!tty_is_dev_tty(s->fd))
		return false;
	_cleanup_close_ int fd = openfile_take(s);
	return fd >= 0 && ioctl(fd, TIOCGDEV, &nr) < 0 && errno == EIO;
}

/*
 * Each instance of devpts counts from 0. The master's is the one that its ptmx lies in, or which is mounted at pts beside
 * it: devpts_mntget() of the kernel. 0 when it cannot be told.
 */
static dev_t instance_of(const struct holder *h)
{
	const char *link = h->fd->link, *name = strrchr(link, '/');
	char path[256];
	struct stat st;

	if (!name || link[0] != '/' || name - link > 200)
		return 0;
	if (name - link >= 4 && strncmp(name - 4, "/pts", 4) == 0)
		return h->fd->dev;
	snprintf(path, sizeof(path), "root%.*s/pts", (int)(name - link), link);
	return fstatat(h->process->dir, path, &st, 0) == 0 ? st.st_dev : 0;
}

static const struct holder *find_master(const struct tree *tree, int64_t index, dev_t instance)
{
	const struct holder *h = tree->holders.at;

	for (size_t i = 0; index >= 0 && i < tree->holders.n; i++) {
		if (!tty_is_master(h[i].fd) || tty_index(h[i].fd) != index)
			continue;
		dev_t its = instance ? instance_of(&h[i]) : 0;
		if (!its || its == instance)
			return &h[i];
	}
	return NULL;
}

const struct holder *tty_own_master_of(const struct tree *tree, dev_t rdev)
{
	return find_master(tree, tty_slave_index(rdev), 0);
}

const struct holder *tty_own_master(const struct sight *s)
{
	int64_t index = tty_slave_index(tty_device(s));

	if (index < 0 || tty_is_hung_up(s))
		return NULL;
	return find_master(s->tree, index, tty_is_dev_tty(s->fd) ? 0 : s->fd->dev);
}

unsigned int tty_streams(const struct tree *tree, dev_t rdev)
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

int *tty_pair(struct op *op, struct site *site, uint32_t index)
{
	static const char pairs[1];

	return site_slot(op, site, pairs, index);
}
