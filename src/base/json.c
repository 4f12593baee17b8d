/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <inttypes.h>

#include "base/text.h"

/* No locale decides how a string looks here: JSON is UTF-8. */
static void put_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (const char *from = s;; from = s) {
		uint32_t c = utf8_next(&s);
		if (c == 0)
			break;
		if (c == UTF8_BAD)
			fputs("\xef\xbf\xbd", out);
		else if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\u%04x", (unsigned int)c);
		else if (c == '"' || c == '\\')
			fprintf(out, "\\%c", (char)c);
		else
			fwrite(from, 1, (size_t)(s - from), out);
	}
	fputc('"', out);
}

/* The comma before a member or element, and its key. */
static void put_key(struct json *j, const char *key)
{
	if (!j->first)
		fputc(',', j->out);
	j->first = false;
	if (!key)
		return;
	put_string(j->out, key);
	fputc(':', j->out);
}

static void open_level(struct json *j, char bracket)
{
	fputc(bracket, j->out);
	j->depth++;
	j->first = true;
}

static void close_level(struct json *j, char bracket)
{
	assert(j->depth > 0);
	fputc(bracket, j->out);
	j->depth--;
	j->first = false;
}

void json_begin(struct json *j, FILE *out)
{
	*j = (struct json){ .out = out };
	open_level(j, '{');
}

void json_end(struct json *j)
{
	close_level(j, '}');
	assert(j->depth == 0);
	fputc('\n', j->out);
}

void json_object(struct json *j, const char *key)
{
	put_key(j, key);
	open_level(j, '{');
}

void json_array(struct json *j, const char *key)
{
	put_key(j, key);
	open_level(j, '[');
}

void json_close_object(struct json *j)
{
	close_level(j, '}');
}

void json_close_array(struct json *j)
{
	close_level(j, ']');
}

void json_str(struct json *j, const char *key, const char *value)
{
	put_key(j, key);
	if (value)
		put_string(j->out, value);
	else
		fputs("null", j->out);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	put_key(j, key);
	fprintf(j->out, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *key, int64_t value)
{
	put_key(j, key);
	fprintf(j->out, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	put_key(j, key);
	fputs(value ? "true" : "false", j->out);
}

void json_hex(struct json *j, const char *key, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	put_key(j, key);
	fputc('"', j->out);
	for (size_t i = 0; i < len; i++)
		fprintf(j->out, "%02x", p[i]);
	fputc('"', j->out);
}
