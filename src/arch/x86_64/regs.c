/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arch/arch.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/arena.h"
#include "stub/proto.h"

#define USER_CS	  0x33 /* __USER_CS: 64-bit code */
#define FLAG_TRAP 0x100 /* X86_EFLAGS_TF */

/* include/linux/errno.h: never seen by programs, but by a tracer */
enum {
	ERESTARTSYS = 512,
	ERESTARTNOINTR = 513,
	ERESTARTNOHAND = 514,
	ERESTART_RESTARTBLOCK = 516,
};

int arch_get_regs(pid_t tid, struct arch_regs *ret)
{
	struct iovec io = { &ret->u, sizeof(ret->u) };

	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &io) < 0)
		return -errno;
	return io.iov_len == sizeof(ret->u) ? 0 : -EOPNOTSUPP; /* shorter: a 32-bit task */
}

const char *const arch_task_regs[] = { "thread.fsbase", "thread.gsbase", "thread.ds", "thread.es", "thread.fsindex",
	"thread.gsindex", NULL };
const char *const arch_entry_regs[] = { "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx",
	"dx", "si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss", NULL };

/* genregs_get() in arch/x86/kernel/ptrace.c. Bases of segments may come from a table, and a step that was asked for is hidden */
bool arch_unpack_regs(const uint64_t *kept, struct arch_regs *ret)
{
	struct user_regs_struct *u = &ret->u;

	memcpy(u, kept + 6, 21 * sizeof(*kept)); /* they are in the same order */
	u->cs = (uint16_t)u->cs;
	u->ss = (uint16_t)u->ss;
	u->fs_base = kept[0];
	u->gs_base = kept[1];
	u->ds = kept[2];
	u->es = kept[3];
	u->fs = kept[4];
	u->gs = kept[5];
	return !u->fs && !u->gs && !(u->eflags & FLAG_TRAP) && u->cs == USER_CS;
}

int arch_set_regs(pid_t tid, const struct arch_regs *regs)
{
	struct iovec io = { (void *)&regs->u, sizeof(regs->u) };

	return ptrace(PTRACE_SETREGSET, tid, (void *)NT_PRSTATUS, &io) < 0 ? -errno : 0;
}

uint32_t arch_audit(void)
{
	return AUDIT_ARCH_X86_64;
}

bool arch_is_native(const struct arch_regs *regs)
{
	return regs->u.cs == USER_CS;
}

uint64_t arch_ip(const struct arch_regs *regs)
{
	return regs->u.rip;
}

void arch_set_ip(struct arch_regs *regs, uint64_t ip)
{
	regs->u.rip = ip;
}

uint64_t arch_sp(const struct arch_regs *regs)
{
	return regs->u.rsp;
}

enum interrupted arch_interrupted(const struct arch_regs *regs)
{
	if ((int64_t)regs->u.orig_rax < 0)
		return NOT_INTERRUPTED;
	switch (-(int64_t)regs->u.rax) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		return RESTARTS;
	case ERESTART_RESTARTBLOCK:
		return RESTARTS_BY_BLOCK;
	case EINTR:
		return GAVE_EINTR;
	default:
		return NOT_INTERRUPTED;
	}
}

long arch_syscall_nr(const struct arch_regs *regs)
{
	return (long)regs->u.orig_rax;
}

uint64_t arch_syscall_arg(const struct arch_regs *regs, unsigned int n)
{
	const uint64_t arg[6] = { regs->u.rdi, regs->u.rsi, regs->u.rdx, regs->u.r10, regs->u.r8, regs->u.r9 };

	return n < 6 ? arg[n] : 0;
}

void arch_set_syscall_nr(struct arch_regs *regs, long nr)
{
	regs->u.orig_rax = (uint64_t)nr;
}

void arch_set_syscall_arg(struct arch_regs *regs, unsigned int n, uint64_t value)
{
	__typeof__(regs->u.rdi) *const arg[6] = { &regs->u.rdi, &regs->u.rsi, &regs->u.rdx, &regs->u.r10, &regs->u.r8,
		&regs->u.r9 };

	if (n < 6)
		*arg[n] = value;
}

void arch_restart_call(struct arch_regs *regs)
{
	regs->u.rax = regs->u.orig_rax;
	regs->u.orig_rax = (uint64_t)-1;
	regs->u.rip -= 2;
}

void arch_call_home(struct stub_context *ctx, const struct arch_regs *regs)
{
	struct arch_regs r = *regs;
	enum interrupted how = arch_interrupted(regs);

	/* what arch_do_signal_or_restart() in arch/x86/kernel/signal.c does when no handler is to run */
	if (how == RESTARTS || how == RESTARTS_BY_BLOCK)
		arch_restart_call(&r);
	if (how == RESTARTS_BY_BLOCK)
		r.u.rax = SYS_restart_syscall;
	*ctx = (struct stub_context){
		.r15 = r.u.r15,
		.r14 = r.u.r14,
		.r13 = r.u.r13,
		.r12 = r.u.r12,
		.rbp = r.u.rbp,
		.rbx = r.u.rbx,
		.r11 = r.u.r11,
		.r10 = r.u.r10,
		.r9 = r.u.r9,
		.r8 = r.u.r8,
		.rax = r.u.rax,
		.rcx = r.u.rcx,
		.rdx = r.u.rdx,
		.rsi = r.u.rsi,
		.rdi = r.u.rdi,
		.rip = r.u.rip,
		.eflags = r.u.eflags,
		.rsp = r.u.rsp,
	};
}

void arch_enter_stub(
	struct arch_regs *regs, uint64_t code, uint64_t context, uint64_t calls, uint64_t n, bool store, int signo)
{
	regs->u.rip = code;
	regs->u.orig_rax = (uint64_t)-1; /* no system call is to be restarted */
	regs->u.rax = 0;
	regs->u.eflags &= ~(uint64_t)0x400; /* DF */
	regs->u.rbp = (uint64_t)-EINTR; /* until a call is made */
	regs->u.rbx = context;
	regs->u.r12 = calls;
	regs->u.r13 = n;
	regs->u.r14 = store;
	regs->u.r15 = (uint64_t)signo;
}

int64_t arch_stub_result(const struct arch_regs *regs)
{
	return (int64_t)regs->u.rbp;
}

ssize_t arch_find_syscall(const unsigned char *code, size_t len)
{
	for (size_t i = 0; i + 2 <= len; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			return (ssize_t)i;
	return -ENOENT;
}

void arch_set_syscall(struct arch_regs *regs, uint64_t ip, long nr, const uint64_t arg[6])
{
	regs->u.rip = ip;
	regs->u.rax = (uint64_t)nr;
	regs->u.orig_rax = (uint64_t)-1;
	regs->u.rdi = arg[0];
	regs->u.rsi = arg[1];
	regs->u.rdx = arg[2];
	regs->u.r10 = arg[3];
	regs->u.r8 = arg[4];
	regs->u.r9 = arg[5];
}

int64_t arch_result(const struct arch_regs *regs)
{
	return (int64_t)regs->u.rax;
}

void arch_set_result(struct arch_regs *regs, int64_t value)
{
	regs->u.rax = (uint64_t)value;
	regs->u.orig_rax = (uint64_t)-1;
}
