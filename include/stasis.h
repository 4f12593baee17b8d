/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * libstasis: checkpoint running programs and restart them.
 *
 * Every call fills a report and returns its status: 0, or one of 120 (usage), 121 (cannot: an object that cannot be
 * kept), 122 (permission), 123 (bad image), 124 (timed out), 125 (environment). Nothing is printed. A call that fails
 * leaves the program, or the host, as it was; report.state says so in words.
 *
 * Options begin with their size (sizeof *opts) so that they can grow; a zeroed member means the default.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** struct stasis_message - one obstacle (it stopped the operation) or note (it did not); members may be NULL */
struct stasis_message {
	const char *where; /* "\"redis-server\" (pid 812): fd 9" */
	const char *what; /* "is an io_uring" */
	const char *slug; /* a stable word for scripts */
	const char *why;
	const char *try; /* the remedy */
};

/** struct stasis_object - one object of the tree, for `stasis check` */
struct stasis_object {
	const char *where;
	const char *kind;
	const char *what; /* a description: "/etc/passwd, offset 120" */
	bool can; /* a checkpoint could keep it */
};

/** struct stasis_report - what an operation has to tell; zero it before the first use, stasis_report_done() after */
struct stasis_report {
	int status; /* 0 or 120-125 */
	const char *error; /* "cannot save \"redis-server\" (pid 812): fd 9: ...", NULL when all went well */
	const char *slug, *why, *try;
	const char *state; /* "redis-server was not stopped; no image was written" */
	const struct stasis_message *obstacles, *notes;
	size_t n_obstacles, n_notes;
	const struct stasis_object *objects;
	size_t n_objects;

	char name[64]; /* of the root process */
	pid_t pid; /* of the root process, as the caller counts */
	uint64_t processes, threads;
	uint64_t memory; /* bytes of page data saved or put back */
	uint64_t image_size; /* bytes */
	uint64_t wall_ns, still_ns; /* the whole; how long the program stood still */
	const char *path; /* where the image is; NULL for a stream */
	bool own_pidns; /* restart: the program got a pid namespace of its own */

	void *memory_owner;
};

void stasis_report_done(struct stasis_report *report);

/** struct stasis_progress - handed to the progress callback a few times a second */
struct stasis_progress {
	const char *phase; /* "freezing", "reading memory", "writing", "rebuilding" */
	uint64_t done, total; /* bytes; total 0 when unknown */
};

typedef void stasis_progress_fn(void *data, const struct stasis_progress *progress);

#define STASIS_COMPRESS_MAX 19

struct stasis_checkpoint_options {
	size_t size;
	const char *path; /* where the image is to appear; NULL: write to fd */
	int fd;
	bool stop; /* end the program once the image is committed */
	bool strict; /* refuse what would otherwise be degraded and named */
	const volatile sig_atomic_t *cancel; /* becomes non-zero: roll back and return */
	stasis_progress_fn *progress;
	void *progress_data;
	int compress; /* 1 (fast) to STASIS_COMPRESS_MAX (small): compress the memory in the image */
};

/** stasis_checkpoint() - save the process @pid and everything below it */
int stasis_checkpoint(pid_t pid, const struct stasis_checkpoint_options *options, struct stasis_report *report);

struct stasis_check_options {
	size_t size;
	bool strict;
	bool no_freeze; /* only look: the program is not touched, and what shows only while it stands still is not seen */
	const volatile sig_atomic_t *cancel;
	stasis_progress_fn *progress;
	void *progress_data;
};

/**
 * stasis_check() - would stasis_checkpoint() succeed? It is a checkpoint up to where the memory is read
 *
 * The program stands still for a moment (report.still_ns). report.objects lists every object with its verdict; of a program
 * that cannot be stopped too, as far as it can be seen.
 */
int stasis_check(pid_t pid, const struct stasis_check_options *options, struct stasis_report *report);

enum stasis_file_policy {
	STASIS_FILE_KEEP = 1, /* take the file as it is now */
	STASIS_FILE_TRUNCATE, /* cut it back to its size at the checkpoint */
	STASIS_FILE_ALLOW, /* besides one of these: the program gets it, although it may not open it itself */
};

struct stasis_file_rule {
	const char *path; /* as the program named it */
	enum stasis_file_policy policy;
};

/** enum stasis_clock_policy - what becomes of CLOCK_MONOTONIC and CLOCK_BOOTTIME (CLOCK_REALTIME is always the host's) */
enum stasis_clock_policy {
	STASIS_CLOCK_CONTINUE, /* go on from where they were: the time away does not count. By a time namespace; where
				* none can be had they are the host's, and a jump is named in a note */
	STASIS_CLOCK_REAL, /* those of the host */
};

/** struct stasis_job - a program that was started or restarted */
struct stasis_job {
	pid_t pid; /* its root process, as the caller counts */
	pid_t wait_pid; /* the caller's child to wait for: the root process, or the init of its pid namespace, which
				* passes the exit status on (128 + n when the program died of signal n) */
	bool own_pidns;
	char cgroup[256]; /* a control group of its own, or "" */
};

/** stasis_job_done() - the job has ended and was waited for: remove what was made for it on this host */
void stasis_job_done(const struct stasis_job *job);

struct stasis_restart_options {
	size_t size;
	int fd; /* the image; borrowed */
	const struct stasis_file_rule *files;
	size_t n_files;
	bool detach; /* the program outlives the caller */
	bool own_pidns; /* always give it a pid namespace of its own; else only when its pids are taken or the caller
				* may not choose pids */
	bool strict;
	const volatile sig_atomic_t *cancel;
	stasis_progress_fn *progress;
	void *progress_data;
	bool terminal; /* the caller stands by the program and takes his terminal back when it stops or ends: when he is in
			* the foreground of the terminal at 0, 1 or 2, the program gets the foreground, and the terminal
			* the settings that the program's had */
	bool own_cgroup; /* give it a control group of its own, when that is allowed */
	int (*before_run)(
		void *data, pid_t pid); /* called last, when all is ready, with the pid of the program; an errno
						   * below zero undoes the restart */
	void *before_run_data;
	enum stasis_clock_policy clock;
};

/**
 * stasis_restart() - bring the program in the image back; descriptors that led outside at 0, 1, 2 become the caller's
 *
 * On failure no process, file or mount of the attempt remains. On success the program runs and job says how to wait.
 */
int stasis_restart(const struct stasis_restart_options *options, struct stasis_job *job, struct stasis_report *report);

struct stasis_spawn_options {
	size_t size;
	char *const *argv;
	const sigset_t *sigmask; /* the signal mask that the program starts with; NULL: the caller's */
};

/**
 * stasis_spawn() - start a program so that it can always be restarted: in a pid namespace of its own, below a small init
 *
 * The program is pid 2 there. It ends when the caller dies. A command that cannot be executed gives status 126 or 127
 * through the job's exit status.
 */
int stasis_spawn(const struct stasis_spawn_options *options, struct stasis_job *job, struct stasis_report *report);

/** stasis_show() - print what is in the image at @fd: header, task tree, memory map, open files; with @json one document */
int stasis_show(int fd, bool json, FILE *out, struct stasis_report *report);

/** stasis_verify() - read the image at @fd to its end: is it complete and unaltered? fills name, processes, threads, memory */
int stasis_verify(int fd, struct stasis_report *report);

const char *stasis_version(void);

#ifdef __cplusplus
}
#endif
