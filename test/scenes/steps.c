/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A computation in small steps: heap that grows, floating point, sleeps, and a file that is appended to.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STEPS 250

int main(void)
{
	uint64_t *heap[STEPS], sum = 0;
	double x = 0.5;
	FILE *out = fopen("out", "ae");

	if (!out)
		return 1;
	for (unsigned int i = 0; i < STEPS; i++) {
		heap[i] = malloc(16384);
		if (!heap[i])
			return 1;
		for (unsigned int k = 0; k < 2048; k++)
			heap[i][k] = (i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ k;
		x = 3.9 * x * (1 - x);
		sum += heap[i * 7 % (i + 1)][i * 31 % 2048];
		fprintf(out, "%u %016llx %.17g\n", i, (unsigned long long)sum, x);
		nanosleep(&(struct timespec){ .tv_nsec = 12000000 }, NULL);
	}
	for (unsigned int i = 0; i < STEPS; i++)
		for (unsigned int k = 0; k < 2048; k++)
			if (heap[i][k] != ((i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ k))
				return 2;
	return fclose(out) != 0;
}
