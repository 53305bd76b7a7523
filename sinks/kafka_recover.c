/* sinks/kafka_recover.c: what was committed: reads a node's lines and its owner back from the topic of positions.
 *
 * All of a node is in one partition, told by the node's name and the number of partitions. That number may have grown since
 * the lines were written: a node without an owner in its own partition looks through the others once (its lines are then
 * written anew, where they belong, by the transaction that claims the node).
 *
 * Reading goes in steps of a fraction of a second, so that the sink's thread can always be told to end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_read.h"
#include "sinks/kafka_internal.h"

#include <stdlib.h>

#define ASK_MS 1000
#define STEP_MS 200
#define SAY_EVERY_NS (30 * CORE_NS_PER_S)

static enum core_err recover_open(struct kafka_recover *recover, struct core_fail *why) {
    if (recover->reader == NULL) {
        enum core_err err = core_kafka_reader_open(&recover->reader, recover->pairs, recover->pairs_len, why);
        if (err != CORE_OK) {
            return err == CORE_BAD ? CORE_BAD : CORE_AGAIN;
        }
    }
    if (recover->partitions > 0) {
        return CORE_OK;
    }
    enum core_err err = core_kafka_reader_topic(recover->reader, recover->topic, ASK_MS, &recover->partitions, why);
    if (err != CORE_OK || recover->partitions <= 0) {
        recover->partitions = 0;
        return err == CORE_GONE ? CORE_GONE : CORE_AGAIN;
    }
    recover->partition = core_kafka_partition_of(core_span_of(recover->node), recover->partitions);
    return CORE_OK;
}

static enum core_err recover_assign(struct kafka_recover *recover, struct core_fail *why) {
    size_t len = 0;
    struct core_kafka_place *places = calloc((size_t)recover->partitions, sizeof *places);
    MUST(places != NULL);
    for (int i = 0; i < recover->partitions; i++) {
        if (recover->is_all || i == recover->partition) {
            places[len++] = (struct core_kafka_place){recover->topic, i, CORE_KAFKA_BEGINNING};
        }
    }
    kafka_lines_clear(&recover->lines);
    recover->owner = (struct kafka_owner){.offset = -1};
    enum core_err err = core_kafka_reader_assign(recover->reader, places, len, false, ASK_MS, why);
    free(places);
    recover->is_assigned = err == CORE_OK;
    return err == CORE_OK ? CORE_OK : CORE_AGAIN;
}

/* The same key may stand in two partitions when their number has grown: the later one counts. */
static void record_take(struct kafka_recover *recover, const struct core_kafka_got *got) {
    size_t node_len = strlen(recover->node);
    struct core_span name = got->key;
    if (name.len <= node_len + 1 || memcmp(name.ptr, recover->node, node_len) != 0 || name.ptr[node_len] != '/') {
        return;
    }
    name.ptr += node_len + 1;
    name.len -= node_len + 1;
    if (core_span_is(name, "owner")) {
        struct kafka_owner owner;
        bool is_later = !recover->owner.is_there || recover->owner.partition == got->partition ||
                        recover->owner.timestamp_ms <= got->timestamp_ms;
        if (is_later && kafka_owner_parse(got->value, &owner)) {
            owner.offset = got->offset;
            owner.partition = got->partition;
            owner.timestamp_ms = got->timestamp_ms;
            recover->owner = owner;
        }
        return;
    }
    char hex[17];
    char *end = NULL;
    if (name.len != sizeof hex - 1) {
        return; /* another node's, whose name begins with ours and a slash */
    }
    memcpy(hex, name.ptr, name.len);
    hex[name.len] = '\0';
    uint64_t gen = strtoull(hex, &end, 16);
    if (*end != '\0') {
        return;
    }
    const struct kafka_line *before = kafka_lines_find(&recover->lines, gen);
    if (before == NULL || !recover->is_all || before->timestamp_ms <= got->timestamp_ms) {
        struct kafka_line *line = kafka_lines_put(&recover->lines, gen, got->value);
        line->is_gone = got->is_tombstone;
        line->timestamp_ms = got->timestamp_ms;
    }
}

/* Waiting is normal when brokers are away, but must be said. */
static void say_waiting(struct kafka_recover *recover, const struct core_fail *why) {
    int64_t now = core_tick_ns();
    if (recover->said_ns == 0 || now - recover->said_ns > SAY_EVERY_NS) {
        recover->said_ns = now;
        core_log(CORE_LEVEL_WARN, "kafka", "positions not read yet; waiting for the brokers, nothing is read meanwhile",
                 "topic=\"%s\" where=\"%s\" reason=\"%s\"", recover->topic, why->where, why->text);
    }
}

enum core_err kafka_recover_turn(struct kafka_recover *recover, struct core_fail *why) {
    MUST(recover->node != NULL && recover->topic != NULL);
    enum core_err err = recover_open(recover, why);
    if (err == CORE_OK && !recover->is_assigned) {
        err = recover_assign(recover, why);
    }
    if (err == CORE_AGAIN) {
        say_waiting(recover, why);
    }
    int64_t until_ns = core_tick_ns() + STEP_MS * CORE_NS_PER_MS;
    while (err == CORE_OK) {
        struct core_kafka_got got;
        switch (core_kafka_reader_next(recover->reader, STEP_MS, &got, why)) {
        case CORE_OK:
            record_take(recover, &got);
            break;
        case CORE_GONE:
            if (recover->owner.is_there || recover->is_all || recover->only_own || recover->partitions == 1) {
                return CORE_OK;
            }
            recover->is_all = true;
            recover->is_assigned = false;
            return CORE_AGAIN;
        case CORE_NET:
            recover->is_assigned = false; /* from the beginning: what was read may have been read before a gap */
            say_waiting(recover, why);
            return CORE_AGAIN;
        default:
            err = core_tick_ns() > until_ns ? CORE_AGAIN : CORE_OK;
            break;
        }
    }
    return err;
}

void kafka_recover_end(struct kafka_recover *recover) {
    MUST(recover != NULL);
    core_kafka_reader_close(recover->reader);
    kafka_lines_free(&recover->lines);
    recover->reader = NULL;
    recover->is_assigned = recover->is_all = false;
    recover->partitions = 0;
    recover->owner = (struct kafka_owner){.offset = -1};
}
