/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `stasis run` stands by on this host: a file for each job, named by its pid, in a directory of the caller alone.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"

#include "cli/cli.h"

#define JOB_FILE_MAX  (1u << 20)
#define JOB_NAME_MAX  64
#define STAT_FILE_MAX 4096

/* the number @n fields further on in @p, which moves there */
static int stat_number(const char **p, int n, uint64_t *ret)
{
	const char *at = *p;

	for (; n > 0; n--) {
		at = strchr(at, ' ');
		if (!at)
			return -EPROTO;
		at++;
	}
	*p = at;
	return parse_u64(&at, 10, ret);
}

int process_start(struct arena *a, pid_t pid, uint64_t *ret)
{
	char *text;
	int r = read_text(a, AT_FDCWD, arena_printf(a, "/proc/%d/stat", (int)pid), STAT_FILE_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;

	/* the name may hold anything, so count from its end: "pid (name) state ..." */
	const char *state = strrchr(text, ')'), *p = state ? state + 2 : NULL;
	uint64_t threads, start;

	if (!p || p[-1] != ' ' || stat_number(&p, 20 - 3, &threads) < 0 || stat_number(&p, 22 - 20, &start) < 0)
		return -EPROTO;
	/* one whose first thread has ended before the others looks like a zombie, but for their number */
	if ((state[2] == 'Z' || state[2] == 'X') && threads <= 1)
		return -ESRCH;
	*ret = start;
	return 0;
}

char *line_escape(struct arena *a, const char *s)
{
	char *text = arena_array(a, strlen(s) + 1, 3);
	char *p = text;

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c > ' ' && c < 0x7f && c != '%')
			*p++ = (char)c;
		else
			p += sprintf(p, "%%%02x", c);
	}
	return text;
}

int line_unescape(struct arena *a, const char *s, size_t len, const char **ret)
{
	char *text = arena_array(a, len + 1, 1);
	char *p = text;

	for (size_t i = 0; i < len; i++) {
		if (s[i] != '%') {
			*p++ = s[i];
			continue;
		}
		if (len - i < 3)
			return -EINVAL;
		char hex[] = { s[i + 1], s[i + 2], 0 };
		const char *end = hex;
		uint64_t c;
		if (parse_u64(&end, 16, &c) < 0 || *end || c == 0)
			return -EINVAL;
		*p++ = (char)c;
		i += 2;
	}
	*ret = text;
	return 0;
}

const char *line_value(const char *text, const char *key, size_t *ret_len)
{
	size_t n = strlen(key);

	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		if (len > n && strncmp(line, key, n) == 0 && line[n] == ' ') {
			*ret_len = len - n - 1;
			return line + n + 1;
		}
		line += len + (line[len] == '\n');
	}
	return NULL;
}

/* A directory of ours that nobody else can write to, made where it is missing. Returns a descriptor or -errno. */
static int own_dir(int dirfd, const char *name, mode_t mode)
{
	struct stat st;

	if (mkdirat(dirfd, name, mode) < 0 && errno != EEXIST)
		return -errno;
	_cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return -EPERM;
	return TAKE_FD(fd);
}

/* Opens the registry: below /run for root, else below XDG_RUNTIME_DIR, else below /tmp. *ret_path: its name. */
static int registry_open(struct arena *a, const char **ret_path)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *above = "/tmp", *name = arena_printf(a, "stasis-%u", (unsigned int)geteuid());
	mode_t mode = 0700;

	if (geteuid() == 0) {
		above = "/run";
		name = "stasis";
		mode = 0755;
	} else if (runtime && runtime[0] == '/') {
		above = runtime;
		name = "stasis";
	}
	_cleanup_close_ int above_fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (above_fd < 0)
		return -errno;
	_cleanup_close_ int own_fd = own_dir(above_fd, name, mode);
	if (own_fd < 0)
		return own_fd;
	*ret_path = arena_printf(a, "%s/%s/jobs", above, name);
	return own_dir(own_fd, "jobs", 0700);
}

int job_register(struct arena *a, const struct job *job, const char **ret_path)
{
	const char *dir;
	_cleanup_close_ int dirfd = registry_open(a, &dir);
	if (dirfd < 0)
		return dirfd;

	const char *text =
		arena_printf(a, "pid %d\nstart %" PRIu64 "\nsince %" PRId64 "\nname %s\ndir %s\ncommand %s\n",
			(int)job->pid, job->start, job->since, line_escape(a, job->name), line_escape(a, job->dir),
			line_escape(a, job->command));
	const char *name = arena_printf(a, "%d", (int)job->pid), *temporary = arena_printf(a, ".%d.tmp", (int)job->pid);

	_cleanup_close_ int fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int r = write_all(fd, text, strlen(text));
	if (r == 0 && renameat(dirfd, temporary, dirfd, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, temporary, 0);
		return r;
	}
	*ret_path = arena_printf(a, "%s/%s", dir, name);
	return 0;
}

void job_forget(const char *path)
{
	if (path)
		unlink(path);
}

static int job_number(const char *text, const char *key, uint64_t max, uint64_t *ret)
{
	size_t len;
	const char *p = line_value(text, key, &len);

	if (!p)
		return -EINVAL;
	const char *end = p;
	int r = parse_u64(&end, 10, ret);
	return r < 0 || end != p + len || *ret > max ? -EINVAL : 0;
}

static int job_string(struct arena *a, const char *text, const char *key, const char **ret)
{
	size_t len;
	const char *p = line_value(text, key, &len);

	return p ? line_unescape(a, p, len, ret) : -EINVAL;
}

static int job_parse(struct arena *a, const char *text, struct job *ret)
{
	uint64_t pid, since;

	if (job_number(text, "pid", INT_MAX, &pid) < 0 || job_number(text, "start", UINT64_MAX, &ret->start) < 0 ||
		job_number(text, "since", INT64_MAX, &since) < 0 || job_string(a, text, "name", &ret->name) < 0 ||
		job_string(a, text, "dir", &ret->dir) < 0 || job_string(a, text, "command", &ret->command) < 0)
		return -EINVAL;
	ret->pid = (pid_t)pid;
	ret->since = (int64_t)since;
	return 0;
}

int job_list(struct arena *a, struct span *ret)
{
	const char *dir;
	int dirfd = registry_open(a, &dir);
	if (dirfd < 0)
		return dirfd;
	_cleanup_dir_ DIR *d = fdopendir(dirfd);
	if (!d) {
		fd_close(dirfd);
		return -ENOMEM;
	}
	for (struct dirent *e; (e = readdir(d));) {
		struct job job;
		uint64_t start;
		char *text;

		if (e->d_name[0] == '.')
			continue;
		int r = read_text(a, dirfd, e->d_name, JOB_FILE_MAX, &text, NULL);
		if (r < 0)
			continue;
		r = job_parse(a, text, &job);
		int seen = r < 0 ? r : process_start(a, job.pid, &start);
		if (r < 0 || seen == -ESRCH || (seen == 0 && start != job.start)) {
			unlinkat(dirfd, e->d_name, 0);
			continue;
		}
		*(struct job *)span_push(a, ret, sizeof(job)) = job;
	}
	return 0;
}

bool job_name_valid(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > JOB_NAME_MAX || s[0] == '.' || s[0] == '-' || strspn(s, "0123456789") == len)
		return false;
	for (; *s; s++)
		if (*s == '/' || (unsigned char)*s <= ' ' || *s == 0x7f)
			return false;
	return true;
}

char *file_name(struct arena *a, const char *s)
{
	char *name = arena_strndup(a, s[0] ? s : "program", JOB_NAME_MAX);

	if (name[0] == '.' || name[0] == '-')
		name[0] = '_';
	for (char *p = name; *p; p++)
		if (*p == '/' || (unsigned char)*p <= ' ' || *p == 0x7f)
			*p = '_';
	return name;
}

/* @text: nothing but digits */
static int target_by_pid(struct arena *a, const char *text, struct target *ret, struct stasis_report *r)
{
	const char *end = text;
	uint64_t pid;
	char *comm;

	if (parse_u64(&end, 10, &pid) < 0 || pid == 0 || pid > INT_MAX ||
		read_text(a, AT_FDCWD, arena_printf(a, "/proc/%" PRIu64 "/comm", pid), STAT_FILE_MAX, &comm, NULL) < 0)
		return report_fail(r, a, EXIT_USAGE, "no-process", "ps -ef, or stasis ls, shows what runs",
			"no process has the pid %s", text);
	comm[strcspn(comm, "\n")] = 0;
	*ret = (struct target){ .pid = (pid_t)pid, .name = comm };
	return 0;
}

int target_find(struct arena *a, const char *text, struct target *ret, struct stasis_report *r)
{
	struct span jobs = { 0 };
	const struct job *found = NULL;

	if (*text && !text[strspn(text, "0123456789")])
		return target_by_pid(a, text, ret, r);
	int err = job_list(a, &jobs);
	if (err < 0)
		return report_fail(r, a, report_errno(err), "registry", "name the program by its pid",
			"cannot read the list of running jobs: %s", strerror(-err));
	for (size_t i = 0; i < jobs.n; i++) {
		const struct job *job = (const struct job *)jobs.at + i;
		if (strcmp(job->name, text) != 0)
			continue;
		if (found)
			return report_fail(r, a, EXIT_USAGE, "ambiguous", "name it by its pid: stasis ls shows them",
				"several jobs are called \"%s\": pid %d and pid %d", text, (int)found->pid,
				(int)job->pid);
		found = job;
	}
	if (!found)
		return report_fail(r, a, EXIT_USAGE, "no-job",
			"stasis ls shows the jobs that stasis run started; another program is named by its pid",
			"no running job is called \"%s\"", text);
	*ret = (struct target){ .pid = found->pid, .name = found->name };
	return 0;
}
