/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kinds of open files: this process is the program that is saved, and the place where its files are opened again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/outsiders.h"
#include "kinds/sockets.h"
#include "lib/test.h"

static struct op op;
static struct process self, *processes[] = { &self };
static struct tree tree;
static struct outsiders outsiders;
static struct span slots;
static struct site site;
static char dir[] = "/tmp/kinds_fd.XXXXXX";

static int by_object(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* reads all that the kinds may see of this process */
static void collect(void)
{
	self.dir = proc_open(AT_FDCWD, getpid());
	if (self.dir < 0)
		self.dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	self.pid = getpid();
	self.pidfd = -EBADF;
	ASSERT_EQ(proc_read_stat(self.dir, &self.stat), 0);
	ASSERT_EQ(proc_read_fds(&op.arena, self.dir, &self.fds), 0);
	outsiders = (struct outsiders){ 0 };
	tree = (struct tree){ .processes = { processes, 1, 0 }, .outsiders = &outsiders };
	for (size_t i = 0; i < self.fds.n; i++) {
		const struct proc_fd *f = (struct proc_fd *)self.fds.at + i;
		struct holder *h = span_push(&op.arena, &tree.holders, sizeof(*h));

		*h = (struct holder){ f->dev, f->st_ino, &self, f };
	}
	qsort(tree.holders.at, tree.holders.n, sizeof(struct holder), by_object);
}

static int no_backing(const struct site *s, uint64_t id, const struct kind *k)
{
	return -EBADF;
}

static void begin(void)
{
	op_init(&op, "test");
	slots = (struct span){ 0 };
	site = (struct site){
		.slots = &slots, .stdio = { 0, 1, 2 }, .terminal = -EBADF, .root = "", .backing = no_backing
	};
	ASSERT_TRUE(mkdtemp(dir) != NULL);
}

static void end(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	EXPECT_EQ(system(cmd), 0);
	op_done(&op);
}

static const char *path(const char *name)
{
	return arena_printf(&op.arena, "%s/%s", dir, name);
}

static struct sight sight_of(int fd)
{
	struct sight s = { .tree = &tree, .process = &self };
	struct proc_fd *f = self.fds.at;

	for (size_t i = 0; i < self.fds.n; i++)
		if (f[i].n == fd)
			s.fd = &f[i];
	ASSERT_TRUE(s.fd != NULL);
	return s;
}

/* the only kind that takes this descriptor; NULL when none does */
static const struct kind *kind_of(int fd)
{
	const struct kind *found = NULL;
	struct sight s = sight_of(fd);

	for (const struct kind *const *k = kinds; *k; k++) {
		if ((*k)->scope != SCOPE_FD || !(*k)->probe(&s))
			continue;
		EXPECT_TRUE(found == NULL);
		found = *k;
	}
	return found;
}

/* the record of a descriptor, having gone through its wire form */
static void *saved(int fd, const struct kind **ret_kind)
{
	struct sight s = sight_of(fd);
	const struct kind *k = *ret_kind = kind_of(fd);
	struct span bytes = { 0 };

	ASSERT_TRUE(k != NULL);
	ASSERT_EQ(k->check(&op, &s), 0);
	ASSERT_EQ(op.obstacles.n, 0);
	void *rec = arena_alloc(&op.arena, k->size), *again = arena_alloc(&op.arena, k->size);
	ASSERT_EQ(k->save(&op, &s, rec), 0);
	record_encode(&op.arena, k->fields, rec, &bytes);
	ASSERT_EQ(record_decode(&op.arena, k->fields, bytes.at, bytes.n, again), 0);
	return again;
}

static const char *refused(int fd)
{
	struct sight s = sight_of(fd);
	const struct kind *k = kind_of(fd);

	op.obstacles = (struct span){ 0 };
	ASSERT_TRUE(k != NULL);
	ASSERT_EQ(k->check(&op, &s), -EOPNOTSUPP);
	ASSERT_TRUE(op.obstacles.n > 0);
	return ((struct obstacle *)op.obstacles.at)->slug;
}

/* a file of @size bytes open with @flags at @pos, saved and closed */
static const struct kind *kind;
static void *save_file(int flags, off_t size, off_t pos)
{
	char block[100000];
	int fd = open(path("f"), O_RDWR | O_CREAT | O_TRUNC, 0600);

	memset(block, 'x', sizeof(block));
	ASSERT_EQ(write_all(fd, block, (size_t)size), 0);
	close(fd);
	fd = open(path("f"), flags);
	ASSERT_EQ(lseek(fd, pos, SEEK_SET), pos);
	collect();
	void *rec = saved(fd, &kind);
	EXPECT_STREQ(kind->name, "regular");
	close(fd);
	usleep(20000); /* mtime has the resolution of a tick */
	return rec;
}

static void append(const char *text)
{
	int fd = open(path("f"), O_WRONLY | O_APPEND);

	ASSERT_EQ(write_all(fd, text, strlen(text)), 0);
	close(fd);
}

static off_t size_of(const char *name)
{
	struct stat st;

	return stat(path(name), &st) < 0 ? -1 : st.st_size;
}

TEST(regular_comes_back)
{
	begin();
	int flags = O_RDWR | O_NONBLOCK | O_NOATIME;
	void *rec = save_file(flags, 70000, 12345);
	int fd = kind->restore(&op, rec, &site);
	ASSERT_LE(0, fd);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 12345);
	EXPECT_EQ(fcntl(fd, F_GETFL), flags | 0100000);
	EXPECT_EQ(op.notes.n, 0);
	end();
}

TEST(append_only_file_is_cut_at_the_very_end)
{
	begin();
	void *rec = save_file(O_WRONLY, 70000, 70000);
	append("more");
	int fd = kind->restore(&op, rec, &site);
	ASSERT_LE(0, fd);
	EXPECT_EQ(size_of("f"), 70004);
	EXPECT_EQ(op.notes.n, 1);
	ASSERT_EQ(kind->settle(&op, rec, &site), 0);
	EXPECT_EQ(size_of("f"), 70000);
	ASSERT_EQ(kind->settle(&op, rec, &site), 0);
	end();
}

TEST(empty_append_file_is_cut)
{
	begin();
	void *rec = save_file(O_WRONLY | O_APPEND, 0, 0);
	append("more");
	ASSERT_LE(0, kind->restore(&op, rec, &site));
	ASSERT_EQ(kind->settle(&op, rec, &site), 0);
	EXPECT_EQ(size_of("f"), 0);
	end();
}

static void expect_changed(void *rec)
{
	EXPECT_EQ(kind->restore(&op, rec, &site), -EOPNOTSUPP);
	EXPECT_STREQ(op.slug, "file-changed");
	EXPECT_TRUE(op.try && strstr(op.try, "=keep"));
	TH_LOG("%s; %s", op.story, op.try);
	op.err = 0;
}

TEST(other_changes_are_the_users)
{
	begin();
	void *rec = save_file(O_RDWR, 70000, 5);
	append("more");
	expect_changed(rec);
	struct file_rule rule = { path("f"), FILE_KEEP };
	site.rules = &rule;
	site.n_rules = 1;
	ASSERT_LE(0, kind->restore(&op, rec, &site));
	ASSERT_EQ(kind->settle(&op, rec, &site), 0);
	EXPECT_EQ(size_of("f"), 70004);
	rule.policy = FILE_TRUNCATE;
	ASSERT_LE(0, kind->restore(&op, rec, &site));
	EXPECT_EQ(size_of("f"), 70004);
	ASSERT_EQ(kind->settle(&op, rec, &site), 0);
	EXPECT_EQ(size_of("f"), 70000);
	end();
}

TEST(changed_prefix_stops)
{
	begin();
	void *rec = save_file(O_WRONLY | O_APPEND, 70000, 70000);
	append("more");
	int fd = open(path("f"), O_WRONLY);
	ASSERT_EQ(pwrite(fd, "y", 1, 69999), 1);
	expect_changed(rec);
	ASSERT_EQ(ftruncate(fd, 10), 0);
	expect_changed(rec);
	struct file_rule rule = { path("f"), FILE_TRUNCATE };
	site.rules = &rule;
	site.n_rules = 1;
	expect_changed(rec);
	end();
}

TEST(rewritten_in_place_stops)
{
	begin();
	void *rec = save_file(O_RDWR, 70000, 100);
	int fd = open(path("f"), O_WRONLY);
	ASSERT_EQ(pwrite(fd, "y", 1, 5), 1);
	expect_changed(rec);
	end();
}

static bool is_in_memory(const char *where)
{
	struct statfs fs;

	return statfs(where, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

TEST(reader_is_told)
{
	begin();
	void *rec = save_file(O_RDONLY, 1000, 500);
	append("more");
	ASSERT_LE(0, kind->restore(&op, rec, &site));
	EXPECT_EQ(op.notes.n, 1);
	ASSERT_EQ(truncate(path("f"), 100), 0);
	int fd = kind->restore(&op, rec, &site);
	EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 500);
	EXPECT_EQ(op.notes.n, 2);
	ASSERT_EQ(unlink(path("f")), 0);
	if (!is_in_memory(dir)) { /* there it is made again */
		EXPECT_GT(0, kind->restore(&op, rec, &site));
		EXPECT_STREQ(op.slug, "file-missing");
		op.err = 0;
	}
	ASSERT_EQ(mkfifo(path("f"), 0600), 0);
	EXPECT_GT(0, kind->restore(&op, rec, &site));
	end();
}

/* each is looked for where it was, and not where the last one was */
TEST(files_of_several_directories)
{
	const char *where[] = { "a/f", "b/f", "b/g", "f", "a/g", "ab/f" };
	void *rec[ARRAY_SIZE(where)];
	int fd[ARRAY_SIZE(where)];
	struct stat st, now;

	begin();
	ASSERT_EQ(mkdir(path("a"), 0700) + mkdir(path("b"), 0700) + mkdir(path("ab"), 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(where); i++)
		ASSERT_LE(0, fd[i] = open(path(where[i]), O_RDWR | O_CREAT, 0600));
	collect();
	for (size_t i = 0; i < ARRAY_SIZE(where); i++)
		rec[i] = saved(fd[i], &kind);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(where); i++) {
		size_t k = i % ARRAY_SIZE(where);
		int here = kind->restore(&op, rec[k], &site);

		ASSERT_LE(0, here);
		ASSERT_EQ(fstat(fd[k], &st) + fstat(here, &now), 0);
		EXPECT_EQ(now.st_ino, st.st_ino);
		EXPECT_EQ(fcntl(here, F_GETFL), O_RDWR | 0100000);
		close(here);
	}
	ASSERT_EQ(unlink(path("ab/f")) + rmdir(path("ab")) + unlink(path("b/f")), 0);
	for (size_t i = 1; i < ARRAY_SIZE(where) && !is_in_memory(dir); i += 4) { /* there they are made again */
		EXPECT_EQ(kind->restore(&op, rec[i], &site), -EOPNOTSUPP);
		EXPECT_STREQ(op.slug, "file-missing");
		op.err = 0;
	}
	end();
}

TEST(a_deleted_file_is_made_anew_once)
{
	char text[8] = "";

	begin();
	int first = open(path("gone"), O_RDWR | O_CREAT, 0600), second = open(path("gone"), O_RDONLY);
	ASSERT_EQ(write(first, "content", 7), 7);
	ASSERT_EQ(unlink(path("gone")), 0);
	collect();
	void *rec = saved(first, &kind), *other = saved(second, &kind);
	close(first);
	close(second);
	int again = kind->restore(&op, other, &site); /* in any order */
	first = kind->restore(&op, rec, &site);
	ASSERT_LE(0, first);
	ASSERT_LE(0, again);
	EXPECT_EQ(kind->settle(&op, rec, &site), 0);
	EXPECT_EQ(kind->settle(&op, other, &site), 0);
	EXPECT_EQ(lseek(first, 0, SEEK_CUR), 7);
	EXPECT_EQ(read(again, text, sizeof(text)), 7);
	EXPECT_STREQ(text, "content");
	EXPECT_EQ(access(path("gone"), F_OK), -1);
	end();
}

TEST(a_file_in_memory_is_made_again)
{
	char name[64], text[16] = "";
	struct stat st;

	if (!is_in_memory("/dev/shm"))
		SKIP("/dev/shm is no tmpfs");
	begin();
	snprintf(name, sizeof(name), "/dev/shm/kinds_fd.%d", getpid());
	int first = open(name, O_RDWR | O_CREAT | O_EXCL, 0640), second = open(name, O_RDONLY);
	ASSERT_EQ(write(first, "content", 7), 7);
	collect();
	void *rec = saved(first, &kind), *other = saved(second, &kind);
	close(first);
	close(second);
	ASSERT_EQ(unlink(name), 0);
	int again = kind->restore(&op, other, &site); /* in any order */
	first = kind->restore(&op, rec, &site);
	ASSERT_LE(0, first);
	ASSERT_LE(0, again);
	EXPECT_EQ(site.made_files.n, 1);
	EXPECT_EQ(kind->settle(&op, other, &site), 0);
	EXPECT_EQ(kind->settle(&op, rec, &site), 0);
	EXPECT_EQ(lseek(first, 0, SEEK_CUR), 7);
	EXPECT_EQ(read(again, text, sizeof(text)), 7);
	EXPECT_STREQ(text, "content");
	EXPECT_EQ(stat(name, &st), 0);
	EXPECT_EQ(st.st_mode, S_IFREG | 0640);
	EXPECT_EQ(unlink(name), 0);
	site.made_files = (struct span){ 0 };
	end();
}

TEST(files_out_of_reach_are_refused)
{
	begin();
	int gone = open(path("gone"), O_RDWR | O_CREAT, 0600), nameless = open(dir, O_TMPFILE | O_RDWR, 0600);
	int moved = open(path("moved"), O_RDWR | O_CREAT, 0600), linked = open(path("linked"), O_RDWR | O_CREAT, 0600);
	int odd = open(path("odd (deleted)"), O_RDWR | O_CREAT, 0600), status = open("/proc/self/status", O_RDONLY);
	ASSERT_EQ(unlink(path("gone")), 0);
	ASSERT_EQ(link(path("linked"), path("elsewhere")), 0);
	ASSERT_EQ(unlink(path("linked")), 0);
	ASSERT_EQ(rename(path("moved"), path("renamed")), 0);
	int leased = open(path("leased"), O_RDONLY | O_CREAT, 0600);
	ASSERT_EQ(fcntl(leased, F_SETLEASE, F_RDLCK), 0);
	int memory = (int)syscall(SYS_memfd_create, "x", 0u), large = open(dir, O_TMPFILE | O_RDWR, 0600);
	ASSERT_EQ(ftruncate(large, (32 << 20) + 1), 0);
	collect();
	EXPECT_STREQ(refused(linked), "file-deleted");
	EXPECT_STREQ(refused(large), "file-deleted");
	EXPECT_STREQ(refused(leased), "file-lease");
	EXPECT_STREQ(refused(status), "file-proc");
	op.obstacles = (struct span){ 0 };
	saved(gone, &kind);
	saved(nameless, &kind);
	saved(moved, &kind);
	saved(odd, &kind);
	EXPECT_STREQ(kind_of(memory)->name, "memfd");
	end();
}

TEST(locks_come_back)
{
	begin();
	int fd = open(path("locked"), O_RDWR | O_CREAT, 0600), other = open(path("locked"), O_RDWR);
	ASSERT_EQ(flock(fd, LOCK_SH), 0);
	ASSERT_EQ(fcntl(fd, F_OFD_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_start = 10, .l_len = 5 }), 0);
	collect();
	void *rec = saved(fd, &kind);
	EXPECT_EQ(kind->restore(&op, rec, &site), -EOPNOTSUPP);
	EXPECT_STREQ(op.slug, "file-locked");
	op.err = 0;
	close(fd);
	fd = kind->restore(&op, rec, &site);
	ASSERT_LE(0, fd);
	struct flock l = { .l_type = F_RDLCK, .l_len = 0 };
	ASSERT_EQ(fcntl(other, F_OFD_GETLK, &l), 0);
	EXPECT_EQ(l.l_type, F_WRLCK);
	EXPECT_EQ(l.l_start, 10);
	EXPECT_EQ(l.l_len, 5);
	EXPECT_EQ(flock(other, LOCK_EX | LOCK_NB), -1);
	end();
}

/* saves both ends, closes them and makes them again */
static void send_pipe(int ends[2])
{
	const struct kind *k[2];
	void *rec[2];

	collect();
	rec[1] = saved(ends[1], &k[1]);
	rec[0] = saved(ends[0], &k[0]);
	EXPECT_STREQ(k[0]->name, "pipe");
	EXPECT_STREQ(k[1]->name, "pipe");
	for (int i = 0; i < 2; i++)
		close(ends[i]);
	for (int i = 1; i >= 0; i--)
		ASSERT_LE(0, ends[i] = k[i]->restore(&op, rec[i], &site));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(k[i]->settle(&op, rec[i], &site), 0);
}

static void try_pipe(int ends[2])
{
	static char block[100000], got[sizeof(block)];
	int flags[2] = { fcntl(ends[0], F_GETFL), fcntl(ends[1], F_GETFL) }, waiting = 0;

	memset(block, 'q', sizeof(block));
	ASSERT_EQ(fcntl(ends[1], F_SETPIPE_SZ, 1 << 18), 1 << 18);
	ASSERT_EQ(write_all(ends[1], block, sizeof(block)), 0);
	send_pipe(ends);
	EXPECT_EQ(fcntl(ends[0], F_GETFL), flags[0]);
	EXPECT_EQ(fcntl(ends[1], F_GETFL), flags[1]);
	EXPECT_EQ(fcntl(ends[0], F_GETPIPE_SZ), 1 << 18);
	ASSERT_EQ(ioctl(ends[1], FIONREAD, &waiting), 0);
	EXPECT_EQ(waiting, sizeof(block));
	close(ends[1]);
	EXPECT_EQ(read_all(ends[0], got, sizeof(got)), sizeof(got));
	EXPECT_EQ(memcmp(got, block, sizeof(got)), 0);
	EXPECT_EQ(read(ends[0], got, 1), 0); /* nobody else holds the write end */
}

TEST(pipe_with_data)
{
	int ends[2];

	begin();
	ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
	try_pipe(ends);
	end();
}

TEST(fifo_with_data)
{
	begin();
	ASSERT_EQ(mkfifo(path("fifo"), 0600), 0);
	int ends[2] = { open(path("fifo"), O_RDONLY | O_NONBLOCK), open(path("fifo"), O_WRONLY) };
	try_pipe(ends);
	end();
}

TEST(broken_pipes)
{
	int ends[2], other[2];
	const struct kind *k;

	begin();
	ASSERT_EQ(pipe(ends), 0);
	ASSERT_EQ(pipe(other), 0);
	ASSERT_EQ(write_all(ends[1], "last", 4), 0);
	close(ends[1]);
	close(other[0]);
	collect();
	void *rec = saved(ends[0], &k), *wrec = saved(other[1], &kind);
	close(ends[0]);
	int fd = k->restore(&op, rec, &site), wfd = kind->restore(&op, wrec, &site);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, wfd);
	k->settle(&op, rec, &site);
	kind->settle(&op, wrec, &site);
	char got[8];
	EXPECT_EQ(read_all(fd, got, sizeof(got)), 4);
	struct pollfd p = { .fd = wfd };
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(p.revents, POLLERR);
	end();
}

/* the notes that mention @what and process @pid */
static size_t noted(const char *what, pid_t pid)
{
	const struct note *n = op.notes.at;
	char who[32];
	size_t found = 0;

	snprintf(who, sizeof(who), "(pid %d)", pid);
	for (size_t i = 0; i < op.notes.n; i++)
		found += strstr(n[i].what, what) && strstr(n[i].what, who);
	return found;
}

static void check(int fd)
{
	struct sight s = sight_of(fd);

	EXPECT_EQ(kind_of(fd)->check(&op, &s), 0);
}

TEST(what_an_outsider_holds_too_is_noted)
{
	int ends[2], own[2], pair[2], fifo;

	begin();
	ASSERT_EQ(pipe(ends), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ASSERT_EQ(mkfifo(path("fifo"), 0600), 0);
	ASSERT_LE(0, fifo = open(path("fifo"), O_RDWR));
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		close(pair[0]);
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	ASSERT_EQ(waitpid(pid, NULL, WUNTRACED), pid); /* its ends are closed */
	ASSERT_EQ(pipe(own), 0);
	collect();
	int all[] = { ends[0], ends[1], own[0], own[1], pair[0], pair[1], fifo };
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		check(all[i]);
	/* one for the pipe, one for an end of the pair; the FIFO is found again by its name */
	EXPECT_EQ(noted("pipe", pid), 1);
	EXPECT_EQ(noted("socket", pid), 1);
	EXPECT_EQ(op.notes.n, 2);

	/* who goes after he was seen holds nothing, and who comes after it is seen in time */
	op.notes.n = 0;
	collect();
	outsiders_look_ahead(&op.arena, &outsiders, getpid());
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	pid_t late = fork();
	if (late == 0)
		for (;;)
			pause();
	check(ends[0]);
	EXPECT_EQ(noted("pipe", pid), 0);
	EXPECT_EQ(noted("pipe", late), 1);
	kill(late, SIGKILL);
	EXPECT_EQ(waitpid(late, NULL, 0), late);
	end();
}

TEST(pipe_that_leads_outside)
{
	int ends[2], packets[2];

	begin();
	ASSERT_EQ(pipe(ends), 0);
	ASSERT_EQ(pipe2(packets, O_DIRECT), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[1]);
		pause();
	}
	close(ends[0]);
	collect();
	EXPECT_STREQ(refused(ends[1]), "pipe-outside");
	const struct obstacle *o = op.obstacles.at;
	EXPECT_TRUE(o->why && strstr(o->why, "it is held by"));
	EXPECT_STREQ(refused(packets[1]), "pipe-packets");
	ASSERT_EQ(dup2(ends[1], 1), 1);
	collect();
	EXPECT_STREQ(kind_of(ends[1])->name, "outside");
	EXPECT_STREQ(kind_of(1)->name, "outside");
	op.obstacles = (struct span){ 0 };
	void *rec = saved(ends[1], &kind);
	int fd = kind->restore(&op, rec, &site);
	ASSERT_LE(3, fd);
	EXPECT_EQ(proc_kcmp(getpid(), getpid(), 0, (unsigned long)fd, 1), 0);
	site.stdio[0] = site.stdio[1] = site.stdio[2] = -EBADF;
	ASSERT_LE(0, kind->restore(&op, rec, &site));
	EXPECT_EQ(op.notes.n, 1);
	end();
}

TEST(terminals)
{
	begin();
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		SKIP("there are no pseudoterminals here");
	char name[64];
	ASSERT_EQ(ptsname_r(master, name, sizeof(name)), 0);
	int slave = open(name, O_RDWR | O_NOCTTY);
	if (slave < 0)
		SKIP("the pseudoterminal cannot be opened");
	dup2(slave, 0);
	collect();
	EXPECT_STREQ(kind_of(master)->name, "pty");
	EXPECT_STREQ(kind_of(slave)->name, "pty"); /* its master is in the program */
	EXPECT_STREQ(kind_of(0)->name, "pty");

	if (fork() == 0)
		pause();
	close(master);
	collect();
	EXPECT_STREQ(kind_of(slave)->name, "outside");
	EXPECT_STREQ(kind_of(0)->name, "outside");
	end();
}

TEST(pseudoterminals_with_data)
{
	const struct kind *k;
	int null_discipline = 27; /* N_NULL, where there is such a module */

	begin();
	int master = posix_openpt(O_RDWR | O_NOCTTY), narrow = open("/dev/ptmx", O_RDONLY | O_NOCTTY);
	if (master < 0 || narrow < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		SKIP("there are no pseudoterminals here");
	char name[64];
	ASSERT_EQ(ptsname_r(master, name, sizeof(name)), 0);
	int slave = open(name, O_RDWR | O_NOCTTY);
	ASSERT_LE(0, slave);
	ASSERT_EQ(write_all(slave, "unread", 6), 0);
	ASSERT_EQ(write_all(master, "a line\n", 7), 0);
	for (int turn = 0, echoed = 0; turn < 5000 && echoed < 14; turn++, usleep(1000)) /* by a thread of the kernel */
		ASSERT_EQ(ioctl(master, FIONREAD, &echoed), 0);
	collect();
	EXPECT_STREQ(refused(narrow), "fd-flags");
	op.obstacles = (struct span){ 0 };
	op.notes = (struct span){ 0 };
	saved(slave, &k);
	EXPECT_EQ(op.notes.n, 0);
	saved(master, &k);
	ASSERT_EQ(op.notes.n, 2); /* output, with the echo, and input */
	EXPECT_TRUE(strstr(((const struct note *)op.notes.at)[0].what, "14 bytes of output"));
	EXPECT_TRUE(strstr(((const struct note *)op.notes.at)[1].what, "7 bytes of input"));
	if (ioctl(slave, TIOCSETD, &null_discipline) == 0) {
		collect();
		EXPECT_STREQ(refused(master), "pty-discipline");
	}
	fcntl(master, F_SETFL, O_ASYNC);
	collect();
	EXPECT_STREQ(refused(master), "fd-async");
	end();
}

TEST(numbers_of_pseudoterminals)
{
	const struct kind *k;
	unsigned int number, got;

	begin();
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		SKIP("there are no pseudoterminals here");
	collect();
	void *rec = saved(master, &k);
	EXPECT_TRUE(!k->reserve(&op, rec, &site));
	int other = k->restore(&op, rec, &site); /* it is taken: by us */
	ASSERT_LE(0, other);
	EXPECT_EQ(op.notes.n, 1);
	EXPECT_EQ(ioctl(other, TIOCGPTN, &got), 0);
	EXPECT_NE(got, number);
	EXPECT_EQ(k->settle(&op, rec, &site), 0);
	end();
}

TEST(directories_and_devices)
{
	begin();
	int d = open(dir, O_RDONLY | O_DIRECTORY), null = open("/dev/null", O_RDWR | O_APPEND);
	int random = open("/dev/urandom", O_RDONLY), sock = socket(AF_NETLINK, SOCK_RAW, 0);
	ASSERT_EQ(rmdir(path("x")), -1);
	collect();
	const struct kind *dk, *nk;
	void *drec = saved(d, &dk), *nrec = saved(null, &nk);
	EXPECT_STREQ(dk->name, "directory");
	EXPECT_STREQ(nk->name, "chardev");
	EXPECT_STREQ(kind_of(random)->name, "chardev");
	EXPECT_TRUE(kind_of(sock) == NULL);
	int again = nk->restore(&op, nrec, &site);
	EXPECT_EQ(fcntl(again, F_GETFL), fcntl(null, F_GETFL));
	again = dk->restore(&op, drec, &site);
	EXPECT_EQ(fcntl(again, F_GETFL), fcntl(d, F_GETFL));
	end();
}

static int has(const char *slug)
{
	const struct obstacle *o = op.obstacles.at;
	int n = 0;

	for (size_t i = 0; i < op.obstacles.n; i++)
		n += strcmp(o[i].slug, slug) == 0;
	return n;
}

static void send_descriptor(int to, int fd)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .h = { CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec io = { "", 1 };
	struct msghdr m = {
		.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};

	memcpy(CMSG_DATA(&control.h), &fd, sizeof(fd));
	ASSERT_EQ(sendmsg(to, &m, 0), 1);
}

TEST(unix_sockets_that_cannot_be_kept)
{
	const struct sock_filter all = { BPF_RET | BPF_K, 0, 0, UINT32_MAX };
	const struct sock_fprog filter = { 1, (struct sock_filter *)&all };
	int rights[2], urgent[2], offset[2], outside[2], filtered[2], zero = 0;

	begin();
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, rights), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, urgent), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, offset), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, outside), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, filtered), 0);
	send_descriptor(rights[0], 1);
	bool has_urgent = send(urgent[0], "ab", 2, MSG_OOB) == 2;
	ASSERT_EQ(send(offset[0], "x", 1, 0), 1);
	ASSERT_EQ(setsockopt(offset[1], SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)), 0);
	ASSERT_EQ(setsockopt(filtered[0], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)), 0);
	pid_t holder = fork();
	if (holder == 0)
		for (;;)
			pause();
	close(outside[1]);
	collect();
	EXPECT_STREQ(refused(rights[1]), "scm-rights");
	EXPECT_EQ(kind_of(rights[0])->check(&op, &(struct sight){ &tree, &self, .fd = sight_of(rights[0]).fd }), 0);
	EXPECT_STREQ(refused(offset[1]), "unix-peek-off");
	EXPECT_STREQ(refused(filtered[0]), "socket-filter");
	EXPECT_STREQ(refused(outside[0]), "unix-outside");
	if (has_urgent)
		EXPECT_STREQ(refused(urgent[1]), "unix-oob");
	EXPECT_EQ(has("fd-unknown"), 0);
	kill(holder, SIGKILL);
	EXPECT_EQ(waitpid(holder, NULL, 0), holder);
	end();
}

TEST(unix_diag_knows_peers)
{
	struct proc_unix one, other, listener;
	struct stat st[3];
	struct span all = { 0 };
	bool found = false;
	int pair[2], fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	begin();
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	ASSERT_EQ(shutdown(pair[1], SHUT_RD), 0);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	ASSERT_EQ(bind(fd, (struct sockaddr *)&un, offsetof(struct sockaddr_un, sun_path)), 0);
	ASSERT_EQ(listen(fd, 9), 0);
	fstat(pair[0], &st[0]);
	fstat(pair[1], &st[1]);
	fstat(fd, &st[2]);
	if (proc_unix_read(&op.arena, st[0].st_ino, &one) == -ENOENT)
		SKIP("the kernel has no unix_diag");
	ASSERT_EQ(proc_unix_read(&op.arena, st[1].st_ino, &other), 0);
	ASSERT_EQ(proc_unix_read(&op.arena, st[2].st_ino, &listener), 0);
	EXPECT_EQ(one.peer, st[1].st_ino);
	EXPECT_EQ(other.peer, st[0].st_ino);
	EXPECT_EQ(other.shutdown, 1);
	EXPECT_EQ(one.type, SOCK_DGRAM);
	EXPECT_TRUE(listener.listens && !one.listens);
	EXPECT_EQ(listener.sent, 9);
	EXPECT_EQ(listener.name.n, 6);
	ASSERT_EQ(proc_unix_listeners(&op.arena, &all), 0);
	for (size_t i = 0; i < all.n; i++)
		found |= ((struct proc_unix *)all.at)[i].ino == st[2].st_ino;
	EXPECT_TRUE(found);
	EXPECT_EQ(proc_unix_read(&op.arena, 0, &one), -ENOENT);
	EXPECT_EQ(proc_unix_read(&op.arena, 1ull << 40, &one), -ENOENT);
	end();
}

static uint64_t any_id(const struct proc_fd *fd)
{
	return 1;
}

static struct proc_unix find_socket(int fd)
{
	struct proc_unix u = { 0 };
	struct stat st;

	ASSERT_EQ(fstat(fd, &st), 0);
	ASSERT_EQ(sockets_find(&op, &tree, st.st_ino, &u), 0);
	EXPECT_EQ(u.ino, st.st_ino);
	return u;
}

static bool is_among(const struct span *sockets, uint64_t ino)
{
	const struct proc_unix *u = sockets->at;

	for (size_t i = 0; i < sockets->n; i++)
		if (u[i].ino == ino)
			return true;
	return false;
}

/* many are asked for at once; what is new is found all the same, and what has changed when records are saved */
TEST(many_unix_sockets)
{
	struct sockets sockets = { 0 };
	struct span listeners;
	struct proc_unix u;
	struct stat st;
	int pair[50][2], late[2];

	begin();
	tree = (struct tree){ .sockets = &sockets };
	for (size_t i = 0; i < ARRAY_SIZE(pair); i++)
		ASSERT_EQ(socketpair(AF_UNIX, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0, pair[i]), 0);
	fstat(pair[0][0], &st);
	if (proc_unix_read(&op.arena, st.st_ino, &u) == -ENOENT)
		SKIP("the kernel has no unix_diag");
	for (size_t i = 0; i < ARRAY_SIZE(pair); i++) {
		u = find_socket(pair[i][0]);
		fstat(pair[i][1], &st);
		EXPECT_EQ(u.peer, st.st_ino);
		EXPECT_EQ(u.type, i % 2 ? SOCK_DGRAM : SOCK_STREAM);
		EXPECT_EQ(u.received, 0);
	}
	EXPECT_TRUE(sockets.listed);
	EXPECT_GE(sockets.all.n, 2 * ARRAY_SIZE(pair));
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, late), 0);
	find_socket(late[0]);
	EXPECT_EQ(sockets_find(&op, &tree, 0, &u), -ENOENT);
	EXPECT_EQ(sockets_find(&op, &tree, 1ull << 40 | st.st_ino, &u), -ENOENT);
	ASSERT_EQ(sockets_listeners(&op, &tree, &listeners), 0);
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_EQ(bind(fd, (struct sockaddr *)&un, offsetof(struct sockaddr_un, sun_path)), 0);
	ASSERT_EQ(listen(fd, 1), 0);
	ASSERT_EQ(write(pair[0][1], "hello", 5), 5);
	tree.file_id = any_id;
	EXPECT_EQ(find_socket(pair[0][0]).received, 5);
	EXPECT_FALSE(sockets.listed);
	ASSERT_EQ(fstat(fd, &st), 0);
	EXPECT_FALSE(is_among(&listeners, st.st_ino));
	ASSERT_EQ(sockets_listeners(&op, &tree, &listeners), 0);
	EXPECT_TRUE(is_among(&listeners, st.st_ino));
	end();
}

/* another value for a number of a record, whose struct only its kind knows */
static void set(const struct kind *k, void *rec, const char *name, uint64_t value)
{
	const struct field *f = k->fields;

	while (f->type != FIELD_END && strcmp(f->name, name) != 0)
		f++;
	ASSERT_TRUE(f->type != FIELD_END);
	memcpy((char *)rec + f->offset, &value, f->size);
}

/* what a restart makes of it: the outcome of the failure */
static enum outcome outcome_of(const struct kind *k, void *rec)
{
	op.err = 0;
	op.outcome = 0;
	EXPECT_GT(0, k->restore(&op, rec, &site));
	return op_outcome(&op);
}

TEST(senseless_files_are_a_bad_image)
{
	begin();
	void *rec = save_file(O_RDWR, 100, 50);
	set(kind, rec, "pos", 1ull << 63);
	EXPECT_EQ(outcome_of(kind, rec), OUTCOME_IMAGE);
	set(kind, rec, "pos", 50);
	set(kind, rec, "flags", O_ACCMODE);
	EXPECT_EQ(outcome_of(kind, rec), OUTCOME_IMAGE);
	set(kind, rec, "flags", O_RDONLY);
	struct ofd_lock {
		uint32_t type;
		uint64_t start, end;
	} lock = { F_WRLCK, 0, 10 };
	for (const struct field *f = kind->fields; f->type != FIELD_END; f++)
		if (strcmp(f->name, "ofd_locks") == 0)
			*(struct span *)((char *)rec + f->offset) = (struct span){ &lock, 1, 0 };
	EXPECT_EQ(outcome_of(kind, rec), OUTCOME_IMAGE); /* cannot have been locked so */
	int d = open(dir, O_RDONLY | O_DIRECTORY);
	collect();
	rec = saved(d, &kind);
	set(kind, rec, "flags", O_DIRECTORY | O_RDWR);
	EXPECT_EQ(outcome_of(kind, rec), OUTCOME_IMAGE);
	end();
}

static void forget_slots(void)
{
	slots = (struct span){ 0 };
	site.slot_places = (struct map){ 0 };
}

TEST(senseless_pipes_are_a_bad_image)
{
	static const uint64_t odd[] = { 0, 1, 5000, 1ull << 31, UINT64_MAX };
	const struct kind *k;
	int ends[2];

	begin();
	ASSERT_EQ(pipe(ends), 0);
	ASSERT_EQ(write_all(ends[1], ends, sizeof(ends)), 0);
	collect();
	void *rec = saved(ends[0], &k);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		forget_slots();
		set(k, rec, "capacity", odd[i]);
		EXPECT_EQ(outcome_of(k, rec), OUTCOME_IMAGE);
	}
	struct span *data = NULL;
	for (const struct field *f = k->fields; f->type != FIELD_END; f++)
		if (strcmp(f->name, "data") == 0)
			data = (struct span *)((char *)rec + f->offset);
	ASSERT_TRUE(data != NULL);
	*data = (struct span){ arena_alloc(&op.arena, 70000), 70000, 0 };
	set(k, rec, "capacity", 65536);
	forget_slots();
	EXPECT_EQ(outcome_of(k, rec), OUTCOME_IMAGE);
	end();
}

TEST(links_in_place_of_files_are_not_followed)
{
	begin();
	void *rec = save_file(O_RDONLY | O_NOFOLLOW, 100, 0);
	ASSERT_EQ(rename(path("f"), path("g")), 0);
	ASSERT_EQ(symlink("g", path("f")), 0);
	EXPECT_EQ(outcome_of(kind, rec), OUTCOME_CANNOT);
	EXPECT_STREQ(op.slug, "file-missing");

	ASSERT_EQ(mkfifo(path("fifo"), 0600), 0);
	int fd = open(path("fifo"), O_RDWR | O_NOFOLLOW);
	collect();
	rec = saved(fd, &kind);
	ASSERT_EQ(rename(path("fifo"), path("fifo2")), 0);
	ASSERT_EQ(symlink("fifo2", path("fifo")), 0);
	EXPECT_EQ(outcome_of(kind, rec), OUTCOME_CANNOT);
	ASSERT_EQ(unlink(path("fifo")), 0);
	ASSERT_EQ(symlink("fifo", path("fifo")), 0); /* round and round */
	EXPECT_EQ(outcome_of(kind, rec), OUTCOME_CANNOT);
	end();
}

TEST(empty_records_are_refused_politely)
{
	begin();
	for (const struct kind *const *k = kinds; *k; k++) {
		if ((*k)->scope != SCOPE_FD)
			continue;
		void *rec = arena_alloc(&op.arena, (*k)->size);
		int fd = (*k)->restore(&op, rec, &site);
		EXPECT_TRUE(fd >= 0 || op.story);
		op.err = 0;
	}
	end();
}

TEST_MAIN
