/* sinks/kafka_conf.c: the keys of the kafka sink, and librdkafka's properties.
 *
 * Every property of librdkafka passes through `rdkafka:`, in three layers: our defaults, what the user says, and what
 * nothing may change because the promise of this sink rests on it: a batch is given back when all in-sync replicas have
 * each of its records (acks), once and in order (idempotence), however long that takes (no timeout), and every topic
 * cuts a flow's key to the same partition number (partitioner). A property that would weaken one of these is a mistake
 * with its line; the same value said again is not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/kafka_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static const char *const deliveries[] = {"auto", "exactly_once", "at_least_once", NULL}; /* enum kafka_delivery */

const struct core_opt kafka_opts[KAFKA_OPTS_LEN] = {
    {.key = "topic",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct kafka_conf, topic),
     .def = "tapline.%{event.dataset}",
     .needs_restart = true,
     .help = "Topic of each document; %{event.dataset} is the dataset without a leading \"tapline.\", characters that "
             "Kafka does not take as '_'."},
    {.key = "dead_letter_topic",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct kafka_conf, dead_letter_topic),
     .def = "tapline.deadletter",
     .needs_restart = true,
     .help = "Topic of records that could not be read, or that the broker refused for good."},
    {.key = "delivery",
     .type = CORE_OPT_ENUM,
     .offset = offsetof(struct kafka_conf, delivery),
     .def = "auto",
     .choices = deliveries,
     .needs_restart = true,
     .help = "exactly_once: records and the files' positions in one transaction, so a crash repeats nothing that a "
             "read_committed consumer sees; at_least_once: what was under way comes again after a crash, with the same "
             "id; auto: exactly_once where the broker allows it."},
    {.key = "checkpoint_topic",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct kafka_conf, checkpoint_topic),
     .def = "tapline.checkpoint",
     .needs_restart = true,
     .help = "Topic of the files' positions (exactly_once); compacted, one for all nodes."},
    {.key = "transaction_interval",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct kafka_conf, transaction_interval_ns),
     .def = "500ms",
     .min = "10ms",
     .max = "60s",
     .needs_restart = true,
     .help = "A transaction this old takes no further batch and is committed; so long a consumer waits at most."},
    {.key = "transaction_bytes",
     .type = CORE_OPT_SIZE,
     .offset = offsetof(struct kafka_conf, transaction_bytes),
     .def = "256MiB",
     .min = "64KiB",
     .max = "4GiB",
     .needs_restart = true,
     .help = "A transaction with so many bytes of documents takes no further batch and is committed."},
    {.key = "transaction_timeout",
     .type = CORE_OPT_DURATION,
     .offset = offsetof(struct kafka_conf, transaction_timeout_ns),
     .def = "60s",
     .min = "5s",
     .max = "15m",
     .needs_restart = true,
     .help =
         "A transaction that nothing was heard of for so long is ended by the broker (transaction.timeout.ms); what a "
         "crash left open hides later records from read_committed consumers until then, or until the next start."},
    {.key = "create_topics",
     .type = CORE_OPT_BOOL,
     .offset = offsetof(struct kafka_conf, create_topics),
     .def = "yes",
     .needs_restart = true,
     .help =
         "Make topics that are missing, all with the same number of partitions. Off, a missing topic is waited for 5 s "
         "(rdkafka.topic.metadata.propagation.max.ms); then its records become dead letters, until it is there."},
    {.key = "partitions",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct kafka_conf, partitions),
     .def = "4",
     .min = "1",
     .max = "10000",
     .needs_restart = true,
     .help = "Partitions of topics we make. A flow has the same partition number in all topics of equal count."},
    {.key = "replication_factor",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct kafka_conf, replication_factor),
     .def = "0",
     .max = "100",
     .needs_restart = true,
     .help = "Replicas of topics we make; 0: the broker's default."},
    {.key = "rdkafka",
     .type = CORE_OPT_PAIRS,
     .offset = offsetof(struct kafka_conf, rdkafka),
     .is_required = true,
     .is_secret = true,
     .needs_restart = true,
     .help = "Properties of librdkafka, bootstrap.servers first of all; @/path reads a value from a file. None may "
             "weaken acks, idempotence, timeout or partitioner."},
};

static const struct core_kafka_pair defaults[] = {
    {"client.id", "tapline"},
    {"compression.codec", "lz4"},
    /* How long a partition waits for company. Under load batches come in thousands and never wait; a trickle gains
     * nothing from a longer wait, and a sensor's own delay is seconds. */
    {"linger.ms", "20"},
    /* Documents go by reference: a queue entry costs librdkafka about 200 bytes, the text stays in our pool of batches,
     * which is the real limit. So its own limits are set beyond any pool: meeting them would only cost retries. */
    {"queue.buffering.max.messages", "10000000"},
    {"queue.buffering.max.kbytes", "2147483647"},
};

/* Set last. Either spelling of a name counts; an empty list of others means no other value is as strong. */
struct guarded {
    const char *key;
    const char *alias;
    const char *value;
    const char *same[4]; /* other spellings of a value as strong */
    const char *why;
};

static const struct guarded guards[] = {
    {.key = "enable.idempotence",
     .value = "true",
     .same = {"t", "1"},
     .why = "without it a retry can double or reorder records"},
    {.key = "acks",
     .alias = "request.required.acks",
     .value = "all",
     .same = {"-1"},
     .why = "a record counts as accepted when all in-sync replicas have it"},
    {.key = "message.timeout.ms",
     .alias = "delivery.timeout.ms",
     .value = "0",
     .why = "an outage is waited for; a timeout would drop records"},
    {.key = "message.send.max.retries",
     .alias = "retries",
     .value = "2147483647",
     .why = "a record that librdkafka gave up comes again behind its neighbours, and perhaps twice"},
    {.key = "partitioner",
     .value = "murmur2",
     .same = {"murmur2_random"},
     .why = "one flow must have the same partition number in every topic, as Java's clients count it"},
    {.key = "delivery.report.only.error",
     .value = "false",
     .same = {"f", "0"},
     .why = "the reports of success are what moves the checkpoint"},
};
#define GUARDS_LEN (sizeof guards / sizeof guards[0])
#define DEFAULTS_LEN (sizeof defaults / sizeof defaults[0])

/* Not a value but the property itself is out of place. */
static const struct core_kafka_pair forbidden[] = {
    {"transactional.id", "it is made of the node's name, so that a node has one"},
    {"transaction.timeout.ms", "use transaction_timeout"},
    {"log.queue", "tapline's own log takes librdkafka's"},
    {"enabled_events", "tapline asks for the events it needs"},
};
#define FORBIDDEN_LEN (sizeof forbidden / sizeof forbidden[0])

struct core_kafka_pair *kafka_conf_pairs(const struct kafka_conf *conf, bool wants_statistics, size_t *len) {
    MUST(conf != NULL && len != NULL);
    size_t n = 0;
    struct core_kafka_pair *pairs = calloc(DEFAULTS_LEN + conf->rdkafka.len + GUARDS_LEN + 3, sizeof *pairs);
    MUST(pairs != NULL);
    for (size_t i = 0; i < DEFAULTS_LEN; i++) {
        pairs[n++] = defaults[i];
    }
    if (!conf->create_topics) { /* librdkafka's 30 s are for topics that were made a moment ago: here none was, by us */
        pairs[n++] = (struct core_kafka_pair){"topic.metadata.propagation.max.ms", "5000"};
    }
    if (wants_statistics) { /* before the user's: who wants them for something else says how often */
        pairs[n++] = (struct core_kafka_pair){"statistics.interval.ms", "1000"};
    }
    for (size_t i = 0; i < conf->rdkafka.len; i++) {
        pairs[n++] = (struct core_kafka_pair){conf->rdkafka.items[i].key, conf->rdkafka.items[i].value};
    }
    for (size_t i = 0; i < GUARDS_LEN; i++) {
        pairs[n++] = (struct core_kafka_pair){guards[i].key, guards[i].value};
    }
    pairs[n++] = (struct core_kafka_pair){"batch.num.messages", "1"};
    *len = n;
    return pairs;
}

/* A partition waits this long for company: each transaction waits for its last batches, and later comes its commit. */
#define TXN_LINGER_MS "5"

struct core_kafka_pair *kafka_conf_txn_pairs(const struct kafka_conf *conf, const char *node, struct kafka_shape *shape,
                                             bool wants_statistics, size_t *len) {
    MUST(node != NULL && shape != NULL);
    size_t n = 0;
    struct core_kafka_pair *pairs = kafka_conf_pairs(conf, wants_statistics, &n);
    pairs = realloc(pairs, (n + 4) * sizeof *pairs);
    MUST(pairs != NULL);
    for (size_t i = 0; i < DEFAULTS_LEN; i++) { /* a default only: what the user says comes after it */
        if (strcmp(pairs[i].key, "linger.ms") == 0) {
            pairs[i].value = TXN_LINGER_MS;
        }
    }
    n -= shape->is_alone ? 0 : 1; /* the last pair makes batches of one */
    int id_len = snprintf(shape->id, sizeof shape->id, "tapline/%s", node);
    MUST(id_len > 0 && id_len < (int)sizeof shape->id);
    snprintf(shape->timeout, sizeof shape->timeout, "%lld", (long long)(conf->transaction_timeout_ns / CORE_NS_PER_MS));
    pairs[n++] = (struct core_kafka_pair){"transactional.id", shape->id};
    pairs[n++] = (struct core_kafka_pair){"transaction.timeout.ms", shape->timeout};
    if (shape->bytes != 0) {
        snprintf(shape->bytes_text, sizeof shape->bytes_text, "%llu", (unsigned long long)shape->bytes);
        pairs[n++] = (struct core_kafka_pair){"batch.size", shape->bytes_text};
    }
    *len = n;
    return pairs;
}

bool kafka_conf_keeps_positions(const void *conf_ptr) {
    const struct kafka_conf *conf = conf_ptr;
    MUST(conf != NULL);
    return conf->delivery != KAFKA_DELIVERY_AT_LEAST_ONCE;
}

/* ---- what the rows cannot say ------------------------------------------------------------------------------------------- */

/* Where mistakes are put. */
struct checked {
    const struct core_conf_file *file;
    const struct core_conf_node *node;
    struct core_conf_mistakes *mistakes;
};

static const struct core_conf_node *node_of(const struct checked *checked, const char *key) {
    const struct core_conf_node *at = checked->node == NULL ? NULL : core_conf_get(checked->node, key);
    return at == NULL ? checked->node : at;
}

static const struct core_conf_node *node_of_property(const struct checked *checked, const char *key) {
    const struct core_conf_node *pairs = node_of(checked, "rdkafka");
    const struct core_conf_node *at = pairs != NULL && core_conf_is_map(pairs) ? core_conf_get(pairs, key) : NULL;
    return at == NULL ? pairs : at;
}

static bool guard_allows(const struct guarded *guard, const char *value) {
    bool is_same = strcasecmp(guard->value, value) == 0;
    for (size_t i = 0; i < sizeof guard->same / sizeof guard->same[0] && guard->same[i] != NULL; i++) {
        is_same = is_same || strcasecmp(guard->same[i], value) == 0;
    }
    return is_same;
}

/* True: a mistake was said. */
static bool property_is_guarded(const struct checked *checked, const struct core_conf_item *item) {
    const struct core_conf_node *at = node_of_property(checked, item->key);
    for (size_t i = 0; i < FORBIDDEN_LEN; i++) {
        if (strcmp(item->key, forbidden[i].key) == 0) {
            core_conf_mistake(checked->file, at, checked->mistakes, "rdkafka.%s cannot be set: %s", item->key,
                              forbidden[i].value);
            return true;
        }
    }
    for (size_t i = 0; i < GUARDS_LEN; i++) {
        bool is_it = strcmp(item->key, guards[i].key) == 0 ||
                     (guards[i].alias != NULL && strcmp(item->key, guards[i].alias) == 0);
        if (is_it && !guard_allows(&guards[i], item->value)) {
            core_conf_mistake(checked->file, at, checked->mistakes,
                              "rdkafka.%s must stay %s: %s; leave the property out", item->key, guards[i].value,
                              guards[i].why);
            return true;
        }
    }
    return false;
}

static bool properties_check(const struct checked *checked, const struct core_conf_list *list) {
    bool is_right = true;
    bool has_servers = false;
    for (size_t i = 0; i < list->len; i++) {
        const struct core_conf_item *item = &list->items[i];
        struct core_fail fail;
        has_servers = has_servers || strcmp(item->key, "bootstrap.servers") == 0 ||
                      strcmp(item->key, "metadata.broker.list") == 0 || strcmp(item->key, "test.mock.num.brokers") == 0;
        if (property_is_guarded(checked, item)) {
            is_right = false;
        } else if (core_kafka_pair_check(&(struct core_kafka_pair){item->key, item->value}, &fail) != CORE_OK) {
            is_right = false;
            core_conf_mistake(checked->file, node_of_property(checked, item->key), checked->mistakes, "rdkafka.%s: %s",
                              item->key, item->is_secret ? "librdkafka refuses the value" : fail.text);
        }
    }
    if (!has_servers) {
        is_right = false;
        core_conf_mistake(checked->file, node_of(checked, "rdkafka"), checked->mistakes,
                          "rdkafka.bootstrap.servers is missing: which brokers? e.g. \"127.0.0.1:9092\"");
    }
    return is_right;
}

static void topic_check(const struct checked *checked, const char *key, const char *text, const char *dataset) {
    const char *wrong = NULL;
    char name[KAFKA_TOPIC_BYTES_MAX + 1];
    if (!sink_template_check(text, &wrong)) {
        core_conf_mistake(checked->file, node_of(checked, key), checked->mistakes,
                          "%s: \"%.40s\" is no variable; only %%{event.dataset} is", key, wrong);
        return;
    }
    bool fits = sink_template_expand(text, dataset, name, sizeof name);
    size_t legal = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (!fits || name[0] == '\0' || name[legal] != '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        core_conf_mistake(checked->file, node_of(checked, key), checked->mistakes,
                          "%s: \"%s\" is no topic's name: 1 to %d of A-Z a-z 0-9 . _ -", key, text,
                          KAFKA_TOPIC_BYTES_MAX);
    }
}

void kafka_conf_check(const void *conf_ptr, const struct core_conf_file *file, const struct core_conf_node *node,
                      struct core_conf_mistakes *mistakes) {
    const struct kafka_conf *conf = conf_ptr;
    MUST(conf->topic != NULL && conf->dead_letter_topic != NULL);
    struct checked checked = {.file = file, .node = node, .mistakes = mistakes};
    topic_check(&checked, "topic", conf->topic, "x");
    topic_check(&checked, "dead_letter_topic", conf->dead_letter_topic, SINK_DATASET_DEAD);
    topic_check(&checked, "checkpoint_topic", conf->checkpoint_topic, "x");
    if (sink_template_has_dataset(conf->checkpoint_topic)) {
        core_conf_mistake(file, node_of(&checked, "checkpoint_topic"), mistakes,
                          "checkpoint_topic: it is one topic; %%{event.dataset} has no place in it");
    }
    if (!properties_check(&checked, &conf->rdkafka)) {
        return;
    }
    size_t len = 0;
    struct core_fail fail;
    struct core_kafka_pair *pairs = kafka_conf_pairs(conf, false, &len);
    enum core_err err = core_kafka_pairs_check(pairs, len - 1, &fail);
    free(pairs);
    if (err == CORE_OK &&
        conf->delivery != KAFKA_DELIVERY_AT_LEAST_ONCE) { /* a transactional producer has more to say */
        struct kafka_shape shape = {0};
        pairs = kafka_conf_txn_pairs(conf, "node", &shape, false, &len);
        err = core_kafka_pairs_check(pairs, len, &fail);
        free(pairs);
    }
    if (err != CORE_OK) {
        core_conf_mistake(file, node_of(&checked, "rdkafka"), mistakes, "rdkafka: %s", fail.text);
    }
}

enum core_err kafka_conf_connect(const void *conf, int timeout_ms, struct core_fail *fail) {
    MUST(conf != NULL);
    size_t len = 0;
    struct core_kafka_pair *pairs = kafka_conf_pairs(conf, false, &len);
    enum core_err err = core_kafka_reach(pairs, len - 1, timeout_ms, fail);
    free(pairs);
    return err;
}

enum core_err sink_kafka_places(const void *conf_ptr, struct sink_kafka_places *out) {
    const struct kafka_conf *conf = conf_ptr;
    MUST(conf != NULL && out != NULL);
    *out = (struct sink_kafka_places){
        .topic = conf->topic, .dead_letter_topic = conf->dead_letter_topic, .checkpoint_topic = conf->checkpoint_topic};
    out->pairs = kafka_conf_pairs(conf, false, &out->pairs_len);
    out->pairs_len--; /* without the one that makes batches of one */
    return conf->delivery == KAFKA_DELIVERY_AT_LEAST_ONCE ? CORE_GONE : CORE_OK;
}

void sink_kafka_places_release(struct sink_kafka_places *places) {
    MUST(places != NULL);
    free(places->pairs);
    *places = (struct sink_kafka_places){0};
}
