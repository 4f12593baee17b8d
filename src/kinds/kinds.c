/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/kind.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KIND(tag, folder, name) extern const struct kind kind_##folder##_##name;
#include "kinds/kinds.def"
#undef KIND

const struct kind *const kinds[] = {
#define KIND(tag, folder, name) &kind_##folder##_##name,
#include "kinds/kinds.def"
#undef KIND
	NULL,
};

const void *part_record(const struct span *parts, const struct kind *k)
{
	const struct part *p = parts->at;

	for (size_t i = 0; i < parts->n; i++)
		if (p[i].kind == k)
			return p[i].rec;
	return NULL;
}

const struct kind *kind_by_tag(uint32_t tag)
{
	switch (tag) { /* two equal tags do not compile */
#define KIND(tag, folder, name) \
	case tag:               \
		return &kind_##folder##_##name;
#include "kinds/kinds.def"
#undef KIND
	default:
		return NULL;
	}
}

static const struct kind *kind_of(enum scope scope, const struct sight *s)
{
	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->scope == scope && (*k)->probe(s))
			return *k;
	return NULL;
}

const struct kind *kind_of_vma(const struct sight *s)
{
	return kind_of(SCOPE_MEM, s);
}

const struct kind *kind_of_fd(const struct sight *s)
{
	return kind_of(SCOPE_FD, s);
}

bool tree_can(const struct tree *tree, enum ability what, bool (*try)(void))
{
	struct abilities *a = tree->abilities;
	const unsigned int bit = 1u << what;

	if (a && __atomic_load_n(&a->asked, __ATOMIC_ACQUIRE) & bit)
		return __atomic_load_n(&a->has, __ATOMIC_RELAXED) & bit;
	const bool can = try();
	if (a && can)
		__atomic_fetch_or(&a->has, bit, __ATOMIC_RELAXED);
	if (a)
		__atomic_fetch_or(&a->asked, bit, __ATOMIC_RELEASE);
	return can;
}

const struct holder *tree_holders(const struct tree *tree, uint64_t dev, uint64_t ino, size_t *ret_n)
{
	const struct holder *h = tree->holders.at;
	size_t lo = 0, hi = tree->holders.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (h[mid].dev < dev || (h[mid].dev == dev && h[mid].ino < ino))
			lo = mid + 1;
		else
			hi = mid;
	}
	size_t n = 0;
	while (lo + n < tree->holders.n && h[lo + n].dev == dev && h[lo + n].ino == ino)
		n++;
	*ret_n = n;
	return n ? h + lo : NULL;
}

int sight_take_fd(const struct sight *s)
{
	int fd = (int)syscall(SYS_pidfd_getfd, s->process->pidfd, s->fd->n, 0);

	return fd < 0 ? -errno : fd;
}

int site_file(const struct site *site, uint64_t id, uint32_t n)
{
	return site->file(site, id, n);
}

int site_backing(const struct site *site, uint64_t id, const struct kind *k)
{
	return site->backing(site, id, k);
}

pid_t site_process(const struct site *site, int32_t vpid)
{
	return site->process(site, vpid);
}

const void *site_known(const struct site *site, const void *owner)
{
	return map_get(&site->known, (uint64_t)(uintptr_t)owner);
}

void site_keep(struct op *op, struct site *site, const void *owner, const void *what)
{
	map_set(&op->arena, &site->known, (uint64_t)(uintptr_t)owner, (void *)(uintptr_t)what);
}

int *site_slot(struct op *op, struct site *site, const void *owner, uint64_t key)
{
	const uint64_t mix = ((uint64_t)(uintptr_t)owner << 32) ^ key;
	const size_t first = (size_t)(uintptr_t)map_get(&site->slot_places, mix);
	struct slot *slots = site->slots->at;

	for (size_t i = first; i; i = slots[i - 1].same_mix)
		if (slots[i - 1].owner == owner && slots[i - 1].key == key)
			return &slots[i - 1].value;
	struct slot *slot = span_push(&op->arena, site->slots, sizeof(*slot));
	*slot = (struct slot){ owner, key, -EBADF, first };
	map_set(&op->arena, &site->slot_places, mix, (void *)(uintptr_t)site->slots->n);
	return &slot->value;
}

const struct site_task *site_task(const struct site *site, pid_t vpid)
{
	return map_get(&site->task_by_vpid, (uint64_t)vpid);
}
