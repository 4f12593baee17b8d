/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis restart: bring a program back, and stand by it unless told otherwise.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "cli/cli.h"

struct restart_args {
	const char *image;
	const char *pid_file;
	struct span files; /* of struct stasis_file_rule */
	bool detach, json, pidns, strict;
	enum stasis_clock_policy clock;
};

/* "PATH=keep", "PATH=truncate" or "PATH=allow"; a path may hold '=' */
static int parse_rule(const struct command *self, struct arena *a, const char *text, struct span *files)
{
	const char *eq = strrchr(text, '=');
	struct stasis_file_rule rule = { 0 };

	if (eq && strcmp(eq, "=keep") == 0)
		rule.policy = STASIS_FILE_KEEP;
	else if (eq && strcmp(eq, "=truncate") == 0)
		rule.policy = STASIS_FILE_TRUNCATE;
	else if (eq && strcmp(eq, "=allow") == 0)
		rule.policy = STASIS_FILE_ALLOW;
	if (!rule.policy || eq == text)
		return usage_error(self, "--file takes PATH=keep, PATH=truncate or PATH=allow, not \"%s\"", text);
	rule.path = arena_strndup(a, text, (size_t)(eq - text));
	*(struct stasis_file_rule *)span_push(a, files, sizeof(rule)) = rule;
	return 0;
}

int parse_clock(const struct command *self, const char *text, enum stasis_clock_policy *ret)
{
	if (strcmp(text, "continue") == 0)
		*ret = STASIS_CLOCK_CONTINUE;
	else if (strcmp(text, "real") == 0)
		*ret = STASIS_CLOCK_REAL;
	else
		return usage_error(self, "--clock takes continue or real, not \"%s\"", text);
	return 0;
}

static int restart_option(const struct command *self, int c, char **argv, struct arena *a, struct restart_args *ret)
{
	switch (c) {
	case 'd':
		ret->detach = true;
		return 0;
	case 'p':
		ret->pid_file = optarg;
		return 0;
	case 'f':
		return parse_rule(self, a, optarg, &ret->files);
	case 'j':
		ret->json = true;
		return 0;
	case 'c':
		return parse_clock(self, optarg, &ret->clock);
	case 'n':
		ret->pidns = true;
		return 0;
	case 'S':
		ret->strict = true;
		return 0;
	case 'h':
		command_help(self);
		return -1;
	default:
		return bad_option(self, c, argv);
	}
}

static int restart_parse(const struct command *self, int argc, char **argv, struct arena *a, struct restart_args *ret)
{
	static const struct option options[] = {
		{ "detach", no_argument, NULL, 'd' },
		{ "pid-file", required_argument, NULL, 'p' },
		{ "file", required_argument, NULL, 'f' },
		{ "clock", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "pidns", no_argument, NULL, 'n' },
		{ "strict", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};

	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
		int status = restart_option(self, c, argv, a, ret);
		if (status)
			return status;
	}
	if (argc - optind != 1)
		return usage_error(self, argc == optind ? "which image?" : "one image at a time");
	ret->image = argv[optind];
	return 0;
}

/* struct pid_file - made before the program, so that a bad name is found out in time; it appears with the pid in it */
struct pid_file {
	int fd;
	const char *path, *temporary;
	bool written;
};

static int pid_file_open(struct pid_file *f, struct arena *a, const char *path, struct stasis_report *r)
{
	*f = (struct pid_file){ .fd = -EBADF, .path = path };
	if (!path)
		return 0;
	char *temporary = arena_printf(a, "%s.XXXXXX", path);
	f->fd = mkostemp(temporary, O_CLOEXEC);
	if (f->fd < 0)
		return report_fail(r, a, report_errno(errno), "pid-file",
			"name a file in a directory that you can write to", "cannot write the pid file %s: %s", path,
			strerror(errno));
	f->temporary = temporary;
	return 0;
}

/* The file appears with the pid in it; called before the program runs, so that it does not run when this fails. */
static int pid_file_write(void *data, pid_t pid)
{
	struct pid_file *f = data;

	if (f->fd < 0)
		return 0;
	if (dprintf(f->fd, "%d\n", (int)pid) < 0 || fchmod(f->fd, 0644) < 0 || rename(f->temporary, f->path) < 0)
		return -errno;
	f->written = true;
	return 0;
}

/* When the restart did not succeed nothing remains. */
static void pid_file_close(struct pid_file *f, bool keep)
{
	if (f->fd < 0)
		return;
	if (!keep)
		unlink(f->written ? f->path : f->temporary);
	f->fd = fd_close(f->fd);
}

/* An attached restart must not die of a signal that is meant for the program: it waits until the program is there. */
static void hold_signals(sigset_t *all)
{
	static const int cancelling[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP };
	sigset_t held;

	forwarded_signals(all);
	held = *all;
	for (size_t i = 0; i < ARRAY_SIZE(cancelling); i++)
		sigdelset(&held, cancelling[i]);
	sigaddset(&held, SIGPIPE);
	sigprocmask(SIG_BLOCK, &held, NULL);
}

/* Stand by the program until it ends; returns its exit status. */
static int attend(const struct stasis_job *job, const sigset_t *signals, const struct terminal *terminal,
	struct stasis_report *r, struct arena *a)
{
	struct signalfd_siginfo si;
	struct watch w;
	bool from_kernel;

	sigprocmask(SIG_BLOCK, signals, NULL);
	int err = watch_begin(&w, job, signals);
	if (err < 0) {
		report_fail(r, a, EXIT_ENVIRONMENT, "wait", NULL, "cannot wait for the program: %s", strerror(-err));
		report_failure(r);
		return EXIT_ENVIRONMENT;
	}
	watch_lend(&w, terminal, true);
	/* a signal that came too late to stop the restart was meant for the program */
	int signo = cancel_signal(&from_kernel);
	if (signo)
		watch_forward(&w, signo, from_kernel);
	while (watch_next(&w, 0, &si) != WATCH_ENDED)
		watch_forward(&w, (int)si.ssi_signo, si.ssi_code == SI_KERNEL);
	watch_end(&w);
	return w.status;
}

static int restart_do(const struct restart_args *args, struct arena *a, struct stasis_job *job, struct stasis_report *r)
{
	struct progress progress;
	struct pid_file pid_file;

	int fd = image_input(args->image, a, r);
	if (fd < 0)
		return r->status;
	int status = pid_file_open(&pid_file, a, args->pid_file, r);
	if (status) {
		fd_close(fd);
		return status;
	}
	progress_begin(&progress, "restarting", NULL);
	const struct stasis_restart_options options = {
		.size = sizeof(options),
		.fd = fd,
		.files = args->files.at,
		.n_files = args->files.n,
		.detach = args->detach,
		.own_pidns = args->pidns,
		.strict = args->strict,
		.terminal = true,
		.clock = args->clock,
		.cancel = cancel_begin(),
		.progress = progress_show,
		.progress_data = &progress,
		.before_run = pid_file_write,
		.before_run_data = &pid_file,
	};
	status = stasis_restart(&options, job, r);
	progress_end(&progress);
	fd_close(fd);
	pid_file_close(&pid_file, status == 0);
	int signo = cancel_signal(NULL);
	return status && signo && !r->n_obstacles ? report_interrupted(r, a, signo) : status;
}

/*
 * Whose parent ends, and was the only one in its session who could continue it, is hung up while it is stopped
 * (kill_orphaned_pgrp() in kernel/exit.c): not by us, once we are in another session. Who leads a group cannot begin one,
 * but can join the program's first.
 */
static void leave_session(const struct stasis_job *job)
{
	if (getsid(job->pid) != getsid(0))
		return;
	setpgid(0, getpgid(job->pid));
	setsid();
}

static int restart_main(const struct command *self, int argc, char **argv)
{
	struct restart_args args = { 0 };
	struct stasis_report r = { 0 };
	struct stasis_job job = { 0 };
	struct terminal terminal;
	sigset_t signals;
	struct arena a;

	arena_init(&a);
	int status = restart_parse(self, argc, argv, &a, &args);
	if (status) {
		arena_done(&a);
		return status < 0 ? 0 : status;
	}
	hold_signals(&signals);
	terminal_find(&terminal, false);
	status = restart_do(&args, &a, &job, &r);
	if (args.json)
		report_json(stdout, &r, false);
	else if (status)
		report_failure(&r);
	else
		report_restarted(&r);
	if (status == 0 && args.detach)
		leave_session(&job);
	else if (status == 0)
		status = attend(&job, &signals, &terminal, &r, &a);
	stasis_report_done(&r);
	arena_done(&a);
	return status;
}

const struct command cmd_restart = {
	.name = "restart",
	.synopsis = "IMAGE|- [--detach] [--pid-file F] [--file PATH=keep|truncate|allow]... [--pidns] "
		    "[--clock=continue|real] [--strict] [--json]",
	.summary = "bring a saved program back",
	.help = "The program goes on where its image was made. stasis stays with it, passes signals on to it, and ends "
		"with its\n"
		"exit status. What was standard input, output or error from elsewhere becomes that of this command.\n"
		"\n"
		"      --detach        return at once; the program goes on alone\n"
		"      --pid-file F    write its pid to F\n"
		"      --file PATH=keep      a file that changed since the checkpoint: take it as it is now\n"
		"      --file PATH=truncate  cut it back to the size that it had at the checkpoint\n"
		"      --file PATH=allow     give it to the program with your rights, where it may not open it itself\n"
		"      --pidns         give it a pid namespace of its own, even where its pids are free\n"
		"      --clock=continue      CLOCK_MONOTONIC and CLOCK_BOOTTIME go on from where they were, where that "
		"can "
		"be had\n"
		"                            (the default)\n"
		"      --clock=real    the program gets those of this host\n"
		"      --strict        refuse what could be brought back only in part, instead of naming it in a note\n"
		"      --json          the report as one JSON object on standard output\n"
		"\n"
		"When it fails nothing of the attempt remains, and the image is as it was.\n",
	.main = restart_main,
};
