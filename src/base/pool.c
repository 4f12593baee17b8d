/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/rush.h"

struct worker {
	struct pool *pool;
	pthread_t thread;
	unsigned int nth;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t more, done; /* work was put, or it is to end; work was done */
	struct work *first, **last; /* not yet begun */
	bool ends;
	unsigned int n;
	struct worker workers[POOL_MOST];
};

unsigned int pool_cpus(void)
{
	unsigned long mask[128] = { 0 }; /* 8192 CPUs, the most that Linux can be built for */
	long len = syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask);
	int n = 0;

	for (long i = 0; i < len / (long)sizeof(*mask); i++)
		n += __builtin_popcountl(mask[i]);
	return n > 0 ? (unsigned int)n : 1;
}

static struct work *take(struct pool *p)
{
	struct work *w = p->first;

	p->first = w->next;
	if (!p->first)
		p->last = &p->first;
	return w;
}

/* with the lock held, which is let go meanwhile */
static void do_first(struct pool *p, unsigned int worker)
{
	struct work *w = take(p);

	pthread_mutex_unlock(&p->lock);
	w->run(w, worker);
	pthread_mutex_lock(&p->lock);
	w->done = true;
	pthread_cond_signal(&p->done);
}

static void *labour(void *data)
{
	const struct worker *worker = data;
	struct pool *p = worker->pool;

	pthread_mutex_lock(&p->lock);
	while (!p->ends) {
		if (p->first)
			do_first(p, worker->nth);
		else
			pthread_cond_wait(&p->more, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* struct start - what a new thread is to do */
struct start {
	void *(*fn)(void *);
	void *data;
	struct rush rush;
};

static void *start(void *data)
{
	struct start s = *(struct start *)data;

	free(data);
	rush_end(&s.rush);
	return s.fn(s.data);
}

int thread_start(pthread_t *ret, size_t stack, void *(*fn)(void *), void *data)
{
	struct start *s = malloc(sizeof(*s));
	pthread_attr_t attr;
	sigset_t all, was;

	if (!s)
		return -ENOMEM;
	*s = (struct start){ fn, data, rush_of_caller() };
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, stack);
	pthread_sigmask(SIG_SETMASK, &all, &was);
	int err = pthread_create(ret, &attr, start, s);
	pthread_sigmask(SIG_SETMASK, &was, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		free(s);
	return -err;
}

static int start_worker(struct pool *p)
{
	struct worker *w = &p->workers[p->n];

	*w = (struct worker){ .pool = p, .nth = p->n + 1 };
	int r = thread_start(&w->thread, STACK_SMALL, labour, w);
	if (r == 0)
		p->n++;
	return r;
}

unsigned int pool_start(struct pool **ret, unsigned int threads)
{
	struct pool *p = threads ? calloc(1, sizeof(*p)) : NULL;

	*ret = NULL;
	if (!p)
		return 0;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	pthread_cond_init(&p->done, NULL);
	while (p->n < threads && p->n < POOL_MOST && start_worker(p) == 0)
		;
	unsigned int n = p->n;
	if (n)
		*ret = p;
	else
		pool_stop(p);
	return n;
}

void pool_put(struct pool *p, struct work *w)
{
	w->done = false;
	w->next = NULL;
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	if (p->first) /* who waits takes the first: waking another for it takes longer than some work does */
		pthread_cond_signal(&p->more);
	*p->last = w;
	p->last = &w->next;
	pthread_mutex_unlock(&p->lock);
}

void pool_wait(struct pool *p, struct work *w)
{
	if (!p) {
		if (!w->done)
			w->run(w, 0);
		w->done = true;
		return;
	}
	pthread_mutex_lock(&p->lock);
	while (!w->done) {
		if (p->first)
			do_first(p, 0);
		else
			pthread_cond_wait(&p->done, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

void pool_stop(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ends = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	while (p->n)
		pthread_join(p->workers[--p->n].thread, NULL);
	pthread_cond_destroy(&p->done);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
