/* cmd/pipeline_source.c: the two kinds of source that a pipeline can have: files that are followed, and topics of Kafka.
 *
 * A source has the ingest thread. It fills batches from the pool, hands them on, and gets them back when every sink is done
 * with them; what it promises about that is in its own header. Nothing else of the pipeline asks which of the two it is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"
#include "core/kafka.h"

#include <stdio.h>
#include <stdlib.h>

#define FEEDERS_MAX 64 /* on one node.state */
#define LAST_READS_NS CORE_NS_PER_S
#define LAST_TURN_MS 10

static struct core_batch *source_returned(void *ctx) {
    struct pipeline *pipeline = ctx;
    MUST(pipeline->magic == PIPELINE_MAGIC);
    return core_queue_pop(&pipeline->returns);
}

/* ---- files --------------------------------------------------------------------------------------------------------------- */

static void files_push(void *ctx, struct core_batch *batch) {
    struct pipeline *pipeline = ctx;
    MUST(pipeline->magic == PIPELINE_MAGIC);
    MUST(batch->stream->worker < pipeline->workers_len);
    pipeline->pushed++;
    pipeline->ingest_thread.meter.out += batch->tally.records;
    pipeline_trace_push(pipeline, batch);
    core_queue_push(&pipeline->workers[batch->stream->worker].in, batch);
}

/* Who keeps the positions, for messages. */
static void keeper_name(struct pipeline *pipeline) {
    const struct config *config = pipeline->config;
    for (size_t i = 0; i < config->sinks_len && pipeline->notes.keeper[0] == '\0'; i++) {
        struct sink_kafka_places places = {0};
        if (strcmp(config->sinks[i].ops->name, "kafka") != 0) {
            continue;
        }
        enum core_err err = sink_kafka_places(config->sinks[i].conf, &places);
        MUST(err == CORE_OK || err == CORE_GONE);
        for (size_t k = 0; k < places.pairs_len; k++) {
            if (strcmp(places.pairs[k].key, "bootstrap.servers") == 0) {
                (void)snprintf(pipeline->notes.keeper, sizeof(pipeline->notes.keeper), "Kafka (%s)",
                               places.pairs[k].value);
            }
        }
        sink_kafka_places_release(&places);
    }
}

static void files_env(struct pipeline *pipeline, const struct config *config, struct ingest_env *env) {
    size_t inputs_len;
    const struct ingest_input *inputs = pipeline_enrich_inputs(pipeline, config, &inputs_len);
    *env = (struct ingest_env){.node = pipeline->node,
                               .state_dir = pipeline->state,
                               .inputs = inputs,
                               .inputs_len = inputs_len,
                               .conf = &config->ingest,
                               .spool = &config->spool,
                               .pool = &pipeline->pool,
                               .counters = &pipeline->counters,
                               .workers = pipeline->workers_len,
                               .ctx = pipeline,
                               .push = files_push,
                               .returned = source_returned,
                               .bell = &pipeline->ingest_thread.bell,
                               .commit = pipeline_commit(pipeline),
                               .keeper = pipeline->notes.keeper};
}

static enum core_err files_lock(struct pipeline *pipeline, struct core_fail *fail) {
    return pipeline_state_lock(pipeline->state, "lock", &pipeline->lock_fd, fail);
}

static enum core_err files_open(struct pipeline *pipeline, struct core_fail *fail) {
    struct ingest_env env;
    keeper_name(pipeline);
    files_env(pipeline, pipeline->config, &env);
    enum core_err err = ingest_open(&pipeline->ingest, &env, fail);
    if (err == CORE_OK && pipeline->options.is_once) {
        ingest_set_once(pipeline->ingest);
    }
    return err;
}

static enum core_err files_turn(struct pipeline *pipeline, int timeout_ms, struct core_fail *fail) {
    return ingest_turn(pipeline->ingest, timeout_ms, fail);
}

static enum core_err files_reload(struct pipeline *pipeline, const struct config *next, struct core_fail *fail) {
    struct ingest_env env;
    files_env(pipeline, next, &env);
    return ingest_reload(pipeline->ingest, &env, fail);
}

/* Sensors that were stopped right before us have just written their last lines: these are still read, as far as that goes soon. A
 * turn that fails fails again when the caller takes the next one. */
static void files_stop(struct pipeline *pipeline) {
    const int64_t until_ns = core_tick_ns() + LAST_READS_NS;
    bool is_more = !pipeline->options.is_once;
    ingest_hurry(pipeline->ingest);
    while (is_more && core_tick_ns() < until_ns) {
        struct core_fail fail;
        enum core_err err = ingest_turn(pipeline->ingest, LAST_TURN_MS, &fail);
        is_more = (err == CORE_OK || err == CORE_AGAIN) && ingest_has_unread(pipeline->ingest);
    }
    ingest_stop(pipeline->ingest);
}

static bool files_is_drained(const struct pipeline *pipeline) {
    return ingest_is_drained(pipeline->ingest);
}

static uint64_t files_outstanding(const struct pipeline *pipeline) {
    return ingest_outstanding(pipeline->ingest);
}

static void files_health(struct pipeline *pipeline, struct core_health_page *page) {
    if (pipeline->ingest != NULL) {
        ingest_health(pipeline->ingest, page);
    }
}

static int64_t files_waited(const struct pipeline *pipeline) {
    return pipeline->ingest == NULL ? 0 : ingest_waited_ns(pipeline->ingest);
}

static void files_close(struct pipeline *pipeline) {
    ingest_close(pipeline->ingest);
    pipeline->ingest = NULL;
}

static const struct pipeline_source source_files = {
    .stage = "run",
    .service = "tapline-run",
    .positions = "state",
    .records = CORE_COUNT_INGEST_LINES,
    .wants = CONFIG_RUN,
    .has_workers = true,
    .lock = files_lock,
    .open = files_open,
    .turn = files_turn,
    .reload = files_reload,
    .stop = files_stop,
    .is_drained = files_is_drained,
    .outstanding = files_outstanding,
    .health = files_health,
    .waited_ns = files_waited,
    .close = files_close,
};

/* ---- Kafka --------------------------------------------------------------------------------------------------------------- */

static void feed_push(void *ctx, struct core_batch *batch) {
    struct pipeline *pipeline = ctx;
    MUST(pipeline->magic == PIPELINE_MAGIC);
    pipeline->pushed++;
    pipeline->ingest_thread.meter.out += batch->events_len;
    pipeline_trace_push(pipeline, batch);
    pipeline->notes.dead_before[batch - pipeline->pool.batches] = 0;
    pipeline_passes(pipeline, PIPELINE_AT_NORMALIZED, batch);
    core_queue_push(&pipeline->sinks[0].ins[0], batch);
}

/* Several feeders can share a node.state, beside a `tapline run`: each takes the first number that is free. */
static enum core_err feed_lock(struct pipeline *pipeline, struct core_fail *fail) {
    enum core_err err = CORE_LOCKED;
    for (unsigned i = 0; i < FEEDERS_MAX && err == CORE_LOCKED; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "feed-%u", i);
        err = pipeline_state_lock(pipeline->state, name, &pipeline->lock_fd, fail);
        pipeline->instance = i;
    }
    return err != CORE_LOCKED
               ? err
               : core_fail_set(fail, err, pipeline->state,
                               "%d feeders already run on this node.state; give others one of their own", FEEDERS_MAX);
}

static enum core_err feed_source_open(struct pipeline *pipeline, struct core_fail *fail) {
    const struct feed_env env = {.node = pipeline->node,
                                 .instance = pipeline->instance,
                                 .conf = &pipeline->config->feed,
                                 .pool = &pipeline->pool,
                                 .counters = &pipeline->counters,
                                 .wants_statistics = pipeline->config->health.is_on,
                                 .ctx = pipeline,
                                 .push = feed_push,
                                 .returned = source_returned,
                                 .bell = &pipeline->ingest_thread.bell};
    enum core_err err = feed_open(&pipeline->feed, &env, fail);
    if (err == CORE_OK && pipeline->options.is_once) {
        feed_set_once(pipeline->feed);
    }
    return err;
}

static enum core_err feed_source_turn(struct pipeline *pipeline, int timeout_ms, struct core_fail *fail) {
    enum core_err err = feed_turn(pipeline->feed, timeout_ms, fail);
    atomic_store_explicit(&pipeline->events,
                          core_counted(&pipeline->counters, CORE_COUNT_FEED_INDEXED) +
                              core_counted(&pipeline->counters, CORE_COUNT_FEED_REPEATED),
                          memory_order_relaxed);
    return err;
}

/* Its keys need a restart; what may change is main's. */
static enum core_err feed_source_reload(struct pipeline *pipeline, const struct config *next, struct core_fail *fail) {
    MUST(pipeline->feed != NULL);
    (void)next;
    (void)fail;
    return CORE_OK;
}

static void feed_source_stop(struct pipeline *pipeline) {
    feed_stop(pipeline->feed);
}

static bool feed_source_is_drained(const struct pipeline *pipeline) {
    return feed_is_drained(pipeline->feed);
}

static uint64_t feed_source_outstanding(const struct pipeline *pipeline) {
    return feed_outstanding(pipeline->feed);
}

static void feed_source_log(struct pipeline *pipeline) {
    feed_log(pipeline->feed);
}

static void feed_source_health(struct pipeline *pipeline, struct core_health_page *page) {
    if (pipeline->feed == NULL) {
        return;
    }
    feed_health(pipeline->feed, page);
    uint64_t dead = core_counted(&pipeline->counters, CORE_COUNT_FEED_DEAD);
    if (dead != pipeline->dead_told) {
        struct feed_summary *summary = calloc(1, sizeof(*summary));
        MUST(summary != NULL);
        feed_summarize(pipeline->feed, summary);
        pipeline_note_summary(pipeline, summary);
        free(summary);
        pipeline->dead_told = dead;
    }
}

static void feed_source_close(struct pipeline *pipeline) {
    if (pipeline->feed != NULL) {
        pipeline->summary = calloc(1, sizeof(*pipeline->summary));
        MUST(pipeline->summary != NULL);
        feed_summarize(pipeline->feed, pipeline->summary);
    }
    feed_close(pipeline->feed);
    pipeline->feed = NULL;
}

static const struct pipeline_source source_feed = {
    .stage = "feed",
    .service = "tapline-feed",
    .positions = "group",
    .records = CORE_COUNT_FEED_RECORDS,
    .wants = CONFIG_FEED,
    .counts_commits = true,
    .lock = feed_lock,
    .open = feed_source_open,
    .turn = feed_source_turn,
    .reload = feed_source_reload,
    .stop = feed_source_stop,
    .is_drained = feed_source_is_drained,
    .outstanding = feed_source_outstanding,
    .health = feed_source_health,
    .log = feed_source_log,
    .close = feed_source_close,
};

const struct pipeline_source *const pipeline_sources[] = {
    [PIPELINE_RUN] = &source_files,
    [PIPELINE_FEED] = &source_feed,
};
