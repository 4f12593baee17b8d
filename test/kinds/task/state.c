/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "lib/witness.h"

static int oom_score_adj(void)
{
	int value = -1;
	FILE *f = fopen("/proc/self/oom_score_adj", "re");

	if (f) {
		if (fscanf(f, "%d", &value) != 1)
			value = -2;
		fclose(f);
	}
	return value;
}

static void make(void)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	if (f) {
		fprintf(f, "500");
		fclose(f);
	}
}

static void look(void)
{
	SAY(oom_score_adj());
}

WITNESS(make, look)
