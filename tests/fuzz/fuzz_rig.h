/* tests/fuzz/fuzz_rig.h: any bytes in as a log, and what must hold of whatever comes out.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_FUZZ_RIG_H
#define TAPLINE_TESTS_FUZZ_RIG_H

#include "core/batch.h"
#include "core/json.h"
#include "normalize/normalize.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_rig {
    bool is_open;
    struct core_counters counters;
    struct core_pool pool;
    struct normalize_maps *maps;
    struct normalize_worker *worker;
    struct core_json_reader *reader;
    uint64_t said; /* hash of what the last run's records became, but for dead letters' texts, which have the time */
};

static bool fuzz_value(void *ctx) {
    (void)ctx;
    return true;
}

static bool fuzz_bool(void *ctx, bool value) {
    (void)value;
    return fuzz_value(ctx);
}

static bool fuzz_text(void *ctx, struct core_span text) {
    MUST(text.len == 0 || text.ptr != NULL);
    return fuzz_value(ctx);
}

static inline void fuzz_open(struct fuzz_rig *rig) {
    static const struct core_json_calls calls = {fuzz_value, fuzz_bool, fuzz_text, fuzz_text,
                                                 fuzz_text,  fuzz_bool, fuzz_bool};
    struct core_fail fail = {0};
    struct core_conf_mistakes mistakes = {0};
    if (rig->is_open) {
        return;
    }
    struct normalize_conf conf = {.maps = (char[]){"configs"}}; /* run from the sources' root */
    MUST(normalize_maps_open(&rig->maps, &conf, NULL, &mistakes) == CORE_OK);
    MUST(core_pool_init(&rig->pool, 1, &fail) == CORE_OK);
    rig->worker = normalize_worker_new(rig->maps, &rig->counters);
    normalize_worker_observe(rig->worker, true);
    rig->reader = core_json_reader_new(&calls, rig);
    rig->is_open = true;
}

/* Cut at '\n' into the batch, as ingest does: empty lines are none, `#` lines are context and belong to the next record. */
static inline uint32_t fuzz_lines(struct core_batch *batch, const uint8_t *data, size_t size) {
    uint32_t records = 0;
    uint64_t start = 0;
    memcpy(batch->segment, data, size);
    batch->segment_len = size;
    for (size_t at = 0; at < size && batch->lines_len < CORE_BATCH_LINES_MAX;) {
        const char *end = memchr(batch->segment + at, '\n', size - at);
        size_t stop = end == NULL ? size : (size_t)(end - batch->segment);
        bool is_context = batch->segment[at] == '#';
        if (stop > at) {
            batch->lines[batch->lines_len++] =
                (struct core_line){.text = {batch->segment + at, stop - at},
                                   .start = start,
                                   .end = stop + 1,
                                   .number = batch->lines_len,
                                   .flags = is_context ? CORE_LINE_CONTEXT : CORE_LINE_RECORD};
            records += !is_context;
            start = is_context ? start : stop + 1;
        }
        at = stop + 1;
    }
    return records;
}

static inline bool fuzz_is_in(const char *ptr, size_t len, const char *memory, size_t memory_len) {
    return ptr >= memory && ptr + len <= memory + memory_len;
}

/* Each observable is a text that lives as long as the batch. Returns a hash of them all. */
static inline uint64_t fuzz_observables(const struct core_batch *batch, const struct core_event *event) {
    uint64_t hash = 0;
    MUST(event->observables_len <= CORE_OBSERVABLES_MAX);
    MUST(!event->is_dead || event->observables_len == 0);
    for (uint16_t i = 0; i < event->observables_len; i++) {
        const struct core_observable *one = &event->observables[i];
        MUST(one->type > CORE_INDICATOR_NONE && one->type < CORE_INDICATOR__MAX && one->type != CORE_INDICATOR_CIDR);
        MUST(one->len > 0 && one->field[0] != '\0');
        MUST(fuzz_is_in(one->ptr, one->len, batch->segment, CORE_SEGMENT_BYTES) ||
             fuzz_is_in(one->ptr, one->len, batch->arena.base, batch->arena.used));
        hash = core_hash64(one->ptr, one->len, hash);
    }
    return hash;
}

/* Every record line that no rule dropped is one event, in order and at its own place; each is one line of valid JSON in valid UTF-8; what was
 * refused says why. */
static inline void fuzz_check(struct fuzz_rig *rig, const struct core_batch *batch, uint32_t records) {
    uint32_t at = 0;
    MUST(batch->events_len + batch->tally.dropped == records);
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        const struct core_line *line = &batch->lines[i];
        struct core_fail fail = {0};
        if ((line->flags & CORE_LINE_CONTEXT) != 0) {
            continue;
        }
        if (batch->tally.dropped > 0 && (at == batch->events_len || batch->events[at].start != line->start)) {
            continue;
        }
        const struct core_event *event = &batch->events[at++];
        MUST(event->start == line->start);
        MUST(event->end == line->end);
        MUST(event->doc.len > 2 && event->doc.ptr[0] == '{');
        MUST(core_span_chr(event->doc, '\n') == NULL);
        MUST(core_utf8_is_valid(event->doc));
        if (core_json_read(rig->reader, event->doc, &fail) != CORE_OK) {
            fprintf(stderr, "%s in %.*s\n", fail.text, (int)event->doc.len, event->doc.ptr);
            abort();
        }
        MUST(event->dataset != NULL);
        MUST(!event->is_dead || memmem(event->doc.ptr, event->doc.len, "\"message\":\"", 11) != NULL);
        MUST(!event->is_dead || memmem(event->doc.ptr, event->doc.len, "\"message\":\"\"", 12) == NULL);
    }
    MUST(at == batch->events_len);
}

/* All bytes as one record, as ingest frames what has several lines. */
static inline uint32_t fuzz_one(struct core_batch *batch, const uint8_t *data, size_t size, unsigned flags) {
    if (size == 0) {
        return 0;
    }
    memcpy(batch->segment, data, size);
    batch->segment_len = size;
    batch->lines[batch->lines_len++] =
        (struct core_line){.text = {batch->segment, size}, .end = size, .number = 1, .flags = flags};
    return 1;
}

static inline int fuzz_run_origin(struct fuzz_rig *rig, const struct core_origin *origin, const uint8_t *data,
                                  size_t size) {
    fuzz_open(rig);
    if (size > CORE_SEGMENT_BYTES) {
        return 0;
    }
    struct core_stream stream = {
        .magic = CORE_STREAM_MAGIC, .path = "conn.log", .gen = 7, .mtime_ns = CORE_NS_PER_S, .origin = origin};
    struct core_batch *batch = core_pool_take(&rig->pool);
    MUST(batch != NULL);
    batch->stream = &stream;
    batch->is_last = true;
    bool is_binary = origin->format == CORE_FORMAT_UNIFIED2;
    bool is_one = origin->format == CORE_FORMAT_SNORT_FULL || origin->format == CORE_FORMAT_SNORT_CMG || is_binary;
    uint32_t records = is_one ? fuzz_one(batch, data, size, is_binary ? CORE_LINE_UNIFIED2 : CORE_LINE_RECORD)
                              : fuzz_lines(batch, data, size);
    normalize_batch(rig->worker, batch);
    fuzz_check(rig, batch, records);
    rig->said = batch->events_len;
    for (uint32_t i = 0; i < batch->events_len; i++) {
        const struct core_event *event = &batch->events[i];
        rig->said = core_hash64(event->doc.ptr, event->is_dead ? 0 : event->doc.len, rig->said);
        rig->said ^= fuzz_observables(batch, event);
    }
    MUST(stream.decode == NULL);
    core_pool_give(&rig->pool, batch);
    return 0;
}

static inline int fuzz_run(struct fuzz_rig *rig, enum core_origin_type type, const uint8_t *data, size_t size) {
    struct core_origin origin = {.type = type};
    return fuzz_run_origin(rig, &origin, data, size);
}

#endif
