/* tests/fuzz/fuzz_peek.c: of any bytes at all, what is found lies in them; and of what is JSON the general reader finds the
 * same time and dataset (as far as they are plain: those found have their escapes still).
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/json.h"
#include "core/peek.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the general reader says. */
struct truth {
    unsigned depth;
    bool is_in_event; /* the object of a member "event" of the top */
    bool is_event, is_time, is_dotted, is_dataset;
    bool has_stream;
    bool has_time, has_dataset;
    char time[4096];
    char dataset[4096];
    size_t time_len, dataset_len;
};

static void keep(struct core_span text, char *out, size_t *len, bool *has) {
    if (!*has) {
        *has = true;
        *len = text.len;
        memcpy(out, text.ptr == NULL ? "" : text.ptr, text.len);
    }
}

static bool on_string(void *ctx, struct core_span text) {
    struct truth *truth = ctx;
    if (truth->depth == 1 && truth->is_time) {
        keep(text, truth->time, &truth->time_len, &truth->has_time);
    } else if ((truth->depth == 1 && truth->is_dotted) ||
               (truth->depth == 2 && truth->is_in_event && truth->is_dataset)) {
        keep(text, truth->dataset, &truth->dataset_len, &truth->has_dataset);
    }
    return true;
}

static bool on_null(void *ctx) {
    (void)ctx;
    return true;
}

static bool on_bool(void *ctx, bool value) {
    (void)value;
    return on_null(ctx);
}

static bool on_number(void *ctx, struct core_span text) {
    (void)text;
    return on_null(ctx);
}

static bool on_key(void *ctx, struct core_span text) {
    struct truth *truth = ctx;
    truth->is_event = core_span_is(text, "event");
    truth->is_time = core_span_is(text, "@timestamp");
    truth->is_dotted = core_span_is(text, "event.dataset");
    truth->is_dataset = core_span_is(text, "dataset");
    truth->has_stream = truth->has_stream || (truth->depth == 1 && core_span_starts(text, CORE_SPAN("data_stream")));
    return true;
}

static bool nest(struct truth *truth, bool is_start, bool is_map) {
    if (is_start) {
        truth->is_in_event = truth->depth == 1 ? is_map && truth->is_event : truth->is_in_event;
        truth->depth++;
    } else {
        truth->depth--;
        truth->is_in_event = truth->is_in_event && truth->depth >= 2;
    }
    truth->is_event = truth->is_time = truth->is_dotted = truth->is_dataset = false;
    return true;
}

static bool on_map(void *ctx, bool is_start) {
    return nest(ctx, is_start, true);
}

static bool on_array(void *ctx, bool is_start) {
    return nest(ctx, is_start, false);
}

/* What the two readers may differ over. With escapes a key can be spelt in many ways, of which only the plain one is looked
 * for. And yajl takes a vertical tab and a form feed for blanks, which JSON (RFC 8259, 2) and we do not. */
static bool is_both_ways(struct core_span doc) {
    return memchr(doc.ptr, '\\', doc.len) != NULL || memchr(doc.ptr, '\v', doc.len) != NULL ||
           memchr(doc.ptr, '\f', doc.len) != NULL;
}

static void check_inside(struct core_span found, struct core_span doc) {
    MUST(found.len == 0 || (found.ptr >= doc.ptr && found.ptr + found.len <= doc.ptr + doc.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct core_json_calls calls = {on_null, on_bool, on_number, on_string, on_key, on_map, on_array};
    struct core_span doc = {(const char *)data, size};
    struct core_fail fail = {0};
    struct core_peek peek;
    struct truth truth = {0};
    if (size > sizeof truth.time) {
        return 0;
    }
    bool is_object = core_peek(doc, &peek);
    bool has_stream = core_peek_has(doc, CORE_SPAN("data_stream"));
    check_inside(peek.timestamp, doc);
    check_inside(peek.dataset, doc);
    struct core_json_reader *reader = core_json_reader_new(&calls, &truth);
    if (core_json_read(reader, doc, &fail) == CORE_OK && !is_both_ways(doc) && core_span_trim(doc).ptr[0] == '{') {
        MUST(is_object);
        MUST(has_stream == truth.has_stream);
        MUST(core_span_eq(peek.timestamp, (struct core_span){truth.time, truth.time_len}));
        MUST(core_span_eq(peek.dataset, (struct core_span){truth.dataset, truth.dataset_len}));
    }
    core_json_reader_free(reader);
    return 0;
}
