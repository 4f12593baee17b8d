/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a person reads, and the same as JSON.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "cli/cli.h"

void put_text(FILE *out, const char *s)
{
	struct arena a;

	arena_init(&a);
	fputs(shown(&a, s), out);
	arena_done(&a);
}

int usage_error(const struct command *self, const char *fmt, ...)
{
	struct arena a;
	va_list ap;

	arena_init(&a);
	va_start(ap, fmt);
	fprintf(stderr, "stasis: %s: %s   [usage]\n", self->name, shown(&a, arena_vprintf(&a, fmt, ap)));
	va_end(ap);
	fprintf(stderr, "  usage: stasis %s %s\n  try:   stasis help %s\n", self->name, self->synopsis, self->name);
	arena_done(&a);
	return EXIT_USAGE;
}

int bad_option(const struct command *self, int c, char **argv)
{
	const char *word = argv[optind - 1];

	if (c == ':')
		return usage_error(self, "option %s needs a value", word);
	if (optopt && (word[0] != '-' || word[1] != '-'))
		return usage_error(self, "unknown option -%c", optopt);
	if (optopt)
		return usage_error(self, "option %s takes no value", word);
	return usage_error(self, "unknown option %s", word);
}

int command_help(const struct command *self)
{
	printf("usage: stasis %s %s\n\n%s", self->name, self->synopsis, self->help);
	return 0;
}

int report_fail(
	struct stasis_report *r, struct arena *a, int status, const char *slug, const char *try, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	r->error = arena_vprintf(a, fmt, ap);
	va_end(ap);
	r->status = status;
	r->slug = slug;
	r->why = NULL;
	r->try = try;
	return status;
}

int report_errno(int err)
{
	switch (err < 0 ? -err : err) {
	case EPERM:
	case EACCES:
	case EROFS:
		return EXIT_PERMISSION;
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ENAMETOOLONG:
	case ELOOP:
		return EXIT_USAGE;
	default:
		return EXIT_ENVIRONMENT;
	}
}

int report_interrupted(struct stasis_report *r, struct arena *a, int signo)
{
	return report_fail(r, a, 128 + signo, "interrupted", NULL, "interrupted: SIG%s", signal_name(signo));
}

/* "  why:  ..."; a remedy may have several lines */
static void put_field(const char *indent, const char *label, const char *text)
{
	if (!text)
		return;
	for (bool first = true; *text; first = false) {
		size_t len = strcspn(text, "\n");
		_cleanup_free_ char *line = strndup(text, len);

		fprintf(stderr, "%s%-6s", indent, first ? label : "");
		put_text(stderr, line ? line : "");
		fputc('\n', stderr);
		text += len + (text[len] == '\n');
	}
}

static void put_slug(const char *slug)
{
	if (slug && slug[0]) {
		fputs("   [", stderr);
		put_text(stderr, slug);
		fputc(']', stderr);
	}
	fputc('\n', stderr);
}

/* "where what", either may be missing */
static void put_message(const struct stasis_message *m)
{
	if (m->where && m->where[0]) {
		put_text(stderr, m->where);
		fputc(' ', stderr);
	}
	put_text(stderr, m->what ? m->what : "");
}

/* Has the error line said it all? */
static bool is_told(const struct stasis_report *r, const struct stasis_message *m)
{
	return r->n_obstacles == 1 && m->what && r->error && strstr(r->error, m->what);
}

void report_failure(const struct stasis_report *r)
{
	bool told = r->n_obstacles == 1 && is_told(r, r->obstacles);
	const struct stasis_message *only = told ? r->obstacles : NULL;

	fflush(stdout);
	fputs("stasis: ", stderr);
	put_text(stderr, r->error ? r->error : "failed for a reason that was not given");
	put_slug(r->slug ? r->slug : only ? only->slug : NULL);
	for (size_t i = 0; !told && i < r->n_obstacles; i++) {
		const struct stasis_message *m = &r->obstacles[i];
		fputs("  ", stderr);
		put_message(m);
		put_slug(m->slug);
		put_field("    ", "why:", m->why);
		put_field("    ", "try:", m->try);
	}
	put_field("  ", "why:", r->why ? r->why : only ? only->why : NULL);
	put_field("  ", "try:", r->try ? r->try : only ? only->try : NULL);
	if (r->state)
		put_field("  ", "state: ", r->state);
	report_notes(r);
}

/* the terminal may be a program's by now that has it move down without moving left */
static const char *line_end(void)
{
	struct termios t;

	return tcgetattr(STDERR_FILENO, &t) == 0 && !(t.c_oflag & OPOST) ? "\r\n" : "\n";
}

void report_notes(const struct stasis_report *r)
{
	for (size_t i = 0; i < r->n_notes; i++) {
		fputs("note: ", stderr);
		put_message(&r->notes[i]);
		fputs(line_end(), stderr);
	}
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* "saved python3 (3 tasks, 12 threads, 41 MiB) in 38 ms" */
static void put_summary(const char *verb, const struct stasis_report *r)
{
	char size[32], took[32];

	fflush(stdout);
	fprintf(stderr, "%s ", verb);
	put_text(stderr, r->name[0] ? r->name : "?");
	fprintf(stderr, " (%" PRIu64 " task%s, ", r->processes, plural(r->processes));
	if (r->threads > r->processes)
		fprintf(stderr, "%" PRIu64 " threads, ", r->threads);
	fprintf(stderr, "%s) in %s", human_size(r->memory, size, sizeof(size)),
		human_time(r->wall_ns, took, sizeof(took)));
}

void report_saved(const struct stasis_report *r, const char *to)
{
	char still[32];

	put_summary("saved", r);
	fprintf(stderr, ", stood still %s -> ", human_time(r->still_ns, still, sizeof(still)));
	put_text(stderr, to);
	fputc('\n', stderr);
	report_notes(r);
}

void report_restarted(const struct stasis_report *r)
{
	put_summary("restarted", r);
	fprintf(stderr, ", pid %d%s%s", (int)r->pid, r->own_pidns ? " (in a pid namespace of its own)" : "",
		line_end());
	report_notes(r);
}

static void json_messages(struct json *j, const char *key, const struct stasis_message *m, size_t n)
{
	json_array(j, key);
	for (size_t i = 0; i < n; i++) {
		json_object(j, NULL);
		json_str(j, "where", m[i].where);
		json_str(j, "what", m[i].what);
		json_str(j, "slug", m[i].slug);
		json_str(j, "why", m[i].why);
		json_str(j, "try", m[i].try);
		json_close_object(j);
	}
	json_close_array(j);
}

static void json_objects(struct json *j, const struct stasis_object *o, size_t n)
{
	json_array(j, "objects");
	for (size_t i = 0; i < n; i++) {
		json_object(j, NULL);
		json_str(j, "where", o[i].where);
		json_str(j, "kind", o[i].kind);
		json_str(j, "what", o[i].what);
		json_bool(j, "can", o[i].can);
		json_close_object(j);
	}
	json_close_array(j);
}

void report_json(FILE *out, const struct stasis_report *r, bool objects)
{
	struct json j;

	json_begin(&j, out);
	json_bool(&j, "ok", r->status == 0);
	json_i64(&j, "status", r->status);
	json_str(&j, "error", r->error);
	json_str(&j, "slug", r->slug);
	json_str(&j, "why", r->why);
	json_str(&j, "try", r->try);
	json_str(&j, "state", r->state);
	json_messages(&j, "obstacles", r->obstacles, r->n_obstacles);
	json_messages(&j, "notes", r->notes, r->n_notes);
	json_str(&j, "name", r->name);
	json_i64(&j, "pid", r->pid);
	json_u64(&j, "processes", r->processes);
	json_u64(&j, "threads", r->threads);
	json_u64(&j, "memory", r->memory);
	json_u64(&j, "image_size", r->image_size);
	json_u64(&j, "wall_ns", r->wall_ns);
	json_u64(&j, "still_ns", r->still_ns);
	json_str(&j, "path", r->path);
	json_bool(&j, "own_pidns", r->own_pidns);
	if (objects)
		json_objects(&j, r->objects, r->n_objects);
	json_end(&j);
	fflush(out);
}
