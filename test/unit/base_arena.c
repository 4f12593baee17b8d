/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/resource.h>

#include "base/arena.h"
#include "base/op.h"
#include "lib/test.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#endif

TEST(memory_is_zeroed_and_aligned)
{
	struct arena a;

	arena_init(&a);
	for (size_t size = 0; size < 9000; size += 7) {
		unsigned char *p = arena_alloc(&a, size);
		ASSERT_NE(p, NULL);
		ASSERT_EQ((uintptr_t)p % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			ASSERT_EQ(p[i], 0);
		memset(p, 0xff, size);
	}
	arena_done(&a);
	ASSERT_EQ(a.last, NULL);
	arena_done(&a);
}

static size_t pages_mapped(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	size_t n = 0;

	EXPECT_EQ(f && fscanf(f, "%zu", &n) == 1, true);
	if (f)
		fclose(f);
	return n;
}

TEST(much_memory_is_zeroed_and_given_back)
{
	const size_t before = pages_mapped(), sizes[] = { 3000, 5u << 20, 15000, 2u << 20, 100000 };
	struct arena a;

	arena_init(&a);
	for (size_t n = 0; n < 200; n++) {
		const size_t size = sizes[n % 5] + n;
		unsigned char *p = arena_alloc(&a, size);

		for (size_t i = 0; i < size; i += 512)
			ASSERT_EQ(p[i], 0);
		ASSERT_EQ(p[size - 1], 0);
		memset(p, 0xff, size);
	}
	ASSERT_EQ(pages_mapped() > before + 250u * 256, true);
	arena_done(&a);
#ifndef ASAN
	ASSERT_EQ(pages_mapped() < before + 2 * 256, true);
#endif
}

TEST(allocations_do_not_overlap)
{
	unsigned char *p[200];
	struct arena a;

	arena_init(&a);
	for (size_t i = 0; i < 200; i++) {
		p[i] = arena_alloc(&a, 100 + i * 331);
		memset(p[i], (int)i, 100 + i * 331);
	}
	for (size_t i = 0; i < 200; i++)
		for (size_t k = 0; k < 100 + i * 331; k++)
			ASSERT_EQ(p[i][k], i);
	arena_done(&a);
}

TEST(what_is_joined_lives_on)
{
	struct arena a, b, none;

	arena_init(&a);
	arena_init(&b);
	arena_init(&none);
	char *first = arena_strdup(&b, "first");
	arena_join(&a, &b); /* one that has nothing takes all */
	ASSERT_EQ(b.last, NULL);
	char *mine = arena_strdup(&a, "mine"), *large = memset(arena_alloc(&b, 1 << 20), 7, 1 << 20);
	for (size_t i = 0; i < 3000; i++)
		memset(arena_alloc(&b, 100), 7, 100);
	arena_join(&a, &b);
	arena_join(&a, &none);
	ASSERT_EQ(b.last, NULL);
	memset(arena_alloc(&b, 100), 1, 100);
	arena_done(&b);
	memset(arena_alloc(&a, 100), 1, 100);
	EXPECT_STREQ(first, "first");
	EXPECT_STREQ(mine, "mine");
	EXPECT_EQ(large[0], 7);
	EXPECT_EQ(large[(1 << 20) - 1], 7);
	arena_done(&a);
	ASSERT_EQ(a.last, NULL);
}

TEST(grow_keeps_what_was_there)
{
	uint32_t first[3] = { 1, 2, 3 };
	struct arena a;

	arena_init(&a);
	uint32_t *more = arena_grow(&a, first, 3, 5, sizeof(*more));
	ASSERT_MEMEQ(more, first, sizeof(first));
	ASSERT_EQ(more[3] + more[4], 0);
	uint32_t *less = arena_grow(&a, more, 5, 2, sizeof(*less));
	ASSERT_MEMEQ(less, first, 8);
	ASSERT_NE(arena_grow(&a, NULL, 0, 4, 8), NULL);
	ASSERT_NE(arena_dup(&a, NULL, 0), NULL);
	arena_done(&a);
}

TEST(strings)
{
	char unterminated[3] = { 'a', 'b', 'c' }, big[5000];
	struct arena a;

	arena_init(&a);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	ASSERT_STREQ(arena_strdup(&a, ""), "");
	ASSERT_STREQ(arena_strdup(&a, big), big);
	ASSERT_STREQ(arena_strndup(&a, unterminated, 3), "abc");
	ASSERT_STREQ(arena_strndup(&a, "ab", 100), "ab");
	ASSERT_STREQ(arena_printf(&a, "%d %s", -4, "x"), "-4 x");
	ASSERT_EQ(strlen(arena_printf(&a, "%s%s", big, big)), 2 * strlen(big));
	arena_done(&a);
}

TEST(spans_grow)
{
	struct span s = { 0 };
	struct arena a;

	arena_init(&a);
	for (uint64_t i = 0; i < 5000; i++) {
		uint64_t *e = span_push(&a, &s, sizeof(*e));
		ASSERT_EQ(*e, 0);
		*e = i;
	}
	ASSERT_EQ(s.n, 5000);
	for (uint64_t i = 0; i < s.n; i++)
		ASSERT_EQ(((uint64_t *)s.at)[i], i);
	arena_done(&a);
}

TEST(a_span_filled_by_hand_may_be_pushed_to)
{
	struct arena a;

	arena_init(&a);
	for (size_t n = 0; n < 40; n++) {
		struct span s = { .at = arena_array(&a, n, 1), .n = n };
		memset(s.at, 'x', n);
		ASSERT_EQ(*(char *)span_push(&a, &s, 1), 0);
		ASSERT_EQ(*(char *)span_push(&a, &s, 1), 0);
		ASSERT_EQ(s.n, n + 2);
		for (size_t i = 0; i < n; i++)
			ASSERT_EQ(((char *)s.at)[i], 'x');
	}
	arena_done(&a);
}

TEST(a_span_cut_short_gives_zeroed_elements)
{
	struct span s = { 0 };
	struct arena a;

	arena_init(&a);
	*(int *)span_push(&a, &s, sizeof(int)) = 7;
	s.n = 0;
	ASSERT_EQ(*(int *)span_push(&a, &s, sizeof(int)), 0);
	arena_done(&a);
}

/* Runs want() in a child: it must end with one line and status 125. */
static void must_run_out(void (*want)(struct arena *a))
{
	char line[64] = "";
	int p[2], status;

	ASSERT_EQ(pipe(p), 0);
	pid_t pid = fork();
	ASSERT_GE(pid, 0);
	if (pid == 0) {
		struct arena a;

		arena_init(&a);
		dup2(p[1], STDERR_FILENO);
		want(&a);
		_exit(0);
	}
	close(p[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	ASSERT_EQ(WEXITSTATUS(status), OUTCOME_ENVIRONMENT);
	ASSERT_GT(read(p[0], line, sizeof(line) - 1), 0);
	ASSERT_STREQ(line, "stasis: out of memory\n");
}

static void overflow(struct arena *a)
{
	volatile size_t n = SIZE_MAX / 8 + 2;

	arena_array(a, n, 8);
}

static void overflow_with_header(struct arena *a)
{
	volatile size_t n = SIZE_MAX;

	arena_alloc(a, n);
}

static void span_overflow(struct arena *a)
{
	struct span s = { .at = a, .n = SIZE_MAX / 2 + 1 };

	span_push(a, &s, 1);
}

TEST(a_span_stays_where_room_was_made)
{
	struct arena a;
	struct span s = { 0 };

	arena_init(&a);
	*(int *)span_push(&a, &s, sizeof(int)) = 7;
	span_reserve(&a, &s, 100, sizeof(int));
	EXPECT_EQ(*(int *)s.at, 7);
	EXPECT_EQ(s.n, 1);
	const void *at = s.at;
	for (int i = 0; i < 100; i++)
		EXPECT_EQ(*(int *)span_push(&a, &s, sizeof(int)), 0);
	EXPECT_EQ(s.at, at);
	span_reserve(&a, &s, 0, sizeof(int));
	EXPECT_EQ(s.at, at);
	span_push(&a, &s, sizeof(int));
	EXPECT_EQ(s.n, 102);
	EXPECT_EQ(*(int *)s.at, 7);
	arena_done(&a);
}

TEST(an_overflow_is_out_of_memory)
{
	must_run_out(overflow);
	must_run_out(overflow_with_header);
	must_run_out(span_overflow);
}

#ifndef ASAN
static void exhaust(struct arena *a)
{
	setrlimit(RLIMIT_AS, &(struct rlimit){ 64 << 20, 64 << 20 });
	for (;;)
		arena_alloc(a, 100000);
}
#endif

TEST(a_limit_is_out_of_memory)
{
#ifdef ASAN
	SKIP("AddressSanitizer needs the address space");
#else
	must_run_out(exhaust);
#endif
}

TEST_MAIN
