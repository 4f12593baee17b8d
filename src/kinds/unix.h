/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The record of a unix socket, which is seen (unix_look.c), read (unix_queue.c) and made again (unix_make.c).
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kinds/inode.h"
#include "kinds/kind.h"

/** enum unix_role - what made the socket what it is */
enum unix_role {
	UNIX_ALONE, /* socket(2), perhaps bind(2) */
	UNIX_LISTEN,
	UNIX_PAIR, /* socketpair(2) */
	UNIX_CLIENT, /* connect(2) */
	UNIX_SERVER, /* accept(2) */
	UNIX_PENDING, /* connect(2), and not yet accepted */
	UNIX_ONEWAY, /* connect(2) of a datagram socket */
	UNIX_ROLES,
};

/** struct unix_end - a socket, as far as others have to know it to make it */
struct unix_end {
	uint64_t ino; /* 0: no socket of the program */
	struct span name; /* bytes of sun_path; empty: not bound */
	const char *dir; /* of a relative path: where it starts */
	const char *
		real; /* of a path that leads to it: the directory that it is in, without symbolic links; NULL: not known */
	struct inode real_inode;
	uint32_t file_mode, file_uid, file_gid; /* of a path */
	bool unlinked; /* no path leads to it any more */
	uint32_t cred_pid, cred_uid, cred_gid; /* SO_PEERCRED as it shows it, the pid as the program counts; 0: none */
	uint32_t mode, uid, gid; /* fstat(2) */
	uint32_t backlog;
};

/** struct unix_message - something in the queue; of a stream as much as has one sender */
struct unix_message {
	struct span data;
	struct span name; /* of its sender */
	uint32_t pid, uid, gid; /* SCM_CREDENTIALS, where the receiver asks for them; pid 0: none */
	bool goes_on; /* only while it is read: the next piece belongs to it */
};

/** struct unix_client - who waits to be accepted, and whom SO_PEERCRED of the accepted socket will name */
struct unix_client {
	uint64_t ino;
	uint32_t pid, uid, gid;
};

struct unix_sock {
	uint32_t role; /* enum unix_role */
	uint32_t type; /* SOCK_* */
	uint32_t flags;
	uint32_t shutdown; /* 1: does not receive, 2: does not send */
	bool peer_gone;
	bool reset; /* the peer went without having read all: an error that was not yet reported */
	struct span ends; /* of struct unix_end, UNIX_ENDS of them */
	struct span remote; /* getpeername(2): of one without a peer in the program */
	struct span messages; /* of struct unix_message */
	struct span options; /* of struct sockopt */
	struct span pending; /* of struct unix_client: of one that listens, in order */
	uint32_t waiting; /* bytes, only while it is saved */
	bool asked; /* likewise */
};

enum {
	UNIX_SELF,
	UNIX_PEER,
	UNIX_LISTENER, /* where client and server met */
	UNIX_ENDS,
};

#define UNIX_NAME_MAX 108

/** unix_is_ours() - is it an AF_UNIX socket that is no standard stream to the outside? */
bool unix_is_ours(const struct sight *s);

/** unix_look() - fill @u but for its queue; refuse() what cannot be kept */
int unix_look(struct op *op, const struct sight *s, struct unix_sock *u);

/** unix_ask() - read a queue that only the program itself can read without harm: messages, and who sent what */
int unix_ask(struct op *op, const struct sight *s, struct unix_sock *u);

/** unix_read() - read the queue if unix_ask() had no need to */
int unix_read(struct op *op, const struct sight *s, struct unix_sock *u);

/** unix_verify() - fail if there is more in the queue than was read */
int unix_verify(struct op *op, const struct unix_sock *u);

/** unix_make() - a descriptor of the socket, and in slots what others need of it */
int unix_make(struct op *op, const struct unix_sock *u, struct site *site);

/** unix_fill() - put the messages back into its queue, once all sockets exist */
int unix_fill(struct op *op, const struct unix_sock *u, struct site *site);

/** unix_await() - have those that wait to be accepted connect again */
int unix_await(struct op *op, const struct unix_sock *u, struct site *site);

/** unix_finish() - what comes when all queues are full again: one-way connections, shutdown(2), the end of peers */
int unix_finish(struct op *op, const struct unix_sock *u, struct site *site);

/** unix_self() and so on - the slots: descriptors here under the inode in the image */
int *unix_self(struct op *op, struct site *site, uint64_t ino);
int *unix_lost_peer(struct op *op, struct site *site, uint64_t ino); /* of a peer that will be gone */

/** unix_named() - the slot of the socket bound to @name */
int *unix_named(struct op *op, struct site *site, const struct span *name);

/** unix_address() - the address @name; 0 when it is too long, else its length */
socklen_t unix_address(const struct span *name, struct sockaddr_un *ret);

/** unix_file() - the file that the socket @fd is bound to, whether a path leads to it or not (O_PATH); -EPERM: without CAP_NET_ADMIN */
int unix_file(int fd);

enum unix_place {
	UNIX_ELSEWHERE,
	UNIX_PERHAPS, /* without CAP_NET_ADMIN: the inode has the same number, the device another one; or nobody knows */
	UNIX_THERE,
};

/** unix_is_at() - is @st the file that the socket @fd is bound to, which sock_diag(7) shows as @u (NULL: it is asked)? */
enum unix_place unix_is_at(struct op *op, int fd, const struct proc_unix *u, const struct stat *st);

/** unix_by_file() - the address by which a connection, or message, goes to whoever is bound to the file at @fd (O_PATH); its length */
socklen_t unix_by_file(int fd, struct sockaddr_un *ret);

/** unix_absolute() - the path at @un, from where paths of @e start */
const char *unix_absolute(struct op *op, const struct unix_end *e, const struct sockaddr_un *un);

/** unix_at_directory() - run @what at the directory where the path of @e starts */
int unix_at_directory(struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un,
	socklen_t len, uint32_t type, int fd,
	int (*what)(struct op *, struct site *, const struct unix_end *, const struct sockaddr_un *, socklen_t,
		uint32_t, int));

/** unix_bind() - bind @fd as @e was, if it is not bound yet */
int unix_bind(struct op *op, struct site *site, const struct unix_end *e, uint32_t type, int fd);

/** unix_temporary() - a socket bound to an abstract @name for a moment; -errno */
int unix_temporary(uint32_t type, const struct span *name);

/** struct unix_goal - a name to which something is sent */
struct unix_goal {
	struct sockaddr_un un;
	socklen_t len; /* 0: whoever is the peer */
	const char *dir; /* where a relative path starts */
};

/** unix_send_inside() - have process @t send message @m by the socket @from; 0 or -errno */
int unix_send_inside(
	struct op *op, const struct site_task *t, int from, const struct unix_message *m, const struct unix_goal *to);

/** unix_shown() - a name for people */
const char *unix_shown(struct op *op, const struct span *name);
