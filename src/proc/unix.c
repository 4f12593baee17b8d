/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets of unix(7), which nothing in /proc joins to their peers: sock_diag(7), in our own network namespace.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "proc/proc.h"

#define STATE_LISTEN 10 /* TCP_LISTEN of the kernel */
#define SHOW_ALL     (UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN)

struct request {
	struct nlmsghdr head;
	struct unix_diag_req diag;
};

static int ask(int *ret_fd, uint32_t ino, uint32_t states, uint32_t show, bool dump)
{
	struct request q = {
		.head = { .nlmsg_len = sizeof(q),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0)) },
		.diag = { .sdiag_family = AF_UNIX,
			.udiag_states = states,
			.udiag_ino = ino,
			.udiag_show = show,
			.udiag_cookie = { UINT32_MAX, UINT32_MAX } },
	};
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		return -errno;
	if (sendto(fd, &q, sizeof(q), 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void read_attribute(struct arena *a, unsigned int type, const void *data, size_t len, struct proc_unix *u)
{
	struct unix_diag_rqlen lengths;
	struct unix_diag_vfs file;

	switch (type) {
	case UNIX_DIAG_NAME:
		u->name = (struct span){ .at = arena_dup(a, data, len), .n = len };
		break;
	case UNIX_DIAG_VFS:
		if (len < sizeof(file))
			break;
		memcpy(&file, data, sizeof(file));
		u->has_file = true;
		u->file_ino = file.udiag_vfs_ino;
		u->file_dev =
			makedev(file.udiag_vfs_dev >> 20, file.udiag_vfs_dev & 0xfffff); /* as the kernel has it */
		break;
	case UNIX_DIAG_PEER:
		if (len < sizeof(u->peer))
			break;
		memcpy(&u->peer, data, sizeof(u->peer));
		u->has_peer = true;
		break;
	case UNIX_DIAG_ICONS:
		u->pending = (struct span){ .at = arena_dup(a, data, len), .n = len / sizeof(uint32_t) };
		break;
	case UNIX_DIAG_RQLEN:
		if (len < sizeof(lengths))
			break;
		memcpy(&lengths, data, sizeof(lengths));
		u->received = lengths.udiag_rqueue;
		u->sent = lengths.udiag_wqueue;
		break;
	case UNIX_DIAG_SHUTDOWN:
		if (len)
			u->shutdown = *(const unsigned char *)data;
		break;
	default:
		break;
	}
}

static int read_message(struct arena *a, const struct nlmsghdr *h, struct proc_unix *ret)
{
	const unsigned char *at = (const unsigned char *)h + NLMSG_HDRLEN,
			    *end = (const unsigned char *)h + h->nlmsg_len;
	struct unix_diag_msg m;
	struct nlattr attr;

	if ((size_t)(end - at) < sizeof(m))
		return -EBADMSG;
	memcpy(&m, at, sizeof(m));
	*ret = (struct proc_unix){ .ino = m.udiag_ino, .type = m.udiag_type, .listens = m.udiag_state == STATE_LISTEN };
	at += NLA_ALIGN(sizeof(m));
	while ((size_t)(end - at) >= sizeof(attr)) {
		memcpy(&attr, at, sizeof(attr));
		if (attr.nla_len < NLA_HDRLEN || attr.nla_len > (size_t)(end - at))
			return -EBADMSG;
		read_attribute(
			a, attr.nla_type & NLA_TYPE_MASK, at + NLA_HDRLEN, attr.nla_len - (size_t)NLA_HDRLEN, ret);
		if (NLA_ALIGN((size_t)attr.nla_len) >= (size_t)(end - at))
			break;
		at += NLA_ALIGN((size_t)attr.nla_len);
	}
	return 0;
}

/* the sockets of one datagram of the kernel, appended to @ret; 1: there may be more, 0: that was the last, or -errno */
static int read_answer(struct arena *a, int fd, struct span *ret)
{
	_Alignas(struct nlmsghdr) unsigned char
		buf[1u << 16]; /* not of the arena: there is one for each look at a socket */
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_TRUNC);

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if ((size_t)n > sizeof(buf))
		return -EMSGSIZE;
	for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *e = NLMSG_DATA(h);

			return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) || e->error >= 0 ? -EBADMSG : e->error;
		}
		int r = read_message(a, h, span_push(a, ret, sizeof(struct proc_unix)));
		if (r < 0 || !(h->nlmsg_flags & NLM_F_MULTI))
			return r;
	}
	return 1;
}

int proc_unix_read(struct arena *a, uint64_t ino, struct proc_unix *ret)
{
	struct span all = { 0 };
	int r, fd = -EBADF;

	if (!ino || ino > UINT32_MAX)
		return -ENOENT;
	r = ask(&fd, (uint32_t)ino, UINT32_MAX, SHOW_ALL, false);
	while (r == 0 && (r = read_answer(a, fd, &all)) > 0)
		r = 0;
	fd_closep(&fd);
	if (r == 0 && all.n != 1)
		r = -EBADMSG;
	if (r == 0)
		*ret = *(struct proc_unix *)all.at;
	return r;
}

static int list(struct arena *a, uint32_t states, uint32_t show, struct span *ret)
{
	struct span all = { 0 };
	int fd = -EBADF, r = ask(&fd, 0, states, show, true);

	if (r == 0)
		do
			r = read_answer(a, fd, &all);
		while (r > 0);
	fd_closep(&fd);
	if (r == 0)
		*ret = all;
	return r;
}

int proc_unix_all(struct arena *a, struct span *ret)
{
	return list(a, UINT32_MAX, SHOW_ALL, ret);
}

int proc_unix_listeners(struct arena *a, struct span *ret)
{
	return list(a, 1u << STATE_LISTEN, UDIAG_SHOW_NAME, ret);
}
