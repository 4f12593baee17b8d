/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of tasks and of memory that make no sense: a bad image, told before any call is made of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kinds/sysvshm.h"
#include "kinds/tmpfs.h"
#include "kinds/vma.h"
#include "lib/test.h"

static struct op op;
static struct room room = { .mem = -EBADF };
static struct held nobody;
static struct batch batch;
static struct span slots;
static struct site site;

static const struct kind *begin(const char *name, void **ret_rec)
{
	op_init(&op, "test");
	batch_init(&batch, &op.arena, &room, &nobody);
	slots = (struct span){ 0 };
	site = (struct site){ .batch = &batch, .slots = &slots, .pid = getpid(), .tid = getpid() };
	for (const struct kind *const *k = kinds; *k; k++)
		if (strcmp((*k)->name, name) == 0) {
			*ret_rec = arena_alloc(&op.arena, (*k)->size);
			return *k;
		}
	ASSERT_TRUE(false);
	return NULL;
}

/* "mode", or "inode.mode" */
static bool is_called(const struct field *f, const char *name)
{
	const char *dot = strrchr(f->name, '.');

	return strcmp(dot ? dot + 1 : f->name, name) == 0;
}

static void *member(const struct kind *k, void *rec, const char *name)
{
	const struct field *f = k->fields;

	while (f->type != FIELD_END && !is_called(f, name))
		f++;
	ASSERT_TRUE(f->type != FIELD_END);
	return (char *)rec + f->offset;
}

static void expect_bad(int e)
{
	EXPECT_GT(0, e);
	EXPECT_EQ(op_outcome(&op), OUTCOME_IMAGE);
	EXPECT_TRUE(op.story != NULL);
	EXPECT_EQ(batch.n, 0);
	op_done(&op);
}

/* a record whose one number is senseless */
static void expect_bad_number(const char *kind, const char *name, uint64_t value)
{
	void *rec;
	const struct kind *k = begin(kind, &rec);
	int (*last)(struct op *, void *, struct site *) = k->settle ? k->settle : k->restore;

	memcpy(member(k, rec, name), &value, sizeof(uint32_t));
	expect_bad(last(&op, rec, &site));
}

TEST(numbers)
{
	expect_bad_number("creds", "ruid", UINT32_MAX);
	expect_bad_number("creds", "fsgid", UINT32_MAX);
	expect_bad_number("sched", "policy", 8);
	expect_bad_number("sched", "nice", 20);
	expect_bad_number("sched", "priority", 100);
	expect_bad_number("state", "oom_score_adj", 1001);
	expect_bad_number("rseq", "pointer", 8);
	expect_bad_number("rseq", "pointer", 4096); /* without a size */
	expect_bad_number("robust_list", "head", 4096); /* the same */
	expect_bad_number("sigaltstack", "sp", 4096); /* the same */
}

TEST(layout)
{
	static const char *const names[] = { "start_code", "end_code", "start_data", "end_data", "start_brk", "brk",
		"start_stack", "arg_start", "arg_end", "env_start", "env_end" };
	const char *exe = "/proc/self/exe";
	void *rec;

	for (size_t odd = 0; odd <= sizeof(names) / sizeof(names[0]); odd++) {
		const struct kind *k = begin("memory layout", &rec);
		uint64_t at = 0x400000;

		memcpy(member(k, rec, "exe"), &exe, sizeof(exe));
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++, at += 4096) {
			uint64_t value = i == odd ? (odd & 1 ? 0 : 0x7ffffffff000) : at;
			memcpy(member(k, rec, names[i]), &value, sizeof(value));
		}
		if (odd < sizeof(names) / sizeof(names[0])) {
			expect_bad(k->restore(&op, rec, &site));
			continue;
		}
		EXPECT_EQ(k->restore(&op, rec, &site), 0);
		op_done(&op);
	}
}

TEST(guards)
{
	uint64_t runs[][2] = { { 4096, 4096 }, { 8192, 4096 }, { 4097, 8192 }, { 4096, 8193 } };
	void *rec;

	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		const struct kind *k = begin("guard pages", &rec);
		const struct field *f = k->fields;
		char *run = arena_alloc(&op.arena, f->sub_size);
		const struct span all = { run, 1, 0 };

		memcpy(run + f->sub[0].offset, &runs[i][0], 8);
		memcpy(run + f->sub[1].offset, &runs[i][1], 8);
		memcpy((char *)rec + f->offset, &all, sizeof(all));
		expect_bad(k->link(&op, rec, &site));
	}
}

/* an element of the array @name of a record, of four numbers */
static const struct kind *begin_range(const char *kind, const char *name, const uint64_t number[4], void **ret_rec)
{
	const struct kind *k = begin(kind, ret_rec);
	const struct field *f = k->fields;

	while (strcmp(f->name, name) != 0)
		f++;
	char *element = arena_alloc(&op.arena, f->sub_size);
	for (size_t i = 0; i < 4; i++)
		memcpy(element + f->sub[i].offset, &number[i], f->sub[i].size);
	const struct span all = { element, 1, 0 };
	memcpy(member(k, *ret_rec, name), &all, sizeof(all));
	return k;
}

TEST(protection_keys)
{
	static const uint64_t ranges[][4] = { { 4096, 4096, 3, 1 }, { 4096, 8192, 8, 1 }, { 4096, 8192, 3, 0 },
		{ 4096, 8192, 3, 2 }, { 4096, 8192, 3, 16 }, { 4096, 8192, 3, 33 } };
	const uint32_t first = 2;
	void *rec;

	expect_bad_number("protection keys", "allocated", 1);
	expect_bad_number("protection keys", "allocated", 0x10000);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		const struct kind *k = begin_range("protection keys", "ranges", ranges[i], &rec);

		memcpy(member(k, rec, "allocated"), &first, sizeof(first));
		expect_bad(k->link(&op, rec, &site));
	}
}

TEST(memory_policies)
{
	static const uint64_t policies[][4] = { { 8192, 8192, 2, 0 }, { 4096, UINT64_MAX, 2, 0 },
		{ 4096, 8192, 7, 0 } };
	void *rec;

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		const struct kind *k = begin_range("memory policies", "policies", policies[i], &rec);

		expect_bad(k->restore(&op, rec, &site));
	}
}

TEST(aio_contexts)
{
	static const size_t lengths[] = { 31, 33, 4 * 32, 5 * 32 };
	static char events[5 * 32];
	const uint32_t nr = 4;
	void *rec;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		const struct kind *k = begin("AIO context", &rec);
		const struct span all = { events, lengths[i], 0 };

		memcpy(member(k, rec, "nr"), &nr, sizeof(nr));
		memcpy(member(k, rec, "events"), &all, sizeof(all));
		expect_bad(k->restore(&op, rec, &site));
	}
}

TEST(mappings_of_memory)
{
	static const struct vma odd[] = {
		{ .start = 1 << 21, .end = 1 << 22, .tag = 0x48 }, /* of no size */
		{ .start = 1 << 21, .end = 1 << 22, .tag = 0x48, .flags = VMA_HUGETLB },
		{ .start = 1 << 21, .end = 1 << 22, .tag = 0x48, .flags = VMA_HUGETLB_1G },
		{ .start = 4096, .end = 1 << 22, .tag = 0x48, .flags = VMA_HUGETLB_2M },
		{ .start = 1 << 21, .end = 1 << 22, .tag = 0x48, .flags = VMA_HUGETLB_2M | VMA_SHARED },
		{ .start = 4096, .end = 8192, .tag = 0x40, .flags = VMA_HUGETLB_2M },
		{ .start = 4096, .end = 8192, .tag = 0x40, .flags = VMA_DROPPABLE | VMA_GROWSDOWN },
		{ .start = 4096, .end = 8192, .tag = 0x47, .flags = VMA_SHARED }, /* its ring has another size */
	};
	static const char *const names[] = { "[]", "a\\", "\t", "$", "\x7f",
		"of eighty characters, which is one more than the kernel takes, and so it is not a name" };
	void *rec;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		const struct kind *k = begin(kind_by_tag(odd[i].tag)->name, &rec);

		expect_bad(k->map(&op, &odd[i], rec, -1, &batch));
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct vma named = { .start = 4096, .end = 8192, .tag = 0x40, .name = names[i] };

		begin("anonymous memory", &rec);
		expect_bad(vma_finish(&op, &named, &batch));
	}
}

TEST(directory_beyond_all_ends)
{
	const char *path = "/";
	uint64_t pos = UINT64_MAX;
	void *rec;
	const struct kind *k = begin("directory", &rec);

	memcpy(member(k, rec, "path"), &path, sizeof(path));
	memcpy(member(k, rec, "pos"), &pos, sizeof(pos));
	expect_bad(k->restore(&op, rec, &site));
}

TEST(paths_without_end)
{
	void *rec;
	const struct kind *k = begin("fs", &rec);
	char *path = arena_alloc(&op.arena, 1 << 20);

	memset(path, '/', (1 << 20) - 1);
	memcpy(member(k, rec, "cwd"), &path, sizeof(path));
	memcpy(member(k, rec, "root"), &path, sizeof(path));
	expect_bad(k->settle(&op, rec, &site));
}

static void expect_bad_vma(const char *kind, uint32_t flags, uint32_t prot)
{
	void *rec;
	const struct kind *k = begin(kind, &rec);
	const struct vma v = { .start = 0x400000, .end = 0x401000, .flags = flags, .prot = prot };

	if (strcmp(kind, "shared memory") == 0)
		*(uint64_t *)member(k, rec, "size") = 4096;
	expect_bad(k->map(&op, &v, rec, -EBADF, &batch));
}

TEST(mappings)
{
	expect_bad_vma("anonymous memory", VMA_SHARED, PROT_READ);
	expect_bad_vma("shared memory", 0, PROT_READ);
	expect_bad_vma("shared memory", VMA_SHARED | VMA_GROWSDOWN, PROT_READ);
	expect_bad_vma("mapped file", VMA_GROWSDOWN, PROT_READ);
	expect_bad_vma("mapped file", VMA_WIPEONFORK, PROT_READ);
	expect_bad_vma("mapped file", VMA_SHARED, PROT_READ | PROT_WRITE); /* it was open for reading */
}

/* or nothing: the path leads elsewhere now, which is told before it is opened */
TEST(mapped_file_is_a_fifo)
{
	char dir[] = "/tmp/kinds_odd.XXXXXX", path[64];
	const char *name = path;
	void *rec;

	ASSERT_TRUE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/f", dir);
	ASSERT_EQ(mkfifo(path, 0600), 0);
	const struct kind *k = begin("mapped file", &rec);
	memcpy(member(k, rec, "path"), &name, sizeof(name));
	EXPECT_GT(0, k->restore(&op, rec, &site));
	EXPECT_STREQ(op.slug, "file-changed");
	ASSERT_EQ(unlink(path), 0);
	op_done(&op);
	k = begin("mapped file", &rec);
	memcpy(member(k, rec, "path"), &name, sizeof(name));
	EXPECT_GT(0, k->restore(&op, rec, &site));
	EXPECT_STREQ(op.slug, "file-missing");
	EXPECT_EQ(op_outcome(&op), OUTCOME_CANNOT);
	ASSERT_EQ(rmdir(dir), 0);
}

static struct sysvshm *segment(const struct kind **k, const struct sysvshm *to)
{
	void *rec;

	*k = begin("System V shared memory", &rec);
	site.stash = (struct taddr){ 1ull << 40 };
	site.stash_end = (struct taddr){ (1ull << 40) + (1 << 20) };
	*(struct sysvshm *)rec = *to;
	return rec;
}

static void expect_bad_segment(struct sysvshm m)
{
	const struct kind *k;
	struct sysvshm *rec = segment(&k, &m);

	k->room(rec);
	expect_bad(k->restore(&op, rec, &site));
}

static void expect_bad_attachment(const struct sysvshm *m, struct vma v)
{
	const struct kind *k;
	struct sysvshm *rec = segment(&k, m);

	EXPECT_EQ(k->restore(&op, rec, &site), 0);
	expect_bad(k->map(&op, &v, rec, -EBADF, &batch));
}

TEST(segments)
{
	const struct sysvshm good = { .id = 7, .size = 5000, .mode = 0600 };
	const struct kind *k;
	struct sysvshm m = good;

	expect_bad_segment((struct sysvshm){ .id = 7, .mode = 0600 });
	expect_bad_segment((struct sysvshm){ .id = 1u << 31, .size = 5000, .mode = 0600 });
	expect_bad_segment((struct sysvshm){ .id = 7, .size = 5000, .mode = 01600 });
	expect_bad_segment((struct sysvshm){ .id = 7, .size = 5000, .cpid = -1 });
	expect_bad_segment((struct sysvshm){ .size = UINT64_MAX });
	expect_bad_segment((struct sysvshm){ .size = (1 << 20) + 1 });
	expect_bad_segment((struct sysvshm){ .size = 1 << 20, .state = SYSVSHM_READONLY });
	expect_bad_segment((struct sysvshm){ .size = 5000, .page = 3 });
	expect_bad_segment((struct sysvshm){ .size = 5000, .page = 4096 });
	expect_bad_segment(
		(struct sysvshm){ .size = 5000, .page = 2 << 20 }); /* one page, and there is not so much room */
	expect_bad_attachment(&good, (struct vma){ .start = 8192, .end = 16384, .flags = 0 });
	expect_bad_attachment(&good, (struct vma){ .start = 8192, .end = 12288 + 8192, .flags = VMA_SHARED });
	expect_bad_attachment(&good, (struct vma){ .start = 8192, .end = 12288, .pgoff = 8192, .flags = VMA_SHARED });
	expect_bad_attachment(
		&good, (struct vma){ .start = 8192, .end = 12288, .pgoff = -4096ull, .flags = VMA_SHARED });
	expect_bad_attachment(&good, (struct vma){ .end = 4096, .flags = VMA_SHARED | VMA_MAYWRITE_OFF });
	expect_bad_attachment(&good, (struct vma){ .end = 4096, .flags = VMA_SHARED | VMA_HUGETLB_2M });

	m.page = 2 << 20;
	struct sysvshm *rec = segment(&k, &m);
	EXPECT_EQ(k->room(rec), 2 << 20);
	EXPECT_EQ(k->align(rec), 2 << 20);
	op_done(&op);
	m.page = 0;
	m.state = SYSVSHM_READONLY;
	rec = segment(&k, &m);
	EXPECT_EQ(k->room(rec), 4 * 4096);
	EXPECT_EQ(k->restore(&op, rec, &site), 0);
	EXPECT_EQ(rec->at, 1ull << 40);
	EXPECT_EQ(site.stash.at, (1ull << 40) + 8192);
	EXPECT_EQ(rec->at_readonly, (1ull << 40) + (1 << 20) - 8192);
	EXPECT_EQ(site.stash_end.at, rec->at_readonly);
	expect_bad(k->restore(&op, rec, &site)); /* again */
}

static const struct kind *begin_huge(uint64_t size, uint64_t page, void **ret_rec)
{
	const struct kind *k = begin("shared huge pages", ret_rec);

	memcpy(member(k, *ret_rec, "size"), &size, sizeof(size));
	memcpy(member(k, *ret_rec, "page"), &page, sizeof(page));
	return k;
}

TEST(shared_huge_pages)
{
	const uint64_t huge = 2 << 20;
	const uint64_t odd[][2] = { { 0, huge }, { huge, 0 }, { 4096, 4096 }, { huge, 3 }, { huge + 4096, huge },
		{ 1ull << 63, huge }, { huge, 1 << 30 } };
	const struct vma vmas[] = {
		{ .end = huge, .flags = VMA_SHARED },
		{ .end = huge, .flags = VMA_SHARED | VMA_HUGETLB_1G },
		{ .end = huge, .flags = VMA_HUGETLB_2M },
		{ .end = huge, .flags = VMA_SHARED | VMA_HUGETLB_2M | VMA_MAYWRITE_OFF },
		{ .end = huge + 4096, .flags = VMA_SHARED | VMA_HUGETLB_2M },
		{ .end = huge, .pgoff = 4096, .flags = VMA_SHARED | VMA_HUGETLB_2M },
		{ .end = 3 * huge, .flags = VMA_SHARED | VMA_HUGETLB_2M },
		{ .end = huge, .pgoff = 2 * huge, .flags = VMA_SHARED | VMA_HUGETLB_2M },
		{ .end = huge, .pgoff = -huge, .flags = VMA_SHARED | VMA_HUGETLB_2M },
	};
	static char page[4096];
	void *rec;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		expect_bad(begin_huge(odd[i][0], odd[i][1], &rec)->restore(&op, rec, &site));
	for (size_t i = 0; i < sizeof(vmas) / sizeof(vmas[0]); i++) {
		const struct kind *k = begin_huge(2 * huge, huge, &rec);
		expect_bad(k->map(&op, &vmas[i], rec, -EBADF, &batch));
	}
	const struct kind *k = begin_huge(2 * huge, huge, &rec);
	EXPECT_EQ(k->fill(&op, rec, -EBADF, 2 * huge, page, 4096), 0); /* beyond its end */
	op_done(&op);
}

static const struct kind *begin_memfd(const char *text, uint64_t size, void **ret_rec)
{
	const struct kind *k = begin("memfd memory", ret_rec);

	memcpy(member(k, *ret_rec, "name"), &text, sizeof(text));
	memcpy(member(k, *ret_rec, "size"), &size, sizeof(size));
	*(uint32_t *)member(k, *ret_rec, "mode") = 0600;
	return k;
}

TEST(memfds)
{
	static const struct {
		const char *name;
		uint64_t value;
	} numbers[] = { { "size", 1ull << 63 }, { "size", UINT64_MAX }, { "mode", 010000 },
		{ "mtime_nsec", 1000000000 }, { "huge", 3 << 20 }, { "huge", 4096 }, { "huge", 1ull << 63 },
		{ "huge", 2 << 20 } };
	char name[251];
	void *rec;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const struct kind *k = begin_memfd("x", 5, &rec);
		memcpy(member(k, rec, numbers[i].name), &numbers[i].value, strcmp(numbers[i].name, "mode") ? 8 : 4);
		expect_bad(k->restore(&op, rec, &site));
	}
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	expect_bad(begin_memfd(name, 5, &rec)->restore(&op, rec, &site));
	expect_bad(begin_memfd(NULL, 5, &rec)->restore(&op, rec, &site));
	const struct kind *k = begin_memfd("x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_WIPEONFORK }, rec, -EBADF, &batch));
	k = begin_memfd("x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_SHARED | VMA_MAYWRITE_OFF, .prot = PROT_WRITE },
		rec, -EBADF, &batch));
}

TEST(memfds_of_huge_pages)
{
	const uint64_t huge = 2 << 20;
	const struct vma vmas[] = {
		{ .end = huge },
		{ .end = huge, .flags = VMA_HUGETLB_1G },
		{ .end = huge, .flags = VMA_HUGETLB },
		{ .end = 4096, .flags = VMA_HUGETLB_2M },
		{ .end = 4096, .flags = VMA_SHARED },
		{ .end = huge, .pgoff = 4096, .flags = VMA_SHARED },
		{ .end = huge, .flags = VMA_SHARED | VMA_HUGETLB_1G },
	};
	void *rec;

	for (size_t i = 0; i < sizeof(vmas) / sizeof(vmas[0]); i++) {
		const struct kind *k = begin_memfd("x", 2 * huge, &rec);
		memcpy(member(k, rec, "huge"), &huge, sizeof(huge));
		expect_bad(k->map(&op, &vmas[i], rec, -EBADF, &batch));
	}
	const struct kind *k = begin_memfd("x", 2 * huge, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = huge, .flags = VMA_HUGETLB_2M }, rec, -EBADF, &batch));
}

TEST(memfds_that_are_filled_and_sealed)
{
	const uint64_t beyond[][2] = { { 4096, 4096 }, { 0, 8192 }, { 1ull << 40, 4096 }, { UINT64_MAX - 4095, 4096 } };
	static char page[8192] = "abcde";
	void *rec;

	for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
		const struct kind *k = begin_memfd("x", 5, &rec);
		int fd = k->restore(&op, rec, &site);
		ASSERT_LE(0, fd);
		/* it may have been made longer while it was saved: that is not of it */
		EXPECT_EQ(k->fill(&op, rec, fd, beyond[i][0], page, beyond[i][1]), 0);
		EXPECT_EQ(lseek(fd, 0, SEEK_END), 5);
		op_done(&op);
		close(fd);
	}
	const struct kind *k = begin_memfd("x", 5, &rec);
	*(uint32_t *)member(k, rec, "seals") = F_SEAL_WRITE;
	int fd = k->restore(&op, rec, &site);
	ASSERT_LE(0, fd);
	EXPECT_EQ(k->fill(&op, rec, fd, 0, page, 4096), 0);
	void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT_STREQ(mapped, "abcde");
	EXPECT_EQ(lseek(fd, 0, SEEK_END), 5);
	EXPECT_GT(0, k->settle(&op, rec, &site)); /* it is sealed, and mapped to be written to */
	EXPECT_EQ(op_outcome(&op), OUTCOME_IMAGE);
	op.err = 0;
	munmap(mapped, 4096);
	EXPECT_EQ(k->settle(&op, rec, &site), 0);
	EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_WRITE);
	op_done(&op);
	close(fd);
}

static const struct kind *begin_path(const char *kind, const char *path, uint64_t size, void **ret_rec)
{
	const struct kind *k = begin(kind, ret_rec);

	memcpy(member(k, *ret_rec, "path"), &path, sizeof(path));
	memcpy(member(k, *ret_rec, "size"), &size, sizeof(size));
	*(uint32_t *)member(k, *ret_rec, "mode") = 0640;
	return k;
}

static const struct kind *begin_deleted(const char *path, uint64_t size, void **ret_rec)
{
	return begin_path("deleted file", path, size, ret_rec);
}

static const struct kind *begin_tmpfs(const char *path, uint64_t size, void **ret_rec)
{
	return begin_path("file in memory", path, size, ret_rec);
}

TEST(files_in_memory)
{
	static const struct {
		const char *name;
		uint64_t value;
	} numbers[] = { { "size", 1ull << 63 }, { "size", UINT64_MAX }, { "size", INT64_MAX }, { "mode", 010000 },
		{ "mtime_nsec", 1000000000 } };
	struct tmpfs_dir dirs[] = { { .path = NULL }, { .path = "" }, { .path = "/elsewhere" }, { .path = "/nowhere/" },
		{ .path = "/now" }, { .path = "/nowhere/a/x" }, { .path = "/nowhere/a/x/y" },
		{ .path = "/nowhere", .mode = 010000 } };
	char name[5000] = "/";
	void *rec;

	expect_bad(begin_tmpfs(NULL, 5, &rec)->restore(&op, rec, &site));
	expect_bad(begin_tmpfs("", 5, &rec)->restore(&op, rec, &site));
	expect_bad(begin_tmpfs("x", 5, &rec)->restore(&op, rec, &site));
	memset(name + 1, 'x', sizeof(name) - 2);
	expect_bad(begin_tmpfs(name, 5, &rec)->restore(&op, rec, &site));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const struct kind *k = begin_tmpfs("/nowhere/x", 5, &rec);
		memcpy(member(k, rec, numbers[i].name), &numbers[i].value, strcmp(numbers[i].name, "mode") ? 8 : 4);
		expect_bad(k->restore(&op, rec, &site));
	}
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		const struct kind *k = begin_tmpfs("/nowhere/a/x", 5, &rec);
		*(struct span *)member(k, rec, "dirs") = (struct span){ &dirs[i], 1 };
		expect_bad(k->restore(&op, rec, &site));
	}
	const struct kind *k = begin_tmpfs("/nowhere/x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_WIPEONFORK }, rec, -EBADF, &batch));
	k = begin_tmpfs("/nowhere/x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_SHARED }, rec, -EBADF, &batch));
	k = begin_tmpfs("/nowhere/x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_SHARED | VMA_MAYWRITE_OFF, .prot = PROT_WRITE },
		rec, -EBADF, &batch));
}

/* one that is made is filled, and no further than it goes; one that is there is not */
TEST(files_in_memory_that_are_filled)
{
	char dir[] = "/tmp/kinds_odd.XXXXXX", path[64], text[8] = "";
	static char page[8192] = "abcde";
	struct stat st;
	void *rec;

	ASSERT_TRUE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/x", dir);
	const struct kind *k = begin_tmpfs(path, 5, &rec);
	int fd = k->restore(&op, rec, &site);
	ASSERT_LE(0, fd);
	EXPECT_EQ(site.made_files.n, 1);
	EXPECT_EQ(k->fill(&op, rec, fd, 4096, page, 4096), 0);
	EXPECT_EQ(k->fill(&op, rec, fd, UINT64_MAX - 4095, page, 4096), 0);
	EXPECT_EQ(k->fill(&op, rec, fd, 0, page, 8192), 0);
	EXPECT_EQ(lseek(fd, 0, SEEK_END), 5);
	EXPECT_EQ(pread(fd, text, sizeof(text), 0), 5);
	EXPECT_STREQ(text, "abcde");
	EXPECT_EQ(k->settle(&op, rec, &site), 0);
	EXPECT_EQ(fstat(fd, &st), 0);
	EXPECT_EQ(st.st_mode, S_IFREG | 0640);
	expect_bad(k->restore(&op, rec, &site)); /* again */
	close(fd);
	k = begin_tmpfs(path, 5, &rec);
	memcpy(page, "fghij", 5);
	fd = k->restore(&op, rec, &site);
	ASSERT_LE(0, fd);
	EXPECT_EQ(op.notes.n, 1);
	EXPECT_EQ(k->fill(&op, rec, fd, 0, page, 4096), 0);
	EXPECT_EQ(pread(fd, text, sizeof(text), 0), 5);
	EXPECT_STREQ(text, "abcde");
	op_done(&op);
	close(fd);
	EXPECT_EQ(unlink(path), 0);
	EXPECT_EQ(rmdir(dir), 0);
}

TEST(deleted_files)
{
	static const char *const paths[] = { NULL, "", "x", "/", "//x", "/x/", "/../x", "/x/..", "/x/./y", "/x//y" };
	static const struct {
		const char *name;
		uint64_t value;
	} numbers[] = { { "size", 1ull << 63 }, { "size", UINT64_MAX }, { "size", INT64_MAX }, { "mode", 010000 },
		{ "mtime_nsec", 1000000000 } };
	const uint64_t huge = 2 << 20, pages[] = { 3, 4096, huge };
	const struct vma vmas[] = {
		{ .end = huge },
		{ .end = 4096, .flags = VMA_HUGETLB_2M },
		{ .end = huge, .flags = VMA_HUGETLB_1G },
		{ .end = 2 * huge, .flags = VMA_HUGETLB_2M },
		{ .end = huge, .pgoff = huge, .flags = VMA_HUGETLB_2M },
	};
	char name[300] = "/";
	void *rec;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		expect_bad(begin_deleted(paths[i], 5, &rec)->restore(&op, rec, &site));
	memset(name + 1, 'x', 256);
	expect_bad(begin_deleted(name, 5, &rec)->restore(&op, rec, &site));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const struct kind *k = begin_deleted("/x", 5, &rec);
		memcpy(member(k, rec, numbers[i].name), &numbers[i].value, strcmp(numbers[i].name, "mode") ? 8 : 4);
		expect_bad(k->restore(&op, rec, &site));
	}
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		const struct kind *k = begin_deleted("/x", 5, &rec);
		memcpy(member(k, rec, "page"), &pages[i], sizeof(pages[i]));
		expect_bad(k->restore(&op, rec, &site));
	}
	for (size_t i = 0; i < sizeof(vmas) / sizeof(vmas[0]); i++) {
		const struct kind *k = begin_deleted("/x", huge, &rec);
		memcpy(member(k, rec, "page"), &huge, sizeof(huge));
		expect_bad(k->map(&op, &vmas[i], rec, -EBADF, &batch));
	}
	const struct kind *k = begin_deleted("/x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_HUGETLB_2M }, rec, -EBADF, &batch));
	k = begin_deleted("/x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_WIPEONFORK }, rec, -EBADF, &batch));
	k = begin_deleted("/x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_SHARED }, rec, -EBADF, &batch));
	k = begin_deleted("/x", 5, &rec);
	expect_bad(k->map(&op, &(struct vma){ .end = 4096, .flags = VMA_SHARED | VMA_MAYWRITE_OFF, .prot = PROT_WRITE },
		rec, -EBADF, &batch));
}

/* what is there is not touched, and what is made has that path */
TEST(deleted_files_that_are_filled)
{
	const uint64_t beyond[][2] = { { 4096, 4096 }, { 0, 8192 }, { 1ull << 40, 4096 }, { UINT64_MAX - 4095, 4096 } };
	char dir[] = "/tmp/kinds_odd.XXXXXX", path[64], link[128] = "", text[8] = "", self[64];
	static char page[8192] = "abcde";
	struct stat st;
	void *rec;

	ASSERT_TRUE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/x", dir);
	int there = open(path, O_WRONLY | O_CREAT, 0600);
	for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
		const struct kind *k = begin_deleted(path, 5, &rec);
		int fd = k->restore(&op, rec, &site);
		ASSERT_LE(0, fd);
		/* it may have been made longer while it was saved: that is not of it */
		EXPECT_EQ(k->fill(&op, rec, fd, beyond[i][0], page, beyond[i][1]), 0);
		EXPECT_EQ(lseek(fd, 0, SEEK_END), 5);
		op_done(&op);
		close(fd);
	}
	const struct kind *k = begin_deleted(path, 5, &rec);
	int fd = k->restore(&op, rec, &site);
	ASSERT_LE(0, fd);
	EXPECT_EQ(k->fill(&op, rec, fd, 0, page, 4096), 0);
	EXPECT_EQ(k->settle(&op, rec, &site), 0);
	EXPECT_EQ(pread(fd, text, sizeof(text), 0), 5);
	EXPECT_STREQ(text, "abcde");
	EXPECT_EQ(fstat(fd, &st), 0);
	EXPECT_EQ(st.st_mode, S_IFREG | 0640);
	EXPECT_EQ(st.st_nlink, 0);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	ASSERT_LT(0, readlink(self, link, sizeof(link) - 1));
	if (!op.notes.n) { /* where there is no file system for it */
		EXPECT_EQ(strncmp(link, path, strlen(path)), 0);
		EXPECT_STREQ(link + strlen(path), " (deleted)");
	}
	EXPECT_EQ(fstat(there, &st), 0);
	EXPECT_EQ(st.st_size, 0);
	EXPECT_EQ(st.st_nlink, 1);
	expect_bad(k->restore(&op, rec, &site)); /* again */
	EXPECT_EQ(unlink(path), 0);
	EXPECT_EQ(rmdir(dir), 0);
	close(there);
	close(fd);
}

TEST(secret_memory)
{
	const uint64_t huge = 1ull << 63, size = 5;
	static char page[8192];
	void *rec;
	const struct kind *k = begin("secret memory", &rec);

	memcpy(member(k, rec, "size"), &huge, sizeof(huge));
	expect_bad(k->restore(&op, rec, &site));
	k = begin("secret memory", &rec);
	*(uint32_t *)member(k, rec, "mode") = 010000;
	expect_bad(k->restore(&op, rec, &site));
	expect_bad_vma("secret memory", 0, PROT_READ);
	expect_bad_vma("secret memory", VMA_SHARED, PROT_READ | PROT_EXEC);
	k = begin("secret memory", &rec);
	memcpy(member(k, rec, "size"), &size, sizeof(size));
	EXPECT_EQ(k->fill(&op, rec, -EBADF, 4096, page, 4096), 0); /* beyond its end */
	op_done(&op);
}

TEST_MAIN
