/* ingest/feed.h: reads documents from Kafka's topics into batches, and remembers in Kafka what became of them.
 *
 * The other source of a pipeline, beside files (ingest/ingest.h), with the same turns. It has one stream, whose batches mix
 * the partitions it was given; a batch comes back when the sink is done with each of its events (core_event.fate). Then, every
 * feed.commit_interval, one transaction holds all of it: the offsets of the group, a dead letter for each refused document
 * (in feed.dead_letter_topic, unless the document itself is a dead letter) and the rows of the ledger. So offsets, dead letters
 * and the ledger never disagree, whatever is killed: a batch done twice (its first time was not committed) counts once, and
 * its documents are repeats to the engine.
 *
 * When a transaction comes to nothing, or another instance has the place, everything under way is forgotten, and the group is
 * joined anew: reading begins at the committed offsets.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_INGEST_FEED_H
#define TAPLINE_INGEST_FEED_H

#include "core/batch.h"
#include "core/conf.h"
#include "core/queue.h"

/* Section `feed:`. */
struct feed_conf {
    char *group;                  /* group.id; default tapline-feed */
    struct core_conf_list topics; /* names and patterns; default ^tapline\..* but for topics of positions and ledgers */
    char *dead_letter_topic;      /* default tapline.deadletter */
    char *ledger_topic;           /* default tapline.feed; compacted */
    char *checkpoint_topic;       /* default tapline.checkpoint: never read as documents */
    int64_t commit_interval_ns;   /* default 1s */
    uint64_t queued_bytes;        /* fetched ahead; default 16MiB */
    bool create_topics;           /* make dead_letter_topic and ledger_topic if they are missing; default yes */
    uint64_t replication_factor;  /* of those; 0: the broker's default */
    struct core_conf_list rdkafka; /* librdkafka's properties; bootstrap.servers is required */
};
extern const struct core_opt feed_opts[];
extern const size_t feed_opts_len;
/* What the rows cannot say: names, patterns, librdkafka's opinion of its properties. Touches nothing outside the process. A
 * struct that could not be filled (a required key is missing) is not looked at: that was said. */
void feed_conf_check(const struct feed_conf *conf, const struct core_conf_file *file, const struct core_conf_node *node,
                     struct core_conf_mistakes *mistakes);
/* Reach a broker and come back. */
CORE_CHECKED enum core_err feed_conf_connect(const struct feed_conf *conf, int timeout_ms, struct core_fail *fail);

/* Does a feeder read this topic? Those of positions and of its own ledger never; the one of dead letters always. */
bool feed_wants_topic(const struct feed_conf *conf, const char *name);
/* What the ledger calls a record's dataset: event.dataset of its document; "generic" if that is missing, longer than
 * FEED_DATASET_BYTES_MAX or not of printable ASCII, or there is no document. Shape: points into value, or to a literal. Thread: any. */
struct core_span feed_dataset_of(struct core_span value);
#define FEED_DATASET_BYTES_MAX 100
/* A record's timestamp in Kafka as all of us count with it. Who writes a record may say what he likes (microseconds instead of
 * milliseconds is a common slip): what lies outside 1970 to 2261, where ns in 64 bits end, is no time, as if the record had none.
 * Units: ms since the epoch; none: 0. Thread: any. */
int64_t feed_time_ms(int64_t timestamp_ms);
/* The day (since the epoch) that the ledger counts such a record to; without a time: 0. Thread: any. */
int32_t feed_day_of(int64_t timestamp_ms);

/* What the pipeline gives; the same as struct ingest_env, where it has it. */
struct feed_env {
    const char *node;
    unsigned instance;            /* of this node's feeders: with node and group the transactional.id */
    const struct feed_conf *conf; /* copied; its texts outlive the source */
    struct core_pool *pool;
    struct core_counters *counters;
    void *ctx;
    void (*push)(void *ctx, struct core_batch *batch);
    struct core_batch *(*returned)(void *ctx);
    struct core_bell *bell;
    bool wants_statistics; /* rows of brokers are wanted, which cost a little: section `health:` is there */
};

struct core_health_page; /* core/health.h */
struct feed;
CORE_CHECKED enum core_err feed_open(struct feed **out, const struct feed_env *env, struct core_fail *fail);
/* One turn: take returned batches, commit when due, fill and push batches; waits at most timeout_ms for something to do.
 * Errors: CORE_BAD brokers refuse us for good (credentials, rights, no transactions): a restart would not help · CORE_LOCKED
 * another instance has our transactional.id. Brokers that are away are waited for. */
CORE_CHECKED enum core_err feed_turn(struct feed *feed, int timeout_ms, struct core_fail *fail);
void feed_stop(struct feed *feed); /* reads no more; turns still take back and commit */
/* Until the ends that the partitions have at the first turn in which they are all known. */
void feed_set_once(struct feed *feed);
bool feed_is_drained(const struct feed *feed);      /* with once: all read, all back, all committed */
uint64_t feed_outstanding(const struct feed *feed); /* batches pushed and not back, or back and not committed */
/* Tell in the log how far each partition is behind. */
void feed_log(struct feed *feed);
/* Add rows (partitions, brokers) and complaints to a page, which the caller begins and publishes. Thread: the source's. */
void feed_health(struct feed *feed, struct core_health_page *page);
void feed_close(struct feed *feed); /* leaves the group. Takes NULL */

#define FEED_REASONS_MAX 32   /* more kinds of refusal are counted together */
#define FEED_DATASETS_MAX 512 /* more datasets are counted together */

/* What was committed since the start, and where reading stands. */
struct feed_summary {
    uint64_t indexed;
    uint64_t repeated;
    uint64_t dead;
    int64_t lag; /* records of our partitions that are not done; -1: not known */
    size_t shares_len;
    struct feed_count {
        char name[FEED_DATASET_BYTES_MAX + 1]; /* an engine's type of error, or a dataset */
        uint64_t count; /* refused for that; or documents of that dataset that are in the index */
    } reasons[FEED_REASONS_MAX + 1], datasets[FEED_DATASETS_MAX + 1]; /* the last one: "(others)" */
    size_t reasons_len, datasets_len;
};
void feed_summarize(struct feed *feed, struct feed_summary *out);

/* ---- the ledger: rows of feed.ledger_topic ----------------------------------------------------------------------------
 *
 * key   GROUP/TOPIC/PARTITION/FROM
 * value one JSON object: {"group":…,"topic":…,"partition":N,"from":N,"to":N,"node":…,"instance":N,"written":"ISO time",
 *        "days":{"2026-11-22":{"zeek.connection":{"indexed":N,"repeated":N,"dead":N}}}}
 *
 * A row says what became of all records of [from, to) of a partition; day is that of the record's timestamp in Kafka, UTC
 * (feed_day_of()).
 * It is written again, with a greater `to`, at each commit; a new one (a greater FROM) begins when the partition is gained, at
 * midnight, and after 64 pairs of day and dataset. So the latest values of all keys join without gap or overlap. */
struct feed_ledger_row {
    struct core_span group, topic, dataset, day; /* a row is told once for each day and dataset */
    int partition;
    int64_t from, to;
    uint64_t indexed, repeated, dead;
};
/* Understand a value. Calls on_row for each day and dataset (once with both empty if there is none).
 * Errors: false: it is none of ours, or damaged. Thread: any. */
bool feed_ledger_parse(struct core_span value, void (*on_row)(void *ctx, const struct feed_ledger_row *row), void *ctx);

#endif
