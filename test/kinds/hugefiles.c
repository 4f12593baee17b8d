/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of a hugetlbfs: mapped and closed, and open besides; shared with a child, privately with pages of one's own, and for
 * reading only; and others that have been deleted. Only root can have such a file system for itself.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/hugepool.h"
#include "lib/witness.h"

#define INTS (HUGE / sizeof(int))
#define POOL 24

static char dir[] = "/tmp/witness-hugefiles-XXXXXX";
static volatile int *shared, *beside, *reader, *own, *constant, *gone, *gone_own, *gone_too, *gone_reader;
static int open_fd = -1, gone_fd;
static pid_t child;

/* nothing is to be left behind: an outsider sees to that when this is over */
static void remove_at_end(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (fork() == 0) {
			close_range(0, ~0u, 0);
			setsid();
			while (access(witness_path("end"), F_OK) < 0 && access(witness_dir, F_OK) == 0)
				witness_nap();
			umount2(dir, MNT_DETACH);
			rmdir(dir);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static int make_file(const char *name, int flags, size_t pages)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, flags | O_CLOEXEC, 0640);
	if (fd < 0 || (flags & O_CREAT && ftruncate(fd, (off_t)(pages * HUGE)) < 0))
		_exit(3);
	return fd;
}

static volatile int *map(int fd, int prot, int how, size_t pages, size_t from)
{
	void *at = mmap(NULL, pages * HUGE, prot, how, fd, (off_t)(from * HUGE));

	if (at == MAP_FAILED)
		_exit(3);
	return at;
}

static void unlink_file(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

static int write_gone(void)
{
	gone_too[INTS + 9] = 99;
	return 0;
}

/* one is open as well, and the other is in nobody's page table */
static void make_gone(void)
{
	gone_fd = make_file("gone", O_RDWR | O_CREAT, 3);
	gone = map(gone_fd, PROT_READ | PROT_WRITE, MAP_SHARED, 2, 1);
	gone_own = map(gone_fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 2, 0);
	int fd = make_file("gone", O_RDONLY, 0);
	gone_reader = map(fd, PROT_READ, MAP_SHARED, 1, 1);
	close(fd);
	gone[0] = 77;
	gone_own[1] = 66;
	mprotect((void *)gone_own, HUGE, PROT_READ);
	lseek(gone_fd, HUGE, SEEK_SET);
	unlink_file("gone");
	fd = make_file("gone too", O_RDWR | O_CREAT, 3);
	gone_too = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 2, 0);
	close(fd);
	unlink_file("gone too");
	witness_in_child(write_gone);
}

static void live(void)
{
	gone_own[INTS] = 555;
	own[0] = 333;
	shared[2 * INTS] = 22;
}

static void make(void)
{
	if (!mkdtemp(dir) || mount("witness", dir, "hugetlbfs", 0, "pagesize=2M,mode=0755") < 0) {
		rmdir(dir);
		witness_hidden("no hugetlbfs can be mounted");
		return;
	}
	remove_at_end();
	if (!hugepool_have(POOL)) {
		witness_hidden(HUGEPOOL_WHY);
		return;
	}
	int fd = make_file("closed", O_RDWR | O_CREAT, 4);
	shared = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 1);
	close(fd);
	shared[0] = 11;
	fd = make_file("closed", O_RDONLY, 0);
	reader = map(fd, PROT_READ, MAP_SHARED, 2, 1);
	close(fd);
	open_fd = make_file("open", O_RDWR | O_CREAT, 3);
	lseek(open_fd, 4096, SEEK_SET);
	beside = map(open_fd, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	own = map(open_fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 2, 0);
	constant = map(open_fd, PROT_READ | PROT_WRITE, MAP_PRIVATE, 1, 1);
	beside[0] = 1;
	beside[INTS] = 2;
	own[INTS + 1] = 111;
	constant[1] = 222;
	mprotect((void *)constant, HUGE, PROT_READ);
	make_gone();
	child = witness_child(live);
}

static int childs(const volatile int *at)
{
	return witness_int_of(child, at);
}

static int errno_of(long r)
{
	return r < 0 ? errno : 0;
}

/* what maps says of the files */
static void say_maps(void)
{
	char line[512], prot[8], name[128];
	unsigned long offset;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, dir) && sscanf(line, "%*s %7s %lx %*s %*s %127[^\n]", prot, &offset, name) == 3)
			witness_say("%s %lx %s\n", prot, offset, name + sizeof(dir) - 1);
	if (f)
		fclose(f);
}

static void say_file(const char *name)
{
	char path[64];
	struct stat st = { 0 };

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	SAY(stat(path, &st));
	SAY(st.st_size / (long)HUGE);
	SAY(st.st_blocks / (long)(HUGE / 512));
}

static void look_gone(void)
{
	struct stat st = { 0 };
	int value = -1;

	SAY(fstat(gone_fd, &st));
	SAY(st.st_size / (long)HUGE);
	SAY(st.st_blocks / (long)(HUGE / 512));
	SAY(st.st_mode);
	SAY(st.st_nlink);
	SAY(read(gone_fd, &value, sizeof(value)));
	SAY(value);
	lseek(gone_fd, HUGE, SEEK_SET);
	SAY(gone[0]);
	SAY(gone_reader[0]);
	SAY(childs(gone));
	gone[0] = 78;
	SAY(gone_reader[0]);
	SAY(gone_own[INTS]);
	SAY(childs(gone));
	SAY(childs(gone_own + INTS));
	gone[0] = 77;
	SAY(gone_own[1]);
	SAY(errno_of(mprotect((void *)gone_own, HUGE, PROT_READ | PROT_WRITE)));
	SAY(errno_of(mprotect((void *)gone_own, HUGE, PROT_READ)));
	SAY(errno_of(mprotect((void *)gone_reader, HUGE, PROT_READ | PROT_WRITE)));
	SAY(gone_too[INTS + 9]);
}

static void look(void)
{
	int value = -1;

	SAY(open_fd >= 0);
	if (open_fd < 0)
		return;
	say_maps();
	say_file("closed");
	say_file("open");
	look_gone();
	SAY(shared[0]);
	SAY(shared[2 * INTS]);
	SAY(reader[0]);
	SAY(childs(shared));
	shared[0] = 12;
	SAY(reader[0]);
	SAY(childs(shared));
	shared[0] = 11;
	SAY(errno_of(mprotect((void *)reader, HUGE, PROT_READ | PROT_WRITE)));
	SAY(lseek(open_fd, 0, SEEK_CUR));
	SAY(pread(open_fd, &value, sizeof(value), HUGE));
	SAY(value);
	SAY(own[0]);
	SAY(own[INTS]);
	SAY(own[INTS + 1]);
	SAY(childs(own));
	SAY(childs(own + INTS + 1));
	SAY(constant[1]);
	beside[0] = 5; /* a page that is not the mapping's own, and one that is */
	beside[INTS] = 6;
	SAY(own[0]);
	SAY(own[INTS]);
	SAY(constant[0]);
	beside[0] = 1;
	beside[INTS] = 2;
	SAY(errno_of(mprotect((void *)constant, HUGE, PROT_READ | PROT_WRITE)));
	SAY(errno_of(mprotect((void *)constant, HUGE, PROT_READ)));
}

WITNESS(make, look)
