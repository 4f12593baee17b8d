/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that keeps a pattern in its registers and never lets go, one that sleeps in the kernel, one that waits; the
 * first thread asks them how they are.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>

#include "lib/witness.h"

static volatile long mistakes, turns, sleeps, sleep_errors, waits, wait_errors;
static __thread int local;
static volatile int *spinners_local;
static int never[2];

/* sixteen registers of each kind hold what was put in; compared for ever */
static void *spin(void *arg)
{
	local = 77;
	spinners_local = &local;
	for (;;) {
		unsigned long differ;

		__asm__ volatile(
			"mov $0x1111111111111111, %%r8\n mov $0x2222222222222222, %%r9\n"
			"mov $0x3333333333333333, %%r10\n mov $0x4444444444444444, %%r11\n"
			"movq %%r8, %%xmm0\n movq %%r9, %%xmm7\n movq %%r10, %%xmm15\n fldpi\n"
			"mov $2000000, %%ecx\n 1: dec %%ecx\n jnz 1b\n xor %0, %0\n"
			"movq %%xmm0, %%rdx\n xor %%r8, %%rdx\n or %%rdx, %0\n movq %%xmm7, %%rdx\n xor %%r9, %%rdx\n"
			"or %%rdx, %0\n movq %%xmm15, %%rdx\n xor %%r10, %%rdx\n or %%rdx, %0\n"
			"mov $0x4444444444444444, %%rdx\n xor %%r11, %%rdx\n or %%rdx, %0\n"
			"fldpi\n fcomip %%st(1), %%st\n fstp %%st(0)\n je 2f\n or $1, %0\n 2:\n"
			: "=&r"(differ)
			:
			: "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm7", "xmm15", "cc", "st", "st(1)");
		mistakes += differ != 0 || local != 77;
		turns++;
	}
	return arg;
}

static void *sleeper(void *arg)
{
	for (;;) {
		if (nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL) < 0)
			sleep_errors++;
		sleeps++;
	}
	return arg;
}

static void *waiter(void *arg)
{
	struct pollfd p = { .fd = never[0], .events = POLLIN };

	for (;;) {
		if (poll(&p, 1, 250) != 0)
			wait_errors++;
		waits++;
	}
	return arg;
}

static void *reader(void *arg)
{
	char c;

	if (read(never[0], &c, 1) < 0)
		wait_errors++;
	return arg;
}

static void make(void)
{
	static void *(*const run[])(void *) = { spin, sleeper, waiter, reader };
	pthread_t t;

	if (pipe(never) < 0)
		exit(1);
	for (size_t i = 0; i < 4; i++)
		pthread_create(&t, NULL, run[i], NULL);
}

static int goes_on(volatile long *count)
{
	long before = *count;

	for (int i = 0; i < 2000 && *count == before; i++)
		witness_nap();
	return *count != before;
}

static void look(void)
{
	SAY(goes_on(&turns));
	SAY(goes_on(&sleeps));
	SAY(goes_on(&waits));
	SAY(mistakes);
	SAY(sleep_errors);
	SAY(wait_errors);
	SAY(spinners_local ? *spinners_local : -1);
}

WITNESS(make, look)
