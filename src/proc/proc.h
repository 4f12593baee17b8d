/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The eyes: what the kernel says about a process, as plain structs. Nothing here changes anything.
 *
 * All functions read below a directory descriptor that need not be the live /proc, so that recorded trees test them.
 * What they read is hostile (names with newlines, values out of range): -EBADMSG for text that makes no sense.
 * A process that has gone gives -ESRCH, a file that a living one lacks -ENOENT. Strings and arrays live in the caller's
 * arena. What is returned is untouched on failure.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"

/** proc_open() - the directory of process (or thread) @pid below @procfd (a descriptor of /proc); -ESRCH */
int proc_open(int procfd, pid_t pid);

/** proc_open_thread() - the directory of thread @tid of the process whose directory is @dir: task/TID; -ESRCH */
int proc_open_thread(int dir, pid_t tid);

/** struct proc_stat - /proc/PID/stat, proc(5); pids as the /proc mount counts them */
struct proc_stat {
	pid_t pid;
	char comm[64];
	char state; /* R S D T t Z X I */
	pid_t ppid, pgrp, session;
	uint64_t tty_nr;
	int64_t tpgid;
	uint64_t flags; /* PF_* */
	int64_t priority, nice, num_threads;
	uint64_t starttime;
	uint64_t start_code, end_code, start_stack;
	uint64_t start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end;
	int64_t exit_signal, exit_code; /* exit_code as wait(2) encodes it */
	int64_t processor; /* on which it is or last was */
	int64_t rt_priority, policy;
};

int proc_read_stat(int dir, struct proc_stat *ret);

#define PROC_NSPIDS 8
/** struct proc_status - /proc/PID/status; pid arrays go from the reader's namespace to the innermost */
struct proc_status {
	char name[64];
	uint32_t umask;
	char state;
	pid_t tgid, pid, ppid, tracer;
	uint32_t uid[4], gid[4]; /* real, effective, saved, fs */
	struct span groups; /* of uint32_t */
	pid_t nspid[PROC_NSPIDS], nspgid[PROC_NSPIDS], nssid[PROC_NSPIDS], nstgid[PROC_NSPIDS];
	unsigned int levels; /* how many of them; more than PROC_NSPIDS is -E2BIG */
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint64_t sigpnd, shdpnd, sigblk, sigign, sigcgt;
	uint32_t no_new_privs, seccomp, seccomp_filters;
	uint32_t threads, fd_size, core_dumping;
	const char *x86_features; /* of a thread: "shstk wrss "; NULL where the kernel does not say */
	uint64_t untag_mask; /* of addresses; 0 where it does not say */
};

int proc_read_status(struct arena *a, int dir, struct proc_status *ret);

enum proc_prot {
	PROC_READ = 1, /* as PROT_* */
	PROC_WRITE = 2,
	PROC_EXEC = 4,
};

/** struct proc_vma - one mapping, from maps or smaps */
struct proc_vma {
	uint64_t start, end, pgoff; /* pgoff in bytes */
	uint32_t prot;
	bool shared;
	uint32_t major, minor;
	uint64_t ino;
	const char *name; /* unescaped (\012); "" when anonymous; " (deleted)" cut off into .deleted */
	bool deleted;
	bool has_flags; /* smaps only */
	const char *vmflags; /* "rd wr mr mw me ac" */
	bool has_counters; /* smaps only: of these, else they are 0 */
	uint64_t rss, anonymous, huge, swap, pss; /* bytes */
	uint64_t page_size, own_huge, shared_huge; /* bytes; pages of hugetlbfs are not in rss */
	uint32_t protection_key;
	const void *kind; /* for the caller's use */
	void *backing; /* likewise */
};

/**
 * proc_read_maps() - all mappings in order of address; @smaps: with flags and counters (slow: walks the pages)
 *
 * A zombie has none. "x (deleted)" and "a\012b" can be names that a file really has: where a file of that name is in
 * sight and is the one that is mapped, it is taken for that, else for deleted and for a newline.
 */
int proc_read_maps(struct arena *a, int dir, bool smaps, struct span *ret /* of struct proc_vma */);

/** proc_has_mappings() - has it @n mappings or more? Not so if that is not told */
bool proc_has_mappings(int dir, size_t n);

/** struct proc_rollup - /proc/PID/smaps_rollup: counters of all mappings together, in bytes */
struct proc_rollup {
	uint64_t anonymous, huge, swap; /* as those of struct proc_vma */
	uint64_t pss_anonymous; /* of ->anonymous its share: less where others have some of these pages as well */
};

/** proc_read_rollup() - it takes no longer than to walk the pages does. -EOPNOTSUPP: the kernel does not tell all of that */
int proc_read_rollup(int dir, struct proc_rollup *ret);

/** struct proc_lock - one "lock:" line of fdinfo: "1: POSIX  ADVISORY  WRITE 812 08:01:1234 0 EOF" */
struct proc_lock {
	char type[8]; /* POSIX, FLOCK, OFDLCK, LEASE */
	char kind[12]; /* ADVISORY, BREAKING, ... */
	char mode[8]; /* READ, WRITE, RW, NONE, UNLCK */
	pid_t pid;
	uint32_t major, minor;
	uint64_t ino, start, end; /* end UINT64_MAX for EOF */
};

/** struct proc_fd - one descriptor: /proc/PID/fd/N, stat of what it leads to, and fdinfo/N */
struct proc_fd {
	int n;
	/* "/etc/passwd", "pipe:[123]", "anon_inode:[eventfd]"; " (deleted)" kept; "" when longer than a page */
	const char *link;
	uint64_t pos;
	uint32_t flags; /* O_*, without O_CLOEXEC */
	bool cloexec;
	uint64_t mnt_id, ino;
	struct span locks; /* of struct proc_lock */
	struct span extra; /* of const char *: the lines of fdinfo behind pos, flags, mnt_id, ino and the locks */
	uint64_t dev, st_ino, rdev, size; /* of the object, from statx() through the link; valid when has_stat */
	uint32_t mode, uid, gid;
	uint32_t nlink;
	int64_t mtime_sec, mtime_nsec;
	int64_t born_sec; /* when it was made */
	uint32_t born_nsec;
	bool by_change; /* its file system does not know when: then it is when it was changed last */
	bool has_stat;
	struct proc_fd *like; /* the same open file in another table, where that was known; else NULL */
	void *open_file; /* for the caller's use: the same where descriptors share an open file */
};

/** struct proc_model - a table of descriptors in which some are of the very open files that those of the same number are of here */
struct proc_model {
	struct span fds; /* of struct proc_fd, in order of number */
	bool (*same)(void *data, int n); /* is number @n? By any thread */
	void *data;
};

/**
 * proc_read_fds() - all descriptors in order of number; one that is closed meanwhile is left out
 *
 * A zombie has none. Nor has a leader that ended before its other threads: ask the directory of a thread then, and so
 * for maps.
 */
int proc_read_fds(struct arena *a, int dir, struct span *ret /* of struct proc_fd */);

/** proc_read_fds_like() - the same; what an open file leads to is taken from @model where that has it. Both processes stand still */
int proc_read_fds_like(
	struct arena *a, int dir, const struct proc_model *model, struct span *ret /* of struct proc_fd */);

/** proc_read_fdinfo() - flags, pos, locks of descriptor @n alone, no link and no stat; -ENOENT when it is not open */
int proc_read_fdinfo(struct arena *a, int dir, int n, struct proc_fd *ret);

/** proc_read_tids() - the threads of a process in order of number */
int proc_read_tids(struct arena *a, int dir, struct span *ret /* of pid_t */);

/** proc_count_threads() - how many these are, which takes less than to list them; 0 when the process has gone, or that is not told */
size_t proc_count_threads(int dir);

/** struct proc_syscall - the system call in which a thread sleeps */
struct proc_syscall {
	int64_t nr;
	uint64_t arg[6], sp, ip;
};

/** proc_read_syscall() - of the thread at @dir (/proc/PID/task/TID); -EAGAIN when it does not sleep in one, -EPERM */
int proc_read_syscall(int dir, struct proc_syscall *ret);
/** proc_read_thread_syscall() - likewise, of thread @tid of the process at @process (/proc/PID) */
int proc_read_thread_syscall(int process, pid_t tid, struct proc_syscall *ret);

/** struct proc_reg_names - members of the kernel's structures that hold registers of a thread: names, and NULL behind the last one */
struct proc_reg_names {
	const char *const *of_task; /* in task_struct */
	const char *const *of_entry; /* in pt_regs */
};

#define PROC_REGS_MOST 28
/** struct proc_regs - what the kernel holds of the registers of a thread */
struct proc_regs {
	pid_t tid;
	bool rests; /* it was stopped by who traces it: then nothing of it changes, else it may be in between */
	uint64_t sigmask; /* as PTRACE_GETSIGMASK */
	const uint64_t *regs; /* of the task, and of its entry */
};

/** proc_open_regs() - make ready for proc_read_regs(): a descriptor; -EPERM, -EOPNOTSUPP or -ENOENT where that cannot be had */
int proc_open_regs(const struct proc_reg_names *names);

/** proc_read_regs() - of all threads of process @pid, one after the other; some may be missing where threads end meanwhile */
typedef void proc_regs_fn(void *data, const struct proc_regs *regs);
int proc_read_regs(int fd, pid_t pid, proc_regs_fn *fn, void *data);

/** proc_read_wchan() - the function of the kernel in which a thread sleeps, at most @room - 1 bytes; "0" when that is not told */
int proc_read_wchan(int dir, char *ret, size_t room);

/** struct proc_sched - what the scheduler knows of a thread; needs CONFIG_SCHED_DEBUG before v6.15 */
struct proc_sched {
	uint64_t exec_start; /* of one that sleeps: when it was last on a processor, ns on that one's clock */
	uint64_t voluntary; /* how often it has gone to sleep by itself */
};

int proc_read_sched(int dir, struct proc_sched *ret);

/**
 * proc_read_children() - the children of all threads of a process (task/TID/children): thread by thread in order of
 * number, and for each in order of birth. -ENOENT: the kernel has no CONFIG_PROC_CHILDREN; the caller then reads the
 * stat of all processes. Complete only while the children stand still.
 */
int proc_read_children(struct arena *a, int dir, struct span *ret /* of pid_t */);

/** proc_read_children_of() - the same, of those threads that are known to be all: @n of @tid, one after the other */
int proc_read_children_of(struct arena *a, int dir, const pid_t *tid, size_t n, struct span *ret /* of pid_t */);

/** proc_read_all() - every pid below @procfd, in order of number */
int proc_read_all(struct arena *a, int procfd, struct span *ret /* of pid_t */);

#define PROC_LIMITS 16
/** struct proc_limit - soft and hard limit; UINT64_MAX for "unlimited" */
struct proc_limit {
	uint64_t soft, hard;
	bool seen;
};

/**
 * proc_read_limits() - /proc/PID/limits in the order of RLIMIT_*; a line with an unknown name is -EPROTONOSUPPORT
 * All of them are seen, or none where the process is just being reaped.
 */
int proc_read_limits(struct arena *a, int dir, struct proc_limit ret[PROC_LIMITS]);

/** struct proc_timer - a timer of timer_create(2) */
struct proc_timer {
	int32_t id;
	int32_t clock; /* as it was asked for; CPU clocks name processes and threads as the process counts */
	uint32_t notify; /* SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID */
	pid_t target; /* of the signal: the process, or the thread of SIGEV_THREAD_ID; it may have ended */
	int32_t signo; /* of SIGEV_NONE: any number */
	uint64_t value; /* sigval */
};

/**
 * proc_read_timers() - the timers of a process, the newest first
 * -ENOENT: the kernel has no CONFIG_CHECKPOINT_RESTORE. -EPROTONOSUPPORT: a way to notify that is not known.
 */
int proc_read_timers(struct arena *a, int dir, struct span *ret /* of struct proc_timer */);

/** proc_read_ns() - the inode of namespace @name ("pid", "user", "mnt", "time_for_children") of a process */
int proc_read_ns(int dir, const char *name, uint64_t *ret_ino);

/** enum proc_ns - the namespaces that /proc/PID/ns shows: first those that a thread may have for itself */
enum proc_ns {
	PROC_NS_NET,
	PROC_NS_IPC,
	PROC_NS_UTS,
	PROC_NS_MNT,
	PROC_NS_CGROUP,
	PROC_NS_TIME_FOR_CHILDREN,
	PROC_NS_PID_FOR_CHILDREN,
	PROC_NS_OF_THREADS, /* how many these are */
	PROC_NS_USER = PROC_NS_OF_THREADS,
	PROC_NS_TIME,
	PROC_NS_PID,
	PROC_NS_N,
};

/** proc_ns_names - as they are called there */
extern const char *const proc_ns_names[PROC_NS_N];

/** proc_read_namespaces() - the inodes of the first @n; 0 of one that this kernel has not */
int proc_read_namespaces(int dir, unsigned int n, uint64_t *ret_ino);

/**
 * proc_cgroup() - the path of the process in the v2 hierarchy ("0::/..." of cgroup); -ENOENT when there is none
 * As printed: seen from the reader's cgroup namespace ("/../x"), with " (deleted)" when the cgroup has been removed.
 */
int proc_cgroup(struct arena *a, int dir, const char **ret);

/** proc_cgroup2_mount() - where cgroup v2 is mounted for the reader (from mountinfo below @procfd/self); -ENOENT */
int proc_cgroup2_mount(struct arena *a, int procfd, const char **ret);

/**
 * proc_mount_dev() - the device of the superblock that is mounted as @id (STATX_MNT_ID), from mountinfo of a process; -ENOENT
 * Mappings show that one; stat(2) shows others in some file systems.
 */
int proc_mount_dev(int dir, uint64_t id, uint64_t *ret_dev);

/** enum pages - categories of PAGEMAP_SCAN (linux/fs.h), which older headers lack */
enum pages {
	PAGES_PRESENT = 1u << 3,
	PAGES_SWAPPED = 1u << 4,
	PAGES_FILE = 1u << 2,
	PAGES_ZERO = 1u << 5,
	PAGES_HUGE = 1u << 6,
	PAGES_GUARD = 1u << 8, /* MADV_GUARD_INSTALL */
};

/** struct proc_pages - a run of pages of the same categories */
struct proc_pages {
	uint64_t start, end;
	uint64_t what; /* of enum pages */
};

/**
 * proc_scan_pages() - the pages in [@start, @end) that hold data of their own
 *
 * That is: present or swapped, not of a file, not the zero page, not a guard page. With @file, file pages of private
 * and shared mappings count too, and so do those of shared memory (memfd, tmpfs, shared anonymous), which never count
 * without.
 * @pagemap: descriptor of /proc/PID/pagemap. By PAGEMAP_SCAN (52526dde "fs/proc/task_mmu: implement IOCTL to get and
 * optionally clear info about PTEs" in v6.7) where the kernel has it, else by reading pagemap
 * (Documentation/admin-guide/mm/pagemap.rst), 8 bytes for each page of the range, which cannot tell the zero page.
 * A page that was never touched but is write-protected by userfaultfd can show as swapped; it reads as zeroes.
 * Runs are appended to @ret in order. -EINVAL for a range that is not of whole pages, -EFAULT beyond user space.
 */
int proc_scan_pages(struct arena *a, int pagemap, uint64_t start, uint64_t end, bool file,
	struct span *ret /* of struct proc_pages */);

/**
 * proc_scan_all() - the same without @file, and with the guard pages (PAGES_GUARD), which hold nothing
 *
 * [@start, @end) may have gaps, and many mappings: a run goes on from one to the next. -EOPNOTSUPP without PAGEMAP_SCAN; from
 * v6.7 to v6.14 guard pages are not told from others.
 */
int proc_scan_all(
	struct arena *a, int pagemap, uint64_t start, uint64_t end, struct span *ret /* of struct proc_pages */);

/**
 * proc_scan_guards() - the pages in [@start, @end) that MADV_GUARD_INSTALL has made fatal to touch; runs are appended
 *
 * -EOPNOTSUPP where the kernel cannot tell them (before v6.15). Kernels v6.13 and v6.14 have guard pages all the same,
 * and proc_scan_pages() shows them as swapped there: reading such a page gives -EFAULT.
 */
int proc_scan_guards(
	struct arena *a, int pagemap, uint64_t start, uint64_t end, struct span *ret /* of struct proc_pages */);

/**
 * proc_read_alone() - of each of the @n pages from @start on, *(@ret + i): does this process alone have it mapped?
 *
 * 77bb499bb60f "pagemap: add mmap-exclusive bit for marking pages mapped only here" (in v4.2). False where there is no page. Who
 * reads memory that fork(2) shared by process_vm_readv(2), which pins it, makes the process a copy of its own
 * (gup_must_unshare() in mm/internal.h, since v6.0); /proc/PID/mem does not.
 */
int proc_read_alone(int pagemap, uint64_t start, size_t n, bool *ret);

/** struct proc_unix - a socket of unix(7) as sock_diag(7) shows it; its inodes have 32 bits */
struct proc_unix {
	uint32_t ino;
	uint32_t type; /* SOCK_* */
	bool listens;
	bool has_peer; /* it is connected, or was */
	uint32_t peer; /* inode; 0: the peer is gone, or waits to be accepted */
	uint32_t shutdown; /* 1: does not receive, 2: does not send */
	uint32_t received, sent; /* bytes that wait; of one that listens connections that wait, and how many may */
	bool has_file; /* bound to a path: */
	uint32_t file_ino;
	uint64_t file_dev; /* of its file system */
	struct span name; /* bytes of sun_path */
	struct span pending; /* of uint32_t: who waits to be accepted */
};

/** proc_unix_read() - the socket with inode @ino in our network namespace; -ENOENT: none, or a kernel without unix_diag */
int proc_unix_read(struct arena *a, uint64_t ino, struct proc_unix *ret);

/** proc_unix_all() - all in our network namespace, those left out that come or go meanwhile, and perhaps others for these */
int proc_unix_all(struct arena *a, struct span *ret /* of struct proc_unix */);

/** proc_unix_listeners() - all that listen in our network namespace: ino, type and name */
int proc_unix_listeners(struct arena *a, struct span *ret /* of struct proc_unix */);

/**
 * proc_kcmp() - order of two kernel objects of processes @a and @b: kcmp(2)
 * @type KCMP_FILE (with the descriptors), KCMP_VM, KCMP_FILES, KCMP_FS, KCMP_SIGHAND ...
 * Returns 0 (the same), 1 (less), 2 (greater), 3 (differ) or -errno.
 */
int proc_kcmp(pid_t a, pid_t b, int type, unsigned long ia, unsigned long ib);
