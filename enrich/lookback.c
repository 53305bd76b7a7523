/* enrich/lookback.c: the thread that keeps what was seen, and looks back.
 *
 *     enrich thread -> table A | table B -> segments, merged, dropped        (seen.c)
 *                                                ^ new indicators            (retro.c)
 *
 * The enrich thread puts a batch's observables straight into the present table: copying them for another thread to do it
 * would cost about as much. It takes the table by one atomic exchange and gives it back by another; this thread changes it
 * for the empty one in between. So nobody ever waits for the disk: while a table is being written the other fills, and if
 * that is full, too, new observables are left out and counted (those that it has go on being counted).
 *
 * New indicators are looked for when nothing can fall between what is matched and what is looked at: the follower has
 * followed the stream as far as they reach, so that the filter in use has them; then the batch that was under way has ended,
 * so that whatever was matched without them is in the table; then the table is written. No time is waited for.
 *
 * A table is written when it is crowded, when it is intel.lookback.write_every old, when new indicators are to be looked
 * for, and at the end. So a kill loses what was seen since, at most write_every; nothing on the disk is touched by it.
 * What is read again after a kill is counted again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOKBACK_MAGIC 0x6c6f6f6bu
#define PATH_BYTES 4096
#define NICE 5 /* with less than that it would not keep up with events that have both cores of a small machine */
#define TURN_MS 200
#define LATE_NS (60 * CORE_NS_PER_S) /* new indicators wait for the filter so long: that is said */
#define TIDY_NS (60 * CORE_NS_PER_S)
#define RETRY_NS (10 * CORE_NS_PER_S)
#define FOLLOW_NS (200 * CORE_NS_PER_MS)
#define DAY_NS (24 * 3600 * CORE_NS_PER_S)

struct lookback {
    uint32_t magic;
    const struct enrich_lookback_conf *conf;
    struct core_counters *counters;
    struct follower *follower; /* NULL: nothing is waited for */
    struct follower_opener opener;
    struct retro *retro;
    struct seen *seen;
    struct seen_table tables[2];
    struct seen_table *_Atomic current;                              /* NULL: the enrich thread is filling it */
    struct seen_table *spare;                                        /* the other one */
    bool is_unwritten;                                               /* spare still has what could not be written */
    _Atomic uint64_t batches;                                        /* odd: one is under way */
    enum { SETTLES_NOTHING, SETTLES_FILTER, SETTLES_BATCH } settles; /* what new indicators wait for */
    struct store_cursor settles_cursor;
    uint64_t settles_batch;
    int64_t settles_tick;
    int64_t followed_tick;
    _Atomic bool is_crowded;
    _Atomic bool is_stopping;
    int bell_fd; /* wakes the thread: to stop, or because a table is crowded */
    pthread_t thread;
    int64_t written_tick;
    int64_t tidied_tick;
    int64_t retry_tick;
};

/* ---- the enrich thread ------------------------------------------------------------------------------------------------------- */

void lookback_enter(struct lookback *lookback) {
    MUST(lookback->magic == LOOKBACK_MAGIC);
    MUST(atomic_fetch_add(&lookback->batches, 1) % 2 == 0);
}

void lookback_leave(struct lookback *lookback) {
    MUST(atomic_fetch_add(&lookback->batches, 1) % 2 == 1);
}

void lookback_batch(struct lookback *lookback, const struct core_batch *batch) {
    MUST(lookback->magic == LOOKBACK_MAGIC);
    struct seen_table *table = atomic_exchange(&lookback->current, NULL);
    MUST(table != NULL);
    uint64_t added = table->added;
    uint64_t left_out = table->left_out;
    seen_table_add(table, batch);
    core_count(lookback->counters, CORE_COUNT_LOOKBACK_SEEN, table->added - added);
    if (table->left_out > left_out) {
        core_count(lookback->counters, CORE_COUNT_LOOKBACK_LEFT, table->left_out - left_out);
    }
    bool is_crowded = seen_table_is_crowded(table);
    atomic_store(&lookback->current, table);
    if (is_crowded && !atomic_exchange(&lookback->is_crowded, true)) {
        MUST(eventfd_write(lookback->bell_fd, 1) == 0);
    }
}

void lookback_on_new(void *ctx, enum core_indicator type, struct core_span value, bool subdomains,
                     const struct allow *allow) {
    struct lookback *lookback = ctx;
    retro_on_new(lookback->retro, type, value, subdomains, allow);
}

/* ---- writing ------------------------------------------------------------------------------------------------------------------ */

/* The full one for the empty one. A batch is added within milliseconds. */
static void tables_change(struct lookback *lookback) {
    struct seen_table *full = lookback->spare == &lookback->tables[0] ? &lookback->tables[1] : &lookback->tables[0];
    struct seen_table *expected = full;
    while (!atomic_compare_exchange_weak(&lookback->current, &expected, lookback->spare)) {
        expected = full;
        sched_yield();
    }
    lookback->spare = full;
    atomic_store(&lookback->is_crowded, false); /* the other one, if it is already: its next batch says so */
}

/* All that was seen until now is on the disk then. */
static enum core_err table_write(struct lookback *lookback, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (int round = lookback->is_unwritten ? 0 : 1; err == CORE_OK && round < 2; round++) {
        if (round == 1) {
            tables_change(lookback);
        }
        lookback->is_unwritten = true;
        err = seen_write(lookback->seen, lookback->spare, fail);
        if (err == CORE_OK) {
            seen_table_clear(lookback->spare, core_now_ns());
            lookback->is_unwritten = false;
        }
    }
    lookback->written_tick = core_tick_ns();
    return err;
}

/* Each failure is said and tried again; meanwhile nothing is lost that a table has room for. */
static void disk_failed(struct lookback *lookback, const struct core_fail *fail) {
    lookback->retry_tick = core_tick_ns() + RETRY_NS;
    core_log_fail(CORE_LEVEL_ERROR, "lookback",
                  "what was seen cannot be kept on the disk; trying again in ten seconds, it stays in memory as far as "
                  "intel.lookback.memory goes",
                  fail);
}

static enum core_err tidy(struct lookback *lookback, struct core_fail *fail) {
    enum core_err err = seen_tidy(lookback->seen, core_now_ns(), fail);
    lookback->tidied_tick = core_tick_ns();
    return err == CORE_AGAIN ? CORE_OK : err;
}

/* In the midst of long work: the stream must be read on, or entries that nobody has read are gone; a stop must not wait. */
static bool work_goes_on(void *ctx) {
    struct lookback *lookback = ctx;
    bool is_stopping = atomic_load_explicit(&lookback->is_stopping, memory_order_relaxed);
    if (!is_stopping && core_tick_ns() - lookback->followed_tick >= FOLLOW_NS) {
        retro_follow(lookback->retro, 0);
        lookback->followed_tick = core_tick_ns();
    }
    return !is_stopping;
}

/* Has the filter all up to settles_cursor? After an emptied database it never will, so the newest one counts then. */
static bool is_followed(struct lookback *lookback) {
    struct store_cursor cursor;
    if (lookback->follower == NULL || lookback->settles_cursor.epoch[0] == '\0' ||
        follower_passed(lookback->follower, &lookback->settles_cursor)) {
        return true;
    }
    bool is_same = retro_cursor(lookback->retro, &cursor) && strcmp(cursor.epoch, lookback->settles_cursor.epoch) == 0;
    lookback->settles_cursor = is_same ? lookback->settles_cursor : cursor;
    if (core_tick_ns() - lookback->settles_tick > LATE_NS) {
        lookback->settles_tick = core_tick_ns();
        core_log(
            CORE_LEVEL_WARN, "lookback",
            "new indicators are not looked for before the filter has them; it is being built, or its store is away",
            "at=%s", lookback->settles_cursor.id);
    }
    return false;
}

/* New indicators have come, and whatever is matched from now on is matched with them. Shape: true: write the table, then
 * retro_settled(). */
static bool is_in_effect(struct lookback *lookback) {
    if (lookback->settles == SETTLES_NOTHING && retro_collects(lookback->retro, &lookback->settles_cursor)) {
        lookback->settles = SETTLES_FILTER;
        lookback->settles_tick = core_tick_ns();
    }
    if (lookback->settles == SETTLES_FILTER && is_followed(lookback)) {
        lookback->settles = SETTLES_BATCH;
        lookback->settles_batch = atomic_fetch_add(&lookback->batches, 0);
    }
    return lookback->settles == SETTLES_BATCH &&
           (lookback->settles_batch % 2 == 0 || atomic_load(&lookback->batches) != lookback->settles_batch);
}

static enum core_err lookback_turn(struct lookback *lookback, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    int64_t now = core_tick_ns();
    bool is_asked = is_in_effect(lookback);
    if (is_asked || atomic_load(&lookback->is_crowded) ||
        now - lookback->written_tick >= lookback->conf->write_every_ns) {
        err = table_write(lookback, fail);
    }
    if (err == CORE_OK && is_asked) {
        retro_settled(lookback->retro);
        lookback->settles = SETTLES_NOTHING;
    }
    if (err == CORE_OK && retro_is_due(lookback->retro)) {
        err = retro_run(lookback->retro, lookback->seen, fail);
        err = err == CORE_AGAIN ? CORE_OK : err;
    }
    if (err == CORE_OK && now - lookback->tidied_tick >= TIDY_NS) {
        err = tidy(lookback, fail);
    }
    return err;
}

static void *lookback_run(void *arg) {
    struct lookback *lookback = arg;
    struct core_fail fail;
    MUST(lookback->magic == LOOKBACK_MAGIC);
    /* Where there are too few cores, events come first. Not to be had: as before. */
    bool is_nice CORE_UNUSED = setpriority(PRIO_PROCESS, (id_t)gettid(), NICE) == 0;
    bool is_named CORE_UNUSED = pthread_setname_np(pthread_self(), "lookback") == 0;
    retro_follow(lookback->retro, 0);
    while (!atomic_load(&lookback->is_stopping)) {
        struct pollfd fds = {.fd = lookback->bell_fd, .events = POLLIN};
        int ready = poll(&fds, 1, retro_is_due(lookback->retro) ? 0 : TURN_MS);
        MUST(ready >= 0 || errno == EINTR);
        eventfd_t rung;
        MUST(ready <= 0 || eventfd_read(lookback->bell_fd, &rung) == 0);
        if (atomic_load(&lookback->is_stopping)) {
            break;
        }
        retro_follow(lookback->retro, 0);
        lookback->followed_tick = core_tick_ns();
        if (core_tick_ns() >= lookback->retry_tick && lookback_turn(lookback, &fail) != CORE_OK) {
            disk_failed(lookback, &fail);
        }
    }
    if (table_write(lookback, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "lookback", "what was seen lately is lost: it cannot be kept on the disk",
                      &fail);
    }
    return NULL;
}

/* ---- making it ------------------------------------------------------------------------------------------------------------------ */

static enum core_err parts_open(struct lookback *lookback, const struct lookback_env *env, struct core_fail *fail) {
    char dir[PATH_BYTES];
    const struct seen_limits limits = {env->conf->bytes_max, (int64_t)env->conf->days * DAY_NS};
    (void)snprintf(dir, sizeof dir, "%s/seen", env->state_dir);
    enum core_err err = seen_open(&lookback->seen, dir, &limits, fail);
    if (err == CORE_OK) {
        seen_heed(lookback->seen, work_goes_on, lookback);
    }
    for (size_t i = 0; err == CORE_OK && i < 2; i++) {
        err = seen_table_init(&lookback->tables[i], (size_t)env->conf->memory_bytes / 2, fail);
    }
    if (err == CORE_OK) {
        const struct retro_env retro = {.node = env->node,
                                        .state_dir = env->state_dir,
                                        .opener = env->opener == NULL ? NULL : &lookback->opener,
                                        .counters = env->counters,
                                        .is_stopping = &lookback->is_stopping};
        err = retro_open(&lookback->retro, &retro, fail);
    }
    if (err == CORE_OK) {
        lookback->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        err = lookback->bell_fd < 0 ? core_fail_errno(fail, "eventfd", "cannot make one") : CORE_OK;
    }
    return err;
}

static void parts_close(struct lookback *lookback) {
    if (lookback->bell_fd >= 0) {
        (void)close(lookback->bell_fd);
    }
    retro_close(lookback->retro);
    seen_close(lookback->seen);
    seen_table_destroy(&lookback->tables[0]);
    seen_table_destroy(&lookback->tables[1]);
    lookback->magic = 0;
    free(lookback);
}

enum core_err lookback_open(struct lookback **out, const struct lookback_env *env, struct core_fail *fail) {
    struct lookback *lookback = calloc(1, sizeof *lookback);
    MUST(lookback != NULL);
    *out = NULL;
    lookback->magic = LOOKBACK_MAGIC;
    lookback->conf = env->conf;
    lookback->counters = env->counters;
    lookback->follower = env->follower;
    lookback->opener = env->opener == NULL ? (struct follower_opener){0} : *env->opener;
    lookback->bell_fd = -1;
    lookback->spare = &lookback->tables[1];
    lookback->written_tick = core_tick_ns();
    atomic_store(&lookback->current, &lookback->tables[0]);
    enum core_err err = parts_open(lookback, env, fail);
    if (err == CORE_OK) {
        int error = pthread_create(&lookback->thread, NULL, lookback_run, lookback);
        errno = error;
        err = error != 0 ? core_fail_errno(fail, "thread", "cannot start the one that keeps what was seen") : CORE_OK;
    }
    if (err != CORE_OK) {
        parts_close(lookback);
        return err;
    }
    *out = lookback;
    return CORE_OK;
}

void lookback_close(struct lookback *lookback) {
    if (lookback == NULL) {
        return;
    }
    MUST(lookback->magic == LOOKBACK_MAGIC);
    atomic_store(&lookback->is_stopping, true);
    MUST(eventfd_write(lookback->bell_fd, 1) == 0);
    MUST(pthread_join(lookback->thread, NULL) == 0);
    parts_close(lookback);
}
