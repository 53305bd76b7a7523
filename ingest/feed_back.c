/* ingest/feed_back.c: batches that come back: what became of each record is counted, and refused documents become dead letters.
 *
 * Batches come back in the order in which they were handed on (they are one stream), so behind the last one nothing is done,
 * and what is done of a partition is where its last mark stands. What came of an earlier epoch, or of a partition that
 * is another's by now, is forgotten: who has the partition reads it again, and counts it.
 *
 * A dead letter's own id is made of the place of the record that was refused, not of the document's id: who puts a document
 * back (`tapline dead-letter retry`) makes another record of it, and if that is refused, too, its dead letter is another
 * one. The document's id is in it as tapline.id.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/feed_internal.h"

#include "core/deadletter.h"

#include <stdio.h>
#include <stdlib.h>

#define DEAD_SEED UINT64_C(0x6465616400000000) /* "dead": apart from the ids of records without a header */
#define HEX_HALF 16
#define SECONDS_PER_DAY 86400

/* ---- dead letters -------------------------------------------------------------------------------------------------------- */

static void dead_add(struct feed_deads *list, struct feed_dead *dead) {
    dead->next = NULL;
    if (list->tail != NULL) {
        list->tail->next = dead;
    } else {
        list->head = dead;
    }
    list->tail = dead;
}

static uint64_t hex64(const char *digits) {
    uint64_t value = 0;
    for (size_t i = 0; i < HEX_HALF; i++) {
        char c = digits[i];
        value = value << 4 | (uint64_t)(core_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    return value;
}

struct core_span feed_dead_write(struct feed *feed, const struct feed_dead *dead, unsigned char header[16]) {
    MUST(dead->id.len == 2 * HEX_HALF);
    const struct core_stream stream = {.magic = CORE_STREAM_MAGIC, .gen = hex64(dead->id.ptr)};
    const struct core_dead_source source = {.kind = dead->is_unreadable ? "unreadable" : "refused",
                                            .topic = dead->topic,
                                            .partition = dead->partition,
                                            .offset = dead->offset,
                                            .dataset = dead->dataset};
    struct core_dead letter = {.reason = dead->reason,
                               .raw = dead->doc,
                               .raw_len = dead->doc_len,
                               .raw_bytes_max = dead->is_unreadable && feed->raw_bytes_max > CORE_DEAD_RAW_BYTES_MAX
                                                    ? CORE_DEAD_RAW_BYTES_MAX
                                                    : feed->raw_bytes_max,
                               .start = hex64(dead->id.ptr + HEX_HALF),
                               .source = &source};
    struct core_buf buf;
    const int64_t now = core_now_ns();
    do { /* what is no JSON after all may be six times as long when it is quoted: less of it, then */
        buf = (struct core_buf){
            .start = feed->scratch, .pos = feed->scratch, .end = feed->scratch + FEED_LETTER_BYTES_MAX};
        core_dead_write(&buf, &stream, &letter, now);
        letter.raw_bytes_max /= 2;
    } while (buf.is_full && letter.raw_bytes_max > 0);
    MUST(!buf.is_full);
    core_put_be64(header, core_hash64(dead->topic, strlen(dead->topic), DEAD_SEED ^ (uint64_t)dead->partition));
    core_put_be64(header + sizeof(uint64_t), (uint64_t)dead->offset);
    return core_buf_written(&buf);
}

/* By the kind of refusal: the engine's type of error, before the first ':'. */
void feed_dead_count(struct feed *feed, const struct feed_dead *dead) {
    struct core_span kind = core_span_of(dead->reason);
    const char *colon = dead->is_unreadable ? NULL : core_span_chr(kind, ':');
    kind.len = colon != NULL ? (size_t)(colon - kind.ptr) : kind.len;
    kind = core_utf8_cut(kind, FEED_DATASET_BYTES_MAX);
    size_t i = 0;
    while (i < feed->reasons_len && !core_span_is(kind, feed->reasons[i].name)) {
        i++;
    }
    if (i == feed->reasons_len) {
        i = i < FEED_REASONS_MAX ? i : FEED_REASONS_MAX;
        kind = i < FEED_REASONS_MAX ? kind : CORE_SPAN("(others)");
        memcpy(feed->reasons[i].name, kind.ptr, kind.len);
        feed->reasons[i].name[kind.len] = '\0';
        feed->reasons_len += i < FEED_REASONS_MAX ? 1 : 0;
    }
    feed->reasons[i].count++;
}

/* Where the refused document stands stays where it is, in its batch's arena. */
static struct feed_dead *refused_make(struct core_batch *batch, const struct core_event *event,
                                      const struct feed_note *note) {
    struct feed_dead *dead = core_arena_alloc(&batch->arena, sizeof(*dead));
    char *topic = core_arena_copy(&batch->arena, core_span_of(note->share->topic));
    MUST(dead != NULL);
    MUST(topic != NULL);
    *dead = (struct feed_dead){.topic = topic,
                               .partition = note->share->partition,
                               .offset = note->offset,
                               .doc = event->doc,
                               .doc_len = event->doc.len,
                               .key = event->key,
                               .letter = -1,
                               .id = event->id,
                               .dataset = event->dataset,
                               .reason = event->refusal != NULL ? event->refusal : "refused without a reason"};
    return dead;
}

/* It is in its topic, and stays there; of a dead letter there is no other. */
static void lost_tell(struct feed *feed, const struct feed_note *note, const char *reason) {
    feed->sums.lost++;
    core_log(CORE_LEVEL_ERROR, "feed",
             "a dead letter was refused by the engine; it stays in its topic and is not in the index",
             "topic=%s partition=%d offset=%lld reason=\"%s\"", note->share->topic, note->share->partition,
             (long long)note->offset, reason);
}

/* ---- counting ------------------------------------------------------------------------------------------------------------ */

static void taken_count(struct feed *feed, const char *dataset, enum feed_outcome outcome) {
    if (outcome == FEED_INDEXED) {
        feed->sums.indexed++;
    } else {
        feed->sums.repeated++;
    }
    if (feed->taken_last == NULL || feed->taken_last->name != dataset) {
        feed->taken_last = feed_dataset(feed, core_span_of(dataset));
    }
    feed->taken_last->taken++;
}

/* One record that is back. Returns whether its batch is needed for a dead letter. */
static bool record_count(struct feed *feed, struct core_batch *batch, const struct feed_note *note,
                         const struct core_event *event) {
    struct feed_share *share = note->share;
    struct feed_dead *dead = note->dead;
    if (share->place == NULL) {
        return false; /* another's by now */
    }
    if (dead == NULL && event->fate != CORE_FATE_REFUSED) {
        enum feed_outcome outcome = event->fate == CORE_FATE_TAKEN ? FEED_INDEXED : FEED_REPEATED;
        taken_count(feed, event->dataset, outcome);
        feed_ledger_count(share, note->offset, event->accepted_ms, event->dataset, outcome);
        return false;
    }
    const bool is_letter = share->is_dead_letters || (event != NULL && event->is_dead);
    const char *dataset = dead != NULL ? dead->dataset : event->dataset;
    feed_ledger_count(share, note->offset, dead != NULL ? dead->accepted_ms : event->accepted_ms, dataset, FEED_DEAD);
    feed->sums.dead++;
    if (is_letter) {
        lost_tell(feed, note, dead != NULL ? dead->reason : event->refusal != NULL ? event->refusal : "");
        return false;
    }
    dead_add(&feed->deads, dead != NULL ? dead : refused_make(batch, event, note));
    return true;
}

static void batch_count(struct feed *feed, struct core_batch *batch) {
    struct feed_side *side = &feed->sides[batch - feed->env.pool->batches];
    const int64_t today = core_now_ns() / CORE_NS_PER_S / SECONDS_PER_DAY;
    bool is_held = false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < side->notes_len; i++) {
        const struct feed_note *note = &side->notes[i];
        const struct core_event *event = note->dead == NULL ? &batch->events[at++] : NULL;
        is_held = record_count(feed, batch, note, event) || is_held;
    }
    MUST(at == batch->events_len);
    for (uint32_t i = 0; i < side->marks_len; i++) {
        struct feed_share *share = side->marks[i].share;
        MUST(share->under_way > 0);
        share->under_way--;
        if (share->place == NULL) {
            feed_share_settle(feed, share);
        } else {
            share->done = side->marks[i].to;
            feed_ledger_reach(share, share->done, today);
            feed->is_dirty = true;
        }
    }
    if (is_held) {
        side->next_held = feed->held;
        feed->held = batch;
    } else {
        core_pool_give(feed->env.pool, batch);
    }
}

bool feed_back_take(struct feed *feed) {
    struct core_batch *batch;
    bool was_any = false;
    while ((batch = feed->env.returned(feed->env.ctx)) != NULL) {
        MUST(batch->stream == &feed->stream);
        MUST(batch->seq == feed->seq_back);
        feed->seq_back++;
        was_any = true;
        if (feed->sides[batch - feed->env.pool->batches].epoch == feed->epoch) {
            batch_count(feed, batch);
        } else {
            core_pool_give(feed->env.pool, batch); /* its shares are gone */
        }
    }
    return was_any;
}

void feed_back_give(struct feed *feed, struct core_batch **list) {
    while (*list != NULL) {
        struct core_batch *batch = *list;
        *list = feed->sides[batch - feed->env.pool->batches].next_held;
        core_pool_give(feed->env.pool, batch);
    }
}
