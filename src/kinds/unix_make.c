/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making unix sockets again. What SO_PEERCRED says of a socket is whoever called socketpair(2), connect(2) or listen(2): so
 * these calls are made by that very process, as the user that it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"
#include "kinds/rights.h"
#include "kinds/sockopt.h"
#include "kinds/unix.h"

/* ---- slots ---- */

static const char selves[1], lost_peers[1], names[1];

int *unix_self(struct op *op, struct site *site, uint64_t ino)
{
	return site_slot(op, site, selves, ino);
}

int *unix_lost_peer(struct op *op, struct site *site, uint64_t ino)
{
	return site_slot(op, site, lost_peers, ino);
}

/* FNV-1a: two names of one sum would only mix up senders of datagrams */
int *unix_named(struct op *op, struct site *site, const struct span *name)
{
	const unsigned char *at = name->at;
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = 0; i < name->n; i++)
		sum = (sum ^ at[i]) * 0x100000001b3;
	return site_slot(op, site, names, sum);
}

/* ---- calls by others ---- */

/** struct maker - the process that makes a call, and as whom */
struct maker {
	const struct site_task *task;
	uint32_t uid, gid;
	bool change;
};

static int find_maker(struct op *op, struct site *site, const struct unix_end *e, struct maker *ret)
{
	ret->task = site_task(site, (pid_t)e->cred_pid);
	if (!ret->task && !site->tasks.n)
		return fail(op, -ESRCH, "make a socket");
	if (!ret->task) {
		ret->task = site->tasks.at;
		if (e->cred_pid)
			note(op, "SO_PEERCRED of a socket says process %d: process %u, which it was, has ended",
				ret->task->vpid, e->cred_pid);
	}
	ret->uid = e->cred_pid ? e->cred_uid : geteuid();
	ret->gid = e->cred_pid ? e->cred_gid : getegid();
	ret->change = ret->uid != geteuid() || ret->gid != getegid();
	if (ret->change && (site->user_ns || geteuid() != 0)) {
		note(op, "SO_PEERCRED of a socket says user %u, not %u", geteuid(), ret->uid);
		ret->change = false;
	}
	return 0;
}

#define KEEP_ID 0xffffffffu

static void enter(const struct maker *m, struct op *op, struct batch *b)
{
	batch_init(b, &op->arena, m->task->room, m->task->held);
	if (!m->change)
		return;
	BATCH_CALL(b, "take a group id", SYS_setresgid, KEEP_ID, m->gid, KEEP_ID);
	BATCH_CALL(b, "take a user id", SYS_setresuid, KEEP_ID, m->uid, KEEP_ID);
}

/* the result of the call @c, made between enter() and here */
static int leave(const struct maker *m, struct op *op, struct batch *b, const struct stub_call *c)
{
	if (m->change) {
		BATCH_CALL(b, "give the user id back", SYS_setresuid, KEEP_ID, geteuid(), KEEP_ID);
		BATCH_CALL(b, "give the group id back", SYS_setresgid, KEEP_ID, getegid(), KEEP_ID);
	}
	int r = batch_run(b);
	if (r < 0)
		return fail(op, r, "%s", batch_what(b));
	return c->ret < 0 ? (int)c->ret : 0;
}

static int take_from(const struct site_task *t, int n)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, n, 0);

	return fd < 0 ? -errno : fd;
}

static int close_inside(struct op *op, const struct site_task *t, int one, int two)
{
	struct batch b;

	batch_init(&b, &op->arena, t->room, t->held);
	BATCH_CALL(&b, "close a socket", SYS_close, (uint64_t)one);
	if (two >= 0)
		BATCH_CALL(&b, "close a socket", SYS_close, (uint64_t)two);
	int r = batch_run(&b);
	return r < 0 ? fail(op, r, "%s", batch_what(&b)) : 0;
}

/* a socket in the task, where it stays open as *ret_n, and here */
static int socket_inside(struct op *op, const struct maker *m, uint32_t type, int *ret_n)
{
	struct batch b;

	enter(m, op, &b);
	const struct stub_call *c = BATCH_CALL(&b, "make a socket", SYS_socket, AF_UNIX, type | SOCK_CLOEXEC, 0);
	int r = leave(m, op, &b, c);
	if (r < 0)
		return fail(op, r, "make a socket");
	*ret_n = (int)c->ret;
	r = take_from(m->task, *ret_n);
	return r < 0 ? fail(op, r, "take a socket") : r;
}

static int make_pair(struct op *op, struct site *site, const struct unix_sock *u, int *ret_self, int *ret_peer)
{
	struct maker m;
	struct batch b;
	const int *fds;

	int r = find_maker(op, site, u->ends.at, &m);
	if (r < 0)
		return r;
	enter(&m, op, &b);
	struct taddr out = batch_out(&b, 2 * sizeof(int), &fds);
	const struct stub_call *c =
		BATCH_CALL(&b, "make a pair of sockets", SYS_socketpair, AF_UNIX, u->type | SOCK_CLOEXEC, 0, out.at);
	r = leave(&m, op, &b, c);
	if (r < 0)
		return fail(op, r, "make a pair of sockets");
	_cleanup_close_ int self = take_from(m.task, fds[0]);
	_cleanup_close_ int peer = take_from(m.task, fds[1]);
	if (self < 0 || peer < 0)
		return fail(op, self < 0 ? self : peer, "take a pair of sockets");
	r = close_inside(op, m.task, fds[0], fds[1]);
	if (r < 0)
		return r;
	*ret_self = TAKE_FD(self);
	*ret_peer = TAKE_FD(peer);
	return 0;
}

/* ---- messages ---- */

#define ONE_FD CMSG_SPACE(sizeof(int))

static int lend(int channel, int fd)
{
	union {
		struct cmsghdr h;
		char space[ONE_FD];
	} control = { .h = { CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec io = { "", 1 };
	const struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = ONE_FD };

	memcpy(CMSG_DATA(&control.h), &fd, sizeof(fd));
	return sendmsg(channel, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* take a descriptor from the channel; where its number will lie */
static struct taddr add_borrow(struct batch *b, int channel)
{
	unsigned char *space;
	struct taddr byte = batch_out(b, 1, &space), control = batch_out(b, ONE_FD, &space);
	const struct iovec io = { (void *)byte.at, 1 };
	const struct msghdr m = { .msg_iov = (void *)batch_in(b, &io, sizeof(io)).at,
		.msg_iovlen = 1,
		.msg_control = (void *)control.at,
		.msg_controllen = ONE_FD };

	BATCH_MUST(b, "borrow a socket", SYS_recvmsg, (uint64_t)channel, batch_in(b, &m, sizeof(m)).at, MSG_DONTWAIT);
	return (struct taddr){ control.at + CMSG_LEN(0) };
}

/* struct errand - a call that @maker makes with the socket @fd of ours */
struct errand {
	const struct maker *maker;
	int fd;
	const struct unix_message *message; /* to send */
	const struct sockaddr_un *to;
	socklen_t to_len;
	const char *dir; /* where the path starts; the directory of the process itself is not yet what it will be */
};

static struct stub_call *add_send(struct batch *b, struct taddr fd, const struct errand *e)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(struct ucred))];
	} control = { .h = { CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS } };
	const struct unix_message *m = e->message;
	const struct ucred cred = { (pid_t)m->pid, m->uid, m->gid };

	memcpy(CMSG_DATA(&control.h), &cred, sizeof(cred));
	const struct iovec io = { (void *)batch_in(b, m->data.at, m->data.n).at, m->data.n };
	const struct msghdr h = { .msg_name = e->to_len ? (void *)batch_in(b, e->to, sizeof(*e->to)).at : NULL,
		.msg_namelen = e->to_len,
		.msg_iov = (void *)batch_in(b, &io, sizeof(io)).at,
		.msg_iovlen = 1,
		.msg_control = (void *)batch_in(b, &control, sizeof(control)).at,
		.msg_controllen = sizeof(control) };
	return BATCH_CALL(
		b, "send a message", SYS_sendmsg, fd.at, batch_in(b, &h, sizeof(h)).at, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static struct stub_call *add_connect(struct batch *b, struct taddr fd, const struct errand *e)
{
	return BATCH_CALL(b, "connect a socket", SYS_connect, fd.at, batch_in(b, e->to, sizeof(*e->to)).at, e->to_len);
}

static int run_errand(struct op *op, const struct errand *e, int channel_there, int64_t *ret)
{
	struct batch b;

	enter(e->maker, op, &b);
	struct taddr fd = add_borrow(&b, channel_there);
	if (e->dir)
		BATCH_CALL(&b, "go to a directory", SYS_chdir, batch_in(&b, e->dir, strlen(e->dir) + 1).at);
	struct stub_call *c = e->message ? add_send(&b, fd, e) : add_connect(&b, fd, e);
	c->indirect = 1u << 0;
	BATCH_CALL(&b, "give the socket back", SYS_close, fd.at)->indirect = 1u << 0;
	int r = leave(e->maker, op, &b, c);
	*ret = c->ret;
	return r;
}

/* the descriptor goes there by a channel made for it; what the call gives, or -errno */
static int64_t send_on_errand(struct op *op, const struct errand *e)
{
	struct batch b;
	const int *ends;
	int64_t ret = 0;

	enter(e->maker, op, &b);
	struct taddr out = batch_out(&b, 2 * sizeof(int), &ends);
	int r = leave(e->maker, op, &b,
		BATCH_CALL(&b, "make a channel", SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out.at));
	if (r < 0)
		return r;
	_cleanup_close_ int channel = take_from(e->maker->task, ends[0]);
	r = channel < 0 ? channel : lend(channel, e->fd);
	if (r == 0)
		r = run_errand(op, e, ends[1], &ret);
	int closed = close_inside(op, e->maker->task, ends[0], ends[1]);
	return r < 0 ? r : closed < 0 ? closed : ret;
}

int unix_send_inside(
	struct op *op, const struct site_task *t, int from, const struct unix_message *m, const struct unix_goal *to)
{
	const struct maker maker = { .task = t };
	const struct errand e = {
		.maker = &maker, .fd = from, .message = m, .to = &to->un, .to_len = to->len, .dir = to->dir
	};

	if (m->data.n > ROOM_AUX_BYTES / 2)
		return -E2BIG;
	int64_t sent = send_on_errand(op, &e);
	return sent < 0 ? (int)sent : (size_t)sent == m->data.n ? 0 : -EAGAIN;
}

/* ---- client and server ---- */

static int make_listener(struct op *op, struct site *site, const struct unix_end *e, uint32_t type)
{
	struct maker m;
	struct batch b;
	int n = -1, r = find_maker(op, site, e, &m);

	if (r < 0)
		return r;
	_cleanup_close_ int fd = socket_inside(op, &m, type, &n);
	if (fd < 0)
		return fd;
	r = unix_bind(op, site, e, type, fd);
	if (r < 0)
		return r;
	enter(&m, op, &b);
	r = leave(&m, op, &b, BATCH_CALL(&b, "listen", SYS_listen, (uint64_t)n, e->backlog));
	if (r < 0)
		return fail(op, r, "listen at %s", unix_shown(op, &e->name));
	r = close_inside(op, m.task, n, -1);
	return r < 0 ? r : TAKE_FD(fd);
}

/* is the name of a listener that is gone free to be used for a moment? */
static bool is_free(struct op *op, const struct unix_end *l, uint32_t type)
{
	struct sockaddr_un un;
	socklen_t len = unix_address(&l->name, &un);
	struct stat st;

	if (un.sun_path[0])
		return un.sun_path[0] == '/' && lstat(unix_absolute(op, l, &un), &st) < 0 && errno == ENOENT;
	_cleanup_close_ int fd = len ? unix_temporary(type, &l->name) : -EINVAL;
	return fd >= 0;
}

/* a path may have been made to lead to the socket of another program */
static bool is_with_us(const struct site *site, int fd)
{
	const struct site_task *t = site->tasks.at;
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	for (size_t i = 0; i < site->tasks.n; i++)
		if (t[i].pid == cred.pid)
			return true;
	return false;
}

/* @fd, in the name of who is to be seen at the other end */
static int connect_by(struct op *op, struct site *site, const struct unix_end *shown, const struct unix_end *to, int fd)
{
	struct sockaddr_un un;
	socklen_t len = unix_address(&to->name, &un);
	struct maker m;
	int r = find_maker(op, site, shown, &m);
	const struct errand e = { .maker = &m, .fd = fd, .to = &un, .to_len = len, .dir = to->dir };

	if (r < 0)
		return r;
	int64_t done = send_on_errand(op, &e);
	if (done < 0)
		return fail(op, (int)done, "connect a socket to %s", unix_shown(op, &to->name));
	return is_with_us(site, fd)
		       ? 0
		       : fail_as(op, OUTCOME_CANNOT, "address-used", "restart again",
				 "connect a socket to %s: somebody else listens there now", unix_shown(op, &to->name));
}

static int meet(
	struct op *op, struct site *site, const struct unix_sock *u, int listener, int *ret_client, int *ret_server)
{
	const struct unix_end *e = u->ends.at;
	struct pollfd waits = { .fd = listener, .events = POLLIN };

	_cleanup_close_ int client = socket(AF_UNIX, (int)u->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (client < 0)
		return fail(op, -errno, "make a socket");
	int r = connect_by(op, site, &e[u->role == UNIX_SERVER ? UNIX_SELF : UNIX_PEER], &e[UNIX_LISTENER], client);
	if (r < 0)
		return r;
	_cleanup_close_ int server = poll(&waits, 1, 0) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
	if (server < 0)
		return fail(op, waits.revents ? -errno : -ENOTCONN, "accept a connection at %s",
			unix_shown(op, &e[UNIX_LISTENER].name));
	*ret_client = TAKE_FD(client);
	*ret_server = TAKE_FD(server);
	return 0;
}

static int make_connection(struct op *op, struct site *site, const struct unix_sock *u, int *ret_self, int *ret_peer)
{
	struct unix_end l = ((const struct unix_end *)u->ends.at)[UNIX_LISTENER];
	_cleanup_close_ int own = -EBADF;
	bool server = u->role == UNIX_SERVER;

	if (!l.ino && !is_free(op, &l, u->type)) {
		note(op, "a connection that was made at %s has lost this name: nobody of the program listens there",
			unix_shown(op, &l.name));
		return make_pair(op, site, u, ret_self, ret_peer);
	}
	int listener = l.ino ? *unix_self(op, site, l.ino) : -EBADF;
	if (listener < 0) {
		l.unlinked |= !l.ino;
		listener = make_listener(op, site, &l, u->type);
		if (listener < 0)
			return listener;
		*(l.ino ? unix_self(op, site, l.ino) : &own) = listener;
	}
	int r = meet(op, site, u, listener, server ? ret_peer : ret_self, server ? ret_self : ret_peer);
	if (!l.ino)
		*unix_named(op, site, &l.name) = -EBADF;
	return r;
}

/* ---- one socket ---- */

static int make_alone(struct op *op, struct site *site, const struct unix_sock *u)
{
	if (u->role == UNIX_LISTEN)
		return make_listener(op, site, u->ends.at, u->type);
	int fd = socket(AF_UNIX, (int)u->type | SOCK_CLOEXEC, 0);
	return fd < 0 ? fail(op, -errno, "make a socket") : fd;
}

static int make_both(struct op *op, struct site *site, const struct unix_sock *u)
{
	const struct unix_end *e = u->ends.at;
	_cleanup_close_ int self = -EBADF;
	_cleanup_close_ int peer = -EBADF;
	int r = u->role == UNIX_PAIR ? make_pair(op, site, u, &self, &peer)
				     : make_connection(op, site, u, &self, &peer);

	if (r < 0)
		return r;
	int *slot = u->peer_gone ? unix_lost_peer(op, site, e[UNIX_SELF].ino) : unix_self(op, site, e[UNIX_PEER].ino);
	fd_closep(slot);
	*slot = TAKE_FD(peer);
	return TAKE_FD(self);
}

static void set_owner(struct op *op, const struct unix_end *e, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return;
	if ((st.st_mode & 07777) != e->mode)
		fchmod(fd, e->mode & 0777);
	if ((st.st_uid != e->uid || st.st_gid != e->gid) && fchown(fd, e->uid, e->gid) < 0)
		note(op, "a socket belongs to user %u, not %u", st.st_uid, e->uid);
}

int unix_make(struct op *op, const struct unix_sock *u, struct site *site)
{
	const struct unix_end *e = u->ends.at;
	bool both = u->role == UNIX_PAIR || u->role == UNIX_CLIENT || u->role == UNIX_SERVER;
	int r = 0;

	if (*unix_self(op, site, e->ino) < 0) {
		r = both ? make_both(op, site, u) : make_alone(op, site, u);
		if (r < 0)
			return r;
		*unix_self(op, site, e->ino) = r;
	}
	int self = *unix_self(op, site, e->ino);
	r = u->role == UNIX_SERVER ? 0 : unix_bind(op, site, e, u->type, self);
	if (r < 0)
		return r;
	set_owner(op, e, self);
	int fd = fcntl(self, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? fail(op, -errno, "duplicate a socket") : fd;
}

int unix_await(struct op *op, const struct unix_sock *u, struct site *site)
{
	const struct unix_client *c = u->pending.at;

	for (size_t i = 0; i < u->pending.n; i++) {
		const struct unix_end shown = { .cred_pid = c[i].pid, .cred_uid = c[i].uid, .cred_gid = c[i].gid };
		int fd = *unix_self(op, site, c[i].ino);
		int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

		if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return fail_as(op, OUTCOME_IMAGE, "image", NULL, "find a socket that waits to be accepted");
		int r = connect_by(op, site, &shown, u->ends.at, fd);
		if (r < 0)
			return r;
		if (fcntl(fd, F_SETFL, flags) < 0)
			return fail(op, -errno, "set the status flags of a socket");
	}
	return 0;
}

/* ---- the end ---- */

struct call {
	int fd;
	const struct sockaddr_un *un;
	socklen_t len;
};

static int connect_once(const void *data)
{
	const struct call *c = data;

	return connect(c->fd, (const struct sockaddr *)c->un, c->len) < 0 ? -errno : 0;
}

/* by each of those who have it: what is there now may be for others */
static int connect_path(struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un,
	socklen_t len, uint32_t type, int fd)
{
	(void)e, (void)type;
	return rights_each(op, site, connect_once, &(struct call){ fd, un, len });
}

static int connect_oneway(struct op *op, const struct unix_sock *u, struct site *site, int fd)
{
	const struct unix_end *e = u->ends.at;
	const struct span *name = e[UNIX_PEER].ino ? &e[UNIX_PEER].name : &u->remote;
	_cleanup_close_ int gone = -EBADF;
	struct sockaddr_un un;
	socklen_t len = unix_address(name, &un);

	if (u->peer_gone) {
		gone = unix_temporary(u->type, name);
		if (gone < 0) {
			gone = socket(AF_UNIX, (int)u->type | SOCK_CLOEXEC, 0);
			un = (struct sockaddr_un){ .sun_family = AF_UNIX };
			len = sizeof(un);
			if (gone < 0 ||
				bind(gone, (struct sockaddr *)&un, offsetof(struct sockaddr_un, sun_path)) < 0 ||
				getsockname(gone, (struct sockaddr *)&un, &len) < 0)
				return fail(op, -errno, "make a socket");
		}
	}
	int r = len ? unix_at_directory(op, site, &e[UNIX_PEER], &un, len, u->type, fd, connect_path) : -EINVAL;
	if (r < 0 && !e[UNIX_PEER].ino) {
		note(op, "a socket is not connected any more: nobody is at %s (%s)", unix_shown(op, name),
			strerror(-r));
		return 0;
	}
	return r < 0 ? fail(op, r, "connect a socket to %s", unix_shown(op, name)) : 0;
}

int unix_finish(struct op *op, const struct unix_sock *u, struct site *site)
{
	const struct unix_end *e = u->ends.at;
	int *self = unix_self(op, site, e->ino), fd = *self, r = 0;

	if (fd < 0)
		return 0;
	if (u->role == UNIX_ONEWAY)
		r = connect_oneway(op, u, site, fd);
	if (r == 0)
		r = sockopt_restore(op, fd, &u->options);
	if (r < 0)
		return r;
	/* a peer that goes with something unread leaves an error behind */
	if (u->peer_gone && u->reset && u->type != SOCK_DGRAM)
		send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	int *peer = unix_lost_peer(op, site, e->ino);
	if (*peer >= 0)
		*peer = fd_close(*peer);
	if (u->shutdown && shutdown(fd, (int)u->shutdown - 1) < 0)
		return fail(op, -errno, "shut a socket down");
	self = unix_self(op, site, e->ino);
	*self = fd_close(*self);
	return 0;
}
