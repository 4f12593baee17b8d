/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening an image to read it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#include "cli/cli.h"

/* The stream moves away from 0, so that a restarted program does not get the rest of it as its standard input. */
static int take_stdin(void)
{
	_cleanup_close_ int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	_cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int image_input(const char *path, struct arena *a, struct stasis_report *r)
{
	bool is_stdin = strcmp(path, "-") == 0;
	const char *shown = is_stdin ? "standard input" : path;
	struct stat st;

	_cleanup_close_ int fd = is_stdin ? -EBADF : open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	int err = fd < 0 ? -errno : 0;
	if (is_stdin && !isatty(STDIN_FILENO))
		err = fd = take_stdin();
	if (is_stdin ? isatty(STDIN_FILENO) : fd >= 0 && isatty(fd)) {
		report_fail(r, a, EXIT_USAGE, "terminal", "name a file, or send it in: ... | stasis restart -",
			"an image is not read from a terminal");
		return -ENOTTY;
	}
	if (err >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		err = -EISDIR;
	if (err < 0) {
		report_fail(
			r, a, report_errno(err), "input", NULL, "cannot read the image %s: %s", shown, strerror(-err));
		return err;
	}
	return TAKE_FD(fd);
}
