/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing the records, in the order of the tree. They are encoded by whichever lane is free.
 */
#include "core/core.h"

#include <linux/sched.h>
#include <sys/utsname.h>
#include <time.h>

/* struct encoded - a record as it goes into the image */
struct encoded {
	uint32_t tag;
	uint64_t id;
	struct span bytes;
};

/* struct sheet - records that are encoded one after the other: of a process, of a thread, or what comes last of a process */
struct sheet {
	struct process *process;
	const struct thread *thread; /* NULL: of the process */
	struct span encoded; /* of struct encoded */
	struct span refs; /* of struct ref: to its parts */
};

static void encode(const struct checkpoint *c, struct sheet *s, uint32_t tag, uint64_t id, const struct field *fields,
	const void *rec)
{
	struct encoded *e = span_push(&c->op->arena, &s->encoded, sizeof(*e));

	*e = (struct encoded){ .tag = tag, .id = id };
	record_encode(&c->op->arena, fields, rec, &e->bytes);
}

/* a kind without fields has only looked whether something stands against it */
static bool has_record(const struct part *p)
{
	return p->kind->fields[0].type != FIELD_END;
}

static int encode_parts(const struct checkpoint *c, void *data, size_t i)
{
	struct sheet *s = (struct sheet *)data + i;
	const struct span *parts = s->thread ? &s->thread->parts : &s->process->parts;
	const struct part *p = parts->at;

	span_reserve(&c->op->arena, &s->encoded, parts->n, sizeof(struct encoded));
	span_reserve(&c->op->arena, &s->refs, parts->n, sizeof(struct ref));
	for (size_t n = 0; n < parts->n; n++) {
		if (!has_record(&p[n]))
			continue;
		((struct ref *)span_push(&c->op->arena, &s->refs, sizeof(struct ref)))->id = p[n].id;
		if (!p[n].shared)
			encode(c, s, p[n].kind->tag, p[n].id, p[n].kind->fields, p[n].rec);
	}
	return 0;
}

static void encode_fdtable(const struct checkpoint *c, struct sheet *s, const struct process *p)
{
	struct fdtable_record rec = { 0 };
	const struct proc_fd *f = p->fds.at;

	for (size_t i = 0; i < p->fds.n; i++) {
		struct fd_record *fd = span_push(&c->op->arena, &rec.fds, sizeof(*fd));
		const struct open_file *of = f[i].open_file;

		*fd = (struct fd_record){ .n = (uint32_t)f[i].n, .cloexec = f[i].cloexec, .file = of->id };
	}
	encode(c, s, TAG_FDTABLE, p->fdtable, fdtable_fields, &rec);
}

/* struct tasks - the sheets of all processes: those of @parts are one for each that lives, and behind it one for each thread */
struct tasks {
	struct span parts; /* of struct sheet */
	struct sheet *last; /* of each process */
	size_t *first_part; /* likewise: its first one in @parts */
};

/* as it is counted in the record; 0: there is none */
static uint32_t place_of_model(const struct process *p, const struct thread *t)
{
	const struct thread *first = p->threads.at;

	return t->like ? (uint32_t)(t->like - first) + (p->ended ? 2 : 1) : 0;
}

static void encode_living(const struct checkpoint *c, const struct tasks *all, size_t i, struct task_record *rec)
{
	struct process *p = all->last[i].process;
	const struct sheet *part = (const struct sheet *)all->parts.at + all->first_part[i],
			   *end = part + 1 + (p->ended ? 1 : 0) + p->threads.n;

	rec->flags = jobctl_flags(p);
	rec->stop_signal = p->stop_signal;
	rec->mm = p->mm;
	rec->fdtable = p->fdtable;
	rec->parts = part->refs;
	if (p->ended) {
		rec->flags |= TASK_LEADER_GONE;
		rec->exit_code = (int32_t)p->ended->stat.exit_code;
	}
	span_reserve(&c->op->arena, &rec->threads, (size_t)(end - part) - 1, sizeof(struct thread_record));
	while (++part < end) {
		struct thread_record *t = span_push(&c->op->arena, &rec->threads, sizeof(*t));

		*t = (struct thread_record){ part->thread->vtid, place_of_model(p, part->thread), part->refs };
	}
	if (first_sharer(p, CLONE_FILES) == p)
		encode_fdtable(c, &all->last[i], p);
	if (first_sharer(p, CLONE_VM) == p)
		encode(c, &all->last[i], TAG_MM, p->mm, mm_fields, &((const struct mm_plan *)p->plan)->rec);
}

static int encode_task(const struct checkpoint *c, void *data, size_t i)
{
	const struct tasks *all = data;
	struct process *p = all->last[i].process;
	struct task_record rec = { .pid = p->vpid,
		.ppid = p->vppid,
		.pgid = p->vpgid,
		.sid = p->vsid,
		.comm = p->stat.comm,
		.exit_signal = (int32_t)p->stat.exit_signal };

	if (p->zombie) {
		rec.flags = TASK_ZOMBIE;
		rec.exit_code = (int32_t)p->stat.exit_code;
	} else {
		encode_living(c, all, i, &rec);
	}
	encode(c, &all->last[i], TAG_TASK, p->id, task_fields, &rec);
	return 0;
}

static void add_sheet(struct checkpoint *c, struct tasks *all, struct process *p, const struct thread *t)
{
	*(struct sheet *)span_push(&c->op->arena, &all->parts, sizeof(struct sheet)) =
		(struct sheet){ .process = p, .thread = t };
}

static size_t count_sheets(const struct checkpoint *c)
{
	struct process **p = c->tree.processes.at;
	size_t n = 0;

	for (size_t i = 0; i < c->tree.processes.n; i++)
		n += p[i]->zombie ? 0 : 1 + (p[i]->ended ? 1 : 0) + p[i]->threads.n;
	return n;
}

static void list_sheets(struct checkpoint *c, struct tasks *all)
{
	struct process **p = c->tree.processes.at;

	span_reserve(&c->op->arena, &all->parts, count_sheets(c), sizeof(struct sheet));
	all->last = arena_array(&c->op->arena, c->tree.processes.n, sizeof(*all->last));
	all->first_part = arena_array(&c->op->arena, c->tree.processes.n, sizeof(*all->first_part));
	for (size_t i = 0; i < c->tree.processes.n; i++) {
		const struct thread *t = p[i]->threads.at;

		all->last[i].process = p[i];
		all->first_part[i] = all->parts.n;
		p[i]->id = c->next_id++;
		if (p[i]->zombie)
			continue;
		const struct process *files = first_sharer(p[i], CLONE_FILES);
		p[i]->fdtable = files == p[i] ? c->next_id++ : files->fdtable;
		add_sheet(c, all, p[i], NULL);
		if (p[i]->ended)
			add_sheet(c, all, p[i], p[i]->ended);
		for (size_t k = 0; k < p[i]->threads.n; k++)
			add_sheet(c, all, p[i], &t[k]);
	}
}

static int put(struct checkpoint *c, struct image_writer *w, uint32_t tag, uint64_t id, const struct span *bytes)
{
	int r = image_put(w, tag, id, bytes->at, bytes->n);

	return r < 0 ? fail(c->op, r, "write to the image") : 0;
}

static int put_sheets(struct checkpoint *c, struct image_writer *w, const struct sheet *s, const struct sheet *end)
{
	int r = 0;

	for (; s < end; s++) {
		const struct encoded *e = s->encoded.at;

		for (size_t i = 0; i < s->encoded.n && r == 0; i++)
			r = put(c, w, e[i].tag, e[i].id, &e[i].bytes);
	}
	return r;
}

static int put_tasks(struct checkpoint *c, struct image_writer *w)
{
	struct tasks all = { 0 };

	list_sheets(c, &all);
	crew_share(c, NULL, all.parts.n, encode_parts, all.parts.at);
	crew_share(c, NULL, c->tree.processes.n, encode_task, &all);
	const struct sheet *part = all.parts.at;
	int r = 0;
	for (size_t i = 0; i < c->tree.processes.n && r == 0; i++) {
		const size_t end = i + 1 < c->tree.processes.n ? all.first_part[i + 1] : all.parts.n;

		r = put_sheets(c, w, part + all.first_part[i], part + end);
		if (r == 0)
			r = put_sheets(c, w, &all.last[i], &all.last[i] + 1);
	}
	return r;
}

static int put_record(struct checkpoint *c, struct image_writer *w, uint32_t tag, uint64_t id,
	const struct field *fields, const void *rec)
{
	struct span bytes = { 0 };

	record_encode(&c->op->arena, fields, rec, &bytes);
	return put(c, w, tag, id, &bytes);
}

static int put_head(struct checkpoint *c, struct image_writer *w)
{
	struct utsname u;
	const struct note *n = c->op->notes.at;

	uname(&u);
	struct head head = { .stasis = STASIS_VERSION,
		.release = u.release,
		.isa = ISA_NAME,
		.name = c->root->stat.comm,
		.time = (uint64_t)time(NULL),
		.processes = c->tree.processes.n,
		.threads = c->threads,
		.objects = c->next_id + 2 * c->tree.processes.n,
		.own_pidns = c->own_pidns,
		.monotonic_ns = c->clocks.monotonic,
		.boottime_ns = c->clocks.boottime };
	for (size_t i = 0; i < c->op->notes.n; i++) {
		struct note_record *rec = span_push(&c->op->arena, &head.notes, sizeof(*rec));
		*rec = (struct note_record){ n[i].where, n[i].what };
	}
	return put_record(c, w, TAG_HEAD, 1, head_fields, &head);
}

int put_records(struct checkpoint *c, struct image_writer *w)
{
	struct open_file **f = c->open_files.at;
	struct backing **b = c->backings.at;
	int r = put_head(c, w);

	for (size_t i = 0; i < c->backings.n && r == 0; i++)
		r = put_record(c, w, b[i]->kind->tag, b[i]->id, b[i]->kind->fields, b[i]->rec);
	for (size_t i = 0; i < c->open_files.n && r == 0; i++)
		r = put_record(c, w, f[i]->kind->tag, f[i]->id, f[i]->kind->fields, f[i]->rec);
	return r < 0 ? r : put_tasks(c, w);
}
