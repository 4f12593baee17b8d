/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * creds - who a thread is and what it may do: credentials(7), capabilities(7), prctl(2)
 *
 * A restarted thread starts with the rights of the caller and only ever drops some. What differs is set in the order that
 * loses no right too early: groups, user ids (keeping capabilities), ambient set, bounding set, securebits, capabilities;
 * then what changes of credentials reset (dumpable, the parent-death signal), and no_new_privs.
 *
 * Seen: /proc/PID/task/TID/status; prctl() by the thread itself.
 * Lost: rights that the caller does not have: ids are refused, supplementary groups, capabilities and securebits are
 *	named. The parent-death signal of a process whose parent is not part of the program, and which thread of the
 *	parent it waits for (named).
 * Needs: CAP_SETUID, CAP_SETGID for ids other than the caller's.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/io.h"

struct group {
	uint32_t gid;
};

struct creds {
	uint32_t ruid, euid, suid, fsuid;
	uint32_t rgid, egid, sgid, fsgid;
	struct span groups; /* of struct group, in ascending order as the kernel keeps them */
	uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bset, cap_ambient;
	uint32_t securebits;
	uint32_t dumpable;
	uint32_t pdeath_signal;
	bool child_subreaper, no_new_privs;
	const struct stub_call *call_securebits, *call_dumpable;
	const int *asked_pdeath_signal, *asked_subreaper;
};

static const struct flag securebits[] = {
	{ 0x001, "NOROOT" },
	{ 0x002, "NOROOT_LOCKED" },
	{ 0x004, "NO_SETUID_FIXUP" },
	{ 0x008, "NO_SETUID_FIXUP_LOCKED" },
	{ 0x010, "KEEP_CAPS" },
	{ 0x020, "KEEP_CAPS_LOCKED" },
	{ 0x040, "NO_CAP_AMBIENT_RAISE" },
	{ 0x080, "NO_CAP_AMBIENT_RAISE_LOCKED" },
	{ 0x100, "EXEC_RESTRICT_FILE" },
	{ 0x200, "EXEC_RESTRICT_FILE_LOCKED" },
	{ 0x400, "EXEC_DENY_INTERACTIVE" },
	{ 0x800, "EXEC_DENY_INTERACTIVE_LOCKED" },
	{ 0, NULL },
};

#define DUMPABLE_MAX	  2 /* SUID_DUMP_ROOT */
#define SECUREBITS_KNOWN  0xfffu
#define SECUREBITS_LOCKED 0xaaau
#define KEEP_CAPS	  0x010u
#define NO_AMBIENT_RAISE  0x040u

static const struct field group_fields[] = {
	FIELD_U(1, struct group, gid, "group_info.gid"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_U(1, struct creds, ruid, "cred.uid"),
	FIELD_U(2, struct creds, euid, "cred.euid"),
	FIELD_U(3, struct creds, suid, "cred.suid"),
	FIELD_U(4, struct creds, fsuid, "cred.fsuid"),
	FIELD_U(5, struct creds, rgid, "cred.gid"),
	FIELD_U(6, struct creds, egid, "cred.egid"),
	FIELD_U(7, struct creds, sgid, "cred.sgid"),
	FIELD_U(8, struct creds, fsgid, "cred.fsgid"),
	FIELD_A(9, struct creds, groups, "cred.group_info", group_fields, struct group),
	FIELD_U(10, struct creds, cap_inheritable, "cred.cap_inheritable"),
	FIELD_U(11, struct creds, cap_permitted, "cred.cap_permitted"),
	FIELD_U(12, struct creds, cap_effective, "cred.cap_effective"),
	FIELD_U(13, struct creds, cap_bset, "cred.cap_bset"),
	FIELD_U(14, struct creds, cap_ambient, "cred.cap_ambient"),
	FIELD_B(15, struct creds, securebits, "cred.securebits", securebits),
	FIELD_U(16, struct creds, dumpable, "mm_struct.flags"),
	FIELD_U(17, struct creds, pdeath_signal, "task_struct.pdeath_signal"),
	FIELD_U(18, struct creds, child_subreaper, "signal_struct.is_child_subreaper"),
	FIELD_U(19, struct creds, no_new_privs, "task_struct.atomic_flags"),
	FIELDS_END,
};

/* ---- saving ---- */

static void from_status(struct arena *a, const struct proc_status *st, struct creds *c)
{
	const uint32_t *gid = st->groups.at;

	c->ruid = st->uid[0], c->euid = st->uid[1], c->suid = st->uid[2], c->fsuid = st->uid[3];
	c->rgid = st->gid[0], c->egid = st->gid[1], c->sgid = st->gid[2], c->fsgid = st->gid[3];
	for (size_t i = 0; i < st->groups.n; i++)
		((struct group *)span_push(a, &c->groups, sizeof(struct group)))->gid = gid[i];
	c->cap_inheritable = st->cap_inh;
	c->cap_permitted = st->cap_prm;
	c->cap_effective = st->cap_eff;
	c->cap_bset = st->cap_bnd;
	c->cap_ambient = st->cap_amb;
	c->no_new_privs = st->no_new_privs;
}

static int creds_ask(struct op *op, const struct sight *s, void *rec)
{
	struct creds *c = rec;
	struct batch *b = s->batch;

	c->call_securebits = BATCH_CALL(b, "read the securebits", SYS_prctl, PR_GET_SECUREBITS);
	c->call_dumpable = BATCH_CALL(b, "read the dumpable attribute", SYS_prctl, PR_GET_DUMPABLE);
	struct taddr out = batch_out(b, sizeof(int), &c->asked_pdeath_signal);
	BATCH_MUST(b, "read the parent-death signal", SYS_prctl, PR_GET_PDEATHSIG, out.at);
	out = batch_out(b, sizeof(int), &c->asked_subreaper);
	BATCH_MUST(b, "read the child-subreaper attribute", SYS_prctl, PR_GET_CHILD_SUBREAPER, out.at);
	return 0;
}

/* the signal is sent when the thread ends that made it, which afterwards is the leader */
static void note_pdeath(struct op *op, const struct process *p)
{
	const struct thread *t = p->parent->threads.at;

	for (size_t i = 1; i < p->parent->threads.n; i++) {
		char path[64], *text;

		snprintf(path, sizeof(path), "task/%d/children", t[i].tid);
		if (read_text(&op->arena, p->parent->dir, path, 1 << 20, &text, NULL) < 0)
			continue;
		const char *pid = arena_printf(&op->arena, " %d ", p->pid);
		if (strstr(arena_printf(&op->arena, " %s", text), pid))
			note(op,
				"the signal at the death of its parent comes when the leader of the parent ends, not "
				"thread %d",
				t[i].tid);
	}
}

static int creds_save(struct op *op, const struct sight *s, void *rec)
{
	struct creds *c = rec;

	if (s->thread == s->process->ended) { /* nobody but others looks at these */
		from_status(&op->arena, &s->thread->status, c);
		c->dumpable = 1; /* until another thread sets that of the process */
		return 0;
	}
	if (c->call_securebits->ret < 0 || c->call_dumpable->ret < 0)
		return fail(op, -EIO, "read securebits and dumpable of a thread");
	from_status(&op->arena, &s->thread->status, c);
	c->securebits = (uint32_t)c->call_securebits->ret;
	if (c->securebits & ~SECUREBITS_KNOWN)
		return refuse(op, "securebits", "this version has not considered them", NULL,
			"has the securebits %#" PRIx32, c->securebits);
	c->dumpable = (uint32_t)c->call_dumpable->ret;
	c->child_subreaper = *c->asked_subreaper != 0;
	c->pdeath_signal = (uint32_t)*c->asked_pdeath_signal;
	if (c->call_dumpable->ret > DUMPABLE_MAX || *c->asked_subreaper & ~1 || c->pdeath_signal > 64)
		return refuse(op, "creds", "this version has not considered them", NULL,
			"has the dumpable attribute %" PRIu32
			", the subreaper attribute %d and the parent-death signal %" PRIu32,
			c->dumpable, *c->asked_subreaper, c->pdeath_signal);
	if (c->pdeath_signal && !s->process->parent) {
		note(op,
			"it is not sent signal %" PRIu32
			" at the death of its parent, which is not part of the program",
			c->pdeath_signal);
		c->pdeath_signal = 0;
	}
	if (c->pdeath_signal && s->process->parent->threads.n > 1)
		note_pdeath(op, s->process);
	return 0;
}

/* ---- restarting ---- */

/* struct change - from what a task has to what it is to have */
struct change {
	struct op *op;
	const struct site *site;
	struct creds have, want;
	bool uids, gids, groups; /* are to be set */
};

static bool has_cap(const struct creds *c, unsigned int cap)
{
	return c->cap_effective >> cap & 1;
}

/*
 * The task as it is now; of securebits, which nothing shows, a new user namespace has none. Every task comes by clone(2) from one
 * that had the caller's rights, and none gives up any before its own turn: so all have the same.
 */
static int read_have(struct op *op, struct site *site, struct creds *have)
{
	_cleanup_close_ int proc = site->rights ? -EBADF : open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc < 0 ? -EBADF : proc_open(proc, site->tid);
	struct proc_status st;
	int r = site->rights ? 0 : dir < 0 ? dir : proc_read_status(&op->arena, dir, &st);

	if (r < 0)
		return fail(op, r, "read what it may do");
	if (!site->rights) {
		*have = (struct creds){ 0 };
		from_status(&op->arena, &st, have);
		have->securebits = site->user_ns ? 0 : (uint32_t)prctl(PR_GET_SECUREBITS);
		site->rights = arena_dup(&op->arena, have, sizeof(*have));
	}
	*have = *(const struct creds *)site->rights;
	return 0;
}

static bool same_groups(const struct span *a, const struct span *b)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->at, b->at, a->n * sizeof(struct group)) == 0);
}

static int compare_ids(struct change *c)
{
	const struct creds *have = &c->have, *want = &c->want;
	bool may_uid = !c->site->user_ns && has_cap(have, CAP_SETUID);
	bool may_gid = !c->site->user_ns && has_cap(have, CAP_SETGID);

	c->uids = have->ruid != want->ruid || have->euid != want->euid || have->suid != want->suid ||
		  have->fsuid != want->fsuid;
	c->gids = have->rgid != want->rgid || have->egid != want->egid || have->sgid != want->sgid ||
		  have->fsgid != want->fsgid;
	c->groups = !same_groups(&have->groups, &want->groups);
	if (c->uids && !may_uid)
		return fail_as(c->op, OUTCOME_PERMISSION, "foreign-uid", "run as root",
			"make it run as user %" PRIu32 ", which is not you", want->euid);
	if (c->gids && !may_gid)
		return fail_as(c->op, OUTCOME_PERMISSION, "foreign-gid", "run as root",
			"make it run as group %" PRIu32 ", which is not yours", want->egid);
	if (c->groups && !may_gid) {
		note(c->op, "its supplementary groups are yours: the right to set others is missing");
		c->groups = false;
	}
	return 0;
}

/* what the task may not have is taken out of what it is to have, and named */
static void clip_caps(struct change *c)
{
	const struct creds *have = &c->have, asked = c->want;
	struct creds *want = &c->want;
	bool setpcap = has_cap(have, CAP_SETPCAP);

	want->cap_permitted &= have->cap_permitted;
	want->cap_effective &= want->cap_permitted;
	want->cap_inheritable &= have->cap_inheritable | (have->cap_bset & (setpcap ? ~0ull : have->cap_permitted));
	want->cap_ambient &= want->cap_permitted & want->cap_inheritable;
	if (have->securebits & NO_AMBIENT_RAISE)
		want->cap_ambient &= have->cap_ambient;
	if (asked.cap_permitted != want->cap_permitted || asked.cap_inheritable != want->cap_inheritable ||
		asked.cap_ambient != want->cap_ambient || asked.cap_bset & ~have->cap_bset)
		note(c->op, "it has fewer capabilities than it had: you do not have them");
	else if (c->site->user_ns && want->cap_permitted)
		note(c->op, "its capabilities count in its own user namespace only");
	if ((have->cap_bset & ~want->cap_bset) && !setpcap) {
		note(c->op, "its capability bounding set is yours: the right to drop from it is missing");
		want->cap_bset = have->cap_bset;
	}
	uint32_t differ = (have->securebits ^ want->securebits) & ~KEEP_CAPS;
	if (differ && (!setpcap || differ & have->securebits & SECUREBITS_LOCKED ||
			      differ & (have->securebits & SECUREBITS_LOCKED) >> 1)) {
		note(c->op, "its securebits are yours: the right to set them is missing");
		want->securebits = (have->securebits & ~KEEP_CAPS) | (want->securebits & KEEP_CAPS);
	}
}

static int make_change(struct op *op, const struct creds *want, struct site *site, struct change *ret)
{
	*ret = (struct change){ .op = op, .site = site, .want = *want };
	int r = read_have(op, site, &ret->have);
	if (r < 0)
		return r;
	r = compare_ids(ret);
	if (r == 0)
		clip_caps(ret);
	return r;
}

static void call_capset(struct batch *b, uint64_t eff, uint64_t prm, uint64_t inh)
{
	const struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	const struct __user_cap_data_struct data[2] = {
		{ (uint32_t)eff, (uint32_t)prm, (uint32_t)inh },
		{ (uint32_t)(eff >> 32), (uint32_t)(prm >> 32), (uint32_t)(inh >> 32) },
	};
	struct taddr h = batch_in(b, &head, sizeof(head)), d = batch_in(b, data, sizeof(data));

	BATCH_MUST(b, "set capabilities", SYS_capset, h.at, d.at);
}

/* where ids change, it ends with all capabilities that were permitted, effective */
static void call_ids(const struct change *c, struct batch *b)
{
	const struct creds *have = &c->have, *want = &c->want;

	if (have->cap_inheritable != want->cap_inheritable) /* needs CAP_SETPCAP, which a change of ids may drop */
		call_capset(b, have->cap_effective, have->cap_permitted, want->cap_inheritable);
	if (c->groups)
		BATCH_MUST(b, "set the supplementary groups", SYS_setgroups, want->groups.n,
			batch_in(b, want->groups.at, want->groups.n * sizeof(struct group)).at);
	if (c->gids) {
		BATCH_MUST(b, "set the group ids", SYS_setresgid, want->rgid, want->egid, want->sgid);
		BATCH_CALL(b, "set the group id for files", SYS_setfsgid, want->fsgid);
	}
	if (!c->uids)
		return;
	BATCH_MUST(b, "keep capabilities for now", SYS_prctl, PR_SET_KEEPCAPS, 1);
	BATCH_MUST(b, "set the user ids", SYS_setresuid, want->ruid, want->euid, want->suid);
	call_capset(b, have->cap_permitted, have->cap_permitted, want->cap_inheritable);
	if (want->fsuid == want->euid)
		return;
	BATCH_CALL(b, "set the user id for files", SYS_setfsuid, want->fsuid);
	call_capset(b, have->cap_permitted, have->cap_permitted, want->cap_inheritable); /* setfsuid() takes some */
}

static void call_caps(const struct change *c, struct batch *b)
{
	const struct creds *have = &c->have, *want = &c->want;

	if (have->cap_ambient != want->cap_ambient || (c->uids && want->cap_ambient)) {
		BATCH_MUST(b, "clear the ambient capabilities", SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
		for (uint64_t cap = 0; cap < 64; cap++)
			if (want->cap_ambient >> cap & 1)
				BATCH_MUST(b, "raise an ambient capability", SYS_prctl, PR_CAP_AMBIENT,
					PR_CAP_AMBIENT_RAISE, cap);
	}
	for (uint64_t cap = 0; cap < 64; cap++)
		if ((have->cap_bset & ~want->cap_bset) >> cap & 1)
			BATCH_MUST(b, "drop a capability of the bounding set", SYS_prctl, PR_CAPBSET_DROP, cap);
	if ((have->securebits ^ want->securebits) & ~KEEP_CAPS)
		BATCH_MUST(b, "set the securebits", SYS_prctl, PR_SET_SECUREBITS, want->securebits);
	else if (c->uids || have->securebits != want->securebits)
		BATCH_MUST(b, "keep capabilities as before", SYS_prctl, PR_SET_KEEPCAPS,
			(want->securebits & KEEP_CAPS) != 0);
	if (c->uids || have->cap_permitted != want->cap_permitted || have->cap_effective != want->cap_effective ||
		have->cap_inheritable != want->cap_inheritable)
		call_capset(b, want->cap_effective, want->cap_permitted, want->cap_inheritable);
}

/* what changes of credentials reset, and what forbids later ones */
static void call_rest(const struct change *c, struct batch *b)
{
	const struct creds *want = &c->want;

	/* in a user namespace of its own we could not reach its memory any more: there it comes last */
	BATCH_MUST(
		b, "set the dumpable attribute", SYS_prctl, PR_SET_DUMPABLE, want->dumpable == 1 || c->site->user_ns);
	if (want->dumpable > 1)
		note(c->op, "it does not dump core for root, as it did: it dumps none");
	BATCH_MUST(b, "set the parent-death signal", SYS_prctl, PR_SET_PDEATHSIG, want->pdeath_signal);
	if (want->child_subreaper)
		BATCH_MUST(b, "become a child subreaper", SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
	if (want->no_new_privs && !c->have.no_new_privs)
		BATCH_MUST(b, "set no_new_privs", SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
	else if (c->have.no_new_privs && !want->no_new_privs)
		note(c->op, "no_new_privs is set here, and was not");
}

/* -1 is nobody: set*id(2) take it for "as before" */
static bool has_no_id(const struct creds *c)
{
	const uint32_t ids[] = { c->ruid, c->euid, c->suid, c->fsuid, c->rgid, c->egid, c->sgid, c->fsgid };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		if (ids[i] == UINT32_MAX)
			return true;
	return false;
}

static int creds_settle(struct op *op, void *rec, struct site *site)
{
	const struct creds *want = rec;
	struct change c;

	if (has_no_id(want) || want->pdeath_signal > 64 || want->dumpable > DUMPABLE_MAX || want->groups.n > 65536)
		return fail(op, -EBADMSG, "set credentials");
	int r = make_change(op, want, site, &c);
	if (r < 0)
		return r;
	call_ids(&c, site->batch);
	call_caps(&c, site->batch);
	call_rest(&c, site->batch);
	return 0;
}

static int creds_leave(struct op *op, void *rec, struct site *site)
{
	const struct creds *want = rec;
	const uint64_t arg[6] = { PR_SET_DUMPABLE, 0 };
	int64_t ret = 0;

	if (want->dumpable == 1 || !site->user_ns)
		return 0;
	int r = remote_call(site->held, site->syscall, SYS_prctl, arg, &ret);
	if (r == 0)
		r = (int)ret;
	return r < 0 ? fail(op, r, "set the dumpable attribute") : 0;
}

static const struct member alike[] = {
	{ "cred", 8, NULL },
	{ "real_cred", 8, NULL },
	{ "atomic_flags", 8, NULL },
	{ "pdeath_signal", 4, NULL, .sets_apart = true }, /* whoever has one is named */
	{ NULL, 0, NULL },
};

/* it may take at any time what it has put off for the moment: capabilities that are permitted, and to be root */
static void creds_rights(const void *rec, struct rights *ret)
{
	const struct creds *c = rec;
	const bool may_be_root = !c->ruid || !c->euid || !c->suid;

	_Static_assert(sizeof(struct group) == sizeof(gid_t), "setgroups(2) takes them");
	*ret = (struct rights){
		.uid = may_be_root ? 0 : c->fsuid, .gid = c->fsgid, .groups = c->groups, .caps = c->cap_permitted
	};
}

const struct kind kind_task_creds = {
	.name = "creds",
	.tag = 0x28,
	.scope = SCOPE_THREAD,
	.common = true,
	.size = sizeof(struct creds),
	.fields = fields,
	.alike = alike,
	.outlives = true,
	.rights = creds_rights,
	.ask = creds_ask,
	.save = creds_save,
	.settle = creds_settle,
	.leave = creds_leave,
};
