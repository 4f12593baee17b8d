/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names of unix sockets: binding them again where they were. Paths may lead elsewhere by now.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/goal.h"
#include "kinds/made.h"
#include "kinds/rights.h"
#include "kinds/unix.h"

socklen_t unix_address(const struct span *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (name->n > sizeof(ret->sun_path))
		return 0;
	if (name->n)
		memcpy(ret->sun_path, name->at, name->n);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name->n);
}

int unix_temporary(uint32_t type, const struct span *name)
{
	struct sockaddr_un un;
	socklen_t len = unix_address(name, &un);

	if (!name->n || un.sun_path[0])
		return -EADDRINUSE;
	_cleanup_close_ int fd = socket(AF_UNIX, (int)type | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&un, len) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/*
 * Does nobody listen or receive at @at (O_PATH)? A socket of the wrong type is told of one that is there, and not let in. Who has no
 * right to write to it is told nothing: so it is asked with the rights of stasis. 1, 0, or -errno.
 */
static int is_stale(int at, uint32_t type)
{
	struct sockaddr_un un;
	socklen_t len = unix_by_file(at, &un);
	_cleanup_close_ int fd = socket(AF_UNIX, (type == SOCK_DGRAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&un, len) == 0)
		return 0;
	return rights_denied(-errno) ? -errno : errno == ECONNREFUSED;
}

static int in_use(struct op *op, const struct span *name)
{
	return fail_as(op, OUTCOME_CANNOT, "address-used", "end the program that uses it; ss -xp names it",
		"bind a socket to %s: another program has it", unix_shown(op, name));
}

/* a path may fill the address to its last byte */
const char *unix_absolute(struct op *op, const struct unix_end *e, const struct sockaddr_un *un)
{
	const char *path = arena_strndup(&op->arena, un->sun_path, strnlen(un->sun_path, sizeof(un->sun_path)));

	return path[0] == '/' || !e->dir ? path : arena_printf(&op->arena, "%s/%s", e->dir, path);
}

/* struct bound - where a socket is bound */
struct bound {
	const char *path, *name;
	int dir; /* that it is in */
	bool by_owner; /* who has it may make it there himself */
};

/* under another name, as who has it: a socket of another in his directory, or in one where only owners rename, as it was when saved */
static int set_aside(struct op *op, struct site *site, const struct unix_end *e, const struct bound *p,
	const struct stat *st, const char *name)
{
	bool as_saved = st->st_uid == e->file_uid && st->st_gid == e->file_gid && (st->st_mode & 0777) == e->file_mode;
	int r = p->by_owner ? rights_take(op, site) : 0;

	if (r < 0)
		return r;
	r = renameat(p->dir, p->name, p->dir, name) < 0 ? -errno : 0;
	int back = rights_give_back(op, site);
	if (back < 0)
		return back;
	if (p->by_owner && rights_denied(r) && as_saved)
		r = renameat(p->dir, p->name, p->dir, name) < 0 ? -errno : 0;
	return r < 0 ? fail(op, r, "put a new socket in the place of %s", unix_shown(op, &e->name)) : 0;
}

/* a socket that nobody has any more makes way; *ret_was: its name, as long as it may have to come back */
static int make_way(struct op *op, struct site *site, const struct unix_end *e, uint32_t type, const struct bound *p,
	const char **ret_was)
{
	struct stat st;
	_cleanup_close_ int at = openat(p->dir, p->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	*ret_was = NULL;
	if (at < 0 || fstat(at, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return fail_as(op, OUTCOME_CANNOT, "address-used", "move it away",
			"bind a socket to %s: something else is there", unix_shown(op, &e->name));
	int r = is_stale(at, type);
	if (r < 0)
		return fail(op, r, "find out who has %s", unix_shown(op, &e->name));
	if (!r)
		return in_use(op, &e->name);
	const char *was = arena_printf(&op->arena, "%s.stasis-%d", p->name, getpid());
	r = set_aside(op, site, e, p, &st, was);
	if (r == 0)
		*ret_was = was;
	return r;
}

/* does bind(2), which knows no directory but the present one, find the directory that was judged? */
static bool leads_to(const struct bound *p, const struct sockaddr_un *un)
{
	char path[sizeof(un->sun_path) + 1];
	struct stat want, st;

	snprintf(path, sizeof(path), "%.*s", (int)sizeof(un->sun_path), un->sun_path);
	char *slash = strrchr(path, '/');
	strcpy(slash ? slash + (slash == path) : path, slash ? "" : ".");
	return fstat(p->dir, &want) == 0 && stat(path, &st) == 0 && same_file(&st, &want);
}

static int elsewhere(struct op *op, const struct unix_end *e)
{
	return fail_as(op, OUTCOME_CANNOT, "file-rights", "put the directory back",
		"bind a socket to %s: its path leads to another directory than it did", unix_shown(op, &e->name));
}

/* with whose rights is it bound? Paths of sockets may hold symbolic links, so the image has where these led */
static int judge_place(
	struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un, struct bound *p)
{
	const size_t len = (size_t)(strrchr(p->path, '/') - p->path);
	const char *dir = len ? arena_strndup(&op->arena, p->path, len) : "/";
	const struct goal goal = { .path = e->real && e->real[0] == '/' ? e->real : dir,
		.what = "directory ",
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.need = W_OK | X_OK,
		.was = &e->real_inode };
	struct stat st;

	int fd = goal_open(op, site, &goal, &st);
	if (fd < 0)
		return fail(op, fd, "bind a socket to %s", unix_shown(op, &e->name));
	p->dir = made_hold(op, site, p->path, fd);
	if (!leads_to(p, un))
		return elsewhere(op, e);
	int may = rights_may(op, site, p->dir, W_OK | X_OK);
	p->by_owner = may > 0;
	return may < 0 ? may : 0;
}

static int find_place(
	struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un, struct bound *ret)
{
	const char *path = unix_absolute(op, e, un);

	if (path[0] != '/' || !strrchr(path, '/')[1])
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "bind a socket to %s", unix_shown(op, &e->name));
	*ret = (struct bound){ .path = path, .name = strrchr(path, '/') + 1 };
	if (site->owners.n)
		return judge_place(op, site, e, un, ret);
	ret->dir = made_dir(op, site, path, false, &ret->name);
	return ret->dir < 0 ? fail(op, ret->dir, "bind a socket to %s", unix_shown(op, &e->name)) : 0;
}

/* of the socket itself, whatever may be there by now */
static void give_file(struct op *op, struct site *site, const struct unix_end *e, const struct bound *p, int fd)
{
	struct stat st;
	_cleanup_close_ int at = openat(p->dir, p->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (at < 0 || fstat(at, &st) < 0 || (st.st_uid == e->file_uid && st.st_gid == e->file_gid))
		return;
	if (unix_is_at(op, fd, NULL, &st) < (site->owners.n ? UNIX_THERE : UNIX_PERHAPS) ||
		fchownat(at, "", e->file_uid, e->file_gid, AT_EMPTY_PATH) < 0)
		note(op, "%s belongs to user %u, not %u", unix_shown(op, &e->name), st.st_uid, e->file_uid);
}

static int bind_there(struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un,
	socklen_t len, int fd, const struct bound *p)
{
	int r = p->by_owner ? rights_take(op, site) : 0;

	if (r < 0)
		return r;
	mode_t mask = umask(0777 & ~(mode_t)e->file_mode);
	r = bind(fd, (const struct sockaddr *)un, len) < 0 ? -errno : 0;
	umask(mask);
	int back = rights_give_back(op, site);
	if (r == 0 && back < 0)
		unlinkat(p->dir, p->name, 0);
	return r < 0 ? fail(op, r, "bind a socket to %s", unix_shown(op, &e->name)) : back;
}

static int take_away(struct op *op, struct site *site, const struct unix_end *e, const struct bound *p)
{
	int r = p->by_owner ? rights_take(op, site) : 0;

	if (r < 0)
		return r;
	r = unlinkat(p->dir, p->name, 0) < 0 ? -errno : 0;
	int back = rights_give_back(op, site);
	return r < 0 ? fail(op, r, "remove the path of the socket %s", unix_shown(op, &e->name)) : back;
}

/* the path of the socket @fd, from where bind(2) has made it */
static void take_back(struct op *op, int fd)
{
	_cleanup_close_ int file = unix_file(fd);
	struct stat want, st;
	char link[32], *path;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	if (file < 0 || fstat(file, &want) < 0 || read_link(&op->arena, AT_FDCWD, link, &path) < 0 || path[0] != '/')
		return;
	const char *name = strrchr(path, '/') + 1, *text = arena_strndup(&op->arena, path, (size_t)(name - path));
	_cleanup_close_ int dir = inode_walk(AT_FDCWD, text, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0 && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && same_file(&st, &want))
		unlinkat(dir, name, 0);
}

/* bind(2) went by the path, which may lead elsewhere since it was judged */
static int check_place(struct op *op, struct site *site, const struct unix_end *e, const struct bound *p, int fd)
{
	struct stat st;

	if (!site->owners.n || (fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
				       unix_is_at(op, fd, NULL, &st) != UNIX_ELSEWHERE))
		return 0;
	take_back(op, fd);
	return elsewhere(op, e);
}

static int bind_path(struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un,
	socklen_t len, uint32_t type, int fd)
{
	const char *was = NULL;
	struct bound p;
	int r = find_place(op, site, e, un, &p);

	if (r == 0)
		r = make_way(op, site, e, type, &p, &was);
	if (r == 0)
		r = bind_there(op, site, e, un, len, fd, &p);
	if (r == 0)
		r = check_place(op, site, e, &p, fd);
	if (r == 0 && e->unlinked)
		r = take_away(op, site, e, &p);
	if (was && (r < 0 || e->unlinked))
		renameat(p.dir, was, p.dir, p.name);
	if (r < 0 || e->unlinked)
		return r;
	made_add(op, site, p.dir, p.path, p.name, was);
	give_file(op, site, e, &p, fd);
	return 0;
}

/* run @what at the directory where the path of @e starts */
int unix_at_directory(struct op *op, struct site *site, const struct unix_end *e, const struct sockaddr_un *un,
	socklen_t len, uint32_t type, int fd,
	int (*what)(struct op *, struct site *, const struct unix_end *, const struct sockaddr_un *, socklen_t,
		uint32_t, int))
{
	if (!e->dir || !un->sun_path[0] || un->sun_path[0] == '/')
		return what(op, site, e, un, len, type, fd);
	_cleanup_close_ int home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (home < 0 || chdir(e->dir) < 0)
		return fail(op, -errno, "go to \"%s\", where a socket is bound", e->dir);
	int r = what(op, site, e, un, len, type, fd);
	return fchdir(home) < 0 ? fail(op, -errno, "go back to the working directory") : r;
}

int unix_bind(struct op *op, struct site *site, const struct unix_end *e, uint32_t type, int fd)
{
	struct sockaddr_un un, now;
	socklen_t len = unix_address(&e->name, &un), now_len = sizeof(now);

	if (!e->name.n || (getsockname(fd, (struct sockaddr *)&now, &now_len) == 0 &&
				  now_len > offsetof(struct sockaddr_un, sun_path)))
		return 0;
	if (!len)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "bind a socket to a name of %zu bytes", e->name.n);
	*unix_named(op, site, &e->name) = *unix_self(op, site, e->ino);
	if (un.sun_path[0])
		return unix_at_directory(op, site, e, &un, len, type, fd, bind_path);
	if (bind(fd, (const struct sockaddr *)&un, len) == 0)
		return 0;
	return errno == EADDRINUSE ? in_use(op, &e->name)
				   : fail(op, -errno, "bind a socket to %s", unix_shown(op, &e->name));
}
