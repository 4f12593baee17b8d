/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mapped files that have a name in a tmpfs: shared memory (shm_overview(7)), named semaphores (sem_overview(7)). It is memory of
 * the program, which others may find by its name. Mapped by any number of processes, open or not, it is one object. What is shared
 * and written to is in the image whatever its size, as other shared memory is; what is only read up to 32 MiB.
 *
 * Restarting, what is not there is made again. What is there with the same content is used. What has another content, although
 * the program writes to it, is what the program has left, when nobody has it open or mapped: then it makes way (noted). What
 * others use, or write, stays as it is (noted).
 *
 * A semaphore is mapped under a name of the moment by who has made it (sem_open(3)): it looks deleted there.
 *
 * Seen:  /proc/PID/smaps; the file itself, in its place
 * Lost:  its number, extended attributes, set-user-ID and set-group-ID bits (noted), and access and change times, when it is made again; what is not shared, or is only read
 *        and larger than 32 MiB (noted), is as other files are: it must be there
 * Needs: the place where its file system was mounted, and a file lease (fcntl(2)) to know that nobody uses it: else it stays as it is
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/deleted.h"
#include "kinds/goal.h"
#include "kinds/mapped.h"
#include "kinds/openfile.h"
#include "kinds/tmpfs.h"
#include "kinds/vma.h"

#define PAGE  4096u
#define BLOCK (1u << 20) /* to be hashed at once */

struct tmpfs {
	const char *path;
	uint64_t size;
	struct inode inode; /* of its mode only the permissions */
	int64_t mtime_sec, mtime_nsec;
	bool writable; /* it is mapped so that it can be written to */
	bool hashed;
	uint64_t hash; /* of its content */
	struct span dirs; /* of struct tmpfs_dir */
	bool open_to_write; /* it is open so that it can be written to */
	bool made; /* restarting: it is to be filled */
	bool same; /* restarting: it is there, and what the image says, or what the user wants */
	int fd, writer; /* restarting: for reading only, and for both */
};

static const struct field fields[] = {
	FIELD_S(1, struct tmpfs, path, "file.f_path"),
	FIELD_U(2, struct tmpfs, size, "inode.i_size"),
	FIELD_U(3, struct tmpfs, inode.mode, "inode.i_mode"),
	FIELD_U(4, struct tmpfs, inode.uid, "inode.i_uid"),
	FIELD_U(5, struct tmpfs, inode.gid, "inode.i_gid"),
	FIELD_I(6, struct tmpfs, mtime_sec, "inode.i_mtime_sec"),
	FIELD_I(7, struct tmpfs, mtime_nsec, "inode.i_mtime_nsec"),
	FIELD_U(8, struct tmpfs, inode.dev, "super_block.s_dev"),
	FIELD_U(9, struct tmpfs, inode.ino, "inode.i_ino"),
	FIELD_U(10, struct tmpfs, writable, "vm_area_struct.vm_flags"),
	FIELD_U(11, struct tmpfs, hashed, ""),
	FIELD_U(12, struct tmpfs, hash, ""),
	FIELD_A(13, struct tmpfs, dirs, "dentry.d_parent", tmpfs_dir_fields, struct tmpfs_dir),
	INODE_BIRTH_FIELDS(14, struct tmpfs, inode),
	FIELD_U(18, struct tmpfs, open_to_write, "inode.i_writecount"),
	FIELDS_END,
};

/* ---- saving ---- */

/* the kinds of files and of deleted files see what is its, and pick it */
static bool tmpfs_probe(const struct sight *s)
{
	(void)s;
	return false;
}

static void tmpfs_key(const struct sight *s, uint64_t key[2])
{
	key[0] = makedev(s->vma->major, s->vma->minor);
	key[1] = s->vma->ino;
}

/* where it is: an O_PATH descriptor */
static int find_file(const struct sight *s, char path[PATH_MAX])
{
	struct stat st;

	if (s->vma->deleted)
		return deleted_find_other(s, path);
	if (strlen(s->vma->name) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(path, s->vma->name);
	return mapped_find(s, &st);
}

static int tmpfs_open(const struct sight *s)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = find_file(s, path);

	return fd < 0 ? fd : openfile_to_read(fd);
}

static int tmpfs_check(struct op *op, const struct sight *s)
{
	int r = vma_check_flags(op, s);
	_cleanup_close_ int fd = s->again ? -EBADF : tmpfs_open(s);

	if (!s->again && fd < 0)
		return refuse(
			op, "file-unreachable", strerror(-fd), NULL, "maps \"%s\", which cannot be read", s->vma->name);
	return r;
}

/* one after the other, each with the hash of those before */
static int hash_content(struct op *op, int fd, uint64_t size, uint64_t *ret)
{
	void *block = arena_alloc(&op->arena, size < BLOCK ? size + 1 : BLOCK);
	uint64_t hash = 0;

	for (uint64_t at = 0; at < size;) {
		ssize_t n = pread_all(fd, block, (size_t)min_u64(size - at, BLOCK), (off_t)at);

		if (n <= 0)
			return n < 0 ? (int)n : -ENODATA;
		hash = XXH3_64bits_withSeed(block, (size_t)n, hash);
		at += (uint64_t)n;
	}
	*ret = hash;
	return 0;
}

static int tmpfs_save(struct op *op, const struct sight *s, void *rec)
{
	struct tmpfs *t = rec;
	char path[PATH_MAX];
	struct stat st;
	_cleanup_close_ int at = find_file(s, path);
	_cleanup_close_ int fd = at < 0 ? at : openfile_to_read(at);

	int r = fd < 0 ? fd : inode_look(fd, &t->inode);
	if (r < 0 || fstat(fd, &st) < 0)
		return fail(op, r < 0 ? r : -errno, "examine \"%s\", which is in memory", s->vma->name);
	t->inode.mode &= 07777;
	t->path = arena_strdup(&op->arena, path);
	t->size = (uint64_t)st.st_size;
	t->mtime_sec = st.st_mtim.tv_sec;
	t->mtime_nsec = st.st_mtim.tv_nsec;
	t->writable = (tmpfs_use(s) & TMPFS_WRITTEN) != 0;
	t->open_to_write = tmpfs_is_open_to_write(s->tree, t->inode.dev, t->inode.ino);
	tmpfs_save_dirs(op, t->path, t->inode.dev, &t->dirs);
	if (t->size <= TMPFS_MAX)
		t->hashed = hash_content(op, fd, t->size, &t->hash) == 0;
	return 0;
}

/* ---- restarting ---- */

static int malformed(struct op *op, const char *what)
{
	return fail_as(op, OUTCOME_IMAGE, "image-tmpfs", NULL, "make a file in memory from the image: %s", what);
}

static int check_record(struct op *op, const struct tmpfs *t)
{
	if (!t->path || t->path[0] != '/' || strlen(t->path) >= PATH_MAX)
		return malformed(op, "it had no path");
	if (t->size > INT64_MAX - PAGE || t->inode.mode > 07777 || t->mtime_nsec < 0 || t->mtime_nsec > 999999999)
		return malformed(op, "it has an impossible size, mode or time");
	return 0;
}

static bool is_same(struct op *op, const struct tmpfs *t, int at, const struct stat *st)
{
	uint64_t hash;

	if ((uint64_t)st->st_size != t->size || !t->hashed || t->size > TMPFS_MAX)
		return false;
	_cleanup_close_ int fd = openfile_to_read(at);
	return fd >= 0 && hash_content(op, fd, t->size, &hash) == 0 && hash == t->hash;
}

static struct inode was_regular(const struct tmpfs *t)
{
	struct inode was = t->inode;

	was.mode |= S_IFREG;
	return was;
}

/* what another user has put there, or is in another file system, as in that of another container, is not what the program has left */
static bool was_left(const struct tmpfs *t, const struct stat *st)
{
	return st->st_dev == t->inode.dev &&
	       (st->st_uid == t->inode.uid || (geteuid() != 0 && st->st_uid == geteuid()));
}

/* may root do it for who has it? They had that very file, and could write to it, or could have another there in its place */
static int may_replace(struct op *op, const struct tmpfs *t, struct site *site, int at, const struct stat *st)
{
	const struct tmpfs_file file = { t->path, t->inode.uid, t->inode.gid, t->dirs, true, st };
	const struct inode was = was_regular(t);
	struct inode now;

	if (!site->owners.n)
		return 1;
	if (inode_look(at, &now) < 0 || !inode_is_alike(&was, &now))
		return 0;
	int may = inode_is_same(&was, &now) ? 1 : tmpfs_may_remove(op, site, t->path, st);
	return may > 0 ? tmpfs_may_make(op, site, &file) : may;
}

/* something is there: is it to make way? Then *@ret is what it is */
static int judge(struct op *op, struct tmpfs *t, struct site *site, int at, const struct stat **ret)
{
	const char *name = shown(&op->arena, t->path);
	struct stat st;

	*ret = NULL;
	if (fstat(at, &st) < 0)
		return fail(op, -errno, "look at \"%s\"", name);
	if (!S_ISREG(st.st_mode))
		return fail_as(op, OUTCOME_CANNOT, "file-changed", "move it away",
			"map \"%s\": it is no regular file any more", name);
	t->same = goal_has_rule(site, t->path, FILE_KEEP) || is_same(op, t, at, &st);
	if (t->same)
		return 0;
	/* what is on a disk may be for good, and what the program only reads is of others */
	int may = t->writable && tmpfs_has(at) && st.st_nlink == 1 && was_left(t, &st) && !tmpfs_is_used(at);
	may = may ? may_replace(op, t, site, at, &st) : 0;
	if (may < 0)
		return may;
	if (may)
		*ret = arena_dup(&op->arena, &st, sizeof(st));
	if (may)
		note(op,
			"\"%s\" has again what was in it at the checkpoint: nobody used it (--file PATH=keep takes it "
			"as it "
			"is)",
			name);
	else
		note(op,
			"goes on with \"%s\" as it is now: it has changed since the checkpoint%s (--file PATH=keep "
			"takes note "
			"of that)",
			name, t->writable ? ", and others may be using it" : "");
	return 0;
}

static int make_file(struct op *op, struct tmpfs *t, struct site *site, const struct stat *instead)
{
	const struct tmpfs_file file = { t->path, t->inode.uid, t->inode.gid, t->dirs, t->writable || t->open_to_write,
		instead };
	_cleanup_close_ int fd = tmpfs_make(op, site, &file);

	if (fd < 0)
		return fd;
	t->made = true;
	int r = vma_set_size(
		op, fd, t->size, "a file", arena_printf(&op->arena, ", \"%s\"", shown(&op->arena, t->path)));
	return r < 0 ? r : TAKE_FD(fd);
}

/* what is there goes to the program, if they may go there */
static int check_rights(struct op *op, const struct tmpfs *t, struct site *site, int at)
{
	const struct inode was = was_regular(t);
	const struct goal goal = { .path = t->path,
		.what = "",
		.flags = O_PATH | O_CLOEXEC,
		.need = R_OK | (t->writable ? W_OK : 0),
		.was = &was,
		.straight = true };
	struct stat st, there;

	if (!site->owners.n)
		return 0;
	_cleanup_close_ int fd = goal_open(op, site, &goal, &there);
	int r = fd < 0 ? fd : fstat(at, &st) < 0 ? -errno : 0;
	if (r == 0 && !same_file(&st, &there))
		r = -ESTALE;
	return r < 0 ? fail(op, r, "open \"%s\"", shown(&op->arena, t->path)) : r;
}

static int find_or_make(struct op *op, struct tmpfs *t, struct site *site)
{
	const struct stat *instead = NULL;
	_cleanup_close_ int at = tmpfs_open_path(t->path, 0);

	if (at < 0 && !openfile_is_absent(-at))
		return fail(op, at, "look at \"%s\"", shown(&op->arena, t->path));
	int r = at < 0 ? 0 : judge(op, t, site, at, &instead);
	if (r == 0 && at >= 0 && !instead)
		r = check_rights(op, t, site, at);
	if (r < 0)
		return r;
	return at < 0 || instead ? make_file(op, t, site, instead) : TAKE_FD(at);
}

static int tmpfs_restore(struct op *op, void *rec, struct site *site)
{
	struct tmpfs *t = rec;
	int r = check_record(op, t);

	if (r < 0)
		return r;
	if (*tmpfs_slot(op, site, t->inode.dev, t->inode.ino) >= 0)
		return malformed(op, "there are two of it");
	_cleanup_close_ int at = find_or_make(op, t, site);
	if (at < 0)
		return at;
	_cleanup_close_ int both = t->writable ? openfile_reopen(at, O_RDWR | O_NONBLOCK) : -EBADF;
	_cleanup_close_ int fd = openfile_reopen(at, O_RDONLY | O_NONBLOCK);
	if (fd < 0 || (t->writable && both < 0))
		return fail(op, fd < 0 ? fd : both, "open \"%s\", which the program has mapped",
			shown(&op->arena, t->path));
	/* of what is not right as it is, who has it open as well goes by the rules of open files */
	if (t->made || t->same)
		*tmpfs_slot(op, site, t->inode.dev, t->inode.ino) = TAKE_FD(at);
	if (t->writable)
		*site_slot(op, site, fields, (uintptr_t)t) = t->writer = TAKE_FD(both);
	return t->fd = TAKE_FD(fd);
}

static int tmpfs_fill(struct op *op, const void *rec, int fd, uint64_t at, const void *data, size_t len)
{
	const struct tmpfs *t = rec;

	len = vma_part(t->size, at, len);
	if (!len || !t->made)
		return 0;
	_cleanup_close_ int out = openfile_reopen(fd, O_WRONLY);
	int r = out < 0 ? out : pwrite_all(out, data, len < t->size - at ? len : (size_t)(t->size - at), (off_t)at);
	return r < 0 ? fail(op, r, "fill \"%s\"", shown(&op->arena, t->path)) : 0;
}

static int tmpfs_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct tmpfs *t = rec;
	bool writes = v->flags & VMA_SHARED && !(v->flags & VMA_MAYWRITE_OFF);
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE | VMA_HUGETLB, 0);

	if (r < 0)
		return r;
	if (writes ? !t->writable : v->flags & VMA_SHARED && v->prot & PROT_WRITE)
		return malformed(op, "it is mapped to be written to, and may not be");
	if (!(v->flags & VMA_SHARED) && !t->made && !t->same)
		return fail_as(op, OUTCOME_CANNOT, "file-changed", "end who uses it, or let go of it",
			"map \"%s\": the file has changed since the checkpoint, and the program's memory depends on it",
			shown(&op->arena, t->path));
	BATCH_MUST(b, "map a file in memory", SYS_mmap, v->start, v->end - v->start, v->prot, vma_mmap_flags(v),
		(uint64_t)(writes ? t->writer : fd), v->pgoff);
	vma_advise(v, b);
	return 0;
}

static int tmpfs_settle(struct op *op, void *rec, struct site *site)
{
	const struct tmpfs *t = rec;
	const struct timespec times[2] = { { 0, UTIME_OMIT }, { t->mtime_sec, (long)t->mtime_nsec } };

	(void)site;
	int r = t->made ? tmpfs_set_mode(op, t->fd, t->path, t->inode.mode) : 0;
	if (r == 0 && t->made && futimens(t->fd, times) < 0)
		return fail(op, -errno, "make \"%s\" as it was", shown(&op->arena, t->path));
	return r;
}

static void tmpfs_describe(const void *rec, FILE *out)
{
	const struct tmpfs *t = rec;
	char size[32];

	print_quoted(out, t->path ? t->path : "");
	fprintf(out, " of %s%s", human_size(t->size, size, sizeof(size)), t->writable ? ", written to" : "");
}

const struct kind kind_mem_tmpfs = {
	.name = "file in memory",
	.tag = 0x4c,
	.scope = SCOPE_MEM,
	.size = sizeof(struct tmpfs),
	.fields = fields,
	.has_pages = true,
	.backing_has_pages = true,
	.probe = tmpfs_probe,
	.key = tmpfs_key,
	.check = tmpfs_check,
	.save = tmpfs_save,
	.open = tmpfs_open,
	.restore = tmpfs_restore,
	.fill = tmpfs_fill,
	.map = tmpfs_map,
	.settle = tmpfs_settle,
	.describe = tmpfs_describe,
};
