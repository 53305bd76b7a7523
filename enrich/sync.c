/* enrich/sync.c: a feed into the store.
 *
 *   lease -> state -> fetch into a spool -> judge -> write -> sweep -> state -> lease back
 *
 * Nothing is written before all of the feed was read and judged: an error, an answer that is cut off, a feed that has become
 * shorter by more than drop_max leaves the store as it is. What is written is what the feed says; the store keeps only what
 * differs. The sweep walks the store for words of this feed that were not in it (memory: sync_internal.h), and is left out if
 * the feed names the same as at its last complete reading and nothing was put since. Where only what is new was read, what is
 * deleted or revoked there is taken back if the word in the store has its id: another attribute or object that was not read
 * may say the same, and what it leaves is the next sweep's.
 *
 * While a feed is written its state has `sync.begun`. Who finds that, after a kill, reads all of the feed again, sweeps in
 * any case, and so ends in the state that the killed sync would have ended in.
 *
 * The lease is one of LEASE_NS that is renewed wherever something takes its time, a sweep too (a writer's store walks on a
 * connection of its own); who has lost it stops at once, and of who was killed it runs out within LEASE_NS.
 *
 * State, in the store under the feed's name: sync.at (when the last good look began), sync.tried_at, sync.failed (why it was
 * none), sync.not_before (the server wants peace until then), sync.full_at and sync.items (of the last complete reading),
 * sync.print (of what it named; there only while nothing was put since, so that the store has just that), sync.begun; keys
 * without "sync." are the source's (ETag, cursors) and are forgotten before a complete reading.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sync_internal.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LEASE_NS (60 * CORE_NS_PER_S)
#define RENEW_NS (15 * CORE_NS_PER_S)
#define ASK_NS (CORE_NS_PER_S / 10)
#define FEW 10         /* of a feed so short any drop may be true */
#define EXPIRY_STEPS 8 /* sources.c: an expiry moves on by eighths */
#define PERCENT 100
#define AFTER_FAILURE_S 300 /* a feed that failed is not left alone for a day */
#define WHY_BYTES 300

struct sync {
    struct enrich_store *store;
    const struct enrich_feed_conf *feed;
    const struct source_ops *source;
    const struct enrich_sync_how *how;
    struct enrich_sync_report *report;
    struct core_fail *fail;
    struct store_lease lease;
    struct core_conf_list state;
    struct sync_spool *spool;
    struct enrich_read_calls calls;
    enum core_err spool_err; /* why on_item ended the reading */
    int64_t start_s;
    int64_t renewed_ns;
    int64_t asked_ns;
    bool is_full;
    bool is_ended;      /* how->goes_on said so */
    bool is_lease_lost; /* or the store is away */
    bool was_begun;     /* the last sync was killed */
    struct progress {
        const char *doing;
        uint64_t done, total; /* of bytes, or indicators; total 0: not known */
        uint64_t items;
    } progress;
    uint64_t beyond;     /* the feed's limit */
    const char *counts;  /* what numbers of entries count: source->counts */
    char why[WHY_BYTES]; /* of the first entry that was refused */
};

/* ---- state ---------------------------------------------------------------------------------------------------------------------- */

static int64_t state_number(const struct core_conf_list *state, const char *key) {
    const char *text = store_state_find(state, key);
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

static uint64_t state_hex(const struct core_conf_list *state, const char *key) {
    const char *text = store_state_find(state, key);
    return text == NULL ? 0 : strtoull(text, NULL, 16);
}

static enum core_err state_number_set(struct sync *sync, const char *key, int64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return store_state_set(&sync->state, key, text, sync->fail);
}

static enum core_err state_hex_set(struct sync *sync, const char *key, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    return store_state_set(&sync->state, key, text, sync->fail);
}

/* What the source remembers. */
static void state_forget(struct sync *sync) {
    for (size_t i = 0; i < sync->state.len;) {
        if (strncmp(sync->state.items[i].key, "sync.", strlen("sync.")) == 0) {
            i++;
            continue;
        }
        enum core_err err CORE_UNUSED = store_state_set(&sync->state, sync->state.items[i].key, NULL, NULL);
    }
}

/* ---- going on -------------------------------------------------------------------------------------------------------------------- */

static bool lease_renew(struct sync *sync) {
    enum core_err err = store_lease_renew(sync->store, &sync->lease, LEASE_NS, sync->fail);
    sync->is_lease_lost = err != CORE_OK;
    sync->spool_err = err;
    sync->renewed_ns = core_tick_ns();
    return err == CORE_OK;
}

static void progress_tell(const struct sync *sync) {
    const struct progress *now = &sync->progress;
    double share = now->total == 0 ? -1 : now->done >= now->total ? 1 : (double)now->done / (double)now->total;
    if (sync->how->on_progress != NULL) {
        sync->how->on_progress(sync->how->ctx, now->doing, share, now->items);
    }
}

static void progress_begin(struct sync *sync, const char *doing, uint64_t total) {
    sync->progress = (struct progress){.doing = doing, .total = total};
    progress_tell(sync);
}

/* Asked wherever something takes its time. */
static bool goes_on(void *sync_ptr) {
    struct sync *sync = sync_ptr;
    int64_t now_ns = core_tick_ns();
    if (sync->is_ended || sync->is_lease_lost) {
        return false;
    }
    if (now_ns - sync->asked_ns >= ASK_NS) {
        sync->asked_ns = now_ns;
        sync->is_ended = sync->how->goes_on != NULL && !sync->how->goes_on(sync->how->ctx);
        progress_tell(sync);
    }
    return !sync->is_ended && (now_ns - sync->renewed_ns < RENEW_NS || lease_renew(sync));
}

/* Why it did not go on. */
static enum core_err stopped(struct sync *sync) {
    if (sync->is_lease_lost) {
        return sync->spool_err == CORE_GONE ? CORE_LOCKED : sync->spool_err; /* fail says it */
    }
    return core_fail_set(sync->fail, CORE_AGAIN, sync->feed->name, "it was ended; the next sync goes on");
}

/* ---- reading -------------------------------------------------------------------------------------------------------------------- */

static void refused(struct sync *sync, uint64_t line, struct core_span what, const char *why) {
    if (sync->report->refused++ == 0) {
        char shown[100];
        source_show(what, shown, sizeof shown);
        size_t len =
            line == 0 ? 0 : (size_t)snprintf(sync->why, sizeof sync->why, "%s=%" PRIu64 " ", sync->counts, line);
        snprintf(sync->why + len, sizeof sync->why - len, "entry=\"%s\" why=\"%.120s\"", shown, why);
    }
}

static void on_refused(void *sync_ptr, uint64_t line, struct core_span what, const char *why) {
    refused(sync_ptr, line, what, why);
}

static bool item_keep(struct sync *sync, const struct enrich_item *item, bool is_gone) {
    enum core_err err = sync_spool_add(sync->spool, item, is_gone, sync->fail);
    if (err == CORE_LIMIT && sync_spool_items(sync->spool) >= sync->feed->limit) {
        sync->beyond++;
        refused(sync, 0, item->value, "the feed's limit is reached");
    } else if (err != CORE_OK && err != CORE_AGAIN) {
        sync->spool_err = err;
        return false;
    }
    sync->progress.items = sync_spool_items(sync->spool);
    return goes_on(sync);
}

static bool on_item(void *sync_ptr, const struct enrich_item *item) {
    return item_keep(sync_ptr, item, false);
}

static bool on_gone(void *sync_ptr, const struct enrich_item *item) {
    return item_keep(sync_ptr, item, true);
}

static void on_read(void *sync_ptr, size_t done, size_t total) {
    struct sync *sync = sync_ptr;
    sync->progress.done = done;
    sync->progress.total = total;
}

/* The names, sizes and times of the files, as one number. */
static uint64_t files_print(const glob_t *files) {
    uint64_t print = files->gl_pathc;
    for (size_t i = 0; i < files->gl_pathc; i++) {
        struct stat now;
        print = core_hash64(files->gl_pathv[i], strlen(files->gl_pathv[i]), print);
        if (stat(files->gl_pathv[i], &now) == 0) {
            const int64_t marks[] = {(int64_t)now.st_ino, now.st_size, now.st_mtim.tv_sec, now.st_mtim.tv_nsec};
            print = core_hash64(marks, sizeof marks, print);
        }
    }
    return print;
}

/* A feed that is files. */
static enum core_err files_read(struct sync *sync) {
    const struct enrich_feed_conf *feed = sync->feed;
    glob_t files = {0};
    enum core_err err = CORE_OK;
    int found = glob(feed->path, 0, NULL, &files);
    if (found != 0) {
        globfree(&files);
        return core_fail_set(sync->fail, CORE_IO, feed->path, "%s",
                             found == GLOB_NOMATCH ? "there is no such file" : "its folder cannot be read");
    }
    uint64_t print = files_print(&files);
    sync->report->is_unchanged = !sync->is_full && print == state_hex(&sync->state, "files");
    for (size_t i = 0; i < files.gl_pathc && err == CORE_OK && !sync->report->is_unchanged; i++) {
        err = enrich_read_file(files.gl_pathv[i], feed->type, feed, &sync->calls, sync->fail);
    }
    err = err == CORE_OK ? state_hex_set(sync, "files", print) : err;
    globfree(&files);
    return err;
}

static enum core_err feed_read(struct sync *sync) {
    const struct source_ops *source = sync->source;
    enum core_err err = CORE_OK;
    sync->calls = (struct enrich_read_calls){
        .on_item = on_item, .on_refused = on_refused, .goes_on = goes_on, .on_progress = on_read, .ctx = sync};
    sync->counts = source->counts;
    progress_begin(sync, "reading", 0);
    if (!sync->is_full && sync->feed->path == NULL && source->fetch != NULL) {
        sync->calls.on_gone = on_gone; /* a sweep finds what a complete reading leaves out */
    }
    if (sync->feed->path != NULL) {
        err = files_read(sync);
    } else {
        err = (source->fetch != NULL ? source->fetch : source_http_fetch)(sync->feed, &sync->state, &sync->calls,
                                                                          sync->report, sync->fail);
    }
    sync->report->items = sync_spool_items(sync->spool);
    if (err != CORE_AGAIN) {
        return err;
    }
    return sync->spool_err != CORE_OK && !sync->is_lease_lost ? sync->spool_err : stopped(sync);
}

/* ---- judging -------------------------------------------------------------------------------------------------------------------- */

/* Can what was read be all there is? */
static enum core_err judge(struct sync *sync) {
    const struct enrich_sync_report *report = sync->report;
    uint64_t before = (uint64_t)state_number(&sync->state, "sync.items");
    if (report->is_unchanged || report->is_delta || report->is_cut || sync->how->takes_fewer) {
        return CORE_OK;
    }
    bool is_file =
        sync->feed->path != NULL || sync->source->fetch == NULL; /* of a server's answers the form is known */
    if (is_file && report->items == 0 && report->refused > 0) {
        return core_fail_set(sync->fail, CORE_BAD, sync->feed->name,
                             "none of its %" PRIu64
                             " entries is an indicator (%s), so what is in the store is kept; is "
                             "it a %s feed?",
                             report->refused, sync->why, sync->source->name);
    }
    bool is_dropped = report->items < before && (before - report->items) * PERCENT > before * sync->feed->drop_max;
    bool may_be = before <= FEW && report->items > 0;
    if (is_dropped && !may_be) {
        return core_fail_set(sync->fail, CORE_BAD, sync->feed->name,
                             "it has %" PRIu64 " indicators, and had %" PRIu64 ": more than %" PRIu64
                             " %% fewer, so what is in the store is kept. If that is "
                             "right, say so once: tapline intel sync --takes-fewer %s",
                             report->items, before, sync->feed->drop_max, sync->feed->name);
    }
    return CORE_OK;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------------- */

static enum core_err item_write(struct sync *sync, const struct enrich_item *item, bool is_gone) {
    struct core_fail why;
    if (enrich_item_check(item, &why) != CORE_OK) { /* the others are not held up by it */
        refused(sync, 0, item->value, why.text);
        return CORE_OK;
    }
    return is_gone ? store_remove_said(sync->store, item, sync->fail) : enrich_store_put(sync->store, item, sync->fail);
}

static enum core_err feed_write(struct sync *sync) {
    struct enrich_item item;
    bool is_gone = false;
    enum core_err err = sync_spool_rewind(sync->spool, sync->fail);
    progress_begin(sync, "writing", sync_spool_items(sync->spool));
    while (err == CORE_OK) {
        err = sync_spool_next(sync->spool, &item, &is_gone, sync->fail);
        if (err == CORE_GONE) {
            return enrich_store_flush(sync->store, sync->fail);
        }
        bool is_there_still = is_gone && sync_spool_has(sync->spool, item.type, item.value, item.said.provider);
        err = err == CORE_OK && !is_there_still ? item_write(sync, &item, is_gone) : err;
        sync->progress.items = ++sync->progress.done;
        err = err == CORE_OK && !goes_on(sync) ? stopped(sync) : err;
    }
    return err;
}

/* ---- sweeping -------------------------------------------------------------------------------------------------------------------- */

struct sweep {
    struct sync *sync;
    enum core_err err;
};

/* Take back what this feed no longer says. The store walks on a connection of its own, so the words and the lease, which
 * have the other, can be changed meanwhile. */
static bool sweep_look(void *sweep_ptr, const struct enrich_found *found) {
    struct sweep *sweep = sweep_ptr;
    struct sync *sync = sweep->sync;
    sync->progress.items = ++sync->progress.done;
    for (size_t i = 0; i < found->providers_len && sweep->err == CORE_OK; i++) {
        const struct enrich_provider *said = &found->providers[i];
        if (strcmp(said->feed, sync->feed->name) == 0 &&
            !sync_spool_has(sync->spool, found->type, found->value, said->provider)) {
            sweep->err = enrich_store_remove(sync->store, found->type, found->value, sync->feed->name, said->provider,
                                             sync->fail);
        }
    }
    if (sweep->err == CORE_OK && !goes_on(sync)) {
        sweep->err = stopped(sync);
    }
    return sweep->err == CORE_OK;
}

static enum core_err sweep_all(struct sync *sync) {
    struct sweep sweep = {.sync = sync};
    uint64_t count = 0;
    enum core_err err = store_count(sync->store, &count, sync->fail);
    progress_begin(sync, "looking for what is gone", count);
    err = err != CORE_OK ? err : enrich_store_walk(sync->store, true, sweep_look, &sweep, sync->fail);
    err = err == CORE_OK ? sweep.err : err;
    return err == CORE_OK ? enrich_store_flush(sync->store, sync->fail) : err;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------- */

/* When is this feed due? Before the first sync: at once. */
static int64_t due_s(const struct sync *sync) {
    int64_t at = state_number(&sync->state, "sync.at"), tried_at = state_number(&sync->state, "sync.tried_at");
    int64_t not_before = state_number(&sync->state, "sync.not_before");
    int64_t interval = sync->feed->interval_ns / CORE_NS_PER_S;
    if (store_state_find(&sync->state, "sync.failed") != NULL && interval > AFTER_FAILURE_S) {
        interval = AFTER_FAILURE_S;
    }
    int64_t due = (at > tried_at ? at : tried_at) + interval;
    due = at == 0 && tried_at == 0 ? 0 : due;
    return due > not_before ? due : not_before;
}

/* Must all of it be read? */
static bool is_full_due(const struct sync *sync) {
    int64_t full_at = state_number(&sync->state, "sync.full_at");
    int64_t age = sync->start_s - full_at;
    int64_t expire = sync->feed->expire_after_ns / CORE_NS_PER_S;
    int64_t full_interval = sync->feed->full_interval_ns / CORE_NS_PER_S;
    bool is_old = full_interval > 0 && age >= full_interval;
    bool expires = expire > 0 && age >= expire / EXPIRY_STEPS; /* what is read again gets its new end then */
    return sync->how->is_full || sync->was_begun || full_at == 0 || is_old || expires;
}

/* The state before anything is written: the next one knows, should this one be killed. */
static enum core_err begun_put(struct sync *sync) {
    enum core_err err = state_number_set(sync, "sync.begun", sync->start_s);
    err = err == CORE_OK ? store_state_set(&sync->state, "sync.print", NULL, sync->fail) : err;
    return err == CORE_OK ? store_state_put(sync->store, sync->feed->name, &sync->state, sync->fail) : err;
}

/* last_print: of the last complete reading, if nothing was put since; NULL: none, or something was. */
static enum core_err done_put(struct sync *sync, bool is_complete, const uint64_t *last_print) {
    enum core_err err = state_number_set(sync, "sync.at", sync->start_s);
    err = err == CORE_OK ? state_number_set(sync, "sync.tried_at", sync->start_s) : err;
    if (is_complete) {
        err = err == CORE_OK ? state_number_set(sync, "sync.full_at", sync->start_s) : err;
        err = err == CORE_OK ? state_number_set(sync, "sync.items", (int64_t)sync->report->items) : err;
        err = err == CORE_OK ? state_hex_set(sync, "sync.print", sync_spool_print(sync->spool)) : err;
    } else if (last_print != NULL) {
        err = err == CORE_OK ? state_hex_set(sync, "sync.print", *last_print) : err;
    }
    static const char *const over[] = {"sync.begun", "sync.failed", "sync.not_before"};
    for (size_t i = 0; i < sizeof over / sizeof over[0] && err == CORE_OK; i++) {
        err = store_state_set(&sync->state, over[i], NULL, sync->fail);
    }
    return err == CORE_OK ? store_state_put(sync->store, sync->feed->name, &sync->state, sync->fail) : err;
}

static enum core_err feed_take(struct sync *sync) {
    struct enrich_sync_report *report = sync->report;
    uint64_t last_print = state_hex(&sync->state, "sync.print"), put = sync->store->put;
    bool has_print = store_state_find(&sync->state, "sync.print") != NULL;
    enum core_err err = feed_read(sync);
    err = err == CORE_OK ? judge(sync) : err;
    if (err != CORE_OK) {
        return err;
    }
    bool is_complete = !report->is_unchanged && !report->is_delta && !report->is_cut;
    bool is_same = has_print && !sync->was_begun && !sync->how->is_full && last_print == sync_spool_print(sync->spool);
    if (!report->is_unchanged) {
        err = begun_put(sync);
        err = err == CORE_OK ? feed_write(sync) : err;
        err = err == CORE_OK && is_complete && !is_same && sync->source->tells_all ? sweep_all(sync) : err;
    }
    bool is_just_that = has_print && sync->store->put == put;
    return err == CORE_OK ? done_put(sync, is_complete, is_just_that ? &last_print : NULL) : err;
}

/* A failure is remembered, with the state that the last good sync left. */
static void failed_put(struct sync *sync, const struct core_fail *why) {
    struct core_fail other;
    int64_t wait_s = sync->report->wait_s;
    struct core_conf_list kept;
    char text[WHY_BYTES];
    if (store_state_get(sync->store, sync->feed->name, &kept, &other) != CORE_OK) {
        return; /* the store is away: that is what the caller is told */
    }
    store_state_release(&sync->state);
    sync->state = kept;
    snprintf(text, sizeof text, "%.80s: %.200s", why->where, why->text);
    sync->fail = &other;
    enum core_err err = state_number_set(sync, "sync.tried_at", sync->start_s);
    err = err == CORE_OK ? store_state_set(&sync->state, "sync.failed", text, &other) : err;
    err = err == CORE_OK && wait_s > 0 ? state_number_set(sync, "sync.not_before", sync->start_s + wait_s) : err;
    err = err == CORE_OK ? store_state_put(sync->store, sync->feed->name, &sync->state, &other) : err;
    (void)err;
}

static void say(const struct sync *sync) {
    const struct enrich_sync_report *report = sync->report;
    const char *name = sync->feed->name;
    if (report->is_cut) {
        core_log(CORE_LEVEL_ERROR, "sync", "a feed was cut off at its server's limit, and could not be paged",
                 "feed=%s items=%" PRIu64 " now=\"what it named is in the store, nothing is taken back\" "
                 "help=\"raise its server's limit, or ask for less (options days, confidence)\"",
                 name, report->items);
    }
    if (sync->beyond > 0) {
        core_log(CORE_LEVEL_ERROR, "sync", "a feed has more indicators than its limit",
                 "feed=%s limit=%" PRIu64 " left_out=%" PRIu64 " help=\"raise intel.feeds[].limit\"", name,
                 sync->feed->limit, sync->beyond);
    } else if (report->refused > 0) {
        core_log(CORE_LEVEL_WARN, "sync", "some entries of a feed are no indicators, and are left out",
                 "feed=%s refused=%" PRIu64 " of=%" PRIu64 " first=(%s)", name, report->refused,
                 report->refused + report->items, sync->why);
    }
}

static enum core_err leased(struct sync *sync) {
    struct enrich_sync_report *report = sync->report;
    uint64_t put = sync->store->put, removed = sync->store->removed;
    enum core_err err = store_state_get(sync->store, sync->feed->name, &sync->state, sync->fail);
    if (err != CORE_OK) {
        return err;
    }
    report->next_s = due_s(sync);
    if (sync->how->is_due_only && report->next_s > sync->start_s) {
        report->is_early = true;
        return CORE_OK;
    }
    sync->was_begun = store_state_find(&sync->state, "sync.begun") != NULL;
    sync->is_full = is_full_due(sync);
    if (sync->is_full) {
        state_forget(sync);
    }
    err = sync_spool_open(&sync->spool, sync->feed->name, sync->feed->limit, sync->fail);
    err = err == CORE_OK ? feed_take(sync) : err;
    report->put = sync->store->put - put;
    report->removed = sync->store->removed - removed;
    progress_begin(sync, NULL, 0);
    if (err == CORE_OK) {
        say(sync);
    } else if (err != CORE_AGAIN && err != CORE_LOCKED) {
        failed_put(sync, sync->fail);
    }
    report->next_s = due_s(sync);
    return err;
}

enum core_err enrich_sync(struct enrich_store *store, const struct enrich_feed_conf *feed,
                          const struct enrich_sync_how *how, struct enrich_sync_report *report,
                          struct core_fail *fail) {
    MUST(feed->name != NULL);
    MUST(feed->type >= 0);
    MUST(fail != NULL);
    char name[sizeof((struct store_lease *)NULL)->name];
    int64_t now_ns = core_tick_ns();
    struct sync sync = {.store = store,
                        .feed = feed,
                        .source = source_table[feed->type],
                        .how = how,
                        .report = report,
                        .fail = fail,
                        .start_s = core_now_ns() / CORE_NS_PER_S,
                        .renewed_ns = now_ns,
                        .asked_ns = now_ns};
    *report = (struct enrich_sync_report){0};
    snprintf(name, sizeof name, "sync.%s", feed->name);
    enum core_err err = store_lease_take(store, name, LEASE_NS, &sync.lease, fail);
    if (err == CORE_LOCKED) {
        report->is_elsewhere = true;
        return CORE_OK; /* fail says who has it */
    }
    if (err != CORE_OK) {
        return err;
    }
    err = leased(&sync);
    if (err != CORE_OK) {
        store_forget(store); /* or the next feed's sync would write it, without this one's lease */
    }
    struct core_fail other;
    enum core_err given = store_lease_give(store, &sync.lease, err == CORE_OK ? fail : &other);
    sync_spool_close(sync.spool);
    store_state_release(&sync.state);
    if (err == CORE_LOCKED) {
        report->is_elsewhere = true;
        return CORE_OK;
    }
    return err == CORE_OK ? given : err;
}
