/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * epoll - epoll(7)
 *
 * A registration belongs to an open file and the number that it had then. The number can lead elsewhere now, or nowhere,
 * while the file lives on under another or in another process. Registrations are made again by stasis, under the old
 * number, which the file gets for the moment; but a signalfd looks at the signals of whoever registers it, so that one is
 * registered by the process itself.
 *
 * Seen:  fdinfo: flags, tfd, events, data, ino, sdev; which file it is by KCMP_EPOLL_TFD of kcmp(2), but of sockets, which
 *        have one open file each, by ino and sdev; EPIOCGPARAMS of ioctl_eventpoll(2)
 * Lost:  that an edge was taken already: what is ready with EPOLLET is told once more; the order of what is ready; whose
 *        max_user_watches it counts against: that of who restarts; EPOLLONESHOT that has fired for a file that now has no
 *        event at all: it hears of errors and hang-ups (noted); F_SETOWN, F_SETSIG
 * Needs: kcmp(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/epitem.h"
#include "kinds/openfile.h"

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_NOATIME,
	/* what poll(2) may tell of a file */
	POLLED = POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLMSG | POLLRDHUP,
};

/** struct params - struct epoll_params of linux/eventpoll.h, which came with v6.9 */
struct params {
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget;
	uint8_t prefer_busy_poll;
	uint8_t pad;
};

#define GET_PARAMS _IOR(0x8a, 0x02, struct params)
#define SET_PARAMS _IOW(0x8a, 0x01, struct params)

struct registration {
	uint32_t number; /* the descriptor that was registered */
	uint32_t events;
	uint64_t data;
	uint64_t file;
	int32_t by; /* the process that has to register it, as it counts; 0: any */
	uint32_t via; /* the number that leads to the file in that process */
};

struct epoll {
	uint32_t flags;
	uint32_t busy_poll_usecs;
	uint16_t busy_poll_budget;
	uint8_t prefer_busy_poll;
	struct span items; /* of struct registration */
};

static const struct field item_fields[] = {
	FIELD_U(1, struct registration, number, "epitem.ffd.fd"),
	FIELD_B(2, struct registration, events, "epitem.event.events", epitem_events),
	FIELD_U(3, struct registration, data, "epitem.event.data"),
	FIELD_R(4, struct registration, file, "epitem.ffd.file"),
	FIELD_I(5, struct registration, by, ""),
	FIELD_U(6, struct registration, via, ""),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_B(1, struct epoll, flags, "file.f_flags", openfile_flags),
	FIELD_U(2, struct epoll, busy_poll_usecs, "eventpoll.busy_poll_usecs"),
	FIELD_U(3, struct epoll, busy_poll_budget, "eventpoll.busy_poll_budget"),
	FIELD_U(4, struct epoll, prefer_busy_poll, "eventpoll.prefer_busy_poll"),
	FIELD_A(5, struct epoll, items, "eventpoll.rbr", item_fields, struct registration),
	FIELDS_END,
};

/* ---- saving ---- */

static bool epoll_probe(const struct sight *s)
{
	return openfile_is_anon(s, "eventpoll");
}

static int check_item(struct op *op, const struct sight *s, const struct epitem *it)
{
	const struct proc_fd *f;
	uint32_t via;
	size_t n;

	if (!epitem_makes_sense(it->events))
		return refuse(op, "epoll-events", "this version has not considered them", NULL,
			"watches descriptor %u for the events %#x", it->number, it->events);
	int r = epitem_find(s, it, &f);
	/* a program that runs may have closed or opened it just now */
	if (!s->tree->frozen && (r == -ENOENT || (r == -ESRCH && epitem_is(s, it, s->process, (int)it->number))))
		return 0;
	if (r == -ESRCH)
		return refuse(op, "epoll-target",
			"the file is held from outside, or is on its way through a socket, or was only mapped",
			"let the program remove it with EPOLL_CTL_DEL before it closes it",
			"watches a file, once descriptor %u, that no descriptor of the program leads to", it->number);
	if (r < 0)
		return refuse(op, "epoll-target", strerror(-r), NULL, "watches descriptor %u, which cannot be examined",
			it->number);
	if (epitem_is_signalfd(f) && !epitem_owner(s, it, f, &via, &n))
		return refuse(op, "epoll-signalfd", "no process has both under the number of the registration",
			"let the program remove it with EPOLL_CTL_DEL before it closes it",
			"watches a signalfd, once descriptor %u, for a process that cannot be told", it->number);
	return 0;
}

static int epoll_check(struct op *op, const struct sight *s)
{
	int r = openfile_check_locks(op, s, true), flags = openfile_check_flags(op, s, FLAGS);
	struct epitem *it;
	size_t n;

	if (epitem_read(op, s, &it, &n) < 0)
		return refuse(op, "fd-line", "this version has not considered it", NULL,
			"is an epoll with registrations that make no sense");
	r = r < 0 ? r : flags;
	for (size_t i = 0; i < n; i++) {
		int e = check_item(op, s, &it[i]);
		r = r < 0 ? r : e;
	}
	return r;
}

static int save_item(struct op *op, const struct sight *s, const struct epitem *it, struct registration *g)
{
	const struct proc_fd *f;
	size_t n;
	int r = epitem_find(s, it, &f);

	if (r < 0)
		return fail(op, r, "find the file registered as descriptor %u", it->number);
	*g = (struct registration){
		.number = it->number, .events = it->events, .data = it->data, .file = s->tree->file_id(f)
	};
	if (!epitem_is_signalfd(f))
		return 0;
	const struct process *p = epitem_owner(s, it, f, &g->via, &n);
	if (!p)
		return fail(op, -ESRCH, "find who registered the signalfd at %u", it->number);
	g->by = p->vpid;
	if (n > 1)
		note(op,
			"%zu processes share an epoll and the signalfd %u in it: it tells the signals of their first, "
			"%d",
			n, it->number, p->pid);
	return 0;
}

static int epoll_save(struct op *op, const struct sight *s, void *rec)
{
	struct epoll *e = rec;
	struct params params;
	struct epitem *it;
	size_t n;

	e->flags = s->fd->flags;
	int r = epitem_read(op, s, &it, &n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = save_item(op, s, &it[i], span_push(&op->arena, &e->items, sizeof(struct registration)));
	if (r < 0)
		return op->err ? r : fail(op, r, "read the registrations");
	_cleanup_close_ int fd = openfile_take(s);
	if (fd < 0)
		return fail(op, fd, "examine the epoll");
	if (ioctl(fd, GET_PARAMS, &params) < 0) /* the kernel has no such thing */
		return 0;
	e->busy_poll_usecs = params.busy_poll_usecs;
	e->busy_poll_budget = params.busy_poll_budget;
	e->prefer_busy_poll = params.prefer_busy_poll;
	return 0;
}

/* ---- restarting ---- */

static void set_params(struct op *op, const struct epoll *e, int fd)
{
	const struct params p = { e->busy_poll_usecs, e->busy_poll_budget, e->prefer_busy_poll, 0 };

	if ((p.busy_poll_usecs || p.busy_poll_budget || p.prefer_busy_poll) && ioctl(fd, SET_PARAMS, &p) < 0)
		note(op, "an epoll does not poll network devices busily as it did (EPIOCSPARAMS): %s", strerror(errno));
}

static int epoll_restore(struct op *op, void *rec, struct site *site)
{
	const struct epoll *e = rec;
	const struct registration *g = e->items.at;
	bool odd = e->flags & ~(FLAGS | O_ACCMODE | OPENFILE_LARGE) || (e->flags & O_ACCMODE) != O_RDWR;

	for (size_t i = 0; i < e->items.n; i++)
		odd |= g[i].number > INT32_MAX - 1 || !epitem_makes_sense(g[i].events) || g[i].by < 0;
	if (odd)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "make an epoll from the image");
	_cleanup_close_ int fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return fail(op, -errno, "make an epoll");
	int r = openfile_set_status(fd, e->flags);
	if (r < 0)
		return fail(op, r, "set the status flags of an epoll");
	set_params(op, e, fd);
	return TAKE_FD(fd);
}

/* of what the kernel cannot wait for: it says EPERM */
static bool may_lack_poll(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISCHR(st.st_mode));
}

static int add(int epoll, int number, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event) == 0)
		return 0;
	int err = errno;
	return err == EPERM && !may_lack_poll(number) ? -EIO : -err;
}

/* Registers @fd as @number, which may be in use here for something else: @fd takes its place for the moment. */
static int add_as(int epoll, int fd, int number, uint32_t events, uint64_t data)
{
	if (fd == number)
		return add(epoll, number, events, data);
	_cleanup_close_ int was = fcntl(number, F_DUPFD_CLOEXEC, 3);
	int flags = was < 0 ? 0 : fcntl(number, F_GETFD);
	if ((was < 0 && errno != EBADF) || dup3(fd, number, O_CLOEXEC) < 0)
		return -EMFILE;
	int r = add(number == epoll ? was : epoll, number, events, data);
	if (was < 0)
		fd_close(number);
	else if (dup3(was, number, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		return -EMFILE;
	return r;
}

static int cannot_add(struct op *op, const struct registration *g, int err)
{
	switch (err) {
	case -EPERM: /* only a stream of the caller can be of another type than that of the program was */
		note(op,
			"the stream that takes the place of descriptor %u cannot be waited for (epoll): the program "
			"hears nothing of it",
			g->number);
		return 0;
	case -ENOSPC:
		return fail_as(op, OUTCOME_CANNOT, "epoll-watches",
			"raise the number in /proc/sys/fs/epoll/max_user_watches",
			"watch descriptor %u with an epoll again: this user watches too many", g->number);
	case -EMFILE:
		return fail_as(op, OUTCOME_CANNOT, "nofile", "raise the hard limit on open files (ulimit -Hn)",
			"watch descriptor %u with an epoll again", g->number);
	case -EBADF:
	case -EEXIST:
	case -EINVAL:
	case -ELOOP:
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "watch descriptor %u with an epoll: %s", g->number,
			strerror(-err));
	default:
		return fail(op, err, "watch descriptor %u with an epoll again", g->number);
	}
}

static bool is_same_object(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && same_file(&x, &y);
}

static short ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLED };

	return poll(&p, 1, 0) == 1 ? (short)(p.revents & (POLLED | POLLERR | POLLHUP)) : 0;
}

/*
 * Puts a byte into the empty pipe that @fd reads from; the descriptor returned can take it out again. -ENODEV: it is no
 * pipe, or one that others have, too.
 */
static int lend_byte(const struct site *site, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct statfs fs;

	/* a FIFO with a name is of another file system */
	if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY || fstatfs(fd, &fs) < 0 || fs.f_type != PIPEFS_MAGIC)
		return -ENODEV;
	for (int n = 0; n < 3; n++)
		if (site->stdio[n] >= 0 && is_same_object(site->stdio[n], fd))
			return -ENODEV;
	int both = openfile_reopen(fd, O_RDWR | O_NONBLOCK);
	int r = both < 0 ? both : write_all(both, "", 1);
	if (r < 0 && both >= 0)
		fd_close(both);
	return r < 0 ? r : both;
}

/*
 * EPOLL_CTL_ADD and EPOLL_CTL_MOD always ask for ALWAYS as well, so the registration must fire once more: for whatever
 * event the file has. Nothing else is ready in this epoll yet.
 */
static int add_fired(struct op *op, const struct site *site, const struct registration *g, int fd)
{
	struct epoll_event got;
	char byte;

	_cleanup_close_ int loan = ready(fd) ? -EBADF : lend_byte(site, fd);
	short events = ready(fd);
	int r = add_as(site->here, fd, (int)g->number, g->events | (uint16_t)events, g->data);
	if (r == 0 && events && epoll_wait(site->here, &got, 1, 0) != 1)
		r = -EAGAIN;
	if (loan >= 0 && read(loan, &byte, 1) != 1)
		return fail(op, -EIO, "take a byte out of a pipe again");
	if (r < 0)
		return cannot_add(op, g, r);
	if (!events)
		note(op,
			"an epoll that has told of descriptor %u once (EPOLLONESHOT) tells of errors and hang-ups "
			"again",
			g->number);
	return 0;
}

/* Linux drops the bit without a word: for who lacks CAP_BLOCK_SUSPEND, or where it has been built without suspend */
static bool keeps_wakeup(struct op *op, int fd)
{
	struct proc_fd f;
	struct epitem it;
	bool keeps = true;

	_cleanup_close_ int epoll = epoll_create1(EPOLL_CLOEXEC);
	_cleanup_close_ int dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (epoll < 0 || dir < 0 || add(epoll, fd, EPOLLWAKEUP, 0) < 0)
		return true; /* the story comes later */
	if (proc_read_fdinfo(&op->arena, dir, epoll, &f) == 0 && f.extra.n == 1 &&
		epitem_parse(*(const char **)f.extra.at, &it) == 0)
		keeps = it.events & EPOLLWAKEUP;
	return keeps;
}

static int link_one(struct op *op, const struct registration *g, const struct site *site)
{
	int fd = site_file(site, g->file, g->number);

	if (fd < 0)
		return cannot_add(op, g, fd);
	if (g->events & EPOLLWAKEUP && !keeps_wakeup(op, fd))
		note(op, "descriptor %u, watched by an epoll, does not keep the machine awake here (EPOLLWAKEUP)",
			g->number);
	if (epitem_has_fired(g->events))
		return add_fired(op, site, g, fd);
	int r = add_as(site->here, fd, (int)g->number, g->events, g->data);
	return r < 0 ? cannot_add(op, g, r) : 0;
}

/* those that must fire first, while no other can be ready */
static int link_here(struct op *op, const struct epoll *e, const struct site *site)
{
	const struct registration *g = e->items.at;
	int r = 0;

	for (int fired = 1; fired >= 0; fired--)
		for (size_t i = 0; i < e->items.n && r == 0; i++)
			if (!g[i].by && epitem_has_fired(g[i].events) == fired)
				r = link_one(op, &g[i], site);
	return r;
}

/* a signalfd never has an error or a hang-up, so that one which has fired needs no more than the rest */
static void link_there(const struct site *site, const struct registration *g)
{
	const struct epoll_event event = { .events = g->events, .data.u64 = g->data };
	struct batch *b = site->batch;

	if (g->via != g->number)
		BATCH_MUST(b, "number a signalfd", SYS_dup3, g->via, g->number, O_CLOEXEC);
	BATCH_MUST(b, "watch a signalfd with an epoll again", SYS_epoll_ctl, (uint64_t)site->number, EPOLL_CTL_ADD,
		g->number, batch_in(b, &event, sizeof(event)).at);
	if (g->via != g->number)
		BATCH_MUST(b, "close a descriptor", SYS_close, g->number);
}

static int epoll_link(struct op *op, void *rec, struct site *site)
{
	const struct epoll *e = rec;
	struct registration *g = e->items.at;

	if (!site->batch)
		return link_here(op, e, site);
	for (size_t i = 0; i < e->items.n; i++) {
		if (!g[i].by || g[i].by != site->vpid)
			continue;
		link_there(site, &g[i]);
		g[i].by = 0;
	}
	return 0;
}

static int epoll_settle(struct op *op, void *rec, struct site *site)
{
	const struct epoll *e = rec;
	const struct registration *g = e->items.at;

	for (size_t i = 0; i < e->items.n; i++)
		if (g[i].by)
			return fail_as(op, OUTCOME_IMAGE, "image", NULL,
				"let process %d watch a signalfd: it has no such epoll", g[i].by);
	return 0;
}

static void epoll_describe(const void *rec, FILE *out)
{
	const struct epoll *e = rec;

	fprintf(out, "of %zu registration%s", e->items.n, e->items.n == 1 ? "" : "s");
}

const struct kind kind_fd_epoll = {
	.name = "epoll",
	.tag = 0x68,
	.scope = SCOPE_FD,
	.size = sizeof(struct epoll),
	.fields = fields,
	.probe = epoll_probe,
	.check = epoll_check,
	.save = epoll_save,
	.restore = epoll_restore,
	.link = epoll_link,
	.settle = epoll_settle,
	.describe = epoll_describe,
};
