/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A vdso in the place of another: who calls the functions of the old one gets those of the new one.
 */
#include <stddef.h>
#include <stdint.h>

/**
 * detour() - replace each function of a vdso by a jump to that of the same name in another one, or by its system call
 *
 * @old: hostile bytes, changed in place; nothing is left of its section headers. @new_at: where @new will lie.
 * 0; -EBADMSG when @old is no vdso, -ENOSPC when a function of it is too small.
 */
int detour(unsigned char *old, size_t old_len, const unsigned char *new, size_t new_len, uint64_t new_at);
