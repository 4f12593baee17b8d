/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * driver [-n COUNT] FILE... - replay inputs through a harness without libFuzzer
 *
 * Then COUNT times each of them with some bytes altered, cut or copied elsewhere, or as the harness says: always the same ones. With
 * DRIVER_KEEP in the environment each input is written to ./crash-driver before it is tried.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"

#define INPUT_MAX ((size_t)1 << 20)

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static size_t mutate(uint8_t *bytes, size_t len, uint64_t *state)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff };

	for (uint64_t n = 1 + next_random(state) % 4; n && len; n--) {
		size_t at = next_random(state) % len, from = next_random(state) % len, some = next_random(state) % 16;

		switch (next_random(state) % 5) {
		case 0:
			bytes[at] ^= (uint8_t)(1u << next_random(state) % 8);
			break;
		case 1:
			bytes[at] = edges[next_random(state) % sizeof(edges)];
			break;
		case 2:
			bytes[at] = (uint8_t)next_random(state);
			break;
		case 3:
			if (at + some <= len && from + some <= len)
				memmove(bytes + at, bytes + from, some);
			break;
		default:
			if (some == 0)
				len = at;
			break;
		}
	}
	return len;
}

/* An exact allocation, so that a sanitizer sees a byte read too far. */
static void one(const uint8_t *bytes, size_t len)
{
	_cleanup_free_ uint8_t *exact = malloc(len ? len : 1);

	if (!exact)
		abort();
	memcpy(exact, bytes, len);
	LLVMFuzzerTestOneInput(exact, len);
}

static void keep(const uint8_t *bytes, size_t len)
{
	FILE *f = fopen("crash-driver", "we");

	if (f) {
		fwrite(bytes, 1, len, f);
		fclose(f);
	}
}

static void replay(const uint8_t *bytes, size_t len, unsigned long count)
{
	static uint8_t altered[INPUT_MAX];
	uint64_t state = 0x9e3779b97f4a7c15;
	bool keeps = getenv("DRIVER_KEEP") != NULL;

	one(bytes, len);
	for (unsigned long i = 0; i < count; i++) {
		memcpy(altered, bytes, len);
		size_t n = LLVMFuzzerCustomMutator
				   ? LLVMFuzzerCustomMutator(altered, len, sizeof(altered), (unsigned int)i)
				   : mutate(altered, len, &state);
		if (keeps)
			keep(altered, n);
		one(altered, n);
	}
}

int main(int argc, char **argv)
{
	static uint8_t bytes[INPUT_MAX];
	unsigned long count = 0;
	int first = 1;

	if (argc > 2 && strcmp(argv[1], "-n") == 0) {
		count = strtoul(argv[2], NULL, 10);
		first = 3;
	}
	if (first >= argc) {
		fprintf(stderr, "usage: %s [-n COUNT] FILE...\n", argv[0]);
		return 2;
	}
	for (int i = first; i < argc; i++) {
		_cleanup_fclose_ FILE *f = fopen(argv[i], "re");

		if (!f) {
			perror(argv[i]);
			return 1;
		}
		replay(bytes, fread(bytes, 1, sizeof(bytes), f), count);
	}
	printf("%d inputs, each also altered %lu times\n", argc - first, count);
	return 0;
}
