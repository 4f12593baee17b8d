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

#include "proc/parse.h"

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

	if (scan_u64(&p, 10, UINT64_MAX >> 10, &kb) < 0 || strcmp(p, " kB") != 0)
		return -EBADMSG;
	*ret = kb << 10;
	return 0;
}

static int parse_vmflags(struct arena *a, const char *p, const struct proc_vma *before, struct proc_vma *v)
{
	size_t len = strlen(p);

	if (v->has_flags)
		return -EBADMSG;
	while (len > 0 && p[len - 1] == ' ')
		len--;
	v->vmflags = intern(a, p, len, before ? before->vmflags : NULL);
	v->has_flags = true;
	return 0;
}

/* a line below the head; counters that nobody asked for are passed over */
static int parse_counter(struct arena *a, const struct line *line, const struct proc_vma *before, struct proc_vma *v)
{
	const struct {
		const char *key;
		uint64_t *to;
	} sizes[] = {
		{ "Rss", &v->rss },
		{ "Pss", &v->pss },
		{ "Anonymous", &v->anonymous },
		{ "AnonHugePages", &v->huge },
		{ "Swap", &v->swap },
		{ "KernelPageSize", &v->page_size },
		{ "Private_Hugetlb", &v->own_huge },
		{ "Shared_Hugetlb", &v->shared_huge },
	};
	char *colon = memchr(line->s, ':', line->len);
	uint64_t key;

	if (line->cut || !colon)
		return -EBADMSG;
	*colon = '\0';
	const char *value = colon + 1;
	scan_blanks(&value);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		if (strcmp(line->s, sizes[i].key) == 0)
			return scan_size(value, sizes[i].to);
	if (strcmp(line->s, "VmFlags") == 0)
		return parse_vmflags(a, value, before, v);
	if (strcmp(line->s, "ProtectionKey") == 0) {
		if (scan_u64(&value, 10, UINT32_MAX, &key) < 0 || *value)
			return -EBADMSG;
		v->protection_key = (uint32_t)key;
	}
	return 0;
}

int parse_maps(struct arena *a, struct lines *l, bool smaps, struct span *ret)
{
	struct span vmas = { 0 };
	struct proc_vma *v = NULL;
	struct line line;
	int r;

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
	return fstatat(dir, link, &mapped, AT_NO_AUTOMOUNT) == 0 && mapped.st_ino == st.st_ino &&
	       mapped.st_dev == st.st_dev;
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

int proc_read_maps(struct arena *a, int dir, bool smaps, struct span *ret)
{
	_cleanup_(lines_close) struct lines l;
	struct span vmas = { 0 };
	int r = lines_open(&l, dir, smaps ? "smaps" : "maps");
	if (r == 0)
		r = parse_maps(a, &l, smaps, &vmas);
	/* some kernels say that a zombie, which has no memory, is no process */
	if (r == -ESRCH)
		r = missing(dir, -ENOENT) == -ESRCH ? -ESRCH : 0;
	if (r < 0)
		return r;
	settle_names(a, dir, &vmas);
	*ret = vmas;
	return 0;
}
