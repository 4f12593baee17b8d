/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System V shared memory - shmget(2), shmat(2). A segment comes back under its id and its key, which are the host's, and whose
 * ids its user cannot choose. So where others have them, or the caller may not choose ids, the program gets an ipc namespace of
 * its own. A segment without a mark for removal outlives its program: what is left of one that is small, and has not changed, is taken
 * again. What has changed, or others have attached, stays as it is, and the program gets another one in a namespace of its own.
 *
 * It is attached here, once for writing and once for reading only, before the first task is made, inherited by all, and doubled
 * to its places by mremap(2) with an old size of 0. So the pieces of an attachment have one open file, by which shmdt(2) knows them.
 *
 * What is of huge pages each task attaches by itself, and moves.
 *
 * Seen:  /proc/PID/smaps, a shared mapping of "/SYSV0000002a (deleted)" with the id for an inode; IPC_STAT of shmctl(2), by the program
 *	  itself, as it may live in another ipc namespace; where a seccomp filter forbids that, SHM_STAT_ANY from outside
 * Lost:  pages that no process has attached (noted); times, and who was the last to attach or detach it; the pid of who has made it, when
 *	  another process has that, or when the program has a pid namespace but no ipc namespace of its own; that it was made with
 *	  SHM_NORESERVE; that others outside of the program have attached it as well (noted): the program has a copy. Of huge
 *	  pages (SHM_HUGETLB) those of zeros are not there any more, and who is not privileged is refused. A SIGKILL of stasis at the very end of a restart, when nothing can fail any more, can leave a segment
 *	  that is not marked for removal
 * Needs: as many huge pages, where it is of such. CONFIG_CHECKPOINT_RESTORE (kernel.shm_next_id); CAP_CHECKPOINT_RESTORE, or namespaces of its own
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "kinds/hugetlb.h"
#include "kinds/sysvshm.h"
#include "kinds/vma.h"

#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif
#ifndef SHM_DEST
#define SHM_DEST   01000 /* include/uapi/linux/shm.h */
#define SHM_LOCKED 02000
#endif

#define PAGE 4096ull

static const struct flag states[] = {
	{ SYSVSHM_DEST, "DEST" },
	{ SYSVSHM_LOCKED, "LOCKED" },
	{ SYSVSHM_READONLY, "READONLY" },
	{ SYSVSHM_OWN_NS, "OWN_NS" },
	{ 0, NULL },
};

static const struct field fields[] = {
	FIELD_U(1, struct sysvshm, id, "kern_ipc_perm.id"),
	FIELD_I(2, struct sysvshm, key, "kern_ipc_perm.key"),
	FIELD_U(3, struct sysvshm, size, "shmid_kernel.shm_segsz"),
	FIELD_U(4, struct sysvshm, mode, "kern_ipc_perm.mode"),
	FIELD_B(5, struct sysvshm, state, "kern_ipc_perm.mode", states),
	FIELD_U(6, struct sysvshm, uid, "kern_ipc_perm.uid"),
	FIELD_U(7, struct sysvshm, gid, "kern_ipc_perm.gid"),
	FIELD_U(8, struct sysvshm, cuid, "kern_ipc_perm.cuid"),
	FIELD_U(9, struct sysvshm, cgid, "kern_ipc_perm.cgid"),
	FIELD_I(10, struct sysvshm, cpid, "shmid_kernel.shm_cprid"),
	FIELD_I(11, struct sysvshm, ctime, "shmid_kernel.shm_ctim"),
	FIELD_U(12, struct sysvshm, hash, ""),
	FIELD_U(13, struct sysvshm, page, "hstate.order"),
	FIELDS_END,
};

/* ---- saving ---- */

static bool sysvshm_probe(const struct sight *s)
{
	return vma_is_sysv(s->vma);
}

static void sysvshm_key(const struct sight *s, uint64_t key[2])
{
	key[0] = (uint64_t)s->vma->major << 32 | s->vma->minor;
	key[1] = s->vma->ino;
}

/* it takes the file to see which huge pages exist: mincore(2) tells nothing but what is in a page table */
static int sysvshm_open(const struct sight *s)
{
	return vma_is_hugetlb(s->vma) ? vma_open_file(s) : -EOPNOTSUPP;
}

static int sysvshm_check(struct op *op, const struct sight *s)
{
	int r = vma_check_flags(op, s);

	if (!vma_is_hugetlb(s->vma) || s->again)
		return r;
	_cleanup_close_ int fd = sysvshm_open(s);
	if (fd == -EPERM)
		return refuse(op, "hugetlb-unreachable",
			"only with CAP_CHECKPOINT_RESTORE it can be seen which pages of it there are",
			"save it as root", "has attached System V shared memory %lu, which is of huge pages",
			(unsigned long)s->vma->ino);
	if (fd < 0)
		return refuse(op, "hugetlb-unreachable", strerror(-fd), NULL,
			"has attached System V shared memory %lu, which is of huge pages", (unsigned long)s->vma->ino);
	int size = hugetlb_check_size(op, s);
	return r < 0 ? r : size;
}

static int sysvshm_ask(struct op *op, const struct sight *s, void *rec)
{
	struct sysvshm *m = rec;
	struct shmid_ds *ds;

	struct taddr out = batch_out(s->batch, sizeof(*ds), &ds);
	const struct stub_call *call =
		BATCH_CALL(s->batch, "look at System V shared memory", SYS_shmctl, s->vma->ino, IPC_STAT, out.at);
	if (!batch_allowed(s->batch)) {
		batch_empty(s->batch);
		return 0;
	}
	int r = batch_run(s->batch);
	if (r < 0)
		return fail(op, r, "look at System V shared memory");
	m->seen = call->ret == 0 ? ds : NULL;
	return 0;
}

/* from outside pids are as we count: those of the tree are known */
static const struct shmid_ds *look_from_outside(struct op *op, const struct sight *s)
{
	struct shmid_ds *ds = arena_alloc(&op->arena, sizeof(*ds));
	struct process **p = s->tree->processes.at;
	pid_t creator = 0;

	if (sysv_is_elsewhere(s->process->dir, 0) || shmctl((int)s->vma->ino, SHM_STAT_ANY, ds) != (int)s->vma->ino)
		return NULL;
	for (size_t i = 0; i < s->tree->processes.n; i++)
		if (p[i]->pid == ds->shm_cpid)
			creator = p[i]->vpid;
	ds->shm_cpid = creator;
	return ds;
}

/* struct attached - how the program has attached a segment */
struct attached {
	uint64_t known; /* bytes from its beginning that some mapping has */
	uint64_t n; /* attachments: mappings, as mprotect(2) makes two of one */
	bool readonly;
};

/* has the process @n of the tree its memory in common with one that comes before it? */
static bool shares_memory(const struct tree *tree, size_t n)
{
	struct process *const *p = tree->processes.at;

	for (size_t i = 0; i < n; i++)
		if (p[i]->vmas.n == p[n]->vmas.n && proc_kcmp(p[i]->tid, p[n]->tid, KCMP_VM, 0, 0) == 0)
			return true;
	return false;
}

/* one round; true when more is known then */
static bool add_views(const struct sight *s, struct attached *a)
{
	struct process **p = s->tree->processes.at;
	uint64_t known = a->known;

	a->n = 0;
	for (size_t i = 0; i < s->tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;
		int again = -1; /* not looked yet */

		for (size_t k = 0; k < p[i]->vmas.n; k++) {
			if (v[k].ino != s->vma->ino || !vma_is_sysv(&v[k]))
				continue;
			again = again < 0 ? shares_memory(s->tree, i) : again;
			a->n += !again;
			a->readonly |= v[k].has_flags && !strstr(v[k].vmflags, "mw");
			if (v[k].pgoff <= a->known && v[k].pgoff + (v[k].end - v[k].start) > a->known)
				a->known = v[k].pgoff + (v[k].end - v[k].start);
		}
	}
	return a->known > known;
}

/* by a mapping that has all of them */
static uint64_t hash_pages(struct op *op, const struct sight *s, uint64_t len)
{
	struct process **p = s->tree->processes.at;

	for (size_t i = 0; len <= SYSVSHM_SMALL && i < s->tree->processes.n; i++) {
		const struct proc_vma *v = p[i]->vmas.at;

		for (size_t k = 0; k < p[i]->vmas.n; k++) {
			if (v[k].ino != s->vma->ino || !vma_is_sysv(&v[k]) || v[k].pgoff ||
				v[k].end - v[k].start != len)
				continue;
			void *pages = arena_alloc(&op->arena, len);
			if (remote_read(p[i]->tid, (struct taddr){ v[k].start }, pages, len) == 0)
				return XXH3_64bits(pages, len);
		}
	}
	return 0;
}

static int key_of(const struct proc_vma *v)
{
	return (int)strtoul(v->name + strlen("/SYSV"), NULL, 16);
}

static int sysvshm_save(struct op *op, const struct sight *s, void *rec)
{
	struct sysvshm *m = rec;
	struct attached a = { 0 };
	const struct shmid_ds *ds = m->seen ? m->seen : look_from_outside(op, s);

	m->page = vma_is_hugetlb(s->vma) ? s->vma->page_size : 0;
	/* an attachment stays when its process goes to another namespace, where the id is nobody's or another's */
	if (!ds || ds->shm_segsz + sysvshm_page(m) - 1 < s->extent || !ds->shm_segsz ||
		(!(ds->shm_perm.mode & SHM_DEST) && ds->shm_perm.__key != key_of(s->vma)))
		return refuse(op, "sysvshm", "it can be of another ipc namespace, or a seccomp filter forbids to ask",
			NULL, "has attached System V shared memory %lu, of which the kernel tells nothing",
			(unsigned long)s->vma->ino);
	while (add_views(s, &a))
		;
	if (a.n > ds->shm_nattch)
		return refuse(op, "sysvshm", "ids of different ipc namespaces cannot be told apart", NULL,
			"has attached different pieces of System V shared memory of the id %lu",
			(unsigned long)s->vma->ino);
	m->id = (uint32_t)s->vma->ino;
	m->key = key_of(s->vma);
	m->size = ds->shm_segsz;
	m->mode = ds->shm_perm.mode & 0777;
	m->state = (ds->shm_perm.mode & SHM_DEST ? SYSVSHM_DEST : 0) |
		   (ds->shm_perm.mode & SHM_LOCKED ? SYSVSHM_LOCKED : 0) | (a.readonly ? SYSVSHM_READONLY : 0) |
		   (sysv_is_elsewhere(s->process->dir, 0) ? SYSVSHM_OWN_NS : 0);
	m->uid = ds->shm_perm.uid;
	m->gid = ds->shm_perm.gid;
	m->cuid = ds->shm_perm.cuid;
	m->cgid = ds->shm_perm.cgid;
	m->cpid = ds->shm_cpid;
	m->ctime = ds->shm_ctime;
	m->hash = ds->shm_nattch > a.n || m->state & SYSVSHM_DEST ? 0 : hash_pages(op, s, sysvshm_pages(m));
	if (a.known < m->size && !m->page)
		note(op,
			"System V shared memory %u is attached only in part: what no process has attached is not in "
			"the "
			"image, and reads as zeros after a restart",
			m->id);
	if (ds->shm_nattch > a.n)
		note(op,
			"others outside of the program have attached its System V shared memory %u as well: after a "
			"restart "
			"it has a copy",
			m->id);
	return 0;
}

/* ---- restarting ---- */

static uint64_t sysvshm_room(const void *rec)
{
	const struct sysvshm *m = rec;

	return m->state & SYSVSHM_READONLY && !m->page ? 2 * sysvshm_pages(m) : sysvshm_pages(m);
}

static uint64_t sysvshm_align(const void *rec)
{
	return sysvshm_page(rec);
}

static bool sysvshm_reserve(struct op *op, const void *rec, struct site *site)
{
	const struct sysvshm *m = rec;

	(void)op;
	(void)site;
	return !(m->state & SYSVSHM_OWN_NS) && (sysvshm_is_left(m) || sysvshm_is_free(m));
}

static int sysvshm_make_place(void)
{
	return unshare(CLONE_NEWIPC) < 0 ? -errno : 0;
}

/* the segments of the image, by their ids and by their keys: more than one of each is had nowhere */
static const char ids[1], keys[1];

static bool is_twice(struct op *op, struct site *site, const void *owner, uint64_t number)
{
	int *slot = site_slot(op, site, owner, number);
	bool twice = *slot == -EEXIST;

	*slot = -EEXIST; /* no descriptor */
	return twice;
}

static bool is_unique(struct op *op, struct site *site, const struct sysvshm *m)
{
	if (is_twice(op, site, ids, m->id))
		return false;
	return m->key == IPC_PRIVATE || m->state & SYSVSHM_DEST || !is_twice(op, site, keys, (uint32_t)m->key);
}

static int sysvshm_restore(struct op *op, void *rec, struct site *site)
{
	struct sysvshm *m = rec;
	uint64_t len = sysvshm_pages(m);

	if (m->id > INT32_MAX || !m->size || len < m->size || (m->page && !hugetlb_flag(m->page)) || m->mode & ~0777u ||
		m->cpid < 0 || sysvshm_room(m) > site->stash_end.at - site->stash.at || !is_unique(op, site, m))
		return fail_as(op, OUTCOME_IMAGE, "image-sysvshm", NULL, "make System V shared memory %u of %lu bytes",
			m->id, (unsigned long)m->size);
	m->guard = -EBADF;
	m->own_place = site->own_place;
	m->at = site->stash.at;
	m->turn = arena_alloc(&op->arena, sizeof(*m->turn));
	site->stash.at += len;
	if (!(m->state & SYSVSHM_READONLY) || m->page)
		return 0;
	site->stash_end.at -= len;
	m->at_readonly = site->stash_end.at;
	return 0;
}

static int sysvshm_make_it(void *rec)
{
	return sysvshm_make(rec);
}

static int tell_failure(struct op *op, const struct sysvshm *m, int e)
{
	if (e == -EEXIST)
		return fail_as(op, OUTCOME_CANNOT, "sysvshm-taken", "try again",
			"make System V shared memory %u: another has taken its id or its key meanwhile", m->id);
	if (e == -ENOSPC)
		return fail_as(op, OUTCOME_ENVIRONMENT, "sysvshm-max", "raise kernel.shmmni or kernel.shmall",
			"make System V shared memory %u: there is too much of it", m->id);
	if (m->page && e == -EPERM)
		return fail_as(op, OUTCOME_PERMISSION, "huge-pages", "restart it as root, or see vm.hugetlb_shm_group",
			"make System V shared memory %u: the caller may not have it of huge pages", m->id);
	if (m->page && (e == -ENOMEM || e == -EINVAL || e == -ENODEV))
		return hugetlb_tell_failure(op, e, "System V shared memory", m->page);
	if (e == -ENOENT || e == -EROFS || e == -EACCES)
		return fail_as(op, OUTCOME_CANNOT, "sysvshm-id", NULL,
			"make System V shared memory %u: ids cannot be chosen here (kernel.shm_next_id: %s)", m->id,
			strerror(-e));
	return fail(op, e, "make System V shared memory %u", m->id);
}

/* at once: the guard takes its time */
static void take_back(void *rec)
{
	struct sysvshm *m = rec;

	shmctl((int)m->id, IPC_RMID, NULL);
	sysvshm_keep(m);
}

static int sysvshm_made(struct op *op, void *rec, struct site *site, int result)
{
	const struct sysvshm *m = rec;

	if (result < 0)
		return tell_failure(op, m, result);
	if (result & SYSVSHM_GUARDED)
		*(struct undoing *)span_push(&op->arena, &site->undoings, sizeof(struct undoing)) =
			(struct undoing){ take_back, rec };
	if (result & (SYSVSHM_OWNER | SYSVSHM_CREATOR))
		note(op,
			"System V shared memory %u has not the owner (user %u, group %u) or creator (%u, %u) that it "
			"had",
			m->id, m->uid, m->gid, m->cuid, m->cgid);
	if (result & SYSVSHM_LOCK)
		note(op, "System V shared memory %u was locked, and may be swapped out now", m->id);
	if (m->own_place && !(m->state & SYSVSHM_OWN_NS) && sysvshm_is_taken(m))
		note(op,
			"there is System V shared memory %u on this host still, maybe what was left of the program: it "
			"has "
			"another one now, in an ipc namespace of its own (ipcrm -m %u removes what was left)",
			m->id, m->id);
	return 0;
}

static void sysvshm_keep_it(void *rec)
{
	sysvshm_keep(rec);
}

static bool sysvshm_has_pages(const void *rec)
{
	return ((const struct sysvshm *)rec)->left;
}

/*
 * mremap(2) does not double what is of huge pages: the task attaches it anew, where it has inherited it, and it is moved from there. The
 * pieces of an attachment come from the same one.
 */
static int map_huge(struct op *op, const struct vma *v, const struct sysvshm *m, struct batch *b)
{
	struct sysvshm_turn *turn = m->turn;
	uint64_t len = v->end - v->start, base = v->start - v->pgoff;
	int r = hugetlb_check_vma(op, v, m->page);

	if (r < 0)
		return r;
	if (turn->task != b->h || turn->base != base || v->pgoff < turn->done)
		BATCH_MUST(b, "attach System V shared memory of huge pages", SYS_shmat, m->id, m->at,
			SHM_REMAP | (v->flags & VMA_MAYWRITE_OFF ? SHM_RDONLY : 0));
	*turn = (struct sysvshm_turn){ b->h, base, v->pgoff + len };
	BATCH_MUST(b, "move System V shared memory", SYS_mremap, m->at + v->pgoff, len, len,
		MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
	return 0;
}

static int sysvshm_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct sysvshm *m = rec;
	bool readonly = v->flags & VMA_MAYWRITE_OFF;
	uint64_t len = sysvshm_pages(m);
	int r = vma_check_image(
		op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE | (m->page ? 0 : VMA_HUGETLB), VMA_SHARED);

	if (r < 0)
		return r;
	if (v->pgoff > len || v->end - v->start > len - v->pgoff ||
		(readonly && (!(m->state & SYSVSHM_READONLY) || v->prot & PROT_WRITE)))
		return fail_as(op, OUTCOME_IMAGE, "image-sysvshm", NULL,
			"attach System V shared memory beyond its end, or as nobody has");
	if (m->page)
		r = map_huge(op, v, m, b);
	else
		BATCH_MUST(b, "attach System V shared memory", SYS_mremap,
			(readonly ? m->at_readonly : m->at) + v->pgoff, 0, v->end - v->start,
			MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
	if (r < 0)
		return r;
	BATCH_MUST(b, "protect System V shared memory", SYS_mprotect, v->start, v->end - v->start, v->prot);
	vma_advise(v, b);
	return 0;
}

const struct kind kind_mem_sysvshm = {
	.name = "System V shared memory",
	.tag = 0x46,
	.scope = SCOPE_MEM,
	.size = sizeof(struct sysvshm),
	.fields = fields,
	.backing_has_pages = true,
	.probe = sysvshm_probe,
	.key = sysvshm_key,
	.check = sysvshm_check,
	.ask = sysvshm_ask,
	.save = sysvshm_save,
	.open = sysvshm_open,
	.reserve = sysvshm_reserve,
	.make_place = sysvshm_make_place,
	.room = sysvshm_room,
	.align = sysvshm_align,
	.restore = sysvshm_restore,
	.make = sysvshm_make_it,
	.made = sysvshm_made,
	.keep = sysvshm_keep_it,
	.has_own_pages = sysvshm_has_pages,
	.map = sysvshm_map,
};
