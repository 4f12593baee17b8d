/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that are mapped and deleted: with a page of the mapping's own, pages that nobody has touched, a hole, and nothing behind the
 * end; by a child that has a page of its own as well; shared and written to; and one that is open besides.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "lib/witness.h"

#define PAGE   4096
#define INTS   (PAGE / (int)sizeof(int))
#define PAGES  12
#define SPARSE (64 << 20)

static volatile int *lib, *text, *shared, *reader, *opened, *opened_too, *own, *sparse;
static int open_fd;
static pid_t child;

static int make_file(const char *name, int pages)
{
	int fd = open(witness_path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	for (int i = 0; fd >= 0 && i < pages; i++) {
		int value = 1000 + i;

		if (i == 5) /* a hole */
			continue;
		if (pwrite(fd, &value, sizeof(value), (off_t)i * PAGE) != sizeof(value))
			_exit(3);
	}
	return fd;
}

static volatile int *map(int fd, int prot, int how, int from, int pages)
{
	void *at = mmap(NULL, (size_t)pages * PAGE, prot, how, fd, (off_t)from * PAGE);

	return at == MAP_FAILED ? NULL : at;
}

/* the child has a page of its own in what both have mapped privately */
static void live(void)
{
	lib[2 * INTS] = 7777;
}

static int childs(const volatile int *at)
{
	return witness_int_of(child, at);
}

static void make(void)
{
	int fd = make_file("lib", PAGES);

	lib = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, PAGES);
	text = map(fd, PROT_READ | PROT_EXEC, MAP_PRIVATE, 2, 4);
	lib[INTS] = 4711;
	close(fd);
	unlink(witness_path("lib"));

	fd = make_file("own", 2);
	own = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, 3);
	own[0] = 1;
	own[INTS] = 2;
	close(fd);
	unlink(witness_path("own"));

	fd = make_file("shared", PAGES);
	shared = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 0, PAGES);
	close(fd);
	fd = open(witness_path("shared"), O_RDONLY | O_CLOEXEC);
	reader = map(fd, PROT_READ, MAP_SHARED, 1, 2);
	close(fd);
	unlink(witness_path("shared"));
	shared[INTS] = 123;
	shared[8 * INTS] = 0;

	open_fd = make_file("opened", PAGES);
	opened = map(open_fd, PROT_READ | PROT_WRITE, MAP_SHARED, 1, 2);
	opened_too = map(open_fd, PROT_READ, MAP_PRIVATE, 1, 3);
	unlink(witness_path("opened"));

	char name[32];
	snprintf(name, sizeof(name), "/witness-deleted.%d", getpid());
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || ftruncate(fd, SPARSE) < 0)
		_exit(3);
	sparse = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 0, SPARSE / PAGE);
	close(fd);
	shm_unlink(name);
	sparse[100 * INTS] = 99;
	child = witness_child(live);
}

/* what /proc/self/maps says of the mapping that begins at @at; of its name the last part */
static void find(const volatile int *at, unsigned long *ret_dev, unsigned long *ret_ino, char *ret_name)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 200];

	*ret_ino = *ret_dev = 0;
	ret_name[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long start, major, minor, ino;
		char name[PATH_MAX] = "";

		if (sscanf(line, "%lx-%*x %*s %*x %lx:%lx %lu %4095[^\n]", &start, &major, &minor, &ino, name) < 4 ||
			start != (unsigned long)(uintptr_t)at)
			continue;
		*ret_dev = major << 20 | minor;
		*ret_ino = ino;
		snprintf(ret_name, PATH_MAX, "%s", strrchr(name, '/') ? strrchr(name, '/') : name);
	}
	if (f)
		fclose(f);
}

static int same_inode(const volatile int *a, const volatile int *b)
{
	unsigned long dev[2], ino[2];
	char name[PATH_MAX];

	find(a, &dev[0], &ino[0], name);
	find(b, &dev[1], &ino[1], name);
	return ino[0] && ino[0] == ino[1] && dev[0] == dev[1];
}

static const char *name_of(const volatile int *at)
{
	static char name[PATH_MAX];
	unsigned long dev, ino;

	find(at, &dev, &ino, name);
	return name;
}

static int ends_by_bus_error(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
		_exit(own[2 * INTS]);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

static int where(const volatile int *at)
{
	unsigned long dev, ino;
	struct stat st;
	char name[PATH_MAX];

	find(at, &dev, &ino, name);
	return fstat(open_fd, &st) == 0 && st.st_ino == ino;
}

/* nothing was read that was not there */
static int is_mostly_holes(const volatile int *at)
{
	static unsigned char in_core[SPARSE / PAGE];
	int n = 0;

	if (mincore((void *)at, SPARSE, in_core) < 0)
		return -1;
	for (int i = 0; i < SPARSE / PAGE; i++)
		n += in_core[i] & 1;
	return n < 10;
}

static void look(void)
{
	for (int i = 0; i < PAGES; i++)
		SAY(lib[i * INTS]);
	for (int i = 0; i < 4; i++)
		SAY(text[i * INTS]);
	SAY(childs(&lib[INTS]));
	SAY(childs(&lib[2 * INTS]));
	SAY(childs(&lib[3 * INTS]));
	SAY(same_inode(lib, text));
	SAY(name_of(lib));
	SAY(name_of(text));
	SAY(own[0]);
	SAY(own[INTS]);
	SAY(ends_by_bus_error());
	for (int i = 0; i < PAGES; i++)
		SAY(shared[i * INTS]);
	shared[2 * INTS]++;
	SAY(reader[INTS] == shared[2 * INTS]);
	SAY(childs(&shared[2 * INTS]) == shared[2 * INTS]);
	SAY(childs(&reader[INTS]) == shared[2 * INTS]);
	shared[2 * INTS]--;
	SAY(same_inode(shared, reader));
	SAY(name_of(shared));
	SAY(sparse[100 * INTS]);
	SAY(childs(&sparse[100 * INTS]));
	SAY(is_mostly_holes(sparse));
	SAY(mprotect((void *)reader, 2 * PAGE, PROT_READ | PROT_WRITE) < 0 ? errno : 0);
	int in_file = -1;
	struct stat st = { 0 };
	opened[INTS]++;
	SAY(pread(open_fd, &in_file, sizeof(in_file), 2 * PAGE));
	SAY(in_file == opened[INTS]);
	SAY(opened_too[INTS] == in_file);
	SAY(childs(&opened[INTS]) == in_file);
	opened[INTS]--;
	SAY(pread(open_fd, &in_file, sizeof(in_file), 11 * PAGE));
	SAY(in_file);
	SAY(where(opened));
	SAY(where(opened_too));
	SAY(fstat(open_fd, &st));
	SAY(st.st_size);
	SAY(st.st_mode);
	SAY(st.st_nlink);
}

WITNESS(make, look)
