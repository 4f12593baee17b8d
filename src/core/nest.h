/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A nest: namespaces of its own for a program, with a small init (pid 1) that reaps orphans and passes the exit status of
 * the program on. For a caller without privilege it begins with a user namespace that maps him to himself.
 */
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/op.h"
#include "core/clock.h"

struct nest {
	pid_t init; /* our child */
	int socket; /* to it; -EBADF */
	bool user_ns;
};

/** nest_needs_user_ns() - may the caller not make pid namespaces by himself? */
bool nest_needs_user_ns(void);

/**
 * nest_build() - make the namespaces and the init; it then waits for orders at the other end of nest->socket
 *
 * @mask: the signal mask of commands that it starts; NULL: the caller's. It dies when the thread that made it does, until nest_release() says otherwise.
 */
int nest_build(struct op *op, struct nest *nest, const sigset_t *mask);

/**
 * nest_plant() - have the init clone a child with pid @vpid (0: any), stopped before it does anything
 * The child is a copy of the init, which is a copy of us at nest_build(). Returns its pid as we count, or -errno.
 */
pid_t nest_plant(struct nest *nest, pid_t vpid);

/** nest_call() - have the init call @fn with its copy of @data, as it was at nest_build(); what it returns, or -errno */
int nest_call(struct nest *nest, int (*fn)(void *data), void *data);

/** nest_set_clocks() - all that is planted or spawned from now on has clocks that go on from @c; see clocks_continue() */
int nest_set_clocks(struct nest *nest, const struct clocks *c);

/** nest_spawn() - have the init start a command (execvp); its pid as we count, or -errno */
pid_t nest_spawn(struct nest *nest, char *const argv[]);

/** nest_release() - all is well: from now on the init reaps, and ends when the child first made does, with its status */
int nest_release(struct nest *nest, bool detach);

/** nest_raze() - end everything in it; accepts an unbuilt one */
void nest_raze(struct nest *nest);

/**
 * plant_here() - clone a child of our own with pid @pid, stopped before it does anything; its pid or -errno
 * @clocks: those it is to have; NULL: ours. *@ret_clocks says whether it got them: 0 or -errno.
 */
pid_t plant_here(pid_t pid, const struct clocks *clocks, int *ret_clocks);

/** is_traced() - by the calling thread? */
bool is_traced(pid_t pid);
/** reap_tracees() - end all that we trace and wait for what has ended of it, without blocking; also tasks not yet known to us */
void reap_tracees(void);
