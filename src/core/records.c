/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/records.h"

static const struct field note_fields[] = {
	FIELD_S(1, struct note_record, where, ""),
	FIELD_S(2, struct note_record, what, ""),
	FIELDS_END,
};

const struct field head_fields[] = {
	FIELD_S(1, struct head, stasis, ""),
	FIELD_S(2, struct head, release, "uts_namespace.name.release"),
	FIELD_S(3, struct head, isa, ""),
	FIELD_S(4, struct head, name, "task_struct.comm"),
	FIELD_U(5, struct head, time, ""),
	FIELD_U(6, struct head, processes, ""),
	FIELD_U(7, struct head, threads, ""),
	FIELD_U(8, struct head, objects, ""),
	FIELD_U(9, struct head, own_pidns, ""),
	FIELD_A(10, struct head, notes, "", note_fields, struct note_record),
	FIELD_U(11, struct head, monotonic_ns, "time_namespace.offsets.monotonic"),
	FIELD_U(12, struct head, boottime_ns, "time_namespace.offsets.boottime"),
	FIELDS_END,
};

static const struct field ref_fields[] = {
	FIELD_R(1, struct ref, id, ""),
	FIELDS_END,
};

static const struct field thread_fields[] = {
	FIELD_I(1, struct thread_record, tid, "task_struct.pid"),
	FIELD_A(2, struct thread_record, parts, "", ref_fields, struct ref),
	FIELD_U(3, struct thread_record, like, ""),
	FIELDS_END,
};

const struct flag task_flag_names[] = {
	{ TASK_ZOMBIE, "ZOMBIE" },
	{ TASK_STOPPED, "STOPPED" },
	{ TASK_STOP_WAITED, "STOP_WAITED" },
	{ TASK_STOP_UNTOLD, "STOP_UNTOLD" },
	{ TASK_CONTINUED, "CONTINUED" },
	{ TASK_LEADER_GONE, "LEADER_GONE" },
	{ 0, NULL },
};

const struct field task_fields[] = {
	FIELD_I(1, struct task_record, pid, "task_struct.tgid"),
	FIELD_I(2, struct task_record, ppid, "task_struct.real_parent"),
	FIELD_I(3, struct task_record, pgid, "signal_struct.pids"),
	FIELD_I(4, struct task_record, sid, "signal_struct.pids"),
	FIELD_S(5, struct task_record, comm, "task_struct.comm"),
	FIELD_B(6, struct task_record, flags, "task_struct.exit_state", task_flag_names),
	FIELD_I(7, struct task_record, exit_code, "task_struct.exit_code"),
	FIELD_I(8, struct task_record, exit_signal, "task_struct.exit_signal"),
	FIELD_R(9, struct task_record, mm, "task_struct.mm"),
	FIELD_R(10, struct task_record, fdtable, "task_struct.files"),
	FIELD_A(11, struct task_record, parts, "", ref_fields, struct ref),
	FIELD_A(12, struct task_record, threads, "", thread_fields, struct thread_record),
	FIELD_I(13, struct task_record, stop_signal, "task_struct.jobctl"),
	FIELDS_END,
};

const struct flag vma_flag_names[] = {
	{ VMA_SHARED, "SHARED" },
	{ VMA_GROWSDOWN, "GROWSDOWN" },
	{ VMA_NORESERVE, "NORESERVE" },
	{ VMA_LOCKED, "LOCKED" },
	{ VMA_DONTFORK, "DONTFORK" },
	{ VMA_DONTDUMP, "DONTDUMP" },
	{ VMA_HUGEPAGE, "HUGEPAGE" },
	{ VMA_NOHUGEPAGE, "NOHUGEPAGE" },
	{ VMA_SEQUENTIAL, "SEQUENTIAL" },
	{ VMA_RANDOM, "RANDOM" },
	{ VMA_MERGEABLE, "MERGEABLE" },
	{ VMA_WIPEONFORK, "WIPEONFORK" },
	{ VMA_MAYWRITE_OFF, "READONLY" },
	{ VMA_LOCKONFAULT, "LOCKONFAULT" },
	{ VMA_SEALED, "SEALED" },
	{ VMA_DROPPABLE, "DROPPABLE" },
	{ VMA_HUGETLB_2M, "HUGETLB_2M" },
	{ VMA_HUGETLB_1G, "HUGETLB_1G" },
	{ 0, NULL },
};

static const struct field vma_fields[] = {
	FIELD_U(1, struct vma, start, "vm_area_struct.vm_start"),
	FIELD_U(2, struct vma, end, "vm_area_struct.vm_end"),
	FIELD_U(3, struct vma, pgoff, "vm_area_struct.vm_pgoff"),
	FIELD_U(4, struct vma, prot, "vm_area_struct.vm_page_prot"),
	FIELD_B(5, struct vma, flags, "vm_area_struct.vm_flags", vma_flag_names),
	FIELD_U(6, struct vma, tag, ""),
	FIELD_R(7, struct vma, backing, "vm_area_struct.vm_file"),
	FIELD_S(8, struct vma, name, "vm_area_struct.anon_name"),
	FIELDS_END,
};

static const struct field range_fields[] = {
	FIELD_U(1, struct range, at, ""),
	FIELD_U(2, struct range, pages, ""),
	FIELDS_END,
};

const struct field mm_fields[] = {
	FIELD_A(1, struct mm_record, vmas, "mm_struct.mm_mt", vma_fields, struct vma),
	FIELD_A(2, struct mm_record, inherit, "", range_fields, struct range),
	FIELD_A(3, struct mm_record, huge, "", range_fields, struct range),
	FIELDS_END,
};

static const struct field fd_fields[] = {
	FIELD_U(1, struct fd_record, n, ""),
	FIELD_U(2, struct fd_record, cloexec, "fdtable.close_on_exec"),
	FIELD_R(3, struct fd_record, file, "fdtable.fd"),
	FIELDS_END,
};

const struct field fdtable_fields[] = {
	FIELD_A(1, struct fdtable_record, fds, "files_struct.fdt", fd_fields, struct fd_record),
	FIELDS_END,
};

bool vma_alike(const struct vma *a, const struct vma *b)
{
	const uint32_t never = VMA_SHARED | VMA_DONTFORK | VMA_WIPEONFORK | VMA_HUGETLB;
	const uint32_t last = VMA_LOCKED | VMA_LOCKONFAULT |
			      VMA_SEALED; /* each gets these for itself: lock_memory(), finish_memory() */

	return a->tag == b->tag && a->backing == b->backing && !((a->flags ^ b->flags) & ~last) &&
	       !(a->flags & never) && (!a->backing || a->start - a->pgoff == b->start - b->pgoff);
}
