/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis check: would a checkpoint succeed?
 */
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"

#include "cli/cli.h"

struct check_args {
	const char *target;
	bool json, strict;
};

static int check_parse(const struct command *self, int argc, char **argv, struct check_args *ret)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "strict", no_argument, NULL, 'S' },
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
	fflush(stdout);
	put_text(stderr, r->name[0] ? r->name : "the program");
	fprintf(stderr, " can be checkpointed (%" PRIu64 " task%s, %zu objects)\n", r->processes,
		r->processes == 1 ? "" : "s", r->n_objects);
	report_notes(r);
}

static int check_main(const struct command *self, int argc, char **argv)
{
	struct check_args args = { 0 };
	struct stasis_report r = { 0 };
	struct target target = { 0 };
	struct arena a;

	int status = check_parse(self, argc, argv, &args);
	if (status)
		return status < 0 ? 0 : status;
	arena_init(&a);
	status = target_find(&a, args.target, &target, &r);
	if (status == 0) {
		const struct stasis_check_options options = { .size = sizeof(options), .strict = args.strict };
		status = stasis_check(target.pid, &options, &r);
	}
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
	.synopsis = "TARGET [--strict] [--json]",
	.summary = "would a checkpoint succeed? every object with its verdict",
	.help = "TARGET is a pid, or the name of a job that stasis run started. Nothing is changed.\n"
		"\n"
		"  --strict  count what could be kept only in part as an obstacle\n"
		"  --json    the report as one JSON object on standard output\n"
		"\n"
		"Exit status 0 when a checkpoint would succeed, 121 when an object stands against it.\n",
	.main = check_main,
};
