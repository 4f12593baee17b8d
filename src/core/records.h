/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The records of the conductor itself: what holds the objects of the kinds together.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/field.h"
#include "kinds/kind.h"

/* tags in images; kinds have 0x20 and above */
enum core_tag {
	TAG_HEAD = 1,
	TAG_TASK = 2,
	TAG_MM = 3,
	TAG_FDTABLE = 4,
};

#define ISA_NAME "x86_64"

/** struct head - the first object (id 1): where the image comes from */
struct head {
	const char *stasis; /* version that wrote it */
	const char *release; /* uname */
	const char *isa;
	const char *name; /* of the root process */
	uint64_t time; /* seconds since the epoch */
	uint64_t processes, threads;
	uint64_t objects; /* highest object id */
	uint8_t own_pidns; /* its pids are those of a pid namespace of its own */
	struct span notes; /* of struct note_record: what was degraded */
	uint64_t monotonic_ns, boottime_ns; /* its clocks when all had been stopped; 0: not known */
};

struct note_record {
	const char *where, *what;
};

/** struct ref - the object of one kind that belongs to a process or thread */
struct ref {
	uint64_t id;
};

struct thread_record {
	int32_t tid;
	uint32_t
		like; /* 1 + the place of a thread before it: of what it has no part of its own it is said by that one's; 0: none */
	struct span parts; /* of struct ref */
};

enum task_flags {
	TASK_ZOMBIE = 1u << 0,
	TASK_STOPPED = 1u << 1, /* by job control */
	TASK_STOP_WAITED = 1u << 2, /* and its parent has waited for that (WUNTRACED) */
	TASK_STOP_UNTOLD = 1u << 3, /* or is not told yet (SIGCHLD), as not all its threads have stopped */
	TASK_CONTINUED = 1u << 4, /* and its parent has not waited for that (WCONTINUED) */
	TASK_LEADER_GONE = 1u << 5, /* its first thread has ended, others have not */
};

/** struct task_record - a process; parents come before children */
struct task_record {
	int32_t pid, ppid, pgid, sid; /* ppid 0: a top-level process; pgid, sid 0: outside of the tree's namespace */
	const char *comm;
	uint32_t flags; /* enum task_flags */
	int32_t exit_code; /* of a zombie, or of a first thread that is gone, as wait(2) encodes it */
	int32_t exit_signal;
	int32_t stop_signal; /* TASK_STOPPED: by which; 0: SIGSTOP */
	uint64_t mm, fdtable;
	struct span parts; /* of struct ref: process kinds */
	struct span threads; /* of struct thread_record; the leader first */
};

struct range {
	uint64_t at, pages;
};

#define HUGE_PAGE (2ull << 20) /* x86-64: the size of transparent huge pages that one entry of a page table maps */

/** struct mm_record - an address space; its page data follows in PAGES sections with its id */
struct mm_record {
	struct span vmas; /* of struct vma, in order of address */
	struct span
		inherit; /* of struct range: pages that are the same as in the parent process, in order of address */
	struct span
		huge; /* of struct range: of huge pages each (HUGE_PAGE), none of them inherited; in order of address */
};

struct fd_record {
	uint32_t n;
	uint8_t cloexec;
	uint64_t file; /* the open file's object */
};

struct fdtable_record {
	struct span fds; /* of struct fd_record, in order of number */
};

extern const struct field head_fields[], task_fields[], mm_fields[], fdtable_fields[];
extern const struct flag vma_flag_names[], task_flag_names[];

/** vma_alike() - is it the same private thing at the same place, so that a child can have it from its parent by fork(2)? */
bool vma_alike(const struct vma *a, const struct vma *b);
