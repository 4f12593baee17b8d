/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How the kernel lays out its structures (CONFIG_DEBUG_INFO_BTF).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

/** struct btf - the types of the running kernel: Documentation/bpf/btf.rst. */
struct btf {
	const unsigned char *types;
	const char *strings;
	uint32_t strings_len;
	const uint32_t *at; /* where each type begins; [0] is none */
	uint32_t n;
	void *mapped; /* of bytes, or NULL */
	size_t mapped_len;
};

/** struct btf_place - where a member is in a structure, bytes, and its type */
struct btf_place {
	uint32_t offset, size, type;
	bool is_array;
	enum btf_form {
		BTF_OTHER,
		BTF_NUMBERS, /* one, or an array of them */
		BTF_POINTER,
	} form;
	uint8_t mask; /* of a bit field: it has these bits of the byte; else 0 */
};

/** btf_open() - of /sys/kernel/btf/vmlinux, or what is in @path. -ENOENT: there are none; -EBADMSG: they make no sense */
int btf_open(struct arena *a, const char *path, struct btf *ret);
void btf_close(struct btf *b);

/** btf_struct(), btf_func() - the number of the type of that name; 0: there is none */
uint32_t btf_struct(const struct btf *b, const char *name);
uint32_t btf_func(const struct btf *b, const char *name);

/**
 * btf_member() - member @path ("pending.signal", "numbers[1].nr") of structure @type
 * -ENOENT: there is none; -EOPNOTSUPP: it is a bit field of several bytes, or has no size.
 */
int btf_member(const struct btf *b, uint32_t type, const char *path, size_t len, struct btf_place *ret);

/** btf_pointee() - what a pointer of @type leads to; 0: it is none, or leads to nothing known */
uint32_t btf_pointee(const struct btf *b, uint32_t type);

/**
 * struct member - of a structure of the kernel, as of task_struct: "sas_ss_sp", "dl.flags"; "io_context->ioprio" is 0 where there is no io_context
 * @size: bytes; of an array that is longer the first ones; what is shorter is followed by zeros.
 * @needed: called where the kernel has no such member: may it still have such a thing, under another name? NULL: yes.
 */
struct member {
	const char *path;
	uint32_t size;
	bool (*needed)(void);
	uint32_t (*counts)(void); /* how many of the bytes are read, the others being zero; NULL: all */
	bool sets_apart; /* for who compares: who has any of it is like nobody */
	bool spare; /* a kernel that has no such member is no reason to read nothing: insight_lacks() */
};
