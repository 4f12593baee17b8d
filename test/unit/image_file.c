/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The writer and the reader of images against each other, against damage and against failing system calls. The calls
 * that the writer makes are defined here, in front of those of libc, so that each of them can be made to fail.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <xxhash.h>
#include <zstd.h>

#include "image/format.h"
#include "image/lines.h"
#include "lib/given.h"
#include "lib/test.h"

#define PAGE IMAGE_PAGE

/* ---- failing system calls ---- */

static struct {
	int countdown; /* the call that makes it 0 fails; 0: none does */
	int err;
	bool short_write; /* it writes half instead */
	bool no_tmpfile;
} fault;

static bool faulty(void)
{
	if (!fault.countdown || --fault.countdown)
		return false;
	errno = fault.err;
	return true;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
	if (faulty()) {
		if (!fault.short_write)
			return -1;
		len = (len + 1) / 2;
	}
	return syscall(SYS_pwrite64, fd, buf, len, at);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
	return faulty() ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, len);
}

int ftruncate(int fd, off_t len)
{
	return faulty() ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int fsync(int fd)
{
	return faulty() ? -1 : (int)syscall(SYS_fsync, fd);
}

static int hurries; /* how often the disk was told to begin */

int sync_file_range(int fd, off_t at, off_t len, unsigned int flags)
{
	hurries++;
	errno = EIO;
	return -1; /* of no matter */
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return faulty() ? -1 : (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return faulty() ? -1 : (int)syscall(SYS_renameat, from_dir, from, to_dir, to);
}

int openat(int dir, const char *path, int flags, ...)
{
	if (fault.no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return faulty() ? -1 : (int)syscall(SYS_openat, dir, path, flags, 0600);
}

/* ---- making images ---- */

static struct arena arena;
static char dir[64], path[128];

/* A directory of its own for this test, and the name of an image in it. */
static void make_dir(const char *below)
{
	snprintf(dir, sizeof(dir), "%s/image-XXXXXX", below);
	ASSERT_TRUE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/an.image", dir);
}

/* How many files are in it; with remove they are not any more. */
static int files(bool remove)
{
	DIR *d = opendir(dir);
	int n = 0;

	ASSERT_TRUE(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		n++;
		if (remove)
			ASSERT_EQ(unlinkat(dirfd(d), e->d_name, 0), 0);
	}
	closedir(d);
	return n;
}

static void drop_dir(void)
{
	files(true);
	ASSERT_EQ(rmdir(dir), 0);
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Sections of every shape, in little more than two pages. */
static int put_small(struct image_writer *w)
{
	static const struct page_run runs[] = { { 0x1000, 1, RUN_DATA }, { 0x3000, 5, RUN_INHERIT } };
	char page[PAGE];
	int err = image_put(w, 7, 1, "hello", 5);

	if (err == 0)
		err = image_put(w, 8, 2, "", 0);
	for (int i = 0; i < PAGE; i++)
		page[i] = (char)(i * 7 / 3);
	if (err == 0)
		err = given_put(w, 3, page, runs, 2);
	if (err == 0)
		err = given_put(w, 4, NULL, runs + 1, 1);
	return err;
}

static int level; /* of compression, of all small images */

static int write_small(const char *to, int fd)
{
	struct image_writer *w;
	uint64_t size;
	int err = image_create(&w, to, fd, level, NULL);

	if (err < 0)
		return err;
	err = put_small(w);
	if (err < 0) {
		image_abort(w);
		return err;
	}
	return image_commit(w, &size);
}

/* ---- reading them ---- */

struct verdict {
	int opened, result; /* of image_open; of the last call */
	int sections;
	uint64_t sum; /* of all bytes that were shown */
	char problem[256];
};

static uint64_t sum(const void *data, size_t len)
{
	uint64_t s = len;

	for (size_t i = 0; i < len; i++)
		s = s * 31 + ((const uint8_t *)data)[i];
	return s;
}

static struct verdict read_fd(int fd)
{
	struct image_reader *r;
	struct verdict v = { .result = image_open(&r, fd, NULL) };
	struct section s;

	v.opened = v.result;
	while (v.result >= 0 && (v.result = image_next(r, &s)) == 1) {
		v.sections++;
		v.sum += sum(s.payload, s.len) + sum(s.runs, s.n_runs * sizeof(*s.runs));
		const unsigned char *data = s.type == SECTION_PAGES ? taken(r) : NULL;
		if (data)
			v.sum += sum(data, s.data_len);
	}
	if (v.opened == 0)
		ASSERT_EQ(image_next(r, &s), v.result);
	snprintf(v.problem, sizeof(v.problem), "%s", image_problem(r));
	image_close(r);
	return v;
}

static struct verdict read_path(const char *p)
{
	int fd = open(p, O_RDONLY | O_CLOEXEC);

	ASSERT_GE(fd, 0);
	struct verdict v = read_fd(fd);
	close(fd);
	return v;
}

/* As a file. */
static struct verdict read_bytes(const void *bytes, size_t len)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("image", MFD_CLOEXEC);
	ASSERT_EQ(ftruncate(fd, 0), 0);
	ASSERT_EQ(pwrite(fd, bytes, len, 0), len);
	return read_fd(fd);
}

/* Through a pipe that holds all of them. */
static struct verdict pipe_bytes(const void *bytes, size_t len)
{
	int p[2];

	ASSERT_EQ(pipe2(p, O_CLOEXEC), 0);
	ASSERT_EQ(write(p[1], bytes, len), len);
	close(p[1]);
	struct verdict v = read_fd(p[0]);
	close(p[0]);
	return v;
}

static char *small_image(size_t *ret_len)
{
	int fd = memfd_create("small", MFD_CLOEXEC);

	ASSERT_EQ(write_small(NULL, fd), 0);
	off_t len = lseek(fd, 0, SEEK_END);
	char *bytes = arena_alloc(&arena, (size_t)len);
	ASSERT_EQ(pread(fd, bytes, (size_t)len, 0), len);
	close(fd);
	*ret_len = (size_t)len;
	return bytes;
}

static void expect_refused(struct verdict v, const char *what, size_t at)
{
	if ((v.result != -EBADMSG && v.result != -ENODATA && v.result != -EPROTONOSUPPORT) || !*v.problem)
		TH_LOG("%s at %zu: %d, '%s'", what, at, v.result, v.problem);
	ASSERT_LT(v.result, 0);
	ASSERT_TRUE(v.result == -EBADMSG || v.result == -ENODATA || v.result == -EPROTONOSUPPORT);
	ASSERT_STRNE(v.problem, "");
}

TEST(an_image_comes_back_by_file_and_by_pipe)
{
	size_t len;
	char *bytes = small_image(&len);
	struct verdict file = read_bytes(bytes, len), stream = pipe_bytes(bytes, len);

	TH_LOG("%zu bytes", len);
	EXPECT_EQ(file.result, 0);
	EXPECT_STREQ(file.problem, "");
	EXPECT_EQ(file.sections, 4);
	EXPECT_EQ(stream.result, 0);
	EXPECT_EQ(stream.sections, 4);
	EXPECT_EQ(stream.sum, file.sum);
}

TEST(sections_say_what_was_put)
{
	size_t len;
	char *bytes = small_image(&len);
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct image_reader *r;
	struct section s;

	ASSERT_EQ(pwrite(fd, bytes, len, 0), len);
	ASSERT_EQ(image_open(&r, fd, NULL), 0);
	EXPECT_EQ(image_head(r)->version, IMAGE_VERSION);
	ASSERT_EQ(image_next(r, &s), 1);
	EXPECT_EQ(s.type, SECTION_OBJECT);
	EXPECT_EQ(s.tag, 7);
	EXPECT_EQ(s.id, 1);
	EXPECT_EQ(s.at, 64);
	ASSERT_EQ(s.len, 5);
	EXPECT_MEMEQ(s.payload, "hello", 5);
	ASSERT_EQ(image_next(r, &s), 1);
	EXPECT_EQ(s.len, 0);
	ASSERT_EQ(image_next(r, &s), 1);
	EXPECT_EQ(s.type, SECTION_PAGES);
	EXPECT_EQ(s.id, 3);
	ASSERT_EQ(s.n_runs, 2);
	EXPECT_EQ(s.runs[1].kind, RUN_INHERIT);
	EXPECT_EQ(s.data_len, PAGE);
	const unsigned char *data = taken(r);
	ASSERT_TRUE(data != NULL);
	EXPECT_EQ(data[10], 23);
	ASSERT_EQ(image_next(r, &s), 1);
	EXPECT_EQ(s.data_len, 0);
	EXPECT_EQ(image_next(r, &s), 0);
	EXPECT_EQ(image_next(r, &s), 0);
	image_close(r);
}

static void expect_cuts_refused(void)
{
	size_t len;
	char *bytes = small_image(&len);

	for (size_t cut = 0; cut < len; cut++) {
		struct verdict v = read_bytes(bytes, cut);

		expect_refused(v, "file", cut);
		ASSERT_LT(v.opened, 0); /* before anything is built */
		expect_refused(pipe_bytes(bytes, cut), "pipe", cut);
	}
}

TEST_TIMEOUT(every_cut_is_refused, 120)
{
	expect_cuts_refused();
	level = 1;
	expect_cuts_refused();
}

static void expect_flips_refused(void)
{
	size_t len;
	char *bytes = small_image(&len);

	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (char)(1 << bit % 8);
		expect_refused(read_bytes(bytes, len), "file", bit / 8);
		expect_refused(pipe_bytes(bytes, len), "pipe", bit / 8);
		bytes[bit / 8] ^= (char)(1 << bit % 8);
	}
}

TEST_TIMEOUT(every_flipped_bit_is_refused, 300)
{
	expect_flips_refused();
	level = 1;
	expect_flips_refused();
}

TEST(nothing_may_follow_the_end)
{
	size_t len;
	char *bytes = small_image(&len);

	bytes = arena_grow(&arena, bytes, len, 2 * len, 1);
	memcpy(bytes + len, bytes, len);
	bytes[len] = 0;
	for (size_t more = 1; more <= len; more = more * 3 + 7) {
		expect_refused(read_bytes(bytes, len + more), "file", len + more);
		expect_refused(pipe_bytes(bytes, len + more), "pipe", len + more);
	}
	bytes[len] = bytes[0];
	expect_refused(read_bytes(bytes, 2 * len), "file", 2 * len);
	expect_refused(pipe_bytes(bytes, 2 * len), "pipe", 2 * len);
}

TEST(what_is_no_image_is_refused)
{
	char zeros[8192] = "";
	struct verdict v = pipe_bytes("\x7f"
				      "ELF",
		4);

	EXPECT_EQ(v.result, -EBADMSG);
	expect_refused(read_bytes(zeros, sizeof(zeros)), "zeros", 0);
	expect_refused(read_bytes(zeros, 0), "empty", 0);
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	EXPECT_EQ(read_fd(fd).result, -EISDIR);
	EXPECT_EQ(read_fd(-1).result, -EBADF);
}

/* ---- images whose hashes are right ---- */

struct sealed {
	char *bytes;
	size_t len;
};

static void seal(void *block)
{
	struct section_header *h = block;

	h->hash = block_hash(h);
}

/* header, one object whose header can be altered and index, end, all hashed; meta_hash too */
static struct sealed craft(const struct section_header *h, const char *payload, size_t len)
{
	struct sealed s = { calloc(1, 65536), 0 };
	struct image_header head = { .magic = IMAGE_MAGIC, .version = IMAGE_VERSION };
	size_t padded = (len + 7) / 8 * 8;

	seal(&head);
	memcpy(s.bytes, &head, 64);
	memcpy(s.bytes + 64, h, 64);
	struct section_header *at = (struct section_header *)(s.bytes + 64);
	at->payload_hash = XXH3_64bits(payload, len);
	seal(at);
	memcpy(s.bytes + 128, payload, len);
	size_t index = 128 + padded;
	struct index_entry e = section_entry(at, 64);
	struct section_header ih = { .type = SECTION_INDEX, .len = 32, .payload_hash = XXH3_64bits(&e, 32) };
	seal(&ih);
	memcpy(s.bytes + index, &ih, 64);
	memcpy(s.bytes + index + 64, &e, 32);
	struct image_end end = { .magic = IMAGE_END_MAGIC,
		.index = index,
		.size = index + 160,
		.sections = 1,
		.meta_hash = XXH3_64bits(s.bytes, index + 96) };
	seal(&end);
	memcpy(s.bytes + index + 96, &end, 64);
	s.len = index + 160;
	return s;
}

static int craft_result(struct section_header h, const void *payload, size_t len)
{
	struct sealed s = craft(&h, payload, len);
	struct verdict file = read_bytes(s.bytes, s.len), stream = pipe_bytes(s.bytes, s.len);

	free(s.bytes);
	if (file.result < 0)
		EXPECT_STRNE(file.problem, "");
	/* a claim of more than there is: the file shows it at once, a stream only by its end */
	if (stream.result != -ENODATA)
		EXPECT_EQ(file.result, stream.result);
	return file.result;
}

TEST(hashes_alone_make_nothing_true)
{
	struct page_run run = { 0x1000, 1, RUN_INHERIT }, bad;
	struct section_header object = { .type = SECTION_OBJECT, .len = 5 };
	struct section_header pages = { .type = SECTION_PAGES, .len = sizeof(run) };
	struct section_header h;

	EXPECT_EQ(craft_result(object, "hello", 5), 0);
	EXPECT_EQ(craft_result(pages, &run, sizeof(run)), 0);

	h = object, h.len = IMAGE_OBJECT_MAX;
	EXPECT_EQ(craft_result(h, "hello", 5), -EBADMSG);
	h = object, h.len = UINT64_MAX;
	EXPECT_EQ(craft_result(h, "hello", 5), -EBADMSG);
	h = object, h.len = UINT64_MAX - 130;
	EXPECT_EQ(craft_result(h, "hello", 5), -EBADMSG);
	h = object, h.data = PAGE;
	EXPECT_EQ(craft_result(h, "hello", 5), -EBADMSG);
	h = object, h.data_hash = 1;
	EXPECT_EQ(craft_result(h, "hello", 5), -EPROTONOSUPPORT);
	h = object, h.packed = 1;
	EXPECT_EQ(craft_result(h, "hello", 5), -EBADMSG);
	h = object, h.type = 9;
	EXPECT_EQ(craft_result(h, "hello", 5), -EPROTONOSUPPORT);
	h = pages, h.tag = 1;
	EXPECT_EQ(craft_result(h, &run, sizeof(run)), -EBADMSG);
	h = pages, h.data = UINT64_MAX - 4095;
	EXPECT_EQ(craft_result(h, &run, sizeof(run)), -EBADMSG);
	h = pages, h.len = 0;
	EXPECT_EQ(craft_result(h, "", 0), -EBADMSG);

	bad = run, bad.kind = 3;
	EXPECT_EQ(craft_result(pages, &bad, sizeof(bad)), -EPROTONOSUPPORT);
	bad = run, bad.kind = RUN_DATA; /* and no data */
	EXPECT_EQ(craft_result(pages, &bad, sizeof(bad)), -EBADMSG);
	bad = run, bad.pages = 0;
	EXPECT_EQ(craft_result(pages, &bad, sizeof(bad)), -EBADMSG);
	bad = run, bad.at = 0x1001;
	EXPECT_EQ(craft_result(pages, &bad, sizeof(bad)), -EBADMSG);
	bad = run, bad.at = -4096ull;
	EXPECT_EQ(craft_result(pages, &bad, sizeof(bad)), -EBADMSG);
	struct page_run overlap[] = { { 0x1000, 2, RUN_INHERIT }, { 0x2000, 1, RUN_INHERIT } };
	h = pages, h.len = sizeof(overlap);
	EXPECT_EQ(craft_result(h, overlap, sizeof(overlap)), -EBADMSG);
}

TEST(a_newer_version_is_named)
{
	size_t len;
	char *bytes = small_image(&len);
	struct image_header *h = (struct image_header *)bytes;

	h->version = 2;
	seal(h);
	struct verdict v = read_bytes(bytes, len);
	EXPECT_EQ(v.result, -EPROTONOSUPPORT);
	EXPECT_TRUE(strstr(v.problem, "version 2") != NULL);
	EXPECT_EQ(pipe_bytes(bytes, len).result, -EPROTONOSUPPORT);
}

TEST(an_unknown_flag_is_refused)
{
	size_t len;
	char *bytes = small_image(&len);
	struct image_header *h = (struct image_header *)bytes;

	h->flags = 4;
	seal(h);
	struct verdict v = read_bytes(bytes, len);
	EXPECT_EQ(v.result, -EPROTONOSUPPORT);
	EXPECT_TRUE(strstr(v.problem, "newer") != NULL);
	EXPECT_EQ(pipe_bytes(bytes, len).result, -EPROTONOSUPPORT);
}

TEST(the_end_of_another_image_is_refused)
{
	size_t len, other_len;
	char *bytes = small_image(&len), *other = small_image(&other_len);

	ASSERT_EQ(len, other_len);
	memcpy(bytes + len - 64, other + len - 64, 64);
	expect_refused(read_bytes(bytes, len), "file", len);
	expect_refused(pipe_bytes(bytes, len), "pipe", len);
}

/* ---- compressed page data whose hashes are right ---- */

/* header, one PAGES section of two pages that are packed as said, index, end */
static struct sealed craft_packed(uint32_t flags, uint64_t data, uint64_t packed, const void *frame, size_t len)
{
	struct sealed s = { calloc(1, 65536), 0 };
	struct image_header head = { .magic = IMAGE_MAGIC, .version = IMAGE_VERSION, .flags = flags };
	struct page_run run = { 0x1000, (uint32_t)(data / PAGE), RUN_DATA };
	struct section_header h = { .type = SECTION_PAGES,
		.len = sizeof(run),
		.data = data,
		.packed = packed,
		.payload_hash = XXH3_64bits(&run, sizeof(run)),
		.data_hash = XXH3_64bits(frame, len) };
	struct section_header ih = { .type = SECTION_INDEX, .len = 32 };
	size_t index = 144 + (len + 7) / 8 * 8;

	seal(&head);
	seal(&h);
	memcpy(s.bytes, &head, 64);
	memcpy(s.bytes + 64, &h, 64);
	memcpy(s.bytes + 128, &run, sizeof(run));
	memcpy(s.bytes + 144, frame, len);
	struct index_entry e = section_entry(&h, 64);
	ih.payload_hash = XXH3_64bits(&e, 32);
	seal(&ih);
	memcpy(s.bytes + index, &ih, 64);
	memcpy(s.bytes + index + 64, &e, 32);
	XXH3_state_t *meta = XXH3_createState();
	XXH3_64bits_reset(meta);
	XXH3_64bits_update(meta, s.bytes, 144);
	XXH3_64bits_update(meta, s.bytes + 144 + len, index + 96 - 144 - len);
	struct image_end end = { .magic = IMAGE_END_MAGIC,
		.index = index,
		.size = index + 160,
		.sections = 1,
		.meta_hash = XXH3_64bits_digest(meta) };
	XXH3_freeState(meta);
	seal(&end);
	memcpy(s.bytes + index + 96, &end, 64);
	s.len = index + 160;
	return s;
}

static int packed_result(uint32_t flags, uint64_t data, uint64_t packed, const void *frame, size_t len)
{
	struct sealed s = craft_packed(flags, data, packed, frame, len);
	struct verdict file = read_bytes(s.bytes, s.len), stream = pipe_bytes(s.bytes, s.len);

	free(s.bytes);
	if (file.result < 0)
		EXPECT_STRNE(file.problem, "");
	EXPECT_EQ(file.result, stream.result);
	return file.result;
}

TEST(what_is_compressed_is_what_it_claims_to_be)
{
	static const char skipped[] = "\x50\x2a\x4d\x18\x04\0\0\0skip";
	char pages[3 * PAGE] = "", frame[4096], two[4096];
	size_t len = ZSTD_compress(frame, sizeof(frame), pages, 2 * PAGE, 1);

	ASSERT_FALSE(ZSTD_isError(len));
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, len, frame, len), 0);
	EXPECT_EQ(packed_result(0, 2 * PAGE, len, frame, len), -EBADMSG);
	/* another size than the runs want */
	EXPECT_EQ(packed_result(IMAGE_PACKED, PAGE, len, frame, len), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 3 * PAGE, len, frame, len), -EBADMSG);
	/* less, more and else than a frame */
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, len - 1, frame, len - 1), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, len + 1, frame, len + 1), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, 3, frame, 3), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, sizeof(skipped) - 1, skipped, sizeof(skipped) - 1), -EBADMSG);
	memcpy(two, skipped, sizeof(skipped) - 1);
	memcpy(two + sizeof(skipped) - 1, frame, len);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, sizeof(skipped) - 1 + len, two, sizeof(skipped) - 1 + len),
		-EBADMSG);
	size_t half = ZSTD_compress(two, sizeof(two), pages, PAGE, 1);
	memcpy(two + half, two, half);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, 2 * half, two, 2 * half), -EBADMSG);
	/* a frame that is not smaller is not one that a writer makes */
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, 2 * PAGE, pages, 2 * PAGE), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, UINT64_MAX, frame, len), -EBADMSG);
	/* one that says another size of its content than it has: the byte behind magic and descriptor */
	frame[5] ^= 1;
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, len, frame, len), -EBADMSG);
}

TEST(lines_that_are_left_out_are_zero)
{
	unsigned char stored[4096] = "lines\0\0";
	const uint64_t one = 1, last = 1ull << 63, three = 7, none = 0;

	memcpy(stored + 8, &one, 8);
	memset(stored + 16, 'x', 64);
	memcpy(stored + 80, &last, 8);
	memset(stored + 88, 'y', 64);
	EXPECT_EQ(packed_result(IMAGE_LINES, 2 * PAGE, 152, stored, 152), 0);
	EXPECT_EQ(packed_result(IMAGE_LINES | IMAGE_PACKED, 2 * PAGE, 152, stored, 152), 0);
	EXPECT_EQ(packed_result(IMAGE_PACKED, 2 * PAGE, 152, stored, 152), -EBADMSG);
	EXPECT_EQ(packed_result(0, 2 * PAGE, 152, stored, 152), -EBADMSG);
	/* too few, too many, and of another number of pages */
	for (size_t len = 0; len < 152; len++)
		EXPECT_EQ(packed_result(IMAGE_LINES, 2 * PAGE, len ? len : 1, stored, len ? len : 1), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_LINES, 2 * PAGE, 153, stored, 153), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_LINES, 2 * PAGE, 160, stored, 160), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_LINES, PAGE, 152, stored, 152), -EBADMSG);
	EXPECT_EQ(packed_result(IMAGE_LINES, 3 * PAGE, 152, stored, 152), -EBADMSG);
	/* more lines than there are bytes */
	memcpy(stored + 80, &three, 8);
	EXPECT_EQ(packed_result(IMAGE_LINES, 2 * PAGE, 152, stored, 152), -EBADMSG);
	memcpy(stored + 80, &none, 8);
	EXPECT_EQ(packed_result(IMAGE_LINES, 2 * PAGE, 88, stored, 88), 0);
	/* neither lines nor a frame */
	stored[7] = 1;
	EXPECT_EQ(packed_result(IMAGE_LINES, 2 * PAGE, 88, stored, 88), -EBADMSG);
}

TEST(each_line_comes_back)
{
	unsigned char *pages = arena_alloc(&arena, 16 * PAGE), *packed = arena_alloc(&arena, 16 * PAGE),
		      *back = arena_alloc(&arena, 16 * PAGE);
	uint32_t x = 1;

	for (unsigned int turn = 0; turn < 2000; turn++) {
		const size_t len = (1 + turn % 16) * (size_t)PAGE;

		memset(pages, 0, len);
		for (unsigned int i = 0; i < turn / 4 % 300; i++) {
			x = x * 1664525 + 1013904223;
			pages[(x >> 3) % len] = 1 + turn % 200;
		}
		memset(packed, 0xaa, len);
		const size_t n = lines_pack(pages, len, packed);
		if (!n)
			continue;
		ASSERT_LE(n, len / 2);
		EXPECT_EQ(packed[len / 2], 0xaa);
		memset(back, 0x55, len);
		ASSERT_EQ(lines_unpack(packed, n, back, len), 0);
		ASSERT_EQ(memcmp(pages, back, len), 0);
		EXPECT_EQ(lines_unpack(packed, n - 1, back, len), -EBADMSG);
	}
	/* zeros take little, and what has none is left as it is */
	memset(pages, 0, 16 * PAGE);
	EXPECT_EQ(lines_pack(pages, 16 * PAGE, packed), 8 + 16 * 8);
	for (size_t i = 0; i < 16 * PAGE; i += 64)
		pages[i + 63] = 1;
	EXPECT_EQ(lines_pack(pages, 16 * PAGE, packed), 0);
}

/* ---- the writer ---- */

TEST(many_and_large_sections_come_back)
{
	enum { objects = 2000, chunks = 5 };
	struct image_writer *w;
	struct page_run runs[300];
	char *large = arena_alloc(&arena, 3 << 20);

	make_dir("/tmp");
	ASSERT_EQ(image_create(&w, path, -1, 0, NULL), 0);
	memset(large, 5, 3 << 20);
	for (unsigned int i = 0; i < objects; i++)
		ASSERT_EQ(image_put(w, 1, i, large, i * 31 % 4000), 0);
	ASSERT_EQ(image_put(w, 1, objects, large, 3 << 20), 0);
	ASSERT_EQ(image_put(w, 1, objects, large, 65536), 0);
	for (unsigned int i = 0; i < IMAGE_CHUNK_PAGES; i++)
		runs[i] = (struct page_run){ i * 0x2000ull, 1, RUN_DATA };
	for (int i = 0; i < chunks; i++) {
		memset(large, i, IMAGE_CHUNK_PAGES * PAGE);
		ASSERT_EQ(given_put(w, 9, large, runs, i == 2 ? 1 : IMAGE_CHUNK_PAGES), 0);
	}
	uint64_t size, before = image_written(w);
	ASSERT_EQ(image_commit(w, &size), 0);
	EXPECT_GT(size, before);
	struct stat st;
	ASSERT_EQ(stat(path, &st), 0);
	EXPECT_EQ(st.st_size, size);
	EXPECT_LE(st.st_blocks * 512, (off_t)size + (1 << 20)); /* what was allocated ahead was given back */
	EXPECT_EQ(st.st_mode, S_IFREG | 0600);

	struct verdict v = read_path(path);
	EXPECT_EQ(v.result, 0);
	EXPECT_EQ(v.sections, objects + 2 + chunks);
	int p[2];
	ASSERT_EQ(pipe2(p, 0), 0);
	if (fork() == 0) {
		close(p[0]);
		FILE *f = fopen(path, "r");
		for (size_t n; (n = fread(large, 1, 100000, f));)
			ASSERT_EQ(write(p[1], large, n), n);
		_exit(0);
	}
	close(p[1]);
	struct verdict stream = read_fd(p[0]);
	EXPECT_EQ(stream.result, 0);
	EXPECT_EQ(stream.sum, v.sum);
	drop_dir();
}

/* Sources that are asked by several threads: every third cannot be compressed. */
struct numbered {
	struct image_source source;
	uint32_t n;
	int err;
	bool asked;
};

static int numbered_fetch(struct image_source *source, struct image_room *room)
{
	struct numbered *s = (struct numbered *)source;
	uint32_t pages = s->n * 7 % IMAGE_CHUNK_PAGES, *word = (uint32_t *)room->data, x = s->n + 1;

	s->asked = true;
	for (size_t i = 0; i < pages * (size_t)PAGE / sizeof(*word); i++) {
		x = s->n % 3 ? s->n : x * 1664525 + 1013904223;
		word[i] = x;
	}
	room->runs[0] = (struct page_run){ s->n * 0x1000000ull, pages, RUN_DATA };
	room->n_runs = pages ? 1 : 0;
	return s->err;
}

#define MANY 60

static int write_many(int fd, int how_small, struct numbered *sources, struct image_writer **w)
{
	int err = image_create(w, NULL, fd, how_small, NULL);

	ASSERT_EQ(err, 0);
	for (uint32_t i = 0; i < MANY && err == 0; i++) {
		sources[i].source.fetch = numbered_fetch;
		sources[i].n = i;
		err = image_pages(*w, i, &sources[i].source);
	}
	return err < 0 ? err : image_pages_wait(*w);
}

/* What one section brings, which must be what its number wants. */
struct wanted {
	struct image_sink sink;
	int err, put; /* what to give; how often it was asked */
	bool right;
};

static int wanted_put(struct image_sink *sink, const struct section *s, const void *data)
{
	struct wanted *w = (struct wanted *)sink;
	struct page_run run;
	struct numbered again = { .n = (uint32_t)s->id };
	struct image_room room = { malloc(IMAGE_CHUNK_PAGES * PAGE), &run, 0 };

	numbered_fetch(&again.source, &room);
	w->put++;
	w->right = s->n_runs == 1 && memcmp(s->runs, &run, sizeof(run)) == 0 && s->data_len == run.pages * PAGE &&
		   memcmp(data, room.data, s->data_len) == 0;
	free(room.data);
	return w->err;
}

static bool has_pages(uint32_t n)
{
	return n * 7 % IMAGE_CHUNK_PAGES != 0;
}

static void expect_many(int fd)
{
	struct wanted wanted[MANY] = { 0 };
	struct image_reader *r;
	struct section s;
	uint32_t n = 0;

	ASSERT_EQ(image_open(&r, fd, NULL), 0);
	for (; image_next(r, &s) == 1; n++) {
		n += !has_pages(n);
		ASSERT_EQ(s.id, n);
		wanted[n].sink.put = wanted_put;
		ASSERT_EQ(image_send(r, &wanted[n].sink), 0);
	}
	EXPECT_STREQ(image_problem(r), "");
	EXPECT_EQ(n, MANY);
	for (n = 0; n < MANY; n++) {
		EXPECT_EQ(wanted[n].put, has_pages(n));
		EXPECT_EQ(wanted[n].right, has_pages(n));
	}
	image_close(r);
}

TEST(sections_that_many_threads_make_keep_their_order)
{
	for (int i = 0; i < 4; i++) {
		struct numbered sources[MANY] = { 0 };
		struct image_writer *w;
		int fd = memfd_create("many", MFD_CLOEXEC), p[2];
		uint64_t size, data = 0;

		ASSERT_EQ(write_many(fd, i, sources, &w), 0);
		for (uint32_t n = 0; n < MANY; n++)
			data += n * 7 % IMAGE_CHUNK_PAGES * (uint64_t)PAGE;
		EXPECT_EQ(image_pages_written(w), data);
		ASSERT_EQ(image_commit(w, &size), 0);
		TH_LOG("level %d: %" PRIu64 " of %" PRIu64 " bytes", i, size, data);
		if (i)
			EXPECT_LT(size, data / 2);
		expect_many(fd);
		ASSERT_EQ(pipe2(p, O_CLOEXEC), 0);
		pid_t child = fork();
		if (child == 0) {
			char *bytes = arena_alloc(&arena, size);
			if (pread(fd, bytes, size, 0) == (ssize_t)size)
				_exit(write(p[1], bytes, size) != (ssize_t)size);
			_exit(1);
		}
		close(p[1]);
		expect_many(p[0]);
		close(p[0]);
		close(fd);
		waitpid(child, NULL, 0);
	}
}

TEST(a_source_that_fails_ends_it)
{
	for (uint32_t nth = 0; nth < MANY; nth += 7) {
		struct numbered sources[MANY] = { 0 };
		struct image_writer *w;
		int fd = memfd_create("many", MFD_CLOEXEC), asked = 0;

		sources[nth].err = -EFAULT;
		EXPECT_EQ(write_many(fd, nth & 1, sources, &w), -EFAULT);
		EXPECT_TRUE(image_failed(w) == &sources[nth].source);
		for (uint32_t i = 0; i < MANY; i++)
			asked += sources[i].asked;
		EXPECT_EQ(image_pages(w, 1, &sources[MANY - 1].source), -EFAULT);
		EXPECT_EQ(image_put(w, 1, 1, "", 0), -EFAULT);
		for (uint32_t i = 0; i < MANY; i++)
			asked -= sources[i].asked; /* nobody asks any more */
		EXPECT_EQ(asked, 0);
		EXPECT_EQ(image_commit(w, NULL), -EFAULT);
		close(fd);
	}
}

TEST(a_sink_that_fails_ends_it)
{
	struct numbered sources[MANY] = { 0 };
	struct image_writer *w;
	int fd = memfd_create("many", MFD_CLOEXEC);

	ASSERT_EQ(write_many(fd, 1, sources, &w), 0);
	ASSERT_EQ(image_commit(w, NULL), 0);
	for (uint32_t nth = 1; nth < MANY; nth += 9) {
		struct wanted wanted[MANY] = { 0 };
		struct image_reader *r;
		struct section s;
		int err, put = 0;

		wanted[nth].err = -ESRCH;
		ASSERT_EQ(image_open(&r, fd, NULL), 0);
		while ((err = image_next(r, &s)) == 1) {
			wanted[s.id].sink.put = wanted_put;
			image_send(r, &wanted[s.id].sink);
		}
		EXPECT_EQ(err, -ESRCH);
		EXPECT_EQ(image_wait(r), -ESRCH);
		EXPECT_TRUE(image_failed_sink(r) == &wanted[nth].sink);
		for (uint32_t i = 0; i < MANY; i++)
			put += wanted[i].put;
		EXPECT_LT(put, (int)nth + 40); /* it was not gone on with to the end */
		image_close(r);
	}
	close(fd);
}

/* Some ask for the data, some do not. */
TEST(damage_is_told_of_the_first_section_that_has_it)
{
	struct numbered sources[MANY] = { 0 };
	struct image_writer *w;
	struct image_reader *r;
	struct section s;
	char where[64];
	int fd = memfd_create("many", MFD_CLOEXEC), err;

	ASSERT_EQ(write_many(fd, 1, sources, &w), 0);
	ASSERT_EQ(image_commit(w, NULL), 0);
	ASSERT_EQ(image_open(&r, fd, NULL), 0);
	while (image_next(r, &s) == 1 && s.id < 40)
		;
	ASSERT_EQ(s.id, 40);
	image_close(r);
	ASSERT_EQ(pwrite(fd, "damage", 6, (off_t)s.at + 90), 6);
	snprintf(where, sizeof(where), "section at byte %" PRIu64 " ", s.at);
	for (uint64_t every = 1; every < 4; every++) {
		struct wanted wanted[MANY] = { 0 };

		ASSERT_EQ(image_open(&r, fd, NULL), 0);
		while ((err = image_next(r, &s)) == 1) {
			wanted[s.id].sink.put = wanted_put;
			if (s.id % every == 0)
				image_send(r, &wanted[s.id].sink);
		}
		EXPECT_EQ(err, -EBADMSG);
		EXPECT_TRUE(strstr(image_problem(r), where) != NULL);
		EXPECT_TRUE(image_failed_sink(r) == NULL);
		EXPECT_EQ(wanted[40].put, 0);
		image_close(r);
	}
	close(fd);
}

TEST(in_a_hurry_the_disk_begins_before_the_end)
{
	static char data[IMAGE_CHUNK_PAGES * PAGE];
	const struct page_run run = { 0, IMAGE_CHUNK_PAGES, RUN_DATA };

	memset(data, 1, sizeof(data));
	make_dir("/tmp");
	for (int hurry = 0; hurry < 2; hurry++) {
		struct image_writer *w;

		ASSERT_EQ(image_create(&w, path, -1, 0, NULL), 0);
		if (hurry)
			image_hurry(w);
		for (int i = 0; i < 20; i++)
			ASSERT_EQ(given_put(w, 1, data, &run, 1), 0);
		ASSERT_EQ(image_commit(w, NULL), 0);
		EXPECT_EQ(hurries, 2 * hurry);
		EXPECT_EQ(read_path(path).result, 0);
	}
	drop_dir();
}

TEST(an_empty_image_is_an_image)
{
	struct image_writer *w;
	int fd = memfd_create("empty", MFD_CLOEXEC);

	ASSERT_EQ(image_create(&w, NULL, fd, 0, NULL), 0);
	ASSERT_EQ(image_commit(w, NULL), 0);
	struct verdict v = read_fd(fd);
	EXPECT_EQ(v.result, 0);
	EXPECT_EQ(v.sections, 0);
}

static int put_runs(const struct page_run *runs, size_t n)
{
	static const char data[IMAGE_CHUNK_PAGES * PAGE];
	struct image_writer *w;
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ASSERT_EQ(image_create(&w, NULL, fd, 0, NULL), 0);
	int err = given_put(w, 1, data, runs, n);
	EXPECT_EQ(image_commit(w, NULL), err);
	close(fd);
	return err;
}

TEST(the_writer_writes_nothing_that_the_reader_refuses)
{
	static struct page_run many[IMAGE_CHUNK_RUNS + 1];
	struct page_run large = { 0x1000, IMAGE_CHUNK_PAGES + 1, RUN_DATA };
	struct image_writer *w;
	char *huge = arena_alloc(&arena, IMAGE_OBJECT_MAX + 1);
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	for (size_t i = 0; i <= IMAGE_CHUNK_RUNS; i++)
		many[i] = (struct page_run){ i * PAGE, 1, RUN_INHERIT };
	EXPECT_EQ(put_runs(many, IMAGE_CHUNK_RUNS), 0);
	EXPECT_EQ(put_runs(many, IMAGE_CHUNK_RUNS + 1), -EINVAL);
	EXPECT_EQ(put_runs(many, 0), 0); /* no section */
	EXPECT_EQ(put_runs(&large, 1), -EINVAL);
	large.pages--;
	EXPECT_EQ(put_runs(&large, 1), 0);
	ASSERT_EQ(image_create(&w, NULL, fd, 0, NULL), 0);
	EXPECT_EQ(image_put(w, 1, 1, huge, IMAGE_OBJECT_MAX + 1), -E2BIG);
	EXPECT_EQ(image_commit(w, NULL), -E2BIG);
	ASSERT_EQ(image_create(&w, NULL, fd, 0, NULL), 0);
	EXPECT_EQ(image_put(w, 1, 1, huge, IMAGE_OBJECT_MAX), 0);
	EXPECT_EQ(image_commit(w, NULL), 0);
}

static void expect_atomic(bool no_tmpfile)
{
	struct image_writer *w;

	make_dir("/tmp");
	fault.no_tmpfile = no_tmpfile;
	ASSERT_EQ(image_create(&w, path, -1, 0, NULL), 0);
	ASSERT_EQ(put_small(w), 0);
	EXPECT_EQ(files(false), no_tmpfile);
	EXPECT_LT(access(path, F_OK), 0);
	image_abort(w);
	EXPECT_EQ(files(false), 0);

	/* an older one stays until the new one is complete */
	ASSERT_EQ(write_small(path, -1), 0);
	struct stat st, now;
	ASSERT_EQ(stat(path, &st), 0);
	ASSERT_EQ(image_create(&w, path, -1, 0, NULL), 0);
	ASSERT_EQ(put_small(w), 0);
	ASSERT_EQ(stat(path, &now), 0);
	EXPECT_EQ(now.st_ino, st.st_ino);
	EXPECT_EQ(read_path(path).result, 0);
	ASSERT_EQ(image_commit(w, NULL), 0);
	ASSERT_EQ(stat(path, &now), 0);
	EXPECT_NE(now.st_ino, st.st_ino);
	EXPECT_EQ(read_path(path).result, 0);
	EXPECT_EQ(files(false), 1);
	drop_dir();
}

TEST(an_image_appears_complete_or_not_at_all)
{
	int before = open_fds();

	expect_atomic(false);
	expect_atomic(true);
	EXPECT_EQ(open_fds(), before);
}

TEST(a_killed_writer_leaves_nothing)
{
	make_dir("/tmp");
	int probe = open(dir, O_TMPFILE | O_RDWR, 0600);
	if (probe < 0)
		SKIP("no O_TMPFILE in /tmp");
	pid_t child = fork();
	if (child == 0) {
		struct image_writer *w;
		if (image_create(&w, path, -1, 0, NULL) == 0 && put_small(w) == 0)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	int status;
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(files(false), 0);
	drop_dir();
}

TEST(only_a_regular_file_is_replaced)
{
	struct image_writer *w;
	char other[200];

	make_dir("/tmp");
	ASSERT_EQ(mkfifo(path, 0600), 0);
	EXPECT_EQ(image_create(&w, path, -1, 0, NULL), -EEXIST);
	ASSERT_EQ(unlink(path), 0);
	ASSERT_EQ(symlink("elsewhere", path), 0);
	EXPECT_EQ(image_create(&w, path, -1, 0, NULL), -EEXIST);
	EXPECT_EQ(image_create(&w, dir, -1, 0, NULL), -EEXIST);
	EXPECT_EQ(image_create(&w, "/dev/null", -1, 0, NULL), -EEXIST);
	EXPECT_EQ(image_create(&w, "/tmp/", -1, 0, NULL), -EISDIR);
	EXPECT_EQ(image_create(&w, "", -1, 0, NULL), -ENOENT);
	snprintf(other, sizeof(other), "%s/none/an.image", dir);
	EXPECT_EQ(image_create(&w, other, -1, 0, NULL), -ENOENT);

	/* one that comes meanwhile */
	ASSERT_EQ(unlink(path), 0);
	ASSERT_EQ(image_create(&w, path, -1, 0, NULL), 0);
	ASSERT_EQ(mkfifo(path, 0600), 0);
	EXPECT_EQ(image_commit(w, NULL), -EEXIST);
	EXPECT_EQ(files(false), 1);
	drop_dir();
}

TEST(long_names_fit)
{
	char name[256], long_path[400];

	make_dir("/tmp");
	memset(name, 'n', 255);
	name[255] = 0;
	snprintf(long_path, sizeof(long_path), "%s/%s", dir, name);
	fault.no_tmpfile = true;
	EXPECT_EQ(write_small(long_path, -1), 0);
	EXPECT_EQ(read_path(long_path).result, 0);
	drop_dir();
}

/* Fail the 1st, 2nd, ... call until none is left to fail; returns how many there were. */
static int fail_each(int err, bool older)
{
	for (int nth = 1;; nth++) {
		files(true);
		if (older)
			ASSERT_EQ(write_small(path, -1), 0);
		int before = open_fds();
		fault.countdown = nth;
		fault.err = err;
		int r = write_small(path, -1);
		bool was_last = fault.countdown > 0;

		fault.countdown = 0;
		if (r < 0)
			EXPECT_EQ(r, -err);
		EXPECT_EQ(open_fds(), before);
		EXPECT_EQ(files(false), r == 0 || older);
		if (r == 0 || older)
			EXPECT_EQ(read_path(path).result, 0);
		if (was_last)
			return nth - 1;
	}
}

TEST(each_call_may_fail)
{
	make_dir("/tmp");
	for (int i = 0; i < 8; i++) {
		fault.no_tmpfile = i & 1;
		int n = fail_each(i & 2 ? ENOSPC : EIO, i & 4);
		TH_LOG("%d calls", n);
		EXPECT_GE(n, 7);
	}
	drop_dir();
}

TEST(short_writes_are_gone_on_with)
{
	static const struct page_run run = { 0, IMAGE_CHUNK_PAGES, RUN_DATA };
	static char large[200000], data[IMAGE_CHUNK_PAGES * PAGE];
	struct image_writer *w;

	make_dir("/tmp");
	fault.short_write = true;
	ASSERT_EQ(image_create(&w, path, -1, 0, NULL), 0);
	for (int i = 0; i < 10; i++) {
		fault.countdown = 1;
		ASSERT_EQ(image_put(w, 1, 1, large, sizeof(large)), 0);
		EXPECT_EQ(fault.countdown, 0);
		memset(data, i, sizeof(data));
		fault.countdown = 2; /* what was gathered is one write */
		ASSERT_EQ(given_put(w, 1, data, &run, 1), 0);
		EXPECT_EQ(fault.countdown, 0);
	}
	ASSERT_EQ(image_commit(w, NULL), 0);
	struct verdict v = read_path(path);
	EXPECT_EQ(v.result, 0);
	EXPECT_EQ(v.sections, 20);
	drop_dir();
}

TEST(a_full_disk_is_reported)
{
	static const struct page_run run = { 0, IMAGE_CHUNK_PAGES, RUN_DATA };
	static char data[IMAGE_CHUNK_PAGES * PAGE];
	struct image_writer *w;
	int err = 0;

	if (unshare(CLONE_NEWNS) < 0)
		SKIP("no mount namespace without privilege");
	ASSERT_EQ(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	char at[] = "/tmp/image-disk-XXXXXX";
	ASSERT_TRUE(mkdtemp(at) != NULL);
	if (mount("disk", at, "tmpfs", 0, "size=5m") < 0) {
		rmdir(at);
		SKIP("cannot mount a tmpfs");
	}
	make_dir(at);
	for (int full = 0; full < 2; full++) {
		ASSERT_EQ(image_create(&w, path, -1, 0, NULL), 0);
		for (int i = 0; i < (full ? 8 : 4) && err == 0; i++) {
			memset(data, 1, sizeof(data));
			err = given_put(w, 1, data, &run, 1);
		}
		EXPECT_EQ(err, full ? -ENOSPC : 0);
		EXPECT_EQ(image_commit(w, NULL), err);
		/* 4 MiB fit into 5, whatever was tried ahead of them */
		EXPECT_EQ(files(true), !full);
	}
	ASSERT_EQ(rmdir(dir), 0);
	ASSERT_EQ(umount(at), 0);
	ASSERT_EQ(rmdir(at), 0);
}

TEST(a_file_cut_while_it_is_read_is_refused)
{
	size_t len;
	char *bytes = small_image(&len);
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct image_reader *r;
	struct section s;

	ASSERT_EQ(pwrite(fd, bytes, len, 0), len);
	ASSERT_EQ(image_open(&r, fd, NULL), 0);
	ASSERT_EQ(ftruncate(fd, 4096), 0);
	ASSERT_EQ(image_next(r, &s), 1);
	ASSERT_EQ(image_next(r, &s), 1);
	ASSERT_EQ(image_next(r, &s), 1);
	EXPECT_TRUE(taken(r) == NULL);
	EXPECT_EQ(image_next(r, &s), -ENODATA);
	EXPECT_TRUE(strstr(image_problem(r), "byte 4096 is missing, within page data") != NULL);
	image_close(r);
}

TEST(what_was_verified_is_not_what_becomes_of_the_file)
{
	size_t len;
	char *bytes = small_image(&len);
	int fd = memfd_create("image", MFD_CLOEXEC);
	struct image_reader *r;
	struct section s;

	ASSERT_EQ(pwrite(fd, bytes, len, 0), len);
	ASSERT_EQ(image_open(&r, fd, NULL), 0);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(image_next(r, &s), 1);
	ASSERT_EQ(s.data_len, PAGE);
	const unsigned char *data = taken(r);
	ASSERT_TRUE(data != NULL);
	ASSERT_EQ(pwrite(fd, bytes, PAGE, PAGE), PAGE);
	EXPECT_EQ(data[10], 23);
	ASSERT_EQ(ftruncate(fd, 0), 0);
	EXPECT_EQ(data[10], 23);
	int n;
	while ((n = image_next(r, &s)) > 0)
		;
	EXPECT_TRUE(n == 0 || n == -ENODATA); /* what has been read ahead may be all of the rest */
	image_close(r);
}

TEST_MAIN
