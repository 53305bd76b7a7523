/* ingest/feed_fill.c: records of Kafka become events of a batch.
 *
 * A document is copied once, into the batch's arena: librdkafka's memory goes back at once, and the fetched-ahead bytes stay
 * the only ones it holds. The copy has no '\n' and no '\r': in JSON they can only stand between parts, where a blank is as
 * good, and a raw one would end a line of a bulk body in the middle.
 *
 * Beside the events, which are what the sinks see, each record has a note: whose it is, and what is not a document. A
 * record that is none has no event; it travels with its batch all the same, so that what is counted when a batch comes
 * back is in the order of the offsets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/deadletter.h"
#include "core/peek.h"

#include <stdlib.h>

#define HEADER_ID_BYTES 16
#define ID_BYTES 32

/* ---- names of datasets --------------------------------------------------------------------------------------------------- */

struct feed_dataset *feed_dataset(struct feed *feed, struct core_span name) {
    size_t at = core_hash64(name.ptr, name.len, 0) & (FEED_NAMES_CAP - 1);
    while (feed->names[at] != 0) {
        struct feed_dataset *found = &feed->datasets[feed->names[at] - 1];
        if (core_span_is(name, found->name)) {
            return found;
        }
        at = (at + 1) & (FEED_NAMES_CAP - 1);
    }
    if (feed->datasets_len == FEED_NAMES_MAX) {
        return &feed->datasets[0];
    }
    char *copy = malloc(name.len + 1);
    MUST(copy != NULL);
    memcpy(copy, name.ptr, name.len);
    copy[name.len] = '\0';
    feed->datasets[feed->datasets_len] = (struct feed_dataset){.name = copy};
    feed->names[at] = (uint16_t)++feed->datasets_len;
    return &feed->datasets[feed->datasets_len - 1];
}

/* A topic mostly has one dataset: its last name is looked at first. */
static const char *dataset_name(struct feed *feed, struct feed_share *share, struct core_span doc) {
    struct core_span name = feed_dataset_of(doc);
    if (share->dataset == NULL || !core_span_is(name, share->dataset)) {
        share->dataset = feed_dataset(feed, name)->name;
    }
    return share->dataset;
}

/* ---- a record ------------------------------------------------------------------------------------------------------------ */

static void newlines_blank(char *text, size_t len) {
    static const char ends[] = {'\n', '\r'};
    for (size_t i = 0; i < sizeof(ends); i++) {
        char *at = text;
        while ((at = memchr(at, ends[i], len - (size_t)(at - text))) != NULL) {
            *at = ' ';
        }
    }
}

/* A batch has room for what it takes: it is full long before its arena is. */
static struct core_span copy_of(struct core_batch *batch, struct core_span text) {
    char *copy = core_arena_alloc(&batch->arena, text.len > 0 ? text.len : 1);
    MUST(copy != NULL);
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    return (struct core_span){.ptr = copy, .len = text.len};
}

/* What tells a record from all others: what its producer said, else where it lies. */
struct identity {
    uint64_t gen;
    uint64_t start;
    bool is_foreign;
};

static uint64_t be64(const char *bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(value); i++) {
        value = value << 8 | (unsigned char)bytes[i];
    }
    return value;
}

static struct identity identity_of(const struct feed_share *share, const struct core_kafka_taken *taken) {
    if (taken->header.len >= HEADER_ID_BYTES) {
        return (struct identity){.gen = be64(taken->header.ptr), .start = be64(taken->header.ptr + sizeof(uint64_t))};
    }
    return (struct identity){.gen = core_hash64(share->topic, strlen(share->topic), (uint64_t)share->partition),
                             .start = (uint64_t)taken->offset,
                             .is_foreign = true};
}

static struct core_span id_write(struct core_batch *batch, const struct identity *identity) {
    char *id = core_arena_alloc(&batch->arena, ID_BYTES);
    MUST(id != NULL);
    core_record_id(identity->gen, identity->start, id);
    return (struct core_span){.ptr = id, .len = ID_BYTES};
}

/* NULL: it is a document. */
static const char *why_unreadable(struct core_span doc) {
    struct core_peek peek;
    if (doc.len > CORE_DOC_BYTES_MAX) {
        return "the document is longer than 8 MiB";
    }
    if (doc.len < 2 || doc.ptr[0] != '{' || doc.ptr[doc.len - 1] != '}' || !core_peek(doc, &peek)) {
        return "the record is no JSON object";
    }
    return NULL;
}

/* Only a dead letter will ask for it. */
static struct core_span key_copy(struct core_batch *batch, struct core_span key) {
    return key.len == 0 || key.len > FEED_KEY_BYTES_MAX ? (struct core_span){0} : copy_of(batch, key);
}

static struct feed_dead *unreadable_make(struct core_batch *batch, const struct feed_share *share,
                                         const struct core_kafka_taken *taken, const char *reason) {
    struct feed_dead *dead = core_arena_alloc(&batch->arena, sizeof(*dead));
    char *topic = core_arena_copy(&batch->arena, core_span_of(share->topic));
    MUST(dead != NULL);
    MUST(topic != NULL);
    struct core_span head = taken->value;
    head.len = head.len < CORE_DEAD_RAW_BYTES_MAX ? head.len : CORE_DEAD_RAW_BYTES_MAX;
    struct identity identity = identity_of(share, taken);
    *dead = (struct feed_dead){.topic = topic,
                               .partition = share->partition,
                               .offset = taken->offset,
                               .doc = copy_of(batch, head),
                               .doc_len = taken->value.len,
                               .key = key_copy(batch, taken->key),
                               .letter = -1,
                               .id = id_write(batch, &identity),
                               .reason = reason,
                               .is_unreadable = true};
    return dead;
}

static void event_make(struct feed *feed, struct core_batch *batch, struct feed_share *share,
                       const struct core_kafka_taken *taken, struct core_span doc) {
    struct identity identity = identity_of(share, taken);
    struct core_event *event = &batch->events[batch->events_len++];
    struct core_span copy = copy_of(batch, doc);
    newlines_blank((char *)(uintptr_t)copy.ptr, copy.len);
    const char *dataset = dataset_name(feed, share, copy);
    const bool is_dead = share->is_dead_letters || strcmp(dataset, CORE_DEAD_DATASET) == 0;
    *event = (struct core_event){
        .doc = copy,
        .key = is_dead ? (struct core_span){0} : key_copy(batch, taken->key),
        .dataset = dataset,
        .start = identity.start,
        .from = identity.start,
        .end = identity.start + 1,
        .is_dead = is_dead,
        .id = id_write(batch, &identity),
        /* no time, as only the oldest clients write it, is a time that stays: the same index at each try */
        .accepted_ms = taken->timestamp_ms > 0 ? taken->timestamp_ms : 1,
    };
    if (identity.is_foreign) {
        core_count(feed->env.counters, CORE_COUNT_FEED_FOREIGN, 1);
    }
}

/* ---- the batch ----------------------------------------------------------------------------------------------------------- */

static struct feed_side *side_of(struct feed *feed, const struct core_batch *batch) {
    return &feed->sides[batch - feed->env.pool->batches];
}

bool feed_fill_has_room(struct feed *feed) {
    if (feed->filling != NULL) {
        const struct feed_side *side = side_of(feed, feed->filling);
        if (side->records < CORE_BATCH_LINES_MAX && side->bytes + side->key_bytes < FEED_BATCH_BYTES) {
            return true;
        }
        feed_fill_push(feed);
    }
    struct core_batch *batch = core_pool_take(feed->env.pool);
    if (batch == NULL) {
        return false;
    }
    struct feed_side *side = side_of(feed, batch);
    side->notes_len = side->marks_len = side->records = 0;
    side->bytes = side->key_bytes = 0;
    side->epoch = feed->epoch;
    side->begun_ns = 0;
    side->next_held = NULL;
    feed->filling = batch;
    feed->filling_records = 0;
    feed->batches_made++;
    return true;
}

/* The batch has records of this share, up to here. */
static void mark(struct feed *feed, struct feed_side *side, struct feed_share *share,
                 const struct core_kafka_taken *taken) {
    if (share->marked_batch != feed->batches_made) {
        feed_health_point(share, taken->offset, taken->timestamp_ms);
        MUST(side->marks_len < CORE_BATCH_LINES_MAX);
        share->marked_batch = feed->batches_made;
        share->mark_at = side->marks_len++;
        side->marks[share->mark_at].share = share;
    }
    side->marks[share->mark_at].to = taken->offset + 1;
}

/* Was it written after --once began? Dead letters of others are taken all the same, as long as one of our own may still come
 * behind them: it is read, too, and the offset behind it says that all before it was. */
static bool is_next_runs(const struct feed *feed, struct feed_share *share, int64_t offset) {
    share->is_at_end = share->is_at_end || (share->once_end >= 0 && offset >= share->once_end);
    if (!share->is_at_end || (share->is_dead_letters && !share->has_left_out && feed_shares_may_die(feed))) {
        return false;
    }
    share->has_left_out = true;
    return true;
}

void feed_fill_record(struct feed *feed, const struct core_kafka_taken *taken) {
    struct feed_share *share = taken->share->owner;
    MUST(share != NULL && share->magic == FEED_SHARE_MAGIC);
    if (is_next_runs(feed, share, taken->offset)) {
        return;
    }
    struct core_batch *batch = feed->filling;
    MUST(batch != NULL);
    struct feed_side *side = side_of(feed, batch);
    MUST(side->records < CORE_BATCH_LINES_MAX);
    MUST(taken->offset >= share->next);
    if (share->next < 0) { /* the group had no offset here: its account begins with the oldest record there is */
        share->done = taken->offset;
        feed_ledger_begin(share, taken->offset, core_now_ns() / CORE_NS_PER_S / 86400);
    }
    share->next = taken->offset + 1;
    share->end = -1;
    side->begun_ns = side->begun_ns == 0 ? core_tick_ns() : side->begun_ns;
    side->records++;
    feed->filling_records = side->records;
    mark(feed, side, share, taken);
    if (taken->is_tombstone) {
        core_count(feed->env.counters, CORE_COUNT_FEED_TOMBSTONES, 1);
        return;
    }
    struct feed_note *note = &side->notes[side->notes_len++];
    *note = (struct feed_note){.share = share, .offset = taken->offset};
    struct core_span doc = core_span_trim(taken->value);
    const char *reason = why_unreadable(doc);
    if (reason == NULL) {
        event_make(feed, batch, share, taken, doc);
        side->key_bytes += batch->events[batch->events_len - 1].key.len;
        feed_link_add(batch, taken->traceparent);
    } else {
        note->dead = unreadable_make(batch, share, taken, reason);
        note->dead->dataset = feed_dataset(feed, feed_dataset_of(taken->value))->name;
        note->dead->accepted_ms = taken->timestamp_ms;
        side->key_bytes += note->dead->key.len;
    }
    side->bytes += taken->value.len;
}

void feed_fill_push(struct feed *feed) {
    struct core_batch *batch = feed->filling;
    if (batch == NULL || side_of(feed, batch)->records == 0) {
        return;
    }
    const struct feed_side *side = side_of(feed, batch);
    for (uint32_t i = 0; i < side->marks_len; i++) {
        side->marks[i].share->under_way++;
    }
    core_count(feed->env.counters, CORE_COUNT_FEED_RECORDS, side->notes_len);
    core_count(feed->env.counters, CORE_COUNT_FEED_BYTES, side->bytes);
    batch->stream = &feed->stream;
    batch->seq = feed->seq++;
    batch->epoch = 0; /* no keeper of positions has any part in it */
    batch->tally = (struct core_tally){.records = side->notes_len, .events = batch->events_len};
    batch->stamps[CORE_STAMP_READ] = side->begun_ns;
    batch->stamps[CORE_STAMP_PUSHED] = core_tick_ns();
    feed->filling = NULL;
    feed->filling_records = 0;
    feed->env.push(feed->env.ctx, batch);
}

int64_t feed_fill_due(const struct feed *feed) {
    return feed->filling_records == 0 ? INT64_MAX
                                      : feed->sides[feed->filling - feed->env.pool->batches].begun_ns + FEED_LINGER_NS;
}

void feed_fill_drop(struct feed *feed) {
    if (feed->filling != NULL) {
        core_pool_give(feed->env.pool, feed->filling);
        feed->filling = NULL;
        feed->filling_records = 0;
        feed->batches_made++; /* marks in it are no marks of the next one */
    }
}
