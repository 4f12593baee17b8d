/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Threads that are alike: where the kernel lets its memory be read (proc/insight.h), a process's threads are compared by what it keeps
 * of them. Those of which it keeps the same are not read one by one, and do not enter the stub: their records are those of the one
 * that was asked, or come from what was read.
 */
#include <stddef.h>

#include "kinds/kind.h"

struct checkpoint;
struct twins;

/** twins_look_ahead() - what takes time and needs no program that stands still, if the target has so many threads that it is worth it */
void twins_look_ahead(struct checkpoint *c);

/** twins_read() - begins to read, when all threads of the tree stand still; find_twins() waits for it */
void twins_read(struct checkpoint *c);
void twins_close(struct checkpoint *c);

/** find_twins() - sets kept and like of the threads of the tree */
void find_twins(struct checkpoint *c);

/** find_rseq() - the address of the rseq area of @t, 0: it has none; false: that was not read */
bool find_rseq(const struct checkpoint *c, const struct thread *t, uint64_t *ret);

/** take_after() - what /proc would say of those that are like another, whose is read */
void take_after(const struct checkpoint *c, struct process *p);

/** give_parts() - the parts of a thread that is like another, but those that are alike; of what it is told they are filled */
int give_parts(const struct checkpoint *c, const struct sight *s, struct span *ret);

/** drop_common() - takes from those who are like another the parts that are equal to that one's, when all are saved */
void drop_common(struct process *p);
