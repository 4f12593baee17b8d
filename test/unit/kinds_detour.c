/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another vdso in the place of this one: copies of ours, altered, whose functions must get to ours or make system calls.
 */
#include <elf.h>
#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "kinds/detour.h"
#include "lib/test.h"

#define LEN 8192

static const unsigned char *own; /* ours, and where it is */
static size_t own_len;
static unsigned char *old; /* a copy */

static void begin(void)
{
	Elf64_Ehdr eh;

	own = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	ASSERT_TRUE(own != NULL);
	memcpy(&eh, own, sizeof(eh));
	own_len = eh.e_shoff;
	ASSERT_TRUE(own_len > sizeof(eh) && own_len <= LEN);
	old = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(old != MAP_FAILED);
	memcpy(old, own, own_len);
}

/* all names in the copy at @so that hold @name get other letters */
static void rename_in(unsigned char *so, const char *name)
{
	for (size_t i = 0; i + strlen(name) <= own_len; i++)
		if (memcmp(so + i, name, strlen(name)) == 0)
			memset(so + i, 'x', strlen(name));
}

static Elf64_Sym *symbols(unsigned char *so, size_t *ret_n, const char **ret_names)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)so;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(so + eh->e_phoff);
	uint64_t sym = 0, str = 0;

	for (unsigned int i = 0; i < eh->e_phnum; i++)
		for (const Elf64_Dyn *d = (const Elf64_Dyn *)(so + ph[i].p_offset);
			ph[i].p_type == PT_DYNAMIC && d->d_tag != DT_NULL; d++) {
			sym = d->d_tag == DT_SYMTAB ? d->d_un.d_ptr : sym;
			str = d->d_tag == DT_STRTAB ? d->d_un.d_ptr : str;
		}
	*ret_n = (str - sym) / sizeof(Elf64_Sym);
	*ret_names = (const char *)so + str;
	return (Elf64_Sym *)(so + sym);
}

static void *function(unsigned char *so, const char *name)
{
	const char *names;
	size_t n;
	Elf64_Sym *s = symbols(so, &n, &names);

	for (size_t i = 0; i < n; i++)
		if (strcmp(names + s[i].st_name, name) == 0)
			return so + s[i].st_value;
	return NULL;
}

static void run_old(void)
{
	ASSERT_EQ(mprotect(old, LEN, PROT_READ | PROT_EXEC), 0);
}

typedef int get_time(clockid_t, struct timespec *);

static int64_t ns(struct timespec ts)
{
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void expect_time(void)
{
	get_time *f = (get_time *)function(old, "__vdso_clock_gettime");
	struct timespec a, b, c;

	ASSERT_TRUE(f != NULL);
	clock_gettime(CLOCK_MONOTONIC, &a);
	EXPECT_EQ(f(CLOCK_MONOTONIC, &b), 0);
	clock_gettime(CLOCK_MONOTONIC, &c);
	EXPECT_TRUE(ns(a) <= ns(b) && ns(b) <= ns(c));
	EXPECT_EQ(f(99, &b), -EINVAL);
}

static void expect_others(void)
{
	int (*res)(clockid_t, struct timespec *) = function(old, "__vdso_clock_getres");
	int (*day)(struct timeval *, void *) = function(old, "__vdso_gettimeofday");
	time_t (*seconds)(time_t *) = function(old, "__vdso_time");
	long (*cpu)(unsigned int *, unsigned int *, void *) = function(old, "__vdso_getcpu");
	struct timespec ts = { 0 };
	struct timeval tv = { 0 };
	unsigned int n = ~0u;

	ASSERT_TRUE(day && seconds && cpu);
	time_t before = seconds(NULL);
	EXPECT_EQ(day(&tv, NULL), 0);
	EXPECT_TRUE(tv.tv_sec >= before && tv.tv_sec <= seconds(NULL) + 1); /* which counts by ticks: a little late */
	EXPECT_EQ(cpu(&n, NULL, NULL), 0);
	EXPECT_TRUE(n < 4096);
	if (res) {
		EXPECT_EQ(res(CLOCK_MONOTONIC, &ts), 0);
		EXPECT_TRUE(ns(ts) > 0);
	}
}

/* every function is there, at another place */
TEST(jumps)
{
	begin();
	ASSERT_EQ(detour(old, own_len, own, own_len, (uint64_t)own), 0);
	const unsigned char *f = function(old, "__vdso_clock_gettime");
	const uint64_t there = (uint64_t)own + (uint64_t)(f - old);
	ASSERT_TRUE(f != NULL);
	EXPECT_EQ(memcmp(f, "\xff\x25\0\0\0\0", 6), 0);
	EXPECT_EQ(memcmp(f + 6, &there, 8), 0);
	EXPECT_EQ(((Elf64_Ehdr *)old)->e_shoff, 0);
	run_old();
	expect_time();
	expect_others();
}

/* it is made for one process after the other, of what lies wherever */
TEST(jumps_again)
{
	unsigned char first[LEN];

	begin();
	ASSERT_EQ(detour(old, own_len, own, own_len, (uint64_t)own), 0);
	memcpy(first, old, own_len);
	ASSERT_EQ(detour(old, own_len, own, own_len, 0x1000), 0);
	EXPECT_NE(memcmp(first, old, own_len), 0);
	ASSERT_EQ(detour(old, own_len, own, own_len, (uint64_t)own), 0);
	EXPECT_EQ(memcmp(first, old, own_len), 0);
}

/* the new one has none of them */
TEST(system_calls)
{
	unsigned char new[LEN];

	begin();
	memcpy(new, own, own_len);
	rename_in(new, "clock_get");
	rename_in(new, "gettimeofday");
	rename_in(new, "time");
	rename_in(new, "getcpu");
	ASSERT_EQ(detour(old, own_len, new, own_len, 0), 0); /* whoever jumps there ends */
	run_old();
	expect_time();
	expect_others();
}

/* nobody knows what it was to do */
TEST(unknown)
{
	begin();
	long (*f)(void *, void *, void *) = function(old, "__vdso_getcpu");
	ASSERT_TRUE(f != NULL);
	rename_in(old, "getcpu");
	ASSERT_EQ(detour(old, own_len, own, own_len, (uint64_t)own), 0);
	run_old();
	EXPECT_EQ(f(NULL, NULL, NULL), -ENOSYS);
	expect_time();
}

/* the state of another version is not touched, and nobody is told how large one must be */
TEST(getrandom)
{
	unsigned char state[256], some[64] = { 0 }, zeros[64] = { 0 };

	begin();
	ssize_t (*f)(void *, size_t, unsigned int, void *, size_t) = function(old, "__vdso_getrandom");
	if (!f)
		SKIP("the vdso of this kernel has no getrandom");
	ASSERT_EQ(detour(old, own_len, own, own_len, (uint64_t)own), 0);
	run_old();
	memset(state, 0xaa, sizeof(state));
	EXPECT_EQ(f(some, sizeof(some), 0, state, sizeof(state)), sizeof(some));
	EXPECT_NE(memcmp(some, zeros, sizeof(some)), 0);
	for (size_t i = 0; i < sizeof(state); i++)
		EXPECT_EQ(state[i], 0xaa);
	EXPECT_EQ(f(NULL, 0, 0, state, ~0ul), -ENOSYS);
}

TEST(small)
{
	const char *names;
	size_t n;

	begin();
	Elf64_Sym *s = symbols(old, &n, &names);
	for (size_t i = 0; i < n; i++)
		s[i].st_size = s[i].st_size ? 13 : 0;
	EXPECT_EQ(detour(old, own_len, own, own_len, (uint64_t)own), -ENOSPC);
}

/* whoever writes images can write this */
TEST(hostile)
{
	begin();
	for (size_t len = 0; len < own_len; len++) {
		memcpy(old, own, own_len);
		unsigned char *exact = malloc(len + 1); /* what is behind it is watched by the sanitizer */
		memcpy(exact, own, len);
		int r = detour(exact, len, own, own_len, 0);
		EXPECT_TRUE(r == 0 || r == -EBADMSG);
		free(exact);
	}
	srand(1);
	unsigned char *exact = malloc(own_len);
	for (int turn = 0; turn < 50000; turn++) {
		memcpy(exact, own, own_len);
		for (int i = rand() % 4; i >= 0; i--)
			exact[(size_t)rand() % 0x580] = (unsigned char)rand();
		int r = detour(exact, own_len, own, own_len, 0);
		EXPECT_TRUE(r == 0 || r == -EBADMSG || r == -ENOSPC);
	}
	free(exact);
}

TEST_MAIN
