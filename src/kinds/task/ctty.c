/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * the controlling terminal of a process, and its foreground process group - tty_ioctl(4), TIOCSCTTY(2const),
 * TIOCSPGRP(2const), credentials(7)
 *
 * The leader of a session takes a pseudoterminal of the program (fd/pty) right after setsid(2), so that its children are
 * born with it. A terminal that leads outside is the caller's after a restart: a session that was led from it joins the
 * caller's session, as only that can have it, and the group that was in its foreground is put there again.
 *
 * Seen:  tty_nr and tpgid in /proc/PID/stat
 * Lost:  the session id of a leader whose terminal led outside and that comes back to a terminal; its terminal where there
 *        is none (both are noted); a foreground group that has no process any more (noted); tty_old_pgrp
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/terminal.h"
#include "kinds/tty.h"

enum state {
	CTTY_OWN = 1u << 0, /* its terminal is a pseudoterminal of the program */
	CTTY_OUTSIDE = 1u << 1, /* one that leads outside */
	CTTY_LEADS = 1u << 2, /* it leads the session */
	CTTY_FOREGROUND = 1u << 3, /* of an outside terminal: it leads the process group in the foreground */
	CTTY_LEFT = 1u << 4, /* it has none, but its session has one of the program */
};

struct ctty {
	uint32_t state;
	uint32_t index; /* of the pseudoterminal */
	int32_t pgrp; /* CTTY_OWN and CTTY_LEADS: in the foreground; 0: nobody that still exists */
};

static const struct flag states[] = {
	{ CTTY_OWN, "OWN" },
	{ CTTY_OUTSIDE, "OUTSIDE" },
	{ CTTY_LEADS, "LEADS" },
	{ CTTY_FOREGROUND, "FOREGROUND" },
	{ CTTY_LEFT, "LEFT" },
	{ 0 },
};

static const struct field fields[] = {
	FIELD_B(1, struct ctty, state, "signal_struct.tty", states),
	FIELD_U(2, struct ctty, index, "tty_struct.index"),
	FIELD_I(3, struct ctty, pgrp, "tty_struct.ctrl.pgrp"),
	FIELDS_END,
};

/* ---- saving ---- */

static const struct process *session_leader(const struct sight *s)
{
	struct process *const *all = s->tree->processes.at;

	for (size_t i = 0; i < s->tree->processes.n; i++)
		if (all[i]->vpid == s->process->vsid)
			return all[i];
	return NULL;
}

static bool is_in_session_of_parent(const struct process *p)
{
	return p->parent && p->parent->vsid == p->vsid;
}

/*
 * /proc counts as we do; the image as the program does. 0: the group has no process in the tree, or but ended ones of which
 * no restart could make a group (add_group_ghost() in core/births.c).
 */
static pid_t group_in_tree(const struct tree *tree, int64_t pgrp)
{
	struct process *const *all = tree->processes.at;

	for (size_t i = 0; pgrp > 0 && i < tree->processes.n; i++)
		if (all[i]->stat.pgrp == pgrp && (!all[i]->zombie || is_in_session_of_parent(all[i])))
			return all[i]->vpgid;
	return 0;
}

static int ctty_save(struct op *op, const struct sight *s, void *rec)
{
	struct ctty *c = rec;
	const struct process *p = s->process, *leader = session_leader(s);
	dev_t device = tty_controlling(p);
	const struct holder *master = tty_own_master_of(s->tree, device);
	pid_t group = group_in_tree(s->tree, p->stat.tpgid);

	if (!device) {
		c->state = leader && tty_own_master_of(s->tree, tty_controlling(leader)) ? CTTY_LEFT : 0;
		return 0;
	}
	c->state = (master ? CTTY_OWN : CTTY_OUTSIDE) | (leader == p ? CTTY_LEADS : 0);
	if (!master && group && group == p->vpid)
		c->state |= CTTY_FOREGROUND;
	if (!master || leader != p)
		return 0;
	c->index = (uint32_t)tty_index(master->fd);
	c->pgrp = group;
	if (!group)
		note(op, "the foreground process group of /dev/pts/%u has no process any more: it will be that of %s",
			c->index, p->stat.comm);
	return 0;
}

/* ---- restarting ---- */

static bool leads(const struct ctty *c, uint32_t whose)
{
	return c->state & CTTY_LEADS && c->state & whose;
}

static bool ctty_joins(const void *rec, const struct site *site)
{
	return leads(rec, CTTY_OUTSIDE) && site->terminal >= 0;
}

/* whoever leads a session and opens a terminal that is nobody's takes it */
static int ctty_lead(struct op *op, void *rec, struct site *site)
{
	const struct ctty *c = rec;
	struct batch *b = site->batch;
	unsigned int index;

	if (leads(c, CTTY_OUTSIDE))
		note(op, "process %d has no controlling terminal any more: it led outside", site->vpid);
	if (!leads(c, CTTY_OWN))
		return 0;
	int master = *tty_pair(op, site, c->index);
	if (master < 0 || ioctl(master, TIOCGPTN, &index) < 0)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "give it the terminal %u: the image has no such one",
			c->index);
	const char *path = arena_printf(&op->arena, "/dev/pts/%u", index);
	const char *what = arena_printf(&op->arena, "open its controlling terminal %s", path);
	BATCH_MUST(b, what, SYS_openat, (uint64_t)AT_FDCWD, batch_in(b, path, strlen(path) + 1).at, O_RDWR | O_CLOEXEC);
	struct taddr fd = batch_result(b);
	BATCH_MUST(b, "take its controlling terminal", SYS_ioctl, fd.at, TIOCSCTTY, 0);
	batch_last(b)->indirect = 1u << 0;
	BATCH_MUST(b, "close its controlling terminal", SYS_close, fd.at);
	batch_last(b)->indirect = 1u << 0;
	return 0;
}

static void with_dev_tty(struct batch *b, const char *what, unsigned long request, uint64_t arg)
{
	static const char path[] = "/dev/tty";

	BATCH_MUST(b, "open /dev/tty", SYS_openat, (uint64_t)AT_FDCWD, batch_in(b, path, sizeof(path)).at,
		O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct taddr fd = batch_result(b);
	BATCH_MUST(b, what, SYS_ioctl, fd.at, request, arg);
	batch_last(b)->indirect = 1u << 0;
	BATCH_MUST(b, "close /dev/tty", SYS_close, fd.at);
	batch_last(b)->indirect = 1u << 0;
}

static int ctty_group(struct op *op, void *rec, struct site *site)
{
	const struct ctty *c = rec;
	struct batch *b = site->batch;

	if (leads(c, CTTY_OWN) && c->pgrp > 0)
		with_dev_tty(b, arena_printf(&op->arena, "put process group %d into the foreground", c->pgrp),
			TIOCSPGRP, batch_in(b, &c->pgrp, sizeof(c->pgrp)).at);
	if (c->state & CTTY_LEFT)
		with_dev_tty(b, "leave its controlling terminal", TIOCNOTTY, 0);
	return 0;
}

static int ctty_settle(struct op *op, void *rec, struct site *site)
{
	const struct ctty *c = rec;

	if (!(c->state & CTTY_FOREGROUND) || site->terminal < 0)
		return 0;
	int r = terminal_set_group(site->terminal, site->pid);
	if (r < 0)
		note(op, "process group %d is not in the foreground of this terminal: %s", site->vpid, strerror(-r));
	return 0;
}

static void ctty_describe(const void *rec, FILE *out)
{
	const struct ctty *c = rec;

	if (leads(c, CTTY_OWN))
		fprintf(out, "/dev/pts/%u, process group %d in its foreground", c->index, c->pgrp);
	else if (c->state & CTTY_OWN)
		fputs("that of its session", out);
	else if (c->state & CTTY_OUTSIDE)
		fprintf(out, "one outside%s", c->state & CTTY_FOREGROUND ? ", in its foreground" : "");
	else
		fputs("none", out);
}

const struct kind kind_task_ctty = {
	.name = "ctty",
	.tag = 0x79,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct ctty),
	.fields = fields,
	.save = ctty_save,
	.joins = ctty_joins,
	.lead = ctty_lead,
	.group = ctty_group,
	.settle = ctty_settle,
	.describe = ctty_describe,
};
