/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is in an image, for people and for programs.
 */
#include "core/rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

static int read_rest(struct restart *r)
{
	while (!r->at_end) {
		r->memory += r->section.data_len;
		int e = load_next(r);

		if (e < 0)
			return e;
	}
	return 0;
}

static int read_image(struct restart *r, int fd, struct stasis_report *report)
{
	int e = image_open(&r->image, fd, NULL);

	if (e < 0)
		return e == -EBADMSG || e == -ENODATA || e == -EPROTONOSUPPORT
			       ? fail_as(r->op, OUTCOME_IMAGE, "image", NULL, "read the image: %s",
					 image_problem(r->image))
			       : fail(r->op, e, "read the image: %s", image_problem(r->image));
	e = load_objects(r);
	if (e == 0)
		e = gather_family(r);
	if (e == 0)
		e = read_rest(r);
	if (e < 0)
		return e;
	report->processes = r->head->processes;
	report->threads = r->head->threads;
	report->memory = r->memory;
	report->own_pidns = r->head->own_pidns;
	report->pid = (*(struct patient **)r->patients.at)->rec->pid;
	strncpy(report->name, r->head->name ? r->head->name : "", sizeof(report->name) - 1);
	return 0;
}

static void print_record(const struct kind *k, const void *rec, FILE *out)
{
	fprintf(out, "    %s:", k->name);
	if (k->describe) {
		fputc(' ', out);
		k->describe(rec, out);
	} else {
		record_print(k->fields, rec, out, 6);
	}
	fputc('\n', out);
}

static void print_parts(const struct pieces *parts, FILE *out)
{
	for (size_t i = 0; i < parts->n; i++)
		print_record(parts->at[i].kind, parts->at[i].rec, out);
}

static void print_vma(struct restart *r, const struct vma *v, FILE *out)
{
	const struct kind *k = kind_by_tag(v->tag);
	const struct object *o = v->backing ? find_object(r, v->backing) : NULL;

	fprintf(out, "    %012" PRIx64 "-%012" PRIx64 " %c%c%c%c %s", v->start, v->end, v->prot & 1 ? 'r' : '-',
		v->prot & 2 ? 'w' : '-', v->prot & 4 ? 'x' : '-', v->flags & VMA_SHARED ? 's' : 'p', k->name);
	for (const struct flag *f = vma_flag_names; f->name; f++)
		if (v->flags & f->bit & ~(uint32_t)VMA_SHARED)
			fprintf(out, " %s", f->name);
	if (v->name)
		fprintf(out, " name=%s", shown(&r->op->arena, v->name));
	if (o)
		record_print(k->fields, o->rec, out, 6);
	fputc('\n', out);
}

/* no further than a line goes */
static unsigned int depth(const struct patient *p)
{
	unsigned int n = 0;

	while (n < 40 && (p = p->parent))
		n++;
	return n;
}

static void print_process(struct restart *r, const struct patient *p, FILE *out)
{
	const struct thread_record *t = p->rec->threads.at;
	const struct fd_record *f = p->fdtable ? p->fdtable->fds.at : NULL;

	fprintf(out, "\nprocess %d ", p->rec->pid);
	print_quoted(out, p->rec->comm);
	fprintf(out, " (parent %d, group %d, session %d)%s%s%s\n", p->rec->ppid, p->rec->pgid, p->rec->sid,
		p->rec->flags & TASK_ZOMBIE ? " zombie" : "", p->rec->flags & TASK_STOPPED ? " stopped" : "",
		p->rec->flags & TASK_LEADER_GONE ? " without its first thread" : "");
	if (p->rec->flags & TASK_ZOMBIE)
		return;
	print_parts(&p->parts, out);
	for (size_t i = 0; i < p->rec->threads.n; i++) {
		fprintf(out, "  thread %d\n", t[i].tid);
		print_parts(&p->thread_parts[i], out);
	}
	fprintf(out, "  memory map\n");
	for (size_t i = 0; i < p->mm->vmas.n; i++)
		print_vma(r, (const struct vma *)p->mm->vmas.at + i, out);
	fprintf(out, "  open files\n");
	for (size_t i = 0; i < p->fdtable->fds.n; i++) {
		fprintf(out, "  %4u%s", f[i].n, f[i].cloexec ? " (close-on-exec)" : "");
		const struct object *o = find_object(r, f[i].file);
		print_record(o->kind, o->rec, out);
	}
}

/* what the image says in words, fit for a terminal */
static const char *said(struct restart *r, const char *words)
{
	return shown(&r->op->arena, words ? words : "?");
}

static void print_text(struct restart *r, FILE *out)
{
	struct patient **p = r->patients.at;
	const struct note_record *n = r->head->notes.at;
	char size[32], when[64] = "?";
	time_t at = (time_t)r->head->time;
	struct tm tm;

	if (localtime_r(&at, &tm))
		strftime(when, sizeof(when), "%F %T %z", &tm);
	print_quoted(out, r->head->name ? r->head->name : "?");
	fprintf(out, ": %" PRIu64 " processes, %" PRIu64 " threads, %s of memory\n", r->head->processes,
		r->head->threads, human_size(r->memory, size, sizeof(size)));
	fprintf(out, "saved %s by stasis %s under Linux %s on %s%s\n", when, said(r, r->head->stasis),
		said(r, r->head->release), r->head->isa, r->head->own_pidns ? ", in a pid namespace of its own" : "");
	for (size_t i = 0; i < r->head->notes.n; i++)
		fprintf(out, "note: %s: %s\n", said(r, n[i].where), said(r, n[i].what));
	for (size_t i = 0; i < r->patients.n; i++) {
		fprintf(out, "%*s%d ", (int)(2 * depth(p[i])), "", p[i]->rec->pid);
		print_quoted(out, p[i]->rec->comm);
		fputc('\n', out);
	}
	for (size_t i = 0; i < r->patients.n; i++)
		print_process(r, p[i], out);
}

static const struct field *fields_of(const struct object *o)
{
	switch (o->tag) {
	case TAG_HEAD:
		return head_fields;
	case TAG_TASK:
		return task_fields;
	case TAG_MM:
		return mm_fields;
	case TAG_FDTABLE:
		return fdtable_fields;
	default:
		return o->kind->fields;
	}
}

static void print_json(struct restart *r, FILE *out)
{
	static const char *const own[] = { "", "head", "task", "mm", "fdtable" };
	const struct object *o = r->objects.at;
	struct json j;

	json_begin(&j, out);
	json_str(&j, "name", r->head->name);
	json_u64(&j, "processes", r->head->processes);
	json_u64(&j, "threads", r->head->threads);
	json_u64(&j, "memory", r->memory);
	json_array(&j, "objects");
	for (size_t i = 0; i < r->objects.n; i++) {
		json_object(&j, NULL);
		json_u64(&j, "id", o[i].id);
		json_str(&j, "kind", o[i].kind ? o[i].kind->name : own[o[i].tag]);
		json_object(&j, "record");
		record_json(fields_of(&o[i]), o[i].rec, &j);
		json_close_object(&j);
		json_close_object(&j);
	}
	json_close_array(&j);
	json_end(&j);
}

static int look_into(int fd, FILE *out, bool json, struct stasis_report *report)
{
	struct op op;
	uint64_t began = now_ns();

	op_init(&op, out ? "show the image" : "verify the image");
	struct restart r = { .op = &op, .site = { .terminal = -EBADF } };
	if (read_image(&r, fd, report) == 0 && out) {
		if (json)
			print_json(&r, out);
		else
			print_text(&r, out);
	}
	image_close(r.image);
	report->wall_ns = now_ns() - began;
	return report_from(&op, report);
}

int stasis_show(int fd, bool json, FILE *out, struct stasis_report *report)
{
	return look_into(fd, out, json, report);
}

int stasis_verify(int fd, struct stasis_report *report)
{
	return look_into(fd, NULL, false, report);
}
