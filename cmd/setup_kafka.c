/* cmd/setup_kafka.c: the topics: one for each dataset that the maps name, those of dead letters, of the feeder's ledger and
 * of positions. Datasets that only a site's logs name (zeek.*) get theirs from the kafka sink, when there is a document.
 *
 * A topic that is there keeps its partitions: with another number a flow's records would go on in another partition than
 * those before. It keeps its records as long as it did, or longer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/setup_internal.h"
#include "core/kafka_admin.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_MS 30000
#define FIRST_TIMEOUT_MS 10000 /* of the first question: is anybody there? */
#define TOPIC_BYTES_MAX 249    /* Kafka's */
#define SETTINGS_MAX 4
#define TOPIC_TEMPLATE "tapline.%{event.dataset}"

static const char part[] = "kafka";

/* A topic as it should be, and as it is. */
struct topic {
    char name[TOPIC_BYTES_MAX + 1];
    bool is_compacted;
    bool is_there;
    int partitions;                   /* it has */
    const char *values[SETTINGS_MAX]; /* it has, of settings_of(); owned */
};

struct kafka {
    struct setup *setup;
    struct core_kafka_admin *admin;
    struct topic *topics;
    size_t len;
    size_t cap;
    char retention[32];
    struct core_kafka_pair documents[2];
    const char **asked; /* names of those that are there */
    size_t *asked_at;   /* and which they are */
    size_t asked_len;
};

/* Only the last record of each key counts, and a reader at start should have little to read. */
static const struct core_kafka_pair compacted[] = {
    {"cleanup.policy", "compact"},
    {"segment.ms", "3600000"},
    {"min.cleanable.dirty.ratio", "0.1"},
    {"delete.retention.ms", "604800000"},
};

static const struct core_kafka_pair *settings_of(const struct kafka *kafka, const struct topic *topic, size_t *len) {
    *len = topic->is_compacted ? sizeof(compacted) / sizeof(compacted[0])
                               : sizeof(kafka->documents) / sizeof(kafka->documents[0]);
    return topic->is_compacted ? compacted : kafka->documents;
}

/* ---- which topics --------------------------------------------------------------------------------------------------------- */

static void topic_add(struct kafka *kafka, const char *name, bool is_compacted) {
    for (size_t i = 0; i < kafka->len; i++) {
        if (strcmp(kafka->topics[i].name, name) == 0) {
            return;
        }
    }
    if (kafka->len == kafka->cap) {
        kafka->cap = kafka->cap == 0 ? 128 : kafka->cap * 2;
        kafka->topics = realloc(kafka->topics, kafka->cap * sizeof(*kafka->topics));
        MUST(kafka->topics != NULL);
    }
    struct topic *topic = &kafka->topics[kafka->len++];
    *topic = (struct topic){.is_compacted = is_compacted};
    (void)snprintf(topic->name, sizeof(topic->name), "%s", name);
}

static void on_dataset(void *ctx, const char *dataset, const char *ecs_fields) {
    (void)ecs_fields;
    char name[TOPIC_BYTES_MAX + 1];
    if (strchr(dataset, '*') != NULL || strcmp(dataset, "tapline.deadletter") == 0) {
        return; /* of dead letters the configuration says where they are */
    }
    bool is_ours = strncmp(dataset, "tapline.", strlen("tapline.")) == 0;
    (void)snprintf(name, sizeof(name), "%s%s", is_ours ? "" : "tapline.", dataset);
    topic_add(ctx, name, false);
}

/* False: this file's kafka sink names its topics in its own way. */
static bool has_usual_names(const struct config *config) {
    bool is_usual = true;
    for (size_t i = 0; i < config->sinks_len; i++) {
        if (strcmp(config->sinks[i].ops->name, "kafka") == 0) {
            struct sink_kafka_places places;
            enum core_err err CORE_UNUSED =
                sink_kafka_places(config->sinks[i].conf, &places); /* fills it in any case */
            is_usual = strcmp(places.topic, TOPIC_TEMPLATE) == 0;
            sink_kafka_places_release(&places);
        }
    }
    return is_usual;
}

static void topics_list(struct kafka *kafka) {
    const struct config *config = kafka->setup->config;
    int64_t retention_ns = config->setup.topic_retention_ns;
    long long retention_ms = retention_ns == 0 ? -1 : (long long)(retention_ns / CORE_NS_PER_MS);
    (void)snprintf(kafka->retention, sizeof(kafka->retention), "%lld", retention_ms);
    kafka->documents[0] = (struct core_kafka_pair){"cleanup.policy", "delete"};
    kafka->documents[1] = (struct core_kafka_pair){"retention.ms", kafka->retention};
    if (has_usual_names(config)) {
        normalize_datasets_walk(kafka->setup->maps, on_dataset, kafka);
    } else {
        setup_tell(kafka->setup, &(struct setup_thing){part, "topics", "of datasets"}, SETUP_LEFT,
                   "sinks.kafka.topic is not " TOPIC_TEMPLATE "; they are made as documents come");
    }
    if (config->health.topic != NULL && config->health.topic[0] != '\0') {
        topic_add(kafka, config->health.topic, false);
    }
    topic_add(kafka, config->feed.dead_letter_topic, false);
    topic_add(kafka, config->feed.ledger_topic, true);
    topic_add(kafka, config->feed.checkpoint_topic, true);
}

/* ---- how they are ---------------------------------------------------------------------------------------------------------- */

static void on_setting(void *ctx, size_t at, const char *key, const char *value, bool is_own) {
    struct kafka *kafka = ctx;
    struct topic *topic = &kafka->topics[kafka->asked_at[at]];
    size_t len;
    const struct core_kafka_pair *settings = settings_of(kafka, topic, &len);
    (void)is_own;
    for (size_t i = 0; i < len && value != NULL; i++) {
        if (strcmp(settings[i].key, key) == 0) {
            free((void *)(uintptr_t)topic->values[i]);
            topic->values[i] = strdup(value);
            MUST(topic->values[i] != NULL);
        }
    }
}

static enum core_err topics_look(struct kafka *kafka, struct core_fail *fail) {
    struct core_kafka_seen *seen = NULL;
    size_t seen_len = 0;
    enum core_err err = core_kafka_admin_topics(kafka->admin, FIRST_TIMEOUT_MS, &seen, &seen_len, fail);
    for (size_t i = 0; err == CORE_OK && i < kafka->len; i++) {
        for (size_t s = 0; s < seen_len; s++) {
            if (strcmp(seen[s].name, kafka->topics[i].name) == 0) {
                kafka->topics[i].is_there = true;
                kafka->topics[i].partitions = seen[s].partitions;
                kafka->asked_at[kafka->asked_len] = i;
                kafka->asked[kafka->asked_len++] = kafka->topics[i].name;
            }
        }
    }
    core_kafka_seen_free(seen, seen_len);
    return err != CORE_OK ? err
                          : core_kafka_admin_settings(kafka->admin, kafka->asked, kafka->asked_len, TIMEOUT_MS,
                                                      on_setting, kafka, fail);
}

/* ---- what is done ----------------------------------------------------------------------------------------------------------- */

static void missing_make(struct kafka *kafka) {
    const struct setup_conf *conf = &kafka->setup->config->setup;
    struct core_kafka_making *making = calloc(kafka->len + 1, sizeof(*making));
    struct core_fail fail = {0};
    size_t len = 0;
    MUST(making != NULL);
    for (size_t i = 0; i < kafka->len; i++) {
        size_t settings_len;
        const struct core_kafka_pair *settings = settings_of(kafka, &kafka->topics[i], &settings_len);
        if (!kafka->topics[i].is_there) {
            making[len++] = (struct core_kafka_making){.name = kafka->topics[i].name,
                                                       .wish = {.partitions = (int)conf->partitions,
                                                                .replication = (int)conf->replication_factor,
                                                                .config = settings,
                                                                .config_len = settings_len}};
        }
    }
    bool is_check = kafka->setup->mode == SETUP_CHECK;
    enum core_err err =
        is_check || len == 0 ? CORE_OK : core_kafka_admin_make(kafka->admin, making, len, TIMEOUT_MS, &fail);
    for (size_t i = 0; i < len; i++) {
        const struct setup_thing thing = {part, "topic", making[i].name};
        if (is_check) {
            setup_tell(kafka->setup, &thing, SETUP_MISSING, NULL);
        } else if (err != CORE_OK || making[i].fail.err == CORE_BAD || making[i].fail.err == CORE_NET) {
            setup_tell_failed(kafka->setup, &thing, err != CORE_OK ? &fail : &making[i].fail);
        } else { /* CORE_GONE: somebody made it just now */
            setup_tell(kafka->setup, &thing, making[i].fail.err == CORE_GONE ? SETUP_SAME : SETUP_CREATED, NULL);
        }
    }
    free(making);
}

/* Would this setting, changed, make records go sooner? */
static bool is_shorter(const char *key, const char *have, const char *want) {
    if (strcmp(key, "retention.ms") == 0) {
        long long have_ms = strtoll(have, NULL, 10);
        long long want_ms = strtoll(want, NULL, 10);
        return want_ms >= 0 && (have_ms < 0 || have_ms > want_ms);
    }
    return strcmp(key, "cleanup.policy") == 0 && strcmp(want, "delete") == 0;
}

/* What differs of a topic that is there: settings that may be changed go to changes, all is said in why. */
static size_t differences(const struct kafka *kafka, const struct topic *topic, struct core_kafka_pair *changes,
                          FILE *why) {
    size_t settings_len;
    size_t len = 0;
    const struct core_kafka_pair *settings = settings_of(kafka, topic, &settings_len);
    for (size_t i = 0; i < settings_len; i++) {
        const char *have = topic->values[i] == NULL ? "" : topic->values[i];
        if (strcmp(have, settings[i].value) == 0) {
            continue;
        }
        bool is_left = is_shorter(settings[i].key, have, settings[i].value);
        if (!is_left) {
            changes[len++] = settings[i];
        }
        (void)fprintf(why, "%s%s is %s, wanted %s%s", ftell(why) == 0 ? "" : "; ", settings[i].key, have,
                      settings[i].value, is_left ? " (left: records would go sooner; see kafka-configs)" : "");
    }
    /* of ledgers and positions each key is read as a whole, wherever it is */
    if (!topic->is_compacted && topic->partitions != (int)kafka->setup->config->setup.partitions) {
        (void)fprintf(why, "%sit has %d partitions, wanted %d (left: a flow's records would change their partition)",
                      ftell(why) == 0 ? "" : "; ", topic->partitions, (int)kafka->setup->config->setup.partitions);
    }
    return len;
}

static void present_mend(struct kafka *kafka, const struct topic *topic) {
    const struct setup_thing thing = {part, "topic", topic->name};
    struct core_kafka_pair changes[SETTINGS_MAX];
    struct core_fail fail = {0};
    char *why = NULL;
    size_t why_len = 0;
    FILE *out = open_memstream(&why, &why_len);
    MUST(out != NULL);
    size_t len = differences(kafka, topic, changes, out);
    MUST(fclose(out) == 0); /* it writes to memory */
    const struct core_kafka_wish wish = {.config = changes, .config_len = len};
    if (why_len == 0) {
        setup_tell(kafka->setup, &thing, SETUP_SAME, NULL);
    } else if (kafka->setup->mode == SETUP_CHECK) {
        setup_tell(kafka->setup, &thing, SETUP_DIFFERS, why);
    } else if (len > 0 && core_kafka_admin_set(kafka->admin, topic->name, &wish, TIMEOUT_MS, &fail) != CORE_OK) {
        setup_tell_failed(kafka->setup, &thing, &fail);
    } else {
        setup_tell(kafka->setup, &thing, len > 0 ? SETUP_CHANGED : SETUP_LEFT, why);
    }
    free(why);
}

static void kafka_free(struct kafka *kafka) {
    for (size_t i = 0; i < kafka->len; i++) {
        for (size_t s = 0; s < SETTINGS_MAX; s++) {
            free((void *)(uintptr_t)kafka->topics[i].values[s]);
        }
    }
    free(kafka->topics);
    free(kafka->asked);
    free(kafka->asked_at);
    core_kafka_admin_close(kafka->admin);
}

void setup_kafka(struct setup *setup) {
    struct kafka kafka = {.setup = setup};
    const struct core_conf_list *list = &setup->config->feed.rdkafka;
    struct core_fail fail = {0};
    struct core_kafka_pair *pairs = calloc(list->len + 1, sizeof(*pairs));
    MUST(pairs != NULL);
    for (size_t i = 0; i < list->len; i++) {
        pairs[i] = (struct core_kafka_pair){list->items[i].key, list->items[i].value};
    }
    topics_list(&kafka);
    kafka.asked = calloc(kafka.len, sizeof(*kafka.asked));
    kafka.asked_at = calloc(kafka.len, sizeof(*kafka.asked_at));
    MUST(kafka.asked != NULL && kafka.asked_at != NULL);
    enum core_err err = core_kafka_admin_open(&kafka.admin, pairs, list->len, &fail);
    if (err == CORE_OK) {
        err = topics_look(&kafka, &fail);
    }
    if (err != CORE_OK) {
        setup_tell_failed(setup, &(struct setup_thing){part, "topics", "of section feed"}, &fail);
    } else {
        missing_make(&kafka);
        for (size_t i = 0; i < kafka.len; i++) {
            if (kafka.topics[i].is_there) {
                present_mend(&kafka, &kafka.topics[i]);
            }
        }
    }
    kafka_free(&kafka);
    free(pairs);
}
