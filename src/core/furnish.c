/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What processes get once all of them exist: their end for those that are zombies, descriptors, process groups, threads.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/rights.h"

#define FDS_A_MESSAGE	253 /* SCM_MAX_FD */
#define STOP_TIMEOUT_MS 10000

/* ---- zombies ---- */

/* one that ignores the end of a child would have no zombie: it does again when they are there */
static int calm_parent(struct restart *r, struct patient *p)
{
	const uint64_t normal[4] = { 0 };
	struct batch b;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[0]);
	BATCH_MUST(&b, "put off a signal action", SYS_rt_sigaction, SIGCHLD, batch_in(&b, normal, ACTION_BYTES).at,
		batch_out(&b, ACTION_BYTES, &p->sigchld).at, 8);
	return run_batch(r, p, &b);
}

static int end_zombie(struct restart *r, struct patient *p)
{
	struct batch b;
	int calm = p->parent ? calm_parent(r, p->parent) : 0;
	int code = p->rec->exit_code, status;
	struct held *h = &p->threads[0];
	char comm[16] = "";

	if (calm < 0)
		return calm;
	batch_init(&b, &r->op->arena, &p->room, h);
	strncpy(comm, p->rec->comm, sizeof(comm) - 1);
	BATCH_CALL(&b, "name it", SYS_prctl, PR_SET_NAME, batch_in(&b, comm, sizeof(comm)).at);
	if (WIFSIGNALED(code)) {
		const uint64_t no_core[2] = { 0, 0 };

		BATCH_CALL(&b, "forbid a core file", SYS_setrlimit, 4, batch_in(&b, no_core, sizeof(no_core)).at);
		int e = run_batch(r, p, &b);
		const uint64_t none = 0;
		if (e < 0)
			return e;
		if (ptrace(PTRACE_SETSIGMASK, h->tid, (void *)sizeof(none), &none) < 0 ||
			ptrace(PTRACE_CONT, h->tid, NULL, (void *)(long)WTERMSIG(code)) < 0)
			return fail(r->op, -errno, "end it by signal %d", WTERMSIG(code));
	} else {
		BATCH_CALL(&b, "end it", SYS_exit_group, (uint64_t)WEXITSTATUS(code));
		int e = batch_start(&b);
		if (e < 0)
			return fail(r->op, e, "end it");
	}
	do {
		if (waitpid(p->pid, &status, __WALL) < 0 && errno != EINTR)
			return fail(r->op, -errno, "wait for its end");
		if (WIFSTOPPED(status))
			ptrace(PTRACE_CONT, h->tid, NULL, (void *)(long)(status >> 16 ? 0 : WSTOPSIG(status)));
	} while (WIFSTOPPED(status));
	h->gone = true;
	return 0;
}

/* a ghost leaves no trace: who made it waits for it, if that is no init */
static int forget_ghost(struct restart *r, struct patient *p)
{
	struct batch b;

	if (!p->parent)
		return 0;
	batch_init(&b, &r->op->arena, &p->parent->room, &p->parent->threads[0]);
	BATCH_MUST(&b, "wait for the end of a ghost", SYS_wait4, (uint64_t)p->rec->pid, 0, __WALL);
	return run_batch(r, p->parent, &b);
}

/* the parent was told of an end that it has long heard of: forget that signal */
static int hush_parent(struct restart *r, struct patient *p)
{
	const uint64_t ignore[4] = { (uint64_t)(uintptr_t)SIG_IGN };
	struct batch b;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[0]);
	BATCH_MUST(&b, "forget a signal", SYS_rt_sigaction, SIGCHLD, batch_in(&b, ignore, sizeof(ignore)).at, 0, 8);
	BATCH_MUST(&b, "put back a signal action", SYS_rt_sigaction, SIGCHLD, batch_in(&b, p->sigchld, ACTION_BYTES).at,
		0, 8);
	return run_batch(r, p, &b);
}

static int end_zombies(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (!(p[i]->rec->flags & TASK_ZOMBIE))
			continue;
		WHERE_PATIENT(r, p[i]);
		e = end_zombie(r, p[i]);
		if (e == 0 && p[i]->birth->ghost)
			e = forget_ghost(r, p[i]);
		if (e == 0 && p[i]->parent)
			e = hush_parent(r, p[i]->parent);
	}
	return e;
}

/* ---- descriptors ---- */

/* the processes that can make calls for the kinds */
static void list_tasks(struct restart *r)
{
	struct patient **p = r->patients.at;

	for (size_t i = 0; i < r->patients.n; i++) {
		if (p[i]->rec->flags & TASK_ZOMBIE)
			continue;
		struct site_task *t = span_push(&r->op->arena, &r->site.tasks, sizeof(*t));
		*t = (struct site_task){ p[i]->rec->pid, p[i]->pid, &p[i]->room, &p[i]->threads[0] };
	}
	struct site_task *t = r->site.tasks.at;
	for (size_t i = 0; i < r->site.tasks.n; i++)
		map_set(&r->op->arena, &r->site.task_by_vpid, (uint64_t)t[i].vpid, &t[i]);
}

/* a standard stream that led outside is the caller's of the same number, whatever it was shared with */
static int here(struct restart *r, const struct fd_record *f)
{
	const struct object *o = find_object(r, f->file);

	return f->n < 3 && o->kind->is_stream && o->kind->is_stream(o->rec) && r->site.stdio[f->n] >= 0
		       ? r->site.stdio[f->n]
		       : o->fd;
}

static int find_file(const struct site *site, uint64_t id, uint32_t n)
{
	struct restart *r = site->restart;
	const struct object *o = find_object(r, id);

	if (!o || !o->kind || o->kind->scope != SCOPE_FD)
		return -EBADF;
	return here(r, &(struct fd_record){ .n = n, .file = id });
}

static int find_backing(const struct site *site, uint64_t id, const struct kind *k)
{
	const struct object *o = find_object(site->restart, id);

	return o && o->kind == k ? o->fd : -EBADF;
}

static pid_t find_process(const struct site *site, int32_t vpid)
{
	const struct restart *r = site->restart;
	struct patient *const *p = r->patients.at;

	for (size_t i = 0; i < r->patients.n; i++)
		if (!vpid || p[i]->rec->pid == vpid)
			return p[i]->pid;
	return -ESRCH;
}

/* what comes one after the other is mostly of one owner: kinds may keep his rights until another one's turn comes */
static int restore_file(struct restart *r, struct object *o, const struct kind *last)
{
	int e = o->kind == last ? 0 : rights_give_back(r->op, &r->site);

	if (e < 0)
		return e;
	r->site.owners = o->owners;
	o->fd = o->kind->restore(r->op, o->rec, &r->site);
	return o->fd < 0 ? o->fd : 0;
}

static int restore_files(struct restart *r, bool early)
{
	struct object *o = r->objects.at;
	const struct kind *last = NULL;
	int e = 0;

	if (!early) /* most do not exist yet */
		list_tasks(r);
	r->site.batch = NULL; /* what they ask of a process they run themselves */
	r->site.file = find_file;
	r->site.backing = find_backing;
	r->site.process = find_process;
	r->site.restart = r;

	for (size_t i = 0; i < r->objects.n && e == 0; i++) {
		if (!o[i].kind || o[i].kind->scope != SCOPE_FD || o[i].kind->early != early)
			continue;
		e = restore_file(r, &o[i], last);
		last = o[i].kind;
	}
	int back = rights_give_back(r->op, &r->site);
	return e < 0 ? e : back;
}

int restore_early_files(struct restart *r)
{
	return restore_files(r, true);
}

static int send_fds(struct restart *r, int channel, const int *fds, size_t n)
{
	char space[CMSG_SPACE(FDS_A_MESSAGE * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	char byte = 0;
	struct iovec io = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = space, .msg_controllen = CMSG_SPACE(n * sizeof(int))
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(channel, &m, MSG_NOSIGNAL) < 0 ? fail(r->op, -errno, "send it %zu descriptors", n) : 0;
}

static void add_receive(struct batch *b, int channel, size_t n, bool cloexec)
{
	unsigned char *space, *byte;
	struct iovec io = { (void *)batch_out(b, 1, &byte).at, 1 };
	size_t room = CMSG_SPACE(n * sizeof(int));
	struct msghdr m = { .msg_iovlen = 1, .msg_controllen = room };

	m.msg_control = (void *)batch_out(b, room, &space).at;
	m.msg_iov = (void *)batch_in(b, &io, sizeof(io)).at;
	BATCH_MUST(b, "take its descriptors", SYS_recvmsg, (uint64_t)channel, batch_in(b, &m, sizeof(m)).at,
		cloexec ? MSG_CMSG_CLOEXEC : 0);
}

/*
 * The descriptors of one message arrive at the lowest free numbers, in order; they belong at numbers in rising order, none
 * lower than where it arrived. So from the highest down each can be moved without hitting another. @cloexec: they arrive so
 */
static int place(struct restart *r, struct patient *p, struct batch *b, const struct fd_record *f, size_t n,
	const uint32_t *at, bool cloexec)
{
	int e = 0;

	for (size_t i = n; i-- > 0 && e == 0;) {
		if (at[i] != f[i].n) {
			BATCH_MUST(b, "number a descriptor", SYS_dup3, at[i], f[i].n, f[i].cloexec ? O_CLOEXEC : 0);
			BATCH_MUST(b, "close a descriptor", SYS_close, at[i]);
		} else if ((f[i].cloexec != 0) != cloexec) {
			BATCH_MUST(b, "mark a descriptor close-on-exec", SYS_fcntl, f[i].n, F_SETFD,
				f[i].cloexec ? FD_CLOEXEC : 0);
		}
		if (!batch_has_room(b, 16, 4096))
			e = run_batch(r, p, b);
	}
	return e;
}

static int link_files(struct restart *r)
{
	struct object *o = r->objects.at;
	int e = 0;

	r->site.batch = NULL;
	for (size_t i = 0; i < r->objects.n && e == 0; i++) {
		if (!o[i].kind || o[i].kind->scope != SCOPE_FD || !o[i].kind->link)
			continue;
		r->site.here = o[i].fd;
		r->site.owners = o[i].owners;
		e = o[i].kind->link(r->op, o[i].rec, &r->site);
	}
	return e;
}

static int give_some(struct restart *r, struct patient *p, struct batch *b, const int channel[2],
	const struct fd_record *f, size_t n, size_t done)
{
	const struct fd_record *placed = p->fdtable->fds.at;
	int fds[FDS_A_MESSAGE];
	uint32_t at[FDS_A_MESSAGE], next = 0;
	size_t k = 0, marked = 0;

	for (size_t i = 0; i < n; i++, next++) {
		while (k < done && placed[k].n <= next) /* numbers below that are taken already */
			next = placed[k].n == next ? (k++, next + 1) : (k++, next);
		at[i] = next;
		fds[i] = here(r, &f[i]);
		marked += f[i].cloexec != 0;
	}
	int e = send_fds(r, channel[0], fds, n);
	if (e < 0)
		return e;
	add_receive(b, channel[1], n, marked > n / 2); /* then the fewer are marked one by one */
	return place(r, p, b, f, n, at, marked > n / 2);
}

static int give_descriptors(struct restart *r, struct patient *p, struct batch *b, const int channel[2])
{
	const struct fd_record *f = p->fdtable->fds.at;
	uint64_t keep = (uint64_t)channel[1];
	int e = 0;

	BATCH_MUST(b, "close inherited descriptors", SYS_close_range, 0, keep - 1, 0);
	BATCH_MUST(b, "close inherited descriptors", SYS_close_range, keep + 1, ~0u, 0);
	for (size_t done = 0, n; done < p->fdtable->fds.n && e == 0; done += n) {
		n = p->fdtable->fds.n - done < FDS_A_MESSAGE ? p->fdtable->fds.n - done : FDS_A_MESSAGE;
		e = give_some(r, p, b, channel, f + done, n, done);
	}
	if (e == 0)
		BATCH_MUST(b, "close the channel", SYS_close, keep);
	return e;
}

/* ---- process groups ---- */

static int join_group(struct restart *r, struct patient *p)
{
	struct batch b;

	batch_init(&b, &r->op->arena, &p->room, &p->threads[0]);
	BATCH_MUST(&b, "join its process group", SYS_setpgid, 0, (uint64_t)p->rec->pgid);
	return run_batch(r, p, &b);
}

/* the first of each group first; all exist, the dead and the ghosts as well */
static int join_groups(struct restart *r)
{
	struct patient **p = r->patients.at;
	int e = 0;

	for (int lead = 1; lead >= 0; lead--)
		for (size_t i = 0; i < r->patients.n && e == 0; i++) {
			const struct task_record *t = p[i]->rec;

			if (!p[i]->birth->joins || t->pgid == p[i]->group || (t->pgid == t->pid) != lead)
				continue;
			WHERE_PATIENT(r, p[i]);
			e = join_group(r, p[i]);
		}
	return e;
}

/* what belongs to the groups of a session, such as who is in the foreground of its terminal */
static int settle_groups(struct restart *r, struct patient *p, struct batch *b)
{
	int e = 0;

	r->site.batch = b;
	r->site.pid = r->site.tid = p->pid;
	r->site.vpid = r->site.vtid = p->rec->pid;
	for (size_t i = 0; i < p->parts.n && e == 0; i++) {
		const struct kind *k = p->parts.at[i].kind;

		e = k->group ? k->group(r->op, p->parts.at[i].object->rec, &r->site) : 0;
	}
	return e;
}

/* ---- threads ---- */

static void add_thread(struct restart *r, struct batch *b, int32_t tid)
{
	struct clone_args args = { .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
					    CLONE_SYSVSEM | quietly(r),
		.set_tid_size = 1 };

	args.set_tid = batch_in(b, &tid, sizeof(tid)).at;
	BATCH_MUST(b, "make a thread with its id", SYS_clone3, batch_in(b, &args, sizeof(args)).at, sizeof(args));
}

static int hold_threads(struct restart *r, struct patient *p, const pid_t *born)
{
	const struct thread_record *t = p->rec->threads.at;
	int e = 0;

	for (size_t i = 1; i < p->rec->threads.n && e == 0; i++) {
		e = hold_adopt(&p->threads[i], r->own_pidns ? born[i - 1] : t[i].tid, &p->threads[0], STOP_TIMEOUT_MS);
		p->n_threads = i + 1;
		if (e < 0)
			fail(r->op, e, "hold thread %d", t[i].tid);
	}
	return e;
}

static int make_threads(struct restart *r, struct patient *p)
{
	const struct thread_record *t = p->rec->threads.at;
	size_t n = p->rec->threads.n;
	struct held *h = &p->threads[0];
	int e = 0;

	if (n == 1)
		return 0;
	h->leads = true;
	h->born = arena_array(&r->op->arena, n, sizeof(pid_t));
	h->born_room = (unsigned int)n;
	h->n_born = 0;
	batch_init(&p->batch, &r->op->arena, &p->room, h);
	for (size_t i = 1; i < n && e == 0; i++) {
		add_thread(r, &p->batch, t[i].tid);
		if (!batch_has_room(&p->batch, 1, 256) || i + 1 == n)
			e = run_batch(r, p, &p->batch);
	}
	if (e == 0 && r->own_pidns && h->n_born != n - 1)
		e = fail(r->op, -ECHILD, "find the threads just made");
	if (e == 0)
		e = hold_threads(r, p, h->born);
	h->born = NULL;
	return e;
}

/* has it but one thread, which shares nothing that matters here, and may get what is its own as well? */
static bool is_plain(struct restart *r, const struct patient *p)
{
	const struct object *fds = find_object(r, p->rec->fdtable);

	return p->rec->threads.n == 1 && has_own_memory(r, p) && fds->first == fds->last &&
	       !(p->rec->flags & (TASK_LEADER_GONE | TASK_STOPPED | TASK_CONTINUED));
}

/* @f: its flight, which uses a channel of its own, as others may be on theirs */
static int furnish_one(struct restart *r, struct patient *p, struct flights *all, struct flight *f)
{
	const int *channel = r->channel[f - all->at];
	struct batch *b = &f->batch;

	WHERE_PATIENT(r, p);
	int e = settle_groups(r, p, b);
	if (e == 0 && b->n) { /* one group after the other */
		e = flights_land(r, all);
		f->patient = p; /* it has not begun yet */
		e = e < 0 ? e : run_batch(r, p, b);
	}
	if (e == 0 && find_object(r, p->rec->fdtable)->last == p) /* the others need theirs no more */
		e = give_descriptors(r, p, b, channel);
	if (e < 0)
		return e;
	if (!is_plain(r, p) || !batch_has_room(b, 128, 8192))
		e = run_batch(r, p, b);
	if (e < 0)
		return e;
	if (!is_plain(r, p))
		return make_threads(r, p);
	p->restored = true;
	e = add_stage(r, p, 0, b, STAGE_RESTORE);
	return e < 0 ? e : flight_start(r, f);
}

static int furnish_all(struct restart *r)
{
	struct patient **p = r->patients.at;
	struct flights all = { .width = r->n_channels };
	struct flight *f;
	int e = 0;

	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (p[i]->rec->flags & TASK_ZOMBIE)
			continue;
		if (!is_plain(r, p[i]))
			e = flights_land(r, &all);
		if (e == 0)
			e = flights_board(r, &all, p[i], 0, &f);
		if (e == 0)
			e = furnish_one(r, p[i], &all, f);
		if (e == 0)
			e = watch_tell(r->op, &r->watch, "furnishing", r->memory, 0);
	}
	return e < 0 ? e : flights_land(r, &all);
}

int furnish(struct restart *r)
{
	int e = join_groups(r);

	if (e == 0)
		e = end_zombies(r);
	if (e == 0)
		e = restore_files(r, false);
	if (e == 0)
		e = link_files(r);
	return e < 0 ? e : furnish_all(r);
}
