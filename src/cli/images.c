/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The images of a job: NAME.000001.stasis and so on in its directory. Nothing else there is ever touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "cli/cli.h"

#define DIGITS_MIN 6
#define DIGITS_MAX 18

/* "NAME.000012.stasis" gives 12, moves *s behind it; false when it is something else */
static bool parse_image_name(const char **s, const char *name, uint64_t *ret)
{
	static const char suffix[] = ".stasis";
	size_t len = strlen(name);
	const char *p = *s;

	if (strncmp(p, name, len) != 0 || p[len] != '.')
		return false;
	p += len + 1;
	size_t digits = strspn(p, "0123456789");
	if (digits < DIGITS_MIN || digits > DIGITS_MAX || parse_u64(&p, 10, ret) < 0)
		return false;
	if (strncmp(p, suffix, strlen(suffix)) != 0)
		return false;
	*s = p + strlen(suffix);
	return true;
}

static DIR *open_again(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	DIR *d = fdopendir(fd);
	if (!d)
		fd_close(fd);
	return d;
}

static int by_number(const void *a, const void *b)
{
	const struct image_file *x = a, *y = b;

	return (x->n > y->n) - (x->n < y->n);
}

int images_list(struct arena *a, int dirfd, const char *name, struct span *ret)
{
	struct span found = { 0 };
	_cleanup_dir_ DIR *d = open_again(dirfd);
	if (!d)
		return -errno;

	errno = 0;
	for (struct dirent *e; (e = readdir(d)); errno = 0) {
		const char *end = e->d_name;
		struct image_file image = { 0 };
		struct stat st;

		if (!parse_image_name(&end, name, &image.n) || *end ||
			fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		image.size = (uint64_t)st.st_size;
		image.mtime = st.st_mtime;
		image.name = arena_strdup(a, e->d_name);
		*(struct image_file *)span_push(a, &found, sizeof(image)) = image;
	}
	if (errno)
		return -errno;
	if (found.n)
		qsort(found.at, found.n, sizeof(struct image_file), by_number);
	*ret = found;
	return 0;
}

int images_prune(struct arena *a, int dirfd, const char *name, unsigned int keep, uint64_t bad_from, uint64_t bad_to)
{
	struct span images = { 0 };
	unsigned int kept = 0;

	int r = images_list(a, dirfd, name, &images);
	for (size_t i = images.n; i-- > 0;) {
		const struct image_file *image = (const struct image_file *)images.at + i;
		bool is_bad = image->n >= bad_from && image->n < bad_to;

		if (!is_bad && kept < keep)
			kept++;
		else if (unlinkat(dirfd, image->name, 0) < 0 && errno != ENOENT)
			r = -errno;
	}
	return r;
}

void images_sweep(int dirfd, const char *name)
{
	_cleanup_dir_ DIR *d = open_again(dirfd);
	if (!d)
		return;

	/* ".NAME.000012.stasis.XXXXXX.tmp" */
	for (struct dirent *e; (e = readdir(d));) {
		const char *p = e->d_name + 1;
		uint64_t n;

		if (e->d_name[0] != '.' || !parse_image_name(&p, name, &n) || *p != '.')
			continue;
		size_t len = strlen(p);
		if (len >= 4 && strcmp(p + len - 4, ".tmp") == 0)
			unlinkat(dirfd, e->d_name, 0);
	}
}
