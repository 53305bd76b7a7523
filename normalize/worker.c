/* normalize/worker.c: one thread's work: each record line of a batch becomes an event, or a dead letter that says why.
 * Nothing here fails: bad data is not an error. Documents are written straight into the batch's arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/deadletter.h"
#include "normalize/normalize_internal.h"

#include <stdlib.h>

const struct core_opt normalize_opts[] = {
    {.key = "maps",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct normalize_conf, maps),
     .help = "Directory with logs.table, schema.tsv and maps/; default: the installed one."},
    {.key = "site_maps",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct normalize_conf, site_maps),
     .help = "Directory of your own maps: its maps/X.map stands for ours, its logs.table rows come before ours, its "
             "schema.tsv adds fields."},
    {.key = "community_id_seed",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct normalize_conf, community_id_seed),
     .def = "0",
     .min = "0",
     .max = "65535",
     .needs_restart = true,
     .help = "Seed of Community ID v1; must be the same at every sensor whose flows are to be joined."},
    {.key = "networks",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct normalize_conf, networks),
     .help = "The site's own networks, as 10.0.0.0/8 or fd00::/8: they give network.direction to records whose sensor "
             "did not say which end is local."},
    {.key = "networks_file",
     .type = CORE_OPT_STRING,
     .offset = offsetof(struct normalize_conf, networks_file),
     .help = "A file of more of them, one a line, words behind it, # begins a comment: zeekctl's networks.cfg."},
    {.key = "geo_databases",
     .type = CORE_OPT_STRINGS,
     .offset = offsetof(struct normalize_conf, geo_databases),
     .help =
         "MaxMind DB files (GeoLite2, GeoIP2, DB-IP; City, Country, ASN) that give source and destination their geo "
         "and as; SIGHUP reads them again. Replace such a file by renaming, never in place."},
    {.key = "workers",
     .type = CORE_OPT_UINT,
     .offset = offsetof(struct normalize_conf, workers),
     .def = "1",
     .min = "1",
     .max = "64",
     .needs_restart = true,
     .help = "Threads that map records; a file's records stay with one of them, so their order holds."},
};
const size_t normalize_opts_len = sizeof(normalize_opts) / sizeof(normalize_opts[0]);

struct normalize_worker *normalize_worker_new(const struct normalize_maps *maps, struct core_counters *counters) {
    MUST(maps != NULL);
    MUST(counters != NULL);
    struct normalize_worker *worker = calloc(1, sizeof(*worker));
    struct core_fail fail = {0};
    MUST(worker != NULL);
    worker->maps = maps;
    worker->counters = counters;
    MUST(core_arena_init(&worker->scratch, SCRATCH_BYTES, &fail) == CORE_OK);
    worker->columns = calloc(COLUMNS_ROOM, sizeof(*worker->columns));
    worker->taken = calloc(COLUMNS_ROOM, sizeof(*worker->taken));
    MUST(worker->columns != NULL);
    MUST(worker->taken != NULL);
    worker->json = json_decode_new(worker);
    worker->sha1 = core_sha1_new();
    worker->domains = domain_cache_new();
    worker->places = maps->geo == NULL ? NULL : geo_cache_new();
    return worker;
}

void normalize_worker_remap(struct normalize_worker *worker, const struct normalize_maps *maps) {
    worker->maps = maps;
    worker->remaps++;
    domain_cache_clear(worker->domains);
    geo_cache_free(worker->places);
    worker->places = maps->geo == NULL ? NULL : geo_cache_new();
}

void normalize_worker_free(struct normalize_worker *worker) {
    if (worker == NULL) {
        return;
    }
    while (worker->streams != NULL) {
        struct stream_state *next = worker->streams->next;
        stream_state_free(worker->streams); /* its stream may be gone already: it is not touched */
        worker->streams = next;
    }
    while (worker->interned != NULL) {
        struct interned *next = worker->interned->next;
        free(worker->interned->text);
        free(worker->interned);
        worker->interned = next;
    }
    snort_names_free(worker->snort_names);
    json_decode_free(worker->json);
    core_sha1_free(worker->sha1);
    domain_cache_free(worker->domains);
    geo_cache_free(worker->places);
    core_arena_destroy(&worker->scratch);
    free(worker->columns);
    free(worker->taken);
    free(worker);
}

/* ---- one record -------------------------------------------------------------------------------------------------------- */

static bool is_allowed(const struct core_stream *stream, enum core_origin_type type) {
    enum core_origin_type only = stream->origin == NULL ? CORE_ORIGIN_AUTO : stream->origin->type;
    return only == CORE_ORIGIN_AUTO || only == type;
}

/* Which format is it? A TSV header in force decides, unless the line has other columns and looks like JSON: a sensor
 * that was switched to JSON goes on in the same file. */
static bool record_decode(struct normalize_worker *worker, struct stream_state *state, const struct core_line *line,
                          struct plan **plan) {
    struct core_span text = line->text;
    if ((line->flags & CORE_LINE_UNIFIED2) != 0) {
        return unified2_decode(worker, state, text, plan);
    }
    if (snort_text_is_named(state)) {
        return snort_text_decode(worker, state, text, plan);
    }
    bool is_object = text.ptr[0] == '{';
    if (tsv_is_active(state) && is_allowed(state->stream, CORE_ORIGIN_ZEEK)) {
        if (tsv_decode(worker, state, text, plan)) {
            return true;
        }
        if (!is_object) {
            return false;
        }
        worker->reason[0] = '\0';
    }
    if (is_object) {
        return json_decode(worker, state, text, plan);
    }
    bool may_be_alert = is_allowed(state->stream, CORE_ORIGIN_SNORT) || is_allowed(state->stream, CORE_ORIGIN_SURICATA);
    if (may_be_alert && snort_text_is_it(state, text)) {
        return snort_text_decode(worker, state, text, plan);
    }
    return record_refuse(worker, "%s",
                         tsv_was_seen(state)
                             ? "no #fields header is in force here, and it is no JSON object"
                             : "neither Zeek TSV (no #fields header before it), nor a JSON object, nor an "
                               "alert of Snort or Suricata");
}

/* A record without a time of its own gets the log's: when it was opened, else the file's time, else now. */
static bool time_fill(struct normalize_worker *worker, const struct stream_state *state, struct plan *plan) {
    uint16_t leaf = plan->known[KNOWN_TIMESTAMP];
    if (leaf_is_set(plan, leaf)) {
        return true;
    }
    int64_t ns = tsv_open_ns(state);
    ns = ns != 0 ? ns : state->stream->mtime_ns;
    ns = ns != 0 ? ns : core_now_ns();
    return leaf_put(worker, plan, leaf, value_iso(worker, ns));
}

static bool document_finish(struct normalize_worker *worker, const struct stream_state *state, struct plan *plan,
                            const struct core_line *line) {
    const struct core_origin *origin = state->stream->origin;
    if (origin != NULL && origin->keep_original) {
        const bool is_binary = (line->flags & CORE_LINE_UNIFIED2) != 0;
        const struct value text =
            is_binary ? unified2_original(worker, line->text) : value_of(VALUE_TEXT, line->text.ptr, line->text.len);
        if (!leaf_put(worker, plan, plan->known[KNOWN_ORIGINAL], text)) {
            return false;
        }
    }
    return time_fill(worker, state, plan) &&
           leaf_put(worker, plan, plan->known[KNOWN_LOG_OFFSET], value_u64(worker, line->start));
}

/* The document and its key, at the end of the arena. */
static bool document_write(struct normalize_worker *worker, struct core_batch *batch, struct plan *plan,
                           struct core_event *event) {
    struct core_arena *arena = &batch->arena;
    const size_t end = CORE_ARENA_NORMALIZE_BYTES - DEAD_RESERVE_BYTES;
    size_t room = arena->used < end ? end - arena->used : 0;
    room = room < CORE_DOC_BYTES_MAX ? room : CORE_DOC_BYTES_MAX;
    char *start = arena->base + arena->used;
    struct core_buf buf = {.start = start, .pos = start, .end = start + room};
    plan_emit(worker, plan, &buf);
    event->doc = core_buf_written(&buf);
    struct value key = leaf_value(plan, plan->known[KNOWN_COMMUNITY_ID]);
    key = value_is_scalar(key) ? key : leaf_value(plan, plan->known[KNOWN_SESSION_ID]);
    event->key = (struct core_span){buf.pos, 0};
    if (value_is_scalar(key)) {
        core_buf_put(&buf, key.ptr, key.len);
        event->key.len = key.len;
    }
    if (buf.is_full) {
        worker->reason_word = "document_too_long";
        return record_refuse(worker, "its document would be longer than %zu MiB", CORE_DOC_BYTES_MAX / CORE_MIB);
    }
    arena->used += core_buf_written(&buf).len;
    return true;
}

static void dead_write(struct normalize_worker *worker, struct core_batch *batch, const struct core_line *line,
                       struct core_event *event) {
    struct core_arena *arena = &batch->arena;
    char *start = arena->base + arena->used;
    struct core_buf buf = {.start = start, .pos = start, .end = arena->base + arena->cap};
    struct core_dead dead = {.reason = worker->reason,
                             .raw = line->text,
                             .line_number = line->number,
                             .start = line->start,
                             .end = line->end};
    core_dead_write(&buf, batch->stream, &dead, core_now_ns());
    MUST(!buf.is_full); /* DEAD_RESERVE_BYTES */
    event->doc = core_buf_written(&buf);
    event->key = (struct core_span){buf.pos, 0};
    event->dataset = CORE_DEAD_DATASET;
    event->is_dead = true;
    event->reason = worker->reason_word;
    arena->used += event->doc.len;
    event->refusal = core_arena_copy(arena, core_span_of(worker->reason));
}

static bool record_run(struct normalize_worker *worker, struct core_batch *batch, const struct core_line *line,
                       struct core_event *event) {
    struct stream_state *state = batch->stream->decode;
    struct plan *plan = NULL;
    if ((line->flags & CORE_LINE_CUT) != 0) {
        worker->reason_word = "line_too_long";
        return record_refuse(worker, "the line is longer than the maximum of %zu bytes", (size_t)CORE_LINE_BYTES_MAX);
    }
    MUST(line->text.len > 0);
    if (!record_decode(worker, state, line, &plan)) {
        return false;
    }
    if (worker->watch != NULL) {
        record_watch(worker, plan, line);
    }
    if (!plan_apply(worker, plan)) {
        return false;
    }
    if (worker->is_dropped) {
        return true;
    }
    if (!document_finish(worker, state, plan, line) || worker->reason[0] != '\0') {
        return false;
    }
    event->dataset = plan->dataset;
    if (!document_write(worker, batch, plan, event)) {
        return false;
    }
    if (worker->is_observing) {
        record_observe(worker, plan, batch, event);
    }
    return true;
}

/* ---- one batch ------------------------------------------------------------------------------------------------------------ */

static void state_link(struct normalize_worker *worker, struct stream_state *state) {
    state->next = worker->streams;
    state->prev = &worker->streams;
    if (state->next != NULL) {
        state->next->prev = &state->next;
    }
    worker->streams = state;
}

static void state_drop(struct stream_state *state) {
    if (state == NULL) {
        return;
    }
    *state->prev = state->next;
    if (state->next != NULL) {
        state->next->prev = state->prev;
    }
    stream_state_free(state);
}

/* The stream's state; made anew when the maps changed, with the header seen last. */
static struct stream_state *state_get(struct normalize_worker *worker, struct core_batch *batch) {
    struct stream_state *state = batch->stream->decode;
    if (state != NULL && state->remaps != worker->remaps) {
        stream_state_remap(state, worker->maps);
        state->remaps = worker->remaps;
    }
    if (state == NULL) {
        state = stream_state_new(worker->maps, batch->stream);
        state->remaps = worker->remaps;
        state->open_from = batch->stream->open_from;
        state_link(worker, state);
        batch->stream->decode = state;
    }
    return state;
}

static void context_run(struct stream_state *state, const struct core_line *line) {
    if (!tsv_context(state, line->text)) {
        (void)snort_csv_context(state, line->text);
    }
}

static void line_run(struct normalize_worker *worker, struct core_batch *batch, const struct core_line *line) {
    struct stream_state *state = batch->stream->decode;
    if ((line->flags & CORE_LINE_CONTEXT) != 0) {
        context_run(state, line);
        return;
    }
    struct core_event *event = &batch->events[batch->events_len++];
    *event = (struct core_event){.start = line->start, .end = line->end};
    worker->reason[0] = '\0';
    worker->reason_word = NULL;
    worker->has_set = false;
    bool is_in_segment = line->text.ptr >= batch->segment && line->text.ptr < batch->segment + batch->segment_len;
    worker->line = line->text.ptr;
    worker->line_end = is_in_segment ? batch->segment + CORE_SEGMENT_BYTES : line->text.ptr + line->text.len;
    worker->is_dropped = false;
    worker->scratch.used = 0;
    if (!record_run(worker, batch, line, event)) {
        MUST(worker->reason[0] != '\0');
        worker->reason_word = worker->reason_word == NULL ? "undecodable" : worker->reason_word;
        dead_write(worker, batch, line, event);
    }
    if (worker->is_dropped) {
        batch->events_len--;
        batch->tally.dropped++;
        return; /* the span of the next event begins where it does */
    }
    event->from = state->open_from < line->start ? state->open_from : line->start;
    state->open_from = line->end;
}

void normalize_batch(struct normalize_worker *worker, struct core_batch *batch) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    MUST(batch->stream != NULL);
    uint64_t dead = 0;
    worker->id_differs = 0;
    (void)state_get(worker, batch);
    batch->events_len = 0;
    batch->tally.dropped = 0;
    worker->is_order_bound = false;
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        line_run(worker, batch, &batch->lines[i]);
    }
    batch->is_order_bound = worker->is_order_bound;
    for (uint32_t i = 0; i < batch->events_len; i++) {
        dead += batch->events[i].is_dead;
    }
    batch->tally.dead = dead;
    batch->tally.events = batch->events_len - dead;
    batch->open_from = ((struct stream_state *)batch->stream->decode)->open_from;
    if (!worker->is_again) {
        core_count(worker->counters, CORE_COUNT_NORMALIZE_EVENTS, batch->tally.events);
        core_count(worker->counters, CORE_COUNT_NORMALIZE_DEAD, dead);
        core_count(worker->counters, CORE_COUNT_NORMALIZE_DROPPED, batch->tally.dropped);
        core_count(worker->counters, CORE_COUNT_NORMALIZE_COMMUNITY_ID_DIFFERS, worker->id_differs);
    }
    core_arena_reset(&worker->scratch, SCRATCH_KEEP_BYTES);
    worker->watch = NULL;
    if (batch->is_last) {
        state_drop(batch->stream->decode);
        batch->stream->decode = NULL;
    }
}

void normalize_batch_again(struct normalize_worker *worker, struct core_batch *batch) {
    MUST(batch->arena.used == 0);
    worker->is_again = true;
    normalize_batch(worker, batch);
    worker->is_again = false;
}

void normalize_contexts(struct normalize_worker *worker, struct core_batch *batch) {
    MUST(batch->magic == CORE_BATCH_MAGIC);
    struct stream_state *state = state_get(worker, batch);
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        if ((batch->lines[i].flags & CORE_LINE_CONTEXT) != 0) {
            context_run(state, &batch->lines[i]);
        }
    }
}

void normalize_explain(struct normalize_worker *worker, struct core_batch *batch,
                       const struct normalize_explain *explain) {
    worker->explain = explain;
    normalize_batch(worker, batch);
    worker->explain = NULL;
}
