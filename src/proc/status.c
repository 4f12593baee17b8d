/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * /proc/PID/status: "Key:\tvalue" lines. Keys that nobody asked for are passed over: each kernel adds some, as
 * information.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "proc/parse.h"

enum how {
	NAME,
	STATE,
	OCT,
	U32,
	PID,
	HEX,
	MASK, /* 0x and hexadecimal digits */
	TEXT,
	IDS, /* four of them */
	GROUPS,
	NSPIDS, /* as many as there are levels of pid namespaces */
};

enum need {
	MUST,
	MAY, /* depends on the kernel, or on the task having an fs context or memory */
};

struct key {
	const char *name;
	size_t len;
	enum how how;
	enum need need;
	size_t at;
};

#define KEY(name, how, need, member)                                                    \
	{                                                                               \
		name, sizeof(name) - 1, how, need, offsetof(struct proc_status, member) \
	}

/* in the order in which the kernel prints them */
static const struct key keys[] = {
	KEY("Name", NAME, MUST, name),
	KEY("Umask", OCT, MAY, umask),
	KEY("State", STATE, MUST, state),
	KEY("Tgid", PID, MUST, tgid),
	KEY("Pid", PID, MUST, pid),
	KEY("PPid", PID, MUST, ppid),
	KEY("TracerPid", PID, MUST, tracer),
	KEY("Uid", IDS, MUST, uid),
	KEY("Gid", IDS, MUST, gid),
	KEY("FDSize", U32, MUST, fd_size),
	KEY("Groups", GROUPS, MUST, groups),
	KEY("NStgid", NSPIDS, MUST, nstgid),
	KEY("NSpid", NSPIDS, MUST, nspid),
	KEY("NSpgid", NSPIDS, MUST, nspgid),
	KEY("NSsid", NSPIDS, MUST, nssid),
	KEY("CoreDumping", U32, MAY, core_dumping),
	KEY("Threads", U32, MUST, threads),
	KEY("SigPnd", HEX, MUST, sigpnd),
	KEY("ShdPnd", HEX, MUST, shdpnd),
	KEY("SigBlk", HEX, MUST, sigblk),
	KEY("SigIgn", HEX, MUST, sigign),
	KEY("SigCgt", HEX, MUST, sigcgt),
	KEY("CapInh", HEX, MUST, cap_inh),
	KEY("CapPrm", HEX, MUST, cap_prm),
	KEY("CapEff", HEX, MUST, cap_eff),
	KEY("CapBnd", HEX, MUST, cap_bnd),
	KEY("CapAmb", HEX, MUST, cap_amb),
	KEY("NoNewPrivs", U32, MUST, no_new_privs),
	KEY("Seccomp", U32, MAY, seccomp),
	KEY("Seccomp_filters", U32, MAY, seccomp_filters),
	KEY("x86_Thread_features", TEXT, MAY, x86_features),
	KEY("untag_mask", MASK, MAY, untag_mask),
};

/* the kernel escapes newline and backslash, nothing else */
static int scan_name(const char **p, char name[static 64])
{
	size_t n = 0;

	for (; **p; (*p)++) {
		char c = **p;

		if (c == '\\') {
			c = *++*p;
			if (c != 'n' && c != '\\')
				return -EBADMSG;
			c = c == 'n' ? '\n' : c;
		}
		if (n == 63)
			return -EBADMSG;
		name[n++] = c;
	}
	name[n] = '\0';
	return 0;
}

static int scan_u32s(const char **p, int base, uint32_t max, uint32_t *to, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t n;

		if (i > 0 && !scan_blanks(p))
			return -EBADMSG;
		if (scan_u64(p, base, max, &n) < 0)
			return -EBADMSG;
		to[i] = (uint32_t)n;
	}
	return 0;
}

static int scan_groups(struct arena *a, const char **p, struct span *groups)
{
	while (scan_blanks(p), **p) {
		uint64_t gid;

		if (scan_u64(p, 10, UINT32_MAX, &gid) < 0 || **p != ' ')
			return -EBADMSG;
		*(uint32_t *)span_push(a, groups, sizeof(uint32_t)) = (uint32_t)gid;
	}
	return 0;
}

/* the first of the four lists says how many levels there are, the others agree */
static int scan_nspids(const char **p, pid_t *to, unsigned int *levels)
{
	unsigned int n = 0;

	do {
		uint64_t pid;

		if (scan_u64(p, 10, INT_MAX, &pid) < 0)
			return -EBADMSG;
		if (n == PROC_NSPIDS)
			return -E2BIG;
		to[n++] = (pid_t)pid;
	} while (scan_blanks(p));
	if (*levels && *levels != n)
		return -EBADMSG;
	*levels = n;
	return 0;
}

static int scan_state(const char **p, char *to)
{
	if (!isalpha((unsigned char)**p))
		return -EBADMSG;
	*to = **p;
	*p += strlen(*p);
	return 0;
}

static int scan_value(struct arena *a, const char *p, const struct key *k, struct proc_status *st)
{
	void *to = (char *)st + k->at;
	int r = 0;

	switch (k->how) {
	case NAME:
		r = scan_name(&p, to);
		break;
	case STATE:
		r = scan_state(&p, to);
		break;
	case OCT:
		r = scan_u32s(&p, 8, 07777, to, 1);
		break;
	case U32:
		r = scan_u32s(&p, 10, UINT32_MAX, to, 1);
		break;
	case PID:
		r = scan_u32s(&p, 10, INT_MAX, to, 1);
		break;
	case HEX:
		r = scan_u64(&p, 16, UINT64_MAX, to);
		break;
	case MASK:
		r = scan_char(&p, '0') && scan_char(&p, 'x') ? scan_u64(&p, 16, UINT64_MAX, to) : -EBADMSG;
		break;
	case TEXT:
		*(const char **)to = *p ? arena_strdup(a, p) : "";
		p += strlen(p);
		break;
	case IDS:
		r = scan_u32s(&p, 10, UINT32_MAX, to, 4);
		break;
	case GROUPS:
		r = scan_groups(a, &p, to);
		break;
	case NSPIDS:
		r = scan_nspids(&p, to, &st->levels);
		break;
	}
	if (r < 0)
		return r;
	return *p ? -EBADMSG : 0;
}

/* lines come in order: @hint is where to look first */
static const struct key *find_key(const char *name, size_t len, size_t hint)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct key *k = &keys[(hint + i) % ARRAY_SIZE(keys)];

		if (k->len == len && memcmp(k->name, name, len) == 0)
			return k;
	}
	return NULL;
}

static int parse_line(struct arena *a, const struct line *line, struct proc_status *st, uint64_t *seen, size_t *hint)
{
	const char *colon = memchr(line->s, ':', line->len);
	if (!colon || line->cut)
		return -EBADMSG;
	const struct key *k = find_key(line->s, (size_t)(colon - line->s), *hint);
	if (!k)
		return 0;

	size_t i = (size_t)(k - keys);
	if (colon[1] != '\t' || *seen & 1ull << i)
		return -EBADMSG;
	*seen |= 1ull << i;
	*hint = i + 1;
	return scan_value(a, colon + 2, k, st);
}

int parse_status(struct arena *a, struct lines *l, struct proc_status *ret)
{
	struct proc_status st = { 0 };
	struct line line;
	uint64_t seen = 0;
	size_t hint = 0;
	int r;

	_Static_assert(ARRAY_SIZE(keys) <= 64, "keys have outgrown the set of those seen");
	while ((r = lines_next(l, &line)) > 0) {
		r = parse_line(a, &line, &st, &seen, &hint);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].need == MUST && !(seen & 1ull << i))
			return -EBADMSG;
	*ret = st;
	return 0;
}

int proc_read_status(struct arena *a, int dir, struct proc_status *ret)
{
	_cleanup_(lines_close) struct lines l;
	int r = lines_open(&l, dir, "status");
	if (r < 0)
		return r;
	r = lines_record(&l);
	return r < 0 ? r : parse_status(a, &l, ret);
}
