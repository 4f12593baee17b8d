/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <sched.h>
#include <signal.h>

#include "base/pool.h"
#include "lib/test.h"

#define N 200

struct count {
	struct work work;
	int n; /* how often it was done */
	unsigned int worker;
	bool signals; /* could one come while it was done? */
};

static void count(struct work *work, unsigned int worker)
{
	struct count *c = (struct count *)work;
	sigset_t mask;

	c->n++;
	c->worker = worker;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	c->signals = !sigismember(&mask, SIGTERM);
	usleep(100);
}

static int threads(void)
{
	DIR *d = opendir("/proc/self/task");
	int n = -2; /* . and .. */

	ASSERT_TRUE(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void expect_all_done(struct pool *pool, unsigned int workers)
{
	struct count c[N] = { 0 };

	for (int i = 0; i < N; i++) {
		c[i].work.run = count;
		pool_put(pool, &c[i].work);
	}
	for (int i = 0; i < N; i++) {
		pool_wait(pool, &c[i].work);
		EXPECT_EQ(c[i].n, 1);
		EXPECT_LE(c[i].worker, workers);
		EXPECT_EQ(c[i].signals, c[i].worker == 0);
		pool_wait(pool, &c[i].work);
		EXPECT_EQ(c[i].n, 1);
	}
}

TEST(without_a_pool_who_waits_does_it)
{
	struct pool *pool;

	expect_all_done(NULL, 0);
	EXPECT_EQ(pool_start(&pool, 0), 0);
	EXPECT_TRUE(pool == NULL);
	pool_stop(NULL);
}

TEST(all_work_is_done_once)
{
	for (unsigned int n = 1; n < 5; n++) {
		struct pool *pool;

		ASSERT_EQ(pool_start(&pool, n), n);
		EXPECT_EQ(threads(), 1 + (int)n);
		expect_all_done(pool, n);
		expect_all_done(pool, n);
		pool_stop(pool);
		EXPECT_EQ(threads(), 1);
	}
}

TEST(what_has_not_begun_at_the_end_never_does)
{
	struct pool *pool;
	struct count c[N] = { 0 };
	int done = 0;

	ASSERT_EQ(pool_start(&pool, 2), 2);
	for (int i = 0; i < N; i++) {
		c[i].work.run = count;
		pool_put(pool, &c[i].work);
	}
	pool_wait(pool, &c[0].work);
	pool_stop(pool);
	for (int i = 0; i < N; i++)
		done += c[i].n;
	usleep(2000);
	for (int i = 0; i < N; i++)
		done -= c[i].n;
	EXPECT_EQ(done, 0);
	EXPECT_EQ(c[N - 1].n, 0);
}

TEST(no_more_than_the_cpus_that_it_may_use)
{
	cpu_set_t one;

	EXPECT_GE(pool_cpus(), 1);
	EXPECT_LE(pool_cpus(), (unsigned int)sysconf(_SC_NPROCESSORS_ONLN));
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	EXPECT_EQ(pool_cpus(), 1);
}

TEST_MAIN
