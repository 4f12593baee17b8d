/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * working directory, root directory, umask - chdir(2), chroot(2), umask(2)
 *
 * Seen:  /proc/PID/cwd, /proc/PID/root, status: Umask
 * Lost:  nothing
 * Needs: openat2(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/goal.h"
#include "kinds/openfile.h"

struct fs {
	const char *cwd, *root;
	uint32_t umask;
	struct inode cwd_inode, root_inode;
	struct stat cwd_now, root_now; /* restarting: where they are to lead, when st_ino is not 0 */
};

static const struct field fields[] = {
	FIELD_S(1, struct fs, cwd, "fs_struct.pwd"),
	FIELD_S(2, struct fs, root, "fs_struct.root"),
	FIELD_U(3, struct fs, umask, "fs_struct.umask"),
	INODE_FIELDS(4, struct fs, cwd_inode),
	INODE_FIELDS(13, struct fs, root_inode),
	FIELDS_END,
};

/* That of the process before, which has the same root, was found a moment ago; and as that is in it still, no other mount has its number */
static bool is_last_cwd(const struct process *p)
{
	return openfile_knows_root(p) && p->root->cwd && openfile_is_spot(p->dir, "cwd", &p->root->cwd_spot);
}

static void keep_cwd(const struct process *p)
{
	if (!openfile_knows_root(p))
		return;
	p->root->cwd_spot = openfile_spot(p->dir, "cwd");
	p->root->cwd = p->seen->cwd;
}

static int check_cwd(struct op *op, const struct process *p)
{
	struct stat st;
	char *cwd;

	if (is_last_cwd(p)) {
		p->seen->cwd = p->root->cwd;
		return 0;
	}
	if (read_link(&op->arena, p->dir, "cwd", &cwd) < 0 || fstatat(p->dir, "cwd", &st, 0) < 0)
		return refuse(op, "cwd-unreachable", NULL, NULL, "has a working directory that cannot be examined");
	p->seen->cwd = cwd;
	_cleanup_close_ int fd = openfile_find(p, cwd, st.st_dev, st.st_ino);
	if (fd >= 0) {
		keep_cwd(p);
		return 0;
	}
	if (fd == -ENOENT)
		return refuse(op, "cwd-deleted", NULL, "make it go to another directory",
			"has a working directory that is deleted: \"%s\"", cwd);
	return refuse(op, "cwd-unreachable", strerror(-fd), NULL,
		"has a working directory that no path leads to: \"%s\"", cwd);
}

static int check_root(struct op *op, const struct process *p)
{
	struct stat st, there;
	char *root;

	if (openfile_knows_root(p)) {
		p->seen->root = "/";
		return 0;
	}
	if (read_link(&op->arena, p->dir, "root", &root) < 0 || fstatat(p->dir, "root", &st, 0) < 0)
		return refuse(op, "root-unreachable", NULL, NULL, "has a root directory that cannot be examined");
	p->seen->root = root;
	if (strcmp(root, "/") == 0)
		return 0;
	if (stat(root, &there) < 0 || !same_file(&there, &st))
		return refuse(
			op, "root-unreachable", NULL, NULL, "has a root directory that no path leads to: \"%s\"", root);
	return 0;
}

static int fs_check(struct op *op, const struct sight *s)
{
	int cwd = check_cwd(op, s->process), root = check_root(op, s->process);

	return cwd < 0 ? cwd : root;
}

static int look_at(const struct process *p, const char *link, struct inode *ret)
{
	_cleanup_close_ int fd = openat(p->dir, link, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : inode_look(fd, ret);
}

/* those of most are those of the process before */
static int look_at_cwd(struct op *op, const struct process *p, struct inode *ret)
{
	struct root *r = openfile_knows_root(p) ? p->root : NULL;

	if (r && r->cwd_inode && r->cwd_looked_at == p->seen->cwd) {
		*ret = *r->cwd_inode;
		return 0;
	}
	int e = look_at(p, "cwd", ret);
	if (e == 0 && r) {
		r->cwd_inode = arena_dup(&op->arena, ret, sizeof(*ret));
		r->cwd_looked_at = p->seen->cwd;
	}
	return e;
}

static int look_at_root(struct op *op, const struct process *p, struct inode *ret)
{
	struct root *r = openfile_knows_root(p) ? p->root : NULL;

	if (r && r->inode) {
		*ret = *r->inode;
		return 0;
	}
	int e = look_at(p, "root", ret);
	if (e == 0 && r)
		r->inode = arena_dup(&op->arena, ret, sizeof(*ret));
	return e;
}

static int fs_save(struct op *op, const struct sight *s, void *rec)
{
	struct fs *f = rec;

	int r = look_at_cwd(op, s->process, &f->cwd_inode);
	if (r == 0)
		r = look_at_root(op, s->process, &f->root_inode);
	if (r < 0)
		return fail(op, r, "examine its working and root directory");
	f->cwd = s->process->seen->cwd;
	f->root = s->process->seen->root;
	f->umask = s->process->status.umask;
	return 0;
}

/* struct judged - the last directory that was found to be right; many processes are mostly in one */
struct judged {
	const struct rights *by;
	const char *path;
	const struct inode *was;
	struct stat now;
};

static const struct judged *find_judged(
	const struct site *site, const char *path, const struct inode *was, const char *which)
{
	const struct judged *last = site_known(site, which);

	return last && last->by == *(const struct rights *const *)site->owners.at && strcmp(last->path, path) == 0 &&
			       inode_is_same(last->was, was)
		       ? last
		       : NULL;
}

/*
 * May it have the directory at @path? It goes there itself, by the path; leave() sees whether that was the same one. What locks it in
 * is never behind a symbolic link.
 */
static int check_rights(
	struct op *op, struct site *site, const char *path, const struct inode *was, bool is_root, struct stat *ret)
{
	static const char which[2];
	const struct goal goal = { .path = path,
		.what = is_root ? "root directory " : "working directory ",
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.need = X_OK,
		.was = was,
		.type = S_IFDIR,
		.straight = is_root };

	*ret = (struct stat){ 0 };
	if (!site->owners.n)
		return 0;
	const struct judged *last = find_judged(site, path, was, &which[is_root]);
	if (last) {
		*ret = last->now;
		return 0;
	}
	_cleanup_close_ int fd = goal_open(op, site, &goal, ret);
	if (fd < 0)
		return fail(
			op, fd == -EMEDIUMTYPE ? -ENOTDIR : fd, "open %s\"%s\"", goal.what, shown(&op->arena, path));
	struct judged judged = { *(const struct rights *const *)site->owners.at, path, was, *ret };
	site_keep(op, site, &which[is_root], arena_dup(&op->arena, &judged, sizeof(judged)));
	return 0;
}

/*
 * Both paths are as seen from outside of the root, so the working directory comes first; chroot(2) does not move it. All that
 * paths are needed for was done before, and the rights of the thread go later: they are its own.
 */
static int fs_settle(struct op *op, void *rec, struct site *site)
{
	struct fs *f = rec;
	struct batch *b = site->batch;

	if (!f->cwd || !f->root || f->cwd[0] != '/' || f->root[0] != '/' || f->umask & ~0777u ||
		strlen(f->cwd) >= PATH_MAX || strlen(f->root) >= PATH_MAX)
		return fail(op, -EBADMSG, "set a working directory from the image");
	int r = check_rights(op, site, f->cwd, &f->cwd_inode, false, &f->cwd_now);
	if (r == 0 && strcmp(f->root, "/") != 0)
		r = check_rights(op, site, f->root, &f->root_inode, true, &f->root_now);
	if (r < 0)
		return r;
	const char *what = arena_printf(&op->arena, "go to its working directory \"%s\"", shown(&op->arena, f->cwd));
	BATCH_MUST(b, what, SYS_chdir, batch_in(b, f->cwd, strlen(f->cwd) + 1).at);
	if (strcmp(f->root, "/") != 0) {
		what = arena_printf(&op->arena, "take \"%s\" as its root directory", shown(&op->arena, f->root));
		BATCH_MUST(b, what, SYS_chroot, batch_in(b, f->root, strlen(f->root) + 1).at);
	}
	BATCH_MUST(b, "set its umask", SYS_umask, f->umask);
	return 0;
}

static int verify(struct op *op, const struct site *site, const char *link, const struct stat *want)
{
	const char *path = arena_printf(&op->arena, "/proc/%d/%s", site->pid, link);
	struct stat st;

	if (!want->st_ino)
		return 0;
	if (stat(path, &st) < 0)
		return fail(op, -errno, "look at its directories");
	return same_file(&st, want) ? 0 : fail(op, -ESTALE, "set its directories, which somebody moves");
}

static int fs_leave(struct op *op, void *rec, struct site *site)
{
	const struct fs *f = rec;
	int r = verify(op, site, "cwd", &f->cwd_now);

	return r < 0 ? r : verify(op, site, "root", &f->root_now);
}

static void fs_describe(const void *rec, FILE *out)
{
	const struct fs *f = rec;

	fputs("in ", out);
	print_quoted(out, f->cwd ? f->cwd : "");
	if (f->root && strcmp(f->root, "/") != 0) {
		fputs(", root ", out);
		print_quoted(out, f->root);
	}
	fprintf(out, ", umask %03o", f->umask);
}

const struct kind kind_task_fs = {
	.name = "fs",
	.tag = 0x2b,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_FS,
	.size = sizeof(struct fs),
	.fields = fields,
	.check = fs_check,
	.save = fs_save,
	.settle = fs_settle,
	.leave = fs_leave,
	.describe = fs_describe,
};
