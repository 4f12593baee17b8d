/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A bystander: stasis itself where that fits, else a process of ours that does nothing, in the pid and user namespace of a thread being saved and with its
 * user and group, but without rights and outside of all that the program has shut itself into. What the kernel lets a
 * thread see of it tells what the thread may see.
 */
#include "kinds/kind.h"

/** bystander_of() - its pid, as the thread at @s counts; made where there is none that fits, and gone with the tree */
int bystander_of(const struct sight *s, struct arena *a, pid_t *ret);

/** bystanders_end() - they go; also when stasis dies */
void bystanders_end(struct tree *tree);
