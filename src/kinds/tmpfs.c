/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/tmpfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"
#include "kinds/vma.h"

/* ---- saving ---- */

bool tmpfs_has(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	return (unsigned long)fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC;
}

unsigned int tmpfs_use(const struct sight *s)
{
	struct process *const *p = s->tree->processes.at;
	unsigned int use = 0;

	for (size_t i = 0; i < s->tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t n = 0; n < p[i]->vmas.n; n++) {
			if (v[n].ino != s->vma->ino || v[n].major != s->vma->major || v[n].minor != s->vma->minor)
				continue;
			if (v[n].shared)
				use |= TMPFS_SHARED | (vma_flags(&v[n]) & VMA_MAYWRITE_OFF ? 0 : TMPFS_WRITTEN);
		}
	}
	return use;
}

bool tmpfs_keeps(const struct sight *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !tmpfs_has(fd))
		return false;
	unsigned int use = tmpfs_use(s);
	if (!(use & TMPFS_SHARED) || (!(use & TMPFS_WRITTEN) && st.st_size > TMPFS_MAX))
		return false;
	_cleanup_close_ int in = openfile_reopen(fd, O_RDONLY | O_NONBLOCK);
	return in >= 0;
}

bool tmpfs_is_mapped(const struct tree *tree, uint64_t dev, uint64_t ino)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t n = 0; n < p[i]->vmas.n; n++)
			if (v[n].ino == ino && v[n].kind == &kind_mem_tmpfs && makedev(v[n].major, v[n].minor) == dev)
				return true;
	}
	return false;
}

/* ---- restarting ---- */

/*
 * A lease for writing is only given to who is the only one that has it open; a mapping counts as well (check_conflicting_open() in
 * fs/locks.c). Somebody may open it at that moment, which sends a signal: one that nobody minds. To whom it is not given, as the
 * file is another user's, the answer is yes.
 */
bool tmpfs_is_used(int fd)
{
	_cleanup_close_ int own = openfile_reopen(fd, O_RDONLY | O_NONBLOCK);

	if (own < 0 || fcntl(own, F_SETSIG, SIGURG) < 0 || fcntl(own, F_SETLEASE, F_WRLCK) < 0)
		return true;
	fcntl(own, F_SETLEASE, F_UNLCK);
	return false;
}

int *tmpfs_slot(struct op *op, struct site *site, uint64_t dev, uint64_t ino)
{
	static const char files[1];

	return site_slot(op, site, files, ino ^ dev << 32);
}

static int cannot_make(struct op *op, int err, const char *path)
{
	if (openfile_is_absent(-err))
		return fail_as(op, OUTCOME_CANNOT, "file-missing", "make the directory and restart again",
			"make \"%s\" again, which was in memory: its directory is not there", path);
	return fail(op, err, "make \"%s\" again, which was in memory", path);
}

int tmpfs_make(struct op *op, struct site *site, const struct tmpfs_file *file)
{
	struct made_file made = { .path = file->path };
	const char *name = shown(&op->arena, file->path);

	if (file->instead)
		made.was = arena_printf(&op->arena, "%s.stasis-%d", file->path, getpid());
	if (made.was && rename(file->path, made.was) < 0)
		return fail(op, -errno, "put \"%s\" aside", name);
	int fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		int err = -errno;

		if (made.was)
			rename(made.was, file->path);
		return cannot_make(op, err, name);
	}
	*(struct made_file *)span_push(&op->arena, &site->made_files, sizeof(made)) = made;
	struct stat st;
	if (fstat(fd, &st) == 0 && (st.st_uid != file->uid || st.st_gid != file->gid) &&
		fchown(fd, file->uid, file->gid) < 0)
		note(op, "\"%s\", which was made again, belongs to user %u and group %u, not %u and %u", name,
			st.st_uid, st.st_gid, file->uid, file->gid);
	return fd;
}
