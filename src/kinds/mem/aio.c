/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ring of an AIO context, io_setup(2): what is done waits in it for io_getevents(2), or for a look of the program itself.
 * The context is known by where its ring lies, and moves along with it (aio_ring_mremap() in fs/aio.c).
 *
 * A new context thinks that its ring is empty, and it keeps a position of its own. So for each event that waits a read of
 * nothing is made, which is done at once; then the old events are put over those of these reads.
 *
 * Seen:  /proc/PID/smaps, "/[aio] (deleted)"; its memory
 * Lost:  requests that are under way still, which nothing shows (noted). Where a thread waits for them with no end it is refused.
 *	  A child of fork(2) has the ring of its parent mapped, without the context: it gets a context of its own.
 * Needs: as many processors as then, or less, as the smallest ring depends on them; /proc/sys/fs/aio-max-nr
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "kinds/vma.h"

#define MAGIC	    0xa10a10a1u
#define PAGES_MAX   (0x10000000u / 4096 + 1)
#define QUIET_MS    20 /* nothing is done in that time: then nothing is under way, as far as disks are concerned */
#define PATIENCE_MS 500
#define AT_ONCE	    256

/* struct head - struct aio_ring */
struct head {
	uint32_t id, nr, head, tail, magic, compat, incompat, len;
};
_Static_assert(sizeof(struct head) == sizeof(struct io_event), "the ring has the size of one more event");

struct ring {
	uint32_t nr; /* events that have room */
	struct span events; /* bytes: of struct io_event, those that wait */
};

static const struct field fields[] = {
	FIELD_U(1, struct ring, nr, "kioctx.nr_events"),
	FIELD_BLOB(2, struct ring, events, "aio_ring.io_events"),
	FIELDS_END,
};

static bool aio_probe(const struct sight *s)
{
	return vma_is_aio(s->vma);
}

static void aio_key(const struct sight *s, uint64_t key[2])
{
	key[0] = (uint64_t)s->vma->major << 32 | s->vma->minor;
	key[1] = s->vma->ino;
}

static uint64_t room_in(uint64_t bytes)
{
	return bytes / sizeof(struct io_event) - 1;
}

static int read_head(const struct sight *s, struct head *ret)
{
	return remote_read(s->process->tid, (struct taddr){ s->vma->start }, ret, sizeof(*ret));
}

/* the program can write there as well */
static bool is_sound(const struct proc_vma *v, const struct head *h)
{
	return h->magic == MAGIC && h->len == sizeof(*h) && !h->incompat && h->nr == room_in(v->end - v->start) &&
	       h->head < h->nr && h->tail < h->nr;
}

static int aio_check(struct op *op, const struct sight *s)
{
	struct head h;
	int r = vma_check_flags(op, s);

	if (s->vma->pgoff || read_head(s, &h) < 0 || !is_sound(s->vma, &h))
		return refuse(
			op, "aio-ring", NULL, NULL, "has but a part of the ring of an AIO context, or has spoiled it");
	return r;
}

/* ---- saving ---- */

static uint32_t waiting(const struct head *h)
{
	return (h->tail + h->nr - h->head) % h->nr;
}

/* a thread that waits, for ever if need be, for more than there is */
static bool is_awaited(const struct sight *s, const struct head *h)
{
	const struct thread *t = s->process->threads.at;

	for (size_t i = 0; i < s->process->threads.n; i++) {
		const struct arch_regs *regs = t[i].held.again ? &t[i].held.ended : &t[i].held.regs;
		long nr = arch_interrupted(regs) == NOT_INTERRUPTED ? -1 : arch_syscall_nr(regs);

		if ((nr == SYS_io_getevents || nr == SYS_io_pgetevents) && arch_syscall_arg(regs, 0) == s->vma->start &&
			!arch_syscall_arg(regs, 4) && arch_syscall_arg(regs, 1) > waiting(h))
			return true;
	}
	return false;
}

static int wait_quiet(struct op *op, const struct sight *s, struct head *ret)
{
	int quiet = 0, all = 0;
	struct head h;

	int r = read_head(s, ret);
	if (r == 0 && !is_sound(s->vma, ret))
		r = -EBADMSG;
	for (; r == 0 && (quiet < QUIET_MS || is_awaited(s, ret)) && all < PATIENCE_MS; all++) {
		nap_ms(1);
		r = read_head(s, &h);
		if (r == 0 && !is_sound(s->vma, &h))
			r = -EBADMSG;
		if (r < 0)
			break;
		quiet = h.tail == ret->tail ? quiet + 1 : 0;
		*ret = h;
	}
	if (r < 0)
		return fail(op, r, "read the ring of an AIO context");
	if (all < PATIENCE_MS)
		return 0;
	return refuse(op, "aio-busy", "they would be lost", "try again when they are done",
		"waits for requests of its AIO context that are under way");
}

static int aio_save(struct op *op, const struct sight *s, void *rec)
{
	struct ring *ring = rec;
	struct head h;
	int r = wait_quiet(op, s, &h);

	if (r < 0)
		return r;
	size_t n = waiting(&h), first = n < h.nr - h.head ? n : h.nr - h.head;
	struct io_event *e = arena_array(&op->arena, n + 1, sizeof(*e));
	const uint64_t at = s->vma->start + sizeof(h);
	r = remote_read(s->process->tid, (struct taddr){ at + h.head * sizeof(*e) }, e, first * sizeof(*e));
	if (r == 0)
		r = remote_read(s->process->tid, (struct taddr){ at }, e + first, (n - first) * sizeof(*e));
	if (r < 0)
		return fail(op, r, "read the ring of an AIO context");
	ring->nr = h.nr;
	ring->events = (struct span){ e, n * sizeof(*e), 0 };
	note(op, "has an AIO context: requests that are under way in it cannot be seen, and would be lost");
	return 0;
}

/* ---- restarting ---- */

/* what waits, to be read from by the task */
static int aio_restore(struct op *op, void *rec, struct site *site)
{
	const struct ring *ring = rec;
	size_t n = ring->events.n / sizeof(struct io_event);

	if (ring->events.n % sizeof(struct io_event) || n >= ring->nr)
		return fail_as(op, OUTCOME_IMAGE, "image-aio", NULL, "make the ring of an AIO context");
	_cleanup_close_ int fd = memfd_create("aio", MFD_CLOEXEC);
	if (fd < 0)
		return fail(op, -errno, "make room for the events of an AIO context");
	int r = pwrite_all(fd, ring->events.at, ring->events.n, 0);
	return r < 0 ? fail(op, r, "store the events of an AIO context") : TAKE_FD(fd);
}

static int run(struct op *op, struct batch *b)
{
	int r = batch_run(b);

	return r < 0 ? fail(op, r, "%s", batch_what(b)) : 0;
}

/* the fewest requests for which io_setup(2) makes a ring of so many pages: ioctx_alloc(), aio_setup_ring() */
static uint64_t requests_for(uint64_t pages)
{
	const uint64_t per_page = 4096 / sizeof(struct io_event);

	return pages == 1 ? 1 : (per_page * (pages - 1) - 3) / 2 + 1;
}

/* somewhere: @ret */
static int set_up(struct op *op, const struct vma *v, struct batch *b, uint64_t *ret)
{
	uint64_t pages = (v->end - v->start) / 4096, *ctx;
	struct head h;

	/* so that it is not made just there, or in part */
	BATCH_MUST(b, "reserve room for an AIO context", SYS_mmap, v->start, v->end - v->start, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0);
	struct taddr out = batch_out(b, sizeof(*ctx), &ctx);
	BATCH_MUST(b, "make an AIO context (sysctl fs.aio-max-nr)", SYS_io_setup, requests_for(pages), out.at);
	int r = run(op, b);
	if (r == 0)
		r = remote_read(b->room->pid, (struct taddr){ *ctx }, &h, sizeof(h));
	if (r < 0)
		return op->err ? r : fail(op, r, "read the ring of an AIO context");
	if (h.nr != room_in(v->end - v->start))
		return fail_as(op, OUTCOME_CANNOT, "aio-ring", "restart on a machine with fewer processors",
			"make an AIO context whose ring has %" PRIu64 " kB: here it gets another size", pages * 4);
	*ret = *ctx;
	return 0;
}

/* as many events as waited, of reads that are done at once */
static int fill(struct op *op, const struct vma *v, uint64_t n, int fd, struct batch *b)
{
	const struct iocb nothing = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd };

	while (n) {
		uint64_t at[AT_ONCE], some = n < AT_ONCE ? n : AT_ONCE;
		struct taddr iocb = batch_in(b, &nothing, sizeof(nothing));

		for (size_t i = 0; i < some; i++)
			at[i] = iocb.at;
		const struct stub_call *c = BATCH_CALL(b, "fill the ring of an AIO context", SYS_io_submit, v->start,
			some, batch_in(b, at, some * sizeof(*at)).at);
		int r = run(op, b);
		if (r == 0 && (c->ret <= 0 || (uint64_t)c->ret > n))
			r = fail(op, c->ret < 0 ? (int)c->ret : -EAGAIN, "fill the ring of an AIO context");
		if (r < 0)
			return r;
		n -= (uint64_t)c->ret;
	}
	return 0;
}

static int aio_map(struct op *op, const struct vma *v, const void *rec, int fd, struct batch *b)
{
	const struct ring *ring = rec;
	uint64_t len = v->end - v->start, ctx = 0, n = ring->events.n / sizeof(struct io_event);
	int r = vma_check_image(
		op, v, VMA_GROWSDOWN | VMA_WIPEONFORK | VMA_DROPPABLE | VMA_HUGETLB | VMA_MAYWRITE_OFF, VMA_SHARED);

	if (r < 0)
		return r;
	if (v->pgoff || len / 4096 > PAGES_MAX || ring->nr != room_in(len))
		return fail_as(op, OUTCOME_IMAGE, "image-aio", NULL, "map the ring of an AIO context");
	r = set_up(op, v, b, &ctx);
	if (r < 0)
		return r;
	BATCH_MUST(b, "move the ring of an AIO context", SYS_mremap, ctx, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		v->start);
	r = run(op, b);
	if (r == 0)
		r = fill(op, v, n, fd, b);
	if (r < 0)
		return r;
	if (n)
		BATCH_MUST(b, "put events into the ring of an AIO context", SYS_pread64, (uint64_t)fd,
			v->start + sizeof(struct head), ring->events.n, 0);
	BATCH_MUST(b, "protect the ring of an AIO context", SYS_mprotect, v->start, len, v->prot);
	vma_advise(v, b);
	return 0;
}

static void aio_describe(const void *rec, FILE *out)
{
	const struct ring *ring = rec;

	fprintf(out, " of %" PRIu32 ", %zu wait", ring->nr, ring->events.n / sizeof(struct io_event));
}

const struct kind kind_mem_aio = {
	.name = "AIO context",
	.tag = 0x47,
	.scope = SCOPE_MEM,
	.size = sizeof(struct ring),
	.fields = fields,
	.probe = aio_probe,
	.key = aio_key,
	.check = aio_check,
	.save = aio_save,
	.restore = aio_restore,
	.map = aio_map,
	.describe = aio_describe,
};
