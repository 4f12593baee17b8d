/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages of hugetlbfs: private memory by mmap(2) with MAP_HUGETLB. They come from a pool that whoever runs the host has
 * made (/proc/sys/vm/nr_hugepages), and are had when the memory is mapped.
 *
 * What is mapped of files there, or shared, is refused.
 *
 * Seen:  /proc/PID/smaps, a private mapping of "/anon_hugepage (deleted)" with the flag "ht"; KernelPageSize
 * Lost:  that pages are the very pages of the parent: a child gets its own
 * Needs: as many huge pages of the same size
 */
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kinds/vma.h"

static const struct {
	uint32_t flag;
	unsigned int shift;
} sizes[] = {
	{ VMA_HUGETLB_2M, 21 },
	{ VMA_HUGETLB_1G, 30 },
};

static bool hugetlb_probe(const struct sight *s)
{
	return vma_is_hugetlb(s->vma) && !vma_is_memfd(s->vma);
}

static int hugetlb_check(struct op *op, const struct sight *s)
{
	const struct proc_vma *v = s->vma;
	int r = vma_check_flags(op, s);

	if (v->shared || !v->deleted || strcmp(v->name, "/anon_hugepage") != 0)
		return refuse(op, "hugetlb-file", "the image would have to hold all of it", NULL,
			"maps huge pages that others can have as well: \"%s\"", v->name);
	if (!(vma_flags(v) & VMA_HUGETLB))
		return refuse(op, "hugetlb-size", "this version has not considered it", NULL,
			"has huge pages of %" PRIu64 " kB", v->page_size >> 10);
	return r;
}

static int hugetlb_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	size_t i = 0;
	int r = vma_check_image(op, v, VMA_SHARED | VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE, 0);

	while (i < ARRAY_SIZE(sizes) && (v->flags & VMA_HUGETLB) != sizes[i].flag)
		i++;
	if (r == 0 && (i == ARRAY_SIZE(sizes) || (v->start | v->end) & ((1ull << sizes[i].shift) - 1)))
		r = fail_as(
			op, OUTCOME_IMAGE, "image-hugetlb", NULL, "map huge pages at %#lx", (unsigned long)v->start);
	if (r < 0)
		return r;
	/* Linux 6.1 lets not even a tracer write where the program may not: it is protected in vma_finish() */
	BATCH_MUST(b, "map huge pages (there must be enough of them: sysctl vm.nr_hugepages)", SYS_mmap, v->start,
		v->end - v->start, PROT_READ | PROT_WRITE,
		vma_mmap_flags(v) | MAP_ANONYMOUS | MAP_HUGETLB | (uint64_t)sizes[i].shift << MAP_HUGE_SHIFT,
		(uint64_t)-1, 0);
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
