/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sched - when and where a thread runs: sched(7), sched_setattr(2), sched_setaffinity(2), ioprio_set(2),
 * set_mempolicy(2)
 *
 * Seen: sched_getattr(), getpriority(), sched_getaffinity(), ioprio_get(); prctl(PR_GET_TIMERSLACK) and get_mempolicy() by the
 *	thread itself.
 * Lost: CPUs and memory nodes that are not here, utilization clamps where there are none, priorities that the caller may not
 *	give (all named). Memory policies of single mappings (mbind(2)). The default timer slack, to which PR_SET_TIMERSLACK can
 *	go back, is that of the caller. All of a first thread that has ended.
 * Needs: nothing.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define CPU_BYTES	1024 /* 8192 CPUs */
#define CPU_BYTES_ALIKE 64 /* of them those that are compared */
#define NODE_BITS	1024
#define MODES		7 /* MPOL_DEFAULT to MPOL_WEIGHTED_INTERLEAVE */
#define IOPRIO_TASK	1 /* IOPRIO_WHO_PROCESS */
#define IOPRIO_SHIFT	13 /* IOPRIO_CLASS_SHIFT */
#define IOPRIO_IDLE	3 /* IOPRIO_CLASS_IDLE, the last one */
#define UTIL_CLAMP	0x60 /* SCHED_FLAG_UTIL_CLAMP */
#define POLICY_MAX	7 /* SCHED_EXT */
#define ATTR_VERSION	56 /* SCHED_ATTR_SIZE_VER1 */

/* struct attr - struct sched_attr, whose header does not go with libc's sched.h */
struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};

struct sched {
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period; /* runtime of other policies than DEADLINE: the slice; 0: the default one */
	uint32_t util_min, util_max;
	uint64_t timer_slack; /* ns; 0: what the policy gives */
	uint32_t ioprio;
	struct span cpus; /* a bit each, the lowest first; empty: all that there are */
	uint32_t mempolicy, mempolicy_flags; /* MPOL_*, MPOL_F_* */
	struct span nodes; /* of the memory policy, a bit each */
	const struct stub_call *slack, *asked_mempolicy;
	const int *mode;
	const unsigned char *node_mask;
};

_Static_assert(sizeof(struct attr) == ATTR_VERSION, "the kernel's layout");

static const struct flag sched_flags[] = {
	{ 0x01, "RESET_ON_FORK" },
	{ 0x02, "RECLAIM" },
	{ 0x04, "DL_OVERRUN" },
	{ 0, NULL },
};

static const struct flag mempolicy_flags[] = {
	{ 1 << 15, "STATIC_NODES" },
	{ 1 << 14, "RELATIVE_NODES" },
	{ 1 << 13, "NUMA_BALANCING" },
	{ 0, NULL },
};

#define MODE_FLAGS 0xe000 /* all of them */

static const struct field fields[] = {
	FIELD_U(1, struct sched, policy, "task_struct.policy"),
	FIELD_B(2, struct sched, flags, "task_struct.sched_reset_on_fork", sched_flags),
	FIELD_I(3, struct sched, nice, "task_struct.static_prio"),
	FIELD_U(4, struct sched, priority, "task_struct.rt_priority"),
	FIELD_U(5, struct sched, runtime, "sched_dl_entity.dl_runtime"),
	FIELD_U(6, struct sched, deadline, "sched_dl_entity.dl_deadline"),
	FIELD_U(7, struct sched, period, "sched_dl_entity.dl_period"),
	FIELD_U(8, struct sched, util_min, "task_struct.uclamp_req"),
	FIELD_U(9, struct sched, util_max, "task_struct.uclamp_req"),
	FIELD_U(10, struct sched, timer_slack, "task_struct.timer_slack_ns"),
	FIELD_U(11, struct sched, ioprio, "io_context.ioprio"),
	FIELD_BLOB(12, struct sched, cpus, "task_struct.cpus_mask"),
	FIELD_U(13, struct sched, mempolicy, "mempolicy.mode"),
	FIELD_B(14, struct sched, mempolicy_flags, "mempolicy.flags", mempolicy_flags),
	FIELD_BLOB(15, struct sched, nodes, "mempolicy.nodes"),
	FIELDS_END,
};

static const char unconsidered[] = "this version has not considered it";

static int read_attr(pid_t tid, struct attr *a)
{
	*a = (struct attr){ 0 };
	return syscall(SYS_sched_getattr, tid, a, sizeof(*a), 0) < 0 ? -errno : 0;
}

/* struct wide_attr - with room for what a later kernel has */
struct wide_attr {
	struct attr known;
	unsigned char more[256 - sizeof(struct attr)];
};

/* a kernel that has more cuts its answer to what is asked for and says nothing: is any of it set? */
static int read_all_attr(pid_t tid, struct attr *a, bool *ret_more)
{
	static const struct wide_attr none;
	struct wide_attr all = { 0 };

	if (syscall(SYS_sched_getattr, tid, &all, sizeof(all), 0) < 0)
		return -errno;
	*a = all.known;
	*ret_more = memcmp(all.more, none.more, sizeof(none.more)) != 0;
	return 0;
}

static size_t count_cpus(const unsigned char *mask, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += (size_t)__builtin_popcount(mask[i]);
	return n;
}

/* the CPUs that thread @tid may use, into CPU_BYTES zeroed ones; how many of the bytes count */
static ssize_t read_cpus(pid_t tid, unsigned char *mask)
{
	long n = syscall(SYS_sched_getaffinity, tid, CPU_BYTES, mask);

	if (n < 0)
		return -errno;
	while (n > 0 && !mask[n - 1])
		n--;
	return n;
}

/* A slice that is as long as our own is the default one of this machine. */
static int save_attr(struct op *op, const struct sight *s, struct sched *sched)
{
	struct attr a = { 0 }, own;
	bool more = false;
	int r = read_all_attr(s->thread->tid, &a, &more);

	if (r == 0)
		r = read_attr(0, &own);
	if (r < 0)
		return fail(op, r, "read the scheduling attributes of a thread");
	sched->policy = a.policy;
	sched->flags = a.flags & ~(uint64_t)UTIL_CLAMP;
	if (sched->flags & ~(uint64_t)7)
		return refuse(
			op, "sched-flags", unconsidered, NULL, "has the scheduling flags %#" PRIx64, sched->flags);
	if (a.policy > POLICY_MAX || more)
		return refuse(op, "sched-policy", unconsidered, NULL,
			"has scheduling policy %" PRIu32 " with attributes that are not known", a.policy);
	sched->priority = a.priority;
	sched->runtime = a.policy != SCHED_DEADLINE && a.runtime == own.runtime ? 0 : a.runtime;
	sched->deadline = a.deadline;
	sched->period = a.period;
	sched->util_min = a.util_min;
	sched->util_max = a.util_max;
	return 0;
}

static int sched_ask(struct op *op, const struct sight *s, void *rec)
{
	struct sched *sched = rec;

	sched->slack = BATCH_CALL(s->batch, "read the timer slack", SYS_prctl, PR_GET_TIMERSLACK);
	struct taddr mode = batch_out(s->batch, sizeof(int), &sched->mode);
	struct taddr nodes = batch_out(s->batch, NODE_BITS / 8, &sched->node_mask);
	sched->asked_mempolicy =
		BATCH_CALL(s->batch, "read the memory policy", SYS_get_mempolicy, mode.at, nodes.at, NODE_BITS, 0, 0);
	return 0;
}

static int save_mempolicy(struct op *op, struct sched *sched)
{
	size_t n = NODE_BITS / 8;

	if (sched->asked_mempolicy->ret == -ENOSYS) /* no CONFIG_NUMA */
		return 0;
	if (sched->asked_mempolicy->ret < 0)
		return fail(op, (int)sched->asked_mempolicy->ret, "read the memory policy of a thread");
	uint32_t mode = (uint32_t)*sched->mode & ~(uint32_t)MODE_FLAGS;
	if (mode >= MODES)
		return refuse(
			op, "mempolicy", unconsidered, NULL, "has the memory policy %#x", (unsigned int)*sched->mode);
	sched->mempolicy = mode;
	sched->mempolicy_flags = (uint32_t)*sched->mode & MODE_FLAGS;
	while (n > 0 && !sched->node_mask[n - 1])
		n--;
	sched->nodes = (struct span){ .at = (void *)sched->node_mask, .n = n };
	return 0;
}

static int sched_save(struct op *op, const struct sight *s, void *rec)
{
	struct sched *sched = rec;
	unsigned char mask[CPU_BYTES] = { 0 };
	pid_t tid = s->thread->tid;

	int r = save_attr(op, s, sched);
	if (r < 0)
		return r;
	errno = 0;
	sched->nice = getpriority(PRIO_PROCESS, (id_t)tid);
	if (errno)
		return fail(op, -errno, "read the nice value of a thread");
	ssize_t n = read_cpus(tid, mask);
	if (n < 0)
		return fail(op, (int)n, "read the CPUs that a thread may use");
	if (count_cpus(mask, (size_t)n) != s->tree->cpus)
		sched->cpus = (struct span){ .at = arena_dup(&op->arena, mask, (size_t)n), .n = (size_t)n };
	long ioprio = syscall(SYS_ioprio_get, IOPRIO_TASK, tid);
	if (ioprio < 0 && errno != ENOSYS)
		return fail(op, -errno, "read the I/O priority of a thread");
	sched->ioprio = ioprio < 0 ? 0 : (uint32_t)ioprio;
	if (sched->ioprio >> IOPRIO_SHIFT > IOPRIO_IDLE)
		return refuse(op, "ioprio", unconsidered, NULL, "has the I/O priority %#" PRIx32, sched->ioprio);
	if (sched->slack->ret < 0)
		return fail(op, (int)sched->slack->ret, "read the timer slack of a thread");
	sched->timer_slack = (uint64_t)sched->slack->ret;
	return save_mempolicy(op, sched);
}

/* whether the kernel's refusal is about rights or means, which a note tells */
static bool is_refusal(int err)
{
	return err == EPERM || err == EACCES || err == EBUSY || err == EOPNOTSUPP;
}

static int settle_nice(struct op *op, pid_t tid, const struct sched *s)
{
	errno = 0;
	int now = getpriority(PRIO_PROCESS, (id_t)tid);

	if (errno || now == s->nice || setpriority(PRIO_PROCESS, (id_t)tid, s->nice) == 0)
		return 0;
	if (!is_refusal(errno))
		return fail(op, -errno, "set the nice value %" PRId32, s->nice);
	note(op, "its nice value is %d, was %" PRId32 ": the right to set it is missing", now, s->nice);
	return 0;
}

/* what is to be set for a thread that has @now, whose nice value comes by itself; equal to it where it is as it should be */
static struct attr wanted_attr(const struct sched *s, struct attr *now)
{
	struct attr set = { .size = ATTR_VERSION, .policy = s->policy, .flags = s->flags, .nice = now->nice };

	set.priority = s->priority;
	set.runtime = s->runtime ? s->runtime : now->runtime;
	set.deadline = s->deadline;
	set.period = s->period;
	set.util_min = s->util_min;
	set.util_max = s->util_max;
	now->size = set.size;
	now->flags &= ~(uint64_t)UTIL_CLAMP;
	bool has_clamps = s->util_min || s->util_max; /* without CONFIG_UCLAMP_TASK both are 0 */
	if (!has_clamps) {
		set.util_min = now->util_min;
		set.util_max = now->util_max;
	}
	return set;
}

static int settle_attr(struct op *op, pid_t tid, const struct sched *s)
{
	struct attr now;
	int r = read_attr(tid, &now);

	if (r < 0)
		return fail(op, r, "read the scheduling attributes of a thread");
	/* sched_getattr(2) does not tell it of who has a real-time policy now, as the caller may */
	now.nice = getpriority(PRIO_PROCESS, (id_t)tid);
	struct attr set = wanted_attr(s, &now);
	bool clamps = set.util_min != now.util_min || set.util_max != now.util_max;
	if (memcmp(&now, &set, sizeof(now)) == 0)
		return 0;
	set.runtime = s->runtime; /* 0 keeps the default slice */
	if (clamps)
		set.flags |= UTIL_CLAMP;
	int done = (int)syscall(SYS_sched_setattr, tid, &set, 0);
	if (done < 0 && clamps && errno == EOPNOTSUPP) {
		if (s->util_min != 0 || s->util_max != 1024) /* other than the default */
			note(op, "its utilization clamps are not kept: this kernel has none");
		set.flags &= ~(uint64_t)UTIL_CLAMP;
		set.util_min = set.util_max = 0;
		done = (int)syscall(SYS_sched_setattr, tid, &set, 0);
	}
	if (done == 0)
		return 0;
	if (!is_refusal(errno))
		return fail(op, -errno, "set scheduling policy %" PRIu32, s->policy);
	note(op, "its scheduling policy %" PRIu32 " with priority %" PRIu32 " could not be set: %s", s->policy,
		s->priority, strerror(errno));
	return 0;
}

static int settle_cpus(struct op *op, pid_t tid, size_t online, const struct span *cpus)
{
	unsigned char now[CPU_BYTES] = { 0 }, set[CPU_BYTES] = { 0 };

	if (cpus->n > sizeof(set))
		return fail(op, -EBADMSG, "bind a thread to CPUs above %d", CPU_BYTES * 8);
	if (!cpus->n) { /* it may use all: of which the cgroup and the kernel leave what is here */
		ssize_t n = read_cpus(tid, now);
		memset(set, 0xff, sizeof(set));
		if (n >= 0 && count_cpus(now, (size_t)n) != online)
			syscall(SYS_sched_setaffinity, tid, sizeof(set), set);
		return 0;
	}
	memcpy(set, cpus->at, cpus->n);
	if (read_cpus(tid, now) >= 0 && memcmp(now, set, sizeof(set)) == 0)
		return 0;
	if (syscall(SYS_sched_setaffinity, tid, sizeof(set), set) < 0) {
		note(op, "it is not bound to %zu CPUs as it was: %s", count_cpus(set, sizeof(set)),
			errno == EINVAL ? "none of them is here" : strerror(errno));
		return 0;
	}
	memset(now, 0, sizeof(now));
	if (read_cpus(tid, now) >= 0 && memcmp(now, set, sizeof(set)) != 0)
		note(op, "it is bound to %zu CPUs, were %zu: the others are not here", count_cpus(now, sizeof(now)),
			count_cpus(set, sizeof(set)));
	return 0;
}

static int settle_ioprio(struct op *op, pid_t tid, uint32_t ioprio)
{
	long now = syscall(SYS_ioprio_get, IOPRIO_TASK, tid);

	if (now == (long)ioprio || syscall(SYS_ioprio_set, IOPRIO_TASK, tid, ioprio) == 0)
		return 0;
	if (!is_refusal(errno) && errno != ENOSYS)
		return fail(op, -errno, "set the I/O priority %#" PRIx32, ioprio);
	note(op, "its I/O priority %#" PRIx32 " could not be set: %s", ioprio, strerror(errno));
	return 0;
}

/* struct born - what threads have before their turn, but first ones, whose process may have come into another control group */
struct born {
	bool is_known;
	struct attr attr;
	int nice;
	long ioprio;
	unsigned char cpus[CPU_BYTES];
	size_t n_cpus;
};

static const struct born *look_at_born(struct op *op, struct site *site)
{
	const struct born *known = site_known(site, fields);

	if (known)
		return known;
	struct born *b = arena_alloc(&op->arena, sizeof(*b));
	*b = (struct born){ .ioprio = syscall(SYS_ioprio_get, IOPRIO_TASK, site->tid) };
	ssize_t n = read_cpus(site->tid, b->cpus);
	errno = 0;
	b->nice = getpriority(PRIO_PROCESS, (id_t)site->tid);
	b->is_known = !errno && n >= 0 && read_attr(site->tid, &b->attr) == 0;
	b->n_cpus = n < 0 ? 0 : count_cpus(b->cpus, (size_t)n);
	site_keep(op, site, fields, b);
	return b;
}

/* does it have all of it already, as it is no first thread? */
static bool is_as_born(struct op *op, struct site *site, const struct sched *s)
{
	const struct born *b = site->first ? NULL : look_at_born(op, site);
	unsigned char cpus[CPU_BYTES] = { 0 };

	if (!b || !b->is_known || b->nice != s->nice || b->ioprio != (long)s->ioprio || s->cpus.n > sizeof(cpus))
		return false;
	if (s->cpus.n)
		memcpy(cpus, s->cpus.at, s->cpus.n);
	if (s->cpus.n ? memcmp(cpus, b->cpus, sizeof(cpus)) != 0 : b->n_cpus != site->cpus)
		return false;
	struct attr now = b->attr;
	now.nice = b->nice;
	const struct attr set = wanted_attr(s, &now);
	return memcmp(&now, &set, sizeof(now)) == 0;
}

/* by the thread itself, when it has made all its memory */
static int sched_restore(struct op *op, void *rec, struct site *site)
{
	struct sched *s = rec;
	unsigned char mask[NODE_BITS / 8] = { 0 };

	if (s->mempolicy >= MODES || s->nodes.n > sizeof(mask))
		return fail_as(op, OUTCOME_IMAGE, "image-sched", NULL, "set a memory policy");
	if (s->nodes.n)
		memcpy(mask, s->nodes.at, s->nodes.n);
	struct taddr in = batch_in(site->batch, mask, sizeof(mask));
	s->asked_mempolicy = BATCH_CALL(site->batch, "set the memory policy", SYS_set_mempolicy,
		s->mempolicy | s->mempolicy_flags, s->nodes.n ? in.at : 0, s->nodes.n ? NODE_BITS : 0);
	return 0;
}

/* by then the call is made */
static int sched_leave(struct op *op, void *rec, struct site *site)
{
	const struct sched *s = rec;
	int64_t ret = s->asked_mempolicy->ret;

	if (ret < 0 && (s->mempolicy != MPOL_DEFAULT || ret != -ENOSYS))
		note(op, "its memory policy is not kept: %s",
			ret == -EINVAL ? "none of its memory nodes is here" : strerror((int)-ret));
	return 0;
}

static int settle_all(struct op *op, struct site *site, const struct sched *s)
{
	int r = settle_cpus(op, site->tid, site->cpus, &s->cpus); /* before DEADLINE, which allows no change */
	if (r == 0)
		r = settle_nice(op, site->tid, s);
	if (r == 0)
		r = settle_attr(op, site->tid, s);
	return r == 0 ? settle_ioprio(op, site->tid, s->ioprio) : r;
}

static int sched_settle(struct op *op, void *rec, struct site *site)
{
	const struct sched *s = rec;

	if (s->policy > POLICY_MAX || s->priority > 99 || s->nice < -20 || s->nice > 19 || s->ioprio > UINT16_MAX)
		return fail(op, -EBADMSG, "set scheduling policy %" PRIu32 " with priority %" PRIu32, s->policy,
			s->priority);
	int r = is_as_born(op, site, s) ? 0 : settle_all(op, site, s);
	if (r == 0 && s->timer_slack)
		BATCH_CALL(site->batch, "set the timer slack", SYS_prctl, PR_SET_TIMERSLACK, s->timer_slack);
	return r;
}

static bool has_slices(void)
{
	struct attr own;

	return read_attr(0, &own) < 0 || own.runtime;
}

static bool has_clamps(void)
{
	struct attr own;

	return read_attr(0, &own) < 0 || own.util_max;
}

static bool has_ioprio(void)
{
	return syscall(SYS_ioprio_get, IOPRIO_TASK, 0) >= 0 || errno != ENOSYS;
}

static bool has_mempolicy(void)
{
	return syscall(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0) == 0 || errno != ENOSYS;
}

/* behind the words for the CPUs that there can be a mask has whatever was in memory */
static uint32_t cpu_bytes(void)
{
	return (uint32_t)(get_nprocs_conf() + 63) / 64 * 8;
}

/* all CPUs are in what is compared of a mask, and the kernel has no attributes but these */
static bool sched_likens(const struct tree *tree)
{
	struct wide_attr own = { 0 };

	return get_nprocs_conf() <= CPU_BYTES_ALIKE * 8 && syscall(SYS_sched_getattr, 0, &own, sizeof(own), 0) == 0 &&
	       own.known.size <= ATTR_VERSION;
}

static const struct member alike[] = {
	{ "policy", 4, NULL },
	{ "static_prio", 4, NULL },
	{ "rt_priority", 4, NULL },
	{ "sched_reset_on_fork", 1, NULL },
	{ "nr_cpus_allowed", 4, NULL },
	{ "cpus_mask.bits", CPU_BYTES_ALIKE, NULL, .counts = cpu_bytes },
	{ "dl.dl_runtime", 8, NULL },
	{ "dl.dl_deadline", 8, NULL },
	{ "dl.dl_period", 8, NULL },
	{ "dl.flags", 4, NULL },
	{ "se.slice", 8, has_slices },
	{ "uclamp_req", 8, has_clamps },
	{ "timer_slack_ns", 8, NULL },
	{ "io_context->ioprio", 2, has_ioprio },
	{ "mempolicy", 8, has_mempolicy },
	{ NULL, 0, NULL },
};

const struct kind kind_task_sched = {
	.name = "sched",
	.tag = 0x2a,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct sched),
	.fields = fields,
	.alike = alike,
	.likens = sched_likens,
	.ask = sched_ask,
	.save = sched_save,
	.restore = sched_restore,
	.leave = sched_leave,
	.settle = sched_settle,
};
