/* core/json.c: the bounded JSON writer, and yajl behind callbacks.
 *
 * The writer is on the hot path: strings are copied in runs between bytes that need care, found through one 256-byte
 * table. The reader keeps one yajl handle in "multiple values" mode between lines, because making one costs more than
 * parsing a short line; after an error the handle's state is unknown, so it is made anew. yajl's allocations go through
 * malloc: they happen at the first line, and for strings with escapes longer than any before.
 * yajl's headers appear nowhere else.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <yajl/yajl_parse.h>

#define JSON_DEPTH_MAX 64

/* ---- writing ------------------------------------------------------------------------------------------------------ */

enum { PLAIN = 0, ESCAPE = 1, HIGH = 2 };

/* What a byte asks for inside a JSON string. */
static uint8_t byte_class(unsigned char c) {
    if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
        return ESCAPE;
    }
    return c < 0x80 ? PLAIN : HIGH;
}

/* Length of the valid UTF-8 sequence at p (1 to 4), or 0. Source: RFC 3629, table of well-formed sequences. */
static size_t utf8_len(const unsigned char *p, size_t left) {
    MUST(left > 0);
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < 2) {
        return 0;
    }
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] == 0xe0) {
        low = 0xa0;
    } else if (p[0] == 0xed) {
        high = 0x9f; /* no surrogates */
    } else if (p[0] == 0xf0) {
        low = 0x90;
    } else if (p[0] == 0xf4) {
        high = 0x8f; /* nothing past U+10FFFF */
    }
    if (left < len || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf) {
            return 0;
        }
    }
    return len;
}

bool core_utf8_is_valid(struct core_span text) {
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t i = 0;
    while (i < text.len) {
        size_t len = utf8_len(p + i, text.len - i);
        if (len == 0) {
            return false;
        }
        i += len;
    }
    return true;
}

static void put_escape(struct core_buf *buf, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
        core_buf_put(buf, "\\\"", 2);
        return;
    case '\\':
        core_buf_put(buf, "\\\\", 2);
        return;
    case '\n':
        core_buf_put(buf, "\\n", 2);
        return;
    case '\r':
        core_buf_put(buf, "\\r", 2);
        return;
    case '\t':
        core_buf_put(buf, "\\t", 2);
        return;
    default: {
        char out[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        core_buf_put(buf, out, sizeof(out));
    }
    }
}

/* How many bytes at the beginning stand for themselves in a JSON string. */
static inline size_t plain_run(const unsigned char *p, size_t len) {
    size_t i = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    const __m128i del = _mm_set1_epi8(0x7f);
    for (; i + 16 <= len; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        /* signed compare: bytes from 0x80 on are negative, so they are below 0x20 too */
        __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                    _mm_or_si128(_mm_cmplt_epi8(v, space), _mm_cmpeq_epi8(v, del)));
        unsigned mask = (unsigned)_mm_movemask_epi8(stop);
        if (mask != 0) {
            return i + (size_t)__builtin_ctz(mask);
        }
    }
#endif
    while (i < len && byte_class(p[i]) == PLAIN) {
        i++;
    }
    return i;
}

void core_buf_string(struct core_buf *buf, struct core_span text) {
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t run = 0;
    size_t i = 0;
    core_buf_char(buf, '"');
    while (i < text.len) {
        uint8_t class = byte_class(p[i]);
        if (class == PLAIN) {
            i += 1 + plain_run(p + i + 1, text.len - i - 1);
            continue;
        }
        size_t len = class == HIGH ? utf8_len(p + i, text.len - i) : 0;
        if (len > 0) {
            i += len;
            continue;
        }
        core_buf_put(buf, text.ptr + run, i - run);
        if (class == HIGH) {
            char out[5] = {'\\', '\\', 'x', hex[p[i] >> 4], hex[p[i] & 15]};
            core_buf_put(buf, out, sizeof(out));
        } else {
            put_escape(buf, p[i]);
        }
        run = ++i;
    }
    core_buf_put(buf, text.ptr + run, text.len - run);
    core_buf_char(buf, '"');
}

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

static unsigned digits_of(uint64_t v) {
    static const uint64_t tens[] = {UINT64_C(0),
                                    UINT64_C(10),
                                    UINT64_C(100),
                                    UINT64_C(1000),
                                    UINT64_C(10000),
                                    UINT64_C(100000),
                                    UINT64_C(1000000),
                                    UINT64_C(10000000),
                                    UINT64_C(100000000),
                                    UINT64_C(1000000000),
                                    UINT64_C(10000000000),
                                    UINT64_C(100000000000),
                                    UINT64_C(1000000000000),
                                    UINT64_C(10000000000000),
                                    UINT64_C(100000000000000),
                                    UINT64_C(1000000000000000),
                                    UINT64_C(10000000000000000),
                                    UINT64_C(100000000000000000),
                                    UINT64_C(1000000000000000000),
                                    UINT64_C(10000000000000000000)};
    unsigned bits = 64 - (unsigned)__builtin_clzll(v | 1);
    unsigned less = bits * 1233 >> 12; /* log10(2) is 1233 / 4096: the number of digits, or one less */
    return less + (v >= tens[less]);
}

void core_buf_u64(struct core_buf *buf, uint64_t v) {
    unsigned len = v == 0 ? 1 : digits_of(v);
    if (buf->is_full || buf->end - buf->pos < (ptrdiff_t)len) {
        buf->is_full = true;
        return;
    }
    char *at = buf->pos + len;
    for (; v >= 100; v /= 100) {
        at -= 2;
        memcpy(at, pairs + v % 100 * 2, 2);
    }
    if (v >= 10) {
        memcpy(at - 2, pairs + v * 2, 2);
    } else {
        at[-1] = (char)('0' + v);
    }
    buf->pos += len;
}

void core_buf_i64(struct core_buf *buf, int64_t v) {
    if (v < 0) {
        core_buf_char(buf, '-');
        core_buf_u64(buf, (uint64_t)0 - (uint64_t)v);
    } else {
        core_buf_u64(buf, (uint64_t)v);
    }
}

void core_buf_base64(struct core_buf *buf, struct core_span bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    size_t room = (bytes.len + 2) / 3 * 4;
    if (buf->is_full || (size_t)(buf->end - buf->pos) < room) {
        buf->is_full = true;
        return;
    }
    char *out = buf->pos;
    size_t i = 0;
    for (; i + 3 <= bytes.len; i += 3, out += 4) {
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
        out[0] = digits[v >> 18];
        out[1] = digits[(v >> 12) & 63];
        out[2] = digits[(v >> 6) & 63];
        out[3] = digits[v & 63];
    }
    if (i < bytes.len) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < bytes.len ? (uint32_t)p[i + 1] << 8 : 0);
        out[0] = digits[v >> 18];
        out[1] = digits[(v >> 12) & 63];
        out[2] = i + 1 < bytes.len ? digits[(v >> 6) & 63] : '=';
        out[3] = '=';
    }
    buf->pos += room;
}

static size_t digits_at(struct core_span text, size_t i) {
    size_t start = i;
    while (i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9') {
        i++;
    }
    return i - start;
}

bool core_json_is_number(struct core_span text) {
    size_t i = text.len > 0 && text.ptr[0] == '-' ? 1 : 0;
    size_t whole = digits_at(text, i);
    if (whole == 0 || (whole > 1 && text.ptr[i] == '0')) {
        return false;
    }
    i += whole;
    if (i < text.len && text.ptr[i] == '.') {
        size_t part = digits_at(text, i + 1);
        if (part == 0) {
            return false;
        }
        i += 1 + part;
    }
    if (i < text.len && (text.ptr[i] == 'e' || text.ptr[i] == 'E')) {
        i++;
        if (i < text.len && (text.ptr[i] == '+' || text.ptr[i] == '-')) {
            i++;
        }
        size_t part = digits_at(text, i);
        if (part == 0) {
            return false;
        }
        i += part;
    }
    return i == text.len;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

struct core_json_reader {
    const struct core_json_calls *calls;
    void *ctx;
    yajl_handle handle;
    unsigned depth;
    unsigned values;     /* whole values seen in this text */
    const char *refusal; /* why a callback of ours stopped, when it was not the caller's wish */
};

/* Every callback begins here: one value a text, and a bounded depth. */
static bool value_begins(struct core_json_reader *reader) {
    if (reader->depth == 0 && reader->values > 0) {
        reader->refusal = "bytes follow the value";
        return false;
    }
    return true;
}

static bool scalar_ends(struct core_json_reader *reader, bool go_on) {
    if (reader->depth == 0) {
        reader->values++;
    }
    return go_on;
}

static int on_null(void *ctx) {
    struct core_json_reader *reader = ctx;
    return value_begins(reader) && scalar_ends(reader, reader->calls->on_null(reader->ctx));
}

static int on_bool(void *ctx, int value) {
    struct core_json_reader *reader = ctx;
    return value_begins(reader) && scalar_ends(reader, reader->calls->on_bool(reader->ctx, value != 0));
}

static int on_number(void *ctx, const char *text, size_t len) {
    struct core_json_reader *reader = ctx;
    struct core_span span = {text, len};
    return value_begins(reader) && scalar_ends(reader, reader->calls->on_number(reader->ctx, span));
}

static int on_string(void *ctx, const unsigned char *text, size_t len) {
    struct core_json_reader *reader = ctx;
    struct core_span span = {(const char *)text, len};
    return value_begins(reader) && scalar_ends(reader, reader->calls->on_string(reader->ctx, span));
}

static int on_key(void *ctx, const unsigned char *text, size_t len) {
    struct core_json_reader *reader = ctx;
    return reader->calls->on_key(reader->ctx, (struct core_span){(const char *)text, len});
}

static bool descend(struct core_json_reader *reader) {
    if (!value_begins(reader)) {
        return false;
    }
    if (reader->depth == JSON_DEPTH_MAX) {
        reader->refusal = "nested deeper than 64";
        return false;
    }
    reader->depth++;
    return true;
}

static bool ascend(struct core_json_reader *reader) {
    MUST(reader->depth > 0);
    reader->depth--;
    return scalar_ends(reader, true);
}

static int on_start_map(void *ctx) {
    struct core_json_reader *reader = ctx;
    return descend(reader) && reader->calls->on_map(reader->ctx, true);
}

static int on_end_map(void *ctx) {
    struct core_json_reader *reader = ctx;
    return ascend(reader) && reader->calls->on_map(reader->ctx, false);
}

static int on_start_array(void *ctx) {
    struct core_json_reader *reader = ctx;
    return descend(reader) && reader->calls->on_array(reader->ctx, true);
}

static int on_end_array(void *ctx) {
    struct core_json_reader *reader = ctx;
    return ascend(reader) && reader->calls->on_array(reader->ctx, false);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_bool,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

static void handle_renew(struct core_json_reader *reader) {
    if (reader->handle != NULL) {
        yajl_free(reader->handle);
    }
    reader->handle = yajl_alloc(&callbacks, NULL, reader);
    MUST(reader->handle != NULL);
    /* Bytes that are no UTF-8 come through: the writer makes them visible, a refusal would lose the record. */
    MUST(yajl_config(reader->handle, yajl_dont_validate_strings, 1) == 1);
    MUST(yajl_config(reader->handle, yajl_allow_multiple_values, 1) == 1);
}

struct core_json_reader *core_json_reader_new(const struct core_json_calls *calls, void *ctx) {
    struct core_json_reader *reader = calloc(1, sizeof(*reader));
    MUST(reader != NULL);
    reader->calls = calls;
    reader->ctx = ctx;
    handle_renew(reader);
    return reader;
}

void core_json_reader_free(struct core_json_reader *reader) {
    if (reader != NULL) {
        yajl_free(reader->handle);
        free(reader);
    }
}

/* yajl's sentence without its line ends and without the picture below it. */
static void explain(struct core_json_reader *reader, struct core_span text, struct core_fail *fail) {
    if (reader->refusal != NULL) {
        (void)core_fail_set(fail, CORE_BAD, "json", "%s", reader->refusal);
        return;
    }
    unsigned char *said = yajl_get_error(reader->handle, 0, (const unsigned char *)text.ptr, text.len);
    MUST(said != NULL);
    size_t len = strcspn((const char *)said, "\n");
    (void)core_fail_set(fail, CORE_BAD, "json", "%.*s, at byte %zu", (int)len, (const char *)said,
                        yajl_get_bytes_consumed(reader->handle));
    yajl_free_error(reader->handle, said);
}

enum core_err core_json_read(struct core_json_reader *reader, struct core_span text, struct core_fail *fail) {
    reader->depth = 0;
    reader->values = 0;
    reader->refusal = NULL;
    yajl_status status = yajl_parse(reader->handle, (const unsigned char *)text.ptr, text.len);
    if (status == yajl_status_ok && reader->depth == 0 && reader->values == 0) {
        /* A bare number at the end is only known to be whole when the text is. */
        status = yajl_complete_parse(reader->handle);
        bool is_whole = status == yajl_status_ok && reader->values == 1;
        if (!is_whole && status == yajl_status_ok) {
            reader->refusal = "no value";
        }
        if (!is_whole) {
            explain(reader, text, fail);
        }
        handle_renew(reader);
        return is_whole ? CORE_OK : CORE_BAD;
    }
    /* A token that the text leaves unfinished behind its value would else become the beginning of the next text. */
    if (status == yajl_status_ok && reader->depth == 0 &&
        yajl_parse(reader->handle, (const unsigned char *)"\n", 1) != yajl_status_ok) {
        reader->refusal = "bytes follow the value";
    }
    if (status == yajl_status_ok && reader->depth > 0) {
        reader->refusal = "cut off: the value does not end";
    }
    if (status != yajl_status_ok || reader->refusal != NULL) {
        explain(reader, text, fail);
        handle_renew(reader);
        return CORE_BAD;
    }
    return CORE_OK;
}
