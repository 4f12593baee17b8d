/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/witness.h"

#define PAGE 4096

static volatile int *all, *half, *late, *nameless, *opened;
static int opened_fd;
static pid_t child;

/* the child has only a part of it, and answers what it reads there */
static void answer(void)
{
	munmap((void *)all, 4 * PAGE);
}

/* memory that only processes which have ended have ever touched */
static int write_late(void)
{
	late[PAGE / 4] = 4711;
	return 0;
}

static int read_late(void)
{
	return late[PAGE / 4] == 4711 && late[0] == 0;
}

static void make(void)
{
	char name[64];

	all = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	half = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 16; i += 3)
		all[i * PAGE / 4] = 1000 + i;
	half[0] = 5;
	mprotect((void *)half, 4 * PAGE, PROT_READ);
	late = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	witness_in_child(write_late);
	snprintf(name, sizeof(name), "/stasis-witness.%d", getpid());
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || ftruncate(fd, 3 * PAGE) < 0)
		exit(1);
	nameless = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	shm_unlink(name);
	close(fd);
	nameless[2 * PAGE / 4] = 33;
	opened_fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0640);
	if (opened_fd < 0 || ftruncate(opened_fd, 2 * PAGE + 100) < 0)
		exit(1);
	opened = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, opened_fd, 0);
	shm_unlink(name);
	opened[PAGE / 4] = 44;
	child = witness_child(answer);
}

static int childs(const volatile int *at)
{
	return witness_int_of(child, at);
}

static void look(void)
{
	for (int i = 0; i < 16; i++) {
		SAY(all[i * PAGE / 4]);
		SAY(childs(&all[i * PAGE / 4]));
	}
	all[9 * PAGE / 4]++;
	SAY(childs(&all[9 * PAGE / 4]) == all[9 * PAGE / 4]);
	all[9 * PAGE / 4]--;
	SAY(nameless[0]);
	nameless[2 * PAGE / 4]++;
	SAY(childs(&nameless[2 * PAGE / 4]) == nameless[2 * PAGE / 4]);
	nameless[2 * PAGE / 4]--;
	SAY(nameless[2 * PAGE / 4]);
	int in_file = -1;
	struct stat st = { 0 };
	opened[PAGE / 4]++;
	SAY(childs(&opened[PAGE / 4]) == opened[PAGE / 4]);
	SAY(pread(opened_fd, &in_file, sizeof(in_file), PAGE));
	SAY(in_file);
	opened[PAGE / 4]--;
	SAY(fstat(opened_fd, &st));
	SAY(st.st_size);
	SAY(st.st_mode);
	SAY(st.st_nlink);
	SAY(half[0]);
	SAY(childs(half));
	SAY(witness_in_child(read_late));
}

WITNESS(make, look)
