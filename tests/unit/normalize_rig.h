/* tests/unit/normalize_rig.h: text in, documents out, without files: a batch made by hand from lines.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_NORMALIZE_RIG_H
#define TAPLINE_TESTS_NORMALIZE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/batch.h"
#include "normalize/normalize.h"

#include <stdio.h>
#include <stdlib.h>

struct rig {
    struct core_counters counters;
    struct core_pool pool;
    struct core_stream stream;
    struct core_origin origin;
    struct normalize_maps *maps;
    struct normalize_worker *worker;
    struct core_batch *batch;
};

/* path: the stream's, from which a log's name may come. */
static inline void rig_open_conf(struct rig *rig, const struct normalize_conf *conf, const char *path) {
    struct core_fail fail = {0};
    struct core_conf_mistakes mistakes = {0};
    memset(rig, 0, sizeof(*rig));
    if (normalize_maps_open(&rig->maps, conf, NULL, &mistakes) != CORE_OK) {
        fail_msg("%s: %s", mistakes.fails[0].where, mistakes.fails[0].text);
    }
    assert_int_equal(core_pool_init(&rig->pool, 1, &fail), CORE_OK);
    rig->worker = normalize_worker_new(rig->maps, &rig->counters);
    rig->stream = (struct core_stream){.magic = CORE_STREAM_MAGIC,
                                       .path = path,
                                       .gen = 7,
                                       .mtime_ns = INT64_C(1795229910) * CORE_NS_PER_S,
                                       .origin = &rig->origin};
}

/* maps: a directory. */
static inline void rig_open(struct rig *rig, const char *maps, const char *path) {
    struct normalize_conf conf = {.maps = (char *)(uintptr_t)maps};
    rig_open_conf(rig, &conf, path);
}

/* Run lines (separated by '\n') as one batch. The events stay until the next call. */
static inline void rig_run(struct rig *rig, const char *text, size_t len) {
    if (rig->batch != NULL) {
        core_pool_give(&rig->pool, rig->batch);
    }
    rig->batch = core_pool_take(&rig->pool);
    assert_non_null(rig->batch);
    assert_true(len <= CORE_SEGMENT_BYTES);
    struct core_batch *batch = rig->batch;
    memcpy(batch->segment, text, len);
    batch->segment_len = len;
    batch->stream = &rig->stream;
    uint64_t record_start = 0;
    for (size_t at = 0; at < len;) {
        const char *end = memchr(batch->segment + at, '\n', len - at);
        size_t stop = end == NULL ? len : (size_t)(end - batch->segment);
        struct core_line *line = &batch->lines[batch->lines_len++];
        bool is_context = batch->segment[at] == '#';
        *line = (struct core_line){.text = {batch->segment + at, stop - at},
                                   .start = record_start,
                                   .end = stop + 1,
                                   .number = batch->lines_len,
                                   .flags = is_context ? CORE_LINE_CONTEXT : CORE_LINE_RECORD};
        record_start = is_context ? record_start : stop + 1;
        at = stop + 1;
    }
    normalize_batch(rig->worker, batch);
}

static inline void rig_text(struct rig *rig, const char *text) {
    rig_run(rig, text, strlen(text));
}

/* The whole text is one record, whatever it holds. */
static inline void rig_record(struct rig *rig, const char *text) {
    if (rig->batch != NULL) {
        core_pool_give(&rig->pool, rig->batch);
    }
    rig->batch = core_pool_take(&rig->pool);
    assert_non_null(rig->batch);
    struct core_batch *batch = rig->batch;
    size_t len = strlen(text);
    memcpy(batch->segment, text, len);
    batch->segment_len = len;
    batch->stream = &rig->stream;
    batch->lines[0] = (struct core_line){.text = {batch->segment, len}, .end = len, .number = 1};
    batch->lines_len = 1;
    normalize_batch(rig->worker, batch);
}

/* Does event i's document hold this text? */
static inline void rig_expect(const struct rig *rig, uint32_t i, const char *part) {
    assert_true(i < rig->batch->events_len);
    struct core_span doc = rig->batch->events[i].doc;
    if (memmem(doc.ptr, doc.len, part, strlen(part)) == NULL) {
        fail_msg("no %s in %.*s", part, (int)doc.len, doc.ptr);
    }
}

static inline void rig_expect_not(const struct rig *rig, uint32_t i, const char *part) {
    struct core_span doc = rig->batch->events[i].doc;
    if (memmem(doc.ptr, doc.len, part, strlen(part)) != NULL) {
        fail_msg("%s in %.*s", part, (int)doc.len, doc.ptr);
    }
}

static inline void rig_close(struct rig *rig) {
    if (rig->batch != NULL) {
        core_pool_give(&rig->pool, rig->batch);
    }
    struct core_batch *batch = core_pool_take(&rig->pool);
    batch->stream = &rig->stream;
    batch->is_last = true;
    normalize_batch(rig->worker, batch);
    assert_null(rig->stream.decode);
    core_pool_give(&rig->pool, batch);
    normalize_worker_free(rig->worker);
    normalize_maps_close(rig->maps);
    core_pool_destroy(&rig->pool);
}

#endif
