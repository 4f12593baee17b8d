/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * faults [-o FILE] count CMD ARGS...           run CMD and count its system calls
 * faults [-o FILE] kill N CMD ARGS...          SIGKILL it where its N-th system call would begin
 * faults [-o FILE] fail N ERRNO CMD ARGS...    its N-th system call is not made and gives ERRNO
 * faults [-o FILE] short N CMD ARGS...         its N-th system call, when it writes more than a byte, writes only half
 *
 * Calls are counted from the entry point of the program on: what the dynamic loader does before it is not CMD's doing. Two
 * threads of the process are followed, the first and the first that is made: a checkpoint has a thread of its own. Others, its
 * children, and what it traces, are left alone. Others may end while it waits for them or before, so the n-th call is not
 * quite the same each time.
 *
 * FILE gets the line "calls N nr NR hit 0|1 status S"; NR is the number of the N-th call, hit says whether the fault took
 * place, S is the exit status, 128 + n for signal n. From `count` a second line has the number of every call. The exit
 * status is that of CMD too; 125 when the harness fails.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum mode { COUNT, KILL, FAIL, SHORT };

/* struct plan - what to do, and what came of it */
struct plan {
	enum mode mode;
	long n;
	int err;
	char **argv;
	FILE *report;
	FILE *list; /* count: the number of every call; else NULL */
	long calls; /* seen so far */
	long nr; /* of the n-th */
	bool hit;
};

static const struct {
	const char *name;
	int err;
} errors[] = {
	{ "EIO", EIO },
	{ "ENOSPC", ENOSPC },
	{ "EPERM", EPERM },
	{ "ENOMEM", ENOMEM },
	{ "EINTR", EINTR },
	{ "EACCES", EACCES },
	{ "EAGAIN", EAGAIN },
	{ "EMFILE", EMFILE },
	{ "ENOSYS", ENOSYS },
	{ "EINVAL", EINVAL },
	{ "ESRCH", ESRCH },
};

__attribute__((noreturn)) static void broken(const char *what)
{
	fprintf(stderr, "faults: %s: %s\n", what, strerror(errno));
	exit(125);
}

/*
 * Calls that are never failed: those that do not return, and those whose failure no kernel produces for a correct
 * argument and after which the object would be in a state that cannot exist (an open descriptor after close, a mapping
 * after munmap). brk(2) says that it failed by the old break, never by an errno. futex(2), and rseq(2) of a new thread, are the
 * C library's, which ends the process when they fail as they never do.
 */
static bool may_fail(long nr)
{
	switch (nr) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_rt_sigreturn:
	case SYS_restart_syscall:
	case SYS_execve:
	case SYS_brk:
	case SYS_close:
	case SYS_munmap:
	case SYS_futex:
	case SYS_rseq:
		return false;
	default:
		return true;
	}
}

static bool can_be_short(long nr, uint64_t len)
{
	return len > 1 && (nr == SYS_write || nr == SYS_pwrite64);
}

static void wait_stop(pid_t pid, int *status)
{
	while (waitpid(pid, status, __WALL) < 0)
		if (errno != EINTR)
			broken("wait");
}

/* The entry point of the program, from its auxiliary vector. */
static uint64_t entry_of(pid_t pid)
{
	char path[64];
	uint64_t pair[2];

	snprintf(path, sizeof(path), "/proc/%d/auxv", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		broken(path);
	while (fread(pair, sizeof(pair), 1, f) == 1) {
		if (pair[0] == AT_ENTRY) {
			fclose(f);
			return pair[1];
		}
	}
	broken("find the entry point");
}

static void run_to_entry(pid_t pid)
{
	struct user_regs_struct regs;
	int status;
	uint64_t entry = entry_of(pid);

	errno = 0;
	long was = ptrace(PTRACE_PEEKTEXT, pid, entry, NULL);
	if (errno || ptrace(PTRACE_POKETEXT, pid, entry, (was & ~0xffL) | 0xcc) < 0)
		broken("set a breakpoint");
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	wait_stop(pid, &status);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
		fputs("faults: the program did not come to its entry point\n", stderr);
		exit(125);
	}
	ptrace(PTRACE_GETREGS, pid, NULL, &regs);
	regs.rip = entry;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
	ptrace(PTRACE_POKETEXT, pid, entry, was);
}

static pid_t start(const struct plan *p)
{
	const unsigned long options =
		PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		broken("fork");
	if (pid == 0) {
		raise(SIGSTOP);
		execvp(p->argv[0], p->argv);
		fprintf(stderr, "faults: %s: %s\n", p->argv[0], strerror(errno));
		_exit(127);
	}
	waitpid(pid, &status, WUNTRACED);
	if (ptrace(PTRACE_SEIZE, pid, NULL, options) < 0)
		broken("trace");
	kill(pid, SIGCONT);
	for (;;) {
		wait_stop(pid, &status);
		if (!WIFSTOPPED(status)) {
			fputs("faults: the command was not executed\n", stderr);
			exit(125);
		}
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8))
			break;
		/* SIGCONT itself and the end of the group-stop */
		ptrace(PTRACE_CONT, pid, NULL, NULL);
	}
	run_to_entry(pid);
	return pid;
}

/* At the entry of a call. True when its result must be set at its exit. */
static bool at_entry(struct plan *p, pid_t pid, struct user_regs_struct *regs)
{
	if (p->list)
		fprintf(p->list, " %ld", (long)regs->orig_rax);
	if (++p->calls != p->n)
		return false;
	p->nr = (long)regs->orig_rax;
	switch (p->mode) {
	case COUNT:
		break;
	case KILL:
		p->hit = true;
		kill(pid, SIGKILL);
		break;
	case FAIL:
		if (!may_fail(p->nr))
			break;
		p->hit = true;
		regs->orig_rax = (unsigned long long)-1;
		ptrace(PTRACE_SETREGS, pid, NULL, regs);
		return true;
	case SHORT:
		if (!can_be_short(p->nr, regs->rdx))
			break;
		p->hit = true;
		regs->rdx /= 2;
		ptrace(PTRACE_SETREGS, pid, NULL, regs);
		break;
	}
	return false;
}

static void set_result(const struct plan *p, pid_t pid)
{
	struct user_regs_struct regs;

	ptrace(PTRACE_GETREGS, pid, NULL, &regs);
	regs.rax = (unsigned long long)-p->err;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
}

/* struct thread - one that is followed */
struct thread {
	pid_t tid; /* 0: there is none yet */
	bool inside, pending; /* in a system call; its result must be set at its exit */
};

static void go_on(const struct plan *p, const struct thread *t, int signo)
{
	ptrace(p->mode != COUNT && p->calls >= p->n && !t->inside ? PTRACE_CONT : PTRACE_SYSCALL, t->tid, NULL,
		(long)signo);
}

static void at_call(struct plan *p, struct thread *t)
{
	struct user_regs_struct regs;

	t->inside = !t->inside;
	if (t->inside && ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) == 0) {
		t->pending = at_entry(p, t->tid, &regs);
	} else if (!t->inside && t->pending) {
		set_result(p, t->tid);
		t->pending = false;
	}
}

/* Who has stopped; NULL: a thread that is not to be followed, and is not any more. */
static struct thread *who(struct thread threads[2], pid_t tid)
{
	for (int i = 0; i < 2; i++) {
		if (!threads[i].tid)
			threads[i].tid = tid;
		if (threads[i].tid == tid)
			return &threads[i];
	}
	ptrace(PTRACE_DETACH, tid, NULL, NULL);
	return NULL;
}

/* Lets the command run to its end; returns its wait status. */
static int follow(struct plan *p, pid_t pid)
{
	struct thread threads[2] = { { .tid = pid } };

	go_on(p, &threads[0], 0);
	for (;;) {
		int status, signo = 0;
		pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0 && errno != EINTR)
			broken("wait");
		if (tid == pid && !WIFSTOPPED(status))
			return status;
		if (tid < 0 || !WIFSTOPPED(status))
			continue;
		struct thread *t = who(threads, tid);
		if (!t)
			continue;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			at_call(p, t);
		else if (status >> 16 == 0)
			signo = WSTOPSIG(status);
		go_on(p, t, signo);
	}
}

static int error_named(const char *name)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].err;
	return atoi(name);
}

static bool parse(struct plan *p, char **argv)
{
	static const char *const modes[] = { "count", "kill", "fail", "short" };
	unsigned int m = 0;

	if (*argv && strcmp(*argv, "-o") == 0 && argv[1]) {
		p->report = fopen(argv[1], "we");
		if (!p->report)
			broken(argv[1]);
		argv += 2;
	}
	while (*argv && m < 4 && strcmp(*argv, modes[m]) != 0)
		m++;
	if (!*argv++ || m == 4)
		return false;
	p->mode = (enum mode)m;
	if (p->mode != COUNT) {
		p->n = *argv ? atol(*argv++) : 0;
		if (p->n < 1)
			return false;
	}
	if (p->mode == FAIL) {
		p->err = *argv ? error_named(*argv++) : 0;
		if (p->err < 1)
			return false;
	}
	p->argv = argv;
	return *argv != NULL;
}

static void write_report(struct plan *p, int code, const char *list)
{
	if (!p->report)
		return;
	fprintf(p->report, "calls %ld nr %ld hit %d status %d\n", p->calls, p->nr, p->hit, code);
	if (p->list)
		fprintf(p->report, "%s\n", list);
	if (fclose(p->report) != 0)
		broken("write the report");
}

int main(int argc, char **argv)
{
	struct plan p = { .nr = -1 };
	char *list = NULL;
	size_t len = 0;

	if (argc < 3 || !parse(&p, argv + 1)) {
		fputs("usage: faults [-o FILE] count | kill N | fail N ERRNO | short N CMD ARGS...\n", stderr);
		return 120;
	}
	if (p.mode == COUNT)
		p.list = open_memstream(&list, &len);
	int status = follow(&p, start(&p));
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (p.list)
		fflush(p.list);
	write_report(&p, code, list);
	if (p.list)
		fclose(p.list);
	free(list);
	return code;
}
