/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * subject - the programs that bench/run saves and restarts, and what the machine itself takes for the same work
 *
 *	subject run BELL WORK N [MIB]	be such a program; N is how many, and of memory how many MiB:
 *		memory		private memory, each page different, of one process
 *		processes	a root and N - 1 children that sleep
 *		threads		threads that sleep, the first included
 *		shared		a root with MIB of memory, and N children that each have written one page of it
 *		mappings	one page each, with data, between pages of other protection
 *		files		open files, each another, in ./files
 *	subject limit FILE WORK N [MIB]	what the machine takes to save that, and to bring it back; two numbers of nanoseconds
 *	subject measure FILE CMD...	run a command; FILE gets its nanoseconds, peak memory (KiB), wait status, and when it began
 *
 * "run" says "ready" on standard output once all is there; its signals have their default actions. Then the first thread
 * sleeps until the bell is rung in the file BELL (struct bell). Who rings while there is no program, and then brings that back,
 * finds there when its first instruction was: the wait is begun again, and ends at once. Times of day, as the monotonic clock
 * of a program that was brought back may go on from where it was.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB   ((size_t)1 << 20)
#define PAGE  ((size_t)4096)
#define STACK ((size_t)64 << 10)

struct work {
	const char *what;
	size_t n, mib;
};

struct bell {
	_Atomic uint32_t rung;
	uint32_t unused;
	_Atomic uint64_t heard_ns;
};

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

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
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

/* one page each, no two neighbours alike, so that the kernel cannot make one mapping of two */
static void make_mappings(size_t n)
{
	unsigned char *at = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < n; i++) {
		memcpy(at + i * PAGE, &i, sizeof(i));
		if (i % 2 && mprotect(at + i * PAGE, PAGE, PROT_READ) < 0)
			die("mprotect");
	}
}

static void open_files(size_t n, int flags)
{
	char path[64];

	for (size_t i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "files/%zu", i);
		if (open(path, flags | O_CLOEXEC, 0600) < 0)
			die(path);
	}
}

static void make_files(size_t n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("setrlimit");
	if (mkdir("files", 0700) < 0)
		die("files");
	open_files(n, O_RDWR | O_CREAT);
}

static void make_sharers(const struct work *w)
{
	unsigned char *memory = fill_memory(w->mib * MIB);
	size_t pages = w->mib * MIB / PAGE;

	for (size_t i = 0; i < w->n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			memcpy(memory + (i * 251 % pages) * PAGE, &i, sizeof(i));
			sleep_for_ever();
		}
	}
}

static struct bell *map_bell(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct bell *bell = mmap(NULL, sizeof(*bell), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd < 0 || bell == MAP_FAILED)
		die(path);
	close(fd);
	return bell;
}

static int run(const char *path, const struct work *w)
{
	if (strcmp(w->what, "memory") == 0)
		fill_memory(w->n * MIB);
	else if (strcmp(w->what, "processes") == 0)
		make_processes(w->n - 1, process_sleeps);
	else if (strcmp(w->what, "threads") == 0)
		make_threads(w->n - 1, thread_sleeps);
	else if (strcmp(w->what, "shared") == 0 && w->mib)
		make_sharers(w);
	else if (strcmp(w->what, "mappings") == 0)
		make_mappings(w->n);
	else if (strcmp(w->what, "files") == 0)
		make_files(w->n);
	else
		return 2;
	struct bell *bell = map_bell(path); /* only now: the children have none */

	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	while (!bell->rung)
		syscall(SYS_futex, &bell->rung, FUTEX_WAIT, 0, NULL, NULL, 0);
	bell->heard_ns = clock_ns(CLOCK_REALTIME);
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

/* all made, and waited for */
static uint64_t fork_empty(size_t n)
{
	uint64_t began = now_ns();

	make_processes(n, process_ends);
	while (wait(NULL) > 0)
		;
	return now_ns() - began;
}

/*
 * A new file and new memory, as an image and a restarted program are; their pages are warm, as they were used before.
 * @children: who are made with that memory
 */
static void copy_memory(size_t len, const char *path, size_t children, uint64_t ns[2])
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
	if (children)
		ns[1] += fork_empty(children);
	close(fd);
	unlink(path);
}

static uint64_t make_empty_threads(size_t n)
{
	uint64_t began = now_ns();
	pthread_t *thread = make_threads(n, thread_ends);

	for (size_t i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	free(thread);
	return now_ns() - began;
}

static uint64_t open_again(size_t n)
{
	make_files(n);
	if (close_range(STDERR_FILENO + 1, ~0U, 0) < 0)
		die("close_range");
	uint64_t began = now_ns();
	open_files(n, O_RDWR);
	return now_ns() - began;
}

static int limit(const char *path, const struct work *w)
{
	uint64_t ns[2], began = now_ns();

	if (strcmp(w->what, "memory") == 0) {
		copy_memory(w->n * MIB, path, 0, ns);
	} else if (strcmp(w->what, "shared") == 0 && w->mib) {
		uint64_t forks = fork_empty(w->n);

		copy_memory(w->mib * MIB, path, w->n, ns);
		ns[0] += forks;
	} else if (strcmp(w->what, "processes") == 0) {
		ns[0] = ns[1] = fork_empty(w->n);
	} else if (strcmp(w->what, "threads") == 0) {
		ns[0] = ns[1] = make_empty_threads(w->n);
	} else if (strcmp(w->what, "mappings") == 0) {
		make_mappings(w->n);
		ns[0] = ns[1] = now_ns() - began;
	} else if (strcmp(w->what, "files") == 0) {
		ns[0] = ns[1] = open_again(w->n);
	} else {
		return 2;
	}
	printf("%llu %llu\n", (unsigned long long)ns[0], (unsigned long long)ns[1]);
	return 0;
}

/*
 * From a small process: what a command is measured to have used is at least what the one used who started it. It is told of the end
 * of the command at once, and not behind the thousands that this may have let go.
 */
static int measure(const char *path, char **argv)
{
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &(struct sched_param){ .sched_priority = 1 });
	uint64_t began = now_ns(), time_of_day = clock_ns(CLOCK_REALTIME);
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
	fprintf(out, "%llu %ld %d %llu\n", (unsigned long long)ns, usage.ru_maxrss, status,
		(unsigned long long)time_of_day);
	return fclose(out) != 0;
}

int main(int argc, char **argv)
{
	if (argc > 3 && strcmp(argv[1], "measure") == 0)
		return measure(argv[2], argv + 3);
	if (argc > 4) {
		struct work w = { argv[3], strtoul(argv[4], NULL, 10), argc > 5 ? strtoul(argv[5], NULL, 10) : 0 };

		if (w.n && strcmp(argv[1], "run") == 0)
			return run(argv[2], &w);
		if (w.n && strcmp(argv[1], "limit") == 0)
			return limit(argv[2], &w);
	}
	fprintf(stderr, "usage: subject run BELL WORK N [MIB], limit FILE WORK N [MIB], or measure FILE CMD...\n");
	return 2;
}
