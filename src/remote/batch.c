/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mirror of a batch is made of blocks that stay where they are, so that pointers to calls and results stay good; in the
 * task the calls lie one behind the other, and behind the room for calls what they read and write.
 */
#include "remote/remote.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "remote/go.h"

#define CALLS_A_BLOCK 32 /* of the first, which often is all there is, half as many */
#define AUX_A_BLOCK   ((size_t)2048)
#define AUX_FIRST     ((size_t)384)
#define NONE	      UINT32_MAX

/** struct block - a piece of the mirror */
struct block {
	unsigned char *here;
	uint64_t there;
	size_t used, room;
};

/** struct sent - one call of the batch */
struct sent {
	struct stub_call *call;
	const char *what;
	bool must; /* as we asked: what comes back is the task's */
};

void batch_init(struct batch *b, struct arena *a, struct room *room, struct held *h)
{
	*b = (struct batch){ .h = h, .room = room, .arena = a, .failed = NONE };
}

static struct block *add_block(struct batch *b, struct span *blocks, size_t room, uint64_t there)
{
	struct block *k = span_push(b->arena, blocks, sizeof(*k));

	*k = (struct block){ .here = arena_alloc(b->arena, room), .there = there, .room = room };
	return k;
}

static struct block *last_block(const struct span *blocks)
{
	return blocks->n ? (struct block *)blocks->at + blocks->n - 1 : NULL;
}

static unsigned char *aux_take(struct batch *b, size_t len, struct taddr *ret)
{
	size_t need = (len + 15) & ~(size_t)15;
	struct block *k = last_block(&b->aux);

	if (need < len || need > ROOM_AUX_BYTES - b->aux_len) { /* batch_start() tells */
		b->full = true;
		ret->at = 0;
		return arena_alloc(b->arena, len);
	}
	if (!k || k->room - k->used < need)
		k = add_block(b, &b->aux, max_u64(need, k ? AUX_A_BLOCK : AUX_FIRST),
			b->room->data.at + ROOM_CALL_BYTES + b->aux_len);
	unsigned char *here = k->here + k->used;
	ret->at = k->there + k->used;
	k->used += need;
	b->aux_len = ret->at + need - b->room->data.at - ROOM_CALL_BYTES;
	return here;
}

struct taddr batch_in(struct batch *b, const void *data, size_t len)
{
	struct taddr at;

	if (len)
		memcpy(aux_take(b, len, &at), data, len);
	else
		aux_take(b, len, &at);
	return at;
}

struct taddr batch_out(struct batch *b, size_t len, void *ret)
{
	struct taddr at;

	*(void **)ret = aux_take(b, len, &at);
	return at;
}

bool batch_has_room(const struct batch *b, unsigned int calls, size_t bytes)
{
	return b->n + calls <= ROOM_CALLS && b->aux_len + bytes + AUX_A_BLOCK <= ROOM_AUX_BYTES;
}

struct stub_call *batch_call(struct batch *b, const char *what, long nr, const uint64_t arg[6])
{
	struct block *k = last_block(&b->calls);

	b->full |= b->n >= ROOM_CALLS;
	if (!k || k->room == k->used)
		k = add_block(b, &b->calls, (k ? CALLS_A_BLOCK : CALLS_A_BLOCK / 2) * sizeof(struct stub_call),
			b->room->data.at + b->n * sizeof(struct stub_call));
	struct stub_call *c = (struct stub_call *)(k->here + k->used);
	struct sent *s = span_push(b->arena, &b->sent, sizeof(*s));

	k->used += sizeof(*c);
	*c = (struct stub_call){ .nr = (uint32_t)nr };
	memcpy(c->arg, arg, sizeof(c->arg));
	*s = (struct sent){ .call = c, .what = what };
	b->n++;
	return c;
}

struct stub_call *batch_last(struct batch *b)
{
	return ((struct sent *)b->sent.at)[b->n - 1].call;
}

struct stub_call *batch_nth(const struct batch *b, unsigned int n)
{
	return ((struct sent *)b->sent.at)[n].call;
}

struct taddr batch_result(const struct batch *b)
{
	return (struct taddr){ b->room->data.at + (b->n - 1) * sizeof(struct stub_call) +
			       offsetof(struct stub_call, ret) };
}

/* struct pieces - of the mirror, that go to the task or back with one call */
struct pieces {
	struct iovec here[64], there[64];
	size_t n, len;
};

static int move_pieces(const struct batch *b, struct pieces *p, bool out)
{
	ssize_t done = out ? process_vm_writev(b->room->pid, p->here, p->n, p->there, p->n, 0)
			   : process_vm_readv(b->room->pid, p->here, p->n, p->there, p->n, 0);

	if (done < 0)
		return -errno;
	if ((size_t)done != p->len)
		return -EFAULT;
	p->n = p->len = 0;
	return 0;
}

/* the whole mirror to the task or back */
static int transfer(const struct batch *b, bool out)
{
	const struct span *const parts[] = { &b->calls, &b->aux };
	struct pieces p = { .n = 0 };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const struct block *k = parts[i]->at;

		for (size_t n = 0; n < parts[i]->n && r == 0; n++) {
			p.here[p.n] = (struct iovec){ k[n].here, k[n].used };
			p.there[p.n++] = (struct iovec){ (void *)k[n].there, k[n].used };
			p.len += k[n].used;
			r = p.n == ARRAY_SIZE(p.here) ? move_pieces(b, &p, out) : 0;
		}
	}
	return r == 0 && p.n ? move_pieces(b, &p, out) : r;
}

static int judge(const struct batch *b, bool aloud)
{
	const struct call_judge *j = b->h->judge;
	const struct sent *s = b->sent.at;

	if (!j)
		return 0;
	const struct stub_call **calls = arena_array(b->arena, b->n, sizeof(*calls));
	const char **what = arena_array(b->arena, b->n, sizeof(*what));
	for (unsigned int i = 0; i < b->n; i++) {
		calls[i] = s[i].call;
		what[i] = s[i].what;
	}
	return j->allows(j, calls, aloud ? what : NULL, b->n);
}

bool batch_allowed(const struct batch *b)
{
	return judge(b, false) == 0;
}

void batch_empty(struct batch *b)
{
	b->n = 0;
	b->aux_len = 0;
	b->calls = b->aux = b->sent = (struct span){ 0 };
}

int batch_start(struct batch *b)
{
	struct sent *s = b->sent.at;

	if (b->full)
		return -E2BIG;
	if (!b->n)
		return 0;
	int judged = judge(b, true);
	if (judged < 0)
		return judged;
	for (unsigned int i = 0; i < b->n; i++)
		s[i].must = s[i].call->flags & STUB_MUST;
	int r = transfer(b, true);
	if (r < 0)
		return r;
	r = stub_go(b->h, b->room, b->room->data, b->n, true);
	b->running = r == 0;
	return r;
}

static int take_back(struct batch *b)
{
	int r = stub_wait(b->h, b->room, NULL);

	if (r == -ESRCH)
		return r;
	int read = transfer(b, false);
	return r < 0 ? r : read;
}

int batch_finish(struct batch *b)
{
	if (!b->running)
		return 0;
	const struct sent *s = b->sent.at;
	int r = take_back(b);

	b->running = false;
	b->failed = NONE;
	for (unsigned int i = 0; i < b->n && r == 0; i++)
		if (s[i].must && s[i].call->ret < 0 && s[i].call->ret >= -4095) {
			b->failed = i;
			b->failed_what = s[i].what;
			r = (int)s[i].call->ret;
		}
	batch_empty(b);
	return r;
}

int batch_run(struct batch *b)
{
	int r = batch_start(b);

	return r < 0 ? r : batch_finish(b);
}

const char *batch_what(const struct batch *b)
{
	return b->failed != NONE ? b->failed_what : "run a batch of calls in the task";
}
