/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The mappings of the program: smaps tells all of them, and takes its time. Of many they are read by proc/vmas.h, where that can be.
 */
#include "core/core.h"

/** mappings_look_ahead() - what takes time and needs no program that stands still, if the target has so many that it is worth it */
void mappings_look_ahead(struct checkpoint *c);
void mappings_close(struct checkpoint *c);

/** mappings_await() - until that is done; mappings_read() - then: p->vmas, with flags, by any lane */
void mappings_await(struct checkpoint *c);
int mappings_read(const struct checkpoint *c, struct process *p);

/** mappings_count() - the counters of those that were read without, when something else turns out to take them */
int mappings_count(const struct checkpoint *c, struct process *p);
