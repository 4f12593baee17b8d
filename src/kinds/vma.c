/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/vma.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* proc(5), smaps: those that are restored, and those that follow from what is restored */
static const char known[] = "rd wr ex sh mr mw me ms gd lo sr rr dc dd ac nr hg nh mg wf sd gu";

static const struct {
	char two[3];
	const char *what;
} names[] = {
	{ "um", "is watched by a userfaultfd" },
	{ "uw", "is watched by a userfaultfd" },
	{ "ui", "is watched by a userfaultfd" },
	{ "ht", "is made of huge pages of hugetlbfs" },
	{ "pf", "is memory of a device" },
	{ "io", "is memory of a device" },
	{ "lf", "is locked on fault (MLOCK_ONFAULT)" },
	{ "ss", "is a shadow stack" },
	{ "sl", "is sealed (mseal)" },
	{ "dp", "is droppable (MAP_DROPPABLE)" },
};

int vma_check_flags(struct op *op, const struct sight *s)
{
	return vma_check_flags_but(op, s, "");
}

/* is it one of "rd wr ex"? */
static bool is_among(const char *flags, const char *two)
{
	const char *at = strstr(flags, two);

	return at && (at - flags) % 3 == 0;
}

int vma_check_flags_but(struct op *op, const struct sight *s, const char *also)
{
	int r = 0;

	if (s->vma->protection_key)
		r = refuse(op, "vma-pkey", "protection keys are not kept yet", NULL,
			"has the protection key %u (pkeys(7))", s->vma->protection_key);

	for (const char *f = s->vma->vmflags; f && f[0] && f[1];) {
		const char two[3] = { f[0], f[1], 0 };

		if (!is_among(known, two) && !is_among(also, two)) {
			const char *what = NULL;

			for (size_t i = 0; i < ARRAY_SIZE(names); i++)
				if (!strcmp(names[i].two, two))
					what = names[i].what;
			r = what ? refuse(op, "vma-flag", NULL, NULL, "%s", what)
				 : refuse(op, "vma-flag", NULL, NULL,
					   "has the flag \"%s\", which this version does not know", two);
		}
		f += 2;
		while (*f == ' ')
			f++;
	}
	return r;
}

int vma_check_image(struct op *op, const struct vma *v, uint32_t never, uint32_t always)
{
	if (!(v->flags & never) && (v->flags & always) == always)
		return 0;
	return fail_as(op, OUTCOME_IMAGE, "image-vma", NULL, "map memory at %#lx: nothing of its kind has such flags",
		(unsigned long)v->start);
}

const char *vma_pathless(const struct proc_vma *v)
{
	static const struct {
		const char *head, *what;
	} those[] = {
		{ "/SYSV", "System V shared memory" },
	};

	for (size_t i = 0; v->deleted && i < ARRAY_SIZE(those); i++)
		if (strncmp(v->name, those[i].head, strlen(those[i].head)) == 0)
			return those[i].what;
	return NULL;
}

bool vma_is_sysv(const struct proc_vma *v)
{
	static const char head[] = "/SYSV";

	return v->shared && v->deleted && !strncmp(v->name, head, sizeof(head) - 1) &&
	       strspn(v->name + sizeof(head) - 1, "0123456789abcdef") == 8 && strlen(v->name) == sizeof(head) - 1 + 8;
}

bool vma_is_memfd(const struct proc_vma *v)
{
	return v->deleted && v->ino && strncmp(v->name, "/memfd:", 7) == 0;
}

bool vma_is_secret(const struct proc_vma *v)
{
	return v->deleted && v->ino && strcmp(v->name, "/secretmem") == 0;
}

bool vma_is_shm(const struct proc_vma *v)
{
	return v->shared && v->ino && v->deleted && v->name[0] == '/' && !vma_pathless(v) && !vma_is_memfd(v) &&
	       !vma_is_secret(v);
}

uint64_t vma_mmap_flags(const struct vma *v)
{
	uint64_t flags = MAP_FIXED_NOREPLACE | (v->flags & VMA_SHARED ? MAP_SHARED : MAP_PRIVATE);

	if (v->flags & VMA_GROWSDOWN)
		flags |= MAP_GROWSDOWN;
	if (v->flags & VMA_NORESERVE)
		flags |= MAP_NORESERVE;
	return flags;
}

void vma_advise(const struct vma *v, struct batch *b)
{
	static const struct {
		uint32_t flag;
		int advice;
		const char *what;
	} advice[] = {
		{ VMA_DONTFORK, MADV_DONTFORK, "keep a mapping from children" },
		{ VMA_DONTDUMP, MADV_DONTDUMP, "keep a mapping out of core dumps" },
		{ VMA_HUGEPAGE, MADV_HUGEPAGE, "allow huge pages in a mapping" },
		{ VMA_NOHUGEPAGE, MADV_NOHUGEPAGE, "forbid huge pages in a mapping" },
		{ VMA_SEQUENTIAL, MADV_SEQUENTIAL, "advise sequential use of a mapping" },
		{ VMA_RANDOM, MADV_RANDOM, "advise random use of a mapping" },
		{ VMA_MERGEABLE, MADV_MERGEABLE, "allow merging of a mapping" },
		{ VMA_WIPEONFORK, MADV_WIPEONFORK, "have a mapping wiped in children" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(advice); i++)
		if (v->flags & advice[i].flag)
			BATCH_MUST(b, advice[i].what, SYS_madvise, v->start, v->end - v->start,
				(uint64_t)advice[i].advice);
	if (v->flags & VMA_LOCKED)
		BATCH_MUST(b, "lock a mapping into memory", SYS_mlock2, v->start, v->end - v->start, 0);
}
