/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * All that differs between processors. To port stasis, fill a folder beside x86_64 with these functions and a stub.S.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct span;
struct stub_context;

/** struct arch_regs - the general registers of a thread, as NT_PRSTATUS gives them */
struct arch_regs {
	struct user_regs_struct u;
};

/* of a stopped tracee; 0 or -errno */
int arch_get_regs(pid_t tid, struct arch_regs *ret);
int arch_set_regs(pid_t tid, const struct arch_regs *regs);

#define ARCH_XSTATE_MAX ((size_t)64 << 10) /* bytes */

/** arch_get_xstate() - floating point, vector and all other extended state, as NT_X86_XSTATE: into a buffer of ARCH_XSTATE_MAX */
int arch_get_xstate(pid_t tid, unsigned char *buf, size_t *ret_len);

/** struct arch_xstate - what NT_X86_XSTATE of this machine is like, of all tasks alike: bytes, and features that it has (XCR0) */
struct arch_xstate {
	size_t len;
	uint64_t features;
};

/** arch_look_at_xstate() - of any stopped tracee: 0 or -errno */
int arch_look_at_xstate(pid_t tid, struct arch_xstate *ret);

/** arch_set_xstate() - 0, -EBADMSG, -EOPNOTSUPP with the bits of the features that this processor lacks, or -errno */
int arch_set_xstate(pid_t tid, const struct arch_xstate *own, const struct span *xstate, uint64_t *ret_missing);

/** arch_audit() - AUDIT_ARCH_* of our system calls: what seccomp filters see in seccomp_data.arch */
uint32_t arch_audit(void);

/** arch_is_native() - not a 32-bit task */
bool arch_is_native(const struct arch_regs *regs);

uint64_t arch_ip(const struct arch_regs *regs);
void arch_set_ip(struct arch_regs *regs, uint64_t ip);
uint64_t arch_sp(const struct arch_regs *regs);

/** enum interrupted - what the stop did to a system call that was under way */
enum interrupted {
	NOT_INTERRUPTED,
	RESTARTS, /* -ERESTARTSYS, -ERESTARTNOINTR, -ERESTARTNOHAND: the kernel makes the same call again */
	RESTARTS_BY_BLOCK, /* -ERESTART_RESTARTBLOCK: the kernel goes on with what it remembered */
	GAVE_EINTR, /* the call was one that the stop ends with EINTR */
};

enum interrupted arch_interrupted(const struct arch_regs *regs);

/** arch_syscall_nr() - of an interrupted call */
long arch_syscall_nr(const struct arch_regs *regs);
uint64_t arch_syscall_arg(const struct arch_regs *regs, unsigned int n);

/**
 * arch_task_regs, arch_entry_regs - members of task_struct and of pt_regs in which the kernel keeps what NT_PRSTATUS gives; NULL at the end
 * arch_unpack_regs() - from these, 8 bytes each, one behind the other; false: only ptrace(2) can tell
 */
extern const char *const arch_task_regs[], *const arch_entry_regs[];
bool arch_unpack_regs(const uint64_t *kept, struct arch_regs *ret);

/** arch_set_syscall_nr(), arch_set_syscall_arg() - of an interrupted call, for when it is made again */
void arch_set_syscall_nr(struct arch_regs *regs, long nr);
void arch_set_syscall_arg(struct arch_regs *regs, unsigned int n, uint64_t value);

/** arch_restart_call() - make the task issue its interrupted call once more from the start */
void arch_restart_call(struct arch_regs *regs);

/** arch_call_home() - fill the stub's way home from the registers of an interrupted thread */
void arch_call_home(struct stub_context *ctx, const struct arch_regs *regs);

/**
 * arch_enter_stub() - registers with which the stub begins, from those of the thread that is to run it
 * @code: where the stub lies; @context: its way home; @calls, @n: the batch; @store: write results into the calls;
 * @signo: by which it stops
 */
void arch_enter_stub(
	struct arch_regs *regs, uint64_t code, uint64_t context, uint64_t calls, uint64_t n, bool store, int signo);

/** arch_stub_result() - what the last call of the batch gave */
int64_t arch_stub_result(const struct arch_regs *regs);

/** arch_find_syscall() - the offset of a system call instruction in @code, or -ENOENT */
ssize_t arch_find_syscall(const unsigned char *code, size_t len);

/* code in the place of a function of @room bytes: 0 or -ENOSPC */
/** arch_put_jump() - go on at @to as if that had been called */
int arch_put_jump(unsigned char *code, size_t room, uint64_t to);
/** arch_put_vdso_call() - make the system call that is behind function @name of a vdso (without "__vdso_"); -ENOSYS where none is */
int arch_put_vdso_call(unsigned char *code, size_t room, const char *name);

/** arch_set_syscall() - registers that make one system call with the instruction at @ip */
void arch_set_syscall(struct arch_regs *regs, uint64_t ip, long nr, const uint64_t arg[6]);
int64_t arch_result(const struct arch_regs *regs);

/** arch_set_result() - make an interrupted call return @value */
void arch_set_result(struct arch_regs *regs, int64_t value);
