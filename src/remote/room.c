/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/remote.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "remote/go.h"

#define VDSO_MAX (64u << 10)

/*
 * The section headers of the vdso serve debuggers that read it as a file; nothing at run time looks at them. They and the
 * zeros behind them to the end of the last page are more than the stub needs on every kernel since 6.1.
 */
static int find_cave(const struct room *room, const struct cave *cave, uint64_t *ret)
{
	Elf64_Ehdr eh;
	uint64_t size = cave->vdso_end.at - cave->vdso.at;

	int r = remote_read(room->pid, cave->vdso, &eh, sizeof(eh));
	if (r < 0)
		return r;
	if (size > VDSO_MAX || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
		return -ENOSPC;
	uint64_t at = (eh.e_shoff + 15) & ~(uint64_t)15;
	if (eh.e_shoff < sizeof(eh) || at > size || size - at < STUB_SIZE + sizeof(struct stub_call))
		return -ENOSPC;
	*ret = cave->vdso.at + at;
	return 0;
}

/* one call without scratch memory: it lies behind the code, its result comes back in a register */
static int bare_call(const struct room *room, struct held *h, long nr, const uint64_t arg[6], int64_t *ret)
{
	struct stub_call call = { .nr = (uint32_t)nr };
	struct taddr at = { room->code.at + STUB_SIZE };

	memcpy(call.arg, arg, sizeof(call.arg));
	int r = pwrite_all(room->mem, &call, sizeof(call), (off_t)at.at);
	if (r == 0)
		r = stub_go(h, room, at, 1, false);
	if (r == 0)
		r = stub_wait(h, room->signo);
	if (r == -ESRCH)
		return r;
	struct arch_regs regs;
	int got = arch_get_regs(h->tid, &regs);
	int back = stub_leave(h, room);
	if (back < 0)
		return back;
	if (r < 0 || got < 0)
		return r < 0 ? r : got;
	*ret = arch_stub_result(&regs);
	return *ret < 0 && *ret >= -4095 ? (int)*ret : 0;
}

/*
 * The best signal of a mask: one that the kernel sends by itself for something harmless, else any. Sending SIGCONT
 * continues a stopped process: only for one that is not.
 */
static int pick_signal(uint64_t mask, bool stopped)
{
	static const int by_liking[] = { SIGURG, SIGWINCH, SIGCHLD, SIGCONT };

	if (stopped)
		mask &= ~(1ull << (SIGCONT - 1));
	for (size_t i = 0; i < ARRAY_SIZE(by_liking); i++)
		if (mask & 1ull << (by_liking[i] - 1))
			return by_liking[i];
	for (int s = 64; s > 0; s--)
		if (mask & 1ull << (s - 1))
			return s;
	return -EBUSY;
}

static int look_for_leftover(const struct room *room, struct cave *cave)
{
	struct stub_context ctx;

	cave->left = cave->left_end = (struct taddr){ 0 };
	if (memcmp(room->was, stub_begin, (size_t)(stub_context - stub_begin)) != 0)
		return 0;
	memcpy(&ctx, room->was + (stub_context - stub_begin), sizeof(ctx));
	cave->left.at = ctx.scratch;
	cave->left_end.at = ctx.scratch + ctx.scratch_len;
	return 0;
}

int room_dig(struct room *room, struct held *h, int mem, struct cave *cave, uint64_t ignored)
{
	*room = (struct room){ .pid = h->tid, .mem = mem, .signo = pick_signal(ignored, h->stopped) };
	if (room->signo < 0)
		return room->signo;
	int r = find_cave(room, cave, &room->code.at);
	if (r < 0)
		return r;
	room->was_len = cave->vdso_end.at - room->code.at;
	if (room->was_len > sizeof(room->was))
		room->was_len = sizeof(room->was);
	r = remote_read(room->pid, room->code, room->was, room->was_len);
	if (r == 0)
		r = look_for_leftover(room, cave);
	if (r == 0)
		r = pwrite_all(mem, stub_begin, STUB_SIZE, (off_t)room->code.at);
	if (r < 0)
		return r;
	const uint64_t map[6] = { 0, ROOM_DATA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		(uint64_t)-1, 0 };
	int64_t at = 0;
	r = bare_call(room, h, SYS_mmap, map, &at);
	if (r == 0)
		room->data.at = (uint64_t)at;
	else
		room_fill(room, h);
	return r;
}

int room_fill(struct room *room, struct held *h)
{
	int r = 0;
	int64_t ret;

	if (!room->code.at || h->gone)
		return 0;
	if (room->data.at) {
		const uint64_t unmap[6] = { room->data.at, ROOM_DATA };

		room->data.at = 0; /* the way home must not unmap it again */
		r = bare_call(room, h, SYS_munmap, unmap, &ret);
	}
	if (r != -ESRCH) {
		int back = pwrite_all(room->mem, room->was, room->was_len, (off_t)room->code.at);
		if (r == 0)
			r = back;
	}
	room->code.at = 0;
	return r;
}
