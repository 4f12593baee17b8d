/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/witness.h"

static void make(void)
{
	const struct itimerval real = { .it_interval = { 5000, 250000 }, .it_value = { 3000, 0 } };
	const struct itimerval prof = { .it_interval = { 0, 0 }, .it_value = { 4000, 0 } };

	setitimer(ITIMER_REAL, &real, NULL);
	setitimer(ITIMER_PROF, &prof, NULL);
}

static void look_at(int which, int limit)
{
	struct itimerval t;

	SAY(which);
	SAY(getitimer((__itimer_which_t)which, &t));
	SAY(t.it_interval.tv_sec);
	SAY(t.it_interval.tv_usec);
	SAY(t.it_value.tv_sec > limit - 600 && t.it_value.tv_sec <= limit);
	SAY(t.it_value.tv_sec || t.it_value.tv_usec);
}

/* armed for so long that no test takes it */
static void look(void)
{
	look_at(ITIMER_REAL, 3000);
	look_at(ITIMER_VIRTUAL, 0);
	look_at(ITIMER_PROF, 4000);
}

WITNESS(make, look)
