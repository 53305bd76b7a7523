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

struct core_kafka {
    uint32_t magic;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    int fd;
    bool is_txn_open; /* begun; its commit not asked for, its abort not answered */
    struct core_kafka_topic *topics;
    const struct core_kafka_calls *calls;
    void *ctx;
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
