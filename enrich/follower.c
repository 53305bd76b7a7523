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
 * expired without a word in the stream shows in the store's count, which is asked for once a minute.
 *
 * The store away: tried again from a tenth of a second on up to every two; said once, and again when it is back.
 * Thread: its own; follower_start, follower_stop: the owner's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
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
#define STALE_PARTS 10  /* more than one tenth is gone: a new filter */
#define LOOK_EVERY 4096 /* indicators between two looks at the clock */

/* A filter in the making. */
struct build {
    struct follower *follower;
    struct view *view;
    struct allow *allow;
    bool is_full;
    bool is_nested; /* the old filter is followed meanwhile */
    uint64_t added;
    uint64_t expected;
    int64_t said_tick;
    int64_t followed_tick;
};

int64_t follower_behind_ns(const struct follower *follower) {
    int64_t tick = atomic_load_explicit(&follower->current_tick, memory_order_relaxed);
    int64_t now = core_tick_ns();
    return tick == 0 ? INT64_MAX : now > tick ? now - tick : 0;
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

static void on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    struct follower *follower = ctx;
    if (!probe_add(follower->view->use, follower->view->filter, type, value, subdomains)) {
        follower->is_missing = true;
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

static enum core_err follow(struct follower *follower, int timeout_ms, struct core_fail *fail) {
    const struct store_changes calls = {on_add, on_remove, on_allow, goes_on, follower};
    enum core_err err = store_follow(atomic_load(&follower->store), &follower->cursor, &calls, timeout_ms, fail);
    if (err == CORE_OK || err == CORE_AGAIN) {
        if (!follower->is_missing) {
            atomic_store_explicit(&follower->current_tick, core_tick_ns(), memory_order_relaxed);
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
    (void)ctx; /* what is gone before the filter is in use is noticed by the count */
    (void)type;
    (void)value;
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
    build->is_full = false;
    build->added = 0;
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
        err = store_follow(store, cursor, &calls, 0, fail);
        build->is_nested = is_nested;
    }
    return err == CORE_AGAIN && !is_stopping(build->follower) && !build->is_full ? CORE_OK : err;
}

/* All of the store into a new filter; bigger until all fit. */
static enum core_err build_run(struct build *build, struct enrich_store *store, struct store_cursor *cursor,
                               struct core_fail *fail) {
    enum core_err err = store_count(store, &build->expected, fail);
    size_t items = (size_t)build->expected + (size_t)build->expected / 4 + ROOM_TO_GROW;
    while (err == CORE_OK) {
        *cursor = (struct store_cursor){0};
        err = build_try(build, store, items, cursor, fail);
        if (!build->is_full) {
            return err;
        }
        if (is_stopping(build->follower)) {
            return CORE_AGAIN;
        }
        build_free(build);
        items *= 2; /* filter_new() says when it is too much */
        err = CORE_OK;
    }
    return err;
}

/* Make the new one the one in use. */
static void build_publish(struct follower *follower, struct build *build, const struct store_cursor *cursor,
                          int64_t start) {
    uint64_t len = filter_len(build->view->filter);
    allow_free(follower->allow);
    follower->allow = build->allow;
    build->view->allow = allow_copy(build->allow);
    follower->view = build->view;
    follower->cursor = *cursor;
    follower->is_allow_changed = false;
    follower->is_missing = false;
    follower->excess = len > build->expected ? len - build->expected : 0;
    follower->built_tick = core_tick_ns();
    follower->counted_tick = follower->built_tick;
    atomic_store_explicit(&follower->stale, 0, memory_order_relaxed);
    atomic_store_explicit(&follower->build_ns, follower->built_tick - start, memory_order_relaxed);
    atomic_store_explicit(&follower->current_tick, follower->built_tick, memory_order_relaxed);
    numbers_publish(follower);
    while (!view_has_room(&follower->door)) { /* a batch is held for milliseconds */
        sleep_ms(follower, 1);
        view_sweep(&follower->door);
    }
    view_publish(&follower->door, build->view);
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
    /* Where it does not open, the first one does both in turn. */
    if (is_followed && follower->opener.opens_twice &&
        follower->opener.open(follower->opener.ctx, &second, fail) == CORE_OK) {
        build.is_nested = true;
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

/* How much of the filter is gone, by the store's own count: what expired is not in the stream. */
static void look_at_count(struct follower *follower) {
    uint64_t count;
    struct core_fail fail;
    int64_t now = core_tick_ns();
    if (now - follower->counted_tick < follower->count_gap_ns) {
        return;
    }
    follower->counted_tick = now;
    if (store_count(atomic_load(&follower->store), &count, &fail) == CORE_OK) {
        uint64_t len = filter_len(follower->view->filter);
        uint64_t known = count + follower->excess;
        atomic_store_explicit(&follower->stale, len > known ? len - known : 0, memory_order_relaxed);
    }
}

static bool wants_build(const struct follower *follower) {
    int64_t now = core_tick_ns();
    int64_t since = now - follower->built_tick;
    int64_t gap = atomic_load_explicit(&follower->build_ns, memory_order_relaxed) * 10;
    uint64_t stale = atomic_load_explicit(&follower->stale, memory_order_relaxed);
    bool is_due = filter_is_crowded(follower->view->filter) || stale * STALE_PARTS > filter_len(follower->view->filter);
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
    if (err != CORE_OK && err != CORE_AGAIN && can_wait) {
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

static void *follower_run(void *arg) {
    struct follower *follower = arg;
    MUST(follower->magic == FOLLOWER_MAGIC);
    (void)pthread_setname_np(pthread_self(), "intel"); /* for top -H; no harm if it cannot */
    int retry_ms = RETRY_MS_MIN;
    while (!is_stopping(follower)) {
        struct core_fail fail = {0};
        enum core_err err = follower_step(follower, &fail);
        bool was_away = atomic_load_explicit(&follower->is_away, memory_order_relaxed);
        bool is_away = err != CORE_OK && err != CORE_AGAIN;
        if (is_away) {
            if (!was_away) {
                core_log_fail(
                    err == CORE_NET ? CORE_LEVEL_WARN : CORE_LEVEL_ERROR, "enrich",
                    "intelligence cannot be asked: events go on without it, as intel.on_unavailable says; trying again",
                    &fail);
            }
            atomic_store_explicit(&follower->is_away, true, memory_order_relaxed);
            sleep_ms(follower, retry_ms);
            retry_ms = 2 * retry_ms < RETRY_MS_MAX ? 2 * retry_ms : RETRY_MS_MAX;
            continue;
        }
        retry_ms = RETRY_MS_MIN;
        if (was_away && follower->view != NULL) {
            atomic_store_explicit(&follower->is_away, false, memory_order_relaxed);
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
    follower->magic = 0;
}
