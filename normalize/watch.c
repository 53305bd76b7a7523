/* normalize/watch.c: a record as its source wrote it, for who watches (`tapline tap --stage record`): after it was decoded, before
 * a map has touched it.
 *
 * The columns of the plan are flat and have the source's own names ("id.orig_h", "alert.signature"), so is the object that is
 * made of them. It lies in the worker's scratch and dies with the record.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

void normalize_worker_watch(struct normalize_worker *worker, const struct normalize_watch *watch) {
    worker->watch = watch;
}

void record_watch(struct normalize_worker *worker, const struct plan *plan, const struct core_line *line) {
    const struct normalize_watch *watch = worker->watch;
    if (!watch->wants(watch->ctx, line)) {
        return;
    }
    struct core_arena *scratch = &worker->scratch;
    char *start = scratch->base + scratch->used;
    size_t left = scratch->cap - scratch->used;
    struct core_buf buf = {.start = start,
                           .pos = start,
                           .end = start + (left < NORMALIZE_WATCH_BYTES_MAX ? left : NORMALIZE_WATCH_BYTES_MAX)};
    char before = '{';
    for (uint16_t i = 0; i < plan->decoded_len; i++) {
        if (worker->columns[i].kind == VALUE_NONE) {
            continue;
        }
        core_buf_char(&buf, before);
        core_buf_string(&buf, plan->columns[i].name);
        core_buf_char(&buf, ':');
        value_emit(&buf, worker->columns[i]);
        before = ',';
    }
    core_buf_span(&buf, before == '{' ? CORE_SPAN("{}") : CORE_SPAN("}"));
    watch->record(watch->ctx, plan->dataset, buf.is_full ? (struct core_span){0} : core_buf_written(&buf));
}
