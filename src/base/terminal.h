/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The terminal that we were started from: what it is like, so that it can be lent to a program and taken back.
 */
#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

/** struct terminal - a terminal as it was at some time */
struct terminal {
	int fd; /* one of 0, 1, 2; -EBADF: there is none, and the functions below do nothing */
	pid_t group; /* in its foreground */
	struct termios modes;
};

/** terminal_find() - the one of 0, 1 and 2 that is our controlling terminal; with @foreground, and we in its foreground */
void terminal_find(struct terminal *ret, bool foreground);

/** terminal_is_ours() - are we in its foreground now? */
bool terminal_is_ours(const struct terminal *t);

/** terminal_look() - @t as it is now */
void terminal_look(struct terminal *t);

/** terminal_set() - make it again as it was, also from the background */
void terminal_set(const struct terminal *t);

/** terminal_set_group() - put a process group into the foreground of @fd, also from the background; 0 or -errno */
int terminal_set_group(int fd, pid_t group);
