/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every parser of room proc: the first byte of the input chooses one, the rest is its text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "proc/parse.h"

/* every string that a parser returns is read to its end */
static size_t touch(const char *s)
{
	return strlen(s);
}

static void must(bool claim)
{
	if (!claim)
		abort();
}

static void fuzz_stat(const char *text, size_t len)
{
	struct proc_stat st;

	if (parse_stat(text, len, &st) == 0)
		must(touch(st.comm) < sizeof(st.comm) && st.pid >= 0);
}

static void fuzz_status(struct arena *a, struct lines *l)
{
	struct proc_status st;

	if (parse_status(a, l, &st) == 0)
		must(touch(st.name) < sizeof(st.name) && st.levels >= 1 && st.levels <= PROC_NSPIDS);
}

static void fuzz_maps(struct arena *a, struct lines *l, bool smaps)
{
	struct span s;

	if (parse_maps(a, l, smaps, 1, &s) < 0)
		return;
	settle_names(a, -EBADF, &s);
	const struct proc_vma *v = s.at;
	for (size_t i = 0; i < s.n; i++) {
		touch(v[i].name);
		touch(v[i].vmflags);
		must(v[i].start < v[i].end && (i == 0 || v[i - 1].end <= v[i].start) && v[i].has_flags == smaps);
	}
}

static void fuzz_fdinfo(struct arena *a, struct lines *l)
{
	struct proc_fd f = { 0 };

	if (parse_fdinfo(a, l, &f) < 0)
		return;
	for (size_t i = 0; i < f.extra.n; i++)
		touch(((const char **)f.extra.at)[i]);
	for (size_t i = 0; i < f.locks.n; i++) {
		const struct proc_lock *k = (const struct proc_lock *)f.locks.at + i;

		must(touch(k->type) && touch(k->kind) && touch(k->mode) && k->start <= k->end);
	}
}

static void fuzz_strings(struct arena *a, struct lines *l, bool mounts)
{
	const char *s;

	if ((mounts ? parse_cgroup2_mount(a, l, &s) : parse_cgroup(a, l, &s)) == 0)
		must(s[0] == '/' && touch(s));
}

static void fuzz_timers(struct arena *a, struct lines *l)
{
	struct span s = { 0 };

	if (parse_timers(a, l, &s) < 0)
		return;
	const struct proc_timer *t = s.at;
	for (size_t i = 0; i < s.n; i++)
		must(t[i].id >= 0 && t[i].target >= 0);
}

static void fuzz_one(unsigned int which, struct arena *a, struct lines *l, const char *text, size_t len)
{
	struct proc_limit limits[PROC_LIMITS];
	struct proc_syscall call;
	struct proc_sched sched;
	struct proc_rollup sums;
	struct span s = { 0 };
	uint64_t ino;

	switch (which) {
	case 0:
		fuzz_stat(text, len);
		break;
	case 1:
		fuzz_status(a, l);
		break;
	case 2:
	case 3:
		fuzz_maps(a, l, which == 3);
		break;
	case 4:
		fuzz_fdinfo(a, l);
		break;
	case 5:
		parse_limits(l, limits);
		break;
	case 6:
		parse_children(a, l, &s);
		break;
	case 7:
	case 8:
		fuzz_strings(a, l, which == 8);
		break;
	case 9:
		fuzz_timers(a, l);
		break;
	case 10:
		parse_syscall(text, &call);
		break;
	case 11:
		parse_sched(l, &sched);
		break;
	case 12:
		parse_mount_dev(l, 33, &ino);
		break;
	case 13:
		parse_rollup(l, &sums);
		break;
	default:
		parse_ns(text, &ino);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a = { 0 };
	struct lines l;

	if (size == 0)
		return 0;
	size_t len = size - 1;
	char *text = calloc(1, len + 1);
	must(text);
	memcpy(text, data + 1, len);
	lines_mem(&l, text, len);
	fuzz_one(data[0] % 15, &a, &l, text, len);
	lines_close(&l);
	arena_done(&a);
	free(text);
	return 0;
}
