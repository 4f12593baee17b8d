/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kinds of timers refuse: what the kernel might say one day, and what an image might.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/kind.h"
#include "lib/test.h"

static struct op op;
static struct site site;
static struct thread thread;
static struct seen seen;
static struct process process, *processes[] = { &process };
static struct tree tree = { .processes = { processes, 1, 0 } };
static char dir[] = "/tmp/kinds_timers.XXXXXX";

static const struct kind *kind_named(const char *name)
{
	const struct kind *const *k = kinds;

	while (*k && strcmp((*k)->name, name) != 0)
		k++;
	return *k;
}

static void begin(void)
{
	op_init(&op, "test");
	thread = (struct thread){ .tid = 812, .vtid = 12 };
	process = (struct process){ .pid = 812, .vpid = 12, .threads = { &thread, 1, 0 }, .seen = &seen };
}

/* ---- timerfd ---- */

static struct proc_fd fd_saying(const char *const *lines, size_t n)
{
	struct proc_fd f = { .link = "anon_inode:[timerfd]", .flags = O_RDWR };

	for (size_t i = 0; i < n; i++)
		*(const char **)span_push(&op.arena, &f.extra, sizeof(char *)) = lines[i];
	return f;
}

static const char *const usual[] = {
	"clockid: 1",
	"ticks: 18446744073709551615",
	"settime flags: 03",
	"it_value: (12, 999999999)",
	"it_interval: (0, 0)",
};

/* with line @which being @line; NULL: without it */
static int check_with(size_t which, const char *line)
{
	const char *lines[ARRAY_SIZE(usual)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
		if (i != which || line)
			lines[n++] = i == which ? line : usual[i];
	struct proc_fd f = fd_saying(lines, n);
	const struct sight s = { .tree = &tree, .process = &process, .fd = &f };
	const struct kind *k = kind_named("timerfd");

	EXPECT_TRUE(k->probe(&s));
	op.err = 0;
	op.obstacles.n = 0;
	return k->check(&op, &s);
}

TEST(timerfd_says_something_new)
{
	begin();
	EXPECT_EQ(check_with(0, usual[0]), 0);
	EXPECT_EQ(op.obstacles.n, 0);
	EXPECT_EQ(check_with(0, "clockid: 2"), -EOPNOTSUPP);
	EXPECT_EQ(op.obstacles.n, 1);
	EXPECT_EQ(check_with(0, "clockid: 16"), -EOPNOTSUPP);
	EXPECT_EQ(check_with(2, "settime flags: 04"), -EOPNOTSUPP);
	EXPECT_EQ(check_with(1, "waiters: 1"), -EOPNOTSUPP);
	static const struct {
		size_t which;
		const char *line;
	} bad[] = {
		{ 0, NULL },
		{ 4, NULL },
		{ 0, "ticks: 1" },
		{ 0, "clockid: -1" },
		{ 0, "clockid: 1 " },
		{ 1, "ticks: 18446744073709551616" },
		{ 2, "settime flags: 08" },
		{ 3, "it_value: (1, 1000000000)" },
		{ 3, "it_value: (1,1)" },
		{ 3, "it_value: (99999999999, 1)" },
		{ 3, "it_value: (1, 1" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(check_with(bad[i].which, bad[i].line), -EBADMSG);
	op_done(&op);
}

static int restore_timerfd(uint32_t clock, uint32_t settime, uint64_t value)
{
	const struct kind *k = kind_named("timerfd");
	unsigned char *rec = arena_alloc(&op.arena, k->size);

	for (const struct field *f = k->fields; f->id; f++) {
		if (strcmp(f->name, "clock") == 0)
			memcpy(rec + f->offset, &clock, sizeof(clock));
		if (strcmp(f->name, "settime_flags") == 0)
			memcpy(rec + f->offset, &settime, sizeof(settime));
		if (strcmp(f->name, "value_ns") == 0)
			memcpy(rec + f->offset, &value, sizeof(value));
	}
	op.err = 0;
	int fd = k->restore(&op, rec, &site);
	if (fd < 0)
		return fd;
	int r = k->settle(&op, rec, &site);
	close(fd);
	return r;
}

TEST(timerfd_from_a_bad_image)
{
	begin();
	EXPECT_EQ(restore_timerfd(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, 5), 0);
	EXPECT_EQ(restore_timerfd(CLOCK_MONOTONIC, 0, INT64_MAX), 0);
	EXPECT_LT(restore_timerfd(CLOCK_PROCESS_CPUTIME_ID, 0, 5), 0);
	EXPECT_LT(restore_timerfd(UINT32_MAX, 0, 5), 0);
	EXPECT_LT(restore_timerfd(CLOCK_MONOTONIC, 0, UINT64_MAX), 0);
	EXPECT_LT(restore_timerfd(CLOCK_MONOTONIC, 0x80, 5), 0);
	op_done(&op);
}

/* ---- POSIX timers ---- */

static int check_timer(const char *signal, const char *notify, const char *clock)
{
	const struct sight s = { .tree = &tree, .process = &process, .thread = &thread };
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/timers", dir);
	FILE *f = fopen(path, "we");
	ASSERT_TRUE(f != NULL);
	fprintf(f, "ID: 7\nsignal: %s\nnotify: %s\nClockID: %s\n", signal, notify, clock);
	fclose(f);
	op.err = 0;
	op.obstacles.n = 0;
	return kind_named("posix_timer")->check(&op, &s);
}

TEST(posix_timer_is_refused)
{
	begin();
	ASSERT_TRUE(mkdtemp(dir) != NULL);
	process.dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	EXPECT_EQ(check_timer("14/0", "signal/pid.812", "0"), 0);
	EXPECT_EQ(check_timer("-1/0", "none/pid.812", "11"), 0);
	EXPECT_EQ(check_timer("14/0", "signal/tid.812", "-6"), 0);
	EXPECT_EQ(check_timer("14/0", "signal/tid.812", "-98"), 0); /* the CPU clock of thread 12 */
	EXPECT_EQ(check_timer("14/0", "signal/tid.812", "-102"), 0); /* of process 12 */
	EXPECT_EQ(op.obstacles.n, 0);
	EXPECT_EQ(check_timer("14/0", "signal/tid.813", "0"), -EOPNOTSUPP);
	EXPECT_EQ(check_timer("14/0", "signal/pid.812", "4"), -EOPNOTSUPP);
	EXPECT_EQ(check_timer("14/0", "signal/pid.812", "17"), -EOPNOTSUPP);
	EXPECT_EQ(check_timer("14/0", "signal/pid.812", "-5"), -EOPNOTSUPP); /* behind a descriptor */
	EXPECT_EQ(check_timer("14/0", "signal/pid.812", "-106"), -EOPNOTSUPP); /* of thread 13 */
	EXPECT_EQ(check_timer("14/0", "signal/pid.812", "-110"), -EOPNOTSUPP); /* of process 13 */
	EXPECT_EQ(check_timer("5/0", "signal/pid.812", "0"), -EOPNOTSUPP); /* SIGTRAP */
	EXPECT_EQ(check_timer("14/0", "mail/pid.812", "0"), -EOPNOTSUPP);
	EXPECT_EQ(op.obstacles.n, 1);
	EXPECT_LT(check_timer("14", "signal/pid.812", "0"), 0);
	EXPECT_EQ(op.obstacles.n, 0);

	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/timers", dir);
	EXPECT_EQ(unlink(path), 0);
	EXPECT_EQ(rmdir(dir), 0);
	close(process.dir);
	op_done(&op);
}

TEST_MAIN
