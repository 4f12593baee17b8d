/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Files that a restart makes, or puts in the place of others. They are reached through their directories as these were at first: who may
 * move those has nothing else removed or renamed when the restart fails.
 */
#include "kinds/kind.h"

/**
 * made_dir() - the directory of @path, and *@ret_name in there; it stays open until the restart is over; -errno
 * @straight: no symbolic link leads there.
 */
int made_dir(struct op *op, struct site *site, const char *path, bool straight, const char **ret_name);

/** made_hold() - keep @dir, that of @path, which is handed over, for that long; returns it, or what was kept for @path before */
int made_hold(struct op *op, struct site *site, const char *path, int dir);

/** made_add() - the file @path was made, whose name in @dir is @name; @was: see struct made_file */
void made_add(struct op *op, struct site *site, int dir, const char *path, const char *name, const char *was);

/** made_here() - was the file at @path made by this restart? */
bool made_here(const struct site *site, const char *path);
