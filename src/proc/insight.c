/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An iterator over tasks: bpf(2), "bpf_iter_task" in kernel/bpf/task_iter.c. A program that is written here, for the members
 * that are wanted, goes over each thread; what it writes is read from a descriptor.
 *
 * A member is read by bpf_probe_read_kernel(), which fails where the kernel is locked down (LOCKDOWN_BPF_READ_KERNEL): the
 * program adds up what these calls return, so that nothing is taken for what was read that was not.
 */
#include "proc/insight.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "proc/proc.h"

#ifndef PROC_PID_INIT_INO
#define PROC_PID_INIT_INO \
	0xeffffffc /* include/linux/proc_ns.h: the first pid namespace, in whose numbers the iterator counts */
#endif

enum {
	STACK = 512, /* that a program has */
	POINTER = -8, /* where on it what is a pointer is read to */
	INSNS_MAX = 2048,
	READ = 113, /* BPF_FUNC_probe_read_kernel */
	WRITE = 127, /* BPF_FUNC_seq_write */
};

/* struct seen - what the program writes of a thread, before its members */
struct seen {
	uint32_t tid, failed;
};

struct insight {
	int prog, link;
	uint32_t len; /* of what is written of a thread, with struct seen */
};

/* struct writer - a program that comes into being. R6 is what it is called with, R7 the thread, R9 what failed */
struct writer {
	struct bpf_insn insn[INSNS_MAX];
	uint32_t n;
	bool full;
	int base; /* where on the stack what is written begins */
};

static void add(struct writer *w, uint8_t code, uint8_t dst, uint8_t src, int off, int imm)
{
	w->full |= w->n == INSNS_MAX;
	if (!w->full)
		w->insn[w->n++] = (struct bpf_insn){
			.code = code, .dst_reg = dst, .src_reg = src, .off = (int16_t)off, .imm = imm
		};
}

static void move(struct writer *w, uint8_t dst, uint8_t src)
{
	add(w, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void set(struct writer *w, uint8_t dst, int value)
{
	add(w, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}

static void plus(struct writer *w, uint8_t dst, int value)
{
	add(w, BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value);
}

/* @len bytes at R3 go to @at on the stack */
static void read_kernel(struct writer *w, int at, uint32_t len)
{
	move(w, BPF_REG_1, BPF_REG_10);
	plus(w, BPF_REG_1, at);
	set(w, BPF_REG_2, (int)len);
	add(w, BPF_JMP | BPF_CALL, 0, 0, 0, READ);
	add(w, BPF_ALU64 | BPF_OR | BPF_X, BPF_REG_9, BPF_REG_0, 0, 0);
}

/* of the thread */
static void read_task(struct writer *w, int at, uint32_t offset, uint32_t len)
{
	move(w, BPF_REG_3, BPF_REG_7);
	plus(w, BPF_REG_3, (int)offset);
	read_kernel(w, at, len);
}

/* the pointer at @offset of the thread is in R3 then; what comes next is not done where it is NULL. Returns the jump over it. */
static uint32_t follow(struct writer *w, uint32_t offset)
{
	read_task(w, POINTER, offset, sizeof(uint64_t));
	add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_10, POINTER, 0);
	add(w, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_3, 0, 0, 0);
	return w->n - 1;
}

static void land(struct writer *w, uint32_t jump)
{
	if (!w->full)
		w->insn[jump].off = (int16_t)(w->n - jump - 1);
}

static void leave(struct writer *w)
{
	set(w, BPF_REG_0, 0);
	add(w, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* what a member is behind "->", if it is */
static int find_place(
	const struct btf *b, uint32_t task, const char *path, struct btf_place *outer, struct btf_place *ret)
{
	const char *arrow = strstr(path, "->");
	int r = btf_member(b, task, path, arrow ? (size_t)(arrow - path) : strlen(path), arrow ? outer : ret);

	if (r < 0 || !arrow)
		return r;
	return btf_member(b, btf_pointee(b, outer->type), arrow + 2, strlen(arrow + 2), ret);
}

static int add_member(struct writer *w, const struct btf *b, uint32_t task, const struct member *m, int at)
{
	struct btf_place outer = { 0 }, place = { 0 };
	int r = find_place(b, task, m->path, &outer, &place);

	if (r == -ENOENT && m->needed && !m->needed())
		return 0;
	if (r < 0)
		return r;
	if (place.size > m->size && !place.is_array)
		return -EOPNOTSUPP;
	uint32_t len = m->size < place.size ? m->size : place.size;
	if (m->counts && m->counts() < len)
		len = m->counts();
	uint32_t jump = outer.size ? follow(w, outer.offset) : 0;
	if (outer.size) {
		plus(w, BPF_REG_3, (int)place.offset);
		read_kernel(w, at, len);
		land(w, jump);
	} else {
		read_task(w, at, place.offset, len);
	}
	if (place.mask) {
		add(w, BPF_LDX | BPF_MEM | BPF_B, BPF_REG_1, BPF_REG_10, at, 0);
		add(w, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, place.mask);
		add(w, BPF_STX | BPF_MEM | BPF_B, BPF_REG_10, BPF_REG_1, at, 0);
	}
	return 0;
}

/* it goes on where the 4 bytes that were just read are @how (BPF_JEQ, BPF_JNE) @value alone */
static void leave_unless(struct writer *w, uint8_t how, int value)
{
	add(w, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_1, BPF_REG_10, w->base, 0);
	add(w, BPF_JMP | how | BPF_K, BPF_REG_1, 0, 2, value);
	leave(w);
}

/* with threads that a thread of ours traces; their number stays where it is read */
static int add_filter(struct writer *w, const struct btf *b, uint32_t task)
{
	int r = add_member(w, b, task, &(struct member){ "ptrace", sizeof(uint32_t) }, w->base);

	leave_unless(w, BPF_JNE, 0);
	if (r == 0)
		r = add_member(w, b, task, &(struct member){ "parent->tgid", sizeof(uint32_t) }, w->base);
	leave_unless(w, BPF_JEQ, getpid());
	return r < 0 ? r : add_member(w, b, task, &(struct member){ "pid", sizeof(uint32_t) }, w->base);
}

static int write_program(struct writer *w, const struct btf *b, const struct member *m, size_t n, uint32_t len)
{
	const uint32_t task = btf_struct(b, "task_struct");
	int at = w->base + (int)sizeof(struct seen);

	move(w, BPF_REG_6, BPF_REG_1);
	add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_7, BPF_REG_6, 8, 0); /* bpf_iter__task.task: NULL at the end */
	add(w, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_7, 0, 2, 0);
	leave(w);
	for (int i = w->base; i < 0; i += 8)
		add(w, BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, i, 0);
	set(w, BPF_REG_9, 0);
	int r = task ? add_filter(w, b, task) : -ENOENT;
	for (size_t i = 0; i < n && r == 0; i++) {
		r = add_member(w, b, task, &m[i], at);
		at += (int)m[i].size;
	}
	add(w, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_9, 0, 1, 0);
	add(w, BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, w->base + (int)offsetof(struct seen, failed), 1);
	add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_6, 0, 0); /* bpf_iter__task.meta */
	add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_1, 0, 0); /* bpf_iter_meta.seq */
	move(w, BPF_REG_2, BPF_REG_10);
	plus(w, BPF_REG_2, w->base);
	set(w, BPF_REG_3, (int)len);
	add(w, BPF_JMP | BPF_CALL, 0, 0, 0, WRITE);
	leave(w);
	return r == 0 && w->full ? -E2BIG : r;
}

static int call_bpf(int cmd, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

static int load(struct insight *i, const struct writer *w, uint32_t func)
{
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_TRACING,
		.expected_attach_type = BPF_TRACE_ITER,
		.attach_btf_id = func,
		.insns = (uint64_t)(uintptr_t)w->insn,
		.insn_cnt = w->n,
		.license =
			(uint64_t)(uintptr_t) "GPL", /* as the functions that it calls demand, and this library allows */
		.prog_name = "stasis",
	};

	i->prog = call_bpf(BPF_PROG_LOAD, &attr);
	if (i->prog < 0)
		return i->prog == -EINVAL || i->prog == -EACCES ? -EOPNOTSUPP : i->prog;
	attr = (union bpf_attr){ .link_create = { .prog_fd = (uint32_t)i->prog, .attach_type = BPF_TRACE_ITER } };
	i->link = call_bpf(BPF_LINK_CREATE, &attr);
	return i->link < 0 ? i->link : 0;
}

static bool is_in_first_pidns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == PROC_PID_INIT_INO;
}

static uint64_t length(const struct member *m, size_t n)
{
	uint64_t len = sizeof(struct seen);

	for (size_t i = 0; i < n; i++)
		len += m[i].size;
	return len;
}

static int open_it(struct arena *a, const struct member *m, size_t n, struct insight *i)
{
	struct writer *w = arena_alloc(a, sizeof(*w));
	struct btf b;
	int r = btf_open(a, NULL, &b);
	uint32_t func = r == 0 ? btf_func(&b, "bpf_iter_task") : 0;

	w->base = -(int)((i->len + 7) / 8 * 8) + POINTER;
	if (r == 0)
		r = func ? write_program(w, &b, m, n, i->len) : -EOPNOTSUPP;
	return r == 0 ? load(i, w, func) : r;
}

int insight_open(const struct member *m, size_t n, struct insight **ret)
{
	const uint64_t len = length(m, n);

	if (!is_in_first_pidns())
		return -EOPNOTSUPP;
	if (len > STACK + POINTER)
		return -E2BIG;
	struct insight *i = calloc(1, sizeof(*i));
	struct arena a;
	if (!i)
		return -ENOMEM;
	*i = (struct insight){ .prog = -EBADF, .link = -EBADF, .len = (uint32_t)len };
	arena_init(&a);
	int r = open_it(&a, m, n, i);
	arena_done(&a);
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
	fd_close(i->prog);
	free(i);
}

int insight_read(const struct insight *i, struct arena *a, struct map *ret)
{
	union bpf_attr attr = { .iter_create = { .link_fd = (uint32_t)i->link } };
	_cleanup_close_ int fd = call_bpf(BPF_ITER_CREATE, &attr);

	if (fd < 0)
		return fd;
	for (;;) {
		unsigned char *block = arena_alloc(a, (size_t)i->len * 64);
		ssize_t got = read_all(fd, block, (size_t)i->len * 64);

		if (got < 0 || got % i->len)
			return got < 0 ? (int)got : -EIO;
		for (ssize_t at = 0; at < got; at += i->len) {
			struct seen seen;

			memcpy(&seen, block + at, sizeof(seen));
			if (!seen.failed)
				map_set(a, ret, seen.tid, block + at + sizeof(seen));
		}
		if (got < (ssize_t)i->len * 64)
			return 0;
	}
}
