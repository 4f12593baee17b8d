/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thousand threads that compare what is theirs with what it was at the beginning: tid, name, thread-local memory, signal
 * mask, the stack. A mutex and a condition variable are passed around by all.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 1000
#define ROUNDS	30

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER;
static unsigned int arrived, wrong;
static uint64_t sums[THREADS];
static __thread uint64_t mine;

static void wrong_in(unsigned long n, const char *what)
{
	printf("thread %lu: %s\n", n, what);
	__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
}

static void check(unsigned long n, pid_t tid, const volatile char *stack)
{
	char name[16], now[16];
	sigset_t mask;

	snprintf(name, sizeof(name), "number %lu", n);
	pthread_getname_np(pthread_self(), now, sizeof(now));
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	if (strcmp(name, now) != 0)
		wrong_in(n, "another name");
	if (gettid() != tid)
		wrong_in(n, "another tid");
	if (sigismember(&mask, SIGRTMIN + (int)(n % 20)) != 1)
		wrong_in(n, "another signal mask");
	if (stack[n % 512] != (char)n)
		wrong_in(n, "another stack");
}

static void *body(void *arg)
{
	unsigned long n = (unsigned long)arg;
	volatile char stack[512];
	char name[16];
	sigset_t mask;

	for (size_t i = 0; i < sizeof(stack); i++)
		stack[i] = (char)n;
	snprintf(name, sizeof(name), "number %lu", n);
	pthread_setname_np(pthread_self(), name);
	sigemptyset(&mask);
	sigaddset(&mask, SIGRTMIN + (int)(n % 20));
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	pid_t tid = gettid();

	pthread_mutex_lock(&lock);
	if (++arrived == THREADS)
		pthread_cond_broadcast(&go);
	while (arrived < THREADS)
		pthread_cond_wait(&go, &lock);
	pthread_mutex_unlock(&lock);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		mine = mine * 31 + n + i;
		check(n, tid, stack);
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	sums[n] = mine;
	return NULL;
}

int main(void)
{
	static pthread_t thread[THREADS];
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 << 10);
	for (unsigned long n = 0; n < THREADS; n++)
		if (pthread_create(&thread[n], &attr, body, (void *)n) != 0)
			return 1;
	for (unsigned long n = 0; n < THREADS; n++)
		pthread_join(thread[n], NULL);

	FILE *out = fopen("out", "we");
	for (unsigned long n = 0; out && n < THREADS; n++)
		fprintf(out, "%lu %llu\n", n, (unsigned long long)sums[n]);
	fprintf(out, "wrong: %u\n", wrong);
	return fclose(out) != 0 || wrong;
}
