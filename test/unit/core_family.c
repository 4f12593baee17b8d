/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that are well-formed and make no sense: each is refused for what it says, before anything is made.
 */
#include <errno.h>
#include <sys/mman.h>

#include <linux/sched.h>

#include "base/cleanup.h"
#include "core/rebuild.h"
#include "lib/given.h"
#include "lib/test.h"

enum {
	PARENT_MM = 10,
	CHILD_MM,
	PARENT_FDS,
	CHILD_FDS,
	PARENT,
	CHILD,
	THIRD,
	SHM,
	VDSO,
	UMASK, /* the first of the parts */
};

/* a parent of two threads with a child: to be altered before it is written */
static struct op op;
static struct restart r;
static struct task_record parent, child, third; /* the third only where it has a pid: with all that is the child's */
static struct thread_record threads[2], child_thread, third_thread;
static struct mm_record parent_mm, child_mm;
static struct fdtable_record parent_fds, child_fds;
static struct vma vmas[4];
static struct range inherit;
static struct ref ref[8];
static struct image_writer *writer;

static const struct kind *kind_named(const char *name)
{
	for (const struct kind *const *k = kinds; *k; k++)
		if (strcmp((*k)->name, name) == 0)
			return *k;
	ASSERT_TRUE(false);
	return NULL;
}

#define ARRAY(array, count) ((struct span){ (array), (count), 0 })

static void begin(void)
{
	const uint32_t anon = kind_named("anonymous memory")->tag;

	if (r.op) {
		image_close(r.image);
		op_done(&op);
	}
	op_init(&op, "restart");
	r = (struct restart){ .op = &op };
	vmas[0] = (struct vma){ .start = 0x400000, .end = 0x404000, .prot = 3, .tag = anon };
	vmas[1] = (struct vma){ .start = 0x404000, .end = 0x406000, .prot = 1, .tag = anon };
	vmas[2] = (struct vma){ .start = 0x500000, .end = 0x501000, .prot = 1, .flags = VMA_SHARED, .backing = SHM };
	vmas[2].tag = kind_named("shared memory")->tag;
	vmas[3] = (struct vma){ .start = 0x600000, .end = 0x602000, .prot = 5, .backing = VDSO };
	vmas[3].tag = kind_named("vdso")->tag;
	parent_mm = (struct mm_record){ .vmas = ARRAY(vmas, 4) };
	child_mm = (struct mm_record){ .vmas = ARRAY(vmas, 2), .inherit = ARRAY(&inherit, 1) };
	inherit = (struct range){ 0x400000, 1 };
	threads[0] = (struct thread_record){ .tid = 100 };
	threads[1] = (struct thread_record){ .tid = 101 };
	child_thread = (struct thread_record){ .tid = 200 };
	third_thread = (struct thread_record){ .tid = 300 };
	for (size_t i = 0; i < ARRAY_SIZE(ref); i++)
		ref[i].id = UMASK + i;
	parent = (struct task_record){ .pid = 100, .pgid = 100, .sid = 100, .comm = "p", .exit_signal = SIGCHLD };
	child = (struct task_record){ .pid = 200, .ppid = 100, .pgid = 100, .sid = 100, .comm = "c" };
	parent.threads = ARRAY(threads, 2);
	child.threads = ARRAY(&child_thread, 1);
	parent.parts = ARRAY(ref, 1);
	parent.mm = PARENT_MM, child.mm = CHILD_MM;
	parent.fdtable = PARENT_FDS, child.fdtable = CHILD_FDS;
	third = child;
	third.pid = 0;
	third.threads = ARRAY(&third_thread, 1);
}

static void put(uint32_t tag, uint64_t id, const struct field *fields, const void *rec)
{
	struct span wire = { 0 };

	record_encode(&op.arena, fields, rec, &wire);
	ASSERT_EQ(image_put(writer, tag, id, wire.at, wire.n), 0);
}

static void put_kind(const char *name, uint64_t id)
{
	const struct kind *k = kind_named(name);

	put(k->tag, id, k->fields, arena_alloc(&op.arena, k->size));
}

static int gather(const struct page_run *run)
{
	const struct head head = { .isa = ISA_NAME };
	static const char pages[8 * IMAGE_PAGE];
	int fd = memfd_create("image", MFD_CLOEXEC);

	ASSERT_EQ(image_create(&writer, NULL, fd, 0, NULL), 0);
	put(TAG_HEAD, 1, head_fields, &head);
	put(TAG_TASK, PARENT, task_fields, &parent);
	put(TAG_TASK, CHILD, task_fields, &child);
	if (third.pid)
		put(TAG_TASK, THIRD, task_fields, &third);
	put(TAG_MM, PARENT_MM, mm_fields, &parent_mm);
	put(TAG_MM, CHILD_MM, mm_fields, &child_mm);
	put(TAG_FDTABLE, PARENT_FDS, fdtable_fields, &parent_fds);
	put(TAG_FDTABLE, CHILD_FDS, fdtable_fields, &child_fds);
	put_kind("shared memory", SHM);
	put_kind("vdso", VDSO);
	put_kind("fs", UMASK);
	put_kind("fs", UMASK + 1);
	put_kind("comm", UMASK + 2);
	put_kind("sigaction", UMASK + 3);
	put_kind("mm flags", UMASK + 4);
	put_kind("creds", UMASK + 5);
	put_kind("rseq", UMASK + 6);
	put_kind("registers", UMASK + 7);
	if (run)
		ASSERT_EQ(given_put(writer, PARENT_MM, pages, run, 1), 0);
	ASSERT_EQ(image_commit(writer, NULL), 0);
	ASSERT_EQ(image_open(&r.image, fd, NULL), 0);
	int e = load_objects(&r);
	return e < 0 ? e : gather_family(&r);
}

static void expect_refusal(const char *words)
{
	EXPECT_EQ(gather(NULL), -EBADMSG);
	EXPECT_EQ(op_outcome(&op), OUTCOME_IMAGE);
	ASSERT_TRUE(op.story != NULL);
	EXPECT_TRUE(strstr(op.story, words) != NULL);
	begin();
}

TEST(a_family)
{
	begin();
	EXPECT_EQ(gather(NULL), 0);
	EXPECT_EQ(r.patients.n, 2);
}

TEST(no_objects)
{
	begin();
	int fd = memfd_create("image", MFD_CLOEXEC);
	ASSERT_EQ(image_create(&writer, NULL, fd, 0, NULL), 0);
	ASSERT_EQ(image_commit(writer, NULL), 0);
	ASSERT_EQ(image_open(&r.image, fd, NULL), 0);
	EXPECT_EQ(load_objects(&r), -EBADMSG);
}

TEST(ids)
{
	begin();
	child.ppid = 200;
	expect_refusal("before its parent");
	child.ppid = 101; /* a thread */
	expect_refusal("before its parent");
	child.pid = child_thread.tid = 101;
	expect_refusal("the same id");
	threads[1].tid = 100;
	expect_refusal("the same id");
	child.pid = child_thread.tid = 1;
	expect_refusal("the same id");
	threads[1].tid = 1;
	expect_refusal("the same id");
	child.pid = -5;
	expect_refusal("impossible id");
	threads[1].tid = INT32_MAX;
	expect_refusal("impossible id");
}

TEST(what_a_child_may_share)
{
	begin();
	child.mm = PARENT_MM;
	child.fdtable = PARENT_FDS;
	child.parts = ARRAY(ref, 1);
	EXPECT_EQ(gather(NULL), 0);
	EXPECT_EQ((*((struct patient **)r.patients.at + 1))->shares, CLONE_VM | CLONE_FILES | CLONE_FS);
}

TEST(what_two_children_may_share)
{
	begin();
	child.mm = third.mm = PARENT_MM;
	child.fdtable = third.fdtable = PARENT_FDS;
	third.pid = 300;
	EXPECT_EQ(gather(NULL), 0);
	begin();
	child.mm = third.mm = PARENT_MM;
	child.fdtable = third.fdtable = PARENT_FDS;
	third.pid = 300;
	third.ppid = 200; /* or a child and its child */
	EXPECT_EQ(gather(NULL), 0);
}

/* what no clone(2) gives: each case from the family as it is */
TEST(impossible_sharing)
{
	begin();
	child.mm = PARENT_MM;
	child.ppid = 0; /* no child of it */
	expect_refusal("share what they cannot share");
	child.fdtable = PARENT_FDS;
	child.ppid = 0;
	expect_refusal("share what they cannot share");
	third.pid = 300; /* two children what is not their parent's */
	expect_refusal("share what they cannot share");
	third.pid = 300;
	third.mm = PARENT_MM; /* a child of the child, which has another */
	third.ppid = 200;
	expect_refusal("share what they cannot share");
	third.pid = 300;
	third.mm = 99;
	expect_refusal("lacks memory or descriptors");
	child.mm = PARENT_FDS;
	expect_refusal("lacks memory or descriptors");
	child.fdtable = SHM;
	expect_refusal("lacks memory or descriptors");
}

TEST(what_goes_together)
{
	begin();
	parent.parts = child.parts = ARRAY(ref + 3, 1); /* signal actions, but not the memory */
	expect_refusal("a part of what goes together");
	parent.parts = child.parts = ARRAY(ref + 3, 1);
	child.mm = PARENT_MM;
	EXPECT_EQ(gather(NULL), 0);
	begin();
	parent.parts = child.parts = ARRAY(ref + 4, 1); /* what is the memory's, without it */
	expect_refusal("a part of what goes together");
	child.mm = PARENT_MM; /* and the other way round */
	child.parts = ARRAY(ref + 4, 1);
	expect_refusal("a part of what goes together");
	threads[0].parts = threads[1].parts = ARRAY(ref + 5, 1);
	expect_refusal("share what they cannot share");
	threads[0].parts = child_thread.parts = ARRAY(ref + 5, 1);
	child.mm = PARENT_MM;
	expect_refusal("share what they cannot share");
}

/* threads have comm, creds and rseq; the second is like the first */
static void make_alike(size_t first, size_t n)
{
	begin();
	threads[0].parts = ARRAY(ref + first, n);
	threads[1].like = 1;
}

TEST(a_thread_like_another)
{
	make_alike(5, 2);
	ref[4].id = UMASK + 2; /* a comm of its own */
	threads[1].parts = ARRAY(ref + 4, 1);
	ASSERT_EQ(gather(NULL), 0);
	struct patient *p = *(struct patient **)r.patients.at;
	const struct pieces *one = &p->thread_parts[0], *two = &p->thread_parts[1];
	ASSERT_EQ(one->n, 2);
	ASSERT_EQ(two->n, 3);
	EXPECT_STREQ(two->at[0].kind->name, "comm");
	EXPECT_TRUE(two->at[0].rec == two->at[0].object->rec);
	for (size_t i = 0; i < one->n; i++) {
		EXPECT_TRUE(two->at[1 + i].object == one->at[i].object);
		EXPECT_TRUE(one->at[i].rec == one->at[i].object->rec);
		EXPECT_TRUE(two->at[1 + i].rec != one->at[i].rec); /* what is kept in it is kept of one */
		EXPECT_TRUE(record_same(one->at[i].kind->fields, one->at[i].rec, two->at[1 + i].rec));
		EXPECT_TRUE(one->at[i].object->last == p);
	}
	make_alike(5, 1);
	threads[0].parts = threads[1].parts = ARRAY(ref + 5, 1); /* a record of its own, and it is the other's */
	expect_refusal("share what they cannot share");
}

TEST(a_thread_like_none_that_it_can_be_like)
{
	make_alike(7, 1); /* registers */
	expect_refusal("cannot have from another");
	make_alike(5, 1);
	threads[1].like = 2; /* itself */
	expect_refusal("cannot be like");
	threads[1].like = 3;
	expect_refusal("cannot be like");
	threads[1].like = UINT32_MAX;
	expect_refusal("cannot be like");
	threads[0].like = 1;
	expect_refusal("cannot be like");
	threads[0].like = 2; /* that comes after it */
	expect_refusal("cannot be like");
	child_thread.like = 1; /* of another process */
	expect_refusal("cannot be like");
	make_alike(2, 1);
	parent.flags = TASK_LEADER_GONE;
	expect_refusal("cannot be like");
	struct thread_record three[] = { { .tid = 100 }, { .tid = 101, .like = 1 }, { .tid = 102, .like = 2 } };
	parent.threads = ARRAY(three, 3);
	expect_refusal("cannot be like");
}

/* its session began with one that has ended: it is that one's ghost that makes it, and has nothing to give */
TEST(shared_with_a_parent_that_does_not_make_it)
{
	begin();
	child.sid = child.pgid = 400;
	EXPECT_EQ(gather(NULL), 0);
	begin();
	child.sid = child.pgid = 400;
	child.mm = PARENT_MM;
	expect_refusal("shares what only its parent could give it");
	child.sid = child.pgid = 400;
	child.parts = parent.parts; /* the directory */
	expect_refusal("shares what only its parent could give it");
}

TEST(what_belongs_to_one_only)
{
	begin();
	threads[0].parts = threads[1].parts = ARRAY(ref + 2, 1);
	expect_refusal("share what they cannot share");
	threads[0].parts = child_thread.parts = ARRAY(ref + 2, 1);
	expect_refusal("share what they cannot share");
	parent.parts = ARRAY(ref, 2);
	expect_refusal("two records of a kind");
	parent.parts = ARRAY(ref + 2, 1);
	expect_refusal("none of a task");
	child_thread.parts = ARRAY(ref, 1);
	expect_refusal("none of a task");
}

TEST(a_first_thread_that_has_ended)
{
	begin();
	parent.flags = TASK_LEADER_GONE;
	parent.exit_code = 42 << 8;
	threads[0].parts = ARRAY(ref + 2, 1);
	threads[1].parts = ARRAY(ref + 6, 1);
	EXPECT_EQ(gather(NULL), 0);
	begin();
	parent.flags = TASK_LEADER_GONE;
	threads[0].parts = ARRAY(ref + 6, 1);
	expect_refusal("only a living one");
	parent.flags = TASK_LEADER_GONE;
	parent.exit_code = SIGSYS;
	expect_refusal("impossible way");
	parent.flags = TASK_LEADER_GONE;
	parent.threads.n = 1;
	expect_refusal("impossible way");
	child.flags = TASK_LEADER_GONE | TASK_ZOMBIE;
	child.threads.n = 0;
	expect_refusal("an ended process has threads");
}

TEST(mappings)
{
	begin();
	vmas[3].start = 0x7ffffffff000, vmas[3].end = 0x800000000000; /* as vsyscall, which lies higher */
	EXPECT_EQ(gather(NULL), 0);
	begin();
	vmas[3].start = 0x7fffffffe000, vmas[3].end = 0x800000000000;
	expect_refusal("where no program can");
	vmas[1].start = 0x7fffffffe000, vmas[1].end = 0x7ffffffff000;
	expect_refusal("out of order");
	vmas[3] = vmas[2], vmas[3].start = 0x7ffffffff000, vmas[3].end = 0x800000000000;
	expect_refusal("where no program can");
	vmas[2] = vmas[3], vmas[2].start -= 0x10000, vmas[2].end -= 0x10000;
	expect_refusal("what each has once");
	vmas[2].pgoff = 1ull << 63;
	expect_refusal("end of its file");
	vmas[2].backing = VDSO;
	expect_refusal("what backs it");
}

static void expect_huge(uint64_t at, uint64_t pages, bool good)
{
	struct range huge = { at, pages };

	begin();
	parent_mm.huge = ARRAY(&huge, 1);
	if (good)
		EXPECT_EQ(gather(NULL), 0);
	else
		expect_refusal("huge pages overlap");
}

TEST(huge)
{
	expect_huge(0x400000, 512, true);
	expect_huge(0x400000, 1024, true);
	expect_huge(0x7fffff000000, 512, true); /* where nothing is: nobody will ask for it */
	expect_huge(0x401000, 512, false);
	expect_huge(0x400000, 511, false);
	expect_huge(0x400000, 0, false);
	expect_huge(0x800000000000, 512, false);
	expect_huge(0x400000, 1ull << 52, false);

	struct range two[] = { { 0x400000, 1024 }, { 0x600000, 512 } };
	begin();
	parent_mm.huge = ARRAY(two, 2);
	expect_refusal("huge pages overlap");
}

/* 0: it may be put there; else the refusal, which must be that of a bad image */
static int try_pages(uint64_t at, uint32_t pages)
{
	const struct page_run run = { at, pages, RUN_DATA };

	begin();
	EXPECT_EQ(gather(&run), 0);
	EXPECT_EQ(r.section.type, SECTION_PAGES);
	int e = check_pages(&r, *(struct patient **)r.patients.at, &r.section);
	EXPECT_TRUE(e == 0 || op_outcome(&op) == OUTCOME_IMAGE);
	return e;
}

TEST(pages)
{
	EXPECT_EQ(try_pages(0x400000, 6), 0); /* both mappings */
	EXPECT_EQ(try_pages(0x403000, 1), 0);
	EXPECT_EQ(try_pages(0x405000, 2), -EBADMSG);
	EXPECT_EQ(try_pages(0x3ff000, 2), -EBADMSG);
	EXPECT_EQ(try_pages(0x500000, 1), -EBADMSG); /* shared with others */
	EXPECT_EQ(try_pages(0x600000, 1), -EBADMSG); /* the kernel's */
	EXPECT_EQ(try_pages(0x7000000, 1), -EBADMSG); /* where the stub may be */
	EXPECT_EQ(try_pages(0xfffffffffffff000 - 0x1000, 1), -EBADMSG);
	const struct page_run run = { 0x400000, 1, RUN_INHERIT };
	begin();
	EXPECT_EQ(gather(&run), 0);
	EXPECT_EQ(check_pages(&r, *(struct patient **)r.patients.at, &r.section), -EBADMSG);
}

TEST_MAIN
