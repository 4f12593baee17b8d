/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared anonymous memory: mmap(2) with MAP_SHARED | MAP_ANONYMOUS, shared with children by fork(2).
 *
 * Seen:  /proc/PID/smaps, a shared mapping of "/dev/zero (deleted)" with an inode of its own
 * Lost:  nothing that a mapping of the program can reach
 * Needs: nothing: it is mapped before the first task is made, inherited by all, and doubled to its place by mremap(2) with
 *        an old size of 0
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kinds/vma.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct shm {
	uint64_t size;
	uint64_t at; /* restarting: where every task has inherited it */
};

static const struct field shm_fields[] = {
	FIELD_U(1, struct shm, size, "inode.i_size"),
	FIELDS_END,
};

static bool shm_probe(const struct sight *s)
{
	return s->vma->shared && s->vma->ino && s->vma->deleted && !strcmp(s->vma->name, "/dev/zero");
}

static void shm_key(const struct sight *s, uint64_t key[2])
{
	key[0] = (uint64_t)s->vma->major << 32 | s->vma->minor;
	key[1] = s->vma->ino;
}

static int shm_save(struct op *op, const struct sight *s, void *rec)
{
	((struct shm *)rec)->size = s->extent;
	return 0;
}

static int shm_restore(struct op *op, void *rec, struct site *site)
{
	struct shm *m = rec;
	uint64_t left = site->stash_end.at - site->stash.at;

	if (!m->size || m->size & 4095 || m->size > left)
		return fail_as(op, OUTCOME_IMAGE, "image-shm", NULL, "make shared memory of %lu bytes",
			(unsigned long)m->size);
	void *at = mmap((void *)site->stash.at, m->size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (at == MAP_FAILED)
		return fail(op, -errno, "make shared memory of %lu bytes", (unsigned long)m->size);
	m->at = site->stash.at;
	site->stash.at += m->size;
	return 0;
}

static int shm_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct shm *m = rec;
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK, VMA_SHARED);

	if (r < 0)
		return r;
	if (v->pgoff > m->size || v->end - v->start > m->size - v->pgoff)
		return fail_as(op, OUTCOME_IMAGE, "image-shm", NULL, "map shared memory beyond its end");
	BATCH_MUST(b, "map shared memory", SYS_mremap, m->at + v->pgoff, 0, v->end - v->start,
		MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
	BATCH_MUST(b, "protect shared memory", SYS_mprotect, v->start, v->end - v->start, v->prot);
	vma_advise(v, b);
	return 0;
}

const struct kind kind_mem_shm = {
	.name = "shared anonymous memory",
	.tag = 0x42,
	.scope = SCOPE_MEM,
	.size = sizeof(struct shm),
	.fields = shm_fields,
	.backing_has_pages = true,
	.probe = shm_probe,
	.key = shm_key,
	.check = vma_check_flags,
	.save = shm_save,
	.restore = shm_restore,
	.map = shm_map,
};
