/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/secretmem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "kinds/openfile.h"

#ifndef SECRETMEM_MAGIC
#define SECRETMEM_MAGIC 0x5345434d
#endif

bool secretmem_is_name(const char *link)
{
	return strcmp(link, "/secretmem (deleted)") == 0;
}

int secretmem_open(const struct sight *s)
{
	const uint64_t dev = s->vma ? makedev(s->vma->major, s->vma->minor) : s->fd->dev;
	size_t n;

	const struct holder *h = tree_holders(s->tree, dev, s->vma ? s->vma->ino : s->fd->st_ino, &n);
	for (size_t i = 0; i < n; i++)
		if (!(h[i].fd->flags & O_PATH))
			return openfile_take(
				&(struct sight){ .tree = s->tree, .process = h[i].process, .fd = h[i].fd });
	return -ENXIO;
}

int secretmem_look(int fd, struct stat *ret)
{
	struct statfs fs;

	if (fd < 0)
		return fd;
	if (fstatfs(fd, &fs) < 0 || fstat(fd, ret) < 0)
		return -errno;
	return (unsigned long)fs.f_type == SECRETMEM_MAGIC ? 0 : -EINVAL;
}
