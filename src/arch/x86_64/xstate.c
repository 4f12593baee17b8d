/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The extended state: the XSAVE area in the standard (not compacted) format that NT_X86_XSTATE uses. Bytes 464-471 hold
 * the features the kernel has enabled (XCR0), the header at 512 the features in use (Intel SDM vol. 1, 13.4).
 */
#include "arch/arch.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "base/arena.h"

#define LEGACY_XCR0  464
#define XSAVE_HEADER 512
#define XSAVE_AREA   576

int arch_get_xstate(pid_t tid, unsigned char *buf, size_t *ret_len)
{
	struct iovec io = { buf, ARCH_XSTATE_MAX };

	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &io) < 0)
		return -errno;
	*ret_len = io.iov_len;
	return 0;
}

static uint64_t word(const struct span *x, size_t at)
{
	uint64_t v;

	memcpy(&v, (const unsigned char *)x->at + at, sizeof(v));
	return v;
}

int arch_look_at_xstate(pid_t tid, struct arch_xstate *ret)
{
	unsigned char buf[ARCH_XSTATE_MAX];
	const struct span own = { .at = buf };
	size_t len;
	int r = arch_get_xstate(tid, buf, &len);

	if (r < 0 || len < XSAVE_AREA)
		return r < 0 ? r : -EINVAL;
	*ret = (struct arch_xstate){ len, word(&own, LEGACY_XCR0) };
	return 0;
}

/*
 * PTRACE_SETREGSET wants exactly as many bytes as this kernel uses; an area from a processor with fewer or more features
 * is cut or padded: the features in use are checked, and an unused one has no bytes that matter. CPUID is not asked, as in a
 * virtual machine the host has to answer it.
 */
int arch_set_xstate(pid_t tid, const struct arch_xstate *own, const struct span *x, uint64_t *ret_missing)
{
	unsigned char buf[ARCH_XSTATE_MAX];
	struct iovec io = { buf, own->len };

	if (x->n < XSAVE_AREA || x->n > ARCH_XSTATE_MAX || word(x, XSAVE_HEADER + 8) != 0)
		return -EBADMSG; /* XCOMP_BV: a compacted area never comes from ptrace */
	*ret_missing = word(x, XSAVE_HEADER) & ~own->features;
	if (*ret_missing)
		return -EOPNOTSUPP;
	memset(buf, 0, own->len);
	memcpy(buf, x->at, x->n < own->len ? x->n : own->len);
	memcpy(buf + LEGACY_XCR0, &own->features, sizeof(own->features));
	return ptrace(PTRACE_SETREGSET, tid, (void *)NT_X86_XSTATE, &io) < 0 ? -errno : 0;
}
