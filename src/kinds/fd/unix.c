/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unix sockets - unix(7), socketpair(2), socket(7)
 *
 * Sockets are made again in the way they once were: pairs, clients and servers, listening, bound. The peers find each other
 * through slots under their inodes, whichever record comes first. Then the queues are filled by sending; last come options,
 * shutdown(2) and the end of peers that are gone. A standard stream to the outside is the kind `outside`.
 *
 * Seen:  sock_diag(7): peer, shutdown, who waits to be accepted; getsockopt(2), getsockname(2) on the open file; recvmsg(2)
 *        with MSG_PEEK; fdinfo: scm_fds
 * Lost:  SO_PEERCRED of a process that has ended, and SO_PEERGROUPS; SO_TIMESTAMP of what waits in the queue; the sender of
 *        what waits in one without SO_PASSCRED; connections from outside that wait to be accepted; F_SETOWN, F_SETSIG;
 *        security labels; of a socket that receives from many, empty messages, when the queue is saved a second time before
 *        it is read, so a check does not look into queues; a process outside of the tree that holds the socket too is cut
 *        off from it (named, where this user may see the descriptors of that process). Descriptors under way and urgent
 *        data are refused
 * Needs: CONFIG_UNIX_DIAG, pidfd_getfd(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"
#include "kinds/sockopt.h"
#include "kinds/unix.h"

enum {
	FLAGS = O_NONBLOCK | O_APPEND | O_NOATIME,
};

static const struct field end_fields[] = {
	FIELD_U(1, struct unix_end, ino, "inode.i_ino"),
	FIELD_BLOB(2, struct unix_end, name, "unix_address.name"),
	FIELD_S(3, struct unix_end, dir, "unix_sock.path"),
	FIELD_U(4, struct unix_end, file_mode, "inode.i_mode"),
	FIELD_U(5, struct unix_end, file_uid, "inode.i_uid"),
	FIELD_U(6, struct unix_end, file_gid, "inode.i_gid"),
	FIELD_U(7, struct unix_end, unlinked, ""),
	FIELD_U(8, struct unix_end, cred_pid, "sock.sk_peer_pid"),
	FIELD_U(9, struct unix_end, cred_uid, "sock.sk_peer_cred"),
	FIELD_U(10, struct unix_end, cred_gid, "sock.sk_peer_cred"),
	FIELD_U(11, struct unix_end, mode, "inode.i_mode"),
	FIELD_U(12, struct unix_end, uid, "sock.sk_uid"),
	FIELD_U(13, struct unix_end, gid, "inode.i_gid"),
	FIELD_U(14, struct unix_end, backlog, "sock.sk_max_ack_backlog"),
	FIELD_S(15, struct unix_end, real, "unix_sock.path"),
	INODE_FIELDS(16, struct unix_end, real_inode),
	FIELDS_END,
};

static const struct field message_fields[] = {
	FIELD_BLOB(1, struct unix_message, data, "sk_buff.data"),
	FIELD_BLOB(2, struct unix_message, name, "unix_address.name"),
	FIELD_U(3, struct unix_message, pid, "unix_skb_parms.pid"),
	FIELD_U(4, struct unix_message, uid, "unix_skb_parms.uid"),
	FIELD_U(5, struct unix_message, gid, "unix_skb_parms.gid"),
	FIELDS_END,
};

static const struct field client_fields[] = {
	FIELD_U(1, struct unix_client, ino, "inode.i_ino"),
	FIELD_U(2, struct unix_client, pid, "sock.sk_peer_pid"),
	FIELD_U(3, struct unix_client, uid, "sock.sk_peer_cred"),
	FIELD_U(4, struct unix_client, gid, "sock.sk_peer_cred"),
	FIELDS_END,
};

static const struct flag halves[] = {
	{ 1, "RCV" },
	{ 2, "SEND" },
	{ 0 },
};

static const struct field fields[] = {
	FIELD_U(1, struct unix_sock, role, ""),
	FIELD_U(2, struct unix_sock, type, "sock.sk_type"),
	FIELD_B(3, struct unix_sock, flags, "file.f_flags", openfile_flags),
	FIELD_B(4, struct unix_sock, shutdown, "sock.sk_shutdown", halves),
	FIELD_U(5, struct unix_sock, peer_gone, ""),
	FIELD_U(6, struct unix_sock, reset, "sock.sk_err"),
	FIELD_A(7, struct unix_sock, ends, "unix_sock.peer", end_fields, struct unix_end),
	FIELD_BLOB(8, struct unix_sock, remote, "unix_address.name"),
	FIELD_A(9, struct unix_sock, messages, "sock.sk_receive_queue", message_fields, struct unix_message),
	FIELD_A(10, struct unix_sock, options, "sock", sockopt_fields, struct sockopt),
	FIELD_A(11, struct unix_sock, pending, "sock.sk_receive_queue", client_fields, struct unix_client),
	FIELDS_END,
};

/* ---- saving ---- */

static int unix_check(struct op *op, const struct sight *s)
{
	struct unix_sock u = { 0 };
	int locks = openfile_check_locks(op, s, true);
	int flags = openfile_check_flags(op, s, FLAGS);

	if (flags < 0)
		return flags;
	int r = unix_look(op, s, &u);
	return r < 0 ? r : locks;
}

static int unix_ask_fd(struct op *op, const struct sight *s, void *rec)
{
	return s->tree->is_check ? 0 : unix_ask(op, s, rec);
}

static int unix_save(struct op *op, const struct sight *s, void *rec)
{
	struct unix_sock *u = rec;
	size_t told = op->notes.n; /* by unix_check() */
	int r = unix_look(op, s, u);

	op->notes.n = told;
	if (r < 0)
		return r;
	_cleanup_close_ int fd = openfile_take(s);
	_cleanup_close_ int fresh = socket(AF_UNIX, (int)u->type | SOCK_CLOEXEC, 0);
	if (fd < 0 || fresh < 0)
		return fail(op, fd < 0 ? fd : -errno, "examine a socket");
	r = sockopt_save(op, fd, fresh, &u->options);
	if (r < 0 || s->tree->is_check)
		return r;
	r = unix_read(op, s, u);
	return r < 0 ? r : unix_verify(op, u);
}

/* ---- restarting ---- */

static bool is_type(uint32_t type)
{
	return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET;
}

static bool makes_sense(const struct unix_sock *u)
{
	const struct unix_end *e = u->ends.at;

	if (!is_type(u->type) || u->role >= UNIX_ROLES || u->ends.n != UNIX_ENDS || !e[UNIX_SELF].ino ||
		u->flags & ~(FLAGS | O_ACCMODE) || (u->flags & O_ACCMODE) != O_RDWR)
		return false;
	for (size_t i = 0; i < UNIX_ENDS; i++)
		if (e[i].name.n > UNIX_NAME_MAX || e[i].cred_pid > INT32_MAX || e[i].backlog > INT32_MAX ||
			(e[i].dir && e[i].dir[0] != '/'))
			return false;
	bool met = u->role == UNIX_CLIENT || u->role == UNIX_SERVER || u->role == UNIX_PENDING;
	if ((met && !e[UNIX_LISTENER].name.n) || (u->role == UNIX_LISTEN && !e[UNIX_SELF].name.n) ||
		u->remote.n > UNIX_NAME_MAX || u->pending.n > (size_t)e[UNIX_SELF].backlog + 1)
		return false;
	if (u->role == UNIX_PAIR || u->role == UNIX_CLIENT || u->role == UNIX_SERVER)
		return u->peer_gone || (e[UNIX_PEER].ino && e[UNIX_PEER].ino != e[UNIX_SELF].ino);
	return true;
}

static int unix_restore(struct op *op, void *rec, struct site *site)
{
	struct unix_sock *u = rec;

	if (!makes_sense(u))
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "make a socket from the image");
	_cleanup_close_ int fd = unix_make(op, u, site);
	if (fd < 0)
		return fd;
	int r = openfile_set_status(fd, u->flags);
	return r < 0 ? fail(op, r, "set the status flags of a socket") : TAKE_FD(fd);
}

static int unix_link(struct op *op, void *rec, struct site *site)
{
	if (site->batch) /* the turn of one process: this concerns none alone */
		return 0;
	int r = unix_fill(op, rec, site);
	return r < 0 ? r : unix_await(op, rec, site);
}

static int unix_settle(struct op *op, void *rec, struct site *site)
{
	return unix_finish(op, rec, site);
}

static void unix_describe(const void *rec, FILE *out)
{
	static const char *const roles[UNIX_ROLES] = { "socket", "listening socket", "end of a pair", "client",
		"server", "client not yet accepted", "connected socket" };
	const struct unix_sock *u = rec;
	const struct unix_end *e = u->ends.at;
	char name[UNIX_NAME_MAX + 1] = { 0 };

	fprintf(out, "%s %s",
		u->type == SOCK_STREAM	? "stream"
		: u->type == SOCK_DGRAM ? "datagram"
					: "packet",
		u->role < UNIX_ROLES ? roles[u->role] : "?");
	if (u->ends.n && e->name.n && e->name.n <= UNIX_NAME_MAX) {
		const char *bytes = e->name.at;
		for (size_t i = 0; i < e->name.n; i++)
			name[i] = bytes[i] || i + 1 == e->name.n ? bytes[i] : '@';
		fputs(" at ", out);
		print_quoted(out, name);
	}
	if (u->messages.n)
		fprintf(out, " with %zu messages in it", u->messages.n);
}

const struct kind kind_fd_unix = {
	.name = "unix",
	.tag = 0x70,
	.scope = SCOPE_FD,
	.size = sizeof(struct unix_sock),
	.fields = fields,
	.probe = unix_is_ours,
	.check = unix_check,
	.ask = unix_ask_fd,
	.save = unix_save,
	.restore = unix_restore,
	.link = unix_link,
	.settle = unix_settle,
	.describe = unix_describe,
};
