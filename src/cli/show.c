/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis show: what is in an image.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "cli/cli.h"

struct show_args {
	const char *image;
	bool json;
};

static int show_parse(const struct command *self, int argc, char **argv, struct show_args *ret)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
		switch (c) {
		case 'j':
			ret->json = true;
			break;
		case 'h':
			command_help(self);
			return -1;
		default:
			return bad_option(self, c, argv);
		}
	}
	if (argc - optind != 1)
		return usage_error(self, argc == optind ? "which image?" : "one image at a time");
	ret->image = argv[optind];
	return 0;
}

/* One JSON document, whatever happens: the image's, or that of the failure. */
static int show_json(int fd, struct stasis_report *r)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *buffer = open_memstream(&text, &len);

	if (!buffer) {
		r->error = "out of memory";
		return r->status = EXIT_ENVIRONMENT;
	}
	int status = stasis_show(fd, true, buffer, r);
	if (fclose(buffer) != 0 && status == 0) {
		r->error = "out of memory";
		status = r->status = EXIT_ENVIRONMENT;
	}
	if (status == 0)
		fwrite(text, 1, len, stdout);
	return status;
}

static int show_main(const struct command *self, int argc, char **argv)
{
	struct show_args args = { 0 };
	struct stasis_report r = { 0 };
	struct arena a;

	int status = show_parse(self, argc, argv, &args);
	if (status)
		return status < 0 ? 0 : status;
	arena_init(&a);
	int fd = image_input(args.image, &a, &r);
	if (fd < 0)
		status = r.status;
	else
		status = args.json ? show_json(fd, &r) : stasis_show(fd, false, stdout, &r);
	if (status && args.json)
		report_json(stdout, &r, false);
	else if (status)
		report_failure(&r);
	else if (!args.json)
		report_notes(&r);
	fd_close(fd);
	stasis_report_done(&r);
	arena_done(&a);
	return status;
}

const struct command cmd_show = {
	.name = "show",
	.synopsis = "IMAGE|- [--json]",
	.summary = "what is in an image: header, tasks, memory, open files",
	.help = "The image is read to its end, and every checksum in it is verified.\n"
		"\n"
		"  --json  one JSON document on standard output\n"
		"\n"
		"Exit status 123 when it is incomplete, altered, or no image.\n",
	.main = show_main,
};
