/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/auxv.h>
#include <sys/time.h>

#include "lib/witness.h"

static unsigned long where;
static struct timeval before;

static void make(void)
{
	where = getauxval(AT_SYSINFO_EHDR);
	gettimeofday(&before, NULL);
}

/* where the kernel says it is */
static unsigned long mapped(void)
{
	unsigned long at = 0;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[vdso]"))
			sscanf(line, "%lx", &at);
	if (f)
		fclose(f);
	return at;
}

static void look(void)
{
	struct timeval now;
	struct timespec ts;

	SAY(mapped() == where);
	SAY(getauxval(AT_SYSINFO_EHDR) == where);
	SAY(gettimeofday(&now, NULL));
	SAY(now.tv_sec >= before.tv_sec);
	SAY(clock_gettime(CLOCK_REALTIME_COARSE, &ts));
	SAY(ts.tv_sec >= before.tv_sec - 1);
}

WITNESS(make, look)
