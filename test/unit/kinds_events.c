/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kinds of descriptors that tell of events: what no kernel of ours shows, and what no image of ours holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include "kinds/kind.h"
#include "lib/test.h"

static struct op op;
static struct process self, *processes[] = { &self };
static struct tree tree = { .processes = { processes, 1, 0 } };
static struct proc_fd file;
static struct span slots;
static struct site site = { .slots = &slots, .stdio = { 0, 1, 2 } };

static const struct kind *kind_called(const char *name)
{
	for (const struct kind *const *k = kinds; *k; k++)
		if ((*k)->scope == SCOPE_FD && strcmp((*k)->name, name) == 0)
			return *k;
	return NULL;
}

/* the slug of what is said against a descriptor that /proc shows like this; NULL: nothing */
static const char *verdict(const char *link, uint32_t flags, const char *const *lines)
{
	struct sight s = { .tree = &tree, .process = &self, .fd = &file };

	self.pid = getpid();
	self.pidfd = -EBADF;
	file = (struct proc_fd){ .n = 5, .link = link, .flags = flags };
	for (; *lines; lines++)
		*(const char **)span_push(&op.arena, &file.extra, sizeof(char *)) = *lines;
	self.fds = (struct span){ &file, 1, 1 };
	op.obstacles = (struct span){ 0 };
	const struct kind *k = kind_of_fd(&s);
	if (!k)
		return "nobody's";
	int r = k->check(&op, &s);
	EXPECT_EQ(r<0, op.obstacles.n> 0);
	return op.obstacles.n ? ((struct obstacle *)op.obstacles.at)->slug : NULL;
}

#define VERDICT(link, flags, ...) verdict(link, flags, (const char *const[]){ __VA_ARGS__, NULL })

TEST(eventfd_as_proc_shows_it)
{
	static const char link[] = "anon_inode:[eventfd]", count[] = "eventfd-count:              12c";
	static const char id[] = "eventfd-id: 1", semaphore[] = "eventfd-semaphore: 1";

	op_init(&op, "test");
	EXPECT_TRUE(VERDICT(link, O_RDWR, count, id, semaphore) == NULL);
	EXPECT_TRUE(VERDICT(link, O_RDWR | O_NONBLOCK | O_APPEND, count, id, semaphore) == NULL);
	EXPECT_STREQ(VERDICT(link, O_RDWR, count, id), "eventfd-semaphore");
	EXPECT_STREQ(VERDICT(link, O_RDWR, count, "eventfd-semaphore: 2"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, "eventfd-count: 1x", semaphore), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, semaphore), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, count, id, semaphore, "eventfd-colour: 7"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, "eventfd-count: ffffffffffffffff", semaphore), "eventfd-overflow");
	EXPECT_STREQ(VERDICT(link, O_RDWR | O_ASYNC, count, semaphore), "fd-async");
	EXPECT_STREQ(VERDICT(link, O_RDWR | O_DIRECT, count, semaphore), "fd-flags");
	EXPECT_STREQ(VERDICT(link, O_PATH, count, semaphore), "fd-path");
	EXPECT_STREQ(VERDICT("anon_inode:[eventfd2]", O_RDWR, count, semaphore), "nobody's");
	EXPECT_STREQ(VERDICT("/anon_inode:[eventfd]", O_RDWR, count, semaphore), "nobody's");
	op_done(&op);
}

TEST(signalfd_as_proc_shows_it)
{
	static const char link[] = "anon_inode:[signalfd]", mask[] = "sigmask:\t8000000000000200";

	op_init(&op, "test");
	EXPECT_TRUE(VERDICT(link, O_RDWR, mask) == NULL);
	EXPECT_STREQ(VERDICT(link, O_RDWR, "sigmask:\t80000000000000000"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, "sigmask:\t"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, mask, "sigcolour:\t0"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR | O_ASYNC, mask), "fd-async");
	op_done(&op);
}

/* the outcome of a restart from this record: 0 or that of the story */
static int restored(const struct kind *k, void *rec)
{
	int fd = k->restore(&op, rec, &site);
	int outcome = fd < 0 ? (int)op_outcome(&op) : 0;

	if (fd >= 0)
		close(fd);
	op.err = 0;
	return outcome;
}

/* the records of eventfd and signalfd begin alike: a number of 64 bits, then the flags */
TEST(records_of_nobody)
{
	struct {
		uint64_t number;
		uint32_t flags;
		bool semaphore;
	} rec = { UINT64_MAX, O_RDWR, false };
	const struct kind *e = kind_called("eventfd"), *s = kind_called("signalfd");

	op_init(&op, "test");
	ASSERT_TRUE(e && s && e->size <= sizeof(rec) && s->size <= sizeof(rec));
	EXPECT_EQ(restored(e, &rec), OUTCOME_IMAGE);
	EXPECT_EQ(restored(s, &rec), OUTCOME_IMAGE);
	rec.number = 1;
	EXPECT_EQ(restored(e, &rec), 0);
	EXPECT_EQ(restored(s, &rec), 0);
	rec.flags = O_RDWR | O_DIRECT;
	EXPECT_EQ(restored(e, &rec), OUTCOME_IMAGE);
	EXPECT_EQ(restored(s, &rec), OUTCOME_IMAGE);
	rec.flags = O_RDONLY;
	EXPECT_EQ(restored(e, &rec), OUTCOME_IMAGE);
	EXPECT_EQ(restored(s, &rec), OUTCOME_IMAGE);
	op_done(&op);
}

TEST_MAIN
