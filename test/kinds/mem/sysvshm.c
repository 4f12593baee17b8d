/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "lib/witness.h"

#define PAGE 4096
#define KEY  (0x57000000 | (getpid() & 0xffffff))

#ifndef SHM_DEST
#define SHM_DEST   01000
#define SHM_LOCKED 02000
#endif

static int removed, keyed, locked;
static volatile int *all, *split, *again, *reader, *by_key, *once;
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

static void look(void)
{
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
