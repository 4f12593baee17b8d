/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis ls: the jobs that `stasis run` stands by on this host, and their images.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "cli/cli.h"

static int by_since(const void *a, const void *b)
{
	const struct job *x = a, *y = b;

	return x->since != y->since ? (x->since > y->since) - (x->since < y->since)
				    : (x->pid > y->pid) - (x->pid < y->pid);
}

static void job_images(struct arena *a, const struct job *job, struct span *ret)
{
	_cleanup_close_ int dirfd = open(job->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd >= 0)
		images_list(a, dirfd, job->name, ret);
}

static void print_job(struct arena *a, const struct job *job)
{
	char since[32] = "?", age[32], size[32];
	struct span images = { 0 };
	time_t started = job->since;
	struct tm tm;

	if (localtime_r(&started, &tm))
		strftime(since, sizeof(since), "%Y-%m-%d %H:%M", &tm);
	printf("%-16s %8d  %-16s  ", shown(a, job->name), (int)job->pid, since);
	job_images(a, job, &images);
	if (images.n == 0) {
		printf("%-28s %12s %9s  ", "none yet", "-", "-");
	} else {
		const struct image_file *newest = (const struct image_file *)images.at + images.n - 1;
		int64_t seconds = time(NULL) - newest->mtime;
		if (seconds > 0)
			human_time((uint64_t)seconds * 1000000000, age, sizeof(age));
		printf("%-28s %12s %9s  ", shown(a, newest->name), seconds > 0 ? age : "now",
			human_size(newest->size, size, sizeof(size)));
	}
	printf("%s\n", shown(a, job->dir));
}

static void print_jobs(struct arena *a, const struct span *jobs)
{
	if (jobs->n == 0)
		return;
	printf("%-16s %8s  %-16s  %-28s %12s %9s  %s\n", "NAME", "PID", "SINCE", "NEWEST IMAGE", "AGE", "SIZE",
		"DIRECTORY");
	for (size_t i = 0; i < jobs->n; i++)
		print_job(a, (const struct job *)jobs->at + i);
}

static void json_job(struct json *j, struct arena *a, const struct job *job)
{
	struct span images = { 0 };

	json_object(j, NULL);
	json_str(j, "name", job->name);
	json_i64(j, "pid", job->pid);
	json_i64(j, "since", job->since);
	json_str(j, "dir", job->dir);
	json_str(j, "command", job->command);
	json_array(j, "images");
	job_images(a, job, &images);
	for (size_t i = 0; i < images.n; i++) {
		const struct image_file *image = (const struct image_file *)images.at + i;
		json_object(j, NULL);
		json_str(j, "path", arena_printf(a, "%s/%s", job->dir, image->name));
		json_u64(j, "size", image->size);
		json_i64(j, "time", image->mtime);
		json_close_object(j);
	}
	json_close_array(j);
	json_close_object(j);
}

static void json_jobs(struct arena *a, const struct span *jobs)
{
	struct json j;

	json_begin(&j, stdout);
	json_bool(&j, "ok", true);
	json_array(&j, "jobs");
	for (size_t i = 0; i < jobs->n; i++)
		json_job(&j, a, (const struct job *)jobs->at + i);
	json_close_array(&j);
	json_end(&j);
}

static int ls_do(bool json, struct arena *a)
{
	struct stasis_report r = { 0 };
	struct span jobs = { 0 };

	int err = job_list(a, &jobs);
	if (err < 0) {
		int status = report_fail(&r, a, report_errno(err), "registry",
			"its directory must be yours and writable to nobody else: see FILES in stasis(1)",
			"cannot read the list of running jobs: %s", strerror(-err));
		if (json)
			report_json(stdout, &r, false);
		else
			report_failure(&r);
		return status;
	}
	if (jobs.n)
		qsort(jobs.at, jobs.n, sizeof(struct job), by_since);
	if (json)
		json_jobs(a, &jobs);
	else
		print_jobs(a, &jobs);
	return 0;
}

static int ls_main(const struct command *self, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	bool json = false;
	struct arena a;

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
		if (c == 'h')
			return command_help(self);
		if (c != 'j')
			return bad_option(self, c, argv);
		json = true;
	}
	if (argc != optind)
		return usage_error(self, "takes no arguments");
	arena_init(&a);
	int status = ls_do(json, &a);
	arena_done(&a);
	return status;
}

const struct command cmd_ls = {
	.name = "ls",
	.synopsis = "[--json]",
	.summary = "the jobs that run on this host, and their images",
	.help = "Lists what stasis run of this user stands by: name, pid, since when, newest image with age and size, "
		"directory.\n"
		"\n"
		"  --json  one JSON object, with all images of each job\n",
	.main = ls_main,
};
