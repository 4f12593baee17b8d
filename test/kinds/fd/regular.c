/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/kcmp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

static int rw, copy, reader, appender, path, gone, gone_too, nameless;
static pid_t child;

static void nothing(void)
{
}

static void make(void)
{
	char block[1000];

	rw = open(witness_path("file"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (int i = 0; i < 100; i++) {
		memset(block, 'a' + i % 26, sizeof(block));
		if (write(rw, block, sizeof(block)) != (ssize_t)sizeof(block))
			_exit(4);
	}
	copy = dup(rw);
	reader = open(witness_path("file"), O_RDONLY | O_NONBLOCK | O_NOATIME);
	lseek(reader, 12345, SEEK_SET);
	appender = open(witness_path("log"), O_WRONLY | O_APPEND | O_CREAT | O_DSYNC, 0600);
	if (write(appender, "one line\n", 9) != 9)
		_exit(4);
	path = open(witness_path("log"), O_PATH);
	gone = open(witness_path("gone"), O_RDWR | O_CREAT | O_NOATIME, 0640);
	gone_too = open(witness_path("gone"), O_WRONLY | O_APPEND);
	unlink(witness_path("gone"));
	nameless = open(witness_dir, O_TMPFILE | O_RDWR, 0400);
	if (write(gone, block, sizeof(block)) != (ssize_t)sizeof(block) || ftruncate(gone, 100000) < 0 ||
		write(nameless, "no name", 7) != 7)
		_exit(4);
	flock(reader, LOCK_EX);
	fcntl(rw, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_start = 100, .l_len = 50 });
	fcntl(rw, F_OFD_SETLK, &(struct flock){ .l_type = F_RDLCK, .l_start = 1000, .l_len = 0 });
	child = witness_child(nothing);
}

static long same_file(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), child, KCMP_FILE, a, b);
}

static int flock_of_another(void)
{
	int fd = open(witness_path("file"), O_RDONLY);

	return flock(fd, LOCK_SH | LOCK_NB) < 0 ? errno : 0;
}

static void say_range(off_t start)
{
	int fd = open(witness_path("file"), O_RDWR);
	struct flock l = { .l_type = F_WRLCK, .l_start = start, .l_len = 1 };

	SAY(start);
	SAY(fcntl(fd, F_OFD_GETLK, &l));
	SAY(l.l_type);
	SAY(l.l_start);
	SAY(l.l_len);
	close(fd);
}

static int move_by_seven(void)
{
	lseek(copy, 7, SEEK_CUR);
	return 0;
}

static void say_deleted(int fd)
{
	struct stat st = { 0 };
	char c[2] = { 0 };

	SAY(fstat(fd, &st));
	SAY(st.st_size);
	SAY(st.st_mode);
	SAY(st.st_nlink);
	SAY(st.st_uid);
	SAY(st.st_mtim.tv_nsec);
	SAY(lseek(fd, 0, SEEK_CUR));
	SAY(fcntl(fd, F_GETFL));
	SAY(pread(fd, c, 1, 5));
	SAY(c);
	SAY(same_file(fd, fd));
}

/* both lead to one file; it is left as it was but for its time */
static void say_together(void)
{
	char c[2] = { 0 };
	struct stat st;

	fstat(gone, &st);
	SAY(write(gone_too, "x", 1));
	SAY(pread(gone, c, 1, 100000));
	SAY(c);
	SAY(ftruncate(gone, 100000));
	SAY(lseek(gone_too, 0, SEEK_SET));
	SAY(futimens(gone, (struct timespec[]){ st.st_atim, st.st_mtim }));
}

static void look(void)
{
	char c[2] = { 0 };

	say_together();
	say_deleted(gone);
	say_deleted(gone_too);
	say_deleted(nameless);
	SAY(lseek(rw, 0, SEEK_CUR));
	SAY(witness_in_child(move_by_seven));
	SAY(lseek(rw, 0, SEEK_CUR));
	SAY(lseek(copy, -7, SEEK_CUR));
	SAY(lseek(reader, 0, SEEK_CUR));
	SAY(read(reader, c, 1));
	SAY(c);
	SAY(lseek(reader, -1, SEEK_CUR));
	SAY(lseek(appender, 0, SEEK_END));
	for (int i = 0, fds[] = { rw, copy, reader, appender, path }; i < 5; i++) {
		SAY(fds[i]);
		SAY(fcntl(fds[i], F_GETFL));
		SAY(fcntl(fds[i], F_GETFD));
		SAY(same_file(fds[i], fds[i]));
	}
	SAY(same_file(rw, copy));
	SAY(same_file(rw, reader) != 0);
	SAY(witness_in_child(flock_of_another));
	say_range(0);
	say_range(120);
	say_range(5000);
}

WITNESS(make, look)
