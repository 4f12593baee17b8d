/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/made.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "kinds/inode.h"

static int *dir_slot(struct op *op, struct site *site, const char *dir, bool straight)
{
	static const char dirs[2];

	return site_slot(op, site, &dirs[straight], XXH3_64bits(dir, strlen(dir)));
}

int made_dir(struct op *op, struct site *site, const char *path, bool straight, const char **ret_name)
{
	const char *name = strrchr(path, '/') + 1;
	const char *dir = arena_strndup(&op->arena, path, (size_t)(name - path));
	const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	int *slot = dir_slot(op, site, dir, straight);

	*ret_name = name;
	if (*slot >= 0)
		return *slot;
	int fd = straight ? inode_walk(AT_FDCWD, dir, flags) : open(dir, flags);
	if (fd < 0)
		return straight ? fd : -errno;
	return *slot = fd;
}

int made_hold(struct op *op, struct site *site, const char *path, int dir)
{
	static const char held;
	int *slot = site_slot(op, site, &held, XXH3_64bits(path, strlen(path)));

	if (*slot >= 0)
		fd_close(dir);
	else
		*slot = dir;
	return *slot;
}

void made_add(struct op *op, struct site *site, int dir, const char *path, const char *name, const char *was)
{
	*(struct made_file *)span_push(&op->arena, &site->made_files, sizeof(struct made_file)) =
		(struct made_file){ path, dir, name, was };
}

bool made_here(const struct site *site, const char *path)
{
	const struct made_file *made = site->made_files.at;

	for (size_t i = 0; i < site->made_files.n; i++)
		if (strcmp(made[i].path, path) == 0)
			return true;
	return false;
}
