/* core/health_topic.c: lines of the health log into their Kafka topic, by a producer of its own.
 *
 * It is idempotent and never in a transaction: that a pipeline cannot commit must be heard of. Its queue is small and its
 * lines expire: what cannot be sent within EXPIRE_MS is counted and is in the file alone. Nothing here waits, but for the end.
 *
 * Each record has the header `tapline` that documents of sensors have (identity, start, end), so that the feeder gives it the
 * id <identity><number>, the same however often it is sent. Its identity is this process's run, its place the line's number.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health_log_internal.h"
#include "core/kafka.h"

#include <stdio.h>
#include <stdlib.h>

#define HEADER_NAME "tapline"
#define QUEUED_MAX "1000"
#define EXPIRE_MS "300000"
#define END_WAIT_MS 1000
#define REMAKE_NS (30 * CORE_NS_PER_S)
#define AWAY_NS (60 * CORE_NS_PER_S) /* a line that is under way for so long does not get through */
#define PARTITIONS 1

struct health_topic {
    const struct core_health *health;
    struct core_kafka_pair *pairs;
    size_t pairs_len;
    struct core_kafka *kafka; /* NULL: to be made anew */
    struct core_kafka_topic *handle;
    struct core_watch *watch;
    bool is_broken;    /* for good: closed at the next turn */
    bool is_asked_for; /* the topic is to be made: asked, or found to be there */
    int64_t made_ns;   /* core_tick_ns() of the last try */
    uint64_t identity;
    uint64_t sent, unsent, under_way;
    int64_t last_sent_ns;   /* core_tick_ns(); or when there was nothing under way */
    int64_t last_unsent_ns; /* 0: never */
    char why[256];          /* the last thing that went wrong */
};

static const struct core_kafka_pair fixed[] = {
    {"enable.idempotence", "true"},    {"acks", "all"},
    {"client.id", "tapline-health"},   {"queue.buffering.max.messages", QUEUED_MAX},
    {"message.timeout.ms", EXPIRE_MS}, {"statistics.interval.ms", "0"},
};
#define FIXED_LEN (sizeof(fixed) / sizeof(fixed[0]))

/* Those of the sinks' promises that a health line does not need, and must not have. */
static bool is_left_out(const char *key) {
    static const char *const keys[] = {"transactional.id",           "transaction.timeout.ms", "delivery.timeout.ms",
                                       "queue.buffering.max.kbytes", "batch.num.messages",     "group.id"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < FIXED_LEN; i++) {
        if (strcmp(key, fixed[i].key) == 0) {
            return true;
        }
    }
    return strcmp(key, "request.required.acks") == 0;
}

static const char *text_copy(const char *text) {
    char *copy = strdup(text);
    MUST(copy != NULL);
    return copy;
}

/* Texts are copied: a producer may be made anew when the configuration that had them is gone (SIGHUP). */
static void pair_add(struct health_topic *topic, const char *key, const char *value) {
    for (size_t i = 0; i < topic->pairs_len; i++) {
        if (strcmp(topic->pairs[i].key, key) == 0) {
            free((void *)(uintptr_t)topic->pairs[i].value);
            topic->pairs[i].value = text_copy(value);
            return;
        }
    }
    topic->pairs[topic->pairs_len++] = (struct core_kafka_pair){text_copy(key), text_copy(value)};
}

static void pairs_free(struct health_topic *topic) {
    for (size_t i = 0; i < topic->pairs_len; i++) {
        free((void *)(uintptr_t)topic->pairs[i].key);
        free((void *)(uintptr_t)topic->pairs[i].value);
    }
    free(topic->pairs);
}

static bool has_brokers(const struct health_topic *topic) {
    for (size_t i = 0; i < topic->pairs_len; i++) {
        const char *key = topic->pairs[i].key;
        if (strcmp(key, "bootstrap.servers") == 0 || strcmp(key, "metadata.broker.list") == 0) {
            return true;
        }
    }
    return false;
}

/* ---- what librdkafka says ------------------------------------------------------------------------------------------------------ */

static void unsent(struct health_topic *topic, const char *why) {
    topic->unsent++;
    topic->last_unsent_ns = core_tick_ns();
    if (why != topic->why) {
        struct core_span text = core_utf8_cut(core_span_of(why), sizeof topic->why - 1);
        memcpy(topic->why, text.ptr, text.len);
        topic->why[text.len] = '\0';
    }
}

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    struct health_topic *topic = ctx;
    (void)ticket;
    (void)offset;
    MUST(topic->under_way > 0);
    topic->under_way--;
    if (fate == CORE_KAFKA_ACCEPTED) {
        topic->sent++;
        topic->last_sent_ns = core_tick_ns();
        topic->last_unsent_ns = 0;
        return;
    }
    topic->is_asked_for = topic->is_asked_for && fate != CORE_KAFKA_TOPIC;
    unsent(topic, core_kafka_text(code));
}

static void on_made(void *ctx, struct core_kafka_topic *handle, enum core_kafka_made made, const char *text) {
    struct health_topic *topic = ctx;
    (void)handle;
    topic->is_asked_for = made != CORE_KAFKA_NOT_YET;
    if (made == CORE_KAFKA_NOT_MADE) {
        (void)snprintf(topic->why, sizeof topic->why, "the topic was not made: %s", text);
    }
}

static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    struct health_topic *topic = ctx;
    topic->is_broken = topic->is_broken || is_fatal;
    (void)snprintf(topic->why, sizeof topic->why, "%s", text);
}

static const struct core_kafka_calls calls = {.on_report = on_report, .on_made = on_made, .on_trouble = on_trouble};

static void on_fd(void *ctx, uint32_t events) {
    struct health_topic *topic = ctx;
    (void)events;
    core_kafka_poll(topic->kafka);
}

/* ---- the producer ------------------------------------------------------------------------------------------------------------- */

static void producer_close(struct health_topic *topic) {
    if (topic->kafka == NULL) {
        return;
    }
    core_loop_unwatch(topic->watch);
    core_kafka_close(topic->kafka);
    topic->watch = NULL;
    topic->kafka = NULL;
    topic->handle = NULL;
    topic->unsent += topic->under_way;
    topic->under_way = 0;
    topic->is_broken = false;
}

static void producer_make(struct health_topic *topic) {
    struct core_fail fail;
    topic->made_ns = core_tick_ns();
    topic->is_asked_for = false;
    if (core_kafka_open(&topic->kafka, topic->pairs, topic->pairs_len, &calls, topic, &fail) != CORE_OK) {
        topic->kafka = NULL;
        unsent(topic, fail.text);
        core_log_fail(CORE_LEVEL_WARN, "health",
                      "no producer for the health log's topic; it is tried again, and the file has all lines", &fail);
        return;
    }
    topic->handle = core_kafka_topic_open(topic->kafka, topic->health->conf.topic, topic);
    if (core_loop_watch(topic->health->env.loop, core_kafka_fd(topic->kafka), EPOLLIN, on_fd, topic, &topic->watch,
                        &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_WARN, "health",
                      "cannot wait for the health log's producer; it is looked at each second", &fail);
        topic->watch = NULL;
    }
}

struct health_topic *health_topic_new(const struct core_health *health) {
    const struct core_conf_list *own = &health->conf.rdkafka;
    struct health_topic *topic = calloc(1, sizeof(*topic));
    MUST(topic != NULL);
    topic->health = health;
    topic->pairs = calloc(health->env.kafka_len + own->len + FIXED_LEN, sizeof(*topic->pairs));
    MUST(topic->pairs != NULL);
    for (size_t i = 0; i < health->env.kafka_len; i++) {
        if (!is_left_out(health->env.kafka[i].key)) {
            pair_add(topic, health->env.kafka[i].key, health->env.kafka[i].value);
        }
    }
    for (size_t i = 0; i < own->len; i++) {
        if (!is_left_out(own->items[i].key)) {
            pair_add(topic, own->items[i].key, own->items[i].value);
        }
    }
    for (size_t i = 0; i < FIXED_LEN; i++) {
        pair_add(topic, fixed[i].key, fixed[i].value);
    }
    if (!has_brokers(topic) || health->conf.topic == NULL || health->conf.topic[0] == '\0') {
        health_topic_free(topic);
        return NULL;
    }
    char run[512];
    (void)snprintf(run, sizeof run, "%s %s %u %lld", health->env.node, health->env.process, health->env.instance,
                   (long long)health->started_ns);
    topic->identity = core_hash64(run, strlen(run), 0);
    topic->last_sent_ns = core_tick_ns();
    producer_make(topic);
    return topic;
}

void health_topic_send(struct health_topic *topic, struct core_span line, uint64_t id) {
    unsigned char header[24];
    int code = 0;
    if (topic->kafka == NULL || topic->is_broken) {
        unsent(topic, topic->why);
        return;
    }
    core_put_be64(header, topic->identity);
    core_put_be64(header + 8, id);
    core_put_be64(header + 16, id + 1);
    const struct core_kafka_record record = {
        .value = line,
        .key = core_span_of(topic->health->env.node),
        .header_name = HEADER_NAME,
        .header = {.ptr = (const char *)header, .len = sizeof header},
        .ticket = id,
        .is_copied = true,
    };
    if (topic->under_way == 0) {
        topic->last_sent_ns = core_tick_ns();
    }
    enum core_kafka_fate fate = core_kafka_send(topic->kafka, topic->handle, &record, &code);
    if (fate == CORE_KAFKA_ACCEPTED) {
        topic->under_way++;
        return;
    }
    topic->is_broken = topic->is_broken || fate == CORE_KAFKA_FATAL;
    topic->is_asked_for = topic->is_asked_for && fate != CORE_KAFKA_TOPIC;
    unsent(topic, core_kafka_text(code));
}

/* `tapline setup` makes the topic with a site's settings; where it did not, it is made as a broker makes one. */
static void topic_ask_for(struct health_topic *topic) {
    const struct core_kafka_wish wish = {.partitions = PARTITIONS};
    topic->is_asked_for = true;
    core_kafka_topic_make(topic->kafka, topic->handle, &wish);
}

void health_topic_turn(struct health_topic *topic, struct core_health_page *page, struct core_health_row *row) {
    int64_t now = core_tick_ns();
    if (topic->is_broken) {
        producer_close(topic);
    }
    if (topic->kafka == NULL && now - topic->made_ns >= REMAKE_NS) {
        producer_make(topic);
    }
    if (topic->kafka != NULL) {
        core_kafka_poll(topic->kafka);
        if (!topic->is_asked_for) {
            topic_ask_for(topic);
        }
    }
    core_health_set(row, CORE_HEALTHLOG_SENT, (int64_t)topic->sent);
    core_health_set(row, CORE_HEALTHLOG_UNSENT, (int64_t)topic->unsent);
    core_health_set(row, CORE_HEALTHLOG_UNDER_WAY, (int64_t)topic->under_way);
    bool is_late = topic->under_way > 0 && now - topic->last_sent_ns > AWAY_NS;
    bool is_refused = topic->last_unsent_ns != 0 && now - topic->last_unsent_ns < AWAY_NS;
    if (is_late || is_refused) {
        core_health_complain(page, "health_topic_away", CORE_HEALTH_PROCESS, NULL, NULL, NULL,
                             "lines of the health log do not get into topic %s (%llu wait, %llu were given up)%s%s",
                             topic->health->conf.topic, (unsigned long long)topic->under_way,
                             (unsigned long long)topic->unsent, topic->why[0] == '\0' ? "" : ": ", topic->why);
    }
}

void health_topic_free(struct health_topic *topic) {
    if (topic == NULL) {
        return;
    }
    if (topic->kafka != NULL && topic->under_way > 0) {
        core_kafka_hurry(topic->kafka, END_WAIT_MS);
        core_kafka_poll(topic->kafka);
    }
    producer_close(topic);
    pairs_free(topic);
    free(topic);
}
