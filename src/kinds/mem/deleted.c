/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mapped files that were deleted: a library or an executable that was replaced by another version while it is used, scratch
 * files, semaphores after sem_unlink(3). Mapped privately or shared, by any number of processes, and open as well, it is one
 * object: the pages of the file. What differs in private mappings comes from these.
 *
 * Who has CAP_CHECKPOINT_RESTORE opens the very file, and anybody one that is open or is run; then it is saved in full. Else what
 * the mappings show of it is saved: pages that a private mapping has of its own hide those of the file, which nobody needs then.
 *
 * So are files whose path leads elsewhere now, as something was mounted over it, or what they are on was unmounted. They may have
 * another name still: so those that are written to through a mapping are refused.
 *
 * It is made anew in memory, in a file system that is mounted nowhere, under its old path, and deleted there (limbo.h): what is at
 * that path now is not touched. What was in a tmpfs, is shared, and is mostly holes is made beside where it was instead, without
 * a name: so who may not open it sees that it is of a tmpfs, where only the pages that are in memory exist, and need not read all.
 *
 * Seen:  /proc/PID/smaps, "/usr/lib/libx.so (deleted)"; the file: /proc/PID/map_files; what mappings show: /proc/PID/mem, pagemap
 * Lost:  of what only its path does not lead to any more, that others change it later (noted where it is mapped shared);
 *        its number and file system, and that a process outside of the program has it as well. The name of what was in a tmpfs,
 *        is shared, and has more than 16 MiB of holes. Where it is not open and who saves it is not privileged: owner, mode,
 *        times, holes, the end within the last page, what nobody has mapped, and what processes' own pages hide everywhere
 *        (zeros, where these are dropped: madvise(2)).
 *        Of huge pages those of zeros are not there any more, and when it is not open who is not privileged is refused
 * Needs: where it was in a hugetlbfs, as many huge pages, and to keep its name the right to mount one; else it is a memfd (noted). And
 *        tmpfs, mounted by who may do that, or in a user namespace; else it gets another name, in its directory or /tmp (noted)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/deleted.h"
#include "kinds/hugetlb.h"
#include "kinds/limbo.h"
#include "kinds/memfd.h"
#include "kinds/openfile.h"
#include "kinds/tmpfs.h"
#include "kinds/vma.h"

#define PAGE	   4096u
#define HOLES_MOST (16ull << 20) /* that it may cost to read them, which allocates them */

struct deleted {
	const char *path;
	uint64_t size;
	uint32_t mode, uid, gid;
	int64_t mtime_sec, mtime_nsec;
	uint64_t dev, ino; /* as mappings show them */
	bool bare; /* only what is mapped of it was to be seen */
	bool writable; /* it is mapped so that it can be written to */
	bool beside; /* without a name, where it was */
	uint64_t page; /* the size of its pages, when it was in a hugetlbfs; else 0 */
	int fd, writer; /* restarting: for reading only, as what can be written to cannot be run; and for both */
};

static const struct field fields[] = {
	FIELD_S(1, struct deleted, path, "file.f_path"),
	FIELD_U(2, struct deleted, size, "inode.i_size"),
	FIELD_U(3, struct deleted, mode, "inode.i_mode"),
	FIELD_U(4, struct deleted, uid, "inode.i_uid"),
	FIELD_U(5, struct deleted, gid, "inode.i_gid"),
	FIELD_I(6, struct deleted, mtime_sec, "inode.i_mtime_sec"),
	FIELD_I(7, struct deleted, mtime_nsec, "inode.i_mtime_nsec"),
	FIELD_U(8, struct deleted, dev, "super_block.s_dev"),
	FIELD_U(9, struct deleted, ino, "inode.i_ino"),
	FIELD_U(10, struct deleted, bare, ""),
	FIELD_U(11, struct deleted, writable, "vm_area_struct.vm_flags"),
	FIELD_U(12, struct deleted, beside, ""),
	FIELD_U(13, struct deleted, page, "hstate.order"),
	FIELDS_END,
};

/* ---- what is it? ---- */

static bool deleted_probe(const struct sight *s)
{
	return vma_is_deleted(s->vma);
}

static void deleted_key(const struct sight *s, uint64_t key[2])
{
	key[0] = makedev(s->vma->major, s->vma->minor);
	key[1] = s->vma->ino;
}

static bool is_same(const struct proc_vma *v, const struct proc_vma *w)
{
	return v->ino == w->ino && v->major == w->major && v->minor == w->minor && v->deleted == w->deleted;
}

/* struct use - how the program has it mapped */
struct use {
	bool shared, writable;
	/* if that was asked for: */
	uint64_t rss; /* the most that a mapping has of it */
	uint64_t end; /* as far as it shows */
};

static uint64_t readable(struct op *op, const struct process *p, const struct proc_vma *v);

/* bytes of its pages that it has */
static uint64_t resident(struct op *op, const struct process *p, const struct proc_vma *v)
{
	_cleanup_close_ int pagemap = v->has_counters ? -EBADF : openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	struct span runs = { 0 };
	uint64_t n = v->rss;

	if (pagemap >= 0)
		proc_scan_pages(&op->arena, pagemap, v->start, v->end, true, &runs);
	const struct proc_pages *run = runs.at;
	for (size_t i = 0; i < runs.n; i++)
		n += run[i].end - run[i].start;
	return n;
}

static struct use find_use(struct op *op, const struct sight *s, bool want_extent)
{
	struct process *const *p = s->tree->processes.at;
	struct use use = { 0 };

	for (size_t i = 0; i < s->tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t n = 0; n < p[i]->vmas.n; n++) {
			if (!is_same(&v[n], s->vma))
				continue;
			use.shared |= v[n].shared;
			use.writable |= v[n].shared && !(vma_flags(&v[n]) & VMA_MAYWRITE_OFF);
			if (!want_extent)
				continue;
			use.rss = max_u64(use.rss, resident(op, p[i], &v[n]));
			uint64_t len = readable(op, p[i], &v[n]);
			if (len && v[n].pgoff + len > use.end)
				use.end = v[n].pgoff + len;
		}
	}
	return use;
}

/* the directory that it was in, if that is of a tmpfs */
static int open_parent(struct op *op, const struct sight *s)
{
	const struct proc_vma *v = s->vma;
	struct statfs fs;

	_cleanup_close_ int dir = deleted_parent(s->process, v->name, makedev(v->major, v->minor));
	if (dir < 0 || fstatfs(dir, &fs) < 0)
		return dir < 0 ? dir : -errno;
	return (unsigned long)fs.f_type == TMPFS_MAGIC ? TAKE_FD(dir) : -EXDEV;
}

static bool was_in_tmpfs(struct op *op, const struct sight *s)
{
	_cleanup_close_ int dir = open_parent(op, s);

	return dir >= 0;
}

/* ---- how far does it reach? ---- */

static bool is_guard(const struct span *guards, uint64_t at)
{
	const struct proc_pages *g = guards->at;

	for (size_t i = 0; i < guards->n; i++)
		if (g[i].start <= at && at < g[i].end)
			return true;
	return false;
}

static bool is_readable(const struct process *p, const struct span *guards, uint64_t at)
{
	char byte;

	return pread(p->mem, &byte, 1, (off_t)at) == 1 || is_guard(guards, at);
}

/* behind the last page of the file there is nothing to be read; it harms nobody to try */
static uint64_t readable(struct op *op, const struct process *p, const struct proc_vma *v)
{
	struct span guards = { 0 };
	uint64_t lo = 0, hi = (v->end - v->start) / PAGE;

	if (is_readable(p, &guards, v->end - PAGE))
		return v->end - v->start;
	_cleanup_close_ int pagemap = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap >= 0)
		proc_scan_guards(&op->arena, pagemap, v->start, v->end, &guards);
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (is_readable(p, &guards, v->start + mid * PAGE))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo * PAGE;
}

static uint64_t deleted_reach(struct op *op, const struct sight *s, bool *ret_all)
{
	*ret_all = !was_in_tmpfs(op, s);
	return readable(op, s->process, s->vma);
}

/* ---- saving ---- */

/* what is only read is a copy as good as the file; what is shared is not, as others may open it */
static int check_names(struct op *op, const struct sight *s, int fd)
{
	struct stat st;
	char other[PATH_MAX];

	if (!find_use(op, s, false).shared || (fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0))
		return 0;
	_cleanup_close_ int named = deleted_find_other(s, other);
	if (named < 0 && fd < 0)
		return 0;
	return refuse(op, "file-deleted", "it has another name still, under which others may open it",
		"delete that as well", "maps \"%s\", which has been deleted%s%s", s->vma->name,
		named < 0 ? "" : ", and is there now as ", named < 0 ? "" : other);
}

/* to read pages that do not exist makes them, in the file or as a private mapping's own */
static int check_huge(struct op *op, const struct sight *s, int fd)
{
	const struct proc_vma *v = s->vma;
	struct stat st;

	if (fd < 0)
		return refuse(op, "hugetlb-unreachable", strerror(-fd), "save it as root",
			"maps huge pages of \"%s\", which has been deleted", v->name);
	if (fstat(fd, &st) < 0 || v->pgoff + (v->end - v->start) > (uint64_t)st.st_size)
		return refuse(op, "hugetlb-file", "to map it again would make it longer", NULL,
			"maps huge pages beyond the end of \"%s\", which has been deleted", v->name);
	return hugetlb_check_size(op, s);
}

/* it has a name still, under which others may find it: what they write the program would not see, and they not what it writes */
static int check_hidden(struct op *op, const struct sight *s)
{
	struct use use = find_use(op, s, false);

	if (use.writable)
		return refuse(op, "file-replaced", "what it writes there others may want to read",
			"make the file reachable under its path again",
			"maps \"%s\" shared, but that path leads elsewhere now", s->vma->name);
	if (use.shared)
		note(op, "maps \"%s\", but that path leads elsewhere now: at a restart it gets a copy",
			shown(&op->arena, s->vma->name));
	return 0;
}

/* what others may find by another name is no less shared with them */
static const struct kind *deleted_pick(const struct sight *s)
{
	char path[PATH_MAX];
	struct stat st;

	if (!s->vma->deleted || !(tmpfs_use(s) & TMPFS_SHARED))
		return &kind_mem_deleted;
	_cleanup_close_ int fd = deleted_open(s);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0)
		return &kind_mem_deleted;
	_cleanup_close_ int named = deleted_find_other(s, path);
	return named >= 0 && tmpfs_keeps(s, named) ? &kind_mem_tmpfs : &kind_mem_deleted;
}

static int deleted_check(struct op *op, const struct sight *s)
{
	int r = vma_check_flags(op, s);

	if (s->again && !vma_is_hugetlb(s->vma))
		return r;
	/* what the kernel has no place for lies where memfds do: buffers of graphics */
	if (memfd_is_device(makedev(s->vma->major, s->vma->minor), 0))
		return refuse(op, "file-deleted", "it is memory of the kernel", NULL,
			"maps \"%s\", which has been deleted", s->vma->name);
	_cleanup_close_ int fd = deleted_open(s);
	if (fd == -ENODEV)
		return refuse(op, "device-mapping", NULL, NULL, "maps the device \"%s\", which %s", s->vma->name,
			s->vma->deleted ? "has been deleted" : "its path does not lead to any more");
	int names = s->vma->deleted ? check_names(op, s, fd) : check_hidden(op, s);
	int huge = vma_is_hugetlb(s->vma) ? check_huge(op, s, fd) : 0;
	return r < 0 ? r : names < 0 ? names : huge;
}

static void save_state(struct deleted *d, const struct stat *st)
{
	d->size = (uint64_t)st->st_size;
	d->mode = st->st_mode & 07777;
	d->uid = st->st_uid;
	d->gid = st->st_gid;
	d->mtime_sec = st->st_mtim.tv_sec;
	d->mtime_nsec = st->st_mtim.tv_nsec;
}

static int deleted_save(struct op *op, const struct sight *s, void *rec)
{
	struct deleted *d = rec;
	struct stat st;
	_cleanup_close_ int fd = deleted_open(s);
	const struct use use = find_use(op, s, fd < 0);
	uint64_t exists = use.rss;

	if (fd >= 0 && fstat(fd, &st) < 0)
		return fail(op, -errno, "examine \"%s\", which was deleted", s->vma->name);
	d->path = s->vma->name;
	d->dev = makedev(s->vma->major, s->vma->minor);
	d->ino = s->vma->ino;
	d->writable = use.writable;
	d->page = vma_is_hugetlb(s->vma) ? s->vma->page_size : 0;
	d->bare = fd < 0;
	d->size = use.end;
	if (!d->bare) {
		save_state(d, &st);
		exists = (uint64_t)st.st_blocks * 512;
	}
	d->beside = use.shared && d->size > exists && d->size - exists > HOLES_MOST && was_in_tmpfs(op, s);
	return 0;
}

/* ---- restarting ---- */

static int malformed(struct op *op, const char *what)
{
	return fail_as(op, OUTCOME_IMAGE, "image-deleted", NULL, "make a deleted file from the image: %s", what);
}

static int check_record(struct op *op, const struct deleted *d)
{
	if (!d->path || d->path[0] != '/')
		return malformed(op, "it had no path");
	if (d->size > INT64_MAX - PAGE || d->mode > 07777 || d->mtime_nsec < 0 || d->mtime_nsec > 999999999)
		return malformed(op, "it has an impossible size, mode or time");
	if (d->page && (!hugetlb_flag(d->page) || d->size % d->page))
		return malformed(op, "its huge pages have an impossible size");
	return 0;
}

/* where no hugetlbfs can be had for it */
static int make_memfd(struct op *op, const struct deleted *d)
{
	int fd = (int)syscall(SYS_memfd_create, strrchr(d->path, '/') + 1, MFD_CLOEXEC | memfd_size_flags(d->page));

	return fd < 0 ? hugetlb_tell_failure(op, -errno, "a deleted file", d->page) : fd;
}

static int make_file(struct op *op, const struct deleted *d, struct site *site)
{
	int fd = d->beside ? -EXDEV : limbo_make(op, site, d->path, d->page);
	bool made;

	if (fd == -EINVAL)
		return malformed(op, "it had an impossible path");
	if (fd >= 0)
		return fd;
	if (!d->beside)
		note(op, "\"%s\", which was deleted and is mapped, has another name now: %s",
			shown(&op->arena, d->path), strerror(-fd));
	if (d->page)
		return make_memfd(op, d);
	fd = deleted_make(op, site, d->path, d->dev, d->ino, 0, &made);
	if (fd >= 0 && fchmod(fd, 0700) < 0)
		return fail(
			op, -errno, "make a file in place of \"%s\", which was deleted", shown(&op->arena, d->path));
	int *slot = deleted_slot(op, site, d->dev, d->ino);
	return fd < 0 ? fd : TAKE_FD(*slot);
}

/* the slot is for who has it open, or runs it */
static int deleted_restore(struct op *op, void *rec, struct site *site)
{
	struct deleted *d = rec;
	int r = check_record(op, d);

	if (r < 0)
		return r;
	if (*deleted_slot(op, site, d->dev, d->ino) >= 0)
		return malformed(op, "there are two of it");
	_cleanup_close_ int both = make_file(op, d, site);
	if (both < 0)
		return both;
	r = vma_set_size(op, both, d->size, "a file",
		arena_printf(&op->arena, " in place of \"%s\", which was deleted", shown(&op->arena, d->path)));
	if (r < 0)
		return r;
	_cleanup_close_ int fd = openfile_reopen(both, O_RDONLY);
	int held = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (held < 0)
		return fail(op, fd < 0 ? fd : -errno, "open \"%s\", which was deleted", shown(&op->arena, d->path));
	*deleted_slot(op, site, d->dev, d->ino) = held;
	if (d->writable)
		*site_slot(op, site, fields, (uintptr_t)d) = d->writer = TAKE_FD(both);
	return d->fd = TAKE_FD(fd);
}

static int deleted_fill(struct op *op, const void *rec, int fd, uint64_t at, const void *data, size_t len)
{
	const struct deleted *d = rec;

	len = vma_part(d->size, at, len);
	if (!len)
		return 0;
	_cleanup_close_ int out = openfile_reopen(fd, d->page ? O_RDWR : O_WRONLY);
	if (out >= 0 && d->page)
		return hugetlb_fill(op, out, "a deleted file", d->page, at, data, len);
	int r = out < 0 ? out : pwrite_all(out, data, len < d->size - at ? len : (size_t)(d->size - at), (off_t)at);
	return r < 0 ? fail(op, r, "fill \"%s\", which was deleted", shown(&op->arena, d->path)) : 0;
}

static int deleted_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct deleted *d = rec;
	bool writes = v->flags & VMA_SHARED && !(v->flags & VMA_MAYWRITE_OFF);
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE | (d->page ? 0 : VMA_HUGETLB), 0);

	if (r == 0 && d->page)
		r = hugetlb_check_vma(op, v, d->page);
	if (r < 0)
		return r;
	if (d->page && (v->pgoff > d->size || v->end - v->start > d->size - v->pgoff))
		return malformed(op, "its huge pages are mapped beyond its end");
	if (writes ? !d->writable : v->flags & VMA_SHARED && v->prot & PROT_WRITE)
		return malformed(op, "it is mapped to be written to, and may not be");
	/* Linux 6.1 lets not even a tracer write to huge pages where the program may not: it is protected in vma_finish() */
	BATCH_MUST(b, d->page ? HUGETLB_MAP : "map a deleted file", SYS_mmap, v->start, v->end - v->start,
		d->page && !(v->flags & VMA_SHARED) ? PROT_READ | PROT_WRITE : v->prot, vma_mmap_flags(v),
		(uint64_t)(writes ? d->writer : fd), v->pgoff);
	vma_advise(v, b);
	return 0;
}

static int deleted_settle(struct op *op, void *rec, struct site *site)
{
	const struct deleted *d = rec;
	const struct timespec times[2] = { { 0, UTIME_OMIT }, { d->mtime_sec, (long)d->mtime_nsec } };

	(void)site;
	if (d->bare)
		return 0;
	if (fchown(d->fd, d->uid, d->gid) < 0)
		note(op, "\"%s\", which was deleted, has another owner now", shown(&op->arena, d->path));
	return fchmod(d->fd, d->mode) < 0 || futimens(d->fd, times) < 0
		       ? fail(op, -errno, "make \"%s\", which was deleted, as it was", shown(&op->arena, d->path))
		       : 0;
}

static void deleted_describe(const void *rec, FILE *out)
{
	const struct deleted *d = rec;
	char size[32];

	print_quoted(out, d->path ? d->path : "");
	fprintf(out, " of %s%s", human_size(d->size, size, sizeof(size)), d->writable ? ", written to" : "");
}

const struct kind kind_mem_deleted = {
	.name = "deleted file",
	.tag = 0x49,
	.scope = SCOPE_MEM,
	.size = sizeof(struct deleted),
	.fields = fields,
	.has_pages = true,
	.backing_has_pages = true,
	.probe = deleted_probe,
	.key = deleted_key,
	.pick = deleted_pick,
	.check = deleted_check,
	.save = deleted_save,
	.open = deleted_open,
	.reach = deleted_reach,
	.restore = deleted_restore,
	.fill = deleted_fill,
	.map = deleted_map,
	.settle = deleted_settle,
	.describe = deleted_describe,
};
