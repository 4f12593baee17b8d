/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/core.h"

#include <errno.h>
#include <string.h>

int watch_tell(struct op *op, struct watch *w, const char *phase, uint64_t done, uint64_t total)
{
	if (w->cancel && *w->cancel)
		return fail_as(op, OUTCOME_ENVIRONMENT, "interrupted", NULL, "go on: interrupted by a signal");
	if (!w->progress)
		return 0;
	uint64_t now = now_ns();
	if (now - w->last < 100000000u)
		return 0;
	w->last = now;
	w->progress(w->data, &(struct stasis_progress){ phase, done, total });
	return 0;
}

int be_strict(struct op *op, bool strict)
{
	const struct note *n = op->notes.at;

	if (!strict || !op->notes.n)
		return 0;
	return fail_as(op, OUTCOME_CANNOT, "strict", "without --strict it goes ahead, and names it",
		"keep all of it: %s%s%s", n->where ? n->where : "", n->where && *n->where ? ": " : "", n->what);
}

int report_from(struct op *op, struct stasis_report *report)
{
	struct stasis_message *m = arena_array(&op->arena, op->obstacles.n + op->notes.n + 1, sizeof(*m));
	const struct obstacle *o = op->obstacles.at;
	const struct note *n = op->notes.at;

	report->obstacles = m;
	report->n_obstacles = op->obstacles.n;
	for (size_t i = 0; i < op->obstacles.n; i++)
		*m++ = (struct stasis_message){ o[i].where, o[i].what, o[i].slug, o[i].why, o[i].try };
	report->notes = m;
	report->n_notes = op->notes.n;
	for (size_t i = 0; i < op->notes.n; i++)
		*m++ = (struct stasis_message){ .where = n[i].where, .what = n[i].what };
	report->status = op->err ? (int)op_outcome(op) : 0;
	if (op->err)
		report->error =
			arena_printf(&op->arena, "cannot %s: %s", op->verb, op->story ? op->story : strerror(-op->err));
	report->slug = op->slug;
	report->why = op->why;
	report->try = op->try;
	report->state = op->state;

	/* the report owns the memory of the operation from here on */
	struct arena *keep = arena_alloc(&op->arena, sizeof(*keep));
	*keep = op->arena;
	report->memory_owner = keep;
	return report->status;
}

void stasis_report_done(struct stasis_report *report)
{
	if (report->memory_owner) {
		struct arena a = *(struct arena *)report->memory_owner;

		arena_done(&a);
	}
	memset(report, 0, sizeof(*report));
}

const char *stasis_version(void)
{
	return STASIS_VERSION;
}
