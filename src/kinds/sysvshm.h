/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * System V shared memory: its record, and how a segment is made again under its id.
 */
#include "kinds/kind.h"

struct shmid_ds;

/** struct sysvshm - a segment */
struct sysvshm {
	uint32_t id;
	int32_t key; /* by which it was made */
	uint64_t size;
	uint32_t mode;
	uint32_t state; /* enum sysvshm_state */
	uint32_t uid, gid, cuid, cgid;
	int32_t cpid; /* who has made it, as the program counts; 0: nobody that it could see */
	int64_t ctime; /* when its owner or mode were last changed */
	uint64_t hash; /* XXH3 of its pages, if they are SYSVSHM_SMALL and nobody outside had attached it; else 0 */
	uint64_t page; /* the size of its pages, when they are huge (SHM_HUGETLB); else 0 */
	/* saving */
	const struct shmid_ds *seen; /* by the program itself; NULL: it was not asked */
	/* restarting */
	uint64_t at, at_readonly; /* where every task has inherited it */
	bool own_place; /* in namespaces made for the restart: it goes with them */
	bool left; /* it was here still, with its pages */
	int guard; /* see sysvshm_make(); -EBADF */
	struct sysvshm_turn *turn; /* of huge pages: who is getting it */
};

/** struct sysvshm_turn - a task has attached it at sysvshm.at, from where its pieces go to their places */
struct sysvshm_turn {
	const struct held *task;
	uint64_t base; /* the address of its first byte, where its pieces go */
	uint64_t done; /* bytes from there that are not at sysvshm.at any more */
};

/** SYSVSHM_SMALL - bytes that can be looked at twice; nor does it matter then that pages come into being by that */
#define SYSVSHM_SMALL 65536

enum sysvshm_state {
	SYSVSHM_DEST = 1u << 0, /* it goes with who is the last to have it */
	SYSVSHM_LOCKED = 1u << 1,
	SYSVSHM_READONLY = 1u << 2, /* some have attached it for reading only */
	SYSVSHM_OWN_NS = 1u << 3, /* of an ipc namespace that was not the one of stasis */
	SYSVSHM_STATES = (1u << 4) - 1,
};

/** enum sysvshm_missed - what a segment that was made is not as it was */
enum sysvshm_missed {
	SYSVSHM_OWNER = 1 << 0,
	SYSVSHM_CREATOR = 1 << 1,
	SYSVSHM_LOCK = 1 << 2,
	SYSVSHM_GUARDED = 1 << 3, /* nothing is missed, but there is a guard */
};

/** sysv_is_elsewhere() - is the ipc namespace of the process at @dir another than the one of @other or, with 0, of stasis? */
bool sysv_is_elsewhere(int dir, pid_t other);

/** sysvshm_is_free() - may the caller choose ids, and do nobody's segments have the id or the key of this one? */
bool sysvshm_is_free(const struct sysvshm *m);

/** sysvshm_page() - the size of its pages; PAGE_SIZE when the record makes no sense */
uint64_t sysvshm_page(const struct sysvshm *m);

/** sysvshm_pages() - how many bytes its pages are; no more than an address space can hold */
uint64_t sysvshm_pages(const struct sysvshm *m);

/** sysvshm_is_left() - is it here, as it was, and attached by nobody? Then it can be attached again */
bool sysvshm_is_left(const struct sysvshm *m);

/** sysvshm_is_taken() - has a segment here its id? */
bool sysvshm_is_taken(const struct sysvshm *m);

/**
 * sysvshm_make() - make it, or take what is left of it, and attach it at m->at and m->at_readonly; enum sysvshm_missed, or -errno
 *
 * What has no place of its own, and is not to go with who is the last to have it, would stay when the restart fails, or is killed.
 * So m->guard is a descriptor then: when the last copy of it is closed the segment is removed, unless sysvshm_keep() came before.
 */
int sysvshm_make(struct sysvshm *m);

/** sysvshm_keep() - what is guarded is to stay, or has gone: the guard is let go */
void sysvshm_keep(struct sysvshm *m);
