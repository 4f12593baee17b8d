/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/witness.h"

#define PAGE 4096

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#define MFD_EXEC	0x0010U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

static const char odd[] = "two\nlines \\012 and/so (deleted)";

static int runs; /* what may be executed while it is open to be written to */
static int holes, twin, reader, writer, plain, noexec, exec, future, constant, path, empty;
static pid_t child;

static int make_memfd(const char *name, unsigned int flags, off_t size)
{
	int fd = (int)syscall(SYS_memfd_create, name, flags);

	if (fd >= 0 && ftruncate(fd, size) < 0)
		_exit(3);
	return fd;
}

static void put(int fd, const char *text, off_t at)
{
	if (pwrite(fd, text, strlen(text), at) != (ssize_t)strlen(text))
		_exit(3);
}

static int again(int fd, int flags)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return open(name, flags | O_CLOEXEC);
}

/* a write that fails counts as one */
static void set_time(int fd)
{
	futimens(fd, (struct timespec[2]){ { 1000, 1 }, { 2000, 2 } });
}

static void make_program(void)
{
	static char text[1 << 20];
	int in = open("/bin/true", O_RDONLY | O_CLOEXEC);
	ssize_t n = in < 0 ? -1 : read(in, text, sizeof(text));

	runs = make_memfd("true", MFD_CLOEXEC, 0);
	if (n <= 0 || pwrite(runs, text, (size_t)n, 0) != n)
		_exit(3);
	close(in);
}

static int run(void)
{
	char *const none[] = { "true", NULL };

	fexecve(runs, none, none + 1);
	return errno;
}

static void stay(void)
{
}

static void make_sealed(void)
{
	future = make_memfd("future", MFD_ALLOW_SEALING, 3 * PAGE);
	put(future, "not for ever", 2 * PAGE);
	fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SEAL);
	constant = make_memfd("constant", MFD_ALLOW_SEALING | MFD_CLOEXEC, 100);
	put(constant, "for ever", 10);
	fcntl(constant, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK);
	noexec = make_memfd("noexec", MFD_NOEXEC_SEAL, 1);
	exec = make_memfd("exec", MFD_EXEC | MFD_ALLOW_SEALING, 10 * PAGE);
	if (exec >= 0)
		fcntl(exec, F_ADD_SEALS, F_SEAL_EXEC);
}

static void make(void)
{
	holes = make_memfd(odd, MFD_ALLOW_SEALING, 300 * PAGE + 100);
	put(holes, "three", 3 * PAGE + 5);
	put(holes, "two hundred", 200 * PAGE - 4);
	put(holes, "end", 300 * PAGE + 97);
	lseek(holes, 777, SEEK_SET);
	twin = dup(holes);
	reader = again(holes, O_RDONLY);
	lseek(reader, 3 * PAGE, SEEK_SET);
	fcntl(reader, F_SETFL, O_NONBLOCK);
	plain = make_memfd("", 0, 5);
	put(plain, "plain", 0);
	fchmod(plain, 0640);
	flock(plain, LOCK_EX);
	path = again(plain, O_PATH);
	int both = make_memfd("writer", 0, 2 * PAGE);
	put(both, "written", PAGE);
	writer = again(both, O_WRONLY | O_APPEND);
	close(both);
	empty = make_memfd("", MFD_ALLOW_SEALING, 0);
	make_sealed();
	make_program();
	set_time(holes);
	set_time(future);
	set_time(constant);
	child = witness_child(stay);
}

static void say_state(const char *what, int fd)
{
	char name[64], link[300] = "";
	struct stat st = { 0 };

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (readlink(name, link, sizeof(link) - 1) < 0)
		link[0] = 0;
	witness_say("%s\n", what);
	SAY(link);
	SAY(fstat(fd, &st));
	SAY(st.st_size);
	SAY(st.st_blocks);
	SAY(st.st_mode);
	SAY(st.st_nlink);
	SAY(st.st_uid == geteuid());
	SAY(st.st_mtim.tv_sec);
	SAY(st.st_mtim.tv_nsec);
	SAY(fcntl(fd, F_GETFL));
	SAY(fcntl(fd, F_GETFD));
	SAY(fcntl(fd, F_GET_SEALS));
	SAY(lseek(fd, 0, SEEK_CUR));
}

/* where its pages are and what is in them; the offset of the descriptor is left alone */
static void say_content(int fd)
{
	int in = again(fd, O_RDONLY);
	char text[32];
	ssize_t n;

	for (off_t at = 0, end; (at = lseek(in, at, SEEK_DATA)) >= 0; at = end) {
		end = lseek(in, at, SEEK_HOLE);
		witness_say("pages from %lld to %lld\n", (long long)at, (long long)end);
	}
	lseek(in, 0, SEEK_SET);
	while ((n = read(in, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (text[i])
				witness_say("%02x", text[i]);
	witness_say("\n");
	close(in);
}

static int errno_of(ssize_t r)
{
	return r < 0 ? errno : 0;
}

/* the child's descriptor of that number leads to the same file */
static int is_childs(int fd)
{
	struct stat mine = { 0 }, its = { .st_ino = 1 };
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/fd/%d", child, fd);
	return fstat(fd, &mine) == 0 && stat(name, &its) == 0 && mine.st_ino == its.st_ino && mine.st_dev == its.st_dev;
}

static void look_sealed(void)
{
	say_state("future", future);
	say_content(future);
	SAY(errno_of(write(future, "x", 1)));
	set_time(future);
	SAY(errno_of(ftruncate(future, 4 * PAGE)));
	SAY(errno_of(fcntl(future, F_ADD_SEALS, F_SEAL_SHRINK)));
	say_state("constant", constant);
	say_content(constant);
	SAY(errno_of(pwrite(constant, "x", 1, 0)));
	set_time(constant);
	say_state("noexec", noexec);
	SAY(errno_of(fchmod(noexec, 0777)));
	say_state("exec", exec);
	SAY(errno_of(fchmod(exec, 0666)));
}

static void look(void)
{
	char text[16] = "";

	say_state("holes", holes);
	say_content(holes);
	SAY(errno_of(fcntl(holes, F_ADD_SEALS, 0)));
	SAY(lseek(twin, 10, SEEK_CUR));
	SAY(lseek(holes, -10, SEEK_CUR));
	SAY(is_childs(holes));
	say_state("reader", reader);
	SAY(is_childs(reader));
	SAY(errno_of(write(reader, "x", 1)));
	put(holes, "once", 299 * PAGE);
	SAY(pread(reader, text, 4, 299 * PAGE));
	SAY(text);
	fallocate(holes, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 299 * PAGE, PAGE);
	set_time(holes);
	say_state("plain", plain);
	say_content(plain);
	SAY(errno_of(fcntl(plain, F_ADD_SEALS, F_SEAL_GROW)));
	int other = again(plain, O_RDONLY);
	SAY(errno_of(flock(other, LOCK_SH | LOCK_NB)));
	close(other);
	say_state("path", path);
	say_state("writer", writer);
	say_content(writer);
	SAY(errno_of(read(writer, text, 1)));
	say_state("empty", empty);
	SAY(witness_in_child(run));
	look_sealed();
}

WITNESS(make, look)
