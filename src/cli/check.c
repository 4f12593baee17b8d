/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis check: would a checkpoint succeed?
 */
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "cli/cli.h"

struct check_args {
	const char *target;
	bool json, strict, no_freeze;
};

static int check_parse(const struct command *self, int argc, char **argv, struct check_args *ret)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "strict", no_argument, NULL, 'S' },
		{ "no-freeze", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
		switch (c) {
		case 'j':
			ret->json = true;
			break;
		case 'S':
			ret->strict = true;
			break;
		case 'n':
			ret->no_freeze = true;
			break;
		case 'h':
			command_help(self);
			return -1;
		default:
			return bad_option(self, c, argv);
		}
	}
	if (argc - optind != 1)
		return usage_error(
			self, argc == optind ? "which program? name its pid or job" : "one program at a time");
	ret->target = argv[optind];
	return 0;
}

/* "ok  "python3" (pid 812): fd 3: file "/etc/passwd", offset 120" */
static void print_objects(const struct stasis_report *r)
{
	for (size_t i = 0; i < r->n_objects; i++) {
		const struct stasis_object *o = &r->objects[i];

		printf("%-3s ", o->can ? "ok" : "NO");
		if (o->where && o->where[0]) {
			put_text(stdout, o->where);
			fputs(": ", stdout);
		}
		put_text(stdout, o->kind ? o->kind : "?");
		if (o->what && o->what[0]) {
			fputs(": ", stdout);
			put_text(stdout, o->what);
		}
		putchar('\n');
	}
}

static void print_verdict(const struct stasis_report *r)
{
	char still[32];

	fflush(stdout);
	put_text(stderr, r->name[0] ? r->name : "the program");
	fprintf(stderr, " can be checkpointed (%" PRIu64 " task%s, %zu objects)", r->processes,
		r->processes == 1 ? "" : "s", r->n_objects);
	if (r->still_ns)
		fprintf(stderr, ", stood still %s", human_time(r->still_ns, still, sizeof(still)));
	fputc('\n', stderr);
	report_notes(r);
}

static int check_do(const struct check_args *args, struct arena *a, struct stasis_report *r)
{
	struct target target = { 0 };
	struct progress progress;

	int status = target_find(a, args->target, &target, r);
	if (status)
		return status;
	progress_begin(&progress, "checking", target.name);
	const struct stasis_check_options options = {
		.size = sizeof(options),
		.strict = args->strict,
		.no_freeze = args->no_freeze,
		.cancel = cancel_begin(),
		.progress = progress_show,
		.progress_data = &progress,
	};
	status = stasis_check(target.pid, &options, r);
	progress_end(&progress);
	int signo = cancel_signal(NULL);
	return status && signo && !r->n_obstacles ? report_interrupted(r, a, signo) : status;
}

static int check_main(const struct command *self, int argc, char **argv)
{
	struct check_args args = { 0 };
	struct stasis_report r = { 0 };
	struct arena a;

	int status = check_parse(self, argc, argv, &args);
	if (status)
		return status < 0 ? 0 : status;
	arena_init(&a);
	status = check_do(&args, &a, &r);
	if (args.json) {
		report_json(stdout, &r, true);
	} else {
		print_objects(&r);
		if (status)
			report_failure(&r);
		else
			print_verdict(&r);
	}
	stasis_report_done(&r);
	arena_done(&a);
	return status;
}

const struct command cmd_check = {
	.name = "check",
	.synopsis = "TARGET [--strict] [--no-freeze] [--json]",
	.summary = "would a checkpoint succeed? every object with its verdict",
	.help = "TARGET is a pid, or the name of a job that stasis run started. The program stands still for a moment, "
		"as for "
		"a\n"
		"checkpoint, and notices nothing.\n"
		"\n"
		"  --strict     count what could be kept only in part as an obstacle\n"
		"  --no-freeze  only look at it while it runs; what shows only when it stands still is not seen\n"
		"  --json       the report as one JSON object on standard output\n"
		"\n"
		"Exit status 0 when a checkpoint would succeed, 121 when an object stands against it.\n",
	.main = check_main,
};
