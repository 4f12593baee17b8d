/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/pack.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

/* @cctx is ready for one frame */
static size_t compress(ZSTD_CCtx *cctx, const void *data, size_t len, void *to, size_t room)
{
	size_t n = ZSTD_compress2(cctx, to, room, data, len);

	return ZSTD_isError(n) ? 0 : n; /* no room: that is an error too */
}

size_t pack(struct packers *p, unsigned int worker, int level, const void *data, size_t len, void *to)
{
	ZSTD_CCtx *cctx = p->context[worker];

	if (!cctx) {
		cctx = p->context[worker] = ZSTD_createCCtx();
		if (!cctx || ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_compressionLevel, level)))
			return 0;
	}
	return compress(cctx, data, len, to, len - len / 16);
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
