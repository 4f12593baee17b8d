/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An iterator over tasks: "bpf_iter_task" in kernel/bpf/task_iter.c.
 */
#include "proc/insight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "proc/bpf.h"

/* struct seen - what the program writes of a thread, before its members */
struct seen {
	uint32_t tid, failed;
};

struct insight {
	int link; /* holds the program too */
	uint32_t len; /* of what is written of a thread, with struct seen */
	bool lacks[BPF_RECORD_MAX]; /* of each member: the kernel has none */
};

static const struct member tid = { "pid", sizeof(uint32_t) };

/* with threads that a thread of ours traces; what decides is read to where their number comes last */
static int add_filter(struct bpf_writer *w, const struct btf *b, uint32_t task)
{
	const int at = offsetof(struct seen, tid);
	int r = bpf_add_member(w, b, task, &(struct member){ "ptrace", sizeof(uint32_t) }, at);

	bpf_leave_unless(w, at, BPF_JNE, 0);
	if (r == 0)
		r = bpf_add_member(w, b, task, &(struct member){ "parent->tgid", sizeof(uint32_t) }, at);
	bpf_leave_unless(w, at, BPF_JEQ, getpid());
	return r < 0 ? r : bpf_add_member(w, b, task, &tid, at);
}

/* struct wanted - what it is to read */
struct wanted {
	const struct member *members;
	size_t n;
	struct insight *by;
};

static int write_program(struct bpf_writer *w, const struct btf *b, const void *data)
{
	const uint32_t task = btf_struct(b, "task_struct");
	const struct wanted *all = data;
	int at = sizeof(struct seen);

	if (!task)
		return -ENOENT;
	bpf_distrust(w, b, task);
	int r = add_filter(w, b, task);
	for (size_t i = 0; i < all->n && r == 0; i++) {
		const struct member *m = &all->members[i];

		at = (int)insight_place((uint32_t)at, m);
		r = bpf_add_member(w, b, task, m, at);
		all->by->lacks[i] = m->spare && (r == -ENOENT || r == -EOPNOTSUPP);
		r = all->by->lacks[i] ? 0 : r;
		at += (int)m->size;
	}
	return r < 0 ? r : bpf_end(w, offsetof(struct seen, failed));
}

static uint64_t length(const struct member *m, size_t n)
{
	uint64_t len = sizeof(struct seen);

	for (size_t i = 0; i < n && len <= BPF_RECORD_MAX; i++)
		len = (uint64_t)insight_place((uint32_t)len, &m[i]) + m[i].size;
	return len;
}

static int open_it(const struct member *m, size_t n, struct insight *i)
{
	const struct wanted wanted = { m, n, i };
	_cleanup_close_ int prog =
		bpf_make("bpf_iter_task", &(struct bpf_plan){ i->len, BPF_TASK, write_program, &wanted });

	i->link = prog < 0 ? prog : bpf_link(prog, NULL);
	return i->link < 0 ? i->link : 0;
}

int insight_open(const struct member *m, size_t n, struct insight **ret)
{
	const uint64_t len = length(m, n);

	if (len > BPF_RECORD_MAX)
		return -E2BIG;
	struct insight *i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	*i = (struct insight){ .link = -EBADF, .len = (uint32_t)len };
	int r = open_it(m, n, i);
	if (r < 0) {
		insight_close(i);
		return r;
	}
	*ret = i;
	return 0;
}

void insight_close(struct insight *i)
{
	if (!i)
		return;
	fd_close(i->link);
	free(i);
}

bool insight_lacks(const struct insight *i, size_t n)
{
	return i->lacks[n];
}

/* struct taking - where threads are put that are read */
struct taking {
	struct arena *arena;
	uint32_t len; /* of the members of one */
	struct map *to;
};

static bool take(void *data, unsigned char *record)
{
	const struct taking *t = data;
	struct seen seen;

	memcpy(&seen, record, sizeof(seen));
	if (!seen.failed)
		map_set(t->arena, t->to, seen.tid, arena_dup(t->arena, record + sizeof(seen), t->len));
	return true;
}

int insight_read(const struct insight *i, struct arena *a, struct map *ret)
{
	struct taking t = { a, i->len - (uint32_t)sizeof(struct seen), ret };

	return bpf_read(i->link, i->len, take, &t);
}
