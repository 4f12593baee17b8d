/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * record locks of a process - fcntl(2) F_SETLK, lockf(3)
 *
 * They belong to the table of descriptors, are set through any descriptor of the file, and go when any is closed. Locks
 * of an open file (flock(2), F_OFD_SETLK) are kept with the open file.
 *
 * Seen:  fdinfo: lock lines of type POSIX. The kernel shows one at each descriptor of the open file that it was set by.
 * Lost:  which of several who share a place F_GETLK(2) names: nothing shows who was first
 * Needs: nothing
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/text.h"
#include "kinds/openfile.h"

struct lock {
	uint32_t fd;
	uint32_t type; /* F_RDLCK or F_WRLCK */
	uint64_t start, end; /* bytes, both included; UINT64_MAX: the end of the file wherever it is */
	const char *path;
};

struct locks {
	struct span locks; /* of struct lock */
};

static const struct field lock_fields[] = {
	FIELD_U(1, struct lock, fd, "file_lock.c.flc_file"),
	FIELD_B(2, struct lock, type, "file_lock.c.flc_type", lock_types),
	FIELD_U(3, struct lock, start, "file_lock.fl_start"),
	FIELD_U(4, struct lock, end, "file_lock.fl_end"),
	FIELD_S(5, struct lock, path, "file.f_path"),
	FIELDS_END,
};

static const struct field fields[] = {
	FIELD_A(1, struct locks, locks, "file_lock_context.flc_posix", lock_fields, struct lock),
	FIELDS_END,
};

/* Of a table that several processes share, each lock is set by the one that set it, if it lives. */
static bool is_own(const struct sight *s, const struct proc_lock *l)
{
	return strcmp(l->type, "POSIX") == 0 && (l->pid == s->process->pid || !tree_has_pid(s->tree, l->pid));
}

static bool is_same(const struct proc_lock *a, const struct proc_lock *b)
{
	return a->major == b->major && a->minor == b->minor && a->ino == b->ino && a->start == b->start &&
	       a->end == b->end;
}

/* Has an earlier descriptor of the process shown it? */
static bool is_shown_before(const struct sight *s, const struct proc_fd *upto, const struct proc_lock *l)
{
	for (const struct proc_fd *f = s->process->fds.at; f < upto; f++) {
		const struct proc_lock *other = f->locks.at;
		for (size_t i = 0; f->st_ino == upto->st_ino && i < f->locks.n; i++)
			if (is_own(s, &other[i]) && is_same(&other[i], l))
				return true;
	}
	return false;
}

static int locks_save(struct op *op, const struct sight *s, void *rec)
{
	const struct proc_fd *f = s->process->fds.at;
	struct locks *all = rec;

	for (size_t i = 0; i < s->process->fds.n; i++) {
		const struct proc_lock *l = f[i].locks.at;
		for (size_t k = 0; k < f[i].locks.n; k++) {
			if (!is_own(s, &l[k]) || is_shown_before(s, &f[i], &l[k]))
				continue;
			*(struct lock *)span_push(&op->arena, &all->locks, sizeof(struct lock)) = (struct lock){
				.fd = (uint32_t)f[i].n,
				.type = openfile_lock_type(&l[k]),
				.start = l[k].start,
				.end = l[k].end,
				.path = f[i].link,
			};
		}
	}
	return 0;
}

static int locks_link(struct op *op, void *rec, struct site *site)
{
	const struct locks *all = rec;
	const struct lock *l = all->locks.at;
	struct batch *b = site->batch;
	struct flock range;

	for (size_t i = 0; i < all->locks.n; i++) {
		const char *path = shown(&op->arena, l[i].path ? l[i].path : "");

		if (openfile_range(l[i].type, l[i].start, l[i].end, &range) < 0)
			return fail(op, -EBADMSG, "lock \"%s\" again", path);
		if (!batch_has_room(b, 1, sizeof(range) + 16)) {
			int r = batch_run(b);
			if (r < 0)
				return fail(op, r, "%s", batch_what(b));
		}
		BATCH_MUST(b,
			arena_printf(&op->arena, "lock \"%s\" again, which another process may have locked now", path),
			SYS_fcntl, l[i].fd, F_SETLK, batch_in(b, &range, sizeof(range)).at);
	}
	return 0;
}

static void locks_describe(const void *rec, FILE *out)
{
	const struct locks *all = rec;
	const struct lock *l = all->locks.at;

	if (!all->locks.n)
		fputs("none", out);
	for (size_t i = 0; i < all->locks.n; i++) {
		fprintf(out, "%s%s %" PRIu64 "-", i ? ", " : "", l[i].type == F_WRLCK ? "write" : "read", l[i].start);
		if (l[i].end != UINT64_MAX)
			fprintf(out, "%" PRIu64, l[i].end);
		fputs(" of ", out);
		print_quoted(out, l[i].path ? l[i].path : "");
	}
}

const struct kind kind_task_locks = {
	.name = "locks",
	.tag = 0x2e,
	.scope = SCOPE_PROCESS,
	.size = sizeof(struct locks),
	.fields = fields,
	.save = locks_save,
	.link = locks_link,
	.describe = locks_describe,
};
