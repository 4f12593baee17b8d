/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From sections to records. Everything here is a stranger's: ids may be missing, doubled or of the wrong kind.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kinds/vma.h"

static const struct {
	uint32_t tag;
	const struct field *fields;
	size_t size;
} own[] = {
	{ TAG_HEAD, head_fields, sizeof(struct head) },
	{ TAG_TASK, task_fields, sizeof(struct task_record) },
	{ TAG_MM, mm_fields, sizeof(struct mm_record) },
	{ TAG_FDTABLE, fdtable_fields, sizeof(struct fdtable_record) },
};

/* is it of the pool of huge pages, which may have too few? */
static bool is_pooled(const struct page_sink *k)
{
	const struct mm_record *mm = k->patient ? k->patient->mm : NULL;
	size_t n = mm ? vma_above(mm, k->failed_at) : 0;

	return mm && n < mm->vmas.n && ((const struct vma *)mm->vmas.at)[n].flags & VMA_HUGETLB;
}

static int bad_image(struct restart *r, int err)
{
	const struct page_sink *k = (const struct page_sink *)image_failed_sink(r->image);

	if (k && is_pooled(k) && (err == -EFAULT || err == -EIO))
		return fail_as(r->op, OUTCOME_CANNOT, "huge-pages", "have more of them (sysctl vm.nr_hugepages)",
			"put pages to %#lx: there are not enough huge pages", (unsigned long)k->failed_at);
	if (k)
		return fail(r->op, err, "put pages to %#lx", (unsigned long)k->failed_at);
	if (err != -EBADMSG && err != -ENODATA && err != -EPROTONOSUPPORT)
		return fail(r->op, err, "read the image: %s", image_problem(r->image));
	return fail_as(r->op, OUTCOME_IMAGE, "image", "use another image of the program, if there is one",
		"read the image: %s", image_problem(r->image));
}

static int decode(struct restart *r, const struct section *s)
{
	struct op *op = r->op;
	const struct field *fields = NULL;
	size_t size = 0;
	struct object *o = span_push(&op->arena, &r->objects, sizeof(*o));

	*o = (struct object){ .id = s->id, .tag = s->tag, .kind = kind_by_tag(s->tag), .fd = -EBADF };
	if (o->kind) {
		fields = o->kind->fields;
		size = o->kind->size;
	}
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (own[i].tag == s->tag) {
			fields = own[i].fields;
			size = own[i].size;
		}
	if (!fields)
		return fail_as(op, OUTCOME_IMAGE, "image-newer",
			"restart with the stasis that wrote the image, or a newer one",
			"read an object of kind %#x: this version does not know it", s->tag);
	o->rec = arena_alloc(&op->arena, size);
	int err = record_decode(&op->arena, fields, s->payload, s->len, o->rec);
	if (err == -EPROTONOSUPPORT)
		return fail_as(op, OUTCOME_IMAGE, "image-newer",
			"restart with the stasis that wrote the image, or a newer one",
			"read the %s at byte %lu: it holds what this version does not know",
			o->kind ? o->kind->name : "record", (unsigned long)s->at);
	if (err < 0)
		return fail_as(op, OUTCOME_IMAGE, "image", NULL, "read the %s at byte %lu: it is malformed",
			o->kind ? o->kind->name : "record", (unsigned long)s->at);
	return 0;
}

int load_next(struct restart *r)
{
	int got = image_next(r->image, &r->section);

	if (got < 0)
		return bad_image(r, got);
	r->at_end = got == 0;
	return 0;
}

int load_pages(struct restart *r, const struct page_sink *sink, bool wait)
{
	struct page_sink *k = arena_dup(&r->op->arena, sink, sizeof(*sink));
	int e = image_send(r->image, &k->sink);

	r->memory += r->section.data_len;
	if (e == 0 && wait)
		e = image_wait(r->image);
	return e < 0 ? bad_image(r, e) : load_next(r);
}

int load_wait(struct restart *r, int e)
{
	int last = image_wait(r->image);

	return e < 0 || last == 0 ? e : bad_image(r, last);
}

static int by_id(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* ids are given one after the other: mostly it is where it would be if none were left out */
struct object *find_object(struct restart *r, uint64_t id)
{
	const struct object key = { .id = id };
	struct object *o = r->objects.at;
	size_t guess = r->objects.n ? (size_t)(id - o[0].id) : 0;

	if (guess < r->objects.n && o[guess].id == id)
		return &o[guess];
	return r->objects.n ? bsearch(&key, r->objects.at, r->objects.n, sizeof(key), by_id) : NULL;
}

static int check_head(struct restart *r)
{
	struct object *o = find_object(r, 1);

	if (!o || o->tag != TAG_HEAD)
		return fail_as(r->op, OUTCOME_IMAGE, "image", NULL, "find the head of the image");
	r->head = o->rec;
	if (!r->head->isa || strcmp(r->head->isa, ISA_NAME) != 0)
		return fail_as(r->op, OUTCOME_IMAGE, "image-isa", "restart it on a machine of that kind",
			"run a program for %s on %s", r->head->isa ? r->head->isa : "?", ISA_NAME);
	return 0;
}

int load_objects(struct restart *r)
{
	int err = load_next(r);

	while (err == 0 && !r->at_end && r->section.type == SECTION_OBJECT) {
		err = decode(r, &r->section);
		if (err == 0)
			err = load_next(r);
	}
	if (err < 0)
		return err;
	if (r->objects.n)
		qsort(r->objects.at, r->objects.n, sizeof(struct object), by_id);
	const struct object *o = r->objects.at;
	for (size_t i = 1; i < r->objects.n; i++)
		if (o[i].id == o[i - 1].id)
			return fail_as(r->op, OUTCOME_IMAGE, "image", NULL,
				"tell two objects with the same id %lu apart", (unsigned long)o[i].id);
	return check_head(r);
}
