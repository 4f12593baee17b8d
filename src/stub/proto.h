/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What stasis and the stub agree on. The stub (arch/ISA/stub.S) is the only code of ours that ever runs inside a
 * program: a few hundred bytes without state, stack, relocations or libc. It walks an array of calls, makes each system
 * call, and stops.
 *
 * How it stops decides what happens if stasis dies. The stub sends itself a signal, by which a traced task stops and
 * reports to its tracer. While a program is being restarted that is SIGTRAP, and a tracer that dies takes the half-made
 * program with it (PTRACE_O_EXITKILL). While a running program is being saved it is a signal that the program neither
 * catches nor has pending, and whose action is to be ignored: an untraced task drops it (sig_ignored() in kernel/signal.c)
 * and runs on into the way home: signal mask, scratch memory and every register go back to what struct stub_context holds,
 * and an interrupted system call is restarted as the kernel would have done it. So there is no instruction of stasis at
 * which SIGKILL harms the program.
 */
#include <assert.h>
#include <stdint.h>

enum stub_flags {
	STUB_MUST = 1u << 0, /* the batch ends here when this call fails */
};

/** struct stub_call - one system call; addresses and descriptors are the task's own */
struct stub_call {
	uint32_t nr;
	uint16_t flags; /* enum stub_flags */
	uint16_t
		indirect; /* bit n: arg[n] is the address of an int32 to take instead, e.g. the result of an earlier call */
	uint64_t arg[6];
	int64_t ret;
};

/**
 * struct stub_context - the way home; STUB_CONTEXTS of them follow the code of the stub directly
 * Two, as one thread takes over from another, and each has a way home then.
 */
struct stub_context {
	uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, rip, eflags, rsp;
	uint64_t sigmask;
	uint64_t scratch, scratch_len; /* memory to unmap; 0 when there is none */
};

#define STUB_CONTEXTS 2

static_assert(sizeof(struct stub_call) == 64, "stub.S knows this layout");
static_assert(sizeof(struct stub_context) == 168, "stub.S knows this layout");

/* the code and behind it the zeroed contexts, as linked into stasis: bytes to be copied */
extern const unsigned char stub_begin[], stub_stopped[], stub_context[], stub_end[];
