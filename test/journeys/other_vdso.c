/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * other_vdso IMAGE - make it an image of a kernel with another vdso
 *
 * Its functions begin where they began, as the program knows them, and nothing is left of what they did: each is made of
 * breakpoints. So whoever runs the old code instead of that of this kernel ends by SIGTRAP.
 */
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/arena.h"
#include "image/field.h"
#include "lib/given.h"

#define TAG_VDSO 0x43

struct vdso {
	const char *name;
	uint64_t size;
	uint64_t hash;
	struct span code;
};

static const struct field fields[] = {
	FIELD_S(1, struct vdso, name, ""),
	FIELD_U(2, struct vdso, size, ""),
	FIELD_U(3, struct vdso, hash, ""),
	FIELD_BLOB(4, struct vdso, code, ""),
	FIELDS_END,
};

/* nothing but what symbols name is code that is called from outside */
static void break_code(struct vdso *v)
{
	unsigned char *code = v->code.at;
	const Elf64_Ehdr *eh = v->code.at;
	const Elf64_Phdr *ph = (const Elf64_Phdr *)(code + eh->e_phoff);
	const Elf64_Dyn *d = NULL;
	uint64_t sym = 0, str = 0;

	for (unsigned int i = 0; i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_DYNAMIC)
			d = (const Elf64_Dyn *)(code + ph[i].p_offset);
	for (; d && d->d_tag != DT_NULL; d++) {
		if (d->d_tag == DT_SYMTAB)
			sym = d->d_un.d_ptr;
		if (d->d_tag == DT_STRTAB)
			str = d->d_un.d_ptr;
	}
	if (!sym || str < sym || str > v->code.n)
		errx(1, "there is no vdso in it");
	const Elf64_Sym *s = (const Elf64_Sym *)(code + sym), *end = s + (str - sym) / sizeof(*s);
	for (; s < end; s++)
		if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && s->st_shndx)
			memset(code + s->st_value, 0xcc, s->st_size);
	v->hash = XXH3_64bits(code, v->code.n);
}

static void put_object(struct arena *a, struct image_writer *w, const struct section *s)
{
	struct vdso v = { 0 };
	struct span out = { (void *)s->payload, s->len, 0 };

	if (s->tag == TAG_VDSO && record_decode(a, fields, s->payload, s->len, &v) < 0)
		errx(1, "the record of its vdso is unknown");
	if (v.code.n) {
		out = (struct span){ 0 };
		break_code(&v);
		record_encode(a, fields, &v, &out);
	}
	if (image_put(w, s->tag, s->id, out.at, out.n) < 0)
		errx(1, "cannot write an object");
}

static void put_pages(struct image_reader *r, struct image_writer *w, const struct section *s)
{
	const unsigned char *data = s->data_len ? taken(r) : NULL;

	if ((s->data_len && !data) || given_put(w, s->id, data, s->runs, s->n_runs) < 0)
		errx(1, "cannot write pages");
}

int main(int argc, char **argv)
{
	struct arena a;
	struct image_reader *r;
	struct image_writer *w;
	struct section s;
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1, e;

	arena_init(&a);
	if (fd < 0 || image_open(&r, fd, NULL) < 0 || image_create(&w, argv[1], -1, 0, NULL) < 0)
		errx(1, "usage: other_vdso IMAGE");
	while ((e = image_next(r, &s)) == 1)
		if (s.type == SECTION_OBJECT)
			put_object(&a, w, &s);
		else
			put_pages(r, w, &s);
	if (e < 0 || image_commit(w, NULL) < 0)
		errx(1, "cannot make another image: %s", image_problem(r));
	image_close(r);
	arena_done(&a);
	return 0;
}
