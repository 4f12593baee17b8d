/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Reading and writing whole things. All return -errno below zero.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct arena;

/** same_file() - were these two told of the same file, directory or device? */
static inline bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/**
 * raise_fd_limit() - from the soft limit on open descriptors to the hard one; returns how many there can be then
 * Best before there are threads: then there is room for many in the kernel's table as well.
 */
uint64_t raise_fd_limit(void);

/** read_all() - read until @len bytes or the end; returns how many */
ssize_t read_all(int fd, void *buf, size_t len);
ssize_t pread_all(int fd, void *buf, size_t len, off_t at);

/** write_all() - write all of it or fail; returns 0 */
int write_all(int fd, const void *buf, size_t len);
int pwrite_all(int fd, const void *buf, size_t len, off_t at);

/**
 * read_text() - the whole of a file below @dirfd as a terminated string in the arena
 * @ret_len may be NULL. Files larger than @max bytes give -EFBIG.
 */
int read_text(struct arena *a, int dirfd, const char *path, size_t max, char **ret, size_t *ret_len);

/** write_text() - write @text to an existing file below @dirfd in one write(2) */
int write_text(int dirfd, const char *path, const char *text);

/** read_link() - the target of a symbolic link below @dirfd, in the arena */
int read_link(struct arena *a, int dirfd, const char *path, char **ret);

/**
 * write_stream(), read_stream() - as write_all() and read_all(), on what may block: a pipe, a socket, a terminal
 * -EINTR as soon as *@cancel is not zero (looked at ten times a second; NULL: never).
 */
int write_stream(int fd, const void *buf, size_t len, const volatile sig_atomic_t *cancel);
ssize_t read_stream(int fd, void *buf, size_t len, const volatile sig_atomic_t *cancel);
