/* sinks/health.c: what all sinks tell of themselves in the same way: how often they tried again, and why.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health.h"
#include "sinks/sinks_internal.h"

static const char *const cause_words[SINK_CAUSE__MAX] = {
    [SINK_CAUSE_QUEUE_FULL] = "queue_full", [SINK_CAUSE_BROKER] = "broker",
    [SINK_CAUSE_TOPIC] = "topic",           [SINK_CAUSE_TRANSACTION] = "transaction",
    [SINK_CAUSE_PRODUCER] = "producer",     [SINK_CAUSE_HTTP_429] = "http_429",
    [SINK_CAUSE_HTTP_4XX] = "http_4xx",     [SINK_CAUSE_HTTP_5XX] = "http_5xx",
    [SINK_CAUSE_CONNECTION] = "connection", [SINK_CAUSE_BLOCKED] = "blocked",
    [SINK_CAUSE_ANSWER] = "answer",         [SINK_CAUSE_DISK_FULL] = "disk_full",
    [SINK_CAUSE_OUTPUT] = "output",
};

void sink_retry(struct core_counters *counters, struct sink_retries *retries, enum sink_cause cause) {
    MUST(cause < SINK_CAUSE__MAX);
    retries->times[cause]++;
    core_count(counters, CORE_COUNT_SINK_RETRIES, 1);
}

void sink_retries_rows(const struct sink_retries *retries, const char *sink, enum sink_cause first,
                       enum sink_cause last, struct core_health_page *page) {
    MUST(first <= last && last < SINK_CAUSE__MAX);
    for (int cause = (int)first; cause <= (int)last; cause++) {
        struct core_health_row *row = core_health_add(page, CORE_HEALTH_RETRY, sink, cause_words[cause], NULL);
        core_health_set(row, CORE_RETRY_TIMES, (int64_t)retries->times[cause]);
    }
}
