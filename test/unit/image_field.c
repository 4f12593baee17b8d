/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "base/text.h"
#include "guard.h"
#include "image/field.h"
#include "lib/test.h"

static const struct flag colours[] = {
	{ 3, "BOTH" },
	{ 1, "RED" },
	{ 2, "GREEN" },
	{ 1ull << 63, "TOP" },
	{ 0, "NONE" },
	{ 0, NULL },
};

struct leaf {
	uint8_t n;
	const char *name;
};

static const struct field leaf_fields[] = {
	FIELD_U(1, struct leaf, n, ""),
	FIELD_S(2, struct leaf, name, ""),
	FIELDS_END,
};

struct branch {
	int16_t height;
	struct span leaves;
};

static const struct field branch_fields[] = {
	FIELD_I(1, struct branch, height, ""),
	FIELD_A(7, struct branch, leaves, "", leaf_fields, struct leaf),
	FIELDS_END,
};

struct all {
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	int8_t i8;
	int16_t i16;
	int32_t i32;
	int64_t i64;
	bool yes;
	uint64_t bits;
	uint16_t narrow_bits;
	const char *text, *none, *empty;
	struct span bytes;
	uint8_t fixed[5];
	uint64_t ref;
	struct span branches;
};

static const struct field all_fields[] = {
	FIELD_U(1, struct all, u8, "a.u8"),
	FIELD_U(2, struct all, u16, ""),
	FIELD_U(3, struct all, u32, ""),
	FIELD_U(4, struct all, u64, ""),
	FIELD_I(5, struct all, i8, ""),
	FIELD_I(6, struct all, i16, ""),
	FIELD_I(7, struct all, i32, ""),
	FIELD_I(8, struct all, i64, ""),
	FIELD_U(9, struct all, yes, ""),
	FIELD_B(10, struct all, bits, "", colours),
	FIELD_B(11, struct all, narrow_bits, "", colours),
	FIELD_S(12, struct all, text, ""),
	FIELD_S(13, struct all, none, ""),
	FIELD_S(14, struct all, empty, ""),
	FIELD_BLOB(15, struct all, bytes, ""),
	FIELD_RAW(16, struct all, fixed, ""),
	FIELD_R(17, struct all, ref, ""),
	FIELD_A(300, struct all, branches, "", branch_fields, struct branch),
	FIELDS_END,
};

/* Arrays in arrays without end, and a record that can be large in memory for little on disk. */
struct tree {
	struct span below;
	uint8_t unsaved[1000];
};

static const struct field tree_fields[] = {
	FIELD_A(1, struct tree, below, "", tree_fields, struct tree),
	FIELDS_END,
};

static struct leaf two_leaves[] = { { 1, "oak" }, { 255, NULL } };
static struct branch three_branches[] = { { -300, { two_leaves, 2 } }, { 0, { NULL, 0 } }, { 7, { two_leaves, 1 } } };

static char three_bytes[] = { 0, 1, 2 };

static struct all example(void)
{
	return (struct all){
		.u8 = 200,
		.u16 = 60000,
		.u32 = 4000000000,
		.u64 = UINT64_MAX,
		.i8 = -100,
		.i16 = INT16_MIN,
		.i32 = -1,
		.i64 = INT64_MIN,
		.yes = true,
		.bits = 1ull << 63 | 1,
		.narrow_bits = 3,
		.text = "a \"word\"",
		.empty = "",
		.bytes = { three_bytes, 3 },
		.fixed = { 9, 8, 7, 6, 5 },
		.ref = 77,
		.branches = { three_branches, 3 },
	};
}

static struct arena arena;

static struct span encode(const struct field *fields, const void *rec)
{
	struct span out = { NULL, 0 };

	record_encode(&arena, fields, rec, &out);
	return out;
}

/* A decode of bytes that end at a guard page. */
static int decode(const struct field *fields, const void *data, size_t len, void *rec, size_t size)
{
	static struct guarded guard;

	if (!guard.end)
		guard = guarded_new(1 << 20);
	memset(rec, 0, size);
	return record_decode(&arena, fields, guarded_put(&guard, data, len), len, rec);
}

static int decode_all(const void *data, size_t len, struct all *rec)
{
	return decode(all_fields, data, len, rec, sizeof(*rec));
}

static void wire_field(struct span *out, uint16_t id, uint8_t type, const void *data, uint32_t len)
{
	uint8_t head[8] = { (uint8_t)id, (uint8_t)(id >> 8), type, 0, (uint8_t)len, (uint8_t)(len >> 8),
		(uint8_t)(len >> 16), (uint8_t)(len >> 24) };

	for (size_t i = 0; i < sizeof(head); i++)
		*(uint8_t *)span_push(&arena, out, 1) = head[i];
	for (size_t i = 0; i < len; i++)
		*(uint8_t *)span_push(&arena, out, 1) = ((const uint8_t *)data)[i];
}

/* What a record of one field gives. */
static int decode_one(uint16_t id, uint8_t type, const void *data, uint32_t len)
{
	struct span w = { NULL, 0 };
	struct all rec;

	wire_field(&w, id, type, data, len);
	return decode_all(w.at, w.n, &rec);
}

static int decode_number(uint16_t id, uint8_t type, uint64_t v)
{
	return decode_one(id, type, &v, sizeof(v));
}

TEST(every_type_comes_back)
{
	struct all in = example(), out;
	struct span w = encode(all_fields, &in);

	ASSERT_EQ(decode_all(w.at, w.n, &out), 0);
	EXPECT_EQ(out.u8, 200);
	EXPECT_EQ(out.u16, 60000);
	EXPECT_EQ(out.u32, 4000000000);
	EXPECT_EQ(out.u64, UINT64_MAX);
	EXPECT_EQ(out.i8, -100);
	EXPECT_EQ(out.i16, INT16_MIN);
	EXPECT_EQ(out.i32, -1);
	EXPECT_EQ(out.i64, INT64_MIN);
	EXPECT_EQ(out.yes, true);
	EXPECT_EQ(out.bits, in.bits);
	EXPECT_EQ(out.narrow_bits, 3);
	EXPECT_STREQ(out.text, "a \"word\"");
	EXPECT_STREQ(out.none, NULL);
	EXPECT_STREQ(out.empty, "");
	ASSERT_EQ(out.bytes.n, 3);
	EXPECT_MEMEQ(out.bytes.at, in.bytes.at, 3);
	EXPECT_MEMEQ(out.fixed, in.fixed, 5);
	EXPECT_EQ(out.ref, 77);

	/* what was read, written again, gives the same bytes */
	struct span again = encode(all_fields, &out);
	ASSERT_EQ(again.n, w.n);
	EXPECT_MEMEQ(again.at, w.at, w.n);
}

TEST(arrays_in_arrays_come_back)
{
	struct all in = example(), out;
	struct span w = encode(all_fields, &in);

	ASSERT_EQ(decode_all(w.at, w.n, &out), 0);
	ASSERT_EQ(out.branches.n, 3);
	const struct branch *b = out.branches.at;
	EXPECT_EQ(b[0].height, -300);
	EXPECT_EQ(b[1].leaves.n, 0);
	EXPECT_EQ(b[2].leaves.n, 1);
	ASSERT_EQ(b[0].leaves.n, 2);
	const struct leaf *l = b[0].leaves.at;
	EXPECT_STREQ(l[0].name, "oak");
	EXPECT_EQ(l[1].n, 255);
	EXPECT_STREQ(l[1].name, NULL);
}

TEST(the_wire_form_is_as_documented)
{
	static const uint8_t wire[] = { 1, 0, FIELD_UINT, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, /* n */
		2, 0, FIELD_STRING, 0, 2, 0, 0, 0, 'h', 'i' };
	struct leaf leaf = { 5, "hi" };
	struct span w = encode(leaf_fields, &leaf);

	ASSERT_EQ(w.n, sizeof(wire));
	ASSERT_MEMEQ(w.at, wire, sizeof(wire));
	EXPECT_EQ(FIELD_UINT, 1);
	EXPECT_EQ(FIELD_ARRAY, 8);
}

TEST(encoding_appends)
{
	struct leaf leaf = { 5, "hello" };
	struct span out = { NULL, 0 };

	for (int i = 0; i < 50; i++) {
		*(char *)span_push(&arena, &out, 1) = 'x';
		record_encode(&arena, leaf_fields, &leaf, &out);
	}
	struct span one = encode(leaf_fields, &leaf);
	ASSERT_EQ(out.n, 50 * (one.n + 1));
	for (size_t i = 0; i < 50; i++) {
		ASSERT_EQ(((char *)out.at)[i * (one.n + 1)], 'x');
		ASSERT_MEMEQ((char *)out.at + i * (one.n + 1) + 1, one.at, one.n);
	}
}

TEST(missing_fields_stay_zero)
{
	struct all out;

	ASSERT_EQ(decode_all("", 0, &out), 0);
	EXPECT_EQ(out.u64, 0);
	EXPECT_STREQ(out.text, NULL);
	EXPECT_EQ(out.branches.n, 0);
}

TEST(the_unknown_is_refused)
{
	EXPECT_EQ(decode_number(18, FIELD_UINT, 1), -EPROTONOSUPPORT);
	EXPECT_EQ(decode_number(65535, FIELD_UINT, 1), -EPROTONOSUPPORT);
	EXPECT_EQ(decode_number(10, FIELD_BITS, 4), -EPROTONOSUPPORT);
	EXPECT_EQ(decode_number(10, FIELD_BITS, 3), 0);
}

TEST(values_out_of_range_are_refused)
{
	EXPECT_EQ(decode_number(1, FIELD_UINT, 256), -EBADMSG);
	EXPECT_EQ(decode_number(1, FIELD_UINT, 255), 0);
	EXPECT_EQ(decode_number(3, FIELD_UINT, 1ull << 32), -EBADMSG);
	EXPECT_EQ(decode_number(5, FIELD_INT, 128), -EBADMSG);
	EXPECT_EQ(decode_number(5, FIELD_INT, 127), 0);
	EXPECT_EQ(decode_number(5, FIELD_INT, (uint64_t)-128), 0);
	EXPECT_EQ(decode_number(5, FIELD_INT, (uint64_t)-129), -EBADMSG);
	EXPECT_EQ(decode_number(9, FIELD_UINT, 1), 0);
	EXPECT_EQ(decode_number(9, FIELD_UINT, 2), -EBADMSG);
	EXPECT_EQ(decode_number(11, FIELD_BITS, 1ull << 63), -EBADMSG);
}

TEST(the_malformed_is_refused)
{
	uint64_t v = 1;
	struct span w = { NULL, 0 };
	struct all rec;

	EXPECT_EQ(decode_number(0, FIELD_UINT, 1), -EBADMSG);
	EXPECT_EQ(decode_number(1, FIELD_INT, 1), -EBADMSG);
	EXPECT_EQ(decode_number(1, FIELD_END, 1), -EBADMSG);
	EXPECT_EQ(decode_number(1, 99, 1), -EBADMSG);
	EXPECT_EQ(decode_one(1, FIELD_UINT, &v, 7), -EBADMSG);
	EXPECT_EQ(decode_one(12, FIELD_STRING, "a\0b", 3), -EBADMSG);
	EXPECT_EQ(decode_one(12, FIELD_STRING, "ab", 3), -EBADMSG);
	EXPECT_EQ(decode_one(16, FIELD_FIXED, "1234", 4), -EBADMSG);
	EXPECT_EQ(decode_one(16, FIELD_FIXED, "123456", 6), -EBADMSG);
	EXPECT_EQ(decode_one(300, FIELD_ARRAY, "", 0), -EBADMSG);
	EXPECT_EQ(decode_one(300, FIELD_ARRAY, "\1\0\0\0", 4), -EBADMSG);
	EXPECT_EQ(decode_one(300, FIELD_ARRAY, "\0\0\0\0x", 5), -EBADMSG);
	EXPECT_EQ(decode_one(300, FIELD_ARRAY, "\377\377\377\377\0\0\0\0", 8), -EBADMSG);

	wire_field(&w, 2, FIELD_UINT, &v, 8);
	wire_field(&w, 1, FIELD_UINT, &v, 8);
	EXPECT_EQ(decode_all(w.at, w.n, &rec), -EBADMSG);
	w.n = 0;
	wire_field(&w, 2, FIELD_UINT, &v, 8);
	wire_field(&w, 2, FIELD_UINT, &v, 8);
	EXPECT_EQ(decode_all(w.at, w.n, &rec), -EBADMSG);
	w.n = 0;
	wire_field(&w, 2, FIELD_UINT, &v, 8);
	((char *)w.at)[3] = 1; /* the byte that must be zero */
	EXPECT_EQ(decode_all(w.at, w.n, &rec), -EBADMSG);
}

/* A record that is cut between two fields is a record; within one it is none. */
TEST(a_cut_record_is_refused_or_whole)
{
	struct all in = example(), out;
	struct span w = encode(all_fields, &in);
	size_t whole = 0;

	for (size_t len = 0; len < w.n; len++) {
		int r = decode_all(w.at, len, &out);

		ASSERT_TRUE(r == 0 || r == -EBADMSG);
		whole += r == 0;
	}
	EXPECT_EQ(whole, sizeof(all_fields) / sizeof(*all_fields) - 2); /* the end; "none" is not written */
}

TEST(no_flipped_bit_reads_too_far)
{
	struct all in = example(), out;
	struct span w = encode(all_fields, &in);
	char *bytes = w.at;
	size_t refused = 0;

	for (size_t bit = 0; bit < w.n * 8; bit++) {
		bytes[bit / 8] ^= (char)(1 << bit % 8);
		int r = decode_all(w.at, w.n, &out);
		ASSERT_TRUE(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
		refused += r < 0;
		bytes[bit / 8] ^= (char)(1 << bit % 8);
	}
	EXPECT_GT(refused, 0);
}

/* Arrays of one element, depth deep. */
static struct span nested(unsigned int depth)
{
	struct span inner = { NULL, 0 };

	for (; depth; depth--) {
		struct span body = { NULL, 0 }, outer = { NULL, 0 };
		uint32_t head[2] = { 1, (uint32_t)inner.n };

		for (size_t i = 0; i < sizeof(head) + inner.n; i++)
			*(char *)span_push(&arena, &body, 1) =
				i < sizeof(head) ? ((char *)head)[i] : ((char *)inner.at)[i - sizeof(head)];
		wire_field(&outer, 1, FIELD_ARRAY, body.at, (uint32_t)body.n);
		inner = outer;
	}
	return inner;
}

TEST(arrays_are_nested_four_deep_at_most)
{
	struct tree rec;
	struct span w = nested(FIELD_DEPTH_MAX);

	EXPECT_EQ(decode(tree_fields, w.at, w.n, &rec, sizeof(rec)), 0);
	w = nested(FIELD_DEPTH_MAX + 1);
	EXPECT_EQ(decode(tree_fields, w.at, w.n, &rec, sizeof(rec)), -EBADMSG);
	w = nested(1000);
	EXPECT_EQ(decode(tree_fields, w.at, w.n, &rec, sizeof(rec)), -EBADMSG);
}

TEST(memory_is_bounded_by_what_was_sent)
{
	enum { n = 200000 };
	struct tree rec;
	char *body = calloc(n + 1, 4);
	struct span w = { NULL, 0 };

	/* 4 bytes an element on the wire, more than 1000 in memory */
	memcpy(body, &(uint32_t){ n }, 4);
	wire_field(&w, 1, FIELD_ARRAY, body, (n + 1) * 4);
	EXPECT_EQ(decode(tree_fields, w.at, w.n, &rec, sizeof(rec)), -EBADMSG);
	free(body);
}

static char *printed(const struct field *fields, const void *rec, bool json)
{
	static char text[8192];
	FILE *out = fmemopen(text, sizeof(text), "w");
	struct json j;

	if (json) {
		json_begin(&j, out);
		record_json(fields, rec, &j);
		json_end(&j);
	} else {
		record_print(fields, rec, out, 0);
	}
	fputc(0, out);
	fclose(out);
	return text;
}

TEST(records_are_compared)
{
	struct all rec = example(), other = example();
	struct branch branches[3];
	struct leaf leaves[2];

	EXPECT_TRUE(record_same(all_fields, &rec, &other));
	for (const struct field *f = all_fields; f->type != FIELD_END; f++) {
		other = example();
		if (f->type == FIELD_BYTES || f->type == FIELD_ARRAY)
			((struct span *)((char *)&other + f->offset))->n--;
		else if (f->type == FIELD_STRING)
			*(const char **)((char *)&other + f->offset) = "another";
		else
			((char *)&other)[f->offset + f->size - 1] ^= 1;
		EXPECT_FALSE(record_same(all_fields, &rec, &other));
	}
	other = example();
	other.bytes.at = (char[]){ 0, 1, 3 };
	EXPECT_FALSE(record_same(all_fields, &rec, &other));
	memcpy(branches, three_branches, sizeof(branches));
	memcpy(leaves, two_leaves, sizeof(leaves));
	branches[0].leaves.at = leaves;
	other = example();
	other.branches.at = branches;
	other.text = (char[]){ "a \"word\"" };
	EXPECT_TRUE(record_same(all_fields, &rec, &other));
	leaves[1].n--;
	EXPECT_FALSE(record_same(all_fields, &rec, &other));
	leaves[1].n++;
	leaves[1].name = "";
	EXPECT_FALSE(record_same(all_fields, &rec, &other));
}

TEST(records_are_printed)
{
	struct all rec = example();

	EXPECT_STREQ(printed(all_fields, &rec, false),
		" u8=200 u16=60000 u32=4000000000 u64=18446744073709551615 i8=-100 i16=-32768 i32=-1"
		" i64=-9223372036854775808 yes=1 bits=RED|TOP narrow_bits=BOTH text=\"a \\\"word\\\"\" empty=\"\""
		" bytes=000102 fixed=0908070605 ref=#77 branches=[3]"
		"\n\tbranches[0] height=-300 leaves=[2]"
		"\n\t\tleaves[0] n=1 name=\"oak\""
		"\n\t\tleaves[1] n=255"
		"\n\tbranches[1] height=0 leaves=[0]"
		"\n\tbranches[2] height=7 leaves=[1]"
		"\n\t\tleaves[0] n=1 name=\"oak\"");
	rec = (struct all){ .bits = 4 | 1 };
	EXPECT_TRUE(strstr(printed(all_fields, &rec, false), " bits=RED|0x4 narrow_bits=NONE bytes=- ") != NULL);
	EXPECT_TRUE(strstr(printed(all_fields, &rec, false), " ref=- ") != NULL);
}

TEST(records_become_json)
{
	struct all rec = example();
	const char *text = printed(all_fields, &rec, true);

	static const char *const parts[] = { "-9223372036854775808", "18446744073709551615", "\"RED\"", "\"TOP\"",
		"true", "\"a \\\"word\\\"\"", "\"000102\"", "\"oak\"", "null" };
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (!strstr(text, parts[i]))
			TH_LOG("no %s in %s", parts[i], text);
		EXPECT_TRUE(strstr(text, parts[i]) != NULL);
	}
}

TEST_MAIN
