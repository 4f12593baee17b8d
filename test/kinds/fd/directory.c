/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static int listing, fresh, path;

/* The next name in the directory; "" at its end. */
static const char *next_name(void)
{
	static char entry[64];
	struct dirent64 *e = (struct dirent64 *)entry;

	return syscall(SYS_getdents64, listing, entry, 32) > 0 ? e->d_name : "";
}

static void make(void)
{
	char name[32];

	mkdir(witness_path("d"), 0700);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d/%d", i);
		mkdir(witness_path(name), 0700);
	}
	listing = open(witness_path("d"), O_RDONLY | O_DIRECTORY);
	fresh = open(witness_path("d"), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	path = open(witness_path("d"), O_PATH | O_DIRECTORY);
	flock(fresh, LOCK_SH);
	for (int i = 0; i < 9; i++)
		next_name();
}

static int flock_of_another(void)
{
	int fd = open(witness_path("d"), O_RDONLY);

	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
}

static void look(void)
{
	off_t at = lseek(listing, 0, SEEK_CUR);

	SAY(at);
	for (int i = 0; i < 15; i++)
		SAY(next_name());
	SAY(lseek(listing, at, SEEK_SET) == at);
	SAY(lseek(fresh, 0, SEEK_CUR));
	SAY(fcntl(listing, F_GETFL));
	SAY(fcntl(fresh, F_GETFL));
	SAY(fcntl(fresh, F_GETFD));
	SAY(fcntl(path, F_GETFL));
	SAY(faccessat(path, "7", F_OK, 0));
	SAY(witness_in_child(flock_of_another));
}

WITNESS(make, look)
