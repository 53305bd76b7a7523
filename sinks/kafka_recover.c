/* sinks/kafka_recover.c: what was committed: reads a node's lines and its owner back from the topic of positions.
 *
 * All of a node is in one partition, told by the node's name and the number of partitions. That number may have grown since
 * the lines were written: a node without an owner in its own partition looks through the others once (its lines are then
 * written anew, where they belong, by the transaction that claims the node).
 *
 * What is committed shows only up to the first record of a transaction that is still open, anybody's: the nodes of a
 * partition hide each other's positions so. Hence the partition's end is asked for first, as it was written, and nothing is
 * read until what is committed shows up to there. Ends are compared, not records: marks of transactions take offsets and are
 * never shown, and compaction takes records away. Should the end go back (the topic was made anew), that counts.
 *
 * A look is the same for a process that has the node and nothing to send: has another one written its name since? It begins
 * behind what this process wrote last, so that it has little to read.
 *
 * Reading goes in steps of a fraction of a second, so that the sink's thread can always be told to end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/kafka_read.h"
#include "sinks/kafka_internal.h"

#include <stdlib.h>

#define ASK_MS 1000
#define STEP_MS 200
#define LOOK_MS 300 /* for each of the three questions of a look */
#define LOOK_AGAIN_NS (CORE_NS_PER_S / 2)
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

/* Owns: free() the answer. */
static struct core_kafka_place *places_of(const struct kafka_recover *recover, size_t *len) {
    *len = 0;
    struct core_kafka_place *places = calloc((size_t)recover->partitions, sizeof *places);
    MUST(places != NULL);
    for (int i = 0; i < recover->partitions; i++) {
        if (recover->is_all || i == recover->partition) {
            places[(*len)++] = (struct core_kafka_place){recover->topic, i, CORE_KAFKA_BEGINNING};
        }
    }
    return places;
}

static void written_forget(struct kafka_recover *recover) {
    core_kafka_reader_close(recover->loose);
    free(recover->written);
    recover->loose = NULL;
    recover->written = NULL;
    recover->is_left_assigned = false;
    recover->ask_ns = 0;
}

/* It keeps asking the broker that led a partition when it was made, for minutes (librdkafka 2.0.2 looks again every five), so
 * after a failure the next question is a new one's. */
static void reader_forget(struct kafka_recover *recover) {
    core_kafka_reader_close(recover->reader);
    recover->reader = NULL;
    recover->partitions = 0;
    written_forget(recover);
}

static void say_held(struct kafka_recover *recover, int partition, int64_t now) {
    recover->held_ns = recover->held_ns == 0 ? now : recover->held_ns;
    if (recover->said_held_ns == 0 || now - recover->said_held_ns > SAY_EVERY_NS) {
        recover->said_held_ns = now;
        core_log(
            CORE_LEVEL_WARN, "kafka",
            "another node's transaction is open in this partition of the topic of positions; waiting until it ends, "
            "at most its transaction_timeout; nothing is read meanwhile",
            "topic=\"%s\" partition=%d node=\"%s\"", recover->topic, partition, recover->node);
    }
}

/* Does what is committed show up to where the partitions ended when this reading began? CORE_AGAIN: no, or not known. */
static enum core_err recover_wait(struct kafka_recover *recover, struct core_fail *why) {
    size_t len = 0;
    struct core_kafka_place *places = places_of(recover, &len);
    MUST(len > 0);
    struct core_kafka_bounds *shown = calloc(len, sizeof *shown);
    struct core_kafka_bounds *now = calloc(len, sizeof *now);
    MUST(shown != NULL && now != NULL);
    enum core_err err = CORE_OK;
    if (recover->loose == NULL) {
        err = core_kafka_reader_open_loose(&recover->loose, recover->pairs, recover->pairs_len, why);
    }
    /* the first end comes before what is shown; what is shown may only grow */
    err = err == CORE_OK ? core_kafka_reader_bounds(recover->loose, places, len, ASK_MS, now, why) : err;
    err = err == CORE_OK ? core_kafka_reader_bounds(recover->reader, places, len, ASK_MS, shown, why) : err;
    if (err == CORE_OK && recover->written == NULL) {
        recover->written = calloc(len, sizeof *recover->written);
        MUST(recover->written != NULL);
        for (size_t i = 0; i < len; i++) {
            recover->written[i] = now[i].high;
        }
    }
    const struct core_kafka_place *held = NULL;
    for (size_t i = 0; err == CORE_OK && i < len; i++) {
        recover->written[i] = now[i].high < recover->written[i] ? now[i].high : recover->written[i];
        held = shown[i].high < recover->written[i] ? &places[i] : held;
        recover->shown = places[i].partition == recover->partition ? shown[i].high : recover->shown;
    }
    if (held != NULL) {
        recover->ask_ns = core_tick_ns() + LOOK_AGAIN_NS;
        say_held(recover, held->partition, core_tick_ns());
    }
    free(now);
    free(shown);
    free(places);
    return err == CORE_OK && held == NULL ? CORE_OK : CORE_AGAIN;
}

static enum core_err recover_assign(struct kafka_recover *recover, struct core_fail *why) {
    size_t len = 0;
    struct core_kafka_place *places = places_of(recover, &len);
    kafka_lines_clear(&recover->lines);
    recover->owner = (struct kafka_owner){.offset = -1};
    enum core_err err = core_kafka_reader_assign(recover->reader, places, len, false, ASK_MS, why);
    free(places);
    recover->is_assigned = err == CORE_OK;
    return err == CORE_OK ? CORE_OK : CORE_AGAIN;
}

/* The same key may stand in two partitions when their number has grown: the later one counts. */
static void record_take(struct kafka_recover *recover, const struct core_kafka_got *got) {
    struct core_span name;
    if (!kafka_key_name(recover->node, got->key, &name)) {
        return;
    }
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

/* Everything that comes before reading. */
static enum core_err recover_begin(struct kafka_recover *recover, struct core_fail *why) {
    enum core_err err = recover_open(recover, why);
    if (err == CORE_OK && !recover->is_assigned) {
        err = recover_wait(recover, why);
        if (err == CORE_AGAIN && recover->ask_ns != 0) {
            return CORE_AGAIN; /* said */
        }
    }
    if (err == CORE_OK && !recover->is_assigned) {
        err = recover_assign(recover, why);
        if (err == CORE_OK) {
            written_forget(recover);
        }
    }
    if (err == CORE_AGAIN) {
        say_waiting(recover, why);
        if (recover->partitions > 0) {
            reader_forget(recover);
        }
    }
    return err;
}

enum core_err kafka_recover_turn(struct kafka_recover *recover, struct core_fail *why) {
    MUST(recover->node != NULL && recover->topic != NULL);
    if (core_tick_ns() < recover->ask_ns) {
        return CORE_AGAIN;
    }
    recover->ask_ns = 0;
    enum core_err err = recover_begin(recover, why);
    int64_t until_ns = core_tick_ns() + STEP_MS * CORE_NS_PER_MS;
    while (err == CORE_OK) {
        struct core_kafka_got got;
        switch (core_kafka_reader_next(recover->reader, STEP_MS, &got, why)) {
        case CORE_OK:
            record_take(recover, &got);
            break;
        case CORE_GONE:
            if (recover->owner.is_there || recover->is_all || recover->partitions == 1) {
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
            break;
        }
        err = core_tick_ns() > until_ns ? CORE_AGAIN : CORE_OK; /* in a long topic, too: the thread must hear a stop */
    }
    return err;
}

/* The records of a look, until they end or it has taken long enough. */
static enum core_err look_through(struct kafka_recover *recover, int64_t *from, struct core_fail *why) {
    int64_t until_ns = core_tick_ns() + LOOK_MS * CORE_NS_PER_MS;
    for (;;) {
        struct core_kafka_got got;
        int64_t left_ms = (until_ns - core_tick_ns()) / CORE_NS_PER_MS;
        enum core_err err = core_kafka_reader_next(recover->reader, left_ms < 1 ? 1 : (int)left_ms, &got, why);
        if (err != CORE_OK) {
            return err == CORE_GONE ? CORE_OK : CORE_AGAIN;
        }
        record_take(recover, &got);
        *from = got.offset + 1;
        if (core_tick_ns() > until_ns) {
            return CORE_AGAIN;
        }
    }
}

enum core_err kafka_recover_look(struct kafka_recover *recover, int partition, int64_t *from, struct core_fail *why) {
    MUST(!recover->is_assigned && recover->written == NULL);
    const struct core_kafka_place place = {recover->topic, partition, *from};
    struct core_kafka_bounds bounds;
    recover->owner = (struct kafka_owner){.offset = -1};
    enum core_err err = CORE_OK;
    if (recover->reader == NULL) {
        err = core_kafka_reader_open(&recover->reader, recover->pairs, recover->pairs_len, why);
    }
    err = err == CORE_OK ? core_kafka_reader_bounds(recover->reader, &place, 1, LOOK_MS, &bounds, why) : err;
    if (err != CORE_OK) {
        reader_forget(recover);
        return CORE_AGAIN;
    }
    if (bounds.high > *from) {
        err = core_kafka_reader_assign(recover->reader, &place, 1, false, LOOK_MS, why);
        err = err == CORE_OK ? look_through(recover, from, why) : CORE_AGAIN;
        enum core_err done = core_kafka_reader_assign(recover->reader, NULL, 0, false, LOOK_MS, why);
        MUST(done == CORE_OK); /* nothing is asked for that: it only ends the reading */
        kafka_lines_clear(&recover->lines);
    }
    if (err == CORE_OK) {
        *from = bounds.high; /* lower than it was, too: then the topic was made anew */
    }
    return err;
}

void kafka_recover_end(struct kafka_recover *recover) {
    MUST(recover != NULL);
    reader_forget(recover);
    kafka_lines_free(&recover->lines);
    recover->is_assigned = recover->is_all = false;
    recover->held_ns = 0;
    recover->owner = (struct kafka_owner){.offset = -1};
}
