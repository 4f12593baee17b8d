/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#define PAGE 4096
#define INTS (PAGE / (int)sizeof(int))
#define MANY 40

static volatile int *closed, *hidden, *open_too;
static int open_fd, *echo; /* echo: memory that all can read */
static pid_t child;

static int *map(int *ret_fd, int pages)
{
	*ret_fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (*ret_fd < 0 || ftruncate(*ret_fd, pages * PAGE) < 0)
		return NULL;
	void *at = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
	if (at == MAP_FAILED)
		_exit(3);
	return at;
}

/* the child says what it sees, as nobody else can look */
static void answer(int signo)
{
	(void)signo;
	echo[1] = closed[5 * INTS];
	echo[2] = open_too[3 * INTS];
	__atomic_store_n(&echo[0], 1, __ATOMIC_SEQ_CST);
}

static void live(void)
{
	signal(SIGUSR1, answer);
}

static void make(void)
{
	int fd;

	closed = map(&fd, MANY);
	if (!closed)
		return;
	close(fd);
	for (int i = 5; i < MANY - 2; i++)
		closed[i * INTS] = 100 + i;
	hidden = map(&fd, 2);
	close(fd);
	hidden[INTS] = 7;
	mprotect((void *)hidden, 2 * PAGE, PROT_NONE);
	open_too = map(&open_fd, 8);
	open_too[3 * INTS] = 33;
	munmap((void *)(open_too + 6 * INTS), 2 * PAGE);
	echo = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child = witness_child(live);
}

static void ask_child(void)
{
	__atomic_store_n(&echo[0], 0, __ATOMIC_SEQ_CST);
	kill(child, SIGUSR1);
	for (int i = 0; i < 1000 && !__atomic_load_n(&echo[0], __ATOMIC_SEQ_CST); i++)
		witness_nap();
}

static void say_pages(const volatile int *at, int pages)
{
	unsigned char there[MANY] = "";

	SAY(mincore((void *)at, (size_t)pages * PAGE, there));
	for (int i = 0; i < pages; i++)
		if (there[i] & 1)
			witness_say("page %d: %d\n", i, at[i * INTS]);
}

/* not even by a system call of another */
static int is_secret(const volatile int *at)
{
	int fd = open("/proc/self/mem", O_RDONLY), v;
	ssize_t n = pread(fd, &v, sizeof(v), (off_t)(unsigned long)at);

	close(fd);
	return n < 0;
}

static void look(void)
{
	SAY(closed != NULL);
	if (!closed)
		return;
	say_pages(closed, MANY);
	SAY(is_secret(closed + 5 * INTS));
	SAY(is_secret(hidden));
	mprotect((void *)hidden, 2 * PAGE, PROT_READ);
	say_pages(hidden, 2);
	mprotect((void *)hidden, 2 * PAGE, PROT_NONE);
	say_pages(open_too, 6);
	closed[5 * INTS]++;
	open_too[3 * INTS]++;
	ask_child();
	SAY(echo[1]);
	SAY(echo[2]);
	closed[5 * INTS]--;
	open_too[3 * INTS]--;
}

WITNESS(make, look)
