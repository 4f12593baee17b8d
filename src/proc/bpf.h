/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A program of bpf(2) that the kernel runs for each of what it goes over (Documentation/bpf/bpf_iterators.rst): it reads out
 * of the kernel's memory, and writes a record of so many bytes each time.
 *
 * A member is read by bpf_probe_read_kernel(), which fails where the kernel is locked down (LOCKDOWN_BPF_READ_KERNEL): the
 * program adds up what these calls return, so that nothing is taken for what was read that was not.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "proc/btf.h"

enum {
	BPF_INSNS_MAX = 2048,
	BPF_RECORD_MAX = 504, /* bytes: the stack, without a pointer */
	BPF_TASK = 8, /* bpf_plan.object: in struct bpf_iter__task, */
	BPF_VMA = 16, /* and in struct bpf_iter__task_vma */
};

/**
 * struct bpf_writer - a program that comes into being
 * R6 is what it is called with, R7 what it is called for, R9 what failed; a call takes R1 to R5, and R0.
 */
struct bpf_writer {
	struct bpf_insn insn[BPF_INSNS_MAX];
	uint32_t n;
	bool full;
	bool careful; /* all is read by calls */
	uint32_t len; /* of the record, */
	int base; /* and where on the stack it begins */
};

/** bpf_add(), bpf_move(), bpf_set(), bpf_plus() - one instruction; to a register, what is in another, or a number */
void bpf_add(struct bpf_writer *w, uint8_t code, uint8_t dst, uint8_t src, int off, int imm);
void bpf_move(struct bpf_writer *w, uint8_t dst, uint8_t src);
void bpf_set(struct bpf_writer *w, uint8_t dst, int value);
void bpf_plus(struct bpf_writer *w, uint8_t dst, int value);

/** bpf_leave() - and write nothing. bpf_land(): where instruction @jump jumps to */
void bpf_leave(struct bpf_writer *w);
void bpf_land(struct bpf_writer *w, uint32_t jump);

/** bpf_leave_unless() - it goes on where the 4 bytes of the record at @at are @how (BPF_JEQ, BPF_JNE) @value alone */
void bpf_leave_unless(struct bpf_writer *w, int at, uint8_t how, int value);

/** bpf_read_kernel() - @len bytes at R3 go to the record, at @at */
void bpf_read_kernel(struct bpf_writer *w, int at, uint32_t len);

/**
 * bpf_distrust() - R7 is no pointer any more that functions take, but what it points to can be read
 * Of each pointer that is loaded by a trusted one, newer kernels find out whether it can be trusted too, which takes a
 * millisecond: type_is_trusted() in kernel/bpf/verifier.c.
 */
void bpf_distrust(struct bpf_writer *w, const struct btf *b, uint32_t type);

/** bpf_add_member() - of the structure @type, which R7 points to, to the record at @at; -errno as insight_open() */
int bpf_add_member(struct bpf_writer *w, const struct btf *b, uint32_t type, const struct member *m, int at);

/** bpf_end() - the record is written; its 4 bytes at @failed are not 0 where something could not be read. -E2BIG */
int bpf_end(struct bpf_writer *w, int failed);

/** struct bpf_plan - a program that is called for what its context has at byte @object, with records of @len bytes, all 0 at first */
struct bpf_plan {
	uint32_t len;
	int object; /* at the end of all there is NULL: then the program leaves by itself */
	int (*write)(struct bpf_writer *w, const struct btf *b, const void *data); /* all of it, to bpf_end() */
	const void *data;
};

/**
 * bpf_make() - a descriptor of the program for an iterator ("bpf_iter_task" ...)
 * -EPERM: no right, -ENOENT: no such types, -EOPNOTSUPP: the kernel refuses it, or we are not in the pid namespace in whose numbers
 * it counts; -E2BIG.
 */
int bpf_make(const char *iterator, const struct bpf_plan *plan);

/** bpf_link() - a descriptor of the iterator with this program; @only: over what, NULL: all */
int bpf_link(int prog, const union bpf_iter_link_info *only);

/** bpf_read() - goes over all of them now, and hands each record of @len bytes to @take, whose it is until that returns, until that wants no more */
int bpf_read(int link, uint32_t len, bool (*take)(void *data, unsigned char *record), void *data);
