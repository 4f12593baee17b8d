/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last stages: the task kinds join what exists now, then give each thread its last touch; then the stub goes, and the
 * program runs.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/bond.h"

static int touch(struct restart *r, const struct pieces *parts, struct batch *b, struct patient *p, enum stage stage)
{
	for (size_t i = 0; i < parts->n; i++) {
		const struct kind *k = parts->at[i].kind;
		int (*const fn[])(struct op *, void *, struct site *) = { k->restore, k->link, k->settle, k->leave };
		struct object *o = parts->at[i].object;

		if (!fn[stage])
			continue;
		if (stage != STAGE_RESTORE && o->last != p) /* the last of those that share it does it for all */
			continue;
		int e = fn[stage](r->op, parts->at[i].rec, &r->site);
		if (e == 0 && !batch_has_room(b, 128, 8192))
			e = run_batch(r, p, b);
		if (e < 0)
			return e;
	}
	return 0;
}

static int link_descriptors(struct restart *r, struct patient *p, struct batch *b)
{
	const struct fd_record *f = p->fdtable->fds.at;
	int e = 0;

	for (size_t i = 0; i < p->fdtable->fds.n && e == 0; i++) {
		struct object *o = find_object(r, f[i].file);

		if (!o->kind->link)
			continue;
		r->site.here = o->fd;
		r->site.number = (int)f[i].n;
		e = o->kind->link(r->op, o->rec, &r->site);
		if (e == 0 && !batch_has_room(b, 128, 8192))
			e = run_batch(r, p, b);
	}
	return e;
}

static bool links(struct restart *r, const struct patient *p)
{
	const struct fd_record *f = p->fdtable->fds.at;

	for (size_t i = 0; i < p->fdtable->fds.n; i++)
		if (find_object(r, f[i].file)->kind->link)
			return true;
	return false;
}

/* what the first thread does may concern the others, or be done by them; processes that share memory have one room */
static bool is_alone(struct restart *r, const struct patient *p, size_t n, enum stage stage)
{
	return (n == p->first && p->rec->threads.n > 1) || !has_own_memory(r, p) || stage == STAGE_LEAVE ||
	       (stage == STAGE_LINK && links(r, p));
}

/* asked by the last batch of those who are to give up the zone: may a signal SIGTRAP be raised, or would that change its action? */
static void ask_for_trap(struct restart *r, struct patient *p, struct batch *b)
{
	p->trap = NULL;
	if (!is_last_in(r, p))
		return;
	struct taddr out = batch_out(b, ACTION_BYTES, &p->trap);
	BATCH_MUST(b, "read a signal action", SYS_rt_sigaction, SIGTRAP, 0, out.at, 8);
}

int add_stage(struct restart *r, struct patient *p, size_t n, struct batch *b, enum stage stage)
{
	const struct thread_record *t = (const struct thread_record *)p->rec->threads.at + n;
	struct held *h = &p->threads[n];
	int e = 0;

	WHERE(r->op, "thread", t->tid);
	r->site.batch = b;
	r->site.pid = p->pid;
	r->site.tid = h->tid;
	r->site.vpid = p->rec->pid;
	r->site.vtid = t->tid;
	r->site.first = n == p->first;
	r->site.held = h;
	r->site.owners = p->owners;
	r->site.regs = &p->regs[n];
	r->site.sigmask = &p->sigmasks[n];
	r->site.nap = &p->naps[n];
	r->site.syscall = p->syscall;
	if (n == p->first && stage == STAGE_LINK)
		e = link_descriptors(r, p, b);
	if (e == 0 && n == p->first && stage != STAGE_RESTORE) /* that of processes came with their memory */
		e = touch(r, &p->parts, b, p, stage);
	if (e == 0 && n == p->first && stage == STAGE_SETTLE)
		ask_for_trap(r, p, b);
	return e < 0 ? e : touch(r, &p->thread_parts[n], b, p, stage);
}

static int touch_thread(struct restart *r, struct patient *p, size_t n, enum stage stage)
{
	struct batch b;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[n]);
	int e = add_stage(r, p, n, &b, stage);
	return e < 0 ? e : run_batch(r, p, &b);
}

/* Has it, as no first thread, nothing that others wait for? Then it gets all of it with its last batch. */
static bool is_late(const struct patient *p, size_t n)
{
	return n != p->first && !p->thread_parts[n].concerns_all;
}

static int add_late(struct restart *r, struct patient *p, size_t n, struct batch *b)
{
	int e = add_stage(r, p, n, b, STAGE_RESTORE);

	return e < 0 ? e : add_stage(r, p, n, b, STAGE_LINK);
}

static int send_off(struct restart *r, struct flights *all, struct patient *p, size_t n, enum stage stage)
{
	bool alone = is_alone(r, p, n, stage);
	struct flight *f;
	int e = alone ? flights_land(r, all) : 0;

	if (e == 0)
		e = flights_board(r, all, p, n, &f);
	if (e < 0)
		return e;
	WHERE_PATIENT(r, p);
	if (is_late(p, n) && stage == STAGE_SETTLE)
		e = add_late(r, p, n, &f->batch);
	if (e == 0)
		e = add_stage(r, p, n, &f->batch, stage);
	if (e == 0)
		e = flight_start(r, f);
	return e < 0 || !alone ? e : flights_land(r, all);
}

/* other threads before the first: what the first does last may concern them all */
static int touch_all(struct restart *r, enum stage stage)
{
	struct patient **p = r->patients.at;
	struct flights all = { .width = ROOMS };

	for (size_t i = 0; i < r->patients.n; i++) {
		if (p[i]->rec->flags & TASK_ZOMBIE || (stage == STAGE_RESTORE && p[i]->restored))
			continue;
		for (size_t n = p[i]->rec->threads.n; n-- > p[i]->first;) {
			bool later = is_late(p[i], n) && stage < STAGE_SETTLE;
			int e = later ? 0 : send_off(r, &all, p[i], n, stage);

			if (e < 0)
				return e;
		}
	}
	return flights_land(r, &all);
}

static bool is_file(const struct kind *k)
{
	return k && (k->scope == SCOPE_FD || k->scope == SCOPE_MEM);
}

static int settle_file(struct restart *r, const struct object *o)
{
	r->site.owners = o->owners;
	return o->kind->settle(r->op, o->rec, &r->site);
}

/* last of all, as it changes files; what is mapped first: it can still fail, and changes nothing that was there before */
int settle_files(struct restart *r)
{
	struct object *o = r->objects.at;
	int e = 0;

	for (int files = 0; files < 2; files++)
		for (size_t i = 0; i < r->objects.n && e == 0; i++)
			if (is_file(o[i].kind) && (o[i].kind->scope == SCOPE_FD) == files && o[i].kind->settle)
				e = settle_file(r, &o[i]);
	for (size_t i = 0; i < r->objects.n; i++)
		o[i].fd = o[i].fd >= 0 ? fd_close(o[i].fd) : -EBADF;
	return e;
}

static int has_no_vdso(struct restart *r)
{
	return fail_as(r->op, OUTCOME_CANNOT, "no-vdso", NULL, "leave it: it has no vdso");
}

/*
 * Who was stepped goes on stepping, and dies of it, when it is let go by the end of its tracer instead of by him (exit_ptrace() in
 * kernel/ptrace.c). So it is not for several processes, of which some may have been let go when we are killed.
 */
static bool may_step(const struct restart *r, const struct patient *p)
{
	return (r->own_pidns || r->patients.n == 1) && p->trap && *p->trap != (uint64_t)(uintptr_t)SIG_IGN;
}

static int start_taking(struct restart *r, struct patient *p)
{
	const uint64_t arg[6] = { r->zone, r->zone_end - r->zone };

	WHERE_PATIENT(r, p);
	if (!p->syscall.at)
		return has_no_vdso(r);
	int e = remote_call_start(&p->threads[p->first], p->syscall, SYS_munmap, arg, may_step(r, p));
	return e < 0 ? fail(r->op, e, "take the stub out of the process") : 0;
}

static int finish_taking(struct restart *r, struct patient *p)
{
	int64_t ret = 0;

	WHERE_PATIENT(r, p);
	int e = remote_call_finish(&p->threads[p->first], p->syscall, may_step(r, p), &ret);
	if (e == 0)
		e = (int)ret;
	return e < 0 ? fail(r->op, e, "take the stub out of the process") : 0;
}

/*
 * It has made all that the process has. It ends before a signal for its end is put on its children, which others inherit, and
 * before anything is made that only one that lives can have.
 */
static int end_leader(struct restart *r, struct patient *p)
{
	struct site_task *t = map_get(&r->site.task_by_vpid, (uint64_t)p->rec->pid);
	int e = 0;

	p->first = 1;
	p->room.pid = p->threads[p->first].tid;
	t->held = &p->threads[p->first];
	for (enum stage stage = STAGE_RESTORE; stage <= STAGE_SETTLE && e == 0; stage++)
		e = touch_thread(r, p, 0, stage);
	if (e < 0 || !p->syscall.at)
		return e < 0 ? e : has_no_vdso(r);
	e = remote_exit(&p->threads[0], p->syscall, WEXITSTATUS(p->rec->exit_code));
	return e < 0 ? fail(r->op, e, "end its first thread") : 0;
}

static int end_leaders(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (!(p[i]->rec->flags & TASK_LEADER_GONE))
			continue;
		WHERE_PATIENT(r, p[i]);
		e = end_leader(r, p[i]);
	}
	return e;
}

static int dress(struct restart *r, struct patient *p, size_t n)
{
	if (!arch_is_native(&p->regs[n]))
		return fail_as(r->op, OUTCOME_IMAGE, "image", NULL,
			"let thread %d go on: the image has no registers of it", p->threads[n].tid);
	int e = check_stop(r, p, n);
	if (e < 0)
		return e;
	dress_nap(r, p, n);
	e = arch_set_regs(p->threads[n].tid, &p->regs[n]);
	if (e == -EIO) /* addresses that no program can have, in FS and GS base */
		return fail_as(r->op, OUTCOME_IMAGE, "image", NULL,
			"load the registers of thread %d: the kernel refuses them", p->threads[n].tid);
	if (e == 0 && ptrace(PTRACE_SETSIGMASK, p->threads[n].tid, (void *)sizeof(uint64_t), &p->sigmasks[n]) < 0)
		e = -errno;
	return e < 0 ? fail(r->op, e, "load the registers of thread %d", p->threads[n].tid) : 0;
}

/* nothing of ours is in them any more */
static int take_rooms_away(struct restart *r)
{
	int (*const step[])(struct restart *, struct patient *) = { start_taking, finish_taking };
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t k = 0; k < ARRAY_SIZE(step); k++)
		for (size_t i = 0; i < r->patients.n && e == 0; i++)
			if (is_last_in(r, p[i]))
				e = step[k](r, p[i]);
	return e;
}

static int dress_all(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (p[i]->rec->flags & TASK_ZOMBIE)
			continue;
		WHERE_PATIENT(r, p[i]);
		for (size_t n = p[i]->first; n < p[i]->n_threads && e == 0; n++)
			e = dress(r, p[i], n);
	}
	return e;
}

int settle_all(struct restart *r)
{
	int e = end_leaders(r);

	if (e == 0)
		e = stop_tasks(r);
	if (e == 0)
		e = touch_all(r, STAGE_RESTORE);
	if (e == 0)
		e = protect_memory(r);
	if (e == 0)
		e = touch_all(r, STAGE_LINK);
	if (e == 0)
		e = finish_memory(r);
	if (e == 0)
		e = touch_all(r, STAGE_SETTLE);
	if (e == 0)
		e = take_rooms_away(r);
	if (e == 0)
		e = touch_all(r, STAGE_LEAVE);
	return e < 0 ? e : dress_all(r);
}

/* a task that is not let go would be ended when we end */
static int let_go(struct restart *r, pid_t tid)
{
	for (int turn = 0; turn < 3; turn++)
		if (ptrace(PTRACE_DETACH, tid, NULL, NULL) == 0 || errno == ESRCH)
			return 0;
	return fail(r->op, -errno, "let thread %d go", tid);
}

/* when we end it is to be let go, instead of ended */
static int spare(struct restart *r, pid_t tid)
{
	(void)r;
	ptrace(PTRACE_SETOPTIONS, tid, NULL, NULL);
	return 0;
}

static int each_thread(struct restart *r, int (*fn)(struct restart *r, pid_t tid))
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		for (size_t n = 0; n < p[i]->n_threads && e == 0; n++)
			if (!p[i]->threads[n].gone)
				e = fn(r, p[i]->threads[n].tid);
	}
	return e;
}

static size_t list_living(struct restart *r, pid_t *pid)
{
	struct patient **p = r->patients.at;
	size_t n = 0;

	for (size_t i = 0; i < r->patients.n; i++)
		if (p[i]->n_threads && !p[i]->threads[0].gone)
			pid[n++] = p[i]->pid;
	return n;
}

/*
 * Each thread goes on where it was. PTRACE_O_EXITKILL goes from one thread after the other, and when we are killed meanwhile
 * that must not be the end of a part of the program: a bond takes its place until it has gone from all. A single process
 * ends as a whole anyway, and so does a nest. Where no bond can be had, it is how it is without.
 */
int depart(struct restart *r)
{
	pid_t *pid = arena_array(&r->op->arena, r->patients.n + 1, sizeof(*pid));
	size_t n = list_living(r, pid);
	struct bond bond;

	if (n > 1 && !r->own_pidns && bond_tie(&bond, &r->op->arena, pid, n) == 0) {
		each_thread(r, spare);
		bond_cut(&bond);
	}
	return each_thread(r, let_go);
}
