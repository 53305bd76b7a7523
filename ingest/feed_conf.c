/* ingest/feed_conf.c: what `feed:` may say: rows, the properties that librdkafka is told, and which topics are read.
 *
 * One set of properties serves two handles: a consumer of the group, and the producer of the transactions that commit its
 * offsets. The keys that make exactly-once what it is are ours alone; saying them is refused, with the reason.
 * Thread: any; nothing here is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/peek.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#define TOPIC_BYTES_MAX 249 /* Kafka's */
#define ID_BYTES_MAX 1024
#define GENERIC "generic"
#define FEED_MARK_WORD "dead"

#define AT(member) offsetof(struct feed_conf, member)
const struct core_opt feed_opts[] = {
    {.key = "group",
     .type = CORE_OPT_STRING,
     .offset = AT(group),
     .def = "tapline-feed",
     .needs_restart = true,
     .help =
         "Name of the consumer group (group.id): feeders of one group share the partitions; another group reads all "
         "of it again."},
    {.key = "topics",
     .type = CORE_OPT_STRINGS,
     .offset = AT(topics),
     .needs_restart = true,
     .help = "Topics to read, by name, or as a pattern that begins with ^ (a POSIX extended regular expression). "
             "Default: ^tapline\\..*. Those of positions and of the ledger are never read, the one of dead letters "
             "always."},
    {.key = "dead_letter_topic",
     .type = CORE_OPT_STRING,
     .offset = AT(dead_letter_topic),
     .def = "tapline.deadletter",
     .needs_restart = true,
     .help =
         "Topic of the dead letters: a document that the engine refuses for good is put there, with its reason; and "
         "what stands there is indexed as well."},
    {.key = "ledger_topic",
     .type = CORE_OPT_STRING,
     .offset = AT(ledger_topic),
     .def = "tapline.feed",
     .needs_restart = true,
     .help = "Topic of the ledger: how many documents of each dataset and day were indexed, repeated or refused, "
             "committed with the offsets; compacted."},
    {.key = "checkpoint_topic",
     .type = CORE_OPT_STRING,
     .offset = AT(checkpoint_topic),
     .def = "tapline.checkpoint",
     .needs_restart = true,
     .help = "sinks.kafka.checkpoint_topic of those who write the documents: it has positions, and is not read."},
    {.key = "commit_interval",
     .type = CORE_OPT_DURATION,
     .offset = AT(commit_interval_ns),
     .def = "1s",
     .min = "50ms",
     .max = "60s",
     .needs_restart = true,
     .help = "At most this long between two commits of offsets while documents are indexed. What was not committed is "
             "read again after a crash, and is a repeat to the engine."},
    {.key = "queued_bytes",
     .type = CORE_OPT_SIZE,
     .offset = AT(queued_bytes),
     .def = "16MiB",
     .min = "1MiB",
     .max = "1GiB",
     .needs_restart = true,
     .help = "Bytes fetched ahead from Kafka at most."},
    {.key = "create_topics",
     .type = CORE_OPT_BOOL,
     .offset = AT(create_topics),
     .def = "yes",
     .needs_restart = true,
     .help = "Make dead_letter_topic and ledger_topic if they are missing. Off, they are waited for."},
    {.key = "replication_factor",
     .type = CORE_OPT_UINT,
     .offset = AT(replication_factor),
     .def = "0",
     .max = "100",
     .needs_restart = true,
     .help = "Replicas of the topics we make; 0: the broker's default."},
    {.key = "rdkafka",
     .type = CORE_OPT_PAIRS,
     .offset = AT(rdkafka),
     .is_required = true,
     .is_secret = true,
     .needs_restart = true,
     .help = "Properties of librdkafka, bootstrap.servers first of all; @/path reads a value from a file. None may "
             "weaken what exactly-once stands on."},
};
const size_t feed_opts_len = sizeof(feed_opts) / sizeof(feed_opts[0]);

/* What is told before the user's properties, which may say otherwise. A member of the group that dies is missed after the
 * session's timeout; until then nobody reads its partitions, not even the process that was started in its place. */
static const struct core_kafka_pair group_defaults[] = {
    {"client.id", "tapline-feed"},
    {"session.timeout.ms", "10000"},
    {"heartbeat.interval.ms", "2000"},
    {"topic.metadata.refresh.interval.ms", "10000"}, /* a new topic is seen after so long */
};
#define GROUP_DEFAULTS_LEN (sizeof(group_defaults) / sizeof(group_defaults[0]))

static const struct core_kafka_pair producer_defaults[] = {
    {"client.id", "tapline-feed"},
    {"compression.codec", "lz4"},
    {"linger.ms", "5"},
    /* Dead letters go by reference, rows of the ledger are small: this bounds what a storm of refusals may hold. */
    {"queue.buffering.max.kbytes", "16384"},
};
#define PRODUCER_DEFAULTS_LEN (sizeof(producer_defaults) / sizeof(producer_defaults[0]))

/* Set last. The broker ends a transaction that nothing was heard of for 15 s; ours live for milliseconds. Until a crashed one's is
 * ended nobody may read on where it was: a restart ends it at once, another feeder has to wait for this. */
static const struct core_kafka_pair producer_guards[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"message.timeout.ms", "0"},
    {"message.send.max.retries", "2147483647"},
    {"delivery.report.only.error", "false"},
    {"transaction.timeout.ms", "15000"},
};
#define PRODUCER_GUARDS_LEN (sizeof(producer_guards) / sizeof(producer_guards[0]))

/* The property itself is out of place. */
static const struct core_kafka_pair forbidden[] = {
    {"group.id", "use feed.group"},
    {"group.instance.id", "a feeder that ends leaves its partitions to the others at once; a static member would not"},
    {"transactional.id", "it is made of feed.group, the node's name and the feeder's number, so that each has its own"},
    {"transaction.timeout.ms", "ours live for milliseconds"},
    {"enable.auto.commit", "offsets are committed in a transaction, with what became of their documents"},
    {"enable.auto.offset.store", "offsets are committed in a transaction, with what became of their documents"},
    {"isolation.level", "what was not committed is no document"},
    {"auto.offset.reset", "a group that has no offset yet begins at the oldest record"},
    {"partition.assignment.strategy", "it is cooperative-sticky"},
    {"enable.partition.eof", "--once stands on it"},
    {"enable.idempotence", "without it a retry can double or reorder records"},
    {"acks", "a record counts when all in-sync replicas have it"},
    {"request.required.acks", "a record counts when all in-sync replicas have it"},
    {"message.timeout.ms", "an outage is waited for"},
    {"delivery.timeout.ms", "an outage is waited for"},
    {"delivery.report.only.error", "a transaction stands on the reports"},
    {"log.queue", "tapline's own log takes librdkafka's"},
    {"enabled_events", "tapline asks for the events it needs"},
};
#define FORBIDDEN_LEN (sizeof(forbidden) / sizeof(forbidden[0]))

/* ---- properties ------------------------------------------------------------------------------------------------------------ */

/* "^__.*,^tapline\.checkpoint$,^tapline\.feed$": as if these topics were not there. */
static char *blacklist_make(const struct feed_conf *conf) {
    const char *const names[] = {conf->checkpoint_topic, conf->ledger_topic};
    char *text = malloc(4 * TOPIC_BYTES_MAX + 64);
    MUST(text != NULL);
    char *at = stpcpy(text, "^__.*");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        at = stpcpy(at, ",^");
        for (const char *c = names[i]; *c != '\0' && c - names[i] < TOPIC_BYTES_MAX; c++) {
            if (*c == '.') {
                *at++ = '\\';
            }
            *at++ = *c;
        }
        at = stpcpy(at, "$");
    }
    return text;
}

static void pairs_add(struct feed_pairs *out, const struct core_kafka_pair *pairs, size_t len) {
    memcpy(out->pairs + out->len, pairs, len * sizeof(*pairs));
    out->len += len;
}

static void pairs_add_users(struct feed_pairs *out, const struct feed_conf *conf) {
    for (size_t i = 0; i < conf->rdkafka.len; i++) {
        out->pairs[out->len++] = (struct core_kafka_pair){conf->rdkafka.items[i].key, conf->rdkafka.items[i].value};
    }
}

void feed_pairs_of_group(const struct feed_conf *conf, struct feed_pairs *out) {
    MUST(conf->checkpoint_topic != NULL);
    *out = (struct feed_pairs){.blacklist = blacklist_make(conf)};
    out->pairs = calloc(GROUP_DEFAULTS_LEN + conf->rdkafka.len + 2, sizeof(*out->pairs)); /* and one of the caller's */
    MUST(out->pairs != NULL);
    pairs_add(out, group_defaults, GROUP_DEFAULTS_LEN);
    pairs_add_users(out, conf);
    out->pairs[out->len++] = (struct core_kafka_pair){"topic.blacklist", out->blacklist};
}

void feed_pairs_of_producer(const struct feed_conf *conf, const char *node, unsigned instance, struct feed_pairs *out) {
    MUST(node != NULL);
    *out = (struct feed_pairs){.id = malloc(ID_BYTES_MAX)};
    out->pairs = calloc(PRODUCER_DEFAULTS_LEN + conf->rdkafka.len + PRODUCER_GUARDS_LEN + 1, sizeof(*out->pairs));
    MUST(out->pairs != NULL);
    MUST(out->id != NULL);
    (void)snprintf(out->id, ID_BYTES_MAX, "tapline-feed/%s/%s/%u", conf->group, node, instance);
    pairs_add(out, producer_defaults, PRODUCER_DEFAULTS_LEN);
    pairs_add_users(out, conf);
    pairs_add(out, producer_guards, PRODUCER_GUARDS_LEN);
    out->pairs[out->len++] = (struct core_kafka_pair){"transactional.id", out->id};
}

void feed_pairs_release(struct feed_pairs *pairs) {
    free(pairs->pairs);
    free(pairs->blacklist);
    free(pairs->id);
    *pairs = (struct feed_pairs){0};
}

/* ---- topics ---------------------------------------------------------------------------------------------------------------- */

static const char default_topics[] = "^tapline\\..*";

static bool pattern_fits(const char *pattern, const char *name) {
    regex_t compiled;
    if (regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0) {
        return false;
    }
    bool fits = regexec(&compiled, name, 0, NULL, 0) == 0;
    regfree(&compiled);
    return fits;
}

static bool list_wants(const struct feed_conf *conf, const char *name) {
    if (conf->topics.len == 0) {
        return pattern_fits(default_topics, name);
    }
    for (size_t i = 0; i < conf->topics.len; i++) {
        const char *item = conf->topics.items[i].value;
        if (item[0] == '^' ? pattern_fits(item, name) : strcmp(item, name) == 0) {
            return true;
        }
    }
    return false;
}

bool feed_wants_topic(const struct feed_conf *conf, const char *name) {
    MUST(name != NULL);
    if (strcmp(name, conf->checkpoint_topic) == 0 || strcmp(name, conf->ledger_topic) == 0 ||
        strncmp(name, "__", 2) == 0) {
        return false;
    }
    return strcmp(name, conf->dead_letter_topic) == 0 || list_wants(conf, name);
}

void feed_conf_topics(const struct feed_conf *conf, const char *const **out, size_t *len) {
    const char **topics = calloc(conf->topics.len + 2, sizeof(*topics));
    MUST(topics != NULL);
    size_t n = 0;
    for (size_t i = 0; i < conf->topics.len; i++) {
        topics[n++] = conf->topics.items[i].value;
    }
    if (conf->topics.len == 0) {
        topics[n++] = default_topics;
    }
    if (!list_wants(conf, conf->dead_letter_topic)) {
        topics[n++] = conf->dead_letter_topic;
    }
    *out = topics;
    *len = n;
}

struct core_span feed_dataset_of(struct core_span value) {
    struct core_peek peek;
    bool is_good = core_peek(value, &peek) && peek.dataset.len > 0 && peek.dataset.len <= FEED_DATASET_BYTES_MAX;
    for (size_t i = 0; is_good && i < peek.dataset.len; i++) {
        is_good = peek.dataset.ptr[i] > ' ' && peek.dataset.ptr[i] <= '~' && peek.dataset.ptr[i] != '\\';
    }
    return is_good ? peek.dataset : CORE_SPAN(GENERIC);
}

/* ---- what the rows cannot say ---------------------------------------------------------------------------------------------- */

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

/* True: a mistake was said. */
static bool property_is_forbidden(const struct checked *checked, const struct core_conf_item *item) {
    for (size_t i = 0; i < FORBIDDEN_LEN; i++) {
        if (strcmp(item->key, forbidden[i].key) == 0) {
            core_conf_mistake(checked->file, node_of_property(checked, item->key), checked->mistakes,
                              "rdkafka.%s cannot be set: %s", item->key, forbidden[i].value);
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
        if (property_is_forbidden(checked, item)) {
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

static void topic_check(const struct checked *checked, const char *key, const char *name) {
    size_t len = strlen(name);
    size_t legal = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (len == 0 || len > TOPIC_BYTES_MAX || legal != len || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        core_conf_mistake(checked->file, node_of(checked, key), checked->mistakes,
                          "%s: \"%s\" is no topic's name: 1 to %d of A-Z a-z 0-9 . _ -", key, name, TOPIC_BYTES_MAX);
    }
}

static void topics_check(const struct checked *checked, const struct feed_conf *conf) {
    for (size_t i = 0; i < conf->topics.len; i++) {
        const char *item = conf->topics.items[i].value;
        regex_t compiled;
        if (item[0] != '^') {
            topic_check(checked, "topics", item);
        } else if (regcomp(&compiled, item, REG_EXTENDED | REG_NOSUB) != 0) {
            core_conf_mistake(checked->file, node_of(checked, "topics"), checked->mistakes,
                              "topics: \"%s\" is no POSIX extended regular expression", item);
        } else {
            regfree(&compiled);
        }
    }
    topic_check(checked, "dead_letter_topic", conf->dead_letter_topic);
    topic_check(checked, "ledger_topic", conf->ledger_topic);
    topic_check(checked, "checkpoint_topic", conf->checkpoint_topic);
    if (strcmp(conf->dead_letter_topic, conf->ledger_topic) == 0 ||
        strcmp(conf->dead_letter_topic, conf->checkpoint_topic) == 0 ||
        strcmp(conf->ledger_topic, conf->checkpoint_topic) == 0) {
        core_conf_mistake(checked->file, checked->node, checked->mistakes,
                          "dead_letter_topic, ledger_topic and checkpoint_topic are three topics");
    }
}

void feed_conf_check(const struct feed_conf *conf, const struct core_conf_file *file, const struct core_conf_node *node,
                     struct core_conf_mistakes *mistakes) {
    struct checked checked = {.file = file, .node = node, .mistakes = mistakes};
    if (conf->group == NULL || conf->dead_letter_topic == NULL || conf->ledger_topic == NULL ||
        conf->checkpoint_topic == NULL || conf->rdkafka.len == 0) {
        return;
    }
    if (conf->group[0] == '\0') {
        core_conf_mistake(file, node_of(&checked, "group"), mistakes,
                          "group is empty: give the group a name that stays, its offsets are kept under it");
    }
    if (strcmp(conf->group, FEED_MARK_WORD) == 0) {
        core_conf_mistake(file, node_of(&checked, "group"), mistakes,
                          "group cannot be \"" FEED_MARK_WORD
                          "\": keys of the ledger's topic that begin so are those of "
                          "`tapline dead-letter`");
    }
    topics_check(&checked, conf);
    if (!properties_check(&checked, &conf->rdkafka)) {
        return;
    }
    struct feed_pairs pairs;
    struct core_fail fail;
    feed_pairs_of_producer(conf, "node", 0, &pairs);
    if (core_kafka_pairs_check(pairs.pairs, pairs.len, &fail) != CORE_OK) {
        core_conf_mistake(file, node_of(&checked, "rdkafka"), mistakes, "rdkafka: %s", fail.text);
    }
    feed_pairs_release(&pairs);
}

enum core_err feed_conf_connect(const struct feed_conf *conf, int timeout_ms, struct core_fail *fail) {
    struct feed_pairs pairs;
    MUST(conf->rdkafka.len > 0);
    feed_pairs_of_producer(conf, "check", 0, &pairs);
    enum core_err err = core_kafka_reach(pairs.pairs, pairs.len, timeout_ms, fail);
    feed_pairs_release(&pairs);
    return err;
}
