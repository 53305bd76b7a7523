/* cmd/pipeline_tap.c: `tapline tap`: what passes a stage, live, for who asks on the control socket (cmd/tap.h).
 *
 * Nobody looks: pipeline->watched is 0, and a batch that passes costs one load. Somebody looks: the thread that has the batch
 * copies what fits, as far as the watcher's rate and buffer go, under a mutex, and goes on; main sends it. What does not go in is
 * counted. So a watcher can hold up the pipeline by a copy, never by not reading: the control channel lets go of one that does
 * not (CORE_RPC_QUEUED_BYTES_MAX), and then it is forgotten here.
 *
 * Watchers are main's; threads see them under the lock, main frees one only after it has taken it out of the list under the same.
 * The struct itself stays until the threads are gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cmd/pipeline_internal.h"
#include "cmd/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WATCHERS_MAX 8
#define TURN_NS (250 * CORE_NS_PER_MS) /* watchers that have gone are looked for */
#define TELL_NS CORE_NS_PER_S          /* how often what was not shown is told */
#define JSON_ESCAPE 6                  /* a byte of a text takes at most so many in JSON */
#define PATH_BYTES_MAX 4096
#define ENTRY_BYTES_MAX ((TAP_TEXT_BYTES_MAX + PATH_BYTES_MAX) * JSON_ESCAPE + 256)
#define BUFFER_BYTES (2 * CORE_MIB) /* of what waits for main */
_Static_assert(ENTRY_BYTES_MAX < CORE_RPC_LINE_BYTES_MAX, "one message");
_Static_assert(ENTRY_BYTES_MAX < BUFFER_BYTES, "one at least waits");

struct watcher {
    struct core_rpc_request *request; /* main's */
    enum tap_stage stage;
    char *dataset; /* NULL: any */
    struct tap_match matches[TAP_MATCHES_MAX];
    size_t matches_len;
    uint64_t rate;  /* a second */
    uint64_t count; /* then it is done; 0: never */
    /* Under the lock: */
    int64_t tokens_ns; /* of time in which it has shown nothing: 1 s / rate buys one */
    int64_t tokens_tick;
    char *filling; /* entries: a size_t, and so many bytes of JSON members */
    size_t filling_len;
    uint64_t shown;
    uint64_t left;
    uint64_t too_long;
    /* Main's: */
    char *sending;
    uint64_t told;
    int64_t told_tick;
};

/* For the records that a worker decodes. */
struct tap_worker {
    struct pipeline *pipeline;
    const struct core_batch *batch; /* the worker's */
    struct normalize_watch watch;
};

struct pipeline_tap {
    pthread_mutex_t lock;
    struct watcher *watchers[WATCHERS_MAX];
    size_t watchers_len;
    struct core_arena arena; /* under the lock: a document that is looked into */
    int wake_fd;
    struct core_watch *watch;
    struct core_timer turn;
    struct tap_worker workers[PIPELINE_WORKERS_MAX];
};

/* What passes is one of these. */
struct passing {
    const char *dataset; /* NULL: not known */
    const char *path;
    struct core_span text;
    bool is_binary; /* a raw record: its text is no text */
};

static void lock_take(struct pipeline_tap *tap) {
    MUST(pthread_mutex_lock(&tap->lock) == 0);
}

static void lock_give(struct pipeline_tap *tap) {
    MUST(pthread_mutex_unlock(&tap->lock) == 0);
}

/* ---- threads: copying ---------------------------------------------------------------------------------------------------- */

static int64_t token_price_ns(const struct watcher *watcher) {
    return CORE_NS_PER_S / (int64_t)watcher->rate;
}

/* May one more be shown now: is there room, time, and is it wanted? */
static bool is_open(struct watcher *watcher) {
    int64_t now = core_tick_ns();
    watcher->tokens_ns += now - watcher->tokens_tick;
    watcher->tokens_ns = watcher->tokens_ns > CORE_NS_PER_S ? CORE_NS_PER_S : watcher->tokens_ns;
    watcher->tokens_tick = now;
    return watcher->tokens_ns >= token_price_ns(watcher) &&
           BUFFER_BYTES - watcher->filling_len >= sizeof(size_t) + ENTRY_BYTES_MAX &&
           (watcher->count == 0 || watcher->shown < watcher->count);
}

static bool matches_may_fit(const struct watcher *watcher, const struct passing *passing) {
    for (size_t i = 0; i < watcher->matches_len; i++) {
        if (!tap_match_may_fit(&watcher->matches[i], passing->text, passing->is_binary)) {
            return false;
        }
    }
    return true;
}

/* tree: the text's, made by the first who needs it; NULL before. */
static bool passing_fits(struct pipeline_tap *tap, const struct watcher *watcher, const struct passing *passing,
                         struct core_json_tree **tree) {
    bool is_other =
        watcher->dataset != NULL && (passing->dataset == NULL || strcmp(watcher->dataset, passing->dataset) != 0);
    if (is_other || !matches_may_fit(watcher, passing)) {
        return false;
    }
    if (watcher->matches_len == 0 || watcher->stage == TAP_RAW || passing->text.len > TAP_TEXT_BYTES_MAX) {
        return true; /* what is too long is counted as that, not looked into */
    }
    struct core_fail fail;
    if (*tree == NULL) {
        core_arena_reset(&tap->arena, tap->arena.cap);
        if (core_json_tree_read(&tap->arena, passing->text, tree, &fail) != CORE_OK) {
            *tree = NULL;
            return false;
        }
    }
    for (size_t i = 0; i < watcher->matches_len; i++) {
        if (!tap_match_fits(&watcher->matches[i], *tree)) {
            return false;
        }
    }
    return true;
}

/* Returns whether main is to be woken. */
static bool entry_add(struct watcher *watcher, const struct passing *passing) {
    if (passing->text.len > TAP_TEXT_BYTES_MAX && watcher->stage != TAP_RAW) {
        watcher->too_long++;
        return false;
    }
    if (!is_open(watcher)) {
        watcher->left++;
        return false;
    }
    watcher->tokens_ns -= token_price_ns(watcher);
    struct core_span text = core_utf8_cut(passing->text, TAP_TEXT_BYTES_MAX);
    char *start = watcher->filling + watcher->filling_len + sizeof(size_t);
    struct core_buf out = {.start = start, .pos = start, .end = start + ENTRY_BYTES_MAX};
    if (passing->dataset != NULL) {
        core_json_put_text(&out, "dataset", core_span_of(passing->dataset));
    }
    if (passing->path != NULL) {
        core_json_put_text(&out, "path", core_utf8_cut(core_span_of(passing->path), PATH_BYTES_MAX));
    }
    core_json_put_text(&out, "text", text);
    if (text.len < passing->text.len) {
        core_json_put_bool(&out, "is_cut", true);
    }
    MUST(!out.is_full);
    size_t len = core_buf_written(&out).len;
    memcpy(watcher->filling + watcher->filling_len, &len, sizeof(len));
    watcher->filling_len += sizeof(len) + len;
    watcher->shown++;
    return true;
}

/* Shown to all who watch this stage. Returns whether main is to be woken. The lock is held. */
static bool passing_show(struct pipeline_tap *tap, enum tap_stage stage, const struct passing *passing) {
    struct core_json_tree *tree = NULL;
    bool is_added = false;
    for (size_t i = 0; i < tap->watchers_len; i++) {
        struct watcher *watcher = tap->watchers[i];
        if (watcher->stage == stage && passing_fits(tap, watcher, passing, &tree)) {
            is_added = entry_add(watcher, passing) || is_added;
        }
    }
    return is_added;
}

static bool has_stage(const struct pipeline_tap *tap, enum tap_stage stage) {
    for (size_t i = 0; i < tap->watchers_len; i++) {
        if (tap->watchers[i]->stage == stage) {
            return true;
        }
    }
    return false;
}

static bool lines_show(struct pipeline_tap *tap, const struct core_batch *batch) {
    bool is_added = false;
    for (uint32_t i = 0; i < batch->lines_len; i++) {
        const struct core_line *line = &batch->lines[i];
        if ((line->flags & CORE_LINE_REPLAYED) == 0) {
            const struct passing passing = {
                .path = batch->stream->path, .text = line->text, .is_binary = (line->flags & CORE_LINE_UNIFIED2) != 0};
            is_added = passing_show(tap, TAP_RAW, &passing) || is_added;
        }
    }
    return is_added;
}

/* A document that a search engine refused was one until then, and is a dead letter now. */
static bool events_show(struct pipeline_tap *tap, enum pipeline_point point, const struct core_batch *batch) {
    static const enum tap_stage stages[PIPELINE_POINT__MAX] = {[PIPELINE_AT_NORMALIZED] = TAP_EVENT,
                                                               [PIPELINE_AT_ENRICHED] = TAP_ENRICHED,
                                                               [PIPELINE_AT_DELIVERED] = TAP_SENT};
    const bool is_delivered = point == PIPELINE_AT_DELIVERED;
    bool is_added = false;
    for (uint32_t i = 0; i < batch->events_len; i++) {
        const struct core_event *event = &batch->events[i];
        const struct passing passing = {.dataset = event->dataset, .path = batch->stream->path, .text = event->doc};
        bool is_refused = is_delivered && event->fate == CORE_FATE_REFUSED && !event->is_dead;
        if ((event->is_dead && point == PIPELINE_AT_NORMALIZED) || is_refused) {
            is_added = passing_show(tap, TAP_DEAD, &passing) || is_added;
        } else if (!event->is_dead) {
            is_added = passing_show(tap, stages[point], &passing) || is_added;
        }
    }
    return is_added;
}

static bool takes_all(const struct watcher *watcher) {
    return watcher->matches_len == 0 && watcher->dataset == NULL;
}

/* A record is made into JSON only for who can take it now, or has to look into it; the others count it without. */
static bool on_wants(void *ctx, const struct core_line *line) {
    const struct tap_worker *worker = ctx;
    struct pipeline_tap *tap = worker->pipeline->tap;
    const struct passing passing = {.text = line->text, .is_binary = (line->flags & CORE_LINE_UNIFIED2) != 0};
    bool is_wanted = false;
    lock_take(tap);
    for (size_t i = 0; i < tap->watchers_len && !is_wanted; i++) {
        struct watcher *watcher = tap->watchers[i];
        bool is_asked_for = watcher->stage == TAP_RECORD && matches_may_fit(watcher, &passing);
        is_wanted = is_asked_for && (!takes_all(watcher) || is_open(watcher));
    }
    for (size_t i = 0; i < tap->watchers_len && !is_wanted; i++) {
        struct watcher *watcher = tap->watchers[i];
        watcher->left += watcher->stage == TAP_RECORD && takes_all(watcher) ? 1 : 0;
    }
    lock_give(tap);
    return is_wanted;
}

static void on_record(void *ctx, const char *dataset, struct core_span record) {
    const struct tap_worker *worker = ctx;
    struct pipeline_tap *tap = worker->pipeline->tap;
    const struct passing passing = {.dataset = dataset,
                                    .path = worker->batch->stream->path,
                                    .text = record.len > 0 ? record : (struct core_span){NULL, TAP_TEXT_BYTES_MAX + 1}};
    lock_take(tap);
    bool is_added = false;
    if (record.len > 0) {
        is_added = passing_show(tap, TAP_RECORD, &passing);
    } else {
        for (size_t i = 0; i < tap->watchers_len; i++) {
            tap->watchers[i]->too_long += tap->watchers[i]->stage == TAP_RECORD ? 1 : 0;
        }
    }
    lock_give(tap);
    if (is_added) {
        pipeline_poke(tap->wake_fd);
    }
}

static void records_watch(struct pipeline *pipeline, const struct core_batch *batch) {
    uint32_t number = batch->stream->worker;
    MUST(number < pipeline->workers_len);
    struct tap_worker *worker = &pipeline->tap->workers[number];
    worker->pipeline = pipeline;
    worker->batch = batch;
    worker->watch = (struct normalize_watch){.wants = on_wants, .record = on_record, .ctx = worker};
    normalize_worker_watch(pipeline->workers[number].normalize, &worker->watch);
}

/* Of an aborted transaction: its documents are no one's yet, and will be sent again. What is in an open one is shown: it was
 * delivered, and the commit is all that it waits for. */
static bool is_aborted(struct pipeline *pipeline, const struct core_batch *batch) {
    bool is_committed = batch->txn != 0 && batch->txn <= atomic_load(&pipeline->commit.committed);
    return pipeline->has_keeper && !is_committed && batch->epoch < atomic_load(&pipeline->commit.epoch);
}

void pipeline_watched(struct pipeline *pipeline, int point, struct core_batch *batch) {
    /* pipeline->tap was made before the first bit was set. */
    bool is_watched = (atomic_load_explicit(&pipeline->watched, memory_order_acquire) & 1U << point) != 0;
    if (!is_watched || (point == PIPELINE_AT_DELIVERED && is_aborted(pipeline, batch))) {
        return;
    }
    struct pipeline_tap *tap = pipeline->tap;
    lock_take(tap);
    bool is_added =
        point == PIPELINE_AT_WORKER ? lines_show(tap, batch) : events_show(tap, (enum pipeline_point)point, batch);
    bool wants_records = point == PIPELINE_AT_WORKER && has_stage(tap, TAP_RECORD);
    lock_give(tap);
    if (wants_records) {
        records_watch(pipeline, batch);
    }
    if (is_added) {
        pipeline_poke(tap->wake_fd);
    }
}

/* ---- main: watchers come and go -------------------------------------------------------------------------------------------- */

static void watched_set(struct pipeline *pipeline) {
    static const uint32_t points[TAP_STAGE__MAX] = {
        [TAP_RAW] = 1U << PIPELINE_AT_WORKER,
        [TAP_RECORD] = 1U << PIPELINE_AT_WORKER,
        [TAP_EVENT] = 1U << PIPELINE_AT_NORMALIZED,
        [TAP_ENRICHED] = 1U << PIPELINE_AT_ENRICHED,
        [TAP_SENT] = 1U << PIPELINE_AT_DELIVERED,
        [TAP_DEAD] = 1U << PIPELINE_AT_NORMALIZED | 1U << PIPELINE_AT_DELIVERED,
    };
    uint32_t wanted = 0;
    for (size_t i = 0; i < pipeline->tap->watchers_len; i++) {
        wanted |= points[pipeline->tap->watchers[i]->stage];
    }
    atomic_store_explicit(&pipeline->watched, wanted, memory_order_release);
}

static void watcher_free(struct watcher *watcher) {
    for (size_t i = 0; i < watcher->matches_len; i++) {
        tap_match_free(&watcher->matches[i]);
    }
    free(watcher->dataset);
    free(watcher->filling);
    free(watcher->sending);
    free(watcher);
}

static void counts_put(struct core_buf *out, uint64_t left, uint64_t too_long) {
    core_json_put_number(out, "left", (int64_t)left);
    core_json_put_number(out, "too_long", (int64_t)too_long);
}

/* Its answer, and it is forgotten. */
static void watcher_end(struct pipeline *pipeline, size_t at) {
    struct pipeline_tap *tap = pipeline->tap;
    struct watcher *watcher = tap->watchers[at];
    char text[128];
    struct core_buf out = {.start = text, .pos = text, .end = text + sizeof(text)};
    lock_take(tap);
    tap->watchers[at] = tap->watchers[--tap->watchers_len];
    lock_give(tap);
    watched_set(pipeline);
    core_buf_char(&out, '{');
    core_json_put_number(&out, "shown", (int64_t)watcher->shown);
    counts_put(&out, watcher->left, watcher->too_long);
    core_buf_char(&out, '}');
    MUST(!out.is_full);
    core_log(CORE_LEVEL_INFO, pipeline->source->stage, "nobody watches here any more", "tap=%s by=\"%s\" shown=%llu",
             tap_stages[watcher->stage], core_rpc_request_who(watcher->request), (unsigned long long)watcher->shown);
    core_rpc_result(watcher->request, core_buf_written(&out));
    watcher_free(watcher);
}

static void watcher_send(struct pipeline_tap *tap, struct watcher *watcher) {
    lock_take(tap);
    size_t len = watcher->filling_len;
    char *bytes = watcher->filling;
    watcher->filling = watcher->sending;
    watcher->sending = bytes;
    watcher->filling_len = 0;
    lock_give(tap);
    for (size_t at = 0; at < len && !core_rpc_request_is_gone(watcher->request);) {
        size_t entry;
        memcpy(&entry, bytes + at, sizeof(entry));
        at += sizeof(entry);
        core_rpc_progress(watcher->request, (struct core_span){bytes + at, entry});
        at += entry;
    }
}

static void watcher_tell(struct pipeline_tap *tap, struct watcher *watcher, int64_t now) {
    lock_take(tap);
    uint64_t left = watcher->left;
    uint64_t too_long = watcher->too_long;
    lock_give(tap);
    if (left + too_long == watcher->told || now - watcher->told_tick < TELL_NS) {
        return;
    }
    char text[128];
    struct core_buf out = {.start = text, .pos = text, .end = text + sizeof(text)};
    counts_put(&out, left, too_long);
    MUST(!out.is_full);
    core_rpc_progress(watcher->request, core_buf_written(&out));
    watcher->told = left + too_long;
    watcher->told_tick = now;
}

static void on_turn(void *ctx) {
    struct pipeline *pipeline = ctx;
    MUST(pipeline->magic == PIPELINE_MAGIC);
    struct pipeline_tap *tap = pipeline->tap;
    int64_t now = core_tick_ns();
    for (size_t i = tap->watchers_len; i > 0; i--) {
        struct watcher *watcher = tap->watchers[i - 1];
        watcher_send(tap, watcher);
        watcher_tell(tap, watcher, now);
        lock_take(tap);
        bool is_done = watcher->count > 0 && watcher->shown >= watcher->count && watcher->filling_len == 0;
        lock_give(tap);
        if (is_done || core_rpc_request_is_gone(watcher->request)) {
            watcher_end(pipeline, i - 1);
        }
    }
    if (tap->watchers_len > 0) {
        core_timer_set(pipeline->loop, &tap->turn, now + TURN_NS);
    }
}

static void on_wake(void *ctx, uint32_t events) {
    struct pipeline *pipeline = ctx;
    (void)events;
    uint64_t rung;
    ssize_t got = read(pipeline->tap->wake_fd, &rung, sizeof(rung));
    MUST(got == (ssize_t)sizeof(rung) || errno == EAGAIN);
    on_turn(ctx);
}

static enum core_err tap_open(struct pipeline *pipeline, struct core_fail *fail) {
    if (pipeline->tap != NULL) {
        return CORE_OK;
    }
    struct pipeline_tap *tap = calloc(1, sizeof(*tap));
    MUST(tap != NULL);
    MUST(pthread_mutex_init(&tap->lock, NULL) == 0);
    tap->turn = (struct core_timer){.on_time = on_turn, .ctx = pipeline};
    tap->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum core_err err = tap->wake_fd >= 0
                            ? CORE_OK
                            : core_fail_errno(fail, "eventfd", "cannot be woken; raise the limit of open files");
    if (err == CORE_OK) {
        err =
            core_arena_init(&tap->arena, TAP_TEXT_BYTES_MAX * CORE_JSON_TREE_PER_BYTE + CORE_JSON_TREE_BYTES_MIN, fail);
    }
    if (err == CORE_OK) {
        err = core_loop_watch(pipeline->loop, tap->wake_fd, EPOLLIN, on_wake, pipeline, &tap->watch, fail);
    }
    pipeline->tap = tap;
    if (err != CORE_OK) {
        pipeline_tap_end(pipeline);
        pipeline_tap_free(pipeline);
    }
    return err;
}

void pipeline_tap_end(struct pipeline *pipeline) {
    struct pipeline_tap *tap = pipeline->tap;
    if (tap == NULL) {
        return;
    }
    while (tap->watchers_len > 0) {
        watcher_send(tap, tap->watchers[0]);
        watcher_end(pipeline, 0);
    }
    core_timer_clear(&tap->turn);
    core_loop_unwatch(tap->watch);
    tap->watch = NULL;
}

void pipeline_tap_free(struct pipeline *pipeline) {
    struct pipeline_tap *tap = pipeline->tap;
    if (tap == NULL) {
        return;
    }
    MUST(tap->watchers_len == 0);
    if (tap->wake_fd >= 0) {
        (void)close(tap->wake_fd);
    }
    core_arena_destroy(&tap->arena);
    MUST(pthread_mutex_destroy(&tap->lock) == 0);
    free(tap);
    pipeline->tap = NULL;
}

/* ---- main: what is asked ------------------------------------------------------------------------------------------------------- */

static enum core_err stage_read(const struct pipeline *pipeline, const struct core_json_tree *params,
                                struct watcher *watcher, struct core_fail *fail) {
    struct core_span word = core_json_tree_text(params, "stage");
    struct core_span dataset = core_json_tree_text(params, "dataset");
    if (!tap_stage_of(word, &watcher->stage)) {
        return core_fail_set(fail, CORE_BAD, "stage", "stage is one of raw, record, event, enriched, sent, dead");
    }
    if (!pipeline->source->has_workers && (watcher->stage == TAP_RAW || watcher->stage == TAP_RECORD)) {
        return core_fail_set(
            fail, CORE_BAD, "stage",
            "a feeder reads documents, no lines: watch stage event, sent or dead here, or the process run");
    }
    if (watcher->stage == TAP_ENRICHED && !pipeline->enrich.is_on) {
        return core_fail_set(
            fail, CORE_BAD, "stage",
            "no intelligence is configured here, so nothing is enriched: stage event has the same documents");
    }
    if (watcher->stage == TAP_RAW && dataset.len > 0) {
        return core_fail_set(fail, CORE_BAD, "dataset", "a raw line has no dataset yet: watch stage record or event");
    }
    if (dataset.len > 0) {
        watcher->dataset = strndup(dataset.ptr, dataset.len);
        MUST(watcher->dataset != NULL);
    }
    return CORE_OK;
}

static enum core_err watcher_read(const struct pipeline *pipeline, const struct core_json_tree *params,
                                  struct watcher *watcher, struct core_fail *fail) {
    enum core_err err = stage_read(pipeline, params, watcher, fail);
    const struct core_json_tree *matches = core_json_tree_get(params, "match");
    const struct core_json_tree *text = err == CORE_OK && matches != NULL ? matches->first : NULL;
    for (; text != NULL && err == CORE_OK; text = text->next) {
        if (watcher->matches_len == TAP_MATCHES_MAX) {
            err = core_fail_set(fail, CORE_BAD, "match", "at most %d matches can be asked for", TAP_MATCHES_MAX);
        } else if (tap_match_read(&watcher->matches[watcher->matches_len], text->text, watcher->stage, fail)) {
            watcher->matches_len++;
        } else {
            err = CORE_BAD;
        }
    }
    int64_t rate = core_json_tree_integer(params, "rate", TAP_RATE_DEFAULT);
    int64_t count = core_json_tree_integer(params, "count", 0);
    if (err == CORE_OK && (rate < 1 || rate > TAP_RATE_MAX || count < 0)) {
        err = core_fail_set(fail, CORE_BAD, "rate", "rate is 1 to %d a second, count 0 (no end) or more", TAP_RATE_MAX);
    }
    watcher->rate = (uint64_t)rate;
    watcher->count = (uint64_t)count;
    return err;
}

void pipeline_tap_call(void *ctx, struct core_rpc_request *request, const struct core_json_tree *params) {
    struct pipeline *pipeline = ctx;
    MUST(pipeline->magic == PIPELINE_MAGIC);
    struct core_fail fail = {0};
    if (tap_open(pipeline, &fail) != CORE_OK) {
        core_rpc_refuse(request, CORE_RPC_FAILED, "nothing can be watched: %s: %s", fail.where, fail.text);
        return;
    }
    struct pipeline_tap *tap = pipeline->tap;
    struct watcher *watcher = calloc(1, sizeof(*watcher));
    MUST(watcher != NULL);
    enum core_err err = watcher_read(pipeline, params, watcher, &fail);
    if (err == CORE_OK && tap->watchers_len == WATCHERS_MAX) {
        err = core_fail_set(&fail, CORE_LIMIT, "tap", "%d watch here already, which is all that may; end one of them",
                            WATCHERS_MAX);
    }
    if (err != CORE_OK) {
        core_rpc_refuse(request, err == CORE_LIMIT ? CORE_RPC_REFUSED : CORE_RPC_BAD_PARAMS, "%s", fail.text);
        watcher_free(watcher);
        return;
    }
    watcher->request = request;
    watcher->tokens_ns = CORE_NS_PER_S;
    watcher->tokens_tick = core_tick_ns();
    watcher->filling = malloc(BUFFER_BYTES);
    watcher->sending = malloc(BUFFER_BYTES);
    MUST(watcher->filling != NULL);
    MUST(watcher->sending != NULL);
    lock_take(tap);
    tap->watchers[tap->watchers_len++] = watcher;
    lock_give(tap);
    watched_set(pipeline);
    core_timer_set(pipeline->loop, &tap->turn, core_tick_ns() + TURN_NS);
    core_log(CORE_LEVEL_INFO, pipeline->source->stage, "somebody watches what passes", "tap=%s by=\"%s\" rate=%llu",
             tap_stages[watcher->stage], core_rpc_request_who(request), (unsigned long long)watcher->rate);
}
