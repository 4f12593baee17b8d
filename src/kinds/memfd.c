/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/hugetlb.h"
#include "kinds/openfile.h"
#include "kinds/vma.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

const struct flag memfd_seals[] = {
	{ 0x01, "SEAL" },
	{ 0x02, "SHRINK" },
	{ 0x04, "GROW" },
	{ 0x08, "WRITE" },
	{ 0x10, "FUTURE_WRITE" },
	{ 0x20, "EXEC" },
	{ 0 },
};

bool memfd_is_name(const char *name)
{
	return strncmp(name, "/memfd:", 7) == 0;
}

void memfd_id(const struct sight *s, uint64_t *ret_dev, uint64_t *ret_ino)
{
	*ret_dev = s->vma ? makedev(s->vma->major, s->vma->minor) : s->fd->dev;
	*ret_ino = s->vma ? s->vma->ino : s->fd->st_ino;
}

uint32_t memfd_size_flags(uint64_t huge)
{
	return huge ? MFD_HUGETLB | (uint32_t)__builtin_ctzll(huge) << MFD_HUGE_SHIFT : 0;
}

bool memfd_is_device(uint64_t dev, uint64_t huge)
{
	_cleanup_close_ int own = (int)syscall(SYS_memfd_create, "stasis", MFD_CLOEXEC | memfd_size_flags(huge));
	struct stat st;

	return own >= 0 && fstat(own, &st) == 0 && st.st_dev == dev;
}

const struct holder *memfd_holder(const struct sight *s)
{
	uint64_t dev, ino;
	size_t n;

	memfd_id(s, &dev, &ino);
	return tree_holders(s->tree, dev, ino, &n);
}

static int open_held(const struct sight *s)
{
	_cleanup_close_ int fd = openfile_is_leased(s->fd) ? -EBUSY : openfile_take(s);

	return fd < 0 ? fd : openfile_reopen(fd, O_RDONLY | O_NONBLOCK);
}

/* its executable can be opened without a privilege */
static int open_exe(const struct sight *s, uint64_t dev, uint64_t ino)
{
	struct stat st;

	if (fstatat(s->process->dir, "exe", &st, 0) < 0)
		return -errno;
	if (st.st_dev != dev || st.st_ino != ino)
		return -EPERM;
	int fd = openat(s->process->dir, "exe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int memfd_open(const struct sight *s)
{
	uint64_t dev, ino;
	struct stat st;
	size_t n;
	int r = -ENOENT;

	memfd_id(s, &dev, &ino);
	const struct holder *h = tree_holders(s->tree, dev, ino, &n);
	for (size_t i = 0; i < n; i++)
		if (openfile_is_leased(h[i].fd))
			return -EBUSY;
	for (size_t i = 0; i < n && r < 0; i++)
		r = open_held(&(struct sight){ .tree = s->tree, .process = h[i].process, .fd = h[i].fd });
	if (!n && s->vma)
		r = vma_open_file(s);
	if (r == -EPERM && !n && s->vma)
		r = open_exe(s, dev, ino);
	_cleanup_close_ int fd = r;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	/* a program that runs on may have put something else there meanwhile */
	return st.st_dev == dev && st.st_ino == ino ? TAKE_FD(fd) : -ESTALE;
}

int *memfd_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino)
{
	static const char memfds[1];

	return site_slot(op, site, memfds, ino ^ dev << 32);
}

int memfd_look(int fd, struct memfd_state *ret)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || fstat(fd, &ret->st) < 0)
		return -errno;
	ret->seals = (uint32_t)seals;
	ret->huge = hugetlb_page(fd);
	return 0;
}

int memfd_check(struct op *op, int fd, const char *name)
{
	struct memfd_state state;
	uint32_t known = 0;
	int r = fd < 0 ? fd : memfd_look(fd, &state);

	fd_close(fd);
	name = shown(&op->arena, name);
	if (r == -EACCES)
		return refuse(op, "memfd-mode", "its mode forbids to read it",
			"have the program allow it (fchmod(2)), or ask as root", "has the memfd \"%s\"", name);
	if (r == -EBUSY)
		return refuse(op, "file-lease", NULL, "end the lease", "holds a lease on \"%s\"", name);
	if (r == -EINVAL)
		return refuse(op, "file-deleted", "it is named as a memfd is, and is none", NULL,
			"has \"%s\", which has been deleted", name);
	if (r < 0)
		return refuse(op, "memfd-unreachable", strerror(-r), NULL, "has the memfd \"%s\"", name);
	if (state.st.st_nlink)
		return refuse(op, "file-deleted", "it is named as a memfd is, and has another name still", NULL,
			"has \"%s\", which has been deleted", name);
	if (state.st.st_size >
		INT64_MAX - (1 << 30)) /* the kernel does not find data so near to the end of all files */
		return refuse(op, "memfd-size", NULL, NULL, "has the memfd \"%s\" of %" PRIu64 " bytes", name,
			(uint64_t)state.st.st_size);
	for (const struct flag *f = memfd_seals; f->name; f++)
		known |= (uint32_t)f->bit;
	if (state.seals & ~known)
		return refuse(op, "memfd-seal", "this version has not considered it", NULL,
			"has the memfd \"%s\" with the seals %#x", name, state.seals);
	return 0;
}
