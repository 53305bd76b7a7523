/* cmd/pipeline_trace.c: traces of batches (core/otlp.h): a share of them, all that were slow, and in the feeder those whose records
 * were traced when they were written to Kafka.
 *
 * Whether a batch is traced is decided when the source hands it on, since its `traceparent` goes with its records; its spans are
 * made from the batch's stamps when the last sink gives it back, by that sink's thread. Of a batch that is not traced and not slow
 * that is a look at one flag and two stamps.
 *
 *   run    batch: tail -> normalize -> enrich -> produce -> deliver      the record's traceparent names `produce`
 *   feed   batch: consume -> bulk -> indexed                             consume and bulk link to those
 *
 * Between two spans a batch waited in a queue: that is what the gaps in a trace are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"
#include "core/otlp.h"

#define SPANS_MAX 6

void pipeline_trace_push(struct pipeline *pipeline, struct core_batch *batch) {
    struct core_otlp *otlp = core_health_otlp(pipeline->health);
    if (otlp == NULL || batch->tally.records == 0) { /* it may only carry the end of its stream */
        return;
    }
    bool is_one = core_otlp_samples(otlp);
    if (is_one || batch->links_len > 0) {
        batch->trace.is_sampled = true;
        core_otlp_ids(batch->trace.trace_id, batch->trace.span_id);
    }
}

struct trace {
    const struct core_batch *batch;
    struct core_trace ids;
    int64_t wall_ns; /* a tick and this: a time */
    struct core_otlp_span spans[SPANS_MAX];
    size_t len;
};

static void text_add(struct core_otlp_span *span, const char *key, const char *text) {
    MUST(span->attributes_len < CORE_OTLP_ATTRIBUTES_MAX);
    span->attributes[span->attributes_len++] = (struct core_otlp_attribute){.key = key, .text = text};
}

static void number_add(struct core_otlp_span *span, const char *key, uint64_t number) {
    MUST(span->attributes_len < CORE_OTLP_ATTRIBUTES_MAX);
    span->attributes[span->attributes_len++] = (struct core_otlp_attribute){.key = key, .number = (int64_t)number};
}

/* The first one is the root. A step whose stamps are missing was not: NULL. */
static struct core_otlp_span *span_add(struct trace *trace, const char *name, enum core_span_kind kind, int64_t start,
                                       int64_t end) {
    unsigned char unused[16];
    if (start == 0 || end == 0) {
        return NULL;
    }
    MUST(trace->len < SPANS_MAX);
    struct core_otlp_span *span = &trace->spans[trace->len];
    *span = (struct core_otlp_span){
        .name = name, .kind = kind, .start_ns = start + trace->wall_ns, .end_ns = end + trace->wall_ns};
    memcpy(span->trace_id, trace->ids.trace_id, sizeof span->trace_id);
    core_otlp_ids(unused, span->span_id);
    if (trace->len++ > 0) {
        memcpy(span->parent_id, trace->spans[0].span_id, sizeof span->parent_id);
    }
    return span;
}

static void root_add(struct trace *trace, const char *why) {
    const struct core_batch *batch = trace->batch;
    struct core_otlp_span *root = span_add(trace, "batch", CORE_SPAN_INTERNAL,
                                           batch->stamps[CORE_STAMP_READ] != 0 ? batch->stamps[CORE_STAMP_READ]
                                                                               : batch->stamps[CORE_STAMP_PUSHED],
                                           batch->stamps[CORE_STAMP_DELIVERED]);
    MUST(root != NULL);
    text_add(root, "tapline.sampled_by", why);
    text_add(root, "log.file.path", batch->stream->path == NULL ? "" : batch->stream->path);
    if (batch->events_len > 0) {
        text_add(root, "event.dataset", batch->events[0].dataset);
    }
    number_add(root, "tapline.records", batch->tally.records);
    number_add(root, "tapline.events", batch->tally.events);
    number_add(root, "tapline.dead", batch->tally.dead);
}

static void steps_of_run(struct trace *trace, const char *sink) {
    const int64_t *stamps = trace->batch->stamps;
    int64_t made = stamps[CORE_STAMP_ENRICHED] != 0 ? stamps[CORE_STAMP_ENRICHED] : stamps[CORE_STAMP_NORMALIZED];
    (void)span_add(trace, "tail", CORE_SPAN_INTERNAL, stamps[CORE_STAMP_READ], stamps[CORE_STAMP_PUSHED]);
    (void)span_add(trace, "normalize", CORE_SPAN_INTERNAL, stamps[CORE_STAMP_NORMALIZE], stamps[CORE_STAMP_NORMALIZED]);
    (void)span_add(trace, "enrich", CORE_SPAN_INTERNAL, stamps[CORE_STAMP_ENRICH], stamps[CORE_STAMP_ENRICHED]);
    struct core_otlp_span *produce = span_add(trace, "produce", CORE_SPAN_PRODUCER, made, stamps[CORE_STAMP_SEND]);
    struct core_otlp_span *deliver =
        span_add(trace, "deliver", CORE_SPAN_CLIENT, stamps[CORE_STAMP_SEND], stamps[CORE_STAMP_DELIVERED]);
    if (produce != NULL) {
        memcpy(produce->span_id, trace->ids.span_id, sizeof produce->span_id);
        text_add(produce, "tapline.sink", sink);
        number_add(produce, "messaging.batch.message_count", trace->batch->events_len);
    }
    if (produce != NULL && deliver != NULL) {
        memcpy(deliver->parent_id, produce->span_id, sizeof deliver->parent_id);
    }
}

static void steps_of_feed(struct trace *trace, const char *sink) {
    const struct core_batch *batch = trace->batch;
    const int64_t *stamps = batch->stamps;
    struct core_otlp_span *consume =
        span_add(trace, "consume", CORE_SPAN_CONSUMER, stamps[CORE_STAMP_READ], stamps[CORE_STAMP_PUSHED]);
    struct core_otlp_span *bulk =
        span_add(trace, "bulk", CORE_SPAN_CLIENT, stamps[CORE_STAMP_PUSHED], stamps[CORE_STAMP_SEND]);
    struct core_otlp_span *indexed =
        span_add(trace, "indexed", CORE_SPAN_CLIENT, stamps[CORE_STAMP_SEND], stamps[CORE_STAMP_DELIVERED]);
    struct core_otlp_span *const linked[] = {consume, bulk};
    for (size_t i = 0; i < sizeof linked / sizeof linked[0]; i++) {
        if (linked[i] != NULL) {
            linked[i]->links = batch->links;
            linked[i]->links_len = batch->links_len;
        }
    }
    if (bulk != NULL) {
        text_add(bulk, "tapline.sink", sink);
        number_add(bulk, "messaging.batch.message_count", batch->events_len);
    }
    if (bulk != NULL && indexed != NULL) {
        memcpy(indexed->parent_id, bulk->span_id, sizeof indexed->parent_id);
    }
}

void pipeline_trace_delivered(struct pipeline *pipeline, const struct core_batch *batch) {
    struct core_otlp *otlp = core_health_otlp(pipeline->health);
    if (otlp == NULL || batch->tally.records == 0) {
        return;
    }
    const int64_t *stamps = batch->stamps;
    int64_t begun = stamps[CORE_STAMP_READ] != 0 ? stamps[CORE_STAMP_READ] : stamps[CORE_STAMP_PUSHED];
    bool is_slow = core_otlp_is_slow(otlp, stamps[CORE_STAMP_DELIVERED] - begun);
    if (begun == 0 || (!batch->trace.is_sampled && !is_slow)) {
        return;
    }
    struct trace trace = {.batch = batch, .ids = batch->trace, .wall_ns = core_now_ns() - core_tick_ns()};
    if (!batch->trace.is_sampled) {
        core_otlp_ids(trace.ids.trace_id, trace.ids.span_id); /* nobody else knows of it */
    }
    root_add(&trace, is_slow ? "slow" : batch->links_len > 0 ? "link" : "share");
    if (pipeline->source->has_workers) {
        steps_of_run(&trace, pipeline->sinks[0].ops->name);
    } else {
        steps_of_feed(&trace, pipeline->sinks[0].ops->name);
    }
    core_otlp_spans(otlp, trace.spans, trace.len);
}
