/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guard pages: pages that are fatal to touch, without a mapping of their own - madvise(2) MADV_GUARD_INSTALL, which newer
 * libraries use at the end of each thread's stack.
 *
 * Put back when the memory of all processes is complete, as fork(2) passes them on, and before any of it is sealed.
 *
 * Seen:  PAGEMAP_SCAN of /proc/PID/pagemap, by core, which has it look for other pages as well
 * Lost:  on Linux 6.13 and 6.14, which have them and do not show them
 * Needs: Linux 6.13 to put them back
 */
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kinds/vma.h"

#define GUARD_INSTALL 102 /* MADV_GUARD_INSTALL */
#define PAGE	      4096

enum {
	LOCKED = 1,
	ON_FAULT = 2,
};

struct guard {
	uint64_t start, end;
	uint8_t locked; /* in memory that is locked, which the kernel gives no guards: it is unlocked for the moment */
};

struct guards {
	struct span guards; /* of struct guard */
};

static const struct field guard_fields[] = {
	FIELD_U(1, struct guard, start, "pte_marker"),
	FIELD_U(2, struct guard, end, "pte_marker"),
	FIELD_U(3, struct guard, locked, "vm_area_struct.vm_flags"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct guards, guards, "mm_struct.pgd", guard_fields, struct guard),
	FIELDS_END,
};

static uint8_t how_locked(const struct proc_vma *v)
{
	uint32_t flags = vma_flags(v);

	return flags & VMA_LOCKONFAULT ? ON_FAULT : flags & VMA_LOCKED ? LOCKED : 0;
}

static int guards_save(struct op *op, const struct sight *s, void *rec)
{
	struct guards *g = rec;
	const struct proc_pages *run = s->process->guards.at;
	const struct proc_vma *v = s->process->vmas.at, *end = v + s->process->vmas.n;

	for (size_t i = 0; i < s->process->guards.n; i++)
		for (uint64_t at = run[i].start; v < end && at < run[i].end && v->start < run[i].end;) {
			const uint64_t from = max_u64(at, v->start), to = min_u64(run[i].end, v->end);

			if (v->end <= at) {
				v++;
				continue;
			}
			*(struct guard *)span_push(&op->arena, &g->guards, sizeof(struct guard)) =
				(struct guard){ from, to, how_locked(v) };
			at = to;
		}
	return 0;
}

static void put_back(struct batch *b, const struct guard *g)
{
	if (g->locked)
		BATCH_MUST(b, "unlock memory", SYS_munlock, g->start, g->end - g->start);
	BATCH_MUST(b, "put back guard pages", SYS_madvise, g->start, g->end - g->start, GUARD_INSTALL);
	if (g->locked) /* it is locked although its pages cannot be had, of which the result speaks */
		BATCH_CALL(b, "lock memory", SYS_mlock2, g->start, g->end - g->start,
			g->locked == ON_FAULT ? MLOCK_ONFAULT : 0);
}

static int guards_link(struct op *op, void *rec, struct site *site)
{
	const struct guards *g = rec;
	const struct guard *at = g->guards.at;
	struct batch *b = site->batch;

	for (size_t i = 0; i < g->guards.n; i++) {
		if (at[i].start >= at[i].end || (at[i].start | at[i].end) % PAGE)
			return fail_as(op, OUTCOME_IMAGE, "image-guards", NULL, "put back guard pages");
		int r = batch_has_room(b, 512, 64 << 10) ? 0 : batch_run(b);
		if (r < 0)
			return fail(op, r, "%s", batch_what(b));
		put_back(b, &at[i]);
	}
	return 0;
}

const struct kind kind_task_guards = {
	.name = "guard pages",
	.tag = 0x3e,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_VM,
	.size = sizeof(struct guards),
	.fields = fields,
	.save = guards_save,
	.link = guards_link,
};
