/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/kcmp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>

#include "lib/witness.h"

static int stream[2], dgram[2], packet[2], half[2], tuned[2], creds[2], widow, broken, at_path, abstract, lone;
static int client, server, bound_client, bound_server, child_server, waiting_listener, waiting_client, relative;
static int log_server, log_client, log_other, autobound, unread;
static pid_t child;

static socklen_t address(struct sockaddr_un *un, const char *name)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	snprintf(un->sun_path, sizeof(un->sun_path), "%s", name);
	if (name[0] != '@')
		return sizeof(*un);
	un->sun_path[0] = 0;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
}

static void must(int ok)
{
	if (ok < 0)
		_exit(4);
}

static int made(int type, const char *name)
{
	struct sockaddr_un un;
	int fd = socket(AF_UNIX, type, 0);

	if (name)
		must(bind(fd, (struct sockaddr *)&un, address(&un, name)));
	return fd;
}

static int joined(int fd, const char *name)
{
	struct sockaddr_un un;

	must(connect(fd, (struct sockaddr *)&un, address(&un, name)));
	return fd;
}

static const char *abstract_name(const char *what)
{
	static char name[2][64];
	static int next;

	snprintf(name[++next % 2], sizeof(name[0]), "@witness-%s-%d", what, (int)getpid());
	return name[next % 2];
}

static void connect_child(void)
{
	joined(made(SOCK_STREAM, NULL), witness_path("listens"));
}

static void tune(int fd)
{
	const struct timeval two = { 2, 250000 };
	const struct linger linger = { 1, 7 };
	int on = 1, size = 40000, four = 4;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &two, sizeof(two));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &two, sizeof(two));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &four, sizeof(four));
	setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &four, sizeof(four));
	setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &four, sizeof(four));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_PASSSEC, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on));
}

static void make_pairs(void)
{
	static char much[150000] = "much";
	int on = 1, pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, stream));
	must(send(stream[0], "some ", 5, 0));
	must(send(stream[0], "data", 4, 0));
	must(send(stream[1], much, sizeof(much), 0));
	must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, dgram));
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, half));
	must(send(half[0], "last", 4, 0));
	must(shutdown(half[0], SHUT_WR));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, tuned));
	tune(tuned[0]);
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, creds));
	setsockopt(creds[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	widow = pair[0];
	must(send(pair[1], "from beyond", 11, 0));
	close(pair[1]);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	broken = pair[0];
	must(send(pair[0], "never read", 10, 0));
	close(pair[1]);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	unread = pair[1];
	must(send(pair[0], "one", 3, 0));
	must(send(pair[0], "two two", 7, 0));
	close(pair[0]);
}

static void make_named(void)
{
	struct sockaddr_un un;
	int on = 1;

	at_path = made(SOCK_STREAM, witness_path("listens"));
	must(listen(at_path, 5));
	chmod(witness_path("listens"), 0640);
	client = joined(made(SOCK_STREAM, NULL), witness_path("listens"));
	server = accept(at_path, NULL, NULL);
	must(send(client, "for the server", 14, 0));
	must(send(server, "for the client", 14, 0));
	child = witness_child(connect_child);
	child_server = accept(at_path, NULL, NULL);
	abstract = made(SOCK_SEQPACKET, abstract_name("listens"));
	must(listen(abstract, 1));
	bound_client = joined(made(SOCK_SEQPACKET, abstract_name("client")), abstract_name("listens"));
	bound_server = accept(abstract, NULL, NULL);
	waiting_listener = made(SOCK_STREAM, abstract_name("waits"));
	must(listen(waiting_listener, 3));
	waiting_client = joined(made(SOCK_STREAM, NULL), abstract_name("waits"));
	log_server = made(SOCK_DGRAM, witness_path("log"));
	log_client = joined(made(SOCK_DGRAM, NULL), witness_path("log"));
	log_other = made(SOCK_DGRAM, abstract_name("other"));
	must(chdir(witness_dir));
	relative = made(SOCK_DGRAM, "relative");
	lone = made(SOCK_STREAM, NULL);
	autobound = socket(AF_UNIX, SOCK_DGRAM, 0);
	setsockopt(autobound, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	must(bind(autobound, (struct sockaddr *)&un, (address(&un, "@"), offsetof(struct sockaddr_un, sun_path))));
}

static void send_all(void)
{
	static char large[70000];
	struct sockaddr_un un;

	memset(large, 'l', sizeof(large));
	must(send(dgram[0], "first", 5, 0));
	must(send(dgram[0], "", 0, 0));
	must(send(dgram[0], large, sizeof(large), 0));
	must(send(dgram[0], "last one", 8, 0));
	must(send(packet[0], "packet", 6, 0));
	must(send(packet[0], "another", 7, 0));
	must(send(creds[0], "who", 3, 0));
	must(send(creds[0], "is it", 5, 0));
	must(send(log_client, "logged", 6, 0));
	must(sendto(log_other, "by another", 10, 0, (struct sockaddr *)&un, address(&un, witness_path("log"))));
}

static void make(void)
{
	make_pairs();
	make_named();
	send_all();
}

static const char *name_of(const struct sockaddr_un *un, socklen_t len)
{
	static char text[120];
	size_t n = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;

	memset(text, 0, sizeof(text));
	memcpy(text, un->sun_path, n);
	if (n && !text[0])
		text[0] = '@';
	return text;
}

static const char *own_name(int fd)
{
	struct sockaddr_un un = { 0 };
	socklen_t len = sizeof(un);

	return getsockname(fd, (struct sockaddr *)&un, &len) < 0 ? "none" : name_of(&un, len);
}

static const char *peer_name(int fd)
{
	struct sockaddr_un un = { 0 };
	socklen_t len = sizeof(un);

	return getpeername(fd, (struct sockaddr *)&un, &len) < 0 ? "none" : name_of(&un, len);
}

static long option(int fd, int name)
{
	int value[4] = { -1, 0, 0, 0 };
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, value, &len) < 0 ? -errno : value[0] * 1000000l + value[2] + value[1];
}

static long peer_pid(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ? -errno : cred.pid;
}

static long peer_uid(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ? -errno : (long)cred.uid;
}

static void say_socket(int fd)
{
	static const int options[] = { SO_SNDBUF, SO_RCVBUF, SO_RCVTIMEO, SO_SNDTIMEO, SO_LINGER, SO_RCVLOWAT,
		SO_PRIORITY, SO_PEEK_OFF, SO_REUSEADDR, SO_KEEPALIVE, SO_BROADCAST, SO_OOBINLINE, SO_PASSCRED,
		SO_PASSSEC, SO_TIMESTAMP, SO_ACCEPTCONN, SO_TYPE, 72 /* SO_BUF_LOCK */, 83 /* SO_PASSRIGHTS */ };
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };
	struct stat st = { 0 };
	int waiting = -1;

	SAY(fd);
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(fd, F_GETFD));
	SAY(poll(&p, 1, 0));
	SAY(p.revents);
	SAY(ioctl(fd, SIOCINQ, &waiting));
	SAY(waiting);
	SAY(own_name(fd));
	SAY(peer_name(fd));
	SAY(peer_pid(fd));
	SAY(peer_uid(fd));
	SAY(fstat(fd, &st));
	SAY(st.st_mode);
	SAY(st.st_uid);
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		SAY(option(fd, options[i]));
}

static const char *peek(int fd)
{
	static char text[200000];

	memset(text, 0, sizeof(text));
	return recv(fd, text, sizeof(text) - 1, MSG_PEEK | MSG_DONTWAIT) < 0 ? "nothing" : text;
}

static void say_messages(int fd)
{
	static char data[100000];
	char control[256] __attribute__((aligned(8)));

	for (;;) {
		struct sockaddr_un un = { 0 };
		struct iovec io = { data, sizeof(data) - 1 };
		struct msghdr m = { &un, sizeof(un), &io, 1, control, sizeof(control), 0 };
		struct ucred cred = { 0 };

		memset(data, 0, sizeof(data));
		ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
		if (n < 0)
			break;
		SAY(n);
		data[20] = 0;
		SAY(data);
		SAY(name_of(&un, m.msg_namelen));
		SAY(m.msg_flags);
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			memcpy(&cred, CMSG_DATA(c), sizeof(cred));
			SAY(c->cmsg_type);
			SAY(cred.pid);
			SAY(cred.uid);
		}
	}
}

static void look(void)
{
	const int all[] = { stream[0], stream[1], dgram[0], dgram[1], packet[0], packet[1], half[0], half[1], tuned[0],
		tuned[1], creds[0], creds[1], widow, broken, at_path, client, server, child_server, abstract,
		bound_client, bound_server, waiting_listener, waiting_client, log_server, log_client, log_other,
		relative, lone, autobound, unread };
	struct stat st = { 0 };
	struct sockaddr_un un;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		say_socket(all[i]);
	SAY(peek(stream[0]));
	SAY(peek(stream[1]));
	SAY(peek(half[1]));
	SAY(peek(widow));
	SAY(peek(client));
	SAY(peek(server));
	SAY(peek(unread));
	say_messages(dgram[1]);
	say_messages(packet[1]);
	say_messages(creds[1]);
	say_messages(log_server);
	send_all();
	SAY(send(half[0], "x", 1, MSG_NOSIGNAL));
	SAY(lstat(witness_path("listens"), &st));
	SAY(st.st_mode);
	SAY(st.st_uid);
	SAY(lstat(witness_path("relative"), &st));
	SAY(sendto(lone, "x", 1, MSG_NOSIGNAL, NULL, 0));
	SAY(sendto(log_other, "round", 5, 0, (struct sockaddr *)&un, address(&un, witness_path("relative"))));
	say_messages(relative);
	SAY(syscall(SYS_kcmp, getpid(), child, KCMP_FILE, stream[0], stream[0]));
}

WITNESS(make, look)
