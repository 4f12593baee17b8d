/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * subject - the programs that bench/run saves and restarts, and what the machine itself takes for the same work
 *
 *	subject run memory MIB		private memory, each page different, of one process
 *	subject run processes N		a root and N - 1 children that sleep
 *	subject run threads N		N threads that sleep, the first included
 *	subject limit memory MIB FILE	one copy of as much from warm memory to FILE, and one from there to fresh memory
 *	subject limit processes N	as many processes that do nothing, made and waited for
 *	subject limit threads N		likewise threads
 *	subject measure FILE CMD...	run a command; FILE gets its nanoseconds, peak memory (KiB) and wait status
 *
 * "run" says "ready" on standard output once all is there; its signals have their default actions. "limit" says nanoseconds.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB   ((size_t)1 << 20)
#define STACK ((size_t)64 << 10)

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* no two pages alike, none of them zero */
static unsigned char *fill_memory(size_t len)
{
	unsigned char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t x = 88172645463325252ull;

	if (at == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i + sizeof(x) <= len; i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(at + i, &x, sizeof(x));
	}
	return at;
}

static void *thread_sleeps(void *data)
{
	sleep_for_ever();
}

static void *thread_ends(void *data)
{
	return data;
}

static pthread_t *make_threads(size_t n, void *(*body)(void *))
{
	pthread_t *thread = calloc(n, sizeof(*thread));
	pthread_attr_t attr;

	if (!thread)
		die("calloc");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (size_t i = 0; i < n; i++)
		if (pthread_create(&thread[i], &attr, body, NULL) != 0)
			die("pthread_create");
	return thread;
}

static void make_processes(size_t n, void (*body)(void))
{
	for (size_t i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			body();
			_exit(0);
		}
	}
}

static void process_sleeps(void)
{
	sleep_for_ever();
}

static void process_ends(void)
{
}

static int run(const char *what, size_t n)
{
	if (strcmp(what, "memory") == 0)
		fill_memory(n * MIB);
	else if (strcmp(what, "processes") == 0)
		make_processes(n - 1, process_sleeps);
	else if (strcmp(what, "threads") == 0)
		make_threads(n - 1, thread_sleeps);
	else
		return 2;
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	sleep_for_ever();
}

/* ---- what the machine takes for it ---- */

static void write_all(int fd, const unsigned char *from, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, from + done, len - done < MIB ? len - done : MIB);

		if (n <= 0)
			die("write");
		done += (size_t)n;
	}
}

static void read_all(int fd, unsigned char *to, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, to + done, len - done < MIB ? len - done : MIB);

		if (n <= 0)
			die("read");
		done += (size_t)n;
	}
}

/* a new file and new memory, as an image and a restarted program are; their pages are warm, as they were used before */
static void copy_memory(size_t len, const char *path, uint64_t ns[2])
{
	unsigned char *from = fill_memory(len);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	uint64_t at = now_ns();
	write_all(fd, from, len);
	ns[0] = now_ns() - at;
	munmap(from, len);
	if (lseek(fd, 0, SEEK_SET) != 0)
		die(path);
	at = now_ns();
	unsigned char *to = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (to == MAP_FAILED)
		die("mmap");
	read_all(fd, to, len);
	ns[1] = now_ns() - at;
	close(fd);
	unlink(path);
}

static int limit(const char *what, size_t n, const char *path)
{
	uint64_t ns[2], began = now_ns();

	if (strcmp(what, "memory") == 0 && path) {
		copy_memory(n * MIB, path, ns);
	} else if (strcmp(what, "processes") == 0) {
		make_processes(n, process_ends);
		while (wait(NULL) > 0)
			;
		ns[0] = ns[1] = now_ns() - began;
	} else if (strcmp(what, "threads") == 0) {
		pthread_t *thread = make_threads(n, thread_ends);

		for (size_t i = 0; i < n; i++)
			pthread_join(thread[i], NULL);
		free(thread);
		ns[0] = ns[1] = now_ns() - began;
	} else {
		return 2;
	}
	printf("%llu %llu\n", (unsigned long long)ns[0], (unsigned long long)ns[1]);
	return 0;
}

/* from a small process: what a command is measured to have used is at least what the one used who started it */
static int measure(const char *path, char **argv)
{
	uint64_t began = now_ns();
	struct rusage usage;
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
		die(argv[0]);
	uint64_t ns = now_ns() - began;
	FILE *out = fopen(path, "we");
	if (!out)
		die(path);
	fprintf(out, "%llu %ld %d\n", (unsigned long long)ns, usage.ru_maxrss, status);
	return fclose(out) != 0;
}

int main(int argc, char **argv)
{
	if (argc > 3 && strcmp(argv[1], "measure") == 0)
		return measure(argv[2], argv + 3);
	size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;

	if (n && strcmp(argv[1], "run") == 0)
		return run(argv[2], n);
	if (n && strcmp(argv[1], "limit") == 0)
		return limit(argv[2], n, argc > 4 ? argv[4] : NULL);
	fprintf(stderr, "usage: subject run|limit memory|processes|threads N [FILE], or measure FILE CMD...\n");
	return 2;
}
