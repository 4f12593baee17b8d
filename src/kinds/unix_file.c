/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file of a unix socket that is bound to a path: which one it is, whatever the path leads to by now.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/unix.h"

#ifndef SIOCUNIXFILE /* linux/un.h and sys/un.h do not go together */
#define SIOCUNIXFILE SIOCPROTOPRIVATE
#endif

int unix_file(int fd)
{
	int at = ioctl(fd, SIOCUNIXFILE);

	return at < 0 ? -errno : at;
}

socklen_t unix_by_file(int fd, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d", fd);
	return sizeof(*ret);
}

/* unix_diag shows the lower half of the inode, and a device that for files of some file systems (btrfs) is another one */
static enum unix_place compare(const struct proc_unix *u, const struct stat *st)
{
	if (!u->has_file || (uint32_t)st->st_ino != u->file_ino)
		return UNIX_ELSEWHERE;
	return st->st_dev == u->file_dev ? UNIX_THERE : UNIX_PERHAPS;
}

enum unix_place unix_is_at(struct op *op, int fd, const struct proc_unix *u, const struct stat *st)
{
	_cleanup_close_ int at = unix_file(fd);
	struct proc_unix asked;
	struct stat own;

	if (!S_ISSOCK(st->st_mode))
		return UNIX_ELSEWHERE;
	if (at >= 0 && fstat(at, &own) == 0)
		return same_file(st, &own) ? UNIX_THERE : UNIX_ELSEWHERE;
	if (u)
		return compare(u, st);
	if (fstat(fd, &own) < 0 || proc_unix_read(&op->arena, own.st_ino, &asked) < 0)
		return UNIX_PERHAPS;
	return compare(&asked, st);
}
