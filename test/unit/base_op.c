/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "base/op.h"
#include "lib/test.h"

static int make_eventfd(struct op *op, unsigned int flags)
{
	WHERE(op, "fd", 7);
	return fail(op, -EINVAL, "create an eventfd with flags %#x", flags);
}

static int make_task(struct op *op)
{
	WHERE_TASK(op, 412, "python3");
	int r = make_eventfd(op, 4);
	if (r < 0)
		return fail(op, r, "make the files");
	return 0;
}

TEST(the_story_is_told_once)
{
	struct op op;

	op_init(&op, "restart");
	ASSERT_STREQ(op.verb, "restart");
	ASSERT_EQ(make_task(&op), -EINVAL);
	ASSERT_STREQ(op.story, "\"python3\" (pid 412): fd 7: create an eventfd with flags 0x4: Invalid argument");
	ASSERT_EQ(op.err, -EINVAL);
	ASSERT_EQ(op.depth, 0);
	ASSERT_EQ(fail_as(&op, OUTCOME_IMAGE, "slug", NULL, "read on"), -EBADMSG);
	ASSERT_EQ(op.err, -EINVAL);
	ASSERT_EQ(op.slug, NULL);
	ASSERT_EQ(op_outcome(&op), OUTCOME_ENVIRONMENT);
	op_done(&op);
}

TEST(places)
{
	struct op op;

	op_init(&op, "save");
	ASSERT_STREQ(op_where(&op), "");
	{
		WHERE_TASK(&op, 812, "a \"b\"\n\x1b[31m");
		WHERE(&op, "fd", -1);
		ASSERT_STREQ(op_where(&op), "\"a \\\"b\\\"\\n\\x1b[31m\" (pid 812): fd -1");
	}
	ASSERT_STREQ(op_where(&op), "");
	op_done(&op);
}

static void descend(struct op *op, int levels)
{
	WHERE(op, "level", levels);
	if (levels > 0)
		descend(op, levels - 1);
	else
		fail(op, -ENOENT, "dig");
}

TEST(more_places_than_are_kept)
{
	struct op op;

	op_init(&op, "save");
	descend(&op, 40);
	ASSERT_EQ(op.depth, 0);
	ASSERT_EQ(strncmp(op.story, "level 40: level 39: ", 20), 0);
	ASSERT_NE(strstr(op.story, ": level 25: dig: No such file or directory"), NULL);
	op_done(&op);
}

TEST(a_story_is_one_printable_line)
{
	struct op op;

	op_init(&op, "save");
	fail(&op, -ENOENT, "open '%s'", "/tmp/a\nstasis: ok\x1b[2J\xff");
	ASSERT_STREQ(op.story, "open '/tmp/a\\nstasis: ok\\x1b[2J\\xff': No such file or directory");
	op_done(&op);
}

TEST(outcomes)
{
	static const struct {
		int err;
		enum outcome outcome;
	} rows[] = {
		{ EPERM, OUTCOME_PERMISSION },
		{ EACCES, OUTCOME_PERMISSION },
		{ EBADMSG, OUTCOME_IMAGE },
		{ ENODATA, OUTCOME_IMAGE },
		{ EPROTO, OUTCOME_IMAGE },
		{ EPROTONOSUPPORT, OUTCOME_IMAGE },
		{ ETIMEDOUT, OUTCOME_TIMEOUT },
		{ EOPNOTSUPP, OUTCOME_CANNOT },
		{ EIO, OUTCOME_ENVIRONMENT },
		{ EINVAL, OUTCOME_ENVIRONMENT },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct op op;

		op_init(&op, "save");
		ASSERT_EQ(fail(&op, -rows[i].err, "try"), -rows[i].err);
		ASSERT_EQ(op_outcome(&op), rows[i].outcome);
		op_done(&op);
	}
}

TEST(fail_as_gives_outcome_slug_and_remedy)
{
	struct op op;
	char try[] = "stasis show";

	op_init(&op, "restart");
	ASSERT_EQ(fail_as(&op, OUTCOME_IMAGE, "image-cut", try, "read '%s': it ends early", "x"), -EBADMSG);
	try[0] = 'X';
	ASSERT_STREQ(op.story, "read 'x': it ends early");
	ASSERT_STREQ(op.slug, "image-cut");
	ASSERT_STREQ(op.try, "stasis show");
	ASSERT_EQ(op_outcome(&op), OUTCOME_IMAGE);
	op_done(&op);

	for (int o = OUTCOME_USAGE; o <= OUTCOME_ENVIRONMENT; o++) {
		op_init(&op, "restart");
		ASSERT_LT(fail_as(&op, (enum outcome)o, NULL, NULL, "try"), 0);
		ASSERT_EQ(op_outcome(&op), o);
		op_done(&op);
	}
}

TEST(obstacles_and_notes_are_lists)
{
	struct op op;

	op_init(&op, "save");
	for (int i = 0; i < 20; i++) {
		WHERE(&op, "fd", i);
		ASSERT_EQ(refuse(&op, "fd-unknown", NULL, "close it", "is an io_uring"), -EOPNOTSUPP);
		note(&op, "connection %d will be reset", i);
	}
	ASSERT_EQ(op.err, 0);
	ASSERT_EQ(op.obstacles.n, 20);
	ASSERT_EQ(op.notes.n, 20);
	const struct obstacle *o = op.obstacles.at;
	ASSERT_STREQ(o[9].where, "fd 9");
	ASSERT_STREQ(o[9].what, "is an io_uring");
	ASSERT_STREQ(o[9].slug, "fd-unknown");
	ASSERT_EQ(o[9].why, NULL);
	ASSERT_STREQ(o[9].try, "close it");
	const struct note *n = op.notes.at;
	ASSERT_STREQ(n[19].where, "fd 19");
	ASSERT_STREQ(n[19].what, "connection 19 will be reset");
	op_done(&op);
}

TEST(success_is_no_errno_to_fail_with)
{
	int status;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (pid == 0) {
		struct op op;

		signal(SIGABRT, SIG_DFL);
		op_init(&op, "save");
		fail(&op, 0, "do nothing");
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSIGNALED(status));
	ASSERT_EQ(WTERMSIG(status), SIGABRT);
}

TEST_MAIN
