/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What a seccomp filter says of a system call, found out without making it.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>

/**
 * cbpf_run() - run @prog of @n instructions on @data: a SECCOMP_RET_* in @ret
 *
 * The programs that the kernel takes as filters (seccomp_check_filter() in kernel/seccomp.c); anything else is -EBADMSG.
 * -ENODATA: it asks for the instruction pointer, which nobody knows beforehand.
 */
int cbpf_run(const struct sock_filter *prog, size_t n, const struct seccomp_data *data, uint32_t *ret);
