/* enrich/enrich.c: the stage: what it is made of, and what happens to one batch.
 *
 *     observables -> filter -> (rarely) allow-list -> store, one round trip -> documents
 *
 * The filter is kept by the follower thread (enrich/follower.c), which is the only one that may wait long. While there is no
 * filter, or the stream of changes is not followed, nothing can be said of any event; while only the store is away, nothing
 * of those with a possible hit. intel.on_unavailable says what becomes of them: marked and passed on, or held.
 *
 * A store that does not answer costs one batch its timeout. Then nobody asks for a second; and as long as the follower says
 * that it is away, nobody asks at all. The connection to ask by is made beforehand, a step with each batch and each tick; a
 * batch that finds none waits for it at most as long as for an answer, and what is begun goes on, so that a server that is far
 * away is asked, too. Held batches keep what was answered, and wait longer each time: in the end they get through.
 *
 * Crash: nothing here outlives a batch. Threads: enrich_batch(): the enrich thread; enrich_status(): any.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/health.h"
#include "enrich/sighting_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ENRICH_MAGIC 0x656e7263u
#define PAUSE_NS CORE_NS_PER_S          /* after the store did not answer */
#define PATIENCE_NS (2 * CORE_NS_PER_S) /* of a batch that is held, at most, if intel.timeout is no longer */
#define SILENT_NS (5 * CORE_NS_PER_S) /* so long the last question that was not answered says that the store is down */

struct enrich {
    uint32_t magic;
    const struct enrich_conf *conf;
    const struct enrich_redis_conf *redis;
    const char *node; /* NULL: it has no name */
    struct core_counters *counters;
    struct follower follower;
    struct match match;
    struct lookback *lookback;        /* NULL: nothing is kept */
    struct sightings *sightings;      /* NULL: what is seen is not counted */
    int stop_fd;                      /* eventfd; readable at the end: no store waits any more */
    bool is_silent;                   /* the store did not answer the last time it was asked */
    bool is_connecting;               /* there was no connection yet when it was to be asked */
    int64_t patience_ns;              /* of the next question; grows while batches are held */
    _Atomic bool is_late;             /* it is there, but what was asked last did not come in time */
    _Atomic int64_t pause_until_tick; /* it is not asked before */
    struct core_histogram round_trips;
    int64_t silent_tick;         /* when it did not answer last, and why; 0: it never was silent */
    int64_t silent_since_ns;     /* since when, by the wall clock; 0: it answers */
    struct core_fail silent_why; /* with silent_tick */
};

/* ---- opening ------------------------------------------------------------------------------------------------------------------- */

static enum core_err store_open(void *ctx, struct enrich_store **out, struct core_fail *fail) {
    struct enrich *enrich = ctx;
    return store_open_until(out, enrich->conf, enrich->redis, enrich->stop_fd, fail);
}

/* Without a place to keep what is seen, events go on all the same. */
static void lookback_begin(struct enrich *enrich, const char *state_dir) {
    const struct follower_opener *opener = &enrich->follower.opener;
    struct lookback_env env = {.conf = &enrich->conf->lookback,
                               .node = enrich->node,
                               .state_dir = state_dir,
                               .opener = opener->opens_twice ? opener : NULL,
                               .counters = enrich->counters,
                               .follower = &enrich->follower};
    struct core_fail fail;
    if (enrich->conf->lookback.days == 0 || state_dir == NULL) {
        return;
    }
    if (lookback_open(&enrich->lookback, &env, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "lookback",
                      "what is seen is not kept, and new indicators are not looked for in it, until the next start",
                      &fail);
    } else if (env.opener == NULL) {
        enrich->follower.on_new = lookback_on_new;
        enrich->follower.on_new_ctx = enrich->lookback;
    }
}

/* Nor without one to count them. */
static void sightings_begin(struct enrich *enrich, const struct enrich_env *env) {
    struct sightings_env sightings = {.every_ns = enrich->conf->sightings_every_ns,
                                      .node = env->node,
                                      .state_dir = env->state_dir,
                                      .redis =
                                          enrich->redis != NULL && enrich->redis->urls.len > 0 ? enrich->redis : NULL,
                                      .counters = enrich->counters};
    struct core_fail fail;
    if (sightings.every_ns > 0 && env->state_dir != NULL &&
        sightings_open(&enrich->sightings, &sightings, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "sightings",
                      "what is seen of indicators is not counted until the next start; events go on", &fail);
    }
}

static void stop_close(struct enrich *enrich) {
    if (enrich->stop_fd >= 0) {
        MUST(close(enrich->stop_fd) == 0);
    }
}

static enum core_err stage_open(struct enrich *enrich, const struct enrich_env *env, struct core_fail *fail) {
    enrich->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum core_err err = enrich->stop_fd >= 0
                            ? match_open(&enrich->match, fail)
                            : core_fail_errno(fail, "eventfd", "cannot make one; raise the limit of open files");
    lookback_begin(enrich, err == CORE_OK ? env->state_dir : NULL);
    if (err == CORE_OK) {
        err = follower_start(&enrich->follower, fail);
    }
    if (err != CORE_OK) {
        lookback_close(enrich->lookback);
        stop_close(enrich);
        match_close(&enrich->match);
        free(enrich);
        return err;
    }
    sightings_begin(enrich, env);
    return CORE_OK;
}

static struct enrich *stage_new(const struct enrich_conf *conf, const struct enrich_env *env) {
    struct enrich *enrich = calloc(1, sizeof *enrich);
    MUST(enrich != NULL);
    MUST(env->counters != NULL);
    enrich->magic = ENRICH_MAGIC;
    enrich->conf = conf;
    enrich->node = env->node;
    enrich->counters = env->counters;
    enrich->follower.counters = env->counters;
    enrich->follower.holds = conf->on_unavailable == ENRICH_WAIT;
    enrich->patience_ns = conf->timeout_ns;
    return enrich;
}

enum core_err enrich_open_with(struct enrich **out, const struct enrich_conf *conf,
                               const struct follower_opener *opener, const struct enrich_env *env,
                               struct core_fail *fail) {
    struct enrich *enrich = stage_new(conf, env);
    enrich->follower.opener = *opener;
    enum core_err err = stage_open(enrich, env, fail);
    *out = err == CORE_OK ? enrich : NULL;
    return err;
}

enum core_err enrich_open(struct enrich **out, const struct enrich_conf *conf, const struct enrich_redis_conf *redis,
                          const struct enrich_env *env, struct core_fail *fail) {
    struct enrich *enrich = stage_new(conf, env);
    enrich->redis = redis;
    enrich->follower.opener = (struct follower_opener){
        .open = store_open, .ctx = enrich, .opens_twice = redis != NULL && redis->urls.len > 0};
    enum core_err err = stage_open(enrich, env, fail);
    *out = err == CORE_OK ? enrich : NULL;
    return err;
}

void enrich_close(struct enrich *enrich) {
    if (enrich == NULL) {
        return;
    }
    MUST(enrich->magic == ENRICH_MAGIC);
    MUST(eventfd_write(enrich->stop_fd, 1) == 0); /* both of them may be waiting for a store */
    follower_stop(&enrich->follower);
    lookback_close(enrich->lookback);
    sightings_close(enrich->sightings); /* last: it may wait for Redis a little, and nothing is lost if it is ended */
    stop_close(enrich);
    match_close(&enrich->match);
    enrich->magic = 0;
    free(enrich);
}

/* ---- a batch ------------------------------------------------------------------------------------------------------------------- */

static void counts_add(struct enrich *enrich) {
    for (int i = 0; i < CORE_COUNT__MAX; i++) {
        if (enrich->match.counts[i] > 0) {
            core_count(enrich->counters, (enum core_counter)i, enrich->match.counts[i]);
        }
    }
}

static bool has_observables(const struct core_batch *batch) {
    for (uint32_t i = 0; i < batch->events_len; i++) {
        if (batch->events[i].observables_len > 0 || batch->events[i].observables_left > 0) {
            return true;
        }
    }
    return false;
}

/* The filter cannot be trusted: it is not there, or it misses what was added lately. */
static bool is_blind(const struct enrich *enrich, const struct view *view) {
    return view == NULL || follower_behind_ns(&enrich->follower) > enrich->conf->stale_after_ns;
}

static int timeout_ms_of(int64_t ns) {
    return ns < CORE_NS_PER_MS ? 1 : (int)(ns / CORE_NS_PER_MS);
}

/* Nobody asks now: the store was silent just now, and the connection that was missing then is not there yet, or the follower
 * says that it is away. */
static bool is_left_alone(struct enrich *enrich) {
    struct enrich_store *store = atomic_load(&enrich->follower.store);
    struct core_fail fail;
    if (atomic_load_explicit(&enrich->follower.is_away, memory_order_relaxed)) {
        return true;
    }
    MUST(store != NULL); /* whoever built the filter opened it */
    bool is_connected = store_connect(store, 0, &fail) == CORE_OK;
    bool is_pause = core_tick_ns() < atomic_load_explicit(&enrich->pause_until_tick, memory_order_relaxed);
    return is_pause && !(is_connected && enrich->is_connecting);
}

void enrich_tick(struct enrich *enrich) {
    struct enrich_store *store = atomic_load(&enrich->follower.store);
    struct core_fail fail;
    if (store != NULL && !atomic_load_explicit(&enrich->follower.is_away, memory_order_relaxed)) {
        enum core_err err = store_connect(store, 0, &fail);
        (void)err; /* what is wrong is told when the store is to be asked */
    }
}

static void silence_log(const struct enrich *enrich, const struct core_fail *fail) {
    bool is_held = enrich->conf->on_unavailable == ENRICH_WAIT;
    if (fail->err == CORE_LIMIT) {
        core_log_fail(
            CORE_LEVEL_WARN, "enrich",
            "what the store of indicators says does not fit into memory: the possible hits of a batch that are "
            "left go on, marked labels.intel: unavailable",
            fail);
    } else if (fail->err == CORE_BAD) {
        core_log_fail(CORE_LEVEL_ERROR, "enrich",
                      is_held ? "the store of indicators lets nobody ask: events with possible hits are held until it "
                                "does; asked again each second"
                              : "the store of indicators lets nobody ask: possible hits go on, marked labels.intel: "
                                "unavailable, until it does; asked again each second",
                      fail);
    } else {
        core_log_fail(CORE_LEVEL_WARN, "enrich",
                      is_held ? "the store of indicators does not answer in time: events with possible hits are held "
                                "until it does; asked again in a second"
                              : "the store of indicators does not answer in time: possible hits go on, marked "
                                "labels.intel: unavailable; asked again in a second",
                      fail);
    }
}

/* What an attempt to ask came to. came: answers. */
static void store_judge(struct enrich *enrich, enum core_err err, size_t came, const struct core_fail *fail) {
    bool is_paused = err != CORE_OK && err != CORE_LIMIT && came == 0;
    if (is_paused) {
        atomic_store_explicit(&enrich->pause_until_tick, core_tick_ns() + PAUSE_NS, memory_order_relaxed);
    } else {
        atomic_store_explicit(&enrich->pause_until_tick, 0, memory_order_relaxed);
    }
    if (is_paused && enrich->conf->on_unavailable == ENRICH_WAIT && enrich->patience_ns < PATIENCE_NS) {
        enrich->patience_ns = enrich->patience_ns * 2 < PATIENCE_NS ? enrich->patience_ns * 2 : PATIENCE_NS;
    }
    if (err != CORE_OK && !enrich->is_silent) {
        silence_log(enrich, fail);
    } else if (err == CORE_OK && enrich->is_silent) {
        core_log(CORE_LEVEL_INFO, "enrich", "the store of indicators answers again", "asked=%zu",
                 enrich->match.keys_len);
    }
    enrich->is_silent = err != CORE_OK;
    if (is_paused) {
        enrich->silent_tick = core_tick_ns();
        enrich->silent_why = *fail;
        enrich->silent_since_ns = enrich->silent_since_ns == 0 ? core_now_ns() : enrich->silent_since_ns;
    } else {
        enrich->silent_since_ns = 0;
    }
    atomic_store_explicit(&enrich->is_late, err == CORE_AGAIN, memory_order_relaxed);
}

static enum core_err store_ask(struct enrich *enrich) {
    struct match *match = &enrich->match;
    const size_t before = match->answered;
    struct core_fail fail;
    if (is_left_alone(enrich)) {
        return CORE_AGAIN;
    }
    struct enrich_store *store = atomic_load(&enrich->follower.store);
    int timeout_ms = timeout_ms_of(enrich->patience_ns);
    enum core_err err = store_connect(store, timeout_ms, &fail);
    enrich->is_connecting = err == CORE_AGAIN;
    if (err == CORE_OK) {
        int64_t begun = core_tick_ns();
        err = match_ask(match, store, timeout_ms, &fail);
        if (err == CORE_OK) {
            core_histogram_add(&enrich->round_trips, core_tick_ns() - begun, 1);
        }
    }
    store_judge(enrich, err, match->answered - before, &fail);
    return err;
}

static enum core_err batch_match(struct enrich *enrich, const struct view *view, struct core_batch *batch) {
    struct match *match = &enrich->match;
    match_look(match, view, batch);
    match_keys(match, view->allow);
    enum core_err err = match->answered < match->keys_len ? store_ask(enrich) : CORE_OK;
    if (err != CORE_OK && err != CORE_LIMIT && enrich->conf->on_unavailable == ENRICH_WAIT) {
        match_hold(match);
        return CORE_AGAIN;
    }
    match_write(match);
    if (enrich->sightings != NULL) {
        sightings_batch(enrich->sightings, match);
    }
    counts_add(enrich);
    return CORE_OK;
}

enum core_err enrich_batch(struct enrich *enrich, struct core_batch *batch) {
    MUST(enrich->magic == ENRICH_MAGIC);
    MUST(batch->magic == CORE_BATCH_MAGIC);
    if (!has_observables(batch)) {
        return CORE_OK;
    }
    if (enrich->lookback != NULL) {
        lookback_enter(enrich->lookback);
    }
    const struct view *view = view_take(&enrich->follower.door);
    enum core_err err = CORE_OK;
    if (!is_blind(enrich, view)) {
        err = batch_match(enrich, view, batch);
    } else if (enrich->conf->on_unavailable == ENRICH_WAIT) {
        err = CORE_AGAIN;
    } else {
        match_mark(&enrich->match, batch);
        counts_add(enrich);
    }
    view_leave(&enrich->follower.door);
    if (err == CORE_OK && enrich->lookback != NULL) {
        lookback_batch(enrich->lookback, batch);
    }
    if (enrich->lookback != NULL) {
        lookback_leave(enrich->lookback);
    }
    return err;
}

/* ---- the state ----------------------------------------------------------------------------------------------------------------- */

void enrich_status(const struct enrich *enrich, struct enrich_status *out) {
    MUST(enrich->magic == ENRICH_MAGIC);
    const struct follower *follower = &enrich->follower;
    bool is_away = atomic_load_explicit(&follower->is_away, memory_order_relaxed) ||
                   core_tick_ns() < atomic_load_explicit(&enrich->pause_until_tick, memory_order_relaxed);
    *out = (struct enrich_status){
        .state = ENRICH_READY,
        .indicators = atomic_load_explicit(&follower->indicators, memory_order_relaxed),
        .stale = atomic_load_explicit(&follower->stale, memory_order_relaxed),
        .filter_bytes = atomic_load_explicit(&follower->bytes, memory_order_relaxed),
        .build_ns = atomic_load_explicit(&follower->build_ns, memory_order_relaxed),
        .behind_ns = follower_behind_ns(follower),
        .is_late = !atomic_load_explicit(&follower->is_away, memory_order_relaxed) &&
                   atomic_load_explicit(&enrich->is_late, memory_order_relaxed),
    };
    if (is_away) {
        out->state = ENRICH_UNAVAILABLE;
    } else if (out->behind_ns == INT64_MAX) {
        out->state = ENRICH_BUILDING;
    } else if (out->behind_ns > enrich->conf->stale_after_ns) {
        out->state = ENRICH_STALE;
    }
}

/* ---- health ------------------------------------------------------------------------------------------------------------------- */

/* Since when the store cannot be asked, and why; 0: it can. The follower's word comes first: it looks all the time. */
static int64_t unavailable_since(const struct enrich *enrich, struct core_fail *why) {
    int64_t since_ns = follower_away(&enrich->follower, why);
    if (since_ns == 0 && enrich->silent_since_ns != 0 && core_tick_ns() - enrich->silent_tick < SILENT_NS) {
        since_ns = enrich->silent_since_ns;
        *why = enrich->silent_why;
    }
    return since_ns;
}

static const char *consequence(const struct enrich *enrich) {
    return enrich->conf->on_unavailable == ENRICH_WAIT
               ? "events that it may speak of are held until it can, and nothing is lost"
               : "events that it may speak of go on, marked labels.intel: unavailable";
}

static void complain(const struct enrich *enrich, struct core_health_page *page, const struct enrich_status *status,
                     int64_t unavailable_ns, const struct core_fail *why) {
    char where[STORE_WHERE_BYTES];
    char since[21];
    follower_where(&enrich->follower, where);
    if (where[0] == '\0') {
        (void)snprintf(where, sizeof where, "the store of indicators");
    }
    if (unavailable_ns != 0) {
        core_health_since(unavailable_ns, since);
        core_health_complain(page, "intel_unavailable", CORE_HEALTH_INTEL, NULL, NULL, NULL,
                             "intelligence (%s) cannot be asked since %s: %s; %s",
                             why->where[0] == '\0' ? where : why->where, since, why->text, consequence(enrich));
    } else if (status->state == ENRICH_STALE) {
        core_health_since(core_now_ns() - status->behind_ns, since);
        core_health_complain(page, "intel_stale", CORE_HEALTH_INTEL, NULL, NULL, NULL,
                             "what changed in %s after %s is not known here; %s", where, since, consequence(enrich));
    }
}

void enrich_health(struct enrich *enrich, struct core_health_page *page) {
    MUST(enrich->magic == ENRICH_MAGIC);
    struct enrich_status status;
    struct core_fail why = {0};
    enrich_status(enrich, &status);
    int64_t unavailable_ns = unavailable_since(enrich, &why);
    bool is_known = atomic_load(&enrich->follower.store) != NULL || unavailable_ns != 0;
    uint64_t looked = core_counted(enrich->counters, CORE_COUNT_ENRICH_OBSERVABLES);
    uint64_t hits = core_counted(enrich->counters, CORE_COUNT_ENRICH_HITS);
    struct core_health_row *row = core_health_add(page, CORE_HEALTH_INTEL, NULL, NULL, NULL);
    if (row == NULL) {
        return;
    }
    core_health_set(row, CORE_INTEL_STATE, unavailable_ns != 0 ? ENRICH_UNAVAILABLE : (int64_t)status.state);
    core_health_set(row, CORE_INTEL_INDICATORS, (int64_t)status.indicators);
    core_health_set(row, CORE_INTEL_BEHIND, status.behind_ns == INT64_MAX ? CORE_HEALTH_UNKNOWN : status.behind_ns);
    core_health_set(row, CORE_INTEL_FILTER, (int64_t)status.filter_bytes);
    core_health_set(row, CORE_INTEL_HIT_RATE, looked == 0 ? 0 : (int64_t)((double)hits / (double)looked * 1e6));
    core_health_set(row, CORE_INTEL_UP, is_known ? (unavailable_ns == 0 ? 1 : 0) : CORE_HEALTH_UNKNOWN);
    row->histogram = &enrich->round_trips;
    complain(enrich, page, &status, unavailable_ns, &why);
}
