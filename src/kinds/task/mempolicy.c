/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory policies of mappings: mbind(2). That of a thread is sched's.
 *
 * They are asked for where there is more than one node to choose from. On other hosts none has an effect, and a call for each
 * mapping would double the time that a small program is asked.
 *
 * Put back when the memory of the process is mapped, and its pages are not there yet. A child is born with those of its parent.
 *
 * Seen:  get_mempolicy(2) MPOL_F_ADDR by the process itself (/proc/PID/numa_maps takes as long as smaps)
 * Lost:  those of a host with one node; a home node (set_mempolicy_home_node(2)), which nothing shows; a policy for a part of
 *	  shared memory that does not begin where its mapping does. One whose nodes are not here (noted).
 * Needs: CONFIG_NUMA
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/kind.h"

#define NODE_BITS  1024
#define NODE_BYTES (NODE_BITS / 8)
#define MODES	   7 /* MPOL_DEFAULT to MPOL_WEIGHTED_INTERLEAVE */
#define MODE_FLAGS 0xe000u
#define ALL	   0x7ffffffff000ull /* x86-64: the end of what a program can map */

struct policy {
	uint64_t start, end;
	uint32_t mode, flags;
	struct span nodes; /* a bit each */
	const struct stub_call *call;
};

struct mempolicy {
	bool asked;
	struct span policies; /* of struct policy */
	struct span answers; /* while saving: of struct answer */
};

struct answer {
	const struct proc_vma *vma;
	const struct stub_call *call;
	const int *mode;
	const unsigned char *nodes;
};

static const struct flag mode_flags[] = {
	{ 1 << 15, "STATIC_NODES" },
	{ 1 << 14, "RELATIVE_NODES" },
	{ 1 << 13, "NUMA_BALANCING" },
	{ 0, NULL },
};

static const struct field policy_fields[] = {
	FIELD_U(1, struct policy, start, "vm_area_struct.vm_start"),
	FIELD_U(2, struct policy, end, "vm_area_struct.vm_end"),
	FIELD_U(3, struct policy, mode, "mempolicy.mode"),
	FIELD_B(4, struct policy, flags, "mempolicy.flags", mode_flags),
	FIELD_BLOB(5, struct policy, nodes, "mempolicy.nodes"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_U(1, struct mempolicy, asked, ""),
	FIELD_A(2, struct mempolicy, policies, "vm_area_struct.vm_policy", policy_fields, struct policy),
	FIELDS_END,
};

/* of those that we may use, as the program mostly may */
static bool has_many_nodes(void)
{
	unsigned char nodes[NODE_BYTES] = { 0 };
	int n = 0;

	if (syscall(SYS_get_mempolicy, NULL, nodes, NODE_BITS, NULL, MPOL_F_MEMS_ALLOWED) < 0)
		return false;
	for (size_t i = 0; i < sizeof(nodes); i++)
		n += __builtin_popcount(nodes[i]);
	return n > 1;
}

static int mempolicy_ask(struct op *op, const struct sight *s, void *rec)
{
	struct mempolicy *m = rec;
	const struct proc_vma *v = s->process->vmas.at;

	m->asked = tree_can(s->tree, ABILITY_NODES, has_many_nodes);
	for (size_t i = 0; m->asked && i < s->process->vmas.n; i++) {
		struct answer a = { .vma = &v[i] };
		int r = 0;

		if (!v[i].kind || ((const struct kind *)v[i].kind)->moves)
			continue;
		if (!batch_has_room(s->batch, 64, 8192) && (r = batch_run(s->batch)) < 0)
			return fail(op, r, "%s", batch_what(s->batch));
		struct taddr mode = batch_out(s->batch, sizeof(int), &a.mode);
		struct taddr nodes = batch_out(s->batch, NODE_BYTES, &a.nodes);
		a.call = BATCH_CALL(s->batch, "read the memory policy of a mapping", SYS_get_mempolicy, mode.at,
			nodes.at, NODE_BITS, v[i].start, MPOL_F_ADDR);
		*(struct answer *)span_push(&op->arena, &m->answers, sizeof(a)) = a;
	}
	return 0;
}

static int save_one(struct op *op, struct mempolicy *m, const struct answer *a)
{
	uint32_t mode = (uint32_t)*a->mode & ~MODE_FLAGS;
	size_t n = NODE_BYTES;

	if (a->call->ret < 0)
		return fail(op, (int)a->call->ret, "read the memory policy of the mapping at %#lx",
			(unsigned long)a->vma->start);
	if (mode == MPOL_DEFAULT)
		return 0;
	if (mode >= MODES)
		return refuse(op, "mempolicy", "this version has not considered it", NULL,
			"has the memory policy %#" PRIx32 " for its mapping at %#lx", (uint32_t)*a->mode,
			(unsigned long)a->vma->start);
	while (n > 0 && !a->nodes[n - 1])
		n--;
	*(struct policy *)span_push(&op->arena, &m->policies, sizeof(struct policy)) = (struct policy){
		.start = a->vma->start,
		.end = a->vma->end,
		.mode = mode,
		.flags = (uint32_t)*a->mode & MODE_FLAGS,
		.nodes = { (void *)a->nodes, n, 0 },
	};
	return 0;
}

static int mempolicy_save(struct op *op, const struct sight *s, void *rec)
{
	struct mempolicy *m = rec;
	const struct answer *a = m->answers.at;
	int r = 0;

	for (size_t i = 0; i < m->answers.n && r == 0; i++)
		r = save_one(op, m, &a[i]);
	return r;
}

static int mempolicy_restore(struct op *op, void *rec, struct site *site)
{
	struct mempolicy *m = rec;
	struct policy *p = m->policies.at;
	struct batch *b = site->batch;

	if (m->asked) /* those of the parent */
		BATCH_CALL(b, "forget memory policies", SYS_mbind, 0, ALL, MPOL_DEFAULT, 0, 0, 0);
	for (size_t i = 0; i < m->policies.n; i++) {
		unsigned char nodes[NODE_BYTES] = { 0 };
		int r = 0;

		if (p[i].mode >= MODES || p[i].nodes.n > sizeof(nodes) || p[i].start >= p[i].end || p[i].end > ALL)
			return fail_as(
				op, OUTCOME_IMAGE, "image-mempolicy", NULL, "set the memory policy of a mapping");
		memcpy(nodes, p[i].nodes.n ? p[i].nodes.at : nodes, p[i].nodes.n);
		if (!batch_has_room(b, 64, 8192) && (r = batch_run(b)) < 0)
			return fail(op, r, "%s", batch_what(b));
		p[i].call = BATCH_CALL(b, "set the memory policy of a mapping", SYS_mbind, p[i].start,
			p[i].end - p[i].start, p[i].mode | p[i].flags, batch_in(b, nodes, sizeof(nodes)).at, NODE_BITS,
			0);
	}
	return 0;
}

/* by then the calls are made */
static int mempolicy_link(struct op *op, void *rec, struct site *site)
{
	const struct mempolicy *m = rec;
	const struct policy *p = m->policies.at;
	int64_t err = 0;
	size_t n = 0;

	for (size_t i = 0; i < m->policies.n; i++)
		if (p[i].call && p[i].call->ret < 0) {
			err = p[i].call->ret;
			n++;
		}
	if (n)
		note(op, "%zu of its mappings have lost their memory policies: %s", n,
			err == -EINVAL ? "their nodes are not here" : strerror((int)-err));
	return 0;
}

const struct kind kind_task_mempolicy = {
	.name = "memory policies",
	.tag = 0x51,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_VM,
	.size = sizeof(struct mempolicy),
	.fields = fields,
	.ask = mempolicy_ask,
	.save = mempolicy_save,
	.restore = mempolicy_restore,
	.link = mempolicy_link,
};
