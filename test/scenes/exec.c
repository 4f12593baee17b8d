/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* exec N - a process with many threads, one of which, never the first, executes the program anew; N times, then it says so */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char next[16];

static void *idle(void *unused)
{
	for (;;)
		usleep(300);
	return unused;
}

static void *execute(void *unused)
{
	usleep((unsigned int)(1000 + atoi(next) * 37 % 4000));
	execl("/proc/self/exe", "exec", next, (char *)NULL);
	perror("execl");
	exit(1);
	return unused;
}

int main(int argc, char **argv)
{
	int n = argc == 2 ? atoi(argv[1]) : 0;
	pthread_t thread;

	if (n == 0) {
		printf("done as %d\n", getpid());
		return 0;
	}
	snprintf(next, sizeof(next), "%d", n - 1);
	for (int i = 0; i < 20; i++)
		if (pthread_create(&thread, NULL, idle, NULL))
			return 2;
	if (pthread_create(&thread, NULL, execute, NULL))
		return 2;
	for (;;)
		usleep(500);
}
