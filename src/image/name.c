/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "image/name.h"

#define TEMP_BASE  200 /* how much of NAME a temporary name holds, so that NAME_MAX is not exceeded */
#define TEMP_TRIES 100

/* Set n->temp to a name that nobody is likely to have. */
static int new_temp(struct image_name *n)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	uint8_t random[6];
	char tail[sizeof(random) + 1] = "";

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	for (size_t i = 0; i < sizeof(random); i++)
		tail[i] = letters[random[i] % (sizeof(letters) - 1)];
	free(n->temp);
	if (asprintf(&n->temp, ".%.*s.%s.tmp", TEMP_BASE, n->base, tail) < 0) {
		n->temp = NULL;
		return -ENOMEM;
	}
	return 0;
}

static void drop_temp(struct image_name *n)
{
	free(n->temp);
	n->temp = NULL;
}

/* Only a regular file may lose its name to an image: not a device, not a link. */
static int check_target(const struct image_name *n, bool *ret_exists)
{
	struct stat st;

	if (fstatat(n->dir, n->base, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		*ret_exists = false;
		return errno == ENOENT ? 0 : -errno;
	}
	*ret_exists = true;
	return S_ISREG(st.st_mode) ? 0 : -EEXIST;
}

static int open_dir(struct image_name *n, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;

	if (!*path)
		return -ENOENT;
	if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return -EISDIR;
	_cleanup_free_ char *dir = slash ? strndup(path, (size_t)(base - path)) : strdup(".");
	n->base = strdup(base);
	if (!dir || !n->base)
		return -ENOMEM;
	n->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return n->dir < 0 ? -errno : 0;
}

/* The way by which a file without a name gets one. */
static void proc_path(const struct image_name *n, char *buf, size_t len)
{
	snprintf(buf, len, "/proc/self/fd/%d", n->fd);
}

static int open_nameless(struct image_name *n)
{
	char path[32];

	n->fd = openat(n->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (n->fd < 0)
		return -errno;
	proc_path(n, path, sizeof(path));
	if (access(path, F_OK) == 0)
		return 0;
	/* without /proc it would never get a name */
	n->fd = fd_close(n->fd);
	return -EOPNOTSUPP;
}

static int open_named(struct image_name *n)
{
	for (int i = 0; i < TEMP_TRIES; i++) {
		int err = new_temp(n);
		if (err < 0)
			return err;
		n->fd = openat(n->dir, n->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (n->fd >= 0)
			return 0;
		err = -errno;
		drop_temp(n);
		if (err != -EEXIST)
			return err;
	}
	return -EEXIST;
}

static int open_file(struct image_name *n)
{
	bool exists;
	int err = check_target(n, &exists);

	if (err < 0)
		return err;
	err = open_nameless(n);
	/* file systems and old kernels say in several ways that they cannot */
	if (err == -EOPNOTSUPP || err == -EISDIR || err == -ENOENT || err == -EINVAL)
		err = open_named(n);
	if (err < 0)
		return err;
	return fchmod(n->fd, 0600) < 0 ? -errno : 0;
}

int name_begin(struct image_name *n, const char *path)
{
	*n = NAME_NONE;
	int err = open_dir(n, path);
	if (err == 0)
		err = open_file(n);
	if (err < 0) {
		name_abort(n);
		return err;
	}
	return n->fd;
}

static void name_free(struct image_name *n)
{
	drop_temp(n);
	free(n->base);
	n->fd = fd_close(n->fd);
	n->dir = fd_close(n->dir);
	n->base = NULL;
}

void name_abort(struct image_name *n)
{
	if (n->temp)
		unlinkat(n->dir, n->temp, 0);
	name_free(n);
}

/* Give the nameless file a temporary name, which can then take the place of another. */
static int link_temp(struct image_name *n, const char *path)
{
	for (int i = 0; i < TEMP_TRIES; i++) {
		int err = new_temp(n);
		if (err < 0)
			return err;
		if (linkat(AT_FDCWD, path, n->dir, n->temp, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		err = -errno;
		drop_temp(n);
		if (err != -EEXIST)
			return err;
	}
	return -EEXIST;
}

/*
 * The name. link(2) never replaces, rename(2) does; so a nameless file where no other has the name gets it at once, and
 * there is no instant at which SIGKILL leaves a temporary name.
 */
static int show(struct image_name *n, bool *ret_replaced)
{
	char path[32];
	int err = check_target(n, ret_replaced);

	if (err < 0)
		return err;
	if (!n->temp) {
		proc_path(n, path, sizeof(path));
		if (!*ret_replaced && linkat(AT_FDCWD, path, n->dir, n->base, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		if (!*ret_replaced && errno != EEXIST)
			return -errno;
		/* it may have come this instant */
		err = check_target(n, ret_replaced);
		if (err == 0)
			err = link_temp(n, path);
		if (err < 0)
			return err;
	}
	if (renameat(n->dir, n->temp, n->dir, n->base) < 0)
		return -errno;
	drop_temp(n);
	return 0;
}

int name_commit(struct image_name *n)
{
	bool replaced;
	int err = fsync(n->fd) < 0 ? -errno : 0;

	if (err == 0)
		err = show(n, &replaced);
	if (err < 0) {
		name_abort(n);
		return err;
	}
	/* EINVAL: a file system without such a thing */
	if (fsync(n->dir) < 0 && errno != EINVAL) {
		err = -errno;
		if (!replaced)
			unlinkat(n->dir, n->base, 0);
	}
	name_free(n);
	return err;
}
