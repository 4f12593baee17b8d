/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vdso and its data, vdso(7): code that the kernel maps into every process. The one of the destination is moved to the
 * old address, which works when it is the same code.
 *
 * Seen:  /proc/PID/maps, [vdso], [vvar], [vvar_vclock]; [vsyscall], which is not really a mapping
 * Lost:  nothing
 * Needs: the same vdso on the destination; mremap(2) of the vdso
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "kinds/kind.h"

#define VDSO_MAX (64u << 10)

struct vdso {
	const char *name;
	uint64_t size;
	uint64_t hash; /* of the code: [vdso] alone */
};

static const struct field vdso_fields[] = {
	FIELD_S(1, struct vdso, name, "vm_special_mapping.name"),
	FIELD_U(2, struct vdso, size, "vdso_image.size"),
	FIELD_U(3, struct vdso, hash, "vdso_image.data"),
	FIELDS_END,
};

static const char *const names[] = { "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]" };

static size_t number(const char *name)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(names) && strcmp(names[i], name))
		i++;
	return i;
}

static bool vdso_probe(const struct sight *s)
{
	return number(s->vma->name) < ARRAY_SIZE(names);
}

static void vdso_key(const struct sight *s, uint64_t key[2])
{
	key[0] = number(s->vma->name);
	key[1] = s->vma->end - s->vma->start;
}

/* the section headers at the end are left out: they may have served as a room of the stub */
static uint64_t hash_code(const unsigned char *code, size_t size)
{
	Elf64_Ehdr eh;

	memcpy(&eh, code, sizeof(eh));
	size_t len = eh.e_shoff > sizeof(eh) && eh.e_shoff < size ? eh.e_shoff : size;
	return XXH3_64bits(code, len);
}

static int vdso_save(struct op *op, const struct sight *s, void *rec)
{
	struct vdso *v = rec;

	v->name = s->vma->name;
	v->size = s->vma->end - s->vma->start;
	if (number(v->name) != 0)
		return 0;
	if (v->size > VDSO_MAX)
		return refuse(op, "vdso", NULL, NULL, "has a vdso of %lu bytes", (unsigned long)v->size);
	unsigned char *code = arena_alloc(&op->arena, v->size);
	int r = remote_read(s->process->tid, (struct taddr){ s->vma->start }, code, v->size);
	if (r < 0)
		return fail(op, r, "read the vdso");
	v->hash = hash_code(code, v->size);
	return 0;
}

static int vdso_restore(struct op *op, void *rec, struct site *site)
{
	const struct vdso *v = rec;
	const unsigned char *own = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);

	if (!v->name || number(v->name) != 0)
		return 0;
	if (!own || v->size > VDSO_MAX || hash_code(own, v->size) != v->hash)
		return fail_as(op, OUTCOME_CANNOT, "vdso-changed",
			"restart under the kernel that the image names (stasis show)",
			"use the vdso of this kernel: it differs from the one the program ran with");
	return 0;
}

static bool vdso_match(const void *rec, const struct proc_vma *v)
{
	const struct vdso *mine = rec;

	return mine->name && !strcmp(mine->name, v->name) && mine->size == v->end - v->start;
}

const struct kind kind_mem_vdso = {
	.name = "vdso",
	.tag = 0x43,
	.scope = SCOPE_MEM,
	.size = sizeof(struct vdso),
	.fields = vdso_fields,
	.moves = true,
	.probe = vdso_probe,
	.key = vdso_key,
	.save = vdso_save,
	.restore = vdso_restore,
	.match = vdso_match,
};
