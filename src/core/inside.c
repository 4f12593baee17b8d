/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that nobody can read but who has it mapped: the process itself copies it to the scratch memory of the stub, from which
 * it can be read. It cannot be done when the pages are written, as then the stub is gone: so it is kept here until then.
 */
#include "core/core.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/cleanup.h"

#define INSIDE_MOST (64ull << 20) /* of all together: it is kept in memory */

/*
 * The source is read as the process itself reads it, the target is written as by a debugger. What the program has protected is
 * readable for the moment: a batch that has begun runs to its end.
 */
static struct stub_call *add_copy(
	struct batch *b, pid_t vtid, const struct proc_vma *v, uint64_t at, size_t len, unsigned char **ret)
{
	const struct iovec from = { (void *)at, len }, to = { (void *)batch_out(b, len, ret).at, len };
	const uint64_t size = v->end - v->start;
	bool is_hidden = !(v->prot & PROC_READ);

	if (is_hidden)
		BATCH_MUST(b, "read secret memory", SYS_mprotect, v->start, size, v->prot | PROT_READ);
	struct taddr source = batch_in(b, &from, sizeof(from)), target = batch_in(b, &to, sizeof(to));
	struct stub_call *call = BATCH_CALL(
		b, "copy secret memory", SYS_process_vm_writev, (uint64_t)vtid, source.at, 1, target.at, 1, 0);
	if (is_hidden)
		BATCH_CALL(b, "protect secret memory again", SYS_mprotect, v->start, size, v->prot);
	return call;
}

static uint64_t read_so_far(const struct checkpoint *c)
{
	struct backing *const *b = c->backings.at;
	uint64_t sum = 0;

	for (size_t i = 0; i < c->backings.n; i++)
		sum += b[i]->inside;
	return sum;
}

int read_inside(const struct checkpoint *c, struct process *p, const struct proc_vma *v, uint64_t at, size_t len,
	unsigned char **ret)
{
	const struct thread *t = p->threads.at;
	struct batch b;

	if (read_so_far(c) + len > INSIDE_MOST)
		return refuse(c->op, "secret-large", "more than 64 MiB of memory that only it can read",
			"have it keep the descriptor open", "maps secret memory (memfd_secret), and has closed it");
	batch_init(&b, &c->op->arena, &p->room, (struct held *)&t[0].held);
	struct stub_call *call = add_copy(&b, t[0].vtid, v, at, len, ret);
	int r = batch_run(&b);
	if (r == 0 && call->ret != (int64_t)len)
		r = call->ret < 0 ? (int)call->ret : -EFAULT;
	if (r == -EPERM || r == -EFAULT) /* sealed, or behind a protection key */
		return refuse(c->op, "secret-protected", strerror(-r), "have it keep the descriptor open",
			"maps secret memory (memfd_secret) that it may not read itself, and has closed it");
	return r < 0 ? fail(c->op, r, "have it copy memory that only it can read") : 0;
}
