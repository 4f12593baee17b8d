/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The voice: argv in, words and exit statuses out. One file per command; each gives one struct command to the table in
 * main.c. The rest of the room: report.c speaks, progress.c shows how far, cancel.c hears Ctrl-C, wait.c stands by a
 * program and passes signals on, job.c knows what `run` started here, images.c and lock.c keep a job's directory.
 *
 * Everything that a command learns lives in one arena; a failure of its own goes into the same struct stasis_report that
 * the library fills, so that there is one form of error.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/terminal.h"

#include "stasis.h"

enum {
	EXIT_USAGE = 120,
	EXIT_CANNOT = 121,
	EXIT_PERMISSION = 122,
	EXIT_IMAGE = 123,
	EXIT_TIMEOUT = 124,
	EXIT_ENVIRONMENT = 125,
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_REQUEUE = 75, /* EX_TEMPFAIL */
};

/** struct command - a verb; @synopsis is what follows the verb, @help the text of `stasis help VERB` below it */
struct command {
	const char *name;
	const char *synopsis;
	const char *summary;
	const char *help;
	int (*main)(const struct command *self, int argc, char **argv);
};

extern const struct command cmd_checkpoint, cmd_restart, cmd_check, cmd_show, cmd_ls, cmd_run;

/* ---- report.c ---- */

/** usage_error() - say what is wrong with the arguments and where the right ones are described; returns 120 */
int usage_error(const struct command *self, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** bad_option() - usage_error() for what getopt_long gave as '?' or ':' (@c) */
int bad_option(const struct command *self, int c, char **argv);

/** parse_clock() - "continue" or "real", the argument of --clock; 0 or 120 */
int parse_clock(const struct command *self, const char *text, enum stasis_clock_policy *ret);

/** parse_compress() - the argument of --compress, NULL for none, as struct stasis_checkpoint_options has it; 0 or 120 */
int parse_compress(const struct command *self, const char *text, int *ret);

/** command_help() - the text of `stasis help VERB` on stdout; returns 0 */
int command_help(const struct command *self);

/** report_fail() - make @r a failure of our own; the text lives in @a. Returns @status */
int report_fail(struct stasis_report *r, struct arena *a, int status, const char *slug, const char *try,
	const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/** report_errno() - the exit status that an errno from opening or making a file stands for */
int report_errno(int err);

/** report_interrupted() - make the failed @r say that signal @signo ended the operation; returns 128 + @signo */
int report_interrupted(struct stasis_report *r, struct arena *a, int signo);

/** report_failure() - the error, its obstacles, why, try and state on stderr */
void report_failure(const struct stasis_report *r);

/** report_notes() - "note: ..." lines on stderr */
void report_notes(const struct stasis_report *r);

/** report_saved(), report_restarted() - the summary line and the notes on stderr */
void report_saved(const struct stasis_report *r, const char *to);
void report_restarted(const struct stasis_report *r);

/** report_json() - one JSON object; with @objects the list of `stasis check` too */
void report_json(FILE *out, const struct stasis_report *r, bool objects);

/** put_text() - @s to @out, with all that could drive a terminal escaped */
void put_text(FILE *out, const char *s);

/* ---- progress.c ---- */

/** struct progress - a line on the terminal that appears after a second and is erased at the end; zero it, set @verb */
struct progress {
	const char *verb; /* "saving" */
	const char *name; /* of the program; may be NULL */
	uint64_t begin_ns;
	uint64_t phase_ns; /* when the present phase began */
	const char *phase;
	bool shown;
};

void progress_begin(struct progress *p, const char *verb, const char *name);
void progress_show(void *p, const struct stasis_progress *now); /* a stasis_progress_fn */
void progress_end(struct progress *p);

/* ---- input.c ---- */

/**
 * image_input() - open the image @path; "-" is standard input, which becomes /dev/null
 * Never a terminal. Returns a descriptor, or -errno with @r filled.
 */
int image_input(const char *path, struct arena *a, struct stasis_report *r);

/* ---- cancel.c ---- */

/** cancel_begin() - INT, QUIT, TERM and HUP, unless ignored, from now on only set the flag, and TSTP is blocked; returns the flag */
const volatile sig_atomic_t *cancel_begin(void);

/** cancel_signal() - the signal that came since cancel_begin(), 0 if none; *@ret_kernel: a terminal sent it */
int cancel_signal(bool *ret_kernel);

/* ---- wait.c ---- */

enum watch_event {
	WATCH_ENDED,
	WATCH_SIGNAL,
	WATCH_TIMEOUT,
};

/** struct watch - stands by a program: its end, our signals, a point in time */
struct watch {
	struct stasis_job job;
	int signal_fd; /* owned */
	int wait_fd, pid_fd; /* pidfds, owned */
	int status; /* exit status once it has ended: its own, or 128 + n */
	struct terminal terminal; /* ours, as it was before the program got it */
	struct terminal lent; /* as the program had it last; fd is -EBADF until it was taken back once */
	bool is_lent;
	bool restarted; /* the program got it with settings of its own: those are not to stay */
};

/** forwarded_signals() - what a supervisor passes on: all that a person or a batch system sends */
void forwarded_signals(sigset_t *set);

/** watch_begin() - @signals must be blocked already; 0 or -errno */
int watch_begin(struct watch *w, const struct stasis_job *job, const sigset_t *signals);
void watch_end(struct watch *w);

/**
 * watch_lend() - the program has the terminal that terminal_find() found before it was there, as far as we had it
 *
 * From now on watch_next() takes it back while the program is stopped, when we stop too as a shell expects of a job, and
 * watch_end() when it has ended. @restarted: what is on the screen is not the program's: have it draw that again.
 */
void watch_lend(struct watch *w, const struct terminal *terminal, bool restarted);

/** watch_next() - wait for the next event until @deadline_ns (CLOCK_MONOTONIC; 0: for ever); the end comes before all */
enum watch_event watch_next(struct watch *w, uint64_t deadline_ns, struct signalfd_siginfo *ret_signal);

/**
 * watch_forward() - pass a signal on to the program
 *
 * What the terminal sent (@from_kernel) has reached the program already when it is of our process group; when it has a
 * group of its own, the group gets it. After TSTP we stop too, as the shell expects.
 */
void watch_forward(struct watch *w, int signo, bool from_kernel);

/* ---- job.c ---- */

/** struct job - a program that a `stasis run` on this host stands by */
struct job {
	pid_t pid; /* its root process */
	uint64_t start; /* of that process, in clock ticks after boot: tells a pid that was used again */
	int64_t since; /* seconds since the epoch */
	const char *name;
	const char *dir; /* of its images, absolute */
	const char *command;
};

/** job_register() - tell `ls` of it; *@ret_path (in @a) is for job_forget(). 0 or -errno */
int job_register(struct arena *a, const struct job *job, const char **ret_path);
void job_forget(const char *path); /* accepts NULL */

/** job_list() - struct job of all that run; what is left of others is removed. 0 or -errno */
int job_list(struct arena *a, struct span *ret);

/** struct target - what a checkpoint is made of */
struct target {
	pid_t pid;
	const char *name; /* of the job, or the process */
};

/** target_find() - @text is a pid or the name of a job; 0, or a status with @r filled */
int target_find(struct arena *a, const char *text, struct target *ret, struct stasis_report *r);

/** file_name() - @s made fit to be a part of a file name, in @a */
char *file_name(struct arena *a, const char *s);

/** process_start() - start time of process @pid in clock ticks after boot; -ESRCH also when all its threads have ended */
int process_start(struct arena *a, pid_t pid, uint64_t *ret);

/** line_escape(), line_unescape() - any text as one word without blanks or newlines, and back (-EINVAL); in @a */
char *line_escape(struct arena *a, const char *s);
int line_unescape(struct arena *a, const char *s, size_t len, const char **ret);

/** line_value() - the value of the line "@key VALUE" in @text, still escaped; NULL when there is none */
const char *line_value(const char *text, const char *key, size_t *ret_len);

/** job_name_valid() - may @s name a job? */
bool job_name_valid(const char *s);

/* ---- images.c ---- */

/** struct image_file - NAME.NNNNNN.stasis in a job's directory */
struct image_file {
	uint64_t n;
	uint64_t size; /* bytes */
	int64_t mtime; /* seconds since the epoch */
	char *name;
};

/** images_list() - the images of job @name in @dirfd, oldest first; 0 or -errno */
int images_list(struct arena *a, int dirfd, const char *name, struct span *ret);

/** images_prune() - keep the @keep newest, and none of the numbers from @bad_from up to @bad_to; 0 or -errno */
int images_prune(struct arena *a, int dirfd, const char *name, unsigned int keep, uint64_t bad_from, uint64_t bad_to);

/** images_sweep() - remove what a supervisor that was killed while saving left behind; only under the lock */
void images_sweep(int dirfd, const char *name);

/* ---- lock.c ---- */

/** struct lock - of a job's directory and name: one supervisor at a time, on all hosts that share the directory */
struct lock {
	int fd;
	int dirfd; /* borrowed */
	const char *file;
	const char *command; /* of the earlier run, escaped; NULL when unknown */
};

/**
 * lock_take() - wait a while for the lock, and for the program of an earlier supervisor to be gone
 * 0, or a status with @r filled.
 */
int lock_take(struct lock *l, struct arena *a, int dirfd, const char *name, struct stasis_report *r);

/** lock_tell() - write down what runs under the lock: the process to wait for and the command line (escaped) */
int lock_tell(struct lock *l, struct arena *a, pid_t wait_pid, const char *command);

/** lock_release() - with @remove also the file */
void lock_release(struct lock *l, bool remove);
