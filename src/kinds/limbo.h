/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Limbo: a file system in memory that is mounted nowhere. A file that is made there under a path and deleted is shown with that
 * path and "(deleted)" wherever it is mapped or open; nobody's files are touched, and it goes with who has it.
 */
#include "kinds/kind.h"

/**
 * limbo_make() - a new, empty, deleted file that was @path, open for both, mode 0700; of huge pages of @huge bytes, if that is not 0
 * -EINVAL: not an absolute path as the kernel would show one. -EPERM and others: there is no such file system to be had here.
 */
int limbo_make(struct op *op, struct site *site, const char *path, uint64_t huge);
