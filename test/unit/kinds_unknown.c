/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a kernel to come could answer: bits, values and sizes that this version does not know are refused, each by its word.
 *
 * Three ways in: what a thread is told by its calls is written into the batch; ptrace(2) and syscall(2) are ours here; and
 * what /proc says comes from a directory of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/kind.h"
#include "lib/test.h"

static struct op op;
static char dir[] = "/tmp/kinds_unknown.XXXXXX";

/* ---- the kernel ---- */

#define ANY   UINT64_MAX
#define FIRST 6

/* struct answer - what one call gives */
struct answer {
	long nr; /* of a system call; of a ptrace(2) request */
	uint64_t arg; /* its first argument, of those that a thread makes; ANY: whatever that is */
	int64_t ret;
	unsigned int out; /* the number (0: FIRST) of the argument that says where this is written, if anything is: */
	uint32_t at, value; /* @value at offset @at */
};

static const struct answer *to_ptrace, *to_syscall;
static const struct answer *to_ptrace_too; /* as to_ptrace */

static long tell(const struct answer *a, void *out)
{
	if (out)
		memcpy((char *)out + a->at, &a->value, sizeof(a->value));
	errno = a->ret < 0 ? (int)-a->ret : 0;
	return a->ret < 0 ? -1 : a->ret;
}

long ptrace(enum __ptrace_request request, ...)
{
	void *arg[3];
	va_list ap;

	va_start(ap, request);
	for (size_t i = 0; i < ARRAY_SIZE(arg); i++)
		arg[i] = va_arg(ap, void *);
	va_end(ap);
	if (to_ptrace && to_ptrace->nr == (long)request)
		return tell(to_ptrace, arg[2]);
	if (to_ptrace_too && to_ptrace_too->nr == (long)request)
		return tell(to_ptrace_too, arg[2]);
	errno = request == PTRACE_GETREGSET ? ENODEV : EINVAL;
	return -1;
}

long syscall(long nr, ...)
{
	long arg[6], ret;
	va_list ap;

	va_start(ap, nr);
	for (size_t i = 0; i < ARRAY_SIZE(arg); i++)
		arg[i] = va_arg(ap, long);
	va_end(ap);
	if (to_syscall && to_syscall->nr == nr)
		return tell(to_syscall, to_syscall->out ? (void *)arg[to_syscall->out] : NULL);
	register long a3 __asm__("r10") = arg[3], a4 __asm__("r8") = arg[4], a5 __asm__("r9") = arg[5];
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(arg[0]), "S"(arg[1]), "d"(arg[2]), "r"(a3), "r"(a4), "r"(a5)
			 : "rcx", "r11", "memory");
	errno = ret < 0 && ret >= -4095 ? (int)-ret : errno;
	return ret < 0 && ret >= -4095 ? -1 : ret;
}

/* as src/remote/batch.c has it: a piece of what the calls of a batch read and write, here and in the thread */
struct block {
	unsigned char *here;
	uint64_t there;
	size_t used, room;
};

static void *here(const struct batch *b, uint64_t there)
{
	const struct block *k = b->aux.at;

	for (size_t i = 0; i < b->aux.n; i++)
		if (there - k[i].there < k[i].used)
			return k[i].here + (there - k[i].there);
	return NULL;
}

static void answer_call(const struct batch *b, struct stub_call *c, const struct answer *a)
{
	if (c->nr != (uint32_t)a->nr || (a->arg != ANY && c->arg[0] != a->arg))
		return;
	c->ret = a->ret;
	if (a->out)
		tell(a, here(b, c->arg[a->out % FIRST]));
}

static void answer(const struct batch *b, const struct answer *a, int64_t otherwise)
{
	static const struct answer usual = { SYS_prctl, PR_GET_TSC, 0, 1, 0, PR_TSC_ENABLE };

	for (unsigned int i = 0; i < b->n; i++) {
		batch_nth(b, i)->ret = otherwise;
		answer_call(b, batch_nth(b, i), &usual);
		if (a)
			answer_call(b, batch_nth(b, i), a);
	}
}

/* ---- what the kinds say ---- */

/* the slug of what is said against it, "failed" for a failure, "" for nothing */
static const char *said(int r)
{
	static char slug[64];
	const struct obstacle *o = op.obstacles.at;

	EXPECT_EQ(r < 0, op.err < 0 || op.obstacles.n);
	snprintf(slug, sizeof(slug), "%s", o ? o->slug : op.err ? op.slug ? op.slug : "failed" : "");
	op_done(&op);
	return slug;
}

/* @t: the thread of a process of one; its calls give @a and @otherwise */
static const char *verdict(const struct kind *kind, struct thread *t, const struct answer *a, int64_t otherwise)
{
	struct room room = { 0 };
	struct held held = { 0 };
	struct process p = { .pid = getpid(), .threads = { t, 1, 0 } }, *all[] = { &p };
	struct tree tree = { .processes = { all, 1, 0 }, .frozen = true };
	struct batch b;
	const struct sight s = { .tree = &tree, .process = &p, .thread = t, .batch = &b };
	_cleanup_close_ int proc = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	op_init(&op, "test");
	p.dir = proc;
	batch_init(&b, &op.arena, &room, &held);
	void *rec = arena_alloc(&op.arena, kind->size + 1);
	r = kind->check ? kind->check(&op, &s) : 0;
	if (r == 0 && kind->admit)
		r = kind->admit(&op, &s, rec);
	if (r == 0 && kind->ask)
		r = kind->ask(&op, &s, rec);
	answer(&b, a, otherwise);
	if (r == 0 && kind->save)
		r = kind->save(&op, &s, rec);
	unlinkat(proc, "status", 0);
	unlinkat(proc, "coredump_filter", 0);
	unlinkat(proc, "limits", 0);
	EXPECT_EQ(rmdir(dir), 0);
	return said(r);
}

static const struct kind *kind_named(const char *name)
{
	const struct kind *const *k = kinds;

	while (*k && strcmp((*k)->name, name) != 0)
		k++;
	ASSERT_TRUE(*k != NULL);
	return *k;
}

static void write_file(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *f = fopen(path, "we");
	ASSERT_TRUE(f != NULL);
	fputs(text, f);
	fclose(f);
}

#define LIMITS "Limit                     Soft Limit           Hard Limit           Units     \n"

/* a process of which /proc says nothing new */
static void begin(void)
{
	strcpy(strchr(dir, '.'), ".XXXXXX");
	ASSERT_TRUE(mkdtemp(dir) != NULL);
	write_file("status", "Name:\tp\n");
	write_file("coredump_filter", "00000033\n");
	write_file("limits", LIMITS);
	to_ptrace = to_ptrace_too = to_syscall = NULL;
}

/* ---- the tables ---- */

static const struct {
	const char *kind;
	struct answer answer;
	int64_t otherwise;
	const char *slug;
} calls[] = {
	{ "sigaction", { SYS_rt_sigaction, 10, 0, 2, 8, 0x10000004 }, 0, "" },
	{ "sigaction", { SYS_rt_sigaction, 10, 0, 2, 8, 0x20000000 }, 0, "sigaction-flags" },
	{ "sigaction", { SYS_rt_sigaction, 64, 0, 2, 12, 1 }, 0, "sigaction-flags" },
	{ "sigaltstack", { SYS_sigaltstack, 0, 0, 1, 8, 0x80000001 }, 0, "" },
	{ "sigaltstack", { SYS_sigaltstack, 0, 0, 1, 8, 4 }, 0, "sigaltstack-flags" },
	{ "tid_address", { SYS_prctl, PR_GET_TID_ADDRESS, -EINVAL }, 0, "tid-address" },
	{ "creds", { SYS_prctl, PR_GET_SECUREBITS, 0xfff }, 0, "" },
	{ "creds", { SYS_prctl, PR_GET_SECUREBITS, 0x1000 }, 0, "securebits" },
	{ "creds", { SYS_prctl, PR_GET_DUMPABLE, 3 }, 0, "creds" },
	{ "creds", { SYS_prctl, PR_GET_PDEATHSIG, 0, 1, 0, 65 }, 0, "creds" },
	{ "creds", { SYS_prctl, PR_GET_CHILD_SUBREAPER, 0, 1, 0, 2 }, 0, "creds" },
	{ "prctl", { SYS_personality, 0xffffffff, 0x0ffe00ff }, 0, "" },
	{ "prctl", { SYS_personality, 0xffffffff, 0x10000 }, 0, "prctl-unknown" },
	{ "prctl", { SYS_prctl, PR_GET_TSC, -EINVAL }, 0, "" },
	{ "prctl", { SYS_prctl, PR_GET_TSC, 0, 1, 0, 3 }, 0, "prctl-unknown" },
	{ "prctl", { SYS_prctl, PR_GET_IO_FLUSHER, 2 }, 0, "prctl-unknown" },
	{ "prctl", { SYS_prctl, PR_GET_SPECULATION_CTRL, 0x1f }, 0, "" },
	{ "prctl", { SYS_prctl, PR_GET_SPECULATION_CTRL, 0x20 }, 0, "prctl-unknown" },
	{ "prctl", { SYS_prctl, 62, 0, 4, 0, 1 }, 0, "core-scheduling" }, /* PR_SCHED_CORE */
	{ "prctl", { SYS_prctl, 62, -ENODEV }, 0, "" },
	{ "prctl", { SYS_prctl, 62, -EPERM }, 0, "failed" },
	{ "prctl", { SYS_prctl, PR_GET_TSC, -EPERM }, 0, "failed" },
	{ "prctl", { SYS_prctl, PR_MCE_KILL_GET, 2 }, -EINVAL, "failed" },
	{ "prctl", { SYS_prctl, PR_MCE_KILL_GET, 3 }, 0, "prctl-unknown" },
	{ "mm flags", { SYS_prctl, PR_GET_THP_DISABLE, 3 }, 0, "" },
	{ "mm flags", { SYS_prctl, PR_GET_THP_DISABLE, 5 }, 0, "mm-flags" },
	{ "mm flags", { SYS_prctl, 66, 3 }, 0, "" }, /* PR_GET_MDWE */
	{ "mm flags", { SYS_prctl, 66, 4 }, 0, "mm-flags" },
	{ "mm flags", { SYS_prctl, 68, 2 }, 0, "mm-flags" }, /* PR_GET_MEMORY_MERGE */
	{ "mm flags", { SYS_prctl, 68, -EINVAL }, 0, "" },
	{ "mm flags", { SYS_prctl, 68, -EPERM }, 0, "failed" },
	{ "membarrier", { SYS_membarrier, 1 << 9, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED }, 0, "" },
	{ "membarrier", { SYS_membarrier, 1 << 9, 1 << 10 }, 0, "membarrier" },
	{ "membarrier", { SYS_membarrier, 1 << 9, -ENOSYS }, 0, "" },
	{ "membarrier", { SYS_membarrier, 1 << 9, -EPERM }, 0, "failed" },
	{ "arch_prctl", { SYS_modify_ldt, 0, 16 }, 0, "segments" },
	{ "arch_prctl", { SYS_modify_ldt, 0, 0 }, -EINVAL, "" },
	{ "sched", { SYS_get_mempolicy, ANY, 0, FIRST, 0, 0xe006 }, 0, "" },
	{ "sched", { SYS_get_mempolicy, ANY, 0, FIRST, 0, 7 }, 0, "mempolicy" },
	{ "sched", { SYS_get_mempolicy, ANY, 0, FIRST, 0, 0x1000 }, 0, "mempolicy" },
	{ "sched", { SYS_prctl, PR_GET_TIMERSLACK, -EPERM }, 0, "failed" },
};

TEST(what_a_thread_is_told)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct thread t = { .tid = getpid() };

		begin();
		const char *slug = verdict(kind_named(calls[i].kind), &t, &calls[i].answer, calls[i].otherwise);
		if (strcmp(slug, calls[i].slug) != 0)
			printf("# %s, case %zu\n", calls[i].kind, i);
		EXPECT_STREQ(slug, calls[i].slug);
	}
}

static const struct {
	const char *kind;
	bool by_ptrace;
	struct answer answer;
	const char *slug;
} asked[] = {
	{ "syscall user dispatch", true, { 0x4211, 0, 0, 2, 0, 0 }, "" },
	{ "syscall user dispatch", true, { 0x4211, 0, 0, 2, 0, 2 }, "syscall-dispatch" },
	{ "syscall user dispatch", true, { 0x4211, 0, 0, 2, 0, 1 }, "syscall-dispatch" }, /* it sends all calls back */
	{ "rseq", true, { 0x420f, 0, 0, 2, 16, 0 }, "" },
	{ "rseq", true, { 0x420f, 0, 0, 2, 16, 1 }, "rseq-flags" },
	{ "arch_prctl", true, { 25, 0, 0, 2, 8, 1 }, "segments" }, /* PTRACE_GET_THREAD_AREA */
	{ "robust_list", false, { SYS_get_robust_list, 0, 0, 1, 0, 0x1000 }, "robust-list" }, /* a head of 0 bytes */
	{ "sched", false, { SYS_sched_getattr, 0, 0, 1, 8, 0x60 }, "" },
	{ "sched", false, { SYS_sched_getattr, 0, 0, 1, 8, 0x80 }, "sched-flags" },
	{ "sched", false, { SYS_sched_getattr, 0, 0, 1, 4, 8 }, "sched-policy" },
	{ "sched", false, { SYS_ioprio_get, 0, 0x6007 }, "" },
	{ "sched", false, { SYS_ioprio_get, 0, 0x8000 }, "ioprio" },
};

TEST(what_stasis_is_told)
{
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		struct thread t = { .tid = getpid() };

		begin();
		*(asked[i].by_ptrace ? &to_ptrace : &to_syscall) = &asked[i].answer;
		const char *slug = verdict(kind_named(asked[i].kind), &t, NULL, 0);
		if (strcmp(slug, asked[i].slug) != 0)
			printf("# %s, case %zu\n", asked[i].kind, i);
		EXPECT_STREQ(slug, asked[i].slug);
	}
}

static const char *with_file(const char *kind, const char *name, const char *text)
{
	struct thread t = { .tid = getpid() };

	begin();
	write_file(name, text);
	return verdict(kind_named(kind), &t, NULL, 0);
}

TEST(what_proc_says)
{
	EXPECT_STREQ(with_file("mm flags", "coredump_filter", "000001ff\n"), "");
	EXPECT_STREQ(with_file("mm flags", "coredump_filter", "00000200\n"), "mm-flags");
}

TEST(what_a_processor_adds)
{
	struct thread t = { .tid = getpid(), .status = { .x86_features = " ", .untag_mask = UINT64_MAX } };

	begin();
	EXPECT_STREQ(verdict(kind_named("arch_prctl"), &t, NULL, 0), "");
	t.status.x86_features = "shstk ";
	begin();
	EXPECT_STREQ(verdict(kind_named("arch_prctl"), &t, NULL, 0), "shadow-stack");
	t.status = (struct proc_status){ .untag_mask = 0x81ffffffffffffff };
	begin();
	EXPECT_STREQ(verdict(kind_named("arch_prctl"), &t, NULL, 0), "tagged-address");
}

TEST(seccomp)
{
	struct thread t = { .tid = getpid(), .status.seccomp = SECCOMP_MODE_STRICT };
	const struct kind *k = kind_named("seccomp");

	begin();
	EXPECT_STREQ(verdict(k, &t, NULL, 0), "seccomp-strict");
	t.status.seccomp = 3;
	begin();
	EXPECT_STREQ(verdict(k, &t, NULL, 0), "seccomp-mode");
}

TEST(seccomp_filters)
{
	static const struct answer length = { 0x420c, 0, 1 }; /* PTRACE_SECCOMP_GET_FILTER */
	static const struct answer metadata = { 0x420d, 0, 0, 2, 8, SECCOMP_FILTER_FLAG_LOG | 8 };
	struct thread t = { .tid = getpid(), .status.seccomp = SECCOMP_MODE_FILTER };

	if (geteuid() || prctl(PR_GET_SECCOMP))
		SKIP("only root without filters of his own is shown those of others");
	begin();
	to_ptrace = &length;
	to_ptrace_too = &metadata;
	EXPECT_STREQ(verdict(kind_named("seccomp"), &t, NULL, 0), "seccomp-flags");
}

static const char *mapped(const char *vmflags)
{
	struct proc_vma v = { .start = 0x1000, .end = 0x2000, .name = "", .vmflags = vmflags, .has_flags = true };
	const struct sight s = { .vma = &v };
	const struct kind *k = kind_of_vma(&s);

	op_init(&op, "test");
	return k ? said(k->check(&op, &s)) : "nobody's";
}

TEST(mappings)
{
	static const char *const odd[] = { "pf", "io", "ss", "zz", "ar", "d " };
	static const char *const watched[] = { "rd um", "uw", "mr ui" };

	EXPECT_STREQ(mapped("rd wr ex sh mr mw me ms gd lo sr rr dc dd ac nr hg nh mg wf sd lf sl dp"), "");
	EXPECT_STREQ(mapped("rd ?? mr"), "vma-flag");
	EXPECT_STREQ(mapped("rd lo ?? mr ??"), "vma-flag");
	for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
		EXPECT_STREQ(mapped(watched[i]), "userfaultfd");
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		char flags[16];

		snprintf(flags, sizeof(flags), "rd %s mr", odd[i]);
		EXPECT_STREQ(mapped(flags), "vma-flag");
	}
}

static const char *locked(const char *type, const char *how, const char *mode)
{
	struct proc_lock l = { 0 };
	struct proc_fd f = { .link = "anon_inode:[eventfd]", .flags = O_RDWR, .locks = { &l, 1, 0 } };
	const struct sight s = { .fd = &f };
	const char *count = "eventfd-count: 0";

	strcpy(l.type, type), strcpy(l.kind, how), strcpy(l.mode, mode);
	f.extra = (struct span){ &count, 1, 0 };
	op_init(&op, "test");
	return said(kind_named("eventfd")->check(&op, &s));
}

TEST(locks)
{
	EXPECT_STREQ(locked("POSIX", "ADVISORY", "READ"), "");
	EXPECT_STREQ(locked("POSIX", "MANDATORY", "READ"), "fd-lock");
	EXPECT_STREQ(locked("POSIX", "ADVISORY", "RW"), "fd-lock");
	EXPECT_STREQ(locked("ACCESS", "ADVISORY", "READ"), "fd-lock");
	EXPECT_STREQ(locked("FLOCK", "ADVISORY", "WRITE"), "fd-lock"); /* an eventfd keeps none */
	EXPECT_STREQ(locked("LEASE", "ACTIVE", "READ"), "file-lease");
}

TEST_MAIN
