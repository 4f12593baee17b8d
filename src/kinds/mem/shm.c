/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared memory: mmap(2) with MAP_SHARED | MAP_ANONYMOUS, shared with children by fork(2). In images of
 * older versions also files of tmpfs that were mapped and deleted (now mem/deleted.c): those that are open as well
 * (fd/regular.c) are made anew without a name, the others come back as anonymous memory.
 *
 * Seen:  /proc/PID/smaps, a shared mapping of "/dev/zero (deleted)" or [anon_shmem:NAME] with an inode of its own
 * Lost:  nothing that a mapping of the program can reach; that a process outside of the program has it as well
 * Needs: nothing: it is mapped before the first task is made, inherited by all, and doubled to its place by mremap(2) with
 *        an old size of 0
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/deleted.h"
#include "kinds/vma.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct shm {
	uint64_t size;
	const char *path; /* older versions: of a deleted file that the program has open as well; else NULL */
	uint64_t dev, ino; /* of that file */
	bool no_reserve; /* MAP_NORESERVE of its first mapping, which all that come of it by fork(2) and mremap(2) have as well */
	uint64_t at; /* restarting: where every task has inherited it */
};

static const struct field shm_fields[] = {
	FIELD_U(1, struct shm, size, "inode.i_size"),
	FIELD_S(2, struct shm, path, "file.f_path"),
	FIELD_U(3, struct shm, dev, "super_block.s_dev"),
	FIELD_U(4, struct shm, ino, "inode.i_ino"),
	FIELD_U(5, struct shm, no_reserve, "vm_area_struct.vm_flags"),
	FIELDS_END,
};

static bool shm_probe(const struct sight *s)
{
	return vma_is_shm(s->vma);
}

static void shm_key(const struct sight *s, uint64_t key[2])
{
	key[0] = (uint64_t)s->vma->major << 32 | s->vma->minor;
	key[1] = s->vma->ino;
}

static int shm_save(struct op *op, const struct sight *s, void *rec)
{
	struct shm *m = rec;

	(void)op;
	m->size = s->extent;
	m->no_reserve = vma_flags(s->vma) & VMA_NORESERVE;
	return 0;
}

/* whole pages of it; where the file really ends is put right with its descriptors, when they are filled */
static int make_file(struct op *op, const struct shm *m, struct site *site)
{
	bool made;
	int fd = deleted_make(op, site, m->path, m->dev, m->ino, 0, &made);

	if (fd < 0)
		return fd;
	if (!made)
		return fail_as(op, OUTCOME_IMAGE, "image-shm", NULL, "make \"%s\" a second time", m->path);
	if (ftruncate(fd, (off_t)m->size) < 0)
		return fail(op, -errno, "make shared memory of %lu bytes", (unsigned long)m->size);
	return fd;
}

static int shm_restore(struct op *op, void *rec, struct site *site)
{
	struct shm *m = rec;
	uint64_t left = site->stash_end.at - site->stash.at;

	if (!m->size || m->size & 4095 || m->size > left)
		return fail_as(op, OUTCOME_IMAGE, "image-shm", NULL, "make shared memory of %lu bytes",
			(unsigned long)m->size);
	int fd = m->path ? make_file(op, m, site) : -1;
	if (m->path && fd < 0)
		return fd;
	void *at = mmap((void *)site->stash.at, m->size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_FIXED_NOREPLACE | (m->path ? 0 : MAP_ANONYMOUS) | (m->no_reserve ? MAP_NORESERVE : 0),
		fd, 0);
	if (at == MAP_FAILED)
		return fail(op, -errno, "make shared memory of %lu bytes", (unsigned long)m->size);
	m->at = site->stash.at;
	site->stash.at += m->size;
	return 0;
}

static int shm_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct shm *m = rec;
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE | VMA_HUGETLB, VMA_SHARED);

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
	.name = "shared memory",
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
