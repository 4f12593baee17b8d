/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mapper HOW:FILE... - maps files, closes them, and tells what it sees
 *
 * HOW is p (private), r (shared, opened for reading only) or s (shared, to be written to). In what it has mapped privately it
 * writes to the second page, if there is one. Whenever a file "ask" is in the directory where it was started, it writes the
 * first word of each file to "said", and behind those it has mapped privately the first word of the second page, and removes
 * "ask". "ready" says that it has begun. Behind "u:UID" it goes on as that user, behind "x:" without its executable being mapped: what was
 * mapped of it is memory of its own.
 */
#include <err.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

struct view {
	char *at;
	size_t len;
	bool own;
};

static struct view map(const char *arg)
{
	const char how = arg[0], *file = arg + 2;
	struct view v = { .own = how == 'p' };
	struct stat st;
	int fd = open(file, how == 's' ? O_RDWR : O_RDONLY);

	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "%s", file);
	v.len = ((size_t)st.st_size + PAGE - 1) / PAGE * PAGE;
	v.at = mmap(NULL, v.len, PROT_READ | (how == 'r' ? 0 : PROT_WRITE), v.own ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	if (v.at == MAP_FAILED)
		err(1, "map %s", file);
	close(fd);
	if (v.own && v.len > PAGE)
		strcpy(v.at + PAGE, "own");
	return v;
}

static void become(const char *user)
{
	const unsigned int id = (unsigned int)atoi(user);

	if (setgroups(0, NULL) < 0 || setgid(id) < 0 || setuid(id) < 0)
		err(1, "user %s", user);
}

/* one call, made in the C library, puts a copy in the place of what the code returns to */
static void replace(char *at, size_t len, int prot)
{
	char *copy = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		err(1, "copy itself");
	memcpy(copy, at, len);
	if (mprotect(copy, len, prot) < 0 || mremap(copy, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED)
		err(1, "replace itself");
}

static void shed(void)
{
	unsigned long start[16], end[16];
	char exe[4096], line[4352], perms[16][5];
	FILE *f = fopen("/proc/self/maps", "r");
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	size_t n = 0;

	if (!f || len < 0)
		err(1, "see itself");
	exe[len] = '\0';
	while (n < 16 && fgets(line, sizeof(line), f)) {
		const char *path = strchr(line, '/');

		if (path && strncmp(path, exe, (size_t)len) == 0 && path[len] == '\n' &&
			sscanf(line, "%lx-%lx %4s", &start[n], &end[n], perms[n]) == 3)
			n++;
	}
	fclose(f);
	for (size_t i = 0; i < n; i++)
		replace((char *)start[i], end[i] - start[i],
			(perms[i][0] == 'r' ? PROT_READ : 0) | (perms[i][1] == 'w' ? PROT_WRITE : 0) |
				(perms[i][2] == 'x' ? PROT_EXEC : 0));
}

static void say(int dir, const struct view *v, int n)
{
	FILE *f = fdopen(openat(dir, "said.new", O_WRONLY | O_CREAT | O_TRUNC, 0644), "w");

	if (!f)
		err(1, "said.new");
	for (int i = 0; i < n; i++) {
		fprintf(f, "%s%.20s", i ? " " : "", v[i].at);
		if (v[i].own && v[i].len > PAGE)
			fprintf(f, " %.20s", v[i].at + PAGE);
	}
	fputc('\n', f);
	fclose(f);
	renameat(dir, "said.new", dir, "said");
	unlinkat(dir, "ask", 0);
}

int main(int argc, char **argv)
{
	static struct view views[20];
	int n = 0;

	for (int i = 1; i < argc && n < 20; i++)
		if (argv[i][0] == 'u')
			become(argv[i] + 2);
		else if (argv[i][0] == 'x')
			shed();
		else
			views[n++] = map(argv[i]);
	close(open("ready", O_WRONLY | O_CREAT, 0644));
	for (;; nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL))
		if (access("ask", F_OK) == 0)
			say(AT_FDCWD, views, n);
}
