/* sinks/kafka_health.c: what the kafka sink tells of itself: brokers and partitions as librdkafka sees them, how often it tried
 * again, and what is wrong in words.
 *
 * Between two producers (one was shut out, or failed) what the last one knew of the brokers is what is known.
 *
 * Thread: the sink's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health.h"
#include "sinks/kafka_keeper_internal.h"

#include <stdio.h>

#define SINK_NAME "kafka"
#define TOPIC_TROUBLE_NS                                                                                               \
    (15 * CORE_NS_PER_S) /* one that is not to be had is asked for again within this, if it is wanted */
#define COORDINATOR_NS (5 * CORE_NS_PER_S)

static void look_now(const struct sink *sink, struct core_kafka_look *look) {
    if (sink->lanes[KAFKA_TOGETHER] != NULL) {
        core_kafka_look(sink->lanes[KAFKA_TOGETHER], look);
    } else {
        *look = sink->look;
    }
}

int kafka_sink_is_up(const struct sink *sink) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    struct core_kafka_look look;
    look_now(sink, &look);
    return look.up;
}

static uint64_t waiting_records(const struct sink *sink) {
    uint64_t records = 0;
    for (const struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        records += slot->open - (slot->is_joining ? 1 : 0);
    }
    return records;
}

static const char *servers(const struct sink *sink) {
    const char *found = "";
    for (size_t i = 0; i < sink->pairs_len; i++) {
        if (strcmp(sink->pairs[i].key, "bootstrap.servers") == 0 ||
            strcmp(sink->pairs[i].key, "metadata.broker.list") == 0) {
            found = sink->pairs[i].value;
        }
    }
    return found;
}

static void complain_brokers(const struct sink *sink, struct core_health_page *page,
                             const struct core_kafka_look *look) {
    const struct kafka_keeper *keeper = sink->keeper;
    unsigned long long records = waiting_records(sink);
    char since[21];
    if (look->up == 0) {
        core_health_since(look->down_since_ns, since);
        core_health_complain(page, look->is_denied ? "sink_refused" : "sink_unreachable", CORE_HEALTH_SINK, SINK_NAME,
                             NULL, NULL, "%s (bootstrap.servers %s) since %s: %s; %llu records wait, nothing is lost",
                             look->is_denied ? "Kafka does not let us in" : "no Kafka broker answers", servers(sink),
                             since, look->why[0] == '\0' ? "all are down" : look->why, records);
    } else if (keeper != NULL && keeper->state == KEEPER_INIT && core_tick_ns() - sink->made_ns > COORDINATOR_NS) {
        core_health_complain(page, "sink_unreachable", CORE_HEALTH_SINK, SINK_NAME, NULL, NULL,
                             "Kafka's brokers (%s) answer, but no transaction coordinator does for node %s: are there "
                             "enough brokers for transaction.state.log.replication.factor? Nothing is read until then",
                             servers(sink), keeper->node);
    }
}

static void complain_topics(const struct sink *sink, struct core_health_page *page) {
    int64_t now = core_tick_ns();
    const struct kafka_topic *first = NULL;
    size_t len = 0;
    for (size_t i = 0; i < sink->topics.len; i++) {
        const struct kafka_topic *topic = sink->topics.topics[i];
        bool is_now = topic->trouble_ns != 0 && now - topic->trouble_ns < TOPIC_TROUBLE_NS;
        if (is_now || topic->given_up_ns > now) {
            first = first == NULL ? topic : first;
            len++;
        }
    }
    if (len == 0) {
        return;
    }
    char more[48] = "";
    if (len > 1) {
        snprintf(more, sizeof more, " (and %zu more topics)", len - 1);
    }
    bool is_given_up = first->is_given_up || first->given_up_ns > now;
    core_health_complain(page, "topic_missing", CORE_HEALTH_SINK, SINK_NAME, NULL, NULL,
                         "topic %s%s is not to be had: %s; its records %s", first->name, more, first->trouble,
                         is_given_up ? "become dead letters" : "wait");
}

void kafka_sink_health(struct sink *sink, struct core_health_page *page) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    const struct kafka_keeper *keeper = sink->keeper;
    static const char *const clients[KAFKA_LANES] = {[KAFKA_TOGETHER] = SINK_NAME, [KAFKA_ALONE] = SINK_NAME "-alone"};
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        if (sink->lanes[lane] != NULL) {
            core_kafka_health(sink->lanes[lane], clients[lane], page);
        }
    }
    struct core_kafka_look look;
    look_now(sink, &look);
    sink->look = look;
    sink_retries_rows(&sink->retries, SINK_NAME, SINK_CAUSE_QUEUE_FULL, SINK_CAUSE_PRODUCER, page);
    complain_brokers(sink, page, &look);
    complain_topics(sink, page);
    if (keeper != NULL && keeper->is_fenced) {
        core_health_complain(page, "producer_fenced", CORE_HEALTH_SINK, SINK_NAME, NULL, NULL,
                             "the producer of node %s was shut out: %s; either another process has this node's name, "
                             "which is looked up now, or a transaction was open for too long",
                             keeper->node, keeper->lost_why);
    }
}
