/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/text.h"

#define NSEC_PER_SEC UINT64_C(1000000000)
#define ESCAPED_MAX  17 /* four bytes as \xNN and a terminator */

static unsigned int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned int)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F')
		return (unsigned int)(c - 'A') + 10;
	return UINT32_MAX;
}

int parse_u64(const char **s, int base, uint64_t *ret)
{
	const char *p = *s;
	uint64_t value = 0;

	if (digit_value(*p) >= (unsigned int)base)
		return -EINVAL;
	for (; digit_value(*p) < (unsigned int)base; p++)
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
			__builtin_add_overflow(value, (uint64_t)digit_value(*p), &value))
			return -ERANGE;
	*s = p;
	*ret = value;
	return 0;
}

static uint64_t duration_unit(const char *s)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "", NSEC_PER_SEC },
		{ "ns", 1 },
		{ "us", 1000 },
		{ "ms", 1000 * 1000 },
		{ "s", NSEC_PER_SEC },
		{ "m", 60 * NSEC_PER_SEC },
		{ "h", 3600 * NSEC_PER_SEC },
		{ "d", 86400 * NSEC_PER_SEC },
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strcmp(s, units[i].name) == 0)
			return units[i].ns;
	return 0;
}

int parse_duration(const char *s, uint64_t *ret_ns)
{
	uint64_t whole;
	int r = parse_u64(&s, 10, &whole);
	if (r < 0)
		return r;

	const char *fraction = "";
	if (*s == '.') {
		fraction = ++s;
		s += strspn(s, "0123456789");
		if (s == fraction)
			return -EINVAL;
	}
	uint64_t unit = duration_unit(s);
	if (!unit)
		return -EINVAL;

	uint64_t ns;
	if (__builtin_mul_overflow(whole, unit, &ns))
		return -ERANGE;
	for (uint64_t part = unit / 10; part && digit_value(*fraction) < 10; part /= 10, fraction++)
		if (__builtin_add_overflow(ns, part * digit_value(*fraction), &ns))
			return -ERANGE;
	*ret_ns = ns;
	return 0;
}

static const char *const signals[] = {
	[SIGHUP] = "HUP",
	[SIGINT] = "INT",
	[SIGQUIT] = "QUIT",
	[SIGILL] = "ILL",
	[SIGTRAP] = "TRAP",
	[SIGABRT] = "ABRT",
	[SIGBUS] = "BUS",
	[SIGFPE] = "FPE",
	[SIGKILL] = "KILL",
	[SIGUSR1] = "USR1",
	[SIGSEGV] = "SEGV",
	[SIGUSR2] = "USR2",
	[SIGPIPE] = "PIPE",
	[SIGALRM] = "ALRM",
	[SIGTERM] = "TERM",
	[SIGSTKFLT] = "STKFLT",
	[SIGCHLD] = "CHLD",
	[SIGCONT] = "CONT",
	[SIGSTOP] = "STOP",
	[SIGTSTP] = "TSTP",
	[SIGTTIN] = "TTIN",
	[SIGTTOU] = "TTOU",
	[SIGURG] = "URG",
	[SIGXCPU] = "XCPU",
	[SIGXFSZ] = "XFSZ",
	[SIGVTALRM] = "VTALRM",
	[SIGPROF] = "PROF",
	[SIGWINCH] = "WINCH",
	[SIGIO] = "IO",
	[SIGPWR] = "PWR",
	[SIGSYS] = "SYS",
};

/* "RTMIN", "RTMIN+3", "RTMAX-1" */
static int parse_realtime(const char *s)
{
	bool up = strncasecmp(s, "RTMIN", 5) == 0;
	uint64_t n = 0;

	if (!up && strncasecmp(s, "RTMAX", 5) != 0)
		return -EINVAL;
	s += 5;
	if (*s == (up ? '+' : '-')) {
		s++;
		if (parse_u64(&s, 10, &n) < 0)
			return -EINVAL;
	}
	if (*s || n > (uint64_t)(SIGRTMAX - SIGRTMIN))
		return -EINVAL;
	return up ? SIGRTMIN + (int)n : SIGRTMAX - (int)n;
}

int parse_signal(const char *s)
{
	const char *digits = s;
	uint64_t n;

	if (parse_u64(&digits, 10, &n) == 0)
		return *digits || n == 0 || n > (uint64_t)SIGRTMAX ? -EINVAL : (int)n;
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (signals[i] && strcasecmp(s, signals[i]) == 0)
			return (int)i;
	if (strcasecmp(s, "POLL") == 0)
		return SIGIO;
	if (strcasecmp(s, "IOT") == 0)
		return SIGABRT;
	return parse_realtime(s);
}

const char *signal_name(int signo)
{
	static _Thread_local char buf[24];

	if (signo > 0 && (size_t)signo < ARRAY_SIZE(signals) && signals[signo])
		return signals[signo];
	if (signo == SIGRTMIN)
		return "RTMIN";
	if (signo > SIGRTMIN && signo <= SIGRTMAX)
		snprintf(buf, sizeof(buf), "RTMIN+%d", signo - SIGRTMIN);
	else
		snprintf(buf, sizeof(buf), "%d", signo);
	return buf;
}

char *human_size(uint64_t bytes, char *buf, size_t len)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t u = 0;

	for (; value >= 1023.5; u++)
		value /= 1024;
	snprintf(buf, len, u && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[u]);
	return buf;
}

char *human_time(uint64_t ns, char *buf, size_t len)
{
	uint64_t s = ns / NSEC_PER_SEC + (ns % NSEC_PER_SEC >= NSEC_PER_SEC / 2);
	double part = (double)ns;

	if (ns < 1000)
		snprintf(buf, len, "%" PRIu64 " ns", ns);
	else if (ns < 999500)
		snprintf(buf, len, part < 9950 ? "%.1f µs" : "%.0f µs", part / 1e3);
	else if (ns < 999500000)
		snprintf(buf, len, part < 9.95e6 ? "%.1f ms" : "%.0f ms", part / 1e6);
	else if (part < 59.95e9)
		snprintf(buf, len, part < 9.995e9 ? "%.2f s" : "%.1f s", part / 1e9);
	else if (s < 3600)
		snprintf(buf, len, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, len, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(buf, len, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
	return buf;
}

uint32_t utf8_next(const char **s)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)*s;

	if (*p == 0)
		return 0;
	(*s)++;
	if (*p < 0x80)
		return *p;
	unsigned int n = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
	if (*p < 0xc2 || *p > 0xf4)
		return UTF8_BAD;
	uint32_t c = *p & (0x7fu >> n);
	for (unsigned int i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return UTF8_BAD;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return UTF8_BAD;
	*s += n - 1;
	return c;
}

/* What changes how a terminal shows the text around it: controls, and marks that turn its direction. */
static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0xfeff || c == UTF8_BAD;
}

/* Writes one character of *s to buf, escaped where needed; false at the end. quote: the text will stand in quotes. */
static bool escape_next(const char **s, bool quote, char buf[ESCAPED_MAX])
{
	const char *from = *s;
	uint32_t c = utf8_next(s);
	int len = (int)(*s - from);

	if (c == 0)
		return false;
	if (c == '\n' || c == '\t') {
		snprintf(buf, ESCAPED_MAX, "\\%c", c == '\n' ? 'n' : 't');
	} else if (is_control(c)) {
		for (int i = 0; i < len; i++)
			snprintf(buf + 4 * i, ESCAPED_MAX - 4 * (size_t)i, "\\x%02x", (unsigned char)from[i]);
	} else {
		bool mark = quote && (c == '"' || c == '\\');
		snprintf(buf, ESCAPED_MAX, "%s%.*s", mark ? "\\" : "", len, from);
	}
	return true;
}

void print_quoted(FILE *out, const char *s)
{
	char buf[ESCAPED_MAX];

	fputc('"', out);
	while (escape_next(&s, true, buf))
		fputs(buf, out);
	fputc('"', out);
}

static char *escaped(struct arena *a, const char *s, bool quote)
{
	char *text = arena_array(a, strlen(s) + 1, 4);
	char *end = text, buf[ESCAPED_MAX];

	while (escape_next(&s, quote, buf))
		end = stpcpy(end, buf);
	return text;
}

char *quoted(struct arena *a, const char *s)
{
	return arena_printf(a, "\"%s\"", escaped(a, s, true));
}

char *shown(struct arena *a, const char *s)
{
	return escaped(a, s, false);
}
