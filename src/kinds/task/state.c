/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * state - what else makes a process what it is: oom_score_adj, the login it came from, the priority of its session
 *
 * Refused: a tracer, namespaces(7) of its own.
 *
 * The priority is that of an autogroup (sched(7)), which a session has: its leader has the record.
 *
 * Seen: /proc/PID: status, oom_score_adj, loginuid, autogroup, ns.
 * Lost: oom_score_adj, loginuid and the priority of a session, where the right to set them is missing (named). The number
 *	of the audit session. That a child that has ended left a core dump (noted).
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/text.h"

struct state {
	int32_t oom_score_adj;
	bool has_loginuid, has_autogroup; /* the kernel has such a thing */
	uint32_t loginuid; /* UINT32_MAX: none */
	int32_t autogroup; /* nice value */
	/* while restarting: */
	bool is_set; /* it has its loginuid, or @wrote says whether it could be set */
	const struct stub_call *wrote;
};

static const struct field fields[] = {
	/* 1 was the personality, which is each thread's */
	FIELD_I(2, struct state, oom_score_adj, "signal_struct.oom_score_adj"),
	FIELD_U(3, struct state, has_loginuid, ""),
	FIELD_U(4, struct state, loginuid, "task_struct.loginuid"),
	FIELD_U(5, struct state, has_autogroup, ""),
	FIELD_I(6, struct state, autogroup, "autogroup.nice"),
	FIELDS_END,
};

static int worse(int a, int b)
{
	return a < 0 ? a : b;
}

/* ---- tracer ---- */

static int open_task(pid_t pid)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return proc < 0 ? -errno : proc_open(proc, pid);
}

static const char *comm_of(struct op *op, pid_t pid)
{
	_cleanup_close_ int dir = open_task(pid);
	struct proc_stat stat;

	if (dir < 0 || proc_read_stat(dir, &stat) < 0)
		return "another process";
	return arena_printf(&op->arena, "%s (pid %d)", quoted(&op->arena, stat.comm), pid);
}

static int check_threads(struct op *op, const struct sight *s)
{
	const struct thread *t = s->process->threads.at;
	pid_t tracer = 0;

	for (size_t i = 0; i < s->process->threads.n; i++, t++)
		if (t->status.tracer)
			tracer = t->status.tracer;
	if (tracer && !s->tree->frozen)
		return refuse(op, "traced", "only one tracer can hold a process", "end the debugger or strace first",
			"is traced by %s", comm_of(op, tracer));
	return 0;
}

/* ---- namespaces ---- */

static int compare_ns(struct op *op, enum proc_ns n, uint64_t ino, uint64_t to_be, const char *whose)
{
	if (ino == to_be)
		return 0;
	return refuse(op, "namespace", "namespaces are not kept yet", NULL, "has another %s namespace than %s",
		proc_ns_names[n], whose);
}

static int check_namespaces(struct op *op, const struct sight *s)
{
	static const char of_root[] = "the root of the program";
	const struct process *p = s->process, *root = *(struct process **)s->tree->processes.at;
	const struct thread *t = p->threads.at;
	int r = 0;

	for (enum proc_ns i = 0; i < PROC_NS_N; i++)
		if (i != PROC_NS_TIME_FOR_CHILDREN && i != PROC_NS_PID_FOR_CHILDREN)
			r = worse(r, compare_ns(op, i, p->ns[i], root->ns[i], of_root));
	r = worse(r, compare_ns(op, PROC_NS_TIME, p->ns[PROC_NS_TIME_FOR_CHILDREN], root->ns[PROC_NS_TIME], of_root));
	r = worse(r, compare_ns(op, PROC_NS_PID, p->ns[PROC_NS_PID_FOR_CHILDREN], root->ns[PROC_NS_PID], of_root));
	for (enum proc_ns i = 0; i < PROC_NS_OF_THREADS; i++)
		for (size_t n = 1; n < p->threads.n; n++)
			r = worse(r, compare_ns(op, i, t[n].ns[i], p->ns[i], "its leader"));
	return r;
}

/*
 * What the restarted program gets from where it is restarted. Of a program that stasis has restarted before, user, mount and
 * ipc namespace are those of its init. A user namespace is a fence: outside of it the program would have rights that it had not.
 */
static int check_place(struct op *op, const struct sight *s)
{
	static const char *const names[] = { "user", "mnt", "net", "ipc", "uts", "cgroup" };

	if (s->process != *(struct process **)s->tree->processes.at)
		return 0;
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int init = s->tree->init ? open_task(s->tree->init) : -EBADF;
	uint64_t ours, theirs;
	int r = 0;

	if (self < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int place = (i < 2 || i == 3) && init >= 0 ? init : self;

		if (proc_read_ns(place, names[i], &ours) < 0 || proc_read_ns(s->process->dir, names[i], &theirs) < 0 ||
			ours == theirs)
			continue;
		if (i == 0)
			r = refuse(op, "namespace", "namespaces are not kept yet", "run stasis in it (nsenter -U)",
				"has another user namespace than stasis");
		else
			note(op,
				"it is in another %s namespace than stasis: a restart gives it the one of the caller%s",
				names[i],
				i == 1	 ? ", where its paths may lead elsewhere"
				: i == 3 ? ", or a new one if it has System V shared memory"
					 : "");
	}
	return r;
}

/* ---- the kind ---- */

static int state_check(struct op *op, const struct sight *s)
{
	if (s->process->zombie)
		return 0;
	int r = check_threads(op, s);
	r = worse(r, check_namespaces(op, s));
	return worse(r, check_place(op, s));
}

static int read_oom_score_adj(struct arena *a, int dir, int32_t *ret)
{
	char *text, *end;
	int r = read_text(a, dir, "oom_score_adj", 64, &text, NULL);

	if (r < 0)
		return r;
	long value = strtol(text, &end, 10);
	if (end == text || value < -1000 || value > 1000)
		return -EBADMSG;
	*ret = (int32_t)value;
	return 0;
}

static int read_loginuid(struct arena *a, int dir, uint32_t *ret)
{
	char *text;
	const char *p;
	uint64_t value;
	int r = read_text(a, dir, "loginuid", 64, &text, NULL);

	if (r < 0)
		return r;
	p = text;
	if (parse_u64(&p, 10, &value) < 0 || value > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)value;
	return 0;
}

/* "/autogroup-12 nice 0"; empty where a task has none */
static int read_autogroup(struct arena *a, int dir, int32_t *ret)
{
	char *text, *end;
	int r = read_text(a, dir, "autogroup", 128, &text, NULL);

	if (r < 0)
		return r;
	const char *nice = strstr(text, " nice ");
	if (!nice)
		return -ENOENT;
	long value = strtol(nice + 6, &end, 10);
	if (end == nice + 6 || value < -20 || value > 19)
		return -EBADMSG;
	*ret = (int32_t)value;
	return 0;
}

static int state_save(struct op *op, const struct sight *s, void *rec)
{
	struct state *state = rec;
	const struct process *p = s->process;
	int r = read_oom_score_adj(&op->arena, p->dir, &state->oom_score_adj);

	if (r < 0)
		return fail(op, r, "read its oom_score_adj");
	r = read_loginuid(&op->arena, p->dir, &state->loginuid);
	if (r < 0 && r != -ENOENT)
		return fail(op, r, "read its loginuid");
	state->has_loginuid = r == 0;
	r = p->vsid == p->vpid ? read_autogroup(&op->arena, p->dir, &state->autogroup) : -ENOENT;
	if (r < 0 && r != -ENOENT)
		return fail(op, r, "read its autogroup");
	state->has_autogroup = r == 0;
	return 0;
}

/* a child has that of its parent, which may have kept what it was born with, where there is no right to set it */
static bool knows_loginuid(const struct state *born, uint32_t *ret)
{
	if (!born || !born->is_set)
		return false;
	*ret = born->loginuid;
	return !born->wrote || born->wrote->ret >= 0;
}

/* by the process itself, as the kernel wants it, with the caller's rights still, and before it has threads, which inherit it */
static int state_restore(struct op *op, void *rec, struct site *site)
{
	struct state *state = rec;
	struct batch *b = site->batch;
	static const char path[] = "/proc/self/loginuid";
	uint32_t now = 0;

	if (state->autogroup < -20 || state->autogroup > 19)
		return fail_as(op, OUTCOME_IMAGE, "image-state", NULL, "set the priority of a session");
	state->wrote = NULL;
	state->is_set = false;
	if (!state->has_loginuid)
		return 0;
	bool is_known = knows_loginuid(site->born, &now);
	_cleanup_close_ int dir = is_known ? -EBADF : open_task(site->tid);
	if (!is_known && (dir < 0 || read_loginuid(&op->arena, dir, &now) < 0))
		return 0;
	state->is_set = true;
	if (now == state->loginuid)
		return 0;
	const char *text = arena_printf(&op->arena, "%" PRIu32, state->loginuid);
	BATCH_CALL(b, "open its loginuid", SYS_openat, (uint64_t)AT_FDCWD, batch_in(b, path, sizeof(path)).at,
		O_WRONLY | O_CLOEXEC);
	struct taddr fd = batch_result(b);
	state->wrote =
		BATCH_CALL(b, "set its loginuid", SYS_write, fd.at, batch_in(b, text, strlen(text)).at, strlen(text));
	batch_last(b)->indirect = 1u << 0;
	BATCH_CALL(b, "close its loginuid", SYS_close, fd.at);
	batch_last(b)->indirect = 1u << 0;
	return 0;
}

/* who is not root may set one ten times a second: proc_sched_autogroup_set_nice() in kernel/sched/autogroup.c */
static int settle_autogroup(struct op *op, const struct state *state, int dir)
{
	int32_t now = 0;
	int r = state->has_autogroup ? read_autogroup(&op->arena, dir, &now) : 0;

	if (r < 0 || !state->has_autogroup || now == state->autogroup)
		return r == -ENOENT ? 0 : r < 0 ? fail(op, r, "read its autogroup") : 0;
	const char *text = arena_printf(&op->arena, "%" PRId32, state->autogroup);
	r = write_text(dir, "autogroup", text);
	for (int turn = 0; r == -EAGAIN && turn < 100; turn++) {
		nap_ms(20);
		r = write_text(dir, "autogroup", text);
	}
	if (r < 0)
		note(op, "the nice value of its session is %" PRId32 ", was %" PRId32 ": %s", now, state->autogroup,
			strerror(-r));
	return 0;
}

/* struct own - what stasis has, as all tasks have until one is given another: that may be one's who shares its memory as well */
struct own {
	bool holds;
	int32_t oom_score_adj;
};

static struct own *own_score(struct op *op, struct site *site)
{
	struct own *own = (void *)(uintptr_t)site_known(site, fields);

	if (own)
		return own;
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	own = arena_alloc(&op->arena, sizeof(*own));
	own->holds = self >= 0 && read_oom_score_adj(&op->arena, self, &own->oom_score_adj) == 0;
	site_keep(op, site, fields, own);
	return own;
}

static int state_settle(struct op *op, void *rec, struct site *site)
{
	const struct state *state = rec;
	struct own *own = own_score(op, site);

	if (state->oom_score_adj < -1000 || state->oom_score_adj > 1000)
		return fail(op, -EBADMSG, "set its oom_score_adj to %" PRId32, state->oom_score_adj);
	int32_t now = own->oom_score_adj;
	bool is_known = own->holds && !state->has_autogroup && now == state->oom_score_adj;
	_cleanup_close_ int dir = is_known ? -EBADF : open_task(site->tid);
	int r = is_known ? 0 : dir < 0 ? dir : read_oom_score_adj(&op->arena, dir, &now);
	if (r < 0)
		return fail(op, r, "read its oom_score_adj");
	if (state->wrote && state->wrote->ret < 0)
		note(op, "its loginuid is not %" PRIu32 ", as it was: %s", state->loginuid,
			strerror((int)-state->wrote->ret));
	r = settle_autogroup(op, state, dir);
	if (r < 0 || now == state->oom_score_adj)
		return r;
	own->holds = false;
	r = write_text(dir, "oom_score_adj", arena_printf(&op->arena, "%" PRId32, state->oom_score_adj));
	if (r == -EACCES || r == -EPERM)
		note(op, "its oom_score_adj is %" PRId32 ", was %" PRId32 ": the right to set it is missing", now,
			state->oom_score_adj);
	else if (r < 0)
		return fail(op, r, "set its oom_score_adj to %" PRId32, state->oom_score_adj);
	return 0;
}

const struct kind kind_task_state = {
	.name = "state",
	.tag = 0x2f,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct state),
	.fields = fields,
	.check = state_check,
	.save = state_save,
	.restore = state_restore,
	.settle = state_settle,
};
