/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many children of one process, each of which differs from it in something that fork(2) had passed on.
 */
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "lib/witness.h"

#define CHILDREN 90
#define PAGE	 4096ul
#define PAGES	 16ul

static pid_t child[CHILDREN];
static unsigned char *area;
static int made[2];

static void handle(int signo)
{
}

static void set_signals(int n)
{
	signal(SIGUSR1, SIG_IGN);
	signal(SIGRTMIN + n % 8, handle);
}

static void set_umask(int n)
{
	umask((mode_t)(n & 0077));
}

static void set_directory(int n)
{
	if (chdir(n & 1 ? "/" : "/tmp") < 0)
		_exit(4);
}

static void set_limit(int n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) < 0)
		_exit(4);
	limit.rlim_cur = 0;
	limit.rlim_max = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
	if (setrlimit(RLIMIT_CORE, &limit) < 0)
		_exit(4);
}

static void set_memory(int n)
{
	memset(area, n, PAGE);
	if (munmap(area + 2 * PAGE, PAGE) < 0 || madvise(area + 4 * PAGE, 2 * PAGE, MADV_DONTNEED) < 0 ||
		mprotect(area + 7 * PAGE, PAGE, PROT_NONE) < 0)
		_exit(4);
	memset(area + (unsigned int)(9 + n % 6) * PAGE, n, PAGE);
}

static void write_proc(const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(4);
	close(fd);
}

static void set_core(int n)
{
	write_proc("coredump_filter", n & 1 ? "0x7" : "0x21");
	write_proc("oom_score_adj", n & 1 ? "500" : "600");
}

static void set_rest(int n)
{
	char name[16];

	snprintf(name, sizeof(name), "child %d", n);
	if (prctl(PR_SET_NAME, name) < 0 || setpriority(PRIO_PROCESS, 0, 5 + n % 5) < 0)
		_exit(4);
}

static void nothing(int n)
{
}

static void (*const change[])(
	int n) = { nothing, set_signals, set_umask, set_directory, set_limit, set_memory, set_core, set_rest };

static void make(void)
{
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED || pipe(made) < 0)
		_exit(4);
	memset(area, 0xff, 9 * PAGE);
	signal(SIGUSR2, handle);
	for (int n = 0; n < CHILDREN; n++) {
		child[n] = fork();
		if (child[n] < 0)
			_exit(4);
		if (child[n] == 0) {
			change[(unsigned int)n % (sizeof(change) / sizeof(change[0]))](n);
			if (write(made[1], "", 1) != 1)
				_exit(4);
			for (;;)
				pause();
		}
		char byte;
		if (read(made[0], &byte, 1) != 1)
			_exit(4);
		witness_children[witness_n_children++] = child[n];
	}
}

/* those lines of a file of /proc that begin with one of @keys */
static void say_lines(pid_t pid, const char *name, const char *const *keys)
{
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		for (const char *const *key = keys; *key; key++)
			if (strncmp(line, *key, strlen(*key)) == 0)
				witness_say("%s", line);
	if (f)
		fclose(f);
}

static void say_memory(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	int mem = open(path, O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < PAGES; i++) {
		unsigned char byte;

		if (pread(mem, &byte, 1, (off_t)(uintptr_t)(area + i * PAGE)) == 1)
			witness_say(" %d", byte);
		else
			witness_say(" none");
	}
	witness_say("\n");
	close(mem);
}

static void say_link(pid_t pid, const char *name)
{
	char path[64], to[256];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	ssize_t n = readlink(path, to, sizeof(to));
	witness_say("%s: %.*s\n", name, n < 0 ? 0 : (int)n, to);
}

static void look(void)
{
	static const char *const status[] = { "Name:", "Umask:", "SigIgn:", "SigCgt:", NULL };
	static const char *const limits[] = { "Max core", NULL }, *const all[] = { "", NULL };

	for (int n = 0; n < CHILDREN; n++) {
		SAY(n);
		say_lines(child[n], "status", status);
		say_lines(child[n], "limits", limits);
		say_lines(child[n], "coredump_filter", all);
		say_lines(child[n], "oom_score_adj", all);
		SAY(getpriority(PRIO_PROCESS, (id_t)child[n]));
		say_link(child[n], "cwd");
		say_link(child[n], "exe");
		say_memory(child[n]);
	}
}

WITNESS(make, look)
