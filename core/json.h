/* core/json.h: JSON out (a bounded writer) and JSON in (yajl behind callbacks).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_JSON_H
#define TAPLINE_CORE_JSON_H

#include "core/core.h"

/* A writer into memory that somebody else owns. Past the end it sets is_full and drops everything after: check once, at
 * the end. Thread: its owner's. */
struct core_buf {
    char *start;
    char *pos;
    char *end;
    bool is_full;
};

static inline void core_buf_put(struct core_buf *buf, const char *bytes, size_t len) {
    if ((size_t)(buf->end - buf->pos) < len || buf->is_full) {
        buf->is_full = true;
        return;
    }
    memcpy(buf->pos, bytes, len);
    buf->pos += len;
}

static inline void core_buf_span(struct core_buf *buf, struct core_span text) {
    core_buf_put(buf, text.ptr, text.len);
}

static inline void core_buf_char(struct core_buf *buf, char c) {
    core_buf_put(buf, &c, 1);
}

static inline struct core_span core_buf_written(const struct core_buf *buf) {
    return (struct core_span){.ptr = buf->start, .len = (size_t)(buf->pos - buf->start)};
}

void core_buf_u64(struct core_buf *buf, uint64_t v);
void core_buf_i64(struct core_buf *buf, int64_t v);
/* The text as a JSON string with its quotes. Bytes that are no UTF-8 become the four characters `\xNN`, which JSON
 * shows as `\\xNN`: valid, readable, and what Zeek's own JSON writer does. */
void core_buf_string(struct core_buf *buf, struct core_span text);
/* Standard base64 with padding, without quotes. */
void core_buf_base64(struct core_buf *buf, struct core_span bytes);

bool core_utf8_is_valid(struct core_span text);
/* At most max bytes of it, not cut within a character. */
static inline struct core_span core_utf8_cut(struct core_span text, size_t max) {
    bool is_cut = text.len > max;
    text.len = is_cut ? max : text.len;
    while (is_cut && text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0U) == 0x80) {
        text.len--;
    }
    return text;
}
/* A number as RFC 8259 has it: what may be copied into a document as it is. */
bool core_json_is_number(struct core_span text);

/* ---- reading --------------------------------------------------------------------------------------------------------- */

/* What a parse calls. Texts are valid only during the call; strings come unescaped. Return false to stop (JSON_STOPPED). */
struct core_json_calls {
    bool (*on_null)(void *ctx);
    bool (*on_bool)(void *ctx, bool value);
    bool (*on_number)(void *ctx, struct core_span text); /* the digits as they stood: exact */
    bool (*on_string)(void *ctx, struct core_span text);
    bool (*on_key)(void *ctx, struct core_span text);
    bool (*on_map)(void *ctx, bool is_start);
    bool (*on_array)(void *ctx, bool is_start);
};

struct core_json_reader; /* one per thread; reused between lines */

struct core_json_reader *core_json_reader_new(const struct core_json_calls *calls, void *ctx); /* never NULL (MUST) */
void core_json_reader_free(struct core_json_reader *reader);

/* Parse exactly one JSON value. Errors: CORE_BAD with fail->text saying what and at which byte (also when a callback
 * stopped it, or when bytes follow the value). Bytes that are no UTF-8 are let through. Depth is limited to 64. */
CORE_CHECKED enum core_err core_json_read(struct core_json_reader *reader, struct core_span text,
                                          struct core_fail *fail);

/* The same for the kind of text that nearly every record is: an object (not deeper than 64) whose strings are printable
 * ASCII without escapes; several times as fast. False: it is of another kind, or no JSON, or a call wanted to stop: then
 * forget what was called so far and use core_json_read(). Shape: texts lie in `text` and live as long as that. */
bool core_json_read_plain(const struct core_json_calls *calls, void *ctx, struct core_span text);

#endif
