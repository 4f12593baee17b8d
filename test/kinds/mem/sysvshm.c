/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "lib/hugepool.h"
#include "lib/witness.h"

#define PAGE 4096
#define KEY  (0x57000000 | (getpid() & 0xffffff))

#ifndef SHM_DEST
#define SHM_DEST   01000
#define SHM_LOCKED 02000
#endif

#define POOL 10
#define INTS (HUGE / sizeof(int))

#ifndef SHM_HUGE_2MB
#define SHM_HUGE_2MB (21 << 26)
#endif

static int removed, keyed, locked, huge_id;
static volatile int *all, *split, *again, *reader, *by_key, *once;
static volatile int *huge, *huge_split, *huge_reader, *huge_moved;
static int key;
static pid_t child;

/* of a segment that nobody removes nothing is to be left behind: an outsider sees to that when this is over */
static void remove_at_end(int id)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (fork() == 0) {
			close_range(0, ~0u, 0);
			setsid();
			while (access(witness_path("end"), F_OK) < 0 && access(witness_dir, F_OK) == 0)
				witness_nap();
			shmctl(id, IPC_RMID, NULL);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* the child has inherited all, and attaches one by itself */
static void answer(void)
{
	shmdt((void *)again);
	once = shmat(removed, NULL, 0);
	once[5 * PAGE / 4] = 55;
	if (!huge)
		return;
	shmdt((void *)huge_split);
	huge[2 * INTS + 7] = 77;
}

static int write_once(void)
{
	huge[INTS] = 66;
	return 0;
}

/* of five pages one is never touched, and one only by a process that has ended; attached in pieces, and where it was moved to */
static void make_huge(void)
{
	if (geteuid() != 0 || !hugepool_have(POOL))
		return;
	huge_id = shmget(IPC_PRIVATE, 5 * HUGE - 100, IPC_CREAT | 0640 | SHM_HUGETLB | SHM_HUGE_2MB);
	huge = shmat(huge_id, NULL, 0);
	huge_split = shmat(huge_id, NULL, 0);
	huge_reader = shmat(huge_id, NULL, SHM_RDONLY);
	shmctl(huge_id, IPC_RMID, NULL);
	huge[0] = 44;
	witness_in_child(write_once);
	huge[4 * INTS] = 88;
	mprotect((char *)huge_split + HUGE, HUGE, PROT_READ);
	munmap((char *)huge_split + 2 * HUGE, HUGE);
	char *place = mmap(NULL, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	huge_moved = (int *)(((uintptr_t)place + HUGE - 1) / HUGE * HUGE);
	munmap(place, 2 * HUGE);
	mremap((char *)huge_split + 4 * HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, huge_moved);
}

static void make(void)
{
	removed = shmget(IPC_PRIVATE, 16 * PAGE, IPC_CREAT | 0600);
	key = KEY;
	keyed = shmget(key, 3 * PAGE + 100, IPC_CREAT | IPC_EXCL | 0640);
	locked = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0706);
	if (removed < 0 || keyed < 0 || locked < 0)
		exit(1);
	remove_at_end(keyed);
	all = shmat(removed, NULL, 0);
	for (int i = 0; i < 16; i += 3)
		all[i * PAGE / 4] = 1000 + i;
	split = shmat(removed, NULL, 0);
	mprotect((char *)split + 4 * PAGE, 2 * PAGE, PROT_READ);
	munmap((char *)split + 10 * PAGE, PAGE);
	again = shmat(removed, NULL, 0);
	munmap((void *)again, 2 * PAGE);
	reader = shmat(removed, NULL, SHM_RDONLY);
	shmctl(removed, IPC_RMID, NULL);
	by_key = shmat(keyed, NULL, 0);
	by_key[2 * PAGE / 4] = 7;
	int *at = shmat(locked, NULL, SHM_EXEC);
	*at = 9;
	shmctl(locked, SHM_LOCK, NULL);
	shmctl(locked, IPC_RMID, NULL);
	make_huge();
	child = witness_child(answer);
}

static int childs(const volatile int *at)
{
	return witness_int_of(child, at);
}

static void tell(int id)
{
	struct shmid_ds ds = { 0 };

	SAY(id);
	SAY(shmctl(id, IPC_STAT, &ds));
	SAY(ds.shm_perm.__key == (ds.shm_perm.mode & SHM_DEST ? 0 : key));
	SAY(ds.shm_perm.mode);
	SAY(ds.shm_perm.uid == geteuid() && ds.shm_perm.gid == getegid());
	SAY(ds.shm_perm.cuid == geteuid() && ds.shm_perm.cgid == getegid());
	SAY((long)ds.shm_segsz);
	SAY((long)ds.shm_nattch);
	SAY(ds.shm_cpid == getpid() || !ds.shm_cpid); /* whom a pid namespace does not know has the number 0 there */
}

static int detach(void)
{
	struct shmid_ds before, after;

	shmctl(huge_id, IPC_STAT, &before);
	if (shmdt((void *)huge_split) < 0)
		return -1;
	shmctl(huge_id, IPC_STAT, &after);
	return (int)(before.shm_nattch - after.shm_nattch);
}

/* what /proc says of the segments: protection, offset and name */
static void tell_maps(void)
{
	char line[512], prot[8], name[64];
	unsigned long offset;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "/SYSV") && sscanf(line, "%*s %7s %lx %*s %*s %63s", prot, &offset, name) == 3)
			witness_say("%s %lx %s\n", prot, offset, name);
	if (f)
		fclose(f);
}

static void look_huge(void)
{
	struct stat st = { 0 };
	char path[80];

	tell(huge_id);
	SAY(huge[0]);
	SAY(huge[INTS]);
	SAY(huge[2 * INTS + 7]);
	SAY(huge_split[INTS]);
	SAY(huge_reader[4 * INTS]);
	SAY(huge_moved[0]);
	SAY(childs(&huge[4 * INTS]));
	SAY(childs(huge_split));
	SAY(childs(huge_moved));
	huge[4 * INTS]++;
	SAY(childs(huge_moved) == huge[4 * INTS]);
	SAY(huge_reader[4 * INTS] == huge_moved[0]);
	huge[4 * INTS]--;
	SAY(mprotect((void *)huge_reader, HUGE, PROT_READ | PROT_WRITE));
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)huge,
		(unsigned long)huge + 5 * HUGE);
	SAY(stat(path, &st));
	SAY(st.st_blocks / (long)(HUGE / 512));
	/* pieces of an attachment are detached together, which shows in a child */
	SAY(witness_in_child(detach));
}

static void look(void)
{
	SAY(huge != NULL);
	if (huge)
		look_huge();
	tell(removed);
	tell(keyed);
	tell(locked);
	tell_maps();
	for (int i = 0; i < 16; i++) {
		SAY(all[i * PAGE / 4]);
		SAY(reader[i * PAGE / 4]);
		SAY(childs(&all[i * PAGE / 4]));
	}
	all[9 * PAGE / 4]++;
	SAY(childs(&all[9 * PAGE / 4]) == all[9 * PAGE / 4]);
	SAY(split[9 * PAGE / 4] == all[9 * PAGE / 4]);
	SAY(again[9 * PAGE / 4] == reader[9 * PAGE / 4]);
	all[9 * PAGE / 4]--;
	SAY(childs(again));
	SAY(mprotect((void *)reader, PAGE, PROT_READ | PROT_WRITE));
	SAY(by_key[2 * PAGE / 4]);
	SAY(shmget(key, 0, 0));
	SAY(shmget(key, PAGE, IPC_CREAT | IPC_EXCL | 0600));
	/* pieces of an attachment are detached together */
	int *brief = shmat(keyed, NULL, 0);
	SAY(brief[2 * PAGE / 4]);
	SAY(shmdt(brief));
}

WITNESS(make, look)
