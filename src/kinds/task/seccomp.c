/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seccomp - the filters that judge the system calls of a thread: seccomp(2)
 *
 * Saving: PTRACE_O_SUSPEND_SECCOMP ends with stasis, and a thread that was in the stub just then would be judged, and perhaps
 * killed, on its way home. So filters are never suspended: each call of the stub is first put to the filters here, by
 * running them, and a thread is only set going when they let all of them through. Where this user cannot read filters, but
 * thread, parent of the program and stasis have equally many, these are taken for those of the place (a container, a
 * service), under which stasis itself is; a process of ours makes the calls first.
 *
 * Restarting: the tasks die with stasis, so filters are suspended, and put back while the threads have the rights for it.
 * What all threads of a process share is put on all at once. Filters of the place stay where they are: a restarted
 * program gets those of the caller of the restart besides its own.
 *
 * Strict mode is refused: it lets a thread read, write, exit and sigreturn, and kills it for any other call, so nothing can be
 * asked of it; and to suspend it would leave the thread to be killed as soon as stasis dies.
 *
 * Seen: /proc/PID/status (Seccomp, Seccomp_filters); PTRACE_SECCOMP_GET_FILTER, PTRACE_SECCOMP_GET_METADATA.
 * Lost: that some threads share a filter that others lack (SECCOMP_FILTER_FLAG_TSYNC tells). Filters that ask a supervisor
 *	(SECCOMP_RET_USER_NOTIF) are refused.
 * Needs: CAP_SYS_ADMIN and to be unfiltered, to read and to put back filters; CONFIG_CHECKPOINT_RESTORE.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/cbpf.h"

#ifndef PTRACE_SECCOMP_GET_METADATA
#define PTRACE_SECCOMP_GET_METADATA 0x420d
#endif

#define USER_NS_INIT 0xEFFFFFFDu /* PROC_USER_INIT_INO */
#define FILTERS_MAX  4096

struct filter {
	uint32_t flags; /* SECCOMP_FILTER_FLAG_LOG */
	struct span code; /* struct sock_filter */
};

struct seccomp {
	uint32_t place; /* how many filters it had of the place; then it has no others */
	uint32_t common; /* how many of its filters all threads of the process share */
	struct span shared; /* of struct filter, the oldest first: those, in the record of the first that lives */
	struct span own; /* the others */
	struct span all; /* while saving */
};

extern const struct kind kind_task_seccomp;

/* struct metadata - struct seccomp_metadata */
struct metadata {
	uint64_t filter_off, flags;
};

/* struct inspector - the judge of a thread */
struct inspector {
	struct call_judge judge;
	struct op *op;
	const struct span *filters; /* NULL: nobody can read them */
};

static const struct flag filter_flags[] = {
	{ SECCOMP_FILTER_FLAG_LOG, "LOG" },
	{ 0, NULL },
};

static const struct field filter_fields[] = {
	FIELD_B(1, struct filter, flags, "seccomp_filter.log", filter_flags),
	FIELD_BLOB(2, struct filter, code, "seccomp_filter.prog"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_U(1, struct seccomp, place, "seccomp.filter_count"),
	FIELD_U(2, struct seccomp, common, "seccomp.filter_count"),
	FIELD_A(3, struct seccomp, shared, "seccomp.filter", filter_fields, struct filter),
	FIELD_A(4, struct seccomp, own, "seccomp.filter", filter_fields, struct filter),
	FIELDS_END,
};

/* ---- who may see what ---- */

static int read_status(struct op *op, pid_t pid, struct proc_status *ret)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc < 0 ? -EBADF : proc_open(proc, pid);

	return dir < 0 ? dir : proc_read_status(&op->arena, dir, ret);
}

static bool in_first_user_ns(void)
{
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	uint64_t ns = 0;

	return self >= 0 && proc_read_ns(self, "user", &ns) == 0 && ns == USER_NS_INIT;
}

static bool may_read(struct op *op)
{
	struct proc_status own;

	return read_status(op, getpid(), &own) == 0 && own.seccomp == SECCOMP_MODE_DISABLED &&
	       own.cap_eff >> CAP_SYS_ADMIN & 1 && in_first_user_ns();
}

/* are the filters of the thread those that everybody here has, as far as this can be seen? */
static bool is_of_place(struct op *op, const struct sight *s)
{
	const struct process *root = *(struct process **)s->tree->processes.at;
	const struct proc_status *theirs = &s->thread->status;
	struct proc_status own, parent;

	return root->status.ppid > 0 && read_status(op, getpid(), &own) == 0 &&
	       read_status(op, root->status.ppid, &parent) == 0 && own.seccomp == SECCOMP_MODE_FILTER &&
	       parent.seccomp == SECCOMP_MODE_FILTER && own.seccomp_filters == theirs->seccomp_filters &&
	       parent.seccomp_filters == theirs->seccomp_filters;
}

/* ---- reading ---- */

static int read_filter(struct op *op, pid_t tid, uint64_t n, struct filter *ret)
{
	struct metadata meta = { .filter_off = n };
	long len = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)n, NULL);

	if (len < 0)
		return -errno;
	struct sock_filter *code = arena_array(&op->arena, (size_t)len, sizeof(*code));
	if (ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)n, code) != len)
		return -EIO;
	*ret = (struct filter){ .code = { code, (size_t)len * sizeof(*code), 0 } };
	if (ptrace((enum __ptrace_request)PTRACE_SECCOMP_GET_METADATA, tid, (void *)sizeof(meta), &meta) < 0)
		return errno == EIO ? 0 : -errno; /* before Linux 4.16, and those have no flags */
	ret->flags = (uint32_t)meta.flags;
	if (meta.flags & ~(uint64_t)SECCOMP_FILTER_FLAG_LOG)
		return refuse(op, "seccomp-flags", "this version has not considered them", NULL,
			"has a seccomp filter with the flags %#" PRIx64, meta.flags);
	return 0;
}

static int read_filters(struct op *op, pid_t tid, struct span *ret)
{
	for (uint64_t n = 0; n < FILTERS_MAX; n++) {
		struct filter f;
		int r = read_filter(op, tid, n, &f);

		if (r == -ENOENT)
			return 0;
		if (r == -EINVAL && n == 0) /* this one has none */
			return 0;
		if (r == -EOPNOTSUPP)
			return r;
		if (r < 0)
			return fail(op, r, "read the seccomp filters of a thread");
		*(struct filter *)span_push(&op->arena, ret, sizeof(f)) = f;
	}
	return fail(op, -E2BIG, "read the seccomp filters of a thread");
}

static bool same_filter(const struct filter *a, const struct filter *b)
{
	return a->flags == b->flags && a->code.n == b->code.n && memcmp(a->code.at, b->code.at, a->code.n) == 0;
}

/* a verdict that is not a constant could be any; one that asks a supervisor cannot be given without him */
static int check_verdicts(struct op *op, const struct filter *f)
{
	const struct sock_filter *code = f->code.at;

	for (size_t i = 0; i < f->code.n / sizeof(*code); i++)
		if (code[i].code == (BPF_RET | BPF_A) ||
			(code[i].code == (BPF_RET | BPF_K) &&
				(code[i].k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF))
			return refuse(op, "seccomp-notify", "it would come back without the other process", NULL,
				"has a seccomp filter that asks another process what to do");
	return 0;
}

static int count_common(struct op *op, const struct sight *s, struct seccomp *sec)
{
	const struct thread *t = s->process->threads.at;
	const struct filter *mine = sec->all.at;

	sec->common = (uint32_t)sec->all.n;
	for (size_t i = 1; i < s->process->threads.n && sec->common; i++) {
		struct span theirs = { 0 };
		int r = read_filters(op, t[i].tid, &theirs);
		uint32_t n = 0;

		if (r < 0)
			return r;
		while (n < sec->common && n < theirs.n && same_filter(&mine[n], (struct filter *)theirs.at + n))
			n++;
		sec->common = n;
	}
	return 0;
}

static const struct seccomp *of_first(const struct sight *s)
{
	const struct thread *first = s->process->threads.at;

	return part_record(&first->parts, &kind_task_seccomp);
}

/* ---- the judge ---- */

static int judge_call(const struct span *filters, const struct stub_call *c, uint32_t *ret)
{
	const struct filter *f = filters->at;
	struct seccomp_data data = { .nr = (int)c->nr, .arch = arch_audit() };

	memcpy(data.args, c->arg, sizeof(data.args));
	for (size_t i = 0; i < filters->n; i++) {
		uint32_t verdict = 0;
		int r = cbpf_run(f[i].code.at, f[i].code.n / sizeof(struct sock_filter), &data, &verdict);

		if (r < 0)
			return r;
		*ret = verdict & SECCOMP_RET_ACTION_FULL;
		if (*ret != SECCOMP_RET_ALLOW && *ret != SECCOMP_RET_LOG)
			return -EACCES;
	}
	return 0;
}

static int tell_refusal(struct op *op, const char *what, uint32_t nr)
{
	return fail_as(op, OUTCOME_CANNOT, "seccomp-forbids", "let its seccomp filter allow the call",
		"%s: a seccomp filter of the thread does not allow system call %" PRIu32, what, nr);
}

/*
 * The filters are those that stasis has: a process of ours makes the calls, with the same numbers and arguments. They only
 * look, and what they write finds no memory at the addresses of another.
 */
static bool survives(const struct stub_call *const *calls, size_t n)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		for (size_t i = 0; i < n; i++) {
			const uint64_t *a = calls[i]->arg;

			if (calls[i]->nr == SYS_tkill)
				syscall(SYS_tkill, syscall(SYS_gettid), 0);
			else
				syscall(calls[i]->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		}
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int allows(
	const struct call_judge *judge, const struct stub_call *const *calls, const char *const *what, size_t n)
{
	const struct inspector *in = (const struct inspector *)judge;

	if (!in->filters)
		return survives(calls, n) ? 0
		       : !what		  ? -EACCES
					  : fail_as(in->op, OUTCOME_CANNOT, "seccomp-forbids", NULL,
						    "ask for its state: the seccomp filters of this place end who asks");
	for (size_t i = 0; i < n; i++) {
		uint32_t verdict = 0;
		int r = calls[i]->indirect ? -ENODATA : judge_call(in->filters, calls[i], &verdict);

		if (r < 0 && !what)
			return r;
		if (r == -ENODATA)
			return fail_as(in->op, OUTCOME_CANNOT, "seccomp-forbids", NULL,
				"%s: a seccomp filter of the thread goes by what cannot be known beforehand", what[i]);
		if (r < 0)
			return tell_refusal(in->op, what[i], calls[i]->nr);
	}
	return 0;
}

/*
 * A sleep that was interrupted goes on by restart_syscall(2), which filters see, and many do not know. There the call is made
 * anew, as the thread would die of any stop otherwise.
 */
static int avoid_restart(struct op *op, struct held *h)
{
	const struct stub_call restart = { .nr = SYS_restart_syscall };
	struct span filters = { 0 };
	uint32_t verdict;

	if (arch_interrupted(&h->regs) != RESTARTS_BY_BLOCK)
		return 0;
	int r = read_filters(op, h->tid, &filters);
	if (r < 0 || judge_call(&filters, &restart, &verdict) == 0)
		return r;
	arch_restart_call(&h->regs);
	r = arch_set_regs(h->tid, &h->regs);
	if (r < 0)
		return fail(op, r, "make the interrupted sleep of a thread begin anew");
	note(op, "a sleep begins anew: a seccomp filter does not let the kernel go on with it (restart_syscall)");
	return 0;
}

static int seccomp_check(struct op *op, const struct sight *s)
{
	uint32_t mode = s->thread->status.seccomp;

	if (mode == SECCOMP_MODE_DISABLED)
		return 0;
	if (mode == SECCOMP_MODE_STRICT)
		return refuse(op, "seccomp-strict",
			"the kernel ends such a thread for any call but read, write, exit and sigreturn: it cannot be "
			"asked",
			NULL, "is in strict seccomp mode");
	if (mode != SECCOMP_MODE_FILTER)
		return refuse(op, "seccomp-mode", "this version has not considered it", NULL,
			"is in seccomp mode %" PRIu32, mode);
	if (may_read(op) && s->tree->frozen)
		return avoid_restart(op, (struct held *)&s->thread->held);
	if (may_read(op)) {
		note(op, "has a seccomp filter: whether it lets stasis ask is seen when it stands still");
		return 0;
	}
	if (!is_of_place(op, s))
		return refuse(op, "seccomp", "the kernel shows filters to CAP_SYS_ADMIN only, and to who has none",
			"run stasis as root, outside of a sandbox", "has a seccomp filter");
	if (s->thread->tid == s->process->tid)
		note(op,
			"has the seccomp filters of this place (%" PRIu32
			"), as far as can be seen: a restart gives it those of its own place",
			s->thread->status.seccomp_filters);
	return 0;
}

/* ---- saving ---- */

static int seccomp_admit(struct op *op, const struct sight *s, void *rec)
{
	struct seccomp *sec = rec;
	int r = 0;

	if (s->thread->status.seccomp == SECCOMP_MODE_DISABLED)
		return 0;
	struct inspector *in = arena_alloc(&op->arena, sizeof(*in));
	*in = (struct inspector){ .judge = { allows, s->thread->vtid }, .op = op };
	if (may_read(op)) {
		r = read_filters(op, s->thread->tid, &sec->all);
		for (size_t i = 0; i < sec->all.n && r == 0; i++)
			r = check_verdicts(op, (struct filter *)sec->all.at + i);
		if (r < 0)
			return r;
		in->filters = &sec->all;
	} else {
		sec->place = s->thread->status.seccomp_filters;
	}
	s->batch->h->judge = &in->judge;
	return 0;
}

static int seccomp_save(struct op *op, const struct sight *s, void *rec)
{
	struct seccomp *sec = rec;
	const struct seccomp *first = of_first(s);
	const struct filter *all = sec->all.at;

	if (first == sec) {
		int r = count_common(op, s, sec);
		if (r < 0)
			return r;
		sec->shared = (struct span){ sec->all.at, sec->common, 0 };
	} else {
		sec->common = first ? first->common : 0;
	}
	for (size_t i = sec->common; i < sec->all.n; i++)
		*(struct filter *)span_push(&op->arena, &sec->own, sizeof(struct filter)) = all[i];
	return 0;
}

/* ---- restarting ---- */

static int put_back(struct op *op, struct batch *b, const struct span *filters, bool all_threads)
{
	const struct filter *f = filters->at;

	if (filters->n > FILTERS_MAX)
		return fail_as(op, OUTCOME_IMAGE, "image-seccomp", NULL, "put back %zu seccomp filters", filters->n);
	for (size_t i = 0; i < filters->n; i++) {
		size_t len = f[i].code.n / sizeof(struct sock_filter);
		uint64_t flags = f[i].flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW; /* prctl knows what is restricted */

		if (!len || len > BPF_MAXINSNS || f[i].code.n % sizeof(struct sock_filter))
			return fail_as(op, OUTCOME_IMAGE, "image-seccomp", NULL,
				"put back a seccomp filter of %zu bytes", f[i].code.n);
		if (!batch_has_room(b, 4, f[i].code.n + 4096)) {
			int r = batch_run(b);
			if (r < 0)
				return fail(op, r, "%s", batch_what(b));
		}
		struct sock_fprog prog = { (unsigned short)len, (void *)batch_in(b, f[i].code.at, f[i].code.n).at };
		if (all_threads)
			flags |= SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
		BATCH_MUST(b, "put back a seccomp filter", SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags,
			batch_in(b, &prog, sizeof(prog)).at);
	}
	return 0;
}

static void note_place(struct op *op, const struct seccomp *sec)
{
	struct proc_status own;

	if (read_status(op, getpid(), &own) == 0 && own.seccomp_filters != sec->place)
		note(op, "it is under the %" PRIu32 " seccomp filters of this place, was under %" PRIu32,
			own.seccomp_filters, sec->place);
}

/* the first comes last: all others are ready by then */
static int seccomp_restore(struct op *op, void *rec, struct site *site)
{
	const struct seccomp *sec = rec;

	if (site->first && (sec->place || sec->common || sec->own.n))
		note_place(op, sec);
	if (!sec->common && !sec->own.n && !sec->shared.n)
		return 0;
	if (sec->shared.n && (!site->first || sec->shared.n != sec->common))
		return fail_as(op, OUTCOME_IMAGE, "image-seccomp", NULL, "put back seccomp filters of a thread");
	int r = hold_suspend_seccomp(site->held);
	if (r == -EPERM)
		return fail_as(op, OUTCOME_PERMISSION, "seccomp", "run stasis as root, outside of a sandbox",
			"put back its seccomp filters: that takes CAP_SYS_ADMIN, and a stasis without filters of its "
			"own");
	if (r < 0)
		return fail(op, r, "put off its seccomp filters");
	return put_back(op, site->batch, &sec->shared, true);
}

/* the first thread gives filters to all, which then must be suspended in the others */
static bool seccomp_concerns_all(const void *rec)
{
	const struct seccomp *sec = rec;

	return sec->common || sec->own.n || sec->shared.n;
}

static int seccomp_link(struct op *op, void *rec, struct site *site)
{
	return put_back(op, site->batch, &((const struct seccomp *)rec)->own, false);
}

static void describe_filters(const struct span *filters, const char *whose, FILE *out)
{
	const struct filter *f = filters->at;

	for (size_t i = 0; i < filters->n; i++)
		fprintf(out, " %s filter of %zu instructions%s", whose, f[i].code.n / sizeof(struct sock_filter),
			f[i].flags & SECCOMP_FILTER_FLAG_LOG ? ", logs" : "");
}

static void seccomp_describe(const void *rec, FILE *out)
{
	const struct seccomp *sec = rec;

	if (sec->place)
		fprintf(out, " %" PRIu32 " filters of the place", sec->place);
	describe_filters(&sec->shared, "common", out);
	describe_filters(&sec->own, "own", out);
}

const struct kind kind_task_seccomp = {
	.name = "seccomp",
	.tag = 0x32,
	.scope = SCOPE_THREAD,
	.common = true,
	.by_tracer = true,
	.size = sizeof(struct seccomp),
	.fields = fields,
	.check = seccomp_check,
	.admit = seccomp_admit,
	.save = seccomp_save,
	.restore = seccomp_restore,
	.concerns_all = seccomp_concerns_all,
	.link = seccomp_link,
	.describe = seccomp_describe,
};
