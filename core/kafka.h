/* core/kafka.h: an idempotent Kafka producer whose reports are taken by its owner's own thread.
 *
 * core/kafka*.c are the one wrapper of librdkafka: its header appears in core/kafka_internal.h and nowhere else. What goes
 * where, what is retried and what becomes a dead letter is the sink's business (sinks/kafka.c); this says only what
 * became of each message.
 * Life: open -> topics -> send … poll … -> close. After CORE_KAFKA_FATAL only poll and close make sense: open a new one.
 * Thread: one thread calls everything of one producer; librdkafka's own threads run behind it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_KAFKA_H
#define TAPLINE_CORE_KAFKA_H

#include "core/core.h"

struct core_kafka;
struct core_kafka_topic;

/* A librdkafka property. */
struct core_kafka_pair {
    const char *key;
    const char *value;
};

/* What an answer means for who sent it. */
enum core_kafka_fate {
    CORE_KAFKA_ACCEPTED, /* from core_kafka_send(): queued; in a report: all in-sync replicas have it */
    CORE_KAFKA_FULL,     /* librdkafka's queue is full: offer it again after a poll */
    CORE_KAFKA_AGAIN,    /* neither the record's nor the topic's fault: send it again. It may be there already, if the
                            broker's answer was lost: only an abort makes sure that it is there once */
    CORE_KAFKA_RECORD,   /* refused for good (too large, invalid …): from core_kafka_send() this record itself, in a
                            report the whole batch that librdkafka put it in: only alone is a record refused itself */
    CORE_KAFKA_TOPIC,    /* the topic does not exist, or may not be written */
    CORE_KAFKA_FATAL     /* this producer will never send anything again */
};

/* What became of a request to make a topic. */
enum core_kafka_made {
    CORE_KAFKA_MADE,    /* it is there now, by us or by somebody before */
    CORE_KAFKA_NOT_YET, /* brokers not reached, or not enough of them: ask again later */
    CORE_KAFKA_NOT_MADE /* refused: no right to, or no such topic can be */
};

/* Called from core_kafka_poll() only. Texts are valid during the call. */
struct core_kafka_calls {
    /* offset: where an accepted record stands in its partition; -1: it was not accepted */
    void (*on_report)(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset);
    void (*on_made)(void *ctx, struct core_kafka_topic *topic, enum core_kafka_made made, const char *text);
    /* Something is wrong with brokers or the producer; records wait meanwhile. is_fatal: see CORE_KAFKA_FATAL. */
    void (*on_trouble)(void *ctx, bool is_fatal, const char *text);
};

/* A record to send. Owns: value must stay valid and unchanged until its report, unless is_copied; the rest is copied. */
struct core_kafka_record {
    struct core_span value;
    struct core_span key;
    const char *header_name; /* NULL: no header */
    struct core_span header;
    struct core_span
        traceparent; /* of a traced batch (W3C Trace Context): a header of that name; len 0: none. Copied */
    uint64_t ticket; /* comes back in the report */
    int partition;   /* if has_partition; else chosen by key */
    bool has_partition;
    bool is_copied;
    bool is_tombstone; /* no value: the key is deleted from a compacted topic */
};

/* How a topic is made. replication 0: the broker's default; config: the topic's own settings, may be NULL. */
struct core_kafka_wish {
    int partitions;
    int replication;
    const struct core_kafka_pair *config;
    size_t config_len;
};

/* Does librdkafka know and take this property? Errors: CORE_BAD, fail->text says what (and the nearest name). Touches
 * nothing. Thread: any. */
CORE_CHECKED enum core_err core_kafka_pair_check(const struct core_kafka_pair *pair, struct core_fail *fail);
/* Do they fit together? Reads the files they name (certificates), contacts nobody. Errors: CORE_BAD. Thread: any. */
CORE_CHECKED enum core_err core_kafka_pairs_check(const struct core_kafka_pair *pairs, size_t len,
                                                  struct core_fail *fail);
/* Ask a broker for its metadata. Errors: CORE_BAD a property; CORE_NET with librdkafka's last word. */
CORE_CHECKED enum core_err core_kafka_reach(const struct core_kafka_pair *pairs, size_t len, int timeout_ms,
                                            struct core_fail *fail);

/* Make a producer; contacts brokers in the background. calls and ctx outlive it. Errors: CORE_BAD a property;
 * CORE_IO no eventfd or thread. */
CORE_CHECKED enum core_err core_kafka_open(struct core_kafka **out, const struct core_kafka_pair *pairs, size_t len,
                                           const struct core_kafka_calls *calls, void *ctx, struct core_fail *fail);
/* Readable when core_kafka_poll() has something to do. */
int core_kafka_fd(const struct core_kafka *kafka);
/* Make all calls that are due. Never waits. */
void core_kafka_poll(struct core_kafka *kafka);
/* Records sent and not yet reported are forgotten: no more calls, no more use of their memory. A transaction that is open is
 * aborted, if its coordinator answers within two seconds. May take a second or so more while librdkafka's threads end.
 * Takes NULL. */
void core_kafka_close(struct core_kafka *kafka);

/* A topic by name; partitions are chosen by Java's murmur2 of the key. Nothing is asked of a broker before the first
 * record. Owns: the producer's, until close. Never NULL (MUST). */
struct core_kafka_topic *core_kafka_topic_open(struct core_kafka *kafka, const char *name, void *owner);
void *core_kafka_topic_owner(const struct core_kafka_topic *topic);
/* As last seen when a record was given its partition; 0: not known yet. */
int core_kafka_topic_partitions(const struct core_kafka_topic *topic);
/* Ask for the topic to be made; on_made says what came of it. */
void core_kafka_topic_make(struct core_kafka *kafka, struct core_kafka_topic *topic,
                           const struct core_kafka_wish *wish);
/* Which of so many partitions has this key: Java's murmur2. */
int core_kafka_partition_of(struct core_span key, int partitions);

/* Queue a record. *code gets librdkafka's error code (0: none). Never waits. */
CORE_CHECKED enum core_kafka_fate core_kafka_send(struct core_kafka *kafka, struct core_kafka_topic *topic,
                                                  const struct core_kafka_record *record, int *code);
/* What waits for company (linger.ms) is sent at once. Waits up to timeout_ms, so that it is seen; reports come by a poll. */
void core_kafka_hurry(struct core_kafka *kafka, int timeout_ms);
/* A code in words. */
const char *core_kafka_text(int code);
/* Is it a refusal because of the topic: not there, or not to be written? */
bool core_kafka_is_topic(int code);
/* Is it a refusal because of size? */
bool core_kafka_is_size(int code);
/* Is it a refusal because of rights or credentials? */
bool core_kafka_is_denied(int code);

/* ---- what is known of brokers (kafka_stats.c) ------------------------------------------------------------------------- */

struct core_health_page;
/* Rows `broker` and `producer_partition` (those with traffic) onto a page that the caller begins and publishes; there are some
 * only with the property statistics.interval.ms. client: a word for who this is. */
void core_kafka_health(const struct core_kafka *kafka, const char *client, struct core_health_page *page);

struct core_kafka_look {
    int up;                /* does any broker answer? 1, 0; -1: not known yet */
    int64_t down_since_ns; /* with 0: wall clock */
    bool is_denied;        /* with 0: they are there, and will not have us */
    char why[256];         /* with 0: the last connection's error, with the broker's name */
};
void core_kafka_look(const struct core_kafka *kafka, struct core_kafka_look *out);

/* ---- transactions (kafka_txn.c) ---------------------------------------------------------------------------------------
 *
 * A producer with the property transactional.id: init, then begin -> send … -> commit or abort, and again. One transaction
 * is open at a time; records are sent only inside. When a report says that a record was not accepted, or a record is not
 * taken (CORE_KAFKA_AGAIN), the transaction must be aborted. Reports must all have been polled before a commit. */

enum core_kafka_txn {
    CORE_KAFKA_TXN_OK,
    CORE_KAFKA_TXN_AGAIN,   /* not within timeout_ms, or not now; it goes on behind: poll, and call the same again */
    CORE_KAFKA_TXN_ABORT,   /* nothing of this transaction will count: abort it */
    CORE_KAFKA_TXN_FENCED,  /* a newer producer has the id, or the broker ended the transaction because of its age (the
                               two look the same): close this producer. After a commit: it may have been done */
    CORE_KAFKA_TXN_REFUSED, /* the broker has no transactions, or gives no right to: close */
    CORE_KAFKA_TXN_FATAL    /* this producer cannot go on: close. After a commit: it may have been done */
};

/* End what an earlier producer with this id left open, and shut it out. The first call of a producer's life; until OK. */
CORE_CHECKED enum core_kafka_txn core_kafka_txn_init(struct core_kafka *kafka, int timeout_ms, struct core_fail *why);
CORE_CHECKED enum core_kafka_txn core_kafka_txn_begin(struct core_kafka *kafka, struct core_fail *why);
CORE_CHECKED enum core_kafka_txn core_kafka_txn_commit(struct core_kafka *kafka, int timeout_ms, struct core_fail *why);
/* Records not yet accepted come back in reports; poll between calls. OK: the next one may begin. */
CORE_CHECKED enum core_kafka_txn core_kafka_txn_abort(struct core_kafka *kafka, int timeout_ms, struct core_fail *why);
/* Why must the transaction be aborted? *why stays as it is if librdkafka knows of nothing. Returns its code; 0: none. */
int core_kafka_txn_why(struct core_kafka *kafka, struct core_fail *why);
/* Has this producer failed for good (on_trouble said so)? OK: no; else FENCED, REFUSED or FATAL. */
CORE_CHECKED enum core_kafka_txn core_kafka_txn_fatal(struct core_kafka *kafka, struct core_fail *why);

#endif
