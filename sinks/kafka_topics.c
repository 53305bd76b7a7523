/* sinks/kafka_topics.c: which topic a dataset has, and what it takes until records can be sent to it.
 *
 * A topic is asked for through the admin API before its first record (a topic that exists answers "exists", at the price
 * of one small request), and the answer comes as an event: meanwhile records of other topics go on. What comes of it:
 *
 *   made, or there before            usable
 *   not yet (no broker, too few)     asked again after a pause; its records wait
 *   refused (no right, no such name) used all the same: somebody else may have made it. If it is not there, librdkafka
 *                                    says so for each record, which then becomes a dead letter with both reasons
 *
 * librdkafka can call a topic unknown that is not, from a broker that has not heard of it yet (its issues 4401 and 4904).
 * So a topic that was proven to exist is given a few more chances, each asking for it again, before it is believed
 * to be gone. The topic of dead letters is always waited for: what cannot even be delivered there must not be dropped,
 * and its source holds it still.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/kafka_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define DATASETS_CAP (4 * KAFKA_TOPICS_MAX) /* power of two; at most half full */
#define STRIKES_MAX 3
#define STRIKES_FORGOTTEN_NS (600 * CORE_NS_PER_S)
#define HOLD_NS CORE_NS_PER_S
#define HOLD_DEAD_NS (5 * CORE_NS_PER_S)

struct kafka_dataset {
    char *name; /* NULL: free */
    struct kafka_topic *topic;
};

/* ---- names ------------------------------------------------------------------------------------------------------------ */

/* Shape: legal for Kafka. A name that is too long keeps its head and gets its hash, so that two stay two. */
static void topic_name(const char *text, const char *dataset, char out[KAFKA_TOPIC_BYTES_MAX + 1]) {
    char whole[4096];
    static const char ours[] = "tapline.";
    const char *shown = strncmp(dataset, ours, sizeof ours - 1) == 0 ? dataset + sizeof ours - 1 : dataset;
    bool is_whole = sink_template_expand(text, shown, whole, sizeof whole);
    (void)is_whole; /* cut at 4 KiB: the hash below is of the dataset itself */
    size_t len = strlen(whole);
    if (len <= KAFKA_TOPIC_BYTES_MAX) {
        memcpy(out, whole, len + 1);
        return;
    }
    unsigned long long hash = core_hash64(dataset, strlen(dataset), 0);
    snprintf(out, KAFKA_TOPIC_BYTES_MAX + 1, "%.*s-%016llx", KAFKA_TOPIC_BYTES_MAX - 17, whole, hash);
}

/* NULL: there are as many as there may be. */
static struct kafka_topic *topic_of_name(struct kafka_topics *topics, const char *name) {
    for (size_t i = 0; i < topics->len; i++) {
        if (strcmp(topics->topics[i]->name, name) == 0) {
            return topics->topics[i];
        }
    }
    if (topics->len == KAFKA_TOPICS_MAX) {
        return NULL;
    }
    struct kafka_topic *topic = calloc(1, sizeof *topic);
    MUST(topic != NULL);
    snprintf(topic->name, sizeof topic->name, "%s", name);
    topic->state = topics->conf->create_topics ? KAFKA_TOPIC_NEEDED : KAFKA_TOPIC_USABLE;
    topics->topics[topics->len++] = topic;
    return topic;
}

struct kafka_topic *kafka_topics_find(struct kafka_topics *topics, const char *dataset) {
    MUST(dataset != NULL);
    size_t at = core_hash64(dataset, strlen(dataset), 0) & (DATASETS_CAP - 1);
    while (topics->datasets[at].name != NULL && strcmp(topics->datasets[at].name, dataset) != 0) {
        at = (at + 1) & (DATASETS_CAP - 1);
    }
    struct kafka_dataset *slot = &topics->datasets[at];
    if (slot->name == NULL) {
        if (topics->datasets_len == DATASETS_CAP / 2) {
            return NULL;
        }
        char name[KAFKA_TOPIC_BYTES_MAX + 1];
        topic_name(topics->conf->topic, dataset, name);
        slot->topic = topic_of_name(topics, name);
        slot->name = strdup(dataset);
        MUST(slot->name != NULL);
        topics->datasets_len++;
    }
    return slot->topic;
}

enum core_err kafka_topics_open(struct kafka_topics *topics, const struct kafka_conf *conf, struct core_fail *fail) {
    MUST(conf->dead_letter_topic != NULL);
    *topics = (struct kafka_topics){.conf = conf};
    topics->topics = calloc(KAFKA_TOPICS_MAX, sizeof(struct kafka_topic *));
    topics->datasets = calloc(DATASETS_CAP, sizeof *topics->datasets);
    if (topics->topics == NULL || topics->datasets == NULL) {
        kafka_topics_close(topics);
        return core_fail_set(fail, CORE_IO, "memory", "not enough memory for the table of topics");
    }
    char name[KAFKA_TOPIC_BYTES_MAX + 1];
    topic_name(conf->dead_letter_topic, SINK_DATASET_DEAD, name);
    topics->dead_letters = topic_of_name(topics, name);
    topics->dead_letters->is_dead_letters = true;
    return CORE_OK;
}

struct kafka_topic *kafka_topics_checkpoint(struct kafka_topics *topics) {
    MUST(topics->topics != NULL);
    struct kafka_topic *topic = topic_of_name(topics, topics->conf->checkpoint_topic);
    MUST(topic != NULL); /* it is asked for before any dataset */
    topic->is_checkpoint = true;
    return topic;
}

void kafka_topics_close(struct kafka_topics *topics) {
    for (size_t i = 0; topics->datasets != NULL && i < DATASETS_CAP; i++) {
        free(topics->datasets[i].name);
    }
    for (size_t i = 0; i < topics->len; i++) {
        free(topics->topics[i]);
    }
    free(topics->datasets);
    free(topics->topics);
    *topics = (struct kafka_topics){0};
}

void kafka_topics_rebind(struct kafka_topics *topics, enum kafka_lane lane, struct core_kafka *kafka) {
    MUST(topics->topics != NULL);
    topics->lanes[lane] = kafka;
    for (size_t i = 0; i < topics->len; i++) {
        int partitions = kafka_topic_partitions(topics->topics[i]);
        topics->topics[i]->partitions = partitions > 0 ? partitions : topics->topics[i]->partitions;
        topics->topics[i]->handles[lane] = NULL;
        if (lane == KAFKA_TOGETHER && topics->topics[i]->state == KAFKA_TOPIC_ASKED) { /* the answer will never come */
            topics->topics[i]->state = KAFKA_TOPIC_NEEDED;
        }
    }
}

/* ---- state ------------------------------------------------------------------------------------------------------------ */

/* Thread: the sink's. The handle of a lane, opened when first needed. */
static struct core_kafka_topic *topic_handle(struct kafka_topics *topics, struct kafka_topic *topic,
                                             enum kafka_lane lane) {
    MUST(topics->lanes[lane] != NULL);
    if (topic->handles[lane] == NULL) {
        topic->handles[lane] = core_kafka_topic_open(topics->lanes[lane], topic->name, topic);
    }
    return topic->handles[lane];
}

/* Positions are few and small, and only the last of each counts: a small segment is compacted soon, and a reader at start
 * has little to read. */
static const struct core_kafka_pair compacted[] = {
    {"cleanup.policy", "compact"},        {"segment.bytes", "16777216"},        {"segment.ms", "3600000"},
    {"min.cleanable.dirty.ratio", "0.1"}, {"delete.retention.ms", "604800000"},
};

static void topic_make(struct kafka_topics *topics, struct kafka_topic *topic) {
    const struct core_kafka_wish wish = {
        .partitions = (int)topics->conf->partitions,
        .replication = (int)topics->conf->replication_factor,
        .config = topic->is_checkpoint ? compacted : NULL,
        .config_len = topic->is_checkpoint ? sizeof compacted / sizeof compacted[0] : 0,
    };
    topic->state = KAFKA_TOPIC_ASKED;
    core_kafka_topic_make(topics->lanes[KAFKA_TOGETHER], topic_handle(topics, topic, KAFKA_TOGETHER), &wish);
}

bool kafka_topic_is_ready(struct kafka_topics *topics, struct kafka_topic *topic, enum kafka_lane lane, int64_t now) {
    MUST(lane < KAFKA_LANES);
    if (topic->state == KAFKA_TOPIC_USABLE && topic->handles[lane] != NULL && topic->hold_ns == 0) {
        return true;
    }
    if (topic->hold_ns != 0 && now < topic->hold_ns) {
        return false;
    }
    topic->hold_ns = 0;
    if (topic->state == KAFKA_TOPIC_NEEDED) {
        topic_make(topics, topic);
    }
    return topic->state == KAFKA_TOPIC_USABLE && topic_handle(topics, topic, lane) != NULL;
}

int kafka_topic_partitions(const struct kafka_topic *topic) {
    MUST(topic != NULL);
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        int count = topic->handles[lane] == NULL ? 0 : core_kafka_topic_partitions(topic->handles[lane]);
        if (count > 0) {
            return count;
        }
    }
    return 0;
}

static void trouble_set(struct kafka_topic *topic, const char *text) {
    topic->trouble_ns = core_tick_ns();
    snprintf(topic->trouble, sizeof topic->trouble, "%s", text);
}

void kafka_topic_made(struct kafka_topics *topics, struct kafka_topic *topic, enum core_kafka_made made,
                      const char *text) {
    MUST(topic != NULL);
    MUST(topics->conf->create_topics);
    switch (made) {
    case CORE_KAFKA_MADE:
        topic->state = KAFKA_TOPIC_USABLE;
        topic->is_proven = true;
        topic->refusal[0] = '\0';
        topic->trouble_ns = 0;
        break;
    case CORE_KAFKA_NOT_YET:
        topic->state = KAFKA_TOPIC_NEEDED;
        topic->hold_ns = core_tick_ns() + HOLD_NS;
        trouble_set(topic, text);
        core_log(CORE_LEVEL_WARN, "kafka", "topic not made yet; its records wait, and it is asked for again",
                 "topic=\"%s\" partitions=%llu replication_factor=%llu reason=\"%s\"", topic->name,
                 (unsigned long long)topics->conf->partitions, (unsigned long long)topics->conf->replication_factor,
                 text);
        break;
    case CORE_KAFKA_NOT_MADE:
        topic->state = KAFKA_TOPIC_USABLE;
        snprintf(topic->refusal, sizeof topic->refusal, "%s", text);
        core_log(CORE_LEVEL_WARN, "kafka",
                 "topic not made; used if it is there, else its records become dead letters. Make it, or give tapline "
                 "the right to (or set create_topics: no)",
                 "topic=\"%s\" reason=\"%s\"", topic->name, text);
        break;
    }
}

bool kafka_topic_refused(struct kafka_topics *topics, struct kafka_topic *topic, const char *text, int64_t now) {
    MUST(topic != NULL);
    if (topic->hold_ns != 0) { /* the others that were under way come back with the same answer */
        return true;
    }
    trouble_set(topic, topic->refusal[0] == '\0' ? text : topic->refusal);
    topic->is_proven = topic->is_proven || kafka_topic_partitions(topic) > 0;
    if (now - topic->struck_ns > STRIKES_FORGOTTEN_NS) {
        topic->strikes = 0;
    }
    bool has_chance = topic->is_proven && topic->strikes < STRIKES_MAX;
    if (!topic->is_dead_letters && !has_chance) {
        if (!topic->is_given_up) { /* once, not per record */
            topic->is_given_up = true;
            core_log(CORE_LEVEL_ERROR, "kafka", "topic not to be had; its records become dead letters",
                     "topic=\"%s\" reason=\"%s\" make=\"%s\"", topic->name, text,
                     topic->refusal[0] != '\0'     ? topic->refusal
                     : topics->conf->create_topics ? "it was made, and is gone again"
                                                   : "create_topics is off: make it, or set create_topics: yes");
        }
        return false;
    }
    topic->strikes++;
    topic->struck_ns = now;
    topic->hold_ns = now + (topic->is_dead_letters ? HOLD_DEAD_NS : HOLD_NS * topic->strikes);
    topic->state = topics->conf->create_topics ? KAFKA_TOPIC_NEEDED : KAFKA_TOPIC_USABLE;
    core_log(topic->is_dead_letters ? CORE_LEVEL_ERROR : CORE_LEVEL_WARN, "kafka",
             topic->is_dead_letters
                 ? "topic of dead letters not to be had; what belongs there waits. Make the topic, or give the right to"
                 : "topic unknown though it was there; tried again",
             "topic=\"%s\" reason=\"%s\"", topic->name, text);
    return true;
}

void kafka_topic_give_up(struct kafka_topic *topic, int64_t now) {
    MUST(topic != NULL && !topic->is_dead_letters);
    topic->given_up_ns = now + STRIKES_FORGOTTEN_NS;
}

int64_t kafka_topics_due(const struct kafka_topics *topics, int64_t now) {
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < topics->len; i++) {
        int64_t hold = topics->topics[i]->hold_ns;
        due = hold > now && hold < due ? hold : due; /* an older one holds nobody: it is reset at the next use */
    }
    return due;
}

/* ---- partition counts --------------------------------------------------------------------------------------------------- */

void kafka_topics_compare(struct kafka_topics *topics) {
    for (size_t i = 0; i < topics->len; i++) {
        struct kafka_topic *topic = topics->topics[i];
        int count = kafka_topic_partitions(topic);
        if (count == 0 || topic->is_dead_letters || topic->is_checkpoint) { /* no flow is looked up there */
            continue;
        }
        if (topics->reference == NULL) {
            topics->reference = topic;
            continue;
        }
        int expected = kafka_topic_partitions(topics->reference);
        if (expected != 0 && count != expected && !topic->is_counted_wrong) {
            topic->is_counted_wrong = true;
            core_log(
                CORE_LEVEL_WARN, "kafka",
                "two topics differ in their number of partitions: a flow has another partition number in each. "
                "Give both the same (kafka-topics.sh --alter --partitions) before anything joins them by partition",
                "topic=\"%s\" partitions=%d other_topic=\"%s\" other_partitions=%d", topic->name, count,
                topics->reference->name, expected);
        }
    }
}
