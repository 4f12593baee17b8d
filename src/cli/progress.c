/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * "saving python3: reading memory, 1.2 GiB of 4.0 GiB, 2.1 GiB/s", on a terminal, for what takes longer than a second.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/text.h"

#include "cli/cli.h"

#define NSEC_PER_SEC UINT64_C(1000000000)

void progress_begin(struct progress *p, const char *verb, const char *name)
{
	*p = (struct progress){ .verb = verb, .name = name, .begin_ns = now_ns() };
}

static char *progress_text(
	struct arena *a, const struct progress *p, const struct stasis_progress *now, uint64_t phase_ns)
{
	char done[32], total[32], rate[32];
	char *text = arena_printf(a, "%s%s%s: %s", p->verb, p->name ? " " : "", p->name ? p->name : "",
		now->phase ? now->phase : "working");

	if (!now->done)
		return text;
	text = arena_printf(a, "%s, %s", text, human_size(now->done, done, sizeof(done)));
	if (now->total)
		text = arena_printf(a, "%s of %s", text, human_size(now->total, total, sizeof(total)));
	if (phase_ns < NSEC_PER_SEC / 10)
		return text;
	double bytes = (double)now->done * (double)NSEC_PER_SEC / (double)phase_ns;
	return arena_printf(a, "%s, %s/s", text, human_size((uint64_t)bytes, rate, sizeof(rate)));
}

/* is it a terminal, and takes it a line at once? One that was stopped by Ctrl-S would stop the program that we hold */
static bool can_show(void)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	return isatty(STDERR_FILENO) && poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
}

void progress_show(void *data, const struct stasis_progress *now)
{
	struct progress *p = data;
	uint64_t t = now_ns();
	struct arena a;

	if (!p->phase || !now->phase || strcmp(p->phase, now->phase) != 0) {
		p->phase = now->phase;
		p->phase_ns = t;
	}
	if (t - p->begin_ns < NSEC_PER_SEC || !can_show())
		return;
	arena_init(&a);
	fprintf(stderr, "\r%s\033[K", shown(&a, progress_text(&a, p, now, t - p->phase_ns)));
	fflush(stderr);
	arena_done(&a);
	p->shown = true;
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
