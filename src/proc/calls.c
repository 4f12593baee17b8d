/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system calls of threads, from the registers with which each has entered the kernel: bpf_task_pt_regs() of
 * kernel/trace/bpf_trace.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "proc/bpf.h"
#include "proc/proc.h"

enum {
	TASK = 8, /* in struct bpf_iter__task */
	REGS = 175, /* BPF_FUNC_task_pt_regs */
};

/* struct seen - what the program writes of a thread */
struct seen {
	uint32_t tid, failed;
	uint64_t regs[PROC_CALL_REGS];
};

static int write_program(struct bpf_writer *w, const struct btf *b, const void *data)
{
	const char *const *regs = data;
	const uint32_t task = btf_struct(b, "task_struct"), pt_regs = btf_struct(b, "pt_regs");
	int at = offsetof(struct seen, regs);

	if (!task || !pt_regs)
		return -ENOENT;
	int r = bpf_add_member(w, b, task, &(struct member){ "pid", sizeof(uint32_t) }, offsetof(struct seen, tid));
	bpf_move(w, BPF_REG_1, BPF_REG_7);
	bpf_add(w, BPF_JMP | BPF_CALL, 0, 0, 0, REGS);
	bpf_move(w, BPF_REG_7, BPF_REG_0);
	for (size_t i = 0; i < PROC_CALL_REGS && r == 0; i++) {
		r = bpf_add_member(w, b, pt_regs, &(struct member){ regs[i], sizeof(uint64_t) }, at);
		at += (int)sizeof(uint64_t);
	}
	return r < 0 ? r : bpf_end(w, offsetof(struct seen, failed));
}

int proc_open_calls(const char *const regs[PROC_CALL_REGS])
{
	return bpf_make("bpf_iter_task", &(struct bpf_plan){ sizeof(struct seen), TASK, write_program, regs });
}

/* struct taking - where threads are put that are read */
struct taking {
	struct arena *arena;
	struct span *to;
	bool failed;
};

static void take(void *data, unsigned char *record)
{
	struct taking *t = data;
	struct proc_call *c = span_push(t->arena, t->to, sizeof(*c));
	struct seen seen;

	memcpy(&seen, record, sizeof(seen));
	t->failed |= seen.failed;
	c->tid = (pid_t)seen.tid;
	c->known = true;
	c->call.nr = (int64_t)seen.regs[0];
	memcpy(c->call.arg, &seen.regs[1], sizeof(c->call.arg));
}

static int by_number(const void *a, const void *b)
{
	const struct proc_call *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

int proc_read_calls(int fd, pid_t pid, struct arena *a, struct span *ret)
{
	union bpf_iter_link_info only = { .task.pid = (uint32_t)pid };
	_cleanup_close_ int link = bpf_link(fd, &only);
	struct span all = { 0 };
	struct taking t = { a, &all, false };
	int r = link < 0 ? link : bpf_read(link, a, sizeof(struct seen), take, &t);

	if (r == 0 && t.failed)
		r = -EIO;
	if (r == 0 && all.n)
		qsort(all.at, all.n, sizeof(struct proc_call), by_number);
	if (r == 0)
		*ret = all;
	return r;
}
