/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a unix socket is, who its peer is, and how the two came together.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/openfile.h"
#include "kinds/outsiders.h"
#include "kinds/sockets.h"
#include "kinds/sockopt.h"
#include "kinds/unix.h"

/* ---- whose is it ---- */

static bool is_unix(const struct sight *s)
{
	if (!s->fd->has_stat || !S_ISSOCK(s->fd->mode) || s->fd->flags & O_PATH)
		return false;
	_cleanup_close_ int fd = openfile_take(s);
	return fd >= 0 && sockopt_int(fd, SO_DOMAIN, -1) == AF_UNIX;
}

static bool holds(const struct sight *s, uint32_t ino)
{
	size_t n;

	return ino && tree_holders(s->tree, s->fd->dev, ino, &n);
}

/*
 * A standard stream whose peer is elsewhere belongs to where the program was started; so does one of the first process
 * whose peer has gone. Without unix_diag, a stream is taken for one to the outside.
 */
static bool leads_outside(const struct sight *s)
{
	struct arena scratch;
	struct proc_unix u = { 0 };
	struct process *const *first = s->tree->processes.at;

	if (!openfile_stdio(s))
		return false;
	arena_init(&scratch);
	int r = proc_unix_read(&scratch, s->fd->st_ino, &u);
	arena_done(&scratch);
	if (r < 0)
		return true;
	if (u.listens || !u.has_peer || holds(s, u.peer))
		return false;
	return u.peer || (s->process == *first && s->fd->n <= 2);
}

bool unix_is_ours(const struct sight *s)
{
	return is_unix(s) && !leads_outside(s);
}

/* ---- names ---- */

const char *unix_shown(struct op *op, const struct span *name)
{
	const char *at = name->at;

	if (!name->n)
		return "a socket without a name";
	if (at[0])
		return quoted(&op->arena, arena_strndup(&op->arena, at, strnlen(at, name->n)));
	char *text = arena_strndup(&op->arena, at + 1, name->n - 1);
	for (size_t i = 0; i + 1 < name->n; i++)
		text[i] = text[i] ? text[i] : '@';
	return arena_printf(&op->arena, "\"@%s\"", shown(&op->arena, text));
}

static bool is_path(const struct span *name)
{
	return name->n && *(const char *)name->at;
}

static bool same_name(const struct span *a, const struct span *b)
{
	return a->n == b->n && (!a->n || memcmp(a->at, b->at, a->n) == 0);
}

static int get_name(struct op *op, int fd, bool peer, struct span *ret)
{
	struct sockaddr_storage room = { 0 };
	socklen_t len = sizeof(room);
	const struct sockaddr_un *un = (const void *)&room;
	int r = peer ? getpeername(fd, (struct sockaddr *)&room, &len)
		     : getsockname(fd, (struct sockaddr *)&room, &len);

	*ret = (struct span){ 0 };
	if (r < 0)
		return peer && errno == ENOTCONN ? 0 : -errno;
	if (len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof(*un) + 1)
		return 0;
	ret->n = len - offsetof(struct sockaddr_un, sun_path);
	ret->at = arena_dup(&op->arena, (const char *)&room + offsetof(struct sockaddr_un, sun_path), ret->n);
	return 0;
}

/* is it at @path, a link of /proc/PID and a path from there, and in which directory? The path may lead elsewhere by now */
static enum unix_place find_file(struct op *op, const struct sight *s, int fd, const struct proc_unix *u,
	const char *path, struct unix_end *e, struct stat *ret_st)
{
	const char *name = strrchr(path, '/') + 1, *dir = arena_strndup(&op->arena, path, (size_t)(name - path));
	char link[32], *real;
	struct inode inode;

	_cleanup_close_ int at = openat(s->process->dir, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || fstatat(at, name, ret_st, AT_SYMLINK_NOFOLLOW) < 0)
		return UNIX_ELSEWHERE;
	enum unix_place place = unix_is_at(op, fd, u, ret_st);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", at);
	if (place == UNIX_THERE && inode_look(at, &inode) == 0 && read_link(&op->arena, AT_FDCWD, link, &real) == 0 &&
		real[0] == '/') {
		e->real = real;
		e->real_inode = inode;
	}
	return place;
}

/* the file of a socket that is bound to a path, as the process sees it */
static int look_at_file(struct op *op, const struct sight *s, int fd, const struct proc_unix *u, struct unix_end *e)
{
	const char *path = arena_strndup(&op->arena, e->name.at, strnlen(e->name.at, e->name.n));
	struct stat st;
	char *link;

	int r = read_link(&op->arena, s->process->dir, "root", &link);
	if (r < 0 || strcmp(link, "/") != 0)
		return refuse(op, "unix-root", NULL, NULL, "is a socket bound to %s below another root directory",
			unix_shown(op, &e->name));
	if (path[0] != '/') {
		r = read_link(&op->arena, s->process->dir, "cwd", &link);
		if (r < 0)
			return fail(op, r, "read its working directory");
		e->dir = link;
	}
	const char *from = arena_printf(&op->arena, "%s/%s", path[0] == '/' ? "root" : "cwd", path);
	bool there = find_file(op, s, fd, u, from, e, &st) != UNIX_ELSEWHERE;
	if (!there && path[0] != '/')
		return refuse(op, "unix-path", "the process may have gone to another directory since",
			"bind it to an absolute path", "is a socket bound to %s, which does not lead to it",
			unix_shown(op, &e->name));
	e->unlinked = !there;
	e->file_mode = there ? st.st_mode & 0777 : 0777;
	e->file_uid = there ? st.st_uid : 0;
	e->file_gid = there ? st.st_gid : 0;
	return 0;
}

/* ---- ends ---- */

/* as the program counts; of a process that is none of it, the number that we see */
static uint32_t vpid_of(const struct tree *tree, pid_t pid)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++)
		if (p[i]->pid == pid)
			return (uint32_t)p[i]->vpid;
	return (uint32_t)pid;
}

static int fill_end(struct op *op, const struct sight *s, int fd, const struct proc_unix *u, struct unix_end *e)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	struct stat st;
	int r = get_name(op, fd, false, &e->name);

	if (r < 0 || fstat(fd, &st) < 0)
		return fail(op, r < 0 ? r : -errno, "examine a socket");
	e->ino = u->ino;
	e->mode = st.st_mode & 07777;
	e->uid = st.st_uid;
	e->gid = st.st_gid;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid > 0) {
		e->cred_pid = vpid_of(s->tree, cred.pid);
		e->cred_uid = cred.uid;
		e->cred_gid = cred.gid;
	}
	e->backlog = u->listens ? u->sent : 0;
	return is_path(&e->name) ? look_at_file(op, s, fd, u, e) : 0;
}

/* the end of the program that has the inode @ino; -ENOENT when none has */
static int find_end(struct op *op, const struct sight *s, uint32_t ino, struct proc_unix *ret_u, struct unix_end *ret)
{
	size_t n = 0;
	const struct holder *h = ino ? tree_holders(s->tree, s->fd->dev, ino, &n) : NULL;

	if (!h)
		return -ENOENT;
	struct sight other = { .tree = s->tree, .process = h->process, .fd = h->fd };
	_cleanup_close_ int fd = openfile_take(&other);
	int r = fd < 0 ? fd : sockets_find(op, s->tree, ino, ret_u);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	return fill_end(op, &other, fd, ret_u, ret);
}

/* ---- the way client and server met ---- */

struct meeting {
	struct span listeners; /* of struct proc_unix */
	size_t here, there; /* how many listen under our name, and under that of the peer */
};

static size_t count_listeners(const struct span *all, uint32_t type, const struct span *name)
{
	const struct proc_unix *l = all->at;
	size_t n = 0;

	for (size_t i = 0; name->n && i < all->n; i++)
		n += l[i].type == type && same_name(&l[i].name, name);
	return n;
}

static int find_listener(struct op *op, const struct sight *s, const struct unix_sock *u, const struct meeting *m,
	const struct span *name, struct unix_end *ret)
{
	const struct proc_unix *l = m->listeners.at;
	struct proc_unix seen;

	for (size_t i = 0; i < m->listeners.n; i++) {
		if (l[i].type != u->type || !same_name(&l[i].name, name) || !holds(s, l[i].ino))
			continue;
		int r = find_end(op, s, l[i].ino, &seen, ret);
		if (r != -ESTALE)
			return r < 0 && r != -EOPNOTSUPP ? fail(op, r, "examine a socket that listens") : r;
	}
	return -ENOENT;
}

static int look_for_meeting(struct op *op, const struct sight *s, struct unix_sock *u, const struct span *peer_name)
{
	struct unix_end *e = u->ends.at;
	struct meeting m = { 0 };
	bool server = e[UNIX_SELF].name.n != 0;

	u->role = UNIX_PAIR;
	if (!e[UNIX_SELF].name.n && !peer_name->n)
		return 0;
	int r = sockets_listeners(op, s->tree, &m.listeners);
	if (r < 0)
		return fail(op, r, "list the sockets that listen");
	m.here = count_listeners(&m.listeners, u->type, &e[UNIX_SELF].name);
	m.there = count_listeners(&m.listeners, u->type, peer_name);
	if (e[UNIX_SELF].name.n && peer_name->n && !m.here == !m.there)
		return refuse(op, "unix-names", "nobody listens under either name any more", NULL,
			"is a socket bound to %s and connected to %s: which of them was accepted cannot be seen",
			unix_shown(op, &e[UNIX_SELF].name), unix_shown(op, peer_name));
	if (e[UNIX_SELF].name.n && peer_name->n)
		server = m.here != 0;
	u->role = server ? UNIX_SERVER : UNIX_CLIENT;
	r = find_listener(op, s, u, &m, server ? &e[UNIX_SELF].name : peer_name, &e[UNIX_LISTENER]);
	if (r != -ENOENT)
		return r;
	/* it is gone, or none of the program: one that lasts only as long as this takes does, if the name is free */
	e[UNIX_LISTENER] = e[server ? UNIX_SELF : UNIX_PEER];
	e[UNIX_LISTENER].name = server ? e[UNIX_SELF].name : *peer_name;
	e[UNIX_LISTENER].ino = 0;
	e[UNIX_LISTENER].cred_pid = e[server ? UNIX_PEER : UNIX_SELF].cred_pid;
	e[UNIX_LISTENER].cred_uid = e[server ? UNIX_PEER : UNIX_SELF].cred_uid;
	e[UNIX_LISTENER].cred_gid = e[server ? UNIX_PEER : UNIX_SELF].cred_gid;
	return 0;
}

static int refuse_outside(struct op *op, const struct sight *s, uint32_t peer, const struct span *name)
{
	const char *who = outsider_of(op, s->tree, arena_printf(&op->arena, "socket:[%u]", peer));
	const char *bound = name->n ? arena_printf(&op->arena, "it is bound to %s", unix_shown(op, name)) : NULL;

	if (who)
		who = arena_printf(&op->arena, "%s%sit is held by %s", bound ? bound : "", bound ? ", and " : "", who);
	return refuse(op, "unix-outside", who ? who : bound, "close it, or checkpoint the process that holds both ends",
		"is a socket whose peer, socket %u, is outside of the program: \"%s\"", peer, s->fd->link);
}

/* connected, and the other end has no descriptor: it waits to be accepted by a socket of the program */
static int look_at_pending(struct op *op, const struct sight *s, struct unix_sock *u)
{
	struct unix_end *e = u->ends.at;
	struct meeting m = { 0 };
	struct proc_unix seen;
	bool waits = false;

	_cleanup_close_ int fd = openfile_take(s);
	int unread = 0, r = sockets_listeners(op, s->tree, &m.listeners);
	if (r == 0)
		r = find_listener(op, s, u, &m, &u->remote, &e[UNIX_LISTENER]);
	if (r == -ENOENT || r == -EOPNOTSUPP)
		return r == -ENOENT ? refuse_outside(op, s, 0, &u->remote) : r;
	if (r == 0)
		r = sockets_find(op, s->tree, e[UNIX_LISTENER].ino, &seen);
	if (r < 0)
		return fail(op, r, "find out who accepts it");
	for (size_t i = 0; i < seen.pending.n; i++)
		waits |= ((const uint32_t *)seen.pending.at)[i] == s->fd->st_ino;
	if (!waits)
		return refuse_outside(op, s, 0, &u->remote);
	if (fd < 0 || ioctl(fd, SIOCOUTQ, &unread) < 0 || unread)
		return refuse(op, "unix-pending", "nothing can read what the other end has not accepted yet",
			"try again when it has been accepted",
			"is a socket that has sent data on a connection that waits at %s", unix_shown(op, &u->remote));
	u->role = UNIX_PENDING;
	return 0;
}

static int look_at_stream(struct op *op, const struct sight *s, const struct proc_unix *d, struct unix_sock *u)
{
	struct unix_end *e = u->ends.at;
	struct proc_unix other = { 0 };

	if (!d->peer && (d->shutdown & 3) != 3)
		return look_at_pending(op, s, u);
	u->peer_gone = !d->peer;
	int r = u->peer_gone ? 0 : find_end(op, s, d->peer, &other, &e[UNIX_PEER]);
	if (r == -ENOENT)
		return refuse_outside(op, s, d->peer, &u->remote);
	if (r < 0)
		return r == -EOPNOTSUPP ? r : fail(op, r, "examine its peer");
	return look_for_meeting(op, s, u, u->peer_gone ? &u->remote : &e[UNIX_PEER].name);
}

static int look_at_dgram(struct op *op, const struct sight *s, const struct proc_unix *d, struct unix_sock *u)
{
	struct unix_end *e = u->ends.at;
	struct proc_unix other = { 0 };

	u->peer_gone = !d->peer;
	u->role = u->peer_gone && e->cred_pid ? UNIX_PAIR : UNIX_ONEWAY;
	int r = find_end(op, s, d->peer, &other, &e[UNIX_PEER]);
	if (r == -ENOENT && d->peer && !u->remote.n)
		return refuse_outside(op, s, d->peer, &u->remote);
	if (r == -ENOENT && is_path(&u->remote) && *(const char *)u->remote.at != '/')
		return refuse_outside(op, s, d->peer, &u->remote);
	if (r == -ENOENT) {
		if (d->peer)
			note(op, "a socket is connected anew to %s, which is outside of the program",
				unix_shown(op, &u->remote));
		return 0;
	}
	if (r < 0)
		return r == -EOPNOTSUPP ? r : fail(op, r, "examine its peer");
	if (other.has_peer && other.peer == d->ino && e->cred_pid)
		u->role = UNIX_PAIR;
	else if (e[UNIX_PEER].unlinked)
		return refuse(op, "unix-unlinked", NULL, NULL,
			"is a socket connected to %s, which no path leads to any more", unix_shown(op, &u->remote));
	return 0;
}

static int look_at_listener(struct op *op, const struct sight *s, const struct proc_unix *d, struct unix_sock *u)
{
	const uint32_t *ino = d->pending.at;
	size_t strangers = 0;

	u->role = UNIX_LISTEN;
	for (size_t i = 0; i < d->pending.n; i++) {
		size_t n = 0;
		const struct holder *h = ino[i] ? tree_holders(s->tree, s->fd->dev, ino[i], &n) : NULL;

		strangers += !h;
		if (!h)
			continue;
		/* who connected it is not shown: taken for whoever has it */
		struct unix_client *c = span_push(&op->arena, &u->pending, sizeof(*c));
		*c = (struct unix_client){ ino[i], (uint32_t)h->process->vpid, h->process->status.uid[1],
			h->process->status.gid[1] };
	}
	if (strangers)
		note(op,
			"%zu connections from outside of the program that wait to be accepted at %s are not in the "
			"image",
			strangers, unix_shown(op, &((struct unix_end *)u->ends.at)->name));
	return 0;
}

/* ---- what cannot be kept ---- */

static int refuse_rights(struct op *op, const struct sight *s)
{
	const char *const *line = s->fd->extra.at;

	for (size_t i = 0; i < s->fd->extra.n; i++)
		if (strncmp(line[i], "scm_fds: ", 9) == 0 && strcmp(line[i] + 9, "0") != 0)
			return refuse(op, "scm-rights", NULL, "try again when they have been received",
				"is a socket with %s descriptors under way to it", line[i] + 9);
	return 0;
}

static int refuse_queue(struct op *op, int fd, const struct unix_sock *u)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int mark = 0;
	char byte;

	if (!u->waiting && u->type == SOCK_STREAM)
		return 0;
	if (poll(&p, 1, 0) < 0 || (u->type != SOCK_STREAM && !(p.revents & POLLIN)))
		return 0;
	if (sockopt_int(fd, SO_PEEK_OFF, -1) >= 0)
		return refuse(op, "unix-peek-off", "reading its queue would move the offset",
			"set SO_PEEK_OFF to -1 before the checkpoint", "is a socket with an offset for MSG_PEEK");
	if (p.revents & POLLERR && (u->type != SOCK_STREAM || sockopt_int(fd, SO_PASSCRED, 0)))
		return refuse(op, "unix-error", "reading its queue would take the error away", NULL,
			"is a socket with an error that was not yet reported, and with messages");
	if (u->type == SOCK_STREAM && (recv(fd, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) >= 0 ||
					      (ioctl(fd, SIOCATMARK, &mark) == 0 && mark)))
		return refuse(op, "unix-oob", NULL, "try again when it has been read",
			"is a socket with urgent data (MSG_OOB) in its queue");
	return 0;
}

static int look_closer(struct op *op, const struct sight *s, int fd, struct proc_unix *d, struct unix_sock *u)
{
	struct pollfd p = { .fd = fd };
	int r = fill_end(op, s, fd, d, u->ends.at);

	if (r == 0)
		r = get_name(op, fd, true, &u->remote);
	if (r < 0)
		return r == -EOPNOTSUPP ? r : fail(op, r, "examine a socket");
	u->type = d->type;
	u->shutdown = d->shutdown & 3;
	u->waiting = d->listens ? 0 : d->received;
	u->reset = !d->listens && poll(&p, 1, 0) == 1 && p.revents & POLLERR;
	if (d->listens)
		return look_at_listener(op, s, d, u);
	r = refuse_queue(op, fd, u);
	int peer = !d->has_peer ? 0 : u->type == SOCK_DGRAM ? look_at_dgram(op, s, d, u) : look_at_stream(op, s, d, u);
	if (u->reset && !u->peer_gone && peer == 0)
		return refuse(op, "unix-error", NULL, NULL, "is a socket with an error that was not yet reported");
	return r < 0 ? r : peer;
}

static int refuse_namespace(struct op *op, const struct sight *s)
{
	struct stat own;
	uint64_t ino;

	if (proc_read_ns(s->process->dir, "net", &ino) < 0 || stat("/proc/self/ns/net", &own) < 0 || own.st_ino == ino)
		return 0;
	return refuse(
		op, "unix-netns", NULL, "run stasis in it (nsenter -n)", "is a socket in another network namespace");
}

int unix_look(struct op *op, const struct sight *s, struct unix_sock *u)
{
	struct proc_unix d = { 0 };
	int r = refuse_namespace(op, s);

	if (r < 0)
		return r;
	outsider_note(op, s, "socket");
	_cleanup_close_ int fd = openfile_take(s);
	if (fd < 0)
		return refuse(op, "fd-taken", strerror(-fd), NULL, "is a socket that cannot be examined");
	u->ends = (struct span){ .at = arena_array(&op->arena, UNIX_ENDS, sizeof(struct unix_end)), .n = UNIX_ENDS };
	u->flags = s->fd->flags;
	r = sockets_find(op, s->tree, s->fd->st_ino, &d);
	if (r == -ENOENT)
		return refuse(op, "unix-diag", "the kernel does not show it (unix_diag)", "modprobe unix_diag",
			"is a socket that cannot be examined");
	if (r < 0)
		return fail(op, r, "examine a socket");
	r = look_closer(op, s, fd, &d, u);
	int rights = refuse_rights(op, s), filter = sockopt_check(op, fd);
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	return rights < 0 ? rights : filter < 0 ? filter : r;
}
