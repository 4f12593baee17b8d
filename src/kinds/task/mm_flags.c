/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process has chosen for its memory as a whole: no transparent huge pages (PR_SET_THP_DISABLE(2const)), same-page merging
 * (PR_SET_MEMORY_MERGE(2const)), no new executable memory (PR_SET_MDWE(2const)), what a core dump holds (core(5)), that new
 * memory is locked (mlockall(2) MCL_FUTURE)
 *
 * These are inherited by fork(2), so each is set whatever the process was born with. MDWE comes late: it forbids
 * mappings that others make.
 *
 * Seen: prctl() by the process itself; /proc/PID/coredump_filter; VmLck in /proc/PID/status, which counts the scratch memory of
 *	the stub when new memory is locked.
 * Lost: that advised memory gets huge pages in spite of it, where the kernel cannot do that (Linux 6.18; named). Mappings that
 *	MADV_UNMERGEABLE took out of the merging of the rest. The size of the hash table for futexes (PR_FUTEX_HASH).
 * Needs: nothing; what a kernel does not have nobody has chosen.
 */
#include "kinds/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

#define PAGE 4096

enum {
	THP_DISABLED = 1,
	THP_EXCEPT_ADVISED = 2, /* Linux 6.18 */
	MDWE_REFUSE_EXEC_GAIN = 1,
	MDWE_NO_INHERIT = 2,
	COREDUMP_FILTER = 0x1ff, /* MMF_DUMP_FILTER_MASK */
	LOCK_FUTURE = 2, /* MCL_FUTURE */
	LOCK_ON_FAULT = 4, /* MCL_ONFAULT */
	LOCK_BOTH = LOCK_FUTURE | LOCK_ON_FAULT,
};

struct mm_flags {
	uint32_t thp_disable, mdwe;
	bool memory_merge;
	uint32_t coredump_filter;
	uint32_t lock;
	const struct stub_call *thp, *merge, *asked_mdwe, *asked_core, *asked_drop;
	const unsigned char *in_core;
};

static const struct flag thp_bits[] = {
	{ THP_DISABLED, "DISABLED" },
	{ THP_EXCEPT_ADVISED, "EXCEPT_ADVISED" },
	{ 0, NULL },
};

static const struct flag mdwe_bits[] = {
	{ MDWE_REFUSE_EXEC_GAIN, "REFUSE_EXEC_GAIN" },
	{ MDWE_NO_INHERIT, "NO_INHERIT" },
	{ 0, NULL },
};

static const struct flag coredump_bits[] = {
	{ 0x001, "ANON_PRIVATE" },
	{ 0x002, "ANON_SHARED" },
	{ 0x004, "MAPPED_PRIVATE" },
	{ 0x008, "MAPPED_SHARED" },
	{ 0x010, "ELF_HEADERS" },
	{ 0x020, "HUGETLB_PRIVATE" },
	{ 0x040, "HUGETLB_SHARED" },
	{ 0x080, "DAX_PRIVATE" },
	{ 0x100, "DAX_SHARED" },
	{ 0, NULL },
};

static const struct flag lock_bits[] = {
	{ LOCK_FUTURE, "FUTURE" },
	{ LOCK_ON_FAULT, "ONFAULT" },
	{ 0, NULL },
};

static const struct field fields[] = {
	FIELD_B(1, struct mm_flags, thp_disable, "mm_struct.flags", thp_bits),
	FIELD_B(2, struct mm_flags, mdwe, "mm_struct.flags", mdwe_bits),
	FIELD_U(3, struct mm_flags, memory_merge, "mm_struct.flags"),
	FIELD_B(4, struct mm_flags, coredump_filter, "mm_struct.flags", coredump_bits),
	FIELD_B(5, struct mm_flags, lock, "mm_struct.def_flags", lock_bits),
	FIELDS_END,
};

/* ---- saving ---- */

static const char unconsidered[] = "this version has not considered it";

static int read_filter(struct arena *a, int dir, uint32_t *ret)
{
	char *text, *end;
	int r = read_text(a, dir, "coredump_filter", 64, &text, NULL);

	if (r < 0)
		return r;
	unsigned long value = strtoul(text, &end, 16);
	if (end == text || value > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)value;
	return 0;
}

static uint64_t locked_by_mappings(const struct process *p)
{
	const struct proc_vma *v = p->vmas.at;
	uint64_t sum = 0;

	for (size_t i = 0; i < p->vmas.n; i++)
		if (strstr(v[i].vmflags, "lo"))
			sum += v[i].end - v[i].start;
	return sum;
}

/* of the last page of the scratch memory, which nobody has touched: it is there at once, unless it is to be locked on fault */
static int is_populated(const struct process *p, bool *ret)
{
	const uint64_t last = p->room.data.at + ROOM_DATA - PAGE;
	uint64_t entry;

	_cleanup_close_ int pagemap = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return -errno;
	ssize_t n = pread_all(pagemap, &entry, sizeof(entry), (off_t)(last / PAGE * sizeof(entry)));
	if (n != sizeof(entry))
		return n < 0 ? (int)n : -EIO;
	*ret = entry >> 63;
	return 0;
}

static int find_lock(struct op *op, const struct process *p, uint32_t *ret)
{
	static const char key[] = "\nVmLck:";
	bool populated = false;
	char *text;
	int r = read_text(&op->arena, p->dir, "status", 1 << 20, &text, NULL);

	if (r < 0)
		return r;
	const char *line = strstr(text, key);
	if (!line || strtoull(line + strlen(key), NULL, 10) * 1024 <= locked_by_mappings(p))
		return 0;
	r = is_populated(p, &populated);
	*ret = populated ? LOCK_FUTURE : LOCK_BOTH;
	return r;
}

/*
 * The same by the process itself, at less expense: pages of memory that is locked are not given up (madvise_dontneed_free_valid_vma()
 * in mm/madvise.c), and that page is no loss.
 */
static void ask_lock(const struct sight *s, struct mm_flags *m)
{
	const uint64_t last = s->process->room.data.at + ROOM_DATA - PAGE;
	struct taddr out = batch_out(s->batch, 1, &m->in_core);

	m->asked_core = BATCH_CALL(s->batch, "look at its new memory", SYS_mincore, last, PAGE, out.at);
	m->asked_drop = BATCH_CALL(s->batch, "look at its new memory", SYS_madvise, last, PAGE, MADV_DONTNEED);
}

static int mm_flags_ask(struct op *op, const struct sight *s, void *rec)
{
	struct mm_flags *m = rec;

	m->thp = BATCH_CALL(s->batch, "ask about huge pages", SYS_prctl, PR_GET_THP_DISABLE);
	m->merge = BATCH_CALL(s->batch, "ask about page merging", SYS_prctl, PR_GET_MEMORY_MERGE);
	m->asked_mdwe = BATCH_CALL(s->batch, "ask about executable memory", SYS_prctl, PR_GET_MDWE);
	if (!s->batch->h->judge) { /* who judges calls may not allow these */
		ask_lock(s, m);
		return 0;
	}
	int r = find_lock(op, s->process, &m->lock);
	return r < 0 ? fail(op, r, "see whether its new memory is locked") : 0;
}

/* a kernel without the choice says EINVAL */
static int take(struct op *op, const char *what, const struct stub_call *call, uint32_t known, uint32_t *ret)
{
	if (call->ret == -EINVAL)
		return 0;
	if (call->ret < 0)
		return fail(op, (int)call->ret, "ask for its %s", what);
	if (call->ret & ~(int64_t)known)
		return refuse(op, "mm-flags", unconsidered, NULL, "has a %s of %#" PRIx64, what, (uint64_t)call->ret);
	*ret = (uint32_t)call->ret;
	return 0;
}

static int take_lock(struct op *op, struct mm_flags *m)
{
	if (!m->asked_drop || m->asked_drop->ret == 0)
		return 0;
	if (m->asked_drop->ret != -EINVAL || m->asked_core->ret < 0)
		return fail(op, m->asked_core->ret < 0 ? (int)m->asked_core->ret : (int)m->asked_drop->ret,
			"see whether its new memory is locked");
	m->lock = *m->in_core & 1 ? LOCK_FUTURE : LOCK_BOTH;
	return 0;
}

static int mm_flags_save(struct op *op, const struct sight *s, void *rec)
{
	struct mm_flags *m = rec;
	uint32_t merge = 0;

	int r = take(
		op, "setting of transparent huge pages", m->thp, THP_DISABLED | THP_EXCEPT_ADVISED, &m->thp_disable);
	if (r == 0)
		r = take(op, "setting of page merging", m->merge, 1, &merge);
	if (r == 0)
		r = take(op, "rule on executable memory", m->asked_mdwe, MDWE_REFUSE_EXEC_GAIN | MDWE_NO_INHERIT,
			&m->mdwe);
	if (r < 0)
		return r;
	m->memory_merge = merge;
	r = take_lock(op, m);
	if (r < 0)
		return r;
	r = read_filter(&op->arena, s->process->dir, &m->coredump_filter);
	if (r < 0 && r != -ENOENT) /* no CONFIG_ELF_CORE */
		return fail(op, r, "read its coredump_filter");
	if (m->coredump_filter & ~(uint32_t)COREDUMP_FILTER)
		return refuse(
			op, "mm-flags", unconsidered, NULL, "has the coredump_filter %#" PRIx32, m->coredump_filter);
	return 0;
}

/* ---- restarting ---- */

static int mm_flags_restore(struct op *op, void *rec, struct site *site)
{
	struct mm_flags *m = rec;
	uint32_t thp = m->thp_disable;

	if (m->mdwe == MDWE_NO_INHERIT || m->thp_disable == THP_EXCEPT_ADVISED || m->lock == LOCK_ON_FAULT)
		return fail_as(op, OUTCOME_IMAGE, "image-mm-flags", NULL, "put back the settings of its memory");
	m->thp = BATCH_CALL(site->batch, "set the use of huge pages", SYS_prctl, PR_SET_THP_DISABLE, thp & THP_DISABLED,
		thp & THP_EXCEPT_ADVISED);
	return 0;
}

/* struct own - what stasis has, and so do all tasks before their turn */
struct own {
	int read; /* of the filter: 0 or -errno */
	uint32_t filter;
	int mdwe;
};

static const struct own *own_flags(struct op *op, struct site *site)
{
	const struct own *known = site_known(site, fields);

	if (known)
		return known;
	_cleanup_close_ int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct own *own = arena_alloc(&op->arena, sizeof(*own));
	*own = (struct own){ .mdwe = prctl(PR_GET_MDWE, 0, 0, 0, 0) };
	own->read = self < 0 ? -errno : read_filter(&op->arena, self, &own->filter);
	site_keep(op, site, fields, own);
	return own;
}

static int write_filter(struct op *op, const struct mm_flags *m, struct site *site)
{
	const struct own *own = own_flags(op, site);

	if (own->read == -ENOENT || (own->read == 0 && own->filter == m->coredump_filter)) /* nobody dumps core here */
		return 0;
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dir = proc < 0 ? -EBADF : proc_open(proc, site->tid);
	int r = dir < 0 ? dir
			: write_text(dir, "coredump_filter", arena_printf(&op->arena, "%#" PRIx32, m->coredump_filter));
	return r < 0 ? fail(op, r, "set its coredump_filter") : 0;
}

static int mm_flags_link(struct op *op, void *rec, struct site *site)
{
	const struct mm_flags *m = rec;

	if (m->thp->ret < 0)
		note(op, "its setting of transparent huge pages is not known here: %s", strerror((int)-m->thp->ret));
	return write_filter(op, m, site);
}

static int mm_flags_settle(struct op *op, void *rec, struct site *site)
{
	const struct mm_flags *m = rec;
	int own = own_flags(op, site)->mdwe;

	if (m->lock)
		BATCH_MUST(site->batch, "have its new memory locked", SYS_mlockall, m->lock);
	if (m->memory_merge)
		BATCH_MUST(site->batch, "let its pages be merged", SYS_prctl, PR_SET_MEMORY_MERGE, 1);
	if (m->mdwe)
		BATCH_MUST(site->batch, "forbid new executable memory", SYS_prctl, PR_SET_MDWE, m->mdwe);
	else if (own > 0 && !(own & MDWE_NO_INHERIT))
		note(op, "it may make no new executable memory, as stasis itself: it could");
	return 0;
}

const struct kind kind_task_mm_flags = {
	.name = "mm flags",
	.tag = 0x35,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_VM,
	.size = sizeof(struct mm_flags),
	.fields = fields,
	.ask = mm_flags_ask,
	.save = mm_flags_save,
	.restore = mm_flags_restore,
	.link = mm_flags_link,
	.settle = mm_flags_settle,
};
