/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room proc against the running kernel: what it reads of this process is what this process knows of itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "lib/test.h"
#include "proc/parse.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static int open_proc(void)
{
	int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	return fd;
}

static int self(void)
{
	int fd = proc_open(open_proc(), getpid());
	ASSERT_GE(fd, 0);
	return fd;
}

/* an empty file without a name in a directory of the disk or of memory */
static int scratch(void)
{
	char path[] = "/tmp/proc_live.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	ASSERT_GE(fd, 0);
	unlink(path);
	return fd;
}

TEST(stat_self)
{
	static const char name[] = "x) R 1\n( y";
	struct proc_stat st;

	prctl(PR_SET_NAME, name);
	ASSERT_EQ(proc_read_stat(self(), &st), 0);
	EXPECT_EQ(st.pid, getpid());
	EXPECT_STREQ(st.comm, name);
	EXPECT_EQ(st.state, 'R');
	EXPECT_EQ(st.ppid, getppid());
	EXPECT_EQ(st.pgrp, getpgrp());
	EXPECT_EQ(st.session, getsid(0));
	EXPECT_EQ(st.num_threads, 1);
	EXPECT_EQ(st.exit_signal, SIGCHLD);
	EXPECT_GT(st.start_brk, 0);
	EXPECT_LE(st.start_brk, (uintptr_t)sbrk(0));
	EXPECT_EQ(st.policy, sched_getscheduler(0));
	EXPECT_LT(st.start_code, (uintptr_t)self);
	EXPECT_GT(st.end_code, (uintptr_t)self);
	EXPECT_LT(st.arg_start, st.arg_end);
}

TEST(status_self)
{
	struct arena a = { 0 };
	struct proc_status st;
	gid_t groups[1024];
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGRTMAX);
	sigprocmask(SIG_SETMASK, &block, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR2, _exit);
	raise(SIGUSR1);
	kill(getpid(), SIGRTMAX);
	umask(0135);
	prctl(PR_SET_NAME, "a\\n\nb\t");

	ASSERT_EQ(proc_read_status(&a, self(), &st), 0);
	EXPECT_STREQ(st.name, "a\\n\nb\t");
	EXPECT_EQ(st.umask, 0135);
	EXPECT_EQ(st.pid, getpid());
	EXPECT_EQ(st.tgid, getpid());
	EXPECT_EQ(st.ppid, getppid());
	EXPECT_EQ(st.tracer, 0);
	EXPECT_EQ(st.uid[1], geteuid());
	EXPECT_EQ(st.gid[0], getgid());
	ASSERT_EQ(st.groups.n, getgroups(ARRAY_SIZE(groups), groups));
	for (size_t i = 0; i < st.groups.n; i++)
		EXPECT_EQ(((uint32_t *)st.groups.at)[i], groups[i]);
	ASSERT_GE(st.levels, 1);
	EXPECT_EQ(st.nspid[0], getpid());
	EXPECT_EQ(st.sigblk, 1ull << (SIGUSR1 - 1) | 1ull << (SIGRTMAX - 1));
	EXPECT_EQ(st.sigpnd, 1ull << (SIGUSR1 - 1));
	EXPECT_EQ(st.shdpnd, 1ull << (SIGRTMAX - 1));
	EXPECT_TRUE(st.sigign & 1ull << (SIGHUP - 1));
	EXPECT_TRUE(st.sigcgt & 1ull << (SIGUSR2 - 1));
	EXPECT_FALSE(st.sigcgt & 1ull << (SIGHUP - 1));
	EXPECT_EQ(st.threads, 1);
	EXPECT_EQ(st.no_new_privs, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	arena_done(&a);
}

TEST(limits_self)
{
	struct arena a = { 0 };
	struct proc_limit l[PROC_LIMITS];

	ASSERT_EQ(proc_read_limits(&a, self(), l), 0);
	for (int i = 0; i < PROC_LIMITS; i++) {
		struct rlimit want;

		ASSERT_EQ(syscall(SYS_getrlimit, i, &want), 0);
		EXPECT_TRUE(l[i].seen);
		EXPECT_EQ(l[i].soft, want.rlim_cur);
		EXPECT_EQ(l[i].hard, want.rlim_max);
	}
	arena_done(&a);
}

static const struct proc_fd *find_fd(const struct span *s, int n)
{
	const struct proc_fd *f = s->at;

	for (size_t i = 0; i < s->n; i++) {
		EXPECT_TRUE(i == 0 || f[i - 1].n < f[i].n);
		if (f[i].n == n)
			return &f[i];
	}
	return NULL;
}

TEST(fds_self)
{
	struct arena a = { 0 };
	struct span s;
	int event = eventfd(30, EFD_NONBLOCK | EFD_CLOEXEC), file = scratch(), high = dup2(event, 777);
	struct stat st;

	ASSERT_EQ(ftruncate(file, 12345), 0);
	ASSERT_EQ(lseek(file, 99, SEEK_SET), 99);
	ASSERT_EQ(fstat(file, &st), 0);
	ASSERT_EQ(proc_read_fds(&a, self(), &s), 0);

	const struct proc_fd *f = find_fd(&s, event);
	ASSERT_TRUE(f);
	EXPECT_STREQ(f->link, "anon_inode:[eventfd]");
	EXPECT_EQ(f->flags, O_RDWR | O_NONBLOCK);
	EXPECT_TRUE(f->cloexec);
	ASSERT_GE(f->extra.n, 1);
	EXPECT_TRUE(strstr(((char **)f->extra.at)[0], "eventfd-count:"));
	f = find_fd(&s, high);
	ASSERT_TRUE(f);
	EXPECT_FALSE(f->cloexec);
	f = find_fd(&s, file);
	ASSERT_TRUE(f);
	EXPECT_EQ(f->pos, 99);
	EXPECT_EQ(f->flags & O_ACCMODE, O_RDWR);
	EXPECT_TRUE(f->has_stat);
	EXPECT_EQ(f->size, 12345);
	EXPECT_EQ(f->st_ino, st.st_ino);
	EXPECT_EQ(f->dev, st.st_dev);
	EXPECT_EQ(f->mode, st.st_mode);
	EXPECT_EQ(f->nlink, 0);
	EXPECT_EQ(f->mtime_sec, st.st_mtim.tv_sec);
	EXPECT_EQ(f->mtime_nsec, st.st_mtim.tv_nsec);
	EXPECT_TRUE(strstr(f->link, " (deleted)"));
	EXPECT_EQ(f->extra.n, 0);
	EXPECT_EQ(find_fd(&s, 778), NULL);

	struct proc_fd none;
	EXPECT_EQ(proc_read_fdinfo(&a, self(), 778, &none), -ENOENT);
	arena_done(&a);
}

static bool is_not(void *data, int n)
{
	return n != *(int *)data;
}

/* what a descriptor leads to is taken from another table, if it is of the same open file; what it is itself is read */
TEST(fds_like)
{
	struct arena a = { 0 };
	struct span before, after;
	int one = scratch(), other = scratch(), moved = scratch(), closed = scratch();
	const struct proc_model model = { .same = is_not, .data = &other };

	ASSERT_EQ(proc_read_fds(&a, self(), &before), 0);
	struct proc_model of = model;
	of.fds = before;
	ASSERT_EQ(fcntl(one, F_SETFD, 0), 0);
	ASSERT_EQ(lseek(moved, 7, SEEK_SET), 7);
	ASSERT_EQ(ftruncate(one, 100), 0);
	ASSERT_EQ(ftruncate(other, 100), 0);
	ASSERT_EQ(ftruncate(moved, 100), 0);
	close(closed);
	ASSERT_EQ(proc_read_fds_like(&a, self(), &of, &after), 0);
	const struct proc_fd *f = find_fd(&after, one), *was = find_fd(&before, one);
	EXPECT_EQ(f->like, was);
	EXPECT_EQ(f->link, was->link);
	EXPECT_EQ(f->size, 0);
	EXPECT_EQ(f->st_ino, was->st_ino);
	EXPECT_TRUE(f->has_stat && was->cloexec && !f->cloexec);
	EXPECT_EQ(find_fd(&after, other)->like, NULL);
	EXPECT_EQ(find_fd(&after, other)->size, 100);
	EXPECT_EQ(find_fd(&after, moved)->like, find_fd(&before, moved));
	EXPECT_EQ(find_fd(&after, moved)->pos, 0); /* others move it too: it has one place for all who have it */
	f = find_fd(&after, closed); /* the list itself may have that number now */
	EXPECT_TRUE(!f || !f->like);
	arena_done(&a);
}

/* more than one thread reads, each descriptor in its place; one with more lines than most have */
TEST(many_fds_self)
{
	const int n = 600;
	struct arena a = { 0 };
	struct span s;
	int file = scratch(), event = eventfd(0, EFD_CLOEXEC), epoll = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(prlimit(0, RLIMIT_NOFILE, &(struct rlimit){ 4096, 4096 }, NULL), 0);
	for (int i = 0; i < n; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.u32 = (uint32_t)i };

		ASSERT_EQ(dup2(i % 3 ? file : event, 1000 + 2 * i), 1000 + 2 * i);
		if (i % 3 == 0)
			ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, 1000 + 2 * i, &e), 0);
	}
	ASSERT_EQ(proc_read_fds(&a, self(), &s), 0);
	const struct proc_fd *f = find_fd(&s, epoll);
	ASSERT_TRUE(f);
	EXPECT_EQ(f->extra.n, (size_t)n / 3);
	for (int i = 0; i < n; i++) {
		f = find_fd(&s, 1000 + 2 * i);
		ASSERT_TRUE(f);
		EXPECT_TRUE(f->has_stat);
		EXPECT_EQ(S_ISREG(f->mode), i % 3 != 0);
		EXPECT_EQ(strcmp(f->link, "anon_inode:[eventfd]") == 0, i % 3 == 0);
		EXPECT_EQ(f->extra.n > 0, i % 3 == 0);
		EXPECT_EQ(find_fd(&s, 1001 + 2 * i), NULL);
	}
	arena_done(&a);
}

TEST(locks_self)
{
	struct arena a = { 0 };
	int posix = scratch(), lock = scratch(), ofd = scratch();
	struct flock range = { .l_type = F_WRLCK, .l_start = 10, .l_len = 5 };
	struct flock rest = { .l_type = F_RDLCK, .l_start = 7 };
	struct proc_fd f;
	struct stat st;

	ASSERT_EQ(fcntl(posix, F_SETLK, &range), 0);
	ASSERT_EQ(fcntl(posix, F_SETLK, &(struct flock){ .l_type = F_RDLCK, .l_start = 100, .l_len = 1 }), 0);
	ASSERT_EQ(flock(lock, LOCK_SH), 0);
	ASSERT_EQ(fcntl(ofd, F_OFD_SETLK, &rest), 0);
	ASSERT_EQ(fstat(posix, &st), 0);

	ASSERT_EQ(proc_read_fdinfo(&a, self(), posix, &f), 0);
	ASSERT_EQ(f.locks.n, 2);
	const struct proc_lock *k = f.locks.at;
	EXPECT_STREQ(k->type, "POSIX");
	EXPECT_STREQ(k->kind, "ADVISORY");
	EXPECT_STREQ(k->mode, "WRITE");
	EXPECT_EQ(k->pid, getpid());
	EXPECT_EQ(k->start, 10);
	EXPECT_EQ(k->end, 14);
	EXPECT_EQ(k->ino, st.st_ino);
	EXPECT_EQ(k->major, major(st.st_dev));
	EXPECT_EQ(k->minor, minor(st.st_dev));
	EXPECT_STREQ(k[1].mode, "READ");

	ASSERT_EQ(proc_read_fdinfo(&a, self(), lock, &f), 0);
	ASSERT_EQ(f.locks.n, 1);
	k = f.locks.at;
	EXPECT_STREQ(k->type, "FLOCK");
	EXPECT_STREQ(k->mode, "READ");
	EXPECT_EQ(k->end, UINT64_MAX);

	ASSERT_EQ(proc_read_fdinfo(&a, self(), ofd, &f), 0);
	ASSERT_EQ(f.locks.n, 1);
	k = f.locks.at;
	EXPECT_STREQ(k->type, "OFDLCK");
	EXPECT_EQ(k->pid, -1);
	EXPECT_EQ(k->start, 7);
	EXPECT_EQ(k->end, UINT64_MAX);
	arena_done(&a);
}

TEST(lease_self)
{
	struct arena a = { 0 };
	int lease = scratch();
	struct proc_fd f;

	if (fcntl(lease, F_SETLEASE, F_WRLCK) < 0)
		SKIP("no lease on a file in /tmp");
	ASSERT_EQ(proc_read_fdinfo(&a, self(), lease, &f), 0);
	ASSERT_EQ(f.locks.n, 1);
	const struct proc_lock *k = f.locks.at;
	EXPECT_STREQ(k->type, "LEASE");
	EXPECT_STREQ(k->kind, "ACTIVE");
	EXPECT_STREQ(k->mode, "WRITE");
	arena_done(&a);
}

static const struct proc_vma *find_vma(const struct span *s, const void *at)
{
	const struct proc_vma *v = s->at;

	for (size_t i = 0; i < s->n; i++)
		if (v[i].start <= (uintptr_t)at && (uintptr_t)at < v[i].end)
			return &v[i];
	return NULL;
}

static void *map(size_t pages, int prot, int flags, int fd)
{
	void *p = mmap(NULL, pages * (size_t)sysconf(_SC_PAGESIZE), prot, flags, fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	return p;
}

/* "rd" among "rd wr mr" */
static bool has_flag(const struct proc_vma *v, const char *flag)
{
	const char *p = strstr(v->vmflags, flag);

	return p && (p == v->vmflags || p[-1] == ' ') && (p[2] == ' ' || p[2] == '\0');
}

/* more than is read at once, and every mapping is there once, in order, with what is its own */
TEST(many_maps_self)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 6000;
	struct arena a = { 0 };
	char *p = map(n + 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1); /* not to become one with a neighbour */
	struct span s;

	p += page;
	ASSERT_EQ(mprotect(p, n * page, PROT_READ), 0);
	for (size_t i = 0; i < n; i += 2)
		ASSERT_EQ(mprotect(p + i * page, page, PROT_READ | PROT_WRITE), 0);
	for (size_t i = 0; i < n; i += 6)
		p[i * page] = 1;
	for (int smaps = 0; smaps < 2; smaps++) {
		ASSERT_EQ(proc_read_maps(&a, self(), smaps, &s), 0);
		const struct proc_vma *v = s.at, *first = v;
		while (first < v + s.n && first->start != (uintptr_t)p)
			first++;
		ASSERT_GE((size_t)(v + s.n - first), n);
		for (size_t i = 0; i < n; i++) {
			ASSERT_EQ(first[i].start, (uintptr_t)p + i * page);
			ASSERT_EQ(first[i].end, first[i].start + page);
			EXPECT_EQ(first[i].prot, PROC_READ | (i % 2 ? 0 : PROC_WRITE));
			EXPECT_EQ(first[i].anonymous, smaps && i % 6 == 0 ? page : 0);
			EXPECT_EQ(strstr(first[i].vmflags, "wr") != NULL, smaps && i % 2 == 0);
		}
		for (size_t i = 1; i < s.n; i++)
			EXPECT_LE(v[i - 1].end, v[i].start);
	}
	arena_done(&a);
}

static void print_map(FILE *f, uint64_t start, int padding)
{
	fprintf(f, "%lx-%lx r--p 00000000 00:00 0 \nRss: 4 kB\nOdd: %0*d\nVmFlags: rd mr\n", (unsigned long)start,
		(unsigned long)start + 4096, padding, 0);
}

/* where one piece of a file meets the next one */
TEST(maps_in_pieces)
{
	const struct {
		int long_one, early_one, ret; /* at which place; -1: at none */
	} cases[] = { { -1, -1, 0 }, { 0, -1, 0 }, { 1500, -1, 0 }, { 1999, -1, 0 }, { -1, 1, -EBADMSG },
		{ -1, 1000, -EBADMSG }, { -1, 1999, -EBADMSG } };
	char path[] = "/tmp/proc_live.XXXXXX";
	struct arena a = { 0 };
	struct span s;

	ASSERT_TRUE(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		FILE *f = fdopen(openat(dir, "smaps", O_WRONLY | O_CREAT | O_TRUNC, 0600), "w");

		ASSERT_TRUE(f);
		for (int k = 0; k < 2000; k++)
			print_map(f, (uint64_t)(k == cases[i].early_one ? 1 : k + 2) << 12,
				k == cases[i].long_one ? 1000000 : 100);
		fclose(f);
		ASSERT_EQ(proc_read_maps(&a, dir, true, &s), cases[i].ret);
		EXPECT_TRUE(cases[i].ret < 0 || s.n == 2000);
	}
	ASSERT_EQ(unlinkat(dir, "smaps", 0), 0);
	ASSERT_EQ(rmdir(path), 0);
	arena_done(&a);
}

TEST(maps_self)
{
	struct arena a = { 0 };
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct span s;

	/* pages apart, that no huge page may join */
	ASSERT_EQ(madvise(p, 8 * page, MADV_NOHUGEPAGE), 0);
	p[2 * page] = p[5 * page] = 1;
	for (int smaps = 0; smaps < 2; smaps++) {
		ASSERT_EQ(proc_read_maps(&a, self(), smaps, &s), 0);
		const struct proc_vma *v = find_vma(&s, p);
		ASSERT_TRUE(v);
		EXPECT_GE(v->end, (uintptr_t)p + 8 * page);
		EXPECT_EQ(v->prot, PROC_READ | PROC_WRITE);
		EXPECT_FALSE(v->shared || v->deleted);
		EXPECT_EQ(v->has_flags, smaps);
		if (smaps) {
			EXPECT_TRUE(has_flag(v, "rd") && has_flag(v, "wr") && has_flag(v, "nh"));
			EXPECT_EQ(v->rss, 2 * page);
			EXPECT_EQ(v->anonymous, 2 * page);
		}
		v = find_vma(&s, find_vma);
		ASSERT_TRUE(v);
		EXPECT_TRUE(strstr(v->name, "proc_live"));
		EXPECT_TRUE(v->prot & PROC_EXEC);
	}
	arena_done(&a);
}

/* a mapping of the file @name in @dir, which is then removed if @gone */
static void *map_named(int dir, const char *name, bool gone)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_GE(fd, 0);
	void *p = map(1, PROT_READ, MAP_SHARED, fd);
	close(fd);
	if (gone)
		ASSERT_EQ(unlinkat(dir, name, 0), 0);
	return p;
}

TEST(maps_odd_names)
{
	static const struct {
		const char *name;
		bool gone;
	} files[] = {
		{ "plain", false },
		{ "plain2", true },
		{ "x (deleted)", false },
		{ "y (deleted)", true },
		{ "new\nline", false },
		{ "new\nline (deleted)", false },
		{ "back\\012slash", false },
		{ "a\n\\012b", true },
	};
	struct arena a = { 0 };
	char path[] = "/tmp/proc_live.XXXXXX";
	void *at[ARRAY_SIZE(files)];
	struct span s;

	ASSERT_TRUE(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		at[i] = map_named(dir, files[i].name, files[i].gone);
	ASSERT_EQ(proc_read_maps(&a, self(), false, &s), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const struct proc_vma *v = find_vma(&s, at[i]);
		const char *want = files[i].name;

		ASSERT_TRUE(v);
		if (strcmp(want, "a\n\\012b") == 0)
			want = "a\n\nb"; /* nobody can tell any more */
		EXPECT_STREQ(v->name, arena_printf(&a, "%s/%s", path, want));
		EXPECT_EQ(v->deleted, files[i].gone);
		unlinkat(dir, files[i].name, 0);
	}
	rmdir(path);
	arena_done(&a);
}

/* the runs of @pages pages from @p, each as "first-end:what" in pages */
static const char *runs(struct arena *a, const char *p, size_t pages, bool file, bool text)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const uint64_t start = (uintptr_t)p, end = start + pages * page;
	struct span s = { 0 };
	const char *out = "";

	int fd = openat(self(), "pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	ASSERT_EQ((text ? scan_pagemap : proc_scan_pages)(a, fd, start, end, file, &s), 0);
	for (size_t i = 0; i < s.n; i++) {
		const struct proc_pages *r = (const struct proc_pages *)s.at + i;

		EXPECT_TRUE(start <= r->start && r->start < r->end && r->end <= end);
		out = arena_printf(a, "%s %d-%d:%s%s%s", out, (int)((r->start - start) / page),
			(int)((r->end - start) / page), r->what & PAGES_PRESENT ? "p" : "",
			r->what & PAGES_SWAPPED ? "s" : "", r->what & PAGES_FILE ? "f" : "");
	}
	close(fd);
	return out;
}

static bool has_scan(void)
{
	int fd = openat(self(), "pagemap", O_RDONLY | O_CLOEXEC);
	struct arena a = { 0 };
	struct span s = { 0 };

	ASSERT_GE(fd, 0);
	int r = proc_scan_guards(&a, fd, 0, 0, &s);
	ASSERT_EQ(r, 0);
	r = proc_scan_guards(&a, fd, 0, (uint64_t)sysconf(_SC_PAGESIZE), &s);
	close(fd);
	arena_done(&a);
	return r == 0;
}

static volatile char sink;

TEST(pages_private)
{
	struct arena a = { 0 };
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = map(16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(p, 16 * page, MADV_NOHUGEPAGE);
	p[1 * page] = p[2 * page] = p[4 * page] = p[15 * page] = 1;
	sink = p[8 * page]; /* read, never written: the zero page */
	EXPECT_STREQ(runs(&a, p, 16, false, true), " 1-3:p 4-5:p 8-9:p 15-16:p");
	EXPECT_STREQ(runs(&a, p, 2, false, true), " 1-2:p");
	if (!has_scan())
		SKIP("no PAGEMAP_SCAN with PAGE_IS_GUARD, only the fallback was tested");
	EXPECT_STREQ(runs(&a, p, 16, false, false), " 1-3:p 4-5:p 15-16:p");
	EXPECT_STREQ(runs(&a, p, 16, true, false), " 1-3:p 4-5:p 15-16:p");
	arena_done(&a);
}

TEST(pages_file)
{
	struct arena a = { 0 };
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int fd = scratch();

	ASSERT_EQ(ftruncate(fd, (off_t)(4 * page)), 0);
	char *p = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd),
	     *shared = map(4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	madvise(p, 4 * page, MADV_RANDOM); /* no read ahead, no fault around */
	sink = p[0];
	p[2 * page] = 1; /* a copy of its own */
	shared[1 * page] = 1;
	for (int text = 0; text < 2; text++) {
		EXPECT_STREQ(runs(&a, p, 4, false, text), " 2-3:p");
		const char *all = runs(&a, p, 4, true, text);
		EXPECT_EQ(strncmp(all, " 0-", 3), 0);
		EXPECT_TRUE(strstr(all, ":pf") && strstr(all, " 2-3:p"));
		EXPECT_STREQ(runs(&a, shared, 4, false, text), "");
		EXPECT_STREQ(runs(&a, shared, 4, true, text), " 1-2:pf");
	}
	arena_done(&a);
}

TEST(pages_guard)
{
	struct arena a = { 0 };
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct span s = { 0 };

	if (!has_scan())
		SKIP("no PAGEMAP_SCAN with PAGE_IS_GUARD");
	madvise(p, 8 * page, MADV_NOHUGEPAGE);
	if (madvise(p, 2 * page, MADV_GUARD_INSTALL) < 0)
		SKIP("no MADV_GUARD_INSTALL");
	p[3 * page] = 1;
	EXPECT_STREQ(runs(&a, p, 8, false, false), " 3-4:p");
	EXPECT_STREQ(runs(&a, p, 8, false, true), " 3-4:p");
	int fd = openat(self(), "pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(proc_scan_guards(&a, fd, (uintptr_t)p, (uintptr_t)p + 8 * page, &s), 0);
	ASSERT_EQ(s.n, 1);
	const struct proc_pages *g = s.at;
	EXPECT_EQ(g->start, (uintptr_t)p);
	EXPECT_EQ(g->end, (uintptr_t)p + 2 * page);
	EXPECT_EQ(g->what, PAGES_GUARD);
	EXPECT_EQ(proc_scan_pages(&a, fd, 1ull << 63, (1ull << 63) + page, false, &s), -EFAULT);
	arena_done(&a);
}

/* one look at mappings of all sorts, and at the gap between them */
TEST(pages_of_neighbours)
{
	struct arena a = { 0 };
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = map(32, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct span s = { 0 };

	madvise(p, 32 * page, MADV_NOHUGEPAGE);
	p[3 * page] = p[4 * page] = p[5 * page] = p[20 * page] = 1;
	ASSERT_EQ(mprotect(p, 4 * page, PROT_READ), 0);
	ASSERT_EQ(munmap(p + 8 * page, 4 * page), 0);
	char *shared =
		mmap(p + 12 * page, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	shared[0] = 1;
	sink = p[24 * page]; /* of zeros */
	const bool guards = madvise(p + 30 * page, 2 * page, MADV_GUARD_INSTALL) == 0 && has_scan();
	int fd = openat(self(), "pagemap", O_RDONLY | O_CLOEXEC);
	int r = proc_scan_all(&a, fd, (uintptr_t)p, (uintptr_t)p + (guards ? 32 : 30) * page, &s);
	close(fd);
	if (r == -EOPNOTSUPP)
		SKIP("no PAGEMAP_SCAN");
	ASSERT_EQ(r, 0);
	const struct proc_pages *run = s.at;
	ASSERT_EQ(s.n, guards ? 3 : 2);
	EXPECT_TRUE(run[0].start == (uintptr_t)p + 3 * page && run[0].end == run[0].start + 3 * page);
	EXPECT_TRUE(run[1].start == (uintptr_t)p + 20 * page && run[1].end == run[1].start + page);
	EXPECT_EQ(run[0].what | run[1].what, PAGES_PRESENT);
	if (guards) {
		EXPECT_TRUE(run[2].start == (uintptr_t)p + 30 * page && run[2].end == run[2].start + 2 * page);
		EXPECT_TRUE(run[2].what & PAGES_GUARD);
	}
	EXPECT_EQ(proc_scan_all(&a, -1, 1, page, &s), -EINVAL);
	arena_done(&a);
}

/* more runs than one call of the kernel returns, by both ways the same */
TEST(pages_that_a_child_shares)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *p = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool alone[4];

	p[0] = p[page] = p[2 * page] = 1;
	ASSERT_EQ(proc_read_alone(fd, (uintptr_t)p, 4, alone), 0);
	EXPECT_EQ(alone[0] && alone[1] && alone[2] && !alone[3], true);
	if (fork() == 0)
		for (;;)
			pause();
	p[page] = 2;
	ASSERT_EQ(proc_read_alone(fd, (uintptr_t)p, 4, alone), 0);
	EXPECT_EQ(!alone[0] && alone[1] && !alone[2] && !alone[3], true);
}

TEST(pages_many)
{
	struct arena a = { 0 };
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 10000;
	char *p = map(n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	int fd = openat(self(), "pagemap", O_RDONLY | O_CLOEXEC);

	madvise(p, n * page, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < n; i += 2)
		p[i * page] = 1;
	for (int text = 0; text < 2; text++) {
		struct span s = { 0 };

		ASSERT_EQ((text ? scan_pagemap : proc_scan_pages)(
				  &a, fd, (uintptr_t)p, (uintptr_t)p + n * page, false, &s),
			0);
		ASSERT_EQ(s.n, n / 2);
		for (size_t i = 0; i < s.n; i++) {
			const struct proc_pages *r = (const struct proc_pages *)s.at + i;

			ASSERT_EQ(r->start, (uintptr_t)p + 2 * i * page);
			ASSERT_EQ(r->end, r->start + page);
		}
	}
	/* runs of pages that follow each other become one, across calls of the kernel too */
	memset(p, 1, n * page);
	EXPECT_STREQ(runs(&a, p, n, false, false), " 0-10000:p");
	EXPECT_STREQ(runs(&a, p, n, false, true), " 0-10000:p");
	arena_done(&a);
}

static void *wait_for(void *barrier)
{
	pthread_barrier_wait(barrier);
	pause();
	return NULL;
}

TEST(tasks_self)
{
	static pthread_barrier_t barrier; /* the threads may still look at it when this function is over */
	struct arena a = { 0 };
	pthread_t threads[9];
	struct span s;
	pid_t kids[3];

	pthread_barrier_init(&barrier, NULL, 10);
	for (size_t i = 0; i < 9; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, wait_for, &barrier), 0);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < 3; i++)
		if ((kids[i] = fork()) == 0) {
			pause();
			_exit(0);
		}

	ASSERT_EQ(proc_read_tids(&a, self(), &s), 0);
	ASSERT_EQ(s.n, 10);
	EXPECT_EQ(proc_count_threads(self()), 10);
	const struct span tids = s;
	for (size_t i = 0; i < s.n; i++) {
		struct proc_status st;
		int dir = proc_open_thread(self(), ((pid_t *)s.at)[i]);
		ASSERT_GE(dir, 0);
		ASSERT_EQ(proc_read_status(&a, dir, &st), 0);
		EXPECT_EQ(st.pid, ((pid_t *)s.at)[i]);
		EXPECT_EQ(st.tgid, getpid());
		EXPECT_EQ(st.threads, 10);
		EXPECT_TRUE(i == 0 || ((pid_t *)s.at)[i - 1] < ((pid_t *)s.at)[i]);
	}
	EXPECT_EQ(proc_open_thread(self(), kids[0]), -ESRCH);

	int r = proc_read_children(&a, self(), &s);
	if (r == -ENOENT)
		SKIP("the kernel has no CONFIG_PROC_CHILDREN");
	ASSERT_EQ(r, 0);
	ASSERT_EQ(s.n, 3);
	ASSERT_MEMEQ(s.at, kids, sizeof(kids));
	ASSERT_EQ(proc_read_children_of(&a, self(), tids.at, tids.n, &s), 0);
	ASSERT_EQ(s.n, 3);
	ASSERT_MEMEQ(s.at, kids, sizeof(kids));
	ASSERT_EQ(proc_read_children_of(&a, self(), kids, 3, &s), 0); /* no threads of ours, or no more */
	EXPECT_EQ(s.n, 0);

	ASSERT_EQ(proc_read_all(&a, open_proc(), &s), 0);
	size_t found = 0;
	for (size_t i = 0; i < s.n; i++)
		for (size_t k = 0; k < 3; k++)
			found += ((pid_t *)s.at)[i] == kids[k];
	EXPECT_EQ(found, 3);
	arena_done(&a);
}

TEST(zombie_and_gone)
{
	struct arena a = { 0 };
	struct proc_limit l[PROC_LIMITS];
	struct proc_status status;
	struct proc_stat st;
	struct proc_fd fd;
	struct span s = { 0 };
	const char *path;
	uint64_t ino;

	pid_t pid = fork();
	if (pid == 0)
		_exit(3);
	ASSERT_EQ(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	int dir = proc_open(open_proc(), pid);
	ASSERT_GE(dir, 0);
	ASSERT_EQ(proc_read_stat(dir, &st), 0);
	EXPECT_EQ(st.state, 'Z');
	EXPECT_EQ(st.exit_code, 3 << 8);
	ASSERT_EQ(proc_read_status(&a, dir, &status), 0);
	EXPECT_EQ(status.state, 'Z');
	for (int smaps = 0; smaps < 2; smaps++) {
		ASSERT_EQ(proc_read_maps(&a, dir, smaps, &s), 0);
		EXPECT_EQ(s.n, 0);
	}
	ASSERT_EQ(proc_read_fds(&a, dir, &s), 0);
	EXPECT_EQ(s.n, 0);
	ASSERT_EQ(proc_read_tids(&a, dir, &s), 0);
	EXPECT_EQ(s.n, 1);
	EXPECT_EQ(proc_count_threads(dir), 1);
	EXPECT_EQ(proc_read_limits(&a, dir, l), 0);

	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	EXPECT_EQ(proc_read_stat(dir, &st), -ESRCH);
	EXPECT_EQ(proc_read_status(&a, dir, &status), -ESRCH);
	EXPECT_EQ(proc_read_maps(&a, dir, false, &s), -ESRCH);
	EXPECT_EQ(proc_read_maps(&a, dir, true, &s), -ESRCH);
	EXPECT_EQ(proc_read_fds(&a, dir, &s), -ESRCH);
	EXPECT_EQ(proc_read_fdinfo(&a, dir, 0, &fd), -ESRCH);
	EXPECT_EQ(proc_read_tids(&a, dir, &s), -ESRCH);
	EXPECT_EQ(proc_count_threads(dir), 0);
	EXPECT_EQ(proc_read_children_of(&a, dir, &pid, 1, &s), -ESRCH);
	EXPECT_EQ(proc_read_children(&a, dir, &s), -ESRCH);
	EXPECT_EQ(proc_read_limits(&a, dir, l), -ESRCH);
	EXPECT_EQ(proc_read_ns(dir, "pid", &ino), -ESRCH);
	EXPECT_EQ(proc_cgroup(&a, dir, &path), -ESRCH);
	EXPECT_EQ(proc_open(open_proc(), pid), -ESRCH);
	EXPECT_EQ(proc_open(open_proc(), 0), -ESRCH);
	EXPECT_EQ(s.n, 1);
	arena_done(&a);
}

TEST(namespaces)
{
	static const char *const names[] = { "pid", "user", "mnt", "net", "pid_for_children" };
	struct stat st;
	uint64_t ino;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		ASSERT_EQ(stat(path, &st), 0);
		ASSERT_EQ(proc_read_ns(self(), names[i], &ino), 0);
		EXPECT_EQ(ino, st.st_ino);
	}
	EXPECT_EQ(proc_read_ns(self(), "none", &ino), -ENOENT);

	uint64_t all[PROC_NS_N];
	ASSERT_EQ(proc_read_namespaces(self(), PROC_NS_N, all), 0);
	for (unsigned int i = 0; i < PROC_NS_N; i++) {
		char path[64];
		struct stat is = { 0 };

		snprintf(path, sizeof(path), "/proc/self/ns/%s", proc_ns_names[i]);
		stat(path, &is);
		EXPECT_EQ(all[i], is.st_ino);
	}
}

TEST(cgroup)
{
	struct arena a = { 0 };
	const char *path, *mount;

	if (proc_cgroup(&a, self(), &path) == -ENOENT || proc_cgroup2_mount(&a, open_proc(), &mount) == -ENOENT)
		SKIP("cgroup v2 is not mounted here");
	EXPECT_EQ(path[0], '/');
	EXPECT_EQ(access(arena_printf(&a, "%s%s/cgroup.procs", mount, path), F_OK), 0);
	arena_done(&a);
}

TEST(kcmp)
{
	int fd = scratch(), same = dup(fd), other = scratch();
	int r = proc_kcmp(getpid(), getpid(), KCMP_FILE, (unsigned long)fd, (unsigned long)same);

	if (r == -ENOSYS)
		SKIP("the kernel has no kcmp(2)");
	EXPECT_EQ(r, 0);
	r = proc_kcmp(getpid(), getpid(), KCMP_FILE, (unsigned long)fd, (unsigned long)other);
	EXPECT_TRUE(r == 1 || r == 2);
	EXPECT_EQ(proc_kcmp(getpid(), getpid(), KCMP_FILE, (unsigned long)fd, 999), -EBADF);
	EXPECT_NE(proc_kcmp(getpid(), getppid(), KCMP_VM, 0, 0), 0);
	EXPECT_EQ(proc_kcmp(getpid(), getpid(), KCMP_VM, 0, 0), 0);
}

TEST_MAIN
