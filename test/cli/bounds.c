/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bounds - programs for bounds.bats, and how much memory a command takes
 *
 *	bounds private MIB		private memory, no page like another
 *	bounds zeros MIB		as much that was written with zeros, as much that was only read, and a reserved TiB
 *	bounds fork MIB N		private memory that N children share with it, but for one page that each has written
 *	bounds shared MIB N		memory that they all share for good
 *	bounds threads MIB N		N threads that wait, with their stacks in one mapping
 *	bounds peak FILE CMD...		run a command; FILE gets the most memory that it had, in KiB
 *
 * All but the last say "ready" and sleep. Children end with their parent.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB  ((size_t)1 << 20)
#define TIB  ((size_t)1 << 40)
#define PAGE ((size_t)4096)

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static unsigned char *map(size_t len, int prot, int flags)
{
	unsigned char *at = mmap(NULL, len, prot, flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void fill(unsigned char *at, size_t len)
{
	uint64_t x = 88172645463325252ull;

	for (size_t i = 0; i < len; i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(at + i, &x, sizeof(x));
	}
}

static void make_zeros(size_t len)
{
	volatile unsigned char *written = map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	volatile unsigned char *seen = map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	for (size_t i = 0; i < len; i += PAGE)
		written[i] = seen[i];
	map(TIB, PROT_NONE, MAP_PRIVATE);
}

static void make_children(unsigned char *memory, size_t len, size_t n, int writes)
{
	int alive[2];
	char byte;

	if (pipe(alive) < 0)
		die("pipe");
	for (size_t i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid > 0)
			continue;
		close(alive[1]);
		if (writes)
			memcpy(memory + i * 7 * PAGE % len, &i, sizeof(i));
		_exit(read(alive[0], &byte, 1) != 0); /* returns when the parent has ended */
	}
}

static void *wait_for_nothing(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void make_threads(unsigned char *stacks, size_t len, size_t n)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	for (size_t i = 0; i < n; i++)
		if (pthread_attr_setstack(&attr, stacks + len / n / PAGE * PAGE * i, len / n / PAGE * PAGE) != 0 ||
			pthread_create(&thread, &attr, wait_for_nothing, NULL) != 0)
			die("pthread_create");
}

static int peak(const char *path, char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
		die(argv[0]);
	FILE *out = fopen(path, "we");
	if (!out || fprintf(out, "%ld\n", usage.ru_maxrss) < 0 || fclose(out) != 0)
		die(path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int make(const char *what, size_t len, size_t n)
{
	if (strcmp(what, "private") == 0) {
		fill(map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE), len);
	} else if (strcmp(what, "zeros") == 0) {
		make_zeros(len);
	} else if (strcmp(what, "fork") == 0 || strcmp(what, "shared") == 0) {
		int shared = what[0] == 's';
		unsigned char *memory = map(len, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE);

		fill(memory, len);
		make_children(memory, len, n, !shared);
	} else if (strcmp(what, "threads") == 0) {
		make_threads(map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE), len, n);
	} else {
		return 2;
	}
	usleep(200000); /* the last child has begun to wait */
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc > 3 && strcmp(argv[1], "peak") == 0)
		return peak(argv[2], argv + 3);
	return argc < 3 ? 2
			: make(argv[1], strtoul(argv[2], NULL, 10) * MIB, argc > 3 ? strtoul(argv[3], NULL, 10) : 0);
}
