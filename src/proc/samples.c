/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proc/samples.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "proc/proc.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* instead of MAP_PRIVATE */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define RW   (PROT_READ | PROT_WRITE)
#define ANON MAP_ANONYMOUS

/* a thread's stack has MAP_STACK, an arena of malloc(3) MAP_NORESERVE, and what getrandom(3) keeps is MAP_DROPPABLE */
static const int kinds[] = {
	MAP_PRIVATE | ANON,
	MAP_PRIVATE | ANON | MAP_STACK,
	MAP_PRIVATE | ANON | MAP_NORESERVE,
	MAP_PRIVATE | ANON | MAP_STACK | MAP_NORESERVE,
	MAP_DROPPABLE | ANON,
	MAP_SHARED | ANON,
	MAP_SHARED | ANON | MAP_NORESERVE,
	MAP_PRIVATE,
	MAP_SHARED,
};

static const int prots[] = { PROT_NONE, PROT_READ, RW, PROT_READ | PROT_EXEC, RW | PROT_EXEC };

enum {
	WAYS = 3, /* as it is, after it could be written, with a guard */
	SAMPLES = ARRAY_SIZE(kinds) * ARRAY_SIZE(prots) * WAYS,
};

/* what cannot be had stays as it was */
static bool make_one(unsigned char *at, size_t page, int file, size_t i)
{
	const int flags = kinds[i % ARRAY_SIZE(kinds)], prot = prots[i / ARRAY_SIZE(kinds) % ARRAY_SIZE(prots)];
	const size_t way = i / ARRAY_SIZE(kinds) / ARRAY_SIZE(prots);

	if (way && (!(flags & MAP_PRIVATE) || (prot == RW) != (way == 2)))
		return false;
	if (mmap(at, page, way ? RW : prot, flags | MAP_FIXED, flags & ANON ? -1 : file, 0) == MAP_FAILED)
		return false;
	if (way == 1)
		mprotect(at, page, prot);
	return way == 2 && madvise(at, page, MADV_GUARD_INSTALL) == 0;
}

int samples_make(struct samples *ret)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	_cleanup_close_ int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct samples s = { .len = SAMPLES * page };

	s.at = mmap(NULL, s.len, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE | ANON, -1, 0);
	if (s.at == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < SAMPLES; i++)
		s.guards += make_one(s.at + i * page, page, file, i);
	*ret = s;
	return 0;
}

void samples_end(const struct samples *s)
{
	munmap(s->at, s->len);
}

bool samples_are_seen(const struct samples *s, struct arena *a, int self)
{
	_cleanup_close_ int pagemap = openat(self, "pagemap", O_RDONLY | O_CLOEXEC);
	const uint64_t start = (uintptr_t)s->at;
	struct span runs = { 0 };
	uint64_t guards = 0;

	if (pagemap < 0 || proc_scan_all(a, pagemap, start, start + s->len, &runs) < 0)
		return false;
	const struct proc_pages *run = runs.at;
	for (size_t i = 0; i < runs.n; i++) {
		if (!(run[i].what & PAGES_GUARD))
			return false;
		guards += run[i].end - run[i].start;
	}
	return guards == s->guards * (uint64_t)sysconf(_SC_PAGESIZE);
}
