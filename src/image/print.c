/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records for people and for programs, from their tables alone.
 */
#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "image/field.h"

#define BYTES_SHOWN 32

static uint64_t load_unsigned(const struct field *f, const void *member)
{
	uint64_t v = 0;

	memcpy(&v, member, f->size);
	return v;
}

static int64_t load_signed(const struct field *f, const void *member)
{
	unsigned int unused = 8 * (unsigned int)(sizeof(uint64_t) - f->size);

	return (int64_t)(load_unsigned(f, member) << unused) >> unused;
}

static const char *load_string(const void *member)
{
	const char *s;

	memcpy(&s, member, sizeof(s));
	return s;
}

/* The name of one or more bits of *v, which are taken out of it; NULL: those left have no name. */
static const char *next_flag(const struct field *f, uint64_t *v)
{
	for (const struct flag *flag = f->flags; flag->name; flag++) {
		if (flag->bit && (*v & flag->bit) == flag->bit) {
			*v &= ~flag->bit;
			return flag->name;
		}
	}
	return NULL;
}

/* The name of no bit at all; NULL: it has none. */
static const char *zero_flag(const struct field *f)
{
	for (const struct flag *flag = f->flags; flag->name; flag++) {
		if (!flag->bit)
			return flag->name;
	}
	return NULL;
}

static void print_bits(FILE *out, const struct field *f, uint64_t v)
{
	const char *name = v ? NULL : zero_flag(f);
	const char *bar = "";

	if (!v)
		fputs(name ? name : "0", out);
	while (v && (name = next_flag(f, &v))) {
		fprintf(out, "%s%s", bar, name);
		bar = "|";
	}
	if (v)
		fprintf(out, "%s%#" PRIx64, bar, v);
}

static void print_bytes(FILE *out, const void *bytes, size_t len)
{
	const unsigned char *b = bytes;

	for (size_t i = 0; i < len && i < BYTES_SHOWN; i++)
		fprintf(out, "%02x", b[i]);
	if (len > BYTES_SHOWN)
		fprintf(out, "...(%zu bytes)", len);
	if (!len)
		fputs("-", out);
}

static void print_value(const struct field *f, const void *member, FILE *out)
{
	const struct span *s = member;

	switch ((enum field_type)f->type) {
	case FIELD_UINT:
		fprintf(out, "%" PRIu64, load_unsigned(f, member));
		break;
	case FIELD_INT:
		fprintf(out, "%" PRId64, load_signed(f, member));
		break;
	case FIELD_BITS:
		print_bits(out, f, load_unsigned(f, member));
		break;
	case FIELD_STRING:
		print_quoted(out, load_string(member));
		break;
	case FIELD_BYTES:
		print_bytes(out, s->at, s->n);
		break;
	case FIELD_FIXED:
		print_bytes(out, member, f->size);
		break;
	case FIELD_REF:
		if (load_unsigned(f, member))
			fprintf(out, "#%" PRIu64, load_unsigned(f, member));
		else
			fputs("-", out);
		break;
	case FIELD_ARRAY:
		fprintf(out, "[%zu]", s->n);
		break;
	case FIELD_END:
		break;
	}
}

static void print_array(const struct field *f, const struct span *s, FILE *out, unsigned int indent)
{
	for (size_t i = 0; i < s->n; i++) {
		fputc('\n', out);
		for (unsigned int tab = 0; tab < indent; tab++)
			fputc('\t', out);
		fprintf(out, "%s[%zu]", f->name, i);
		record_print(f->sub, (const char *)s->at + i * f->sub_size, out, indent);
	}
}

void record_print(const struct field *fields, const void *rec, FILE *out, unsigned int indent)
{
	for (const struct field *f = fields; f->type != FIELD_END; f++) {
		const char *member = (const char *)rec + f->offset;

		if (f->type == FIELD_STRING && !load_string(member))
			continue;
		fprintf(out, " %s=", f->name);
		print_value(f, member, out);
	}
	for (const struct field *f = fields; f->type != FIELD_END; f++) {
		if (f->type == FIELD_ARRAY)
			print_array(f, (const struct span *)((const char *)rec + f->offset), out, indent + 1);
	}
}

static void json_bits(struct json *j, const struct field *f, uint64_t v)
{
	const char *name = v ? NULL : zero_flag(f);
	char number[32];

	json_array(j, f->name);
	if (name)
		json_str(j, NULL, name);
	while (v && (name = next_flag(f, &v)))
		json_str(j, NULL, name);
	if (v) {
		snprintf(number, sizeof(number), "%#" PRIx64, v);
		json_str(j, NULL, number);
	}
	json_close_array(j);
}

static void json_elements(struct json *j, const struct field *f, const struct span *s)
{
	json_array(j, f->name);
	for (size_t i = 0; i < s->n; i++) {
		json_object(j, NULL);
		record_json(f->sub, (const char *)s->at + i * f->sub_size, j);
		json_close_object(j);
	}
	json_close_array(j);
}

static void json_value(const struct field *f, const void *member, struct json *j)
{
	const struct span *s = member;

	switch ((enum field_type)f->type) {
	case FIELD_UINT:
		if (f->sub_size)
			json_bool(j, f->name, load_unsigned(f, member));
		else
			json_u64(j, f->name, load_unsigned(f, member));
		break;
	case FIELD_INT:
		json_i64(j, f->name, load_signed(f, member));
		break;
	case FIELD_BITS:
		json_bits(j, f, load_unsigned(f, member));
		break;
	case FIELD_STRING:
		json_str(j, f->name, load_string(member));
		break;
	case FIELD_BYTES:
		json_hex(j, f->name, s->at, s->n);
		break;
	case FIELD_FIXED:
		json_hex(j, f->name, member, f->size);
		break;
	case FIELD_REF:
		json_u64(j, f->name, load_unsigned(f, member));
		break;
	case FIELD_ARRAY:
		json_elements(j, f, s);
		break;
	case FIELD_END:
		break;
	}
}

void record_json(const struct field *fields, const void *rec, struct json *j)
{
	for (const struct field *f = fields; f->type != FIELD_END; f++)
		json_value(f, (const char *)rec + f->offset, j);
}
