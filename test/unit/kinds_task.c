/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kinds of tasks: what the kernel could answer and no test can have it answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kinds/cbpf.h"
#include "kinds/kind.h"
#include "lib/test.h"

/* what makes a thread another than the next one; who has not been asked has the record of who was */
TEST(what_threads_have_in_common)
{
	for (const struct kind *const *k = kinds; *k; k++) {
		EXPECT_TRUE(!(*k)->common || (*k)->scope == SCOPE_THREAD);
		EXPECT_TRUE(!(*k)->alike || (*k)->common);
		EXPECT_TRUE((*k)->tag != 0x20 || !(*k)->common); /* registers */
	}
}

/* ---- filters ---- */

static uint32_t run(const struct sock_filter *code, size_t n, const struct seccomp_data *data)
{
	uint32_t ret = 0xdead;
	int r = cbpf_run(code, n, data, &ret);

	return r < 0 ? (uint32_t)-r : ret;
}

#define RUN(data, ...)                                   \
	run((const struct sock_filter[]){ __VA_ARGS__ }, \
		sizeof((const struct sock_filter[]){ __VA_ARGS__ }) / sizeof(struct sock_filter), &(data))

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))

TEST(cbpf_loads)
{
	const struct seccomp_data d = { .nr = 7, .arch = 9, .args = { 0x1122334455667788, [5] = 5 } };

	EXPECT_EQ(RUN(d, BPF_STMT(BPF_RET | BPF_K, 12)), 12);
	EXPECT_EQ(RUN(d, LOAD(nr), BPF_STMT(BPF_RET | BPF_A, 0)), 7);
	EXPECT_EQ(RUN(d, LOAD(arch), BPF_STMT(BPF_RET | BPF_A, 0)), 9);
	EXPECT_EQ(RUN(d, LOAD(args[0]), BPF_STMT(BPF_RET | BPF_A, 0)), 0x55667788);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 20), BPF_STMT(BPF_RET | BPF_A, 0)), 0x11223344);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 60), BPF_STMT(BPF_RET | BPF_A, 0)), 0);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_A, 0)), EBADMSG);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), BPF_STMT(BPF_RET | BPF_A, 0)), EBADMSG);
	EXPECT_EQ(RUN(d, LOAD(instruction_pointer), BPF_STMT(BPF_RET | BPF_A, 0)), ENODATA);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_RET | BPF_A, 0)), 64);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_LD | BPF_IMM, 3), BPF_STMT(BPF_ST, 15), BPF_STMT(BPF_LDX | BPF_MEM, 15),
			  BPF_STMT(BPF_MISC | BPF_TXA, 0), BPF_STMT(BPF_RET | BPF_A, 0)),
		3);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_ST, 16), BPF_STMT(BPF_RET | BPF_A, 0)), EBADMSG);
}

TEST(cbpf_computes)
{
	const struct seccomp_data d = { .nr = 40 };
	static const struct {
		uint16_t op;
		uint32_t k, want;
	} alu[] = { { BPF_ADD, 2, 42 }, { BPF_SUB, 41, UINT32_MAX }, { BPF_MUL, 3, 120 }, { BPF_DIV, 7, 5 },
		{ BPF_AND, 12, 8 }, { BPF_OR, 3, 43 }, { BPF_XOR, 41, 1 }, { BPF_LSH, 1, 80 }, { BPF_RSH, 3, 5 },
		{ BPF_NEG, 0, (uint32_t)-40 }, { BPF_MOD, 3, EBADMSG }, { BPF_DIV, 0, EBADMSG } };

	for (size_t i = 0; i < sizeof(alu) / sizeof(alu[0]); i++) {
		EXPECT_EQ(
			RUN(d, LOAD(nr), BPF_STMT(BPF_ALU | BPF_K | alu[i].op, alu[i].k), BPF_STMT(BPF_RET | BPF_A, 0)),
			alu[i].want);
		EXPECT_EQ(RUN(d, LOAD(nr), BPF_STMT(BPF_LDX | BPF_IMM, alu[i].k),
				  BPF_STMT(BPF_ALU | BPF_X | alu[i].op, 0), BPF_STMT(BPF_RET | BPF_A, 0)),
			alu[i].want);
	}
}

TEST(cbpf_jumps)
{
	const struct seccomp_data d = { .nr = 40 };
	static const struct {
		uint16_t op;
		uint32_t k, want;
	} jump[] = { { BPF_JEQ, 40, 1 }, { BPF_JEQ, 41, 0 }, { BPF_JGT, 39, 1 }, { BPF_JGT, 40, 0 }, { BPF_JGE, 40, 1 },
		{ BPF_JGE, 41, 0 }, { BPF_JSET, 8, 1 }, { BPF_JSET, 7, 0 }, { 0x90, 0, EBADMSG } };

	for (size_t i = 0; i < sizeof(jump) / sizeof(jump[0]); i++)
		EXPECT_EQ(RUN(d, LOAD(nr), BPF_JUMP(BPF_JMP | BPF_K | jump[i].op, jump[i].k, 1, 0),
				  BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 1)),
			jump[i].want);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_RET | BPF_K, 5), BPF_STMT(BPF_RET | BPF_K, 6)), 6);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_JMP | BPF_JA, UINT32_MAX), BPF_STMT(BPF_RET | BPF_K, 5)), EBADMSG);
	EXPECT_EQ(RUN(d, LOAD(nr)), EBADMSG);
	EXPECT_EQ(RUN(d, BPF_STMT(BPF_RET | BPF_X, 0)), EBADMSG);
	EXPECT_EQ(RUN(d, BPF_STMT(0x100 | BPF_LD | BPF_IMM, 0), BPF_STMT(BPF_RET | BPF_K, 1)), EBADMSG);
}

TEST_MAIN
