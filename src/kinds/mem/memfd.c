/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of memfds - memfd_create(2): open, mapped (shared or privately), or both, by any number of processes. It is one object:
 * the pages of the file, which come from a descriptor. What differs in private mappings comes from these.
 *
 * Seals come last, as memory that may not be written any more may have been mapped before that. What is mapped so that
 * it cannot be made writable is mapped by a descriptor for reading only, as kernels before v6.13 allow it in no other way once it is
 * sealed.
 *
 * Seen:  /proc/PID/smaps and /proc/PID/fd, "/memfd:name (deleted)"; the file itself: fcntl(2) F_GET_SEALS, SEEK_DATA. When it is only
 *        mapped, /proc/PID/map_files
 * Lost:  the number of the file, and its times but the last change; pages of zeros are holes then. When it is only mapped and who
 *        saves it is not privileged, its seals, owner and end (noted). That a process outside of the program has it (noted, when that has
 *        it open). Of huge pages, which lie there anew, that they had been allocated already, and that a child's own ones are its
 *        parent's: it gets its own. When it is of huge pages, only mapped, and who saves it is not privileged, pages that were
 *        never touched come into being by the checkpoint; when nobody promised them (MAP_NORESERVE) it is refused
 * Needs: huge pages at the destination, where it has such
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/hugetlb.h"
#include "kinds/memfd.h"
#include "kinds/openfile.h"
#include "kinds/outsiders.h"
#include "kinds/vma.h"

#define PAGE	  4096u
#define NAME_MOST 249 /* mm/memfd.c */
#define HUGE_MOST (1ull << 40)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#define MFD_EXEC	0x0010U
#endif
#define SEAL_EXEC 0x20u /* F_SEAL_EXEC */

struct memfd {
	const char *name;
	uint64_t size;
	uint32_t seals;
	uint32_t mode;
	uint32_t uid, gid;
	int64_t mtime_sec, mtime_nsec;
	uint64_t huge; /* size of its pages; 0: as all memory has them */
	uint64_t dev, ino;
	bool bare; /* only what is mapped of it was to be seen */
	int fd, read_only; /* restarting */
};

static const struct field fields[] = {
	FIELD_S(1, struct memfd, name, "dentry.d_name"),
	FIELD_U(2, struct memfd, size, "inode.i_size"),
	FIELD_B(3, struct memfd, seals, "shmem_inode_info.seals", memfd_seals),
	FIELD_U(4, struct memfd, mode, "inode.i_mode"),
	FIELD_U(5, struct memfd, uid, "inode.i_uid"),
	FIELD_U(6, struct memfd, gid, "inode.i_gid"),
	FIELD_I(7, struct memfd, mtime_sec, "inode.i_mtime_sec"),
	FIELD_I(8, struct memfd, mtime_nsec, "inode.i_mtime_nsec"),
	FIELD_U(9, struct memfd, huge, "hstate.order"),
	FIELD_U(10, struct memfd, bare, ""),
	FIELD_U(11, struct memfd, dev, "super_block.s_dev"),
	FIELD_U(12, struct memfd, ino, "inode.i_ino"),
	FIELDS_END,
};

/* ---- saving ---- */

static bool memfd_probe(const struct sight *s)
{
	return vma_is_memfd(s->vma);
}

/* the size of its pages, as memfd_state has it */
static uint64_t huge_of(const struct proc_vma *v)
{
	return vma_is_hugetlb(v) ? v->page_size : 0;
}

static void memfd_key(const struct sight *s, uint64_t key[2])
{
	memfd_id(s, &key[0], &key[1]);
}

/* nobody has it open, and we may not open it: as long as it is mapped shared, its pages are seen where it is mapped */
static int check_bare(struct op *op, const struct sight *s)
{
	const char *name = shown(&op->arena, s->vma->name);
	uint64_t dev, ino;

	memfd_id(s, &dev, &ino);
	if (!memfd_is_device(dev, huge_of(s->vma)))
		return refuse(op, "memfd-unreachable", "only with CAP_CHECKPOINT_RESTORE it can be opened",
			"save it as root", "maps \"%s\", and has closed it", name);
	if (!s->vma->shared)
		return refuse(op, "memfd-unreachable", "only with CAP_CHECKPOINT_RESTORE it can be opened",
			"save it as root", "maps the memfd \"%s\" privately, and has closed it", name);
	return huge_of(s->vma) ? hugetlb_check_unopened(op, s) : 0;
}

static int mem_memfd_check(struct op *op, const struct sight *s)
{
	/* some heaps have tens of thousands of mappings; but each of huge pages may have other promises */
	bool known = s->again && s->vma->shared && !huge_of(s->vma);
	int flags = vma_check_flags_but(op, s, "ht de"), fd = known ? -EBADF : memfd_open(s);

	if (known)
		return flags;
	if (fd < 0 && memfd_holder(s)) /* the descriptor's kind says why */
		return flags;
	if (fd == -EPERM)
		return check_bare(op, s);
	int size = huge_of(s->vma) && !s->vma->shared ? hugetlb_check_size(op, s) : 0;
	int r = memfd_check(op, fd, s->vma->name);
	return flags < 0 ? flags : size < 0 ? size : r;
}

/* "/memfd:x (deleted)" */
static const char *strip(struct op *op, const char *link)
{
	static const char tail[] = " (deleted)";
	size_t n = strlen(link), m = sizeof(tail) - 1;

	if (!memfd_is_name(link))
		return link;
	if (n > m && strcmp(link + n - m, tail) == 0)
		n -= m;
	return arena_strndup(&op->arena, link + 7, n - 7);
}

/* maps shows it with a newline as \012; links are as they are */
static const char *find_name(struct op *op, const struct sight *s, int fd)
{
	char path[32], *link;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd >= 0 && read_link(&op->arena, AT_FDCWD, path, &link) == 0)
		return strip(op, link);
	return strip(op, s->vma ? s->vma->name : s->fd->link);
}

static void save_state(struct memfd *m, const struct memfd_state *state)
{
	m->size = (uint64_t)state->st.st_size;
	m->seals = state->seals;
	m->mode = state->st.st_mode & 07777;
	m->uid = state->st.st_uid;
	m->gid = state->st.st_gid;
	m->mtime_sec = state->st.st_mtim.tv_sec;
	m->mtime_nsec = state->st.st_mtim.tv_nsec;
	m->huge = state->huge;
}

static int memfd_save(struct op *op, const struct sight *s, void *rec)
{
	struct memfd_state state;
	struct memfd *m = rec;
	int fd = memfd_open(s), r = fd < 0 ? fd : memfd_look(fd, &state);

	m->name = find_name(op, s, fd);
	memfd_id(s, &m->dev, &m->ino);
	fd_close(fd);
	if (memfd_holder(s))
		outsider_note_file(op, s->tree, memfd_holder(s)->fd,
			arena_printf(&op->arena, "the memfd \"%s\"", shown(&op->arena, m->name)));
	if (r == 0) {
		save_state(m, &state);
		return 0;
	}
	if (memfd_holder(s) || fd >= 0)
		return fail(op, r, "examine the memfd \"%s\"", shown(&op->arena, m->name));
	m->size = s->extent;
	m->huge = huge_of(s->vma);
	m->bare = true;
	note(op,
		"maps the memfd \"%s\", and has closed it: without CAP_CHECKPOINT_RESTORE its seals and its end cannot "
		"be seen",
		shown(&op->arena, m->name));
	return 0;
}

static uint64_t memfd_reach(struct op *op, const struct sight *s, bool *ret_all)
{
	(void)op;
	*ret_all = huge_of(s->vma) != 0; /* of huge pages mincore(2) tells only of those in a page table */
	return s->vma->end - s->vma->start;
}

/* ---- restarting ---- */

static int malformed(struct op *op, const char *what)
{
	return fail_as(op, OUTCOME_IMAGE, "image-memfd", NULL, "make a memfd from the image: %s", what);
}

static int check_record(struct op *op, const struct memfd *m)
{
	if (!m->name || strlen(m->name) > NAME_MOST)
		return malformed(op, "it has an impossible name");
	if (m->huge && (m->huge & (m->huge - 1) || m->huge < 2 * PAGE || m->huge > HUGE_MOST || m->size % m->huge))
		return malformed(op, "its pages have an impossible size");
	if (m->size > INT64_MAX || m->mode > 07777 || m->mtime_nsec < 0 || m->mtime_nsec > 999999999)
		return malformed(op, "it has an impossible size, mode or time");
	return 0;
}

/*
 * MFD_EXEC came with v6.3, as did the sysctl vm.memfd_noexec, which says what it means to leave it out. A memfd that may not
 * become executable, and is not, is made so; any other gets that seal with the rest.
 */
static int create(struct op *op, const struct memfd *m)
{
	uint32_t flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_size_flags(m->huge);
	bool noexec = m->seals & SEAL_EXEC && !(m->mode & 0111);
	int fd = (int)syscall(SYS_memfd_create, m->name, flags | (noexec ? MFD_NOEXEC_SEAL : MFD_EXEC));

	if (fd < 0 && errno == EINVAL && !(m->seals & SEAL_EXEC))
		fd = (int)syscall(SYS_memfd_create, m->name, flags);
	if (fd >= 0)
		return fd;
	const char *name = shown(&op->arena, m->name);
	if (errno == EINVAL && m->seals & SEAL_EXEC && !m->huge)
		return fail_as(op, OUTCOME_CANNOT, "memfd-seal", "restart it under Linux 6.3 or later",
			"make the memfd \"%s\", which is sealed by F_SEAL_EXEC: this kernel does not know that", name);
	if (errno == EACCES)
		return fail_as(op, OUTCOME_CANNOT, "memfd-noexec", "set it to 1 or 0 (sysctl vm.memfd_noexec)",
			"make the memfd \"%s\", which may be executed: vm.memfd_noexec forbids it here", name);
	if (m->huge)
		return fail_as(op, OUTCOME_CANNOT, "huge-pages", NULL,
			"make the memfd \"%s\" of huge pages of %" PRIu64 " bytes: %s", name, m->huge, strerror(errno));
	return fail(op, -errno, "make the memfd \"%s\"", name);
}

static int memfd_restore(struct op *op, void *rec, struct site *site)
{
	struct memfd *m = rec;
	int r = check_record(op, m);
	_cleanup_close_ int fd = r < 0 ? r : create(op, m);

	if (fd < 0)
		return fd;
	r = vma_set_size(op, fd, m->size, "a memfd", "");
	if (r < 0)
		return r;
	int *slot = memfd_slot(op, site, m->dev, m->ino);
	if (*slot >= 0)
		return malformed(op, "there are two of it");
	*slot = m->read_only = openfile_reopen(fd, O_RDONLY); /* it is closed with the slot */
	if (m->read_only < 0)
		return fail(op, m->read_only, "open the memfd \"%s\" for reading", shown(&op->arena, m->name));
	m->fd = fd;
	return TAKE_FD(fd);
}

static int memfd_fill(struct op *op, const void *rec, int fd, uint64_t at, const void *data, size_t len)
{
	const struct memfd *m = rec;

	len = vma_part(m->size, at, len);
	if (!len)
		return 0;
	if (m->huge)
		return hugetlb_fill(op, fd, "a memfd", m->huge, at, data, len);
	int r = pwrite_all(fd, data, len < m->size - at ? len : (size_t)(m->size - at), (off_t)at);
	return r < 0 ? fail(op, r, "fill the memfd \"%s\"", shown(&op->arena, m->name)) : 0;
}

/* images of older versions do not say it of shared mappings that they are of huge pages */
static int check_pages(struct op *op, const struct vma *v, const struct memfd *m)
{
	if (v->flags & VMA_HUGETLB || (m->huge && !(v->flags & VMA_SHARED)))
		return hugetlb_check_vma(op, v, m->huge);
	return m->huge && (v->start | v->end | v->pgoff) & (m->huge - 1)
		       ? malformed(op, "it is mapped between its huge pages")
		       : 0;
}

static int memfd_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct memfd *m = rec;
	bool shared = v->flags & VMA_SHARED, read_only = shared && v->flags & VMA_MAYWRITE_OFF;
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE, 0);

	if (r == 0)
		r = check_pages(op, v, m);
	if (r < 0)
		return r;
	if (read_only && v->prot & PROT_WRITE)
		return malformed(op, "it is mapped to be written to, and may not be");
	/* Linux 6.1 lets not even a tracer write to huge pages where the program may not: it is protected in vma_finish() */
	BATCH_MUST(b, m->huge ? HUGETLB_MAP : "map a memfd", SYS_mmap, v->start, v->end - v->start,
		m->huge && !shared ? PROT_READ | PROT_WRITE : v->prot, vma_mmap_flags(v),
		(uint64_t)(read_only ? m->read_only : fd), v->pgoff);
	vma_advise(v, b);
	return 0;
}

static int seal(struct op *op, const struct memfd *m)
{
	if (m->seals && fcntl(m->fd, F_ADD_SEALS, (int)m->seals) < 0)
		return errno == EBUSY ? malformed(op, "it is sealed, and yet it can be written to")
				      : fail(op, -errno, "seal the memfd \"%s\"", shown(&op->arena, m->name));
	if (fcntl(m->fd, F_GET_SEALS) != (int)m->seals)
		return malformed(op, "it has impossible seals");
	return 0;
}

/* to map huge pages beyond the end moves that, if they may be written to (hugetlbfs_file_mmap() in fs/hugetlbfs/inode.c) */
static int cut(struct op *op, const struct memfd *m)
{
	struct stat st;

	if (!m->huge || (fstat(m->fd, &st) == 0 && (uint64_t)st.st_size == m->size))
		return 0;
	return vma_set_size(op, m->fd, m->size, "a memfd", "");
}

static int memfd_settle(struct op *op, void *rec, struct site *site)
{
	const struct memfd *m = rec;
	const struct timespec times[2] = { { 0, UTIME_OMIT }, { m->mtime_sec, (long)m->mtime_nsec } };
	const char *name = shown(&op->arena, m->name);

	(void)site;
	if (m->bare)
		return 0;
	if (fchown(m->fd, m->uid, m->gid) < 0)
		note(op, "the memfd \"%s\" has another owner now", name);
	if (fchmod(m->fd, m->mode) < 0 || futimens(m->fd, times) < 0)
		return fail(op, -errno, "make the memfd \"%s\" as it was", name);
	int r = cut(op, m);
	return r < 0 ? r : seal(op, m);
}

static void memfd_describe(const void *rec, FILE *out)
{
	const struct memfd *m = rec;
	char size[32];

	print_quoted(out, m->name ? m->name : "");
	fprintf(out, " of %s%s%s", human_size(m->size, size, sizeof(size)), m->huge ? ", of huge pages" : "",
		m->seals & ~1u ? ", sealed" : "");
}

const struct kind kind_mem_memfd = {
	.name = "memfd memory",
	.tag = 0x44,
	.scope = SCOPE_MEM,
	.size = sizeof(struct memfd),
	.fields = fields,
	.has_pages = true,
	.backing_has_pages = true,
	.probe = memfd_probe,
	.key = memfd_key,
	.check = mem_memfd_check,
	.save = memfd_save,
	.open = memfd_open,
	.reach = memfd_reach,
	.restore = memfd_restore,
	.fill = memfd_fill,
	.map = memfd_map,
	.settle = memfd_settle,
	.describe = memfd_describe,
};
