/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arch/arch.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

int arch_put_jump(unsigned char *code, size_t room, uint64_t to)
{
	static const unsigned char jmp[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp *0(%rip): no register is changed */

	if (room < sizeof(jmp) + sizeof(to))
		return -ENOSPC;
	memcpy(code, jmp, sizeof(jmp));
	memcpy(code + sizeof(jmp), &to, sizeof(to));
	return 0;
}

/* mov $NR, %eax; syscall; ret: the arguments are the same, and what it changes a function may change */
static int put_call(unsigned char *code, size_t room, uint32_t nr)
{
	static const unsigned char end[] = { 0x0f, 0x05, 0xc3 };

	if (room < 1 + sizeof(nr) + sizeof(end))
		return -ENOSPC;
	code[0] = 0xb8;
	memcpy(code + 1, &nr, sizeof(nr));
	memcpy(code + 1 + sizeof(nr), end, sizeof(end));
	return 0;
}

/* mov $-ENOSYS, %rax; ret */
static int put_enosys(unsigned char *code, size_t room)
{
	static const unsigned char bytes[] = { 0x48, 0xc7, 0xc0, 0x100 - ENOSYS, 0xff, 0xff, 0xff, 0xc3 };

	if (room < sizeof(bytes))
		return -ENOSPC;
	memcpy(code, bytes, sizeof(bytes));
	return 0;
}

/* who asks it for the size of a state (the fifth argument is -1) is told that it cannot, and makes the system call from then on */
static int put_getrandom(unsigned char *code, size_t room)
{
	static const unsigned char ask[] = { 0x49, 0x83, 0xf8, 0xff, 0x74,
		0x08 }; /* cmp $-1, %r8; je over the 8 of put_call() */

	if (room < sizeof(ask) + 8 + 8)
		return -ENOSPC;
	memcpy(code, ask, sizeof(ask));
	put_call(code + sizeof(ask), 8, SYS_getrandom);
	return put_enosys(code + sizeof(ask) + 8, 8);
}

int arch_put_vdso_call(unsigned char *code, size_t room, const char *name)
{
	static const struct {
		const char *name;
		uint32_t nr;
	} calls[] = {
		{ "clock_gettime", SYS_clock_gettime },
		{ "clock_getres", SYS_clock_getres },
		{ "gettimeofday", SYS_gettimeofday },
		{ "time", SYS_time },
		{ "getcpu", SYS_getcpu },
	};

	if (!strcmp(name, "getrandom"))
		return put_getrandom(code, room);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (!strcmp(name, calls[i].name))
			return put_call(code, room, calls[i].nr);
	return put_enosys(code, room);
}
