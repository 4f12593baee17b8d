/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "proc/proc.h"

#define PREFIX "stasis."

static int find_own(struct arena *a, const char **mount, const char **path)
{
	_cleanup_close_ int procfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (procfd < 0 || self < 0)
		return -errno;
	int r = proc_cgroup2_mount(a, procfd, mount);
	return r < 0 ? r : proc_cgroup(a, self, path);
}

/* with all groups below it, which the program has made; one that is in use cannot be removed: -errno */
static int remove_group(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_dir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			remove_group(dirfd(d), e->d_name);
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* those of programs whose supervisor was killed; one that is in use cannot be removed */
static void sweep(const char *parent)
{
	_cleanup_dir_ DIR *d = opendir(parent);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
			remove_group(dirfd(d), e->d_name);
}

void cgroup_make(pid_t pid, char *ret, size_t len)
{
	const char *mount, *path;
	char procs[512], text[32];
	struct arena a;

	ret[0] = 0;
	arena_init(&a);
	int r = find_own(&a, &mount, &path);
	char *parent = r == 0 ? arena_printf(&a, "%s%s", mount, path[1] ? path : "") : NULL;
	if (parent)
		sweep(parent);
	if (parent && snprintf(ret, len, "%s/" PREFIX "%d", parent, pid) < (int)len && mkdir(ret, 0755) == 0) {
		snprintf(procs, sizeof(procs), "%s/cgroup.procs", ret);
		snprintf(text, sizeof(text), "%d", pid);
		if (write_text(AT_FDCWD, procs, text) < 0) {
			rmdir(ret);
			ret[0] = 0;
		}
	} else {
		ret[0] = 0;
	}
	arena_done(&a);
}

void cgroup_remove(const char *path)
{
	const struct timespec nap = { 0, 5000000 };

	/* the last process is still listed for a moment after it was waited for */
	for (int turn = 0; path[0] && turn < 20; turn++) {
		int r = remove_group(AT_FDCWD, path);

		if (r != -EBUSY)
			return;
		nanosleep(&nap, NULL);
	}
}
