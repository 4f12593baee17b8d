/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "base/arena.h"
#include "base/text.h"
#include "lib/test.h"

TEST(parse_u64_reads_digits_only)
{
	static const char *const bad[] = { "", " 1", "-1", "+1", "x", "\xff" };
	const char *s = "18446744073709551615 rest";
	uint64_t v = 7;

	ASSERT_EQ(parse_u64(&s, 10, &v), 0);
	ASSERT_EQ(v, UINT64_MAX);
	ASSERT_STREQ(s, " rest");
	s = "DeadBeefg";
	ASSERT_EQ(parse_u64(&s, 16, &v), 0);
	ASSERT_EQ(v, 0xdeadbeef);
	ASSERT_STREQ(s, "g");
	s = "0178";
	ASSERT_EQ(parse_u64(&s, 8, &v), 0);
	ASSERT_EQ(v, 15);
	ASSERT_STREQ(s, "8");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s = bad[i];
		ASSERT_EQ(parse_u64(&s, 10, &v), -EINVAL);
		ASSERT_EQ(s, bad[i]);
	}
	ASSERT_EQ(v, 15);
}

TEST(parse_u64_refuses_what_does_not_fit)
{
	static const char *const big[] = { "18446744073709551616", "99999999999999999999999", "18446744073709551620" };
	uint64_t v = 7;

	for (size_t i = 0; i < sizeof(big) / sizeof(big[0]); i++) {
		const char *s = big[i];
		ASSERT_EQ(parse_u64(&s, 10, &v), -ERANGE);
		ASSERT_EQ(s, big[i]);
	}
	const char *s = "10000000000000000";
	ASSERT_EQ(parse_u64(&s, 16, &v), -ERANGE);
	ASSERT_EQ(v, 7);
}

TEST(parse_duration_knows_units_and_fractions)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "0", 0 },
		{ "90", 90000000000 },
		{ "10m", 600000000000 },
		{ "1.5h", 5400000000000 },
		{ "2d", 172800000000000 },
		{ "500ms", 500000000 },
		{ "0.25us", 250 },
		{ "3ns", 3 },
		{ "1.0000000001s", 1000000000 },
		{ "0.001", 1000000 },
	};
	static const char *const bad[] = { "", "s", ".5", "1.", "1.s", "1 s", "-1", "1x", "1sec", "1.5.5", "1h30m",
		"inf" };
	uint64_t ns = 7;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ASSERT_EQ(parse_duration(good[i].text, &ns), 0);
		ASSERT_EQ(ns, good[i].ns);
	}
	ns = 7;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_EQ(parse_duration(bad[i], &ns), -EINVAL);
	ASSERT_EQ(parse_duration("999999999d", &ns), -ERANGE);
	ASSERT_EQ(parse_duration("18446744073.9", &ns), -ERANGE);
	ASSERT_EQ(parse_duration("99999999999999999999", &ns), -ERANGE);
	ASSERT_EQ(ns, 7);
}

TEST(signals)
{
	static const char *const bad[] = { "", "0", "65", "-9", "SIG", "SIGSIGTERM", "TERMS", "9x", "RTMIN+",
		"RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN3", "99999999999999999999" };

	ASSERT_EQ(parse_signal("TERM"), SIGTERM);
	ASSERT_EQ(parse_signal("SIGTERM"), SIGTERM);
	ASSERT_EQ(parse_signal("sigterm"), SIGTERM);
	ASSERT_EQ(parse_signal("15"), 15);
	ASSERT_EQ(parse_signal("RTMIN+3"), SIGRTMIN + 3);
	ASSERT_EQ(parse_signal("SIGRTMAX-1"), SIGRTMAX - 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		EXPECT_EQ(parse_signal(bad[i]), -EINVAL);
	for (int n = 1; n <= SIGRTMAX; n++)
		ASSERT_EQ(parse_signal(signal_name(n)), n);
	ASSERT_STREQ(signal_name(SIGTERM), "TERM");
	ASSERT_STREQ(signal_name(SIGRTMIN + 3), "RTMIN+3");
	ASSERT_STREQ(signal_name(0), "0");
	ASSERT_STREQ(signal_name(-2147483647 - 1), "-2147483648");
}

TEST(sizes_for_people)
{
	char b[32], tiny[4];

	ASSERT_STREQ(human_size(0, b, sizeof(b)), "0 B");
	ASSERT_STREQ(human_size(1023, b, sizeof(b)), "1023 B");
	ASSERT_STREQ(human_size(1024, b, sizeof(b)), "1.0 KiB");
	ASSERT_STREQ(human_size(41 << 20, b, sizeof(b)), "41 MiB");
	ASSERT_STREQ(human_size((1 << 20) - 1, b, sizeof(b)), "1.0 MiB");
	ASSERT_STREQ(human_size(UINT64_MAX, b, sizeof(b)), "16 EiB");
	ASSERT_STREQ(human_size(41 << 20, tiny, sizeof(tiny)), "41 ");
}

TEST(times_for_people)
{
	char b[32];

	ASSERT_STREQ(human_time(0, b, sizeof(b)), "0 ns");
	ASSERT_STREQ(human_time(999, b, sizeof(b)), "999 ns");
	ASSERT_STREQ(human_time(40000, b, sizeof(b)), "40 µs");
	ASSERT_STREQ(human_time(999999, b, sizeof(b)), "1.0 ms");
	ASSERT_STREQ(human_time(38000000, b, sizeof(b)), "38 ms");
	ASSERT_STREQ(human_time(999700000, b, sizeof(b)), "1.00 s");
	ASSERT_STREQ(human_time(1240000000, b, sizeof(b)), "1.24 s");
	ASSERT_STREQ(human_time(12400000000, b, sizeof(b)), "12.4 s");
	ASSERT_STREQ(human_time(125000000000, b, sizeof(b)), "2 min 5 s");
	ASSERT_STREQ(human_time(11520000000000, b, sizeof(b)), "3 h 12 min");
	ASSERT_STREQ(human_time(UINT64_MAX, b, sizeof(b)), "213503 d 23 h");
}

/* What is printed by put() into a file. */
static char *printed(void (*put)(FILE *out, const void *arg), const void *arg)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	ASSERT_NE(out, NULL);
	put(out, arg);
	ASSERT_EQ(fclose(out), 0);
	return text;
}

static void put_quoted(FILE *out, const void *arg)
{
	print_quoted(out, arg);
}

TEST(quotes)
{
	static const struct {
		const char *is, *printed;
	} rows[] = {
		{ "", "\"\"" },
		{ "plain", "\"plain\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "\n\t\r\x1b\x7f", "\"\\n\\t\\x0d\\x1b\\x7f\"" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
			"\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"" },
		{ "\xff\xc3", "\"\\xff\\xc3\"" },
		{ "\xc2\x9b", "\"\\xc2\\x9b\"" },
		{ "\xe2\x80\xae", "\"\\xe2\\x80\\xae\"" },
		{ "\xc0\x80", "\"\\xc0\\x80\"" },
		{ "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"" },
		{ "\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\"" },
		{ "\xe0\x80\xaf", "\"\\xe0\\x80\\xaf\"" },
		{ "\xf0\x9f\x98", "\"\\xf0\\x9f\\x98\"" },
	};
	struct arena a;

	arena_init(&a);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = printed(put_quoted, rows[i].is);
		EXPECT_STREQ(text, rows[i].printed);
		EXPECT_STREQ(quoted(&a, rows[i].is), rows[i].printed);
		free(text);
	}
	ASSERT_STREQ(shown(&a, "say \"a\\b\"\n"), "say \"a\\b\"\\n");
	arena_done(&a);
}

TEST(no_byte_is_lost_by_utf8_next)
{
	for (unsigned int v = 0; v < 1 << 16; v++) {
		char text[] = { (char)(v >> 8), (char)v, (char)0x80, 0 };
		const char *s = text;
		size_t len = strlen(text), steps = 0;
		while (utf8_next(&s))
			ASSERT_LE(++steps, len);
		ASSERT_EQ(s, text + len);
	}
}

static void put_document(FILE *out, const void *arg)
{
	struct json j;

	json_begin(&j, out);
	json_str(&j, "name", "a\"\\\n\x7f\xff\xc3\xbc");
	json_str(&j, "none", NULL);
	json_u64(&j, "u", UINT64_MAX);
	json_i64(&j, "i", INT64_MIN);
	json_array(&j, "list");
	json_u64(&j, NULL, 1);
	json_object(&j, NULL);
	json_close_object(&j);
	json_array(&j, NULL);
	json_close_array(&j);
	json_bool(&j, NULL, true);
	json_close_array(&j);
	json_object(&j, "o\n");
	json_hex(&j, "h", "\x00\xa5\xff", 3);
	json_hex(&j, "e", NULL, 0);
	json_close_object(&j);
	json_bool(&j, "last", false);
	json_end(&j);
}

TEST(json_document)
{
	char *text = printed(put_document, NULL);

	ASSERT_STREQ(text, "{\"name\":\"a\\\"\\\\\\u000a\\u007f\xef\xbf\xbd\xc3\xbc\",\"none\":null,"
			   "\"u\":18446744073709551615,\"i\":-9223372036854775808,\"list\":[1,{},[],true],"
			   "\"o\\u000a\":{\"h\":\"00a5ff\",\"e\":\"\"},\"last\":false}\n");
	free(text);
}

static void put_empty(FILE *out, const void *arg)
{
	struct json j;

	json_begin(&j, out);
	json_end(&j);
}

TEST(json_empty_document)
{
	char *text = printed(put_empty, NULL);

	ASSERT_STREQ(text, "{}\n");
	free(text);
}

TEST_MAIN
