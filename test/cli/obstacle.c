/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * obstacle FILE NAME... - has what NAME says and no checkpoint keeps, writes FILE when it has, and waits
 *
 * Exit status 77, with the reason on standard output, where it cannot be had here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/inotify.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define CREATE_RULESET 444 /* landlock_create_ruleset(2) */
#define RESTRICT_SELF  446

static volatile unsigned char selector; /* of syscall user dispatch: 1 sends calls back */
static bool spins; /* instead of waiting in a call */
static bool is_strict;

__attribute__((noreturn)) static void skip(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(77);
}

static void must(bool done, const char *what)
{
	if (!done)
		skip(what);
}

static void filter(uint32_t nr, uint32_t verdict)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, verdict),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0, "set a seccomp filter");
}

static void strict(void)
{
	is_strict = true; /* the last call but those that it allows */
}

static void notifies(void)
{
	filter(SYS_swapon, SECCOMP_RET_USER_NOTIF);
}

static void forbids_prctl(void)
{
	filter(SYS_prctl, SECCOMP_RET_KILL_PROCESS);
}

/* the very first call of the stub */
static void forbids_mmap(void)
{
	filter(SYS_mmap, SECCOMP_RET_KILL_PROCESS);
}

static void landlock(void)
{
	const uint64_t files = 1;
	long fd = syscall(CREATE_RULESET, &files, sizeof(files), 0);

	must(fd >= 0, "make a Landlock ruleset");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	must(syscall(RESTRICT_SELF, fd, 0) == 0, "enter a Landlock domain");
	close((int)fd);
}

static void dispatch(void)
{
	must(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0, "have system calls sent back");
	spins = true;
}

static void segments(void)
{
	const uint32_t desc[4] = { 0, 0, 0xfff, 0x51 }; /* a data segment */

	must(syscall(SYS_modify_ldt, 1, desc, sizeof(desc)) == 0, "make a segment");
}

static void ports(void)
{
	must(ioperm(0x80, 1, 1) == 0, "use I/O ports");
}

static void queue(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 600; i++)
		must(sigqueue(getpid(), SIGRTMIN, (union sigval){ i }) == 0, "queue a signal");
}

static void ignore(int signo)
{
}

static void catches_all(void)
{
	for (int s = 1; s < 65; s++)
		signal(s, ignore);
}

/* for ever, as soon as it is ready */
static bool reads_clock;

static void read_clock(void)
{
	reads_clock = true;
}

/* nothing is in the way; it makes a file "backwards" if the clock ever goes so */
static bool reads_coarse;

static void read_coarse(void)
{
	reads_coarse = true;
}

static void watch_coarse(void)
{
	struct timespec ts, last = { 0 };

	for (;; last = ts) {
		clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
		if (ts.tv_sec < last.tv_sec || (ts.tv_sec == last.tv_sec && ts.tv_nsec < last.tv_nsec))
			close(creat("backwards", 0600));
	}
}

static void no_vdso(void)
{
	void *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
	size_t pages = 1;

	while (pages < 8 && munmap(vdso, pages * 4096) < 0) /* a part of it cannot be */
		pages++;
	must(pages < 8, "unmap the vdso");
}

static void inotify(void)
{
	must(inotify_init1(0) >= 0, "make an inotify");
}

static void network(void)
{
	must(socket(AF_INET, SOCK_DGRAM, 0) >= 0, "make a socket");
}

static void userfault(void)
{
	void *at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long fd = syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .range = { (uintptr_t)at, 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	must(fd >= 0, "make a userfaultfd");
	must(ioctl((int)fd, UFFDIO_API, &api) == 0, "agree with a userfaultfd");
	must(ioctl((int)fd, UFFDIO_REGISTER, &area) == 0, "have a mapping watched");
}

/* memory of a driver, whose file is closed */
static void ring(void)
{
	struct io_uring_params params = { 0 };
	long fd = syscall(SYS_io_uring_setup, 4, &params);

	must(fd >= 0, "make an io_uring");
	must(mmap(NULL, 4096, PROT_READ, MAP_SHARED, (int)fd, IORING_OFF_SQ_RING) != MAP_FAILED, "map its ring");
	close((int)fd);
}

static aio_context_t aio;

static void *await(void *event)
{
	while (syscall(SYS_io_getevents, aio, 1, 1, event, NULL) < 1)
		;
	return NULL;
}

/* and a thread waits for it */
static void request(void)
{
	static struct io_event event;
	struct iocb poll = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN }, *one = &poll;
	pthread_t t;
	int ends[2];

	must(pipe(ends) == 0 && syscall(SYS_io_setup, 1, &aio) == 0, "make an AIO context");
	poll.aio_fildes = (uint32_t)ends[0];
	must(syscall(SYS_io_submit, aio, 1, &one) == 1, "begin a request");
	must(pthread_create(&t, NULL, await, &event) == 0, "make a thread");
}

static void device(void)
{
	int fd = open("/dev/mem", O_RDONLY);

	must(fd >= 0, "open /dev/mem");
	must(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0xf0000) != MAP_FAILED, "map /dev/mem");
	close(fd);
}

static void deleted_cwd(void)
{
	must(mkdir("away", 0700) == 0 && chdir("away") == 0 && rmdir("../away") == 0, "leave a directory");
}

static void namespace(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		raise(unshare(CLONE_NEWUTS) == 0 ? SIGSTOP : SIGKILL);
	}
	int status;
	waitpid(pid, &status, WUNTRACED);
	errno = EPERM;
	must(WIFSTOPPED(status), "unshare a namespace");
}

static void *sleep_in_poll(void *unused)
{
	for (;;)
		poll(NULL, 0, 1000000);
	return unused;
}

/* threads that sleep in calls which the kernel would go on with by restart_syscall(2), which is death to them */
static void forbids_restart(void)
{
	pthread_t t;

	filter(SYS_restart_syscall, SECCOMP_RET_KILL_PROCESS);
	for (int i = 0; i < 8; i++)
		must(pthread_create(&t, NULL, sleep_in_poll, NULL) == 0, "make a thread");
	usleep(50000);
}

/* by its parent, a part of the program */
static void traced(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
	}
	waitpid(pid, NULL, 0);
}

static void *unshare_and_wait(void *ready)
{
	*(int *)ready = unshare(CLONE_FS) == 0 ? 1 : -1;
	while (pause() < 0)
		;
	return NULL;
}

static void unshares(void)
{
	static volatile int ready;
	pthread_t t;

	must(pthread_create(&t, NULL, unshare_and_wait, (void *)&ready) == 0, "make a thread");
	while (!ready)
		sched_yield();
	must(ready > 0, "unshare the directory of a thread");
}

static void keyring(void)
{
	must(syscall(SYS_add_key, "user", "name", "text", 4, -1 /* KEY_SPEC_THREAD_KEYRING */) >= 0, "make a keyring");
}

static void registered_ring(void)
{
	struct io_uring_params p = { 0 };
	struct io_uring_rsrc_update u = { .offset = -1u };
	long fd = syscall(SYS_io_uring_setup, 8, &p);

	must(fd >= 0, "make a ring");
	u.data = (uint64_t)fd;
	must(syscall(SYS_io_uring_register, fd, 20 /* IORING_REGISTER_RING_FDS */, &u, 1) == 1, "register a ring");
	close((int)fd);
}

static void unshare_files(void)
{
	must(unshare(CLONE_FILES) == 0, "unshare the descriptors of a thread");
}

static void unshare_network(void)
{
	must(unshare(CLONE_NEWNET) == 0, "unshare the network of a thread");
}

static void unshare_pids(void)
{
	must(unshare(CLONE_NEWPID) == 0, "unshare the pids of the children of a thread");
}

static bool is_crowd; /* what is named from here on a thread of its own has, behind others that are all alike */

static void *wait_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void have_threads(int n)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (int i = 0; i < n; i++)
		must(pthread_create(&t, &attr, wait_for_ever, NULL) == 0, "make a thread");
	is_crowd = true;
}

static void one_thread(void)
{
	have_threads(1);
}

static void crowd(void)
{
	have_threads(150);
}

static const struct {
	const char *name;
	void (*have)(void);
} obstacles[] = {
	{ "one-thread", one_thread },
	{ "crowd", crowd },
	{ "keyring", keyring },
	{ "registered-ring", registered_ring },
	{ "files", unshare_files },
	{ "netns", unshare_network },
	{ "pidns", unshare_pids },
	{ "seccomp-strict", strict },
	{ "seccomp-notify", notifies },
	{ "seccomp-prctl", forbids_prctl },
	{ "seccomp-mmap", forbids_mmap },
	{ "seccomp-restart", forbids_restart },
	{ "landlock", landlock },
	{ "syscall-dispatch", dispatch },
	{ "segments", segments },
	{ "io-ports", ports },
	{ "signal-queue", queue },
	{ "no-signal", catches_all },
	{ "no-vdso", no_vdso },
	{ "clock", read_clock },
	{ "coarse-clock", read_coarse },
	{ "inotify", inotify },
	{ "network", network },
	{ "userfaultfd", userfault },
	{ "ring", ring },
	{ "aio-busy", request },
	{ "device", device },
	{ "cwd-deleted", deleted_cwd },
	{ "namespace", namespace },
	{ "traced", traced },
	{ "thread-unshare", unshares },
};

static void have(const char *name)
{
	for (size_t i = 0; i < sizeof(obstacles) / sizeof(obstacles[0]); i++)
		if (strcmp(obstacles[i].name, name) == 0) {
			obstacles[i].have();
			return;
		}
	fprintf(stderr, "obstacle: there is no %s\n", name);
	exit(120);
}

static sem_t had;

static void *have_and_wait(void *name)
{
	have(name);
	sem_post(&had);
	return wait_for_ever(NULL);
}

static void have_apart(char *name)
{
	pthread_t t;

	must(pthread_create(&t, NULL, have_and_wait, name) == 0, "make a thread");
	while (sem_wait(&had) < 0)
		;
}

int main(int argc, char **argv)
{
	int ready = argc > 1 ? open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1, ends[2];
	char byte = 0;

	if (ready < 0 || pipe(ends) < 0)
		return 120;
	for (int i = 2; i < argc; i++)
		if (is_crowd)
			have_apart(argv[i]);
		else
			have(argv[i]);
	if (is_strict)
		must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0, "enter strict seccomp mode");
	if (write(ready, "ready\n", 6) != 6)
		return 120;
	selector = spins;
	while (spins)
		;
	for (struct timespec ts; reads_clock;)
		clock_gettime(CLOCK_MONOTONIC, &ts);
	if (reads_coarse)
		watch_coarse();
	while (read(ends[0], &byte, 1) < 0)
		;
	return 0;
}
