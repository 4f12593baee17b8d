/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/resource.h>

#include "lib/witness.h"

static void make(void)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_max = l.rlim_max < 300 ? l.rlim_max : 300;
	l.rlim_cur = l.rlim_max - 100;
	setrlimit(RLIMIT_NOFILE, &l);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	getrlimit(RLIMIT_STACK, &l);
	l.rlim_cur = 6 << 20;
	setrlimit(RLIMIT_STACK, &l);
}

static void look(void)
{
	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit l = { 0, 0 };

		SAY(getrlimit((__rlimit_resource_t)resource, &l));
		SAY(l.rlim_cur);
		SAY(l.rlim_max);
	}
}

WITNESS(make, look)
