/* sinks/elastic.c: documents into the indices of Elasticsearch or OpenSearch: the sink.
 *
 *   batches, in order -> bulks (connections + 1 of them; one is being filled) -> requests -> answers -> batches given back
 *
 * Documents are copied from batches into a bulk's body until it is full, or was begun 200 ms ago, or flush() asks; a batch may
 * lie in two bulks, a bulk hold many batches. A batch keeps count of its documents that are not done (sink_pending) and goes
 * back when that is 0 and every batch of its stream before it is back.
 *
 * Each document is sent by `create` with the record's id as _id, into an index that follows from the document alone, so a
 * repeat finds itself there (409) and counts as delivered, whoever was killed when. The order in which documents arrive is of no
 * matter to an index; that of batches given back is.
 *
 * All that may pass is waited for: a bulk that must go again rests, then goes with what is left of it (elastic_items.c). Other
 * bulks go on meanwhile; when all of them rest, batches are kept, and an empty pool is the back-pressure. Memory is what the
 * bulks hold and no more. Only wrong credentials, another product and missing templates end it (elastic_start.c).
 *
 * Thread: the sink's own. It sleeps in the pool of requests, on its doorbell, and until the next thing is due.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/codec.h"
#include "core/deadletter.h"
#include "sinks/elastic_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define BULK_AGE_NS (200 * CORE_NS_PER_MS)
#define ANSWERS_AT_ONCE 16
#define ANSWER_BYTES_MAX (64 * CORE_MIB)
#define CONNECT_TIMEOUT_MAX_MS 10000
/* In a body beside the documents: the largest document, or a dead letter, behind a body that is full. */
#define BODY_ROOM (CORE_DOC_BYTES_MAX + CORE_DOC_ENRICH_BYTES_MAX + CORE_MIB)

struct elastic_limit elastic_limit_now(const struct sink *sink) {
    uint64_t events = sink->conf->bulk_events * sink->share / ELASTIC_SHARE_ALL;
    return (struct elastic_limit){.bytes = sink->conf->bulk_bytes * sink->share / ELASTIC_SHARE_ALL,
                                  .events = events == 0 ? 1 : (uint32_t)events};
}

void elastic_ended(struct sink *sink, struct core_batch *batch) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    MUST(batch->sink_pending > 0);
    batch->sink_pending--;
    sink->finished += batch->sink_pending == 0 ? 1 : 0;
}

/* ---- filling ------------------------------------------------------------------------------------------------------------------ */

const struct elastic_index *elastic_index_for(struct sink *sink, const struct core_event *event, const char *dataset) {
    int64_t accepted_ms = event->accepted_ms != 0 ? event->accepted_ms : sink->now_ms;
    int64_t day = elastic_day_of(sink->conf, event->doc, accepted_ms);
    core_count(sink->env->counters, CORE_COUNT_ELASTIC_OUT_OF_RANGE, day == ELASTIC_OUT_OF_RANGE ? 1 : 0);
    return elastic_index_of(sink->indices, sink->conf, dataset, day);
}

/* False: the bulk must go first. */
static bool event_put(struct sink *sink, struct elastic_bulk *bulk, const struct elastic_limit *limit,
                      struct core_batch *batch, uint32_t at) {
    const struct core_event *event = &batch->events[at];
    if (event->fate == CORE_FATE_REFUSED) { /* by who sent it here: it is no document */
        elastic_ended(sink, batch);
        return true;
    }
    if (!elastic_bulk_fits(event->doc)) {
        return elastic_items_refuse(sink, bulk, batch, at, "the record is no JSON object, so it is no document");
    }
    const char *dataset = event->is_dead ? SINK_DATASET_DEAD : event->dataset;
    return elastic_bulk_add(bulk, limit, elastic_index_for(sink, event, dataset == NULL ? "" : dataset), batch, at);
}

static struct elastic_bulk *bulk_to_fill(struct sink *sink, int64_t now) {
    for (uint32_t i = 0; i < sink->bulks_len && sink->filling == NULL; i++) {
        struct elastic_bulk *bulk = &sink->bulks[i];
        if (bulk->state == ELASTIC_BULK_FREE) {
            bulk->state = ELASTIC_BULK_FILLING;
            bulk->tries = 0;
            bulk->window = UINT32_MAX;
            bulk->born_ns = now;
            bulk->len = bulk->filled = bulk->sent = 0;
            sink->filling = bulk;
        }
    }
    return sink->filling;
}

static void bulk_close(struct sink *sink) {
    MUST(sink->filling != NULL && sink->filling->state == ELASTIC_BULK_FILLING);
    sink->filling->state = ELASTIC_BULK_READY;
    sink->filling = NULL;
}

static void fill(struct sink *sink, int64_t now) {
    struct elastic_limit limit = elastic_limit_now(sink);
    while (sink->unfilled != NULL) {
        struct core_batch *batch = sink->unfilled;
        if (batch->sink_index == batch->events_len) {
            sink->unfilled = batch->next;
            continue;
        }
        struct elastic_bulk *bulk = bulk_to_fill(sink, now);
        if (bulk == NULL) {
            return;
        }
        if (event_put(sink, bulk, &limit, batch, batch->sink_index)) {
            batch->sink_index++;
        } else {
            bulk_close(sink);
        }
    }
}

/* ---- sending ------------------------------------------------------------------------------------------------------------------- */

static enum core_err gzip_take(void *ctx, const char *bytes, size_t len, struct core_fail *fail) {
    struct sink *sink = ctx;
    (void)fail;
    core_buf_put(&sink->packed, bytes, len);
    MUST(!sink->packed.is_full);
    return CORE_OK;
}

static struct core_span body_pack(struct sink *sink, struct elastic_bulk *bulk, struct core_span body) {
    struct core_fail fail;
    char *base = bulk->packed.base;
    core_arena_reset(&bulk->packed, (size_t)sink->conf->bulk_bytes);
    sink->packed = (struct core_buf){.start = base, .pos = base, .end = base + bulk->packed.cap};
    MUST(core_gzip_write(sink->gzip, body.ptr, body.len, &fail) == CORE_OK);
    MUST(core_gzip_finish(sink->gzip, &fail) == CORE_OK);
    return core_buf_written(&sink->packed);
}

static void bulk_send(struct sink *sink, struct elastic_bulk *bulk) {
    static const struct core_http_header headers[] = {{"Content-Type", "application/x-ndjson"},
                                                      {"Content-Encoding", "gzip"}};
    struct elastic_limit limit = elastic_limit_now(sink);
    struct core_span body = elastic_bulk_window(bulk, &limit);
    if (sink->gzip != NULL) {
        body = body_pack(sink, bulk, body);
    }
    struct core_http_pool_request request = {.method = "POST",
                                             .path = sink->path,
                                             .headers = headers,
                                             .headers_len = sink->gzip != NULL ? 2 : 1,
                                             .body = body,
                                             .ticket = bulk};
    core_http_pool_submit(sink->pool, &request);
    bulk->state = ELASTIC_BULK_SENT;
    core_count(sink->env->counters, CORE_COUNT_ELASTIC_BULKS, 1);
    core_count(sink->env->counters, CORE_COUNT_ELASTIC_BYTES, body.len);
}

static bool is_filling_due(const struct sink *sink, int64_t now) {
    return sink->filling != NULL && sink->filling->len > 0 &&
           (sink->is_flush_wanted || now - sink->filling->born_ns >= BULK_AGE_NS);
}

/* The oldest that may go. */
static struct elastic_bulk *bulk_next(struct sink *sink, int64_t now) {
    struct elastic_bulk *oldest = NULL;
    for (uint32_t i = 0; i < sink->bulks_len; i++) {
        struct elastic_bulk *bulk = &sink->bulks[i];
        if (bulk->state == ELASTIC_BULK_RESTING && bulk->due_ns <= now) {
            bulk->state = ELASTIC_BULK_READY;
        }
        if (bulk->state == ELASTIC_BULK_READY && (oldest == NULL || bulk->born_ns < oldest->born_ns)) {
            oldest = bulk;
        }
    }
    return oldest;
}

static void send_due(struct sink *sink, int64_t now) {
    elastic_start_turn(sink, now);
    while (sink->phase == ELASTIC_OPEN && core_http_pool_has_room(sink->pool)) {
        struct elastic_bulk *bulk = bulk_next(sink, now);
        if (bulk == NULL && is_filling_due(sink, now)) {
            bulk = sink->filling;
            bulk_close(sink);
            fill(sink, now);
        }
        if (bulk == NULL) {
            break;
        }
        bulk_send(sink, bulk);
    }
    if (sink->filling == NULL || sink->filling->len == 0) {
        sink->is_flush_wanted = false;
    }
}

/* ---- turns ---------------------------------------------------------------------------------------------------------------------- */

static void turn(struct sink *sink, int timeout_ms) {
    struct core_http_pool_done done[ANSWERS_AT_ONCE];
    if (sink->is_gone) {
        return;
    }
    size_t len = core_http_pool_poll(sink->pool, done, ANSWERS_AT_ONCE, timeout_ms);
    int64_t now = core_tick_ns();
    sink->now_ms = core_now_ns() / CORE_NS_PER_MS;
    for (size_t i = 0; i < len; i++) {
        if (done[i].ticket == &sink->phase) {
            elastic_start_answered(sink, &done[i]);
        } else {
            elastic_health_answered(sink, &done[i]);
            elastic_items_answered(sink, done[i].ticket, &done[i]);
        }
    }
    if (!sink->is_gone) {
        fill(sink, now);
        send_due(sink, now);
    }
}

/* How long may be slept until something is due by itself? */
static int sleep_ms(const struct sink *sink, int timeout_ms) {
    int64_t now = core_tick_ns();
    int64_t due = now + (int64_t)timeout_ms * CORE_NS_PER_MS;
    bool is_open = sink->phase == ELASTIC_OPEN;
    if (!is_open && !sink->is_asking && sink->ask_due_ns < due) {
        due = sink->ask_due_ns;
    }
    for (uint32_t i = 0; i < sink->bulks_len && is_open && core_http_pool_has_room(sink->pool); i++) {
        const struct elastic_bulk *bulk = &sink->bulks[i];
        int64_t bulk_due = bulk->state == ELASTIC_BULK_RESTING                    ? bulk->due_ns
                           : bulk->state == ELASTIC_BULK_READY                    ? now
                           : bulk->state == ELASTIC_BULK_FILLING && bulk->len > 0 ? bulk->born_ns + BULK_AGE_NS
                                                                                  : due;
        due = bulk_due < due ? bulk_due : due;
    }
    return due <= now ? 0 : (int)((due - now + CORE_NS_PER_MS - 1) / CORE_NS_PER_MS);
}

/* Is an earlier batch of this stream not done? */
static bool is_behind(const struct sink *sink, const struct core_batch *batch) {
    for (const struct core_batch *earlier = sink->held.head; earlier != batch; earlier = earlier->next) {
        MUST(earlier != NULL);
        if (earlier->stream == batch->stream && earlier->sink_pending > 0) {
            return true;
        }
    }
    return false;
}

/* What is done leaves the list. */
static size_t give(struct sink *sink, struct core_batch **done, size_t max) {
    size_t len = 0;
    struct core_batch *before = NULL;
    struct core_batch *batch = sink->held.head;
    while (batch != NULL && len < max && sink->finished > 0) {
        struct core_batch *next = batch->next;
        if (batch->sink_pending > 0 || is_behind(sink, batch)) {
            before = batch;
            batch = next;
            continue;
        }
        if (sink->unfilled == batch) { /* it had nothing to fill */
            sink->unfilled = next;
        }
        *(before == NULL ? &sink->held.head : &before->next) = next;
        sink->held.tail = next == NULL ? before : sink->held.tail;
        batch->next = NULL;
        done[len++] = batch;
        sink->finished--;
        batch = next;
    }
    return len;
}

static enum core_err elastic_send(struct sink *sink, struct core_batch *batch) {
    MUST(sink->magic == ELASTIC_SINK_MAGIC);
    MUST(batch->magic == CORE_BATCH_MAGIC);
    batch->sink_index = 0;
    batch->sink_pending = batch->events_len;
    sink_fifo_push(&sink->held, batch);
    sink->finished += batch->events_len == 0 ? 1 : 0;
    if (sink->unfilled == NULL) {
        sink->unfilled = batch;
    }
    return CORE_OK;
}

static size_t elastic_poll(struct sink *sink, struct core_batch **done, size_t max, int timeout_ms) {
    MUST(sink->magic == ELASTIC_SINK_MAGIC);
    MUST(max > 0);
    turn(sink, 0);
    size_t len = give(sink, done, max);
    if (len > 0 || timeout_ms == 0 || sink->is_gone) {
        return len;
    }
    turn(sink, sleep_ms(sink, timeout_ms));
    return give(sink, done, max);
}

static bool elastic_is_gone(const struct sink *sink, struct core_fail *fail) {
    MUST(sink->magic == ELASTIC_SINK_MAGIC);
    if (sink->is_gone) {
        *fail = sink->gone;
    }
    return sink->is_gone;
}

static void elastic_flush(struct sink *sink) {
    MUST(sink->magic == ELASTIC_SINK_MAGIC);
    sink->is_flush_wanted = true;
    turn(sink, 0);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void elastic_close(struct sink *sink) {
    if (sink == NULL) {
        return;
    }
    MUST(sink->magic == ELASTIC_SINK_MAGIC);
    core_http_pool_close(sink->pool);
    core_gzip_close(sink->gzip);
    elastic_answer_free(sink->answer);
    for (uint32_t i = 0; i < sink->bulks_len; i++) {
        core_arena_destroy(&sink->bulks[i].body);
        core_arena_destroy(&sink->bulks[i].packed);
        free(sink->bulks[i].items);
    }
    free(sink->bulks);
    free(sink->letters);
    free(sink->indices);
    elastic_health_close(sink);
    sink_elastic_places_release(&sink->places);
    sink->magic = 0;
    free(sink);
}

static enum core_err bulks_open(struct sink *sink, struct core_fail *fail) {
    size_t cap = (size_t)sink->conf->bulk_bytes + BODY_ROOM;
    enum core_err err = CORE_OK;
    sink->bulks_len = (uint32_t)sink->conf->connections + 1;
    sink->bulks = calloc(sink->bulks_len, sizeof *sink->bulks);
    MUST(sink->bulks != NULL);
    for (uint32_t i = 0; i < sink->bulks_len && err == CORE_OK; i++) {
        struct elastic_bulk *bulk = &sink->bulks[i];
        bulk->items = calloc(sink->conf->bulk_events, sizeof *bulk->items);
        MUST(bulk->items != NULL);
        err = core_arena_init(&bulk->body, cap, fail);
        if (err == CORE_OK && sink->conf->compression == ELASTIC_GZIP) {
            err =
                core_arena_init(&bulk->packed, cap + cap / 1000 + CORE_KIB * 4, fail); /* if it cannot be compressed */
        }
    }
    return err;
}

static enum core_err pool_open(struct sink *sink, struct core_fail *fail) {
    const struct sink_elastic_places *places = &sink->places;
    int timeout_ms = places->timeout_ms;
    struct core_http_header headers[2] = {{"User-Agent", "tapline/" TAPLINE_VERSION}};
    if (places->headers_len > 0) {
        headers[1] = places->headers[0];
    }
    struct core_http_pool_conf conf = {
        .urls = places->hosts,
        .urls_len = places->hosts_len,
        .headers = headers,
        .headers_len = 1 + places->headers_len,
        .ca_file = places->ca_file,
        .cert_file = places->cert_file,
        .key_file = places->key_file,
        .secret = places->secret,
        .requests_max = (unsigned)sink->conf->connections,
        .connect_timeout_ms = timeout_ms < CONNECT_TIMEOUT_MAX_MS ? timeout_ms : CONNECT_TIMEOUT_MAX_MS,
        .timeout_ms = timeout_ms,
        .bytes_max = ANSWER_BYTES_MAX,
        .wake_fd = sink->env->wake_fd,
    };
    return core_http_pool_open(&sink->pool, &conf, fail);
}

static enum core_err elastic_open(struct sink **out, const void *conf, const struct sink_env *env,
                                  struct core_fail *fail) {
    MUST(conf != NULL && env != NULL);
    struct sink *sink = calloc(1, sizeof *sink);
    MUST(sink != NULL);
    sink->magic = ELASTIC_SINK_MAGIC;
    sink->conf = conf;
    sink->env = env;
    sink->share = sink->share_max = ELASTIC_SHARE_ALL;
    sink_elastic_places(conf, &sink->places);
    elastic_health_open(sink);
    /* The engine's own patience with a shard ends before ours with the engine. */
    snprintf(sink->path, sizeof sink->path, ELASTIC_PATH, (long long)sink->places.timeout_ms / 2);
    sink->answer = elastic_answer_new((uint32_t)sink->conf->bulk_events);
    sink->indices = calloc(ELASTIC_INDICES, sizeof *sink->indices);
    sink->letters = calloc(sink->conf->bulk_events, sizeof *sink->letters);
    MUST(sink->indices != NULL && sink->letters != NULL);
    enum core_err err = bulks_open(sink, fail);
    if (err == CORE_OK && sink->conf->compression == ELASTIC_GZIP) {
        err = core_gzip_open(&sink->gzip, gzip_take, sink, "request body", fail);
    }
    if (err == CORE_OK) {
        err = pool_open(sink, fail);
    }
    if (err != CORE_OK) {
        elastic_close(sink);
        return err;
    }
    *out = sink;
    return CORE_OK;
}

const struct sink_ops sink_elasticsearch = {
    .name = "elasticsearch",
    .summary =
        "documents into the indices of Elasticsearch or OpenSearch, each once; accepted when the engine has them",
    .opts = elastic_opts,
    .opts_len = ELASTIC_OPTS_LEN,
    .conf_size = sizeof(struct elastic_conf),
    .check = elastic_conf_check,
    .connect = elastic_conf_connect,
    .open = elastic_open,
    .send = elastic_send,
    .poll = elastic_poll,
    .is_gone = elastic_is_gone,
    .flush = elastic_flush,
    .is_up = elastic_is_up,
    .health = elastic_health,
    .close = elastic_close,
};
