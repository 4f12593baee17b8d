/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * An operation: one checkpoint, restart, check or show. It owns the memory, the place where we are,
 * and the story of a failure, which is told once.
 *
 * Below (base, arch, proc, image, stub, remote) functions return -errno and say nothing. Above
 * (kinds, core) the first function that knows what the errno means to the user calls fail(), and
 * everybody above it returns the errno untouched. A second fail() keeps the first story.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

/** What a failure means to the caller; the values are the exit statuses of stasis(1). */
enum outcome {
	OUTCOME_USAGE = 120, /* the arguments make no sense */
	OUTCOME_CANNOT = 121, /* an object that cannot be kept; nothing was changed */
	OUTCOME_PERMISSION = 122, /* the caller lacks a right */
	OUTCOME_IMAGE = 123, /* the image is incomplete, altered or from elsewhere */
	OUTCOME_TIMEOUT = 124,
	OUTCOME_ENVIRONMENT = 125, /* this host, or a fault of stasis itself */
};

/** struct obstacle - one reason against a checkpoint or restart; check lists all of them */
struct obstacle {
	const char *where; /* `"python3" (pid 812): fd 9` */
	const char *what; /* "is an io_uring" : reads on from where */
	const char *slug; /* a stable word for scripts: "fd-unknown" */
	const char *why; /* may be NULL */
	const char *try; /* the remedy; may be NULL */
};

/** struct note - something that was degraded or is worth knowing: it does not stop the operation */
struct note {
	const char *where;
	const char *what;
};

struct place {
	const char *what; /* "task", "fd": a literal */
	int64_t n;
	const char *name; /* of task n, or NULL */
	uint64_t start, end; /* of a mapping; else 0 */
};

struct op {
	struct arena arena;
	const char *verb; /* "save", "restart": what "cannot" is followed by */

	struct place places[16];
	unsigned int depth;

	/* the story; err == 0 while nothing has failed */
	int err; /* -errno */
	enum outcome outcome; /* 0: derived from err */
	const char *story; /* `"python3" (pid 412): fd 7: create an eventfd: Invalid argument` */
	const char *slug;
	const char *why, *try;
	const char *state; /* "the program was not stopped; no image was written" */

	struct span obstacles; /* of struct obstacle */
	struct span notes; /* of struct note */
};

void op_init(struct op *op, const char *verb);
void op_done(struct op *op);

/** op_fork() - an op for a part of the work of @from: with its places, and nothing told yet */
void op_fork(struct op *op, const struct op *from);

/** op_join() - @from is done: its memory is that of @op, and so is its story if @op has none; not its obstacles and notes */
void op_join(struct op *op, struct op *from);

/** fail() - tell the story of @err (-errno): the places, what was tried (a bare verb phrase), the kernel's word */
int fail(struct op *op, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** fail_as() - as fail(), for a refusal that is not an errno: gives the outcome, a slug and a remedy (may be NULL) */
int fail_as(struct op *op, enum outcome outcome, const char *slug, const char *try, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/** refuse() - record one obstacle at the present place and let collection go on; returns -EOPNOTSUPP */
int refuse(struct op *op, const char *slug, const char *why, const char *try, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/** note() - record a degradation or a fact that the summary must name */
void note(struct op *op, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** op_outcome() - the exit status that the story stands for */
enum outcome op_outcome(const struct op *op);

/** op_where() - the present places as text, in the arena: `"python3" (pid 812): fd 9`; "" where there are none */
char *op_where(struct op *op);

struct where {
	struct op *op;
};

static inline struct where where_push(struct op *op, const char *what, int64_t n, const char *name)
{
	if (op->depth < sizeof(op->places) / sizeof(op->places[0]))
		op->places[op->depth] = (struct place){ .what = what, .n = n, .name = name };
	op->depth++;
	return (struct where){ op };
}

static inline struct where where_push_range(struct op *op, const char *what, uint64_t start, uint64_t end)
{
	if (op->depth < sizeof(op->places) / sizeof(op->places[0]))
		op->places[op->depth] = (struct place){ .what = what, .start = start, .end = end };
	op->depth++;
	return (struct where){ op };
}

static inline void where_pop(struct where *w)
{
	w->op->depth--;
}

#define WHERE_CAT2(a, b) a##b
#define WHERE_CAT(a, b)	 WHERE_CAT2(a, b)

/** WHERE() - until this scope ends we are at @what number @n: WHERE(op, "fd", 7) */
#define WHERE(op, what, n)                                                                     \
	struct where __attribute__((cleanup(where_pop), unused)) WHERE_CAT(_where, __LINE__) = \
		where_push((op), (what), (n), NULL)

/** WHERE_RANGE() - until this scope ends we are at @what from @start to @end: WHERE_RANGE(op, "mapping", 0x400000, 0x401000) */
#define WHERE_RANGE(op, what, start, end)                                                      \
	struct where __attribute__((cleanup(where_pop), unused)) WHERE_CAT(_where, __LINE__) = \
		where_push_range((op), (what), (start), (end))

/** WHERE_TASK() - until this scope ends we are at the process @pid called @comm */
#define WHERE_TASK(op, pid, comm)                                                              \
	struct where __attribute__((cleanup(where_pop), unused)) WHERE_CAT(_where, __LINE__) = \
		where_push((op), "task", (pid), (comm))
