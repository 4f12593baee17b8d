/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared huge pages: mmap(2) with MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, shared with children by fork(2). They come from the pool of
 * whoever runs the host, who promises them to the mapping when it is made; one that is touched first comes into being then.
 *
 * The kernel has a file for it, as for a memfd of huge pages, which is what it is made of again. mremap(2) does not double such
 * mappings, so it comes to its places by a descriptor. Who has CAP_CHECKPOINT_RESTORE opens the very file of a new mapping, and it
 * has its name again.
 *
 * mincore(2) tells nothing but what is in a page table, so that it takes the file to see which pages exist, as one that only a process
 * which has ended has touched. Who may not open that reads all that is mapped, as they were promised to the mapping.
 *
 * Seen:  /proc/PID/smaps, a shared mapping of "/anon_hugepage (deleted)" with the flag "ht"; /proc/PID/map_files
 * Lost:  what no process of the program has mapped, when who saves it is not privileged; then pages that were never touched come
 *	  into being by the checkpoint, and when nobody promised them (MAP_NORESERVE) it is refused. When who restarts it is not
 *	  privileged, its name: it is "/memfd:anon_hugepage". Pages of zeros are not there any more. That a process outside of the
 *	  program has it as well
 * Needs: as many huge pages of the same size
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

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/hugetlb.h"
#include "kinds/memfd.h"
#include "kinds/vma.h"

static const char what[] = "shared memory";

struct hugetlb {
	uint64_t size;
	uint64_t page;
};

static const struct field fields[] = {
	FIELD_U(1, struct hugetlb, size, "inode.i_size"),
	FIELD_U(2, struct hugetlb, page, "hstate.order"),
	FIELDS_END,
};

/* ---- saving ---- */

static bool hugetlb_probe(const struct sight *s)
{
	return vma_is_anon_huge(s->vma) && s->vma->shared;
}

static void hugetlb_key(const struct sight *s, uint64_t key[2])
{
	key[0] = makedev(s->vma->major, s->vma->minor);
	key[1] = s->vma->ino;
}

static int hugetlb_open(const struct sight *s)
{
	_cleanup_close_ int fd = vma_open_file(s);
	uint64_t key[2];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	hugetlb_key(s, key);
	/* a program that runs on may have put something else there meanwhile */
	return st.st_dev == key[0] && st.st_ino == key[1] ? TAKE_FD(fd) : -ESTALE;
}

static int check_file(struct op *op, const struct sight *s)
{
	_cleanup_close_ int fd = hugetlb_open(s);

	if (fd == -EPERM)
		return hugetlb_check_unopened(op, s);
	if (fd < 0)
		return refuse(op, "hugetlb-unreachable", strerror(-fd), NULL, "maps shared huge pages");
	return 0;
}

static int hugetlb_check(struct op *op, const struct sight *s)
{
	int r = vma_check_flags(op, s), size = hugetlb_check_size(op, s);

	if (vma_flags(s->vma) & VMA_MAYWRITE_OFF)
		return refuse(op, "hugetlb-file", NULL, NULL,
			"maps shared huge pages by a descriptor of /proc/PID/map_files");
	int file = s->again && !(vma_flags(s->vma) & VMA_NORESERVE) ? 0 : check_file(op, s);
	return r < 0 ? r : size < 0 ? size : file;
}

static int hugetlb_save(struct op *op, const struct sight *s, void *rec)
{
	struct hugetlb *m = rec;
	_cleanup_close_ int fd = hugetlb_open(s);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) < 0)
		return fail(op, -errno, "examine shared huge pages");
	m->size = fd < 0 ? s->extent : (uint64_t)st.st_size;
	m->page = s->vma->page_size;
	return 0;
}

static uint64_t hugetlb_reach(struct op *op, const struct sight *s, bool *ret_all)
{
	(void)op;
	*ret_all = true;
	return s->vma->end - s->vma->start;
}

/* ---- restarting ---- */

static int malformed(struct op *op, const struct hugetlb *m)
{
	return fail_as(op, OUTCOME_IMAGE, "image-hugetlb", NULL,
		"make shared memory of %" PRIu64 " bytes of huge pages of %" PRIu64, m->size, m->page);
}

/* as mmap(2) makes it; nothing is promised to it yet, as that goes with the mapping */
static int make_anonymous(const struct hugetlb *m)
{
	const int size = __builtin_ctzll(m->page) << MAP_HUGE_SHIFT;
	void *at = mmap(NULL, m->size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_HUGETLB | size, -1, 0);
	char path[80];

	if (at == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		(unsigned long)at + (unsigned long)m->size);
	int fd = open(path, O_RDWR | O_CLOEXEC), err = fd < 0 ? errno : 0;
	munmap(at, m->size);
	return fd < 0 ? -err : fd;
}

static int make_memfd(const struct hugetlb *m)
{
	_cleanup_close_ int fd =
		(int)syscall(SYS_memfd_create, "anon_hugepage", MFD_CLOEXEC | memfd_size_flags(m->page));

	if (fd < 0 || ftruncate(fd, (off_t)m->size) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int hugetlb_restore(struct op *op, void *rec, struct site *site)
{
	const struct hugetlb *m = rec;

	(void)site;
	if (!hugetlb_flag(m->page) || !m->size || m->size > INT64_MAX || m->size % m->page)
		return malformed(op, m);
	int fd = make_anonymous(m);
	if (fd < 0)
		fd = make_memfd(m);
	return fd < 0 ? hugetlb_tell_failure(op, fd, what, m->page) : fd;
}

static int hugetlb_fill_it(struct op *op, const void *rec, int fd, uint64_t at, const void *data, size_t len)
{
	const struct hugetlb *m = rec;

	len = vma_part(m->size, at, len);
	return len ? hugetlb_fill(op, fd, what, m->page, at, data, len) : 0;
}

static int hugetlb_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct hugetlb *m = rec;
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE | VMA_MAYWRITE_OFF, VMA_SHARED);

	if (r == 0)
		r = hugetlb_check_vma(op, v, m->page);
	if (r < 0)
		return r;
	if (v->pgoff > m->size || v->end - v->start > m->size - v->pgoff)
		return malformed(op, m);
	BATCH_MUST(b, HUGETLB_MAP, SYS_mmap, v->start, v->end - v->start, v->prot, vma_mmap_flags(v), (uint64_t)fd,
		v->pgoff);
	vma_advise(v, b);
	return 0;
}

static void hugetlb_describe(const void *rec, FILE *out)
{
	const struct hugetlb *m = rec;
	char size[32], page[32];

	fprintf(out, "%s, of %s each", human_size(m->size, size, sizeof(size)),
		human_size(m->page, page, sizeof(page)));
}

const struct kind kind_mem_hugetlb_shared = {
	.name = "shared huge pages",
	.tag = 0x4a,
	.scope = SCOPE_MEM,
	.size = sizeof(struct hugetlb),
	.fields = fields,
	.backing_has_pages = true,
	.probe = hugetlb_probe,
	.key = hugetlb_key,
	.check = hugetlb_check,
	.save = hugetlb_save,
	.open = hugetlb_open,
	.reach = hugetlb_reach,
	.restore = hugetlb_restore,
	.fill = hugetlb_fill_it,
	.map = hugetlb_map,
	.describe = hugetlb_describe,
};
