/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/remote.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "remote/go.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define VDSO_MAX  (64u << 10)
#define ROOM_CAVE (STUB_SIZE + sizeof(struct stub_call)) /* what is written to */

static uint64_t align(uint64_t at)
{
	return (at + 15) & ~(uint64_t)15;
}

/*
 * The section headers of the vdso serve debuggers that read it as a file; nothing at run time looks at them. They and the
 * zeros behind them to the end of the last page are more than the stub needs on every kernel since 6.1.
 */
static int find_cave(const struct room *room, const struct room_plan *plan, uint64_t *ret)
{
	Elf64_Ehdr eh;
	uint64_t size = plan->vdso_end.at - plan->vdso.at;

	if (!size)
		return -ENOSPC;
	int r = remote_read(room->pid, plan->vdso, &eh, sizeof(eh));
	if (r < 0)
		return r;
	if (size > VDSO_MAX || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64)
		return -ENOSPC;
	uint64_t at = align(eh.e_shoff);
	if (eh.e_shoff < sizeof(eh) || at > size || size - at < ROOM_CAVE)
		return -ENOSPC;
	*ret = plan->vdso.at + at;
	return 0;
}

int room_padding(struct taddr vdso, struct taddr vdso_end, struct taddr *ret_at, struct taddr *ret_end)
{
	const unsigned char *own = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	const uint64_t page = 4096, size = vdso_end.at - vdso.at;
	Elf64_Ehdr eh;

	if (!own || size > VDSO_MAX)
		return -ENOENT;
	memcpy(&eh, own, sizeof(eh));
	uint64_t at = eh.e_shoff + (uint64_t)eh.e_shentsize * eh.e_shnum, cave = align(eh.e_shoff) + ROOM_CAVE;
	if (eh.e_shoff < sizeof(eh) || eh.e_shoff > VDSO_MAX || (at + page - 1) / page * page != size)
		return -ENOENT;
	at = align(at > cave ? at : cave);
	for (uint64_t i = at; i < size; i++)
		if (own[i])
			return -ENOENT;
	if (at >= size)
		return -ENOENT;
	ret_at->at = vdso.at + at;
	*ret_end = vdso_end;
	return 0;
}

/* where the process has the vdso would take a look at all its mappings: a page that begins as ours does is less to read */
bool hold_in_vdso(const struct held *h)
{
	const unsigned char *own = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	const uint64_t page = 4096, ip = arch_ip(&h->regs);
	Elf64_Ehdr eh, there;

	if (!own)
		return false;
	memcpy(&eh, own, sizeof(eh));
	for (uint64_t at = ip - ip % page; at <= ip && ip - at < eh.e_shoff && ip - at < VDSO_MAX; at -= page)
		if (remote_read(h->tid, (struct taddr){ at }, &there, sizeof(there)) == 0 &&
			memcmp(&there, &eh, sizeof(eh)) == 0)
			return true;
	return false;
}

/* one call without scratch memory: it lies behind the code, its result comes back in a register; the thread stays away */
static int bare_call(const struct room *room, struct held *h, long nr, const uint64_t arg[6])
{
	struct stub_call call = { .nr = (uint32_t)nr };
	struct taddr at = { room->code.at + STUB_SIZE };
	struct arch_regs regs;

	memcpy(call.arg, arg, sizeof(call.arg));
	int r = pwrite_all(room->mem, &call, sizeof(call), (off_t)at.at);
	if (r == 0)
		r = stub_go(h, room, at, 1, false);
	if (r == 0)
		r = stub_wait(h, room, &regs);
	if (r < 0)
		return r;
	int64_t ret = arch_stub_result(&regs);
	return ret < 0 && ret >= -4095 ? (int)ret : 0;
}

/*
 * The best signal of a mask: one that the kernel sends by itself for something harmless, else any. Sending SIGCONT
 * continues a stopped process: only for one that is not.
 */
static int pick_signal(uint64_t mask, bool stopped)
{
	static const int by_liking[] = { SIGURG, SIGWINCH, SIGCHLD, SIGCONT };
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };

	if (stopped)
		mask &= ~(1ull << (SIGCONT - 1));
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) /* that of a fault would not tell which it is */
		mask &= ~(1ull << (faults[i] - 1));
	for (size_t i = 0; i < ARRAY_SIZE(by_liking); i++)
		if (mask & 1ull << (by_liking[i] - 1))
			return by_liking[i];
	for (int s = 64; s > 0; s--)
		if (mask & 1ull << (s - 1))
			return s;
	return -EBUSY;
}

/*
 * A stasis that was killed may have left its stub, which harms nobody: the bytes that belong there are those of our own
 * vdso, as it is the same kernel.
 */
static void heal(struct room *room, const struct room_plan *plan)
{
	const unsigned char *own = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	uint64_t offset = room->code.at - plan->vdso.at;

	if (own && memcmp(room->was, stub_begin, (size_t)(stub_context - stub_begin)) == 0)
		memcpy(room->was, own + offset, room->was_len);
}

bool room_has_guest(pid_t pid, const struct room_plan *plan, const struct held *h)
{
	const struct room room = { .pid = pid };
	const uint64_t ip = arch_ip(&h->regs);
	uint64_t at;

	return ip >= plan->vdso.at && ip < plan->vdso_end.at && find_cave(&room, plan, &at) == 0 && ip >= at;
}

int room_dig(struct room *room, pid_t pid, int mem, const struct room_plan *plan)
{
	struct taddr code = { 0 };

	*room = (struct room){
		.pid = pid, .mem = mem, .signo = pick_signal(plan->ignored, plan->stopped), .data = plan->scratch
	};
	if (room->signo < 0)
		return room->signo;
	int r = find_cave(room, plan, &code.at);
	if (r < 0)
		return r;
	room->was_len = ROOM_CAVE;
	if (room->was_len > sizeof(room->was))
		return -ENOSPC;
	r = remote_read(pid, code, room->was, room->was_len);
	if (r < 0)
		return r;
	room->code = code;
	heal(room, plan);
	return pwrite_all(mem, stub_begin, STUB_SIZE, (off_t)code.at);
}

#define MAP_SCRATCH \
	PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, (uint64_t)-1

/* what the stub does besides the calls of a batch, the way home included; the signal that it stops by comes last */
static int judge_stub(const struct room *room, const struct held *h)
{
	const struct call_judge *j = h->judge;
	const uint64_t mask = stub_way_home(h, room) + offsetof(struct stub_context, sigmask);
	const struct stub_call call[] = {
		{ .nr = SYS_mmap, .arg = { room->data.at, ROOM_DATA, MAP_SCRATCH } },
		{ .nr = SYS_munmap, .arg = { room->data.at, ROOM_DATA } },
		{ .nr = SYS_rt_sigprocmask, .arg = { SIG_SETMASK, mask, 0, 8 } },
		{ .nr = SYS_gettid },
		{ .nr = SYS_tkill, .arg = { j ? (uint64_t)j->vtid : 0, (uint64_t)room->signo } },
	};
	static const char *const what[] = { "map memory for stasis", "unmap memory of stasis", "set its signal mask",
		"ask for its id", "stop by a signal" };
	const struct stub_call *calls[ARRAY_SIZE(call)];

	for (size_t i = 0; i < ARRAY_SIZE(call); i++)
		calls[i] = &call[i];
	return j ? j->allows(j, calls, what, ARRAY_SIZE(call)) : 0;
}

int room_enter(struct room *room, struct held *h)
{
	const uint64_t map[6] = { room->data.at, ROOM_DATA, MAP_SCRATCH };
	int r = judge_stub(room, h);

	if (r < 0)
		return r;
	r = bare_call(room, h, SYS_mmap, map);

	if (r < 0)
		room_leave(room, h);
	return r;
}

int room_take_over(struct room *room, struct held *h, struct held *from)
{
	h->context = (from->context + 1) % STUB_CONTEXTS;
	int r = judge_stub(room, h);
	if (r == 0)
		r = stub_enter(h, room, room->data, 0, false);
	if (r == 0)
		r = stub_leave(from);
	if (r == 0)
		stop_give_back(from);
	return r;
}

int room_leave(struct room *room, struct held *h)
{
	const uint64_t unmap[6] = { room->data.at, ROOM_DATA };

	if (!h->away || h->gone)
		return 0;
	int r = bare_call(room, h, SYS_munmap, unmap);
	if (r < 0 && r != -ESRCH)
		r = bare_call(room, h, SYS_munmap, unmap); /* once more: nothing may stay behind */
	if (r == -ESRCH)
		return r;
	/* if it could not be unmapped the thread goes home by itself, and tries as well */
	int back = r < 0 ? r : stub_leave(h);
	if (back < 0)
		room->inhabited = true;
	else
		stop_give_back(h);
	return back;
}

int room_fill(struct room *room)
{
	if (!room->code.at || room->inhabited)
		return 0;
	int r = pwrite_all(room->mem, room->was, room->was_len, (off_t)room->code.at);
	if (r < 0)
		r = pwrite_all(room->mem, room->was, room->was_len, (off_t)room->code.at);
	room->code.at = 0;
	return r;
}
