/* core/otlp_trace.c: spans as OTLP's JSON: ids in hex, 64-bit integers as strings, times in ns since the epoch.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/otlp_internal.h"

#include <sys/random.h>

void core_otlp_ids(unsigned char trace_id[16], unsigned char span_id[8]) {
    unsigned char random[24];
    MUST(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    random[0] |= 1; /* all zero would be none */
    random[16] |= 1;
    memcpy(trace_id, random, 16);
    memcpy(span_id, random + 16, 8);
}

static void hex_put(struct core_buf *out, const char *name, const unsigned char *id, size_t len) {
    static const char digits[] = "0123456789abcdef";
    core_buf_char(out, '"');
    core_buf_span(out, core_span_of(name));
    core_buf_span(out, CORE_SPAN("\":\""));
    for (size_t i = 0; i < len; i++) {
        core_buf_char(out, digits[id[i] >> 4]);
        core_buf_char(out, digits[id[i] & 15]);
    }
    core_buf_char(out, '"');
}

static void key_put(struct core_buf *out, const char *key) {
    core_buf_span(out, CORE_SPAN("{\"key\":"));
    core_buf_string(out, core_span_of(key));
    core_buf_span(out, CORE_SPAN(",\"value\":{"));
}

void otlp_attribute_write(struct core_buf *out, const char *key, const char *text) {
    key_put(out, key);
    core_buf_span(out, CORE_SPAN("\"stringValue\":"));
    core_buf_string(out, core_span_of(text));
    core_buf_span(out, CORE_SPAN("}}"));
}

static void attributes_put(struct core_buf *out, const struct core_otlp_span *span) {
    core_buf_span(out, CORE_SPAN(",\"attributes\":["));
    for (size_t i = 0; i < span->attributes_len; i++) {
        const struct core_otlp_attribute *attribute = &span->attributes[i];
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        if (attribute->text != NULL) {
            otlp_attribute_write(out, attribute->key, attribute->text);
        } else {
            key_put(out, attribute->key);
            core_buf_span(out, CORE_SPAN("\"intValue\":\""));
            core_buf_i64(out, attribute->number);
            core_buf_span(out, CORE_SPAN("\"}}"));
        }
    }
    core_buf_char(out, ']');
}

static void links_put(struct core_buf *out, const struct core_otlp_span *span) {
    core_buf_span(out, CORE_SPAN(",\"links\":["));
    for (size_t i = 0; i < span->links_len; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("{") : CORE_SPAN(",{"));
        hex_put(out, "traceId", span->links[i].trace_id, sizeof span->links[i].trace_id);
        core_buf_char(out, ',');
        hex_put(out, "spanId", span->links[i].span_id, sizeof span->links[i].span_id);
        core_buf_char(out, '}');
    }
    core_buf_char(out, ']');
}

static void span_put(struct core_buf *out, const struct core_otlp_span *span) {
    static const unsigned char none[sizeof span->parent_id];
    core_buf_char(out, '{');
    hex_put(out, "traceId", span->trace_id, sizeof span->trace_id);
    core_buf_char(out, ',');
    hex_put(out, "spanId", span->span_id, sizeof span->span_id);
    if (memcmp(span->parent_id, none, sizeof none) != 0) {
        core_buf_char(out, ',');
        hex_put(out, "parentSpanId", span->parent_id, sizeof span->parent_id);
    }
    core_buf_span(out, CORE_SPAN(",\"name\":"));
    core_buf_string(out, core_span_of(span->name));
    core_buf_span(out, CORE_SPAN(",\"kind\":"));
    core_buf_i64(out, (int64_t)span->kind);
    core_buf_span(out, CORE_SPAN(",\"startTimeUnixNano\":\""));
    core_buf_i64(out, span->start_ns);
    core_buf_span(out, CORE_SPAN("\",\"endTimeUnixNano\":\""));
    core_buf_i64(out, span->end_ns < span->start_ns ? span->start_ns : span->end_ns);
    core_buf_char(out, '"');
    attributes_put(out, span);
    if (span->links_len > 0) {
        links_put(out, span);
    }
    core_buf_char(out, '}');
}

void otlp_spans_write(struct core_buf *out, const struct core_otlp_span *spans, size_t len) {
    for (size_t i = 0; i < len; i++) {
        core_buf_span(out, i == 0 ? CORE_SPAN("") : CORE_SPAN(","));
        span_put(out, &spans[i]);
    }
}
