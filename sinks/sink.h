/* sinks/sink.h: delivers batches and says which are really accepted.
 *
 * A sink takes a batch by send() ("queued", never "delivered") and gives it back by poll() once each of its events was
 * accepted: by the server, the disk, or, if refused for good, as a dead letter. It never gives a batch back otherwise:
 * an outage is back-pressure. It does not reorder the events of a stream. The events it delivers are batch->events;
 * those with is_dead go where the sink keeps dead letters. With several sinks the batch passes from one to the next
 * (cmd/pipeline.c), so a record is accepted when all have accepted it.
 * Thread: one thread calls everything of one sink.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SINKS_SINK_H
#define TAPLINE_SINKS_SINK_H

#include "core/batch.h"
#include "core/commit.h"
#include "core/conf.h"

struct sink;
struct core_health_page; /* core/health.h */
struct core_kafka_pair;  /* core/kafka.h */
struct core_http_header; /* core/http.h */

/* What every sink is told at open. Outlives the sink. */
struct sink_env {
    const char *node; /* node.name */
    struct core_counters *counters;
    int wake_fd;                /* the thread's doorbell: poll() returns early when it is readable (not drained here) */
    struct core_commit *commit; /* not NULL: this sink is the keeper of positions, and the last in the row */
    /* Who gets the batches back sees to the documents that were refused (core_event.fate, .refusal); else the sink itself
     * puts a dead letter where it keeps dead letters. */
    bool keeps_refused;
    bool wants_statistics; /* rows of brokers are wanted, which cost a little: section `health:` is there */
};

struct sink_ops {
    const char *name;
    const char *summary;         /* one line, for help and docs */
    const struct core_opt *opts; /* rows of `sinks.<name>` */
    size_t opts_len;
    size_t conf_size; /* bytes of the struct the rows fill */
    /* What the rows cannot say: cross-checks of the filled struct, e.g. librdkafka's own opinion of each property.
     * Touches nothing outside the process. Adds to mistakes. NULL: nothing to check. */
    void (*check)(const void *conf, const struct core_conf_file *file, const struct core_conf_node *node,
                  struct core_conf_mistakes *mistakes);
    /* Reach the server and come back (for `check --connect`). NULL: nothing to reach. */
    enum core_err (*connect)(const void *conf, int timeout_ms, struct core_fail *fail);
    /* Would it keep the files' positions (core/commit.h)? Then it comes last. NULL: never. */
    bool (*keeps_positions)(const void *conf);
    /* conf: conf_size bytes filled by the rows; outlives the sink. Errors: fail says what a person can do. */
    enum core_err (*open)(struct sink **out, const void *conf, const struct sink_env *env, struct core_fail *fail);
    /* Take a batch. CORE_OK: the sink has it. CORE_AGAIN: not now; offer the same batch again after a poll(). */
    enum core_err (*send)(struct sink *sink, struct core_batch *batch);
    /* Batches wholly accepted since the last call, in any order between streams, in order within one. Waits up to
     * timeout_ms (0: no wait) if there is none. Returns their number (at most max). */
    size_t (*poll)(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms);
    /* Can it never accept anything again (the reader of stdout is gone; another instance took the node over)? Ask after
     * poll(); if so, stop the process: with CORE_EXIT_USAGE for CORE_BAD and CORE_LOCKED (a restart would not help), else
     * with CORE_EXIT_SYSTEM. What was not given back is read again after a restart. NULL: that cannot happen. */
    bool (*is_gone)(const struct sink *sink, struct core_fail *fail);
    /* Push out what is buffered (called when ingest is idle or stopping); poll() still says what arrived. May be NULL. */
    void (*flush)(struct sink *sink);
    /* Does its server answer, or its disk take what is written? 1 yes, 0 no, -1 not known yet. NULL: never known. */
    int (*is_up)(const struct sink *sink);
    /* Add its own rows (retries by cause, brokers, endpoints) and complaints to a page, which the caller begins and
     * publishes. NULL: it has none. */
    void (*health)(struct sink *sink, struct core_health_page *page);
    /* Whatever was not given back is lost to this process: a restart reads it again. Takes NULL. */
    void (*close)(struct sink *sink);
};

/* Where the kafka sink puts things, for those who read them again (core/kafka_read.h). Texts are conf's. */
struct sink_kafka_places {
    struct core_kafka_pair *pairs; /* what librdkafka is told; bootstrap.servers and security are among them */
    size_t pairs_len;
    const char *topic;             /* a template: sink_topic_fits() */
    const char *dead_letter_topic; /* a template too, though mostly without a variable */
    const char *checkpoint_topic;  /* a name: `file`, `over` and owner records of every node (core/commit.h) */
};

/* conf: the kafka sink's own, as its rows filled it. Owns: sink_kafka_places_release(out), also after CORE_GONE. Errors:
 * CORE_GONE with `delivery: at_least_once`, no positions are kept in Kafka; out is filled all the same. */
CORE_CHECKED enum core_err sink_kafka_places(const void *conf, struct sink_kafka_places *out);
void sink_kafka_places_release(struct sink_kafka_places *places);
/* Can a topic of this name have come from the template, with any dataset? */
bool sink_topic_fits(const char *template_text, const char *name);

/* Where the elasticsearch sink puts things, for those who prepare the engine (setup) or look into it. Texts are conf's, or
 * live until the release. */
struct sink_elastic_places {
    const char *const *hosts; /* URLs */
    size_t hosts_len;
    const struct core_http_header *headers; /* authorization; none without credentials */
    size_t headers_len;
    const char *secret; /* what no message may show; NULL: none */
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
    int timeout_ms;
    const char *namespace_name; /* data_stream.namespace */
    bool is_data_stream;        /* index_mode: data_stream */
};

/* conf: the elasticsearch sink's own, as its rows filled it. Owns: sink_elastic_places_release(out). */
void sink_elastic_places(const void *conf, struct sink_elastic_places *out);
void sink_elastic_places_release(struct sink_elastic_places *places);
/* Has each day of this dataset an index of its own (`daily`)? Else each month. */
bool sink_elastic_is_daily(const void *conf, const char *dataset);

/* NULL-terminated; the order is the order of help and docs. */
extern const struct sink_ops *const sink_table[];
const struct sink_ops *sink_find(const char *name); /* NULL if there is none */

#endif
