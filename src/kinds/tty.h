/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Terminals: which one a descriptor or a session has, whether the program itself holds its master, and its settings.
 */
#include "kinds/kind.h"

/** struct tty_modes - termios(3) as the kernel has them: struct ktermios */
struct tty_modes {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[19];
	uint32_t ispeed, ospeed;
};

extern const struct field tty_modes_fields[];

/** tty_get_modes(), tty_set_modes() - of a terminal, or of the slave whose master @fd is; also from the background. 0 or -errno */
int tty_get_modes(int fd, struct tty_modes *ret);
int tty_set_modes(int fd, const struct tty_modes *m);

/** tty_modes_in() - the one element of a record's span of struct tty_modes; NULL when there is none */
const struct tty_modes *tty_modes_in(const struct span *span);

/** tty_is_master() - is it the master of a pseudoterminal (pts(4))? */
bool tty_is_master(const struct proc_fd *f);

/** tty_is_terminal() - is it a terminal, or the slave of a pseudoterminal? */
bool tty_is_terminal(const struct proc_fd *f);

/** tty_is_dev_tty() - was it opened as /dev/tty, whichever terminal that was then? */
bool tty_is_dev_tty(const struct proc_fd *f);

/** tty_index() - of a pseudoterminal, from its master's fdinfo; -1 */
int64_t tty_index(const struct proc_fd *master);

/** tty_slave_index() - of a pseudoterminal, from the device number of its slave; -1 when it is none */
int64_t tty_slave_index(dev_t rdev);

/** tty_device() - the number of the terminal at s->fd, whatever it was opened as */
dev_t tty_device(const struct sight *s);

/** tty_controlling() - the number of its controlling terminal, 0 when it has none */
dev_t tty_controlling(const struct process *p);

/** tty_is_hung_up() - is it a slave whose master is closed? Nothing leads to it any more, and its number is free again. */
bool tty_is_hung_up(const struct sight *s);

/** tty_own_master() - the descriptor in the tree that is the master of the terminal at s->fd; NULL: it leads outside */
const struct holder *tty_own_master(const struct sight *s);

/** tty_own_master_of() - the same of a slave's device number, e.g. that of a controlling terminal */
const struct holder *tty_own_master_of(const struct tree *tree, dev_t rdev);

/** tty_streams() - a mask of 0, 1 and 2: where the tree has the terminal @rdev, by whichever path it was opened */
unsigned int tty_streams(const struct tree *tree, dev_t rdev);

/** tty_pair() - the slot of the master of pseudoterminal @index of the image, until the program runs */
int *tty_pair(struct op *op, struct site *site, uint32_t index);
