/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors: /proc/PID/fd/N, which leads to the open file, and fdinfo/N, what the kernel says about it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/pool.h"
#include "proc/parse.h"

#define FDINFO_MOST 1024 /* bytes; what is longer takes two reads */
#define A_PIECE	    128u /* descriptors that a thread reads before it looks for more */
#define ALONE	    2 /* so many pieces are read without threads: to make these would take longer */

enum {
	SEEN_POS = 1u << 0,
	SEEN_FLAGS = 1u << 1,
	SEEN_MNT_ID = 1u << 2,
	SEEN_INO = 1u << 3,
};

/* "08:01:1234" or, for a lock that has lost its file, "<none>:0" */
static int scan_lock_file(const char **p, struct proc_lock *lock)
{
	static const char none[] = "<none>:0";
	uint64_t major, minor;

	if (strncmp(*p, none, sizeof(none) - 1) == 0) {
		*p += sizeof(none) - 1;
		return 0;
	}
	if (scan_u64(p, 16, UINT32_MAX, &major) < 0 || !scan_char(p, ':') || scan_u64(p, 16, UINT32_MAX, &minor) < 0 ||
		!scan_char(p, ':') || scan_u64(p, 10, UINT64_MAX, &lock->ino) < 0)
		return -EBADMSG;
	lock->major = (uint32_t)major;
	lock->minor = (uint32_t)minor;
	return 0;
}

/* "1: POSIX  ADVISORY  WRITE 812 08:01:1234 0 EOF" */
static int parse_lock(const char *p, struct proc_lock *lock)
{
	uint64_t id;
	int64_t pid;

	if (scan_u64(&p, 10, UINT64_MAX, &id) < 0 || !scan_char(&p, ':') || !scan_blanks(&p) ||
		scan_word(&p, lock->type, sizeof(lock->type)) < 0 || !scan_blanks(&p) ||
		scan_word(&p, lock->kind, sizeof(lock->kind)) < 0 || !scan_blanks(&p) ||
		scan_word(&p, lock->mode, sizeof(lock->mode)) < 0 || !scan_blanks(&p))
		return -EBADMSG;
	if (scan_i64(&p, -1, INT_MAX, &pid) < 0 || !scan_blanks(&p) || scan_lock_file(&p, lock) < 0 ||
		!scan_blanks(&p) || scan_u64(&p, 10, INT64_MAX, &lock->start) < 0 || !scan_blanks(&p))
		return -EBADMSG;
	lock->pid = (pid_t)pid;
	lock->end = UINT64_MAX;
	if (strcmp(p, "EOF") == 0)
		return 0;
	if (scan_u64(&p, 10, INT64_MAX, &lock->end) < 0 || *p || lock->end < lock->start)
		return -EBADMSG;
	return 0;
}

static int add_lock(struct arena *a, const char *p, struct proc_fd *f)
{
	struct proc_lock lock = { 0 };
	int r = parse_lock(p, &lock);

	if (r == 0)
		*(struct proc_lock *)span_push(a, &f->locks, sizeof(lock)) = lock;
	return r;
}

/* the value of the line @s when its key is @key, else NULL */
static const char *value_of(const char *s, const char *key)
{
	size_t n = strlen(key);

	return strncmp(s, key, n) == 0 && strncmp(s + n, ":\t", 2) == 0 ? s + n + 2 : NULL;
}

/* one of the lines that every descriptor has; returns which, 0 when it is none of them */
static int parse_common(const char *s, struct proc_fd *f)
{
	const char *p;
	int64_t pos;
	uint64_t flags;

	if ((p = value_of(s, "pos"))) {
		if (scan_i64(&p, INT64_MIN, INT64_MAX, &pos) < 0 || *p)
			return -EBADMSG;
		f->pos = (uint64_t)pos;
		return SEEN_POS;
	}
	if ((p = value_of(s, "flags"))) {
		if (scan_u64(&p, 8, UINT32_MAX, &flags) < 0 || *p)
			return -EBADMSG;
		f->cloexec = flags & O_CLOEXEC;
		f->flags = (uint32_t)flags & ~(uint32_t)O_CLOEXEC;
		return SEEN_FLAGS;
	}
	if ((p = value_of(s, "mnt_id")))
		return scan_u64(&p, 10, UINT64_MAX, &f->mnt_id) < 0 || *p ? -EBADMSG : SEEN_MNT_ID;
	if ((p = value_of(s, "ino")))
		return scan_u64(&p, 10, UINT64_MAX, &f->ino) < 0 || *p ? -EBADMSG : SEEN_INO;
	return 0;
}

/* the common lines and the locks come first: nothing that a driver prints behind them, names too, can pass for one */
int parse_fdinfo(struct arena *a, struct lines *l, struct proc_fd *ret)
{
	struct proc_fd f = *ret;
	struct line line;
	int seen = 0, r;

	f.locks = f.extra = (struct span){ 0 };
	while ((r = lines_next(l, &line)) > 0) {
		const char *lock = f.extra.n ? NULL : value_of(line.s, "lock");
		int which = lock || f.extra.n ? 0 : parse_common(line.s, &f);

		if (which < 0 || seen & which || (line.cut && !f.extra.n))
			return -EBADMSG;
		seen |= which;
		if (lock && add_lock(a, lock, &f) < 0)
			return -EBADMSG;
		if (!lock && !which)
			*(const char **)span_push(a, &f.extra, sizeof(char *)) = arena_strndup(a, line.s, line.len);
	}
	if (r < 0)
		return r;
	/* ino came with v5.14 */
	if ((seen | SEEN_INO) != (SEEN_POS | SEEN_FLAGS | SEEN_MNT_ID | SEEN_INO))
		return -EBADMSG;
	*ret = f;
	return 0;
}

/* of many descriptors the end of each is not worth another call */
static int read_fdinfo(struct arena *a, int dir, const char *path, struct proc_fd *f)
{
	_cleanup_(lines_close) struct lines l;
	char text[FDINFO_MOST + 1];
	int r = lines_open(&l, dir, path);
	if (r < 0)
		return r;
	ssize_t n = read_record(l.fd, text, FDINFO_MOST);
	if (n < 0)
		return (int)n;
	if (n == FDINFO_MOST && lseek(l.fd, 0, SEEK_SET) == 0)
		return parse_fdinfo(a, &l, f);
	struct lines whole;
	lines_mem(&whole, text, (size_t)n);
	return parse_fdinfo(a, &whole, f);
}

int proc_read_fdinfo(struct arena *a, int dir, int n, struct proc_fd *ret)
{
	struct proc_fd f = { .n = n };
	char path[32];

	snprintf(path, sizeof(path), "fdinfo/%d", n);
	int r = read_fdinfo(a, dir, path, &f);
	if (r == 0)
		*ret = f;
	return r;
}

static void read_object(int dir, const char *path, struct proc_fd *f)
{
	struct statx x;

	if (statx(dir, path, AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &x) < 0)
		return;
	f->dev = makedev(x.stx_dev_major, x.stx_dev_minor);
	f->st_ino = x.stx_ino;
	f->rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor);
	f->size = x.stx_size;
	f->mode = x.stx_mode;
	f->uid = x.stx_uid;
	f->gid = x.stx_gid;
	f->nlink = x.stx_nlink;
	f->mtime_sec = x.stx_mtime.tv_sec;
	f->mtime_nsec = x.stx_mtime.tv_nsec;
	f->by_change = !(x.stx_mask & STATX_BTIME);
	f->born_sec = f->by_change ? x.stx_ctime.tv_sec : x.stx_btime.tv_sec;
	f->born_nsec = f->by_change ? x.stx_ctime.tv_nsec : x.stx_btime.tv_nsec;
	f->has_stat = true;
}

static int by_number(const void *a, const void *b)
{
	const struct proc_fd *x = a, *y = b;

	return (x->n > y->n) - (x->n < y->n);
}

/*
 * Whether @f is what the model has at that number: then what it leads to is known, and where it stands, which others may change
 * between two looks. The rest of fdinfo is not: it tells locks as well.
 */
static bool take_object(const struct proc_model *model, struct proc_fd *f)
{
	struct proc_fd *m =
		model && model->fds.n ? bsearch(f, model->fds.at, model->fds.n, sizeof(*m), by_number) : NULL;

	if (!m || m->mnt_id != f->mnt_id || m->ino != f->ino || !model->same(model->data, f->n))
		return false;
	struct proc_fd taken = *m;
	taken.cloexec = f->cloexec;
	taken.locks = f->locks;
	taken.extra = f->extra;
	taken.like = m;
	*f = taken;
	return true;
}

static int read_fd(struct arena *a, int dir, const struct proc_model *model, int n, struct proc_fd *ret)
{
	char path[32], link[PATH_MAX + 1];
	int r = proc_read_fdinfo(a, dir, n, ret);
	if (r < 0 || take_object(model, ret))
		return r;

	snprintf(path, sizeof(path), "fd/%d", n);
	ssize_t len = readlinkat(dir, path, link, sizeof(link));
	if (len < 0 && errno != ENAMETOOLONG)
		return missing(dir, -errno);
	if (len < 0 || (size_t)len == sizeof(link))
		len = 0;
	ret->link = arena_strndup(a, link, (size_t)len);
	read_object(dir, path, ret);
	/* it may have been closed in between */
	if (!ret->has_stat && readlinkat(dir, path, link, sizeof(link)) < 0 && errno == ENOENT)
		return missing(dir, -ENOENT);
	return 0;
}

/* ---- all of a process ---- */

/* struct table - the descriptors of a process, which any thread reads into its place and its own arena */
struct table {
	int dir;
	const struct proc_model *model; /* or NULL */
	const int *numbers;
	struct proc_fd *fds;
	struct arena *ours, theirs[POOL_MOST]; /* of who waits for it, and of the workers */
};

struct piece {
	struct work work;
	struct table *table;
	size_t first, n;
	int err;
};

/* one that is closed meanwhile gets a negative number */
static void read_piece(struct work *work, unsigned int worker)
{
	struct piece *p = (struct piece *)work;
	struct table *t = p->table;

	for (size_t i = p->first; i < p->first + p->n && p->err == 0; i++) {
		struct arena *a = worker ? &t->theirs[worker - 1] : t->ours;
		int r = read_fd(a, t->dir, t->model, t->numbers[i], &t->fds[i]);

		if (r == -ENOENT)
			t->fds[i].n = -1;
		else
			p->err = r;
	}
}

static int read_pieces(struct pool *pool, struct table *t, struct piece *p, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n; i++)
		pool_put(pool, &p[i].work);
	for (size_t i = 0; i < n; i++) {
		pool_wait(pool, &p[i].work);
		if (r == 0)
			r = p[i].err;
	}
	return r;
}

/* The kernel takes some microseconds for each of many, and several threads take less time for that. */
static int read_table(struct arena *a, struct table *t, size_t n)
{
	size_t n_pieces = (n + A_PIECE - 1) / A_PIECE;
	struct piece *p = arena_array(a, n_pieces, sizeof(*p));
	struct pool *pool = NULL;

	for (size_t i = 0; i < n_pieces; i++)
		p[i] = (struct piece){
			.work.run = read_piece, .table = t, .first = i * A_PIECE, .n = min_u64(A_PIECE, n - i * A_PIECE)
		};
	if (n_pieces > ALONE)
		pool_start(&pool, (unsigned int)min_u64(pool_cpus(), n_pieces) - 1);
	int r = read_pieces(pool, t, p, n_pieces);
	pool_stop(pool);
	for (size_t i = 0; i < ARRAY_SIZE(t->theirs); i++)
		arena_join(a, &t->theirs[i]);
	return r;
}

/* the kernel does not show an empty table of a zombie to its own user */
static bool is_zombie(int dir)
{
	struct proc_stat st;

	return proc_read_stat(dir, &st) == 0 && (st.state == 'Z' || st.state == 'X');
}

int proc_read_fds(struct arena *a, int dir, struct span *ret)
{
	return proc_read_fds_like(a, dir, NULL, ret);
}

int proc_read_fds_like(struct arena *a, int dir, const struct proc_model *model, struct span *ret)
{
	struct span numbers;
	size_t kept = 0;
	int r = list_numbers(a, dir, "fd", &numbers);
	if (r == -EACCES && is_zombie(dir))
		numbers = (struct span){ 0 };
	else if (r < 0)
		return r;

	struct table t = { .dir = dir,
		.model = model,
		.ours = a,
		.numbers = numbers.at,
		.fds = arena_array(a, numbers.n, sizeof(struct proc_fd)) };
	r = read_table(a, &t, numbers.n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < numbers.n; i++)
		if (t.fds[i].n >= 0)
			t.fds[kept++] = t.fds[i];
	*ret = (struct span){ t.fds, kept, 0 };
	return 0;
}
