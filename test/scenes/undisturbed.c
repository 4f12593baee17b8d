/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * undisturbed [TICK_MS [LATE_MS]] - a program that cannot be stopped for a moment without noticing
 *
 * Threads that sleep, poll, wait for a futex, read from a pipe, compute in registers and watch the clock, and a child
 * process that answers through pipes. Each compares every return value, errno and elapsed time with what it must be: a
 * sleep ends neither early nor more than LATE_MS late, and no call is ever interrupted.
 *
 * In the working directory: "progress", rewritten all the time (rounds of each watch), "noticed", a line for each thing
 * that was wrong, "stop": when it appears, the program ends with 0 if it noticed nothing, else 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long tick_ms = 60, late_ms = 400;
static int noticed_fd, to_child, from_child, drip[2];
static unsigned int n_noticed;
static volatile bool stopping;

enum { SLEEP, LONG_SLEEP, UNTIL, POLL, FUTEX, READ, ANSWER, REGISTERS, CLOCK, N_WATCHES };
static uint64_t rounds[N_WATCHES];

__attribute__((format(printf, 1, 2))) static void notice(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	int len = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[len++] = '\n';
	if (write(noticed_fd, line, (size_t)len) != len)
		abort();
	__atomic_fetch_add(&n_noticed, 1, __ATOMIC_SEQ_CST);
}

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static struct timespec to_timespec(int64_t us)
{
	return (struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
}

/* @got is what a call gave that was to take @ms from @begin on and give @want */
static void judge(const char *call, int64_t begin, long ms, long got, int err, long want, int want_err)
{
	int64_t took = now_us() - begin;

	if (got != want || (want < 0 && err != want_err))
		notice("%s gave %ld (%s), not %ld", call, got, got < 0 ? strerror(err) : "", want);
	if (took < ms * 1000)
		notice("%s of %ld ms was over after %lld us", call, ms, (long long)took);
	if (took > (ms + late_ms) * 1000)
		notice("%s of %ld ms took %lld us", call, ms, (long long)took);
}

static void sleep_once(long ms)
{
	struct timespec t = to_timespec(ms * 1000);
	int64_t begin = now_us();

	errno = 0;
	int got = nanosleep(&t, NULL);
	judge("nanosleep", begin, ms, got, errno, 0, 0);
}

static void watch_sleep(void)
{
	sleep_once(tick_ms);
}

static void watch_long_sleep(void)
{
	sleep_once(tick_ms * 7);
}

static void watch_until(void)
{
	int64_t begin = now_us();
	struct timespec t = to_timespec(begin + tick_ms * 1000);

	int got = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	judge("clock_nanosleep", begin, tick_ms, got, got, 0, 0);
}

static void watch_poll(void)
{
	int64_t begin = now_us();

	errno = 0;
	int got = poll(NULL, 0, (int)tick_ms);
	judge("poll", begin, tick_ms, got, errno, 0, 0);
}

static void watch_futex(void)
{
	static uint32_t word = 7;
	struct timespec t = to_timespec(tick_ms * 1000);
	int64_t begin = now_us();

	errno = 0;
	long got = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 7, &t, NULL, 0);
	judge("futex", begin, tick_ms, got, errno, -1, ETIMEDOUT);
}

/* a read that waits; another thread lets a number drip into the pipe */
static void watch_read(void)
{
	static uint64_t expected;
	uint64_t got_number = 0;

	ssize_t got = read(drip[0], &got_number, sizeof(got_number));
	if (got != sizeof(got_number))
		notice("read gave %zd (%s)", got, got < 0 ? strerror(errno) : "");
	else if (got_number != expected)
		notice("read got number %llu, not %llu", (unsigned long long)got_number, (unsigned long long)expected);
	expected++;
}

static void *dripping(void *arg)
{
	struct timespec t = to_timespec(tick_ms * 1000);

	for (uint64_t n = 0;; n++) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
		if (write(drip[1], &n, sizeof(n)) != sizeof(n))
			notice("write gave an error: %s", strerror(errno));
	}
	return arg;
}

static void watch_answer(void)
{
	static uint64_t n;
	uint64_t answer = 0;
	int64_t begin = now_us();

	ssize_t put = write(to_child, &n, sizeof(n)), got = read(from_child, &answer, sizeof(answer));
	if (put != sizeof(n) || got != sizeof(answer) || answer != n * 3)
		notice("the child's answer: write gave %zd, read gave %zd, %llu for %llu", put, got,
			(unsigned long long)answer, (unsigned long long)n);
	judge("an answer of the child", begin, tick_ms / 2, 0, 0, 0, 0);
	n++;
}

static void child(int in, int out)
{
	struct timespec t = to_timespec(tick_ms * 500);
	uint64_t n;

	while (read(in, &n, sizeof(n)) == sizeof(n)) {
		clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
		n *= 3;
		if (write(out, &n, sizeof(n)) != sizeof(n))
			_exit(2);
	}
	_exit(0);
}

#ifdef __x86_64__
/* Fills registers, spins, and compares: false when one has changed */
static bool registers_hold(uint64_t seed)
{
	uint64_t in[8], out[8], spins = 300000;

	for (unsigned int i = 0; i < 8; i++)
		in[i] = seed * (2 * i + 3) ^ UINT64_C(0x5a5a5a5a00000000);
	__asm__ volatile(
		"movq %[in], %%rax\n\t"
		"movq 0(%%rax), %%r8\n\tmovq 8(%%rax), %%r9\n\tmovq 16(%%rax), %%r10\n\tmovq 24(%%rax), %%r11\n\t"
		"movq 32(%%rax), %%r12\n\tmovq 40(%%rax), %%r13\n\tmovups 0(%%rax), %%xmm5\n\tmovups 48(%%rax), "
		"%%xmm15\n\t"
		"1: decq %[spins]\n\tjnz 1b\n\t"
		"movq %[out], %%rax\n\t"
		"movq %%r8, 0(%%rax)\n\tmovq %%r9, 8(%%rax)\n\tmovq %%r10, 16(%%rax)\n\tmovq %%r11, 24(%%rax)\n\t"
		"movq %%r12, 32(%%rax)\n\tmovq %%r13, 40(%%rax)\n\tmovups %%xmm15, 48(%%rax)\n\t"
		: [spins] "+r"(spins)
		: [in] "b"(in), [out] "d"(out)
		: "rax", "r8", "r9", "r10", "r11", "r12", "r13", "xmm5", "xmm15", "memory", "cc");
	return memcmp(in, out, sizeof(in)) == 0;
}
#else
static bool registers_hold(uint64_t seed)
{
	return seed + 1 != seed;
}
#endif

static void watch_registers(void)
{
	sigset_t mask;

	if (!registers_hold(rounds[REGISTERS]))
		notice("a register has changed");
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	if (sigismember(&mask, SIGUSR2) != 1 || sigismember(&mask, SIGUSR1) != 0 || sigismember(&mask, SIGURG) != 0)
		notice("the signal mask has changed");
	usleep(1000);
}

static void watch_clock(void)
{
	static int64_t last;

	for (unsigned int i = 0; i < 20000; i++) {
		int64_t now = now_us();

		if (now < last)
			notice("the clock went back by %lld us", (long long)(last - now));
		if (last && now - last > late_ms * 1000)
			notice("nothing ran for %lld us", (long long)(now - last));
		last = now;
	}
	usleep(1000);
	last = now_us();
}

static void (*const watches[N_WATCHES])(void) = {
	[SLEEP] = watch_sleep,
	[LONG_SLEEP] = watch_long_sleep,
	[UNTIL] = watch_until,
	[POLL] = watch_poll,
	[FUTEX] = watch_futex,
	[READ] = watch_read,
	[ANSWER] = watch_answer,
	[REGISTERS] = watch_registers,
	[CLOCK] = watch_clock,
};

static void *watching(void *arg)
{
	uintptr_t n = (uintptr_t)arg;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	while (!stopping) {
		watches[n]();
		__atomic_fetch_add(&rounds[n], 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void start_child(void)
{
	int there[2], back[2];

	if (pipe(there) < 0 || pipe(back) < 0 || pipe(drip) < 0)
		abort();
	pid_t pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0) {
		close(there[1]);
		close(back[0]);
		child(there[0], back[1]);
	}
	close(there[0]);
	close(back[1]);
	to_child = there[1];
	from_child = back[0];
}

static void tell(int fd)
{
	char line[256];
	int len = 0;

	for (unsigned int i = 0; i < N_WATCHES; i++)
		len += snprintf(line + len, sizeof(line) - (size_t)len, "%10llu ", (unsigned long long)rounds[i]);
	line[len++] = '\n';
	if (pwrite(fd, line, (size_t)len, 0) != len)
		notice("cannot write down the progress: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	pthread_t thread[N_WATCHES], drops;

	if (argc > 1)
		tick_ms = atol(argv[1]);
	if (argc > 2)
		late_ms = atol(argv[2]);
	noticed_fd = open("noticed", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	int progress_fd = open("progress", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (noticed_fd < 0 || progress_fd < 0)
		return 3;
	start_child();
	for (uintptr_t i = 0; i < N_WATCHES; i++)
		if (pthread_create(&thread[i], NULL, watching, (void *)i) != 0)
			return 3;
	if (pthread_create(&drops, NULL, dripping, NULL) != 0)
		return 3;
	while (access("stop", F_OK) < 0) {
		tell(progress_fd);
		sleep_once(5);
	}
	stopping = true;
	for (unsigned int i = 0; i < N_WATCHES; i++)
		pthread_join(thread[i], NULL);
	close(to_child);
	int status;
	if (wait(&status) < 0 || status)
		notice("the child ended with status %#x", (unsigned int)status);
	tell(progress_fd);
	return n_noticed ? 1 : 0;
}
