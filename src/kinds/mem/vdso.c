/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The vdso and its data, vdso(7): code that the kernel maps into every process. The one of the destination is moved to the
 * old address when it is the same code. Another one is moved out of the way; at the old address lies a copy of the old code in
 * which each function is a jump to the new one. Its data are zeros: code that reads them makes the system call.
 *
 * Seen:  /proc/PID/maps, [vdso], [vvar], [vvar_vclock]; [vsyscall], which is not really a mapping
 * Lost:  under another vdso: when a signal handler returns into the middle of clock_gettime(2) of the vdso, one look at
 *        a coarse clock may read 0; that getrandom(2) makes no system call
 * Needs: mremap(2) of the vdso
 */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "kinds/detour.h"
#include "kinds/kind.h"

#define VDSO_MAX (64u << 10)

struct vdso {
	const char *name;
	uint64_t size;
	uint64_t hash; /* of the code: [vdso] alone */
	struct span code; /* [vdso] alone */
};

static const struct field vdso_fields[] = {
	FIELD_S(1, struct vdso, name, "vm_special_mapping.name"),
	FIELD_U(2, struct vdso, size, "vdso_image.size"),
	FIELD_U(3, struct vdso, hash, "vdso_image.data"),
	FIELD_BLOB(4, struct vdso, code, "vdso_image.data"),
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
static size_t code_len(const unsigned char *code, size_t size)
{
	Elf64_Ehdr eh;

	if (size < sizeof(eh))
		return size;
	memcpy(&eh, code, sizeof(eh));
	return eh.e_shoff > sizeof(eh) && eh.e_shoff < size ? eh.e_shoff : size;
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
	size_t len = code_len(code, v->size);
	v->hash = XXH3_64bits(code, len);
	v->code = (struct span){ code, len, len };
	return 0;
}

static int malformed(struct op *op)
{
	return fail_as(op, OUTCOME_IMAGE, "image", NULL, "make sense of the vdso that the program ran with");
}

static int vdso_restore(struct op *op, void *rec, struct site *site)
{
	const struct vdso *v = rec;

	if (v->size > VDSO_MAX && v->name && number(v->name) == 0)
		return malformed(op);
	if (v->code.n && (v->code.n > v->size || XXH3_64bits(v->code.at, v->code.n) != v->hash))
		return malformed(op);
	return 0;
}

static bool vdso_match(const void *rec, const struct proc_vma *v)
{
	const struct vdso *mine = rec;
	const unsigned char *code = (const unsigned char *)v->start;
	size_t size = v->end - v->start;

	if (!mine->name || strcmp(mine->name, v->name) != 0 || mine->size != size)
		return false;
	return number(v->name) != 0 || XXH3_64bits(code, code_len(code, size)) == mine->hash;
}

static int vdso_stand_in(struct op *op, void *rec, struct taddr code, struct span *ret)
{
	const unsigned char *own = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	struct vdso *v = rec;

	*ret = v->code;
	if (!v->name || number(v->name) != 0)
		return v->code.n ? malformed(op) : 0;
	if (!own || !v->code.n)
		return fail_as(op, OUTCOME_CANNOT, "vdso-changed",
			"restart under the kernel that the image names (stasis show)",
			"do without the vdso that the program ran with: the image has no copy of it");
	int r = detour(v->code.at, v->code.n, own, code_len(own, VDSO_MAX), code.at);
	if (r == -ENOSPC)
		return fail_as(op, OUTCOME_CANNOT, "vdso-changed",
			"restart under the kernel that the image names (stasis show)",
			"do without the vdso that the program ran with: it has functions that are too small");
	return r < 0 ? malformed(op) : 0;
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
	.stand_in = vdso_stand_in,
};
