/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The queue of a unix socket, read with MSG_PEEK and put back by sending.
 *
 * MSG_PEEK shows only the first message, and of a stream with SO_PASSCRED only what has the same sender. The rest is reached
 * with SO_PEEK_OFF, which the program shares. So there the program reads its queue itself, in one batch that also takes the
 * offset back: should stasis be killed, the batch still runs to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "kinds/openfile.h"
#include "kinds/sockopt.h"
#include "kinds/unix.h"

#define PIECE	     ((size_t)16 << 10)
#define PIECES	     16
#define CREDENTIALS  CMSG_SPACE(sizeof(struct ucred))
#define NO_OFFSET    (-1)
#define OPT_PEEK_OFF 42

/* ---- reading, by the program ---- */

/** struct peek - one recvmsg(2) of the batch */
struct peek {
	struct stub_call *call;
	struct msghdr *m;
	unsigned char *data, *control;
	struct sockaddr_un *name;
};

static void add_offset(struct batch *b, int fd, int offset)
{
	BATCH_CALL(b, "set where to peek", SYS_setsockopt, (uint64_t)fd, SOL_SOCKET, OPT_PEEK_OFF,
		batch_in(b, &offset, sizeof(offset)).at, sizeof(offset));
}

/* with room for credentials and nothing else: a descriptor, of a process too, would be installed */
static void add_peek(struct batch *b, int fd, bool creds, struct peek *p)
{
	struct iovec io = { (void *)batch_out(b, PIECE, &p->data).at, PIECE };
	struct taddr name = batch_out(b, sizeof(*p->name), &p->name);
	struct taddr control = batch_out(b, CREDENTIALS, &p->control);
	struct taddr iov = batch_in(b, &io, sizeof(io)), head = batch_out(b, sizeof(*p->m), &p->m);

	*p->m = (struct msghdr){ .msg_name = (void *)name.at,
		.msg_namelen = sizeof(*p->name),
		.msg_iov = (void *)iov.at,
		.msg_iovlen = 1,
		.msg_control = creds ? (void *)control.at : NULL,
		.msg_controllen = creds ? CREDENTIALS : 0 };
	p->call = BATCH_CALL(b, "look at a message", SYS_recvmsg, (uint64_t)fd, head.at, MSG_PEEK | MSG_DONTWAIT);
}

static void take_credentials(const struct peek *p, struct unix_message *m)
{
	struct cmsghdr head;
	struct ucred cred;

	if (p->m->msg_controllen < CMSG_LEN(sizeof(cred)))
		return;
	memcpy(&head, p->control, sizeof(head));
	memcpy(&cred, p->control + CMSG_LEN(0), sizeof(cred));
	if (head.cmsg_level != SOL_SOCKET || head.cmsg_type != SCM_CREDENTIALS || cred.pid <= 0)
		return;
	m->pid = (uint32_t)cred.pid;
	m->uid = cred.uid;
	m->gid = cred.gid;
}

/* a piece is a message, the rest of one, or something of a stream */
static void add_piece(struct op *op, struct unix_sock *u, const struct peek *p, size_t len)
{
	struct unix_message *last = u->messages.n ? (struct unix_message *)u->messages.at + u->messages.n - 1 : NULL;
	bool more = u->type != SOCK_STREAM && p->m->msg_flags & MSG_TRUNC;
	struct unix_message m = { .goes_on = more };

	take_credentials(p, &m);
	if (last && last->goes_on) {
		char *both = arena_grow(&op->arena, last->data.at, last->data.n, last->data.n + len, 1);
		memcpy(both + last->data.n, p->data, len);
		last->data = (struct span){ .at = both, .n = last->data.n + len };
		last->goes_on = more;
		return;
	}
	m.data = (struct span){ .at = arena_dup(&op->arena, p->data, len), .n = len };
	size_t name = p->m->msg_namelen > offsetof(struct sockaddr_un, sun_path)
			      ? p->m->msg_namelen - offsetof(struct sockaddr_un, sun_path)
			      : 0;
	if (name && name <= sizeof(p->name->sun_path))
		m.name = (struct span){ .at = arena_dup(&op->arena, p->name->sun_path, name), .n = name };
	*(struct unix_message *)span_push(&op->arena, &u->messages, sizeof(m)) = m;
}

/* one batch; 1: there may be more, 0: the queue ends there */
static int peek_some(struct op *op, struct batch *b, int fd, bool creds, struct unix_sock *u, size_t *offset)
{
	struct peek p[PIECES];

	add_offset(b, fd, (int)*offset);
	const struct stub_call *set = batch_last(b);
	for (size_t i = 0; i < PIECES; i++)
		add_peek(b, fd, creds, &p[i]);
	add_offset(b, fd, NO_OFFSET);
	const struct stub_call *reset = batch_last(b);
	int r = batch_run(b);
	if (r < 0 || set->ret < 0 || reset->ret < 0)
		return fail(op,
			r < 0	       ? r
			: set->ret < 0 ? (int)set->ret
				       : (int)reset->ret,
			"look into the queue of a socket");
	for (size_t i = 0; i < PIECES; i++) {
		int64_t n = p[i].call->ret;

		/* no bytes are a message of none, or the end */
		bool end =
			u->type == SOCK_STREAM || (u->type == SOCK_SEQPACKET && u->shutdown && *offset >= u->waiting);
		if (n == -EAGAIN || (n == 0 && end))
			return 0;
		if (n < 0 || n > (int64_t)PIECE)
			return fail(op, n < 0 ? (int)n : -EBADMSG, "look into the queue of a socket");
		add_piece(op, u, &p[i], (size_t)n);
		*offset += (size_t)n;
	}
	return 1;
}

int unix_ask(struct op *op, const struct sight *s, struct unix_sock *u)
{
	struct pollfd poll_in = { .events = POLLIN | POLLRDHUP };
	size_t offset = 0;
	int waiting = 0, r;

	_cleanup_close_ int fd = openfile_take(s);
	if (fd < 0)
		return fail(op, fd, "examine a socket");
	poll_in.fd = fd;
	u->type = (uint32_t)sockopt_int(fd, SO_TYPE, 0);
	bool creds = sockopt_int(fd, SO_PASSCRED, 0);
	if (sockopt_int(fd, SO_ACCEPTCONN, 0) || (u->type == SOCK_STREAM && !creds))
		return 0;
	u->asked = true;
	if (ioctl(fd, SIOCINQ, &waiting) < 0)
		return fail(op, -errno, "examine a socket");
	u->waiting = (uint32_t)waiting;
	/* an error that is pending is taken by whoever reads when the queue is empty, and of packets in any case */
	if (poll(&poll_in, 1, 0) < 0 || !(poll_in.revents & POLLIN) || poll_in.revents & POLLERR ||
		(u->type == SOCK_STREAM && !waiting))
		return 0;
	u->shutdown = poll_in.revents & POLLRDHUP ? 1 : 0;
	do
		r = peek_some(op, s->batch, s->fd->n, creds, u, &offset);
	while (r > 0 && !(u->type == SOCK_STREAM && offset >= u->waiting));
	if (r >= 0 && u->type != SOCK_DGRAM && offset != u->waiting)
		return fail(op, -EBADMSG, "look at all that is in the queue of a socket");
	return r < 0 ? r : 0;
}

/* ---- reading, from here ---- */

int unix_read(struct op *op, const struct sight *s, struct unix_sock *u)
{
	if (u->asked || u->role == UNIX_LISTEN || u->type != SOCK_STREAM || !u->waiting)
		return 0;
	_cleanup_close_ int fd = openfile_take(s);
	struct unix_message *m = span_push(&op->arena, &u->messages, sizeof(*m));
	if (fd < 0)
		return fail(op, fd, "examine a socket");
	m->data.at = arena_alloc(&op->arena, (size_t)u->waiting + 1);
	ssize_t n = recv(fd, m->data.at, (size_t)u->waiting + 1, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 || (size_t)n != u->waiting)
		return fail(op, n < 0 ? -errno : -EBADMSG, "look at all that is in the queue of a socket");
	m->data.n = (size_t)n;
	return 0;
}

/*
 * An empty message that was once looked at is not shown at an offset again. So what was seen is sent once more, between
 * two sockets of ours: it must take up as much of the sender's buffer as it does there. 1: it does, 0: something was not
 * seen, or -errno.
 */
static int rehearse(const struct unix_sock *u, uint32_t sent)
{
	const struct unix_message *m = u->messages.at;
	int ends[2], taken = 0;

	if (socketpair(AF_UNIX, (int)u->type | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	_cleanup_close_ int from = ends[0];
	_cleanup_close_ int to = ends[1];
	(void)to; /* open until then */
	sockopt_widen(from);
	for (size_t i = 0; i < u->messages.n; i++)
		if (send(from, m[i].data.at, m[i].data.n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return errno == EAGAIN || errno == EMSGSIZE ? 1 : -errno;
	return ioctl(from, SIOCOUTQ, &taken) < 0 ? -errno : (uint32_t)taken == sent;
}

int unix_verify(struct op *op, const struct unix_sock *u)
{
	const struct unix_end *e = u->ends.at;
	bool alone = u->role != UNIX_PAIR && u->role != UNIX_CLIENT && u->role != UNIX_SERVER;
	struct proc_unix peer;

	if (alone || u->peer_gone || u->type == SOCK_STREAM)
		return 0;
	int r = proc_unix_read(&op->arena, e[UNIX_PEER].ino, &peer);
	if (r == 0)
		r = rehearse(u, peer.sent);
	if (r == 0)
		return refuse(op, "unix-empty", "they are hidden once they were looked at (MSG_PEEK)",
			"try again when the program has received them",
			"is a socket with messages without content that cannot be seen");
	return r < 0 ? fail(op, r, "see all that waits in a socket") : 0;
}

/* ---- putting back ---- */

static const struct site_task *task_of(struct op *op, struct site *site, const struct unix_message *m)
{
	const struct site_task *t = site_task(site, (pid_t)m->pid);

	if (!t)
		note(op, "a message that waits in a socket came from process %u, which is not there any more", m->pid);
	return t;
}

/* struct target - whom it is for, where the sender has no peer */
struct target {
	struct unix_goal name;
	struct sockaddr_un un;
	socklen_t len; /* 0: the peer */
	int file; /* of one that is bound to a path; O_PATH */
};

/* only who may speak for others can name another sender; else at least the user is right */
static int send_message(
	struct op *op, struct site *site, int from, const struct target *to, const struct unix_message *m)
{
	union {
		struct cmsghdr h;
		char space[CREDENTIALS];
	} control = { .h = { CMSG_LEN(sizeof(struct ucred)), SOL_SOCKET, SCM_CREDENTIALS } };
	struct iovec io = { m->data.at, m->data.n };
	struct msghdr h = {
		.msg_name = to->len ? (void *)&to->un : NULL, .msg_namelen = to->len, .msg_iov = &io, .msg_iovlen = 1
	};
	const struct site_task *t = m->pid ? task_of(op, site, m) : NULL;
	struct ucred cred = { .pid = t ? t->pid : getpid(), .uid = m->uid, .gid = m->gid };

	if (m->pid) {
		memcpy(CMSG_DATA(&control.h), &cred, sizeof(cred));
		h.msg_control = &control;
		h.msg_controllen = CREDENTIALS;
	}
	ssize_t n = sendmsg(from, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* the task has the rights of stasis as yet, and knows a file by its path alone: that may lead elsewhere */
	if (n < 0 && errno == EPERM && t && !(to->file >= 0 && site->owners.n) &&
		unix_send_inside(op, t, from, m, &to->name) == 0)
		return 0;
	if (n < 0 && m->pid) {
		note(op,
			"a message that waits in a socket seems to come from stasis: this user may not speak for "
			"process %u",
			m->pid);
		cred = (struct ucred){ getpid(), geteuid(), getegid() };
		memcpy(CMSG_DATA(&control.h), &cred, sizeof(cred));
		n = sendmsg(from, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	if (n < 0)
		return -errno;
	return (size_t)n == m->data.n ? 0 : -EAGAIN;
}

/* a descriptor, lent or new (*ret_own), that sends as the sender did */
static int sender_of(
	struct op *op, const struct unix_sock *u, struct site *site, const struct unix_message *m, int *ret_own)
{
	const struct unix_end *e = u->ends.at;
	bool peer = u->role != UNIX_ALONE && u->role != UNIX_ONEWAY;

	if (peer)
		return u->peer_gone ? *unix_lost_peer(op, site, e[UNIX_SELF].ino)
				    : *unix_self(op, site, e[UNIX_PEER].ino);
	if (m->name.n && *unix_named(op, site, &m->name) >= 0)
		return *unix_named(op, site, &m->name);
	*ret_own = m->name.n ? unix_temporary(u->type, &m->name) : -EBADF;
	if (*ret_own < 0 && m->name.n)
		note(op, "a message that waits in a socket has lost the name of its sender, %s",
			unix_shown(op, &m->name));
	if (*ret_own < 0)
		*ret_own = socket(AF_UNIX, (int)u->type | SOCK_CLOEXEC, 0);
	return *ret_own < 0 ? -errno : *ret_own;
}

/* is the file at @at that of the socket @fd, whose inode is @ino? Who connects to it has it as a peer */
static bool leads_to(struct op *op, int at, uint64_t ino)
{
	_cleanup_close_ int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct proc_unix u;
	struct sockaddr_un un;
	socklen_t len = unix_by_file(at, &un);
	struct stat st;

	return probe >= 0 && connect(probe, (const struct sockaddr *)&un, len) == 0 && fstat(probe, &st) == 0 &&
	       proc_unix_read(&op->arena, st.st_ino, &u) == 0 && u.peer == ino;
}

/* the file of the socket @fd: whatever its path leads to by now, messages go nowhere else */
static int find_file(struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un, int fd)
{
	struct stat st;
	int at = unix_file(fd);

	if (at >= 0)
		return at;
	at = open(unix_absolute(op, e, un), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0)
		return -errno;
	if (!site->owners.n || (fstat(fd, &st) == 0 && leads_to(op, at, st.st_ino)))
		return at;
	fd_close(at);
	return -ESTALE;
}

static int find_target(struct op *op, const struct unix_sock *u, struct site *site, struct target *t)
{
	const struct unix_end *e = u->ends.at;
	int fd = *unix_self(op, site, e->ino);

	if (!u->messages.n || (u->role != UNIX_ALONE && u->role != UNIX_ONEWAY))
		return 0;
	if (!e->name.n || u->type != SOCK_DGRAM)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "fill the queue of a socket without a name");
	t->name = (struct unix_goal){ .len = sizeof(t->name.un), .dir = e->dir };
	if (getsockname(fd, (struct sockaddr *)&t->name.un, &t->name.len) < 0)
		return fail(op, -errno, "send what waits in a socket");
	t->un = t->name.un;
	t->len = t->name.len;
	if (!t->un.sun_path[0])
		return 0;
	t->file = find_file(op, site, e, &t->un, fd);
	if (t->file < 0)
		return fail(op, t->file, "find the file of %s, in which messages wait", unix_shown(op, &e->name));
	t->len = unix_by_file(t->file, &t->un);
	return 0;
}

static int fill(struct op *op, const struct unix_sock *u, struct site *site, const struct target *to)
{
	const struct unix_message *m = u->messages.at;

	for (size_t i = 0; i < u->messages.n; i++) {
		_cleanup_close_ int own = -EBADF;
		int from = sender_of(op, u, site, &m[i], &own);

		if (from == -EBADF) /* nobody has made the peer */
			from = -EBADMSG;
		if (from < 0)
			return fail(op, from, "send what waits in a socket");
		sockopt_widen(from);
		if (!m[i].data.n && u->type == SOCK_STREAM)
			continue;
		int r = send_message(op, site, from, to, &m[i]);
		if (r < 0)
			return fail(op, r, "send what waits in a socket, message %zu of %zu", i + 1, u->messages.n);
	}
	return 0;
}

int unix_fill(struct op *op, const struct unix_sock *u, struct site *site)
{
	struct target to = { .file = -EBADF };
	int r = find_target(op, u, site, &to);

	if (r == 0)
		r = fill(op, u, site, &to);
	fd_closep(&to.file);
	return r;
}
