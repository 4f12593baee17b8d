/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A witness: a program that makes something and states facts about it. It never mentions what happens to it meanwhile.
 *
 *	static void make(void) { fd = eventfd(30, 0); }
 *	static void look(void) { SAY(fcntl(fd, F_GETFL)); }
 *	WITNESS(make, look)
 *
 * Run as `witness DIR`. It calls make(). Whenever a file DIR/ask appears it appends "look" and what look() says to DIR/said
 * and removes DIR/ask. It ends when DIR/end appears, or when DIR is gone. Between looks it holds no file in DIR open.
 * look() is called many times, so it states only what is always the same, and leaves things as it found them.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char witness_dir[PATH_MAX];

static char witness_text[1u << 17];
static size_t witness_len;

static pid_t witness_children[128];
static unsigned int witness_n_children;

__attribute__((format(printf, 1, 2))) static inline void witness_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(witness_text + witness_len, sizeof(witness_text) - witness_len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(witness_text) - witness_len)
		witness_len += (size_t)n;
}

static inline void witness_say_number(const char *expr, long long value)
{
	witness_say("%s = %lld\n", expr, value);
}

static inline void witness_say_text(const char *expr, const char *value)
{
	witness_say("%s = \"%s\"\n", expr, value ? value : "(null)");
}

/** SAY() - state a fact: an integer or a string */
#define SAY(expr) \
	_Generic((expr), char *: witness_say_text, const char *: witness_say_text, default: witness_say_number)(       \
		#expr, (expr))

/** witness_path() - DIR/@name, in static memory of which there are four */
static inline const char *witness_path(const char *name)
{
	static char paths[4][PATH_MAX + 256];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%.200s", witness_dir, name);
	return path;
}

static inline void witness_nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

static inline void witness_tell(const char *name, const char *why)
{
	FILE *f = fopen(witness_path(name), "we");

	if (!f || fputs(why, f) < 0 || fclose(f) != 0)
		_exit(3);
}

/** witness_hidden() - for make(): this kernel has no way to see what it made, and @why: DIR/hidden */
static inline void witness_hidden(const char *why)
{
	witness_tell("hidden", why);
}

/** witness_barred() - for make(): what it made can be noticed, but not seen or reached, and @why: DIR/barred */
static inline void witness_barred(const char *why)
{
	witness_tell("barred", why);
}

/** witness_child() - a child that has called @run and now does nothing; it is killed at the end */
static inline pid_t witness_child(void (*run)(void))
{
	int done[2];
	char byte;

	if (pipe(done) < 0)
		_exit(3);
	pid_t pid = fork();
	if (pid == 0) {
		run();
		close(done[0]);
		close(done[1]);
		for (;;)
			pause();
	}
	close(done[1]);
	while (read(done[0], &byte, 1) > 0)
		;
	close(done[0]);
	if (pid > 0 && witness_n_children < sizeof(witness_children) / sizeof(witness_children[0]))
		witness_children[witness_n_children++] = pid;
	return pid;
}

/** witness_int_of() - the int at @at in process @pid; -1 when it cannot be read */
static inline int witness_int_of(pid_t pid, const volatile int *at)
{
	char path[64];
	int v = -1;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pread(fd, &v, sizeof(v), (off_t)(uintptr_t)at) != sizeof(v))
		v = -1;
	close(fd);
	return v;
}

/** witness_in_child() - what @fn returns in a child made for it: 0 to 255; -1 when it did not return */
static inline int witness_in_child(int (*fn)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void witness_answer(void (*look)(void))
{
	witness_len = 0;
	witness_say("look\n");
	look();
	int fd = open(witness_path("said"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, witness_text, witness_len) != (ssize_t)witness_len)
		_exit(3);
	close(fd);
	unlink(witness_path("ask"));
}

static inline int witness_main(int argc, char **argv, void (*make)(void), void (*look)(void))
{
	if (argc != 2 || !realpath(argv[1], witness_dir)) {
		fprintf(stderr, "usage: %s DIR\n", argv[0]);
		return 2;
	}
	make();
	while (access(witness_path("end"), F_OK) < 0 && access(witness_dir, F_OK) == 0) {
		if (access(witness_path("ask"), F_OK) == 0)
			witness_answer(look);
		witness_nap();
	}
	for (unsigned int i = 0; i < witness_n_children; i++) {
		kill(witness_children[i], SIGKILL);
		waitpid(witness_children[i], NULL, 0);
	}
	return 0;
}

#define WITNESS(make, look)                                  \
	int main(int argc, char **argv)                      \
	{                                                    \
		return witness_main(argc, argv, make, look); \
	}
