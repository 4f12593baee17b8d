/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/epitem.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/text.h"
#include "kinds/openfile.h"

#define ALWAYS	((uint32_t)(EPOLLERR | EPOLLHUP)) /* the kernel adds them to what is asked for */
#define PRIVATE ((uint32_t)(EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET))

const struct flag epitem_events[] = {
	{ EPOLLIN, "IN" },
	{ EPOLLPRI, "PRI" },
	{ EPOLLOUT, "OUT" },
	{ EPOLLERR, "ERR" },
	{ EPOLLHUP, "HUP" },
	{ POLLNVAL, "NVAL" },
	{ EPOLLRDNORM, "RDNORM" },
	{ EPOLLRDBAND, "RDBAND" },
	{ EPOLLWRNORM, "WRNORM" },
	{ EPOLLWRBAND, "WRBAND" },
	{ EPOLLMSG, "MSG" },
	{ EPOLLRDHUP, "RDHUP" },
	{ EPOLLEXCLUSIVE, "EXCLUSIVE" },
	{ EPOLLWAKEUP, "WAKEUP" },
	{ EPOLLONESHOT, "ONESHOT" },
	{ (uint32_t)EPOLLET, "ET" },
	{ 0 },
};

bool epitem_has_fired(uint32_t events)
{
	return events & EPOLLONESHOT && !(events & ~PRIVATE);
}

bool epitem_makes_sense(uint32_t events)
{
	uint32_t odd = events;

	for (const struct flag *f = epitem_events; f->name; f++)
		odd &= ~(uint32_t)f->bit;
	return !odd && (epitem_has_fired(events) || (events & ALWAYS) == ALWAYS);
}

/* ---- what /proc says ---- */

static int scan(const char **p, const char *key, int base, uint64_t *ret)
{
	*p += strspn(*p, " ");
	if (strncmp(*p, key, strlen(key)) != 0)
		return -EBADMSG;
	*p += strlen(key);
	*p += strspn(*p, " -"); /* a position can be below zero */
	return parse_u64(p, base, ret);
}

int epitem_parse(const char *line, struct epitem *ret)
{
	const char *p = line;
	uint64_t number, events, data, pos, ino, dev;

	if (scan(&p, "tfd:", 10, &number) < 0 || scan(&p, "events:", 16, &events) < 0 ||
		scan(&p, "data:", 16, &data) < 0 || scan(&p, "pos:", 10, &pos) < 0 || scan(&p, "ino:", 16, &ino) < 0 ||
		scan(&p, "sdev:", 16, &dev) < 0 || *p || number > INT32_MAX || events > UINT32_MAX || dev > UINT32_MAX)
		return -EBADMSG;
	*ret = (struct epitem){
		.number = (uint32_t)number,
		.events = (uint32_t)events,
		.data = data,
		.ino = ino,
		.dev = makedev((unsigned int)(dev >> 20), (unsigned int)(dev & 0xfffff)),
	};
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct epitem *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

int epitem_read(struct op *op, const struct sight *s, struct epitem **ret, size_t *ret_n)
{
	const char *const *line = s->fd->extra.at;
	size_t n = s->fd->extra.n;
	struct epitem *all = arena_array(&op->arena, n + 1, sizeof(*all));

	for (size_t i = 0; i < n; i++) {
		if (epitem_parse(line[i], &all[i]) < 0)
			return -EBADMSG;
		all[i].place = i;
	}
	qsort(all, n, sizeof(*all), by_number);
	for (size_t i = 1; i < n; i++)
		all[i].toff = all[i].number == all[i - 1].number ? all[i - 1].toff + 1 : 0;
	*ret = all;
	*ret_n = n;
	return 0;
}

/* ---- which file it is ---- */

static int order_of(const void *key, const void *fd)
{
	int n = *(const int *)key, m = ((const struct proc_fd *)fd)->n;

	return n < m ? -1 : n > m;
}

static const struct proc_fd *descriptor(const struct process *p, uint32_t number)
{
	int n = (int)number;

	return p->fds.n ? bsearch(&n, p->fds.at, p->fds.n, sizeof(struct proc_fd), order_of) : NULL;
}

/* a descriptor of process @p, NULL: none, that leads to the open file of @like */
static const struct proc_fd *same_file(const struct process *p, const struct proc_fd *like)
{
	const struct proc_fd *f = p->fds.at;

	for (size_t i = 0; i < p->fds.n; i++)
		if (f[i].open_file == like->open_file)
			return &f[i];
	return NULL;
}

int epitem_is(const struct sight *s, const struct epitem *it, const struct process *p, int n)
{
	struct kcmp_epoll_slot slot = { (uint32_t)s->fd->n, it->number, (uint32_t)it->toff };
	int r = proc_kcmp(p->tid, s->process->tid, KCMP_EPOLL_TFD, (unsigned long)n, (unsigned long)&slot);

	return r == -EBADF ? 0 : r < 0 ? r : r == 0;
}

/* first where it most likely is: a socket has one open file, and most files keep their numbers */
int epitem_find(const struct sight *s, const struct epitem *it, const struct proc_fd **ret)
{
	struct process *const *p = s->tree->processes.at;
	size_t n;
	const struct holder *h = tree_holders(s->tree, it->dev, it->ino, &n);
	int r = 0;

	*ret = n ? h[0].fd : NULL;
	if (n && h[0].fd->has_stat && S_ISSOCK(h[0].fd->mode))
		return 0;
	*ret = descriptor(s->process, it->number);
	if (*ret && (r = epitem_is(s, it, s->process, (*ret)->n)))
		return r < 0 ? r : 0;
	for (size_t i = 0; i < s->tree->processes.n; i++) {
		*ret = descriptor(p[i], it->number);
		if (*ret && (r = epitem_is(s, it, p[i], (*ret)->n)))
			return r < 0 ? r : 0;
	}
	for (size_t i = 0; i < s->tree->processes.n; i++) {
		const struct proc_fd *f = p[i]->fds.at;

		for (size_t k = 0; k < p[i]->fds.n; k++) {
			*ret = &f[k];
			if ((r = epitem_is(s, it, p[i], (*ret)->n)))
				return r < 0 ? r : 0;
		}
	}
	return -ESRCH;
}

bool epitem_is_signalfd(const struct proc_fd *f)
{
	return openfile_is_anon(&(struct sight){ .fd = f }, "signalfd");
}

const struct process *epitem_owner(
	const struct sight *s, const struct epitem *it, const struct proc_fd *f, uint32_t *ret_via, size_t *ret_n)
{
	struct process *const *p = s->tree->processes.at;
	const struct process *first = NULL;

	*ret_n = 0;
	for (int turn = 0; turn < 2 && !first; turn++)
		for (size_t i = 0; i < s->tree->processes.n; i++) {
			const struct proc_fd *there = descriptor(p[i], it->number);

			if (turn == 1) /* under another number now, but the old one is free */
				there = there ? NULL : same_file(p[i], f);
			if (!there || there->open_file != f->open_file || !same_file(p[i], s->fd))
				continue;
			if (!first)
				*ret_via = (uint32_t)there->n;
			first = first ? first : p[i];
			(*ret_n)++;
		}
	return first;
}
