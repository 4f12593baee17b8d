/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "lib/test.h"

/* A new empty directory, without a name. */
static int scratch(void)
{
	char path[] = "/tmp/base_io.XXXXXX";

	ASSERT_NE(mkdtemp(path), NULL);
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_GE(dir, 0);
	return dir;
}

static void scratch_done(int dir)
{
	char link[64], path[256] = "";

	unlinkat(dir, "f", 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	ASSERT_GT(readlink(link, path, sizeof(path) - 1), 0);
	ASSERT_EQ(rmdir(path), 0);
	close(dir);
}

static void put(int dir, const char *text, size_t len)
{
	_cleanup_close_ int fd = openat(dir, "f", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(write_all(fd, text, len), 0);
}

TEST(fd_close_keeps_errno)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	errno = ERANGE;
	ASSERT_EQ(fd_close(fd), -EBADF);
	ASSERT_EQ(fcntl(fd, F_GETFD), -1);
	ASSERT_EQ(errno, EBADF);
	errno = ERANGE;
	ASSERT_EQ(fd_close(-1), -EBADF);
	ASSERT_EQ(fd_close(-EBADF), -EBADF);
	ASSERT_EQ(errno, ERANGE);
}

static int taken(int fd)
{
	_cleanup_close_ int guarded = fd;

	return TAKE_FD(guarded);
}

TEST(guards_close_and_can_be_passed_on)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ASSERT_EQ(taken(fd), fd);
	ASSERT_GE(fcntl(fd, F_GETFD), 0);
	{
		_cleanup_close_ int guarded = fd;
		ASSERT_GE(guarded, 0);
	}
	ASSERT_EQ(fcntl(fd, F_GETFD), -1);
}

static void nothing(int signo)
{
}

/* A pipe gives and takes in parts, and signals interrupt. */
TEST(whole_things_go_through_a_pipe)
{
	static unsigned char sent[1 << 20], got[sizeof(sent) + 1];
	int p[2], status;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (unsigned char)(i * 7 + i / 4096);
	ASSERT_EQ(pipe2(p, O_CLOEXEC), 0);
	ASSERT_EQ(sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = nothing }, NULL), 0);
	pid_t reader = getpid(), pid = fork();
	ASSERT_GE(pid, 0);
	if (pid == 0) {
		for (size_t at = 0; at < sizeof(sent); at += 1 << 18) {
			kill(reader, SIGUSR1);
			usleep(1000);
			ASSERT_EQ(write_all(p[1], sent + at, 1 << 18), 0);
		}
		_exit(0);
	}
	close(p[1]);
	ASSERT_EQ(read_all(p[0], got, sizeof(got)), sizeof(sent));
	ASSERT_MEMEQ(sent, got, sizeof(sent));
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_EQ(status, 0);
	ASSERT_EQ(read_all(p[0], got, 1), 0);
}

TEST(errors_are_negative_errnos)
{
	char b[8] = "";
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	ASSERT_EQ(read_all(-1, b, 1), -EBADF);
	ASSERT_EQ(write_all(-1, b, 1), -EBADF);
	ASSERT_EQ(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	ASSERT_EQ(read_all(p[0], b, 1), -EAGAIN);
	ASSERT_EQ(pread_all(p[0], b, 1, 0), -ESPIPE);
	close(p[0]);
	ASSERT_EQ(write_all(p[1], b, 1), -EPIPE);
	ASSERT_EQ(write_all(p[1], b, 0), 0);
	ASSERT_EQ(pread_all(0, b, 1, -1), -EINVAL);
	ASSERT_EQ(pwrite_all(0, b, 2, INT64_MAX), -EINVAL);
	ASSERT_EQ(write_all(open("/dev/full", O_WRONLY | O_CLOEXEC), b, 1), -ENOSPC);
}

TEST(offsets)
{
	int dir = scratch();
	char b[16] = "";

	put(dir, "0123456789", 10);
	int fd = openat(dir, "f", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(pread_all(fd, b, 4, 8), 2);
	ASSERT_STREQ(b, "89");
	ASSERT_EQ(pwrite_all(fd, "abc", 3, 9), 0);
	ASSERT_EQ(lseek(fd, 0, SEEK_CUR), 0);
	ASSERT_EQ(read_all(fd, b, sizeof(b)), 12);
	ASSERT_STREQ(b, "012345678abc");
	close(fd);
	scratch_done(dir);
}

TEST(read_text_reads_the_whole)
{
	static char big[300000];
	struct arena a;
	char *text = NULL;
	size_t len = 0;
	int dir = scratch();

	arena_init(&a);
	put(dir, "", 0);
	ASSERT_EQ(read_text(&a, dir, "f", 0, &text, NULL), 0);
	ASSERT_STREQ(text, "");
	put(dir, "a\0b", 3);
	ASSERT_EQ(read_text(&a, dir, "f", 3, &text, &len), 0);
	ASSERT_EQ(len, 3);
	ASSERT_MEMEQ(text, "a\0b", 4);
	memset(big, 'x', sizeof(big));
	for (size_t n = 4095; n <= 4097; n++) {
		put(dir, big, n);
		ASSERT_EQ(read_text(&a, dir, "f", n, &text, &len), 0);
		ASSERT_EQ(len, n);
		ASSERT_EQ(strlen(text), n);
		ASSERT_EQ(read_text(&a, dir, "f", n - 1, &text, &len), -EFBIG);
	}
	put(dir, big, sizeof(big));
	ASSERT_EQ(read_text(&a, dir, "f", 1 << 20, &text, &len), 0);
	ASSERT_EQ(len, sizeof(big));
	ASSERT_EQ(read_text(&a, AT_FDCWD, "/dev/zero", 1 << 20, &text, &len), -EFBIG);
	ASSERT_EQ(read_text(&a, dir, "none", 10, &text, &len), -ENOENT);
	ASSERT_EQ(len, sizeof(big));
	ASSERT_EQ(read_text(&a, AT_FDCWD, "/proc/self/stat", 4096, &text, &len), 0);
	ASSERT_EQ(atoi(text), getpid());
	ASSERT_EQ(read_text(&a, AT_FDCWD, "/proc", 4096, &text, &len), -EISDIR);
	arena_done(&a);
	scratch_done(dir);
}

TEST(write_text_needs_an_existing_file)
{
	struct arena a;
	char *text;
	int dir = scratch();

	arena_init(&a);
	ASSERT_EQ(write_text(dir, "f", "x"), -ENOENT);
	put(dir, "123", 3);
	ASSERT_EQ(write_text(dir, "f", "xy"), 0);
	ASSERT_EQ(read_text(&a, dir, "f", 10, &text, NULL), 0);
	ASSERT_STREQ(text, "xy3");
	ASSERT_EQ(write_text(AT_FDCWD, "/dev/full", "x"), -ENOSPC);
	arena_done(&a);
	scratch_done(dir);
}

TEST(read_link_of_any_length)
{
	struct arena a;
	char target[4000];
	char *got;
	int dir = scratch();

	arena_init(&a);
	for (size_t n = 254; n < sizeof(target); n += n < 258 ? 1 : 1247) {
		memset(target, 't', n);
		target[n] = 0;
		ASSERT_EQ(symlinkat(target, dir, "f"), 0);
		ASSERT_EQ(read_link(&a, dir, "f", &got), 0);
		ASSERT_STREQ(got, target);
		ASSERT_EQ(unlinkat(dir, "f", 0), 0);
	}
	ASSERT_EQ(read_link(&a, dir, "f", &got), -ENOENT);
	ASSERT_EQ(read_link(&a, AT_FDCWD, "/tmp", &got), -EINVAL);
	arena_done(&a);
	scratch_done(dir);
}

/* where one of many threads opens the next descriptor, nobody waits until the kernel's table has grown */
TEST(there_is_room_for_many_descriptors)
{
	struct arena a;
	char *text, *line;
	const uint64_t limit = raise_fd_limit();

	arena_init(&a);
	ASSERT_GE(limit, 1);
	ASSERT_EQ(read_text(&a, AT_FDCWD, "/proc/self/status", 1 << 16, &text, NULL), 0);
	line = strstr(text, "\nFDSize:");
	ASSERT_TRUE(line != NULL);
	EXPECT_GE(strtoull(line + 8, NULL, 10), limit < 16384 ? limit : 16384);
	arena_done(&a);
}

TEST_MAIN
