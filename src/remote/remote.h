/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The hands: stop a task, make system calls in it, reach its memory, let it go unharmed.
 *
 * A batch is an array of system calls for one thread. Calls are gathered with batch_call(); what they read or write lies
 * in the room, a piece of scratch memory in the task with a mirror here. batch_start() sets the thread going, and
 * batch_finish() waits for it; between the two other threads can be set going as well.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arch/arch.h"
#include "base/arena.h"
#include "proc/proc.h"
#include "stub/proto.h"

/** struct taddr - an address in the task: never a pointer here */
struct taddr {
	uint64_t at;
};

/* ---- memory ---- */

/** remote_read() - @len bytes at @from of process @pid, all or -errno; process_vm_readv(2) */
int remote_read(pid_t pid, struct taddr from, void *to, size_t len);
int remote_write(pid_t pid, struct taddr to, const void *from, size_t len);

/** struct trange - bytes of a process */
struct trange {
	struct taddr at;
	size_t len;
};

#define REMOTE_RANGES 256 /* most at once */

/** remote_gather() - @n of @ranges of process @pid, one behind the other, to @to; returns how many were read, before one that cannot be */
size_t remote_gather(pid_t pid, const struct trange *ranges, size_t n, void *to);

/** remote_poke() - 8-byte words, into what the task itself may not write as well; @tid: stopped and traced by us */
int remote_poke(pid_t tid, struct taddr to, const void *from, size_t len);

/* ---- holding ---- */

/**
 * struct call_judge - who knows which system calls a thread may make without harm
 *
 * allows() is asked before a thread is set going, with all that it would do; what[n] says what call n is for. It answers 0 or
 * -errno, and tells the story of it, unless @what is NULL.
 */
struct call_judge {
	int (*allows)(const struct call_judge *judge, const struct stub_call *const *calls, const char *const *what,
		size_t n);
	pid_t vtid; /* the thread, as it counts */
};

/** struct held - a thread that we trace, stopped */
struct held {
	pid_t tid;
	struct arch_regs regs; /* where it was stopped, to be put back */
	uint64_t sigmask; /* its signal mask (the real one, while a call such as sigsuspend has a temporary one) */
	int stop_signal; /* by which job control has stopped its process, or does so just now; 0: it has not. It stays so when let go */
	bool seized;
	bool still; /* it has stopped, and registers and mask are known */
	bool away; /* its registers are the stub's */
	bool masked; /* its signal mask is the stub's */
	unsigned int context; /* which of the ways home in the room is its own then */
	bool leads; /* it is the leader of a process that has other threads, which we trace as well */
	bool gone; /* it died while we held it */
	bool again; /* the stop ended a call with EINTR, with these registers, and it will be made again: */
	struct arch_regs ended;
	bool killed_stop; /* a SIGSTOP came while it ran a batch: it is sent again when it makes no more of them */
	const struct call_judge *judge; /* NULL: it may make any call */
	pid_t *born; /* where to note the tasks that it clones, as we count; NULL: nobody asks */
	unsigned int n_born, born_room;
};

/** hold_seize() - begin to trace @tid and ask it to stop; does not wait. -EPERM when another traces it, -ESRCH */
int hold_seize(struct held *h, pid_t tid, unsigned long options);

/**
 * hold_seize_all() - begin to trace @n threads of one process: held[i]->tid; what that gave is in err[i]. hold_reseize() is next
 *
 * @tid: those, and all threads of the process that were seized before. Which of them have ended is reaped meanwhile, but for
 * the @leader: a thread that calls execve(2) waits for that, and PTRACE_SEIZE for execve(2).
 */
void hold_seize_all(struct held *const *held, int *err, size_t n, const pid_t *tid, size_t n_tids, pid_t leader);

/** hold_reap_ended() - reap, without blocking, those of @tid that are traced by us and have ended, but not the @leader */
void hold_reap_ended(const pid_t *tid, size_t n, pid_t leader);

/** hold_reseize() - as hold_seize(), for a thread that is traced by us already, as one is that took its number over by execve(2) */
int hold_reseize(struct held *h, pid_t tid);

/**
 * hold_ask_again() - to stop, one who has not: who calls execve(2) forgets that it was asked, zap_other_threads() in kernel/signal.c
 * Of one that has stopped meanwhile nothing comes of it.
 */
void hold_ask_again(const struct held *h);

/** hold_run_on() - let a stopped thread, which made no batch, run on for a moment; hold_reseize() is next, then hold_wait() */
int hold_run_on(struct held *h);

/**
 * hold_in_vdso() - was the thread stopped in the vdso of this kernel, in the middle of a function that is no longer there
 * when it goes on under another one?
 */
bool hold_in_vdso(const struct held *h);

/** hold_look_again() - is it stopped still, the same task as before? If not, ->still is false, and hold_wait() is next */
void hold_look_again(struct held *h);

/**
 * hold_wait() - until the thread has stopped; its registers and mask are then in *h. hold_wait_stop() and hold_look(): one after the other
 *
 * Of many threads the next one is better waited for first: one that has reported its stop may take a while to come to rest, which is
 * waited for by whoever asks for its registers (wait_task_inactive() in kernel/sched/core.c).
 * -ETIMEDOUT when it does not stop within @timeout_ms (it sleeps in the kernel where no signal reaches it), -ESRCH when it
 * ended. Signals that arrive meanwhile reach the program as ever.
 */
int hold_wait(struct held *h, unsigned int timeout_ms);
int hold_wait_stop(struct held *h, unsigned int timeout_ms);
int hold_look(struct held *h);

/** hold_await_rest() - of one that has stopped, until it has left its processor; 0 or -errno */
int hold_await_rest(const struct held *h);

/** hold_adopt() - as hold_wait(), for a task that the kernel stopped for us at its birth, in the stub that @maker runs */
int hold_adopt(struct held *h, pid_t tid, const struct held *maker, unsigned int timeout_ms);

/* ---- sleeping ---- */

/** struct memos - where in an address space memos can lie, and which of them are in use; see memo.c */
struct memos {
	struct taddr at;
	unsigned int n;
	uint64_t taken;
};

/** memos_find() - in the mapping of the vdso; there may be none */
void memos_find(struct memos *m, struct taddr vdso, struct taddr vdso_end);

/** memos_take() - those that the arguments of a call in @regs refer to must stay as they are */
void memos_take(struct memos *m, const struct arch_regs *regs);

/** memo_in() - which argument of a call in @regs refers to a memo; -ENOENT if none does. @ret: what that says, ns */
int memo_in(const struct memos *m, pid_t pid, const struct arch_regs *regs, int64_t *ret);

/** memo_refer() - a memo for @left ns, and argument @arg of the call in @regs refers to it: 1, or -errno */
int memo_refer(struct memos *m, pid_t tid, struct arch_regs *regs, unsigned int arg, int64_t left);

/** memo_leave() - a memo that the call with which the kernel goes on has @left ns left; @dir: /proc/PID/task/TID. 0 or -errno */
int memo_leave(struct memos *m, pid_t tid, const struct arch_regs *regs, int64_t left, int dir);

/** struct nap - a system call that can have a timeout, in which a thread slept just before it was stopped */
struct nap {
	struct proc_syscall call;
	long nr; /* of the call; also when it goes on after an earlier stop, and call.nr is restart_syscall. -1: not known */
	int64_t since; /* ns of CLOCK_MONOTONIC: when it fell asleep, after the last stop if there was one; 0: not known */
	int64_t full; /* ns: for how long it would sleep from then on; -1: for ever, until a time, or not known */
	int64_t slept; /* ns, until it was asked to stop */
	uint64_t switches; /* how often it had gone to sleep then */
	enum {
		NAP_IN_KERNEL,
		NAP_IN_REGISTER, /* of a call that is made again, in ms */
		NAP_IN_MEMORY, /* of a call that is made again, as a struct timespec */
	} in; /* whence the call will take how long it sleeps when the thread goes on, */
	unsigned int arg; /* and if not from the kernel: by which argument */
};

/** nap_is_likely() - what takes less: may nap_look() of a thread in that call find how long it has slept? */
bool nap_is_likely(const struct proc_syscall *s);

/**
 * nap_look() - before a thread is stopped: does it sleep in such a call? NULL if not
 * @dir: /proc/PID/task/TID. @clocks (of struct cpu_clock, in @a): what is learned of processors, for the next thread.
 */
struct nap *nap_look(struct arena *a, struct span *clocks, int dir);

/** nap_end() - after the stop that was asked for at @asked (now_ns()): forget what was seen if the thread has stirred in between */
void nap_end(struct nap *n, const struct held *h, int dir, uint64_t asked);

/** nap_recall() - if it goes on with a call that an earlier stasis had stopped: how much was left of it then, by its memo */
void nap_recall(struct nap *n, const struct memos *m, const struct held *h);

/** nap_left() - what was left of the timeout when the call was stopped, ns; -1 when that is not known. @n may be NULL */
int64_t nap_left(const struct nap *n);

/**
 * nap_tells() - where the interrupted call @nr, if it is one that the kernel goes on with, writes how much is left; 0: it does not
 * So it does at each stop: hrtimer_nanosleep() in kernel/time/hrtimer.c.
 */
uint64_t nap_tells(long nr, const struct arch_regs *regs);

/** nap_make_again() - the stop ended the call with EINTR, and it will be made again, for what is left if a register says so */
void nap_make_again(struct nap *n, struct arch_regs *regs);

/**
 * nap_go_on() - just before the stopped thread @tid goes on with @regs: have it sleep for what is left now, if that is known
 * 1: *@regs has changed; 0; -ENOSPC when there is no memo left for it, -errno: then it sleeps as if nothing were known.
 */
int nap_go_on(const struct nap *n, struct memos *m, pid_t tid, struct arch_regs *regs, int dir);

/**
 * hold_mend() - undo what the stop itself did to the thread: a call that it ended with EINTR is made again, for the time
 * that was left of it where @n (or NULL) knows
 */
int hold_mend(struct held *h, struct nap *n);

/**
 * hold_mend_rseq() - likewise, of @n threads of one process, at most REMOTE_RANGES: a restartable sequence that the stop interrupted
 * is aborted as the kernel does, before anything else is done with the thread
 * @area: the address of each one's rseq area. -errno: not so of all.
 */
int hold_mend_rseq(struct held *const *h, const uint64_t *area, size_t n);

/**
 * hold_unmend() - a call that would be made again ends with EINTR after all, if a signal has come meanwhile that ends it
 * @own, @shared: signals that do so when they are sent to the thread, or to its process. True: *h has changed.
 */
bool hold_unmend(struct held *h, uint64_t own, uint64_t shared);

/** struct rseq_registration - PTRACE_GET_RSEQ_CONFIGURATION: 90f093fa8ea4 "rseq, ptrace: Add PTRACE_GET_RSEQ_CONFIGURATION request" (in v5.13) */
struct rseq_registration {
	uint64_t pointer; /* 0: none */
	uint32_t size, signature, flags, pad;
};

int hold_rseq(const struct held *h, struct rseq_registration *ret);

/**
 * hold_signals() - what is queued for the stopped thread itself or, with @shared, for its process, in order of arrival
 * PTRACE_PEEKSIGINFO: nothing is taken from the queue. Signals that the kernel had no memory to queue are not among them.
 */
int hold_signals(const struct held *h, struct arena *a, bool shared, struct span *ret /* of siginfo_t */);

/**
 * hold_stop() - for tasks of ours: stop a process by job control; @h: all its @n threads that live
 *
 * Its parent has been told and may wait for it, its threads stay traced and can be set going, and when they are let go they
 * stop by themselves and nobody is told. @signo must have its default action. The mask of the first blocks all else then.
 * -EAGAIN when it has no effect: nobody could continue the process (its group is an orphan), and it is no SIGSTOP.
 */
int hold_stop(struct held *h, size_t n, int signo);

/** hold_continue() - undo hold_stop() by a SIGCONT, of which the parent is told too; it stays pending, as the masks block it */
int hold_continue(struct held *h, size_t n);

/** hold_suspend_seccomp() - until it is let go no filter judges its calls; for tasks of ours. -EPERM: needs CAP_SYS_ADMIN */
int hold_suspend_seccomp(const struct held *h);

/**
 * hold_let_go() - registers and mask as in *h, and on its way; accepts one that was never seized or is gone
 * One that has not stopped, and does not, cannot be let go before it wakes: the end of the calling thread does that.
 */
void hold_let_go(struct held *h);

/* ---- the room of the stub ---- */

enum {
	ROOM_CALLS = 2048, /* calls in one batch */
	ROOM_CALL_BYTES = ROOM_CALLS * 64,
	ROOM_AUX_BYTES = 384 << 10, /* memory that they read and write */
	ROOM_DATA = ROOM_CALL_BYTES + ROOM_AUX_BYTES,
	ROOM_CODE = 4096,
};

/** struct room - where the stub lives in a process */
struct room {
	pid_t pid;
	struct taddr code; /* where the stub lies; 0: nowhere */
	struct taddr data; /* ROOM_DATA bytes: the calls, then what they refer to */
	int signo; /* saving: by which it stops */
	int mem; /* saving: descriptor of /proc/PID/mem, borrowed; else -EBADF */
	bool inhabited; /* saving: a thread could not be brought back: the stub must stay for it to go home by itself */
	unsigned char was[1024]; /* saving: the bytes that the code replaced */
	size_t was_len;
};

/** struct room_plan - what room_dig() has to know of the process */
struct room_plan {
	struct taddr vdso, vdso_end; /* the mapping of the vdso */
	struct taddr
		scratch; /* ROOM_DATA bytes of address space where nothing is and the kernel puts nothing by itself */
	uint64_t
		ignored; /* signals (a mask) that are not pending and whose action, given or default, is to be ignored */
	bool stopped; /* by job control, or about to be, which a SIGCONT would undo */
};

/**
 * room_has_guest() - is the stopped thread still in the stub of a stasis that was killed a moment ago, on its way home?
 * Then nothing in the process may be touched: let it go.
 */
bool room_has_guest(pid_t pid, const struct room_plan *plan, const struct held *h);

/**
 * room_dig() - put the stub into a program that is to go on
 *
 * The code goes over the section headers and padding at the end of the vdso, which nothing reads at run time; the kernel
 * gives the process a copy of that page. @mem: descriptor of /proc/PID/mem for writing, borrowed.
 * -ENOSPC when the vdso has no room, -EBUSY when no signal is free.
 */
int room_dig(struct room *room, pid_t pid, int mem, const struct room_plan *plan);

/**
 * room_enter() - a stopped thread enters the room: it gets scratch memory, and from here to room_leave() its registers are
 * the stub's. If stasis dies meanwhile the thread goes home by itself and takes the scratch memory along. What the judge of
 * the thread says of the stub's own calls, when it is not 0: then nothing was done.
 */
int room_enter(struct room *room, struct held *h);

/**
 * room_take_over() - @h, which has stopped, enters the room in place of @from, which is at home then
 * The scratch memory stays, and is from here on @h's to take along: two calls of the stub fewer for each thread of a process.
 */
int room_take_over(struct room *room, struct held *h, struct held *from);

/** room_leave() - unmap the scratch memory, and put mask and registers back; accepts a thread that did not enter */
int room_leave(struct room *room, struct held *h);

/** room_fill() - put back the bytes that the code replaced; nothing is left but the copied page */
int room_fill(struct room *room);

/* ---- batches ---- */

/** struct batch - calls for one thread; its members are the room's own business */
struct batch {
	struct held *h;
	struct room *room;
	struct arena *arena;
	struct span calls, aux; /* the mirror */
	struct span sent; /* each call, and what it tries */
	unsigned int n; /* calls */
	size_t aux_len;
	bool full; /* a call or its memory found no room: batch_start() gives -E2BIG */
	bool running;
	unsigned int failed; /* index of the STUB_MUST call that failed, or UINT32_MAX */
	const char *failed_what;
};

void batch_init(struct batch *b, struct arena *a, struct room *room, struct held *h);

/** batch_in() - @len bytes for the calls to read; 16-aligned */
struct taddr batch_in(struct batch *b, const void *data, size_t len);

/** batch_out() - @len zeroed bytes for the calls to write; @ret is where they can be read here after batch_finish() */
struct taddr batch_out(struct batch *b, size_t len, void *ret /* pointer to a pointer */);

/** batch_room() - can @calls more calls and @bytes more memory be added? */
bool batch_has_room(const struct batch *b, unsigned int calls, size_t bytes);

/** BATCH_CALL() - add a call; @what is a bare verb phrase that lives as long as the batch. Returns it, for its result. */
struct stub_call *batch_call(struct batch *b, const char *what, long nr, const uint64_t arg[6]);

#define BATCH_CALL(b, what, nr, ...) batch_call((b), (what), (nr), (const uint64_t[6]){ __VA_ARGS__ })
/** BATCH_MUST() - as BATCH_CALL(); when it fails the batch ends there and batch_finish() returns its errno */
#define BATCH_MUST(b, what, nr, ...) (BATCH_CALL(b, what, nr, __VA_ARGS__)->flags |= STUB_MUST)

/** batch_last() - the call added last */
struct stub_call *batch_last(struct batch *b);

/** batch_nth() - call @n of those added since the batch was last empty */
struct stub_call *batch_nth(const struct batch *b, unsigned int n);

/** batch_result() - where the result of the call added last will lie in the task: for .indirect arguments of later ones */
struct taddr batch_result(const struct batch *b);

/** batch_allowed() - would the judge of the thread let it through? Tells no story; yes where there is none */
bool batch_allowed(const struct batch *b);

/** batch_empty() - forget what was added and not run */
void batch_empty(struct batch *b);

/** batch_start() - set the thread going; an empty batch does nothing */
int batch_start(struct batch *b);

/**
 * batch_finish() - wait for it; results are in the calls and in what batch_out() gave
 * 0; -ESRCH when the task died; the errno of the STUB_MUST call that failed (b->failed, b->what[b->failed]).
 * The batch is empty then; memory from batch_out() stays readable until the arena goes.
 */
int batch_finish(struct batch *b);

/** batch_run() - start and finish */
int batch_run(struct batch *b);

/** batch_what() - what the call that failed tried to do, or "run a batch of calls in the task" */
const char *batch_what(const struct batch *b);

/**
 * remote_call() - one system call by the instruction at @ip in the task; for tasks of ours only
 * The registers of the task are those after the call.
 */
int remote_call(struct held *h, struct taddr ip, long nr, const uint64_t arg[6], int64_t *ret);

/**
 * remote_call_start(), remote_call_finish() - remote_call(); between the two, others can make theirs
 * @step: by a single step, which is one stop instead of two. It raises SIGTRAP, whose action the kernel resets to the
 * default if it is to be ignored (force_sig_info_to_task() in kernel/signal.c): only where it is not. What is blocked then is
 * up to the stub, which has made calls in it.
 */
int remote_call_start(struct held *h, struct taddr ip, long nr, const uint64_t arg[6], bool step);
int remote_call_finish(struct held *h, struct taddr ip, bool step, int64_t *ret);

/**
 * remote_sleep() - begin a system call that sleeps, and stop it again: the kernel then remembers how to go on with it
 *
 * For tasks of ours. When the thread later runs on with registers that hold the -ERESTART_RESTARTBLOCK of such a call, it
 * sleeps for what is left. -ECANCELED when the call was over before it could be stopped: with *@ret as its result.
 */
int remote_sleep(struct held *h, struct taddr ip, long nr, const uint64_t arg[6], int64_t *ret);

/**
 * remote_exit() - end this thread alone, while others of its process live, with @status; for tasks of ours
 * It is let go before: a tracer would keep a leader that has ended from its parent.
 */
int remote_exit(struct held *h, struct taddr ip, int status);
