/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parsers of room proc against the recorded trees of test/proc, and against each of their texts cut at every byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "lib/test.h"
#include "proc/parse.h"

/* the recorded tree @name; the tests run in the root of the sources */
static int tree(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "test/proc/%s", name);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	return fd;
}

TEST(stat_awkward)
{
	struct proc_stat st;

	ASSERT_EQ(proc_read_stat(tree("awkward"), &st), 0);
	EXPECT_EQ(st.pid, 812);
	EXPECT_STREQ(st.comm, "a) R 1\n( b)");
	EXPECT_EQ(st.state, 'S');
	EXPECT_EQ(st.ppid, 1);
	EXPECT_EQ(st.pgrp, 811);
	EXPECT_EQ(st.session, 810);
	EXPECT_EQ(st.tty_nr, 0x80000400u);
	EXPECT_EQ(st.tpgid, -1);
	EXPECT_EQ(st.flags, 4194560);
	EXPECT_EQ(st.priority, 20);
	EXPECT_EQ(st.num_threads, 3);
	EXPECT_EQ(st.starttime, 158162);
	EXPECT_EQ(st.start_code, 94097384988672);
	EXPECT_EQ(st.end_code, 94097385008553);
	EXPECT_EQ(st.start_stack, 140722671871120);
	EXPECT_EQ(st.exit_signal, 17);
	EXPECT_EQ(st.rt_priority, 0);
	EXPECT_EQ(st.start_data, 94097385024560);
	EXPECT_EQ(st.start_brk, 94098223878144);
	EXPECT_EQ(st.env_end, 140722671878123);
	EXPECT_EQ(st.exit_code, 256);
}

TEST(stat_bad)
{
	struct proc_stat st = { .pid = 5 };

	EXPECT_EQ(proc_read_stat(tree("cut"), &st), -EBADMSG);
	EXPECT_EQ(proc_read_stat(tree("garbage"), &st), -EBADMSG);
	EXPECT_EQ(proc_read_stat(tree("overflow"), &st), -EBADMSG);
	EXPECT_EQ(st.pid, 5);
	ASSERT_EQ(proc_read_stat(tree("zombie"), &st), 0);
	EXPECT_EQ(st.state, 'Z');
	EXPECT_EQ(st.exit_code, 3 << 8);
}

TEST(status_awkward)
{
	struct arena a = { 0 };
	struct proc_status st;

	ASSERT_EQ(proc_read_status(&a, tree("awkward"), &st), 0);
	EXPECT_STREQ(st.name, "a) R 1\n(\\b)");
	EXPECT_EQ(st.umask, 027);
	EXPECT_EQ(st.state, 'S');
	EXPECT_EQ(st.tgid, 812);
	EXPECT_EQ(st.pid, 813);
	EXPECT_EQ(st.ppid, 1);
	EXPECT_EQ(st.tracer, 7);
	EXPECT_EQ(st.uid[3], 1003);
	EXPECT_EQ(st.gid[3], 4294967294);
	ASSERT_EQ(st.groups.n, 3);
	EXPECT_EQ(((uint32_t *)st.groups.at)[2], 4294967294);
	ASSERT_EQ(st.levels, 3);
	EXPECT_EQ(st.nstgid[1], 12);
	EXPECT_EQ(st.nspid[2], 2);
	EXPECT_EQ(st.nspgid[2], 0);
	EXPECT_EQ(st.nssid[0], 810);
	EXPECT_EQ(st.shdpnd, 2);
	EXPECT_EQ(st.sigblk, 0xfffffffe7ffbfeff);
	EXPECT_EQ(st.sigcgt, 1ull << 63);
	EXPECT_EQ(st.cap_eff, 1);
	EXPECT_EQ(st.cap_bnd, 0x1fffeffffff);
	EXPECT_EQ(st.no_new_privs, 1);
	EXPECT_EQ(st.seccomp_filters, 3);
	EXPECT_EQ(st.threads, 3);
	EXPECT_EQ(st.fd_size, 256);
	arena_done(&a);
}

TEST(status_bad)
{
	struct arena a = { 0 };
	struct proc_status st = { .pid = 5 };

	EXPECT_EQ(proc_read_status(&a, tree("cut"), &st), -EBADMSG);
	EXPECT_EQ(proc_read_status(&a, tree("garbage"), &st), -EBADMSG);
	EXPECT_EQ(proc_read_status(&a, tree("overflow"), &st), -EBADMSG);
	EXPECT_EQ(st.pid, 5);
	ASSERT_EQ(proc_read_status(&a, tree("zombie"), &st), 0);
	EXPECT_EQ(st.groups.n, 0);
	EXPECT_EQ(st.umask, 0);
	arena_done(&a);
}

/* the recorded status with the line of @key replaced */
static int status_with(const char *key, const char *line)
{
	struct arena a = { 0 };
	struct proc_status st;
	struct lines l;
	char *text;

	ASSERT_EQ(read_text(&a, tree("awkward"), "status", 1 << 20, &text, NULL), 0);
	char *at = strstr(text, key);
	ASSERT_TRUE(at);
	const char *rest = strchr(at, '\n');
	*at = '\0';
	char *whole = arena_printf(&a, "%s%s%s", text, line, rest);
	lines_mem(&l, whole, strlen(whole));
	int r = parse_status(&a, &l, &st);
	lines_close(&l);
	arena_done(&a);
	return r;
}

TEST(status_lines)
{
	EXPECT_EQ(status_with("NStgid", "NStgid:\t1\t2\t3"), 0);
	EXPECT_EQ(status_with("NStgid", "NStgid:\t1\t2"), -EBADMSG);
	EXPECT_EQ(status_with("NStgid", "NStgid:\t1\t2\t3\t4\t5\t6\t7\t8\t9"), -E2BIG);
	EXPECT_EQ(status_with("Name", "Name:\t"), 0);
	EXPECT_EQ(status_with("Name", "Name:\t\\"), -EBADMSG);
	EXPECT_EQ(status_with("Name", "Name:\t\\x"), -EBADMSG);
	EXPECT_EQ(status_with("Groups", "Groups:\t"), 0);
	EXPECT_EQ(status_with("Groups", "Groups:\t4 2"), -EBADMSG);
	EXPECT_EQ(status_with("SigBlk", "SigBlk:\t1ffffffffffffffff"), -EBADMSG);
	EXPECT_EQ(status_with("SigBlk", "SigBlk:\t00000000000000000 "), -EBADMSG);
	EXPECT_EQ(status_with("SigBlk", "SigIgn:\t0000000000000000"), -EBADMSG);
	EXPECT_EQ(status_with("Umask", "Umask:\t10000"), -EBADMSG);
	EXPECT_EQ(status_with("Umask", "x86_Thread_features:\tshstk \nuntag_mask:\t0x81ffffffffffffff"), 0);
	EXPECT_EQ(status_with("Umask", "x86_Thread_features:\t\nuntag_mask:\t0xffffffffffffffff"), 0);
	EXPECT_EQ(status_with("Umask", "untag_mask:\tffffffffffffffff"), -EBADMSG);
}

static const struct proc_vma *vma(const struct span *s, size_t i)
{
	return (const struct proc_vma *)s->at + i;
}

TEST(maps_awkward)
{
	struct arena a = { 0 };
	struct span v;

	ASSERT_EQ(proc_read_maps(&a, tree("awkward"), false, &v), 0);
	ASSERT_EQ(v.n, 10);
	EXPECT_EQ(vma(&v, 0)->start, 0x55a0979d0000);
	EXPECT_EQ(vma(&v, 0)->end, 0x55a0979d2000);
	EXPECT_EQ(vma(&v, 0)->prot, PROC_READ);
	EXPECT_EQ(vma(&v, 0)->major, 0xfe);
	EXPECT_EQ(vma(&v, 0)->ino, 247498);
	EXPECT_STREQ(vma(&v, 0)->name, "/usr/bin/head");
	EXPECT_EQ(vma(&v, 1)->prot, PROC_READ | PROC_EXEC);
	EXPECT_STREQ(vma(&v, 2)->name, "/tmp/two words \n and ) (deleted)");
	EXPECT_TRUE(vma(&v, 2)->deleted);
	EXPECT_EQ(vma(&v, 2)->pgoff, 0x8000);
	EXPECT_EQ(vma(&v, 2)->ino, UINT64_MAX);
	EXPECT_STREQ(vma(&v, 3)->name, "/memfd:a b\n");
	EXPECT_TRUE(vma(&v, 3)->deleted && vma(&v, 3)->shared);
	EXPECT_EQ(vma(&v, 3)->prot, 0);
	EXPECT_EQ(vma(&v, 3)->pgoff, 0xfffffffffffff000);
	EXPECT_EQ(vma(&v, 3)->minor, 0xfffff);
	EXPECT_STREQ(vma(&v, 4)->name, "");
	EXPECT_STREQ(vma(&v, 5)->name, "[anon:glibc: malloc]");
	EXPECT_STREQ(vma(&v, 6)->name, "/SYSV0000002a");
	EXPECT_STREQ(vma(&v, 7)->name, "anon_inode:[perf_event]");
	EXPECT_STREQ(vma(&v, 8)->name, "/x\xff\xfe\x1b[31m");
	EXPECT_STREQ(vma(&v, 9)->name, "[vsyscall]");
	EXPECT_FALSE(vma(&v, 9)->deleted || vma(&v, 9)->has_flags);
	arena_done(&a);
}

TEST(smaps_awkward)
{
	struct arena a = { 0 };
	struct span v;

	ASSERT_EQ(proc_read_maps(&a, tree("awkward"), true, &v), 0);
	ASSERT_EQ(v.n, 10);
	for (size_t i = 0; i < v.n; i++) {
		EXPECT_TRUE(vma(&v, i)->has_flags);
		EXPECT_EQ(vma(&v, i)->rss, i * 4 << 10);
		EXPECT_EQ(vma(&v, i)->pss, i * 2 << 10);
		EXPECT_EQ(vma(&v, i)->anonymous, i << 10);
		EXPECT_EQ(vma(&v, i)->swap, i * 8 << 10);
		EXPECT_EQ(vma(&v, i)->protection_key, i % 3);
	}
	EXPECT_STREQ(vma(&v, 0)->vmflags, "rd mr mw me sd");
	EXPECT_STREQ(vma(&v, 2)->name, "/tmp/two words \n and ) (deleted)");
	EXPECT_STREQ(vma(&v, 5)->vmflags, "rd wr mr mw me ac");
	EXPECT_STREQ(vma(&v, 9)->vmflags, "ex");
	arena_done(&a);
}

static int rollup_of(const char *text, struct proc_rollup *ret)
{
	struct arena a = { 0 };
	struct lines l;
	char *copy = arena_strdup(&a, text);

	lines_mem(&l, copy, strlen(copy));
	int r = parse_rollup(&l, ret);
	lines_close(&l);
	arena_done(&a);
	return r;
}

#define ROLLUP_HEAD                                                  \
	"5602289c0000-7ffeb04b5000 ---p 00000000 00:00 0 [rollup]\n" \
	"Rss: 84152 kB\nPss_Anon: 12 kB\nAnonymous: 16 kB\nAnonHugePages: 2048 kB\n"

TEST(rollup_lines)
{
	struct proc_rollup sums = { .swap = 7 };

	EXPECT_EQ(rollup_of("", &sums), -EOPNOTSUPP);
	EXPECT_EQ(rollup_of(ROLLUP_HEAD, &sums), -EOPNOTSUPP);
	EXPECT_EQ(rollup_of(ROLLUP_HEAD "SwapPss: 4 kB\n", &sums), -EOPNOTSUPP);
	EXPECT_EQ(rollup_of(ROLLUP_HEAD "Swap: 4\n", &sums), -EBADMSG);
	EXPECT_EQ(rollup_of(ROLLUP_HEAD "Swap: 4 kB", &sums), -EBADMSG);
	EXPECT_EQ(rollup_of(ROLLUP_HEAD "Swap: 18446744073709551615 kB\n", &sums), -EBADMSG);
	EXPECT_EQ(sums.swap, 7);
	EXPECT_EQ(rollup_of(ROLLUP_HEAD "Swap: 4 kB\nSwapPss: 8 kB\n", &sums), 0);
	EXPECT_EQ(sums.pss_anonymous, 12 << 10);
	EXPECT_EQ(sums.anonymous, 16 << 10);
	EXPECT_EQ(sums.huge, 2 << 20);
	EXPECT_EQ(sums.swap, 4 << 10);
}

TEST(maps_bad)
{
	static const char *const trees[] = { "cut", "garbage", "overflow" };
	struct arena a = { 0 };
	struct span v = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
		EXPECT_EQ(proc_read_maps(&a, tree(trees[i]), false, &v), -EBADMSG);
		EXPECT_EQ(proc_read_maps(&a, tree(trees[i]), true, &v), -EBADMSG);
	}
	EXPECT_EQ(proc_read_maps(&a, tree("zombie"), false, &v), 0);
	EXPECT_EQ(v.n, 0);
	EXPECT_EQ(proc_read_maps(&a, tree("zombie"), true, &v), 0);
	EXPECT_EQ(v.n, 0);
	arena_done(&a);
}

static int maps_of(const char *text)
{
	struct arena a = { 0 };
	struct span v = { 0 };
	struct lines l;
	char *copy = arena_strdup(&a, text);

	lines_mem(&l, copy, strlen(copy));
	int r = parse_maps(&a, &l, false, 1, &v);
	lines_close(&l);
	arena_done(&a);
	return r;
}

TEST(maps_lines)
{
	EXPECT_EQ(maps_of("1000-2000 rwxp 0 0:0 0\n"), 0);
	EXPECT_EQ(maps_of("2000-2000 rwxp 0 0:0 0\n"), -EBADMSG);
	EXPECT_EQ(maps_of("3000-2000 rwxp 0 0:0 0\n"), -EBADMSG);
	EXPECT_EQ(maps_of("1000-3000 rwxp 0 0:0 0\n2000-4000 rwxp 0 0:0 0\n"), -EBADMSG);
	EXPECT_EQ(maps_of("1000-2000 rwxq 0 0:0 0\n"), -EBADMSG);
	EXPECT_EQ(maps_of("1000-2000 wrxp 0 0:0 0\n"), -EBADMSG);
	EXPECT_EQ(maps_of("1000-2000 rwxp 0 0:0 -1\n"), -EBADMSG);
	EXPECT_EQ(maps_of("1000-2000 rwxp 0 100000000:0 0\n"), -EBADMSG);
	EXPECT_EQ(maps_of("Size: 4 kB\n"), -EBADMSG);
	EXPECT_EQ(maps_of("\n"), -EBADMSG);
}

TEST(limits)
{
	struct arena a = { 0 };
	struct proc_limit l[PROC_LIMITS];

	ASSERT_EQ(proc_read_limits(&a, tree("awkward"), l), 0);
	for (size_t i = 0; i < PROC_LIMITS; i++) {
		EXPECT_TRUE(l[i].seen);
		EXPECT_EQ(l[i].soft, i % 2 ? UINT64_MAX : i);
	}
	EXPECT_EQ(l[6].hard, UINT64_MAX - 1);
	EXPECT_EQ(proc_read_limits(&a, tree("cut"), l), -EBADMSG);
	EXPECT_EQ(proc_read_limits(&a, tree("garbage"), l), -EBADMSG);
	EXPECT_EQ(proc_read_limits(&a, tree("overflow"), l), -EBADMSG);
	EXPECT_TRUE(l[0].seen);
	EXPECT_EQ(proc_read_limits(&a, tree("zombie"), l), 0);
	EXPECT_FALSE(l[0].seen);

	char more[] = "Limit  Soft\nMax new thing     1   2   bytes \n";
	struct lines mem;
	lines_mem(&mem, more, strlen(more));
	EXPECT_EQ(parse_limits(&mem, l), -EPROTONOSUPPORT);
	arena_done(&a);
}

static int timers_of(const char *text, struct arena *a, struct span *ret)
{
	char copy[1024];
	struct lines l;

	snprintf(copy, sizeof(copy), "%s", text);
	lines_mem(&l, copy, strlen(copy));
	int r = parse_timers(a, &l, ret);
	lines_close(&l);
	return r;
}

#define TIMER(id, signal, notify, clock) "ID: " id "\nsignal: " signal "\nnotify: " notify "\nClockID: " clock "\n"

TEST(timers)
{
	static const char good[] = TIMER("7", "14/00007ffc12345678", "signal/pid.812", "0") TIMER("2147483647",
		"34/ffffffffffffffff", "signal/tid.813", "-6498") TIMER("0", "-1/0000000000000000", "none/pid.0", "-6");
	struct arena a = { 0 };
	struct span s = { 0 };

	ASSERT_EQ(timers_of(good, &a, &s), 0);
	ASSERT_EQ(s.n, 3);
	const struct proc_timer *t = s.at;
	EXPECT_EQ(t[0].id, 7);
	EXPECT_EQ(t[0].signo, 14);
	EXPECT_EQ(t[0].value, 0x7ffc12345678);
	EXPECT_EQ(t[0].notify, SIGEV_SIGNAL);
	EXPECT_EQ(t[0].target, 812);
	EXPECT_EQ(t[0].clock, 0);
	EXPECT_EQ(t[1].id, INT_MAX);
	EXPECT_EQ(t[1].notify, SIGEV_THREAD_ID);
	EXPECT_EQ(t[1].target, 813);
	EXPECT_EQ(t[1].clock, -6498);
	EXPECT_EQ(t[2].notify, SIGEV_NONE);
	EXPECT_EQ(t[2].signo, -1);
	arena_done(&a);
}

TEST(timers_bad)
{
	static const char one[] = TIMER("7", "14/00007ffc12345678", "signal/pid.812", "0");
	static const char *const bad[] = {
		TIMER("-1", "14/0", "signal/pid.1", "0"),
		TIMER("2147483648", "14/0", "signal/pid.1", "0"),
		TIMER("1", "14", "signal/pid.1", "0"),
		TIMER("1", "14/0x1", "signal/pid.1", "0"),
		TIMER("1", "14/0", "signal/pid.", "0"),
		TIMER("1", "14/0", "signal/pid.-1", "0"),
		TIMER("1", "14/0", "signal/pid.1", "x"),
		TIMER("1", "14/0", "signal/pid.1", "0") "more: 1\n",
		"signal: 14/0\n",
	};
	struct arena a = { 0 };
	struct span s = { 0 };
	char text[sizeof(one)];

	EXPECT_EQ(timers_of("", &a, &s), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(timers_of(bad[i], &a, &s), -EBADMSG);
	for (size_t n = 1; n < sizeof(one) - 1; n++) {
		memcpy(text, one, n);
		text[n] = 0;
		int r = timers_of(text, &a, &s); /* a mode of which only a part is there is an unknown one */
		EXPECT_TRUE(r == -EBADMSG || r == -EPROTONOSUPPORT);
	}
	EXPECT_EQ(timers_of(TIMER("1", "14/0", "thread/tid.1", "0"), &a, &s), -EPROTONOSUPPORT);
	EXPECT_EQ(timers_of(TIMER("1", "14/0", "pidfd/pid.1", "0"), &a, &s), -EPROTONOSUPPORT);
	EXPECT_EQ(s.n, 0);
	arena_done(&a);
}

TEST(fds_awkward)
{
	struct arena a = { 0 };
	struct span s;

	ASSERT_EQ(proc_read_fds(&a, tree("awkward"), &s), 0);
	ASSERT_EQ(s.n, 5);
	const struct proc_fd *f = s.at;
	EXPECT_EQ(f[0].pos, 18);
	EXPECT_EQ(f[0].flags, 0100000);
	EXPECT_TRUE(f[0].cloexec);
	EXPECT_STREQ(f[0].link, "/etc/passwd");
	EXPECT_EQ(f[1].pos, UINT64_MAX);
	EXPECT_FALSE(f[1].cloexec);
	EXPECT_FALSE(f[1].has_stat);
	EXPECT_STREQ(f[1].link, "/tmp/x (deleted)");
	EXPECT_EQ(f[2].n, 2);
	EXPECT_EQ(f[3].n, 9);
	EXPECT_EQ(f[3].locks.n, 0);
	ASSERT_EQ(f[3].extra.n, 5);
	EXPECT_STREQ(((char **)f[3].extra.at)[0], "eventfd-count: ffffffffffffffff");
	EXPECT_STREQ(((char **)f[3].extra.at)[3], "pos:\tforged");
	EXPECT_STREQ(((char **)f[3].extra.at)[4], "no newline at the end");
	EXPECT_EQ(f[4].n, 10);
	EXPECT_STREQ(f[4].link, "/dir/a\nb");
	EXPECT_EQ(f[4].ino, 0);
	arena_done(&a);
}

TEST(locks_awkward)
{
	struct arena a = { 0 };
	struct proc_fd f;

	ASSERT_EQ(proc_read_fdinfo(&a, tree("awkward"), 1, &f), 0);
	ASSERT_EQ(f.locks.n, 4);
	const struct proc_lock *k = f.locks.at;
	EXPECT_STREQ(k[0].type, "POSIX");
	EXPECT_STREQ(k[0].kind, "ADVISORY");
	EXPECT_STREQ(k[0].mode, "WRITE");
	EXPECT_EQ(k[0].pid, 812);
	EXPECT_EQ(k[0].major, 8);
	EXPECT_EQ(k[0].ino, 1234);
	EXPECT_EQ(k[0].end, UINT64_MAX);
	EXPECT_STREQ(k[1].type, "OFDLCK");
	EXPECT_EQ(k[1].pid, -1);
	EXPECT_EQ(k[1].minor, 0xfffff);
	EXPECT_EQ(k[1].ino, UINT64_MAX);
	EXPECT_EQ(k[1].start, 5);
	EXPECT_EQ(k[1].end, INT64_MAX - 1);
	EXPECT_STREQ(k[2].type, "FLOCK");
	EXPECT_STREQ(k[3].kind, "BREAKING");
	EXPECT_STREQ(k[3].mode, "UNLCK");
	EXPECT_EQ(k[3].ino, 0);
	arena_done(&a);
}

TEST(fdinfo_bad)
{
	struct arena a = { 0 };
	struct proc_fd f = { .n = 5 };
	struct span s;

	for (int n = 0; n < 3; n++)
		EXPECT_EQ(proc_read_fdinfo(&a, tree("cut"), n, &f), -EBADMSG);
	EXPECT_EQ(proc_read_fdinfo(&a, tree("cut"), 3, &f), -ENOENT);
	EXPECT_EQ(proc_read_fds(&a, tree("garbage"), &s), -EBADMSG);
	EXPECT_EQ(proc_read_fds(&a, tree("overflow"), &s), -EBADMSG);
	EXPECT_EQ(f.n, 5);
	arena_done(&a);
}

TEST(children)
{
	struct arena a = { 0 };
	struct span s;

	ASSERT_EQ(proc_read_tids(&a, tree("awkward"), &s), 0);
	ASSERT_EQ(s.n, 3);
	EXPECT_EQ(((pid_t *)s.at)[0], 812);
	EXPECT_EQ(((pid_t *)s.at)[1], 1000);
	EXPECT_EQ(((pid_t *)s.at)[2], 99999);
	ASSERT_EQ(proc_read_children(&a, tree("awkward"), &s), 0);
	ASSERT_EQ(s.n, 3);
	EXPECT_EQ(((pid_t *)s.at)[0], 900);
	EXPECT_EQ(((pid_t *)s.at)[2], 850);
	EXPECT_EQ(proc_read_children(&a, tree("cut"), &s), -EBADMSG);
	EXPECT_EQ(proc_read_children(&a, tree("garbage"), &s), -EBADMSG);
	EXPECT_EQ(proc_read_children(&a, tree("overflow"), &s), -EBADMSG);
	EXPECT_EQ(s.n, 3);
	arena_done(&a);
}

TEST(system_awkward)
{
	struct arena a = { 0 };
	const char *s;
	uint64_t ino;

	ASSERT_EQ(proc_cgroup(&a, tree("awkward"), &s), 0);
	EXPECT_STREQ(s, "/user.slice/a::b (deleted)");
	EXPECT_EQ(proc_cgroup(&a, tree("cut"), &s), -EBADMSG);
	EXPECT_EQ(proc_cgroup(&a, tree("zombie"), &s), -ENOENT);
	ASSERT_EQ(proc_cgroup2_mount(&a, tree("awkward"), &s), 0);
	EXPECT_STREQ(s, "/sys/fs/a b\t\n\\040"); /* "\134040" is unescaped once */
	EXPECT_EQ(proc_cgroup2_mount(&a, tree("cut"), &s), -EBADMSG);
	EXPECT_EQ(proc_cgroup2_mount(&a, tree("garbage"), &s), -EBADMSG);
	ASSERT_EQ(proc_mount_dev(tree("awkward/self"), 33, &ino), 0);
	EXPECT_EQ(ino, makedev(0, 41));
	EXPECT_EQ(proc_mount_dev(tree("awkward/self"), 3, &ino), -ENOENT);
	EXPECT_EQ(proc_mount_dev(tree("cut/self"), 999, &ino), -EBADMSG);
	EXPECT_EQ(proc_mount_dev(tree("garbage/self"), 999, &ino), -EBADMSG);
	EXPECT_EQ(proc_mount_dev(tree("zombie"), 1, &ino), -ENOENT);
	ASSERT_EQ(proc_read_ns(tree("awkward"), "pid", &ino), 0);
	EXPECT_EQ(ino, 4026531836);
	ASSERT_EQ(proc_read_ns(tree("awkward"), "time_for_children", &ino), 0);
	EXPECT_EQ(ino, UINT64_MAX);
	EXPECT_EQ(proc_read_ns(tree("awkward"), "odd", &ino), -EBADMSG);
	EXPECT_EQ(proc_read_ns(tree("awkward"), "none", &ino), -ENOENT);
	EXPECT_EQ(proc_read_ns(tree("garbage"), "pid", &ino), -EBADMSG);
	EXPECT_EQ(proc_read_ns(tree("overflow"), "pid", &ino), -EBADMSG);
	arena_done(&a);
}

enum parser { STAT, STATUS, MAPS, SMAPS, FDINFO, LIMITS, CHILDREN, MOUNTINFO };

/* a parser on exactly @len bytes, in memory of their own so that a sanitizer sees a step over the end */
static int parse(enum parser which, const char *text, size_t len)
{
	struct arena a = { 0 };
	struct proc_limit limits[PROC_LIMITS];
	struct proc_status status;
	struct proc_stat st;
	struct proc_fd fd = { 0 };
	struct span s = { 0 };
	const char *found;
	struct lines l;
	int r = 0;

	char *copy = memcpy(calloc(1, len + 1), text, len);
	lines_mem(&l, copy, len);
	switch (which) {
	case STAT:
		r = parse_stat(copy, len, &st);
		break;
	case STATUS:
		r = parse_status(&a, &l, &status);
		break;
	case MAPS:
	case SMAPS:
		r = parse_maps(&a, &l, which == SMAPS, 0, &s);
		settle_names(&a, -EBADF, &s);
		break;
	case FDINFO:
		r = parse_fdinfo(&a, &l, &fd);
		break;
	case LIMITS:
		r = parse_limits(&l, limits);
		break;
	case CHILDREN:
		r = parse_children(&a, &l, &s);
		break;
	case MOUNTINFO:
		r = parse_cgroup2_mount(&a, &l, &found);
		break;
	}
	lines_close(&l);
	free(copy);
	arena_done(&a);
	return r;
}

static void cut_everywhere(enum parser which, const char *path, bool lines_stand_alone)
{
	struct arena a = { 0 };
	char *text;
	size_t len, wrong = 0;

	ASSERT_EQ(read_text(&a, tree("awkward"), path, 1 << 20, &text, &len), 0);
	ASSERT_GT(len, 0);
	EXPECT_EQ(parse(which, text, len), 0);
	for (size_t n = 1; n < len; n++) {
		bool whole = lines_stand_alone && text[n - 1] == '\n';
		int r = parse(which, text, n);

		if (r != -EBADMSG && !(whole && r == 0)) {
			TH_LOG("%s cut at %zu gives %d", path, n, r);
			wrong++;
		}
	}
	/* and a NUL at each place */
	for (size_t n = 0; n < len; n++) {
		char was = text[n];

		text[n] = '\0';
		if (parse(which, text, len) != -EBADMSG) {
			TH_LOG("%s with a NUL at %zu passes", path, n);
			wrong++;
		}
		text[n] = was;
	}
	EXPECT_EQ(wrong, 0);
	arena_done(&a);
}

TEST(cut_stat)
{
	cut_everywhere(STAT, "stat", false);
}

TEST(cut_maps)
{
	cut_everywhere(MAPS, "maps", true);
}

TEST(cut_smaps)
{
	struct arena a = { 0 };
	char *text;

	/* a mapping is whole when its last line, VmFlags, is */
	ASSERT_EQ(read_text(&a, tree("awkward"), "smaps", 1 << 20, &text, NULL), 0);
	for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1) {
		bool last = strncmp(p, "VmFlags:", 8) == 0;
		EXPECT_EQ(parse(SMAPS, text, (size_t)(end + 1 - text)), last ? 0 : -EBADMSG);
	}
	arena_done(&a);
	cut_everywhere(SMAPS, "smaps", true);
}

TEST(cut_limits)
{
	cut_everywhere(LIMITS, "limits", false);
}

TEST(cut_fdinfo)
{
	cut_everywhere(FDINFO, "fdinfo/1", true);
}

TEST(cut_children)
{
	EXPECT_EQ(parse(CHILDREN, "", 0), 0);
	EXPECT_EQ(parse(CHILDREN, "7 8 ", 4), 0);
	EXPECT_EQ(parse(CHILDREN, "7 8 ", 3), -EBADMSG);
	EXPECT_EQ(parse(CHILDREN, "7 -8 ", 5), -EBADMSG);
}

TEST(cut_mountinfo)
{
	struct arena a = { 0 };
	char *text;
	size_t len;

	/* what comes behind the mount that is looked for is not read */
	ASSERT_EQ(read_text(&a, tree("awkward"), "self/mountinfo", 1 << 20, &text, &len), 0);
	ASSERT_EQ(parse(MOUNTINFO, text, len), 0);
	for (size_t n = 0; n < len; n++) {
		int r = parse(MOUNTINFO, text, n);
		EXPECT_TRUE(r == -EBADMSG || text[n - !!n] == '\n' || n == 0);
	}
	arena_done(&a);
}

/* lines longer than the first buffer, and a text without end */
TEST(long_lines)
{
	struct arena a = { 0 };
	char path[] = "/tmp/proc_parse.XXXXXX";
	struct span s = { 0 };
	struct lines l;

	ASSERT_TRUE(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_GE(dir, 0);
	FILE *f = fdopen(openat(dir, "children", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "w");
	for (int i = 1; i <= 200000; i++)
		fprintf(f, "%d ", i);
	ASSERT_EQ(fclose(f), 0);

	ASSERT_EQ(lines_open(&l, dir, "children"), 0);
	EXPECT_EQ(parse_children(&a, &l, &s), 0);
	lines_close(&l);
	ASSERT_EQ(s.n, 200000);
	for (int i = 0; i < 200000; i++)
		ASSERT_EQ(((pid_t *)s.at)[i], i + 1);

	struct line line;
	ASSERT_EQ(lines_open(&l, AT_FDCWD, "/dev/zero"), 0);
	EXPECT_EQ(lines_next(&l, &line), -EBADMSG);
	lines_close(&l);
	unlinkat(dir, "children", 0);
	rmdir(path);
	arena_done(&a);
}

/* a recorded pagemap: an ordinary file, on which only the fallback works */
TEST(pagemap_recorded)
{
	const uint64_t present = 1ull << 63, swapped = 1ull << 62, shared = 1ull << 61, guard = 1ull << 58;
	const uint64_t entries[] = { 0, present, present, swapped, 0, present | shared, swapped | guard, present };
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct arena a = { 0 };
	struct span s = { 0 };

	FILE *f = tmpfile();
	ASSERT_TRUE(f);
	ASSERT_EQ(write_all(fileno(f), entries, sizeof(entries)), 0);
	ASSERT_EQ(proc_scan_pages(&a, fileno(f), 0, 8 * page, false, &s), 0);
	ASSERT_EQ(s.n, 3);
	const struct proc_pages *p = s.at;
	EXPECT_EQ(p[0].start, page);
	EXPECT_EQ(p[0].end, 3 * page);
	EXPECT_EQ(p[0].what, PAGES_PRESENT);
	EXPECT_EQ(p[1].end, 4 * page);
	EXPECT_EQ(p[1].what, PAGES_SWAPPED);
	EXPECT_EQ(p[2].start, 7 * page);

	s.n = 0;
	ASSERT_EQ(proc_scan_pages(&a, fileno(f), 5 * page, 8 * page, true, &s), 0);
	ASSERT_EQ(s.n, 2);
	EXPECT_EQ(((struct proc_pages *)s.at)[0].what, PAGES_PRESENT | PAGES_FILE);

	EXPECT_EQ(proc_scan_pages(&a, fileno(f), 0, 9 * page, false, &s), -ESRCH);
	EXPECT_EQ(proc_scan_pages(&a, fileno(f), 1, page, false, &s), -EINVAL);
	EXPECT_EQ(proc_scan_pages(&a, fileno(f), page, 0, false, &s), -EINVAL);
	EXPECT_EQ(proc_scan_guards(&a, fileno(f), 0, page, &s), -EOPNOTSUPP);
	EXPECT_EQ(s.n, 2);
	fclose(f);
	arena_done(&a);
}

TEST_MAIN
