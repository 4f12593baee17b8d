/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that wait without a timeout, each in another call, for what comes but when it is asked for. Each call must be as it
 * was: it goes on waiting, gives no EINTR, and what it waited for ends it with the right result.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "lib/witness.h"

static int data_pipe[2], full_pipe[2], pair[2], listener, semaphores;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static atomic_int child;
static pthread_mutex_t births = PTHREAD_MUTEX_INITIALIZER;
static uint32_t futex_word;
static pthread_t threads[16];

static long do_read(void)
{
	char byte = 0;

	return read(data_pipe[0], &byte, 1) * 1000 + byte;
}

static void wake_read(int me)
{
	SAY(write(data_pipe[1], "r", 1));
}

/* into a pipe that is full */
static long do_write(void)
{
	static char page[4096];

	return write(full_pipe[1], page, sizeof(page));
}

static void wake_write(int me)
{
	static char page[4096];

	SAY(read(full_pipe[0], page, sizeof(page)));
}

static long do_recv(void)
{
	char byte = 0;

	return recv(pair[0], &byte, 1, 0) * 1000 + byte;
}

static void wake_recv(int me)
{
	SAY(send(pair[1], "s", 1, 0));
}

static long do_accept(void)
{
	int fd = accept(listener, NULL, NULL);

	return fd < 0 ? fd : close(fd);
}

static void wake_accept(int me)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	SAY(connect(fd, (struct sockaddr *)&address, sizeof(address)));
	close(fd);
}

static long do_wait4(void)
{
	int status = 0;

	pthread_mutex_lock(&births);
	pid_t pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	child = pid;
	pthread_mutex_unlock(&births);
	long r = wait4(pid, &status, 0, NULL);
	child = 0;
	return r == pid ? status : -1;
}

static void wake_wait4(int me)
{
	SAY(kill(child, SIGKILL));
}

static long do_sigwait(void)
{
	sigset_t set;
	siginfo_t info = { 0 };

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return sigwaitinfo(&set, &info) * 1000 + info.si_code;
}

static void wake_sigwait(int me)
{
	SAY(pthread_kill(threads[me], SIGUSR1));
}

static long do_semop(void)
{
	struct sembuf take = { 0, -1, 0 };

	return semop(semaphores, &take, 1);
}

static void wake_semop(int me)
{
	struct sembuf give = { 0, 1, 0 };

	SAY(semop(semaphores, &give, 1));
}

static long do_semtimedop(void)
{
	struct sembuf take = { 1, -1, 0 };

	return semtimedop(semaphores, &take, 1, NULL);
}

static void wake_semtimedop(int me)
{
	struct sembuf give = { 1, 1, 0 };

	SAY(semop(semaphores, &give, 1));
}

static long do_futex(void)
{
	return syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL);
}

static void wake_futex(int me)
{
	SAY(syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1));
}

static const struct waiter {
	const char *name;
	long (*call)(void);
	void (*wake)(int me);
	long nr;
} waiters[] = {
	{ "read", do_read, wake_read, SYS_read },
	{ "write", do_write, wake_write, SYS_write },
	{ "recv", do_recv, wake_recv, SYS_recvfrom },
	{ "accept", do_accept, wake_accept, SYS_accept },
	{ "wait4", do_wait4, wake_wait4, SYS_wait4 },
	{ "sigwaitinfo", do_sigwait, wake_sigwait, SYS_rt_sigtimedwait },
	{ "semop", do_semop, wake_semop, SYS_semop },
	{ "semtimedop", do_semtimedop, wake_semtimedop, SYS_semtimedop },
	{ "futex", do_futex, wake_futex, SYS_futex },
};
enum { WAITERS = sizeof(waiters) / sizeof(waiters[0]) };

static atomic_int tids[WAITERS], returned[WAITERS];
static atomic_long results[WAITERS];

static void *wait_in_rounds(void *arg)
{
	int me = (int)(intptr_t)arg;

	tids[me] = (int)syscall(SYS_gettid);
	for (;;) {
		errno = 0;
		long r = waiters[me].call();
		results[me] = r < 0 ? -errno : r;
		returned[me]++;
	}
	return arg;
}

/* does it sleep in its call? glibc may have taken another number for the same */
static int waits(int me)
{
	char path[64], line[256];
	long nr = -1;

	for (int turn = 0; turn < 2000; turn++) {
		snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tids[me]);
		FILE *f = fopen(path, "r");
		if (f && fgets(line, sizeof(line), f))
			nr = strtol(line, NULL, 10);
		if (f)
			fclose(f);
		if (nr == waiters[me].nr || (nr == SYS_semtimedop && waiters[me].nr == SYS_semop))
			return 1;
		witness_nap();
	}
	return 0;
}

static void make(void)
{
	static char page[4096];
	sigset_t set;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", witness_path("socket"));
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	semaphores = semget(IPC_PRIVATE, 2, 0600);
	if (pipe(data_pipe) < 0 || pipe(full_pipe) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
		semaphores < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(listener, 5) < 0)
		exit(1);
	fcntl(full_pipe[1], F_SETFL, O_NONBLOCK);
	while (write(full_pipe[1], page, sizeof(page)) > 0)
		;
	fcntl(full_pipe[1], F_SETFL, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < WAITERS; i++)
		pthread_create(&threads[i], NULL, wait_in_rounds, (void *)(intptr_t)i);
	for (int i = 0; i < WAITERS; i++)
		waits(i);
}

static void look(void)
{
	static int rounds;

	for (int i = 0; i < WAITERS; i++) {
		SAY(waiters[i].name);
		SAY(waits(i));
		SAY(returned[i] - rounds);
		waiters[i].wake(i);
		for (int turn = 0; turn < 2000 && returned[i] == rounds; turn++)
			witness_nap();
		SAY(returned[i] - rounds);
		SAY(results[i]);
		SAY(waits(i));
	}
	rounds++;
}

int main(int argc, char **argv)
{
	int r = witness_main(argc, argv, make, look);

	semctl(semaphores, 0, IPC_RMID);
	pthread_mutex_lock(&births); /* for good: the thread would make another child at once */
	if (child > 0)
		kill(child, SIGKILL);
	return r;
}
