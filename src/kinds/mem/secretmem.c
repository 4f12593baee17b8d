/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Secret memory - memfd_secret(2), open, mapped, or both. Nobody but who has it mapped can read it, not even the kernel by another
 * way than for a system call of his. So it is mapped here, as long as it is open; when it is only mapped, the process itself copies
 * it to where it can be read.
 *
 * Seen:  /proc/PID/smaps, "/secretmem (deleted)", and /proc/PID/fd
 * Lost:  that it is in no file: it is in the image then (noted). When it is only mapped, its owner, mode and end
 * Needs: memfd_secret(2) at the destination (before v6.5: secretmem.enable=1 on the command line of the kernel), and as much of
 *        RLIMIT_MEMLOCK as the program has of it
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kinds/outsiders.h"
#include "kinds/secretmem.h"
#include "kinds/vma.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define PAGE	  4096u
#define SIZE_MOST (16ull << 30)
#define STEP	  (16 * PAGE) /* mapped here at once: it counts as locked */

struct secretmem {
	uint64_t size;
	uint32_t mode;
	uint32_t uid, gid;
	bool bare; /* only what is mapped of it was to be seen */
	int fd; /* restarting */
};

static const struct field fields[] = {
	FIELD_U(1, struct secretmem, size, "inode.i_size"),
	FIELD_U(2, struct secretmem, mode, "inode.i_mode"),
	FIELD_U(3, struct secretmem, uid, "inode.i_uid"),
	FIELD_U(4, struct secretmem, gid, "inode.i_gid"),
	FIELD_U(5, struct secretmem, bare, ""),
	FIELDS_END,
};

/* ---- saving ---- */

static bool secretmem_probe(const struct sight *s)
{
	return vma_is_secret(s->vma);
}

static void secretmem_key(const struct sight *s, uint64_t key[2])
{
	key[0] = s->vma ? makedev(s->vma->major, s->vma->minor) : s->fd->dev;
	key[1] = s->vma ? s->vma->ino : s->fd->st_ino;
}

/* all of it lies in one file system that nobody can mount */
static bool is_on_its_device(const struct sight *s)
{
	_cleanup_close_ int own = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	struct stat st;

	return own >= 0 && fstat(own, &st) == 0 && st.st_dev == makedev(s->vma->major, s->vma->minor);
}

static int secretmem_check(struct op *op, const struct sight *s)
{
	int flags = vma_check_flags(op, s);

	if (!s->vma->shared || !is_on_its_device(s))
		return refuse(op, "file-deleted", "it is named as secret memory is, and is none", NULL,
			"maps \"%s\", which has been deleted", s->vma->name);
	return flags;
}

static int secretmem_save(struct op *op, const struct sight *s, void *rec)
{
	struct secretmem *m = rec;
	struct stat st;
	uint64_t key[2];
	size_t n;
	int fd = secretmem_open(s), r = secretmem_look(fd, &st);

	fd_close(fd);
	secretmem_key(s, key);
	const struct holder *h = tree_holders(s->tree, key[0], key[1], &n);
	if (h)
		outsider_note_file(op, s->tree, h->fd, "secret memory");
	note(op, "has secret memory (memfd_secret), which is in the image as any other");
	if (r < 0 && fd != -ENXIO)
		return fail(op, r, "examine secret memory");
	m->bare = r < 0;
	m->size = m->bare ? s->extent : (uint64_t)st.st_size;
	if (m->bare)
		return 0;
	if (m->size > SIZE_MOST)
		return refuse(op, "secret-large", "what of it exists is found by looking at all of it", NULL,
			"has secret memory (memfd_secret) of %" PRIu64 " bytes", m->size);
	m->mode = st.st_mode & 07777;
	m->uid = st.st_uid;
	m->gid = st.st_gid;
	return 0;
}

/* ---- restarting ---- */

static int malformed(struct op *op, const char *what)
{
	return fail_as(op, OUTCOME_IMAGE, "image-secretmem", NULL, "make secret memory from the image: %s", what);
}

static int secretmem_restore(struct op *op, void *rec, struct site *site)
{
	struct secretmem *m = rec;

	(void)site;
	if (m->size > INT64_MAX || m->mode > 07777)
		return malformed(op, "it has an impossible size or mode");
	_cleanup_close_ int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return fail_as(op, OUTCOME_CANNOT, "memfd-secret",
			"boot a kernel that has it (before v6.5 with secretmem.enable=1)",
			"make secret memory: memfd_secret(2) is not to be had here");
	if (fd < 0)
		return fail(op, -errno, "make secret memory");
	int r = m->size ? vma_set_size(op, fd, m->size, "secret memory", "") : 0; /* which it gets once */
	if (r < 0)
		return r;
	m->fd = fd;
	return TAKE_FD(fd);
}

/* The kernel copies: where it may not lock another page that fails, while to write there oneself would be the end (SIGBUS). */
static int copy(void *to, const void *from, size_t len)
{
	const struct iovec there = { (void *)from, len }, here = { to, len };
	ssize_t n = process_vm_readv(getpid(), &here, 1, &there, 1, 0);

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EFAULT;
}

static int fill_step(int fd, uint64_t at, const unsigned char *data, size_t len)
{
	void *to = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
	int r = to == MAP_FAILED ? -errno : copy(to, data, len);

	if (to != MAP_FAILED)
		munmap(to, len);
	return r;
}

static int secretmem_fill(struct op *op, const void *rec, int fd, uint64_t at, const void *data, size_t len)
{
	const struct secretmem *m = rec;
	int r = 0;

	len = vma_part(m->size, at, len);
	if (!len)
		return 0;
	for (size_t done = 0, n; done < len && r == 0; done += n) {
		n = len - done < STEP ? len - done : STEP;
		r = fill_step(fd, at + done, (const unsigned char *)data + done, n);
	}
	if (r == -EAGAIN || r == -EFAULT)
		return fail_as(op, OUTCOME_CANNOT, "memlock", "raise the limit (ulimit -l)",
			"fill secret memory of %" PRIu64 " bytes: so much may not be locked here", m->size);
	return r < 0 ? fail(op, r, "fill secret memory") : 0;
}

static int secretmem_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	int r = vma_check_image(op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE, VMA_SHARED);

	(void)rec;
	if (r < 0)
		return r;
	if (v->prot & PROT_EXEC)
		return malformed(op, "it is mapped to be executed");
	BATCH_MUST(b, "map secret memory", SYS_mmap, v->start, v->end - v->start, v->prot, vma_mmap_flags(v),
		(uint64_t)fd, v->pgoff);
	vma_advise(v, b);
	return 0;
}

static int secretmem_settle(struct op *op, void *rec, struct site *site)
{
	const struct secretmem *m = rec;

	(void)site;
	if (m->bare)
		return 0;
	if (fchown(m->fd, m->uid, m->gid) < 0)
		note(op, "secret memory has another owner now");
	return fchmod(m->fd, m->mode) < 0 ? fail(op, -errno, "make secret memory as it was") : 0;
}

static void secretmem_describe(const void *rec, FILE *out)
{
	char size[32];

	fputs(human_size(((const struct secretmem *)rec)->size, size, sizeof(size)), out);
}

const struct kind kind_mem_secretmem = {
	.name = "secret memory",
	.tag = 0x45,
	.scope = SCOPE_MEM,
	.size = sizeof(struct secretmem),
	.fields = fields,
	.backing_has_pages = true,
	.locks = true,
	.inside = true,
	.probe = secretmem_probe,
	.key = secretmem_key,
	.check = secretmem_check,
	.save = secretmem_save,
	.open = secretmem_open,
	.restore = secretmem_restore,
	.fill = secretmem_fill,
	.map = secretmem_map,
	.settle = secretmem_settle,
	.describe = secretmem_describe,
};
