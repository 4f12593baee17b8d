/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * regular files - open(2)
 *
 * The content stays where it is: a checkpoint keeps how the program had the file open. A file that the program writes
 * may have changed when it is restarted. One that it only appends to is cut back to its recorded size, provided that
 * what comes before is the same; the cut is made last, when the restart can no longer fail. Any other change is the
 * user's to decide.
 *
 * A file that has been deleted is the program's alone. Its content is in the image, in the record of the first open file
 * of it, or with the memory that is mapped from it (mem/deleted.c). One of a hugetlbfs that is not mapped is refused.
 *
 * One whose path leads elsewhere now is copied in the same way, if the program only reads it (noted): it has a name still, and may
 * change.
 *
 * A file in memory, as in /dev/shm, goes with the machine. Up to 32 MiB of it are kept in the same way, and it is made again where it
 * is not there. What is there is treated as any file is.
 *
 * Seen:  /proc/PID/fd (path), stat(2) through it, fdinfo: pos, flags, lock; the file itself: the last block
 * Lost:  advice (posix_fadvise(2)), write-life hints, F_SETOWN and F_SETSIG; that a process outside of the
 *        program has the same open file, and its offset; of a deleted file its number, holes and extended
 *        attributes (of one in memory that is made again as well, and its set-user-ID and set-group-ID bits, noted), and O_TMPFILE and O_NOFOLLOW among its flags where it is open more than once
 * Needs: openat2(2)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/deleted.h"
#include "kinds/goal.h"
#include "kinds/hugetlb.h"
#include "kinds/made.h"
#include "kinds/memfd.h"
#include "kinds/openfile.h"
#include "kinds/rights.h"
#include "kinds/secretmem.h"
#include "kinds/tmpfs.h"
#include "kinds/vma.h"

#define TAIL_MAX    (64u << 10)
#define CONTENT_MAX TMPFS_MAX

enum {
	FLAGS = O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_NOFOLLOW | O_NOATIME | O_PATH,
};

struct regular {
	const char *path;
	uint32_t flags;
	uint64_t pos;
	uint64_t size;
	int64_t mtime_sec, mtime_nsec;
	struct inode inode;
	uint32_t flock;
	struct span ofd_locks; /* of struct ofd_lock */
	bool live; /* the kernel makes up the content: it is not compared */
	bool hashed;
	uint64_t tail; /* XXH3 of the last block: the TAIL_MAX bytes, or fewer, before size */
	bool deleted;
	bool in_memory; /* it is made again where it is not there */
	struct span dirs; /* in memory: of struct tmpfs_dir */
	bool written; /* in memory: an open file of it is for writing */
	bool mapped; /* these both: what is in it belongs to a mapping of it */
	struct span content; /* bytes, in one record of each file */
	bool cut; /* restarting: it is to be cut back, in settle() */
	uint32_t lent; /* n + 1: it was the stream n of whoever started the program, as with `stasis run CMD >FILE` */
};

static const struct field fields[] = {
	FIELD_S(1, struct regular, path, "file.f_path"),
	FIELD_B(2, struct regular, flags, "file.f_flags", openfile_flags),
	FIELD_U(3, struct regular, pos, "file.f_pos"),
	FIELD_U(4, struct regular, inode.mode, "inode.i_mode"),
	FIELD_U(5, struct regular, size, "inode.i_size"),
	FIELD_I(6, struct regular, mtime_sec, "inode.i_mtime_sec"),
	FIELD_I(7, struct regular, mtime_nsec, "inode.i_mtime_nsec"),
	FIELD_U(8, struct regular, inode.dev, "super_block.s_dev"),
	FIELD_U(9, struct regular, inode.ino, "inode.i_ino"),
	FIELD_U(10, struct regular, flock, "file_lock_context.flc_flock"),
	FIELD_A(11, struct regular, ofd_locks, "file_lock_context.flc_posix", ofd_lock_fields, struct ofd_lock),
	FIELD_U(12, struct regular, live, ""),
	FIELD_U(13, struct regular, hashed, ""),
	FIELD_U(14, struct regular, tail, ""),
	FIELD_U(15, struct regular, lent, ""),
	FIELD_U(16, struct regular, deleted, "inode.i_nlink"),
	FIELD_U(17, struct regular, mapped, "inode.i_mapping"),
	FIELD_BLOB(18, struct regular, content, "inode.i_mapping"),
	FIELD_U(19, struct regular, inode.uid, "inode.i_uid"),
	FIELD_U(20, struct regular, inode.gid, "inode.i_gid"),
	FIELD_U(21, struct regular, in_memory, "super_block.s_magic"),
	FIELD_A(22, struct regular, dirs, "dentry.d_parent", tmpfs_dir_fields, struct tmpfs_dir),
	INODE_BIRTH_FIELDS(23, struct regular, inode),
	FIELD_U(27, struct regular, written, "inode.i_writecount"),
	FIELDS_END,
};

/* ---- saving ---- */

static bool regular_probe(const struct sight *s)
{
	if (!s->fd->has_stat || !S_ISREG(s->fd->mode) || s->fd->link[0] != '/')
		return false;
	/* memory with a name that no path has */
	return !secretmem_is_name(s->fd->link) && (s->fd->nlink || !memfd_is_name(s->fd->link));
}

/* what /proc calls "/tmp/x (deleted)": nothing leads there */
static bool is_deleted(const struct sight *s, size_t *ret_len)
{
	static const char tail[] = " (deleted)";
	size_t n = strlen(s->fd->link);

	*ret_len = n - (sizeof(tail) - 1);
	return s->fd->nlink == 0 && n > sizeof(tail) && strcmp(s->fd->link + *ret_len, tail) == 0;
}

static const char *old_path(struct op *op, const struct sight *s, size_t len)
{
	return arena_strndup(&op->arena, s->fd->link, len);
}

/* A descriptor of its own, to read from: what the program has is never used to read. */
static int open_deleted(const struct sight *s)
{
	_cleanup_close_ int fd = openfile_take(s);

	return fd < 0 ? fd : openfile_to_read(fd);
}

static int check_deleted(struct op *op, const struct sight *s, size_t len)
{
	const struct proc_fd *f = s->fd;
	bool mapped = deleted_mapping(s->tree, f) != NULL;
	_cleanup_close_ int dir = deleted_parent(s->process, old_path(op, s, len), f->dev);
	_cleanup_close_ int fd = open_deleted(s);
	int r = openfile_check_locks(op, s, false);
	int flags = openfile_check_flags(op, s, (FLAGS & ~O_PATH) | O_TMPFILE);

	if (dir < 0 && !mapped)
		return refuse(op, "file-deleted", "the directory that it was in is gone as well",
			"wait until the program has closed it", "leads to \"%s\"", f->link);
	if (fd < 0 || openfile_is_live(fd))
		return refuse(op, "file-deleted", fd < 0 ? strerror(-fd) : "writing to it acts on the kernel",
			"wait until the program has closed it", "leads to \"%s\", which cannot be copied", f->link);
	if (!mapped && hugetlb_page(fd))
		return refuse(op, "hugetlb-file", "what is in huge pages can only be put there by who maps them",
			"have the program map it, or close it", "leads to \"%s\" of huge pages", f->link);
	if (!mapped && f->size > CONTENT_MAX)
		return refuse(op, "file-deleted", "the image holds such files up to 32 MiB",
			"wait until the program has closed it", "leads to \"%s\" of %" PRIu64 " bytes", f->link,
			f->size);
	return flags < 0 ? flags : r;
}

/*
 * Its path leads elsewhere now, as something was mounted over it: what is only read can be copied. It has a name still, under which
 * others may write to it.
 */
static bool can_copy(const struct sight *s)
{
	_cleanup_close_ int fd =
		openfile_can_read(s->fd->flags) && !openfile_can_write(s->fd->flags) ? open_deleted(s) : -EPERM;

	return fd >= 0 && !openfile_is_live(fd) && (s->fd->size <= CONTENT_MAX || deleted_mapping(s->tree, s->fd));
}

static int regular_check(struct op *op, const struct sight *s)
{
	size_t len;

	if (is_deleted(s, &len))
		return check_deleted(op, s, len);
	int locks = openfile_check_locks(op, s, false);
	int r = openfile_check_flags(op, s, FLAGS);
	int err = openfile_leads(s);
	if (openfile_is_hidden(s, err) && can_copy(s)) {
		note(op, "leads to \"%s\", but that path leads elsewhere now: at a restart it gets a copy",
			shown(&op->arena, s->fd->link));
		return r < 0 ? r : locks;
	}
	int path = openfile_check_found(op, s, err);

	if (path == 0 && openfile_can_write(s->fd->flags) && openfile_shows_live(s))
		r = refuse(op, "file-live", "writing to it acts on the kernel", "close it before the checkpoint",
			"can write to \"%s\"", s->fd->link);
	if (path < 0)
		return path;
	return r < 0 ? r : locks;
}

/* The hash of the last block before @size of the file that @path, a link of /proc, leads to; -errno when it cannot be read. */
static int tail_hash(int dir, const char *path, uint64_t size, uint64_t *ret)
{
	unsigned char block[TAIL_MAX];
	size_t len = size < TAIL_MAX ? (size_t)size : TAIL_MAX;

	if (len == 0) {
		*ret = XXH3_64bits(NULL, 0);
		return 0;
	}
	_cleanup_close_ int in = openfile_to_read_at(dir, path);
	if (in < 0)
		return in;
	ssize_t n = pread_all(in, block, len, (off_t)(size - len));
	if (n < 0)
		return (int)n;
	if ((size_t)n < len)
		return -ENODATA;
	*ret = XXH3_64bits(block, len);
	return 0;
}

/* Is it a stream that the caller of `stasis run` has lent? Its init, which is no part of the program, has it too. */
static uint32_t find_lender(const struct tree *tree, const struct process *p, const struct proc_fd *f)
{
	for (uint32_t n = 0; tree->init && n < 3; n++)
		if (proc_kcmp(tree->init, p->tid, KCMP_FILE, n, (unsigned long)f->n) == 0)
			return n + 1;
	return 0;
}

/*
 * Is it this open file whose record holds the content: the first of the tree that has it by this name? One that was lent comes last, as
 * it will be the caller's then.
 */
static bool keeps_content(const struct sight *s)
{
	struct process *const *p = s->tree->processes.at;
	const struct process *first = NULL;
	int number = -1;
	size_t n;

	const struct holder *h = tree_holders(s->tree, s->fd->dev, s->fd->st_ino, &n);
	for (int lent = 0; lent < 2; lent++)
		for (size_t i = 0; i < s->tree->processes.n && !first; i++)
			for (size_t k = 0; k < n; k++)
				if (h[k].process == p[i] && (number < 0 || h[k].fd->n < number) &&
					strcmp(h[k].fd->link, s->fd->link) == 0 &&
					!find_lender(s->tree, p[i], h[k].fd) == !lent) {
					first = p[i];
					number = h[k].fd->n;
				}
	return s->process == first && s->fd->n == number;
}

/* up to where there is data at all: behind it is nothing but a hole */
static uint64_t data_end(int fd, uint64_t size)
{
	for (off_t end = 0;;) {
		off_t at = lseek(fd, end, SEEK_DATA);

		if (at < 0)
			return errno == ENXIO ? (uint64_t)end : size;
		if ((uint64_t)at >= size)
			return (uint64_t)end;
		end = lseek(fd, at, SEEK_HOLE);
		if (end < 0 || (uint64_t)end >= size)
			return size;
	}
}

static int copy_content(struct op *op, const struct sight *s, struct regular *r, int fd)
{
	if (r->mapped || !keeps_content(s))
		return 0;
	if (r->size > CONTENT_MAX)
		return fail(op, -EFBIG, "copy \"%s\"", r->path);
	const uint64_t end = data_end(fd, r->size);
	r->content = (struct span){ .at = arena_alloc(&op->arena, end + 1), .n = end };
	ssize_t n = pread_all(fd, r->content.at, end, 0);
	return n == (ssize_t)end ? 0 : fail(op, n < 0 ? (int)n : -EIO, "copy \"%s\"", r->path);
}

static int save_deleted(struct op *op, const struct sight *s, struct regular *r, size_t len)
{
	const struct proc_vma *v = deleted_mapping(s->tree, s->fd);
	_cleanup_close_ int fd = open_deleted(s);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(op, fd < 0 ? fd : -errno, "examine \"%s\"", r->path);
	if (v)
		r->inode.dev = makedev(v->major, v->minor);
	r->path = old_path(op, s, len);
	r->deleted = true;
	r->size = (uint64_t)st.st_size;
	r->mtime_sec = st.st_mtim.tv_sec;
	r->mtime_nsec = st.st_mtim.tv_nsec;
	r->mapped = v != NULL;
	return copy_content(op, s, r, fd);
}

/* on a file system that no reboot leaves anything of */
static int save_in_memory(struct op *op, const struct sight *s, struct regular *r)
{
	_cleanup_close_ int fd = openfile_find(s->process, r->path, r->inode.dev, r->inode.ino);

	if (fd < 0)
		return fail(op, fd, "find \"%s\"", r->path);
	r->mapped = tmpfs_is_mapped(s->tree, r->inode.dev, r->inode.ino);
	_cleanup_close_ int in = openfile_to_read(fd);
	r->in_memory = r->mapped || (in >= 0 && r->size <= CONTENT_MAX);
	if (r->in_memory) {
		r->written = tmpfs_is_open_to_write(s->tree, r->inode.dev, r->inode.ino);
		tmpfs_save_dirs(op, r->path, r->inode.dev, &r->dirs);
		return copy_content(op, s, r, in);
	}
	note(op, "\"%s\" is in memory, and not in the image: it must be there at a restart",
		shown(&op->arena, r->path));
	return 0;
}

/*
 * What it was like is known from when the program stood still already: who else writes to it since then writes after the checkpoint.
 */
static int save_tail(struct op *op, const struct sight *s, struct regular *r)
{
	int err = openfile_leads(s);
	char path[32];

	if (openfile_is_hidden(s, err))
		return save_deleted(op, s, r, strlen(r->path));
	if (err < 0)
		return fail(op, err, "find \"%s\"", r->path);
	r->size = s->fd->size;
	r->mtime_sec = s->fd->mtime_sec;
	r->mtime_nsec = s->fd->mtime_nsec;
	r->live = openfile_shows_live(s);
	snprintf(path, sizeof(path), "fd/%d", s->fd->n);
	if (!r->live && openfile_can_write(r->flags))
		r->hashed = tail_hash(s->process->dir, path, r->size, &r->tail) == 0;
	return tmpfs_is(openfile_fs(s)) ? save_in_memory(op, s, r) : 0;
}

static int regular_save(struct op *op, const struct sight *s, void *rec)
{
	struct regular *r = rec;
	size_t len;

	r->path = s->fd->link;
	r->flags = s->fd->flags;
	r->pos = s->fd->pos;
	inode_of_fd(s, &r->inode);
	openfile_save_locks(op, s, &r->flock, &r->ofd_locks);
	int err = is_deleted(s, &len) ? save_deleted(op, s, r, len) : save_tail(op, s, r);
	/* what is read of a deleted file, as of a here-document, is in the image, and not where the next caller is */
	r->lent = r->deleted && openfile_can_read(r->flags) ? 0 : find_lender(s->tree, s->process, s->fd);
	return err;
}

/* ---- the file may have changed ---- */

static bool is_append_only(const struct regular *r)
{
	return r->flags & O_APPEND || r->pos == r->size;
}

static bool is_same_before(const struct regular *r, int fd)
{
	char path[64];
	uint64_t tail;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return r->hashed && tail_hash(AT_FDCWD, path, r->size, &tail) == 0 && tail == r->tail;
}

static int changed(struct op *op, const struct regular *r, uint64_t size)
{
	const char *path = shown(&op->arena, r->path), *how = "was written to";

	if (size != r->size)
		how = size > r->size ? "has grown" : "has shrunk";
	const char *try = arena_printf(&op->arena, "--file %s=keep takes it as it is now", path);
	if (size > r->size)
		try = arena_printf(
			&op->arena, "%s; --file %s=truncate cuts it back to %" PRIu64 " bytes", try, path, r->size);
	return fail_as(op, OUTCOME_CANNOT, "file-changed", try,
		"go on with \"%s\", which the program writes and which %s since the checkpoint (%" PRIu64
		" bytes then, %" PRIu64 " now)",
		r->path, how, r->size, size);
}

static void note_reader(struct op *op, const struct regular *r, uint64_t size)
{
	if (size < r->pos)
		note(op, "\"%s\" has shrunk since the checkpoint, to before where the program reads it", r->path);
	else
		note(op, "\"%s\" has changed since the checkpoint; the program reads it as it is now", r->path);
}

/* The user's word on this file, NULL when there is none. */
static const struct file_rule *find_rule(const struct regular *r, const struct site *site)
{
	for (size_t i = 0; i < site->n_rules; i++)
		if (site->rules[i].policy != FILE_ALLOW && strcmp(site->rules[i].path, r->path) == 0)
			return &site->rules[i];
	return NULL;
}

/* Remember to cut the file back to its recorded size, in settle(). */
static int plan_cut(struct op *op, struct regular *r, struct site *site, int fd, uint64_t size)
{
	int cut = openfile_can_write(r->flags) ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : rights_reopen(op, site, fd, O_WRONLY);

	if (openfile_can_write(r->flags) && cut < 0)
		cut = -errno;
	if (cut < 0)
		return fail(op, cut, "open \"%s\" to cut it back", r->path);
	*site_slot(op, site, fields, (uintptr_t)r) = cut;
	r->cut = true;
	note(op, "\"%s\" has grown since the checkpoint: it is cut back from %" PRIu64 " to %" PRIu64 " bytes", r->path,
		size, r->size);
	return 0;
}

static int compare(struct op *op, struct regular *r, struct site *site, int fd, const struct stat *st)
{
	const struct file_rule *rule = find_rule(r, site);
	uint64_t size = (uint64_t)st->st_size;
	bool same_time = st->st_mtim.tv_sec == r->mtime_sec && st->st_mtim.tv_nsec == r->mtime_nsec;

	if (r->live || r->flags & O_PATH || (rule && rule->policy == FILE_KEEP) || (size == r->size && same_time))
		return 0;
	if (rule && size == r->size)
		return 0;
	if (rule && size > r->size)
		return plan_cut(op, r, site, fd, size);
	if (!openfile_can_write(r->flags)) {
		note_reader(op, r, size);
		return 0;
	}
	int err = rights_give_back(op, site);
	if (err < 0)
		return err;
	if (size < r->size || !is_append_only(r) || !is_same_before(r, fd))
		return changed(op, r, size);
	if (size > r->size)
		return plan_cut(op, r, site, fd, size);
	note(op, "\"%s\" was touched since the checkpoint; its size and its last block are the same", r->path);
	return 0;
}

/* ---- restarting ---- */

static int missing(struct op *op, const struct regular *r, const char *how)
{
	return fail_as(op, OUTCOME_CANNOT, "file-missing", "put the file back under this path and restart again",
		"open \"%s\": it is %s", r->path, how);
}

static int open_path(struct op *op, const struct regular *r, struct site *site, struct stat *ret_st)
{
	int flags = (int)r->flags | O_CLOEXEC | O_NOCTTY | (r->flags & O_PATH ? 0 : O_NONBLOCK);
	const struct goal goal = { .path = r->path,
		.what = "",
		.flags = flags,
		.was = &r->inode,
		.type = S_IFREG,
		.asks_opener = r->live,
		.stays = true };

	_cleanup_close_ int fd = goal_open(op, site, &goal, ret_st);
	if (fd == -EMEDIUMTYPE)
		return missing(op, r, "not a regular file any more");
	if (fd == -ELOOP && flags & O_NOFOLLOW)
		return missing(op, r, "a symbolic link now");
	if (fd < 0)
		return openfile_is_absent(-fd) ? missing(op, r, "not there") : fail(op, fd, "open \"%s\"", r->path);
	/* as proc(5), which tells more to who has opened it as stasis than it told the program */
	if (site->owners.n && !r->live && openfile_is_live(fd))
		return missing(op, r, "something that the kernel makes up now");
	if ((uint32_t)flags != (r->flags | O_CLOEXEC | O_NOCTTY) && fcntl(fd, F_SETFL, r->flags) < 0)
		return fail(op, -errno, "set the status flags of \"%s\"", r->path);
	return TAKE_FD(fd);
}

static bool regular_is_stream(const void *rec)
{
	return ((const struct regular *)rec)->lent != 0;
}

/*
 * The caller's stream takes its place, whatever it leads to. What the program reads goes on where it was. What it writes
 * goes where the caller is: the file is his, and others may have written to it since, so nothing in it is taken back.
 */
static int borrow(struct op *op, const struct regular *r, struct site *site, int stream)
{
	_cleanup_close_ int fd = fcntl(stream, F_DUPFD_CLOEXEC, 3);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(op, -errno, "take over the caller's stream %d", stream);
	if (!S_ISREG(st.st_mode) || st.st_dev != r->inode.dev || st.st_ino != r->inode.ino)
		return TAKE_FD(fd);
	uint64_t size = (uint64_t)st.st_size;
	if (!openfile_can_write(r->flags) && lseek(fd, (off_t)r->pos, SEEK_SET) < 0)
		return fail(op, -errno, "move to offset %" PRIu64 " of \"%s\"", r->pos, r->path);
	if (openfile_can_write(r->flags) && size > r->size)
		note(op,
			"%" PRIu64
			" bytes came to \"%s\" since the checkpoint: what of them is the program's, it writes again",
			size - r->size, r->path);
	if (openfile_can_write(r->flags) && size < r->size)
		note(op, "\"%s\" is shorter than at the checkpoint: what the program had written is no longer in it",
			r->path);
	return TAKE_FD(fd);
}

/* The file without a name is made by the first who needs it; its last touch gets it in settle(). */
static int open_nameless(struct op *op, const struct regular *r, struct site *site)
{
	uint32_t flags =
		r->flags & O_TMPFILE & ~(uint32_t)O_DIRECTORY && (r->flags & O_ACCMODE) == O_RDWR ? r->flags : 0;
	bool made;

	int here = deleted_make(op, site, r->path, r->inode.dev, r->inode.ino, flags, &made);
	if (here < 0)
		return here;
	if (r->content.n > r->size || r->size > INT64_MAX)
		return fail(op, -EBADMSG, "fill \"%s\"", r->path);
	int err = r->content.n ? pwrite_all(here, r->content.at, r->content.n, 0) : 0;
	if (err < 0)
		return fail(op, err, "fill \"%s\", which was deleted", r->path);
	int fd = made && flags
			 ? fcntl(here, F_DUPFD_CLOEXEC, 3)
			 : openfile_reopen(here, (int)(r->flags & ~(uint32_t)(O_TMPFILE | O_NOFOLLOW)) | O_NONBLOCK);
	if (made && flags && fd < 0)
		fd = -errno;
	return fd < 0 ? fail(op, fd, "open \"%s\", which was deleted", r->path) : fd;
}

static int settle_nameless(struct op *op, const struct regular *r, struct site *site)
{
	const struct timespec times[2] = { { 0, UTIME_OMIT }, { r->mtime_sec, (long)r->mtime_nsec } };
	int *slot = deleted_slot(op, site, r->inode.dev, r->inode.ino);

	_cleanup_close_ int fd = TAKE_FD(*slot);
	struct stat st;

	if (fd < 0) /* another open file of it has done it */
		return 0;
	/* one that is mapped has its size, and is open for reading only here */
	bool cut = fstat(fd, &st) < 0 || (uint64_t)st.st_size != r->size;
	if ((cut && ftruncate(fd, (off_t)r->size) < 0) || fchmod(fd, r->inode.mode & 07777) < 0)
		return fail(op, -errno, "make \"%s\", which was deleted, as it was", r->path);
	if (fchown(fd, r->inode.uid, r->inode.gid) < 0 || futimens(fd, times) < 0)
		note(op, "\"%s\", which was deleted, has another owner or time now", r->path);
	return 0;
}

/* the first that needs a file in memory makes it, if it is not there, and one of them fills it; *ret_fd: it, or < 0 */
static int make_again(struct op *op, const struct regular *r, struct site *site, int *ret_fd)
{
	const struct tmpfs_file file = { r->path, r->inode.uid, r->inode.gid, r->dirs,
		r->written || openfile_can_write(r->flags), NULL };
	struct stat st;
	int *slot = tmpfs_slot(op, site, r->inode.dev, r->inode.ino), err;

	if (*slot < 0 && !r->mapped && lstat(r->path, &st) < 0 && openfile_is_absent(errno)) {
		int made = tmpfs_make(op, site, &file);

		if (made < 0)
			return made;
		slot = tmpfs_slot(op, site, r->inode.dev, r->inode.ino);
		*slot = made;
		err = vma_set_size(op, made, r->size, "a file", arena_printf(&op->arena, ", \"%s\"", r->path));
		if (err < 0)
			return err;
	}
	*ret_fd = *slot;
	if (*slot >= 0 && lstat(r->path, &st) < 0 && openfile_is_absent(errno) &&
		(err = tmpfs_link(op, site, *slot, &file)) < 0)
		return err;
	if (*slot < 0 || r->mapped || !r->content.n)
		return 0;
	err = r->content.n > r->size ? -EBADMSG : pwrite_all(*slot, r->content.at, r->content.n, 0);
	return err < 0 ? fail(op, err, "fill \"%s\"", r->path) : 0;
}

static int open_named(struct op *op, struct regular *r, struct site *site)
{
	const struct span owners = site->owners;
	struct stat st, again;
	int made = -EBADF, err = r->in_memory ? make_again(op, r, site, &made) : 0;

	/* what was just made is theirs, although they may not open it */
	if (made >= 0 && made_here(site, r->path))
		site->owners = (struct span){ 0 };
	_cleanup_close_ int fd = err < 0 ? err : open_path(op, r, site, &st);
	site->owners = owners;
	if (fd < 0)
		return fd;
	if (made >= 0 && (fstat(made, &again) < 0 || !same_file(&again, &st)))
		return fail(op, -ESTALE, "open \"%s\"", r->path);
	err = made >= 0 ? 0 : compare(op, r, site, fd, &st);
	return err < 0 ? err : TAKE_FD(fd);
}

/* its mode may forbid to open it, so that comes last; one that is mapped is its mapping's */
static int settle_again(struct op *op, const struct regular *r, struct site *site)
{
	const struct timespec times[2] = { { 0, UTIME_OMIT }, { r->mtime_sec, (long)r->mtime_nsec } };

	if (r->mapped)
		return 0;
	int *slot = tmpfs_slot(op, site, r->inode.dev, r->inode.ino);
	_cleanup_close_ int fd = TAKE_FD(*slot);
	int err = fd < 0 ? 0 : tmpfs_set_mode(op, fd, r->path, r->inode.mode);
	if (err == 0 && fd >= 0 && futimens(fd, times) < 0)
		return fail(op, -errno, "make \"%s\" as it was", r->path);
	return err;
}

static int regular_restore(struct op *op, void *rec, struct site *site)
{
	struct regular *r = rec;
	uint32_t allowed = FLAGS | (r->deleted ? O_TMPFILE : 0);

	if (!r->path || r->path[0] != '/' || openfile_is_odd(r->flags, allowed) || r->pos > INT64_MAX ||
		r->size > INT64_MAX || (r->deleted && r->flags & O_PATH) ||
		(r->in_memory && (r->mtime_nsec < 0 || r->mtime_nsec > 999999999)))
		return fail(op, -EBADMSG, "open a regular file from the image");
	if (r->lent && r->lent <= 3 && site->stdio[r->lent - 1] >= 0)
		return borrow(op, r, site, site->stdio[r->lent - 1]);
	int err = r->deleted || r->in_memory ? rights_give_back(op, site) : 0;
	if (err < 0)
		return err;
	_cleanup_close_ int fd = r->deleted ? open_nameless(op, r, site) : open_named(op, r, site);
	if (fd < 0 || r->flags & O_PATH)
		return TAKE_FD(fd);
	if ((r->pos || r->deleted) && lseek(fd, (off_t)r->pos, SEEK_SET) < 0)
		return fail(op, -errno, "move to offset %" PRIu64 " of \"%s\"", r->pos, r->path);
	err = r->deleted ? openfile_set_status(fd, r->flags) : 0; /* open_path() has done it */
	if (err < 0)
		return fail(op, err, "set the status flags of \"%s\"", r->path);
	err = openfile_lock(op, fd, r->flock, &r->ofd_locks, r->path);
	return err < 0 ? err : TAKE_FD(fd);
}

static int regular_settle(struct op *op, void *rec, struct site *site)
{
	struct regular *r = rec;

	if (r->deleted)
		return settle_nameless(op, r, site);
	int err = r->in_memory ? settle_again(op, r, site) : 0;
	if (err < 0)
		return err;
	if (!r->cut)
		return 0;
	r->cut = false;
	int *slot = site_slot(op, site, fields, (uintptr_t)r);
	_cleanup_close_ int fd = TAKE_FD(*slot);
	struct stat st;

	/* another open file of the program may have led to the same cut */
	if (fstat(fd, &st) < 0 || (st.st_size > (off_t)r->size && ftruncate(fd, (off_t)r->size) < 0))
		return fail(op, -errno, "cut \"%s\" back to %" PRIu64 " bytes", r->path, r->size);
	return 0;
}

static void regular_describe(const void *rec, FILE *out)
{
	const struct regular *r = rec;
	char size[32];

	print_quoted(out, r->path ? r->path : "");
	fprintf(out, " at %" PRIu64 " of %s%s%s%s%s", r->pos, human_size(r->size, size, sizeof(size)),
		openfile_can_write(r->flags) ? ", writing" : "", r->flags & O_APPEND ? ", appending" : "",
		r->flock || r->ofd_locks.n ? ", locked" : "", r->deleted ? ", deleted" : "");
}

const struct kind kind_fd_regular = {
	.name = "regular",
	.tag = 0x60,
	.scope = SCOPE_FD,
	.size = sizeof(struct regular),
	.fields = fields,
	.probe = regular_probe,
	.check = regular_check,
	.save = regular_save,
	.restore = regular_restore,
	.is_stream = regular_is_stream,
	.settle = regular_settle,
	.describe = regular_describe,
};
