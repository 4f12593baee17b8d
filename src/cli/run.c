/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis run: start a program, or go on with it where its newest image was made; save it now and then.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "cli/cli.h"
#include "cli/run.h"

static int parse_on(const struct command *self, const char *text, sigset_t *on)
{
	int signo = parse_signal(text);

	if (signo < 0)
		return usage_error(self, "--on takes the name of a signal, like TERM or USR1, not \"%s\"", text);
	if (sigaddset(on, signo) < 0 || signo == SIGKILL || signo == SIGSTOP || signo == SIGCHLD)
		return usage_error(self, "--on %s: that signal cannot be caught; TERM, USR1 and others can", text);
	return 0;
}

static int parse_keep(const struct command *self, const char *text, unsigned int *ret)
{
	uint64_t n;

	if (parse_u64(&text, 10, &n) < 0 || *text || n == 0 || n > UINT_MAX)
		return usage_error(self, "--keep takes a number of images, at least 1");
	*ret = (unsigned int)n;
	return 0;
}

static int run_option(const struct command *self, int c, char **argv, struct run_args *ret)
{
	switch (c) {
	case 'n':
		ret->name = optarg;
		if (!job_name_valid(optarg))
			return usage_error(
				self, "--name takes a word of up to 64 characters without blanks and /, not a number");
		return 0;
	case 'd':
		ret->dir = optarg;
		return 0;
	case 'e':
		if (parse_duration(optarg, &ret->every_ns) < 0 || ret->every_ns == 0)
			return usage_error(self, "--every takes a time, like 30s, 10m or 1.5h, not \"%s\"", optarg);
		return 0;
	case 'o':
		return parse_on(self, optarg, &ret->on);
	case 'k':
		return parse_keep(self, optarg, &ret->keep);
	case 'f':
		ret->fresh = true;
		return 0;
	case 'c':
		return parse_clock(self, optarg, &ret->clock);
	case 'z':
		return parse_compress(self, optarg, &ret->compress);
	case 'h':
		command_help(self);
		return -1;
	default:
		return bad_option(self, c, argv);
	}
}

static int run_parse(const struct command *self, int argc, char **argv, struct run_args *ret)
{
	static const struct option options[] = {
		{ "name", required_argument, NULL, 'n' },
		{ "dir", required_argument, NULL, 'd' },
		{ "every", required_argument, NULL, 'e' },
		{ "on", required_argument, NULL, 'o' },
		{ "keep", required_argument, NULL, 'k' },
		{ "fresh", no_argument, NULL, 'f' },
		{ "clock", required_argument, NULL, 'c' },
		{ "compress", optional_argument, NULL, 'z' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};

	*ret = (struct run_args){ .keep = 2 };
	sigemptyset(&ret->on);
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "+:h", options, NULL)) != -1;) {
		int status = run_option(self, c, argv, ret);
		if (status)
			return status;
	}
	ret->argv = argv + optind;
	if (!ret->argv[0] || !ret->argv[0][0])
		return usage_error(self, "which command?");
	if (ret->dir && !ret->dir[0])
		return usage_error(self, "--dir needs the name of a directory");
	return 0;
}

/* As mkdir -p; what is made is for the caller alone, since images hold all that the program knows. */
static int make_dirs(struct arena *a, const char *path)
{
	char *copy = arena_strdup(a, path);

	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(copy, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int open_dir(struct run *run)
{
	const char *dir = run->args->dir;

	if (!dir) {
		run->own_dir = true;
		dir = arena_printf(&run->arena, "%s.stasis.d", run->name);
	}
	int r = make_dirs(&run->arena, dir);
	if (r == 0) {
		run->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = run->dirfd < 0 ? -errno : 0;
	}
	_cleanup_free_ char *real = r == 0 ? realpath(dir, NULL) : NULL;
	if (r == 0 && !real)
		r = -errno;
	if (r < 0)
		return report_fail(&run->report, &run->arena, report_errno(r), "dir",
			"name a directory that you can write to: --dir D", "cannot keep images in %s: %s", dir,
			strerror(-r));
	run->dir = arena_strdup(&run->arena, real);
	return 0;
}

/* Would execvp(3) find it? 0, 126 or 127. */
static int find_command(struct arena *a, const char *name)
{
	const char *path = getenv("PATH");
	int status = EXIT_NOT_FOUND;
	struct stat st;

	if (strchr(name, '/')) {
		if (stat(name, &st) < 0)
			return errno == ENOENT || errno == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
		return S_ISREG(st.st_mode) && access(name, X_OK) == 0 ? 0 : EXIT_NOT_EXECUTABLE;
	}
	for (const char *p = path ? path : "/bin:/usr/bin";; p++) {
		size_t len = strcspn(p, ":");
		const char *file = arena_printf(a, "%.*s/%s", len ? (int)len : 1, len ? p : ".", name);
		if (stat(file, &st) == 0 && S_ISREG(st.st_mode)) {
			if (access(file, X_OK) == 0)
				return 0;
			status = EXIT_NOT_EXECUTABLE;
		}
		p += len;
		if (!*p)
			return status;
	}
}

static const char *command_line(struct arena *a, char *const *argv)
{
	char *text = arena_strdup(a, argv[0]);

	for (size_t i = 1; argv[i]; i++)
		text = arena_printf(a, "%s %s", text, argv[i]);
	return text;
}

static int start_anew(struct run *run)
{
	const struct stasis_spawn_options options = {
		.size = sizeof(options),
		.argv = run->args->argv,
		.sigmask = &run->old_mask,
	};
	const char *name = run->args->argv[0];

	int status = find_command(&run->arena, name);
	if (status)
		return report_fail(&run->report, &run->arena, status,
			status == EXIT_NOT_FOUND ? "not-found" : "not-executable", NULL, "cannot run \"%s\": %s", name,
			status == EXIT_NOT_FOUND ? "command not found" : "it is no file that you may execute");
	return stasis_spawn(&options, &run->job, &run->report);
}

static int restart_image(struct run *run, const struct image_file *image)
{
	struct progress progress;

	_cleanup_close_ int fd = openat(run->dirfd, image->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return report_fail(&run->report, &run->arena, report_errno(errno), "input", NULL, "cannot open %s: %s",
			image->name, strerror(errno));
	progress_begin(&progress, "restarting", run->name);
	const struct stasis_restart_options options = {
		.size = sizeof(options),
		.fd = fd,
		.own_pidns = true,
		.own_cgroup = true,
		.terminal = true,
		.clock = run->args->clock,
		.progress = progress_show,
		.progress_data = &progress,
	};
	int status = stasis_restart(&options, &run->job, &run->report);
	progress_end(&progress);
	return status;
}

static void went_on(struct run *run, const struct image_file *image)
{
	report_restarted(&run->report);
	if (run->lock.command && strcmp(run->lock.command, run->command) != 0) {
		const char *was;
		if (line_unescape(&run->arena, run->lock.command, strlen(run->lock.command), &was) == 0) {
			fprintf(stderr, "note: %s was made of another command line, which goes on: ", image->name);
			put_text(stderr, was);
			fputs("   (--fresh starts the present one)\n", stderr);
		}
	}
}

/* Goes on with the newest image that is one. A damaged image is said; any other failure is the end of it. */
static int go_on(struct run *run, const struct span *images)
{
	const struct image_file *image = images->at;
	int status = 0;

	for (size_t i = images->n; i-- > 0;) {
		status = restart_image(run, &image[i]);
		if (status == 0) {
			run->restarted_from = image[i].n;
			went_on(run, &image[i]);
			return 0;
		}
		if (status != EXIT_IMAGE || i == 0)
			break;
		report_failure(&run->report);
		fprintf(stderr, "note: %s is not usable; trying %s\n", image[i].name, image[i - 1].name);
		stasis_report_done(&run->report);
		run->report = (struct stasis_report){ 0 };
	}
	run->hint = true;
	return status;
}

static int start(struct run *run)
{
	struct span images = { 0 };

	int r = images_list(&run->arena, run->dirfd, run->name, &images);
	if (r < 0)
		return report_fail(&run->report, &run->arena, report_errno(r), "dir", NULL, "cannot list %s: %s",
			run->dir, strerror(-r));
	if (images.n)
		run->next = ((const struct image_file *)images.at)[images.n - 1].n + 1;
	else
		run->next = 1;
	run->first = run->next;
	if (images.n == 0 || run->args->fresh) {
		/* images of before --fresh are as good as damaged ones: the next success replaces them */
		run->restarted_from = 0;
		return start_anew(run);
	}
	return go_on(run, &images);
}

/* Tell `stasis ls`, and the next supervisor, what runs. Not being able to is no reason not to run. */
static void tell_others(struct run *run)
{
	struct job job = {
		.pid = run->job.pid,
		.since = time(NULL),
		.name = run->name,
		.dir = run->dir,
		.command = command_line(&run->arena, run->args->argv),
	};

	int r = lock_tell(&run->lock, &run->arena, run->job.wait_pid, run->command);
	if (r < 0)
		fprintf(stderr, "note: cannot write to %s/%s: %s\n", run->dir, run->lock.file, strerror(-r));
	r = process_start(&run->arena, job.pid, &job.start);
	if (r == -ESRCH)
		return; /* it has ended already */
	if (r == 0)
		r = job_register(&run->arena, &job, &run->registered);
	if (r < 0)
		fprintf(stderr, "note: stasis ls will not show this job: %s\n", strerror(-r));
}

static int run_do(struct run *run)
{
	sigset_t signals, blocked;

	int status = open_dir(run);
	if (status == 0)
		status = lock_take(&run->lock, &run->arena, run->dirfd, run->name, &run->report);
	if (status)
		return status;
	images_sweep(run->dirfd, run->name);

	/* from here on a signal waits until the program is there to get it */
	forwarded_signals(&signals);
	sigorset(&signals, &signals, &run->args->on);
	blocked = signals;
	sigaddset(&blocked, SIGPIPE);
	sigprocmask(SIG_BLOCK, &blocked, &run->old_mask);
	terminal_find(&run->terminal, false);
	status = start(run);
	if (status)
		return status;
	tell_others(run);
	status = supervise(run, &signals);
	stasis_job_done(&run->job);
	return status;
}

/* Where no image remains, no lock file does, nor a directory that only the default asked for. */
static void clean_up(struct run *run)
{
	struct span images = { 0 };

	job_forget(run->registered);
	bool is_empty =
		run->lock.fd >= 0 && images_list(&run->arena, run->dirfd, run->name, &images) == 0 && images.n == 0;
	lock_release(&run->lock, is_empty);
	run->dirfd = fd_close(run->dirfd);
	if (is_empty && run->own_dir)
		rmdir(run->dir); /* unless there is something else in it */
}

static int run_main(const struct command *self, int argc, char **argv)
{
	struct run_args args;

	int status = run_parse(self, argc, argv, &args);
	if (status)
		return status < 0 ? 0 : status;
	struct run run = { .args = &args, .dirfd = -EBADF, .lock = { .fd = -EBADF } };
	arena_init(&run.arena);
	const char *slash = strrchr(args.argv[0], '/');
	run.name = args.name ? args.name : file_name(&run.arena, slash ? slash + 1 : args.argv[0]);
	run.command = line_escape(&run.arena, command_line(&run.arena, args.argv));
	status = run_do(&run);
	if (run.report.status)
		report_failure(&run.report);
	if (run.hint) {
		fputs("note: nothing was started; the images are in ", stderr);
		put_text(stderr, run.dir);
		fputs(", and --fresh starts anew without them\n", stderr);
	}
	clean_up(&run);
	stasis_report_done(&run.report);
	arena_done(&run.arena);
	return status;
}

const struct command cmd_run = {
	.name = "run",
	.synopsis = "[--name N] [--dir D] [--every TIME] [--on SIGNAL]... [--keep N] [--compress[=LEVEL]] [--fresh] "
		    "[--clock=continue|real] [--] COMMAND [ARGUMENTS]",
	.summary = "start a program so that it can always be brought back",
	.help = "Starts COMMAND. When the directory holds images of the job, goes on where the newest one was made "
		"instead: after a\n"
		"crash, a reboot or an eviction the same line continues. Signals are passed on; the exit status is the "
		"program's.\n"
		"\n"
		"  --name N      the job's name, for stasis ls and the image files (default: the command's)\n"
		"  --dir D       where the images are (default: ./NAME.stasis.d)\n"
		"  --every TIME  save every TIME: 90, 90s, 10m, 1.5h\n"
		"  --on SIGNAL   on SIGNAL (TERM, USR1, ...) save, end the program and exit 75; may be given more than "
		"once\n"
		"  --keep N      keep the N newest images (default: 2)\n"
		"  --compress[=LEVEL]\n"
		"                compress the memory in the images: 1 is fast (default), 19 small\n"
		"  --fresh       start anew, although there are images\n"
		"  --clock=real  from an image, go on with CLOCK_MONOTONIC and CLOCK_BOOTTIME of this host, not from "
		"where "
		"they were\n"
		"\n"
		"A program that ends with status 0 has done its work: its images are removed. After any other end they "
		"are kept.\n",
	.main = run_main,
};
