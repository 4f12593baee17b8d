/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The options of sockets that do not depend on their protocol: socket(7).
 */
#include "kinds/kind.h"

/** struct sockopt - an option of SOL_SOCKET; the value is what getsockopt(2) gives */
struct sockopt {
	uint32_t name; /* SO_* */
	struct span value; /* bytes */
};

extern const struct field sockopt_fields[];

/** sockopt_check() - refuse what cannot be put back: filters */
int sockopt_check(struct op *op, int fd);

/** sockopt_save() - the options of @fd that differ from those of the new socket @fresh, and the sizes of its buffers */
int sockopt_save(struct op *op, int fd, int fresh, struct span *ret /* of struct sockopt */);

/** sockopt_restore() - set them; what the caller may not set is noted */
int sockopt_restore(struct op *op, int fd, const struct span *options);

/** sockopt_widen() - let as much wait that @fd has sent as the caller may; sockopt_restore() puts the size back */
void sockopt_widen(int fd);

/** sockopt_int() - the value of an option that is an int; @fallback where there is none */
int sockopt_int(int fd, int name, int fallback);
