/* sinks/kafka_internal.h: the parts of the kafka sink: its keys (kafka_conf.c), its topics (kafka_topics.c) and what
 * happens to each event (kafka.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SINKS_KAFKA_INTERNAL_H
#define TAPLINE_SINKS_KAFKA_INTERNAL_H

#include "core/kafka.h"
#include "sinks/sinks_internal.h"

/* ---- keys (kafka_conf.c) ------------------------------------------------------------------------------------------------ */

/* What a restart may repeat. AUTO: nothing, if the broker allows that; else what was under way. */
enum kafka_delivery { KAFKA_DELIVERY_AUTO, KAFKA_DELIVERY_EXACTLY_ONCE, KAFKA_DELIVERY_AT_LEAST_ONCE };

struct kafka_conf {
    char *topic;
    char *dead_letter_topic;
    int delivery; /* enum kafka_delivery */
    char *checkpoint_topic;
    int64_t transaction_interval_ns;
    uint64_t transaction_bytes;
    int64_t transaction_timeout_ns;
    bool create_topics;
    uint64_t partitions;
    uint64_t replication_factor; /* 0: the broker's default */
    struct core_conf_list rdkafka;
};

#define KAFKA_OPTS_LEN 11
extern const struct core_opt kafka_opts[KAFKA_OPTS_LEN];

/* All properties in the order they are set: our defaults, the user's, and what nobody may change. The last one makes
 * batches of one: leave it out for a producer with batches.
 * Owns: the array is malloc'ed, its texts are conf's. */
struct core_kafka_pair *kafka_conf_pairs(const struct kafka_conf *conf, size_t *len);
void kafka_conf_check(const void *conf, const struct core_conf_file *file, const struct core_conf_node *node,
                      struct core_conf_mistakes *mistakes);
enum core_err kafka_conf_connect(const void *conf, int timeout_ms, struct core_fail *fail);

/* ---- topics (kafka_topics.c) ---------------------------------------------------------------------------------------------- */

#define KAFKA_TOPIC_BYTES_MAX 249
#define KAFKA_TOPICS_MAX 2048 /* a dataset past it: its records become dead letters */

/* Records travel in librdkafka's batches. When a broker refuses one it refuses the whole batch, the innocent with the
 * guilty; so what was refused is sent again by a second producer, made when first needed, whose batches are of one. */
enum kafka_lane { KAFKA_TOGETHER, KAFKA_ALONE, KAFKA_LANES };

/* A topic is needed -> asked for -> usable; a failure that may pass holds it until hold_ns. */
enum kafka_topic_state { KAFKA_TOPIC_NEEDED, KAFKA_TOPIC_ASKED, KAFKA_TOPIC_USABLE };

struct kafka_topic {
    char name[KAFKA_TOPIC_BYTES_MAX + 1];
    struct core_kafka_topic *handles[KAFKA_LANES]; /* of the producers of now; NULL: not opened yet */
    enum kafka_topic_state state;
    bool is_dead_letters;
    bool is_checkpoint;
    bool is_proven;        /* a broker said that it exists */
    int strikes;           /* times it was unknown though proven, lately */
    int64_t struck_ns;     /* the last of them */
    int64_t hold_ns;       /* core_tick_ns() before which nothing is sent to it; 0: none */
    char refusal[256];     /* why making it was refused; "" */
    bool is_counted_wrong; /* its differing partition count was said */
    bool is_given_up;      /* that it is not to be had was said */
    bool is_alone;         /* it takes less at once than librdkafka's batches: each record goes alone */
};

struct kafka_topics {
    const struct kafka_conf *conf;
    struct core_kafka *lanes[KAFKA_LANES]; /* the producers of now; NULL: not made */
    struct kafka_topic **topics;           /* KAFKA_TOPICS_MAX */
    size_t len;
    struct kafka_topic *dead_letters;
    struct kafka_dataset *datasets; /* open addressing by the name's hash */
    size_t datasets_len;
    struct kafka_topic *reference; /* the first whose partition count is known; the others are compared with it */
};

CORE_CHECKED enum core_err kafka_topics_open(struct kafka_topics *topics, const struct kafka_conf *conf,
                                             struct core_fail *fail);
void kafka_topics_close(struct kafka_topics *topics);
/* Another producer for a lane, or none: every topic is opened anew when it is next used there. */
void kafka_topics_rebind(struct kafka_topics *topics, enum kafka_lane lane, struct core_kafka *kafka);
/* The topic of a dataset; NULL: there are too many, or no topic can have that name. */
struct kafka_topic *kafka_topics_find(struct kafka_topics *topics, const char *dataset);
/* May records be sent to it now? If not, what is needed for that is under way. */
bool kafka_topic_is_ready(struct kafka_topics *topics, struct kafka_topic *topic, enum kafka_lane lane, int64_t now);
/* What a broker said of a request to make it. */
void kafka_topic_made(struct kafka_topics *topics, struct kafka_topic *topic, enum core_kafka_made made,
                      const char *text);
/* A record was refused because of its topic. True: send it again later; false: the topic is not to be had. */
bool kafka_topic_refused(struct kafka_topics *topics, struct kafka_topic *topic, const char *text, int64_t now);
/* The first moment after now at which something held may go on; INT64_MAX: nothing is held. */
int64_t kafka_topics_due(const struct kafka_topics *topics, int64_t now);
/* Its partition count as last seen; 0: not known. */
int kafka_topic_partitions(const struct kafka_topic *topic);
/* Warn of topics whose partition count differs. Cheap; call it now and then. */
void kafka_topics_compare(struct kafka_topics *topics);

extern const struct core_kafka_calls kafka_calls;

#endif
