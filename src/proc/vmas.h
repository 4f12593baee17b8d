/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The mappings of a process that has many, with their flags, in less time than smaps takes: flags as the kernel has them are read
 * by an iterator of bpf(2), and called what smaps calls the same ones in our own process.
 */
#include "proc/proc.h"

struct vmas;

/**
 * vmas_open() - makes ready, which takes longer than to read smaps of some hundred mappings
 * Fails as bpf_make(), with -E2BIG where we have many ourselves, and with -EOPNOTSUPP where there is no PAGEMAP_SCAN, by which is
 * found out what counters do not tell.
 * What is opened is closed by vmas_close(); what was read stays.
 */
int vmas_open(struct vmas **ret);
void vmas_close(struct vmas *v);

/**
 * vmas_read() - as proc_read_maps() reads smaps, but without counters, of the process at @dir whose thread @tid has its memory
 * It stands still. -EOPNOTSUPP: something takes smaps to tell it. That is when a mapping has flags that none of ours has, such as
 * those of madvise(2), or is of huge pages or under a protection key; or when pages are in swap, or others have them too, since a
 * fork. So no mapping has any of that, and pages of PAGE_SIZE.
 */
int vmas_read(const struct vmas *v, struct arena *a, int dir, pid_t tid, struct span *ret /* of struct proc_vma */,
	struct proc_rollup *ret_sums);
