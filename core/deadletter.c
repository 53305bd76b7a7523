/* core/deadletter.c: the document of a record that could not be delivered as an event.
 *
 * A dead letter must itself be deliverable: its raw bytes are cut at a stated maximum, and what was cut away can still be
 * recognised by its length and hash. It is written by normalize (a line that cannot be read) and by the sinks (a document
 * that a server refused for good), into memory of the batch the record belongs to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/deadletter.h"

#define UTF8_TAIL_MAX ((size_t)3) /* bytes of a cut character that may stand at the end */

const struct core_dead_field core_dead_fields[] = {
    {"@timestamp", true},
    {"ecs.version", true},
    {"error.message", true},
    {"event.dataset", true},
    {"event.kind", true},
    {"event.module", true},
    {"event.original", false}, /* or tapline.original_base64 */
    {"log.file.line", false},
    {"log.file.path", false},
    {"log.offset", false},
    {"tapline.dataset", false}, /* this and kind, offset, partition, topic: of one that was read from Kafka */
    {"tapline.end", false},
    {"tapline.id", true},
    {"tapline.kind", false},
    {"tapline.offset", false},
    {"tapline.original_base64", false},
    {"tapline.original_bytes", false},
    {"tapline.original_sha256", false},
    {"tapline.original_sha256_bytes", false},
    {"tapline.partition", false},
    {"tapline.start", false},
    {"tapline.topic", false},
};
const size_t core_dead_fields_len = sizeof(core_dead_fields) / sizeof(core_dead_fields[0]);

static void put_text(struct core_buf *buf, const char *text) {
    core_buf_span(buf, core_span_of(text));
}

static void put_hex(struct core_buf *buf, const unsigned char *bytes, size_t len) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        core_buf_char(buf, digits[bytes[i] >> 4]);
        core_buf_char(buf, digits[bytes[i] & 15]);
    }
}

/* The head of raw that fits; not in the middle of a UTF-8 character, or valid text would turn into base64. */
static struct core_span cut_raw(struct core_span raw, size_t bytes_max) {
    size_t len = bytes_max > 0 ? bytes_max : CORE_DEAD_RAW_BYTES_MAX;
    if (raw.len <= len) {
        return raw;
    }
    for (size_t back = 0; back < UTF8_TAIL_MAX && len > 0 && ((unsigned char)raw.ptr[len] & 0xc0) == 0x80; back++) {
        len--;
    }
    return (struct core_span){.ptr = raw.ptr, .len = len};
}

static void put_source(struct core_buf *buf, const struct core_dead_source *source) {
    put_text(buf, "\",\"kind\":");
    core_buf_string(buf, core_span_of(source->kind));
    put_text(buf, ",\"topic\":");
    core_buf_string(buf, core_span_of(source->topic));
    put_text(buf, ",\"partition\":");
    core_buf_i64(buf, source->partition);
    put_text(buf, ",\"offset\":");
    core_buf_i64(buf, source->offset);
    put_text(buf, ",\"dataset\":");
    core_buf_string(buf, core_span_of(source->dataset));
}

static void put_record(struct core_buf *buf, const struct core_stream *stream, const struct core_dead *dead,
                       struct core_span shown, bool is_text) {
    char id[32];
    core_record_id(stream->gen, dead->start, id);
    put_text(buf, ",\"tapline\":{\"id\":\"");
    core_buf_put(buf, id, sizeof id);
    if (dead->source != NULL) {
        put_source(buf, dead->source);
    } else {
        put_text(buf, "\",\"start\":");
        core_buf_u64(buf, dead->start);
        put_text(buf, ",\"end\":");
        core_buf_u64(buf, dead->end);
    }
    if (!is_text) {
        put_text(buf, ",\"original_base64\":\"");
        core_buf_base64(buf, shown);
        core_buf_char(buf, '"');
    }
    size_t whole = dead->raw_len > dead->raw.len ? dead->raw_len : dead->raw.len;
    if (whole > shown.len) {
        unsigned char digest[32];
        core_sha256(dead->raw.ptr, dead->raw.len, digest);
        put_text(buf, ",\"original_bytes\":");
        core_buf_u64(buf, whole);
        put_text(buf, ",\"original_sha256\":\"");
        put_hex(buf, digest, sizeof digest);
        core_buf_char(buf, '"');
        if (dead->raw.len < whole) { /* the rest was never in memory: say how much the hash covers */
            put_text(buf, ",\"original_sha256_bytes\":");
            core_buf_u64(buf, dead->raw.len);
        }
    }
    core_buf_char(buf, '}');
}

static void put_place(struct core_buf *buf, const struct core_stream *stream, const struct core_dead *dead) {
    put_text(buf, ",\"log\":{\"file\":{\"path\":");
    core_buf_string(buf, core_span_of(stream->path == NULL ? "" : stream->path));
    if (dead->line_number != 0) {
        put_text(buf, ",\"line\":");
        core_buf_u64(buf, dead->line_number);
    }
    put_text(buf, "},\"offset\":");
    core_buf_u64(buf, dead->start);
    core_buf_char(buf, '}');
}

void core_dead_write(struct core_buf *buf, const struct core_stream *stream, const struct core_dead *dead,
                     int64_t now_ns) {
    MUST(stream != NULL && stream->magic == CORE_STREAM_MAGIC);
    MUST(dead->reason != NULL);
    char now[27];
    MUST(core_time_iso(now_ns, now));
    struct core_span shown = cut_raw(dead->raw, dead->raw_bytes_max);
    bool is_text = core_utf8_is_valid(shown);
    put_text(buf, "{\"@timestamp\":\"");
    core_buf_put(buf, now, sizeof now);
    put_text(buf, "\",\"ecs\":{\"version\":\"" CORE_ECS_VERSION "\"},\"event\":{\"kind\":\"pipeline_error\","
                  "\"module\":\"tapline\",\"dataset\":\"" CORE_DEAD_DATASET "\"");
    if (is_text) {
        put_text(buf, ",\"original\":");
        core_buf_string(buf, shown);
    }
    put_text(buf, "},\"error\":{\"message\":");
    core_buf_string(buf, core_span_of(dead->reason));
    core_buf_char(buf, '}');
    if (dead->source == NULL) {
        put_place(buf, stream, dead);
    }
    put_record(buf, stream, dead, shown, is_text);
    core_buf_char(buf, '}');
}
