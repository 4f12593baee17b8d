/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kinds/detour.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "arch/arch.h"

/* struct elf - the symbols of a vdso; all offsets are in the bytes, as it is linked to 0 */
struct elf {
	const unsigned char *at;
	size_t len;
	uint64_t sym, n, str, str_len;
};

static bool lies_in(const struct elf *e, uint64_t at, uint64_t len)
{
	return at <= e->len && len <= e->len - at;
}

static int read_dynamic(struct elf *e, uint64_t at, uint64_t len)
{
	Elf64_Dyn d;

	if (!lies_in(e, at, len))
		return -EBADMSG;
	for (; len >= sizeof(d); at += sizeof(d), len -= sizeof(d)) {
		memcpy(&d, e->at + at, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_SYMTAB)
			e->sym = d.d_un.d_ptr;
		if (d.d_tag == DT_STRTAB)
			e->str = d.d_un.d_ptr;
		if (d.d_tag == DT_STRSZ)
			e->str_len = d.d_un.d_val;
	}
	/* their number is only in hash tables of two sorts; but every linker puts the names behind them */
	if (!e->sym || e->str <= e->sym || !lies_in(e, e->sym, e->str - e->sym) || !lies_in(e, e->str, e->str_len))
		return -EBADMSG;
	e->n = (e->str - e->sym) / sizeof(Elf64_Sym);
	return 0;
}

static int read_elf(struct elf *e)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph, dynamic = { 0 };

	if (e->len < sizeof(eh))
		return -EBADMSG;
	memcpy(&eh, e->at, sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
		eh.e_phentsize != sizeof(ph) || !lies_in(e, eh.e_phoff, (uint64_t)eh.e_phnum * sizeof(ph)))
		return -EBADMSG;
	for (unsigned int i = 0; i < eh.e_phnum; i++) {
		memcpy(&ph, e->at + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_LOAD && (ph.p_vaddr || ph.p_offset))
			return -EBADMSG;
		if (ph.p_type == PT_DYNAMIC)
			dynamic = ph;
	}
	return read_dynamic(e, dynamic.p_offset, dynamic.p_filesz);
}

/* function @n without "__vdso_", which is but another name of it; NULL when it is none */
static const char *function(const struct elf *e, uint64_t n, Elf64_Sym *ret)
{
	static const char prefix[] = "__vdso_";

	memcpy(ret, e->at + e->sym + n * sizeof(*ret), sizeof(*ret));
	if (ELF64_ST_TYPE(ret->st_info) != STT_FUNC || ret->st_shndx == SHN_UNDEF || ret->st_name >= e->str_len)
		return NULL;
	const char *name = (const char *)e->at + e->str + ret->st_name;
	if (!memchr(name, 0, e->str_len - ret->st_name))
		return NULL;
	return strncmp(name, prefix, sizeof(prefix) - 1) == 0 ? name + sizeof(prefix) - 1 : name;
}

static uint64_t find(const struct elf *e, const char *name)
{
	Elf64_Sym sym;

	for (uint64_t i = 0; i < e->n; i++) {
		const char *other = function(e, i, &sym);

		if (other && strcmp(name, other) == 0)
			return sym.st_value;
	}
	return 0;
}

/*
 * The state that getrandom works on is the program's memory, laid out as one vdso wanted it: another must not have it, but
 * the system call needs none.
 */
static int put_function(unsigned char *code, size_t room, const char *name, const struct elf *new, uint64_t new_at)
{
	uint64_t there = strcmp(name, "getrandom") == 0 ? 0 : find(new, name);

	return there ? arch_put_jump(code, room, new_at + there) : arch_put_vdso_call(code, room, name);
}

int detour(unsigned char *old, size_t old_len, const unsigned char *new, size_t new_len, uint64_t new_at)
{
	struct elf from = { .at = old, .len = old_len }, to = { .at = new, .len = new_len };
	int r = read_elf(&from);

	if (r == 0)
		r = read_elf(&to);
	for (uint64_t i = 0; i < from.n && r == 0; i++) {
		Elf64_Sym sym;
		const char *name = function(&from, i, &sym);

		if (!name)
			continue;
		if (!lies_in(&from, sym.st_value, sym.st_size))
			return -EBADMSG;
		r = put_function(old + sym.st_value, sym.st_size, name, &to, new_at);
	}
	if (r < 0)
		return r;
	Elf64_Ehdr eh;
	memcpy(&eh, old, sizeof(eh));
	eh.e_shoff = 0;
	eh.e_shnum = eh.e_shstrndx = 0;
	memcpy(old, &eh, sizeof(eh));
	return 0;
}
