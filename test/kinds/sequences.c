/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restartable sequences, rseq(2): who has been away in the middle of one goes on at its abort handler.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/rseq.h>

#include "lib/many.h"
#include "lib/witness.h"

#define THREADS 4
#define AWAY_MS 700 /* without any turn on a processor */

enum {
	WENT_THROUGH,
	WAS_ABORTED,
	WAS_AWAY, /* and went on in the middle */
};

static uint64_t away; /* AWAY_MS, in turns of the clock of the processor */
static atomic_int seen[3];

static uint64_t turns(void)
{
	return __builtin_ia32_rdtsc();
}

static int go_through(struct rseq *area, uint64_t times)
{
	int how;

	__asm__ volatile(
		".pushsection __rseq_cs, \"aw\"\n\t"
		".balign 32\n"
		"3:	.long 0, 0\n\t"
		".quad 1f, 2f - 1f, 4f\n\t"
		".popsection\n\t"
		"leaq 3b(%%rip), %%rax\n\t"
		"movq %%rax, %[cs]\n"
		"1:	rdtsc\n\t"
		"shlq $32, %%rdx\n\t"
		"orq %%rdx, %%rax\n\t"
		"movq %%rax, %%r8\n" /* when it was here last */
		"5:	rdtsc\n\t"
		"shlq $32, %%rdx\n\t"
		"orq %%rdx, %%rax\n\t"
		"movq %%rax, %%r9\n\t"
		"subq %%r8, %%r9\n\t"
		"movq %%rax, %%r8\n\t"
		"cmpq %[away], %%r9\n\t"
		"ja 6f\n\t"
		"decq %[times]\n\t"
		"jnz 5b\n"
		"2:	movl %[through], %[how]\n\t"
		"jmp 7f\n"
		"6:	movl %[gone], %[how]\n\t"
		"jmp 7f\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t" /* ud1, as of what is no code */
		".long 0x53053053\n" /* RSEQ_SIG */
		"4:	movl %[aborted], %[how]\n"
		"7:\n"
		: [how] "=&r"(how), [times] "+r"(times), [cs] "=m"(area->rseq_cs)
		: [away] "r"(away), [through] "i"(WENT_THROUGH), [gone] "i"(WAS_AWAY), [aborted] "i"(WAS_ABORTED)
		: "rax", "rdx", "r8", "r9", "memory", "cc");
	return how;
}

static void *work(void *arg)
{
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	for (;;) {
		seen[go_through(area, 200000)]++;
		witness_nap();
	}
	return arg;
}

static void make(void)
{
	uint64_t began = turns();
	pthread_t t;

	usleep(100000);
	away = (turns() - began) * AWAY_MS / 100;
	setpriority(PRIO_PROCESS, 0, 19);
#ifdef CROWD
	be_many(100);
#endif
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t, NULL, work, NULL);
}

static void look(void)
{
	SAY(__rseq_size >= 20);
	SAY(seen[WAS_AWAY]);
}

WITNESS(make, look)
