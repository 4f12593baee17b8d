/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registers of threads, from where the kernel has put them: those with which each has entered it by bpf_task_pt_regs()
 * (kernel/trace/bpf_trace.c), others in its task_struct.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "proc/bpf.h"
#include "proc/proc.h"

enum {
	REGS = 175, /* BPF_FUNC_task_pt_regs */
	TRACED = 8, /* __TASK_TRACED: include/linux/sched.h */
};

/* struct seen - what the program writes of a thread */
struct seen {
	uint32_t tid, failed;
	uint32_t on_cpu, state;
	uint64_t blocked, saved, restore; /* signal masks, and which of both is its own */
	uint64_t regs[PROC_REGS_MOST];
};

static int add_own(struct bpf_writer *w, const struct btf *b, uint32_t task)
{
	const struct {
		struct member m;
		size_t at;
	} own[] = {
		{ { "on_cpu", 4 }, offsetof(struct seen, on_cpu) }, /* before what it says is trusted */
		{ { "__state", 4 }, offsetof(struct seen, state) },
		{ { "pid", 4 }, offsetof(struct seen, tid) },
		{ { "blocked.sig", 8 }, offsetof(struct seen, blocked) },
		{ { "saved_sigmask.sig", 8 }, offsetof(struct seen, saved) },
		{ { "restore_sigmask", 1 }, offsetof(struct seen, restore) },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(own) && r == 0; i++)
		r = bpf_add_member(w, b, task, &own[i].m, (int)own[i].at);
	return r;
}

static int add_regs(struct bpf_writer *w, const struct btf *b, uint32_t type, const char *const *names, size_t *n)
{
	int r = 0;

	for (size_t i = 0; names[i] && r == 0; i++) {
		const struct member m = { names[i], sizeof(uint64_t) };

		if (*n == PROC_REGS_MOST)
			return -E2BIG;
		r = bpf_add_member(w, b, type, &m, (int)(offsetof(struct seen, regs) + *n * sizeof(uint64_t)));
		++*n;
	}
	return r;
}

static int write_program(struct bpf_writer *w, const struct btf *b, const void *data)
{
	const uint32_t task = btf_struct(b, "task_struct"), pt_regs = btf_struct(b, "pt_regs");
	const struct proc_reg_names *names = data;
	size_t n = 0;

	if (!task || !pt_regs)
		return -ENOENT;
	int r = add_own(w, b, task);
	if (r == 0)
		r = add_regs(w, b, task, names->of_task, &n);
	bpf_move(w, BPF_REG_1, BPF_REG_7);
	bpf_add(w, BPF_JMP | BPF_CALL, 0, 0, 0, REGS);
	bpf_move(w, BPF_REG_7, BPF_REG_0);
	if (r == 0)
		r = add_regs(w, b, pt_regs, names->of_entry, &n);
	return r < 0 ? r : bpf_end(w, offsetof(struct seen, failed));
}

int proc_open_regs(const struct proc_reg_names *names)
{
	return bpf_make("bpf_iter_task", &(struct bpf_plan){ sizeof(struct seen), BPF_TASK, write_program, names });
}

/* struct taking - who is told of each */
struct taking {
	proc_regs_fn *fn;
	void *data;
};

static bool take(void *data, unsigned char *record)
{
	const struct taking *t = data;
	const struct seen *seen = (const struct seen *)record;
	const struct proc_regs regs = { .tid = (pid_t)seen->tid,
		.rests = !seen->on_cpu && seen->state & TRACED,
		.sigmask = seen->restore ? seen->saved : seen->blocked,
		.regs = seen->regs };

	if (!seen->failed)
		t->fn(t->data, &regs);
	return true;
}

int proc_read_regs(int fd, pid_t pid, proc_regs_fn *fn, void *data)
{
	union bpf_iter_link_info only = { .task.pid = (uint32_t)pid };
	_cleanup_close_ int link = bpf_link(fd, &only);
	struct taking t = { fn, data };

	return link < 0 ? link : bpf_read(link, sizeof(struct seen), take, &t);
}
