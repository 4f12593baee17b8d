/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory with a name: a semaphore and a piece of shared memory, in a process that has made them and one that has found them, mapped to be
 * written to, to be read, and privately; and one that is open and not mapped.
 */
#include <errno.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/witness.h"

#define PAGE 4096
#define INTS (PAGE / (int)sizeof(int))
#define SIZE (6 * PAGE - 100)
#define HOLE (64 << 20)

static char sem_name[64], shm_name[64], big_name[64], open_name[64];
static sem_t *sem;
static volatile int *shared, *reader, *own, *big;
static int open_fd = -1, too = -1;
static pid_t child;

/* of the child, as it sees them by addresses of its own */
static struct view {
	sem_t *sem;
	volatile int *shared;
} * view;

static void forget(void)
{
	if (getpid() == child || !*sem_name)
		return;
	sem_unlink(sem_name);
	shm_unlink(shm_name);
	shm_unlink(big_name);
	shm_unlink(open_name);
}

static volatile int *map(int fd, int prot, int how, size_t len)
{
	void *at = mmap(NULL, len, prot, how, fd, 0);

	if (at == MAP_FAILED)
		_exit(3);
	return at;
}

static void find_again(void)
{
	int fd = shm_open(shm_name, O_RDWR, 0);

	view->sem = sem_open(sem_name, 0);
	view->shared = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, SIZE);
	close(fd);
}

static int make_shm(const char *name, off_t size)
{
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0640);

	if (fd < 0 || fchmod(fd, 0640) < 0 || ftruncate(fd, size) < 0)
		_exit(3);
	return fd;
}

static void make(void)
{
	snprintf(sem_name, sizeof(sem_name), "/witness-sem.%d", getpid());
	snprintf(shm_name, sizeof(shm_name), "/witness-shm.%d", getpid());
	snprintf(big_name, sizeof(big_name), "/witness-big.%d", getpid());
	snprintf(open_name, sizeof(open_name), "/witness-open.%d", getpid());
	atexit(forget);
	sem = sem_open(sem_name, O_CREAT | O_EXCL, 0600, 7);
	if (sem == SEM_FAILED)
		_exit(3);
	int fd = make_shm(shm_name, SIZE);
	shared = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, SIZE);
	own = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, SIZE);
	for (int i = 0; i < 6; i++)
		shared[i * INTS] = 100 + i;
	own[2 * INTS] = 4711;
	close(fd);
	fd = shm_open(shm_name, O_RDONLY, 0);
	reader = map(fd, PROT_READ, MAP_SHARED, SIZE);
	close(fd);
	fd = make_shm(big_name, HOLE);
	big = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, HOLE);
	big[1000 * INTS] = 99;
	close(fd);
	open_fd = make_shm(open_name, 10000);
	if (pwrite(open_fd, "word", 4, 5000) != 4 || lseek(open_fd, 5002, SEEK_SET) < 0)
		_exit(3);
	too = shm_open(open_name, O_RDONLY, 0);
	view = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	child = witness_child(find_again);
}

static int value(void)
{
	int v = -1;

	sem_getvalue(sem, &v);
	return v;
}

/* by its name, as another program would */
static int named_value(void)
{
	int v = -1;
	sem_t *again = sem_open(sem_name, 0);

	if (again == SEM_FAILED)
		return -1;
	sem_getvalue(again, &v);
	sem_close(again);
	return v;
}

static long in_file(const char *name, long at)
{
	int fd = shm_open(name, O_RDONLY, 0), v = -1;
	ssize_t n = pread(fd, &v, sizeof(v), at);

	close(fd);
	return n == sizeof(v) ? v : -1;
}

static struct stat state_of(const char *name)
{
	struct stat st = { 0 };
	int fd = shm_open(name, O_RDONLY, 0);

	if (fd < 0 || fstat(fd, &st) < 0)
		st.st_size = -1;
	close(fd);
	return st;
}

static int is_one_file(void)
{
	struct stat a, b, c = state_of(open_name);

	return fstat(open_fd, &a) == 0 && fstat(too, &b) == 0 && a.st_ino == b.st_ino && a.st_ino == c.st_ino;
}

static void look(void)
{
	char text[8] = "";

	SAY(value());
	sem_post(sem);
	SAY(named_value());
	SAY(witness_int_of(child, (volatile int *)view->sem) == *(volatile int *)sem);
	sem_wait(sem);
	for (int i = 0; i < 6; i++)
		SAY(shared[i * INTS]);
	for (int i = 0; i < 6; i++)
		SAY(own[i * INTS]);
	shared[INTS]++;
	SAY(reader[INTS] == shared[INTS]);
	SAY(in_file(shm_name, PAGE) == shared[INTS]);
	SAY(witness_int_of(child, &view->shared[INTS]) == shared[INTS]);
	shared[INTS]--;
	SAY(own[INTS]);
	SAY(mprotect((void *)reader, PAGE, PROT_READ | PROT_WRITE) < 0 ? errno : 0);
	SAY(state_of(shm_name).st_size);
	SAY(state_of(shm_name).st_mode);
	SAY(state_of(sem_name).st_size); /* none of that name: its file has another */
	SAY(big[1000 * INTS]);
	SAY(state_of(big_name).st_blocks);
	SAY(state_of(big_name).st_size);
	SAY(lseek(open_fd, 0, SEEK_CUR));
	SAY(pread(open_fd, text, 4, 5000));
	SAY(text);
	SAY(pread(too, text, 4, 9998));
	SAY(is_one_file());
	SAY(state_of(open_name).st_mode);
}

WITNESS(make, look)
