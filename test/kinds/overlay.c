/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files of overlayfs, of two layers below and the one above, and one that was written to since it came from below; mapped in all ways.
 */
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/witness.h"

#define PAGE 4096

static const char *const names[] = { "low", "deep", "up", "changed" };
static char *own[4], *shared[4], *reader[4], merged[PATH_MAX];

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX + 300];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || ftruncate(fd, 2 * PAGE) < 0)
		_exit(3);
	close(fd);
}

static int mount_layers(void)
{
	static const char *const dirs[] = { "one", "two", "disk", "disk/upper", "disk/work", "merged" };
	char options[5 * PATH_MAX];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		const char *dir = witness_path(dirs[i]);

		if (mkdir(dir, 0755) < 0 || (i < 3 && mount("witness", dir, "tmpfs", 0, NULL) < 0))
			return -1;
	}
	write_file(witness_path("one"), "low", "low");
	write_file(witness_path("one"), "changed", "before");
	write_file(witness_path("two"), "deep", "deep");
	snprintf(options, sizeof(options), "lowerdir=%s:%s,upperdir=%s,workdir=%s", witness_path("one"),
		witness_path("two"), witness_path("disk/upper"), witness_path("disk/work"));
	snprintf(merged, sizeof(merged), "%s", witness_path("merged"));
	return mount("witness", merged, "overlay", 0, options);
}

static void make(void)
{
	if (mount_layers() < 0) {
		witness_hidden("overlayfs cannot be mounted");
		snprintf(merged, sizeof(merged), "%s", witness_dir);
		write_file(merged, "low", "low");
		write_file(merged, "deep", "deep");
	}
	write_file(merged, "up", "up");
	write_file(merged, "changed", "changed");
	for (int i = 0; i < 4; i++) {
		char path[PATH_MAX + 300];

		snprintf(path, sizeof(path), "%s/%s", merged, names[i]);
		int fd = open(path, O_RDONLY);
		own[i] = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		reader[i] = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		fd = open(path, i < 2 ? O_RDONLY : O_RDWR);
		shared[i] = mmap(NULL, 2 * PAGE, PROT_READ | (i < 2 ? 0 : PROT_WRITE), MAP_SHARED, fd, 0);
		close(fd);
		own[i][PAGE] = 'o';
	}
}

static int lines(const char *what)
{
	char line[PATH_MAX + 200];
	FILE *f = fopen("/proc/self/maps", "re");
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	if (f)
		fclose(f);
	return n;
}

static void look(void)
{
	for (int i = 0; i < 4; i++) {
		SAY(own[i]);
		SAY(own[i][PAGE]);
		SAY(reader[i]);
		SAY(shared[i]);
	}
	shared[3][1]++;
	SAY(reader[3][1] == shared[3][1]);
	shared[3][1]--;
	SAY(lines("/low\n"));
	SAY(lines("/changed\n"));
	SAY(lines("(deleted)"));
}

WITNESS(make, look)
