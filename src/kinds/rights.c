/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"

#define CAP(c) (1ull << (c))

/* ---- what rights there are ---- */

/* of this thread; capget(2) and capset(2) know no 64 bits */
struct caps {
	struct __user_cap_header_struct head;
	struct __user_cap_data_struct data[2];
};

static int get_caps(struct caps *c)
{
	*c = (struct caps){ .head = { _LINUX_CAPABILITY_VERSION_3, 0 } };
	return syscall(SYS_capget, &c->head, c->data) < 0 ? -errno : 0;
}

/* those of @effective that are permitted */
static int set_effective(uint64_t effective)
{
	struct caps c;
	int r = get_caps(&c);

	if (r < 0)
		return r;
	c.data[0].effective = (uint32_t)effective & c.data[0].permitted;
	c.data[1].effective = (uint32_t)(effective >> 32) & c.data[1].permitted;
	return syscall(SYS_capset, &c.head, c.data) < 0 ? -errno : 0;
}

int rights_own(struct op *op, struct rights *ret)
{
	struct caps c;
	int n = getgroups(0, NULL), r = get_caps(&c);

	if (n < 0 || r < 0)
		return fail(op, r < 0 ? r : -errno, "find out what stasis itself may do");
	gid_t *groups = arena_array(&op->arena, (size_t)n + 1, sizeof(*groups));
	n = getgroups(n, groups);
	if (n < 0)
		return fail(op, -errno, "find out what stasis itself may do");
	*ret = (struct rights){ .uid = (uint32_t)syscall(SYS_setfsuid, -1),
		.gid = (uint32_t)syscall(SYS_setfsgid, -1),
		.groups = { groups, (size_t)n, 0 },
		.caps = c.data[0].effective | (uint64_t)c.data[1].effective << 32 };
	return 0;
}

static bool same_groups(const struct rights *a, const struct rights *b)
{
	return a->groups.n == b->groups.n &&
	       (!a->groups.n || memcmp(a->groups.at, b->groups.at, a->groups.n * sizeof(gid_t)) == 0);
}

const struct rights *rights_within(struct arena *a, const struct rights *own, const struct rights *want)
{
	struct rights w = *want;

	if (!(own->caps & CAP(CAP_SETUID)))
		w.uid = own->uid;
	if (!(own->caps & CAP(CAP_SETGID))) {
		w.gid = own->gid;
		w.groups = own->groups;
	}
	w.caps &= own->caps;
	/* to whom everything is open it matters not in which groups he is */
	if (w.uid == own->uid && w.caps == own->caps &&
		(w.caps & CAP(CAP_DAC_OVERRIDE) || (w.gid == own->gid && same_groups(&w, own))))
		return NULL;
	return arena_dup(a, &w, sizeof(w));
}

/* ---- taking them ---- */

static int set_ids(const struct rights *from, const struct rights *to)
{
	/* by the calls themselves: setgroups(3) would be for all threads */
	if (!same_groups(from, to) && syscall(SYS_setgroups, to->groups.n, to->groups.at) < 0)
		return -errno;
	syscall(SYS_setfsgid, to->gid);
	syscall(SYS_setfsuid, to->uid);
	return (uint32_t)syscall(SYS_setfsgid, -1) == to->gid && (uint32_t)syscall(SYS_setfsuid, -1) == to->uid
		       ? 0
		       : -EPERM;
}

/* what a change of ids costs: see commit_creds() in kernel/cred.c */
static void repair(const struct taken_rights *t)
{
	if (t->dumpable == 1)
		prctl(PR_SET_DUMPABLE, 1);
	if (!t->death_signal)
		return;
	prctl(PR_SET_PDEATHSIG, t->death_signal);
	if (getppid() != t->parent)
		raise(t->death_signal);
}

/* the rights to change ids first; and to become root again for files may bring more than there was */
static int turn_back(struct site *site)
{
	const struct taken_rights t = site->taken;

	if (!t.rights)
		return 0;
	int first = set_effective(site->own->caps), ids = set_ids(t.rights, site->own);
	int last = set_effective(site->own->caps);
	repair(&t);
	if (first == 0 && ids == 0 && last == 0)
		site->taken.rights = NULL;
	return first < 0 ? first : ids < 0 ? ids : last;
}

/* what is opened until turn_back() is opened by this thread as by who has @rights */
static int turn_to(struct site *site, const struct rights *rights)
{
	int r = site->taken.rights == rights ? 0 : turn_back(site);

	if (r < 0 || site->taken.rights == rights)
		return r;
	site->taken =
		(struct taken_rights){ .rights = rights, .dumpable = prctl(PR_GET_DUMPABLE), .parent = getppid() };
	prctl(PR_GET_PDEATHSIG, &site->taken.death_signal);
	r = set_ids(site->own, rights);
	if (r == 0)
		r = set_effective(rights->caps);
	if (r < 0)
		turn_back(site);
	return r;
}

int rights_give_back(struct op *op, struct site *site)
{
	int r = turn_back(site);

	return r < 0 ? fail(op, r, "have the rights of stasis again") : 0;
}

/* ---- opening ---- */

static bool is_allowed(const struct site *site, const char *path)
{
	for (size_t i = 0; i < site->n_rules; i++)
		if (site->rules[i].policy == FILE_ALLOW && strcmp(site->rules[i].path, path) == 0)
			return true;
	return false;
}

/*
 * The directory of @path, which is looked up once for all that are in it, and stays ours. AT_FDCWD: then *@ret_name is the path;
 * or -errno, if it must be @straight.
 */
static int parent(struct op *op, struct site *site, const char *path, bool straight, const char **ret_name)
{
	static const char last[2];
	struct last_dir *dir = &site->last_dir[straight];
	size_t len = (size_t)(strrchr(path, '/') - path) + 1;
	int *slot = site_slot(op, site, &last[straight], 0);

	if (*slot < 0 || dir->path.n != len || memcmp(dir->path.at, path, len) != 0) {
		char *text = arena_strndup(&op->arena, path, len);
		const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;

		fd_closep(slot);
		*slot = straight ? inode_walk(AT_FDCWD, text, flags) : open(text, flags);
		*dir = (struct last_dir){ { text, len, 0 }, false, false };
		if (straight && *slot < 0) {
			int err = *slot;

			*slot = -EBADF;
			return err;
		}
	}
	*ret_name = *slot < 0 ? path : path[len] ? path + len : ".";
	return *slot < 0 ? AT_FDCWD : *slot;
}

/* is @path where only root can have put what is there? */
static bool is_roots_place(struct site *site, const char *path)
{
	struct last_dir *dir = &site->last_dir[true];

	if (!dir->asked)
		dir->roots = inode_root_alone(path);
	dir->asked = true;
	return dir->roots;
}

static bool fits(const struct goal *g, mode_t mode, dev_t rdev)
{
	return !g->fits || g->fits(mode, rdev);
}

/* what is at @name now, which must not change before it is open */
static int open_fitting(int dir, const char *name, const struct goal *g, struct stat *st)
{
	struct stat before;

	if (fstatat(dir, name, &before, g->flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return -errno;
	if (S_ISLNK(before.st_mode))
		return -ELOOP;
	if (!fits(g, before.st_mode, before.st_rdev))
		return -EMEDIUMTYPE;
	_cleanup_close_ int fd = g->straight ? inode_walk(dir, name, g->flags) : openat(dir, name, g->flags);
	if (fd < 0)
		return g->straight ? fd : -errno;
	if (fstat(fd, st) < 0 || st->st_dev != before.st_dev || st->st_ino != before.st_ino)
		return -ESTALE;
	return TAKE_FD(fd);
}

/* may it be opened with the rights of stasis? */
static bool is_given(struct site *site, const struct goal *g, int dir, const char *name, const struct inode *now)
{
	struct inode again;

	if (inode_is_same(g->was, now) || is_allowed(site, g->path) ||
		(inode_is_alike(g->was, now) && is_roots_place(site, g->path)))
		return true;
	if (g->was->dev == now->dev || !g->was->fsid || g->was->ino != now->ino)
		return false;
	/* the number of its device may be another one */
	_cleanup_close_ int at = inode_walk(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return at >= 0 && inode_look(at, &again) == 0 && again.ino == now->ino && again.dev == now->dev &&
	       inode_is_same(g->was, &again);
}

/* with the rights of stasis; -EXDEV: it may be something else than it was */
static int open_known(struct op *op, struct site *site, const struct goal *g, struct stat *st)
{
	struct inode now;
	const char *name;
	dev_t rdev;
	int dir = parent(op, site, g->path, true, &name);

	int r = dir < 0 ? dir : inode_look_at(dir, name, &now, &rdev);
	if (r < 0)
		return r;
	if (S_ISLNK(now.mode))
		return -ELOOP;
	if (!fits(g, now.mode, rdev))
		return -EMEDIUMTYPE;
	if (!is_given(site, g, dir, name, &now))
		return -EXDEV;
	/* without symbolic links the name leads to nothing that to open it might act on, if it leads elsewhere by now */
	_cleanup_close_ int fd = inode_walk(dir, name, g->flags);
	if (fd < 0 || fstat(fd, st) < 0)
		return fd < 0 ? fd : -errno;
	return st->st_dev == now.dev && st->st_ino == now.ino ? TAKE_FD(fd) : -ESTALE;
}

static int may(int at, int need)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", at);
	return need && faccessat(AT_FDCWD, path, need, AT_EACCESS) < 0 ? -errno : 0;
}

/* as one of those who have it */
static int open_by(struct site *site, const struct rights *rights, const struct goal *g, struct stat *st)
{
	int r = turn_to(site, rights);

	if (r < 0)
		return r;
	_cleanup_close_ int fd = open_fitting(AT_FDCWD, g->path, g, st);
	if (fd >= 0 && g->flags & O_PATH)
		r = may(fd, g->need);
	return r < 0 ? r : TAKE_FD(fd);
}

/* as all of them would open it, and find the same */
static int open_by_all(struct site *site, const struct goal *g, struct stat *ret_st)
{
	const struct rights *const *owner = site->owners.at;
	_cleanup_close_ int first = open_by(site, owner[0], g, ret_st);

	for (size_t i = 1; first >= 0 && i < site->owners.n; i++) {
		struct stat st;
		_cleanup_close_ int fd = open_by(site, owner[i], g, &st);

		if (fd < 0)
			return fd;
		if (st.st_dev != ret_st->st_dev || st.st_ino != ret_st->st_ino)
			return -ESTALE;
	}
	return TAKE_FD(first);
}

static int denied(struct op *op, const struct site *site, const struct goal *g, int known)
{
	const struct rights *owner = *(const struct rights *const *)site->owners.at;
	const char *path = shown(&op->arena, g->path),
		   *why = "is another one than at the checkpoint, or has another owner or mode";

	if (known == -ELOOP)
		why = "is reached through a symbolic link now";
	else if (known != -EXDEV)
		why = strerror(-known);
	else if (!inode_is_known(g->was))
		why = "may be another one than at the checkpoint: this image, of an older version, does not tell";
	return fail_as(op, OUTCOME_CANNOT, "file-rights",
		arena_printf(&op->arena,
			known == -ELOOP
				? "put it back where it was; if it is right as it is, have no symbolic link lead "
				  "there, and --file %s=allow gives it to the program"
				: "put it back as it was; if it is right as it is, --file %s=allow gives it to the "
				  "program",
			path),
		"open %s\"%s\" for user %u, who may not open it: it %s", g->what, path, owner->uid, why);
}

static bool is_denial(int err)
{
	return err == -EACCES || err == -EPERM;
}

/* who has just opened another for the same owner tries that first: the rights are changed once for all that come one after the other */
static int open_next(struct site *site, const struct goal *g, struct stat *ret_st)
{
	const struct rights *const *owner = site->owners.at;

	if (!g->stays || site->owners.n != 1 || site->taken.rights != owner[0])
		return -EACCES;
	return open_by(site, owner[0], g, ret_st);
}

static int open_for_owners(struct op *op, struct site *site, const struct goal *g, struct stat *ret_st)
{
	int fd = open_next(site, g, ret_st);

	if (!is_denial(fd))
		return fd;
	int r = rights_give_back(op, site);
	int known = r < 0 ? r : open_known(op, site, g, ret_st);
	if (known == -ELOOP && g->straight)
		return denied(op, site, g, known);
	if (r < 0 || known >= 0 || known == -ENOENT)
		return known;
	fd = open_by_all(site, g, ret_st);
	return is_denial(fd) ? denied(op, site, g, known) : fd;
}

int rights_open(struct op *op, struct site *site, const struct goal *g, struct stat *ret_st)
{
	const char *name;

	if (!site->owners.n) {
		int r = rights_give_back(op, site), dir = parent(op, site, g->path, false, &name);

		return r < 0 ? r : open_fitting(dir, name, g, ret_st);
	}
	_cleanup_close_ int fd = open_for_owners(op, site, g, ret_st);
	int r = g->stays ? 0 : rights_give_back(op, site);
	return r < 0 ? r : TAKE_FD(fd);
}

static int reopen_by_all(struct site *site, int fd, int flags)
{
	const struct rights *const *owner = site->owners.at;
	_cleanup_close_ int again = -EBADF;

	for (size_t i = 0; i < site->owners.n; i++) {
		int r = turn_to(site, owner[i]);

		fd_closep(&again);
		again = r < 0 ? r : openfile_reopen(fd, flags);
		if (again < 0)
			return again;
	}
	return TAKE_FD(again);
}

int rights_reopen(struct op *op, struct site *site, int fd, int flags)
{
	_cleanup_close_ int again = site->owners.n ? reopen_by_all(site, fd, flags) : openfile_reopen(fd, flags);
	int r = rights_give_back(op, site);

	return r < 0 ? r : TAKE_FD(again);
}

int rights_each(struct op *op, struct site *site, int (*call)(const void *data), const void *data)
{
	const struct rights *const *owner = site->owners.at;
	int r = site->owners.n ? 0 : call(data);

	for (size_t i = 0; i < site->owners.n && r == 0; i++) {
		r = turn_to(site, owner[i]);
		if (r == 0)
			r = call(data);
	}
	int back = rights_give_back(op, site);
	return back < 0 ? back : r;
}

int rights_take(struct op *op, struct site *site)
{
	int r = site->owners.n ? turn_to(site, *(const struct rights *const *)site->owners.at) : 0;

	return r < 0 ? fail(op, r, "take the rights of a process") : 0;
}

/* struct access - what a descriptor is needed for */
struct access {
	int fd, need;
};

static int may_access(const void *data)
{
	const struct access *a = data;

	return may(a->fd, a->need);
}

int rights_check(struct op *op, struct site *site, const struct goal *g, int at)
{
	struct inode now;
	int r = site->owners.n ? inode_look(at, &now) : 0;

	if (r < 0)
		return fail(op, r, "look at \"%s\"", shown(&op->arena, g->path));
	if (!site->owners.n || inode_is_same(g->was, &now) || is_allowed(site, g->path) ||
		(inode_is_alike(g->was, &now) && inode_root_alone(g->path)))
		return 0;
	r = rights_each(op, site, may_access, &(struct access){ at, g->need });
	return is_denial(r) ? denied(op, site, g, -EXDEV) : r;
}

int rights_may(struct op *op, struct site *site, int fd, int need)
{
	int r = rights_each(op, site, may_access, &(struct access){ fd, need });

	return is_denial(r) ? 0 : r < 0 ? r : 1;
}
