/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/hugetlb.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "kinds/vma.h"

#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int hugetlb_check_size(struct op *op, const struct sight *s)
{
	if (vma_flags(s->vma) & VMA_HUGETLB)
		return 0;
	return refuse(op, "hugetlb-size", "this version has not considered it", NULL,
		"has huge pages of %" PRIu64 " kB", s->vma->page_size >> 10);
}

int hugetlb_check_unopened(struct op *op, const struct sight *s)
{
	if (!(vma_flags(s->vma) & VMA_NORESERVE))
		return 0;
	return refuse(op, "hugetlb-unreachable",
		"only with CAP_CHECKPOINT_RESTORE it can be seen which pages of it there are", "save it as root",
		"maps shared huge pages that were not promised to it (MAP_NORESERVE)");
}

uint32_t hugetlb_flag(uint64_t page)
{
	return page == 2u << 20 ? VMA_HUGETLB_2M : page == 1u << 30 ? VMA_HUGETLB_1G : 0;
}

uint64_t hugetlb_page(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
}

int hugetlb_check_vma(struct op *op, const struct vma *v, uint64_t page)
{
	if (page && (v->flags & VMA_HUGETLB) == hugetlb_flag(page) && !((v->start | v->end | v->pgoff) & (page - 1)))
		return 0;
	return fail_as(op, OUTCOME_IMAGE, "image-hugetlb", NULL, "map huge pages at %#lx", (unsigned long)v->start);
}

int hugetlb_tell_failure(struct op *op, int err, const char *what, uint64_t page)
{
	if (err == -ENOMEM)
		return fail_as(op, OUTCOME_CANNOT, "huge-pages", "have more of them (sysctl vm.nr_hugepages)",
			"make %s: there are not enough huge pages of %" PRIu64 " kB", what, page >> 10);
	return fail_as(op, OUTCOME_CANNOT, "huge-pages", NULL, "make %s of huge pages of %" PRIu64 " kB: %s", what,
		page >> 10, strerror(-err));
}

/*
 * To map it reserves them, but a control group or the nodes that we are bound to may have too few still. Who then writes there
 * gets SIGBUS, and who asks for them EFAULT.
 */
static int fill_page(int fd, uint64_t page, uint64_t at, const void *data, size_t len)
{
	unsigned char *to = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(at & ~(page - 1)));

	if (to == MAP_FAILED)
		return -errno;
	int r = madvise(to, page, MADV_POPULATE_WRITE) < 0 ? (errno == EFAULT ? -ENOMEM : -errno) : 0;
	if (r == 0)
		memcpy(to + (at & (page - 1)), data, len);
	munmap(to, page);
	return r;
}

int hugetlb_fill(struct op *op, int fd, const char *what, uint64_t page, uint64_t at, const void *data, size_t len)
{
	for (size_t done = 0, n; done < len; done += n) {
		const uint64_t left = page - ((at + done) & (page - 1));

		n = left < len - done ? (size_t)left : len - done;
		int r = fill_page(fd, page, at + done, (const unsigned char *)data + done, n);
		if (r < 0)
			return hugetlb_tell_failure(op, r, what, page);
	}
	return 0;
}
