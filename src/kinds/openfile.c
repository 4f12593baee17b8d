/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/openfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/text.h"

#define MQUEUE_MAGIC 0x19800202ul /* ipc/mqueue.c */

/* ---- flags ---- */

const struct flag openfile_flags[] = {
	{ O_WRONLY, "WRONLY" },
	{ O_RDWR, "RDWR" },
	{ O_APPEND, "APPEND" },
	{ O_NONBLOCK, "NONBLOCK" },
	{ O_SYNC, "SYNC" },
	{ O_DSYNC, "DSYNC" },
	{ O_DIRECT, "DIRECT" },
	{ OPENFILE_LARGE, "LARGEFILE" },
	{ O_DIRECTORY, "DIRECTORY" },
	{ O_NOFOLLOW, "NOFOLLOW" },
	{ O_NOATIME, "NOATIME" },
	{ O_PATH, "PATH" },
	{ O_TMPFILE & ~O_DIRECTORY, "TMPFILE" },
	{ 0 },
};

bool openfile_can_read(uint32_t flags)
{
	return !(flags & O_PATH) && (flags & O_ACCMODE) != O_WRONLY && (flags & O_ACCMODE) != O_ACCMODE;
}

bool openfile_can_write(uint32_t flags)
{
	return !(flags & O_PATH) && ((flags & O_ACCMODE) == O_WRONLY || (flags & O_ACCMODE) == O_RDWR);
}

int openfile_check_flags(struct op *op, const struct sight *s, uint32_t allowed)
{
	uint32_t flags = s->fd->flags, odd = flags & ~(allowed | O_ACCMODE | OPENFILE_LARGE);

	if ((flags & O_ACCMODE) == O_ACCMODE)
		return refuse(op, "fd-flags", "its access mode 3 lets only ioctl(2) through", NULL,
			"is open for neither reading nor writing");
	if (odd & O_ASYNC)
		return refuse(op, "fd-async", NULL, "clear O_ASYNC of it", "sends a signal when it is ready (O_ASYNC)");
	if (odd & O_PATH)
		return refuse(op, "fd-path", NULL, "close it", "is an O_PATH descriptor of an object of this kind");
	if (odd)
		return refuse(op, "fd-flags", "this version has not considered them", NULL,
			"has the status flags %#o (octal)", odd);
	return 0;
}

bool openfile_is_odd(uint32_t flags, uint32_t allowed)
{
	return flags & ~(allowed | O_ACCMODE | OPENFILE_LARGE) || (flags & O_ACCMODE) == O_ACCMODE;
}

bool openfile_is_absent(int err)
{
	return err == ENOENT || err == ENOTDIR || err == ELOOP || err == ENAMETOOLONG;
}

int openfile_set_status(int fd, uint32_t flags)
{
	int now = fcntl(fd, F_GETFL);

	if (now < 0)
		return -errno;
	int changes = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
	int want = (now & ~changes) | ((int)flags & changes);
	if (((unsigned int)now & (unsigned int)changes) == ((unsigned int)want & (unsigned int)changes))
		return 0;
	return fcntl(fd, F_SETFL, want) < 0 ? -errno : 0;
}

/* ---- what has no path ---- */

bool openfile_is_anon(const struct sight *s, const char *name)
{
	static const char head[] = "anon_inode:[";
	const char *link = s->fd->link;
	size_t n = strlen(name);

	return strncmp(link, head, sizeof(head) - 1) == 0 && strncmp(link + sizeof(head) - 1, name, n) == 0 &&
	       strcmp(link + sizeof(head) - 1 + n, "]") == 0;
}

const char *openfile_line(const struct sight *s, const char *key)
{
	const char *const *line = s->fd->extra.at;

	for (size_t i = 0; i < s->fd->extra.n; i++)
		if (strncmp(line[i], key, strlen(key)) == 0)
			return line[i] + strlen(key) + strspn(line[i] + strlen(key), " \t");
	return NULL;
}

int openfile_check_lines(struct op *op, const struct sight *s, const char *const *keys)
{
	const char *const *line = s->fd->extra.at;
	int r = 0;

	for (size_t i = 0; i < s->fd->extra.n; i++) {
		const char *const *k = keys;

		while (*k && strncmp(line[i], *k, strlen(*k)) != 0)
			k++;
		if (!*k)
			r = refuse(op, "fd-line", "this version has not considered it", NULL, "has in its fdinfo %s",
				quoted(&op->arena, line[i]));
	}
	return r;
}

/* ---- paths ---- */

/*
 * The links of /proc give paths as this process sees them. So what lies below the root of @p is looked up there, which
 * is right in other mount namespaces too, and the rest from our own root. Such a path holds no symbolic link.
 */
static int open_below(int at, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };

	path += strspn(path, "/");
	int fd = (int)syscall(SYS_openat2, at, *path ? path : ".", &how, sizeof(how));
	return fd < 0 ? -errno : fd;
}

struct spot openfile_spot(int at, const char *path)
{
	const unsigned int mask = STATX_INO | STATX_MNT_ID;
	struct statx x;

	if (statx(at, path, AT_EMPTY_PATH, mask, &x) < 0 || (x.stx_mask & mask) != mask)
		return (struct spot){ 0 };
	return (struct spot){ x.stx_mnt_id, makedev(x.stx_dev_major, x.stx_dev_minor), x.stx_ino };
}

bool openfile_is_spot(int at, const char *path, const struct spot *spot)
{
	const struct spot there = spot->mount ? openfile_spot(at, path) : *spot;

	return there.mount && there.mount == spot->mount && there.dev == spot->dev && there.ino == spot->ino;
}

/* for the next file of this process: one that has ten thousand is looked at while it stands still */
static void keep_root(const struct process *p, int at)
{
	if (p->root->of)
		fd_close(p->root->fd);
	p->root->of = p;
	p->root->fd = at;
	p->root->spot = openfile_spot(at, "");
	p->root->ours = openfile_is_spot(AT_FDCWD, "/", &p->root->spot);
	p->root->cwd = NULL;
	p->root->inode = p->root->cwd_inode = NULL;
}

/* that of the process before mostly is the root of this one as well: as long as it is open no other mount has its number */
bool openfile_knows_root(const struct process *p)
{
	struct root *r = p->root;

	if (!r || !r->of || r->of == p)
		return r && r->of;
	if (!openfile_is_spot(p->dir, "root", &r->spot))
		return false;
	r->of = p;
	return true;
}

static int open_at_root(const struct process *p, const char *path)
{
	char root[PATH_MAX];

	if (openfile_knows_root(p))
		return open_below(p->root->fd, path);
	ssize_t n = readlinkat(p->dir, "root", root, sizeof(root) - 1);
	if (n < 0)
		return -errno;
	if (n == 1)
		n = 0;
	bool below = strncmp(path, root, (size_t)n) == 0 && (path[n] == '/' || !path[n]);
	_cleanup_close_ int at = below ? openat(p->dir, "root", O_PATH | O_DIRECTORY | O_CLOEXEC)
				       : open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return -errno;
	int fd = open_below(at, path + (below ? n : 0));
	if (n == 0 && p->root)
		keep_root(p, TAKE_FD(at));
	return fd;
}

int openfile_find(const struct process *p, const char *path, uint64_t dev, uint64_t ino)
{
	struct stat st;

	if (path[0] != '/')
		return -ENOENT;
	_cleanup_close_ int fd = open_at_root(p, path);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != dev || st.st_ino != ino)
		return -ESTALE;
	return TAKE_FD(fd);
}

/* a call instead of three where every path means the same for us as for the process */
int openfile_leads(const struct sight *s)
{
	const struct process *p = s->process;
	const struct proc_fd *f = s->fd;
	struct stat st;

	if (f->link[0] != '/' || !openfile_knows_root(p) || !p->root->ours) {
		_cleanup_close_ int fd = openfile_find(p, f->link, f->dev, f->st_ino);
		return fd < 0 ? fd : 0;
	}
	if (fstatat(AT_FDCWD, f->link, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return -errno;
	return st.st_dev == f->dev && st.st_ino == f->st_ino ? 0 : -ESTALE;
}

static bool says_deleted(const char *path)
{
	static const char tail[] = " (deleted)";
	size_t n = strlen(path);

	return n > sizeof(tail) - 1 && strcmp(path + n - (sizeof(tail) - 1), tail) == 0;
}

/* "/proc/812/...": a file that shows a process, perhaps one of the program itself */
static bool shows_process(const char *path)
{
	return strncmp(path, "/proc/", 6) == 0 && path[6] >= '0' && path[6] <= '9';
}

/* mq_overview(7): the path begins at a root that may be mounted nowhere */
static bool is_mqueue(const struct sight *s)
{
	struct statfs fs;

	_cleanup_close_ int fd = S_ISREG(s->fd->mode) ? openfile_take(s) : -EBADF;
	return fd >= 0 && fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == MQUEUE_MAGIC;
}

bool openfile_is_hidden(const struct sight *s, int err)
{
	if (err != -ESTALE && !openfile_is_absent(-err))
		return false;
	return s->fd->nlink && !says_deleted(s->fd->link) && !is_mqueue(s);
}

int openfile_check_path(struct op *op, const struct sight *s)
{
	const struct proc_fd *f = s->fd;

	if (!f->has_stat || !f->link[0])
		return refuse(op, "file-unreachable", "its path or its attributes cannot be read", NULL,
			"leads to a file that cannot be examined");
	return openfile_check_found(op, s, openfile_leads(s));
}

int openfile_check_found(struct op *op, const struct sight *s, int err)
{
	const struct proc_fd *f = s->fd;

	if (err == 0 && shows_process(f->link) && openfile_shows_live(s))
		return refuse(
			op, "file-proc", NULL, "close it before the checkpoint", "shows a process: \"%s\"", f->link);
	if (err == 0)
		return 0;
	if ((err == -ENOENT || err == -ESTALE) && (f->nlink == 0 || says_deleted(f->link)))
		return refuse(op, "file-deleted",
			f->nlink ? "it has another name still, which cannot be seen"
				 : "nothing leads to the file any more",
			"wait until the program has closed it, or give the file its name again", "leads to \"%s\"",
			f->link);
	if (is_mqueue(s))
		return refuse(op, "mqueue", NULL, "close it before the checkpoint", "is a POSIX message queue: \"%s\"",
			f->link);
	const char *why = err == -ESTALE ? "the path leads to another file now: something was moved or mounted there"
					 : arena_printf(&op->arena, "the path leads to no file: %s", strerror(-err));
	return refuse(op, "file-unreachable", why, "make the file reachable under its path again", "leads to \"%s\"",
		f->link);
}

/* An open file keeps its mount, and so the number of that, and a mount has one filesystem. */
static bool look_at_mount(const struct sight *s, unsigned long *ret_type, uint64_t *ret_id)
{
	struct root *root = s->process->root;
	bool known = root && root->has_mount && root->mnt_id == s->fd->mnt_id;
	struct statfs fs;

	_cleanup_close_ int fd = known ? -EBADF : openfile_find(s->process, s->fd->link, s->fd->dev, s->fd->st_ino);
	if (!known && (fd < 0 || fstatfs(fd, &fs) < 0))
		return false;
	*ret_type = known ? root->fs : (unsigned long)fs.f_type;
	*ret_id = known ? root->fsid : 0;
	if (!known)
		memcpy(ret_id, &fs.f_fsid, sizeof(*ret_id));
	if (root) {
		root->has_mount = true;
		root->mnt_id = s->fd->mnt_id;
		root->fs = *ret_type;
		root->fsid = *ret_id;
	}
	return true;
}

unsigned long openfile_fs(const struct sight *s)
{
	unsigned long type;
	uint64_t id;

	return look_at_mount(s, &type, &id) ? type : 0;
}

uint64_t openfile_fsid(const struct sight *s)
{
	unsigned long type;
	uint64_t id;

	return look_at_mount(s, &type, &id) ? id : 0;
}

static bool is_live(unsigned long fs)
{
	switch (fs) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case BPF_FS_MAGIC:
	case EFIVARFS_MAGIC:
	case 0x62656570: /* configfs */
		return true;
	default:
		return false;
	}
}

bool openfile_shows_live(const struct sight *s)
{
	return is_live(openfile_fs(s));
}

bool openfile_is_live(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && is_live((unsigned long)fs.f_type);
}

int openfile_reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, flags | O_CLOEXEC | O_NOCTTY);
	return again < 0 ? -errno : again;
}

int openfile_to_read_at(int dir, const char *path)
{
	const int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	int fd = openat(dir, path, flags | O_NOATIME);

	if (fd < 0 && errno == EPERM)
		fd = openat(dir, path, flags);
	return fd < 0 ? -errno : fd;
}

int openfile_to_read(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return openfile_to_read_at(AT_FDCWD, path);
}

/* ---- locks ---- */

const struct flag lock_types[] = {
	{ 0, "RDLCK" },
	{ F_WRLCK, "WRLCK" },
	{ 0 },
};

const struct field ofd_lock_fields[] = {
	FIELD_B(1, struct ofd_lock, type, "file_lock.c.flc_type", lock_types),
	FIELD_U(2, struct ofd_lock, start, "file_lock.fl_start"),
	FIELD_U(3, struct ofd_lock, end, "file_lock.fl_end"),
	FIELDS_END,
};

uint32_t openfile_lock_type(const struct proc_lock *l)
{
	return strcmp(l->mode, "WRITE") == 0 ? F_WRLCK : F_RDLCK;
}

static bool is_flock(const struct proc_lock *l)
{
	return strcmp(l->type, "FLOCK") == 0;
}

static bool is_ofd(const struct proc_lock *l)
{
	return strcmp(l->type, "OFDLCK") == 0;
}

static bool is_known_lock(const struct proc_lock *l)
{
	if (!is_flock(l) && !is_ofd(l) && strcmp(l->type, "POSIX") != 0)
		return false;
	return strcmp(l->kind, "ADVISORY") == 0 && (strcmp(l->mode, "READ") == 0 || strcmp(l->mode, "WRITE") == 0);
}

bool openfile_is_leased(const struct proc_fd *f)
{
	const struct proc_lock *l = f->locks.at;

	for (size_t i = 0; i < f->locks.n; i++)
		if (strcmp(l[i].type, "LEASE") == 0)
			return true;
	return false;
}

int openfile_check_locks(struct op *op, const struct sight *s, bool none)
{
	const struct proc_lock *l = s->fd->locks.at;
	int r = 0;

	for (size_t i = 0; i < s->fd->locks.n; i++) {
		if (strcmp(l[i].type, "LEASE") == 0 || strcmp(l[i].type, "DELEG") == 0)
			r = refuse(op, "file-lease", NULL, "end the lease", "holds a lease on \"%s\"", s->fd->link);
		else if (!is_known_lock(&l[i]))
			r = refuse(op, "fd-lock", "this version has not considered it", NULL, "holds a lock: %s %s %s",
				l[i].type, l[i].kind, l[i].mode);
		else if (none && (is_flock(&l[i]) || is_ofd(&l[i])))
			r = refuse(op, "fd-lock", "only regular files and directories keep theirs", "unlock it",
				"holds a lock on \"%s\"", s->fd->link);
	}
	return r;
}

void openfile_save_locks(struct op *op, const struct sight *s, uint32_t *ret_flock, struct span *ret_ofd)
{
	const struct proc_lock *l = s->fd->locks.at;

	*ret_flock = 0;
	*ret_ofd = (struct span){ 0 };
	for (size_t i = 0; i < s->fd->locks.n; i++) {
		if (is_flock(&l[i]))
			*ret_flock = openfile_lock_type(&l[i]) == F_WRLCK ? LOCK_EX : LOCK_SH;
		if (!is_ofd(&l[i]))
			continue;
		struct ofd_lock *ofd = span_push(&op->arena, ret_ofd, sizeof(*ofd));
		*ofd = (struct ofd_lock){ openfile_lock_type(&l[i]), l[i].start, l[i].end };
	}
}

int openfile_range(uint32_t type, uint64_t start, uint64_t end, struct flock *ret)
{
	if ((type != F_RDLCK && type != F_WRLCK) || start > INT64_MAX || start > end)
		return -EBADMSG;
	if (end != UINT64_MAX && (end > INT64_MAX || end - start >= INT64_MAX))
		return -EBADMSG;
	*ret = (struct flock){
		.l_type = (short)type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = end == UINT64_MAX ? 0 : (off_t)(end - start + 1),
	};
	return 0;
}

static int cannot_lock(struct op *op, int err, const char *path)
{
	if (err == -EAGAIN || err == -EACCES)
		return fail_as(op, OUTCOME_CANNOT, "file-locked",
			"end the program that holds the lock; lslocks(8) names it",
			"lock \"%s\" again: another process holds a lock on it", path);
	if (err == -EBADF) /* it is not open for that: then it had no such lock */
		err = -EBADMSG;
	return fail(op, err, "lock \"%s\" again", path);
}

int openfile_lock(struct op *op, int fd, uint32_t lock, const struct span *ofd, const char *path)
{
	const struct ofd_lock *l = ofd->at;
	struct flock range;

	if (lock != 0 && lock != LOCK_SH && lock != LOCK_EX)
		return fail(op, -EBADMSG, "lock \"%s\" in the way %u", path, lock);
	if (lock && flock(fd, (int)lock | LOCK_NB) < 0)
		return cannot_lock(op, -errno, path);
	for (size_t i = 0; i < ofd->n; i++) {
		int r = openfile_range(l[i].type, l[i].start, l[i].end, &range);
		if (r == 0 && fcntl(fd, F_OFD_SETLK, &range) < 0)
			r = -errno;
		if (r < 0)
			return cannot_lock(op, r, path);
	}
	return 0;
}
