/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The collection: one file per kind of kernel object, one table.
 *
 * core walks processes, threads, mappings and descriptors, asks the kinds about each, and orders the work; it knows no
 * kind by name. A kind knows one kernel object and nothing of the walk.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/map.h"
#include "base/op.h"
#include "image/field.h"
#include "proc/insight.h"
#include "proc/proc.h"
#include "remote/remote.h"

struct inode;

/* ---- what saving sees ---- */

/** struct thread - a thread of a program being saved */
struct thread {
	pid_t tid; /* as we count */
	pid_t vtid; /* as its innermost pid namespace counts */
	struct proc_stat stat;
	struct proc_status status;
	uint64_t ns[PROC_NS_OF_THREADS]; /* its namespaces, by their inodes; not of the first thread that lives */
	struct held held;
	struct nap *nap; /* the call with a timeout that it slept in, or NULL */
	struct span parts; /* of struct part; of one that is like another not of what they have in common */
	const unsigned char *kept; /* core's: what the kernel keeps of it, see twins.h; NULL: it is not known */
	struct thread *like; /* core's: one before it of which the kernel keeps the same; NULL: there is none */
};

/** struct spot - which directory: of a mount, as long as that is there, and in some file systems of one of several trees; 0: not known */
struct spot {
	uint64_t mount, dev, ino;
};

/**
 * struct root - what was found out about where files are, which is mostly the same of the next file: the root directory of
 * the process that was asked for it last, if it is "/" for us as well, kept open; and the mount of the last file
 */
struct root {
	const struct process *of; /* that has it, and was asked about last; NULL: there is none */
	int fd;
	struct spot spot; /* which one that is */
	bool ours; /* and it is our root, so that every path means the same for us */
	const char
		*cwd; /* the path that was found to lead to the working directory of one that has this root, or NULL */
	struct spot cwd_spot; /* which one that is */
	const struct inode *inode,
		*cwd_inode; /* inode.h's: of this directory, and of the working directory with that path; NULL: not yet known */
	const char *cwd_looked_at;
	bool has_mount;
	unsigned long fs; /* openfile_fs() and openfile_fsid() of files on that mount */
	uint64_t fsid;
	uint64_t mnt_id;
};

/** struct seen - what check() of process kinds has read of a process that stands still: it is not read again in ask() and save() */
struct seen {
	const char *cwd, *root, *exe;
	struct span timers; /* of struct proc_timer: who stands still makes and deletes none */
};

/** struct process - a process of a program being saved */
struct process {
	pid_t pid, vpid;
	pid_t tid; /* the thread by which it is reached: its first, or when that has ended another */
	pid_t vppid, vpgid, vsid; /* as its namespace counts; vppid 0 when the parent is not in the tree */
	int dir; /* /proc/PID, or /proc/TID */
	int pidfd; /* of tid */
	bool zombie;
	struct proc_stat stat; /* of tid, but comm and exit signal of the leader */
	struct proc_status status;
	uint64_t ns[PROC_NS_N]; /* its namespaces, by their inodes */
	struct span threads; /* of struct thread: those that live, that of tid first; empty for a zombie */
	struct thread *ended; /* its first thread, when that has ended before others, and is not held; else NULL */
	struct span vmas; /* of struct proc_vma */
	struct proc_rollup sums; /* core's: where these have no counters */
	struct span fds; /* of struct proc_fd */
	bool has_fds; /* core's: they have been read */
	struct span pages; /* core's: of struct proc_pages: of its private mappings those that hold data */
	struct span guards; /* of struct proc_pages: its guard pages, in save() of process kinds */
	struct process *parent; /* in the tree, or NULL */
	struct room room;
	uint64_t takers[2]; /* signals (masks) that at least one thread, and at least two, do not block */
	struct memos *memos; /* of its address space; NULL until they were looked for */
	int mem; /* /proc/PID/mem */
	struct seen *seen;
	struct root *root; /* the tree's, for openfile.c; NULL: to be looked up each time */
	struct span parts; /* of struct part */
	int stop_signal; /* by which job control has stopped it, or is about to; 0: it has not */
	bool continued; /* after such a stop, and its parent has not waited for that */
	uint64_t id, mm, fdtable; /* objects in the image */
	void *plan; /* core's */
	struct birth *birth; /* core's */
	struct shares *shares; /* core's */
	struct span children; /* core's: of struct process *, ended ones too */
	unsigned int lane; /* core's: of the thread that traces it */
	bool was_held; /* core's: it stood still, or a part of it */
	struct span listed; /* core's: of pid_t, its children when it was looked at last */
	size_t first_file,
		first_backing; /* core's: in its lists, where those begin that are asked about in this process */
};

/** struct part - the record of one kind about a process or thread */
struct part {
	const struct kind *kind;
	void *rec;
	uint64_t id; /* of the object in the image */
	bool shared; /* it is that of another process, which was asked for it */
	bool given; /* nobody is asked: it was told */
};

/** struct holder - one descriptor of the tree, in the index by (dev, ino) */
struct holder {
	uint64_t dev, ino;
	const struct process *process;
	const struct proc_fd *fd;
};

/** enum ability - what the kernel has, or what may be asked of it, which is the same for every task: one need be tried */
enum ability {
	ABILITY_BARRIERS, /* it tells for which membarrier(2) a process has registered */
	ABILITY_LANDLOCK,
	ABILITY_NODES, /* there are several of memory */
	ABILITY_PKEYS,
	ABILITY_TID_ADDRESS, /* it tells where the end of a thread is to be reported */
};

/** struct abilities - what was found out of these, a bit each */
struct abilities {
	unsigned int asked, has;
};

/** struct tree - the program being saved */
struct tree {
	struct span processes; /* of struct process *: parents before children */
	struct span holders; /* of struct holder, sorted by dev, ino */
	pid_t init; /* of its pid namespace, as we count, when that is ours and no part of the program; else 0 */
	pthread_mutex_t *lock; /* of these three, as processes are looked at side by side; NULL: they are not */
	struct span *bystanders; /* of bystander.c's */
	struct outsiders *outsiders; /* outsiders.c's; NULL: nobody is looked for */
	struct sockets *sockets; /* sockets.c's; NULL: nothing is kept */
	struct abilities *abilities; /* tree_can()'s; NULL: nothing is kept */
	unsigned int cpus; /* that are online: to ask takes longer than all else about a thread's CPUs */
	bool frozen; /* all threads are held; else `check` looks at a running program */
	bool is_check; /* there will be no image: what a look would change for the next one is not looked at */
	uint64_t (*file_id)(
		const struct proc_fd *fd); /* in save(): the object in the image that the open file at fd is */
};

/** tree_lock() - for what is shared by all who look at @tree */
static inline void tree_lock(const struct tree *tree)
{
	if (tree->lock)
		pthread_mutex_lock(tree->lock);
}

static inline void tree_unlock(const struct tree *tree)
{
	if (tree->lock)
		pthread_mutex_unlock(tree->lock);
}

/** tree_can() - as @try says of @what, which is called when that is not known yet: by any thread, and it may be by several at once */
bool tree_can(const struct tree *tree, enum ability what, bool (*try)(void));

/** tree_holders() - the descriptors in the tree that lead to (dev, ino); *@ret_n of them, NULL when there is none */
const struct holder *tree_holders(const struct tree *tree, uint64_t dev, uint64_t ino, size_t *ret_n);

/** struct sight - what a kind is asked about; the members that fit its scope are set */
struct sight {
	const struct tree *tree;
	const struct process *process;
	const struct thread *
		thread; /* thread kinds; process kinds: the first that lives, and in asks(), and in ask() when that said so, any thread */
	const struct proc_vma *vma; /* mem kinds */
	bool again; /* mem kinds, in check(): what is behind it was checked before and can be kept, by another mapping of that name */
	const struct proc_fd *fd; /* fd kinds; mem kinds: where there is no mapping of the backing (backed_by) */
	uint64_t extent; /* mem kinds, in save(): how far into the backing the mappings of the tree reach, bytes */
	uint64_t backing; /* fd kinds with backed_by, in save(): the object in the image */
	struct batch *
		batch; /* in ask(): calls by this very thread, of fd kinds the first of the process; may be run there when it is full */
};

/** sight_take_fd() - a descriptor here of the very open file at s->fd (pidfd_getfd(2)): never change what is shared through it */
int sight_take_fd(const struct sight *s);

/* ---- what restarting has ---- */

/** struct file_rule - what the user says of one file */
struct file_rule {
	const char *path;
	enum file_policy {
		FILE_KEEP, /* as it is now */
		FILE_TRUNCATE, /* to its recorded size */
		FILE_ALLOW, /* the program gets it although it may not open it */
	} policy;
};

/** struct rights - with which a thread opens files: credentials(7), capabilities(7) */
struct rights {
	uint32_t uid, gid; /* those for files: setfsuid(2), setfsgid(2) */
	struct span groups; /* of gid_t, in ascending order */
	uint64_t caps; /* those that can be effective */
	bool has_odd_groups; /* that no setgroups(2) brings back: it has others' in a user namespace */
};

/** struct taken_rights - rights.c's: what this thread of stasis has taken, and what it had of which that took something */
struct taken_rights {
	const struct rights *rights; /* NULL: nothing */
	int dumpable, death_signal;
	pid_t parent;
};

/** struct last_dir - goal.c's: the directory that the last file was in, as it is found with or without symbolic links */
struct last_dir {
	struct span path; /* bytes */
	const struct rights *by; /* taken for it; NULL: none */
	bool asked, roots; /* can only root change what the path leads to? */
};

/** struct slot - an int that records of one operation share under a key, e.g. a pipe under its number */
struct slot {
	const void *owner;
	uint64_t key;
	int value; /* -EBADF at first */
	size_t same_mix; /* site_slot()'s: the place of another one plus 1 */
};

/** struct site_task - a process of the program that has its memory, and as descriptors only what it inherited from us */
struct site_task {
	pid_t vpid; /* as it counts */
	pid_t pid; /* as we count */
	struct room *room; /* with held: to run batches in it */
	struct held *held;
};

/** struct made_file - a file that restarting has made: it goes again when the restart fails, and what it replaced comes back */
struct made_file {
	const char *path; /* absolute */
	int dir; /* made.c's */
	const char *name; /* in there */
	const char *
		was; /* the name in there of what it replaced, and what goes when the restart succeeds; NULL: nothing */
};

/** struct undoing - what takes back something that restarting has made here, when the restart fails */
struct undoing {
	void (*fn)(void *rec);
	void *rec;
};

/** struct site - where a record is put back */
struct site {
	struct batch *batch; /* task kinds: calls by this very thread */
	pid_t pid; /* task kinds: the process, as we count */
	pid_t tid; /* task kinds: the thread, as we count */
	pid_t vpid, vtid; /* as it counts */
	bool first; /* task kinds: it is the first thread that lives, which acts for all */
	struct held *held; /* task kinds, once all tasks exist: the stopped thread */
	struct arch_regs *regs; /* thread kinds, in settle(): the registers it will go on with */
	uint64_t *sigmask; /* thread kinds, in settle(): the mask it will go on with */
	struct nap *nap; /* thread kinds, in settle(): the call that it will go on with, if it is to sleep for a time */
	struct taddr syscall; /* task kinds, in settle(): a system call instruction outside of the stub */
	int free_fd; /* task kinds, in restore(): a descriptor of the task that may be replaced, and stays */
	unsigned int cpus; /* that are online */
	const void *rights; /* creds.c's: of each task before its turn */
	const void
		*born; /* process kinds, in restore(): this kind's record of the process that it was cloned from, which
		has all of that by then; NULL: it was born with what stasis has, or it is not known with what */
	struct map known; /* site_known()'s */
	bool user_ns; /* in a user namespace made for the restart: only the caller's own ids exist */
	bool own_place; /* make_place() will have been called in namespaces made for the restart */
	const struct file_rule *rules;
	size_t n_rules;
	int stdio[3]; /* the caller's 0, 1, 2; -EBADF when closed */
	struct span tasks; /* of struct site_task: fd kinds, in restore() and link(): those that live */
	struct map task_by_vpid; /* of struct site_task */
	int terminal; /* one of them: the terminal that the program gets with all that it had of its own; -EBADF: none */
	const char *root; /* before a path: where the program's "/" is for us, "" or "/proc/PID/root" */
	const struct rights *own; /* those of stasis */
	struct span
		owners; /* of const struct rights *: of those who have it, each once, if it may not open all that stasis may;
		process kinds: of the process */
	struct taken_rights taken;
	bool denied; /* goal.c's: the last file that was asked for was denied to its owners */
	struct last_dir last_dir[2];
	struct span *slots; /* of struct slot */
	struct map slot_places; /* site_slot()'s: the place in slots plus 1, by a mix of owner and key */
	int here; /* fd kinds, in link(): what restore() returned */
	int number; /* fd kinds, in link() with a batch: the number of the descriptor in the process */
	int (*file)(const struct site *site, uint64_t id, uint32_t n); /* fd kinds, in link(): see site_file() */
	int (*backing)(const struct site *site, uint64_t id, const struct kind *k); /* fd kinds: see site_backing() */
	pid_t (*process)(const struct site *site, int32_t vpid); /* fd kinds: see site_process() */
	void *restart; /* core's */
	struct span
		made_groups; /* of const char *: control groups that were made: removed again when the restart fails */
	struct span made_files; /* of struct made_file */
	struct span undoings; /* of struct undoing: from the last to the first, when no task is there any more */
	struct taddr stash; /* mem kinds, in restore(): where shared memory may be mapped for all tasks to inherit, */
	struct taddr
		stash_end; /* here and at the same address in every task; restore() moves stash up, and stash_end down */
};

/**
 * site_known() - what a kind has found out of stasis itself, with which all tasks are born, and kept by site_keep(); NULL: nothing yet
 * @owner: an address of the kind's own.
 */
const void *site_known(const struct site *site, const void *owner);
void site_keep(struct op *op, struct site *site, const void *owner, const void *what);

/** site_slot() - the shared int of (@owner, @key); made on first use. Valid until the next call. */
int *site_slot(struct op *op, struct site *site, const void *owner, uint64_t key);

/** site_file() - the descriptor here of open file @id, as processes have it at number @n; -EBADF when that is no open file */
int site_file(const struct site *site, uint64_t id, uint32_t n);
/** site_backing() - what restore() of mem kind @k has made of its object @id: a descriptor here; -EBADF when that is none */
int site_backing(const struct site *site, uint64_t id, const struct kind *k);
/** site_task() - the process that counts as @vpid; NULL when there is none, or it has ended */
const struct site_task *site_task(const struct site *site, pid_t vpid);

/** site_process() - the process @vpid (0: the first) of the program, ended or not, as we count; -ESRCH */
pid_t site_process(const struct site *site, int32_t vpid);

/** struct vma - one mapping in the image: the part that all mem kinds share */
struct vma {
	uint64_t start, end, pgoff;
	uint32_t prot; /* PROT_* */
	uint32_t flags; /* enum vma_flags */
	uint32_t tag; /* the mem kind */
	uint64_t backing; /* its object: file, shared memory; 0 where it needs none */
	const char *name; /* of anonymous memory, PR_SET_VMA_ANON_NAME(2const); NULL: it has none */
};

enum vma_flags {
	VMA_SHARED = 1u << 0,
	VMA_GROWSDOWN = 1u << 1,
	VMA_NORESERVE = 1u << 2,
	VMA_LOCKED = 1u << 3,
	VMA_DONTFORK = 1u << 4,
	VMA_DONTDUMP = 1u << 5,
	VMA_HUGEPAGE = 1u << 6,
	VMA_NOHUGEPAGE = 1u << 7,
	VMA_SEQUENTIAL = 1u << 8,
	VMA_RANDOM = 1u << 9,
	VMA_MERGEABLE = 1u << 10,
	VMA_WIPEONFORK = 1u << 11,
	VMA_MAYWRITE_OFF = 1u << 12, /* a shared file mapping that was opened for reading only */
	VMA_LOCKONFAULT = 1u << 13, /* besides VMA_LOCKED */
	VMA_SEALED = 1u << 14,
	VMA_DROPPABLE = 1u << 15,
	VMA_HUGETLB_2M = 1u << 16, /* its pages are of this size, and those of hugetlbfs */
	VMA_HUGETLB_1G = 1u << 17,
	VMA_HUGETLB = VMA_HUGETLB_2M | VMA_HUGETLB_1G,
};

enum scope {
	SCOPE_PROCESS, /* kinds/task: one record a process */
	SCOPE_THREAD, /* kinds/task: one record a thread */
	SCOPE_MEM, /* kinds/mem: mappings; the record is of what backs them */
	SCOPE_FD, /* kinds/fd: one record an open file (an open file may have many descriptors) */
};

/**
 * struct kind - one kind of kernel object that a process can hold
 *
 * To teach stasis a new kind `foo` of file descriptor:
 *   1. write src/kinds/fd/foo.c; it ends in `const struct kind kind_fd_foo`;
 *   2. write test/kinds/fd/foo.c, its witness;
 *   3. add `KIND(tag, fd, foo)` to src/kinds/kinds.def.
 * Nothing else changes: the build stops until all three exist. The head comment of the file says what it is (man page),
 * `Seen:` where the kernel shows it, `Lost:` what cannot be kept, `Needs:` kernel features, by probe.
 *
 * All callbacks but those of its scope's line are optional. Records live in the operation's arena, zeroed. A callback
 * that returns < 0 has called fail() or refuse(). The order of kinds.def means nothing.
 */
struct kind {
	const char *name; /* the kernel's own word for it */
	uint16_t tag; /* in images: never reused */
	enum scope scope;
	size_t size; /* of its record; 0: mem kinds without a backing object */
	const struct field *fields; /* the record on disk and on screen */
	bool has_pages; /* mem kinds: private mappings of it may hold pages of their own */
	bool backing_has_pages; /* mem kinds: the pages of shared mappings are nowhere else: saved with the backing */
	bool inside; /* mem kinds with backing_has_pages: nobody but who has it mapped can read it */
	const struct kind *backed_by; /* fd kinds: who has it open has what that mem kind keeps, mapped or not */
	bool locks; /* mem kinds: its mappings are locked by themselves, and mlock(2) does not take them */
	bool moves; /* mem kinds: every process has it; it is moved to its place instead of made */
	bool common; /* thread kinds: those who are like another have one record with it where theirs is equal */
	bool by_tracer; /* thread kinds: check() makes requests of ptrace(2), as only who traces the process can */
	const struct member *
		alike; /* thread kinds: two threads of a process of which the kernel keeps all of these alike have equal
		records, which are common: the second is not asked. Ends with an empty one; NULL: each thread is asked */
	const struct member *
		told; /* thread kinds: of these tell() makes the record of a thread that need not be asked; or, where the
		kernel has not all of them, being spare, ask() and save() do as of any other */
	bool outlives; /* thread kinds: a thread that has ended has it still: save() without ask(); it ends after settle() */
	uint64_t
		shared_by; /* process kinds: processes have one in common that were cloned with this flag, e.g. CLONE_FS: it is
		saved once, by the first of them; it is restored by the first, and all the rest is done by the last */
	bool early; /* fd kinds: restored before the processes exist, as these need it when they begin their sessions */
	/** rights - thread kinds: with which rights it opens files; nothing is copied */
	void (*rights)(const void *rec, struct rights *ret);

	/** asks - process kinds: is ask() for thread s->thread too, and not for the first that lives alone? */
	bool (*asks)(const struct sight *s, const void *rec);

	/** tell - thread kinds with told: fills the record from the bytes of those members, one behind the other */
	int (*tell)(struct op *op, const struct sight *s, void *rec, const unsigned char *told);

	/** likens - is alike all that it takes on this machine? NULL: it is */
	bool (*likens)(const struct tree *tree);

	/** probe - is this object mine? looks only at what proc has read (mem, fd: required; task kinds have none) */
	bool (*probe)(const struct sight *s);
	/** key - what makes two sights the same backing object: mem kinds with a record. Of one in backed_by they may have an fd */
	void (*key)(const struct sight *s, uint64_t key[2]);
	/**
	 * pick - mem kinds with a record: the kind that keeps what is at s->vma, which goes by its own key; without, this one
	 * Asked for the first mapping of each key, before check(). It may look at the file.
	 */
	const struct kind *(*pick)(const struct sight *s);
	/** check - could it be saved and put back? refuse() says every reason. Must not need a stopped program. */
	int (*check)(struct op *op, const struct sight *s);
	/**
	 * admit - thread kinds: may calls be made in the thread? It comes before the first one, which would be for good if it
	 * may not: refuse(), or set s->batch->h->judge. Of s->batch only room and task are there yet.
	 */
	int (*admit)(struct op *op, const struct sight *s, void *rec);
	/**
	 * ask - task kinds: add calls to s->batch; pointers into batch_out() memory may be kept in the record
	 * fd and mem kinds: the same in the process of s->process; they may run the batch themselves. It comes before save().
	 */
	int (*ask)(struct op *op, const struct sight *s, void *rec);
	/**
	 * save - fill the record; the program is stopped and must not notice. Of process kinds: when all threads were asked
	 * Of the first thread while all stand still; of others while the next one may be running a batch.
	 * What only ask() and save() can see may be refused there: of ask() that ends it, of save() the search goes on.
	 */
	int (*save)(struct op *op, const struct sight *s, void *rec);
	/**
	 * open - mem kinds with backing_has_pages: a descriptor here to read the backing from, with an offset of its own
	 * It may have one that is the program's where there are no offsets (-ESPIPE): then it is mapped here. Holes of it are
	 * not in the image. Without, or when it gives -errno, only what the mappings show is saved.
	 */
	int (*open)(const struct sight *s);
	/**
	 * reach - mem kinds with backing_has_pages whose open() gave none: how many bytes of the mapping at s->vma lead to it
	 * *@ret_all: may it have pages that are not in memory, as on a disk? Without, all do, and it has no others; then
	 * there are no private mappings of it.
	 */
	uint64_t (*reach)(struct op *op, const struct sight *s, bool *ret_all);

	/**
	 * restore - make it again, alone
	 * task kinds: add calls to site->batch (the task has its memory, nothing else yet). May run the batch.
	 * fd kinds: return a descriptor here. mem kinds: return a descriptor here (inherited by all tasks) or 0; those with
	 * make() only check the record and take their places in the stash.
	 */
	int (*restore)(struct op *op, void *rec, struct site *site);
	/**
	 * fill - mem kinds with backing_has_pages: put whole pages into what restore() has returned, at an offset in it
	 * Without, the backing lies in the stash.
	 */
	int (*fill)(struct op *op, const void *rec, int fd, uint64_t at, const void *data, size_t len);
	/**
	 * reserve - fd kinds: take into a slot, before anything is made, what it must have by its number; mem kinds only look
	 * False when somebody else has it. Then the program gets namespaces of its own, all that was reserved is given
	 * up, and make_place(), called in their init and once for the kind, makes a place where nobody has any: 0 or -errno.
	 */
	bool (*reserve)(struct op *op, const void *rec, struct site *site);
	int (*make_place)(void);
	/** room - mem kinds with backing_has_pages: how much of the stash restore() takes, if not as far as mappings reach */
	uint64_t (*room)(const void *rec);
	/** align - besides room: what its place in the stash is a multiple of, a power of two */
	uint64_t (*align)(const void *rec);
	/**
	 * make, made, keep - mem kinds with reserve: make it in its places in the stash, before there are tasks
	 * Here or, when make_place() is called, after it in the same init: there is no story to be told there, and nobody here sees
	 * what is written. made() gets what it returned (-errno, or what the kind means by it), here, and so is keep() called,
	 * when the program is ready to run.
	 */
	int (*make)(void *rec);
	int (*made)(struct op *op, void *rec, struct site *site, int result);
	void (*keep)(void *rec);
	/** has_own_pages - mem kinds with make: it was there before, and may be another's: nothing is put into it */
	bool (*has_own_pages)(const void *rec);
	/** is_stream - fd kinds: at 0, 1, 2, does it stand for the caller's descriptor of that number? */
	bool (*is_stream)(const void *rec);
	/** match - mem kinds that move: is the mapping @v, which is our own, the one of this record? */
	bool (*match)(const void *rec, const struct proc_vma *v);
	/**
	 * stand_in - mem kinds that move: nothing matches, as this kernel has others; these go to another place, the code among
	 * them to @code. What is to be where the program knows the record's: @ret (bytes of the record), and zeros behind it.
	 */
	int (*stand_in)(struct op *op, void *rec, struct taddr code, struct span *ret);
	/** map - mem kinds that do not move: add the calls that put @v into the task; @fd: what restore() returned. May run the batch */
	int (*map)(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b);
	/** joins - process kinds: must the session that it leads become a part of the caller's, to have his terminal? */
	bool (*joins)(const void *rec, const struct site *site);
	/** lead - process kinds: add calls; the process has just begun its session, which its next children are born into */
	int (*lead)(struct op *op, void *rec, struct site *site);
	/** group - process kinds: add calls; all process groups exist now, and paths are still the caller's */
	int (*group)(struct op *op, void *rec, struct site *site);
	/**
	 * concerns_all - thread kinds: must other threads wait for what restore() and link() do, or the other way round?
	 * Without, never. Where no part of a thread does, and it is not the first, its three functions add to one batch: link()
	 * sees no result of restore().
	 */
	bool (*concerns_all)(const void *rec);
	/**
	 * link - join it to others
	 * task kinds: add calls; all tasks and descriptors exist now, and no signal is pending. May run the batch, as settle()
	 * may. fd kinds: first once without a batch, when all that restore() made exists here and no task has it yet, to join
	 * files here (site_file()); then for each descriptor of it in a process, to add calls by that process.
	 */
	int (*link)(struct op *op, void *rec, struct site *site);
	/** settle - last touch before the program runs: arm timers, drop rights, set registers, seal; fd kinds: once all have. Mem too */
	int (*settle)(struct op *op, void *rec, struct site *site);
	/**
	 * leave - task kinds: what would have hindered all that came before, and what to say of it. The stub is gone: nothing but
	 * remote_call() at site->syscall, without memory, and ptrace(2).
	 */
	int (*leave)(struct op *op, void *rec, struct site *site);

	/** describe - say it better than its fields do: one line without newline */
	void (*describe)(const void *rec, FILE *out);
};

/** kinds - the table; ends with NULL */
extern const struct kind *const kinds[];

/** kind_by_tag() - NULL when no kind has this tag */
const struct kind *kind_by_tag(uint32_t tag);

/** part_record() - what kind @k has saved of a process or thread with these parts (of struct part); NULL: nothing yet */
const void *part_record(const struct span *parts, const struct kind *k);

/** kind_of_vma(), kind_of_fd() - whose probe says yes; NULL when nobody's does */
const struct kind *kind_of_vma(const struct sight *s);
const struct kind *kind_of_fd(const struct sight *s);

/** fd_in_words() - an open file that is no kind's: "a TCP socket (socket:[812])", or what /proc calls it */
const char *fd_in_words(struct op *op, const struct sight *s);
