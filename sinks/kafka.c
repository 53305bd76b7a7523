/* sinks/kafka.c: documents as records into Kafka: what happens to each event of a batch until it is answered.
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
 * There are two producers: one with librdkafka's batches, and, made when first needed, one whose batches are of one. What
 * a broker refuses goes through the second before it is believed to be refused itself; so does a topic that takes less at
 * once than a batch holds.
 *
 * An idempotent producer can fail for good (a broker that lost its state). Then a new one is made and all that was not
 * answered is sent again in order: records may repeat, with the same id, and none is lost.
 *
 * Thread: the sink's own. It sleeps on librdkafka's eventfd and on its doorbell together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/deadletter.h"
#include "sinks/kafka_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define KAFKA_SINK_MAGIC 0x6b73696eu
#define SLOTS_MAX 65536
#define TICKET_INDEX_BITS 16
#define SCRATCH_BYTES CORE_MIB /* 64 KiB of raw text, each byte as long as JSON can make it, and the rest */
#define SHORT_RAW_BYTES ((size_t)128)
#define HOLD_NS CORE_NS_PER_S
#define REMAKE_HOLD_MAX_NS (30 * CORE_NS_PER_S)
#define REMAKE_CALM_NS (60 * CORE_NS_PER_S)
#define COMPARE_NS CORE_NS_PER_S
#define HEADER_NAME "tapline"
#define CODE_NO_TOPIC (-100000) /* not librdkafka's: no topic can be had for that dataset */

_Static_assert(CORE_BATCH_LINES_MAX <= 1 << TICKET_INDEX_BITS, "an event's index must fit into a ticket");

/* Each state that waits is even, and the state of having been sent from there is the next. */
enum event_state {
    EVENT_WAITS,
    EVENT_SENT,
    EVENT_ALONE_WAITS,
    EVENT_ALONE_SENT,
    EVENT_DEAD_WAITS,
    EVENT_DEAD_SENT,
    EVENT_SHORT_WAITS,
    EVENT_SHORT_SENT,
    EVENT_DONE
};

struct slot {
    struct slot *next; /* in order of arrival; or the next free one */
    struct core_batch *batch;
    uint32_t number;        /* in sink->slots */
    uint32_t cursor;        /* events before it do not wait */
    uint32_t open;          /* events not done */
    uint32_t again_waiting; /* events in EVENT_ALONE_WAITS, EVENT_DEAD_WAITS, EVENT_SHORT_WAITS */
    uint32_t accepted;
    uint32_t dead;
    bool is_blocked;     /* its next event's topic is not ready */
    const char *dataset; /* of `topic`: most batches have one. Valid for this batch only */
    struct kafka_topic *topic;
    uint8_t state[CORE_BATCH_LINES_MAX]; /* enum event_state */
    int32_t code[CORE_BATCH_LINES_MAX];  /* why refused */
};

struct sink {
    uint32_t magic;
    const struct kafka_conf *conf;
    const struct sink_env *env;
    struct core_kafka_pair *pairs;
    size_t pairs_len;
    struct core_kafka *lanes[KAFKA_LANES]; /* NULL: not made yet, or failed for good and to be made again */
    struct kafka_topics topics;
    struct slot **slots; /* by number; grows to as many as batches ever were here at once */
    uint32_t slots_len;
    struct slot *free_slots;
    struct slot *first; /* in order of arrival */
    struct slot *last;
    uint32_t finished; /* slots in the list with nothing open */
    int64_t hold_ns;   /* core_tick_ns() before which nothing is sent; 0: none */
    int64_t compared_ns;
    bool is_broken; /* the producer failed for good */
    int64_t made_ns;
    int64_t remake_hold_ns;
    char *scratch;
};

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

static void event_done(struct sink *sink, struct slot *slot, uint32_t index, uint32_t *tally) {
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

/* ---- answers ---------------------------------------------------------------------------------------------------------- */

/* The state an event goes back to when its sending came to nothing. */
static enum event_state waiting_state(enum event_state state) {
    MUST(state < EVENT_DONE);
    return state & ~1u;
}

static void event_wait(struct slot *slot, uint32_t index, enum event_state state) {
    slot->again_waiting -= is_again_waiting(slot->state[index]) ? 1 : 0;
    slot->again_waiting += is_again_waiting((uint8_t)state) ? 1 : 0;
    slot->state[index] = (uint8_t)state;
    if (state == EVENT_WAITS && index < slot->cursor) {
        slot->cursor = index;
    }
}

static struct kafka_topic *event_topic(struct sink *sink, struct slot *slot, uint32_t index) {
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

/* Refused for good: the next, smaller thing to try; or, after the smallest, only the log. */
static void event_refused(struct sink *sink, struct slot *slot, uint32_t index, int code) {
    const struct core_event *event = &slot->batch->events[index];
    enum event_state was = waiting_state((enum event_state)slot->state[index]);
    if (was == EVENT_WAITS || was == EVENT_ALONE_WAITS) {
        slot->code[index] = code;
        core_count(sink->env->counters, CORE_COUNT_SINK_REFUSED, 1);
        event_wait(slot, index, EVENT_DEAD_WAITS);
        return;
    }
    if (was == EVENT_DEAD_WAITS) {
        event_wait(slot, index, EVENT_SHORT_WAITS);
        return;
    }
    char id[33] = "";
    core_record_id(slot->batch->stream->gen, event->start, id);
    core_log(CORE_LEVEL_ERROR, "kafka", "record and its dead letter refused for good; only this line has it",
             "id=%s path=\"%s\" start=%llu end=%llu reason=\"%s\"", id, slot->batch->stream->path,
             (unsigned long long)event->start, (unsigned long long)event->end, core_kafka_text(code));
    core_count(sink->env->counters, CORE_COUNT_SINK_DROPPED, 1);
    event_done(sink, slot, index, NULL);
}

static void event_failed(struct sink *sink, struct slot *slot, uint32_t index, enum core_kafka_fate fate, int code) {
    enum event_state waiting = waiting_state((enum event_state)slot->state[index]);
    int64_t now = core_tick_ns();
    switch (fate) {
    case CORE_KAFKA_RECORD:
        if (slot->state[index] == EVENT_SENT) { /* the batch was refused; is it this one? */
            slot->code[index] = code;
            event_wait(slot, index, EVENT_ALONE_WAITS);
        } else {
            event_refused(sink, slot, index, code);
        }
        return;
    case CORE_KAFKA_TOPIC: {
        struct kafka_topic *topic = event_topic(sink, slot, index);
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
        sink->hold_ns = now + HOLD_NS;
        core_log(CORE_LEVEL_WARN, "kafka", "records came back and are sent again; nothing is lost", "reason=\"%s\"",
                 core_kafka_text(code));
        break;
    }
    core_count(sink->env->counters, CORE_COUNT_SINK_RETRIES, 1);
    event_wait(slot, index, waiting);
}

/* Accepted alone, refused together because of size: so the topic takes less at once than librdkafka's batches hold, and
 * every batch would be refused. */
static void topic_wants_alone(struct sink *sink, struct slot *slot, uint32_t index) {
    struct kafka_topic *topic = event_topic(sink, slot, index);
    if (topic != NULL && !topic->is_alone && core_kafka_is_size(slot->code[index])) {
        topic->is_alone = true;
        core_log(
            CORE_LEVEL_WARN, "kafka",
            "topic takes less at once than a batch holds; its records are sent one by one, which is slow. Raise the "
            "topic's max.message.bytes, or set rdkafka.batch.size below it",
            "topic=\"%s\"", topic->name);
    }
}

static void on_report(void *ctx, uint64_t ticket, enum core_kafka_fate fate, int code) {
    struct sink *sink = ctx;
    uint64_t number = ticket >> TICKET_INDEX_BITS;
    uint32_t index = (uint32_t)(ticket & ((1u << TICKET_INDEX_BITS) - 1));
    MUST(number < sink->slots_len);
    struct slot *slot = sink->slots[number];
    MUST(slot->batch != NULL && slot->batch->magic == CORE_BATCH_MAGIC);
    MUST(index < slot->batch->events_len);
    enum event_state state = (enum event_state)slot->state[index];
    MUST(is_sent(state));
    if (fate != CORE_KAFKA_ACCEPTED) {
        event_failed(sink, slot, index, fate, code);
        return;
    }
    if (state == EVENT_ALONE_SENT) {
        topic_wants_alone(sink, slot, index);
    }
    bool is_dead = state >= EVENT_DEAD_SENT || slot->batch->events[index].is_dead;
    event_done(sink, slot, index, is_dead ? &slot->dead : &slot->accepted);
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
static bool lane_is_made(struct sink *sink, enum kafka_lane lane, int64_t now) {
    if (sink->lanes[lane] != NULL) {
        return true;
    }
    struct core_fail fail;
    if (lane_make(sink, lane, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "kafka", "no new producer; records wait, and it is tried again", &fail);
        sink->hold_ns = now + REMAKE_HOLD_MAX_NS;
        return false;
    }
    return true;
}

/* ---- sending ---------------------------------------------------------------------------------------------------------- */

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
    snprintf(reason, sizeof reason, "Kafka refused the document for good: %s; topic %s%s%s",
             code == CODE_NO_TOPIC ? "there are too many datasets, or none can have that name" : core_kafka_text(code),
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

static enum core_kafka_fate record_send(struct sink *sink, const struct slot *slot, uint32_t index,
                                        const struct kafka_topic *topic, enum kafka_lane lane, int *code) {
    const struct core_event *event = &slot->batch->events[index];
    bool is_dead_letter = slot->state[index] >= EVENT_DEAD_WAITS;
    unsigned char header[32];
    char id[32];
    core_put_be64(header, slot->batch->stream->gen);
    core_put_be64(header + 8, event->start);
    core_put_be64(header + 16, event->end);
    core_put_be64(header + 24, event->from);
    struct core_kafka_record record = {
        .value = is_dead_letter ? dead_letter_make(sink, slot, index) : event->doc,
        .key = event->key,
        .header_name = HEADER_NAME,
        .header = {.ptr = (const char *)header, .len = event->from < event->start ? 32 : 24},
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
    struct kafka_topic *topic = event_topic(sink, slot, index);
    if (topic == NULL) {
        event_refused(sink, slot, index, CODE_NO_TOPIC);
        return PROGRESS_DONE;
    }
    enum kafka_lane lane = state != EVENT_WAITS || topic->is_alone ? KAFKA_ALONE : KAFKA_TOGETHER;
    if (!lane_is_made(sink, lane, now)) {
        return PROGRESS_STOP;
    }
    if (!kafka_topic_is_ready(&sink->topics, topic, lane, now)) {
        return PROGRESS_BLOCKED;
    }
    int code = 0;
    enum core_kafka_fate fate = record_send(sink, slot, index, topic, lane, &code);
    if (fate == CORE_KAFKA_FULL) {
        core_count(sink->env->counters, CORE_COUNT_SINK_RETRIES, 1);
        return PROGRESS_STOP;
    }
    if (fate == CORE_KAFKA_ACCEPTED) {
        slot->state[index] = (uint8_t)(state + 1);
        slot->again_waiting -= is_again_waiting((uint8_t)state) ? 1 : 0;
        return PROGRESS_DONE;
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

/* Send what waits, in order, as far as it goes. */
static void send_waiting(struct sink *sink, int64_t now) {
    bool is_any_blocked = false;
    if (sink->is_broken || (sink->hold_ns != 0 && now < sink->hold_ns)) {
        return;
    }
    sink->hold_ns = 0;
    if (!lane_is_made(sink, KAFKA_TOGETHER, now)) { /* topics are made through this one */
        return;
    }
    for (struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        enum progress progress = PROGRESS_DONE;
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

/* ---- after a fatal error ----------------------------------------------------------------------------------------------------- */

static void events_unsend(struct sink *sink) {
    for (struct slot *slot = sink->first; slot != NULL; slot = slot->next) {
        for (uint32_t i = 0; i < slot->batch->events_len; i++) {
            enum event_state state = (enum event_state)slot->state[i];
            if (is_sent(state)) {
                event_wait(slot, i, waiting_state(state));
            }
        }
    }
}

static void producers_drop(struct sink *sink, int64_t now) {
    bool is_calm = now - sink->made_ns > REMAKE_CALM_NS;
    sink->remake_hold_ns = is_calm || sink->remake_hold_ns == 0 ? HOLD_NS : 2 * sink->remake_hold_ns;
    if (sink->remake_hold_ns > REMAKE_HOLD_MAX_NS) {
        sink->remake_hold_ns = REMAKE_HOLD_MAX_NS;
    }
    sink->hold_ns = now + sink->remake_hold_ns;
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        if (sink->lanes[lane] != NULL) {
            core_kafka_poll(sink->lanes[lane]); /* what was accepted is not sent again */
            core_kafka_close(sink->lanes[lane]);
            sink->lanes[lane] = NULL;
            kafka_topics_rebind(&sink->topics, (enum kafka_lane)lane, NULL);
        }
    }
    sink->is_broken = false;
    core_count(sink->env->counters, CORE_COUNT_SINK_RETRIES, 1);
    events_unsend(sink);
}

/* ---- the sink ----------------------------------------------------------------------------------------------------------- */

static void turn(struct sink *sink) {
    int64_t now = core_tick_ns();
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        if (sink->lanes[lane] != NULL) {
            core_kafka_poll(sink->lanes[lane]);
        }
    }
    if (sink->is_broken) {
        producers_drop(sink, now);
    }
    send_waiting(sink, now);
    if (now - sink->compared_ns >= COMPARE_NS) {
        sink->compared_ns = now;
        kafka_topics_compare(&sink->topics);
    }
}

/* Batches with nothing open, none before an earlier one of its stream. */
static size_t give_back(struct sink *sink, struct core_batch **done, size_t max) {
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
        core_count(sink->env->counters, CORE_COUNT_SINK_ACCEPTED, slot->accepted);
        core_count(sink->env->counters, CORE_COUNT_SINK_DEAD, slot->dead);
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

static int sleep_ms(const struct sink *sink, int timeout_ms) {
    int64_t now = core_tick_ns();
    int64_t due = now + (int64_t)timeout_ms * CORE_NS_PER_MS;
    int64_t topics_due = kafka_topics_due(&sink->topics, now);
    due = topics_due < due ? topics_due : due;
    due = sink->hold_ns != 0 && sink->hold_ns < due ? sink->hold_ns : due;
    return due <= now ? 1 : (int)((due - now + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
}

static enum core_err kafka_send(struct sink *sink, struct core_batch *batch) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    MUST(batch->magic == CORE_BATCH_MAGIC);
    struct slot *slot = slot_take(sink);
    if (slot == NULL) {
        return CORE_AGAIN;
    }
    slot_begin(sink, slot, batch);
    turn(sink);
    return CORE_OK;
}

static size_t kafka_poll(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms) {
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    MUST(max > 0);
    turn(sink);
    size_t len = give_back(sink, done, max);
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
    return give_back(sink, done, max);
}

static void kafka_close(struct sink *sink) {
    if (sink == NULL) {
        return;
    }
    MUST(sink->magic == KAFKA_SINK_MAGIC);
    for (size_t lane = 0; lane < KAFKA_LANES; lane++) {
        core_kafka_close(sink->lanes[lane]);
    }
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
    sink->pairs = kafka_conf_pairs(conf, &sink->pairs_len);
    enum core_err err = kafka_topics_open(&sink->topics, conf, fail);
    if (err == CORE_OK) {
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
    .open = kafka_open,
    .send = kafka_send,
    .poll = kafka_poll,
    .is_gone = NULL,
    .flush = NULL,
    .close = kafka_close,
};
