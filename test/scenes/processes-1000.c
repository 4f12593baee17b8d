/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tree of a thousand processes, ten children to a parent. Each compares what is its own with what it was: pid, parent,
 * group, memory it shares copy-on-write with its parent. Leaves end with a status of their own, which the parent checks;
 * every tenth leaf is a zombie for most of the time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 1000
#define FAN	  10
#define ROUNDS	  30

static uint64_t *sums; /* shared with all */
static char common[65536];

static void nap(unsigned int ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

static void rounds(unsigned int n)
{
	pid_t pid = getpid(), parent = getppid(), group = getpgrp();
	uint64_t sum = 0;

	common[n * 61 % sizeof(common)] = (char)(n + 1);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		if (getpid() != pid || (n && getppid() != parent) || getpgrp() != group)
			_exit(101);
		if (common[n * 61 % sizeof(common)] != (char)(n + 1))
			_exit(102);
		sum = sum * 31 + n + i;
		nap(100);
	}
	sums[n] = sum;
}

static int status_of(unsigned int n)
{
	return (int)(n % 100);
}

static void branch(unsigned int n)
{
	pid_t child[FAN] = { 0 };

	for (unsigned int i = 0; i < FAN && n * FAN + i + 1 < PROCESSES; i++) {
		child[i] = fork();
		if (child[i] < 0)
			_exit(103);
		if (child[i])
			continue;
		if (n == 3)
			setpgid(0, 0);
		if (n * FAN + i + 1 < PROCESSES / FAN || i)
			branch(n * FAN + i + 1);
		sums[n * FAN + i + 1] = 1;
		_exit(status_of(n * FAN + i + 1));
	}
	rounds(n);
	for (unsigned int i = 0; i < FAN && child[i]; i++) {
		int status;

		if (waitpid(child[i], &status, 0) != child[i] || !WIFEXITED(status))
			_exit(104);
		if (WEXITSTATUS(status) != status_of(n * FAN + i + 1))
			_exit(WEXITSTATUS(status) > 100 ? WEXITSTATUS(status) : 105);
	}
	if (n)
		_exit(status_of(n));
}

int main(void)
{
	sums = mmap(NULL, PROCESSES * sizeof(*sums), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sums == MAP_FAILED)
		return 1;
	branch(0);
	FILE *out = fopen("out", "we");
	for (unsigned int n = 0; out && n < PROCESSES; n++)
		fprintf(out, "%u %llu\n", n, (unsigned long long)sums[n]);
	return !out || fclose(out) != 0;
}
