/* sinks/kafka_keeper.c: what a transaction holds: which batches join it, what it says of their files, and what follows from
 * its commit. When things happen is kafka_txn.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sinks/kafka_keeper_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define SMALL_BYTES_FIRST ((uint64_t)256 * 1024) /* batch.size after a topic took less than the configured one */
#define SMALL_BYTES_MIN ((uint64_t)4096)
#define SWEEP_MAX_NS (60 * CORE_NS_PER_S) /* how long every topic of a lost transaction is waited for */

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static void owner_fill(struct kafka_owner *owner) {
    *owner = (struct kafka_owner){.is_there = true, .offset = -1, .pid = (long)getpid()};
    ssize_t got = getrandom(&owner->instance, sizeof owner->instance, 0);
    MUST(got == (ssize_t)sizeof owner->instance);
    if (gethostname(owner->host, sizeof owner->host - 1) != 0 || owner->host[0] == '\0') {
        snprintf(owner->host, sizeof owner->host, "unknown");
    }
    snprintf(owner->version, sizeof owner->version, "%s", TAPLINE_VERSION);
    bool has_time = core_time_iso(core_now_ns(), owner->started);
    owner->started[has_time ? 27 : 0] = '\0';
    MUST(has_time);
}

struct kafka_keeper *kafka_keeper_open(struct sink *sink) {
    if (sink->env->commit == NULL || sink->conf->delivery == KAFKA_DELIVERY_AT_LEAST_ONCE) {
        return NULL;
    }
    struct kafka_keeper *keeper = calloc(1, sizeof *keeper);
    MUST(keeper != NULL);
    keeper->commit = sink->env->commit;
    keeper->node = sink->env->node;
    owner_fill(&keeper->owner);
    keeper->owner_seen = (struct kafka_owner){.offset = -1};
    keeper->topic = kafka_topics_checkpoint(&sink->topics);
    keeper->recover = (struct kafka_recover){.node = keeper->node,
                                             .topic = keeper->topic->name,
                                             .pairs = sink->pairs,
                                             .pairs_len = sink->pairs_len - 1,
                                             .owner = {.offset = -1}};
    keeper->said_ns = INT64_MIN / 2;
    keeper->committed_ns = INT64_MIN / 2;
    return keeper;
}

void kafka_keeper_close(struct sink *sink) {
    struct kafka_keeper *keeper = sink->keeper;
    if (keeper != NULL) {
        kafka_recover_end(&keeper->recover);
        kafka_lines_free(&keeper->lines);
        kafka_blame_free(&keeper->blame);
        free(keeper);
        sink->keeper = NULL;
    }
}

bool kafka_keeper_is_gone(const struct sink *sink, struct core_fail *fail) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    if (sink->keeper == NULL || sink->keeper->state != KEEPER_GONE) {
        return false;
    }
    *fail = sink->keeper->gone;
    return true;
}

void kafka_keeper_flush(struct sink *sink) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    if (sink->keeper != NULL) {
        sink->keeper->is_idle = true; /* until the next batch comes */
    }
}

/* ---- batches ------------------------------------------------------------------------------------------------------------- */

bool kafka_keeper_takes(struct kafka_keeper *keeper, const struct core_batch *batch) {
    MUST(batch != NULL);
    if (keeper == NULL) {
        return true;
    }
    keeper->is_idle = false;
    return batch->epoch >= atomic_load(&keeper->commit->epoch);
}

bool kafka_keeper_sends(const struct sink *sink) {
    const struct kafka_keeper *keeper = sink->keeper;
    MUST(keeper != NULL);
    bool is_state = keeper->state == KEEPER_READY || keeper->state == KEEPER_OPEN || keeper->state == KEEPER_CLOSING;
    return is_state && !keeper->is_failed;
}

/* What is known to be refused is a dead letter from the start; the third time it is left out. */
static void slot_judge(struct sink *sink, struct slot *slot) {
    struct kafka_keeper *keeper = sink->keeper;
    const struct core_batch *batch = slot->batch;
    int64_t now = core_tick_ns();
    for (uint32_t i = 0; i < batch->events_len; i++) {
        if (slot->state[i] == EVENT_DONE) {
            continue;
        }
        int code = 0;
        unsigned times = keeper->blame.guilty_len == 0
                             ? 0
                             : kafka_blame_of(&keeper->blame, batch->stream->gen, batch->events[i].start, &code);
        struct kafka_topic *topic = times > 0 ? NULL : kafka_event_topic(sink, slot, i);
        if (times == 0 && topic == NULL) {
            code = KAFKA_CODE_NO_TOPIC;
        } else if (times == 0 && now < topic->given_up_ns && !topic->is_dead_letters) {
            code = KAFKA_CODE_GIVEN_UP;
        } else if (times == 0) {
            continue;
        }
        slot->code[i] = code;
        if (times > 2) {
            kafka_event_lost(sink, slot, i, code);
            kafka_event_done(sink, slot, i, NULL);
        } else {
            kafka_event_wait(slot, i, times == 2 ? EVENT_SHORT_WAITS : EVENT_DEAD_WAITS);
        }
    }
}

/* A transaction waits for nobody: every topic of a batch is there before it joins. */
static bool slot_is_ready(struct sink *sink, struct slot *slot, int64_t now) {
    const struct kafka_topic *before = NULL;
    for (uint32_t i = 0; i < slot->batch->events_len; i++) {
        if (slot->state[i] == EVENT_DONE) {
            continue;
        }
        struct kafka_topic *topic = kafka_event_topic(sink, slot, i);
        if (topic != before && !kafka_topic_is_ready(&sink->topics, topic, KAFKA_TOGETHER, now)) {
            return false;
        }
        before = topic;
    }
    return true;
}

/* The tally of its stream, with what we know better: documents that go as dead letters, or not at all. */
static void slot_tally(const struct slot *slot) {
    struct core_batch *batch = slot->batch;
    for (uint32_t i = 0; i < batch->events_len; i++) {
        uint64_t *was = batch->events[i].is_dead ? &batch->tally.dead : &batch->tally.events;
        bool is_dead = slot->state[i] == EVENT_DEAD_WAITS || slot->state[i] == EVENT_SHORT_WAITS;
        uint64_t *is = slot->state[i] == EVENT_DONE ? &batch->tally.lost : is_dead ? &batch->tally.dead : was;
        if (is != was) {
            MUST(*was > 0);
            (*was)--;
            (*is)++;
        }
    }
    struct core_tally *sum = &batch->stream->tally;
    sum->records += batch->tally.records;
    sum->events += batch->tally.events;
    sum->dead += batch->tally.dead;
    sum->dropped += batch->tally.dropped;
    sum->lost += batch->tally.lost;
}

static void slot_join(struct sink *sink, struct slot *slot) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_batch *batch = slot->batch;
    slot_tally(slot);
    kafka_lines_take(&keeper->lines, batch);
    for (uint32_t i = 0; i < batch->events_len; i++) {
        keeper->bytes += batch->events[i].doc.len;
    }
    slot->txn = keeper->txn;
    keeper->joined++;
    keeper->last_gen = batch->stream->gen;
    keeper->last_end = batch->accepted_end;
}

bool kafka_keeper_begin(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct core_fail why = {0};
    enum core_kafka_txn txn = core_kafka_txn_begin(sink->lanes[KAFKA_TOGETHER], &why);
    if (txn != CORE_KAFKA_TXN_OK) {
        keeper->hold_ns = now + KAFKA_HOLD_NS;
        sink->is_broken = true; /* the next turn finds out why */
        core_log(CORE_LEVEL_WARN, "kafka", "no transaction begun; tried again", "reason=\"%s\"", why.text);
        return false;
    }
    keeper->state = KEEPER_OPEN;
    keeper->begun_ns = now;
    keeper->joined = keeper->bytes = keeper->accepted = keeper->dead = 0;
    keeper->lines_sent = 0;
    keeper->is_owner_sent = keeper->is_failed = keeper->is_commit_asked = keeper->is_unhiding = keeper->is_left_whole =
        false;
    keeper->failure[0] = '\0';
    return true;
}

/* Batches of the last transaction go back before the next one begins: an abort of that must not touch them. */
static bool is_any_joined(const struct sink *sink) {
    const struct slot *slot = sink->first;
    while (slot != NULL && (slot->txn == 0 || slot->is_stale)) {
        slot = slot->next;
    }
    return slot != NULL;
}

bool kafka_keeper_admits(struct sink *sink, struct slot *slot, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    bool may_begin =
        keeper->state == KEEPER_READY && now >= keeper->hold_ns && keeper->sweep_txn == 0 && !is_any_joined(sink);
    bool may_join = keeper->state == KEEPER_OPEN && !keeper->is_failed &&
                    keeper->bytes < sink->conf->transaction_bytes && !(keeper->shape.is_alone && keeper->joined > 0);
    if (!may_begin && !may_join) {
        return false;
    }
    if (slot->batch->events_len > 0) {
        slot_judge(sink, slot);
        if (!slot_is_ready(sink, slot, now)) {
            return false;
        }
    }
    if (may_begin) {
        if (!kafka_keeper_begin(sink, now)) {
            return false;
        }
        keeper->txn++;
        keeper->is_under_way = true;
    }
    slot_join(sink, slot);
    return true;
}

void kafka_keeper_gives(struct sink *sink, const struct slot *slot) {
    struct kafka_keeper *keeper = sink->keeper;
    slot->batch->txn = slot->is_stale ? 0 : slot->txn;
    if (slot->is_stale || slot->txn == 0) {
        return;
    }
    if (slot->txn <= keeper->committed) { /* the commit was faster */
        core_count(sink->env->counters, CORE_COUNT_SINK_ACCEPTED, slot->accepted);
        core_count(sink->env->counters, CORE_COUNT_SINK_DEAD, slot->dead);
    } else {
        keeper->accepted += slot->accepted;
        keeper->dead += slot->dead;
    }
}

/* ---- positions ------------------------------------------------------------------------------------------------------------ */

static bool position_send(struct sink *sink, struct core_span key, struct core_span value, bool is_tombstone) {
    struct kafka_keeper *keeper = sink->keeper;
    const struct core_kafka_record record = {.key = key,
                                             .value = value,
                                             .ticket = KAFKA_TICKET_POSITION,
                                             .has_partition = true,
                                             .partition = keeper->partition,
                                             .is_copied = true,
                                             .is_tombstone = is_tombstone};
    int code = 0;
    enum core_kafka_fate fate =
        core_kafka_send(sink->lanes[KAFKA_TOGETHER], keeper->topic->handles[KAFKA_TOGETHER], &record, &code);
    if (fate == CORE_KAFKA_ACCEPTED) {
        sink->outstanding++;
    } else if (fate != CORE_KAFKA_FULL) {
        kafka_keeper_reported(sink, fate, code, -1);
    }
    return fate == CORE_KAFKA_ACCEPTED;
}

bool kafka_keeper_send_positions(struct sink *sink) {
    struct kafka_keeper *keeper = sink->keeper;
    char key[KAFKA_KEY_BYTES_MAX];
    while (keeper->lines_sent < keeper->lines.len) {
        const struct kafka_line *line = &keeper->lines.lines[keeper->lines_sent];
        size_t key_len = kafka_line_key(keeper->node, line->gen, key);
        if (!position_send(sink, (struct core_span){key, key_len}, (struct core_span){line->text, line->len},
                           line->is_gone)) {
            return false;
        }
        keeper->lines_sent++;
    }
    if (!keeper->is_owner_sent) {
        char text[KAFKA_OWNER_BYTES_MAX];
        keeper->owner.txn = keeper->is_claim ? keeper->committed : keeper->txn;
        size_t key_len = kafka_owner_key(keeper->node, key);
        size_t text_len = kafka_owner_write(&keeper->owner, text);
        keeper->is_owner_sent =
            position_send(sink, (struct core_span){key, key_len}, (struct core_span){text, text_len}, false);
    }
    return keeper->is_owner_sent;
}

void kafka_keeper_claim(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    const struct kafka_recover *recover = &keeper->recover;
    kafka_lines_clear(&keeper->lines);
    if (recover->is_all) { /* they may stand in partitions that nobody will look into again */
        for (size_t i = 0; i < recover->lines.len; i++) {
            const struct kafka_line *line = &recover->lines.lines[i];
            kafka_lines_put(&keeper->lines, line->gen, (struct core_span){line->text, line->len})->is_gone =
                line->is_gone;
        }
    }
    if (kafka_topic_is_ready(&sink->topics, keeper->topic, KAFKA_TOGETHER, now) && kafka_keeper_begin(sink, now)) {
        keeper->is_claim = true;
        keeper->state = KEEPER_CLOSING;
    }
}

/* ---- what a commit means ------------------------------------------------------------------------------------------------------ */

static void positions_hand_over(struct kafka_keeper *keeper) {
    struct core_commit *commit = keeper->commit;
    kafka_lines_join(&keeper->recover.lines, &commit->positions, &commit->positions_len);
    atomic_store(&commit->state, CORE_COMMIT_RECOVERED);
    core_bell_ring(commit->bell);
    keeper->is_recovered = true;
}

void kafka_keeper_committed(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    if (keeper->is_claim) {
        keeper->is_claim = false;
        kafka_lines_clear(&keeper->lines);
        if (!keeper->is_recovered) {
            positions_hand_over(keeper);
        }
        kafka_recover_end(&keeper->recover);
        return;
    }
    MUST(keeper->is_under_way);
    keeper->is_under_way = false;
    keeper->committed_ns = now;
    keeper->committed = keeper->txn;
    core_count(sink->env->counters, CORE_COUNT_SINK_TRANSACTIONS, 1);
    core_count(sink->env->counters, CORE_COUNT_SINK_ACCEPTED, keeper->accepted);
    core_count(sink->env->counters, CORE_COUNT_SINK_DEAD, keeper->dead);
    keeper->accepted = keeper->dead = 0;
    atomic_store(&keeper->commit->committed, keeper->committed);
    core_bell_ring(keeper->commit->bell);
    if (keeper->blame.suspects_len > 0 || keeper->blame.guilty_len > 0) {
        for (size_t i = 0; i < keeper->lines.len; i++) {
            kafka_blame_acquit(&keeper->blame, keeper->lines.lines[i].gen, keeper->lines.lines[i].end, now);
        }
        kafka_blame_acquit(&keeper->blame, keeper->last_gen, keeper->last_end, now);
    }
    kafka_lines_clear(&keeper->lines);
}

bool kafka_keeper_reshape(struct sink *sink) {
    struct kafka_keeper *keeper = sink->keeper;
    const struct kafka_blame *blame = &keeper->blame;
    bool wants_alone = blame->suspects_len > 0;
    if (wants_alone == keeper->shape.is_alone) {
        return false;
    }
    keeper->shape.is_alone = wants_alone;
    if (wants_alone) {
        core_log(CORE_LEVEL_WARN, "kafka",
                 "records were refused; they are sent one by one, to find out which. That is slow for a moment",
                 "node=\"%s\" files=%zu reason=\"%s\"", keeper->node, blame->suspects_len, keeper->failure);
    } else if (blame->is_about_size && !blame->has_found) {
        uint64_t bytes = keeper->shape.bytes == 0 ? SMALL_BYTES_FIRST : keeper->shape.bytes / 4;
        keeper->shape.bytes = bytes < SMALL_BYTES_MIN ? SMALL_BYTES_MIN : bytes;
        core_log(CORE_LEVEL_WARN, "kafka",
                 "a topic takes less at once than a batch holds; smaller batches are sent, which is slower. Raise the "
                 "topic's max.message.bytes, or set rdkafka.batch.size below it",
                 "node=\"%s\" batch.size=%llu", keeper->node, (unsigned long long)keeper->shape.bytes);
    }
    return true;
}

/* ---- topics that may not be written -------------------------------------------------------------------------------------------- */

void kafka_keeper_suspect_topics(struct sink *sink) {
    MUST(sink->keeper != NULL);
    for (size_t i = 0; i < sink->topics.len; i++) {
        struct kafka_topic *topic = sink->topics.topics[i];
        topic->is_suspect = topic->txn == sink->keeper->txn && !topic->is_checkpoint;
    }
}

void kafka_keeper_send_unseen(struct sink *sink, struct kafka_topic *topic, struct core_span key, int partition) {
    const struct core_kafka_record record = {.key = key,
                                             .ticket = KAFKA_TICKET_POSITION,
                                             .is_copied = true,
                                             .is_tombstone = true,
                                             .has_partition = partition >= 0,
                                             .partition = partition};
    int code = 0;
    if (core_kafka_send(sink->lanes[KAFKA_TOGETHER], topic->handles[KAFKA_TOGETHER], &record, &code) ==
        CORE_KAFKA_ACCEPTED) {
        sink->outstanding++;
    } else {
        sink->keeper->is_failed = true;
    }
}

static bool is_to_sweep(const struct sink *sink, const struct kafka_topic *topic) {
    return topic->txn == sink->keeper->sweep_txn && !topic->is_checkpoint;
}

/* Every topic that it wrote to must take a record: one that is left out keeps what was left open there. */
static bool is_sweep_ready(struct sink *sink, int64_t now) {
    bool is_ready = true;
    for (size_t i = 0; i < sink->topics.len; i++) {
        struct kafka_topic *topic = sink->topics.topics[i];
        bool is_wanted = is_to_sweep(sink, topic);
        is_ready = (!is_wanted || kafka_topic_is_ready(&sink->topics, topic, KAFKA_TOGETHER, now)) && is_ready;
    }
    return is_ready;
}

static bool sweep_is_given_up(struct kafka_keeper *keeper, int64_t now) {
    keeper->sweep_until_ns = keeper->sweep_until_ns == 0 ? now + SWEEP_MAX_NS : keeper->sweep_until_ns;
    if (now < keeper->sweep_until_ns) {
        return false;
    }
    core_log(CORE_LEVEL_ERROR, "kafka",
             "what a lost transaction may have left open could not be aborted in every topic; delivery goes on. Was a "
             "topic deleted, or the right to write taken away? If the broker lost the end of that transaction, its "
             "records may appear twice: `tapline verify` tells",
             "node=\"%s\" txn=%llu", keeper->node, (unsigned long long)keeper->sweep_txn);
    keeper->sweep_txn = 0;
    keeper->sweep_until_ns = 0;
    return true;
}

enum keeper_sweep kafka_keeper_sweep(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    if (keeper->sweep_txn == 0 || sweep_is_given_up(keeper, now)) {
        return KEEPER_SWEEP_NONE;
    }
    if (now < keeper->hold_ns) {
        return KEEPER_SWEEP_WAITS;
    }
    if (!is_sweep_ready(sink, now) || !kafka_keeper_begin(sink, now)) {
        keeper->hold_ns = now + KAFKA_HOLD_NS / 10;
        return KEEPER_SWEEP_WAITS;
    }
    keeper->state = KEEPER_PROBE;
    keeper->is_sweep = true;
    uint64_t partitions = 0;
    for (size_t i = 0; i < sink->topics.len; i++) {
        struct kafka_topic *topic = sink->topics.topics[i];
        int known = kafka_topic_partitions(topic); /* by this producer; else by the one before */
        int len = !is_to_sweep(sink, topic) ? 0 : known > 0 ? known : topic->partitions;
        for (int partition = 0; partition < len; partition++) {
            kafka_keeper_send_unseen(sink, topic, CORE_SPAN("tapline: ends what was left open"), partition);
            partitions++;
        }
    }
    core_log(CORE_LEVEL_INFO, "kafka", "aborting what a lost transaction may have left open",
             "node=\"%s\" txn=%llu partitions=%llu", keeper->node, (unsigned long long)keeper->sweep_txn,
             (unsigned long long)partitions);
    return KEEPER_SWEEP_BEGUN;
}

bool kafka_keeper_probe(struct sink *sink, int64_t now) {
    struct kafka_keeper *keeper = sink->keeper;
    struct kafka_topic *topic = NULL;
    for (size_t i = 0; i < sink->topics.len && topic == NULL; i++) {
        topic = sink->topics.topics[i]->is_suspect ? sink->topics.topics[i] : NULL;
    }
    if (topic == NULL || !kafka_topic_is_ready(&sink->topics, topic, KAFKA_TOGETHER, now) ||
        !kafka_keeper_begin(sink, now)) {
        return false;
    }
    keeper->state = KEEPER_PROBE;
    keeper->probe = topic;
    kafka_keeper_send_unseen(sink, topic, CORE_SPAN("tapline: may this topic be written?"), -1);
    return true;
}

void kafka_keeper_probed(struct sink *sink, int code, int64_t now) {
    struct kafka_topic *topic = sink->keeper->probe;
    MUST(topic != NULL);
    topic->is_suspect = false;
    sink->keeper->probe = NULL;
    if (!sink->keeper->is_failed || (code != 0 && !core_kafka_is_topic(code))) {
        return; /* innocent, or something else is wrong: then it is suspected again */
    }
    const char *text = code == 0 ? sink->keeper->failure : core_kafka_text(code);
    if (topic->is_dead_letters) {
        bool is_waited_for = kafka_topic_refused(&sink->topics, topic, text, now);
        MUST(is_waited_for);
        return;
    }
    core_log(
        CORE_LEVEL_ERROR, "kafka",
        "topic may not be written; its records become dead letters, and it is tried again in ten minutes. Give the "
        "right to write it, or make it",
        "topic=\"%s\" reason=\"%s\"", topic->name, text);
    kafka_topic_give_up(topic, now);
}
