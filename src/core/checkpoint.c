/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A checkpoint: find and hold the tree, look, judge, ask, write, let go. Whatever fails, the tree is let go as it was.
 */
#include "core/core.h"
#include "core/mappings.h"
#include "core/twins.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/pool.h"
#include "base/rush.h"

#define FIRST_ID 2 /* 1 is the head */

/* ---- giving every object its record ---- */

static uint64_t extent(const struct backing *b)
{
	const struct view *v = b->views.at;
	uint64_t end = 0;

	for (size_t i = 0; i < b->views.n; i++)
		if (v[i].vma->pgoff + (v[i].vma->end - v[i].vma->start) > end)
			end = v[i].vma->pgoff + (v[i].vma->end - v[i].vma->start);
	return end;
}

static int save_backings(struct checkpoint *c)
{
	struct backing **b = c->backings.at;

	for (size_t i = 0; i < c->backings.n; i++) {
		struct sight s = { .tree = &c->tree,
			.process = b[i]->process,
			.vma = b[i]->vma,
			.fd = b[i]->fd,
			.extent = extent(b[i]) };

		WHERE_TASK(c->op, b[i]->process->pid, b[i]->process->stat.comm);
		b[i]->id = c->next_id++;
		if (!b[i]->rec)
			b[i]->rec = arena_alloc(&c->op->arena, b[i]->kind->size);
		int r = b[i]->kind->save(c->op, &s, b[i]->rec);
		if (r < 0 && !was_refused(c, b[i]->kind, r))
			return r;
	}
	return 0;
}

static uint64_t file_id(const struct proc_fd *fd)
{
	const struct open_file *of = fd->open_file;

	return of->id;
}

static int save_files(struct checkpoint *c)
{
	struct open_file **f = c->open_files.at;

	for (size_t i = 0; i < c->open_files.n; i++) /* a record may refer to any of them */
		f[i]->id = c->next_id++;
	c->tree.file_id = file_id;
	for (size_t i = 0; i < c->open_files.n; i++) {
		struct sight s = { .tree = &c->tree,
			.process = f[i]->process,
			.fd = f[i]->fd,
			.backing = f[i]->backing ? f[i]->backing->id : 0 };

		WHERE_TASK(c->op, f[i]->process->pid, f[i]->process->stat.comm);
		WHERE(c->op, "fd", f[i]->fd->n);
		if (!f[i]->rec)
			f[i]->rec = arena_alloc(&c->op->arena, f[i]->kind->size);
		int r = f[i]->kind->save(c->op, &s, f[i]->rec);
		if (r < 0 && !was_refused(c, f[i]->kind, r))
			return r;
	}
	return 0;
}

/* ---- the operation ---- */

static int refused(struct checkpoint *c)
{
	const struct obstacle *o = c->op->obstacles.at;

	if (!c->op->obstacles.n)
		return 0;
	if (c->op->obstacles.n == 1)
		return fail_as(c->op, OUTCOME_CANNOT, o->slug, o->try, "%s %s", o->where, o->what);
	return fail_as(c->op, OUTCOME_CANNOT, o->slug, NULL, "%zu objects stand against it", c->op->obstacles.n);
}

static int look(struct checkpoint *c, bool freeze)
{
	int r = collect_tree(c, freeze);

	if (r == 0)
		r = collect_facts(c);
	if (r == 0)
		r = collect_open_files(c);
	if (r == 0)
		find_shares(c);
	if (r == 0 && freeze)
		recall_naps(c);
	if (r == 0)
		r = describe_tree(c);
	if (r == 0)
		r = refused(c);
	c->judged = r == 0;
	return r;
}

static void count(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;

	c->threads = 0;
	for (size_t i = 0; i < c->tree.processes.n; i++)
		c->threads += p[i]->zombie ? 1 : p[i]->threads.n;
}

/* all that comes before the memory is looked through and anything is written: it says whether the program can be saved */
static int examine(struct checkpoint *c, bool strict)
{
	outsiders_look_ahead(&c->op->arena, &c->outsiders, c->target);
	twins_look_ahead(c);
	mappings_look_ahead(c);
	int r = look(c, true);

	if (r == 0)
		r = open_rooms(c);
	if (r == 0)
		r = save_parts(c);
	if (r == 0)
		r = save_backings(c);
	if (r == 0)
		r = save_files(c);
	if (!c->op->err && c->op->obstacles.n)
		r = refused(c);
	return r < 0 ? fail(c->op, r, "examine it") : be_strict(c->op, strict);
}

static int save(struct checkpoint *c, struct image_writer *w, bool strict)
{
	int r = examine(c, strict);

	if (r == 0)
		r = plan_memory(c);
	count(c);
	if (r == 0)
		r = put_records(c, w);
	return r < 0 ? r : save_pages(c, w);
}

static int end_program(struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;
	int r = 0;

	for (size_t i = 0; i < c->tree.processes.n; i++) {
		if (p[i]->zombie || syscall(SYS_pidfd_send_signal, p[i]->pidfd, SIGKILL, NULL, 0) == 0 ||
			errno == ESRCH)
			continue;
		WHERE_TASK(c->op, p[i]->pid, p[i]->stat.comm);
		r = fail(c->op, -errno, "end it");
	}
	return r;
}

static void checkpoint_init(struct checkpoint *c, struct op *op, pid_t pid, unsigned int lanes)
{
	*c = (struct checkpoint){ .op = op, .target = pid, .next_id = FIRST_ID };
	crew_init(c, lanes);
	c->procfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void fill_report(const struct checkpoint *c, struct stasis_report *report)
{
	if (c->root) {
		memcpy(report->name, c->root->stat.comm, sizeof(report->name));
		report->pid = c->root->pid;
	}
	report->processes = c->tree.processes.n;
	report->threads = c->threads;
	report->memory = c->memory;
	report->own_pidns = c->own_pidns;
}

static void fill_times(const struct checkpoint *c, struct stasis_report *report, uint64_t began)
{
	report->wall_ns = now_ns() - began;
	if (c->thawed_at)
		report->still_ns = c->thawed_at - c->frozen_at;
}

/* how it ended for the program and the image, in one sentence */
static void tell_state(struct checkpoint *c, bool committed, bool ended)
{
	const char *name = c->root ? c->root->stat.comm : "the program";

	if (c->op->err && committed)
		c->op->state = arena_printf(&c->op->arena, "the image is complete; %s, or a part of it, runs on", name);
	else if (c->op->err)
		c->op->state = arena_printf(&c->op->arena, "%s %s; no image was written", name,
			c->tree.frozen ? "runs on as before" : "was not stopped");
	else if (ended)
		c->op->state = arena_printf(&c->op->arena, "%s was ended", name);
}

static int checkpoint(pid_t pid, const struct stasis_checkpoint_options *o, struct stasis_report *report)
{
	struct op op;
	struct checkpoint c;
	struct image_writer *w = NULL;
	uint64_t began = now_ns(), size = 0;

	op_init(&op, "save");
	checkpoint_init(&c, &op, pid, pool_cpus());
	c.watch = (struct watch){ o->cancel, o->progress, o->progress_data, began };
	int r = c.procfd < 0 ? fail(&op, -errno, "open /proc") : 0;
	if (r == 0) {
		r = image_create(&w, o->path, o->fd, o->compress, o->cancel);
		if (r < 0)
			fail(&op, r, "create the image %s", o->path ? o->path : "");
		else if (o->stop) /* it stands still until the image is complete */
			image_hurry(w);
	}
	if (r == 0)
		r = save(&c, w, o->strict);
	fill_report(&c, report);
	/* those that are let go wake up, and need not all come before what is left to do; but for that they have another processor */
	const struct rush rush = rush_begin(pool_cpus() > 1 ? c.threads : 0);
	if (r < 0 || !o->stop)
		release_tree(&c);
	if (r < 0) {
		image_abort(w);
	} else {
		r = image_commit(w, &size);
		if (r < 0)
			fail(&op, r, "complete the image %s", o->path ? o->path : "");
	}
	bool committed = r == 0;
	if (committed && o->stop)
		end_program(&c);
	tell_state(&c, committed, o->stop);
	if (o->stop) {
		c.thawed_at = now_ns();
		release_tree(&c);
	}
	crew_done(&c);
	rush_end(&rush);
	fd_close(c.procfd);
	report->image_size = size;
	report->path = o->path ? arena_strdup(&op.arena, o->path) : NULL;
	fill_times(&c, report, began);
	return report_from(&op, report);
}

/* It cannot be held, which is told: what else stands against it can be seen all the same. */
static void look_anyway(struct checkpoint *c)
{
	release_tree(c);
	*c = (struct checkpoint){ .op = c->op,
		.watch = c->watch,
		.procfd = c->procfd,
		.target = c->target,
		.crew = c->crew,
		.lane = c->lane,
		.objects = c->objects,
		.tree = { .lock = c->tree.lock, .is_check = true },
		.next_id = FIRST_ID,
		.frozen_at = c->frozen_at,
		.thawed_at = c->thawed_at };
	look(c, false);
}

static int look_only(struct checkpoint *c, bool strict)
{
	int r = look(c, false);

	if (r == 0)
		r = be_strict(c->op, strict);
	if (r == 0)
		note(c->op,
			"was not stopped: seccomp filters, Landlock domains and what else does not show while it runs "
			"were not seen");
	return r;
}

static int check(pid_t pid, const struct stasis_check_options *o, struct stasis_report *report)
{
	struct op op;
	struct checkpoint c;
	struct span objects = { 0 };
	uint64_t began = now_ns();

	op_init(&op, "save");
	checkpoint_init(&c, &op, pid, 1); /* the list is in the order of the tree */
	c.objects = &objects;
	c.tree.is_check = true;
	c.watch = (struct watch){ o->cancel, o->progress, o->progress_data, began };
	int r = c.procfd < 0 ? fail(&op, -errno, "open /proc") : 0;
	if (r == 0)
		r = o->no_freeze ? look_only(&c, o->strict) : examine(&c, o->strict);
	if (r < 0 && !o->no_freeze && !c.held && op_outcome(&op) != OUTCOME_USAGE)
		look_anyway(&c);
	count(&c);
	fill_report(&c, report);
	release_tree(&c);
	crew_done(&c);
	fd_close(c.procfd);
	fill_times(&c, report, began);
	if (op.err)
		op.state = arena_printf(&op.arena, "%s %s", report->name[0] ? report->name : "the program",
			c.thawed_at ? "runs on as before" : "was not touched");
	report->objects = objects.at;
	report->n_objects = objects.n;
	return report_from(&op, report);
}

/* ---- in a thread of its own ---- */

/* struct errand - a checkpoint or, with @check, but the look at whether one can be made; and the thread that does it */
struct errand {
	pid_t pid;
	const struct stasis_checkpoint_options *checkpoint;
	const struct stasis_check_options *check;
	struct stasis_report *report;
	int status;
};

static void *run_errand(void *data)
{
	struct errand *e = data;

	e->status = e->check ? check(e->pid, e->check, e->report) : checkpoint(e->pid, e->checkpoint, e->report);
	return NULL;
}

/*
 * Only a thread that has stopped can be detached. One that sleeps where no signal reaches it stays traced, and would stop for
 * good when it wakes, if nobody waits for that. But the kernel lets it go when the thread that traces it ends (exit_ptrace()
 * in kernel/ptrace.c): so that ends with the checkpoint, however long the caller lives.
 */
static int send_on_errand(struct errand *e)
{
	pthread_t thread;
	struct op op;

	raise_fd_limit(); /* each process takes three */
	int r = thread_start(&thread, LANE_STACK, run_errand, e);

	if (r == 0) {
		pthread_join(thread, NULL);
		return e->status;
	}
	op_init(&op, "save");
	fail(&op, r, "make a thread for it");
	op.state = "the program was not stopped; no image was written";
	return report_from(&op, e->report);
}

int stasis_checkpoint(pid_t pid, const struct stasis_checkpoint_options *o, struct stasis_report *report)
{
	return send_on_errand(&(struct errand){ .pid = pid, .checkpoint = o, .report = report });
}

int stasis_check(pid_t pid, const struct stasis_check_options *o, struct stasis_report *report)
{
	return send_on_errand(&(struct errand){ .pid = pid, .check = o, .report = report });
}
