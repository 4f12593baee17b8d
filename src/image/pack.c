/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/pack.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#define TABLE_LOG 18 /* entries of 4 bytes */

/*
 * From level 7 on it would take 11 MiB for each thread, and gain one part in a hundred by it: so tables of 1 MiB have to do.
 * Where a parameter is refused the level is what it is.
 */
static void set_level(ZSTD_CCtx *cctx, int level)
{
	ZSTD_CCtx_setParameter(cctx, ZSTD_c_compressionLevel, level);
	if (level < 7)
		return;
	ZSTD_CCtx_setParameter(cctx, ZSTD_c_hashLog, TABLE_LOG);
	ZSTD_CCtx_setParameter(cctx, ZSTD_c_chainLog, TABLE_LOG);
}

size_t pack(struct packers *p, unsigned int worker, int level, const void *data, size_t len, void *to)
{
	ZSTD_CCtx *cctx = p->context[worker];

	if (!cctx) {
		cctx = p->context[worker] = ZSTD_createCCtx();
		if (!cctx)
			return 0;
		set_level(cctx, level);
	}
	size_t n = ZSTD_compress2(cctx, to, len - len / 16, data, len);
	return ZSTD_isError(n) ? 0 : n; /* no room is an error too */
}

void packers_done(struct packers *p)
{
	for (unsigned int i = 0; i <= POOL_MOST; i++)
		ZSTD_freeCCtx(p->context[i]);
}

int unpackers_init(struct packers *p, unsigned int n)
{
	for (unsigned int i = 0; i <= n; i++)
		if (!p->context[i] && !(p->context[i] = ZSTD_createDCtx()))
			return -ENOMEM;
	return 0;
}

/* the library knows frames of before RFC 8878, frames that are skipped, and several in a row */
static int check_frame(const void *data, size_t len, size_t want)
{
	static const unsigned char magic[4] = { 0x28, 0xb5, 0x2f, 0xfd };

	if (len < sizeof(magic) || memcmp(data, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	return ZSTD_findFrameCompressedSize(data, len) == len && ZSTD_getFrameContentSize(data, len) == want ? 0
													     : -EBADMSG;
}

int unpack(struct packers *p, unsigned int worker, const void *data, size_t len, void *to, size_t want)
{
	int err = check_frame(data, len, want);

	if (err < 0)
		return err;
	return ZSTD_decompressDCtx(p->context[worker], to, want, data, len) == want ? 0 : -EBADMSG;
}

void unpackers_done(struct packers *p)
{
	for (unsigned int i = 0; i <= POOL_MOST; i++)
		ZSTD_freeDCtx(p->context[i]);
}
