/* sinks/kafka_events.c: what happens to each event of a batch until it is answered.
 *
 * Each batch has a slot with a byte of state per event, and each record carries {slot, event} as its ticket, so a delivery
 * report finds its event without a search and nothing is allocated per record. Slots stand in one list, in the order
 * their batches came; a cursor in each says how far it is sent.
 *
 *   waits -> sent -> done               accepted by all in-sync replicas
 *              | its batch refused for good (too large, invalid)
 *              v
 *   alone waits -> alone sent -> done   sent again in a batch of one: it may only have been in bad company
 *              | refused itself, or its topic is not to be had (also straight from sent)
 *              v
 *   dead waits -> dead sent -> done     its dead letter (cut, with length and hash) accepted
 *              | refused too (too large)
 *              v
 *   short waits -> short sent -> done   cut to nearly nothing; refused even so: said in the log, counted
 *
 * Everything that may pass (no broker, a full queue, a topic being made) leaves the event waiting; a slot whose next
 * topic is not ready lets slots of other streams pass, but none of its own stream, so order within a stream holds. An
 * outage therefore fills the pool of batches and no more: librdkafka has no timeout here, and a batch goes back only when
 * every event is done.
 *
 * Dead letters are made when they are sent, into one scratch buffer, and copied by librdkafka: the batch itself is never
 * changed (the next sink must see it as it was) and need have no room for them.
 *
 * With exactly-once delivery (kafka_txn.c) a batch first joins a transaction, and goes with all its events or not at all. What is
 * known to be refused (kafka_blame.c) is a dead letter from the start then; a refusal that is news aborts the transaction, and
 * every batch goes back unsent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/deadletter.h"
#include "sinks/kafka_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define SLOTS_MAX 65536
#define TICKET_INDEX_BITS 16
#define SCRATCH_BYTES CORE_MIB /* 64 KiB of raw text, each byte as long as JSON can make it, and the rest */
#define SHORT_RAW_BYTES ((size_t)128)
#define HEADER_NAME "tapline"
#define TRACE_BYTES ((size_t)55) /* "00-" 32 digits "-" 16 digits "-01" */

_Static_assert(CORE_BATCH_LINES_MAX <= 1 << TICKET_INDEX_BITS, "an event's index must fit into a ticket");

/* What became of an attempt to go on. */
enum progress { PROGRESS_DONE, PROGRESS_BLOCKED, PROGRESS_STOP };

/* ---- slots ------------------------------------------------------------------------------------------------------------ */

static struct slot *slot_take(struct sink *sink) {
    struct slot *slot = sink->free_slots;
    if (slot != NULL) {
        sink->free_slots = slot->next;
        return slot;
    }
    if (sink->slots_len == SLOTS_MAX) {
        return NULL;
    }
    slot = calloc(1, sizeof *slot);
    struct slot **slots = realloc(sink->slots, (sink->slots_len + 1) * sizeof(struct slot *));
    MUST(slot != NULL && slots != NULL); /* happens as often as the pool has batches, at start */
    slot->number = sink->slots_len;
    sink->slots = slots;
    sink->slots[sink->slots_len++] = slot;
    return slot;
}

static void slot_begin(struct sink *sink, struct slot *slot, struct core_batch *batch) {
    uint32_t number = slot->number;
    MUST(batch->events_len <= CORE_BATCH_LINES_MAX);
    slot->next = NULL;
    slot->batch = batch;
    slot->cursor = 0;
    slot->open = batch->events_len;
    slot->again_waiting = 0;
    slot->accepted = 0;
    slot->dead = 0;
    slot->is_blocked = false;
    slot->txn = 0;
    slot->is_stale = !kafka_keeper_takes(sink->keeper, batch);
    slot->is_joining = !slot->is_stale && sink->keeper != NULL && (slot->open > 0 || batch->position.len > 0);
    slot->open = slot->is_stale ? 0 : slot->open + (slot->is_joining ? 1 : 0);
    slot->dataset = NULL;
    slot->topic = NULL;
    memset(slot->state, EVENT_WAITS, batch->events_len);
    MUST(slot->number == number);
    if (sink->first == NULL) {
        sink->first = slot;
    } else {
        sink->last->next = slot;
    }
    sink->last = slot;
    sink->finished += slot->open == 0 ? 1 : 0;
}

/* May this slot's stream be answered or sent, or does an earlier slot of it still hold it up? */
static bool is_behind(const struct sink *sink, const struct slot *slot, bool (*holds)(const struct slot *)) {
    for (const struct slot *earlier = sink->first; earlier != slot; earlier = earlier->next) {
        MUST(earlier != NULL);
        if (earlier->batch->stream == slot->batch->stream && holds(earlier)) {
            return true;
        }
    }
    return false;
}

static bool slot_is_open(const struct slot *slot) {
    return slot->open > 0;
}

static bool slot_is_blocked(const struct slot *slot) {
    return slot->is_blocked;
}

static bool is_sent(enum event_state state) {
    return state < EVENT_DONE && (state & 1u) == 1;
}

static bool is_again_waiting(uint8_t state) {
    return state == EVENT_ALONE_WAITS || state == EVENT_DEAD_WAITS || state == EVENT_SHORT_WAITS;
}

void kafka_event_done(struct sink *sink, struct slot *slot, uint32_t index, uint32_t *tally) {
    MUST(slot->open > 0);
    MUST(slot->state[index] != EVENT_DONE);
    slot->again_waiting -= is_again_waiting(slot->state[index]) ? 1 : 0;
    slot->state[index] = EVENT_DONE;
    if (tally != NULL) {
        (*tally)++;
    }
    slot->open--;
    sink->finished += slot->open == 0 ? 1 : 0;
}

bool kafka_slot_add(struct sink *sink, struct core_batch *batch) {
    struct slot *slot = slot_take(sink);
    if (slot != NULL) {
        slot_begin(sink, slot, batch);
    }
    return slot != NULL;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

/* The state an event goes back to when its sending came to nothing. */
static enum event_state waiting_state(enum event_state state) {
    MUST(state < EVENT_DONE);
    return state & ~1u;
}

void kafka_event_wait(struct slot *slot, uint32_t index, enum event_state state) {
    slot->again_waiting -= is_again_waiting(slot->state[index]) ? 1 : 0;
    slot->again_waiting += is_again_waiting((uint8_t)state) ? 1 : 0;
    slot->state[index] = (uint8_t)state;
    if (state == EVENT_WAITS && index < slot->cursor) {
        slot->cursor = index;
    }
}

struct kafka_topic *kafka_event_topic(struct sink *sink, struct slot *slot, uint32_t index) {
    const struct core_event *event = &slot->batch->events[index];
    if (event->is_dead || slot->state[index] >= EVENT_DEAD_WAITS) {
        return sink->topics.dead_letters;
    }
    if (event->dataset != slot->dataset) {
        slot->dataset = event->dataset;
        slot->topic = kafka_topics_find(&sink->topics, event->dataset);
    }
    return slot->topic;
}

void kafka_event_lost(struct sink *sink, const struct slot *slot, uint32_t index, int code) {
    const struct core_event *event = &slot->batch->events[index];
    char id[33] = "";
    core_record_id(slot->batch->stream->gen, event->start, id);
    core_log(CORE_LEVEL_ERROR, "kafka", "record and its dead letter refused for good; only this line has it",
             "id=%s path=\"%s\" start=%llu end=%llu reason=\"%s\"", id, slot->batch->stream->path,
             (unsigned long long)event->start, (unsigned long long)event->end, core_kafka_text(code));
    core_count(sink->env->counters, CORE_COUNT_SINK_DROPPED, 1);
}

/* Refused for good: the next, smaller thing to try; or, after the smallest, only the log. */
static void event_refused(struct sink *sink, struct slot *slot, uint32_t index, int code) {
    enum event_state was = waiting_state((enum event_state)slot->state[index]);
    if (was == EVENT_WAITS || was == EVENT_ALONE_WAITS) {
        slot->code[index] = code;
        core_count(sink->env->counters, CORE_COUNT_SINK_REFUSED, 1);
        kafka_event_wait(slot, index, EVENT_DEAD_WAITS);
        return;
    }
    if (was == EVENT_DEAD_WAITS) {
        kafka_event_wait(slot, index, EVENT_SHORT_WAITS);
        return;
    }
    kafka_event_lost(sink, slot, index, code);
    kafka_event_done(sink, slot, index, NULL);
}

static void event_failed(struct sink *sink, struct slot *slot, uint32_t index, enum core_kafka_fate fate, int code) {
    enum event_state waiting = waiting_state((enum event_state)slot->state[index]);
    int64_t now = core_tick_ns();
    switch (fate) {
    case CORE_KAFKA_RECORD:
        if (slot->state[index] == EVENT_SENT) { /* the batch was refused; is it this one? */
            slot->code[index] = code;
            kafka_event_wait(slot, index, EVENT_ALONE_WAITS);
        } else {
            event_refused(sink, slot, index, code);
        }
        return;
    case CORE_KAFKA_TOPIC: {
        struct kafka_topic *topic = kafka_event_topic(sink, slot, index);
        MUST(topic != NULL);
        if (!kafka_topic_refused(&sink->topics, topic, core_kafka_text(code), now)) {
            event_refused(sink, slot, index, code);
            return;
        }
        break;
    }
    case CORE_KAFKA_FATAL:
        sink->is_broken = true;
        break;
    default:
        sink->hold_ns = now + KAFKA_HOLD_NS;
        core_log(CORE_LEVEL_WARN, "kafka", "records came back and are sent again; nothing is lost", "reason=\"%s\"",
                 core_kafka_text(code));
        break;
    }
    sink_retry(sink->env->counters, &sink->retries,
               fate == CORE_KAFKA_TOPIC   ? SINK_CAUSE_TOPIC
               : fate == CORE_KAFKA_FATAL ? SINK_CAUSE_PRODUCER
                                          : SINK_CAUSE_BROKER);
    kafka_event_wait(slot, index, waiting);
}

/* Accepted alone, refused together because of size: so the topic takes less at once than librdkafka's batches hold, and
 * every batch would be refused. */
static void topic_wants_alone(struct sink *sink, struct slot *slot, uint32_t index) {
    struct kafka_topic *topic = kafka_event_topic(sink, slot, index);
    if (topic != NULL && !topic->is_alone && core_kafka_is_size(slot->code[index])) {
        topic->is_alone = true;
        core_log(
            CORE_LEVEL_WARN, "kafka",
            "topic takes less at once than a batch holds; its records are sent one by one, which is slow. Raise the "
            "topic's max.message.bytes, or set rdkafka.batch.size below it",
            "topic=\"%s\"", topic->name);
    }
}

void kafka_events_report(struct sink *sink, uint64_t ticket, enum core_kafka_fate fate, int code) {
    MUST(sink->outstanding > 0);
    sink->outstanding--;
    uint64_t number = ticket >> TICKET_INDEX_BITS;
    uint32_t index = (uint32_t)(ticket & ((1u << TICKET_INDEX_BITS) - 1));
    MUST(number < sink->slots_len);
    struct slot *slot = sink->slots[number];
    MUST(slot->batch != NULL && slot->batch->magic == CORE_BATCH_MAGIC);
    MUST(index < slot->batch->events_len);
    enum event_state state = (enum event_state)slot->state[index];
    MUST(is_sent(state));
    if (fate != CORE_KAFKA_ACCEPTED && sink->keeper != NULL) {
        kafka_keeper_failed(sink, slot, index, fate, code);
        kafka_event_wait(slot, index, waiting_state(state));
        return;
    }
    if (fate != CORE_KAFKA_ACCEPTED) {
        event_failed(sink, slot, index, fate, code);
        return;
    }
    if (state == EVENT_ALONE_SENT) {
        topic_wants_alone(sink, slot, index);
    }
    bool is_dead = state >= EVENT_DEAD_SENT || slot->batch->events[index].is_dead;
    kafka_event_done(sink, slot, index, is_dead ? &slot->dead : &slot->accepted);
}

/* ---- sending ---------------------------------------------------------------------------------------------------------- */

static const char *code_text(int code) {
    return code == KAFKA_CODE_NO_TOPIC   ? "there are too many datasets, or none can have that name"
           : code == KAFKA_CODE_GIVEN_UP ? "its topic is not to be had"
                                         : core_kafka_text(code);
}

/* The dead letter of an event that was refused, in the scratch buffer. */
static struct core_span dead_letter_make(struct sink *sink, const struct slot *slot, uint32_t index) {
    const struct core_event *event = &slot->batch->events[index];
    if (sink->scratch == NULL) {
        sink->scratch = malloc(SCRATCH_BYTES);
        MUST(sink->scratch != NULL);
    }
    struct kafka_topic *topic =
        event->is_dead ? sink->topics.dead_letters : kafka_topics_find(&sink->topics, event->dataset);
    int code = slot->code[index];
    char reason[1024];
    snprintf(reason, sizeof reason, "Kafka refused the document for good: %s; topic %s%s%s", code_text(code),
             topic == NULL ? event->dataset : topic->name,
             topic == NULL || topic->refusal[0] == '\0' ? "" : ", which could not be made: ",
             topic == NULL ? "" : topic->refusal);
    struct core_dead dead = {
        .reason = reason,
        .raw = event->doc,
        .raw_bytes_max = slot->state[index] == EVENT_SHORT_WAITS ? SHORT_RAW_BYTES : 0,
        .start = event->start,
        .end = event->end,
    };
    struct core_buf buf = {.start = sink->scratch, .pos = sink->scratch, .end = sink->scratch + SCRATCH_BYTES};
    core_dead_write(&buf, slot->batch->stream, &dead, core_now_ns());
    MUST(!buf.is_full);
    return core_buf_written(&buf);
}

/* As W3C's Trace Context has it. Shape: TRACE_BYTES, no NUL; empty if the batch is not traced. */
static struct core_span trace_write(const struct core_trace *trace, char out[TRACE_BYTES]) {
    static const char digits[] = "0123456789abcdef";
    if (!trace->is_sampled) {
        return (struct core_span){0};
    }
    size_t at = 0;
    out[at++] = '0'; /* the version … */
    out[at++] = '0';
    out[at++] = '-';
    for (size_t i = 0; i < sizeof trace->trace_id; i++) {
        out[at++] = digits[trace->trace_id[i] >> 4];
        out[at++] = digits[trace->trace_id[i] & 15];
    }
    out[at++] = '-';
    for (size_t i = 0; i < sizeof trace->span_id; i++) {
        out[at++] = digits[trace->span_id[i] >> 4];
        out[at++] = digits[trace->span_id[i] & 15];
    }
    out[at++] = '-';
    out[at++] = '0'; /* … and the flags: sampled */
    out[at++] = '1';
    MUST(at == TRACE_BYTES);
    return (struct core_span){.ptr = out, .len = TRACE_BYTES};
}

static enum core_kafka_fate record_send(struct sink *sink, const struct slot *slot, uint32_t index,
                                        const struct kafka_topic *topic, enum kafka_lane lane, int *code) {
    const struct core_event *event = &slot->batch->events[index];
    bool is_dead_letter = slot->state[index] >= EVENT_DEAD_WAITS;
    unsigned char header[32];
    char id[32];
    char trace[TRACE_BYTES];
    core_put_be64(header, slot->batch->stream->gen);
    core_put_be64(header + 8, event->start);
    core_put_be64(header + 16, event->end);
    core_put_be64(header + 24, event->from);
    struct core_kafka_record record = {
        .value = is_dead_letter ? dead_letter_make(sink, slot, index) : event->doc,
        .key = event->key,
        .header_name = HEADER_NAME,
        .header = {.ptr = (const char *)header, .len = event->from < event->start ? 32 : 24},
        .traceparent = trace_write(&slot->batch->trace, trace),
        .ticket = (uint64_t)slot->number << TICKET_INDEX_BITS | index,
        .is_copied = is_dead_letter,
    };
    if (record.key.len == 0) {
        core_record_id(slot->batch->stream->gen, event->start, id);
        record.key = (struct core_span){.ptr = id, .len = sizeof id};
    }
    return core_kafka_send(sink->lanes[lane], topic->handles[lane], &record, code);
}

/* Offer one waiting event to librdkafka. */
static enum progress event_send(struct sink *sink, struct slot *slot, uint32_t index, int64_t now) {
    enum event_state state = (enum event_state)slot->state[index];
    struct kafka_topic *topic = kafka_event_topic(sink, slot, index);
    if (topic == NULL) {
        event_refused(sink, slot, index, KAFKA_CODE_NO_TOPIC);
        return PROGRESS_DONE;
    }
    bool is_alone = sink->keeper == NULL && (state != EVENT_WAITS || topic->is_alone);
    enum kafka_lane lane =
        is_alone ? KAFKA_ALONE : KAFKA_TOGETHER; /* a transaction has one producer, of either shape */
    if (!kafka_lane_is_made(sink, lane, now)) {
        return PROGRESS_STOP;
    }
    if (!kafka_topic_is_ready(&sink->topics, topic, lane, now)) {
        return PROGRESS_BLOCKED;
    }
    int code = 0;
    enum core_kafka_fate fate = record_send(sink, slot, index, topic, lane, &code);
    if (fate == CORE_KAFKA_FULL) {
        sink_retry(sink->env->counters, &sink->retries, SINK_CAUSE_QUEUE_FULL);
        return PROGRESS_STOP;
    }
    if (fate == CORE_KAFKA_ACCEPTED) {
        sink->outstanding++;
        topic->txn = slot->txn;
        slot->state[index] = (uint8_t)(state + 1);
        slot->again_waiting -= is_again_waiting((uint8_t)state) ? 1 : 0;
        return PROGRESS_DONE;
    }
    if (sink->keeper != NULL) {
        kafka_keeper_failed(sink, slot, index, fate, code);
        return PROGRESS_STOP;
    }
    event_failed(sink, slot, index, fate, code);
    if (sink->is_broken || sink->hold_ns != 0) {
        return PROGRESS_STOP;
    }
    return slot->state[index] == (uint8_t)state ? PROGRESS_BLOCKED : PROGRESS_DONE;
}

static enum progress slot_send_plain(struct sink *sink, struct slot *slot, int64_t now) {
    slot->is_blocked = false;
    while (slot->cursor < slot->batch->events_len) {
        uint32_t index = slot->cursor;
        if (slot->state[index] == EVENT_WAITS) {
            enum progress progress = event_send(sink, slot, index, now);
            if (progress != PROGRESS_DONE) {
                slot->is_blocked = true;
                return progress;
            }
        }
        slot->cursor = index + 1;
    }
    return PROGRESS_DONE;
}

static enum progress slot_send_again(struct sink *sink, struct slot *slot, int64_t now) {
    for (uint32_t i = 0; i < slot->batch->events_len && slot->again_waiting > 0; i++) {
        enum progress progress = is_again_waiting(slot->state[i]) ? event_send(sink, slot, i, now) : PROGRESS_DONE;
        if (progress != PROGRESS_DONE) {
            return progress;
        }
    }
    return PROGRESS_DONE;
}

/* Exactly once: may the transaction take this batch? What an earlier one of its stream waits for, it waits for, too. */
static bool slot_joins(struct sink *sink, struct slot *slot, bool is_any_blocked, int64_t now) {
    slot->is_blocked = true;
    if ((is_any_blocked && is_behind(sink, slot, slot_is_blocked)) || !kafka_keeper_admits(sink, slot, now)) {
        return false;
    }
    slot->is_blocked = false;
    slot->is_joining = false;
    MUST(slot->open > 0);
    slot->open--;
    sink->finished += slot->open == 0 ? 1 : 0;
    return true;
}

void kafka_events_send(struct sink *sink, int64_t now) {
    bool is_any_blocked = false;
    if (sink->is_broken || (sink->hold_ns != 0 && now < sink->hold_ns)) {
        return;
    }
    sink->hold_ns = 0;
    if (sink->keeper == NULL ? !kafka_lane_is_made(sink, KAFKA_TOGETHER, now) : !kafka_keeper_sends(sink)) {
        return; /* topics are made through this one */
    }
    for (struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        enum progress progress = PROGRESS_DONE;
        if (slot->is_stale || (slot->is_joining && !slot_joins(sink, slot, is_any_blocked, now))) {
            is_any_blocked = is_any_blocked || slot->is_blocked;
            continue;
        }
        if (slot->cursor < slot->batch->events_len) {
            if (is_any_blocked && is_behind(sink, slot, slot_is_blocked)) {
                slot->is_blocked = true;
            } else {
                progress = slot_send_plain(sink, slot, now);
            }
            is_any_blocked = is_any_blocked || slot->is_blocked;
        }
        if (progress != PROGRESS_STOP && slot->again_waiting > 0) {
            progress = slot_send_again(sink, slot, now);
        }
        if (progress == PROGRESS_STOP) {
            return;
        }
    }
}

/* ---- all of them -------------------------------------------------------------------------------------------------------- */

void kafka_events_unsend(struct sink *sink) {
    sink->outstanding = 0;
    for (struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        for (uint32_t i = 0; i < slot->batch->events_len; i++) {
            enum event_state state = (enum event_state)slot->state[i];
            if (is_sent(state)) {
                kafka_event_wait(slot, i, waiting_state(state));
            }
        }
    }
}

bool kafka_events_are_sent(const struct sink *sink) {
    MUST(sink->keeper != NULL);
    for (const struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        if (!slot->is_joining && !slot->is_stale &&
            (slot->cursor < slot->batch->events_len || slot->again_waiting > 0)) {
            return false;
        }
    }
    return true;
}

void kafka_events_release(struct sink *sink) {
    MUST(sink->outstanding == 0);
    for (struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        slot->open -= slot->is_joining ? 1 : 0;
        sink->finished += slot->is_joining && slot->open == 0 ? 1 : 0;
        slot->is_joining = slot->is_blocked = false;
    }
}

void kafka_events_drop(struct sink *sink) {
    MUST(sink->outstanding == 0);
    for (struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        sink->finished += slot->open > 0 ? 1 : 0;
        slot->open = 0;
        slot->is_joining = false;
        slot->is_blocked = false;
        slot->is_stale = true;
    }
}

/* With exactly-once delivery what was delivered counts when it is committed. */
static void slot_account(struct sink *sink, const struct slot *slot) {
    if (sink->keeper == NULL) {
        struct core_tally *tally = &slot->batch->tally; /* what was refused is no document */
        tally->events = slot->accepted;
        tally->dead = slot->dead;
        tally->lost = slot->batch->events_len - slot->accepted - slot->dead;
        core_count(sink->env->counters, CORE_COUNT_SINK_ACCEPTED, slot->accepted);
        core_count(sink->env->counters, CORE_COUNT_SINK_DEAD, slot->dead);
    } else {
        kafka_keeper_gives(sink, slot);
    }
}

size_t kafka_events_give(struct sink *sink, struct core_batch **done, size_t max) {
    size_t len = 0;
    struct slot *before = NULL;
    struct slot *slot = sink->first;
    while (slot != NULL && len < max && sink->finished > 0) {
        struct slot *next = slot->next;
        if (slot->open > 0 || is_behind(sink, slot, slot_is_open)) {
            before = slot;
            slot = next;
            continue;
        }
        slot_account(sink, slot);
        done[len++] = slot->batch;
        slot->batch = NULL;
        *(before == NULL ? &sink->first : &before->next) = next;
        sink->last = next == NULL ? before : sink->last;
        slot->next = sink->free_slots;
        sink->free_slots = slot;
        sink->finished--;
        slot = next;
    }
    return len;
}
