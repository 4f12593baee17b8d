/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/cbpf.h"

#include <errno.h>
#include <string.h>

struct machine {
	uint32_t a, x, mem[BPF_MEMWORDS];
};

static int load(const struct seccomp_data *data, uint32_t at, uint32_t *ret)
{
	if (at & 3 || at > sizeof(*data) - 4)
		return -EBADMSG;
	if (at >= offsetof(struct seccomp_data, instruction_pointer) && at < offsetof(struct seccomp_data, args))
		return -ENODATA;
	memcpy(ret, (const char *)data + at, 4);
	return 0;
}

static int compute(uint16_t op, uint32_t *a, uint32_t by)
{
	switch (op) {
	case BPF_ADD:
		*a += by;
		return 0;
	case BPF_SUB:
		*a -= by;
		return 0;
	case BPF_MUL:
		*a *= by;
		return 0;
	case BPF_DIV: /* by zero the program ends with 0, which kills: no verdict that we would go by */
		*a = by ? *a / by : 0;
		return by ? 0 : -EBADMSG;
	case BPF_AND:
		*a &= by;
		return 0;
	case BPF_OR:
		*a |= by;
		return 0;
	case BPF_XOR:
		*a ^= by;
		return 0;
	case BPF_LSH:
		*a <<= by & 31;
		return 0;
	case BPF_RSH:
		*a >>= by & 31;
		return 0;
	case BPF_NEG:
		*a = -*a;
		return 0;
	default:
		return -EBADMSG;
	}
}

static int compare(uint16_t op, uint32_t a, uint32_t with)
{
	switch (op) {
	case BPF_JEQ:
		return a == with;
	case BPF_JGT:
		return a > with;
	case BPF_JGE:
		return a >= with;
	case BPF_JSET:
		return (a & with) != 0;
	default:
		return -EBADMSG;
	}
}

/* all but jumps and the end */
static int step(struct machine *m, const struct sock_filter *f, const struct seccomp_data *data)
{
	switch (f->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		return load(data, f->k, &m->a);
	case BPF_LD | BPF_W | BPF_LEN:
		m->a = sizeof(*data);
		return 0;
	case BPF_LDX | BPF_W | BPF_LEN:
		m->x = sizeof(*data);
		return 0;
	case BPF_LD | BPF_IMM:
		m->a = f->k;
		return 0;
	case BPF_LDX | BPF_IMM:
		m->x = f->k;
		return 0;
	case BPF_MISC | BPF_TAX:
		m->x = m->a;
		return 0;
	case BPF_MISC | BPF_TXA:
		m->a = m->x;
		return 0;
	default:
		break;
	}
	if (BPF_CLASS(f->code) == BPF_ALU)
		return compute(BPF_OP(f->code), &m->a, BPF_SRC(f->code) == BPF_X ? m->x : f->k);
	if (f->k >= BPF_MEMWORDS)
		return -EBADMSG;
	switch (f->code) {
	case BPF_LD | BPF_MEM:
		m->a = m->mem[f->k];
		return 0;
	case BPF_LDX | BPF_MEM:
		m->x = m->mem[f->k];
		return 0;
	case BPF_ST:
		m->mem[f->k] = m->a;
		return 0;
	case BPF_STX:
		m->mem[f->k] = m->x;
		return 0;
	default:
		return -EBADMSG;
	}
}

int cbpf_run(const struct sock_filter *prog, size_t n, const struct seccomp_data *data, uint32_t *ret)
{
	struct machine m = { 0 };

	for (size_t at = 0; at < n; at++) { /* jumps lead forward only */
		const struct sock_filter *f = &prog[at];
		int r = f->code > 0xff ? -EBADMSG : 0;

		if (f->code == (BPF_RET | BPF_K) || f->code == (BPF_RET | BPF_A)) {
			*ret = f->code == (BPF_RET | BPF_K) ? f->k : m.a;
			return 0;
		}
		if (r == 0 && f->code == (BPF_JMP | BPF_JA)) {
			at += f->k;
		} else if (r == 0 && BPF_CLASS(f->code) == BPF_JMP) {
			r = compare(BPF_OP(f->code), m.a, BPF_SRC(f->code) == BPF_X ? m.x : f->k);
			at += r > 0 ? f->jt : f->jf;
		} else if (r == 0) {
			r = step(&m, f, data);
		}
		if (r < 0)
			return r;
	}
	return -EBADMSG;
}
