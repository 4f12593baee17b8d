/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/births.h"
#include "lib/test.h"

/* struct family - births by name: the first is the root */
struct family {
	struct arena arena;
	struct birth b[8];
	size_t n;
	struct span all;
};

/* a process, child of number @parent of those added before; -1: top-level */
static void add(struct family *f, pid_t pid, int parent, pid_t pgid, pid_t sid)
{
	if (!f->n)
		arena_init(&f->arena);
	f->b[f->n] =
		(struct birth){ .pid = pid, .pgid = pgid, .sid = sid, .parent = parent < 0 ? NULL : &f->b[parent] };
	*(struct birth **)span_push(&f->arena, &f->all, sizeof(struct birth *)) = &f->b[f->n++];
}

static struct birth *ghost(struct family *f, size_t n)
{
	return f->n + n < f->all.n ? ((struct birth **)f->all.at)[f->n + n] : NULL;
}

TEST(a_child_born_before_setsid_is_early)
{
	struct family f = { 0 };

	add(&f, 10, -1, 5, 5); /* of a shell's session */
	add(&f, 11, 0, 11, 11);
	add(&f, 12, 1, 5, 5);
	plan_births(&f.arena, &f.all);
	ASSERT_EQ(f.all.n, 3);
	ASSERT_EQ(f.b[2].early, true);
	ASSERT_EQ(f.b[1].birth_sid, 5);
	ASSERT_EQ(f.b[1].early, false);
	ASSERT_EQ(f.b[2].joins, false); /* the group is the shell's as well */
	for (size_t i = 0; i < f.n; i++)
		ASSERT_EQ(f.b[i].problem, BIRTH_POSSIBLE);
	arena_done(&f.arena);
}

TEST(one_ghost_begins_a_session_for_all_that_it_left)
{
	struct family f = { 0 };

	add(&f, 10, -1, 10, 10);
	add(&f, 12, 0, 11, 11);
	add(&f, 13, 0, 11, 11);
	add(&f, 14, 1, 14, 11);
	plan_births(&f.arena, &f.all);
	ASSERT_EQ(f.all.n, 5);
	ASSERT_EQ(ghost(&f, 0)->pid, 11);
	ASSERT_EQ(ghost(&f, 0)->parent, &f.b[0]);
	ASSERT_EQ(f.b[1].maker, ghost(&f, 0));
	ASSERT_EQ(f.b[2].maker, ghost(&f, 0));
	ASSERT_EQ(f.b[3].maker, NULL); /* its parent is in the session */
	ASSERT_EQ(f.b[3].joins, true);
	arena_done(&f.arena);
}

TEST(a_zombie_that_began_a_session_needs_no_ghost)
{
	struct family f = { 0 };

	add(&f, 10, -1, 10, 10);
	add(&f, 11, 0, 11, 11);
	add(&f, 12, 0, 11, 11);
	f.b[1].zombie = true;
	plan_births(&f.arena, &f.all);
	ASSERT_EQ(f.all.n, 3);
	ASSERT_EQ(f.b[2].maker, &f.b[1]);
	arena_done(&f.arena);
}

TEST(a_group_whose_first_has_ended_gets_a_ghost_in_its_session)
{
	struct family f = { 0 };

	add(&f, 10, -1, 10, 10);
	add(&f, 12, 0, 11, 10);
	add(&f, 13, 0, 11, 10);
	plan_births(&f.arena, &f.all);
	ASSERT_EQ(f.all.n, 4);
	ASSERT_EQ(ghost(&f, 0)->pid, 11);
	ASSERT_EQ(ghost(&f, 0)->parent, &f.b[1]);
	ASSERT_EQ(ghost(&f, 0)->joins, true);
	ASSERT_EQ(f.b[2].joins, true);
	arena_done(&f.arena);
}

TEST(a_group_of_zombies_has_a_ghost_by_their_parent)
{
	struct family f = { 0 };

	add(&f, 10, -1, 10, 10);
	add(&f, 12, 0, 11, 10);
	add(&f, 13, 0, 11, 10);
	f.b[1].zombie = f.b[2].zombie = true;
	plan_births(&f.arena, &f.all);
	ASSERT_EQ(ghost(&f, 0)->pid, 11);
	ASSERT_EQ(ghost(&f, 0)->parent, &f.b[0]);
	ASSERT_EQ(f.b[1].joins, true);
	ASSERT_EQ(f.b[2].joins, true);
	arena_done(&f.arena);
}

TEST(what_no_kernel_would_have_made_is_a_problem)
{
	struct family f = { 0 };

	add(&f, 10, -1, 10, 10);
	add(&f, 11, 0, 11, 11);
	add(&f, 12, 0, 11, 11); /* its session's first process lives, and is its sibling */
	add(&f, 13, 0, 14, 10);
	add(&f, 15, 1, 14, 11); /* one group in two sessions */
	add(&f, 16, 3, 99, 98); /* two parents of what one ghost would have to make */
	add(&f, 17, 0, 99, 98);
	plan_births(&f.arena, &f.all);
	ASSERT_EQ(f.b[2].problem, BIRTH_NO_SESSION);
	ASSERT_EQ(f.b[4].problem, BIRTH_NO_GROUP);
	ASSERT_EQ(f.b[5].problem == BIRTH_NO_SESSION || f.b[6].problem == BIRTH_NO_SESSION, true);
	arena_done(&f.arena);
}

TEST_MAIN
