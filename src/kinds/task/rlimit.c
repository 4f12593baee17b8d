/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rlimit - what a process may use: getrlimit(2)
 *
 * Set from outside, as the process may have lost the right to it: creds drops rights when it settles.
 *
 * Seen: prlimit() by the process itself, which needs no right.
 * Lost: a hard limit above the one here, where the caller may not raise it (named). What has been used counts from zero again,
 *	and so does that of children that have been waited for: time on processors (RLIMIT_CPU, times(2), clocks of processes
 *	and threads), page faults, switches, I/O (getrusage(2), /proc/PID/io, acct(5)). So does its age: it was started when it
 *	was restarted (/proc/PID/stat). Its control group is that of the caller, or one of its own.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

struct limit {
	uint32_t resource; /* RLIMIT_* */
	uint64_t soft, hard; /* UINT64_MAX: unlimited */
};

struct limits {
	struct span limits; /* of struct limit */
	const struct rlimit64 *asked;
};

static const struct field limit_fields[] = {
	FIELD_U(1, struct limit, resource, ""),
	FIELD_U(2, struct limit, soft, "rlimit.rlim_cur"),
	FIELD_U(3, struct limit, hard, "rlimit.rlim_max"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct limits, limits, "signal_struct.rlim", limit_fields, struct limit),
	FIELDS_END,
};

static const char *const names[] = {
	[RLIMIT_CPU] = "cpu time",
	[RLIMIT_FSIZE] = "file size",
	[RLIMIT_DATA] = "data size",
	[RLIMIT_STACK] = "stack size",
	[RLIMIT_CORE] = "core file size",
	[RLIMIT_RSS] = "resident set",
	[RLIMIT_NPROC] = "processes",
	[RLIMIT_NOFILE] = "open files",
	[RLIMIT_MEMLOCK] = "locked memory",
	[RLIMIT_AS] = "address space",
	[RLIMIT_LOCKS] = "file locks",
	[RLIMIT_SIGPENDING] = "pending signals",
	[RLIMIT_MSGQUEUE] = "msgqueue size",
	[RLIMIT_NICE] = "nice priority",
	[RLIMIT_RTPRIO] = "realtime priority",
	[RLIMIT_RTTIME] = "realtime timeout",
};

/* which limits there are one process tells for all; what they are each says by itself */
static int limits_check(struct op *op, const struct sight *s)
{
	struct proc_limit seen[PROC_LIMITS];

	if (s->process != *(struct process **)s->tree->processes.at)
		return 0;
	int r = proc_read_limits(&op->arena, s->process->dir, seen);

	if (r == -EPROTONOSUPPORT)
		return refuse(op, "rlimit", "this kernel has a limit that is not known", NULL,
			"has limits that cannot be kept");
	return r < 0 ? fail(op, r, "read its limits") : 0;
}

static int limits_ask(struct op *op, const struct sight *s, void *rec)
{
	struct limits *l = rec;
	struct taddr out = batch_out(s->batch, ARRAY_SIZE(names) * sizeof(*l->asked), &l->asked);

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++, out.at += sizeof(*l->asked))
		BATCH_MUST(s->batch, "read a limit", SYS_prlimit64, 0, i, 0, out.at);
	return 0;
}

static int limits_save(struct op *op, const struct sight *s, void *rec)
{
	struct limits *l = rec;

	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++)
		*(struct limit *)span_push(&op->arena, &l->limits, sizeof(struct limit)) =
			(struct limit){ i, l->asked[i].rlim_cur, l->asked[i].rlim_max };
	return 0;
}

static const char *value(struct op *op, uint64_t v)
{
	return v == RLIM64_INFINITY ? "unlimited" : arena_printf(&op->arena, "%" PRIu64, v);
}

/* those of stasis: all tasks have them until this changes it, but for that of locked memory, which core raises where it locks */
static const struct rlimit64 *own_limits(struct op *op, struct site *site)
{
	struct rlimit64 *own = (void *)(uintptr_t)site_known(site, names);

	if (own)
		return own;
	own = arena_array(&op->arena, ARRAY_SIZE(names), sizeof(*own));
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (prlimit64(0, (__rlimit_resource_t)i, NULL, &own[i]) < 0)
			return NULL;
	site_keep(op, site, names, own);
	return own;
}

/* prlimit(), not syscall(): the type of its second argument is an enum */
static int set_limit(struct op *op, struct site *site, const struct limit *l)
{
	const __rlimit_resource_t resource = (__rlimit_resource_t)l->resource;
	const struct rlimit64 *own = l->resource == RLIMIT_MEMLOCK ? NULL : own_limits(op, site);
	struct rlimit64 now, set = { l->soft, l->hard };
	const pid_t pid = site->tid;

	if (own)
		now = own[l->resource];
	else if (prlimit64(pid, resource, NULL, &now) < 0)
		return fail(op, -errno, "read the limit of %s", names[l->resource]);
	if (memcmp(&now, &set, sizeof(now)) == 0 || prlimit64(pid, resource, &set, NULL) == 0)
		return 0;
	if (errno == EPERM && set.rlim_max > now.rlim_max) {
		note(op, "the hard limit of %s is %s here, was %s", names[l->resource], value(op, now.rlim_max),
			value(op, set.rlim_max));
		set.rlim_max = now.rlim_max;
		if (set.rlim_cur > now.rlim_max)
			set.rlim_cur = now.rlim_max;
		if (prlimit64(pid, resource, &set, NULL) == 0)
			return 0;
	}
	return fail(op, -errno, "set the limit of %s", names[l->resource]);
}

static int limits_settle(struct op *op, void *rec, struct site *site)
{
	const struct limits *l = rec;
	const struct limit *limit = l->limits.at;
	int r = 0;

	for (size_t i = 0; i < l->limits.n && r == 0; i++, limit++) {
		if (limit->resource >= ARRAY_SIZE(names) || limit->soft > limit->hard)
			return fail(op, -EBADMSG, "set limit number %" PRIu32, limit->resource);
		r = set_limit(op, site, limit);
	}
	return r;
}

static void limits_describe(const void *rec, FILE *out)
{
	const struct limits *l = rec;
	const struct limit *limit = l->limits.at;

	for (size_t i = 0; i < l->limits.n; i++, limit++)
		if (limit->resource == RLIMIT_NOFILE)
			fprintf(out, " nofile=%" PRIu64 "/%" PRIu64 " and %zu more", limit->soft, limit->hard,
				l->limits.n - 1);
}

const struct kind kind_task_rlimit = {
	.name = "rlimit",
	.tag = 0x29,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct limits),
	.fields = fields,
	.check = limits_check,
	.ask = limits_ask,
	.save = limits_save,
	.settle = limits_settle,
	.describe = limits_describe,
};
