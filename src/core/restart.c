/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A restart: load, order, plant, grow, furnish, settle, let go. Until the last step everything made can be taken back:
 * the tasks are traced with PTRACE_O_EXITKILL, and files are not changed before the rest has succeeded.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/cgroup.h"
#include "kinds/rights.h"

static int rebuild(struct restart *r, const struct stasis_restart_options *o)
{
	int e = load_objects(r);

	if (e == 0)
		e = gather_family(r);
	if (e == 0)
		e = choose_namespace(r, o->own_pidns);
	if (e == 0)
		e = find_owners(r);
	if (e == 0)
		e = choose_zone(r);
	if (e == 0)
		e = restore_backings(r);
	if (e == 0)
		e = plant_seeds(r);
	if (e == 0)
		e = restore_early_files(r);
	if (e == 0)
		e = grow_tree(r);
	if (e == 0)
		e = furnish(r);
	if (e == 0)
		e = settle_all(r);
	if (e == 0)
		e = be_strict(r->op, o->strict);
	if (e == 0 && o->before_run) {
		e = o->before_run(o->before_run_data, (*(struct patient **)r->patients.at)->pid);
		if (e < 0)
			fail(r->op, e, "tell who asked for it that the program is ready");
	}
	if (e == 0)
		e = settle_files(r);
	if (e == 0 && r->own_pidns)
		e = leave_zone(r);
	if (e == 0)
		keep_backings(r);
	if (e == 0)
		e = depart(r);
	if (e == 0 && r->own_pidns) { /* if we die before, the init dies, and all with it */
		e = nest_release(&r->nest, o->detach);
		if (e < 0)
			fail(r->op, e, "hand the program over to its init");
	}
	return e;
}

/* until a task is gone; its threads, which may not be known here yet, must be waited for before it can be */
static void bury(pid_t pid)
{
	const struct timespec nap = { 0, 1000000 };

	while (waitpid(pid, NULL, __WALL | WNOHANG) >= 0 || errno != ECHILD) {
		reap_tracees();
		nanosleep(&nap, NULL);
	}
}

/* children of one that was killed while it made them: nobody was told who they are, but their numbers are known */
static void bury_newborn(struct restart *r)
{
	struct patient **p = r->patients.at;

	for (size_t i = 0; i < r->patients.n && !r->own_pidns; i++)
		if (!p[i]->pid && is_traced(p[i]->rec->pid)) {
			kill(p[i]->rec->pid, SIGKILL);
			bury(p[i]->rec->pid);
		}
}

/* what was made in the place of others: these go, or come back */
static void settle_made(const struct span *made, bool keep)
{
	const struct made_file *f = made->at;

	for (size_t i = made->n; i-- > 0;) {
		if (!keep && !f[i].was) /* else that takes its place */
			unlinkat(f[i].dir, f[i].name, 0);
		if (f[i].was && keep)
			unlinkat(f[i].dir, f[i].was, 0);
		else if (f[i].was)
			renameat(f[i].dir, f[i].was, f[i].dir, f[i].name);
	}
}

/* as if nothing had been tried; the tasks of a nest end with its init, and are waited for first */
static void take_back(struct restart *r)
{
	struct patient **p = r->patients.at;

	rights_give_back(r->op, &r->site);
	if (r->nest.init > 0)
		kill(r->nest.init, SIGKILL);
	for (size_t i = 0; i < r->patients.n; i++)
		if (p[i]->pid > 0)
			kill(p[i]->pid, SIGKILL);
	for (size_t i = r->patients.n; i-- > 0;)
		if (p[i]->pid > 0)
			bury(p[i]->pid);
	bury_newborn(r);
	reap_tracees();
	nest_raze(&r->nest);
	const char **group = r->site.made_groups.at;
	for (size_t i = r->site.made_groups.n; i-- > 0;)
		cgroup_remove(group[i]);
	settle_made(&r->site.made_files, false);
	const struct undoing *u = r->site.undoings.at;
	for (size_t i = r->site.undoings.n; i-- > 0;)
		u[i].fn(u[i].rec);
	terminal_set(&r->terminal);
}

static void tidy(struct restart *r)
{
	struct object *o = r->objects.at;
	struct slot *s = r->slots.at;

	for (size_t i = 0; i < r->objects.n; i++)
		if (o[i].fd >= 0)
			fd_close(o[i].fd);
	for (size_t i = 0; i < r->slots.n; i++)
		if (s[i].value >= 0)
			fd_close(s[i].value);
	for (size_t i = 0; i < r->n_channels; i++)
		for (size_t k = 0; k < 2; k++)
			if (r->channel[i][k] >= 0)
				fd_close(r->channel[i][k]);
	if (r->spare_fd >= 0)
		fd_close(r->spare_fd);
	if (r->zone)
		munmap((void *)r->zone, r->zone_end - r->zone);
}

static enum file_policy policy_of(enum stasis_file_policy policy)
{
	switch (policy) {
	case STASIS_FILE_TRUNCATE:
		return FILE_TRUNCATE;
	case STASIS_FILE_ALLOW:
		return FILE_ALLOW;
	case STASIS_FILE_KEEP:
		break;
	}
	return FILE_KEEP;
}

static int take_options(struct restart *r, const struct stasis_restart_options *o)
{
	struct file_rule *rules = arena_array(&r->op->arena, o->n_files + 1, sizeof(*rules));

	for (size_t i = 0; i < o->n_files; i++)
		rules[i] = (struct file_rule){ o->files[i].path, policy_of(o->files[i].policy) };
	r->site.rules = rules;
	r->site.n_rules = o->n_files;
	for (int i = 0; i < 3; i++)
		r->site.stdio[i] = fcntl(i, F_GETFD) < 0 ? -EBADF : i;
	r->site.slots = &r->slots;
	r->site.root = "";
	r->site.cpus = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	r->terminal.fd = -EBADF;
	if (o->terminal && !o->detach)
		terminal_find(&r->terminal, true);
	r->site.terminal = r->terminal.fd;
	r->own_cgroup = o->own_cgroup;
	r->real_clock = o->clock == STASIS_CLOCK_REAL;
	r->watch = (struct watch){ o->cancel, o->progress, o->progress_data, now_ns() };
	int e = image_open(&r->image, o->fd, o->cancel);
	if (e == -EBADMSG || e == -ENODATA || e == -EPROTONOSUPPORT)
		return fail_as(r->op, OUTCOME_IMAGE, "image", "use another image of the program, if there is one",
			"read the image: %s", image_problem(r->image));
	return e < 0 ? fail(r->op, e, "read the image: %s", image_problem(r->image)) : 0;
}

static void tell(struct restart *r, struct stasis_job *job, struct stasis_report *report)
{
	struct patient **p = r->patients.at;

	if (r->head) {
		report->processes = r->head->processes;
		report->threads = r->head->threads;
		if (r->head->name)
			strncpy(report->name, r->head->name, sizeof(report->name) - 1);
	}
	report->memory = r->memory;
	report->own_pidns = r->own_pidns;
	if (r->op->err) {
		r->op->state = "no process of it remains; the image is as it was";
		r->op->notes.n = 0; /* what would have been done was not */
		return;
	}
	report->pid = p[0]->pid;
	*job = (struct stasis_job){ p[0]->pid, r->own_pidns ? r->nest.init : p[0]->pid, r->own_pidns };
	memcpy(job->cgroup, r->cgroup, sizeof(r->cgroup));
	if (r->own_pidns && !r->head->own_pidns)
		note(r->op, "the program has a pid namespace of its own: %s",
			nest_needs_user_ns() ? "this user may not choose pids otherwise"
					     : "its pids, or other numbers of it, are taken, or it was asked for");
}

int stasis_restart(const struct stasis_restart_options *o, struct stasis_job *job, struct stasis_report *report)
{
	struct op op;
	uint64_t began = now_ns();

	op_init(&op, "restart");
	struct restart r = {
		.op = &op, .spare_fd = -EBADF, .nest = { .socket = -EBADF }, .terminal = { .fd = -EBADF }
	};
	int e = take_options(&r, o);
	if (e == 0)
		e = rebuild(&r, o);
	if (e < 0) {
		take_back(&r);
		cgroup_remove(r.cgroup);
	} else {
		settle_made(&r.site.made_files, true);
	}
	tidy(&r);
	tell(&r, job, report);
	image_close(r.image);
	report->wall_ns = now_ns() - began;
	return report_from(&op, report);
}
