/* core/codec.c: gunzip as a pull stream.
 *
 * Design: one struct holds zlib's state, 64 KiB of compressed bytes and where we are: between two members or inside
 * one. A damage found in the same step as good bytes is kept back until those were given (is_damaged). Nothing is written,
 * so a crash leaves nothing behind. No thread of its own; each object belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define INPUT_BYTES (64 * CORE_KIB)
#define WINDOW_BITS_GZIP (15 + 16) /* zlib: 15 bits of window, + 16: gzip framing only */
#define GUNZIP_MAGIC 0x67756e7au

struct core_gunzip {
    uint32_t magic;
    z_stream z;
    core_codec_source source;
    void *ctx;
    char where[256];
    uint64_t in_bytes;   /* compressed bytes used up */
    uint64_t out_bytes;  /* plain bytes given */
    uint64_t good_bytes; /* of these, those of whole members */
    bool is_inside;      /* of a member, its header and trailer included */
    bool had_member;
    bool is_ended;
    bool is_damaged;
    bool is_cut;
    struct core_fail damage;
    unsigned char input[INPUT_BYTES];
};

bool core_gzip_is_magic(struct core_span head) {
    return head.len >= CORE_GZIP_MAGIC_BYTES && memcmp(head.ptr, "\x1f\x8b\x08", CORE_GZIP_MAGIC_BYTES) == 0;
}

enum core_err core_codec_source_fd(void *ctx, char *buf, size_t cap, size_t *len, struct core_fail *fail) {
    const int fd = *(const int *)ctx;
    MUST(fd >= 0);
    *len = 0;
    ssize_t got;
    do {
        got = read(fd, buf, cap);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return core_fail_errno(fail, "gzip", "cannot read compressed bytes");
    }
    *len = (size_t)got;
    return CORE_OK;
}

enum core_err core_gunzip_open(struct core_gunzip **out, core_codec_source source, void *ctx, const char *where,
                               struct core_fail *fail) {
    MUST(out != NULL);
    MUST(source != NULL);
    *out = NULL;
    struct core_gunzip *gunzip = calloc(1, sizeof(*gunzip));
    if (gunzip == NULL) {
        return core_fail_errno(fail, where, "no memory to uncompress it");
    }
    const int rc = inflateInit2(&gunzip->z, WINDOW_BITS_GZIP);
    if (rc != Z_OK) {
        free(gunzip);
        return core_fail_set(fail, CORE_IO, where, "zlib cannot start (%s): no memory to uncompress it", zError(rc));
    }
    gunzip->magic = GUNZIP_MAGIC;
    gunzip->source = source;
    gunzip->ctx = ctx;
    (void)snprintf(gunzip->where, sizeof(gunzip->where), "%s", where);
    *out = gunzip;
    return CORE_OK;
}

void core_gunzip_close(struct core_gunzip *gunzip) {
    if (gunzip == NULL) {
        return;
    }
    MUST(gunzip->magic == GUNZIP_MAGIC);
    gunzip->magic = 0;
    (void)inflateEnd(&gunzip->z);
    free(gunzip);
}

bool core_gunzip_is_cut(const struct core_gunzip *gunzip) {
    MUST(gunzip->magic == GUNZIP_MAGIC);
    return gunzip->is_cut;
}

uint64_t core_gunzip_good(const struct core_gunzip *gunzip) {
    MUST(gunzip->magic == GUNZIP_MAGIC);
    return gunzip->good_bytes;
}

static void note_damage(struct core_gunzip *gunzip, const char *what) {
    MUST(!gunzip->is_damaged);
    gunzip->is_damaged = true;
    (void)core_fail_set(&gunzip->damage, CORE_BAD, gunzip->where,
                        "damaged gzip data at compressed byte %llu, after %llu bytes of text: %s",
                        (unsigned long long)gunzip->in_bytes, (unsigned long long)gunzip->out_bytes, what);
}

/* Ask the source for more. CORE_GONE: there is no more. */
static enum core_err refill(struct core_gunzip *gunzip, struct core_fail *fail) {
    MUST(gunzip->z.avail_in == 0);
    size_t len = 0;
    const enum core_err err = gunzip->source(gunzip->ctx, (char *)gunzip->input, sizeof(gunzip->input), &len, fail);
    if (err != CORE_OK) {
        return err;
    }
    MUST(len <= sizeof(gunzip->input));
    gunzip->z.next_in = gunzip->input;
    gunzip->z.avail_in = (uInt)len;
    return len == 0 ? CORE_GONE : CORE_OK;
}

/* Between members: pass over padding, enter the next member. CORE_AGAIN: inside one now, or damaged: look again. */
static enum core_err between(struct core_gunzip *gunzip) {
    z_stream *z = &gunzip->z;
    while (z->avail_in > 0 && *z->next_in == 0 && gunzip->had_member) {
        z->next_in++;
        z->avail_in--;
        gunzip->in_bytes++;
    }
    if (z->avail_in == 0) {
        return CORE_OK;
    }
    if (gunzip->had_member && *z->next_in != 0x1f) {
        note_damage(gunzip, "bytes follow the end of the compressed data that are no gzip member; they are not read");
        return CORE_AGAIN;
    }
    MUST(inflateReset(z) == Z_OK);
    gunzip->is_inside = true;
    return CORE_AGAIN;
}

/* One step of zlib. Returns how many plain bytes came out. */
static size_t inflate_step(struct core_gunzip *gunzip, char *buf, size_t cap) {
    z_stream *z = &gunzip->z;
    const uInt room = cap > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uInt)cap;
    const uInt had = z->avail_in;
    z->next_out = (unsigned char *)buf;
    z->avail_out = room;
    const int rc = inflate(z, Z_NO_FLUSH);
    const size_t made = room - z->avail_out;
    gunzip->in_bytes += had - z->avail_in;
    gunzip->out_bytes += made;
    if (rc == Z_STREAM_END) {
        gunzip->is_inside = false;
        gunzip->had_member = true;
        gunzip->good_bytes = gunzip->out_bytes;
    } else if (rc == Z_NEED_DICT) {
        note_damage(gunzip, "it asks for a preset dictionary, which gzip does not have");
    } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
        note_damage(gunzip, z->msg != NULL ? z->msg : zError(rc));
    }
    return made;
}

enum core_err core_gunzip_read(struct core_gunzip *gunzip, char *buf, size_t cap, size_t *len, struct core_fail *fail) {
    MUST(gunzip->magic == GUNZIP_MAGIC);
    MUST(cap > 0);
    *len = 0;
    while (!gunzip->is_damaged && !gunzip->is_ended) {
        if (!gunzip->is_inside && between(gunzip) == CORE_AGAIN) {
            continue;
        }
        if (gunzip->is_inside) {
            *len = inflate_step(gunzip, buf, cap);
            if (*len > 0) {
                return CORE_OK;
            }
        }
        if (gunzip->z.avail_in > 0 || gunzip->is_damaged) {
            continue; /* a member's end, or its header, made no text: there is more to look at */
        }
        const enum core_err err = refill(gunzip, fail);
        if (err == CORE_GONE && (gunzip->is_inside || !gunzip->had_member)) {
            gunzip->is_cut = true;
            note_damage(gunzip,
                        "the compressed data ends before its end mark: the file was cut, or is still being written");
        } else if (err == CORE_GONE) {
            gunzip->is_ended = true;
        } else if (err != CORE_OK) {
            return err;
        }
    }
    if (gunzip->is_ended) {
        return CORE_GONE;
    }
    if (fail != NULL) {
        *fail = gunzip->damage;
    }
    return CORE_BAD;
}

/* ---- compressing ------------------------------------------------------------------------------------------------------------- */

#define OUTPUT_BYTES (64 * CORE_KIB)
#define GZIP_MAGIC 0x677a6970u
#define GZIP_MEM_LEVEL 8 /* zlib's own default */

struct core_gzip {
    uint32_t magic;
    z_stream z;
    core_codec_sink sink;
    void *ctx;
    bool is_finished;
    unsigned char output[OUTPUT_BYTES];
};

enum core_err core_gzip_open(struct core_gzip **out, core_codec_sink sink, void *ctx, const char *where,
                             struct core_fail *fail) {
    MUST(out != NULL);
    MUST(sink != NULL);
    *out = NULL;
    struct core_gzip *gzip = calloc(1, sizeof(*gzip));
    if (gzip == NULL) {
        return core_fail_errno(fail, where, "no memory to compress it");
    }
    const int rc =
        deflateInit2(&gzip->z, Z_BEST_SPEED, Z_DEFLATED, WINDOW_BITS_GZIP, GZIP_MEM_LEVEL, Z_DEFAULT_STRATEGY);
    if (rc != Z_OK) {
        free(gzip);
        return core_fail_set(fail, CORE_IO, where, "zlib cannot start (%s): no memory to compress it", zError(rc));
    }
    gzip->magic = GZIP_MAGIC;
    gzip->sink = sink;
    gzip->ctx = ctx;
    *out = gzip;
    return CORE_OK;
}

void core_gzip_store(struct core_gzip *gzip) {
    MUST(gzip->magic == GZIP_MAGIC);
    MUST(gzip->z.total_in == 0);
    MUST(deflateParams(&gzip->z, Z_NO_COMPRESSION, Z_DEFAULT_STRATEGY) == Z_OK);
}

static enum core_err run_deflate(struct core_gzip *gzip, int flush, struct core_fail *fail) {
    int rc = Z_OK;
    do {
        gzip->z.next_out = gzip->output;
        gzip->z.avail_out = sizeof(gzip->output);
        rc = deflate(&gzip->z, flush);
        MUST(rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR);
        const size_t len = sizeof(gzip->output) - gzip->z.avail_out;
        const enum core_err err = len == 0 ? CORE_OK : gzip->sink(gzip->ctx, (char *)gzip->output, len, fail);
        if (err != CORE_OK) {
            return err;
        }
    } while (gzip->z.avail_out == 0);
    MUST(gzip->z.avail_in == 0);
    MUST(flush != Z_FINISH || rc == Z_STREAM_END);
    return CORE_OK;
}

enum core_err core_gzip_write(struct core_gzip *gzip, const char *bytes, size_t len, struct core_fail *fail) {
    MUST(gzip->magic == GZIP_MAGIC);
    MUST(len <= UINT32_MAX);
    if (gzip->is_finished) {
        MUST(deflateReset(&gzip->z) == Z_OK);
        gzip->is_finished = false;
    }
    gzip->z.next_in = (unsigned char *)(uintptr_t)bytes;
    gzip->z.avail_in = (uInt)len;
    return run_deflate(gzip, Z_NO_FLUSH, fail);
}

enum core_err core_gzip_finish(struct core_gzip *gzip, struct core_fail *fail) {
    MUST(gzip->magic == GZIP_MAGIC);
    MUST(!gzip->is_finished);
    gzip->is_finished = true;
    gzip->z.avail_in = 0;
    return run_deflate(gzip, Z_FINISH, fail);
}

void core_gzip_close(struct core_gzip *gzip) {
    if (gzip == NULL) {
        return;
    }
    MUST(gzip->magic == GZIP_MAGIC);
    gzip->magic = 0;
    (void)deflateEnd(&gzip->z);
    free(gzip);
}
