/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private anonymous memory: heap, stacks, mmap(2) with MAP_PRIVATE | MAP_ANONYMOUS, or MAP_DROPPABLE | MAP_ANONYMOUS.
 *
 * Seen:  /proc/PID/smaps, an empty name, [heap], [stack] or [anon:NAME]
 * Lost:  a name given with PR_SET_VMA_ANON_NAME to the heap or the main stack, which the kernel does not show; any, where the
 *	  kernel of the restart keeps none (noted)
 * Needs: nothing
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kinds/vma.h"

static bool anon_probe(const struct sight *s)
{
	const char *name = s->vma->name;

	return !s->vma->shared && !s->vma->ino &&
	       (!*name || !strcmp(name, "[heap]") || !strcmp(name, "[stack]") || !strncmp(name, "[anon:", 6));
}

static int anon_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	int r = vma_check_image(op, v, VMA_SHARED | VMA_HUGETLB | (v->flags & VMA_DROPPABLE ? VMA_GROWSDOWN : 0), 0);

	if (r < 0)
		return r;
	BATCH_MUST(b, "map anonymous memory", SYS_mmap, v->start, v->end - v->start, v->prot,
		vma_mmap_flags(v) | MAP_ANONYMOUS, (uint64_t)-1, 0);
	vma_advise(v, b);
	return 0;
}

const struct kind kind_mem_anon = {
	.name = "anonymous memory",
	.tag = 0x40,
	.scope = SCOPE_MEM,
	.has_pages = true,
	.probe = anon_probe,
	.check = vma_check_flags,
	.map = anon_map,
};
