/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Standing by a program that `stasis run` started: images now and then, signals, its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

#include "cli/cli.h"
#include "cli/run.h"

#define AT_ONCE_NS UINT64_C(1000000000)

/* Makes the next image of the program; what is too old goes. The report is the caller's to end. */
static int save(struct run *run, bool stop, struct stasis_report *r)
{
	struct progress progress;
	struct arena a;

	arena_init(&a);
	progress_begin(&progress, "saving", run->name);
	const struct stasis_checkpoint_options options = {
		.size = sizeof(options),
		.path = arena_printf(&a, "%s/%s.%06" PRIu64 ".stasis", run->dir, run->name, run->next),
		.fd = -EBADF,
		.stop = stop,
		.compress = run->args->compress,
		.progress = progress_show,
		.progress_data = &progress,
	};
	int status = stasis_checkpoint(run->job.pid, &options, r);
	progress_end(&progress);
	if (status == 0) {
		run->next++;
		int err = images_prune(&a, run->dirfd, run->name, run->args->keep, run->restarted_from + 1, run->first);
		if (err < 0)
			fprintf(stderr, "note: cannot remove old images in %s: %s\n", run->dir, strerror(-err));
		if (stop)
			report_saved(r, options.path);
	}
	arena_done(&a);
	return status;
}

/* It ended while it was being saved: not worth a word, the end itself is told next. */
static bool is_ending(const struct run *run)
{
	struct arena a;
	uint64_t start;

	arena_init(&a);
	int r = process_start(&a, run->job.pid, &start);
	arena_done(&a);
	return r == -ESRCH;
}

/* A failure is a warning, told once for each reason; the program goes on, and so do the attempts. */
static void save_periodic(struct run *run)
{
	struct stasis_report r = { 0 };

	if (save(run, false, &r) == 0) {
		run->warned = NULL;
	} else if (!is_ending(run)) {
		const char *reason = r.error ? r.error : "";
		if (!run->warned || strcmp(run->warned, reason) != 0) {
			run->warned = arena_strdup(&run->arena, reason);
			report_failure(&r);
			fputs("note: the program goes on; the next checkpoint is tried in time\n", stderr);
		}
	}
	stasis_report_done(&r);
}

/* The image is safe and the program is being ended: wait until it is gone, so that the next one finds its place free. */
static void bury(struct watch *w)
{
	struct signalfd_siginfo si;
	uint64_t deadline = now_ns() + 10 * AT_ONCE_NS;

	for (;;) {
		switch (watch_next(w, deadline, &si)) {
		case WATCH_ENDED:
			return;
		case WATCH_SIGNAL:
			break;
		case WATCH_TIMEOUT:
			kill(w->job.wait_pid, SIGKILL);
			deadline = 0;
			break;
		}
	}
}

/* The signal of --on has come: true when the program was saved and is gone. */
static bool save_and_stop(struct run *run, struct watch *w, const struct signalfd_siginfo *si)
{
	struct stasis_report r = { 0 };

	int status = save(run, true, &r);
	if (status == 0) {
		fprintf(stderr, "note: ended on SIG%s; the same line goes on from there\n",
			signal_name((int)si->ssi_signo));
		bury(w);
	} else if (!is_ending(run)) {
		report_failure(&r);
		fprintf(stderr, "note: no image was made on SIG%s, so the program gets the signal\n",
			signal_name((int)si->ssi_signo));
		watch_forward(w, (int)si->ssi_signo, si->ssi_code == SI_KERNEL);
	}
	stasis_report_done(&r);
	return status == 0;
}

/* The program has ended by itself. Status 0: its work is done and its images would only start it again. */
static void ended(struct run *run, int status, uint64_t lived_ns)
{
	struct span images = { 0 };

	if (status == 0) {
		images_prune(&run->arena, run->dirfd, run->name, 0, 0, 0);
		return;
	}
	images_list(&run->arena, run->dirfd, run->name, &images);
	if (images.n) {
		const struct image_file *image = (const struct image_file *)images.at + images.n - 1;
		fprintf(stderr,
			"note: %s ended with status %d; the same line goes on from %s/%s, with --fresh it starts "
			"anew\n",
			run->name, status, run->dir, image->name);
	} else if ((status == EXIT_NOT_EXECUTABLE || status == EXIT_NOT_FOUND) && lived_ns < AT_ONCE_NS) {
		fprintf(stderr, "stasis: %s ended at once with status %d: it was probably not executed   [%s]\n",
			run->name, status, status == EXIT_NOT_FOUND ? "not-found" : "not-executable");
	}
}

/* when the next image is due; 0: never */
static uint64_t next_save(const struct run *run)
{
	uint64_t at;

	return run->args->every_ns && !__builtin_add_overflow(now_ns(), run->args->every_ns, &at) ? at : 0;
}

int supervise(struct run *run, const sigset_t *signals)
{
	uint64_t begin = now_ns(), next = next_save(run);
	struct signalfd_siginfo si;
	struct watch w;

	int err = watch_begin(&w, &run->job, signals);
	if (err < 0) {
		kill(run->job.wait_pid, SIGKILL);
		waitpid(run->job.wait_pid, NULL, 0);
		return report_fail(&run->report, &run->arena, EXIT_ENVIRONMENT, "wait", NULL,
			"cannot wait for the program: %s", strerror(-err));
	}
	watch_lend(&w, &run->terminal, run->restarted_from > 0);
	for (;;) {
		switch (watch_next(&w, next, &si)) {
		case WATCH_ENDED:
			ended(run, w.status, now_ns() - begin);
			watch_end(&w);
			return w.status;
		case WATCH_TIMEOUT:
			save_periodic(run);
			next = next_save(run);
			break;
		case WATCH_SIGNAL:
			if (sigismember(&run->args->on, (int)si.ssi_signo) && save_and_stop(run, &w, &si)) {
				watch_end(&w);
				return EXIT_REQUEUE;
			}
			if (!sigismember(&run->args->on, (int)si.ssi_signo))
				watch_forward(&w, (int)si.ssi_signo, si.ssi_code == SI_KERNEL);
			break;
		}
	}
}
