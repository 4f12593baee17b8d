/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the kernel keeps of threads, read out of its own memory: for many threads at once, which /proc tells one by one. It
 * takes a right (CAP_BPF and CAP_PERFMON, as root has) and a kernel that describes its types (CONFIG_DEBUG_INFO_BTF).
 */
#include <stddef.h>

#include "base/arena.h"
#include "base/map.h"
#include "proc/btf.h"

/**
 * insight_place() - where @m is read to, behind @at bytes of others: as in a C structure, so that most of it is loaded by instructions
 */
static inline uint32_t insight_place(uint32_t at, const struct member *m)
{
	uint32_t to = sizeof(uint64_t);

	while (m->size % to)
		to /= 2;
	return (at + to - 1) / to * to;
}

struct insight;

/**
 * insight_open() - makes ready to read all @n members of @m
 * -EPERM: no right; -ENOENT: a member is missing; -EOPNOTSUPP: the kernel cannot do so; -E2BIG: these are too many. What is
 * opened is closed by insight_close().
 */
int insight_open(const struct member *m, size_t n, struct insight **ret);
void insight_close(struct insight *i);

/** insight_lacks() - has the kernel no member @m[@n] of those to insight_open(), which is spare? It reads as zeros then */
bool insight_lacks(const struct insight *i, size_t n);

/**
 * insight_read() - of each thread that a thread of this process traces, and that stands still: tid to its members (unsigned char *),
 * in the order of insight_open(), each at its insight_place(). A thread of which something could not be read is left out.
 */
int insight_read(const struct insight *i, struct arena *a, struct map *ret);
