/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stasis(1): the table of commands.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "cli/cli.h"

static const struct command *const commands[] = {
	&cmd_run,
	&cmd_checkpoint,
	&cmd_restart,
	&cmd_check,
	&cmd_show,
	&cmd_ls,
};

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int overview(FILE *out)
{
	fputs("usage: stasis COMMAND [ARGUMENTS]\n"
	      "\n"
	      "Save running programs in a file and bring them back: after a crash, a reboot, or on another machine.\n"
	      "\n",
		out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\n"
	      "  stasis help COMMAND   its arguments\n"
	      "  stasis --version\n"
	      "\n"
	      "Exit status: 0, or the program's own (128 + n for signal n); 120 usage, 121 cannot be kept, 122 "
	      "permission,\n"
	      "123 bad image, 124 timed out, 125 environment, 126 and 127 command not executable, not found.\n",
		out);
	return 0;
}

static int unknown(const char *what)
{
	fputs("stasis: unknown command \"", stderr);
	put_text(stderr, what);
	fputs("\"   [usage]\n  try:  stasis --help\n", stderr);
	return EXIT_USAGE;
}

static int help(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "help") == 0)
		return overview(stdout);
	const struct command *c = command_find(argv[1]);
	return c ? command_help(c) : unknown(argv[1]);
}

static int dispatch(int argc, char **argv)
{
	if (argc < 2) {
		overview(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("stasis %s\n", stasis_version());
		return 0;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return overview(stdout);
	if (strcmp(argv[1], "help") == 0)
		return help(argc - 1, argv + 1);

	const struct command *c = command_find(argv[1]);
	if (!c)
		return unknown(argv[1]);
	return c->main(c, argc - 1, argv + 1);
}

/* A descriptor that we open must not land on 0, 1 or 2, where messages go. */
static int open_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
			return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	int err = open_standard();
	if (err < 0) {
		fprintf(stderr, "stasis: cannot open /dev/null: %s\n", strerror(-err));
		return EXIT_ENVIRONMENT;
	}
	/* no signal for each stop of each thread, which wakes us in vain: who traces waits */
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP }, NULL);
	signal(SIGXFSZ, SIG_IGN); /* an image beyond RLIMIT_FSIZE is an error like any other */

	int status = dispatch(argc, argv);
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
		fprintf(stderr, "stasis: cannot write to standard output: %s   [output]\n", strerror(errno));
		return EXIT_ENVIRONMENT;
	}
	return status;
}
