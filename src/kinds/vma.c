/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/vma.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/memfd.h"

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* instead of MAP_PRIVATE */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define NAME_MAX_LEN 79 /* ANON_VMA_NAME_MAX_LEN */

static const char watched[] = "is watched by a userfaultfd";

/* proc(5), smaps: what is kept, what follows from what is kept (no flag), and what stands against it */
static const struct {
	char two[3];
	uint32_t flag;
	const char *obstacle;
} known[] = {
	{ "rd", 0, NULL },
	{ "wr", 0, NULL },
	{ "ex", 0, NULL },
	{ "sh", 0, NULL },
	{ "mr", 0, NULL },
	{ "mw", 0, NULL },
	{ "me", 0, NULL },
	{ "ms", 0, NULL },
	{ "gd", VMA_GROWSDOWN, NULL },
	{ "lo", VMA_LOCKED, NULL },
	{ "lf", VMA_LOCKONFAULT, NULL },
	{ "??", VMA_LOCKONFAULT, NULL }, /* is_nameless() */
	{ "sr", VMA_SEQUENTIAL, NULL },
	{ "rr", VMA_RANDOM, NULL },
	{ "dc", VMA_DONTFORK, NULL },
	{ "dd", VMA_DONTDUMP, NULL },
	{ "sl", VMA_SEALED, NULL },
	{ "dp", VMA_DROPPABLE, NULL },
	{ "ac", 0, NULL },
	{ "nr", VMA_NORESERVE, NULL },
	{ "hg", VMA_HUGEPAGE, NULL },
	{ "nh", VMA_NOHUGEPAGE, NULL },
	{ "mg", VMA_MERGEABLE, NULL },
	{ "wf", VMA_WIPEONFORK, NULL },
	{ "ht", 0, NULL }, /* mem/hugetlb.c */
	{ "de", 0, NULL }, /* of what is not to grow, as that; else memory of drivers has it */
	{ "sd", 0, NULL }, /* soft-dirty: pages are new to who watches them */
	{ "gu", 0, NULL }, /* task/guards.c */
	{ "um", 0, watched },
	{ "uw", 0, watched },
	{ "ui", 0, watched },
	{ "pf", 0, "is memory of a device" },
	{ "io", 0, "is memory of a device" },
	{ "ss", 0, "is a shadow stack" },
};

/* the next flag of @at in @two, which moves on; false at the end */
static bool next_flag(const char **at, char two[3])
{
	const char *s = *at;

	if (!s || !s[0] || !s[1])
		return false;
	two[0] = s[0];
	two[1] = s[1];
	two[2] = 0;
	*at = s + 2 + strspn(s + 2, " ");
	return true;
}

static size_t number(const char two[3])
{
	size_t i = 0;

	while (i < ARRAY_SIZE(known) && memcmp(known[i].two, two, 2) != 0)
		i++;
	return i;
}

/* "it is fd 5 of "qemu" (pid 812)", and each that may be the one: the kernel does not tell which of them watches what */
static const char *watchers(struct op *op, const struct tree *tree)
{
	struct process *const *p = tree ? tree->processes.at : NULL;
	const char *all = "";

	for (size_t i = 0; tree && i < tree->processes.n; i++) {
		const struct proc_fd *f = p[i]->fds.at;

		for (size_t k = 0; k < p[i]->fds.n; k++)
			if (strcmp(f[k].link, "anon_inode:[userfaultfd]") == 0)
				all = arena_printf(&op->arena, "%s%s fd %d of \"%s\" (pid %d)", all,
					*all ? " or" : "it is", f[k].n, p[i]->stat.comm, p[i]->pid);
	}
	return *all ? all : "it is held outside of the program";
}

static int refuse_flag(struct op *op, const struct sight *s, const char *what)
{
	if (what == watched)
		return refuse(op, "userfaultfd", watchers(op, s->tree), "have it unregistered before", "%s", what);
	return refuse(op, "vma-flag", NULL, NULL, "%s", what);
}

/* older kernels have no name for MLOCK_ONFAULT, and call it what they call all that has none: is this one of them? */
static bool is_on_fault(struct op *op)
{
	size_t len = (size_t)sysconf(_SC_PAGESIZE);
	void *at = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool locked = at != MAP_FAILED && syscall(SYS_mlock2, at, len, MLOCK_ONFAULT) == 0, is = false;
	_cleanup_close_ int self = locked ? open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	struct span maps = { 0 };

	if (self >= 0)
		proc_read_maps(&op->arena, self, true, &maps);
	const struct proc_vma *v = maps.at;
	for (size_t i = 0; i < maps.n; i++)
		is |= v[i].start == (uintptr_t)at && strstr(v[i].vmflags, "??");
	if (at != MAP_FAILED)
		munmap(at, len);
	return is;
}

/* what has no name, when it can be nothing else */
static bool is_nameless(struct op *op, const struct proc_vma *v)
{
	const char *first = strstr(v->vmflags, "??");

	return strstr(v->vmflags, "lo") && !strstr(first + 2, "??") && is_on_fault(op);
}

int vma_check_flags(struct op *op, const struct sight *s)
{
	return vma_check_flags_but(op, s, "");
}

/* is it one of "rd wr ex"? */
static bool is_among(const char *flags, const char *two)
{
	const char *at = strstr(flags, two);

	return at && (at - flags) % 3 == 0;
}

int vma_check_flags_but(struct op *op, const struct sight *s, const char *also)
{
	const char *at = s->vma->vmflags;
	char two[3];
	int r = 0;

	while (next_flag(&at, two)) {
		size_t i = number(two);

		if (is_among(also, two))
			continue;
		if (i == ARRAY_SIZE(known) || (strcmp(two, "??") == 0 && !is_nameless(op, s->vma)))
			r = refuse(op, "vma-flag", NULL, NULL, "has the flag \"%s\", which this version does not know",
				two);
		else if (known[i].obstacle)
			r = refuse_flag(op, s, known[i].obstacle);
	}
	return r;
}

bool vma_is_hugetlb(const struct proc_vma *v)
{
	const char *at = v->vmflags;
	char two[3];

	while (next_flag(&at, two))
		if (strcmp(two, "ht") == 0)
			return true;
	return false;
}

uint32_t vma_flags(const struct proc_vma *v)
{
	uint32_t flags = v->shared ? VMA_SHARED : 0;
	const char *at = v->vmflags;
	bool may_write = false;
	char two[3];

	while (next_flag(&at, two)) {
		size_t i = number(two);

		flags |= i < ARRAY_SIZE(known) ? known[i].flag : 0;
		may_write |= strcmp(two, "mw") == 0;
	}
	if (v->shared && v->has_flags && !may_write)
		flags |= VMA_MAYWRITE_OFF;
	if (vma_is_hugetlb(v))
		flags |= v->page_size == 2u << 20 ? VMA_HUGETLB_2M : v->page_size == 1u << 30 ? VMA_HUGETLB_1G : 0;
	return flags;
}

/* ---- names ---- */

static const char named[] = "[anon:", named_shared[] = "[anon_shmem:";

static const char *name_in(const struct proc_vma *v)
{
	const char *head = v->shared ? named_shared : named;

	return strncmp(v->name, head, strlen(head)) == 0 ? v->name + strlen(head) : NULL;
}

const char *vma_given_name(struct arena *a, const struct proc_vma *v)
{
	const char *name = name_in(v);

	return name ? arena_strndup(a, name, strcspn(name, "]")) : NULL;
}

bool vma_can_name(void)
{
	return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, 0, 0, 0) == 0;
}

/* as is_valid_name_char() in kernel/sys.c */
static bool is_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (name[i] < 0x20 || name[i] > 0x7e || strchr("\\`$[]", name[i]))
			return false;
	return len <= NAME_MAX_LEN;
}

int vma_check_image(struct op *op, const struct vma *v, uint32_t never, uint32_t always)
{
	if (!(v->flags & never) && (v->flags & always) == always)
		return 0;
	return fail_as(op, OUTCOME_IMAGE, "image-vma", NULL, "map memory at %#lx: nothing of its kind has such flags",
		(unsigned long)v->start);
}

bool vma_is_sysv(const struct proc_vma *v)
{
	static const char head[] = "/SYSV";

	return v->shared && v->deleted && !strncmp(v->name, head, sizeof(head) - 1) &&
	       strspn(v->name + sizeof(head) - 1, "0123456789abcdef") == 8 && strlen(v->name) == sizeof(head) - 1 + 8;
}

bool vma_is_memfd(const struct proc_vma *v)
{
	return v->deleted && v->ino && memfd_is_name(v->name);
}

bool vma_is_secret(const struct proc_vma *v)
{
	return v->deleted && v->ino && strcmp(v->name, "/secretmem") == 0 && !vma_is_hugetlb(v);
}

bool vma_is_aio(const struct proc_vma *v)
{
	return v->shared && v->deleted && strcmp(v->name, "/[aio]") == 0 && !vma_is_hugetlb(v);
}

bool vma_is_anon_huge(const struct proc_vma *v)
{
	return vma_is_hugetlb(v) && v->deleted && strcmp(v->name, "/anon_hugepage") == 0;
}

bool vma_is_special(const struct proc_vma *v)
{
	return vma_is_memfd(v) || vma_is_secret(v) || vma_is_sysv(v) || vma_is_aio(v) || vma_is_anon_huge(v);
}

static bool is_zero(const struct proc_vma *v)
{
	return strcmp(v->name, "/dev/zero") == 0;
}

bool vma_is_shm(const struct proc_vma *v)
{
	return v->shared && v->ino && !vma_is_special(v) && (name_in(v) || (v->deleted && is_zero(v)));
}

bool vma_is_deleted(const struct proc_vma *v)
{
	return v->deleted && v->ino && v->name[0] == '/' && !vma_is_special(v) && !is_zero(v);
}

int vma_open_file(const struct sight *s)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, s->vma->start, s->vma->end);
	if (fstatat(s->process->dir, path, &st, 0) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode)) /* a device might act on it */
		return -ENODEV;
	int fd = openat(s->process->dir, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- restarting ---- */

static const struct {
	uint32_t flag;
	int advice;
	const char *what;
} advice[] = {
	{ VMA_DONTFORK, MADV_DONTFORK, "keep a mapping from children" },
	{ VMA_DONTDUMP, MADV_DONTDUMP, "keep a mapping out of core dumps" },
	{ VMA_HUGEPAGE, MADV_HUGEPAGE, "allow huge pages in a mapping" },
	{ VMA_NOHUGEPAGE, MADV_NOHUGEPAGE, "forbid huge pages in a mapping" },
	{ VMA_SEQUENTIAL, MADV_SEQUENTIAL, "advise sequential use of a mapping" },
	{ VMA_RANDOM, MADV_RANDOM, "advise random use of a mapping" },
	{ VMA_MERGEABLE, MADV_MERGEABLE, "allow merging of a mapping" },
	{ VMA_WIPEONFORK, MADV_WIPEONFORK, "have a mapping wiped in children" },
};

static bool can_drop(void)
{
	void *at = mmap(NULL, 1, PROT_READ, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);

	return at != MAP_FAILED && munmap(at, 1) == 0;
}

uint32_t vma_early_prot(uint32_t prot)
{
	return prot == PROT_EXEC ? PROT_NONE : prot;
}

uint32_t vma_unkept(const struct vma *v)
{
	uint32_t flags = v->flags & VMA_DROPPABLE && !can_drop() ? VMA_DROPPABLE : 0;

	for (size_t i = 0; i < ARRAY_SIZE(advice); i++)
		if (v->flags & advice[i].flag && madvise(NULL, 0, advice[i].advice) < 0)
			flags |= advice[i].flag;
	return flags;
}

uint64_t vma_mmap_flags(const struct vma *v)
{
	uint32_t has = v->flags & ~vma_unkept(v);
	uint64_t flags = MAP_FIXED_NOREPLACE;

	flags |= has & VMA_SHARED ? MAP_SHARED : has & VMA_DROPPABLE ? MAP_DROPPABLE : MAP_PRIVATE;
	if (has & VMA_GROWSDOWN)
		flags |= MAP_GROWSDOWN;
	if (has & VMA_NORESERVE)
		flags |= MAP_NORESERVE;
	return flags;
}

void vma_advise(const struct vma *v, struct batch *b)
{
	uint32_t has = v->flags & ~vma_unkept(v);

	for (size_t i = 0; i < ARRAY_SIZE(advice); i++)
		if (has & advice[i].flag)
			BATCH_MUST(b, advice[i].what, SYS_madvise, v->start, v->end - v->start,
				(uint64_t)advice[i].advice);
}

int vma_set_size(struct op *op, int fd, uint64_t size, const char *what, const char *where)
{
	int err = ftruncate(fd, (off_t)size) < 0 ? errno : 0;

	if (err == EFBIG)
		return fail_as(op, OUTCOME_CANNOT, "file-size", "raise the limit (ulimit -f)",
			"make %s of %" PRIu64 " bytes%s: so large a file may not be made here", what, size, where);
	return err ? fail(op, err == EINVAL ? -EBADMSG : -err, "make %s of %" PRIu64 " bytes%s", what, size, where) : 0;
}

size_t vma_part(uint64_t size, uint64_t at, size_t len)
{
	const uint64_t page = 4096, end = (size + page - 1) / page * page;

	return at < end ? (size_t)min_u64(len, end - at) : 0;
}

/* pages that cannot be had (PROT_NONE, guards) make mlock2(2) fail, although the mapping is locked: so that comes first, alone */
void vma_lock(const struct vma *v, struct batch *b)
{
	if (!(v->flags & VMA_LOCKED))
		return;
	BATCH_MUST(b, "lock a mapping into memory (RLIMIT_MEMLOCK, ulimit -l)", SYS_mlock2, v->start, v->end - v->start,
		MLOCK_ONFAULT);
	if (!(v->flags & VMA_LOCKONFAULT))
		BATCH_CALL(b, "have the pages of a locked mapping", SYS_mlock2, v->start, v->end - v->start, 0);
}

/* a vdso is the kernel's, which may have sealed it already */
static void seal(const struct vma *v, struct batch *b)
{
	const uint64_t arg[6] = { v->start, v->end - v->start };

	batch_call(b, "seal memory (Linux 6.10)", SYS_mseal, arg)->flags |= kind_by_tag(v->tag)->moves ? 0 : STUB_MUST;
}

bool vma_is_open(const struct vma *v)
{
	return v->prot != (v->flags & VMA_HUGETLB ? PROT_READ | PROT_WRITE : vma_early_prot(v->prot)) &&
	       !kind_by_tag(v->tag)->moves;
}

int vma_finish(struct op *op, const struct vma *v, struct batch *b)
{
	uint64_t len = v->end - v->start;

	if (v->name && !is_name(v->name))
		return fail_as(op, OUTCOME_IMAGE, "image-vma", NULL, "name memory at %#lx", (unsigned long)v->start);
	if (v->name)
		BATCH_MUST(b, "name memory", SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, v->start, len,
			batch_in(b, v->name, strlen(v->name) + 1).at);
	if (v->flags & VMA_SEALED)
		seal(v, b);
	return 0;
}
