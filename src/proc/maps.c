/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/maps and smaps: a head line per mapping, and in smaps "Key: value" lines below it, VmFlags the last.
 *
 * The kernel prints a newline in a name as \012 but a backslash as it is, and puts " (deleted)" behind the name of a
 * file that has none any more. So a name that holds either can mean two files. Which one is asked of the files
 * themselves, as far as they are in sight; what then is still open is taken for what the kernel made of an odd name: a
 * newline, deleted.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/io.h"
#include "base/pool.h"
#include "proc/parse.h"

#define FIRST	   ((size_t)32 << 10) /* bytes, of the first block */
#define BLOCK	   ((size_t)128 << 10) /* bytes: of some hundred mappings */
#define BLOCK_MOST ((size_t)64 << 20)
#define BLOCKS	   4
#define ALONE	   2 /* so many blocks are parsed without a thread: to make one would take longer */

static const char newline[] = "\\012";
static const char deleted[] = " (deleted)";

/* a copy of @s, or the string that the mapping before has, when it is the same: neighbours mostly are */
static const char *intern(struct arena *a, const char *s, size_t len, const char *before)
{
	if (before && strncmp(s, before, len) == 0 && before[len] == '\0')
		return before;
	return len ? arena_strndup(a, s, len) : "";
}

static bool scan_prot(const char **p, struct proc_vma *v)
{
	static const char letters[] = "rwx";

	for (unsigned int i = 0; i < 3; i++) {
		if (scan_char(p, letters[i]))
			v->prot |= 1u << i;
		else if (!scan_char(p, '-'))
			return false;
	}
	v->shared = scan_char(p, 's');
	return v->shared || scan_char(p, 'p');
}

/* "55a0979d0000-55a0979d2000 r--p 00000000 fe:00 247498     /usr/bin/head" */
static int parse_head(struct arena *a, const struct line *line, const struct proc_vma *before, struct proc_vma *v)
{
	const char *p = line->s;
	uint64_t major, minor;

	if (line->cut || scan_u64(&p, 16, UINT64_MAX, &v->start) < 0 || !scan_char(&p, '-') ||
		scan_u64(&p, 16, UINT64_MAX, &v->end) < 0 || !scan_char(&p, ' ') || !scan_prot(&p, v) ||
		!scan_char(&p, ' ') || scan_u64(&p, 16, UINT64_MAX, &v->pgoff) < 0 || !scan_char(&p, ' '))
		return -EBADMSG;
	if (scan_u64(&p, 16, UINT32_MAX, &major) < 0 || !scan_char(&p, ':') ||
		scan_u64(&p, 16, UINT32_MAX, &minor) < 0 || !scan_char(&p, ' ') ||
		scan_u64(&p, 10, UINT64_MAX, &v->ino) < 0)
		return -EBADMSG;
	if (*p && *p != ' ')
		return -EBADMSG;
	if (v->start >= v->end || (before && v->start < before->end))
		return -EBADMSG;
	v->major = (uint32_t)major;
	v->minor = (uint32_t)minor;
	p += strspn(p, " ");
	v->name = intern(a, p, strlen(p), before ? before->name : NULL);
	v->vmflags = "";
	return 0;
}

/* "       8 kB" in bytes */
static int scan_size(const char *p, uint64_t *ret)
{
	uint64_t kb;

	scan_blanks(&p);
	if (scan_u64(&p, 10, UINT64_MAX >> 10, &kb) < 0 || strcmp(p, " kB") != 0)
		return -EBADMSG;
	*ret = kb << 10;
	return 0;
}

static int parse_vmflags(struct arena *a, const char *p, const struct proc_vma *before, struct proc_vma *v)
{
	scan_blanks(&p);
	size_t len = strlen(p);

	if (v->has_flags)
		return -EBADMSG;
	while (len > 0 && p[len - 1] == ' ')
		len--;
	v->vmflags = intern(a, p, len, before ? before->vmflags : NULL);
	v->has_flags = v->has_counters = true;
	return 0;
}

static const struct {
	const char *key;
	size_t len, to;
} sizes[] = {
#define SIZE(key, m)                                               \
	{                                                          \
		key, sizeof(key) - 1, offsetof(struct proc_vma, m) \
	}
	SIZE("Rss", rss),
	SIZE("Pss", pss),
	SIZE("Anonymous", anonymous),
	SIZE("AnonHugePages", huge),
	SIZE("Swap", swap),
	SIZE("KernelPageSize", page_size),
	SIZE("Private_Hugetlb", own_huge),
	SIZE("Shared_Hugetlb", shared_huge),
#undef SIZE
};

static bool is_key(const char *s, size_t len, const char *key)
{
	return strncmp(s, key, len) == 0 && key[len] == '\0';
}

/* a line below the head; counters that nobody asked for are passed over */
static int parse_counter(struct arena *a, const struct line *line, const struct proc_vma *before, struct proc_vma *v)
{
	const char *colon = memchr(line->s, ':', line->len);
	uint64_t key;

	if (line->cut || !colon)
		return -EBADMSG;
	const size_t len = (size_t)(colon - line->s);
	const char *value = colon + 1;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i].len == len && memcmp(line->s, sizes[i].key, len) == 0)
			return scan_size(value, (uint64_t *)((char *)v + sizes[i].to));
	if (is_key(line->s, len, "VmFlags"))
		return parse_vmflags(a, value, before, v);
	if (is_key(line->s, len, "ProtectionKey")) {
		scan_blanks(&value);
		if (scan_u64(&value, 10, UINT32_MAX, &key) < 0 || *value)
			return -EBADMSG;
		v->protection_key = (uint32_t)key;
	}
	return 0;
}

int parse_maps(struct arena *a, struct lines *l, bool smaps, size_t about, struct span *ret)
{
	struct span vmas = { 0 };
	struct proc_vma *v = NULL;
	struct line line;
	int r;

	span_reserve(a, &vmas, about, sizeof(*v));
	while ((r = lines_next(l, &line)) > 0) {
		if (smaps && line.s[0] >= 'A' && line.s[0] <= 'Z') {
			r = v ? parse_counter(a, &line, vmas.n > 1 ? v - 1 : NULL, v) : -EBADMSG;
		} else if (smaps && v && !v->has_flags) {
			r = -EBADMSG;
		} else {
			/* span_push() may move what is before */
			v = span_push(a, &vmas, sizeof(*v));
			r = parse_head(a, &line, vmas.n > 1 ? v - 1 : NULL, v);
		}
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (smaps && v && !v->has_flags)
		return -EBADMSG;
	*ret = vmas;
	return 0;
}

int parse_rollup(struct lines *l, struct proc_rollup *ret)
{
	struct proc_rollup all = { 0 };
	const struct {
		const char *key;
		uint64_t *to;
	} sums[] = {
		{ "Anonymous", &all.anonymous },
		{ "Pss_Anon", &all.pss_anonymous },
		{ "AnonHugePages", &all.huge },
		{ "Swap", &all.swap },
	};
	unsigned int seen = 0;
	struct line line;
	int r;

	while ((r = lines_next(l, &line)) > 0) {
		const char *colon = memchr(line.s, ':', line.len);

		for (unsigned int i = 0; i < ARRAY_SIZE(sums) && colon; i++)
			if (is_key(line.s, (size_t)(colon - line.s), sums[i].key)) {
				if (line.cut || scan_size(colon + 1, sums[i].to) < 0)
					return -EBADMSG;
				seen |= 1u << i;
			}
	}
	if (r < 0)
		return r;
	if (seen != (1u << ARRAY_SIZE(sums)) - 1)
		return -EOPNOTSUPP;
	*ret = all;
	return 0;
}

/* whether @path leads to the file that is mapped */
static bool leads_to(int dir, const char *path, const struct proc_vma *v)
{
	char link[64];
	struct stat st, mapped;

	if (fstatat(dir, path, &st, AT_NO_AUTOMOUNT) < 0)
		return false;
	if (st.st_ino == v->ino && major(st.st_dev) == v->major && minor(st.st_dev) == v->minor)
		return true;
	/* some filesystems have another device for stat() than maps shows; map_files wants a privilege */
	snprintf(link, sizeof(link), "map_files/%llx-%llx", (unsigned long long)v->start, (unsigned long long)v->end);
	return fstatat(dir, link, &mapped, AT_NO_AUTOMOUNT) == 0 && same_file(&mapped, &st);
}

/* names are printed from the reader's root; those of another mount namespace from the root of that */
static bool is_name_of(struct arena *a, int dir, const char *name, const struct proc_vma *v)
{
	if (dir < 0 || name[0] != '/')
		return false;
	return leads_to(dir, name, v) || leads_to(dir, arena_printf(a, "root%s", name), v);
}

static char *without_escapes(struct arena *a, const char *name)
{
	char *plain = arena_strdup(a, name), *to = plain;

	for (const char *p = name; *p; to++) {
		bool escaped = strncmp(p, newline, sizeof(newline) - 1) == 0;

		*to = escaped ? '\n' : *p;
		p += escaped ? sizeof(newline) - 1 : 1;
	}
	*to = '\0';
	return plain;
}

static bool ends_deleted(const char *name, size_t *ret_len)
{
	size_t len = strlen(name), tail = sizeof(deleted) - 1;

	if (len <= tail || strcmp(name + len - tail, deleted) != 0)
		return false;
	*ret_len = len - tail;
	return true;
}

static void settle_name(struct arena *a, int dir, struct proc_vma *v)
{
	bool escaped = strstr(v->name, newline);
	const char *plain = escaped ? without_escapes(a, v->name) : v->name;
	size_t len;
	bool suffixed = ends_deleted(plain, &len);

	if (!escaped && !suffixed)
		return;
	if (escaped && !is_name_of(a, dir, plain, v) && is_name_of(a, dir, v->name, v))
		return;
	if (suffixed && !is_name_of(a, dir, plain, v)) {
		plain = arena_strndup(a, plain, len);
		v->deleted = true;
	}
	v->name = plain;
}

void settle_names(struct arena *a, int dir, struct span *vmas)
{
	struct proc_vma *all = vmas->at;
	const char *printed = NULL; /* the name of the mapping before, as printed */

	for (size_t i = 0; i < vmas->n; i++) {
		struct proc_vma *v = &all[i], *before = i > 0 ? v - 1 : NULL;
		bool same = before && v->name == printed && v->ino == before->ino && v->major == before->major &&
			    v->minor == before->minor;

		printed = v->name;
		if (same) {
			v->name = before->name;
			v->deleted = before->deleted;
		} else {
			settle_name(a, dir, v);
		}
	}
}

/* ---- reading ---- */

/* struct block - text of whole mappings, which any thread parses */
struct block {
	struct work work;
	struct text *text;
	char *at;
	size_t len, room;
	struct span vmas;
	int err;
	bool put;
};

/* struct text - the file: of many mappings the next ones are read while those before are parsed */
struct text {
	int fd;
	bool smaps, ended;
	struct block blocks[BLOCKS]; /* used one after the other, round and round */
	size_t n; /* put so far */
	struct pool *pool;
	struct span parts; /* of struct span: the mappings of each */
	size_t n_vmas; /* in all of them */
	uint64_t end; /* of the last one */
	struct arena arena; /* of the text */
	struct arena *ours, theirs[POOL_MOST]; /* of who reads, and of the workers */
};

/* lines of smaps are 24 or more */
static size_t guess_mappings(const struct block *b)
{
	size_t lines = 1;

	for (const char *p = b->at; (p = memchr(p, '\n', b->len - (size_t)(p - b->at))); p++)
		lines++;
	return b->text->smaps ? lines / 24 + 1 : lines;
}

static void parse_block(struct work *work, unsigned int worker)
{
	struct block *b = (struct block *)work;
	struct text *t = b->text;
	struct lines l;

	lines_mem(&l, b->at, b->len);
	b->err = parse_maps(worker ? &t->theirs[worker - 1] : t->ours, &l, t->smaps, guess_mappings(b), &b->vmas);
	lines_close(&l);
}

static void make_room(struct text *t, struct block *b, size_t room)
{
	if (b->room >= room)
		return;
	b->at = arena_grow(&t->arena, b->at, b->len, room + 1, 1);
	b->room = room;
}

/* up to the end of the room or of the file */
static int read_more(struct text *t, struct block *b)
{
	while (b->len < b->room && !t->ended) {
		ssize_t n = read(t->fd, b->at + b->len, b->room - b->len);

		if (n < 0 && errno != EINTR)
			return -errno;
		t->ended = n == 0;
		b->len += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* where the last mapping begins, which may not be whole; 0: it is the first. The other lines of one begin with a capital letter */
static size_t last_head(const struct block *b)
{
	size_t at = b->len;

	while (at > 0) {
		const char *end = memrchr(b->at, '\n', at);
		size_t line = end ? (size_t)(end - b->at) + 1 : 0;

		if (line < b->len && (b->at[line] < 'A' || b->at[line] > 'Z'))
			return line;
		at = line ? line - 1 : 0;
	}
	return 0;
}

static int read_block(struct text *t, struct block *b, size_t *ret_whole)
{
	int r = read_more(t, b);

	while (r == 0 && !t->ended && !(*ret_whole = last_head(b))) {
		if (b->room >= BLOCK_MOST)
			return -EBADMSG;
		make_room(t, b, b->room * 2);
		r = read_more(t, b);
	}
	if (t->ended)
		*ret_whole = b->len;
	return r;
}

/* to the end of the list; the block may be used again */
static int take_block(struct text *t, struct block *b)
{
	if (!b->put)
		return 0;
	pool_wait(t->pool, &b->work);
	const struct proc_vma *v = b->vmas.at;
	b->put = false;
	b->len = 0;
	if (b->err < 0 || !b->vmas.n)
		return b->err;
	if (v[0].start < t->end)
		return -EBADMSG;
	t->end = v[b->vmas.n - 1].end;
	t->n_vmas += b->vmas.n;
	*(struct span *)span_push(&t->arena, &t->parts, sizeof(struct span)) = b->vmas;
	return 0;
}

static struct span join_parts(const struct text *t)
{
	const struct span *part = t->parts.at;
	struct span all = { 0 };

	if (t->parts.n == 1)
		return part[0];
	span_reserve(t->ours, &all, t->n_vmas, sizeof(struct proc_vma));
	for (size_t i = 0; i < t->parts.n; i++) {
		memcpy((struct proc_vma *)all.at + all.n, part[i].at, part[i].n * sizeof(struct proc_vma));
		all.n += part[i].n;
	}
	return all;
}

/* the first ones are not worth a thread */
static void put_block(struct text *t, struct block *b, size_t whole)
{
	if (t->n == ALONE && !t->ended && pool_cpus() > 1)
		pool_start(&t->pool, 1); /* parsing takes less than half of the time that reading does */
	b->len = whole;
	b->work.run = parse_block;
	b->text = t;
	b->put = true;
	pool_put(t->pool, &b->work);
	if (t->n++ < ALONE)
		pool_wait(NULL, &b->work);
}

static int read_blocks(struct text *t)
{
	char first[FIRST + 1]; /* enough for most processes */
	size_t whole = 0;
	int r;

	t->blocks[0].at = first;
	t->blocks[0].room = FIRST;
	while ((r = read_block(t, &t->blocks[t->n % BLOCKS], &whole)) == 0) {
		struct block *b = &t->blocks[t->n % BLOCKS], *next = &t->blocks[(t->n + 1) % BLOCKS];
		size_t rest = b->len - whole;

		r = take_block(t, next);
		if (r < 0)
			break;
		if (!t->ended) {
			make_room(t, next, max_u64(BLOCK, b->room));
			memcpy(next->at, b->at + whole, rest);
			next->len = rest;
		}
		put_block(t, b, whole);
		if (t->ended)
			break;
	}
	for (size_t i = 0; i < BLOCKS && r == 0; i++)
		r = take_block(t, &t->blocks[(t->n + i) % BLOCKS]);
	pool_stop(t->pool);
	return r;
}

int proc_read_maps(struct arena *a, int dir, bool smaps, struct span *ret)
{
	_cleanup_close_ int fd = open_below(dir, smaps ? "smaps" : "maps", O_RDONLY);
	struct text t = { .fd = fd, .smaps = smaps, .ours = a };
	int r = fd < 0 ? fd : read_blocks(&t);
	struct span all = r < 0 ? (struct span){ 0 } : join_parts(&t);

	arena_done(&t.arena);
	for (size_t i = 0; i < ARRAY_SIZE(t.theirs); i++)
		arena_join(a, &t.theirs[i]);
	/* some kernels say that a zombie, which has no memory, is no process */
	if (r == -ESRCH)
		r = missing(dir, -ENOENT) == -ESRCH ? -ESRCH : 0;
	if (r < 0)
		return r;
	settle_names(a, dir, &all);
	*ret = all;
	return 0;
}

bool proc_has_mappings(int dir, size_t n)
{
	_cleanup_close_ int fd = open_below(dir, "maps", O_RDONLY);
	char some[4096];
	size_t seen = 0;

	while (fd >= 0 && seen < n) {
		ssize_t got = read(fd, some, sizeof(some));

		if (got <= 0)
			break;
		for (const char *p = some; (p = memchr(p, '\n', (size_t)(some + got - p))); p++)
			seen++;
	}
	return seen >= n;
}

int proc_read_rollup(int dir, struct proc_rollup *ret)
{
	struct lines l;
	int r = lines_open(&l, dir, "smaps_rollup");

	if (r == 0)
		r = parse_rollup(&l, ret);
	lines_close(&l);
	return r == -ENOENT ? -EOPNOTSUPP : r;
}
