/* sinks/kafka.c: documents as records into Kafka: the sink, and its producers.
 *
 * There are two producers: one with librdkafka's batches, and, made when first needed, one whose batches are of one. What
 * a broker refuses goes through the second before it is believed to be refused itself; so does a topic that takes less at
 * once than a batch holds.
 *
 * An idempotent producer can fail for good (a broker that lost its state). Then a new one is made and all that was not
 * answered is sent again in order: records may repeat, with the same id, and none is lost.
 *
 * With exactly-once delivery (kafka_txn.c) there is one producer with a transactional id, of either shape.
 *
 * Thread: the sink's own. It sleeps on librdkafka's eventfd and on its doorbell together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/kafka_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define REMAKE_CALM_NS (60 * CORE_NS_PER_S)
#define COMPARE_NS CORE_NS_PER_S

/* ---- what librdkafka says -------------------------------------------------------------------------------------------------- */

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code, int64_t offset) {
    struct sink *sink = ctx;
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    if (ticket == KAFKA_TICKET_POSITION) {
        MUST(sink->outstanding > 0);
        sink->outstanding--;
        kafka_keeper_reported(sink, fate, code, offset);
        return;
    }
    kafka_events_report(sink, ticket, fate, code);
}

static void on_made(void *ctx, struct core_kafka_topic *handle, enum core_kafka_made made, const char *text) {
    struct sink *sink = ctx;
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    kafka_topic_made(&sink->topics, core_kafka_topic_owner(handle), made, text);
}

static void on_trouble(void *ctx, bool is_fatal, const char *text) {
    struct sink *sink = ctx;
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    if (is_fatal) {
        sink->is_broken = true;
        if (sink->keeper != NULL) {
            return; /* the keeper finds out what it means, and says it */
        }
        core_log(
            CORE_LEVEL_WARN, "kafka",
            "producer failed for good; a new one is made and what was not answered is sent again (repeats have the "
            "same id)",
            "reason=\"%s\"", text);
        return;
    }
    core_log(CORE_LEVEL_WARN, "kafka", "broker trouble; records wait, nothing is lost", "reason=\"%s\"", text);
}

const struct core_kafka_calls kafka_calls = {.on_report = on_report, .on_made = on_made, .on_trouble = on_trouble};

/* ---- producers ---------------------------------------------------------------------------------------------------------- */

static enum core_err lane_make(struct sink *sink, enum kafka_lane lane, struct core_fail *fail) {
    MUST(sink->lanes[lane] == NULL);
    size_t len = sink->pairs_len - (lane == KAFKA_ALONE ? 0 : 1); /* the last pair makes batches of one */
    enum core_err err = core_kafka_open(&sink->lanes[lane], sink->pairs, len, &kafka_calls, sink, fail);
    if (err == CORE_OK) {
        kafka_topics_rebind(&sink->topics, lane, sink->lanes[lane]);
        sink->made_ns = core_tick_ns();
    }
    return err;
}

/* Make the lane's producer unless it is there. A failure holds the sink for a while. */
bool kafka_lane_is_made(struct sink *sink, enum kafka_lane lane, int64_t now) {
    if (sink->lanes[lane] != NULL) {
        return true;
    }
    struct core_fail fail;
    if (lane_make(sink, lane, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "kafka", "no new producer; records wait, and it is tried again", &fail);
        sink->hold_ns = now + KAFKA_REMAKE_HOLD_MAX_NS;
        return false;
    }
    return true;
}

/* ---- after a fatal error ----------------------------------------------------------------------------------------------------- */

void kafka_lane_close(struct sink *sink, enum kafka_lane lane) {
    MUST(lane < KAFKA_LANES);
    if (sink->lanes[lane] != NULL) {
        core_kafka_poll(sink->lanes[lane]);             /* what was accepted is not sent again */
        kafka_topics_rebind(&sink->topics, lane, NULL); /* looks at its handles a last time */
        core_kafka_close(sink->lanes[lane]);
        sink->lanes[lane] = NULL;
    }
}

static void producers_drop(struct sink *sink, int64_t now) {
    bool is_calm = now - sink->made_ns > REMAKE_CALM_NS;
    sink->remake_hold_ns = is_calm || sink->remake_hold_ns == 0 ? KAFKA_HOLD_NS : 2 * sink->remake_hold_ns;
    if (sink->remake_hold_ns > KAFKA_REMAKE_HOLD_MAX_NS) {
        sink->remake_hold_ns = KAFKA_REMAKE_HOLD_MAX_NS;
    }
    sink->hold_ns = now + sink->remake_hold_ns;
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        kafka_lane_close(sink, (enum kafka_lane)lane);
    }
    sink->is_broken = false;
    sink_retry(sink->env->counters, &sink->retries, SINK_CAUSE_PRODUCER);
    kafka_events_unsend(sink);
}

/* ---- the sink ----------------------------------------------------------------------------------------------------------- */

static void turn(struct sink *sink) {
    int64_t now = core_tick_ns();
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        if (sink->lanes[lane] != NULL) {
            core_kafka_poll(sink->lanes[lane]);
        }
    }
    if (sink->keeper != NULL) {
        kafka_keeper_turn(sink, now);
    } else if (sink->is_broken) {
        producers_drop(sink, now);
    }
    kafka_events_send(sink, now);
    if (sink->keeper != NULL) {
        kafka_keeper_turn(sink, now); /* what was sent may have filled the transaction */
    }
    if (now - sink->compared_ns >= COMPARE_NS) {
        sink->compared_ns = now;
        kafka_topics_compare(&sink->topics);
    }
}

static int sleep_ms(const struct sink *sink, int timeout_ms) {
    int64_t now = core_tick_ns();
    int64_t due = now + (int64_t)timeout_ms * CORE_NS_PER_MS;
    int64_t topics_due = kafka_topics_due(&sink->topics, now);
    int64_t keeper_due = kafka_keeper_due(sink, now);
    due = topics_due < due ? topics_due : due;
    due = keeper_due < due ? keeper_due : due;
    due = sink->hold_ns != 0 && sink->hold_ns < due ? sink->hold_ns : due;
    return due <= now ? 1 : (int)((due - now + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
}

static enum core_err kafka_send(struct sink *sink, struct core_batch *batch) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    MUST(batch->magic == CORE_BATCH_MAGIC);
    if (!kafka_slot_add(sink, batch)) {
        return CORE_AGAIN;
    }
    turn(sink);
    return CORE_OK;
}

static size_t kafka_poll(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    MUST(max > 0);
    turn(sink);
    size_t len = kafka_events_give(sink, done, max);
    if (len > 0 || timeout_ms == 0) {
        return len;
    }
    struct pollfd fds[1 + KAFKA_LANES] = {{.fd = sink->env->wake_fd, .events = POLLIN}};
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        int fd = sink->lanes[lane] == NULL ? -1 : core_kafka_fd(sink->lanes[lane]); /* poll() skips a -1 */
        fds[1 + lane] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    int ready = poll(fds, 1 + KAFKA_LANES, sleep_ms(sink, timeout_ms));
    MUST(ready >= 0 || errno == EINTR);
    turn(sink);
    return kafka_events_give(sink, done, max);
}

static void kafka_close(struct sink *sink) {
    if (sink == NULL) {
        return;
    }
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    kafka_keeper_rest(sink);
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        core_kafka_close(sink->lanes[lane]);
    }
    kafka_keeper_close(sink);
    kafka_topics_close(&sink->topics);
    for (uint32_t i = 0; i < sink->slots_len; i++) {
        free(sink->slots[i]);
    }
    free(sink->slots);
    free(sink->pairs);
    free(sink->scratch);
    sink->magic = 0;
    free(sink);
}

static enum core_err kafka_open(struct sink **out, const void *conf, const struct sink_env *env,
                                struct core_fail *fail) {
    MUST(conf != NULL && env != NULL);
    struct sink *sink = calloc(1, sizeof *sink);
    MUST(sink != NULL);
    sink->magic = KAFKA_SINK_MAGIC;
    sink->conf = conf;
    sink->env = env;
    sink->look.up = -1;
    sink->pairs = kafka_conf_pairs(conf, env->wants_statistics, &sink->pairs_len);
    enum core_err err = kafka_topics_open(&sink->topics, conf, fail);
    if (err == CORE_OK) {
        sink->keeper = kafka_keeper_open(sink);
    }
    if (err == CORE_OK && sink->keeper == NULL) {
        err = lane_make(sink, KAFKA_TOGETHER, fail);
    }
    if (err != CORE_OK) {
        kafka_close(sink);
        return err;
    }
    *out = sink;
    return CORE_OK;
}

const struct sink_ops sink_kafka = {
    .name = "kafka",
    .summary = "documents as records into Kafka topics; accepted when all in-sync replicas have them",
    .opts = kafka_opts,
    .opts_len = KAFKA_OPTS_LEN,
    .conf_size = sizeof(struct kafka_conf),
    .check = kafka_conf_check,
    .connect = kafka_conf_connect,
    .keeps_positions = kafka_conf_keeps_positions,
    .open = kafka_open,
    .send = kafka_send,
    .poll = kafka_poll,
    .is_gone = kafka_keeper_is_gone,
    .flush = kafka_keeper_flush,
    .is_up = kafka_sink_is_up,
    .health = kafka_sink_health,
    .close = kafka_close,
};
