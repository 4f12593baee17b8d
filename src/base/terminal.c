/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/terminal.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

void terminal_find(struct terminal *ret, bool foreground)
{
	*ret = (struct terminal){ .fd = -EBADF };
	for (int fd = 0; fd < 3 && ret->fd < 0; fd++)
		if (tcgetpgrp(fd) >= 0)
			ret->fd = fd;
	if (foreground && !terminal_is_ours(ret))
		ret->fd = -EBADF;
	terminal_look(ret);
}

bool terminal_is_ours(const struct terminal *t)
{
	return t->fd >= 0 && tcgetpgrp(t->fd) == getpgrp();
}

void terminal_look(struct terminal *t)
{
	if (t->fd < 0)
		return;
	t->group = tcgetpgrp(t->fd);
	if (tcgetattr(t->fd, &t->modes) < 0)
		t->fd = -EBADF; /* it was hung up */
}

/* whoever does this from the background is stopped by SIGTTOU, unless that is blocked */
static void block(sigset_t *old)
{
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTTOU);
	sigprocmask(SIG_BLOCK, &stop, old);
}

void terminal_set(const struct terminal *t)
{
	sigset_t old;

	if (t->fd < 0)
		return;
	block(&old);
	tcsetattr(t->fd, TCSANOW, &t->modes);
	if (t->group > 0)
		tcsetpgrp(t->fd, t->group);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

int terminal_set_group(int fd, pid_t group)
{
	sigset_t old;

	block(&old);
	int r = tcsetpgrp(fd, group) < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}
