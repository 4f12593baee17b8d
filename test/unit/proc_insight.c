/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The types of the kernel, and what it keeps of threads, against what system calls say of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "lib/test.h"
#include "proc/bpf.h"
#include "proc/insight.h"
#include "proc/proc.h"

/* ---- types that are made up ---- */

static const char strings[] = "\0task_struct\0pid\0bits\0inner\0list\0nr\0loop\0next";

enum { TASK = 1, PID = 13, BITS = 17, INNER = 22, LIST = 28, NR = 33, LOOP = 36, NEXT = 41 };

#define INFO(kind, vlen) ((uint32_t)(kind) << 24 | (vlen))

static const uint32_t types[] = {
	/* 1: a number of 4 bytes */
	PID,
	INFO(BTF_KIND_INT, 0),
	4,
	32, /**/
	/* 2: struct { pid at 4; bits: 2 bits from bit 67; without name: struct 3 at 16; next at 64 } */
	TASK,
	INFO(BTF_KIND_STRUCT, 4) | 1u << 31,
	80,
	PID,
	1,
	4 * 8,
	BITS,
	1,
	2u << 24 | 67,
	0,
	3,
	16 * 8,
	NEXT,
	6,
	64 * 8,
	/* 3: struct { inner at 8, of struct 4 } */
	0,
	INFO(BTF_KIND_STRUCT, 1),
	48,
	INNER,
	4,
	8 * 8,
	/* 4: struct { list at 0, of type 5 } */
	INNER,
	INFO(BTF_KIND_STRUCT, 1),
	40,
	LIST,
	5,
	0,
	/* 5: 5 times type 7 */
	0,
	INFO(BTF_KIND_ARRAY, 0),
	0,
	7,
	1,
	5,
	/* 6: a pointer to 2 */
	0,
	INFO(BTF_KIND_PTR, 0),
	2,
	/* 7: struct { nr at 4 } */
	NR,
	INFO(BTF_KIND_STRUCT, 1),
	8,
	NR,
	1,
	4 * 8,
	/* 8: a name for itself */
	LOOP,
	INFO(BTF_KIND_TYPEDEF, 0),
	8,
};

static const char *file_of(const void *t, size_t t_len, const char *s, size_t s_len, uint32_t cut)
{
	static char path[] = "/tmp/stasis-btf-XXXXXX";
	const struct btf_header head = { .magic = BTF_MAGIC,
		.version = BTF_VERSION,
		.hdr_len = sizeof(head),
		.type_len = (uint32_t)t_len,
		.str_off = (uint32_t)t_len,
		.str_len = (uint32_t)s_len };
	unsigned char all[1024] = { 0 };
	size_t len = sizeof(head) + t_len + s_len;

	memcpy(all, &head, sizeof(head));
	memcpy(all + sizeof(head), t, t_len);
	memcpy(all + sizeof(head) + t_len, s, s_len);
	snprintf(path, sizeof(path), "/tmp/stasis-btf-XXXXXX");
	int fd = mkstemp(path);
	if (fd < 0 || write(fd, all, len - cut) != (ssize_t)(len - cut))
		_exit(4);
	close(fd);
	return path;
}

static int open_made_up(struct arena *a, uint32_t cut, struct btf *ret)
{
	const char *path = file_of(types, sizeof(types), strings, sizeof(strings), cut);
	int r = btf_open(a, path, ret);

	unlink(path);
	return r;
}

static int member_of(const struct btf *b, const char *path, struct btf_place *ret)
{
	*ret = (struct btf_place){ 0 };
	return btf_member(b, btf_struct(b, "task_struct"), path, strlen(path), ret);
}

TEST(members)
{
	struct btf_place p;
	struct arena a;
	struct btf b;

	arena_init(&a);
	ASSERT_EQ(open_made_up(&a, 0, &b), 0);
	EXPECT_EQ(btf_struct(&b, "task_struct"), 2);
	EXPECT_EQ(btf_struct(&b, "task"), 0);
	EXPECT_EQ(btf_func(&b, "task_struct"), 0);
	EXPECT_EQ(member_of(&b, "pid", &p), 0);
	EXPECT_EQ(p.offset, 4);
	EXPECT_EQ(p.size, 4);
	EXPECT_EQ(p.mask, 0);
	EXPECT_EQ(member_of(&b, "bits", &p), 0);
	EXPECT_EQ(p.offset, 8);
	EXPECT_EQ(p.size, 1);
	EXPECT_EQ(p.mask, 0x18);
	EXPECT_EQ(member_of(&b, "inner.list[3].nr", &p), 0);
	EXPECT_EQ(p.offset, 16 + 8 + 3 * 8 + 4);
	EXPECT_EQ(member_of(&b, "inner.list", &p), 0);
	EXPECT_EQ(p.size, 40);
	EXPECT_EQ(p.is_array, 1);
	EXPECT_EQ(member_of(&b, "next", &p), 0);
	EXPECT_EQ(p.size, 8);
	EXPECT_EQ(btf_pointee(&b, p.type), 2);
	EXPECT_EQ(member_of(&b, "nothing", &p), -ENOENT);
	EXPECT_EQ(member_of(&b, "pid.pid", &p), -ENOENT);
	EXPECT_EQ(member_of(&b, "inner.list[", &p), -ENOENT);
	EXPECT_EQ(member_of(&b, "pid[0]", &p), -ENOENT);
	EXPECT_EQ(member_of(&b, "", &p), -ENOENT);
	arena_done(&a);
}

/* what is not whole is none; whatever a number in it is, nothing is read outside of it */
TEST(broken_types)
{
	uint32_t bad[ARRAY_SIZE(types)];
	struct btf_place p;
	struct btf b;

	for (uint32_t cut = 1; cut < sizeof(struct btf_header) + sizeof(types) + sizeof(strings); cut++) {
		struct arena a;

		arena_init(&a);
		EXPECT_EQ(open_made_up(&a, cut, &b), -EBADMSG);
		arena_done(&a);
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		for (int k = 0; k < 3; k++) {
			struct arena a;

			arena_init(&a);
			memcpy(bad, types, sizeof(bad));
			bad[i] = k == 0 ? 0 : k == 1 ? UINT32_MAX : types[i] + 1;
			const char *path = file_of(bad, sizeof(bad), strings, sizeof(strings), 0);
			b.n = 0;
			if (btf_open(&a, path, &b) == 0 && member_of(&b, "inner.list[4].nr", &p) == 0)
				btf_pointee(&b, p.type);
			if (b.n && member_of(&b, "bits", &p) == 0)
				EXPECT_LE(p.size, 8);
			unlink(path);
			btf_close(&b);
			arena_done(&a);
		}
}

/* structures without a name in one another, without end */
TEST(types_without_end)
{
	static const uint32_t endless[] = {
		TASK,
		INFO(BTF_KIND_STRUCT, 3),
		8, /**/
		0,
		1,
		0,
		0,
		1,
		0,
		0,
		1,
		0,
	};
	struct btf_place p;
	struct arena a;
	struct btf b;

	arena_init(&a);
	const char *path = file_of(endless, sizeof(endless), strings, sizeof(strings), 0);
	ASSERT_EQ(btf_open(&a, path, &b), 0);
	EXPECT_EQ(member_of(&b, "pid", &p), -ENOENT);
	unlink(path);
	arena_done(&a);
}

/* ---- those of this kernel ---- */

#define THREADS 4

static int ready[2];

static void *sleep_apart(void *arg)
{
	static char stack[THREADS][8192];
	const stack_t ss = { .ss_sp = stack[(size_t)arg], .ss_size = sizeof(stack[0]) };

	sigaltstack(&ss, NULL);
	setpriority(PRIO_PROCESS, 0, 3 + (int)(size_t)arg);
	prctl(PR_SET_NAME, "apart");
	pid_t tid = gettid();
	if (write(ready[1], &tid, sizeof(tid)) != sizeof(tid))
		_exit(4);
	for (;;)
		pause();
	return NULL;
}

static void live_with_threads(void)
{
	pthread_t thread;

	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&thread, NULL, sleep_apart, (void *)i);
	for (;;)
		pause();
}

static pid_t start_threads(pid_t tid[THREADS])
{
	ASSERT_EQ(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0)
		live_with_threads();
	for (size_t k = 0; k < THREADS; k++)
		ASSERT_EQ(read(ready[0], &tid[k], sizeof(tid[k])), sizeof(tid[k]));
	return child;
}

static bool always(void)
{
	return true;
}

static bool never(void)
{
	return false;
}

static const struct member known[] = {
	{ "comm", 16, NULL },
	{ "static_prio", 4, NULL },
	{ "sas_ss_size", 8, NULL },
	{ "never_there", 8, never },
	{ "thread_pid->numbers[0].nr", 4, NULL },
	{ "io_context->ioprio", 2, never },
	{ "cpus_mask.bits", 64, NULL },
	{ "sched_reset_on_fork", 1, NULL },
};

struct seen {
	char comm[16];
	int32_t static_prio;
	uint64_t stack_size, never_there;
	int32_t number;
	uint16_t ioprio;
	_Alignas(8) unsigned char cpus[64];
	unsigned char reset_on_fork;
};

static void hold(pid_t tid)
{
	int status;

	ASSERT_EQ(ptrace(PTRACE_SEIZE, tid, 0, 0), 0);
	ASSERT_EQ(ptrace(PTRACE_INTERRUPT, tid, 0, 0), 0);
	ASSERT_EQ(waitpid(tid, &status, __WALL), tid);
}

static void compare(const struct map *all, pid_t tid, bool *seen)
{
	unsigned char cpus[64] = { 0 };
	struct seen s = { 0 };
	const void *kept = map_get(all, (uint64_t)tid);

	ASSERT_NE(kept, NULL);
	memcpy(&s, kept, offsetof(struct seen, reset_on_fork) + 1);
	EXPECT_STREQ(s.comm, "apart");
	EXPECT_EQ(s.static_prio, 120 + getpriority(PRIO_PROCESS, (id_t)tid));
	EXPECT_EQ(s.stack_size, 8192);
	EXPECT_EQ(s.never_there, 0);
	EXPECT_EQ(s.number, tid);
	EXPECT_EQ(s.ioprio, 0);
	EXPECT_EQ(s.reset_on_fork, 0);
	if (syscall(SYS_sched_getaffinity, tid, sizeof(cpus), cpus) > 0)
		for (int cpu = 0; cpu < get_nprocs() && cpu < 64 * 8;
			cpu++) /* it may be bound to others, which are not there */
			EXPECT_EQ(s.cpus[cpu / 8] >> cpu % 8 & 1, cpus[cpu / 8] >> cpu % 8 & 1);
	seen[s.static_prio - 123] = true;
}

TEST(threads_that_are_traced)
{
	bool seen[THREADS] = { false };
	struct insight *i = NULL;
	struct map all = { 0 };
	pid_t tid[THREADS];
	struct arena a;
	int status;

	int r = insight_open(known, ARRAY_SIZE(known), &i);
	if (r == -EPERM || r == -EOPNOTSUPP || r == -ENOENT)
		SKIP("bpf(2) is not to be had here, or the kernel describes no types");
	ASSERT_EQ(r, 0);
	pid_t child = start_threads(tid);
	arena_init(&a);
	EXPECT_EQ(insight_read(i, &a, &all), 0);
	EXPECT_EQ(all.n, 0);
	for (size_t k = 0; k < THREADS; k++)
		hold(tid[k]);
	EXPECT_EQ(insight_read(i, &a, &all), 0);
	EXPECT_EQ(all.n, THREADS);
	for (size_t k = 0; k < THREADS; k++)
		compare(&all, tid[k], seen);
	EXPECT_EQ(seen[0] && seen[1] && seen[2] && seen[3], 1);
	kill(child, SIGKILL);
	for (size_t k = 0; k < THREADS; k++)
		waitpid(tid[k], &status, __WALL);
	waitpid(child, &status, 0);
	insight_close(i);
	arena_done(&a);
}

/* struct kept_regs - as proc_read_regs() tells */
struct kept_regs {
	struct {
		pid_t tid;
		bool rests;
		uint64_t regs[PROC_REGS_MOST];
	} of[2 * THREADS];
	size_t n;
};

static void keep_regs(void *data, const struct proc_regs *regs)
{
	struct kept_regs *all = data;

	if (all->n == 2 * THREADS)
		return;
	all->of[all->n].tid = regs->tid;
	all->of[all->n].rests = regs->rests;
	memcpy(all->of[all->n++].regs, regs->regs, sizeof(all->of->regs));
}

TEST(registers_of_all_threads)
{
	static const char *const of_task[] = { "thread.fsbase", NULL }, *const of_entry[] = { "orig_ax", "di", "sp",
		NULL };
	const struct proc_reg_names names = { of_task, of_entry };
	int fd = proc_open_regs(&names);
	static struct kept_regs all;
	pid_t tid[THREADS];

	if (fd == -EPERM || fd == -EOPNOTSUPP || fd == -ENOENT)
		SKIP("bpf(2) is not to be had here, or the kernel describes no types");
	ASSERT_EQ(fd >= 0, 1);
	pid_t child = start_threads(tid);
	int proc = open("/proc", O_RDONLY | O_DIRECTORY), dir = proc_open(proc, child);
	nap_ms(50); /* until they sleep */
	hold(tid[1]);
	EXPECT_EQ(proc_read_regs(fd, child, keep_regs, &all), 0);
	EXPECT_EQ(all.n, THREADS + 1);
	for (size_t k = 0; k < all.n; k++) {
		struct proc_syscall s = { 0 };

		EXPECT_EQ(all.of[k].rests, all.of[k].tid == tid[1]);
		if (!all.of[k].rests)
			EXPECT_EQ(proc_read_thread_syscall(dir, all.of[k].tid, &s), 0);
		if (!all.of[k].rests)
			EXPECT_EQ(all.of[k].regs[1] == (uint64_t)s.nr && all.of[k].regs[2] == s.arg[0] &&
					  all.of[k].regs[3] == s.sp,
				1);
	}
	for (size_t k = 0, found = 0; k < THREADS; k++, found = 0) {
		for (size_t i = 0; i < all.n; i++)
			found += all.of[i].tid == tid[k];
		EXPECT_EQ(found, 1);
	}
	kill(child, SIGKILL);
	waitpid(tid[1], NULL, __WALL);
	waitpid(child, NULL, 0);
	all.n = 0;
	EXPECT_EQ(proc_read_regs(fd, child, keep_regs, &all) < 0 || all.n == 0, 1);
	close(dir);
	close(proc);
	close(fd);
}

struct about {
	uint32_t failed, tid, parent;
	char comm[16];
};

/* as the kernel refuses what instructions would load */
static int write_careful(struct bpf_writer *w, const struct btf *b, const void *data)
{
	const uint32_t task = btf_struct(b, "task_struct");

	if (!w->careful)
		return -EOPNOTSUPP;
	EXPECT_EQ(bpf_add_member(w, b, task, data, offsetof(struct about, tid)), 0);
	EXPECT_EQ(bpf_add_member(w, b, task, &(struct member){ "comm", 16 }, offsetof(struct about, comm)), 0);
	EXPECT_EQ(
		bpf_add_member(w, b, task, &(struct member){ "real_parent->tgid", 4 }, offsetof(struct about, parent)),
		0);
	return bpf_end(w, offsetof(struct about, failed));
}

static bool take_one(void *data, unsigned char *record)
{
	memcpy(data, record, sizeof(struct about));
	return true;
}

TEST(what_instructions_may_not_load_is_read_by_calls)
{
	const struct member tid = { "pid", 4 };
	int prog = bpf_make("bpf_iter_task", &(struct bpf_plan){ sizeof(struct about), BPF_TASK, write_careful, &tid });
	union bpf_iter_link_info only = { .task.tid = (uint32_t)getpid() };
	struct about about = { 0 };

	if (prog == -EPERM || prog == -EOPNOTSUPP || prog == -ENOENT)
		SKIP("bpf(2) is not to be had here, or the kernel describes no types");
	ASSERT_EQ(prog >= 0, 1);
	int link = bpf_link(prog, &only);
	ASSERT_EQ(link >= 0, 1);
	EXPECT_EQ(prctl(PR_SET_NAME, "careful"), 0);
	EXPECT_EQ(bpf_read(link, sizeof(about), take_one, &about), 0);
	EXPECT_EQ(about.failed, 0);
	EXPECT_EQ(about.tid, getpid());
	EXPECT_EQ(about.parent, getppid());
	EXPECT_STREQ(about.comm, "careful");
	close(link);
	close(prog);
}

static int try(const char *path, uint32_t size, bool (*needed)(void))
{
	const struct member m[] = { { "comm", 16, NULL }, { path, size, needed } };
	struct insight *i = NULL;
	int r = insight_open(m, 2, &i);

	insight_close(r == 0 ? i : NULL);
	return r;
}

TEST(members_that_are_not_there)
{
	int r = try("pid", 4, NULL);

	if (r == -EPERM || r == -EOPNOTSUPP)
		SKIP("bpf(2) is not to be had here, or the kernel describes no types");
	ASSERT_EQ(r, 0);
	EXPECT_EQ(try("never_there", 8, NULL), -ENOENT);
	EXPECT_EQ(try("never_there", 8, always), -ENOENT);
	EXPECT_EQ(try("never_there", 8, never), 0);
	EXPECT_EQ(try("pid->nr", 8, NULL), -ENOENT);
	EXPECT_EQ(try("cred", 4, NULL), -EOPNOTSUPP); /* it has 8: it is no longer what it was */
	EXPECT_EQ(try("comm", 600, NULL), -E2BIG);
}

TEST(spare_members)
{
	const struct member m[] = { { "comm", 16, NULL }, { .path = "never_there", .size = 8, .spare = true },
		{ .path = "pid", .size = 4, .spare = true }, { .path = "cred", .size = 4, .spare = true } };
	struct insight *i = NULL;
	int r = insight_open(m, 4, &i);

	if (r == -EPERM || r == -EOPNOTSUPP)
		SKIP("bpf(2) is not to be had here, or the kernel describes no types");
	ASSERT_EQ(r, 0);
	EXPECT_EQ(insight_lacks(i, 0), 0);
	EXPECT_EQ(insight_lacks(i, 1), 1);
	EXPECT_EQ(insight_lacks(i, 2), 0);
	EXPECT_EQ(insight_lacks(i, 3), 1);
	insight_close(i);
}

TEST_MAIN
