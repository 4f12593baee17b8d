/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A record with a field of every type, for the harness and for its seeds.
 */
#include <stdbool.h>

#include "image/field.h"

struct fuzz_record {
	uint8_t u8;
	uint32_t u32;
	uint64_t u64;
	int16_t i16;
	int64_t i64;
	bool yes;
	uint32_t bits;
	const char *text;
	struct span bytes;
	uint8_t fixed[6];
	uint64_t ref;
	struct span below; /* of struct fuzz_record */
};

static const struct flag fuzz_flags[] = {
	{ 6, "BOTH" },
	{ 2, "TWO" },
	{ 4, "FOUR" },
	{ 0x80000000, "TOP" },
	{ 0, NULL },
};

static const struct field fuzz_fields[] = {
	FIELD_U(1, struct fuzz_record, u8, ""),
	FIELD_U(2, struct fuzz_record, u32, ""),
	FIELD_U(3, struct fuzz_record, u64, ""),
	FIELD_I(4, struct fuzz_record, i16, ""),
	FIELD_I(5, struct fuzz_record, i64, ""),
	FIELD_U(6, struct fuzz_record, yes, ""),
	FIELD_B(7, struct fuzz_record, bits, "", fuzz_flags),
	FIELD_S(8, struct fuzz_record, text, ""),
	FIELD_BLOB(10, struct fuzz_record, bytes, ""),
	FIELD_RAW(11, struct fuzz_record, fixed, ""),
	FIELD_R(12, struct fuzz_record, ref, ""),
	FIELD_A(13, struct fuzz_record, below, "", fuzz_fields, struct fuzz_record),
	FIELDS_END,
};
