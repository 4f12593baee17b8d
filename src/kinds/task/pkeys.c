/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Protection keys: pkeys(7). Which are allocated, and which mappings have one. What a thread may do with each is in its registers
 * (PKRU), and comes back with them.
 *
 * Whether a key is allocated pkey_mprotect(2) tells: where no memory can be, it finds that out first. Memory that may be executed
 * and nothing else gets a key by itself, which is not allocated.
 *
 * Seen:  ProtectionKey in /proc/PID/smaps; pkey_mprotect(2) by the process itself
 * Lost:  nothing. A thread whose seccomp filter does not allow that call is taken to have those keys that its mappings have.
 * Needs: a processor with protection keys
 */
#include <errno.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/kind.h"

#define KEYS 16 /* 0 is that of all memory that has no other */
#define END  0xffffffffffffe000ull /* x86-64: where no program can have memory */
#define PAGE 4096

struct range {
	uint64_t start, end;
	uint32_t prot, key;
};

struct pkeys {
	bool known; /* to the processor */
	uint32_t allocated; /* a bit each */
	struct span ranges; /* of struct range */
	const struct stub_call *asked[KEYS];
};

static const struct field range_fields[] = {
	FIELD_U(1, struct range, start, "vm_area_struct.vm_start"),
	FIELD_U(2, struct range, end, "vm_area_struct.vm_end"),
	FIELD_U(3, struct range, prot, "vm_area_struct.vm_page_prot"),
	FIELD_U(4, struct range, key, "vm_area_struct.vm_flags"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_U(1, struct pkeys, known, ""),
	FIELD_U(2, struct pkeys, allocated, "mm_context_t.pkey_allocation_map"),
	FIELD_A(3, struct pkeys, ranges, "mm_struct.mm_mt", range_fields, struct range),
	FIELDS_END,
};

static bool are_known(void)
{
	long key = syscall(SYS_pkey_alloc, 0, 1); /* PKEY_DISABLE_ACCESS: as of any key, so that our own rights stay */

	return key > 0 && syscall(SYS_pkey_free, key) == 0;
}

/* who allows a call allows it with any key */
static bool may_ask(const struct sight *s)
{
	const struct stub_call c = { .nr = SYS_pkey_mprotect, .arg = { END, PAGE, PROT_NONE, 1 } }, *calls[] = { &c };
	const struct call_judge *judge = s->batch->h->judge;

	return !judge || judge->allows(judge, calls, NULL, 1) == 0;
}

static int pkeys_ask(struct op *op, const struct sight *s, void *rec)
{
	struct pkeys *p = rec;

	p->known = tree_can(s->tree, ABILITY_PKEYS, are_known);
	for (uint64_t key = 1; p->known && key < KEYS && may_ask(s); key++)
		p->asked[key] =
			BATCH_CALL(s->batch, "ask for a protection key", SYS_pkey_mprotect, END, PAGE, PROT_NONE, key);
	return 0;
}

static int pkeys_save(struct op *op, const struct sight *s, void *rec)
{
	struct pkeys *p = rec;
	const struct proc_vma *v = s->process->vmas.at;

	for (uint32_t key = 1; key < KEYS; key++)
		p->allocated |= p->asked[key] && p->asked[key]->ret == -ENOMEM ? 1u << key : 0;
	for (size_t i = 0; i < s->process->vmas.n; i++) {
		uint32_t key = v[i].protection_key;

		if (!key || (v[i].prot == PROC_EXEC && key < KEYS && !(p->allocated & 1u << key)))
			continue;
		if (key >= KEYS || !p->known)
			return refuse(op, "vma-pkey", "stasis itself can have none here", NULL,
				"has memory with the protection key %u (pkeys(7))", key);
		p->allocated |= 1u << key;
		*(struct range *)span_push(&op->arena, &p->ranges, sizeof(struct range)) =
			(struct range){ v[i].start, v[i].end, v[i].prot, key };
	}
	return 0;
}

/* may a thread use those that it gets here? It may, until its registers come back. */
static int pkeys_restore(struct op *op, void *rec, struct site *site)
{
	const struct pkeys *p = rec;
	struct batch *b = site->batch;

	if (p->allocated & ~0xfffeu)
		return fail_as(op, OUTCOME_IMAGE, "image-pkeys", NULL, "allocate protection keys");
	if (p->allocated && !are_known())
		return fail_as(op, OUTCOME_CANNOT, "pkeys", "restart it where /proc/cpuinfo says \"ospke\"",
			"give it protection keys: this machine has none");
	for (uint64_t key = 1; key < KEYS && p->allocated; key++)
		BATCH_CALL(b, "allocate a protection key", SYS_pkey_alloc, 0, 0);
	for (uint64_t key = 1; key < KEYS && p->known; key++)
		if (!(p->allocated & 1u << key)) /* that of the parent, if it has one */
			BATCH_CALL(b, "free a protection key", SYS_pkey_free, key);
	return 0;
}

static int pkeys_link(struct op *op, void *rec, struct site *site)
{
	const struct pkeys *p = rec;
	const struct range *at = p->ranges.at;
	struct batch *b = site->batch;

	for (size_t i = 0; i < p->ranges.n; i++) {
		if (at[i].start >= at[i].end || at[i].prot > 7 || at[i].key >= KEYS || !(p->allocated >> at[i].key & 1))
			return fail_as(op, OUTCOME_IMAGE, "image-pkeys", NULL, "give memory its protection key");
		int r = batch_has_room(b, 64, 8192) ? 0 : batch_run(b);
		if (r < 0)
			return fail(op, r, "%s", batch_what(b));
		BATCH_MUST(b, "give memory its protection key", SYS_pkey_mprotect, at[i].start, at[i].end - at[i].start,
			at[i].prot, at[i].key);
	}
	return 0;
}

const struct kind kind_task_pkeys = {
	.name = "protection keys",
	.tag = 0x50,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_VM,
	.size = sizeof(struct pkeys),
	.fields = fields,
	.ask = pkeys_ask,
	.save = pkeys_save,
	.restore = pkeys_restore,
	.link = pkeys_link,
};
