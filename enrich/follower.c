/* enrich/follower.c: the thread that keeps the filter true to the store.
 *
 *     open the store -> build: how many, then all of them, into a new filter -> follow the stream of changes
 *                         ^                                                          |
 *                         +-- the stream cannot be followed, the filter is crowded, -+
 *                             more than a tenth of it is gone since
 *
 * Building ten million indicators takes long, and so may connecting: neither may hold up events, so this thread is its own
 * (docs/adr/0029). It changes filter and prefix bits in place, which readers may look at meanwhile, and publishes a new view
 * when there is a new filter or allow-list (enrich/view.c). A build whose store can be opened twice reads by a second
 * connection, while the old filter is kept up to date by the first: an indicator added meanwhile is in effect at once. For
 * that time there are two filters.
 *
 * Nothing is ever taken out of the filter. What is gone costs a needless question to the store, whose answer decides. What
 * expired without a word in the stream shows in the store's count, which is asked for once a minute. The store may count
 * keys that are no indicators: how many more there were than names when the filter was new is taken off ever after. Where
 * those are many, somebody else's come and go, too: there the count is believed once an hour. A count that is higher than
 * what the filter has, after all changes were followed, says that changes were missed: the filter is built again, too.
 *
 * The store away: tried again from a tenth of a second on up to every two; said once, again when the reason is another
 * one, and when it is back.
 * A stop ends whatever waits (the store's own waits, too: store_open_until()), and nothing is said of what it ended.
 * Thread: its own; follower_start, follower_stop: the owner's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define FOLLOWER_MAGIC 0x666f6c6cu
#define FOLLOW_MS 200
#define RETRY_MS_MIN 100
#define RETRY_MS_MAX 2000
#define COUNT_GAP_NS (60 * CORE_NS_PER_S)
#define PROGRESS_NS (5 * CORE_NS_PER_S)
#define BUILD_GAP_NS CORE_NS_PER_S        /* between two builds that could wait; and ten times as long as one takes */
#define FAILED_GAP_NS (5 * CORE_NS_PER_S) /* after one that failed */
#define FOLLOW_GAP_NS (200 * CORE_NS_PER_MS)
#define ROOM_TO_GROW ((size_t)64 * 1024)
#define STALE_PARTS 10 /* more than one tenth is gone, or was never told of: a new filter */
#define COUNT_SLACK 64 /* keys that are no indicators, which come and go: state of feeds, leases */
#define SHARED_GAPS 60 /* the count is asked for so much more seldom where others have many keys */
#define SHRINK_FROM ((size_t)4 * 1000 * 1000) /* a filter for so many is made again if far fewer came */
#define HELD_NS CORE_NS_PER_MS                /* between two looks whether a batch still holds an old view */
#define LOOK_EVERY 4096                       /* indicators between two looks at the clock */

/* A filter in the making. */
struct build {
    struct follower *follower;
    struct view *view;
    struct allow *allow;
    bool is_full;
    bool is_second; /* the store it is read from is not the one that is followed */
    bool is_nested; /* the old filter is followed meanwhile */
    uint64_t added;
    uint64_t expected; /* indicators */
    uint64_t removed;  /* in the stream since the build began */
    uint64_t keys;     /* the store's count, after it */
    uint64_t before;   /* indicators of the filter in use when it began, less what was known to be gone */
    int64_t said_tick;
    int64_t followed_tick;
};

int64_t follower_behind_ns(const struct follower *follower) {
    int64_t tick = atomic_load_explicit(&follower->current_tick, memory_order_relaxed);
    if (tick != 0 && atomic_load_explicit(&follower->is_current, memory_order_relaxed)) {
        return 0;
    }
    int64_t now = core_tick_ns();
    return tick == 0 ? INT64_MAX : now > tick ? now - tick : 0;
}

/* ---- how far the filter in use is ------------------------------------------------------------------------------------------- */

struct passed {
    uint64_t epoch;
    uint64_t ms;
    uint64_t seq;
};

static struct passed passed_of(const struct store_cursor *cursor) {
    char *rest;
    struct passed passed = {.epoch = core_hash64(cursor->epoch, strlen(cursor->epoch), 0)};
    passed.ms = strtoull(cursor->id, &rest, 10);
    passed.seq = *rest == '-' ? strtoull(rest + 1, NULL, 10) : 0;
    return passed;
}

/* Three numbers that are read as one: a reader that comes in between takes it for "not yet". */
static void passed_publish(struct follower *follower) {
    const struct passed passed = passed_of(&follower->cursor);
    atomic_fetch_add(&follower->passed.version, 1);
    atomic_store(&follower->passed.epoch, passed.epoch);
    atomic_store(&follower->passed.ms, passed.ms);
    atomic_store(&follower->passed.seq, passed.seq);
    atomic_fetch_add(&follower->passed.version, 1);
}

bool follower_passed(const struct follower *follower, const struct store_cursor *cursor) {
    const struct passed wanted = passed_of(cursor);
    uint64_t version = atomic_load(&follower->passed.version);
    uint64_t epoch = atomic_load(&follower->passed.epoch);
    uint64_t ms = atomic_load(&follower->passed.ms);
    uint64_t seq = atomic_load(&follower->passed.seq);
    return version > 0 && version % 2 == 0 && atomic_load(&follower->passed.version) == version &&
           epoch == wanted.epoch && (ms > wanted.ms || (ms == wanted.ms && seq >= wanted.seq));
}

static bool is_stopping(const struct follower *follower) {
    return atomic_load_explicit(&follower->is_stopping, memory_order_relaxed);
}

static void sleep_ms(const struct follower *follower, int ms) {
    struct pollfd fds = {.fd = follower->stop_fd, .events = POLLIN};
    int ready = poll(&fds, 1, ms);
    MUST(ready >= 0 || errno == EINTR);
}

/* ---- changes, in place ------------------------------------------------------------------------------------------------------ */

static void numbers_publish(struct follower *follower) {
    if (follower->view != NULL) {
        atomic_store_explicit(&follower->indicators, filter_len(follower->view->filter), memory_order_relaxed);
        atomic_store_explicit(&follower->bytes, filter_bytes(follower->view->filter), memory_order_relaxed);
    }
}

/* Added in the stream. What the filter has already was gone, or is told twice. */
static bool stream_add(const struct view *view, enum core_indicator type, struct core_span value, bool subdomains,
                       bool *is_known) {
    size_t len = filter_len(view->filter);
    bool fits = probe_add(view->use, view->filter, type, value, subdomains);
    *is_known = fits && filter_len(view->filter) == len;
    return fits;
}

static void on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    struct follower *follower = ctx;
    bool is_known;
    if (!stream_add(follower->view, type, value, subdomains, &is_known)) {
        follower->is_missing = true;
        atomic_store_explicit(&follower->is_current, false, memory_order_relaxed);
    }
    uint64_t stale = atomic_load_explicit(&follower->stale, memory_order_relaxed);
    if (is_known && stale > 0) {
        atomic_store_explicit(&follower->stale, stale - 1, memory_order_relaxed); /* it is back */
    }
    if (follower->on_new != NULL) {
        follower->on_new(follower->on_new_ctx, type, value, subdomains, follower->allow);
    }
}

static void on_remove(void *ctx, enum core_indicator type, struct core_span value) {
    struct follower *follower = ctx;
    (void)type;
    (void)value;
    atomic_fetch_add_explicit(&follower->stale, 1, memory_order_relaxed);
}

static void allow_change(struct allow *allow, enum core_indicator type, struct core_span value, bool is_allowed) {
    if (!allow_set(allow, type, value, is_allowed)) {
        core_log(CORE_LEVEL_ERROR, "enrich",
                 "the allow-list is longer than a sensor takes; the rest of it does not silence", "max=%d", ALLOW_MAX);
    }
}

static void on_allow(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    struct follower *follower = ctx;
    allow_change(follower->allow, type, value, is_allowed);
    follower->is_allow_changed = true;
}

static bool goes_on(void *ctx) {
    return !is_stopping(ctx);
}

/* The same filter, and the allow-list as it is now. Waits for the next time if too many old ones are still held. */
static void allow_publish(struct follower *follower) {
    view_sweep(&follower->door);
    if (!follower->is_allow_changed || !view_has_room(&follower->door)) {
        return;
    }
    struct view *view = malloc(sizeof *view);
    MUST(view != NULL);
    *view = *follower->view;
    view->allow = allow_copy(follower->allow);
    follower->view = view;
    follower->is_allow_changed = false;
    view_publish(&follower->door, view);
}

/* Of the keys that the store counts. */
static uint64_t indicators_of(const struct follower *follower, uint64_t keys) {
    int64_t indicators = (int64_t)keys - follower->others;
    return indicators > 0 ? (uint64_t)indicators : 0;
}

static enum core_err follow(struct follower *follower, int timeout_ms, struct core_fail *fail) {
    const struct store_changes calls = {on_add, on_remove, on_allow, goes_on, follower};
    enum core_err err = store_follow(atomic_load(&follower->store), &follower->cursor, &calls, timeout_ms, fail);
    if (err == CORE_OK || err == CORE_AGAIN) {
        if (!follower->is_missing) {
            atomic_store_explicit(&follower->current_tick, core_tick_ns(), memory_order_relaxed);
            passed_publish(follower);
        }
        numbers_publish(follower);
        allow_publish(follower);
    }
    return err;
}

/* ---- building --------------------------------------------------------------------------------------------------------------- */

static void build_progress(struct build *build, int64_t now) {
    if (now - build->said_tick < PROGRESS_NS) {
        return;
    }
    build->said_tick = now;
    uint64_t percent = build->expected == 0 ? 0 : build->added * 100 / build->expected;
    core_log(CORE_LEVEL_INFO, "enrich", "building the filter of indicators", "done=%llu expected=%llu percent=%llu",
             (unsigned long long)build->added, (unsigned long long)build->expected,
             (unsigned long long)(percent > 100 ? 100 : percent));
}

/* Meanwhile: progress, and the changes for the filter that is in use. A failure there shows when it is followed again. */
static void build_tick(struct build *build) {
    int64_t now = core_tick_ns();
    build_progress(build, now);
    if (build->is_nested && now - build->followed_tick >= FOLLOW_GAP_NS) {
        struct core_fail fail;
        enum core_err err = follow(build->follower, 0, &fail);
        build->is_nested = err == CORE_OK || err == CORE_AGAIN;
        build->followed_tick = core_tick_ns();
    }
}

static void build_on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    struct build *build = ctx;
    if (!build->is_full && !probe_add(build->view->use, build->view->filter, type, value, subdomains)) {
        build->is_full = true;
    }
    if (++build->added % LOOK_EVERY == 0) {
        build_tick(build);
    }
}

static void build_on_remove(void *ctx, enum core_indicator type, struct core_span value) {
    struct build *build = ctx;
    (void)type;
    (void)value;
    build->removed++;
}

static void build_on_allow(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    struct build *build = ctx;
    allow_change(build->allow, type, value, is_allowed);
}

static bool build_goes_on(void *ctx) {
    struct build *build = ctx;
    build_tick(build);
    return !is_stopping(build->follower) && !build->is_full;
}

/* Changes of the time of the build. A store that is followed by nobody else meanwhile tells them here only: the filter in
 * use, and who looks back, hear of them, too. */
static bool is_alone(const struct build *build) {
    return !build->is_second && build->follower->view != NULL;
}

static void late_on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    struct build *build = ctx;
    bool is_known = false;
    if (!build->is_full && !stream_add(build->view, type, value, subdomains, &is_known)) {
        build->is_full = true;
    }
    build->removed -= is_known && build->removed > 0;
    if (is_alone(build)) {
        on_add(build->follower, type, value, subdomains);
    }
}

static void late_on_remove(void *ctx, enum core_indicator type, struct core_span value) {
    struct build *build = ctx;
    build_on_remove(build, type, value);
    if (is_alone(build)) {
        on_remove(build->follower, type, value);
    }
}

static void late_on_allow(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    struct build *build = ctx;
    build_on_allow(build, type, value, is_allowed);
    if (is_alone(build)) {
        on_allow(build->follower, type, value, is_allowed);
    }
}

/* Also when it is full: what is told here is not told again. */
static bool late_goes_on(void *ctx) {
    const struct build *build = ctx;
    return !is_stopping(build->follower);
}

static void build_free(struct build *build) {
    if (build->view != NULL) {
        filter_free(build->view->filter);
        free(build->view->use);
        free(build->view);
    }
    allow_free(build->allow);
    build->view = NULL;
    build->allow = NULL;
}

/* One try, with a filter for so many. is_full afterwards: there are more. */
static enum core_err build_try(struct build *build, struct enrich_store *store, size_t items,
                               struct store_cursor *cursor, struct core_fail *fail) {
    const struct store_changes calls = {build_on_add, build_on_remove, build_on_allow, build_goes_on, build};
    const struct store_changes late = {late_on_add, late_on_remove, late_on_allow, late_goes_on, build};
    build->is_full = false;
    build->added = 0;
    build->removed = 0;
    build->allow = allow_new();
    build->view = calloc(1, sizeof *build->view);
    MUST(build->view != NULL);
    build->view->use = calloc(1, sizeof *build->view->use);
    MUST(build->view->use != NULL);
    enum core_err err = filter_new(&build->view->filter, items, fail);
    if (err == CORE_OK) {
        err = store_build(store, cursor, &calls, fail);
    }
    /* What changed meanwhile, so that it is up to date when it is published. */
    if (err == CORE_OK && !build->is_full) {
        bool is_nested = build->is_nested;
        build->is_nested = false; /* a store need not be ready to be followed while it tells of changes */
        err = store_follow(store, cursor, &late, 0, fail);
        build->is_nested = is_nested;
    }
    return err == CORE_AGAIN && !is_stopping(build->follower) && !build->is_full ? CORE_OK : err;
}

static size_t room_for(uint64_t indicators) {
    return (size_t)indicators + (size_t)indicators / 4 + ROOM_TO_GROW;
}

/* The store counted keys of others as well: one try more, or the memory is gone for good. */
static bool is_far_too_big(const struct build *build, size_t items) {
    return items > SHRINK_FROM && items / 2 > room_for(filter_len(build->view->filter));
}

/* All of the store into a new filter; bigger until all fit. */
static enum core_err build_run(struct build *build, struct enrich_store *store, struct store_cursor *cursor,
                               struct core_fail *fail) {
    uint64_t keys;
    enum core_err err = store_count(store, &keys, fail);
    build->expected = err == CORE_OK ? indicators_of(build->follower, keys) : 0;
    size_t items = room_for(build->expected);
    bool is_smaller = false;
    while (err == CORE_OK) {
        *cursor = (struct store_cursor){0};
        err = build_try(build, store, items, cursor, fail);
        bool is_shrunk = err == CORE_OK && !build->is_full && !is_smaller && is_far_too_big(build, items);
        if (!build->is_full && !is_shrunk) {
            break;
        }
        if (is_stopping(build->follower)) {
            return CORE_AGAIN;
        }
        is_smaller = is_smaller || is_shrunk;
        items = is_shrunk ? room_for(filter_len(build->view->filter)) : items * 2; /* filter_new() says when too much */
        build_free(build);
        err = CORE_OK;
    }
    /* Only a difference to later counts matters: without one, there are none but indicators. */
    struct core_fail ignored;
    if (err == CORE_OK && store_count(store, &build->keys, &ignored) != CORE_OK) {
        build->keys = filter_len(build->view->filter) - build->removed;
    }
    return err;
}

/* An empty store is as good as none, and nothing else would say so: another database, another prefix, data that is gone. */
static void build_judge(const struct follower *follower, const struct build *build, uint64_t len) {
    char where[STORE_WHERE_BYTES];
    uint64_t before = build->before > build->removed ? build->before - build->removed : 0;
    uint64_t known = follower->view == NULL ? 0 : filter_len(follower->view->filter);
    store_where(atomic_load(&follower->store), where, sizeof where);
    if (follower->is_short && len > known + COUNT_SLACK) { /* more than may have come in this moment */
        core_log(
            CORE_LEVEL_WARN, "enrich", "changes of indicators were missed: those were not matched until now",
            "store=\"%s\" missed=%llu hint=\"whoever adds indicators adds an entry to the stream of changes, too\"",
            where, (unsigned long long)(len - known));
    }
    if (len == 0) {
        core_log(
            CORE_LEVEL_WARN, "enrich", "there are no indicators: nothing can match",
            "store=\"%s\" before=%llu hint=\"is it the right one, and was it filled? tapline intel stats shows what "
            "is in it; it is looked at again as soon as it changes\"",
            where, (unsigned long long)before);
    } else if (len < before / 2) {
        core_log(CORE_LEVEL_WARN, "enrich", "there are far fewer indicators than before; those that are left go on",
                 "store=\"%s\" before=%llu indicators=%llu hint=\"was it emptied, or is it another one? tapline intel "
                 "stats shows what is in it\"",
                 where, (unsigned long long)before, (unsigned long long)len);
    }
}

/* A batch holds an old view for milliseconds. Not sleep_ms(): at a stop that does not sleep. */
static void door_wait(struct view_door *door) {
    const struct timespec pause = {.tv_nsec = HELD_NS};
    while (!view_has_room(door)) {
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL); /* woken early: one look more */
        view_sweep(door);
    }
}

/* Make the new one the one in use. */
static void build_publish(struct follower *follower, struct build *build, const struct store_cursor *cursor,
                          int64_t start) {
    uint64_t len = filter_len(build->view->filter);
    uint64_t live = len > build->removed ? len - build->removed : 0;
    build_judge(follower, build, live);
    allow_free(follower->allow);
    follower->allow = build->allow;
    build->view->allow = allow_copy(build->allow);
    follower->view = build->view;
    follower->cursor = *cursor;
    follower->is_allow_changed = false;
    follower->is_missing = false;
    follower->is_short = false;
    follower->others = (int64_t)build->keys - (int64_t)live;
    follower->live = live;
    follower->built_tick = core_tick_ns();
    follower->counted_tick = follower->built_tick;
    atomic_store_explicit(&follower->stale, len - live, memory_order_relaxed);
    atomic_store_explicit(&follower->build_ns, follower->built_tick - start, memory_order_relaxed);
    atomic_store_explicit(&follower->current_tick, follower->built_tick, memory_order_relaxed);
    atomic_store_explicit(&follower->is_current, atomic_load(&follower->store)->ops->is_current, memory_order_relaxed);
    numbers_publish(follower);
    door_wait(&follower->door);
    view_publish(&follower->door, build->view);
    passed_publish(follower);
    core_count(follower->counters, CORE_COUNT_ENRICH_BUILDS, 1);
    core_log(CORE_LEVEL_INFO, "enrich", "the filter of indicators is built",
             "indicators=%llu allowed=%zu bytes=%zu ms=%lld", (unsigned long long)len, allow_len(follower->allow),
             filter_bytes(follower->view->filter), (long long)((follower->built_tick - start) / CORE_NS_PER_MS));
}

static enum core_err build_new(struct follower *follower, bool is_followed, struct core_fail *fail) {
    struct enrich_store *store = atomic_load(&follower->store);
    struct enrich_store *second = NULL;
    struct store_cursor cursor;
    struct build build = {.follower = follower, .said_tick = core_tick_ns(), .followed_tick = core_tick_ns()};
    int64_t start = build.said_tick;
    if (follower->view != NULL) {
        uint64_t len = filter_len(follower->view->filter), gone = atomic_load(&follower->stale);
        build.before = len > gone ? len - gone : 0;
    }
    /* Where it does not open, the first one does both in turn. */
    if (is_followed && follower->opener.opens_twice &&
        follower->opener.open(follower->opener.ctx, &second, fail) == CORE_OK) {
        build.is_nested = true;
        build.is_second = true;
        store = second;
    }
    enum core_err err = build_run(&build, store, &cursor, fail);
    if (err == CORE_OK) {
        build_publish(follower, &build, &cursor, start);
    } else {
        build_free(&build);
    }
    enrich_store_close(second);
    return err;
}

/* ---- the loop --------------------------------------------------------------------------------------------------------------- */

/* How much of the filter is gone, by the store's own count: what expired is not in the stream. And is anything not in the
 * filter? What was counted was in the stream before: it is followed first, so that this cannot be because it is late. */
static void look_at_count(struct follower *follower) {
    uint64_t keys;
    struct core_fail fail;
    int64_t now = core_tick_ns();
    bool is_shared = follower->others > COUNT_SLACK + (int64_t)(follower->live / STALE_PARTS);
    if (now - follower->counted_tick < (is_shared ? SHARED_GAPS : 1) * follower->count_gap_ns) {
        return;
    }
    follower->counted_tick = now;
    if (store_count(atomic_load(&follower->store), &keys, &fail) != CORE_OK) {
        return; /* it shows when it is followed again */
    }
    enum core_err err = follow(follower, 0, &fail);
    if (err != CORE_OK && err != CORE_AGAIN) {
        return;
    }
    uint64_t len = filter_len(follower->view->filter);
    uint64_t live = indicators_of(follower, keys);
    atomic_store_explicit(&follower->stale, len > live ? len - live : 0, memory_order_relaxed);
    follower->live = live;
    follower->is_short = live > len + len / STALE_PARTS + COUNT_SLACK;
    if (follower->is_short) {
        core_log(CORE_LEVEL_INFO, "enrich",
                 "the store has more keys than its changes told of; all are read again, to see whether indicators were "
                 "missed",
                 "counted=%llu known=%llu", (unsigned long long)live, (unsigned long long)len);
    }
}

static bool wants_build(const struct follower *follower) {
    int64_t now = core_tick_ns();
    int64_t since = now - follower->built_tick;
    int64_t gap = atomic_load_explicit(&follower->build_ns, memory_order_relaxed) * 10;
    uint64_t stale = atomic_load_explicit(&follower->stale, memory_order_relaxed);
    bool is_due = filter_is_crowded(follower->view->filter) || follower->is_short ||
                  stale * STALE_PARTS > filter_len(follower->view->filter);
    bool has_failed = follower->failed_tick != 0 && now - follower->failed_tick < FAILED_GAP_NS;
    return !has_failed && (follower->is_missing || (is_due && since > (gap > BUILD_GAP_NS ? gap : BUILD_GAP_NS)));
}

/* Build. A stream that was another one again before the end is no failure of the store: the next step builds again. A new
 * filter that only was to be better than the old one can wait: the old one goes on. */
static enum core_err step_build(struct follower *follower, bool can_wait, struct core_fail *fail) {
    enum core_err err = build_new(follower, can_wait && !follower->is_missing, fail);
    if (err == CORE_GONE) {
        sleep_ms(follower, RETRY_MS_MIN);
        return CORE_OK;
    }
    if (err != CORE_OK && err != CORE_AGAIN && can_wait && !is_stopping(follower)) {
        core_log_fail(CORE_LEVEL_WARN, "enrich",
                      "a new filter of indicators cannot be built: the old one goes on; trying again in 5 s", fail);
        follower->failed_tick = core_tick_ns();
        return CORE_OK;
    }
    return err;
}

/* One step: a build or a look at the stream. CORE_OK: go on at once. */
static enum core_err follower_step(struct follower *follower, struct core_fail *fail) {
    enum core_err err;
    if (atomic_load(&follower->store) == NULL) {
        struct enrich_store *store = NULL;
        err = follower->opener.open(follower->opener.ctx, &store, fail);
        if (err == CORE_OK) {
            atomic_store(&follower->store, store);
        }
        return err;
    }
    if (follower->view == NULL || wants_build(follower)) {
        return step_build(follower, follower->view != NULL, fail);
    }
    err = follow(follower, FOLLOW_MS, fail);
    if (err == CORE_GONE) {
        core_log_fail(CORE_LEVEL_INFO, "enrich",
                      "the changes of indicators cannot be followed; building the filter again", fail);
        return step_build(follower, false, fail);
    }
    if (err == CORE_OK || err == CORE_AGAIN) {
        look_at_count(follower);
        return CORE_OK;
    }
    return err;
}

/* Said at first, and again when it is another reason: what a person can do about it is another thing then. */
static void away_say(struct follower *follower, bool was_away, const struct core_fail *fail) {
    const struct core_fail *told = &follower->told;
    if (!was_away || strcmp(told->text, fail->text) != 0 || strcmp(told->where, fail->where) != 0) {
        core_log_fail(fail->err == CORE_NET ? CORE_LEVEL_WARN : CORE_LEVEL_ERROR, "enrich",
                      follower->holds ? "intelligence cannot be asked: events it may speak of are held until it can; "
                                        "trying again"
                                      : "intelligence cannot be asked: events it may speak of go on, marked "
                                        "labels.intel: unavailable; trying again",
                      fail);
        follower->told = *fail;
    }
}

/* why NULL: it answers. */
static void away_set(struct follower *follower, const struct core_fail *why) {
    MUST(pthread_mutex_lock(&follower->away.lock) == 0);
    if (why == NULL) {
        follower->away.since_ns = 0;
    } else {
        follower->away.since_ns = follower->away.since_ns == 0 ? core_now_ns() : follower->away.since_ns;
        follower->away.why = *why;
    }
    MUST(pthread_mutex_unlock(&follower->away.lock) == 0);
    atomic_store_explicit(&follower->is_away, why != NULL, memory_order_relaxed);
}

/* A store of several servers goes from one to the next. */
static void where_note(struct follower *follower) {
    char where[STORE_WHERE_BYTES] = "";
    const struct enrich_store *store = atomic_load(&follower->store);
    if (store == NULL) {
        return;
    }
    store_where(store, where, sizeof where);
    MUST(pthread_mutex_lock(&follower->away.lock) == 0);
    memcpy(follower->away.where, where, sizeof where);
    MUST(pthread_mutex_unlock(&follower->away.lock) == 0);
}

static pthread_mutex_t *away_lock(const struct follower *follower) {
    return (pthread_mutex_t *)(uintptr_t)&follower->away.lock; /* what it guards is only read */
}

int64_t follower_away(const struct follower *follower, struct core_fail *why) {
    MUST(pthread_mutex_lock(away_lock(follower)) == 0);
    int64_t since_ns = follower->away.since_ns;
    *why = follower->away.why;
    MUST(pthread_mutex_unlock(away_lock(follower)) == 0);
    return since_ns;
}

void follower_where(const struct follower *follower, char out[STORE_WHERE_BYTES]) {
    MUST(pthread_mutex_lock(away_lock(follower)) == 0);
    memcpy(out, follower->away.where, STORE_WHERE_BYTES);
    MUST(pthread_mutex_unlock(away_lock(follower)) == 0);
}

static void *follower_run(void *arg) {
    struct follower *follower = arg;
    MUST(follower->magic == FOLLOWER_MAGIC);
    (void)pthread_setname_np(pthread_self(), "intel"); /* for top -H; no harm if it cannot */
    int retry_ms = RETRY_MS_MIN;
    while (!is_stopping(follower)) {
        struct core_fail fail = {0};
        enum core_err err = follower_step(follower, &fail);
        where_note(follower);
        bool was_away = atomic_load_explicit(&follower->is_away, memory_order_relaxed);
        if (is_stopping(follower)) {
            break; /* whatever failed was ended */
        }
        if (err != CORE_OK && err != CORE_AGAIN) {
            away_say(follower, was_away, &fail);
            away_set(follower, &fail);
            sleep_ms(follower, retry_ms);
            retry_ms = 2 * retry_ms < RETRY_MS_MAX ? 2 * retry_ms : RETRY_MS_MAX;
            continue;
        }
        retry_ms = RETRY_MS_MIN;
        if (was_away && follower->view != NULL) {
            away_set(follower, NULL);
            core_log(CORE_LEVEL_INFO, "enrich", "intelligence can be asked again", "indicators=%llu",
                     (unsigned long long)atomic_load_explicit(&follower->indicators, memory_order_relaxed));
        }
    }
    return NULL;
}

enum core_err follower_start(struct follower *follower, struct core_fail *fail) {
    follower->magic = FOLLOWER_MAGIC;
    follower->count_gap_ns = follower->count_gap_ns == 0 ? COUNT_GAP_NS : follower->count_gap_ns;
    follower->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (follower->stop_fd < 0) {
        return core_fail_errno(fail, "eventfd", "cannot make a descriptor; raise the limit of open files");
    }
    MUST(pthread_mutex_init(&follower->away.lock, NULL) == 0);
    int error = pthread_create(&follower->thread, NULL, follower_run, follower);
    if (error != 0) {
        errno = error;
        MUST(close(follower->stop_fd) == 0);
        follower->stop_fd = -1;
        return core_fail_errno(fail, "thread", "cannot begin the thread that follows indicators");
    }
    return CORE_OK;
}

void follower_stop(struct follower *follower) {
    MUST(follower->magic == FOLLOWER_MAGIC);
    atomic_store(&follower->is_stopping, true);
    uint64_t one = 1;
    MUST(write(follower->stop_fd, &one, sizeof one) == sizeof one);
    MUST(pthread_join(follower->thread, NULL) == 0);
    MUST(close(follower->stop_fd) == 0);
    view_close(&follower->door);
    allow_free(follower->allow);
    enrich_store_close(atomic_load(&follower->store));
    MUST(pthread_mutex_destroy(&follower->away.lock) == 0);
    follower->magic = 0;
}
