/* core/batch.c: the fixed pool of batches, and the record id.
 *
 * All memory of the data path is reserved here, once, at start. Segments, lines and events are one anonymous mapping a
 * batch and the arena another: pages that no batch ever touched cost nothing. Only ingest takes and gives; a batch that
 * is given twice, or was never the pool's, is a bug and stops the process.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/batch.h"

#include <stdlib.h>

/* Everything a batch points to, except its documents. Kept apart from them so that a reset never unmaps it. */
static enum core_err batch_init(struct core_batch *batch, struct core_fail *fail) {
    batch->magic = CORE_BATCH_MAGIC;
    batch->segment = malloc(CORE_SEGMENT_BYTES);
    batch->lines = calloc(CORE_BATCH_LINES_MAX, sizeof *batch->lines);
    batch->events = calloc(CORE_BATCH_LINES_MAX, sizeof *batch->events);
    if (batch->segment == NULL || batch->lines == NULL || batch->events == NULL) {
        return core_fail_set(fail, CORE_IO, "memory",
                             "not enough memory for the pool of batches; lower pipeline.batches");
    }
    return core_arena_init(&batch->arena, CORE_ARENA_BYTES, fail);
}

enum core_err core_pool_init(struct core_pool *pool, uint32_t len, struct core_fail *fail) {
    MUST(pool != NULL);
    MUST(len > 0);
    *pool = (struct core_pool){.len = len};
    pool->batches = calloc(len, sizeof *pool->batches);
    pool->free = calloc(len, sizeof(struct core_batch *));
    enum core_err err = CORE_OK;
    if (pool->batches == NULL || pool->free == NULL) {
        err = core_fail_set(fail, CORE_IO, "memory",
                            "not enough memory for a pool of %u batches; lower pipeline.batches", len);
    }
    for (uint32_t i = 0; i < len && err == CORE_OK; i++) {
        err = batch_init(&pool->batches[i], fail);
        pool->free[len - 1 - i] = &pool->batches[i];
    }
    pool->free_len = len;
    if (err != CORE_OK) {
        core_pool_destroy(pool);
    }
    return err;
}

struct core_batch *core_pool_take(struct core_pool *pool) {
    MUST(pool->free_len <= pool->len);
    if (pool->free_len == 0) {
        return NULL;
    }
    /* The one given back last: its pages are the warmest. */
    struct core_batch *batch = pool->free[--pool->free_len];
    MUST(batch->magic == CORE_BATCH_MAGIC);
    return batch;
}

void core_pool_give(struct core_pool *pool, struct core_batch *batch) {
    MUST(batch != NULL && batch->magic == CORE_BATCH_MAGIC);
    MUST(batch >= pool->batches && batch < pool->batches + pool->len);
    MUST(pool->free_len < pool->len);
    core_arena_reset(&batch->arena, CORE_ARENA_KEEP_BYTES);
    *batch = (struct core_batch){
        .magic = CORE_BATCH_MAGIC,
        .segment = batch->segment,
        .lines = batch->lines,
        .events = batch->events,
        .arena = batch->arena,
    };
    pool->free[pool->free_len++] = batch;
}

void core_pool_destroy(struct core_pool *pool) {
    for (uint32_t i = 0; pool->batches != NULL && i < pool->len; i++) {
        struct core_batch *batch = &pool->batches[i];
        core_arena_destroy(&batch->arena);
        free(batch->segment);
        free(batch->lines);
        free(batch->events);
    }
    free(pool->batches);
    free(pool->free);
    *pool = (struct core_pool){0};
}

void core_record_id(uint64_t gen, uint64_t start, char out[32]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--) {
        out[i] = digits[gen & 15];
        out[16 + i] = digits[start & 15];
        gen >>= 4;
        start >>= 4;
    }
}

void core_event_id(const struct core_stream *stream, const struct core_event *event, char out[32]) {
    if (event->id.len == 0) {
        core_record_id(stream->gen, event->start, out);
        return;
    }
    MUST(event->id.len == 32);
    memcpy(out, event->id.ptr, 32);
}
