/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "bpf_iter_task_vma" in kernel/bpf/task_iter.c, beside maps and smaps_rollup.
 *
 * What a bit of vm_flags means differs between kernels, and so nothing here knows any. Flags that are all the same have the same
 * VmFlags (show_smap_vma_flags() in fs/proc/task_mmu.c looks at nothing else), and the same protection key, which is among them.
 * The size of pages is so too but for those of hugetlbfs, which our own process is not found to have.
 */
#include "proc/vmas.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/map.h"
#include "base/pool.h"
#include "proc/bpf.h"
#include "proc/samples.h"

enum {
	OWN_MOST = 1000, /* mappings of ours: of more, smaps takes too long */
};

/* struct raw - what the program writes of a mapping */
struct raw {
	uint32_t failed, unused;
	uint64_t start, end, flags;
};

/* struct known - what flags are called */
struct known {
	const char *vmflags; /* NULL: it takes more than the flags to tell */
	uint32_t prot;
	bool shared;
	size_t n; /* how many were known before */
};

struct vmas {
	int prog;
	struct arena arena;
	struct map known; /* of struct known, by flags */
	struct proc_vma
		gate; /* the kernel's, which each process has and none in its list: [vsyscall]; ->end is 0: there is none */
	struct known *of_gate;
	size_t n; /* of struct known */
};

/* ---- the program ---- */

/* were there more than a word of them, some would be in a member of that name */
static bool is_one_word(const struct btf *b, uint32_t vma)
{
	struct btf_place flags;
	int r = btf_member(b, vma, "flags", strlen("flags"), &flags);

	return r == -ENOENT || (r == 0 && flags.size == sizeof(uint64_t));
}

static int write_program(struct bpf_writer *w, const struct btf *b, const void *data)
{
	static const struct {
		struct member member;
		size_t at;
	} members[] = {
		{ { "vm_start", sizeof(uint64_t) }, offsetof(struct raw, start) },
		{ { "vm_end", sizeof(uint64_t) }, offsetof(struct raw, end) },
		{ { "vm_flags", sizeof(uint64_t) }, offsetof(struct raw, flags) },
	};
	const uint32_t vma = btf_struct(b, "vm_area_struct");
	int r = vma && is_one_word(b, vma) ? 0 : -ENOENT;

	(void)data;
	for (size_t i = 0; i < ARRAY_SIZE(members) && r == 0; i++)
		r = bpf_add_member(w, b, vma, &members[i].member, (int)members[i].at);
	return r < 0 ? r : bpf_end(w, offsetof(struct raw, failed));
}

/* struct list - as it is being read */
struct list {
	struct arena *arena;
	struct span raws;
	uint64_t end; /* of the last one */
	bool failed;
};

/* some kernels tell the last ones again and again instead of an end, where they are to look at one task */
static bool take(void *data, unsigned char *record)
{
	struct list *l = data;
	struct raw raw;

	memcpy(&raw, record, sizeof(raw));
	l->failed |= raw.failed;
	if (raw.failed || raw.start < l->end)
		return false;
	l->end = raw.end;
	*(struct raw *)span_push(l->arena, &l->raws, sizeof(raw)) = raw;
	return true;
}

static int list_raws(const struct vmas *v, struct arena *a, pid_t tid, struct span *ret)
{
	union bpf_iter_link_info only;
	struct list list = { .arena = a };

	memset(&only, 0, sizeof(only));
	only.task.tid = (uint32_t)tid;
	_cleanup_close_ int link = bpf_link(v->prog, &only);
	int r = link < 0 ? link : bpf_read(link, sizeof(struct raw), take, &list);
	if (r < 0)
		return r;
	*ret = list.raws;
	return list.failed ? -EIO : 0;
}

/* ---- what flags are called ---- */

static struct known *new_known(struct vmas *v, const struct proc_vma *smaps)
{
	struct known *k = arena_alloc(&v->arena, sizeof(*k));

	*k = (struct known){ smaps->vmflags, smaps->prot, smaps->shared, v->n++ };
	return k;
}

/* what the same flags were called before is no less true */
static void know(struct vmas *v, uint64_t flags, const struct proc_vma *smaps)
{
	struct known *k = map_get(&v->known, flags);

	if (!k) {
		k = new_known(v, smaps);
		map_set(&v->arena, &v->known, flags, k);
	}
	if (smaps->page_size != (uint64_t)sysconf(_SC_PAGESIZE) || smaps->protection_key || k->prot != smaps->prot ||
		k->shared != smaps->shared || (k->vmflags && strcmp(k->vmflags, smaps->vmflags) != 0))
		k->vmflags = NULL;
}

/* from *@at on, which moves on; NULL: that one is not there */
static const struct raw *find_raw(const struct span *raws, size_t *at, const struct proc_vma *v)
{
	const struct raw *raw = raws->at;

	while (*at < raws->n && raw[*at].end <= v->start)
		(*at)++;
	return *at < raws->n && raw[*at].start == v->start && raw[*at].end == v->end ? &raw[*at] : NULL;
}

static void know_gate(struct vmas *v, const struct proc_vma *smaps)
{
	v->gate = *smaps;
	v->of_gate = new_known(v, smaps);
}

/* other threads of ours go on mapping: what counts is what was so before and after smaps was read */
static void know_all(struct vmas *v, const struct span *before, const struct span *smaps, const struct span *after)
{
	const struct proc_vma *m = smaps->at;
	size_t b = 0, a = 0;

	for (size_t i = 0; i < smaps->n; i++) {
		const struct raw *was = find_raw(before, &b, &m[i]), *is = find_raw(after, &a, &m[i]);

		if (was && is && was->flags == is->flags)
			know(v, is->flags, &m[i]);
		else if (b == before->n && a == after->n && i == smaps->n - 1)
			know_gate(v, &m[i]);
	}
}

static int learn(struct vmas *v)
{
	struct span before = { 0 }, smaps = { 0 }, after = { 0 };
	_cleanup_close_ int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct samples s;
	int r = self < 0 ? -errno : proc_has_mappings(self, OWN_MOST) ? -E2BIG : samples_make(&s);

	if (r < 0)
		return r;
	r = samples_are_seen(&s, &v->arena, self) ? 0 : -EOPNOTSUPP;
	if (r == 0)
		r = list_raws(v, &v->arena, getpid(), &before);
	if (r == 0)
		r = proc_read_maps(&v->arena, self, true, &smaps);
	if (r == 0)
		r = list_raws(v, &v->arena, getpid(), &after);
	samples_end(&s);
	if (r == 0)
		know_all(v, &before, &smaps, &after);
	return r;
}

int vmas_open(struct vmas **ret)
{
	struct vmas *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	arena_init(&v->arena);
	v->prog = bpf_make("bpf_iter_task_vma", &(struct bpf_plan){ sizeof(struct raw), BPF_VMA, write_program, NULL });
	int r = v->prog < 0 ? v->prog : learn(v);
	if (r < 0) {
		vmas_close(v);
		return r;
	}
	*ret = v;
	return 0;
}

void vmas_close(struct vmas *v)
{
	if (!v)
		return;
	fd_close(v->prog);
	arena_done(&v->arena);
	free(v);
}

/* ---- reading ---- */

/* struct adding - smaps_rollup, which is read while maps is */
struct adding {
	int dir, err;
	struct proc_rollup sums;
};

static void *add_up(void *data)
{
	struct adding *t = data;

	t->err = proc_read_rollup(t->dir, &t->sums);
	return NULL;
}

/* who has others need not wait for the rest */
static bool are_known(const struct vmas *v, const struct span *raws)
{
	const struct raw *raw = raws->at;

	for (size_t i = 0; i < raws->n; i++) {
		const struct known *k = map_get(&v->known, raw[i].flags);

		if (!k || !k->vmflags)
			return false;
	}
	return true;
}

static bool is_gate(const struct vmas *v, const struct proc_vma *m)
{
	return m->start == v->gate.start && m->end == v->gate.end && strcmp(m->name, v->gate.name) == 0;
}

/* struct telling - as far as it has come */
struct telling {
	const struct vmas *vmas;
	struct arena *arena;
	const struct raw *raw, *end; /* the next one of these */
	const char **copies; /* of what flags are called, those that were needed */
};

static bool tell_flags(struct telling *t, struct proc_vma *m)
{
	const bool listed = t->raw < t->end && t->raw->start == m->start && t->raw->end == m->end;
	const struct known *k = listed					  ? map_get(&t->vmas->known, t->raw++->flags)
				: t->vmas->of_gate && is_gate(t->vmas, m) ? t->vmas->of_gate
									  : NULL;

	if (!k || !k->vmflags || k->prot != m->prot || k->shared != m->shared)
		return false;
	if (!t->copies[k->n])
		t->copies[k->n] = arena_strdup(t->arena, k->vmflags);
	m->vmflags = t->copies[k->n];
	m->has_flags = true;
	m->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

static int tell_all(const struct vmas *v, struct arena *a, const struct span *raws, struct span *maps)
{
	const struct raw *raw = raws->at;
	struct telling t = { v, a, raw, raw + raws->n, arena_array(a, v->n + 1, sizeof(*t.copies)) };
	struct proc_vma *m = maps->at;

	for (size_t i = 0; i < maps->n; i++)
		if (!tell_flags(&t, &m[i]))
			return -EOPNOTSUPP;
	return t.raw == t.end ? 0 : -EOPNOTSUPP;
}

static bool is_enough(const struct proc_rollup *sums)
{
	return !sums->swap && sums->pss_anonymous == sums->anonymous;
}

static int read_both(struct adding *t, struct arena *a, struct span *maps)
{
	pthread_t thread;
	const bool started = pool_cpus() > 1 && thread_start(&thread, STACK_SMALL, add_up, t) == 0;
	int r = proc_read_maps(a, t->dir, false, maps);

	if (started)
		pthread_join(thread, NULL);
	else
		add_up(t);
	return r < 0 ? r : t->err;
}

int vmas_read(const struct vmas *v, struct arena *a, int dir, pid_t tid, struct span *ret, struct proc_rollup *ret_sums)
{
	struct adding adding = { .dir = dir };
	struct span raws = { 0 }, maps = { 0 };
	int r = list_raws(v, a, tid, &raws);

	if (r == 0)
		r = are_known(v, &raws) ? read_both(&adding, a, &maps) : -EOPNOTSUPP;
	if (r == 0)
		r = is_enough(&adding.sums) ? tell_all(v, a, &raws, &maps) : -EOPNOTSUPP;
	if (r < 0)
		return r;
	*ret = maps;
	*ret_sums = adding.sums;
	return 0;
}
