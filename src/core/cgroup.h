/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A control group of its own for a program that is to be saved and restarted, cgroups(7): who looks at the machine finds all
 * of it under one name. Only where the caller may make one; nothing depends on it.
 *
 * It is not used to freeze the program: a stasis that is killed could not thaw it again.
 */
#include <stddef.h>
#include <sys/types.h>

/** cgroup_make() - a new group "stasis.PID" below our own in the v2 hierarchy, with process @pid in it; its path, or "" */
void cgroup_make(pid_t pid, char *ret, size_t len);

/** cgroup_remove() - remove it once its processes have ended; accepts "" */
void cgroup_remove(const char *path);
