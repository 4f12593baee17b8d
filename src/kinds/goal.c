/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/goal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/rights.h"

bool goal_has_rule(const struct site *site, const char *path, enum file_policy policy)
{
	for (size_t i = 0; i < site->n_rules; i++)
		if (site->rules[i].policy == policy && strcmp(site->rules[i].path, path) == 0)
			return true;
	return false;
}

/*
 * As the path leads for who has it. No path of an image holds a magic link (proc(5)), and one that was put there since would lead to
 * what stasis itself has, as /proc/self/cwd.
 */
static int walk(const struct site *site, int dir, const char *path, int flags, bool straight)
{
	if (straight)
		return inode_walk(dir, path, flags);
	if (site->owners.n)
		return inode_walk_links(dir, path, flags);
	int fd = openat(dir, path, flags);
	return fd < 0 ? -errno : fd;
}

/*
 * The directory of @path, which is looked up once for all that are in it and have the same owner, and stays ours, and *@ret_name in
 * there; or -errno.
 */
static int parent(struct op *op, struct site *site, const char *path, bool straight, const char **ret_name)
{
	static const char last[2];
	struct last_dir *dir = &site->last_dir[straight];
	size_t len = (size_t)(strrchr(path, '/') - path) + 1;
	int *slot = site_slot(op, site, &last[straight], 0);

	*ret_name = path[len] ? path + len : ".";
	if (*slot >= 0 && dir->by == site->taken.rights && dir->path.n == len && memcmp(dir->path.at, path, len) == 0)
		return *slot;
	char *text = arena_strndup(&op->arena, path, len);
	fd_closep(slot);
	int fd = walk(site, AT_FDCWD, text, O_PATH | O_DIRECTORY | O_CLOEXEC, straight);
	*slot = fd < 0 ? -EBADF : fd;
	*dir = (struct last_dir){ { text, len, 0 }, site->taken.rights, false, false };
	return fd;
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

static bool is_of_type(const struct goal *g, mode_t mode, dev_t rdev)
{
	return !g->type || (mode & S_IFMT) == g->type || (g->device && S_ISCHR(mode) && rdev == g->device);
}

/* what is at @name now, which must not change before it is open */
static int open_fitting(const struct site *site, int dir, const char *name, const struct goal *g, struct stat *st)
{
	struct stat before;

	if (fstatat(dir, name, &before, g->flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return -errno;
	if (S_ISLNK(before.st_mode))
		return -ELOOP;
	if (!is_of_type(g, before.st_mode, before.st_rdev))
		return -EMEDIUMTYPE;
	_cleanup_close_ int fd = walk(site, dir, name, g->flags | O_NOCTTY, g->straight);
	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0 || !same_file(st, &before))
		return -ESTALE;
	return TAKE_FD(fd);
}

/* may it be opened with the rights of stasis? */
static bool is_given(struct site *site, const struct goal *g, int dir, const char *name, const struct inode *now)
{
	struct inode again;

	if (inode_is_same(g->was, now) || goal_has_rule(site, g->path, FILE_ALLOW) ||
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
	if (!is_of_type(g, now.mode, rdev))
		return -EMEDIUMTYPE;
	if (!is_given(site, g, dir, name, &now))
		return -EXDEV;
	/* without symbolic links the name leads to nothing that to open it might act on, if it leads elsewhere by now */
	_cleanup_close_ int fd = inode_walk(dir, name, g->flags | O_NOCTTY);
	if (fd < 0 || fstat(fd, st) < 0)
		return fd < 0 ? fd : -errno;
	return st->st_dev == now.dev && st->st_ino == now.ino ? TAKE_FD(fd) : -ESTALE;
}

/* as one of those who have it */
static int open_by(struct op *op, struct site *site, const struct rights *rights, const struct goal *g, struct stat *st)
{
	int r = rights_turn(site, rights);
	const char *name = g->path;

	if (r < 0)
		return r;
	int dir = g->straight ? AT_FDCWD : parent(op, site, g->path, false, &name);
	_cleanup_close_ int fd = dir < 0 && dir != AT_FDCWD ? dir : open_fitting(site, dir, name, g, st);
	if (fd >= 0 && g->flags & O_PATH)
		r = rights_access(fd, g->need);
	return r < 0 ? r : TAKE_FD(fd);
}

/* as all of them would open it, and find the same */
static int open_by_all(struct op *op, struct site *site, const struct goal *g, struct stat *ret_st)
{
	const struct rights *const *owner = site->owners.at;
	_cleanup_close_ int first = open_by(op, site, owner[0], g, ret_st);

	for (size_t i = 1; first >= 0 && i < site->owners.n; i++) {
		struct stat st;
		_cleanup_close_ int fd = open_by(op, site, owner[i], g, &st);

		if (fd < 0)
			return fd;
		if (!same_file(&st, ret_st))
			return -ESTALE;
	}
	return TAKE_FD(first);
}

/* something is there, to be opened with the rights of stasis, but it may be something else than it was */
static bool is_foreign(int err)
{
	return err == -EXDEV || err == -ELOOP;
}

static int denied(struct op *op, const struct site *site, const struct goal *g, int known)
{
	const struct rights *owner = *(const struct rights *const *)site->owners.at;
	const char *path = shown(&op->arena, g->path),
		   *why = "is another one than at the checkpoint, or has another owner or mode";

	if (known == -ELOOP)
		why = "is reached through a symbolic link now";
	else if (!inode_is_known(g->was))
		why = "may be another one than at the checkpoint: the image does not tell which it was";
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

/* what they may open they are the openers of; where they might not open the last one they are asked last */
static int open_for_owners(struct op *op, struct site *site, const struct goal *g, struct stat *ret_st)
{
	const bool last = site->denied && !g->asks_opener;
	int fd = last ? -EACCES : open_by_all(op, site, g, ret_st);

	if (fd == -ELOOP && (g->straight || !(g->flags & O_NOFOLLOW)))
		return denied(op, site, g, fd);
	if (!rights_denied(fd))
		return fd;
	int r = rights_give_back(op, site), known = r < 0 ? r : open_known(op, site, g, ret_st);
	site->denied = known >= 0;
	if (r < 0 || known >= 0 || known == -ENOENT)
		return known;
	fd = last ? open_by_all(op, site, g, ret_st) : fd;
	if (!rights_denied(fd))
		return fd;
	return is_foreign(known) ? denied(op, site, g, known) : known;
}

int goal_open(struct op *op, struct site *site, const struct goal *g, struct stat *ret_st)
{
	const char *name;

	if (!site->owners.n) {
		int r = rights_give_back(op, site), dir = parent(op, site, g->path, false, &name);

		r = r < 0 ? r : dir;
		return r < 0 ? r : open_fitting(site, dir, name, g, ret_st);
	}
	_cleanup_close_ int fd = open_for_owners(op, site, g, ret_st);
	int r = g->stays ? 0 : rights_give_back(op, site);
	return r < 0 ? r : TAKE_FD(fd);
}
