/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Registrations of an epoll as the kernel shows them, and which file of the program each of them watches.
 */
#include "kinds/kind.h"

/** struct epitem - a registration: a line of fdinfo */
struct epitem {
	uint32_t number; /* the descriptor that was registered */
	uint32_t events;
	uint64_t data, ino, dev;
	size_t place, toff; /* in the list; among those of the same number */
};

/** epitem_events - the names of the bits that are known */
extern const struct flag epitem_events[];

/** epitem_has_fired() - EPOLLONESHOT has told an event: the private bits alone stay, until EPOLL_CTL_MOD arms it again */
bool epitem_has_fired(uint32_t events);

/** epitem_makes_sense() - can a kernel have a registration like that, and are all its bits known? */
bool epitem_makes_sense(uint32_t events);

/** epitem_parse() - "tfd:        5 events:       1b data: ffffffff00000005  pos:0 ino:1df0 sdev:f"; -EBADMSG */
int epitem_parse(const char *line, struct epitem *ret);

/** epitem_read() - all registrations of the epoll at s->fd, by number; -EBADMSG when there is a line that is none */
int epitem_read(struct op *op, const struct sight *s, struct epitem **ret, size_t *ret_n);

/** epitem_is() - 1: descriptor @n of @p leads to what is registered, 0: it does not; -ENOENT: the registration is gone */
int epitem_is(const struct sight *s, const struct epitem *it, const struct process *p, int n);

/** epitem_find() - a descriptor in the tree that leads to what is registered; -ENOENT as above, -ESRCH: there is none */
int epitem_find(const struct sight *s, const struct epitem *it, const struct proc_fd **ret);

/** epitem_is_signalfd() - does the file look at the signals of whoever registers it? */
bool epitem_is_signalfd(const struct proc_fd *f);

/**
 * epitem_owner() - the process whose signals the registration of signalfd @f waits for: whoever made it had both
 *
 * That is not on record: where *@ret_n processes have both it is taken to be the first of them. *@ret_via is the number
 * that leads to the signalfd there: that of the registration, or another while that one is free. NULL: no process has both.
 */
const struct process *epitem_owner(
	const struct sight *s, const struct epitem *it, const struct proc_fd *f, uint32_t *ret_via, size_t *ret_n);
