/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>

#include "lib/witness.h"

#define PAGE 4096

static char *zeros, *private_map, *shared_map, *read_map, *many[100];

/* as programs with many libraries do */
static void map_many(void)
{
	char name[16];

	for (size_t i = 0; i < sizeof(many) / sizeof(*many); i++) {
		snprintf(name, sizeof(name), "f%zu", i);
		int fd = open(witness_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (write(fd, name, sizeof(name)) < 0)
			exit(1);
		many[i] = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
		close(fd);
	}
}

static void make(void)
{
	int zero = open("/dev/zero", O_RDWR);

	zeros = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
	close(zero);
	zeros[2 * PAGE] = 'z';
	static char text[8 * PAGE];
	int fd = open(witness_path("f"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	memset(text, 'f', sizeof(text));
	if (write(fd, text, sizeof(text)) < 0)
		exit(1);
	private_map = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
	shared_map = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	read_map = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	memset(private_map + PAGE, 0, PAGE); /* zeros over what the file has */
	private_map[3 * PAGE] = 'p';
	mprotect(private_map, 6 * PAGE, PROT_READ);
	shared_map[7 * PAGE] = 's';
	close(fd);
	map_many();
}

static long in_file(long at)
{
	char c = 0;
	int fd = open(witness_path("f"), O_RDONLY);
	ssize_t n = pread(fd, &c, 1, at);

	close(fd);
	return n == 1 ? c : -1;
}

static void look(void)
{
	for (int i = 0; i < 6; i++)
		SAY(private_map[i * PAGE]);
	SAY(private_map[PAGE + 1]);
	SAY(shared_map[7 * PAGE]);
	shared_map[5 * PAGE] ^= 1; /* others see it at once */
	SAY(in_file(5 * PAGE) == shared_map[5 * PAGE]);
	shared_map[5 * PAGE] ^= 1;
	SAY(zeros[0]);
	SAY(zeros[2 * PAGE]);
	SAY(read_map[0]);
	SAY(in_file(4 * PAGE));
	for (size_t i = 0; i < sizeof(many) / sizeof(*many); i += 33)
		SAY(many[i]);
}

WITNESS(make, look)
