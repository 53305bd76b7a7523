/* core/kafka_internal.h: what the parts of the wrapper of librdkafka share: properties (kafka_conf.c), the producer
 * (kafka.c), its transactions (kafka_txn.c), the reader (kafka_read.c) and the group's consumer (kafka_group.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_KAFKA_INTERNAL_H
#define TAPLINE_CORE_KAFKA_INTERNAL_H

#include "core/kafka.h"

#include <librdkafka/rdkafka.h>

#define KAFKA_MAGIC 0x6b61666bu
#define KAFKA_ERROR_BYTES 512

struct core_kafka_topic {
    struct core_kafka_topic *next;
    rd_kafka_topic_t *handle;
    void *owner;
    _Atomic int partitions; /* written by the partitioner, in any thread */
    char name[];
};

/* ---- statistics (kafka_stats.c) -------------------------------------------------------------------------------------------- */

#define KAFKA_STATS_BROKERS_MAX 64
#define KAFKA_STATS_PARTITIONS_MAX 512

struct kafka_stats_broker {
    char name[128]; /* librdkafka's: host:port/id */
    bool is_up;
    bool is_bootstrap; /* of the configuration, and not known yet which broker it is */
    bool is_internal;
    bool is_needed;                             /* it leads a partition of ours */
    bool has_failed;                            /* a connection to it has, since it was up */
    int64_t rtt_ns, rtt_p99_ns, int_latency_ns; /* CORE_HEALTH_UNKNOWN: there was no request yet */
    int64_t outbuf, waitresp, tx_errors, retries;
};
struct kafka_stats_partition {
    char topic[250];
    int number;
    int64_t queued, messages, bytes;
};
struct kafka_stats {
    bool is_there;  /* the brokers are known */
    int64_t due_ns; /* core_tick_ns(): a text before is not read */
    int up;         /* does any broker answer? -1: not known yet */
    int64_t down_since_ns;
    bool is_denied;   /* the last error is one of credentials or rights */
    int64_t error_ns; /* core_tick_ns() of the last error */
    char error[256];  /* the last one of a connection; "": none since a broker answered */
    struct kafka_stats_broker brokers[KAFKA_STATS_BROKERS_MAX];
    size_t brokers_len;
    struct kafka_stats_partition *partitions; /* KAFKA_STATS_PARTITIONS_MAX; NULL: no statistics came yet */
    size_t partitions_len;
};
void kafka_stats_init(struct kafka_stats *stats);
void kafka_stats_free(struct kafka_stats *stats);
/* The text of an event of statistics. */
void kafka_stats_read(struct kafka_stats *stats, struct core_span text);
/* An event that is an error. */
void kafka_stats_error(struct kafka_stats *stats, int code, const char *text);
/* A broker has answered. */
void kafka_stats_answered(struct kafka_stats *stats);
void kafka_stats_rows(const struct kafka_stats *stats, const char *client, struct core_health_page *page);
void kafka_stats_look(const struct kafka_stats *stats, struct core_kafka_look *out);

/* ---- the producer ------------------------------------------------------------------------------------------------------------ */

struct core_kafka {
    uint32_t magic;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    int fd;
    bool is_txn_open; /* begun; its commit not asked for, its abort not answered */
    struct core_kafka_topic *topics;
    const struct core_kafka_calls *calls;
    void *ctx;
    struct kafka_stats stats;
};

/* ---- transactions (kafka_txn.c) ------------------------------------------------------------------------------------------- */

/* The last thing before a producer is destroyed: what is open is aborted, and reports are forgotten. Bounded; afterwards librdkafka
 * asks the coordinator for nothing more. */
void core_kafka_txn_leave(struct core_kafka *kafka);

/* ---- groups (kafka_group.c) ------------------------------------------------------------------------------------------------- */

struct core_kafka_group;
/* Who we are in the group, for the broker to judge a transaction's offsets by. NULL: a member no more. librdkafka would then send
 * neither generation nor name, and a broker takes offsets without them from anybody.
 * Owns: rd_kafka_consumer_group_metadata_destroy(). */
rd_kafka_consumer_group_metadata_t *core_kafka_group_metadata(struct core_kafka_group *group);

/* ---- where partitions begin (kafka_begin.c) ------------------------------------------------------------------------------------- */

struct core_kafka_news;
struct core_kafka_share;
/* Something is wrong. True: news tells it. */
bool kafka_group_trouble(struct core_kafka_news *news, rd_kafka_resp_err_t code, const char *what, const char *text);
/* Where was the group, in partitions that it is given? Their offsets get what is to be read first. Waits half a second, or twice that.
 * False: not known yet; news says why. */
CORE_CHECKED bool kafka_group_begin(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list,
                                    struct core_kafka_news *news);
/* A record came whose offset lies before what was given. True: news tells it. */
bool kafka_set_back_tell(const struct core_kafka_share *share, int64_t next, int64_t offset,
                         struct core_kafka_news *news);

/* ---- properties (kafka_conf.c) -------------------------------------------------------------------------------------------- */

/* What only a producer has is left out for a consumer, and the other way round. Owns: *out goes to core_kafka_handle_new(). Errors: CORE_BAD. */
CORE_CHECKED enum core_err core_kafka_conf_make(rd_kafka_conf_t **out, rd_kafka_type_t type,
                                                const struct core_kafka_pair *pairs, size_t len,
                                                struct core_fail *fail);
/* Consumes conf, also after an error. Errors: CORE_BAD properties that do not fit together; CORE_IO no threads. */
CORE_CHECKED enum core_err core_kafka_handle_new(rd_kafka_t **out, rd_kafka_type_t type, rd_kafka_conf_t *conf,
                                                 struct core_fail *fail);
/* The last thing librdkafka complained of ("; why"), which says more than "timed out"; out stays as it is if there was
 * nothing. Empties the main queue. */
void core_kafka_last_complaint(rd_kafka_t *handle, char *out, size_t out_len);
/* The brokers that a set of properties names; "" if none. */
const char *core_kafka_servers(const struct core_kafka_pair *pairs, size_t len);

#endif
