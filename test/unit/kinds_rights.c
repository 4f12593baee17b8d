/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * With whose rights something is opened: what is known again, what only root can have put there, and that the thread has its own rights
 * again in the end. What a restart makes of it is in test/cli/rights.bats.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kinds/goal.h"
#include "kinds/rights.h"
#include "lib/test.h"

static const struct inode one = { .dev = 1,
	.ino = 2,
	.fsid = 3,
	.mode = S_IFREG | 0640,
	.uid = 4,
	.gid = 5,
	.born_sec = 6,
	.born_nsec = 7,
	.born = INODE_BORN };

TEST(the_same)
{
	struct inode now = one;

	EXPECT_TRUE(inode_is_same(&one, &now));
	now.mode = S_IFREG | 04644; /* who may more than before is no loss */
	EXPECT_TRUE(inode_is_same(&one, &now));
	now.dev = 9; /* after a reboot */
	EXPECT_TRUE(inode_is_same(&one, &now));
	now.fsid = 9;
	EXPECT_FALSE(inode_is_same(&one, &now));
}

TEST(another)
{
	struct inode now[] = { one, one, one, one, one, one, one, one };

	now[0].ino = 9;
	now[1].born_sec = 9;
	now[2].born_nsec = 9;
	now[3].uid = 9;
	now[4].gid = 9;
	now[5].mode = S_IFREG | 0600;
	now[6].mode = S_IFDIR | 0640;
	now[7].born = INODE_CHANGED;
	for (size_t i = 0; i < ARRAY_SIZE(now); i++)
		EXPECT_FALSE(inode_is_same(&one, &now[i]));
	for (size_t i = 0; i < ARRAY_SIZE(now); i++)
		EXPECT_EQ(inode_is_alike(&one, &now[i]), i < 3 || i == 7);
}

TEST(an_older_image)
{
	const struct inode was = { .dev = 1, .ino = 2, .mode = S_IFREG };

	EXPECT_FALSE(inode_is_known(&was));
	EXPECT_FALSE(inode_is_same(&was, &was));
	EXPECT_FALSE(inode_is_alike(&was, &was));
}

TEST(a_place_of_root)
{
	struct stat st;

	if (stat("/", &st) < 0 || st.st_uid != 0)
		SKIP("the root directory is another user's");
	EXPECT_TRUE(inode_root_alone("/etc"));
	EXPECT_TRUE(inode_root_alone("/"));
	EXPECT_EQ(inode_root_alone("/etc/passwd"), access("/etc/passwd", F_OK) == 0);
	EXPECT_FALSE(inode_root_alone("/tmp/x"));
	EXPECT_FALSE(inode_root_alone("/nowhere/x"));
	EXPECT_FALSE(inode_root_alone("/proc/self/root/x")); /* a link */
	char path[600] = "/";
	memset(path + 1, 'x', 400);
	strcat(path, "/x");
	EXPECT_FALSE(inode_root_alone(path));
}

TEST(within)
{
	struct op op;
	const uint64_t all = ~0ull;
	const gid_t groups[] = { 5, 6 };
	const struct rights root = { .caps = all }, user = { .uid = 7, .gid = 8, .groups = { (void *)groups, 2, 0 } };
	struct rights want = root;

	op_init(&op, "test");
	want.groups = user.groups;
	EXPECT_TRUE(!rights_within(&op.arena, &root, &want));
	EXPECT_TRUE(!rights_within(&op.arena, &user, &root)); /* it cannot take them */
	want.caps &= ~(1ull << CAP_DAC_OVERRIDE);
	const struct rights *less = rights_within(&op.arena, &root, &want);
	ASSERT_TRUE(less != NULL);
	EXPECT_EQ(less->caps, want.caps);
	less = rights_within(&op.arena, &root, &user);
	ASSERT_TRUE(less != NULL);
	EXPECT_EQ(less->uid, 7);
	EXPECT_EQ(less->groups.n, 2);
	EXPECT_EQ(less->caps, 0);
	op_done(&op);
}

TEST(there_and_back)
{
	struct op op;
	struct rights own, now;
	const struct rights user = { .uid = 65534, .gid = 65534 }, *owner = &user;
	struct site site = { .own = &own, .owners = { &owner, 1, 0 } };
	char dir[] = "/tmp/kinds_rights.XXXXXX";
	struct stat st;
	int signal = 0;

	if (geteuid() != 0)
		SKIP("only root can take the rights of others");
	op_init(&op, "test");
	ASSERT_EQ(rights_own(&op, &own), 0);
	ASSERT_TRUE(mkdtemp(dir) != NULL); /* root's, and closed to all others */
	const char *path = arena_printf(&op.arena, "%s/f", dir);
	close(open(path, O_WRONLY | O_CREAT, 0644));
	prctl(PR_SET_PDEATHSIG, SIGURG);
	struct span slots = { 0 };
	site.slots = &slots;
	const struct inode unknown = { 0 };
	struct goal goal = { .path = path, .what = "", .flags = O_RDONLY, .was = &unknown, .stays = true };
	EXPECT_GT(0, goal_open(&op, &site, &goal, &st));
	EXPECT_STREQ(op.slug, "file-rights");
	EXPECT_EQ(rights_give_back(&op, &site), 0);
	ASSERT_EQ(rights_own(&op, &now), 0);
	EXPECT_EQ(now.uid, own.uid);
	EXPECT_EQ(now.gid, own.gid);
	EXPECT_EQ(now.caps, own.caps);
	EXPECT_EQ(now.groups.n, own.groups.n);
	prctl(PR_GET_PDEATHSIG, &signal);
	EXPECT_EQ(signal, SIGURG);
	EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
	/* what is the same is opened, however closed the way is */
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct inode was;
	ASSERT_EQ(inode_look(fd, &was), 0);
	goal.was = &was;
	_cleanup_close_ int again = goal_open(&op, &site, &goal, &st);
	EXPECT_GT(again, -1);
	unlink(path);
	rmdir(dir);
	op_done(&op);
}

TEST_MAIN
