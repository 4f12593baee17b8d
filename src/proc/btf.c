/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The types of the running kernel. They are read once, and every number in them is checked before it is followed.
 */
#include "proc/btf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#define BTF_MAX	  (256u << 20) /* bytes; that of a kernel has 6 MiB */
#define USUAL	  20 /* bytes, or more, that a type takes on average */
#define NEST_MAX  32 /* types that only lead to others */
#define STEPS_MAX 10000 /* members that are looked at for one name; task_struct has 300 */

/* how many bytes follow the common part of a type; -1: it is of a kind that came later */
static int64_t tail_of(uint32_t kind, uint32_t vlen)
{
	switch (kind) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return (int64_t)vlen * (int64_t)sizeof(struct btf_member);
	case BTF_KIND_ENUM:
	case BTF_KIND_FUNC_PROTO:
		return (int64_t)vlen * 8;
	case BTF_KIND_DATASEC:
	case BTF_KIND_ENUM64:
		return (int64_t)vlen * 12;
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return 0;
	default:
		return -1;
	}
}

static const struct btf_type *type_at(const struct btf *b, uint32_t id)
{
	return id && id < b->n ? (const struct btf_type *)(b->types + b->at[id]) : NULL;
}

static uint32_t kind_of(const struct btf_type *t)
{
	return BTF_INFO_KIND(t->info);
}

static int index_types(struct arena *a, struct btf *b, uint32_t len)
{
	struct span at = { 0 };

	span_reserve(a, &at, len / USUAL, sizeof(uint32_t));
	span_push(a, &at, sizeof(uint32_t));
	for (uint32_t i = 0; i < len;) {
		const struct btf_type *t = (const struct btf_type *)(b->types + i);
		int64_t tail = len - i < sizeof(*t) ? -1 : tail_of(kind_of(t), BTF_INFO_VLEN(t->info));

		if (tail < 0 || tail > (int64_t)(len - i - sizeof(*t)))
			return -EBADMSG;
		*(uint32_t *)span_push(a, &at, sizeof(uint32_t)) = i;
		i += (uint32_t)(sizeof(*t) + (size_t)tail);
	}
	b->at = at.at;
	b->n = (uint32_t)at.n;
	return 0;
}

static int parse(struct arena *a, const unsigned char *all, size_t len, struct btf *ret)
{
	struct btf_header head;

	if (len < sizeof(head))
		return -EBADMSG;
	memcpy(&head, all, sizeof(head));
	if (head.magic != BTF_MAGIC || head.version != BTF_VERSION || head.hdr_len > len || head.hdr_len % 4)
		return -EBADMSG;
	size_t rest = len - head.hdr_len;
	if (head.type_off > rest || head.type_len > rest - head.type_off || head.type_off % 4)
		return -EBADMSG;
	if (head.str_off > rest || head.str_len > rest - head.str_off || !head.str_len)
		return -EBADMSG;
	ret->types = all + head.hdr_len + head.type_off;
	ret->strings = (const char *)all + head.hdr_len + head.str_off;
	ret->strings_len = head.str_len;
	if (ret->strings[head.str_len - 1])
		return -EBADMSG;
	return index_types(a, ret, head.type_len);
}

/* Linux 6.16 lets it be mapped, which takes a third of the time of reading it */
static const void *map_or_read(struct arena *a, int fd, size_t len, struct btf *ret)
{
	void *all = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);

	if (all != MAP_FAILED) {
		ret->mapped = all;
		ret->mapped_len = len;
		return all;
	}
	all = arena_alloc(a, len);
	return read_all(fd, all, len) == (ssize_t)len ? all : NULL;
}

int btf_open(struct arena *a, const char *path, struct btf *ret)
{
	_cleanup_close_ int fd = open(path ? path : "/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	struct stat st;

	*ret = (struct btf){ 0 };
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > BTF_MAX)
		return -EBADMSG;
	const void *all = map_or_read(a, fd, (size_t)st.st_size, ret);
	int r = all ? parse(a, all, (size_t)st.st_size, ret) : -EBADMSG;
	if (r < 0)
		btf_close(ret);
	return r;
}

void btf_close(struct btf *b)
{
	if (b->mapped)
		munmap(b->mapped, b->mapped_len);
	b->mapped = NULL;
}

static bool is_named(const struct btf *b, uint32_t name_off, const char *name, size_t len)
{
	if (name_off >= b->strings_len)
		return false;
	const char *at = b->strings + name_off;
	return strncmp(at, name, len) == 0 && !at[len];
}

static uint32_t find(const struct btf *b, uint32_t kind, const char *name)
{
	size_t len = strlen(name);

	for (uint32_t i = 1; i < b->n; i++) {
		const struct btf_type *t = type_at(b, i);

		if (kind_of(t) == kind && is_named(b, t->name_off, name, len))
			return i;
	}
	return 0;
}

uint32_t btf_struct(const struct btf *b, const char *name)
{
	return find(b, BTF_KIND_STRUCT, name);
}

uint32_t btf_func(const struct btf *b, const char *name)
{
	return find(b, BTF_KIND_FUNC, name);
}

/* past names and qualifiers; 0: nothing is there */
static uint32_t resolve(const struct btf *b, uint32_t id)
{
	for (unsigned int i = 0; i < NEST_MAX; i++) {
		const struct btf_type *t = type_at(b, id);

		if (!t)
			return 0;
		switch (kind_of(t)) {
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_RESTRICT:
		case BTF_KIND_TYPE_TAG:
			id = t->type;
			continue;
		default:
			return id;
		}
	}
	return 0;
}

/* bytes; 0: it has no size */
static uint32_t size_of(const struct btf *b, uint32_t id)
{
	uint64_t n = 1;

	for (unsigned int i = 0; i < NEST_MAX; i++) {
		const struct btf_type *t = type_at(b, resolve(b, id));

		if (!t)
			return 0;
		if (kind_of(t) == BTF_KIND_ARRAY) {
			const struct btf_array *array = (const struct btf_array *)(t + 1);

			n *= array->nelems;
			id = array->type;
			if (n > UINT32_MAX)
				return 0;
			continue;
		}
		uint64_t one = kind_of(t) == BTF_KIND_PTR ? sizeof(uint64_t) : t->size;
		bool has = kind_of(t) == BTF_KIND_PTR || kind_of(t) == BTF_KIND_INT || kind_of(t) == BTF_KIND_STRUCT ||
			   kind_of(t) == BTF_KIND_UNION || kind_of(t) == BTF_KIND_ENUM || kind_of(t) == BTF_KIND_ENUM64;
		return has && n * one <= UINT32_MAX ? (uint32_t)(n * one) : 0;
	}
	return 0;
}

uint32_t btf_pointee(const struct btf *b, uint32_t type)
{
	const struct btf_type *t = type_at(b, resolve(b, type));

	return t && kind_of(t) == BTF_KIND_PTR ? resolve(b, t->type) : 0;
}

/* struct found - a member: bits from the beginning, and how many it has when it is a bit field */
struct found {
	uint64_t at;
	uint32_t bits, type;
};

/* one name, also within structures that have none */
static bool find_member(
	const struct btf *b, uint32_t type, const char *name, size_t len, unsigned int *steps, struct found *ret)
{
	const struct btf_type *t = type_at(b, resolve(b, type));

	if (!t || (kind_of(t) != BTF_KIND_STRUCT && kind_of(t) != BTF_KIND_UNION))
		return false;
	const struct btf_member *m = (const struct btf_member *)(t + 1);
	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info) && *steps > 0; i++) {
		const bool fields = BTF_INFO_KFLAG(t->info);
		const struct found here = { fields ? BTF_MEMBER_BIT_OFFSET(m[i].offset) : m[i].offset,
			fields ? BTF_MEMBER_BITFIELD_SIZE(m[i].offset) : 0, m[i].type };

		--*steps;
		if (is_named(b, m[i].name_off, name, len)) {
			*ret = here;
			return true;
		}
		if (is_named(b, m[i].name_off, "", 0) && find_member(b, m[i].type, name, len, steps, ret)) {
			ret->at += here.at;
			return true;
		}
	}
	return false;
}

/* "[3]" at @path: from the array that @f is to this element of it; returns how many bytes of @path say so, 0 for none */
static size_t take_index(const struct btf *b, const char *path, size_t len, struct found *f)
{
	const struct btf_type *t = type_at(b, resolve(b, f->type));
	const char *end = len && *path == '[' ? memchr(path, ']', len) : NULL;
	uint64_t n = 0;

	if (!end || !t || kind_of(t) != BTF_KIND_ARRAY)
		return 0;
	for (const char *p = path + 1; p < end && n < UINT16_MAX; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	f->type = ((const struct btf_array *)(t + 1))->type;
	f->at += n * size_of(b, f->type) * 8;
	return (size_t)(end + 1 - path);
}

static bool is_array(const struct btf *b, uint32_t type)
{
	const struct btf_type *t = type_at(b, resolve(b, type));

	return t && kind_of(t) == BTF_KIND_ARRAY;
}

static enum btf_form form_of(const struct btf *b, uint32_t type)
{
	const struct btf_type *t = type_at(b, resolve(b, type));
	bool array = false;

	for (unsigned int i = 0; i < NEST_MAX && t && kind_of(t) == BTF_KIND_ARRAY; i++) {
		t = type_at(b, resolve(b, ((const struct btf_array *)(t + 1))->type));
		array = true;
	}
	if (!t)
		return BTF_OTHER;
	if (kind_of(t) == BTF_KIND_PTR && !array)
		return BTF_POINTER;
	return kind_of(t) == BTF_KIND_INT || kind_of(t) == BTF_KIND_ENUM ? BTF_NUMBERS : BTF_OTHER;
}

static int place(const struct btf *b, const struct found *f, uint64_t at, struct btf_place *ret)
{
	unsigned int first = at % 8;

	*ret = (struct btf_place){ .offset = (uint32_t)(at / 8), .type = f->type };
	if (f->bits) {
		ret->size = 1;
		ret->mask = f->bits <= 8 ? (uint8_t)(((1u << f->bits) - 1) << first) : 0;
	} else {
		ret->size = size_of(b, f->type);
	}
	ret->is_array = is_array(b, f->type);
	ret->form = f->bits ? BTF_OTHER : form_of(b, f->type);
	return f->bits + first > 8 || (first && !f->bits) || at / 8 > INT16_MAX || !ret->size ? -EOPNOTSUPP : 0;
}

int btf_member(const struct btf *b, uint32_t type, const char *path, size_t len, struct btf_place *ret)
{
	uint64_t at = 0;

	for (;;) {
		unsigned int steps = STEPS_MAX;
		size_t n = 0;
		struct found f;

		while (n < len && path[n] != '.' && path[n] != '[')
			n++;
		if (!n || !find_member(b, type, path, n, &steps, &f))
			return -ENOENT;
		n += take_index(b, path + n, len - n, &f);
		at += f.at;
		if (n == len)
			return place(b, &f, at, ret);
		if (path[n] != '.')
			return -ENOENT;
		type = f.type;
		path += n + 1;
		len -= n + 1;
	}
}
