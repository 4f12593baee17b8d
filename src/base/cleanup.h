/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Scope guards: what a function owns goes away when its scope ends.
 * A function uses guards or goto, never both.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/** fd_close() - close @fd unless it is negative; returns -EBADF, the value of an unset descriptor */
int fd_close(int fd);

static inline void fd_closep(int *fd)
{
	if (*fd >= 0)
		fd_close(*fd);
}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define _cleanup_(f)	 __attribute__((cleanup(f)))
#define _cleanup_close_	 _cleanup_(fd_closep)
#define _cleanup_free_	 _cleanup_(freep)
#define _cleanup_fclose_ _cleanup_(fclosep)
#define _cleanup_dir_	 _cleanup_(closedirp)

/** TAKE_FD() - pass on a guarded descriptor: its guard will not close it */
#define TAKE_FD(fd)                 \
	({                          \
		int *_fdp = &(fd);  \
		int _taken = *_fdp; \
		*_fdp = -EBADF;     \
		_taken;             \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}
