/* ingest/stream.c: a generation and the accounts of its batches.
 *
 * Design: each batch made has a ticket: the mark where its stream stands once it is accepted. Batches come back in any
 * order; the accepted mark moves over the unbroken prefix only, and a batch that is back too early is held, for its
 * ticket goes with it. The last batch of a stream is an empty one with is_last; when it is back, the stream is freed.
 *
 * On a crash what was accepted since the last checkpoint is read again, with the same positions and the same generation.
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

struct ingest_stream *ingest_stream_new(struct ingest *ingest, struct ingest_file *file) {
    MUST(file->stream == NULL);
    MUST(file->origin != NULL);
    struct ingest_stream *stream = calloc(1, sizeof(*stream));
    MUST(stream != NULL);
    stream->path = ingest_strdup(file->memory.first_path);
    stream->origin = ingest_origin_hold(file->origin);
    stream->file = file;
    stream->core = (struct core_stream){
        .magic = CORE_STREAM_MAGIC,
        .worker = ingest->worker_next,
        .gen = file->memory.gen,
        .path = stream->path,
        .mtime_ns = file->memory.mtime_ns,
        .origin = &stream->origin->core,
    };
    ingest->worker_next = (ingest->worker_next + 1) % ingest->env.workers;
    stream->next = ingest->streams;
    if (stream->next != NULL) {
        stream->next->prev = stream;
    }
    ingest->streams = stream;
    file->stream = stream;
    return stream;
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
    ingest->retiring_len -= stream->is_retiring && !stream->is_last_made ? 1 : 0;
    if (file != NULL) {
        MUST(file->stream == stream);
        file->stream = NULL;
        if (file->awaits_drain) {
            file->awaits_drain = false;
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

/* This batch's turn has come: all before it are accepted. Returns true when the stream is over. */
static bool accept(struct ingest *ingest, struct ingest_stream *stream, struct core_batch *batch) {
    MUST(batch->seq == stream->seq_back);
    const struct ingest_mark *ticket = &ingest->tickets[batch - ingest->env.pool->batches];
    const bool is_last = batch->is_last;
    stream->seq_back++;
    if (!is_last && stream->file != NULL) {
        MUST(ticket->pos >= stream->file->memory.accepted.pos);
        stream->file->memory.accepted = *ticket;
        ingest->is_dirty = true;
    }
    core_pool_give(ingest->env.pool, batch);
    return is_last;
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
        if (accept(ingest, stream, first)) {
            MUST(stream->held == NULL);
            ingest_stream_free(ingest, stream);
            return;
        }
    }
    struct ingest_file *file = stream->file;
    if (file != NULL && file->awaits_drain && stream->seq_back == stream->seq_next && !stream->is_retiring) {
        file->awaits_drain = false;
        ingest_file_queue(ingest, file, INGEST_QUEUE_READY);
    }
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
        batch->accepted_end = stream->file != NULL ? stream->file->cutter.last.pos : 0;
        stream->is_last_made = true;
        ingest->retiring_len--;
        ingest_emit(ingest, stream, batch);
    }
}
