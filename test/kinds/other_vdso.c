/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The functions of the vdso, by the addresses that the program has once learned: the dynamic linker's, and its own.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "lib/witness.h"

struct params { /* struct vgetrandom_opaque_params */
	uint32_t size, prot, flags, reserved[13];
};

static struct {
	int (*gettime)(clockid_t, struct timespec *);
	int (*getres)(clockid_t, struct timespec *);
	int (*timeofday)(struct timeval *, struct timezone *);
	time_t (*time)(time_t *);
	long (*getcpu)(unsigned int *, unsigned int *, void *);
	ssize_t (*random)(void *, size_t, unsigned int, void *, size_t);
} vdso;

static unsigned long where;
static struct params params;
static void *state;

static void *function(void *so, const char *name)
{
	return so ? dlsym(so, name) : NULL;
}

static void learn(void)
{
	void *so = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);

	*(void **)&vdso.gettime = function(so, "__vdso_clock_gettime");
	*(void **)&vdso.getres = function(so, "__vdso_clock_getres");
	*(void **)&vdso.timeofday = function(so, "__vdso_gettimeofday");
	*(void **)&vdso.time = function(so, "__vdso_time");
	*(void **)&vdso.getcpu = function(so, "__vdso_getcpu");
	*(void **)&vdso.random = function(so, "__vdso_getrandom");
}

static void make(void)
{
	where = getauxval(AT_SYSINFO_EHDR);
	learn();
	if (!vdso.random || vdso.random(NULL, 0, 0, &params, ~0ul) != 0)
		return;
	state = mmap(NULL, 4096, (int)params.prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (state == MAP_FAILED)
		exit(121);
}

static unsigned int count_vdsos(void)
{
	unsigned int n = 0;
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && fgets(line, sizeof(line), f))
		n += !!strstr(line, "[vdso]");
	if (f)
		fclose(f);
	return n;
}

static int64_t ns(struct timespec ts)
{
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* a clock between two looks by system call; the coarse ones lag behind by a tick */
static bool agrees(clockid_t clock, int64_t lag)
{
	struct timespec a, b, c;
	int r = (int)syscall(SYS_clock_gettime, clock, &a);

	if (vdso.gettime(clock, &b) || r || syscall(SYS_clock_gettime, clock, &c))
		return false;
	return ns(a) - lag <= ns(b) && ns(b) <= ns(c);
}

static void *read_clocks(void *unused)
{
	static const clockid_t exact[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
		CLOCK_MONOTONIC_RAW, CLOCK_PROCESS_CPUTIME_ID };
	intptr_t wrong = 0;

	for (int turn = 0; turn < 100; turn++) {
		for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
			wrong += !agrees(exact[i], 0);
		wrong += !agrees(CLOCK_REALTIME_COARSE, 100000000) + !agrees(CLOCK_MONOTONIC_COARSE, 100000000);
	}
	return (void *)wrong;
}

static long in_a_thread(void)
{
	pthread_t t;
	void *wrong = (void *)-1;

	if (pthread_create(&t, NULL, read_clocks, NULL) == 0)
		pthread_join(t, &wrong);
	return (intptr_t)wrong;
}

static int in_a_child(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(read_clocks(NULL) ? 1 : 0);
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static bool same_resolution(void)
{
	struct timespec a = { 0 }, b = { 0 };

	return vdso.getres(CLOCK_MONOTONIC, &a) == 0 && syscall(SYS_clock_getres, CLOCK_MONOTONIC, &b) == 0 &&
	       ns(a) == ns(b);
}

/* a program that asks later must get a state that fits, or be told that there is none */
static bool asks_for_state(void)
{
	struct params p = { 0 };

	return vdso.random(NULL, 0, 0, &p, ~0ul) != 0 || p.size == params.size;
}

static void look(void)
{
	struct timespec ts;
	struct timeval tv;
	unsigned int cpu = ~0u;
	unsigned char some[64] = { 0 }, zeros[64] = { 0 };

	SAY(getauxval(AT_SYSINFO_EHDR) == where);
	SAY(memcmp((void *)where, ELFMAG, SELFMAG));
	SAY(count_vdsos());
	learn();
	SAY((intptr_t)vdso.gettime);
	SAY((intptr_t)read_clocks(NULL));
	SAY(in_a_thread());
	SAY(in_a_child());
	SAY(same_resolution());
	SAY(vdso.gettime(99, &ts) == -EINVAL);
	SAY(vdso.timeofday(&tv, NULL));
	SAY(tv.tv_sec >= time(NULL) - 1);
	SAY(vdso.time(NULL) <= tv.tv_sec + 1 && vdso.time(NULL) >= tv.tv_sec - 1);
	SAY(vdso.getcpu(&cpu, NULL, NULL));
	SAY(cpu < 4096);
	if (!state)
		return;
	SAY(vdso.random(some, sizeof(some), 0, state, params.size));
	SAY(memcmp(some, zeros, sizeof(some)) != 0);
	SAY(asks_for_state());
}

WITNESS(make, look)
