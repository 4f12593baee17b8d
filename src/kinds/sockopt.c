/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/sockopt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kinds/openfile.h"

/* asm-generic/socket.h; the headers of older systems lack the later ones */
enum {
	OPT_DEBUG = 1,
	OPT_REUSEADDR = 2,
	OPT_DONTROUTE = 5,
	OPT_BROADCAST = 6,
	OPT_SNDBUF = 7,
	OPT_RCVBUF = 8,
	OPT_KEEPALIVE = 9,
	OPT_OOBINLINE = 10,
	OPT_NO_CHECK = 11,
	OPT_PRIORITY = 12,
	OPT_LINGER = 13,
	OPT_REUSEPORT = 15,
	OPT_PASSCRED = 16,
	OPT_RCVLOWAT = 18,
	OPT_RCVTIMEO = 20,
	OPT_SNDTIMEO = 21,
	OPT_GET_FILTER = 26,
	OPT_TIMESTAMP = 29,
	OPT_SNDBUFFORCE = 32,
	OPT_RCVBUFFORCE = 33,
	OPT_PASSSEC = 34,
	OPT_TIMESTAMPNS = 35,
	OPT_MARK = 36,
	OPT_TIMESTAMPING = 37,
	OPT_RXQ_OVFL = 40,
	OPT_WIFI_STATUS = 41,
	OPT_PEEK_OFF = 42,
	OPT_NOFCS = 43,
	OPT_LOCK_FILTER = 44,
	OPT_SELECT_ERR_QUEUE = 45,
	OPT_BUSY_POLL = 46,
	OPT_MAX_PACING_RATE = 47,
	OPT_INCOMING_CPU = 49,
	OPT_ZEROCOPY = 60,
	OPT_TXTIME = 61,
	OPT_BINDTOIFINDEX = 62,
	OPT_TIMESTAMP_NEW = 63,
	OPT_TIMESTAMPNS_NEW = 64,
	OPT_TIMESTAMPING_NEW = 65,
	OPT_PREFER_BUSY_POLL = 69,
	OPT_BUF_LOCK = 72,
	OPT_RESERVE_MEM = 73,
	OPT_TXREHASH = 74,
	OPT_RCVMARK = 75,
	OPT_PASSPIDFD = 76,
	OPT_PASSRIGHTS = 83,
	OPT_INQ = 84,
};

#define VALUE_MAX 16

static const struct {
	uint32_t name;
	const char *word;
} known[] = {
	/* the buffers first: the lock says how they were set */
	{ OPT_SNDBUF, "SO_SNDBUF" },
	{ OPT_RCVBUF, "SO_RCVBUF" },
	{ OPT_BUF_LOCK, "SO_BUF_LOCK" },
	{ OPT_DEBUG, "SO_DEBUG" },
	{ OPT_REUSEADDR, "SO_REUSEADDR" },
	{ OPT_DONTROUTE, "SO_DONTROUTE" },
	{ OPT_BROADCAST, "SO_BROADCAST" },
	{ OPT_KEEPALIVE, "SO_KEEPALIVE" },
	{ OPT_OOBINLINE, "SO_OOBINLINE" },
	{ OPT_NO_CHECK, "SO_NO_CHECK" },
	{ OPT_PRIORITY, "SO_PRIORITY" },
	{ OPT_LINGER, "SO_LINGER" },
	{ OPT_REUSEPORT, "SO_REUSEPORT" },
	{ OPT_PASSCRED, "SO_PASSCRED" },
	{ OPT_RCVLOWAT, "SO_RCVLOWAT" },
	{ OPT_RCVTIMEO, "SO_RCVTIMEO" },
	{ OPT_SNDTIMEO, "SO_SNDTIMEO" },
	{ OPT_TIMESTAMP, "SO_TIMESTAMP" },
	{ OPT_PASSSEC, "SO_PASSSEC" },
	{ OPT_TIMESTAMPNS, "SO_TIMESTAMPNS" },
	{ OPT_MARK, "SO_MARK" },
	{ OPT_TIMESTAMPING, "SO_TIMESTAMPING" },
	{ OPT_RXQ_OVFL, "SO_RXQ_OVFL" },
	{ OPT_WIFI_STATUS, "SO_WIFI_STATUS" },
	{ OPT_PEEK_OFF, "SO_PEEK_OFF" },
	{ OPT_NOFCS, "SO_NOFCS" },
	{ OPT_LOCK_FILTER, "SO_LOCK_FILTER" },
	{ OPT_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE" },
	{ OPT_BUSY_POLL, "SO_BUSY_POLL" },
	{ OPT_MAX_PACING_RATE, "SO_MAX_PACING_RATE" },
	{ OPT_INCOMING_CPU, "SO_INCOMING_CPU" },
	{ OPT_ZEROCOPY, "SO_ZEROCOPY" },
	{ OPT_TXTIME, "SO_TXTIME" },
	{ OPT_BINDTOIFINDEX, "SO_BINDTOIFINDEX" },
	{ OPT_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW" },
	{ OPT_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW" },
	{ OPT_TIMESTAMPING_NEW, "SO_TIMESTAMPING_NEW" },
	{ OPT_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL" },
	{ OPT_RESERVE_MEM, "SO_RESERVE_MEM" },
	{ OPT_TXREHASH, "SO_TXREHASH" },
	{ OPT_RCVMARK, "SO_RCVMARK" },
	{ OPT_PASSPIDFD, "SO_PASSPIDFD" },
	{ OPT_PASSRIGHTS, "SO_PASSRIGHTS" },
	{ OPT_INQ, "SO_INQ" },
};

const struct field sockopt_fields[] = {
	FIELD_U(1, struct sockopt, name, ""),
	FIELD_BLOB(2, struct sockopt, value, "sock"),
	FIELDS_END,
};

int sockopt_int(int fd, int name, int fallback)
{
	int value = fallback;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 || len != sizeof(value) ? fallback : value;
}

/* ---- for people ---- */

static const char *word_for(int domain, int type)
{
	if (domain == AF_INET || domain == AF_INET6)
		return type == SOCK_STREAM ? "a TCP socket" : type == SOCK_DGRAM ? "a UDP socket" : "a raw socket";
	return domain == AF_NETLINK ? "a netlink socket" : domain == AF_PACKET ? "a packet socket" : "a network socket";
}

const char *fd_in_words(struct op *op, const struct sight *s)
{
	if (!s->fd->has_stat || !S_ISSOCK(s->fd->mode) || s->fd->flags & O_PATH)
		return s->fd->link;
	_cleanup_close_ int fd = openfile_take(s);
	int domain = fd < 0 ? AF_UNSPEC : sockopt_int(fd, SO_DOMAIN, AF_UNSPEC);
	if (domain == AF_UNSPEC || domain == AF_UNIX)
		return s->fd->link;
	return arena_printf(&op->arena, "%s (%s)", word_for(domain, sockopt_int(fd, SO_TYPE, 0)), s->fd->link);
}

/* ---- saving ---- */

int sockopt_check(struct op *op, int fd)
{
	socklen_t len = 0;

	/* with no room for it, the length of a filter of the old kind; of a new one, -EACCES */
	if (getsockopt(fd, SOL_SOCKET, OPT_GET_FILTER, NULL, &len) < 0 ? errno != ENOPROTOOPT : len != 0)
		return refuse(op, "socket-filter", NULL, "detach it (SO_DETACH_FILTER)", "is a socket with a filter");
	return 0;
}

static bool is_buffer(uint32_t name)
{
	return name == OPT_SNDBUF || name == OPT_RCVBUF || name == OPT_BUF_LOCK;
}

int sockopt_save(struct op *op, int fd, int fresh, struct span *ret)
{
	*ret = (struct span){ 0 };
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		unsigned char value[VALUE_MAX] = { 0 }, usual[VALUE_MAX] = { 0 };
		socklen_t len = sizeof(value), usual_len = sizeof(usual);

		if (getsockopt(fd, SOL_SOCKET, (int)known[i].name, value, &len) < 0) {
			if (errno == ENOPROTOOPT || errno == EOPNOTSUPP)
				continue;
			return fail(op, -errno, "read %s of a socket", known[i].word);
		}
		if (!is_buffer(known[i].name) &&
			getsockopt(fresh, SOL_SOCKET, (int)known[i].name, usual, &usual_len) == 0 && len == usual_len &&
			memcmp(value, usual, len) == 0)
			continue;
		struct sockopt *o = span_push(&op->arena, ret, sizeof(*o));
		*o = (struct sockopt){ known[i].name, { .at = arena_dup(&op->arena, value, len), .n = len } };
	}
	return 0;
}

/* ---- restarting ---- */

static const char *word_of(uint32_t name)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].name == name)
			return known[i].word;
	return NULL;
}

/* getsockopt(2) tells twice what was set */
static int set_buffer(int fd, int by_force, int by_right, int size)
{
	int half = size / 2;

	if (setsockopt(fd, SOL_SOCKET, by_force, &half, sizeof(half)) == 0)
		return 0;
	return setsockopt(fd, SOL_SOCKET, by_right, &half, sizeof(half)) < 0 ? -errno : 0;
}

static int set_option(int fd, const struct sockopt *o)
{
	unsigned char now[VALUE_MAX];
	socklen_t len = sizeof(now);
	int value = 0;

	if (getsockopt(fd, SOL_SOCKET, (int)o->name, now, &len) == 0 && len == o->value.n &&
		memcmp(now, o->value.at, len) == 0)
		return 0;
	if (is_buffer(o->name) && o->value.n != sizeof(value))
		return -EINVAL;
	if (is_buffer(o->name))
		memcpy(&value, o->value.at, sizeof(value));
	if (o->name == OPT_SNDBUF)
		return set_buffer(fd, OPT_SNDBUFFORCE, OPT_SNDBUF, value);
	if (o->name == OPT_RCVBUF)
		return set_buffer(fd, OPT_RCVBUFFORCE, OPT_RCVBUF, value);
	return setsockopt(fd, SOL_SOCKET, (int)o->name, o->value.at, (socklen_t)o->value.n) < 0 ? -errno : 0;
}

int sockopt_restore(struct op *op, int fd, const struct span *options)
{
	const struct sockopt *o = options->at;

	for (size_t i = 0; i < options->n; i++) {
		const char *word = word_of(o[i].name);
		unsigned char now[VALUE_MAX];
		socklen_t len = sizeof(now);

		if (!word || !o[i].value.n || o[i].value.n > VALUE_MAX)
			return fail_as(op, OUTCOME_IMAGE, "image", NULL, "set option %u of a socket", o[i].name);
		int r = set_option(fd, &o[i]);
		bool same = r == 0 && getsockopt(fd, SOL_SOCKET, (int)o[i].name, now, &len) == 0 &&
			    len == o[i].value.n && memcmp(now, o[i].value.at, len) == 0;
		if (!same)
			note(op, "%s of a socket is not what it was: %s", word,
				r < 0 ? strerror(-r) : "the limits here are lower");
	}
	return 0;
}

void sockopt_widen(int fd)
{
	set_buffer(fd, OPT_SNDBUFFORCE, OPT_SNDBUF, INT_MAX / 2);
}
