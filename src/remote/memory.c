/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/remote.h"

#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

int remote_read(pid_t pid, struct taddr from, void *to, size_t len)
{
	for (size_t done = 0; done < len;) {
		struct iovec here = { (char *)to + done, len - done };
		struct iovec there = { (void *)(from.at + done), len - done };
		ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EFAULT;
		done += (size_t)n;
	}
	return 0;
}

size_t remote_gather(pid_t pid, const struct trange *ranges, size_t n, void *to)
{
	struct iovec there[REMOTE_RANGES] = { 0 }, here = { .iov_base = to };
	size_t whole = 0;

	if (n > REMOTE_RANGES)
		n = REMOTE_RANGES;
	for (size_t i = 0; i < n; i++) {
		there[i] = (struct iovec){ (void *)ranges[i].at.at, ranges[i].len };
		here.iov_len += ranges[i].len;
	}
	ssize_t left = process_vm_readv(pid, &here, 1, there, n, 0);
	while (whole < n && left >= (ssize_t)ranges[whole].len)
		left -= (ssize_t)ranges[whole++].len;
	return whole;
}

int remote_write(pid_t pid, struct taddr to, const void *from, size_t len)
{
	for (size_t done = 0; done < len;) {
		struct iovec here = { (char *)from + done, len - done };
		struct iovec there = { (void *)(to.at + done), len - done };
		ssize_t n = process_vm_writev(pid, &here, 1, &there, 1, 0);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EFAULT;
		done += (size_t)n;
	}
	return 0;
}

int remote_poke(pid_t tid, struct taddr to, const void *from, size_t len)
{
	for (size_t done = 0; done < len; done += sizeof(long)) {
		long word;

		memcpy(&word, (const char *)from + done, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, tid, (void *)(to.at + done), (void *)word) < 0)
			return -errno;
	}
	return 0;
}
