/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Inside the room: the parsers alone, for its files, its tests and the fuzzer. They read lines of a file of proc or of
 * memory and make no system call of their own.
 */
#include "base/cleanup.h"
#include "proc/proc.h"

#define LINES_FIRST 8192

/** struct lines - the lines of a file, cut in place in a buffer that grows only where a line does not fit */
struct lines {
	int fd; /* below zero: all that there is lies in buf */
	char *buf;
	size_t room, at, len;
	struct arena spill;
	char first[LINES_FIRST + 1];
};

/** struct line - @len bytes, terminated, without the newline; no NUL among them; valid until the next call */
struct line {
	char *s;
	size_t len;
	bool cut; /* the end of the file came before a newline */
};

/** lines_open() - for the file @path below @dir; lines_close() is needed whatever it returns. As open_below(). */
int lines_open(struct lines *l, int dir, const char *path);
/** lines_mem() - for @len bytes of memory, which are changed; text[len] must be there too */
void lines_mem(struct lines *l, char *text, size_t len);
/** lines_next() - 1 and the next line, 0 at the end, -EBADMSG for a NUL or an endless line, or the error of read(2) */
int lines_next(struct lines *l, struct line *ret);
/** lines_record() - read a file that read_record() would, after lines_open(): its end need not be asked for */
int lines_record(struct lines *l);
void lines_close(struct lines *l);

/** open_below() - open @path below the directory of a process; -ESRCH where the process has gone, else -errno */
int open_below(int dir, const char *path, int flags);
/** missing() - what @err (-errno) of a look below @dir means: -ENOENT of a process that has gone is -ESRCH */
int missing(int dir, int err);

/**
 * read_record() - all of a file of proc that is made in one piece, as stat and status are (single_open() in fs/seq_file.c)
 * One read has all of it when there was room for more: what is @len bytes long may be cut. Or -errno.
 */
ssize_t read_record(int fd, void *buf, size_t len);

/** scan_u64() - a number of at most @max at *@p, which moves behind it; -EBADMSG */
int scan_u64(const char **p, int base, uint64_t max, uint64_t *ret);
/** scan_i64() - a decimal number of at least @min and at most @max; -EBADMSG */
int scan_i64(const char **p, int64_t min, int64_t max, int64_t *ret);
/** scan_char() - whether @c is next; moves behind it */
bool scan_char(const char **p, char c);
/** scan_blanks() - move behind spaces and tabs; whether there were any */
bool scan_blanks(const char **p);
/** scan_word() - the next bytes up to a blank or the end, terminated in @buf of @room bytes; -EBADMSG */
int scan_word(const char **p, char *buf, size_t room);

/** list_numbers() - the entries of the directory @path below @dir that are numbers, rising; fails as open_below() */
int list_numbers(struct arena *a, int dir, const char *path, struct span *ret /* of pid_t */);

/* Each parser leaves *ret as it was when it fails, and returns 0 or -EBADMSG if nothing else is said. */
int parse_stat(const char *text, size_t len, struct proc_stat *ret);
int parse_status(struct arena *a, struct lines *l, struct proc_status *ret);
/** parse_maps() - names are left as printed; there are @about so many */
int parse_maps(struct arena *a, struct lines *l, bool smaps, size_t about, struct span *ret);
/** parse_rollup() - -EOPNOTSUPP where a line is missing */
int parse_rollup(struct lines *l, struct proc_rollup *ret);
/** settle_names() - make names what proc.h says; asks files, from @dir and from the root, unless @dir is negative */
void settle_names(struct arena *a, int dir, struct span *vmas);
int parse_fdinfo(struct arena *a, struct lines *l, struct proc_fd *ret);
/** parse_syscall() - -EAGAIN for one that runs */
int parse_syscall(const char *text, struct proc_syscall *ret);
/** parse_sched() - -EPROTONOSUPPORT where a line is missing */
int parse_sched(struct lines *l, struct proc_sched *ret);
int parse_limits(struct lines *l, struct proc_limit ret[PROC_LIMITS]);
int parse_timers(struct arena *a, struct lines *l, struct span *ret);
/** parse_children() - append the numbers to @ret */
int parse_children(struct arena *a, struct lines *l, struct span *ret);
/** parse_ns() - "pid:[4026531836]" */
int parse_ns(const char *link, uint64_t *ret_ino);
/** parse_cgroup(), parse_cgroup2_mount(), parse_mount_dev() - -ENOENT where no line fits */
int parse_cgroup(struct arena *a, struct lines *l, const char **ret);
int parse_cgroup2_mount(struct arena *a, struct lines *l, const char **ret);
int parse_mount_dev(struct lines *l, uint64_t id, uint64_t *ret_dev);

/** scan_pagemap() - the fallback of proc_scan_pages(): reads what pagemap says of every page; appends runs to @ret */
int scan_pagemap(struct arena *a, int pagemap, uint64_t start, uint64_t end, bool file, struct span *ret);
