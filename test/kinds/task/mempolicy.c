/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory with policies of its own, where there is more than one node, and a child that has others.
 */
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define PAGE 4096

static char *bound, *preferred, *spread, *plain, *shared;
static pid_t child;

static void bind_to(char *at, size_t pages, int mode, unsigned long nodes)
{
	syscall(SYS_mbind, at, pages * PAGE, mode, &nodes, 64, 0);
}

static void change(void)
{
	bind_to(bound, 8, MPOL_BIND, 1);
	syscall(SYS_mbind, preferred, 8 * PAGE, MPOL_DEFAULT, NULL, 0, 0);
	bind_to(plain + 2 * PAGE, 2, MPOL_INTERLEAVE, 3);
}

static char *map(int flags)
{
	char *at = mmap(NULL, 10 * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	munmap(at, PAGE);
	munmap(at + 9 * PAGE, PAGE);
	return at + PAGE;
}

static void make(void)
{
	unsigned long nodes[16] = { 0 };

	syscall(SYS_get_mempolicy, NULL, nodes, 1024, NULL, MPOL_F_MEMS_ALLOWED);
	bound = map(MAP_PRIVATE);
	preferred = map(MAP_PRIVATE);
	spread = map(MAP_PRIVATE);
	plain = map(MAP_PRIVATE);
	shared = map(MAP_SHARED);
	if (nodes[0] != 3)
		witness_hidden("there is but one node here, on which policies say nothing");
	bind_to(bound, 8, MPOL_BIND | MPOL_F_STATIC_NODES, 2);
	bind_to(preferred, 8, MPOL_PREFERRED, 2);
	bind_to(spread + PAGE, 3, MPOL_INTERLEAVE, 3);
	bind_to(shared, 8, MPOL_BIND, 2);
	for (int i = 0; i < 8; i++)
		bound[i * PAGE] = preferred[i * PAGE] = spread[i * PAGE] = plain[i * PAGE] = shared[i * PAGE] = 'x';
	child = witness_child(change);
}

static const char *policies(pid_t pid, const char *at)
{
	static char all[1024];
	char path[64], line[4096], policy[64];
	unsigned long start;

	all[0] = 0;
	snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx %63s", &start, policy) == 2 && start >= (unsigned long)at &&
			start < (unsigned long)at + 8 * PAGE)
			sprintf(all + strlen(all), "%lu %s\n", (start - (unsigned long)at) / PAGE, policy);
	if (f)
		fclose(f);
	return all;
}

/* where the page is */
static int node(char *at)
{
	int where = -1;

	syscall(SYS_get_mempolicy, &where, NULL, 0, at, MPOL_F_NODE | MPOL_F_ADDR);
	return where;
}

static void look(void)
{
	SAY(policies(getpid(), bound));
	SAY(policies(getpid(), preferred));
	SAY(policies(getpid(), spread));
	SAY(policies(getpid(), plain));
	SAY(policies(getpid(), shared));
	SAY(policies(child, bound));
	SAY(policies(child, preferred));
	SAY(policies(child, spread));
	SAY(policies(child, plain));
	SAY(policies(child, shared));
	SAY(node(bound + 3 * PAGE));
	SAY(bound[0] + preferred[0] + spread[0] + plain[0] + shared[0]);
}

WITNESS(make, look)
