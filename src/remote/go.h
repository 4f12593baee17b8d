/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Private to the room: sending one thread through the stub and having it back.
 *
 * When saving, the order of the steps matters: at each of them stasis may be killed.
 *
 *   way home written, call written    the program has not been touched
 *   registers set to the stub         from here an untraced thread makes its calls (which only look) and goes home: that
 *                                     unmaps the scratch memory, sets the mask, and restores the registers
 *   signals blocked                   the same
 *   scratch memory mapped             the same
 *   batches                           the same
 *   scratch memory unmapped           the same
 *   mask put back                     the same
 *   registers put back                the program has not been touched
 *
 * Where a thread takes over, its registers are set to the stub before those of the one before it are put back. Both go home
 * then, and each unmaps the scratch memory, which neither uses any more.
 */
#include "remote/remote.h"

#define STUB_SIZE ((uint64_t)(stub_end - stub_begin))

/** stub_way_home() - where that of @h lies in the task: a struct stub_context */
uint64_t stub_way_home(const struct held *h, const struct room *room);

/** stub_enter() - @h is to go on in the stub, with @n calls at @calls: where it is let go it makes them, and goes home */
int stub_enter(struct held *h, const struct room *room, struct taddr calls, unsigned int n, bool store);

/** stub_go() - set @h going on @n calls at @calls; @store: their results are written there */
int stub_go(struct held *h, const struct room *room, struct taddr calls, unsigned int n, bool store);

/**
 * room_padding() - of the mapping of a vdso the zeros at its end that no stub is put into: 16-aligned; -ENOENT
 * By our own, which is the same in every process.
 */
int room_padding(struct taddr vdso, struct taddr vdso_end, struct taddr *ret_at, struct taddr *ret_end);

/**
 * stub_wait() - until the stub in @room has stopped, or with NULL the task by SIGTRAP; -ESRCH when the task died, -EFAULT when the
 * stub faulted. A traced task stops by signals that it ignores as well, and anybody may send that by which the stub stops: it has
 * stopped where it stops, and nowhere else. @ret: the registers that it has there; NULL, or in a @room.
 */
int stub_wait(struct held *h, const struct room *room, struct arch_regs *ret);

/**
 * stop_give_back() - send it the SIGSTOP that it took while it ran a batch, unless a SIGCONT came since
 * As early as it makes no more batches: from then on the kernel sees to the order of the two.
 */
void stop_give_back(struct held *h);

/** wait_for() - waitpid(2) with a deadline; polls: yields first, as a stop is mostly a matter of microseconds. -ETIMEDOUT */
int wait_for(pid_t tid, unsigned int timeout_ms, int *status);

/** stub_leave() - when saving: put mask and registers back */
int stub_leave(struct held *h);
