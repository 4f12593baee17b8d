/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kinds of descriptors that tell of events: what no kernel of ours shows, and what no image of ours holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
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
	EXPECT_TRUE(VERDICT(link, O_RDWR, count, id) == NULL);
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

TEST(pidfd_as_proc_shows_it)
{
	static const char link[] = "anon_inode:[pidfd]";

	op_init(&op, "test");
	const char *mine = arena_printf(&op.arena, "Pid:\t%d", getpid());
	EXPECT_TRUE(VERDICT(link, O_RDWR, mine, "NSpid:\t7\t1") == NULL);
	EXPECT_TRUE(VERDICT(link, O_RDWR | O_NONBLOCK | O_EXCL, mine) == NULL);
	EXPECT_TRUE(VERDICT(link, O_RDWR, "Pid:\t-1", "NSpid:\t-1") == NULL);
	EXPECT_STREQ(VERDICT(link, O_RDWR, "Pid:\t0", "NSpid:\t0"), "pidfd-outside");
	EXPECT_STREQ(VERDICT(link, O_RDWR, "Pid:\t1", "NSpid:\t1"), "pidfd-outside");
	EXPECT_STREQ(VERDICT(link, O_RDWR, "Pid:\t-2"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, "NSpid:\t1"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, mine, "Colour:\t1"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR | O_DIRECT, mine), "fd-flags");
	op_done(&op);
}

static pid_t find_process(const struct site *s, int32_t vpid)
{
	return !vpid || vpid == 12 ? getpid() : -ESRCH;
}

TEST(pidfd_records)
{
	struct {
		int32_t pid;
		uint32_t flags;
	} rec = { 12, O_RDWR };
	const struct kind *k = kind_called("pidfd");

	op_init(&op, "test");
	ASSERT_TRUE(k && k->size == sizeof(rec));
	site.process = find_process;
	EXPECT_EQ(restored(k, &rec), 0);
	rec.pid = 13;
	EXPECT_EQ(restored(k, &rec), OUTCOME_IMAGE);
	rec.pid = -1;
	EXPECT_EQ(restored(k, &rec), OUTCOME_IMAGE);
	rec.pid = 0;
	EXPECT_EQ(restored(k, &rec), 0);
	rec.flags = O_RDWR | O_DIRECT;
	EXPECT_EQ(restored(k, &rec), OUTCOME_IMAGE);
	op_done(&op);
}

#define ITEM(number, events) "tfd: " number " events: " events " data: ffffffff00000007  pos:-1 ino:40e sdev:10"

TEST(epoll_as_proc_shows_it)
{
	static const char link[] = "anon_inode:[eventpoll]";
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0), watched = eventfd(0, 0);

	op_init(&op, "test");
	ASSERT_EQ(dup2(watched, 77), 77);
	ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, 77, &event), 0);
	ASSERT_EQ(dup2(epoll, 5), 5);
	EXPECT_TRUE(VERDICT(link, O_RDWR, ITEM("77", "19")) == NULL);
	EXPECT_TRUE(VERDICT(link, O_RDWR, ITEM("      77", "40000000")) == NULL);
	EXPECT_TRUE(VERDICT(link, O_RDWR, ITEM("78", "19")) == NULL); /* it runs: gone again */
	EXPECT_STREQ(VERDICT(link, O_RDWR, ITEM("77", "10")), "epoll-events");
	EXPECT_STREQ(VERDICT(link, O_RDWR, ITEM("77", "80000000")), "epoll-events");
	EXPECT_STREQ(VERDICT(link, O_RDWR, ITEM("77", "4000019")), "epoll-events");
	EXPECT_STREQ(VERDICT(link, O_RDWR, ITEM("77", "100000019")), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, ITEM("-77", "19") "x"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, ITEM("77", "19") " colour:7"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR, "napi: 7"), "fd-line");
	EXPECT_STREQ(VERDICT(link, O_RDWR | O_ASYNC, ITEM("77", "19")), "fd-async");
	tree.frozen = true;
	EXPECT_STREQ(VERDICT(link, O_RDWR, ITEM("77", "19")), "epoll-target"); /* no descriptor that was listed */
	op_done(&op);
}

/* as src/kinds/fd/epoll.c has them */
struct registration {
	uint32_t number, events;
	uint64_t data, file;
	int32_t by;
	uint32_t via;
};

static struct {
	uint32_t flags, usecs;
	uint16_t budget;
	uint8_t prefer;
	struct span items;
} epoll_rec;

/* files of the image are numbered as descriptors here */
static int find_file(const struct site *s, uint64_t id, uint32_t n)
{
	return fcntl((int)id, F_GETFD) < 0 ? -EBADF : (int)id;
}

/* an epoll with these registrations; its descriptor, or -1 and the outcome in *@ret */
static int linked(const struct kind *k, struct registration *g, size_t n, int *ret)
{
	*ret = 0;
	op.err = 0;
	op.outcome = 0;
	epoll_rec.flags = O_RDWR;
	epoll_rec.items = (struct span){ g, n, n };
	site.file = find_file;
	site.batch = NULL;
	int fd = site.here = k->restore(&op, &epoll_rec, &site);
	if (fd >= 0 && (k->link(&op, &epoll_rec, &site) < 0 || k->settle(&op, &epoll_rec, &site) < 0)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		*ret = op_outcome(&op);
	return fd < 0 ? -1 : fd;
}

TEST(epoll_records)
{
	const struct kind *k = kind_called("epoll");
	int watched = eventfd(1, 0), null = open("/dev/null", O_RDWR), said, epoll;
	struct registration g[2] = { { 60, EPOLLIN | EPOLLERR | EPOLLHUP, 7, (uint64_t)watched, 0, 0 } };
	struct epoll_event got;

	op_init(&op, "test");
	ASSERT_TRUE(k && k->size == sizeof(epoll_rec));
	ASSERT_LE(0, epoll = linked(k, g, 1, &said));
	EXPECT_EQ(epoll_wait(epoll, &got, 1, 0), 1);
	EXPECT_EQ(got.data.u64, 7);
	EXPECT_EQ(fcntl(60, F_GETFD), -1);
	close(epoll);

	g[0].number = (uint32_t)epoll; /* where the epoll itself will be */
	ASSERT_EQ(linked(k, g, 1, &said), epoll);
	EXPECT_EQ(epoll_wait(epoll, &got, 1, 0), 1);
	close(epoll);

	g[0].number = 1; /* in use here */
	EXPECT_LE(0, epoll = linked(k, g, 1, &said));
	EXPECT_EQ(fcntl(1, F_GETFD), 0);
	EXPECT_NE(proc_kcmp(getpid(), getpid(), KCMP_FILE, 1, (unsigned long)watched), 0);
	close(epoll);

	g[1] = g[0]; /* twice the same */
	EXPECT_EQ(linked(k, g, 2, &said), -1);
	EXPECT_EQ(said, OUTCOME_IMAGE);
	g[0].by = 12; /* a process that has no such epoll */
	EXPECT_EQ(linked(k, g, 1, &said), -1);
	EXPECT_EQ(said, OUTCOME_IMAGE);
	g[0].by = 0;
	g[0].events = EPOLLIN;
	EXPECT_EQ(linked(k, g, 1, &said), -1);
	EXPECT_EQ(said, OUTCOME_IMAGE);
	g[0] = (struct registration){ 60, EPOLLIN | EPOLLERR | EPOLLHUP, 7, 999, 0, 0 };
	EXPECT_EQ(linked(k, g, 1, &said), -1);
	EXPECT_EQ(said, OUTCOME_IMAGE);
	g[0].number = INT32_MAX;
	EXPECT_EQ(linked(k, g, 1, &said), -1);
	EXPECT_EQ(said, OUTCOME_IMAGE);

	EXPECT_EQ(op.notes.n, 0);
	g[0].number = 60; /* a stream that nobody can wait for */
	g[0].file = (uint64_t)null;
	EXPECT_LE(0, linked(k, g, 1, &said));
	EXPECT_EQ(op.notes.n, 1);
	op_done(&op);
}

static uint32_t events_of(int epoll)
{
	char path[64], line[256];
	unsigned int events = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "tfd: %*d events: %x", &events) == 1)
			break;
	if (f)
		fclose(f);
	return events;
}

TEST(epoll_that_has_fired)
{
	const struct kind *k = kind_called("epoll");
	uint32_t events = EPOLLONESHOT | (uint32_t)EPOLLET;
	struct registration g = { 60, events, 7, 0, 0, 0 };
	int ends[2], said, epoll, waiting = -1;

	op_init(&op, "test");
	ASSERT_EQ(pipe(ends), 0);
	g.file = (uint64_t)ends[0];
	ASSERT_LE(0, epoll = linked(k, &g, 1, &said));
	EXPECT_EQ(events_of(epoll), events);
	EXPECT_EQ(ioctl(ends[0], FIONREAD, &waiting), 0);
	EXPECT_EQ(waiting, 0);
	EXPECT_EQ(op.notes.n, 0);

	site.stdio[0] = ends[0]; /* others may read from the caller's pipe: nothing is put into it */
	ASSERT_LE(0, epoll = linked(k, &g, 1, &said));
	EXPECT_EQ(events_of(epoll), events | EPOLLERR | EPOLLHUP);
	EXPECT_EQ(op.notes.n, 1);
	op_done(&op);
}

TEST_MAIN
