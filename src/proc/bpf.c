/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs are written instruction by instruction, for the members that are wanted and where this kernel has them.
 */
#include "proc/bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#ifndef PROC_PID_INIT_INO
#define PROC_PID_INIT_INO 0xeffffffc /* include/linux/proc_ns.h */
#endif

enum {
	POINTER = -8, /* where on the stack what is a pointer is read to */
	READ = 113, /* BPF_FUNC_probe_read_kernel */
	WRITE = 127, /* BPF_FUNC_seq_write */
	BLOCK = 32 << 10, /* bytes: as much as the kernel gathers for one read(2) */
};

/* ---- instructions ---- */

void bpf_add(struct bpf_writer *w, uint8_t code, uint8_t dst, uint8_t src, int off, int imm)
{
	w->full |= w->n == BPF_INSNS_MAX;
	if (!w->full)
		w->insn[w->n++] = (struct bpf_insn){
			.code = code, .dst_reg = dst, .src_reg = src, .off = (int16_t)off, .imm = imm
		};
}

void bpf_move(struct bpf_writer *w, uint8_t dst, uint8_t src)
{
	bpf_add(w, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

void bpf_set(struct bpf_writer *w, uint8_t dst, int value)
{
	bpf_add(w, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}

void bpf_plus(struct bpf_writer *w, uint8_t dst, int value)
{
	bpf_add(w, BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value);
}

/* @len bytes at R3 go to @at on the stack */
static void read_to(struct bpf_writer *w, int at, uint32_t len)
{
	bpf_move(w, BPF_REG_1, BPF_REG_10);
	bpf_plus(w, BPF_REG_1, at);
	bpf_set(w, BPF_REG_2, (int)len);
	bpf_add(w, BPF_JMP | BPF_CALL, 0, 0, 0, READ);
	bpf_add(w, BPF_ALU64 | BPF_OR | BPF_X, BPF_REG_9, BPF_REG_0, 0, 0);
}

void bpf_read_kernel(struct bpf_writer *w, int at, uint32_t len)
{
	read_to(w, w->base + at, len);
}

void bpf_land(struct bpf_writer *w, uint32_t jump)
{
	if (!w->full)
		w->insn[jump].off = (int16_t)(w->n - jump - 1);
}

void bpf_leave(struct bpf_writer *w)
{
	bpf_set(w, BPF_REG_0, 0);
	bpf_add(w, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

void bpf_leave_unless(struct bpf_writer *w, int at, uint8_t how, int value)
{
	bpf_add(w, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_1, BPF_REG_10, w->base + at, 0);
	bpf_add(w, BPF_JMP | how | BPF_K, BPF_REG_1, 0, 2, value);
	bpf_leave(w);
}

/* ---- members ---- */

/* so many bytes that one instruction can take from @from to @at at most */
static uint32_t at_once(uint32_t most, uint64_t from, int64_t at)
{
	uint32_t n = sizeof(uint64_t);

	while (n > most || from % n || at % n)
		n /= 2;
	return n;
}

static uint8_t width(uint32_t bytes)
{
	return bytes == 8 ? BPF_DW : bytes == 4 ? BPF_W : bytes == 2 ? BPF_H : BPF_B;
}

/* @len bytes of @p, which is in what @from points to, go to @at on the stack, if instructions can do that; much faster than a call */
static bool load(struct bpf_writer *w, uint8_t from, const struct btf_place *p, int at, uint32_t len)
{
	if (w->careful || p->form == BTF_OTHER || (p->form == BTF_POINTER && (len != sizeof(uint64_t) || at % 8)))
		return false;
	for (uint32_t done = 0, n; done < len; done += n) {
		const uint32_t offset = p->offset + done;

		n = at_once(len - done, offset, at + (int64_t)done);
		bpf_add(w, BPF_LDX | BPF_MEM | width(n), BPF_REG_1, from, (int)offset, 0);
		bpf_add(w, BPF_STX | BPF_MEM | width(n), BPF_REG_10, BPF_REG_1, at + (int)done, 0);
	}
	return true;
}

/* the pointer @p is in R3 then; what comes next is not done where it is NULL. Returns the jump over it. */
static uint32_t follow(struct bpf_writer *w, const struct btf_place *p)
{
	if (w->careful) {
		bpf_move(w, BPF_REG_3, BPF_REG_7);
		bpf_plus(w, BPF_REG_3, (int)p->offset);
		read_to(w, POINTER, sizeof(uint64_t));
		bpf_add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_10, POINTER, 0);
	} else {
		bpf_add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_3, BPF_REG_7, (int)p->offset, 0);
	}
	bpf_add(w, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_3, 0, 0, 0);
	return w->n - 1;
}

/* what a member is behind "->", if it is */
static int find_place(
	const struct btf *b, uint32_t type, const char *path, struct btf_place *outer, struct btf_place *ret)
{
	const char *arrow = strstr(path, "->");
	int r = btf_member(b, type, path, arrow ? (size_t)(arrow - path) : strlen(path), arrow ? outer : ret);

	if (r < 0 || !arrow)
		return r;
	return btf_member(b, btf_pointee(b, outer->type), arrow + 2, strlen(arrow + 2), ret);
}

/* bpf_rdonly_cast() in kernel/bpf/helpers.c, Linux 6.2; before that nothing was trusted */
void bpf_distrust(struct bpf_writer *w, const struct btf *b, uint32_t type)
{
	const uint32_t cast = btf_func(b, "bpf_rdonly_cast");

	if (!cast || w->careful)
		return;
	bpf_move(w, BPF_REG_1, BPF_REG_7);
	bpf_set(w, BPF_REG_2, (int)type);
	bpf_add(w, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, (int)cast);
	bpf_move(w, BPF_REG_7, BPF_REG_0);
}

int bpf_add_member(struct bpf_writer *w, const struct btf *b, uint32_t type, const struct member *m, int at)
{
	struct btf_place outer = { 0 }, place = { 0 };
	int r = find_place(b, type, m->path, &outer, &place);

	if (r == -ENOENT && m->needed && !m->needed())
		return 0;
	if (r < 0)
		return r;
	if (place.size > m->size && !place.is_array)
		return -EOPNOTSUPP;
	uint32_t len = m->size < place.size ? m->size : place.size;
	if (m->counts && m->counts() < len)
		len = m->counts();
	uint32_t jump = outer.size ? follow(w, &outer) : 0;
	if (!load(w, outer.size ? BPF_REG_3 : BPF_REG_7, &place, w->base + at, len)) {
		if (!outer.size)
			bpf_move(w, BPF_REG_3, BPF_REG_7);
		bpf_plus(w, BPF_REG_3, (int)place.offset);
		bpf_read_kernel(w, at, len);
	}
	if (outer.size)
		bpf_land(w, jump);
	if (place.mask) {
		bpf_add(w, BPF_LDX | BPF_MEM | BPF_B, BPF_REG_1, BPF_REG_10, w->base + at, 0);
		bpf_add(w, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, place.mask);
		bpf_add(w, BPF_STX | BPF_MEM | BPF_B, BPF_REG_10, BPF_REG_1, w->base + at, 0);
	}
	return 0;
}

/* ---- a whole program ---- */

static void begin(struct bpf_writer *w, uint32_t len, int object, bool careful)
{
	*w = (struct bpf_writer){ .careful = careful, .len = len, .base = POINTER - (int)((len + 7) / 8 * 8) };
	bpf_move(w, BPF_REG_6, BPF_REG_1);
	bpf_add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_7, BPF_REG_6, object, 0);
	bpf_add(w, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_7, 0, 2, 0);
	bpf_leave(w);
	for (int i = w->base; i < 0; i += 8)
		bpf_add(w, BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, i, 0);
	bpf_set(w, BPF_REG_9, 0);
}

int bpf_end(struct bpf_writer *w, int failed)
{
	bpf_add(w, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_9, 0, 1, 0);
	bpf_add(w, BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, w->base + failed, 1);
	bpf_add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_6, 0, 0); /* meta, of each context */
	bpf_add(w, BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_1, BPF_REG_1, 0, 0); /* bpf_iter_meta.seq */
	bpf_move(w, BPF_REG_2, BPF_REG_10);
	bpf_plus(w, BPF_REG_2, w->base);
	bpf_set(w, BPF_REG_3, (int)w->len);
	bpf_add(w, BPF_JMP | BPF_CALL, 0, 0, 0, WRITE);
	bpf_leave(w);
	return w->full || w->len > BPF_RECORD_MAX ? -E2BIG : 0;
}

static int call_bpf(int cmd, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

static int give_to_kernel(const struct bpf_writer *w, uint32_t func)
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
	int r = call_bpf(BPF_PROG_LOAD, &attr);

	return r == -EINVAL || r == -EACCES ? -EOPNOTSUPP : r;
}

/* in whose numbers the kernel counts */
static bool is_in_first_pidns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == PROC_PID_INIT_INO;
}

/* the kernel knows of what type it is that an instruction loads, and may refuse what it lets a call read */
static int make(struct arena *a, const char *iterator, const struct bpf_plan *p)
{
	struct bpf_writer *w = arena_alloc(a, sizeof(*w));
	struct btf b;
	int r = btf_open(a, NULL, &b);
	uint32_t func = r == 0 ? btf_func(&b, iterator) : 0;

	if (r == 0)
		r = func ? -EOPNOTSUPP : -ENOENT;
	for (int careful = 0; r == -EOPNOTSUPP && careful < 2; careful++) {
		begin(w, p->len, p->object, careful);
		r = p->write(w, &b, p->data);
		if (r == 0)
			r = give_to_kernel(w, func);
	}
	btf_close(&b);
	return r;
}

int bpf_make(const char *iterator, const struct bpf_plan *plan)
{
	struct arena a;

	if (!is_in_first_pidns())
		return -EOPNOTSUPP;
	if (plan->len > BPF_RECORD_MAX)
		return -E2BIG;
	arena_init(&a);
	int r = make(&a, iterator, plan);
	arena_done(&a);
	return r;
}

int bpf_link(int prog, const union bpf_iter_link_info *only)
{
	union bpf_attr attr = { .link_create = { .prog_fd = (uint32_t)prog, .attach_type = BPF_TRACE_ITER } };

	if (only) {
		attr.link_create.iter_info = (uint64_t)(uintptr_t)only;
		attr.link_create.iter_info_len = sizeof(*only);
	}
	return call_bpf(BPF_LINK_CREATE, &attr);
}

int bpf_read(int link, uint32_t len, bool (*take)(void *data, unsigned char *record), void *data)
{
	union bpf_attr attr = { .iter_create = { .link_fd = (uint32_t)link } };
	_cleanup_close_ int fd = call_bpf(BPF_ITER_CREATE, &attr);
	_Alignas(uint64_t) unsigned char block[BLOCK];
	const size_t room = (size_t)len * (BLOCK / len);

	if (fd < 0)
		return fd;
	for (;;) {
		ssize_t got = read_all(fd, block, room);

		if (got < 0 || got % len)
			return got < 0 ? (int)got : -EIO;
		for (ssize_t at = 0; at < got; at += len)
			if (!take(data, block + at))
				return 0;
		if (got < (ssize_t)room)
			return 0;
	}
}
