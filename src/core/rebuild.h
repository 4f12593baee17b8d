/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A program being restarted.
 */
#include <stdatomic.h>

#include "base/terminal.h"
#include "core/births.h"
#include "core/core.h"
#include "core/nest.h"

/** struct object - one record of the image */
struct object {
	uint64_t id;
	uint32_t tag;
	const struct kind *kind; /* NULL: one of core's */
	void *rec;
	int fd; /* what the kind made of it, here; -EBADF */
	uint64_t stash, stash_end; /* shared memory: where it is mapped for all to inherit */
	bool restored;
	bool checked; /* an address space: what it holds makes sense */
	bool here; /* mem kinds that move: this kernel has the very same */
	const struct mm_record *seen_in; /* mem kinds that move: the last memory map that has it */
	struct patient *first, *last; /* of those that share it */
	bool has_owner; /* a process has it, whatever its rights; known where some have others than stasis */
	struct span owners; /* see struct site */
};

/** struct moved - a mapping that every process has, and where it is now */
struct moved {
	struct object *object; /* NULL: the program had no such one */
	uint64_t at, len;
	bool has_code;
};

/** struct piece - a part of a process or thread: what is looked at often lies close together */
struct piece {
	struct object *object;
	const struct kind *kind;
	void *rec; /* that of the object; of a thread that has it from another a copy, as kinds keep in it what they do */
};

/** struct pieces - those of one thread, or of its process */
struct pieces {
	struct piece *at;
	size_t n;
	bool concerns_all; /* one of them does: see struct kind */
};

/** struct patient - a process being made */
struct patient {
	const struct task_record *rec;
	struct patient *parent;
	struct span children; /* of struct patient * */
	struct birth *birth; /* when and by whom it is made */
	uint64_t shares; /* what it has in common with its parent: flags of clone(2) */
	struct span makes; /* of struct patient *: siblings that it makes */
	int32_t sid; /* the session it gets: that of its record, or 0: the caller's */
	int32_t group; /* the process group it is in as it was born, or began a session; 0: none of the program's */
	struct pieces parts; /* of the process */
	struct pieces *thread_parts; /* of each thread */
	struct mm_record *mm;
	const struct fdtable_record *fdtable;
	pid_t pid; /* as we count; 0 while it does not exist */
	struct held *threads; /* the leader first */
	size_t first; /* of them, that acts for the process: 0, and 1 when the leader has ended */
	size_t n_threads; /* that exist */
	struct room room;
	struct batch batch;
	struct span own; /* of struct range, in order: the pages put into its memory, if others may inherit that */
	bool own_unknown; /* they were in no order */
	struct brood *brood; /* children that it makes just now */
	size_t hatched; /* of its children: those before it are made, or being made */
	struct span owners; /* see struct site: one, or none where it may open whatever stasis may */
	bool begun; /* it has begun to make its memory */
	bool restored; /* its thread went through STAGE_RESTORE already */
	struct span moved; /* of struct moved */
	size_t huge; /* of mm->huge: those before it are done */
	uint64_t huge_end; /* of what is done */
	struct taddr vdso, vdso_end; /* of the first that has its memory: that of this kernel */
	struct taddr old_code, old_code_end; /* of that one too: what stands in for the vdso of another kernel; or 0 */
	struct taddr syscall; /* a system call instruction in its vdso */
	struct arch_regs *regs; /* of each thread: what it goes on with */
	uint64_t *sigmasks;
	struct nap *naps; /* of each thread: the call that it goes on with, if that sleeps for a time */
	struct memos memos; /* of the first that has its memory */
	const uint64_t *sigchld; /* its action on SIGCHLD while its zombies end, as rt_sigaction() has it */
	const uint64_t *trap; /* that on SIGTRAP, likewise; NULL: not known */
};

#define CHANNELS 4 /* more would overlap more, and leave fewer numbers to the program's descriptors */

struct restart {
	struct op *op;
	struct watch watch;
	struct image_reader *image;
	struct section section; /* the next that is not yet used */
	bool at_end;
	const struct head *head;
	struct span objects; /* of struct object, sorted by id */
	struct span patients; /* of struct patient *: parents first */
	struct span owners; /* of const struct rights *: those of them that are not those of stasis, each once */
	struct site site;
	struct span slots;
	size_t n_reserved; /* of them: those that hold what was reserved */
	uint64_t zone,
		zone_end; /* addresses that nothing in the image and nothing here uses: room, spare place, stash */
	size_t rooms; /* in the zone */
	uint64_t spare; /* in the zone, for mappings under way */
	size_t syscall_offset;
	bool other_specials; /* what every process has is not what the processes of the image had */
	int channel[CHANNELS]
		   [2]; /* descriptors go to the tasks through these; [1] is inherited by all at the same number */
	size_t n_channels;
	int spare_fd; /* a number that every task has, and none needs: site.free_fd */
	bool own_pidns;
	bool crowded; /* somebody here has a number that the program must have */
	char cgroup[256]; /* one of its own, or "" */
	bool own_cgroup; /* wanted */
	bool real_clock; /* wanted: the clocks of this host */
	struct clocks clocks; /* of the program when it was saved */
	struct nest nest; /* own_pidns: the namespaces */
	struct terminal terminal; /* the caller's, as it was before; the program may have it */
	uint64_t memory; /* bytes of page data put back */
	size_t hatching; /* how many make children just now: no thread of ours may take their pids */
	enum {
		HUGE_UNKNOWN,
		HUGE_ALLOWED,
		HUGE_ALWAYS,
		HUGE_NEVER
	} huge; /* does this machine want transparent huge pages? */
};

#define TASK_END     0x7ffffffff000ull /* x86-64, 4-level paging: the end of what programs can map */
#define ACTION_BYTES 32 /* struct sigaction of the kernel */
#define ROOM_SPARE   (1ull << 20)
#define ROOMS	     16 /* how many threads may run batches at once, of one process as well */

/** enum stage - in which order threads get what is theirs: the functions of kinds by these names */
enum stage {
	STAGE_RESTORE,
	STAGE_LINK,
	STAGE_SETTLE,
	STAGE_LEAVE,
};

/** struct flight - a thread on its way */
struct flight {
	struct patient *patient; /* NULL: none */
	size_t thread;
	struct room room; /* that of its process, with memory that no other flight has */
	struct batch batch;
};

/** struct flights - all that are on their way, one behind the other */
struct flights {
	struct flight at[ROOMS];
	size_t width; /* of at: so many at most */
	size_t next; /* the one that began first, or is free */
};

/** struct fill - a process whose memory is filled by userfaultfd(2) */
struct fill {
	int fd; /* -EBADF: it is not */
	const struct mm_record *mm;
	bool *takes; /* of each mapping: is it filled so? */
	size_t next; /* the first mapping of which that is not known yet */
};

/** fill_open() - begin it for @p, where that can be done; it is slow to begin */
int fill_open(struct restart *r, struct patient *p, struct fill *f);
/** fill_expect() - before fill_put() is called for the pages of @s, which lie above those of all sections before */
void fill_expect(struct restart *r, const struct patient *p, struct fill *f, const struct section *s);
/**
 * fill_put() - put pages to @at, by any thread; returns how many bytes of them, at least one page
 * -EEXIST: there is a page already. -EOPNOTSUPP: the mapping is not filled so.
 */
ssize_t fill_put(const struct fill *f, uint64_t at, const void *data, size_t len);
/** fill_step() - how many of @len bytes from @at on are in one mapping */
size_t fill_step(const struct fill *f, uint64_t at, size_t len);
/** fill_close() - nobody calls fill_put() any more; the memory is as any other again */
void fill_close(struct fill *f);

/** struct page_sink - where page data goes, by whichever thread has time */
struct page_sink {
	struct image_sink sink;
	const struct patient *patient; /* a process, whose memory file is @mem, if it was needed yet */
	_Atomic int *mem;
	const struct fill *fill; /* NULL: not by userfaultfd(2) */
	struct restart *restart; /* or shared memory */
	const struct object *object;
	uint64_t failed_at;
};

/* load.c */
int load_objects(struct restart *r);
int load_next(struct restart *r);
/** load_pages() - send the page data of r->section to a copy of @sink, with @wait until they are there; on to the next section */
int load_pages(struct restart *r, const struct page_sink *sink, bool wait);
/** load_wait() - until all that was sent is where it belongs, or, after the error @e, nobody puts any more; @e or a new error */
int load_wait(struct restart *r, int e);
struct object *find_object(struct restart *r, uint64_t id);
/* tree order and checks: family.c */
int gather_family(struct restart *r);
/** check_pages() - has @p, and for itself alone, the memory that the page data of @s are for? */
int check_pages(struct restart *r, const struct patient *p, const struct section *s);
/** vma_above() - which mapping is the first that ends above @at; the number of mappings when none does */
size_t vma_above(const struct mm_record *mm, uint64_t at);
/* owners.c */
/** find_owners() - with whose rights are files to be opened? Of processes and objects */
int find_owners(struct restart *r);
/* zone.c */
int choose_zone(struct restart *r);
int restore_backings(struct restart *r);
/** make_backings() - those that are made here or in the nest: before the init or the first task inherits the stash */
int make_backings(struct restart *r);
/** keep_backings() - nothing can fail any more */
void keep_backings(struct restart *r);
/** leave_zone() - the init of the nest needs no zone any more: shared memory would live as long as it does */
int leave_zone(struct restart *r);
/* huge.c */
/** make_huge() - the pages of @s are about to be written: make those places huge that were */
int make_huge(struct restart *r, struct patient *p, const struct section *s);
/** is_huge_by_itself() - does the kernel make huge pages when memory of @v is touched? */
bool is_huge_by_itself(struct restart *r, const struct vma *v);
/* specials.c: the mappings that every process has */
/** find_specials() - where they lie in us, of whose mappings @maps tells; are they those of the image? */
void find_specials(struct restart *r, const struct span *maps);
/** move_specials() - add the calls that put them where they were; others go out of the way */
int move_specials(struct restart *r, struct patient *p, struct batch *b);
/** stand_in_for_specials() - if they are others: find a place for them, and put something in the place of the old ones */
int stand_in_for_specials(struct restart *r, struct patient *p);
/** check_stop() - could thread @n go on, if not in the middle of the code of another kernel? */
int check_stop(struct restart *r, struct patient *p, size_t n);
/* seed.c */
int choose_namespace(struct restart *r, bool own_pidns);
int plant_seeds(struct restart *r);
/* grow.c */
int take_shared_pages(struct restart *r);
int grow_tree(struct restart *r);
/* brood.c */
/** clone_children() - @all: of struct patient *; those that are to be made now, as children of @p or its siblings, before it calls setsid(2) or after it */
int clone_children(struct restart *r, struct patient *p, const struct span *all, bool sibling, bool early);
/** may_hatch() - are its children many, and can they be made while those that are there get what is theirs? */
bool may_hatch(struct restart *r, const struct patient *p);
/** hatch_some(), hatch_more() - begin to make some of them; until these are there, and make some more: while p->brood */
int hatch_some(struct restart *r, struct patient *p);
int hatch_more(struct restart *r, struct patient *p);
/** hatch_all() - until all are there that are being made */
int hatch_all(struct restart *r);
/**
 * quietly() - flags for clone(2): what is made is traced by us, and its maker does not stop to tell
 * Where its id is ours as well: in another pid namespace nobody else says which it is.
 */
uint64_t quietly(const struct restart *r);
/* furnish.c */
int restore_early_files(struct restart *r);
int furnish(struct restart *r);
/* jobctl.c */
bool is_jobctl(const struct task_record *t); /* can it be so? */
int stop_tasks(struct restart *r);
/* naps.c */
/** dress_nap() - thread @n of @p, which runs next when it is let go: have it sleep for what is left */
void dress_nap(struct restart *r, struct patient *p, size_t n);
/* finish.c */
/** is_last_in() - is nobody behind it in its memory? What is done there once is done by that one */
bool is_last_in(struct restart *r, const struct patient *p);
int lock_memory(struct restart *r, struct patient *p);
/** protect_memory() - as the program had it, where it was left open: once keys are allocated, before they are given */
int protect_memory(struct restart *r);
int finish_memory(struct restart *r);
/* flight.c */
/** has_own_memory() - does no other process have the same? */
bool has_own_memory(struct restart *r, const struct patient *p);
/** flights_board() - @ret: for thread @n of @p, with an empty batch; whoever was there has landed */
int flights_board(struct restart *r, struct flights *all, struct patient *p, size_t n, struct flight **ret);
int flight_start(struct restart *r, struct flight *f);
/** flights_land() - until all have done what they were given */
int flights_land(struct restart *r, struct flights *all);
/* depart.c */
/** add_stage() - the calls of thread @n of @p; those of its process as well if it acts for that */
int add_stage(struct restart *r, struct patient *p, size_t n, struct batch *b, enum stage stage);
int settle_all(struct restart *r);
int settle_files(struct restart *r);
int depart(struct restart *r);
/* restart.c */
/** batch_failed() - tell of it; a bad address or descriptor is one that the image has given */
int batch_failed(struct restart *r, const struct batch *b, int e);
int run_batch(struct restart *r, struct patient *p, struct batch *b);

#define WHERE_PATIENT(r, p) WHERE_TASK((r)->op, (p)->rec->pid, (p)->rec->comm)
