/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/op.h"
#include "base/text.h"

void op_init(struct op *op, const char *verb)
{
	*op = (struct op){ .verb = verb };
	arena_init(&op->arena);
}

void op_done(struct op *op)
{
	arena_done(&op->arena);
	*op = (struct op){ 0 };
}

void op_fork(struct op *op, const struct op *from)
{
	op_init(op, from->verb);
	memcpy(op->places, from->places, sizeof(op->places));
	op->depth = from->depth;
}

void op_join(struct op *op, struct op *from)
{
	if (!op->err) {
		op->err = from->err;
		op->outcome = from->outcome;
		op->story = from->story;
		op->slug = from->slug;
		op->why = from->why;
		op->try = from->try;
		op->state = from->state;
	}
	arena_join(&op->arena, &from->arena);
}

static char *place_text(struct op *op, const struct place *p)
{
	if (p->end)
		return arena_printf(&op->arena, "%s %" PRIx64 "-%" PRIx64, p->what, p->start, p->end);
	if (!p->name)
		return arena_printf(&op->arena, "%s %" PRId64, p->what, p->n);
	return arena_printf(&op->arena, "%s (pid %" PRId64 ")", quoted(&op->arena, p->name), p->n);
}

char *op_where(struct op *op)
{
	unsigned int known = op->depth < ARRAY_SIZE(op->places) ? op->depth : ARRAY_SIZE(op->places);
	char *text = arena_strdup(&op->arena, "");

	for (unsigned int i = 0; i < known; i++)
		text = arena_printf(&op->arena, "%s%s%s", text, i ? ": " : "", place_text(op, &op->places[i]));
	return text;
}

/* What was said, fit for one line of output: names of files and programs may hold anything. */
static char *sentence(struct op *op, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static char *sentence(struct op *op, const char *fmt, va_list ap)
{
	return shown(&op->arena, arena_vprintf(&op->arena, fmt, ap));
}

static const char *keep(struct op *op, const char *s)
{
	return s ? arena_strdup(&op->arena, s) : NULL;
}

/* The story of err, unless one is told already. word: what the kernel said; may be NULL. */
static void tell(struct op *op, int err, const char *what, const char *word)
{
	const char *where = op_where(op);

	op->err = err;
	op->story = arena_printf(
		&op->arena, "%s%s%s%s%s", where, where[0] ? ": " : "", what, word ? ": " : "", word ? word : "");
}

int fail(struct op *op, int err, const char *fmt, ...)
{
	va_list ap;

	assert(err < 0);
	if (op->err)
		return err;
	va_start(ap, fmt);
	tell(op, err, sentence(op, fmt, ap), strerror(-err));
	va_end(ap);
	return err;
}

static int outcome_errno(enum outcome outcome)
{
	switch (outcome) {
	case OUTCOME_USAGE:
		return -EINVAL;
	case OUTCOME_CANNOT:
		return -EOPNOTSUPP;
	case OUTCOME_PERMISSION:
		return -EPERM;
	case OUTCOME_IMAGE:
		return -EBADMSG;
	case OUTCOME_TIMEOUT:
		return -ETIMEDOUT;
	case OUTCOME_ENVIRONMENT:
		break;
	}
	return -EIO;
}

int fail_as(struct op *op, enum outcome outcome, const char *slug, const char *try, const char *fmt, ...)
{
	int err = outcome_errno(outcome);
	va_list ap;

	if (op->err)
		return err;
	va_start(ap, fmt);
	tell(op, err, sentence(op, fmt, ap), NULL);
	va_end(ap);
	op->outcome = outcome;
	op->slug = keep(op, slug);
	op->try = keep(op, try);
	return err;
}

int refuse(struct op *op, const char *slug, const char *why, const char *try, const char *fmt, ...)
{
	struct obstacle *o = span_push(&op->arena, &op->obstacles, sizeof(*o));
	va_list ap;

	va_start(ap, fmt);
	o->what = sentence(op, fmt, ap);
	va_end(ap);
	o->where = op_where(op);
	o->slug = keep(op, slug);
	o->why = keep(op, why);
	o->try = keep(op, try);
	return -EOPNOTSUPP;
}

void note(struct op *op, const char *fmt, ...)
{
	struct note *n = span_push(&op->arena, &op->notes, sizeof(*n));
	va_list ap;

	va_start(ap, fmt);
	n->what = sentence(op, fmt, ap);
	va_end(ap);
	n->where = op_where(op);
}

enum outcome op_outcome(const struct op *op)
{
	if (op->outcome)
		return op->outcome;
	switch (-op->err) {
	case EPERM:
	case EACCES:
		return OUTCOME_PERMISSION;
	case EBADMSG:
	case ENODATA:
	case EPROTO:
	case EPROTONOSUPPORT:
		return OUTCOME_IMAGE;
	case ETIMEDOUT:
		return OUTCOME_TIMEOUT;
	case EOPNOTSUPP:
		return OUTCOME_CANNOT;
	default:
		return OUTCOME_ENVIRONMENT;
	}
}
