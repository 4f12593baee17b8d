/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The crew: the threads by which a checkpoint goes through the processes of the tree side by side, a lane each.
 *
 * Only the thread that stopped a process traces it, and can ask it and let it go: so each process belongs to one lane, from when
 * it is stopped until it is let go. Lane 0 is who conducts; the others are made when there is work for them, and wait for it.
 * In a pass each lane has a copy of the checkpoint, with an operation of its own, and changes nothing that all have but what is
 * its process's. What was refused and noted is told in the order of the items, whoever was first, and up to the first that failed.
 */
#include <stddef.h>

#include "kinds/kind.h"

#define LANE_STACK ((size_t)8 << 20) /* of a thread that calls kinds */

struct checkpoint;
struct crew;

/** struct reading - for proc_read_regs() */
struct reading {
	bool tried;
	int fd; /* negative: they cannot be read */
};

/** struct lane - what a lane keeps from one pass to the next */
struct lane {
	unsigned int n;
	struct root root_dir; /* for its processes */
	struct span cpu_clocks; /* for nap_look() */
	struct reading regs;
	size_t n_refused; /* was_refused(): how many obstacles it has seen */
};

/** crew_init() - a crew of up to @lanes for @c, which stays where it is; sets c->crew and c->lane */
void crew_init(struct checkpoint *c, unsigned int lanes);

/** crew_done() - the threads end; what they still trace is let go by the kernel */
void crew_done(struct checkpoint *c);

/** crew_fn - does item @i; negative ends the pass, when it has told why */
typedef int crew_fn(const struct checkpoint *c, void *data, size_t i);
typedef int crew_process_fn(const struct checkpoint *c, struct process *p);

/** crew_share() - @n items, each by whichever lane is free; @phase: for who follows it. Returns what the first that failed did */
int crew_share(struct checkpoint *c, const char *phase, size_t n, crew_fn *fn, void *data);

/**
 * crew_each() - each process of the tree, by its lane
 * The first of the tree comes first, by itself. Those that share something with others (shares.c) come after all the rest, in the
 * order of the tree, one at a time. Without @phase nothing but @fn itself can end it.
 */
int crew_each(struct checkpoint *c, const char *phase, crew_process_fn *fn);

/** crew_others() - each thread but the first of its process, that has ended too, by whichever lane is free */
typedef int crew_thread_fn(const struct checkpoint *c, struct process *p, struct thread *t);
int crew_others(struct checkpoint *c, const char *phase, crew_thread_fn *fn);

/** crew_lock() - for what belongs to several processes */
void crew_lock(const struct checkpoint *c);
void crew_unlock(const struct checkpoint *c);
