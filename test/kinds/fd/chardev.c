/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/stat.h>

#include "lib/witness.h"

static const char *const paths[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom" };
static int fds[5];

static void make(void)
{
	static const int flags[] = { O_WRONLY | O_APPEND, O_RDWR, O_RDWR | O_NONBLOCK, O_RDONLY, O_RDONLY | O_CLOEXEC };

	for (int i = 0; i < 5; i++)
		fds[i] = open(paths[i], flags[i]);
}

static void look(void)
{
	for (int i = 0; i < 5; i++) {
		struct stat st = { 0 };
		char c = 1;

		SAY(paths[i]);
		SAY(fcntl(fds[i], F_GETFL));
		SAY(fcntl(fds[i], F_GETFD));
		SAY(fstat(fds[i], &st));
		SAY(S_ISCHR(st.st_mode));
		SAY(st.st_rdev);
		SAY(read(fds[i], &c, 1) < 0 ? errno : i > 2 || !c);
		SAY(write(fds[i], &c, 1) < 0 ? errno : 0);
	}
}

WITNESS(make, look)
