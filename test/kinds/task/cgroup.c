/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static char mount[PATH_MAX], top[PATH_MAX], name[64];
static pid_t child;
static sem_t moved;
static _Atomic pid_t thread_id;

/* "0::/a/b" of a cgroup file */
static void read_group(const char *file, char *ret, size_t len)
{
	char line[PATH_MAX + 8] = "";
	FILE *f = fopen(file, "re");

	ret[0] = 0;
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "0::", 3) == 0)
			snprintf(ret, len, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
	if (f)
		fclose(f);
}

static int find_mount(void)
{
	char line[4096], type[64];
	FILE *f = fopen("/proc/self/mounts", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %4000s %60s", mount, type) == 2 && strcmp(type, "cgroup2") == 0) {
			fclose(f);
			return 0;
		}
	if (f)
		fclose(f);
	return -1;
}

static void put(const char *below, const char *file, const char *text)
{
	char path[3 * PATH_MAX];

	snprintf(path, sizeof(path), "%s%s/%s/%s", mount, strcmp(top, "/") ? top : "", below, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			witness_say("%s: cannot\n", file);
		close(fd);
	}
}

static void group(const char *below)
{
	char path[3 * PATH_MAX];

	snprintf(path, sizeof(path), "%s%s/%s", mount, strcmp(top, "/") ? top : "", below);
	mkdir(path, 0755);
}

static void *thread(void *unused)
{
	char id[16], below[96];

	thread_id = gettid();
	snprintf(id, sizeof(id), "%d", gettid());
	snprintf(below, sizeof(below), "%s-t/inner", name);
	put(below, "cgroup.threads", id);
	sem_post(&moved);
	for (;;)
		pause();
	return unused;
}

static void in_child(void)
{
	char id[16], below[96];

	snprintf(id, sizeof(id), "%d", getpid());
	snprintf(below, sizeof(below), "%s/inner", name);
	put(below, "cgroup.procs", id);
}

static void remove_group(const char *below)
{
	char path[3 * PATH_MAX];

	snprintf(path, sizeof(path), "%s%s/%s", mount, strcmp(top, "/") ? top : "", below);
	rmdir(path);
}

/* the child is gone by then; whoever was moved is moved back */
static void end(void)
{
	static const char *const groups[] = { "/inner", "", "-t/inner", "-t" };
	char id[16], below[96];

	read_group("/proc/self/cgroup", top, sizeof(top));
	snprintf(id, sizeof(id), "%d", getpid());
	put(".", "cgroup.procs", id);
	for (int i = 0; i < 4; i++) {
		snprintf(below, sizeof(below), "%s%s", name, groups[i]);
		remove_group(below);
	}
}

static void make(void)
{
	char below[96];
	pthread_t t;

	if (find_mount() < 0)
		return;
	read_group("/proc/self/cgroup", top, sizeof(top));
	snprintf(name, sizeof(name), "witness-%d", getpid());
	group(name);
	snprintf(below, sizeof(below), "%s/inner", name);
	group(below);
	child = witness_child(in_child);
	snprintf(below, sizeof(below), "%s-t", name);
	group(below);
	put(below, "cgroup.type", "threaded");
	snprintf(below, sizeof(below), "%s-t/inner", name);
	group(below);
	put(below, "cgroup.type", "threaded");
	sem_init(&moved, 0, 0);
	pthread_create(&t, NULL, thread, NULL);
	sem_wait(&moved);
	atexit(end);
}

/* its own group is that of the place: what is below it */
static const char *below(const char *path)
{
	size_t n = strcmp(top, "/") ? strlen(top) : 0;

	return strncmp(path, top, n) ? "elsewhere" : path + n;
}

static void look(void)
{
	char path[PATH_MAX], file[64];

	read_group("/proc/self/cgroup", top, sizeof(top));
	snprintf(file, sizeof(file), "/proc/%d/cgroup", child);
	read_group(file, path, sizeof(path));
	SAY(below(path));
	snprintf(file, sizeof(file), "/proc/self/task/%d/cgroup", thread_id);
	read_group(file, path, sizeof(path));
	SAY(below(path));
}

WITNESS(make, look)
