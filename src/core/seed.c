/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first tasks: copies of ourselves under the right pids, held before they do anything.
 */
#include "core/cgroup.h"
#include "core/rebuild.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>

#define SEED_OPTIONS	(PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK)
#define STOP_TIMEOUT_MS 10000
#define FIRST_CHANNEL	64

static bool is_used(pid_t pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH || kill(-pid, 0) == 0 || errno != ESRCH;
}

static bool all_free(struct restart *r)
{
	struct patient **p = r->patients.at;

	for (size_t i = 0; i < r->patients.n; i++) {
		const struct thread_record *t = p[i]->rec->threads.at;

		if (is_used(p[i]->rec->pid))
			return false;
		for (size_t k = 1; k < p[i]->rec->threads.n; k++)
			if (is_used(t[k].tid))
				return false;
	}
	return true;
}

/* a program that was just killed takes a moment to go, and who waits for its end another */
static bool pids_are_free(struct restart *r)
{
	const struct timespec nap = { 0, 5000000 };
	bool is_free = all_free(r);

	for (int turn = 0; !is_free && turn < 40; turn++) {
		nanosleep(&nap, NULL);
		is_free = all_free(r);
	}
	return is_free;
}

/* top-level processes beside the first were handed to the init of their namespace: they need one again */
static bool has_orphans(struct restart *r)
{
	struct patient **p = r->patients.at;

	for (size_t i = 1; i < r->patients.n; i++)
		if (!p[i]->parent)
			return true;
	return false;
}

/* numbers and names that the kernel gives once on this host, but once again in each namespace */
static bool reserve_all(struct restart *r)
{
	const struct object *o = r->objects.at;

	for (size_t i = 0; i < r->objects.n; i++)
		if (o[i].kind && o[i].kind->reserve && !o[i].kind->reserve(r->op, o[i].rec, &r->site))
			return false;
	return true;
}

static int make_place(void *kind)
{
	return ((const struct kind *)kind)->make_place();
}

/*
 * What was reserved is given up: it is had there anew. What cannot be had there either is said by who misses it; but nothing
 * is made in the caller's namespace that belongs into another.
 */
static int make_places(struct restart *r)
{
	const struct object *o = r->objects.at;
	struct slot *s = r->slots.at;
	size_t n;

	for (size_t i = 0; i < r->n_reserved; i++)
		s[i].value = s[i].value < 0 ? s[i].value : fd_close(s[i].value);
	for (const struct kind *const *k = kinds; *k; k++) {
		for (n = 0; n < r->objects.n && o[n].kind != *k; n++)
			;
		int e = (*k)->make_place && n < r->objects.n ? nest_call(&r->nest, make_place, (void *)*k) : 0;
		if (e < 0 && (*k)->make)
			return fail(r->op, e, "make a namespace for %s", (*k)->name);
	}
	return 0;
}

int choose_namespace(struct restart *r, bool own_pidns)
{
	struct patient **p = r->patients.at;

	r->own_pidns = own_pidns || r->head->own_pidns || has_orphans(r) || nest_needs_user_ns() || !pids_are_free(r);
	r->crowded = !reserve_all(r);
	r->n_reserved = r->slots.n;
	r->own_pidns |= r->crowded;
	r->site.own_place = r->crowded;
	if (r->own_pidns && p[0]->rec->pid == 1)
		return fail_as(r->op, OUTCOME_CANNOT, "init", NULL,
			"restart a program that was the init of its pid namespace: stasis puts an init of its own "
			"there");
	return 0;
}

/* a socket that all tasks inherit at the number @at or one above it */
static int open_channel(struct restart *r, int at)
{
	int *channel = r->channel[r->n_channels];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
		return -errno;
	_cleanup_close_ int low = channel[1];
	channel[1] = fcntl(low, F_DUPFD_CLOEXEC, at);
	int e = channel[1] < 0 ? -errno : 0;
	if (e < 0)
		fd_close(channel[0]);
	else
		r->n_channels++;
	return e;
}

/* descriptors travel to the tasks through sockets, at numbers above all of theirs; one would do */
static int open_channels(struct restart *r)
{
	struct patient **p = r->patients.at;
	uint32_t highest = FIRST_CHANNEL;

	for (size_t i = 0; i < r->patients.n; i++) {
		const struct fd_record *f = p[i]->fdtable ? p[i]->fdtable->fds.at : NULL;
		size_t n = p[i]->fdtable ? p[i]->fdtable->fds.n : 0;

		if (n && f[n - 1].n > highest)
			highest = f[n - 1].n;
	}
	uint64_t limit = raise_fd_limit();
	if (limit <= highest + 2)
		return fail_as(r->op, OUTCOME_CANNOT, "nofile", "raise the hard limit on open files (ulimit -Hn)",
			"give the program descriptor %u: the limit here is %lu", highest, (unsigned long)limit);
	int e = open_channel(r, (int)highest + 1);
	if (e < 0)
		return fail(r->op, e, "make a socket");
	/* taken, so that it is not what the next open(2) gives */
	r->spare_fd = fcntl(r->channel[0][1], F_DUPFD_CLOEXEC, r->channel[0][1] + 1);
	if (r->spare_fd < 0)
		return fail(r->op, -errno, "make a socket");
	while (r->n_channels < CHANNELS && open_channel(r, r->spare_fd + 1) == 0)
		;
	r->site.free_fd = r->spare_fd;
	return 0;
}

static int hold_seed(struct restart *r, struct patient *p, pid_t pid)
{
	if (pid < 0)
		return fail(r->op, pid, "make a process with pid %d", p->rec->pid);
	p->pid = pid;
	int e = hold_seize(&p->threads[0], pid, SEED_OPTIONS);
	if (e == 0)
		e = hold_wait(&p->threads[0], STOP_TIMEOUT_MS);
	if (e < 0)
		return fail(r->op, e, "stop the process just made");
	p->n_threads = 1;
	return 0;
}

/* kill(2) misses a pid that is on its way out a little earlier than clone3(2) can have it */
static pid_t plant_now(pid_t pid, const struct clocks *clocks, int *ret_clocks)
{
	const struct timespec nap = { 0, 2000000 };
	pid_t got = plant_here(pid, clocks, ret_clocks);

	for (int turn = 0; got == -EEXIST && turn < 100; turn++) {
		nanosleep(&nap, NULL);
		got = plant_here(pid, clocks, ret_clocks);
	}
	return got;
}

/* the clocks that the program is to go on with; NULL: those of the caller */
static int choose_clocks(struct restart *r, const struct clocks **ret)
{
	const struct clocks c = { r->head->monotonic_ns, r->head->boottime_ns };

	if (c.monotonic > CLOCK_END || c.boottime > CLOCK_END)
		return fail_as(
			r->op, OUTCOME_IMAGE, "image", NULL, "make sense of the image: its clocks are beyond all time");
	r->clocks = c;
	*ret = c.monotonic && c.boottime && !r->real_clock ? &r->clocks : NULL;
	return 0;
}

int plant_seeds(struct restart *r)
{
	struct patient **p = r->patients.at;
	const struct clocks *clocks = NULL;
	int e = open_channels(r), err = 0;

	if (e == 0 && !r->crowded)
		e = make_backings(r);
	if (e == 0 && r->own_pidns)
		e = nest_build(r->op, &r->nest, NULL);
	if (e == 0 && r->own_pidns && r->own_cgroup)
		cgroup_make(r->nest.init, r->cgroup, sizeof(r->cgroup));
	r->site.user_ns = r->nest.user_ns;
	if (e == 0 && r->own_pidns)
		r->site.root = arena_printf(&r->op->arena, "/proc/%d/root", r->nest.init);
	if (e == 0 && r->crowded)
		e = make_places(r);
	if (e == 0 && r->crowded)
		e = make_backings(r);
	if (e == 0)
		e = choose_clocks(r, &clocks);
	if (e == 0 && r->own_pidns && clocks)
		err = nest_set_clocks(&r->nest, clocks);
	for (size_t i = 0; i < r->patients.n && e == 0; i++) {
		if (p[i]->parent || p[i]->birth->maker)
			continue;
		if (!p[i]->threads) /* a ghost */
			p[i]->threads = arena_alloc(&r->op->arena, sizeof(*p[i]->threads));
		WHERE_PATIENT(r, p[i]);
		e = hold_seed(r, p[i],
			r->own_pidns ? nest_plant(&r->nest, p[i]->rec->pid) : plant_now(p[i]->rec->pid, clocks, &err));
	}
	if (e == 0 && (!clocks || err))
		clocks_tell_jump(r->op, &r->clocks, err);
	return e;
}
