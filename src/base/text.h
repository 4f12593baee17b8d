/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Text: numbers out of hostile strings, sizes and times for people, JSON for programs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct arena;

/** parse_u64() - the digits at *@s (no blank, sign or prefix) in @base 10, 16 or 8; moves *@s behind them; -EINVAL, -ERANGE */
int parse_u64(const char **s, int base, uint64_t *ret);

/** parse_duration() - "90", "10m", "1.5h", "2d", "500ms" in nanoseconds; -EINVAL, -ERANGE */
int parse_duration(const char *s, uint64_t *ret_ns);

/** parse_signal() - "TERM", "SIGTERM", "15" as a number; -EINVAL */
int parse_signal(const char *s);

/** signal_name() - "TERM", or "RTMIN+3"; static storage per thread */
const char *signal_name(int signo);

/** human_size() - "41 MiB"; human_time() - "38 ms", "1.24 s". Both write @buf and return it. */
char *human_size(uint64_t bytes, char *buf, size_t len);
char *human_time(uint64_t ns, char *buf, size_t len);

/** print_quoted() - @s with control characters, quotes and bytes >= 0x80 that are no UTF-8 escaped, in double quotes */
void print_quoted(FILE *out, const char *s);

/** quoted() - what print_quoted() prints, in the arena */
char *quoted(struct arena *a, const char *s);

/** shown() - @s for a line of output: escaped as quoted(), but without quotes, and with quotes and backslashes kept */
char *shown(struct arena *a, const char *s);

#define UTF8_BAD UINT32_MAX

/** utf8_next() - the code point at *@s, which moves behind it; UTF8_BAD for one byte that is no UTF-8; 0 at the end */
uint32_t utf8_next(const char **s);

/**
 * struct json - writes one JSON document; commas and nesting are kept by it.
 * A NULL key is for array elements. Strings may hold any bytes: what is no UTF-8 is written as U+FFFD.
 */
struct json {
	FILE *out;
	unsigned int depth;
	bool first;
};

void json_begin(struct json *j, FILE *out); /* { */
void json_end(struct json *j); /* } and a newline */
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_close_object(struct json *j);
void json_close_array(struct json *j);
void json_str(struct json *j, const char *key, const char *value); /* NULL gives null */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_hex(struct json *j, const char *key, const void *bytes, size_t len);
