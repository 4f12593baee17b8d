/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes record_decode. What it accepts must survive being written, read and written again unchanged, and being shown.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "fuzz.h"
#include "record_fields.h"

static void check(bool claim)
{
	if (!claim)
		abort();
}

static void show(const struct fuzz_record *rec)
{
	static FILE *out;
	struct json j;

	if (!out)
		out = fopen("/dev/null", "w");
	record_print(fuzz_fields, rec, out, 0);
	json_begin(&j, out);
	record_json(fuzz_fields, rec, &j);
	json_end(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;
	struct fuzz_record rec = { 0 }, again = { 0 };
	struct span wire = { NULL, 0 }, same = { NULL, 0 };

	arena_init(&a);
	int r = record_decode(&a, fuzz_fields, data, size, &rec);
	check(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	if (r == 0) {
		show(&rec);
		record_encode(&a, fuzz_fields, &rec, &wire);
		check(record_decode(&a, fuzz_fields, wire.at, wire.n, &again) == 0);
		record_encode(&a, fuzz_fields, &again, &same);
		check(same.n == wire.n && (!wire.n || memcmp(same.at, wire.at, wire.n) == 0));
	}
	arena_done(&a);
	return 0;
}
