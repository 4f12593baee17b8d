/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory with protection keys, and what a thread and a child may do with each.
 */
#include <errno.h>
#include <sys/mman.h>

#include "lib/witness.h"

#define PAGE 4096

static char *free_for_all, *read_only, *closed, *exec_only;
static int keys[4];
static pid_t child;

static const volatile char *byte;

/* a handler begins with other rights than what it interrupts */
static void end(int signo)
{
	_exit(signo);
}

static int read_it(void)
{
	return *byte;
}

static int write_it(void)
{
	*(volatile char *)byte = *byte;
	return 0;
}

static int get(const char *from)
{
	byte = from;
	return witness_in_child(read_it);
}

static int put(const char *to)
{
	byte = to;
	return witness_in_child(write_it);
}

static char *map(int key)
{
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	at[0] = 'x';
	pkey_mprotect(at, 2 * PAGE, PROT_READ | PROT_WRITE, key);
	return at;
}

static void change(void)
{
	pkey_mprotect(closed, PAGE, PROT_READ, keys[0]);
	pkey_free(keys[3]);
}

static void make(void)
{
	for (int i = 0; i < 4; i++)
		keys[i] = pkey_alloc(0, 0);
	signal(SIGSEGV, end);
	if (keys[0] < 0) {
		witness_hidden("this processor has no protection keys");
		return;
	}
	pkey_free(keys[1]); /* a gap in what is allocated */
	free_for_all = map(keys[0]);
	read_only = map(keys[2]);
	closed = map(keys[3]);
	exec_only = mmap(NULL, PAGE, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	child = witness_child(change);
	pkey_set(keys[2], PKEY_DISABLE_WRITE);
	pkey_set(keys[3], PKEY_DISABLE_ACCESS);
}

static int key_of(pid_t pid, const char *at)
{
	char path[64], line[512];
	unsigned long start, end;
	int key = -1, ours = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s", &start, &end) == 2)
			ours = start <= (unsigned long)at && end > (unsigned long)at;
		if (ours && key < 0)
			sscanf(line, "ProtectionKey: %d", &key);
	}
	if (f)
		fclose(f);
	return key;
}

/* those that are free */
static unsigned int spare(void)
{
	unsigned int all = 0;
	int key;

	while ((key = pkey_alloc(0, 0)) > 0)
		all |= 1u << key;
	for (key = 1; key < 16; key++)
		if (all & 1u << key)
			pkey_free(key);
	return all;
}

static void look(void)
{
	SAY(keys[0]);
	if (keys[0] < 0)
		return;
	for (int i = 0; i < 2; i++) {
		pid_t pid = i ? child : getpid();

		SAY(key_of(pid, free_for_all));
		SAY(key_of(pid, read_only));
		SAY(key_of(pid, closed));
		SAY(key_of(pid, closed + PAGE));
		SAY(key_of(pid, exec_only) > 0);
	}
	SAY(get(free_for_all));
	SAY(put(free_for_all));
	SAY(get(read_only));
	SAY(put(read_only));
	SAY(get(closed));
	SAY(pkey_get(keys[2]));
	SAY(pkey_get(keys[3]));
	SAY(spare());
}

WITNESS(make, look)
