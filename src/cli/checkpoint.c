/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis checkpoint: save a program in a file or a stream.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/rush.h"
#include "base/text.h"

#include "cli/cli.h"

#define LEVEL_DEFAULT 1

struct checkpoint_args {
	const char *target;
	const char *output; /* NULL: the default */
	bool stop, json, strict;
	int compress;
};

int parse_compress(const struct command *self, const char *text, int *ret)
{
	uint64_t level = LEVEL_DEFAULT;

	if (text && (parse_u64(&text, 10, &level) < 0 || *text || level < 1 || level > STASIS_COMPRESS_MAX))
		return usage_error(
			self, "--compress takes a level from 1 (fast) to %d (small), or none", STASIS_COMPRESS_MAX);
	*ret = (int)level;
	return 0;
}

static int checkpoint_parse(const struct command *self, int argc, char **argv, struct checkpoint_args *ret)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "stop", no_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "strict", no_argument, NULL, 'S' },
		{ "compress", optional_argument, NULL, 'z' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":o:h", options, NULL)) != -1;) {
		switch (c) {
		case 'o':
			ret->output = optarg;
			break;
		case 's':
			ret->stop = true;
			break;
		case 'j':
			ret->json = true;
			break;
		case 'S':
			ret->strict = true;
			break;
		case 'z':
			if (parse_compress(self, optarg, &ret->compress))
				return EXIT_USAGE;
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
	if (ret->output && !ret->output[0])
		return usage_error(self, "-o needs the name of a file, or - for standard output");
	ret->target = argv[optind];
	return 0;
}

/* struct sink - where the image goes: to @path, or as a stream to @fd */
struct sink {
	const char *path;
	int fd;
	bool is_stdout;
	const char *shown;
};

/*
 * An image replaces the regular file of its name. Whatever else has that name (a FIFO, /dev/null, /dev/fd/5) is written to
 * and never replaced; a symbolic link is followed.
 */
static int sink_path(struct sink *s, struct arena *a, const char *path, struct stasis_report *r)
{
	struct stat st;

	*s = (struct sink){ .path = path, .fd = -EBADF, .shown = path };
	if (stat(path, &st) < 0)
		return lstat(path, &st) < 0 ? 0
					    : report_fail(r, a, EXIT_USAGE, "dangling-link", "name a file: -o FILE",
						      "cannot save to %s: it is a symbolic link to nothing", path);
	if (S_ISDIR(st.st_mode))
		return report_fail(r, a, EXIT_USAGE, "is-directory", "name a file: -o FILE",
			"cannot save to %s: it is a directory", path);
	_cleanup_free_ char *real = realpath(path, NULL);
	if (S_ISREG(st.st_mode)) {
		s->path = real ? arena_strdup(a, real) : path;
		return 0;
	}
	s->path = NULL;
	s->fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (s->fd < 0)
		return report_fail(
			r, a, report_errno(errno), "output", NULL, "cannot open %s: %s", path, strerror(errno));
	return 0;
}

static int sink_open(struct sink *s, struct arena *a, const struct checkpoint_args *args, const struct target *target,
	struct stasis_report *r)
{
	int status = 0;

	if (args->output && strcmp(args->output, "-") == 0)
		*s = (struct sink){ .fd = STDOUT_FILENO, .is_stdout = true, .shown = "standard output" };
	else if (args->output)
		status = sink_path(s, a, args->output, r);
	else
		status = sink_path(
			s, a, arena_printf(a, "%s.%d.stasis", file_name(a, target->name), (int)target->pid), r);
	if (status == 0 && !s->path && isatty(s->fd))
		return report_fail(r, a, EXIT_USAGE, "terminal",
			"name a file with -o, or send it on: stasis checkpoint ... -o - | gzip > FILE",
			"an image is not written to a terminal");
	return status;
}

static int checkpoint_do(
	const struct checkpoint_args *args, struct arena *a, struct sink *sink, struct stasis_report *r)
{
	struct target target = { 0 };
	struct progress progress;

	int status = target_find(a, args->target, &target, r);
	if (status == 0)
		status = sink_open(sink, a, args, &target, r);
	if (status)
		return status;

	progress_begin(&progress, "saving", target.name);
	const struct stasis_checkpoint_options options = {
		.size = sizeof(options),
		.path = sink->path,
		.fd = sink->fd,
		.stop = args->stop,
		.strict = args->strict,
		.compress = args->compress,
		.cancel = cancel_begin(),
		.progress = progress_show,
		.progress_data = &progress,
	};
	/* up to our end, which is near then: what is let go would come first, all of it. Meanwhile others do it, and we wait */
	rush_begin(RUSH_WORTH);
	status = stasis_checkpoint(target.pid, &options, r);
	progress_end(&progress);
	int signo = cancel_signal(NULL);
	return status && signo && !r->n_obstacles ? report_interrupted(r, a, signo) : status;
}

static int checkpoint_main(const struct command *self, int argc, char **argv)
{
	struct checkpoint_args args = { 0 };
	struct stasis_report r = { 0 };
	struct sink sink = { .fd = -EBADF };
	struct arena a;

	int status = checkpoint_parse(self, argc, argv, &args);
	if (status)
		return status < 0 ? 0 : status;
	signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error like any other */
	bool to_stdout = args.output && strcmp(args.output, "-") == 0;
	arena_init(&a);
	status = checkpoint_do(&args, &a, &sink, &r);
	if (args.json)
		report_json(to_stdout ? stderr : stdout, &r, false);
	else if (status)
		report_failure(&r);
	else
		report_saved(&r, sink.shown);
	if (!sink.is_stdout)
		fd_close(sink.fd);
	stasis_report_done(&r);
	arena_done(&a);
	return status;
}

const struct command cmd_checkpoint = {
	.name = "checkpoint",
	.synopsis = "TARGET [-o FILE|-] [--compress[=LEVEL]] [--stop] [--strict] [--json]",
	.summary = "save a running program and all below it",
	.help = "TARGET is a pid, or the name of a job that stasis run started. The program keeps running and notices "
		"nothing.\n"
		"\n"
		"  -o, --output FILE  where the image goes; - is standard output. Default: NAME.PID.stasis in this "
		"directory.\n"
		"                     An image appears under its name when it is complete, and not before.\n"
		"      --compress[=LEVEL]\n"
		"                     compress the memory in the image: 1 is fast (default), 19 small\n"
		"      --stop         end the program once its image is safe\n"
		"      --strict       refuse what could be kept only in part, instead of naming it in a note\n"
		"      --json         the report as one JSON object on standard output (standard error with -o -)\n",
	.main = checkpoint_main,
};
