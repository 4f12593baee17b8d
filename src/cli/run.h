/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One `stasis run`: run.c brings the program up, supervise.c stands by it.
 */
#include "cli/cli.h"

struct run_args {
	const char *name, *dir;
	uint64_t every_ns; /* 0: never */
	sigset_t on;
	unsigned int keep;
	int compress;
	bool fresh;
	enum stasis_clock_policy clock;
	char **argv;
};

struct run {
	const struct run_args *args;
	struct arena arena;
	struct stasis_report report; /* of what ends the run before the program does */
	const char *name;
	const char *command; /* the line, escaped */
	const char *dir; /* absolute */
	int dirfd;
	bool own_dir; /* the default directory */
	struct lock lock;
	sigset_t old_mask; /* the caller's: the program gets it */
	struct stasis_job job;
	struct terminal terminal; /* as it was before the program was there */
	const char *registered; /* of job_register() */

	uint64_t next; /* number of the next image */
	uint64_t first; /* number of the first image of this run */
	uint64_t restarted_from; /* number of an image, 0: none. The images between it and the first are of no use */
	bool hint; /* no image could be gone on with: say how to start anew */
	const char *warned; /* the last failure of a periodic checkpoint that was told */
};

/** supervise() - stand by the program until it ends, or a signal ends it with an image; returns the exit status */
int supervise(struct run *run, const sigset_t *signals);
