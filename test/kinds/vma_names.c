/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Anonymous memory with names (PR_SET_VMA_ANON_NAME), private and shared, in a process and in its child, which has changed some.
 */
#include <errno.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "lib/witness.h"

#define PAGE 4096

static char *plain, *odd, *shared, *halves, *empty;
static pid_t child;

static int name(void *at, size_t len, const char *text)
{
	return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, len, text) < 0 ? errno : 0;
}

static char *map(int flags)
{
	char *at = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	munmap(at, PAGE); /* nothing beside it to grow together with */
	munmap(at + 5 * PAGE, PAGE);
	at[PAGE] = 'x';
	return at + PAGE;
}

static void rename_some(void)
{
	name(plain, 4 * PAGE, NULL);
	name(odd, 4 * PAGE, "of the child");
	name(shared, 2 * PAGE, "of the child");
	mprotect(halves, PAGE, PROT_READ);
}

static void make(void)
{
	plain = map(MAP_PRIVATE);
	odd = map(MAP_PRIVATE);
	shared = map(MAP_SHARED);
	halves = map(MAP_PRIVATE);
	empty = map(MAP_PRIVATE);
	if (name(plain, 4 * PAGE, "heap of the interpreter") == EINVAL)
		witness_hidden("this kernel keeps no names of memory (CONFIG_ANON_VMA_NAME)");
	name(odd, 4 * PAGE, " a (deleted) \"name\": /dev/zero~!@#%^&*-+={}|;'<>,.?  of seventy-nine characters ");
	name(shared, 4 * PAGE, "shared by all");
	name(halves, 2 * PAGE, "one half");
	name(halves + 2 * PAGE, 2 * PAGE, "the other half");
	name(empty, 4 * PAGE, "");
	child = witness_child(rename_some);
}

/* what /proc/PID/maps says behind the inode of each mapping between @at and its end */
static const char *names(pid_t pid, const char *at)
{
	static char all[1024];
	char path[64], line[512];
	unsigned long start, end;
	int behind;

	all[0] = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s%n", &start, &end, &behind) < 2 || start < (unsigned long)at ||
			end > (unsigned long)at + 4 * PAGE)
			continue;
		line[strcspn(line, "\n")] = 0;
		strcat(all, strchr(line, '[') ? strchr(line, '[') : strchr(line, '/') ? "a file" : "none");
		strcat(all, "\n");
	}
	if (f)
		fclose(f);
	return all;
}

static void look(void)
{
	SAY(names(getpid(), plain));
	SAY(names(getpid(), odd));
	SAY(names(getpid(), shared));
	SAY(names(getpid(), halves));
	SAY(names(getpid(), empty));
	SAY(names(child, plain));
	SAY(names(child, odd));
	SAY(names(child, shared));
	SAY(names(child, halves));
	SAY(names(child, empty));
	SAY(plain[0] + odd[0] + shared[0] + halves[0]);
}

WITNESS(make, look)
