/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mapped regular files: executables, libraries, data. Of a private mapping only the pages that differ from the file are in
 * the image; the rest comes from the file again, which therefore must be the same. A file that is mapped shared, to be
 * written to, holds what the program wrote last, maybe after the checkpoint. Many are scratch, as the counters of a JVM: so that
 * is no obstacle. A file that is open as well has its descriptor's kind, which stops there and asks. /dev/zero, mapped privately,
 * is a file of zeros. Files of a hugetlbfs are files as others are.
 *
 * Seen:  /proc/PID/smaps; which file it is: /proc/PID/map_files, mountinfo
 * Lost:  of a file that overlayfs has copied up since it was mapped, what it was before; what a file mapped shared held at the checkpoint: it is as it is (noted when its time has changed since, which a write by
 *	  way of a mapping does when what was written before is on the disk, and in tmpfs never)
 * Needs: the file at the destination: the same size and time, or the same build id
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
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
#include "kinds/hugetlb.h"
#include "kinds/mapped.h"
#include "kinds/openfile.h"
#include "kinds/tmpfs.h"
#include "kinds/vma.h"

#define BUILD_ID_MAX 64

struct file {
	const char *path;
	uint64_t size;
	int64_t mtime_sec;
	uint64_t mtime_nsec;
	struct span build_id; /* bytes; empty where there is none */
	uint8_t writable; /* mapped shared with the right to write: opened for both */
	uint8_t exact; /* mapped privately: must be the same */
	struct inode inode;
	uint64_t now, page; /* restarting: its size, and that of its pages, when they are huge */
};

static const struct field file_fields[] = {
	FIELD_S(1, struct file, path, "file.f_path"),
	FIELD_U(2, struct file, size, "inode.i_size"),
	FIELD_I(3, struct file, mtime_sec, "inode.i_mtime"),
	FIELD_U(4, struct file, mtime_nsec, "inode.i_mtime"),
	FIELD_BLOB(5, struct file, build_id, ""),
	FIELD_U(6, struct file, writable, "file.f_mode"),
	FIELD_U(7, struct file, exact, ""),
	INODE_FIELDS(8, struct file, inode),
	FIELDS_END,
};

static bool file_probe(const struct sight *s)
{
	const struct proc_vma *v = s->vma;

	return v->ino && v->name[0] == '/' && !vma_is_shm(v) && !vma_is_deleted(v) && !vma_is_special(v);
}

static bool may_write(const struct proc_vma *v)
{
	return v->shared && (!v->has_flags || strstr(v->vmflags, "mw"));
}

/* files of two subvolumes (btrfs) or layers (overlayfs) may have the same number on the same device: the name tells them apart */
static void file_key(const struct sight *s, uint64_t key[2])
{
	key[0] = (uint64_t)s->vma->major << 32 | s->vma->minor | (uint64_t)may_write(s->vma) << 63 |
		 (uint64_t)s->vma->shared << 62;
	key[1] = s->vma->ino ^ XXH3_64bits(s->vma->name, strlen(s->vma->name));
}

#define ZERO makedev(1, 5) /* /dev/zero */

static bool is_zero(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == ZERO;
}

/* to map huge pages beyond the end of their file moves that (hugetlbfs_file_mmap() in fs/hugetlbfs/inode.c), and it is not ours */
static int check_huge(struct op *op, const struct sight *s, const struct stat *st)
{
	const struct proc_vma *v = s->vma;

	if (v->pgoff + (v->end - v->start) > (uint64_t)st->st_size)
		return refuse(op, "hugetlb-file", "to map it again would make it longer", NULL,
			"maps huge pages beyond the end of \"%s\"", shown(&op->arena, v->name));
	return hugetlb_check_size(op, s);
}

extern const struct kind kind_mem_file;

/* what the path does not lead to any more can only be copied */
static const struct kind *file_pick(const struct sight *s)
{
	struct stat st;
	_cleanup_close_ int fd = s->vma->deleted ? -EBADF : mapped_find(s, &st);

	if (fd == -ESTALE || openfile_is_absent(-fd))
		return &kind_mem_deleted;
	return fd >= 0 && tmpfs_keeps(s, fd) ? &kind_mem_tmpfs : &kind_mem_file;
}

static int file_check(struct op *op, const struct sight *s)
{
	struct stat st;
	int r = vma_check_flags(op, s);

	if (s->again && !vma_is_hugetlb(s->vma))
		return r;
	if (s->vma->deleted)
		return refuse(op, "file-deleted", "it is a device", NULL, "maps \"%s\", which has been deleted",
			s->vma->name);
	_cleanup_close_ int fd = mapped_find(s, &st);
	if (fd < 0)
		return refuse(op, "file-unreachable", strerror(-fd), NULL, "maps \"%s\", which cannot be reached",
			s->vma->name);
	if (!S_ISREG(st.st_mode) && !is_zero(&st))
		return refuse(op, "device-mapping", NULL, NULL, "maps the device \"%s\"", s->vma->name);
	if (s->vma->shared && S_ISREG(st.st_mode) && tmpfs_has(fd))
		note(op, "\"%s\" is in memory, and not in the image: it must be there at a restart",
			shown(&op->arena, s->vma->name));
	int huge = vma_is_hugetlb(s->vma) ? check_huge(op, s, &st) : 0;
	return r < 0 ? r : huge;
}

/* the GNU build id in the notes among the first page of an ELF file; empty when it has none */
static struct span read_build_id(struct arena *a, int fd)
{
	unsigned char head[4096];
	Elf64_Ehdr eh;
	ssize_t n = pread_all(fd, head, sizeof(head), 0);

	memcpy(&eh, head, sizeof(eh));
	if (n < (ssize_t)sizeof(head) || memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_phentsize != sizeof(Elf64_Phdr))
		return (struct span){ 0 };
	for (size_t i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;
		uint64_t at = eh.e_phoff + i * sizeof(ph);

		if (eh.e_phoff > sizeof(head) || at + sizeof(ph) > sizeof(head))
			break;
		memcpy(&ph, head + at, sizeof(ph));
		if (ph.p_type != PT_NOTE || ph.p_offset > sizeof(head) || ph.p_filesz > sizeof(head) - ph.p_offset)
			continue;
		for (uint64_t off = ph.p_offset, end = off + ph.p_filesz; off + sizeof(Elf64_Nhdr) <= end;) {
			Elf64_Nhdr nh;

			memcpy(&nh, head + off, sizeof(nh));
			uint64_t name = off + sizeof(nh), desc = name + ((uint64_t)nh.n_namesz + 3) / 4 * 4;
			uint64_t next = desc + ((uint64_t)nh.n_descsz + 3) / 4 * 4;
			if (next > end)
				break;
			if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 && !memcmp(head + name, "GNU", 4) &&
				nh.n_descsz <= BUILD_ID_MAX)
				return (struct span){ arena_dup(a, head + desc, nh.n_descsz), nh.n_descsz };
			off = next;
		}
	}
	return (struct span){ 0 };
}

static int file_save(struct op *op, const struct sight *s, void *rec)
{
	struct file *f = rec;
	struct stat st;
	_cleanup_close_ int fd = mapped_find(s, &st);

	if (fd < 0)
		return fail(op, fd, "reach the mapped file \"%s\"", s->vma->name);
	if (inode_look(fd, &f->inode) < 0)
		f->inode = (struct inode){ 0 };
	f->path = s->vma->name;
	f->size = (uint64_t)st.st_size;
	f->mtime_sec = st.st_mtim.tv_sec;
	f->mtime_nsec = (uint64_t)st.st_mtim.tv_nsec;
	f->writable = may_write(s->vma);
	f->exact = !s->vma->shared && !is_zero(&st);
	_cleanup_close_ int readable = openfile_reopen(fd, O_RDONLY | O_CLOEXEC);
	if (readable >= 0)
		f->build_id = read_build_id(&op->arena, readable);
	return 0;
}

static bool same_build(struct op *op, const struct file *f, int fd)
{
	struct span now = read_build_id(&op->arena, fd);

	return now.n && now.n == f->build_id.n && !memcmp(now.at, f->build_id.at, now.n);
}

static int file_restore(struct op *op, void *rec, struct site *site)
{
	struct file *f = rec;
	struct stat st;

	if (!f->path || f->path[0] != '/')
		return fail_as(op, OUTCOME_IMAGE, "image-path", NULL, "map a file without a path");
	const struct goal goal = { .path = f->path,
		.what = "",
		.flags = (f->writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC,
		.was = &f->inode,
		.type = S_IFREG,
		.device = ZERO,
		.stays = true };
	_cleanup_close_ int fd = goal_open(op, site, &goal, &st);
	if (fd < 0 && openfile_is_absent(-fd))
		return fail_as(op, OUTCOME_CANNOT, "file-missing",
			"put the file back under this path and restart again",
			"open \"%s\", which the program has mapped: it is not there", f->path);
	if (fd == -EMEDIUMTYPE)
		return fail_as(op, OUTCOME_CANNOT, "file-changed", NULL, "map \"%s\": it is no regular file any more",
			f->path);
	if (fd == -ETXTBSY)
		return fail_as(op, OUTCOME_CANNOT, "file-busy", "end the program that runs it",
			"open \"%s\" for writing, which the program has mapped: it is being executed", f->path);
	if (fd < 0)
		return fail(op, fd, "open \"%s\", which the program has mapped", f->path);
	f->now = (uint64_t)st.st_size;
	f->page = hugetlb_page(fd);
	bool same = (uint64_t)st.st_size == f->size && st.st_mtim.tv_sec == f->mtime_sec &&
		    (uint64_t)st.st_mtim.tv_nsec == f->mtime_nsec;
	if (f->exact && !same && !same_build(op, f, fd))
		return fail_as(op, OUTCOME_CANNOT, "file-changed",
			"put the file back as it was (the package of that time)",
			"map \"%s\": the file has changed since the checkpoint, and the program's memory depends on it",
			f->path);
	if (f->writable && !same && !goal_has_rule(site, f->path, FILE_KEEP))
		note(op,
			"goes on with \"%s\" as it is now: the program writes to it where it has mapped it, and it has "
			"changed "
			"since the checkpoint (--file PATH=keep takes note of that)",
			shown(&op->arena, f->path));
	if (!f->writable)
		mapped_keep(op, site, f->path, fd);
	return TAKE_FD(fd);
}

static int check_pages(struct op *op, const struct vma *v, const struct file *f)
{
	if ((v->flags & VMA_HUGETLB) != hugetlb_flag(f->page))
		return fail_as(op, OUTCOME_CANNOT, "file-changed", "put it where there are huge pages of that size",
			"map \"%s\": its pages have another size now", shown(&op->arena, f->path));
	if (!f->page)
		return 0;
	if (v->pgoff > f->now || v->end - v->start > f->now - v->pgoff)
		return fail_as(op, OUTCOME_CANNOT, "file-changed", "give it the size that it had",
			"map huge pages of \"%s\" beyond its end", shown(&op->arena, f->path));
	return hugetlb_check_vma(op, v, f->page);
}

static int file_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct file *f = rec;
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE, 0);
	uint32_t prot = v->prot;

	if (r == 0)
		r = check_pages(op, v, f);
	if (r < 0)
		return r;
	if (v->flags & VMA_SHARED && v->prot & PROT_WRITE && !f->writable)
		return fail_as(
			op, OUTCOME_IMAGE, "image-vma", NULL, "write to \"%s\": it was not open for that", f->path);
	/* Linux 6.1 lets not even a tracer write to huge pages where the program may not: it is protected in vma_finish() */
	if (f->page && !(v->flags & VMA_SHARED))
		prot = PROT_READ | PROT_WRITE;
	BATCH_MUST(b, f->page ? HUGETLB_MAP : "map a file", SYS_mmap, v->start, v->end - v->start, prot,
		vma_mmap_flags(v), (uint64_t)fd, v->pgoff);
	vma_advise(v, b);
	return 0;
}

const struct kind kind_mem_file = {
	.name = "mapped file",
	.tag = 0x41,
	.scope = SCOPE_MEM,
	.size = sizeof(struct file),
	.fields = file_fields,
	.has_pages = true,
	.probe = file_probe,
	.key = file_key,
	.pick = file_pick,
	.check = file_check,
	.save = file_save,
	.restore = file_restore,
	.map = file_map,
};
