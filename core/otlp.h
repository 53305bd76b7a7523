/* core/otlp.h: traces and metrics to a collector: OpenTelemetry's protocol, OTLP/HTTP with JSON, if section health has `otlp`.
 *
 * What is to be sent goes into a bounded buffer, from which a thread of its own posts about once a second; nobody ever waits for
 * the collector. What does not fit, or what a collector that is away did not take, is dropped and counted (kind `otlp`).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_OTLP_H
#define TAPLINE_CORE_OTLP_H

#include "core/batch.h"
#include "core/health.h"

struct core_otlp;

/* Of this board; NULL: no collector is configured. Valid as long as the board. */
struct core_otlp *core_health_otlp(struct core_health *health);
/* Is this one of the batches that are traced? Every health.otlp_share-th call is, the first one too. Thread: one, always the same. */
bool core_otlp_samples(struct core_otlp *otlp);
/* Did something take so long that it is traced in any case (health.otlp_slow)? Thread: any. */
bool core_otlp_is_slow(const struct core_otlp *otlp, int64_t ns);

/* As in OpenTelemetry's protocol. */
enum core_span_kind {
    CORE_SPAN_INTERNAL = 1,
    CORE_SPAN_SERVER = 2,
    CORE_SPAN_CLIENT = 3,
    CORE_SPAN_PRODUCER = 4,
    CORE_SPAN_CONSUMER = 5
};

struct core_otlp_attribute {
    const char *key; /* "tapline.records" */
    const char *text;
    int64_t number; /* if text is NULL */
};
#define CORE_OTLP_ATTRIBUTES_MAX 8

struct core_otlp_span {
    unsigned char trace_id[16];
    unsigned char span_id[8];
    unsigned char parent_id[8]; /* all zero: it is the root */
    const char *name;
    enum core_span_kind kind;
    int64_t start_ns, end_ns; /* wall clock */
    struct core_otlp_attribute attributes[CORE_OTLP_ATTRIBUTES_MAX];
    size_t attributes_len;
    const struct core_link *links;
    size_t links_len;
};
/* Numbers for a new trace and its first span. Thread: any. */
void core_otlp_ids(unsigned char trace_id[16], unsigned char span_id[8]);
/* Send these, all or none. Thread: any; copied, never waits. */
void core_otlp_spans(struct core_otlp *otlp, const struct core_otlp_span *spans, size_t len);

#endif
