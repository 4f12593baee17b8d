/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long calls have slept, from one stop to the next: what is in the program about it (remote/memo.c) belongs to an
 * address space, and to all processes that have it.
 */
#include "core/rebuild.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"

/* ---- saving ---- */

static void find_memos(const struct process *p)
{
	const struct proc_vma *v = p->vmas.at;

	for (size_t i = 0; i < p->vmas.n; i++)
		if (strcmp(v[i].name, "[vdso]") == 0)
			memos_find(p->memos, (struct taddr){ v[i].start }, (struct taddr){ v[i].end });
}

void recall_naps(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		struct thread *t = p[i]->threads.at;

		if (p[i]->zombie)
			continue;
		struct process *first = first_sharer(p[i], CLONE_VM);
		if (!first->memos) {
			first->memos = arena_alloc(&c->op->arena, sizeof(struct memos));
			find_memos(first);
		}
		p[i]->memos = first->memos;
		for (size_t k = 0; k < p[i]->threads.n; k++) {
			const uint64_t takes = ~t[k].held.sigmask;

			p[i]->takers[1] |= p[i]->takers[0] & takes;
			p[i]->takers[0] |= takes;
			memos_take(p[i]->memos, &t[k].held.regs);
			if (t[k].nap)
				nap_recall(t[k].nap, p[i]->memos, &t[k].held);
		}
	}
}

/* signals sent to the process that another thread could take as well */
static uint64_t taken_by_others(const struct process *p, const struct thread *t)
{
	return p->takers[1] | (p->takers[0] & t->held.sigmask);
}

void end_by_signal(const struct process *p, struct thread *t)
{
	const uint64_t caught = p->status.sigcgt;

	if (!t->held.again || !hold_unmend(&t->held, caught, caught & ~taken_by_others(p, t)))
		return;
	t->nap = NULL;
	if (!t->held.away) /* else it gets them with its mask, when it comes home */
		arch_set_regs(t->tid, &t->held.regs);
}

void leave_nap(const struct process *p, struct thread *t)
{
	struct held *h = &t->held;

	if (!p->memos || !h->still || h->away || h->gone)
		return;
	end_by_signal(p, t);
	if (!t->nap || !t->nap->since)
		return;
	_cleanup_close_ int dir = proc_open_thread(p->dir, t->tid);
	if (nap_go_on(t->nap, p->memos, t->tid, &h->regs, dir) > 0)
		arch_set_regs(h->tid, &h->regs);
}

/* ---- restarting ---- */

/* the first of those that share it has them */
static struct memos *memos_of(struct restart *r, const struct patient *p)
{
	struct patient *first = find_object(r, p->rec->mm)->first;
	struct memos *m = &first->memos;

	if (!m->n)
		memos_find(m, first->vdso, first->vdso_end);
	return m;
}

void dress_nap(struct restart *r, struct patient *p, size_t n)
{
	const pid_t tid = p->threads[n].tid;
	const struct nap *nap = &p->naps[n];

	if (!nap->since)
		return;
	_cleanup_close_ int procfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int process = proc_open(procfd, tid);
	_cleanup_close_ int dir = proc_open_thread(process, tid);
	int e = nap_go_on(nap, memos_of(r, p), tid, &p->regs[n], dir);
	if (e < 0 && nap->in == NAP_IN_MEMORY)
		note(r->op, "thread %d sleeps in a call that begins anew: there is no place for the time that was left",
			tid);
}
