/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The conductor: collect, order, save; load, order, rebuild. It names no kind.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stasis.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/op.h"
#include "core/clock.h"
#include "core/crew.h"
#include "core/records.h"
#include "image/image.h"
#include "kinds/kind.h"
#include "kinds/outsiders.h"
#include "kinds/sockets.h"

/** struct watch - how the caller follows and stops an operation */
struct watch {
	const volatile sig_atomic_t *cancel;
	stasis_progress_fn *progress;
	void *data;
	uint64_t last; /* when progress was told */
};

/** watch_tell() - progress, at most ten times a second; -EINTR (told) when the caller cancelled */
int watch_tell(struct op *op, struct watch *w, const char *phase, uint64_t done, uint64_t total);

/** report_from() - move the story of @op into @report and end @op; returns report->status */
int report_from(struct op *op, struct stasis_report *report);

/** be_strict() - with @strict whatever was noted as degraded is a failure */
int be_strict(struct op *op, bool strict);

/* ---- saving ---- */

/** struct checkpoint - a program being saved */
struct checkpoint {
	struct op *op;
	struct watch watch;
	int procfd;
	pid_t target;
	struct tree tree;
	struct crew *crew;
	struct lane *lane; /* by which this is done */
	struct map by_pid; /* of struct process, by pid as we count */
	bool held; /* all of it stands still */
	bool judged; /* and nothing stands against it that shows from outside */
	struct span *objects; /* of struct stasis_object: the list for who wants it, or NULL */
	struct span bystanders; /* the tree's */
	struct outsiders outsiders; /* likewise */
	struct sockets sockets; /* likewise */
	struct abilities abilities; /* likewise */
	struct process *root;
	bool own_pidns; /* the target lives in another pid namespace than we */
	pid_t init; /* own_pidns: the init of that namespace as we count, which stays out; 0: the root is its init */
	uint64_t next_id;
	uint64_t threads;
	uint64_t memory; /* bytes of page data written */
	uint64_t planned; /* bytes that may be written */
	uint64_t frozen_at, thawed_at;
	struct clocks clocks; /* of the root when all had been stopped */
	struct span open_files; /* of struct open_file *, in tree order */
	struct span backings; /* of struct backing * */
	struct map by_key; /* of struct backing, by a mix of kind and key: the last one of those with that mix */
	struct span mms; /* of struct mm_plan * */
	struct twins *twins; /* NULL: not tried yet */
	struct mappings *mappings; /* NULL: smaps is read */
};

/** struct open_file - an open file description of the tree */
struct open_file {
	const struct process *process; /* of its first descriptor */
	const struct proc_fd *fd;
	size_t order; /* of its first descriptor in the tree */
	const struct kind *kind;
	void *rec;
	uint64_t id;
	struct backing *backing; /* what it leads to, when that is saved as memory is; else NULL */
};

/** struct backing - what backs shared or file mappings, once */
struct backing {
	const struct kind *kind;
	uint64_t key[2];
	struct backing *same_mix; /* in by_key */
	void *rec;
	uint64_t id;
	const struct process *process; /* of its first view */
	const struct proc_vma *vma; /* NULL: nobody has mapped it, and the process has it as: */
	const struct proc_fd *fd;
	struct backing *keeper; /* what keeps it: this one, or that of another kind */
	bool can; /* that one could be kept */
	bool tried, opens; /* its kind's open(): it was called, it gives a descriptor */
	struct span covered; /* of struct range, in bytes: what is known of its pages */
	uint64_t inside; /* bytes of it that read_inside() has read */
	struct span pieces; /* its pages that exist, see pages.c */
	struct span views; /* of struct view: who maps it */
};

struct view {
	const struct process *process;
	const struct proc_vma *vma;
};

/** struct mm_plan - an address space to be saved: what is where, decided before anything is written */
struct mm_plan {
	struct process *process;
	struct mm_record rec;
	struct span all; /* of struct proc_pages: its private pages */
	struct span own; /* those of them that are not the parent's */
	uint64_t *entries; /* of pagemap, for each page of ->all; or NULL */
	size_t *first_entry; /* of each run in ->all */
};

/** enum share - what processes can share, when one was cloned so */
enum share {
	SHARE_VM,
	SHARE_FILES,
	SHARE_FS,
	SHARE_SIGHAND, /* only with the memory */
	SHARE_N,
};

/** struct shares - the first process of the tree, maybe itself, that has the same */
struct shares {
	struct process *first[SHARE_N];
	bool equal[SHARE_N]; /* shares.c's */
	bool any; /* others have something of it, or it of others */
};

/* freeze.c */
/** freeze_process() - hold all its threads still, the leader first if it lives; -ESRCH (not told) when all have ended */
int freeze_process(const struct checkpoint *c, struct process *p);
/** list_threads() - the same without holding any; -errno is not told */
int list_threads(const struct checkpoint *c, struct process *p);
/** struct listed - a thread that is not stopped yet and, if that @is_known, the call that it has made last: it may be in it still */
struct listed {
	pid_t tid;
	bool is_known;
	struct proc_syscall call; /* without sp and ip */
};
/** list_running() - those that it has now; of many all at once with their calls, if that can be had. -errno is not told */
int list_running(const struct checkpoint *c, const struct process *p, struct span *ret /* of struct listed */);
/** read_all_regs() - proc_read_regs(), if it is to be of @n threads and that is many, and if it can be had */
bool read_all_regs(const struct checkpoint *c, const struct process *p, size_t n, proc_regs_fn *fn, void *data);
/** look_at_nap() - of a thread that is not stopped yet; NULL: it sleeps for no time */
struct nap *look_at_nap(const struct checkpoint *c, const struct process *p, const struct listed *t);
/** mend_sequences() - before a thread is asked for anything: hold_mend_rseq() for all of a process */
int mend_sequences(const struct checkpoint *c, const struct process *p);
/** find_thread() - of those of a process, maybe at @guess; NULL: it has none of that number */
struct thread *find_thread(const struct process *p, pid_t tid, size_t guess);
/** leader_to_front() - the first of its threads is the leader, if that lives: numbers wrap around, and it need not be the lowest */
void leader_to_front(struct process *p);
/* naps.c */
/** recall_naps() - what an earlier checkpoint has left in the program about calls that go on; after find_shares() */
void recall_naps(struct checkpoint *c);
/**
 * end_by_signal() - a call of a stopped thread that would be made again: has a signal come meanwhile whose handler ends it?
 * One that began after the handler might wait for ever for what that has just done.
 */
void end_by_signal(const struct process *p, struct thread *t);
/** leave_nap() - just before a thread is let go: that, and how long its call is still to sleep, for the next checkpoint as well */
void leave_nap(const struct process *p, struct thread *t);
/* leader.c */
/** reach_process() - by which thread? The leader, or another when that has ended; then it is no longer among the threads */
int reach_process(const struct checkpoint *c, struct process *p, bool frozen);
void take_ended(const struct checkpoint *c, struct process *p); /* what of the process is its leader's */
/* collect.c */
int collect_tree(struct checkpoint *c, bool freeze);
int collect_facts(struct checkpoint *c); /* facts.c */
int open_rooms(struct checkpoint *c); /* facts.c: needs the tree frozen. All it takes to dig them */
/** dig_room() - put the stub into @p; one process at a time, as they may share their memory: room_fill() is next */
int dig_room(const struct checkpoint *c, struct process *p);
void release_tree(struct checkpoint *c);
/* objects.c */
int collect_open_files(struct checkpoint *c);
int check_tree(struct checkpoint *c); /* tree.c: can sessions, groups and parents be made again? */
int describe_tree(struct checkpoint *c);
/** was_refused() - did kind @k, which gave @r, refuse what lies at the present place? Then the list of objects says so */
bool was_refused(const struct checkpoint *c, const struct kind *k, int r);
/* shares.c */
void find_shares(struct checkpoint *c);
int check_shares(struct checkpoint *c); /* after check_tree() */
/** first_sharer() - the first process that has the same of what clone(2) shares by @flag; @p itself where nobody else has */
struct process *first_sharer(const struct process *p, uint64_t flag);
/* jobctl.c */
void find_stop(struct process *p);
void find_children(struct checkpoint *c);
int ask_jobctl(
	const struct checkpoint *c, struct process *p, struct batch *b); /* while its first thread is in the stub */
uint32_t jobctl_flags(const struct process *p);
/* put.c */
/** put_records() - all records, when everything has been found out: only page data comes after them */
int put_records(struct checkpoint *c, struct image_writer *w);
/* parts.c */
int save_parts(struct checkpoint *c);
/* inherit.c */
/** remember_entries() - plan->entries, if there is somebody to compare them with, and they are not too many */
int remember_entries(const struct checkpoint *c, struct mm_plan *plan);
/** is_mapped_alone() - does *@ret tell, for each of @n pages from @at on, whether this process alone has it? If that was remembered */
bool is_mapped_alone(const struct mm_plan *plan, uint64_t at, size_t n, bool *ret);
/** are_all_alone() - is it remembered that it alone has all pages between these? */
bool are_all_alone(const struct mm_plan *plan, uint64_t start, uint64_t end);
/** share_with_parent() - take out of the pages that are @child's own those that are its parent's */
int share_with_parent(const struct checkpoint *c, struct mm_plan *child, struct mm_plan *parent);
/* inside.c */
#define INSIDE_STEP ((uint64_t)16 * IMAGE_PAGE)
/**
 * read_inside() - at most INSIDE_STEP of mapping @v that only @p itself can read, while the stub is in it: *@ret, in the arena
 * Refuses what is too much of it.
 */
int read_inside(const struct checkpoint *c, struct process *p, const struct proc_vma *v, uint64_t at, size_t len,
	unsigned char **ret);
/* scan.c */
/* in struct proc_pages.what of lists of what is to be saved: zero pages must be stored too, as what is not stored reads as the file's */
#define KEEP_ZEROS (1ull << 63)
/* and: others have some of the pages as well, since a fork */
#define FORK_SHARED (1ull << 62)
/** find_own_pages() - p->pages and p->guards, when it has left the stub; once for those that share their memory */
int find_own_pages(const struct checkpoint *c, struct process *p);
/** pages_of_mapping() - of p->pages those to be saved of @v, appended to @ret; *@from: 0 for the first mapping, and from one to the next */
void pages_of_mapping(
	const struct checkpoint *c, const struct process *p, const struct proc_vma *v, size_t *from, struct span *ret);
/* pages.c */
int find_shared_pages(const struct checkpoint *c, struct process *p); /* while the stub is in the process */
int plan_memory(struct checkpoint *c);
int save_pages(struct checkpoint *c, struct image_writer *w);
