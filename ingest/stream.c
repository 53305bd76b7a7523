/* ingest/stream.c: a generation and the accounts of its batches.
 *
 * Design: each batch made has a ticket: the mark where its stream stands once it is accepted. Batches come back in any
 * order; the accepted mark moves over the unbroken prefix only, and a batch that is back too early is held, for its
 * ticket goes with it. A batch whose transaction is open leaves its ticket with the stream (`pending`) and goes to the pool:
 * the mark moves when that is committed, and does not when it is aborted. The last batch of a stream is an empty one with
 * is_last; when it is back and nothing is pending, the stream is freed.
 *
 * On a crash what was accepted since the last checkpoint is read again, with the same positions and the same generation;
 * with a keeper of positions, which has them with the records, only what was not committed.
 * Thread: ingest's; the batches are with other threads between ingest_emit() and ingest_stream_back().
 * SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_internal.h"

#include <stdlib.h>

char *ingest_strdup(const char *text) {
    char *copy = strdup(text);
    MUST(copy != NULL);
    return copy;
}

/* The texts of an origin, which the copy owns. */
static const size_t origin_texts[] = {
    offsetof(struct core_origin, fields_json), offsetof(struct core_origin, csv_fields),
    offsetof(struct core_origin, timezone),    offsetof(struct core_origin, sid_msg_map),
    offsetof(struct core_origin, gen_msg_map), offsetof(struct core_origin, classification_config),
};

static char **origin_text(struct core_origin *origin, size_t i) {
    return (char **)(void *)((char *)origin + origin_texts[i]);
}

struct ingest_origin *ingest_origin_new(const struct core_origin *origin) {
    struct ingest_origin *copy = calloc(1, sizeof(*copy));
    MUST(copy != NULL);
    copy->core = *origin;
    copy->refs = 1;
    for (size_t i = 0; i < sizeof(origin_texts) / sizeof(origin_texts[0]); i++) {
        char **text = origin_text(&copy->core, i);
        *text = *text == NULL ? NULL : ingest_strdup(*text);
    }
    return copy;
}

struct ingest_origin *ingest_origin_hold(struct ingest_origin *origin) {
    MUST(origin->refs > 0);
    origin->refs++;
    return origin;
}

void ingest_origin_drop(struct ingest_origin *origin) {
    if (origin == NULL) {
        return;
    }
    MUST(origin->refs > 0);
    if (--origin->refs == 0) {
        for (size_t i = 0; i < sizeof(origin_texts) / sizeof(origin_texts[0]); i++) {
            free(*origin_text(&origin->core, i));
        }
        free(origin);
    }
}

static struct ingest_stream *stream_link(struct ingest *ingest, struct ingest_stream *stream) {
    stream->next = ingest->streams;
    if (stream->next != NULL) {
        stream->next->prev = stream;
    }
    ingest->streams = stream;
    return stream;
}

struct ingest_stream *ingest_stream_new(struct ingest *ingest, struct ingest_file *file) {
    MUST(file->stream == NULL);
    MUST(file->origin != NULL);
    struct ingest_stream *stream = calloc(1, sizeof(*stream));
    MUST(stream != NULL);
    stream->path = ingest_strdup(file->memory.first_path);
    stream->origin = ingest_origin_hold(file->origin);
    stream->file = file;
    stream->given_end = file->memory.accepted.pos;
    stream->core = (struct core_stream){
        .magic = CORE_STREAM_MAGIC,
        .worker = ingest->worker_next,
        .gen = file->memory.gen,
        .path = stream->path,
        .mtime_ns = file->memory.mtime_ns,
        .origin = &stream->origin->core,
        .open_from = file->memory.open_from,
        .tally = file->memory.tally,
    };
    ingest->worker_next = (ingest->worker_next + 1) % ingest->env.workers;
    file->stream = stream;
    return stream_link(ingest, stream);
}

struct ingest_stream *ingest_stream_new_control(struct ingest *ingest) {
    static const struct core_origin nowhere = {0};
    struct ingest_stream *stream = calloc(1, sizeof(*stream));
    MUST(stream != NULL);
    stream->path = ingest_strdup("");
    stream->origin = ingest_origin_new(&nowhere);
    stream->is_control = stream->is_retiring = stream->is_last_made = true;
    stream->core =
        (struct core_stream){.magic = CORE_STREAM_MAGIC, .path = stream->path, .origin = &stream->origin->core};
    return stream_link(ingest, stream);
}

void ingest_stream_retire(struct ingest *ingest, struct ingest_stream *stream) {
    if (!stream->is_retiring) {
        stream->is_retiring = true;
        ingest->retiring_len++;
    }
}

void ingest_stream_free(struct ingest *ingest, struct ingest_stream *stream) {
    MUST(stream->core.magic == CORE_STREAM_MAGIC);
    struct ingest_file *file = stream->file;
    MUST(ingest->pending >= stream->pending.batches);
    ingest->pending -= stream->pending.batches;
    ingest->retiring_len -= stream->is_retiring && !stream->is_last_made ? 1 : 0;
    if (file != NULL) {
        MUST(file->stream == stream);
        file->stream = NULL;
        if (file->awaits_drain) {
            file->awaits_drain = file->awaits_close = false;
            ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
        }
    }
    if (stream->prev != NULL) {
        stream->prev->next = stream->next;
    } else {
        ingest->streams = stream->next;
    }
    if (stream->next != NULL) {
        stream->next->prev = stream->prev;
    }
    stream->core.magic = 0;
    ingest_origin_drop(stream->origin);
    free(stream->path);
    free(stream);
}

bool ingest_stream_is_settled(const struct ingest_stream *stream) {
    return stream->seq_back == stream->seq_next && stream->pending.txn == 0 && !stream->is_dropped;
}

/* Everything of it is accepted: who waits for that? Frees it if it is over. */
static void note_settled(struct ingest *ingest, struct ingest_stream *stream) {
    struct ingest_file *file = stream->file;
    if (!ingest_stream_is_settled(stream)) {
        return;
    }
    if (file != NULL && file->awaits_close && !file->awaits_drain) {
        file->awaits_close = false;
        ingest_file_close(ingest, file);
    }
    if (stream->is_last_back) {
        ingest_stream_free(ingest, stream);
    } else if (file != NULL && file->awaits_drain && !stream->is_retiring) {
        file->awaits_drain = false;
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    }
}

static void add_tally(struct core_tally *to, const struct core_tally *more) {
    to->records += more->records;
    to->events += more->events;
    to->dead += more->dead;
    to->dropped += more->dropped;
    to->lost += more->lost;
}

static void accept(struct ingest *ingest, struct ingest_stream *stream, const struct ingest_pending *standing) {
    struct ingest_file *file = stream->file;
    if (stream->is_control) {
        ingest_commit_lines_back(ingest, true);
    }
    if (file != NULL) {
        struct ingest_memory *memory = &file->memory;
        MUST(standing->mark.pos >= memory->accepted.pos);
        memory->accepted = standing->mark;
        memory->open_from = standing->open_from;
        add_tally(&memory->tally, &standing->tally);
        ingest->is_dirty = true;
    }
}

/* This batch's turn has come: all before it are accounted for. */
static void account(struct ingest *ingest, struct ingest_stream *stream, struct core_batch *batch) {
    MUST(batch->seq == stream->seq_back);
    struct ingest_pending *pending = &stream->pending;
    const bool is_open = batch->txn > ingest->commit.committed;
    const bool is_committed = batch->txn != 0 && !is_open; /* before the abort of a later transaction, if one came */
    stream->seq_back++;
    stream->is_last_back = batch->is_last;
    if (batch->epoch < ingest->commit.newest && !is_committed) {
        stream->is_dropped = stream->is_dropped || batch->lines_len > 0 || stream->is_control;
    } else if (!batch->is_last || stream->is_control) {
        const struct ingest_pending standing = {
            .mark = ingest->tickets[batch - ingest->env.pool->batches],
            .open_from = batch->open_from,
            .tally = batch->tally,
        };
        /* A batch that had nothing for the keeper is no sooner accepted than those before it. */
        if (is_open || pending->txn != 0) {
            MUST(pending->txn == 0 || batch->txn == 0 || batch->txn == pending->txn);
            pending->txn = is_open ? batch->txn : pending->txn;
            pending->batches++;
            pending->mark = standing.mark;
            pending->open_from = standing.open_from;
            add_tally(&pending->tally, &standing.tally);
            ingest->pending++;
        } else {
            accept(ingest, stream, &standing);
        }
    }
    core_pool_give(ingest->env.pool, batch);
}

void ingest_stream_commit_all(struct ingest *ingest, uint64_t committed) {
    struct ingest_stream *next = NULL;
    for (struct ingest_stream *stream = ingest->streams; stream != NULL; stream = next) {
        next = stream->next;
        struct ingest_pending *pending = &stream->pending;
        if (pending->txn == 0 || pending->txn > committed) {
            continue;
        }
        accept(ingest, stream, pending);
        MUST(ingest->pending >= pending->batches);
        ingest->pending -= pending->batches;
        *pending = (struct ingest_pending){0};
        note_settled(ingest, stream);
    }
}

void ingest_stream_drop_all(struct ingest *ingest) {
    for (struct ingest_stream *stream = ingest->streams; stream != NULL; stream = stream->next) {
        struct ingest_pending *pending = &stream->pending;
        if (pending->txn != 0) {
            MUST(ingest->pending >= pending->batches);
            ingest->pending -= pending->batches;
            *pending = (struct ingest_pending){0};
            stream->is_dropped = true;
        }
    }
}

static void hold(struct ingest_stream *stream, struct core_batch *batch) {
    struct core_batch **at = &stream->held;
    while (*at != NULL && (*at)->seq < batch->seq) {
        at = &(*at)->next;
    }
    MUST(*at == NULL || (*at)->seq != batch->seq);
    batch->next = *at;
    *at = batch;
}

void ingest_stream_back(struct ingest *ingest, struct core_batch *batch) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    struct ingest_stream *stream = (struct ingest_stream *)(void *)batch->stream;
    MUST(stream != NULL);
    MUST(stream->core.magic == CORE_STREAM_MAGIC);
    MUST(batch->seq >= stream->seq_back);
    MUST(batch->seq < stream->seq_next);
    MUST(ingest->outstanding > 0);
    ingest->outstanding--;
    hold(stream, batch);
    while (stream->held != NULL && stream->held->seq == stream->seq_back) {
        struct core_batch *first = stream->held;
        stream->held = first->next;
        first->next = NULL;
        account(ingest, stream, first);
    }
    MUST(!stream->is_last_back || stream->held == NULL);
    note_settled(ingest, stream);
}

void ingest_stream_end_all(struct ingest *ingest) {
    struct ingest_stream *next = NULL;
    for (struct ingest_stream *stream = ingest->streams; stream != NULL && ingest->retiring_len > 0; stream = next) {
        next = stream->next;
        if (!stream->is_retiring || stream->is_last_made) {
            continue;
        }
        if (stream->seq_next == 0) {
            ingest_stream_free(ingest, stream); /* nobody ever heard of it */
            continue;
        }
        struct core_batch *batch = core_pool_take(ingest->env.pool);
        if (batch == NULL) {
            return;
        }
        batch->stream = &stream->core;
        batch->is_last = true;
        batch->accepted_end = stream->given_end;
        stream->is_last_made = true;
        ingest->retiring_len--;
        ingest_emit(ingest, stream, batch);
    }
}
