/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Rights of processes, taken by this thread of stasis for a moment to do what they could do. What is opened with them, and what is not, is
 * in goal.h.
 */
#include "kinds/kind.h"

/** rights_own() - those of this thread; < 0 after fail() */
int rights_own(struct op *op, struct rights *ret);

/** rights_within() - of @want as much as who has @own may take; NULL: that makes no difference to @own */
const struct rights *rights_within(struct arena *a, const struct rights *own, const struct rights *want);

/** rights_turn() - until rights_give_back() this thread has @rights; 0 or -errno */
int rights_turn(struct site *site, const struct rights *rights);

/** rights_give_back() - this thread has those of stasis again; 0 or < 0 after fail() */
int rights_give_back(struct op *op, struct site *site);

/** rights_reopen() - openfile_reopen() as the processes would; -errno */
int rights_reopen(struct op *op, struct site *site, int fd, int flags);

/** rights_may() - may all of them do with descriptor @fd (O_PATH too) what @need (R_OK and so on) says? 1, 0, or < 0 after fail() */
int rights_may(struct op *op, struct site *site, int fd, int need);

/** rights_take() - this thread has the rights of one of those who have it, until rights_give_back(); 0 or < 0 after fail() */
int rights_take(struct op *op, struct site *site);

/** rights_each() - make the call with the rights of each of them, until it gives < 0: that, or 0 */
int rights_each(struct op *op, struct site *site, int (*call)(const void *data), const void *data);

/** rights_access() - may this thread, as it is, do with @fd (O_PATH too) what @need says? 0 or -errno */
int rights_access(int fd, int need);

/** rights_denied() - does -errno @err say that the rights do not suffice? */
bool rights_denied(int err);
