/* core/kafka_admin.h: looks at topics, makes them, and changes what is set for them, for who prepares a Kafka by hand.
 *
 * Each call waits for its answer. Nothing here deletes a topic or a record, or changes a number of partitions.
 * Thread: one thread calls everything of one admin; librdkafka's own threads run behind it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_KAFKA_ADMIN_H
#define TAPLINE_CORE_KAFKA_ADMIN_H

#include "core/kafka.h"
#include "core/kafka_read.h"

struct core_kafka_admin;

/* pairs: as for a producer. Contacts brokers in the background. Errors: CORE_BAD a property; CORE_IO no thread. */
CORE_CHECKED enum core_err core_kafka_admin_open(struct core_kafka_admin **out, const struct core_kafka_pair *pairs,
                                                 size_t len, struct core_fail *fail);
void core_kafka_admin_close(struct core_kafka_admin *admin); /* takes NULL */

/* All topics that these credentials may see, in the order of their names. Owns: core_kafka_seen_free(*out, *len). Errors:
 * CORE_NET no broker answered within timeout_ms. */
CORE_CHECKED enum core_err core_kafka_admin_topics(struct core_kafka_admin *admin, int timeout_ms,
                                                   struct core_kafka_seen **out, size_t *len, struct core_fail *fail);

/* A topic to make, and what came of it. */
struct core_kafka_making {
    const char *name;
    struct core_kafka_wish wish;
    struct core_fail
        fail; /* err CORE_OK: it was made. CORE_GONE: it was there already. CORE_BAD: refused. CORE_NET: not now */
};
/* Make topics, all in one request. Errors: CORE_NET no controller answered: nothing is known of any; CORE_OK: look at each. */
CORE_CHECKED enum core_err core_kafka_admin_make(struct core_kafka_admin *admin, struct core_kafka_making *topics,
                                                 size_t len, int timeout_ms, struct core_fail *fail);

/* Tell what is set for topics, whoever set it: on_setting is called for each setting of each topic; is_own: it was set for
 * this topic, else it is the broker's. The texts live during the call; value may be NULL (not shown).
 * Errors: CORE_NET no answer; CORE_BAD one topic's settings may not be seen (fail->where is its name). */
CORE_CHECKED enum core_err
core_kafka_admin_settings(struct core_kafka_admin *admin, const char *const *names, size_t len, int timeout_ms,
                          void (*on_setting)(void *ctx, size_t topic, const char *key, const char *value, bool is_own),
                          void *ctx, struct core_fail *fail);

/* Change settings of a topic; what else was set for it stays. Not for two processes at once: Kafka's request takes the whole
 * of them. Errors: CORE_NET no answer; CORE_BAD refused. */
CORE_CHECKED enum core_err core_kafka_admin_set(struct core_kafka_admin *admin, const char *name,
                                                const struct core_kafka_wish *wish, int timeout_ms,
                                                struct core_fail *fail);

#endif
