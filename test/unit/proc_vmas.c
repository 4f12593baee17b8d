/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The flags of mappings as they are read of many, against what smaps says.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "lib/test.h"
#include "proc/vmas.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA	     0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

#define PAGE ((size_t)4096)
#define RW   (PROT_READ | PROT_WRITE)
#define OWN  (MAP_PRIVATE | MAP_ANONYMOUS)

/* ---- a program that has them ---- */

static char *map(int prot, int flags, int fd)
{
	char *at = mmap(NULL, PAGE, prot, flags, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static bool touch(char *at)
{
	if (at)
		*at = 1;
	return at;
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* what programs mostly have; none of it need be told by smaps */
static bool make_usual(size_t n)
{
	int exe = open("/proc/self/exe", O_RDONLY), memfd = memfd_create("usual", 0);
	char *at;
	pthread_t thread;

	(void)n;
	if (pthread_create(&thread, NULL, sleep_on, NULL) || ftruncate(memfd, (off_t)PAGE) < 0)
		return false;
	bool all = touch(map(RW, OWN, -1)) && map(PROT_NONE, OWN, -1) && map(PROT_READ, OWN, -1) &&
		   map(PROT_READ | PROT_EXEC, OWN, -1) && map(RW, OWN | MAP_NORESERVE, -1) &&
		   touch(map(RW, MAP_SHARED | MAP_ANONYMOUS, -1)) && map(PROT_READ, MAP_PRIVATE, exe) &&
		   touch(map(RW, MAP_PRIVATE, exe)) && map(PROT_READ, MAP_SHARED, exe) &&
		   touch(map(RW, MAP_SHARED, memfd)) && map(PROT_READ, MAP_SHARED, memfd) &&
		   mmap(NULL, (size_t)1 << 40, PROT_NONE, OWN | MAP_NORESERVE, -1, 0) != MAP_FAILED;
	map(RW, MAP_DROPPABLE | MAP_ANONYMOUS, -1);
	at = mmap(NULL, 8 * PAGE, RW, OWN, -1, 0);
	all &= at != MAP_FAILED && touch(at + 2 * PAGE) && mprotect(at + 2 * PAGE, PAGE, PROT_READ) == 0 &&
	       mprotect(at + 4 * PAGE, PAGE, PROT_NONE) == 0 && mprotect(at + 6 * PAGE, PAGE, RW | PROT_EXEC) == 0;
	at = mmap(NULL, 4 * PAGE, RW, OWN | MAP_STACK, -1, 0);
	madvise(at, PAGE, MADV_GUARD_INSTALL);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, PAGE, "usual");
	return all && touch(at + PAGE);
}

/* page by page another protection */
static bool make_many(size_t n)
{
	char *at = n ? mmap(NULL, n * PAGE, RW, OWN, -1, 0) : NULL;

	for (size_t i = 0; i < n && at != MAP_FAILED; i += 2)
		if (mprotect(at + i * PAGE, PAGE, PROT_READ) < 0)
			return false;
	return at != MAP_FAILED;
}

static bool make_advised(size_t advice)
{
	char *at = map(RW, OWN, -1);

	return at && madvise(at, PAGE, (int)advice) == 0;
}

static bool make_locked(size_t n)
{
	char *at = map(RW, OWN, -1);

	(void)n;
	return at && syscall(SYS_mlock, at, PAGE) == 0; /* sanitizers do nothing for mlock() */
}

static bool make_huge(size_t n)
{
	(void)n;
	return mmap(NULL, 2 << 20, RW, OWN | MAP_HUGETLB, -1, 0) != MAP_FAILED;
}

static bool make_protected(size_t n)
{
	char *at = map(RW, OWN, -1);
	long key = syscall(SYS_pkey_alloc, 0, 0);

	(void)n;
	return at && key > 0 && syscall(SYS_pkey_mprotect, at, PAGE, RW, key) == 0;
}

/* pages that fork has left to two */
static bool make_shared_with_child(size_t n)
{
	(void)n;
	if (!touch(map(RW, OWN, -1)))
		return false;
	if (fork() == 0)
		sleep_on(NULL);
	return true;
}

static const struct way {
	const char *name;
	bool (*make)(size_t n);
	size_t n;
} ways[] = {
	{ "usual", make_usual, 0 },
	{ "many", make_many, 0 },
	{ "dontdump", make_advised, MADV_DONTDUMP },
	{ "dontfork", make_advised, MADV_DONTFORK },
	{ "wipeonfork", make_advised, MADV_WIPEONFORK },
	{ "hugepage", make_advised, MADV_HUGEPAGE },
	{ "mergeable", make_advised, MADV_MERGEABLE },
	{ "random", make_advised, MADV_RANDOM },
	{ "locked", make_locked, 0 },
	{ "hugetlb", make_huge, 0 },
	{ "pkey", make_protected, 0 },
	{ "forked", make_shared_with_child, 0 },
};

enum { USUAL, MANY, FIRST_UNUSUAL };

/* "2 0": the way, and its number. Says on standard output whether it could */
__attribute__((constructor)) static void be_subject(void)
{
	const char *what = getenv("PROC_VMAS");
	char *end;

	if (!what)
		return;
	const struct way *w = &ways[strtoul(what, &end, 10)];
	const char could = w->make(strtoul(end, NULL, 10)) ? 'y' : 'n';
	if (write(STDOUT_FILENO, &could, 1) != 1)
		_exit(4);
	sleep_on(NULL);
}

/* ---- and who looks ---- */

/* 0: it could not do so here */
static pid_t start(size_t way, size_t n)
{
	char what[64], could = 0;
	int out[2];

	ASSERT_EQ(pipe(out), 0);
	pid_t pid = fork();
	if (pid == 0) {
		snprintf(what, sizeof(what), "%zu %zu", way, n);
		setenv("PROC_VMAS", what, 1);
		dup2(out[1], STDOUT_FILENO);
		execl("/proc/self/exe", "proc_vmas", NULL);
		_exit(127);
	}
	close(out[1]);
	ASSERT_EQ(read(out[0], &could, 1), 1);
	close(out[0]);
	if (could != 'y') {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return 0;
	}
	kill(pid, SIGSTOP); /* it touches some page on its way to sleep */
	EXPECT_EQ(waitpid(pid, NULL, WUNTRACED), pid);
	return pid;
}

static int open_dir(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static struct vmas *open_or_skip(void)
{
	struct vmas *v = NULL;
	int r = vmas_open(&v);

	if (r == -EPERM || r == -EOPNOTSUPP || r == -ENOENT)
		SKIP("bpf(2) or PAGEMAP_SCAN is not to be had here, or the kernel describes no types");
	ASSERT_EQ(r, 0);
	return v;
}

static void compare(const struct proc_vma *v, const struct proc_vma *w)
{
	EXPECT_EQ(v->start, w->start);
	EXPECT_EQ(v->end, w->end);
	EXPECT_EQ(v->prot, w->prot);
	EXPECT_EQ(v->shared, w->shared);
	EXPECT_EQ(v->pgoff, w->pgoff);
	EXPECT_EQ(v->ino, w->ino);
	EXPECT_STREQ(v->name, w->name);
	EXPECT_EQ(v->deleted, w->deleted);
	EXPECT_TRUE(v->has_flags);
	EXPECT_STREQ(v->vmflags, w->vmflags);
	EXPECT_EQ(v->page_size, w->page_size);
	EXPECT_EQ(v->protection_key, w->protection_key);
	EXPECT_FALSE(v->has_counters);
	EXPECT_TRUE(w->has_counters);
	EXPECT_EQ(v->rss | v->anonymous | v->huge | v->swap | v->pss, 0);
	EXPECT_EQ(w->swap | w->own_huge | w->shared_huge, 0);
}

/* what vmas_read() returned, and how many there are if it was 0; @ended: what was opened is closed before it is looked at */
static int look(struct vmas *v, pid_t pid, bool ended, size_t *ret_n)
{
	_cleanup_close_ int dir = open_dir(pid);
	struct span got = { 0 }, smaps = { 0 };
	struct proc_rollup sums = { 0 };
	uint64_t anonymous = 0, huge = 0;
	struct arena a;

	arena_init(&a);
	int r = vmas_read(v, &a, dir, pid, &got, &sums);
	ASSERT_EQ(proc_read_maps(&a, dir, true, &smaps), 0);
	if (ended)
		vmas_close(v);
	if (r == 0) {
		const struct proc_vma *w = smaps.at;

		ASSERT_EQ(got.n, smaps.n);
		for (size_t i = 0; i < got.n; i++) {
			compare((const struct proc_vma *)got.at + i, &w[i]);
			anonymous += w[i].anonymous;
			huge += w[i].huge;
		}
		EXPECT_EQ(sums.anonymous, anonymous);
		EXPECT_EQ(sums.pss_anonymous, anonymous);
		EXPECT_EQ(sums.huge, huge);
		*ret_n = got.n;
	}
	arena_done(&a);
	return r;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

TEST(usual_mappings)
{
	struct vmas *v = open_or_skip();
	pid_t pid = start(USUAL, 0);
	size_t n = 0;

	ASSERT_GT(pid, 0);
	EXPECT_EQ(look(v, pid, true, &n), 0);
	EXPECT_GT(n, 30);
	end(pid);
}

/* the iterator has room for 1023 of them at once */
TEST(many_mappings)
{
	struct vmas *v = open_or_skip();
	static const size_t more[] = { 1020, 1021, 1022, 1023, 1024, 2046, 2047, 5000 };
	pid_t pid = start(MANY, 0);
	size_t few = 0, n = 0;

	EXPECT_EQ(look(v, pid, false, &few), 0);
	end(pid);
	for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
		pid = start(MANY, more[i] - few);
		ASSERT_GT(pid, 0);
		EXPECT_EQ(look(v, pid, false, &n), 0);
		EXPECT_LE(n, more[i] + 1);
		EXPECT_GE(n, more[i] - 1);
		end(pid);
	}
	vmas_close(v);
}

TEST(what_takes_smaps)
{
	struct vmas *v = open_or_skip();
	size_t n = 0;

	for (size_t i = FIRST_UNUSUAL; i < ARRAY_SIZE(ways); i++) {
		pid_t pid = start(i, ways[i].n);
		int r = pid ? look(v, pid, false, &n) : -EOPNOTSUPP;

		if (!pid)
			TH_LOG("cannot be had here: %s", ways[i].name);
		if (r != -EOPNOTSUPP)
			TH_LOG("of %s", ways[i].name);
		EXPECT_EQ(r, -EOPNOTSUPP);
		if (pid)
			end(pid);
	}
	vmas_close(v);
}

TEST(who_is_not_there)
{
	struct vmas *v = open_or_skip();
	struct proc_rollup sums;
	struct span got;
	struct arena a;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	siginfo_t info;
	ASSERT_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	arena_init(&a);
	_cleanup_close_ int dir = open_dir(pid);
	EXPECT_LT(vmas_read(v, &a, dir, pid, &got, &sums), 0);
	waitpid(pid, NULL, 0);
	EXPECT_LT(vmas_read(v, &a, dir, pid, &got, &sums), 0);
	arena_done(&a);
	vmas_close(v);
}

TEST_MAIN
