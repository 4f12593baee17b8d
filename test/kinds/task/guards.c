/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory with guard pages, in a process and in its child, which has others.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "lib/witness.h"

#define PAGE	      4096
#define GUARD_INSTALL 102 /* MADV_GUARD_INSTALL, Linux 6.13 */
#define GUARD_REMOVE  103

static char *memory, *of_file;
static int ask[2], answer[2];

/* the kernel touches it: no signal comes */
static int is_guarded(const char *at)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)at, 1 };

	return process_vm_readv(getpid(), &here, 1, &there, 1, 0) < 0 ? errno : 0;
}

static int seen(int page)
{
	return is_guarded(memory + page * PAGE) != 0;
}

static void be_child(void)
{
	char page;

	madvise(memory + PAGE, PAGE, GUARD_REMOVE);
	madvise(memory + 5 * PAGE, PAGE, GUARD_INSTALL);
	for (;;) {
		if (read(ask[0], &page, 1) != 1)
			_exit(0);
		page = (char)seen(page);
		if (write(answer[1], &page, 1) != 1)
			_exit(0);
	}
}

static void make(void)
{
	int fd = open(witness_path("f"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (pipe(ask) < 0 || pipe(answer) < 0 || ftruncate(fd, 4 * PAGE) < 0)
		_exit(3);
	of_file = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	madvise(of_file + PAGE, PAGE, GUARD_INSTALL); /* Linux 6.15 */
	memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(memory, 'm', 8 * PAGE);
	madvise(memory + PAGE, 2 * PAGE, GUARD_INSTALL);
	mlock(memory, 4 * PAGE);
	if (fork() == 0) {
		close(ask[1]);
		be_child();
	}
	close(ask[0]);
}

static int child_sees(char page)
{
	return write(ask[1], &page, 1) == 1 && read(answer[0], &page, 1) == 1 ? page : -1;
}

static void look(void)
{
	for (int i = 0; i < 8; i++) {
		SAY(seen(i));
		SAY(child_sees((char)i));
		if (!seen(i))
			SAY(memory[i * PAGE]);
	}
	SAY(is_guarded(of_file + PAGE));
	SAY(is_guarded(of_file));
}

WITNESS(make, look)
