/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A test harness in the dialect of kselftest_harness.h, speaking TAP: TEST(name) { ASSERT_EQ(1 + 1, 2); } TEST_MAIN
 *
 * Each test runs in a process of its own. A failing ASSERT ends the process that it is in, a failing EXPECT lets it go
 * on. Failures are counted in memory shared with the runner: one in a child of the test fails the test, whatever becomes
 * of the status of that child. A test is ok only when its own process came to the end of the body. What it leaves
 * running is killed: the runner is its reaper. Nothing jumps. One source file a program; its arguments pick tests.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct test {
	const char *name;
	void (*body)(void);
	int timeout; /* in seconds */
	struct test *next;
} * test_first, **test_last = &test_first;

/* What a test and its children tell the runner. */
static struct test_page {
	int failures, ended;
	char skip[256];
	size_t used;
	char said[32768];
} * test_page;

enum test_voice { TEST_LOG, TEST_EXPECT, TEST_ASSERT };

__attribute__((format(printf, 4, 5))) static inline void test_say(
	enum test_voice v, const char *file, int line, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	size_t len = (size_t)snprintf(text, sizeof(text) / 2, "# %.400s:%d: ", file, line);
	va_start(ap, fmt);
	vsnprintf(text + len, sizeof(text) - len - 1, fmt, ap);
	va_end(ap);
	for (char *p = text; (p = strpbrk(p, "\r\n"));)
		*p = ' ';
	len = strlen(strcat(text, "\n"));
	size_t at = __atomic_fetch_add(&test_page->used, len, __ATOMIC_SEQ_CST);
	if (at < sizeof(test_page->said) && sizeof(test_page->said) - at >= len)
		memcpy(test_page->said + at, text, len);
	__atomic_fetch_add(&test_page->failures, v != TEST_LOG, __ATOMIC_SEQ_CST);
	if (v == TEST_ASSERT)
		_exit(1);
}

/** TH_LOG() - say something about the running test */
#define TH_LOG(...) test_say(TEST_LOG, __FILE__, __LINE__, __VA_ARGS__)

/** SKIP() - end the test: it cannot run here, and why */
#define SKIP(why) (snprintf(test_page->skip, sizeof(test_page->skip), "%s", (why)), _exit(4))

#define TEST_CHECK_(voice, ok, ...) ((ok) ? (void)0 : test_say(voice, __FILE__, __LINE__, "wrong: " __VA_ARGS__))
/* Integers of any type and sign, and pointers, compare by value. */
#define TEST_NUM_(x) ((__int128)__builtin_choose_expr(__builtin_classify_type(x) == 5, (uintptr_t)(x), (x)))
#define TEST_PUT_(v) (v) < 0 ? "-" : "", (unsigned long long)((v) < 0 ? -(v) : (v))
#define TEST_NUMBER_(voice, a, op, b)                                                                                \
	do {                                                                                                         \
		__auto_type ia_ = ((void)0, (a));                                                                    \
		__auto_type ib_ = ((void)0, (b));                                                                    \
		_Static_assert(__builtin_classify_type(ia_) < 8 && __builtin_classify_type(ib_) < 8, "a float");     \
		__int128 a_ = TEST_NUM_(ia_), b_ = TEST_NUM_(ib_);                                                   \
		TEST_CHECK_(voice, a_ op b_, "%s: %s%llu, %s%llu", #a " " #op " " #b, TEST_PUT_(a_), TEST_PUT_(b_)); \
	} while (0)
#define TEST_STRING_(voice, a, op, b)                                                                                \
	do {                                                                                                         \
		const char *a_ = (a), *b_ = (b);                                                                     \
		TEST_CHECK_(voice, (a_ && b_ ? strcmp(a_, b_) : a_ != b_) op 0, "%s: '%s', '%s'", #a " " #op " " #b, \
			a_ ? a_ : "(null)", b_ ? b_ : "(null)");                                                     \
	} while (0)
#define TEST_BYTES_(voice, a, b, n) TEST_CHECK_(voice, memcmp(a, b, n) == 0, "%s has the bytes of %s", #a, #b)

#define ASSERT_EQ(a, b)	      TEST_NUMBER_(TEST_ASSERT, a, ==, b)
#define ASSERT_NE(a, b)	      TEST_NUMBER_(TEST_ASSERT, a, !=, b)
#define ASSERT_LT(a, b)	      TEST_NUMBER_(TEST_ASSERT, a, <, b)
#define ASSERT_LE(a, b)	      TEST_NUMBER_(TEST_ASSERT, a, <=, b)
#define ASSERT_GT(a, b)	      TEST_NUMBER_(TEST_ASSERT, a, >, b)
#define ASSERT_GE(a, b)	      TEST_NUMBER_(TEST_ASSERT, a, >=, b)
#define ASSERT_TRUE(a)	      TEST_NUMBER_(TEST_ASSERT, !!(a), ==, true)
#define ASSERT_FALSE(a)	      TEST_NUMBER_(TEST_ASSERT, !!(a), ==, false)
#define ASSERT_STREQ(a, b)    TEST_STRING_(TEST_ASSERT, a, ==, b)
#define ASSERT_STRNE(a, b)    TEST_STRING_(TEST_ASSERT, a, !=, b)
#define ASSERT_MEMEQ(a, b, n) TEST_BYTES_(TEST_ASSERT, a, b, n)
#define EXPECT_EQ(a, b)	      TEST_NUMBER_(TEST_EXPECT, a, ==, b)
#define EXPECT_NE(a, b)	      TEST_NUMBER_(TEST_EXPECT, a, !=, b)
#define EXPECT_LT(a, b)	      TEST_NUMBER_(TEST_EXPECT, a, <, b)
#define EXPECT_LE(a, b)	      TEST_NUMBER_(TEST_EXPECT, a, <=, b)
#define EXPECT_GT(a, b)	      TEST_NUMBER_(TEST_EXPECT, a, >, b)
#define EXPECT_GE(a, b)	      TEST_NUMBER_(TEST_EXPECT, a, >=, b)
#define EXPECT_TRUE(a)	      TEST_NUMBER_(TEST_EXPECT, !!(a), ==, true)
#define EXPECT_FALSE(a)	      TEST_NUMBER_(TEST_EXPECT, !!(a), ==, false)
#define EXPECT_STREQ(a, b)    TEST_STRING_(TEST_EXPECT, a, ==, b)
#define EXPECT_STRNE(a, b)    TEST_STRING_(TEST_EXPECT, a, !=, b)
#define EXPECT_MEMEQ(a, b, n) TEST_BYTES_(TEST_EXPECT, a, b, n)

#define TEST(name) TEST_TIMEOUT(name, 30)
#define TEST_TIMEOUT(id, seconds)                                                                \
	static void test_##id(void);                                                             \
	__attribute__((constructor)) static void test_add_##id(void)                             \
	{                                                                                        \
		static struct test t = { .name = #id, .body = test_##id, .timeout = (seconds) }; \
		test_last = &(*test_last = &t)->next;                                            \
	}                                                                                        \
	static void test_##id(void)

static inline void test_child(struct test *t)
{
	dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout is the runner's: TAP */
	pid_t self = getpid();
	t->body();
	TEST_CHECK_(TEST_ASSERT, getpid() == self, "a child ran out of the body of the test");
	test_page->ended = 1;
	exit(0);
}

/* Ends what the test left: an orphan becomes a child of the runner. False when some do not die. */
static inline bool test_sweep(void)
{
	for (int i = 0, child; i < 5000; i++, usleep(1000)) {
		FILE *f = fopen("/proc/thread-self/children", "re");
		while (f && fscanf(f, "%d", &child) == 1)
			kill(child, SIGKILL);
		if (f)
			fclose(f);
		while ((child = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
			;
		if (child < 0)
			return true;
	}
	puts("# some children cannot be killed");
	return false;
}

/* The wait status of pid, with orphans reaped on the way; -1 when the time is over. */
static inline int test_wait(pid_t pid, int seconds)
{
	for (time_t end = time(NULL) + seconds; time(NULL) <= end; usleep(1000)) {
		int status;
		for (pid_t p; (p = waitpid(-1, &status, WNOHANG | __WALL)) > 0;)
			if (p == pid)
				return status;
	}
	return -1;
}

static inline bool test_run(struct test *t, int n)
{
	memset(test_page, 0, sizeof(*test_page));
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		test_child(t);
	int status = pid < 0 ? -1 : test_wait(pid, t->timeout);
	bool good = test_sweep() && !test_page->failures;
	bool skipped = good && status == 4 << 8 && test_page->skip[0];
	bool ok = skipped || (good && status == 0 && test_page->ended);
	printf("%.*s", (int)sizeof(test_page->said), test_page->said);
	if (!ok)
		printf("# wait status %#x%s\n", (unsigned int)status, status == -1 ? ": out of time" : "");
	printf("%s %d - %s%s%s\n", ok ? "ok" : "not ok", n, t->name, skipped ? " # SKIP " : "",
		skipped ? test_page->skip : "");
	return ok;
}

static inline int test_main(char **picks)
{
	int n = 0, failed = 0;
	signal(SIGCHLD, SIG_DFL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	test_page = mmap(NULL, sizeof(*test_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	puts("TAP version 13");
	for (struct test *t = test_first; t && test_page != MAP_FAILED; t = t->next) {
		bool picked = !*picks;
		for (char **p = picks; *p; p++)
			picked |= strcmp(*p, t->name) == 0;
		failed += picked && !test_run(t, ++n);
	}
	printf("1..%d\n", n);
	return failed || n == 0;
}

#define TEST_MAIN                                       \
	int main(int argc, char **argv)                 \
	{                                               \
		return argc < 1 || test_main(argv + 1); \
	}
