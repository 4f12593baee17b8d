/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What kinds of open files share: status flags, the path that leads to the file, locks, and who else holds it.
 */
#include <fcntl.h>

#include "kinds/kind.h"

/* asm-generic/fcntl.h; glibc says 0 where every file is large */
#define OPENFILE_LARGE 0100000u

/** openfile_flags - the O_* that a record may hold; the kernel forgets O_CREAT, O_EXCL, O_NOCTTY and O_TRUNC itself */
extern const struct flag openfile_flags[];

/** lock_types - F_RDLCK and F_WRLCK */
extern const struct flag lock_types[];

/** openfile_can_read(), openfile_can_write() - by the access mode; neither for O_PATH */
bool openfile_can_read(uint32_t flags);
bool openfile_can_write(uint32_t flags);

/** openfile_is_anon() - is s->fd "anon_inode:[@name]"? Such a link is no path: those begin with a slash */
bool openfile_is_anon(const struct sight *s, const char *name);

/** openfile_line() - what fdinfo of s->fd says behind @key ("sigmask:") and blanks; NULL when it has no such line */
const char *openfile_line(const struct sight *s, const char *key);

/** openfile_check_lines() - refuse lines of fdinfo that begin with none of @keys (up to NULL); 0 or the refusal */
int openfile_check_lines(struct op *op, const struct sight *s, const char *const *keys);

/** openfile_check_flags() - refuse flags of s->fd beyond access mode, O_LARGEFILE and @allowed; 0 or the refusal */
int openfile_check_flags(struct op *op, const struct sight *s, uint32_t allowed);

/** openfile_is_odd() - flags of an image that no such open file can have: others than @allowed, or access mode 3 */
bool openfile_is_odd(uint32_t flags, uint32_t allowed);

/** openfile_is_absent() - says @err (errno) that a path does not lead there, or not any more? */
bool openfile_is_absent(int err);

/** openfile_set_status() - the status flags that fcntl(2) can set, as in @flags; 0 or -errno */
int openfile_set_status(int fd, uint32_t flags);

/**
 * openfile_find() - an O_PATH descriptor of what @path, a link of /proc, leads to for process @p
 * -ENOENT when it leads nowhere, -ESTALE when it leads to another object than (@dev, @ino), or -errno.
 */
int openfile_find(const struct process *p, const char *path, uint64_t dev, uint64_t ino);

/** openfile_check_path() - refuse when the path of s->fd does not lead to the open file; 0 or the refusal */
int openfile_check_path(struct op *op, const struct sight *s);

/** openfile_spot() - what @path at @at leads to; "": what @at does */
struct spot openfile_spot(int at, const char *path);
/** openfile_is_spot() - does it lead to @spot, which is known? */
bool openfile_is_spot(int at, const char *path, const struct spot *spot);

/** openfile_knows_root() - is the root of @p, which is "/" for us as well, the one that p->root is about? It is kept from then on */
bool openfile_knows_root(const struct process *p);

/** openfile_leads() - does the path of s->fd lead to the open file? As openfile_find() says it: 0 or -errno */
int openfile_leads(const struct sight *s);

/** openfile_check_found() - as openfile_check_path() when openfile_leads() has given @err */
int openfile_check_found(struct op *op, const struct sight *s, int err);

/** openfile_is_hidden() - openfile_leads() has given @err: does the path lead elsewhere, although the file has one? */
bool openfile_is_hidden(const struct sight *s, int err);

/** openfile_fs() - the type of the file system (statfs(2)) of the file at s->fd, which its path leads to; 0 when it leads nowhere */
unsigned long openfile_fs(const struct sight *s);

/** openfile_fsid() - the number of that file system (statfs(2)); 0 when it has none */
uint64_t openfile_fsid(const struct sight *s);

/** openfile_shows_live() - openfile_is_live() of the file at s->fd, which its path leads to; false when it leads nowhere */
bool openfile_shows_live(const struct sight *s);

/** openfile_is_live() - does the file system of @fd make up what is read at the time of reading, as proc(5) does? */
bool openfile_is_live(int fd);

/** openfile_reopen() - a new open file of what descriptor @fd (O_PATH too) leads to; -errno */
int openfile_reopen(int fd, int flags);

/** openfile_to_read_at() - openfile_to_read() of what @path, a link of /proc below @dir, leads to */
int openfile_to_read_at(int dir, const char *path);

/** openfile_to_read() - the same to read from; where that is allowed its access time stays as it is, and a lease makes it fail, not wait */
int openfile_to_read(int fd);

/** struct ofd_lock - an open file description lock of fcntl(2) */
struct ofd_lock {
	uint32_t type; /* F_RDLCK or F_WRLCK */
	uint64_t start, end; /* bytes, both included; UINT64_MAX: the end of the file wherever it is */
};

extern const struct field ofd_lock_fields[];

/** openfile_check_locks() - refuse leases and what is unknown; with @none, locks of the open file too */
int openfile_check_locks(struct op *op, const struct sight *s, bool none);

/** openfile_is_leased() - is there a lease on what is at @f, which to open it might break? */
bool openfile_is_leased(const struct proc_fd *f);

/** openfile_save_locks() - the locks of the open file: LOCK_SH, LOCK_EX of flock(2) or 0, and struct ofd_lock */
void openfile_save_locks(struct op *op, const struct sight *s, uint32_t *ret_flock, struct span *ret_ofd);

/** openfile_lock() - take them again on the new open file @fd; @path is for the story */
int openfile_lock(struct op *op, int fd, uint32_t flock, const struct span *ofd, const char *path);

/** openfile_lock_type() - F_RDLCK or F_WRLCK of a lock that /proc shows */
uint32_t openfile_lock_type(const struct proc_lock *l);

/** openfile_range() - a record lock as fcntl(2) wants it; -EBADMSG for one that no kernel has */
int openfile_range(uint32_t type, uint64_t start, uint64_t end, struct flock *ret);

/** openfile_stdio() - a mask of 0, 1 and 2: where the root process has the object of s->fd, else where others have it */
unsigned int openfile_stdio(const struct sight *s);

/** tree_has_pid() - is the process @pid one of the tree? */
bool tree_has_pid(const struct tree *tree, pid_t pid);

/** openfile_take() - as sight_take_fd(), and of a process too whose pidfd is not open yet, as when it is only checked */
int openfile_take(const struct sight *s);

/** enum pipe_ends - which ends of a pipe are open */
enum pipe_ends {
	PIPE_END_READ = 1u << 0,
	PIPE_END_WRITE = 1u << 1,
	PIPE_ENDS = PIPE_END_READ | PIPE_END_WRITE,
};

/** openfile_pipe_ends() - which ends of the pipe or FIFO at s->fd the tree holds; enum pipe_ends */
unsigned int openfile_pipe_ends(const struct sight *s);

/** openfile_pipe_is_broken() - has nobody at all the other end of the one at s->fd? */
bool openfile_pipe_is_broken(const struct sight *s);

/** openfile_pipe_is_unwritten() - is @fd an empty FIFO that had no writer since it was opened? poll(2) does not call that POLLHUP */
bool openfile_pipe_is_unwritten(int fd);

/** openfile_pipe_is_outside() - is it a standard stream of the tree whose other end is open outside of it? */
bool openfile_pipe_is_outside(const struct sight *s);
