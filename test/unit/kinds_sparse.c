/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is but partly not zero, as it is stored; and the extended state of a stopped child, against the area that the kernel has of it.
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/arch.h"
#include "kinds/sparse.h"
#include "lib/test.h"

/* ---- islands ---- */

static struct arena arena;

/* what comes back of @len bytes; the islands of them */
static struct span pack(const void *whole, size_t len)
{
	static unsigned char back[4096];
	struct span islands;

	sparse_pack(&arena, whole, len, &islands);
	memset(back, 0x33, sizeof(back));
	EXPECT_EQ(sparse_unpack(&islands, back, len), 0);
	EXPECT_EQ(memcmp(back, whole, len), 0);
	EXPECT_EQ(back[len], 0x33);
	return islands;
}

TEST(islands)
{
	static unsigned char whole[4000];

	EXPECT_EQ(pack(whole, sizeof(whole)).n, 0);
	EXPECT_EQ(pack(whole, 0).n, 0);
	whole[3999] = 1;
	EXPECT_EQ(pack(whole, 4000).n, 1);
	EXPECT_EQ(pack(whole + 1, 3999).n, 1);
	EXPECT_EQ(pack(whole, 3999).n, 0);
	whole[0] = 1;
	EXPECT_EQ(pack(whole, 4000).n, 2);
	whole[80] = whole[200] = whole[208] = 1;
	const struct span islands = pack(whole, 4000);
	const struct island *island = islands.at;
	ASSERT_EQ(islands.n, 4);
	EXPECT_EQ(island[1].at, 80);
	EXPECT_EQ(island[2].at, 200);
	EXPECT_EQ(island[2].bytes.n, 16);
	EXPECT_EQ(island[3].bytes.n, 8);
	whole[140] = 1; /* so near to both that it is one */
	EXPECT_EQ(pack(whole, 4000).n, 3);
	for (size_t len = 0; len < 300; len++)
		pack(whole, len);
	memset(whole, 0, sizeof(whole));
	for (size_t at = 0; at < sizeof(whole); at += 100)
		whole[at] = 1;
	EXPECT_EQ(pack(whole, 3000).n, 30);
	EXPECT_EQ(pack(whole, 4000).n, 32);
	memset(whole, 7, sizeof(whole));
	EXPECT_EQ(pack(whole, 3997).n, 1);
	arena_done(&arena);
}

static int unpack(uint32_t at, size_t n, uint32_t next)
{
	static unsigned char bytes[100], whole[100];
	struct island two[] = { { at, { bytes, n, 0 } }, { next, { bytes, 10, 0 } } };

	return sparse_unpack(&(struct span){ two, 2, 0 }, whole, sizeof(whole));
}

TEST(islands_that_lie_elsewhere)
{
	EXPECT_EQ(unpack(0, 90, 90), 0);
	EXPECT_EQ(unpack(0, 0, 0), 0);
	EXPECT_EQ(unpack(0, 90, 91), -EBADMSG);
	EXPECT_EQ(unpack(0, 90, 89), -EBADMSG);
	EXPECT_EQ(unpack(10, 10, 0), -EBADMSG);
	EXPECT_EQ(unpack(50, 51, 90), -EBADMSG);
	EXPECT_EQ(unpack(101, 0, 90), -EBADMSG);
	EXPECT_EQ(unpack(UINT32_MAX, 1, 90), -EBADMSG);
	EXPECT_EQ(unpack(0, 10, UINT32_MAX - 5), -EBADMSG);
}

/* ---- extended state ---- */

enum {
	XMM = 160, /* where these are in the area, and the features (Intel SDM vol. 1, 13.4) */
	XCR0 = 464,
	HEADER = 512, /* the features in use */
	YMM = 576,
	YMM_END = 832,
	AVX = 4,
};

struct area {
	unsigned char at[64 << 10];
	size_t len;
};

static pid_t start(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void get(pid_t pid, struct area *ret)
{
	struct iovec io = { ret->at, sizeof(ret->at) };

	memset(ret->at, 0, sizeof(ret->at));
	ASSERT_EQ(ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &io), 0);
	ret->len = io.iov_len;
}

/* registers that hold something in each byte, of 128 bits or of 256 */
static bool fill(pid_t pid, unsigned char byte, bool wide)
{
	struct area area;

	get(pid, &area);
	struct iovec io = { area.at, area.len };
	if (wide && !(area.at[XCR0] & AVX))
		return false;
	area.at[HEADER] = wide ? 7 : 3;
	memset(area.at + XMM, byte, 256);
	if (wide)
		memset(area.at + YMM, byte, YMM_END - YMM);
	ASSERT_EQ(ptrace(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &io), 0);
	return true;
}

/* @byte: what is in all registers of one child, and comes to another one that has something else in its own */
static bool carry(unsigned char byte, bool wide)
{
	static struct area was, is;
	static unsigned char stored[64 << 10];
	struct arch_xstate own;
	struct span islands;
	struct arena a;
	size_t len;
	uint64_t missing = 0;
	pid_t from = start(), to = start();

	arena_init(&a);
	bool can = fill(from, byte, wide);
	fill(to, 0x55, true);
	get(from, &was);
	ASSERT_EQ(arch_get_xstate(from, stored, &len), 0);
	EXPECT_EQ(len, was.len);
	sparse_pack(&a, stored, len, &islands);
	memset(stored, 0x33, sizeof(stored));
	EXPECT_EQ(sparse_unpack(&islands, stored, len), 0);
	ASSERT_EQ(arch_look_at_xstate(to, &own), 0);
	EXPECT_EQ(own.len, was.len);
	EXPECT_EQ(arch_set_xstate(to, &own, &(struct span){ stored, len, 0 }, &missing), 0);
	get(to, &is);
	EXPECT_EQ(is.len, was.len);
	EXPECT_EQ(memcmp(is.at, was.at, was.len), 0);
	end(from);
	end(to);
	arena_done(&a);
	return can;
}

TEST(extended_state)
{
	carry(0xa5, false);
	carry(0, false);
	if (!carry(0xa5, true))
		SKIP("this processor has no wider registers");
	carry(0, true);
}

static int try(pid_t pid, size_t len, size_t at, unsigned char byte, uint64_t *ret_missing)
{
	static unsigned char area[(64 << 10) + 1];
	struct arch_xstate own;

	memset(area, 0, sizeof(area));
	area[at] = byte;
	ASSERT_EQ(arch_look_at_xstate(pid, &own), 0);
	return arch_set_xstate(pid, &own, &(struct span){ area, len, 0 }, ret_missing);
}

/* as an image may have it: of another processor, or nonsense */
TEST(other_areas)
{
	uint64_t missing = 0;
	pid_t pid = start();

	EXPECT_EQ(try(pid, YMM, HEADER, 1, &missing), 0);
	EXPECT_EQ(try(pid, YMM, HEADER, 3, &missing), 0);
	EXPECT_EQ(try(pid, 64 << 10, HEADER, 1, &missing), 0); /* of one with more, which are not in use */
	EXPECT_EQ(try(pid, 0, HEADER, 1, &missing), -EBADMSG);
	EXPECT_EQ(try(pid, YMM - 1, HEADER, 1, &missing), -EBADMSG);
	EXPECT_EQ(try(pid, (64 << 10) + 1, HEADER, 1, &missing), -EBADMSG);
	EXPECT_EQ(try(pid, YMM, HEADER + 8 + 7, 0x80, &missing), -EBADMSG); /* compacted */
	EXPECT_EQ(try(pid, YMM, HEADER + 7, 0x40, &missing), -EOPNOTSUPP);
	EXPECT_EQ(missing, 1ull << 62);
	end(pid);
}

TEST_MAIN
