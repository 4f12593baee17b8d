/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout that the kernel keeps of an address space: code, data, heap, stack, arguments, environment, auxiliary vector
 * and the executable: what /proc/PID/{exe,cmdline,environ,auxv} and brk(2) go by.
 *
 * Seen:  /proc/PID/stat, /proc/PID/auxv, /proc/PID/exe; brk(2) by the process itself
 * Lost:  nothing. Programs for 32 bits are refused: registers, vdso and stub are those of 64 bits.
 * Needs: prctl(2) PR_SET_MM_MAP, CAP_CHECKPOINT_RESTORE in its user namespace for the executable
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "kinds/deleted.h"
#include "kinds/goal.h"
#include "kinds/mapped.h"
#include "kinds/memfd.h"
#include "kinds/openfile.h"
#include "kinds/vma.h"

#define AUXV_MAX    4096
#define ADDRESS_END 0x7ffffffff000ull /* x86-64: of what a program can have */

struct layout {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	struct span auxv; /* bytes */
	const char *exe;
	uint64_t exe_dev, exe_ino; /* when that is a memfd, or was deleted or hidden */
	struct inode exe_inode; /* when it is not mapped, as its path leads to it: else that is its mapping's */
	struct stat *judged; /* restarting: what its path led to for the process */
	struct stub_call *ask_brk; /* while saving */
};

static const struct field layout_fields[] = {
	FIELD_U(1, struct layout, start_code, "mm_struct.start_code"),
	FIELD_U(2, struct layout, end_code, "mm_struct.end_code"),
	FIELD_U(3, struct layout, start_data, "mm_struct.start_data"),
	FIELD_U(4, struct layout, end_data, "mm_struct.end_data"),
	FIELD_U(5, struct layout, start_brk, "mm_struct.start_brk"),
	FIELD_U(6, struct layout, brk, "mm_struct.brk"),
	FIELD_U(7, struct layout, start_stack, "mm_struct.start_stack"),
	FIELD_U(8, struct layout, arg_start, "mm_struct.arg_start"),
	FIELD_U(9, struct layout, arg_end, "mm_struct.arg_end"),
	FIELD_U(10, struct layout, env_start, "mm_struct.env_start"),
	FIELD_U(11, struct layout, env_end, "mm_struct.env_end"),
	FIELD_BLOB(12, struct layout, auxv, "mm_struct.saved_auxv"),
	FIELD_S(13, struct layout, exe, "mm_struct.exe_file"),
	FIELD_U(14, struct layout, exe_dev, "super_block.s_dev"),
	FIELD_U(15, struct layout, exe_ino, "inode.i_ino"),
	INODE_FIELDS(16, struct layout, exe_inode),
	FIELDS_END,
};

/* of a program that cannot be read this does not tell, but the freeze will */
static bool is_for_32_bits(const struct process *p)
{
	_cleanup_close_ int fd = openat(p->dir, "exe", O_RDONLY | O_CLOEXEC);
	unsigned char ident[EI_NIDENT];

	return fd >= 0 && pread(fd, ident, sizeof(ident), 0) == sizeof(ident) && memcmp(ident, ELFMAG, SELFMAG) == 0 &&
	       ident[EI_CLASS] == ELFCLASS32;
}

static bool is_deleted(const char *exe, size_t *ret_len)
{
	static const char gone[] = " (deleted)";
	size_t n = strlen(exe);

	*ret_len = n - strlen(gone);
	return n > strlen(gone) && strcmp(exe + *ret_len, gone) == 0;
}

/* is @v of the executable, which is at no path any more? The file shows another device than the mapping in some file systems */
static bool is_of_exe(const struct proc_vma *v, const char *exe, size_t len, const struct stat *st)
{
	if (v->ino != st->st_ino)
		return false;
	if (vma_is_memfd(v))
		return memfd_is_name(exe) && makedev(v->major, v->minor) == st->st_dev;
	return vma_is_deleted(v) && strncmp(v->name, exe, len) == 0 && !v->name[len];
}

/* its path leads elsewhere now: when it has been judged, its kind tells */
static bool find_hidden(const struct process *p, const char *exe, uint64_t *ret_dev, uint64_t *ret_ino)
{
	const struct proc_vma *v = p->vmas.at;

	for (size_t i = 0; i < p->vmas.n; i++)
		if (v[i].kind == &kind_mem_deleted && !v[i].deleted && strcmp(v[i].name, exe) == 0) {
			*ret_dev = makedev(v[i].major, v[i].minor);
			*ret_ino = v[i].ino;
			return true;
		}
	return false;
}

/* a memfd comes back when it is mapped or open, another file that was deleted when it is mapped; their names are no paths */
static bool has_other(const struct sight *s, const char *exe, uint64_t *ret_dev, uint64_t *ret_ino)
{
	const struct proc_vma *v = s->process->vmas.at;
	struct stat st;
	size_t n;

	if (!is_deleted(exe, &n))
		return find_hidden(s->process, exe, ret_dev, ret_ino);
	if (fstatat(s->process->dir, "exe", &st, 0) < 0)
		return false;
	*ret_dev = st.st_dev;
	*ret_ino = st.st_ino;
	for (size_t i = 0; i < s->process->vmas.n; i++)
		if (is_of_exe(&v[i], exe, n, &st)) {
			*ret_dev = makedev(v[i].major, v[i].minor);
			return true;
		}
	return memfd_is_name(exe) && tree_holders(s->tree, st.st_dev, st.st_ino, &n);
}

static int layout_check(struct op *op, const struct sight *s)
{
	uint64_t dev, ino;
	size_t n;
	char *exe;
	int r = read_link(&op->arena, s->process->dir, "exe", &exe);

	/* one that is held has registers of 64 bits, and before the stub is put into it its vdso is looked at */
	if (!s->tree->frozen && is_for_32_bits(s->process))
		return refuse(op, "task-32bit", "registers, vdso and stub are those of 64 bits", NULL,
			"is a program for 32 bits");
	if (r < 0)
		return refuse(op, "exe", strerror(-r), NULL, "has an executable that cannot be seen");
	if (is_deleted(exe, &n) && !has_other(s, exe, &dev, &ino))
		return refuse(op, "file-deleted",
			"it was removed or replaced by another version since the program began, and is not mapped",
			"start the program anew, then save it", "runs \"%s\", which is gone", exe);
	s->process->seen->exe = exe;
	return 0;
}

static int layout_ask(struct op *op, const struct sight *s, void *rec)
{
	((struct layout *)rec)->ask_brk = BATCH_CALL(s->batch, "ask for the end of the heap", SYS_brk, 0);
	return 0;
}

static bool is_mapped(const struct process *p, const char *exe)
{
	const struct proc_vma *v = p->vmas.at;

	for (size_t i = 0; i < p->vmas.n; i++)
		if (!v[i].shared && !v[i].deleted && v[i].ino && strcmp(v[i].name, exe) == 0)
			return true;
	return false;
}

static void look_at_exe(const struct process *p, struct inode *ret)
{
	_cleanup_close_ int fd = openat(p->dir, "exe", O_PATH | O_CLOEXEC);

	if (fd < 0 || inode_look(fd, ret) < 0)
		*ret = (struct inode){ 0 };
}

static int layout_save(struct op *op, const struct sight *s, void *rec)
{
	struct layout *l = rec;
	const struct proc_stat *st = &s->process->stat;
	const char *exe = s->process->seen->exe;
	uint64_t dev, ino;
	char *auxv;
	size_t len;

	*l = (struct layout){ .start_code = st->start_code,
		.end_code = st->end_code,
		.start_data = st->start_data,
		.end_data = st->end_data,
		.start_brk = st->start_brk,
		.brk = (uint64_t)l->ask_brk->ret,
		.start_stack = st->start_stack,
		.arg_start = st->arg_start,
		.arg_end = st->arg_end,
		.env_start = st->env_start,
		.env_end = st->env_end };
	int r = read_text(&op->arena, s->process->dir, "auxv", AUXV_MAX, &auxv, &len);
	if (r < 0)
		return fail(op, r, "read its auxiliary vector");
	l->exe = exe;
	if (has_other(s, exe, &dev, &ino)) {
		l->exe_dev = dev;
		l->exe_ino = ino;
	} else if (!is_mapped(s->process, exe)) {
		look_at_exe(s->process, &l->exe_inode);
	}
	l->auxv = (struct span){ auxv, len };
	return 0;
}

/* a child that was cloned by a parent with the same executable has it already; @fd: -EBADF where only its path leads there */
static bool has_exe(const struct site *site, const struct layout *l, int fd)
{
	const struct layout *born = site->born;
	const char *path = l->exe;
	char link[64];
	struct stat now, want;

	if (born && strcmp(born->exe, path) == 0 && born->exe_dev == l->exe_dev && born->exe_ino == l->exe_ino)
		return true;
	snprintf(link, sizeof(link), "/proc/%d/exe", site->pid);
	if (stat(link, &now) < 0 || (fd < 0 ? stat(path, &want) : fstat(fd, &want)) < 0)
		return false;
	return same_file(&now, &want);
}

/* May it have what its path leads to? The task opens that with the rights of stasis, and settle() sees whether it was the same. */
static int judge_exe(struct op *op, struct layout *l, struct site *site)
{
	const struct goal goal = { .path = l->exe,
		.what = "executable ",
		.flags = O_PATH | O_CLOEXEC,
		.need = X_OK,
		.was = &l->exe_inode,
		.type = S_IFREG };
	struct stat st;

	if (!site->owners.n)
		return 0;
	_cleanup_close_ int fd = goal_open(op, site, &goal, &st);
	if (fd == -EMEDIUMTYPE || (fd < 0 && openfile_is_absent(-fd)))
		return fail_as(op, OUTCOME_CANNOT, "file-missing",
			"put the file back under this path and restart again",
			"open executable \"%s\": it is not there", shown(&op->arena, l->exe));
	if (fd < 0)
		return fail(op, fd, "open executable \"%s\"", shown(&op->arena, l->exe));
	l->judged = arena_dup(&op->arena, &st, sizeof(st));
	return 0;
}

static void open_exe(struct batch *b, const char *exe, struct site *site)
{
	struct taddr path = batch_in(b, exe, strlen(exe) + 1);

	/* nobody waits for the writer of a FIFO that may be there; prctl(2) takes nothing but a regular file */
	BATCH_MUST(
		b, "open its executable", SYS_openat, (uint64_t)AT_FDCWD, path.at, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct taddr opened = batch_result(b);
	BATCH_MUST(b, "number the executable", SYS_dup3, opened.at, (uint64_t)site->free_fd, O_CLOEXEC);
	batch_last(b)->indirect = 1u << 0;
	BATCH_MUST(b, "close the executable", SYS_close, opened.at);
	batch_last(b)->indirect = 1u << 0;
}

/* as prctl(2) wants it (validate_prctl_map_addr() in kernel/sys.c), but for what depends on the host */
static bool is_in_order(const struct layout *l)
{
	const uint64_t all[] = { l->start_code, l->end_code, l->start_data, l->end_data, l->start_brk, l->brk,
		l->start_stack, l->arg_start, l->arg_end, l->env_start, l->env_end };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (!all[i] || all[i] >= ADDRESS_END)
			return false;
	return l->start_code < l->end_code && l->start_data <= l->end_data && l->start_brk <= l->brk &&
	       l->arg_start <= l->arg_end && l->env_start <= l->env_end;
}

static int here(struct op *op, const struct layout *l, struct site *site)
{
	if (!l->exe_ino)
		return mapped_kept(site, l->exe);
	return *(memfd_is_name(l->exe) ? memfd_slot : deleted_slot)(op, site, l->exe_dev, l->exe_ino);
}

static int layout_restore(struct op *op, void *rec, struct site *site)
{
	struct layout *l = rec;
	struct batch *b = site->batch;
	struct prctl_mm_map map = {
		.start_code = l->start_code,
		.end_code = l->end_code,
		.start_data = l->start_data,
		.end_data = l->end_data,
		.start_brk = l->start_brk,
		.brk = l->brk,
		.start_stack = l->start_stack,
		.arg_start = l->arg_start,
		.arg_end = l->arg_end,
		.env_start = l->env_start,
		.env_end = l->env_end,
		.auxv_size = (uint32_t)l->auxv.n,
		.exe_fd = (uint32_t)-1,
	};

	if (!l->exe || l->exe[0] != '/' || strlen(l->exe) >= PATH_MAX || l->auxv.n > AUXV_MAX || !is_in_order(l))
		return fail_as(op, OUTCOME_IMAGE, "image-layout", NULL, "lay out the address space");
	map.auxv = (void *)batch_in(b, l->auxv.at, l->auxv.n).at;
	int fd = here(op, l, site);
	if (l->exe_ino && fd < 0)
		return fail_as(op, OUTCOME_IMAGE, "image-layout", NULL, "run a file that is not in the image");
	if (!has_exe(site, l, fd)) {
		int r = fd < 0 ? judge_exe(op, l, site) : 0;

		if (r < 0)
			return r;
		if (fd < 0)
			open_exe(b, l->exe, site);
		map.exe_fd = (uint32_t)(fd < 0 ? site->free_fd : fd); /* every task has inherited either */
	}
	struct taddr at = batch_in(b, &map, sizeof(map));
	BATCH_MUST(b, "lay out the address space", SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, at.at, sizeof(map));
	return 0;
}

static int layout_settle(struct op *op, void *rec, struct site *site)
{
	const struct layout *l = rec;
	char link[64];
	struct stat now;

	if (!l->judged)
		return 0;
	snprintf(link, sizeof(link), "/proc/%d/exe", site->pid);
	if (stat(link, &now) < 0 || !same_file(&now, l->judged))
		return fail(op, -ESTALE, "open executable \"%s\"", shown(&op->arena, l->exe));
	return 0;
}

const struct kind kind_task_layout = {
	.name = "memory layout",
	.tag = 0x2d,
	.scope = SCOPE_PROCESS,
	.shared_by = CLONE_VM,
	.size = sizeof(struct layout),
	.fields = layout_fields,
	.check = layout_check,
	.ask = layout_ask,
	.save = layout_save,
	.restore = layout_restore,
	.settle = layout_settle,
};
