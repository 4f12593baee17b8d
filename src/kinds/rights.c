/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/openfile.h"

#define CAP(c) (1ull << (c))

/* ---- what rights there are ---- */

/* of this thread; capget(2) and capset(2) know no 64 bits */
struct caps {
	struct __user_cap_header_struct head;
	struct __user_cap_data_struct data[2];
};

static int get_caps(struct caps *c)
{
	*c = (struct caps){ .head = { _LINUX_CAPABILITY_VERSION_3, 0 } };
	return syscall(SYS_capget, &c->head, c->data) < 0 ? -errno : 0;
}

/* those of @effective that are permitted */
static int set_effective(uint64_t effective)
{
	struct caps c;
	int r = get_caps(&c);

	if (r < 0)
		return r;
	c.data[0].effective = (uint32_t)effective & c.data[0].permitted;
	c.data[1].effective = (uint32_t)(effective >> 32) & c.data[1].permitted;
	return syscall(SYS_capset, &c.head, c.data) < 0 ? -errno : 0;
}

int rights_own(struct op *op, struct rights *ret)
{
	struct caps c;
	int n = getgroups(0, NULL), r = get_caps(&c);

	if (n < 0 || r < 0)
		return fail(op, r < 0 ? r : -errno, "find out what stasis itself may do");
	gid_t *groups = arena_array(&op->arena, (size_t)n + 1, sizeof(*groups));
	n = getgroups(n, groups);
	if (n < 0)
		return fail(op, -errno, "find out what stasis itself may do");
	*ret = (struct rights){ .uid = (uint32_t)syscall(SYS_setfsuid, -1),
		.gid = (uint32_t)syscall(SYS_setfsgid, -1),
		.groups = { groups, (size_t)n, 0 },
		.caps = c.data[0].effective | (uint64_t)c.data[1].effective << 32 };
	ret->has_odd_groups = ret->caps & CAP(CAP_SETGID) && syscall(SYS_setgroups, n, groups) < 0;
	return 0;
}

static bool same_groups(const struct rights *a, const struct rights *b)
{
	return a->groups.n == b->groups.n &&
	       (!a->groups.n || memcmp(a->groups.at, b->groups.at, a->groups.n * sizeof(gid_t)) == 0);
}

const struct rights *rights_within(struct arena *a, const struct rights *own, const struct rights *want)
{
	struct rights w = *want;

	if (!(own->caps & CAP(CAP_SETUID)))
		w.uid = own->uid;
	if (!(own->caps & CAP(CAP_SETGID))) {
		w.gid = own->gid;
		w.groups = own->groups;
	}
	if (own->has_odd_groups)
		w.groups = own->groups;
	w.caps &= own->caps;
	/* to whom everything is open it matters not in which groups he is */
	if (w.uid == own->uid && w.caps == own->caps &&
		(w.caps & CAP(CAP_DAC_OVERRIDE) || (w.gid == own->gid && same_groups(&w, own))))
		return NULL;
	return arena_dup(a, &w, sizeof(w));
}

/* ---- taking them ---- */

static int set_ids(const struct rights *from, const struct rights *to)
{
	/* by the calls themselves: setgroups(3) would be for all threads */
	if (!same_groups(from, to) && syscall(SYS_setgroups, to->groups.n, to->groups.at) < 0)
		return -errno;
	syscall(SYS_setfsgid, to->gid);
	syscall(SYS_setfsuid, to->uid);
	return (uint32_t)syscall(SYS_setfsgid, -1) == to->gid && (uint32_t)syscall(SYS_setfsuid, -1) == to->uid
		       ? 0
		       : -EPERM;
}

/* what a change of ids costs: see commit_creds() in kernel/cred.c */
static void repair(const struct taken_rights *t)
{
	if (t->dumpable == 1)
		prctl(PR_SET_DUMPABLE, 1);
	if (!t->death_signal)
		return;
	prctl(PR_SET_PDEATHSIG, t->death_signal);
	if (getppid() != t->parent)
		raise(t->death_signal);
}

/* the rights to change ids first; and to become root again for files may bring more than there was */
static int turn_back(struct site *site)
{
	const struct taken_rights t = site->taken;

	if (!t.rights)
		return 0;
	int first = set_effective(site->own->caps), ids = set_ids(t.rights, site->own);
	int last = set_effective(site->own->caps);
	repair(&t);
	if (first == 0 && ids == 0 && last == 0)
		site->taken.rights = NULL;
	return first < 0 ? first : ids < 0 ? ids : last;
}

int rights_turn(struct site *site, const struct rights *rights)
{
	int r = site->taken.rights == rights ? 0 : turn_back(site);

	if (r < 0 || site->taken.rights == rights)
		return r;
	site->taken =
		(struct taken_rights){ .rights = rights, .dumpable = prctl(PR_GET_DUMPABLE), .parent = getppid() };
	prctl(PR_GET_PDEATHSIG, &site->taken.death_signal);
	r = set_ids(site->own, rights);
	if (r == 0)
		r = set_effective(rights->caps);
	if (r < 0)
		turn_back(site);
	return r;
}

int rights_give_back(struct op *op, struct site *site)
{
	int r = turn_back(site);

	return r < 0 ? fail(op, r, "have the rights of stasis again") : 0;
}

/* ---- with them ---- */

bool rights_denied(int err)
{
	return err == -EACCES || err == -EPERM;
}

int rights_access(int fd, int need)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return need && faccessat(AT_FDCWD, path, need, AT_EACCESS) < 0 ? -errno : 0;
}

int rights_each(struct op *op, struct site *site, int (*call)(const void *data), const void *data)
{
	const struct rights *const *owner = site->owners.at;
	int r = site->owners.n ? 0 : call(data);

	for (size_t i = 0; i < site->owners.n && r == 0; i++) {
		r = rights_turn(site, owner[i]);
		if (r == 0)
			r = call(data);
	}
	int back = rights_give_back(op, site);
	return back < 0 ? back : r;
}

int rights_take(struct op *op, struct site *site)
{
	int r = site->owners.n ? rights_turn(site, *(const struct rights *const *)site->owners.at) : 0;

	return r < 0 ? fail(op, r, "take the rights of a process") : 0;
}

static int reopen_by_all(struct site *site, int fd, int flags)
{
	const struct rights *const *owner = site->owners.at;
	_cleanup_close_ int again = -EBADF;

	for (size_t i = 0; i < site->owners.n; i++) {
		int r = rights_turn(site, owner[i]);

		fd_closep(&again);
		again = r < 0 ? r : openfile_reopen(fd, flags);
		if (again < 0)
			return again;
	}
	return TAKE_FD(again);
}

int rights_reopen(struct op *op, struct site *site, int fd, int flags)
{
	_cleanup_close_ int again = site->owners.n ? reopen_by_all(site, fd, flags) : openfile_reopen(fd, flags);
	int r = rights_give_back(op, site);

	return r < 0 ? r : TAKE_FD(again);
}

/* struct access - what a descriptor is needed for */
struct access {
	int fd, need;
};

static int may_access(const void *data)
{
	const struct access *a = data;

	return rights_access(a->fd, a->need);
}

int rights_may(struct op *op, struct site *site, int fd, int need)
{
	int r = rights_each(op, site, may_access, &(struct access){ fd, need });

	return op->err ? r : r == 0;
}
