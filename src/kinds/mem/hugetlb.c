/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages of hugetlbfs: private memory by mmap(2) with MAP_HUGETLB. They come from a pool that whoever runs the host has
 * made (/proc/sys/vm/nr_hugepages), and are had when the memory is mapped.
 *
 * What is shared is the kind of hugetlb_shared.c, memfds are that of memfd.c, System V segments that of sysvshm.c, and files there
 * are those of file.c and deleted.c.
 *
 * Seen:  /proc/PID/smaps, a private mapping of "/anon_hugepage (deleted)" with the flag "ht"; KernelPageSize
 * Lost:  that pages are the very pages of the parent: a child gets its own
 * Needs: as many huge pages of the same size
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kinds/hugetlb.h"
#include "kinds/vma.h"

static bool hugetlb_probe(const struct sight *s)
{
	return vma_is_anon_huge(s->vma) && !s->vma->shared;
}

static int hugetlb_check(struct op *op, const struct sight *s)
{
	int r = vma_check_flags(op, s), size = hugetlb_check_size(op, s);

	return r < 0 ? r : size;
}

static int hugetlb_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	uint64_t shift = v->flags & VMA_HUGETLB_1G ? 30 : 21;
	int r = vma_check_image(op, v, VMA_SHARED | VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE, 0);

	if (r == 0)
		r = hugetlb_check_vma(op, v, 1ull << shift);
	if (r < 0)
		return r;
	/* Linux 6.1 lets not even a tracer write where the program may not: it is protected in vma_finish() */
	BATCH_MUST(b, HUGETLB_MAP, SYS_mmap, v->start, v->end - v->start, PROT_READ | PROT_WRITE,
		vma_mmap_flags(v) | MAP_ANONYMOUS | MAP_HUGETLB | shift << MAP_HUGE_SHIFT, (uint64_t)-1, 0);
	vma_advise(v, b);
	return 0;
}

const struct kind kind_mem_hugetlb = {
	.name = "huge pages",
	.tag = 0x48,
	.scope = SCOPE_MEM,
	.has_pages = true,
	.probe = hugetlb_probe,
	.check = hugetlb_check,
	.map = hugetlb_map,
};
