/* sinks/elastic_health.c: what the elasticsearch sink tells of itself: its nodes, how often it tried again, what is wrong.
 * Thread: the sink's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/elastic_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define SINK_NAME "elasticsearch"
#define WAITS_NS (20 * CORE_NS_PER_S) /* what waits for the engine's state is sent again within this */

void elastic_health_open(struct sink *sink) {
    MUST(sink->places.hosts_len > 0);
    sink->told.latency = calloc(sink->places.hosts_len, sizeof *sink->told.latency);
    sink->told.requests = calloc(sink->places.hosts_len, sizeof *sink->told.requests);
    MUST(sink->told.latency != NULL && sink->told.requests != NULL);
}

void elastic_health_close(struct sink *sink) {
    free(sink->told.latency);
    free(sink->told.requests);
}

void elastic_health_answered(struct sink *sink, const struct core_http_pool_done *done) {
    struct core_http_pool_node node;
    for (size_t i = 0; done->status != 0 && core_http_pool_node(sink->pool, i, &node); i++) {
        if (node.shown == done->node) {
            core_histogram_add(&sink->told.latency[i], done->elapsed_ns, 1);
            sink->told.requests[i]++;
        }
    }
}

void elastic_health_waits(struct sink *sink, const char *node, const char *why) {
    struct elastic_told *told = &sink->told;
    int64_t now = core_tick_ns();
    bool is_new = told->waits_ns == 0 || now - told->waits_ns > WAITS_NS;
    told->waits_since_ns = is_new ? core_now_ns() : told->waits_since_ns;
    told->waits_ns = now;
    snprintf(told->waits_why, sizeof told->waits_why, "%s", why);
    snprintf(told->waits_node, sizeof told->waits_node, "%s", node);
}

int elastic_is_up(const struct sink *sink) {
    MUST(sink->magic == ELASTIC_SINK_MAGIC);
    return sink->is_away || sink->is_gone ? 0 : sink->phase == ELASTIC_OPEN ? 1 : -1;
}

static void complain_away(const struct sink *sink, struct core_health_page *page) {
    char nodes[600] = "";
    char since[21];
    size_t used = 0;
    struct core_http_pool_node node;
    for (size_t i = 0; core_http_pool_node(sink->pool, i, &node) && used < sizeof nodes - 1; i++) {
        int len = snprintf(nodes + used, sizeof nodes - used, "%s%s%s%s", i == 0 ? "" : "; ", node.shown,
                           node.why[0] == '\0' ? "" : ": ", node.why);
        MUST(len >= 0);
        used += (size_t)len;
    }
    core_health_since(sink->told.away_since_ns, since);
    core_health_complain(page, "sink_unreachable", CORE_HEALTH_SINK, SINK_NAME, NULL, NULL,
                         "the search engine does not answer since %s (%s); documents wait, nothing is lost", since,
                         nodes);
}

static uint64_t waiting_documents(const struct sink *sink) {
    uint64_t documents = 0;
    for (const struct core_batch *batch = sink->held.head; batch != NULL; batch = batch->next) {
        documents += batch->sink_pending;
    }
    return documents;
}

void elastic_health(struct sink *sink, struct core_health_page *page) {
    MUST(sink->magic == ELASTIC_SINK_MAGIC);
    const struct elastic_told *told = &sink->told;
    struct core_http_pool_node node;
    char since[21];
    for (size_t i = 0; core_http_pool_node(sink->pool, i, &node); i++) {
        struct core_health_row *row = core_health_add(page, CORE_HEALTH_ENDPOINT, SINK_NAME, node.shown, NULL);
        bool is_known = told->requests[i] > 0 || !node.is_well;
        core_health_set(row, CORE_ENDPOINT_UP, is_known ? (node.is_well ? 1 : 0) : CORE_HEALTH_UNKNOWN);
        core_health_set(row, CORE_ENDPOINT_REQUESTS, (int64_t)told->requests[i]);
        if (row != NULL) {
            row->histogram = &told->latency[i];
        }
    }
    sink_retries_rows(&told->retries, SINK_NAME, SINK_CAUSE_HTTP_429, SINK_CAUSE_ANSWER, page);
    if (sink->is_gone) {
        core_health_complain(page, "sink_refused", CORE_HEALTH_SINK, SINK_NAME, NULL, NULL, "%s: %s", sink->gone.where,
                             sink->gone.text);
    } else if (sink->is_away) {
        complain_away(sink, page);
    } else if (told->waits_ns != 0 && core_tick_ns() - told->waits_ns < WAITS_NS && sink->held.head != NULL) {
        core_health_since(told->waits_since_ns, since);
        core_health_complain(page, "sink_stalled", CORE_HEALTH_SINK, SINK_NAME, NULL, NULL,
                             "the search engine (%s) takes no documents since %s: %s; %llu wait, nothing is lost",
                             told->waits_node, since, told->waits_why, (unsigned long long)waiting_documents(sink));
    }
}
