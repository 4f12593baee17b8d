/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/map.h"
#include "lib/test.h"

TEST(an_empty_map_holds_nothing)
{
	struct map m = { 0 };

	ASSERT_EQ(map_get(&m, 0), NULL);
	ASSERT_EQ(map_get(&m, 42), NULL);
}

TEST(keys_are_found_again_whatever_they_are)
{
	static uint64_t value[5000];
	struct map m = { 0 };
	struct arena a;

	arena_init(&a);
	for (uint64_t i = 0; i < 5000; i++)
		map_set(&a, &m, i % 2 ? i : i << 44, &value[i]);
	ASSERT_EQ(m.n, 5000);
	for (uint64_t i = 0; i < 5000; i++)
		ASSERT_EQ(map_get(&m, i % 2 ? i : i << 44), &value[i]);
	ASSERT_EQ(map_get(&m, 2), NULL);
	ASSERT_EQ(map_get(&m, UINT64_MAX), NULL);
	arena_done(&a);
}

TEST(a_key_set_twice_leads_to_the_last)
{
	struct map m = { 0 };
	struct arena a;
	int x, y;

	arena_init(&a);
	map_set(&a, &m, 7, &x);
	map_set(&a, &m, 7, &y);
	ASSERT_EQ(m.n, 1);
	ASSERT_EQ(map_get(&m, 7), &y);
	arena_done(&a);
}

TEST_MAIN
