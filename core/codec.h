/* core/codec.h: the one wrapper of zlib: a stream of gzip members in, plain bytes out; and back.
 *
 * What it promises: every byte before a damage is given before the damage is told; a damage is told in words (where in
 * the compressed bytes, how much text came out before) and never skipped; members that follow each other are one text,
 * as gzip(1) has it; zero bytes after the last member (tape padding) are ignored, anything else there is a damage.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_CODEC_H
#define TAPLINE_CORE_CODEC_H

#include "core/core.h"

#define CORE_GZIP_MAGIC_BYTES 3 /* 1f 8b 08: gzip, deflate; there has never been another method */

/* Do these first bytes open a gzip member? Shape: false when there are fewer than CORE_GZIP_MAGIC_BYTES. */
bool core_gzip_is_magic(struct core_span head);

/* Where compressed bytes come from.
 * Shape:   at most cap bytes to buf; *len 0 with CORE_OK is the end (it may be asked again: a file can grow).
 * Errors:  anything but CORE_OK is passed up by core_gunzip_read as it is, and may be tried again. */
typedef enum core_err (*core_codec_source)(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail);
/* The source for a file descriptor: ctx is an `int *`. Reads at the descriptor's own offset; EINTR is retried. */
enum core_err core_codec_source_fd(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail);

struct core_gunzip;

/* where: the file's name for messages; copied. Owns: core_gunzip_close(*out); ctx must live as long.
 * Errors: CORE_IO no memory. Thread: one at a time. */
CORE_CHECKED enum core_err core_gunzip_open(struct core_gunzip **out, core_codec_source source, void *ctx,
                                            const char *where, struct core_fail *fail);

/* The next plain bytes.
 * Shape:   1 … cap bytes and CORE_OK; cap must not be 0.
 * Errors:  CORE_GONE the end: every member was whole, lengths and checksums agree · CORE_BAD damaged, fail says how and
 *          at which byte; stays so · else what the source said. With any of these *len is 0.
 * Source:  RFC 1952; zlib.h. */
CORE_CHECKED enum core_err core_gunzip_read(struct core_gunzip *gunzip, char *buf, size_t cap, size_t *len,
                                            struct core_fail *fail);
/* Is the damage that the bytes simply end too early (a file still being written, or cut)? */
bool core_gunzip_is_cut(const struct core_gunzip *gunzip);
/* How many of the plain bytes that were given are in members that came to their end, with their checksums right. */
uint64_t core_gunzip_good(const struct core_gunzip *gunzip);
void core_gunzip_close(struct core_gunzip *gunzip); /* takes NULL */

/* ---- the other way: plain bytes in, gzip members out ------------------------------------------------------------------ */

/* Where compressed bytes go. Errors: anything but CORE_OK is passed up as it is, and the member is spoilt. */
typedef enum core_err (*core_codec_sink)(void *ctx, const char *bytes, size_t len, struct core_fail *fail);

struct core_gzip;

/* Quick rather than small (zlib's level 1). where as above. Owns: core_gzip_close(*out). Errors: CORE_IO no memory. */
CORE_CHECKED enum core_err core_gzip_open(struct core_gzip **out, core_codec_sink sink, void *ctx, const char *where,
                                          struct core_fail *fail);
/* What is written from then on is framed and has a checksum, but is not compressed: for what will be compressed later.
 * Before the first write. */
void core_gzip_store(struct core_gzip *gzip);
CORE_CHECKED enum core_err core_gzip_write(struct core_gzip *gzip, const char *bytes, size_t len,
                                           struct core_fail *fail);
/* The member's end: length and checksum. What is written behind it begins another member. */
CORE_CHECKED enum core_err core_gzip_finish(struct core_gzip *gzip, struct core_fail *fail);
void core_gzip_close(struct core_gzip *gzip); /* takes NULL */

#endif
