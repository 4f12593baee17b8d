/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * belongings [filter] - a program that has much and looks after it: memory that it shares with a child, in a memfd, and that
 * is secret, a file that was deleted, System V shared memory, sockets with messages that wait, a pseudoterminal, an epoll, and a seccomp filter if that
 * is asked for
 *
 * Speaks as test/scenes/undisturbed.c does: in the working directory "progress", rewritten all the time (how often it looked
 * after each), and "noticed", a line for each thing that was not as it must be.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

enum { MEMORY, SEGMENTS, FILES, DELETED, MESSAGES, STREAM, TERMINAL, EVENTS, FILTER, N_BELONGINGS };
static uint64_t rounds[N_BELONGINGS];
static int noticed_fd;

static void must(bool done)
{
	if (!done)
		abort();
}

static void claim(bool holds, const char *what)
{
	char line[128];
	int len = snprintf(line, sizeof(line), "%s: %s\n", what, strerror(errno));

	if (!holds && write(noticed_fd, line, (size_t)len) != len)
		abort();
}

/* no call is ever interrupted */
static void nap(void)
{
	const struct timespec t = { 0, 1000000 };

	claim(nanosleep(&t, NULL) == 0, "nanosleep");
}

/* ---- memory shared with a child, which answers by three times the number ---- */

static struct shared {
	volatile uint64_t ask, answer;
	char rest[3 * 4096];
} * shared;

static void child(void)
{
	for (;;) {
		uint64_t ask = shared->ask;

		__atomic_store_n(&shared->answer, ask * 3, __ATOMIC_SEQ_CST);
		nap();
	}
}

static void have_memory(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED);
	memset(shared->rest, 'x', sizeof(shared->rest));
	pid_t parent = getpid(), pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			child();
		_exit(1);
	}
}

static void look_at_memory(void)
{
	uint64_t ask = rounds[MEMORY] + 1;
	unsigned int naps = 0;

	__atomic_store_n(&shared->ask, ask, __ATOMIC_SEQ_CST);
	while (shared->answer != ask * 3 && naps++ < 5000)
		nap();
	claim(shared->answer == ask * 3, "the child does not answer");
	claim(shared->rest[4096] == 'x' && shared->rest[2 * 4096] == 'x', "shared memory has changed");
}

/* ---- a segment that goes with it, and one that would stay ---- */

static int segment[2];
static volatile uint64_t *attached[2];

static void have_segments(void)
{
	for (int i = 0; i < 2; i++) {
		segment[i] = shmget(i ? 0x42000000 | getpid() : IPC_PRIVATE, 3 * 4096, IPC_CREAT | IPC_EXCL | 0600);
		attached[i] = shmat(segment[i], NULL, 0);
		must(segment[i] >= 0 && (intptr_t)attached[i] != -1);
		attached[i][1024] = 77;
	}
	must(shmctl(segment[0], IPC_RMID, NULL) == 0);
}

static void look_at_segments(void)
{
	for (int i = 0; i < 2; i++) {
		struct shmid_ds ds = { 0 };

		claim(shmctl(segment[i], IPC_STAT, &ds) == 0 && ds.shm_segsz == 3 * 4096, "look at a segment");
		claim(attached[i][0] == rounds[SEGMENTS] && attached[i][1024] == 77, "a segment has changed");
		attached[i][0] = rounds[SEGMENTS] + 1;
	}
}

/* ---- memory in a memfd, which is also open; and, where the kernel has it, secret memory, which is not, and is protected ---- */

static uint64_t *in_file;
static char *secret;
static int file;

static void have_files(void)
{
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

	file = memfd_create("its own", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	must(file >= 0 && ftruncate(file, 100 * 4096) == 0 && lseek(file, 777, SEEK_SET) == 777);
	in_file = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 8192);
	must(in_file != MAP_FAILED && fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	if (fd < 0)
		return;
	must(ftruncate(fd, 3 * 4096) == 0);
	secret = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(secret != MAP_FAILED && close(fd) == 0);
	strcpy(secret + 4096, "nobody knows");
	must(mprotect(secret, 3 * 4096, PROT_NONE) == 0);
}

static void look_at_files(void)
{
	uint64_t n = 0;

	claim(in_file[512] == rounds[FILES], "what is mapped has changed");
	in_file[512]++;
	claim(pread(file, &n, sizeof(n), 3 * 4096) == sizeof(n) && n == rounds[FILES] + 1, "the memfd is another");
	claim(lseek(file, 0, SEEK_CUR) == 777, "the offset has changed");
	claim(fcntl(file, F_GET_SEALS) == F_SEAL_SHRINK, "the seals have changed");
	if (!secret)
		return;
	claim(syscall(SYS_write, noticed_fd, secret + 4096, 1) < 0 && errno == EFAULT,
		"secret memory is not protected");
	claim(mprotect(secret, 3 * 4096, PROT_READ) == 0, "show secret memory");
	claim(strcmp(secret + 4096, "nobody knows") == 0, "secret memory has changed");
	claim(mprotect(secret, 3 * 4096, PROT_NONE) == 0, "protect secret memory");
}

/* ---- a file that was deleted, mapped to be written to and privately, where one page is of the mapping's own ---- */

static volatile uint64_t *scratch, *private_view;

static void have_deleted(void)
{
	int fd = open("scratch", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && unlink("scratch") == 0 && ftruncate(fd, 3 * 4096) == 0);
	scratch = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private_view = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	must(scratch != MAP_FAILED && private_view != MAP_FAILED && close(fd) == 0);
	scratch[512] = 77;
	private_view[1024] = 78;
}

static void look_at_deleted(void)
{
	claim(scratch[0] == rounds[DELETED] && private_view[0] == rounds[DELETED], "a deleted file is another");
	claim(private_view[512] == 77 && scratch[1024] == 0 && private_view[1024] == 78, "a deleted file has changed");
	scratch[0]++;
}

/* ---- messages that wait, in order ---- */

static int messages[2], stream[2];

static void send_number(uint64_t n)
{
	claim(send(messages[0], &n, sizeof(n), MSG_NOSIGNAL) == sizeof(n), "send a message");
}

static void have_messages(void)
{
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, messages) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0);
	for (uint64_t n = 0; n < 3; n++)
		send_number(n);
	must(write(stream[0], "waits", 5) == 5);
}

static void look_at_messages(void)
{
	uint64_t n = 0;

	claim(recv(messages[1], &n, sizeof(n), MSG_DONTWAIT) == sizeof(n) && n == rounds[MESSAGES],
		"receive a message");
	send_number(rounds[MESSAGES] + 3);
}

static void look_at_stream(void)
{
	char text[16] = "";

	claim(recv(stream[1], text, sizeof(text), MSG_PEEK | MSG_DONTWAIT) == 5 && memcmp(text, "waits", 5) == 0,
		"look at what waits");
}

/* ---- a pseudoterminal; what waits in one is not kept ---- */

static int master, slave;
static char slave_name[64];

static void have_terminal(void)
{
	const struct winsize size = { 17, 71, 0, 0 };
	struct termios t;

	master = posix_openpt(O_RDWR | O_NOCTTY);
	must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	must(ptsname_r(master, slave_name, sizeof(slave_name)) == 0);
	slave = open(slave_name, O_RDWR | O_NOCTTY);
	must(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0 && tcgetattr(slave, &t) == 0);
	t.c_cc[VEOF] = 'q';
	must(tcsetattr(slave, TCSANOW, &t) == 0);
}

static void look_at_terminal(void)
{
	struct winsize size = { 0 };
	struct termios t = { 0 };
	char name[64] = "";

	claim(ptsname_r(master, name, sizeof(name)) == 0 && strcmp(name, slave_name) == 0, "the name of the terminal");
	claim(ioctl(master, TIOCGWINSZ, &size) == 0 && size.ws_row == 17 && size.ws_col == 71,
		"the size of the terminal");
	claim(tcgetattr(slave, &t) == 0 && t.c_cc[VEOF] == 'q', "the settings of the terminal");
}

/* ---- an epoll that watches two ---- */

static int epoll, event[2];

static void have_events(void)
{
	epoll = epoll_create1(0);
	for (uint32_t i = 0; i < 2; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.u32 = 7 + i };

		event[i] = eventfd(0, EFD_NONBLOCK);
		must(event[i] >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, event[i], &e) == 0);
	}
}

static void look_at_events(void)
{
	unsigned int i = rounds[EVENTS] % 2;
	struct epoll_event e[2] = { 0 };
	uint64_t n = rounds[EVENTS] + 1;

	claim(write(event[i], &n, sizeof(n)) == sizeof(n), "write to an eventfd");
	claim(epoll_wait(epoll, e, 2, 1000) == 1 && e[0].data.u32 == 7 + i, "wait for an event");
	claim(read(event[i], &n, sizeof(n)) == sizeof(n) && n == rounds[EVENTS] + 1, "read from an eventfd");
}

/* ---- a filter that knows of one call */

static bool is_filtered;

static void have_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_swapon, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = { 4, code };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
	is_filtered = true;
}

static void look_at_filter(void)
{
	if (is_filtered)
		claim(syscall(SYS_swapon, NULL, 0) < 0 && errno == EXDEV, "the filter");
}

/* ---- all of it ---- */

static void (*const looks[N_BELONGINGS])(void) = {
	[MEMORY] = look_at_memory,
	[SEGMENTS] = look_at_segments,
	[FILES] = look_at_files,
	[DELETED] = look_at_deleted,
	[MESSAGES] = look_at_messages,
	[STREAM] = look_at_stream,
	[TERMINAL] = look_at_terminal,
	[EVENTS] = look_at_events,
	[FILTER] = look_at_filter,
};

static void tell(int fd)
{
	char line[256];
	int len = 0;

	for (unsigned int i = 0; i < N_BELONGINGS; i++)
		len += snprintf(line + len, sizeof(line) - (size_t)len, "%10llu ", (unsigned long long)rounds[i]);
	line[len++] = '\n';
	claim(pwrite(fd, line, (size_t)len, 0) == len, "write down the progress");
}

int main(int argc, char **argv)
{
	noticed_fd = open("noticed", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	int progress_fd = open("progress", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (noticed_fd < 0 || progress_fd < 0)
		return 3;
	if (argc > 1)
		have_filter();
	have_memory();
	have_segments();
	have_files();
	have_deleted();
	have_messages();
	have_terminal();
	have_events();
	for (;;) {
		for (unsigned int i = 0; i < N_BELONGINGS; i++) {
			errno = 0;
			looks[i]();
			rounds[i]++;
		}
		tell(progress_fd);
	}
}
