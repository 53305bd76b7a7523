/* enrich/retro.c: new indicators, and the events that tell what they name of what was seen before.
 *
 *     stream of changes -> waiting -> (settled) batch, sorted -> one pass over the segments -> lines of retro_match.log
 *
 * With Redis, the stream is followed by a cursor of its own that is kept on the disk, and moved only when the events of
 * what was told up to there are on the disk, too. So what came while this process was down is looked for at its next start,
 * and a kill loses nothing; what is told twice then is found in the log. The first start begins with what comes after it.
 * With intel.files, the follower tells what a changed file brought; that is not kept over a restart.
 *
 * A batch waits until it has been in effect on what is seen now: what the filter did not know yet when it was seen must be
 * in the table when it is written, or it would be in neither.
 *
 * An event's id is made of the indicator and the observable alone. So the two are told once, also when an indicator goes
 * and comes again, as long as the log and its three older files reach back.
 * Thread: lookback's; retro_on_new(): the follower's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define COLLECT_NS (2 * CORE_NS_PER_S)
#define SAVE_NS (60 * CORE_NS_PER_S)
#define RETRY_NS CORE_NS_PER_S
#define LINE_BYTES_MAX (32 * CORE_KIB)
#define FILE_MODE 0640
#define TIME_BYTES 27

/* An indicator to look for. room: its range's spans. */
struct wanted {
    enum core_indicator type;
    bool subdomains;
    char *value; /* malloc'ed */
    size_t value_len;
    char *room; /* malloc'ed, or NULL */
    struct seen_range range;
    uint32_t matches;
};
struct wanted_list {
    struct wanted *items;
    size_t len;
    size_t cap;
    int64_t since_tick; /* when the first came */
};

struct retro {
    const struct follower_opener *opener; /* NULL: nothing is followed */
    struct core_counters *counters;
    char cursor_path[PATH_BYTES];
    struct own_log *log;
    struct enrich_store *store;
    struct store_cursor cursor;  /* where the stream was read to */
    struct store_cursor settled; /* of batch */
    struct store_cursor saved;
    bool has_cursor;
    bool is_away;
    int64_t retry_tick;
    int64_t saved_tick;
    pthread_mutex_t lock; /* over waiting and allow */
    struct wanted_list waiting;
    struct allow *allow;
    struct wanted_list batch;
    int64_t batch_tick; /* when it was made of what was waiting */
    uint64_t left_out;
    struct core_arena line;
    enum core_err told_err; /* of the last line, with told_fail */
    struct core_fail told_fail;
};

/* ---- what is waiting ------------------------------------------------------------------------------------------------------------ */

static void list_clear(struct wanted_list *list) {
    for (size_t i = 0; i < list->len; i++) {
        free(list->items[i].value);
        free(list->items[i].room);
    }
    free(list->items);
    *list = (struct wanted_list){0};
}

static bool list_add(struct wanted_list *list, enum core_indicator type, struct core_span value, bool subdomains) {
    if (list->len >= RETRO_WAITING_MAX) {
        return false;
    }
    if (list->len == list->cap) {
        list->cap = list->cap * 2 + 64;
        list->items = realloc(list->items, list->cap * sizeof *list->items);
        MUST(list->items != NULL);
    }
    struct wanted *wanted = &list->items[list->len++];
    *wanted = (struct wanted){.type = type, .subdomains = subdomains, .value = malloc(value.len + 1)};
    MUST(wanted->value != NULL);
    memcpy(wanted->value, value.ptr, value.len);
    wanted->value_len = value.len;
    if (list->len == 1) {
        list->since_tick = core_tick_ns();
    }
    return true;
}

void retro_on_new(struct retro *retro, enum core_indicator type, struct core_span value, bool subdomains,
                  const struct allow *allow) {
    MUST(pthread_mutex_lock(&retro->lock) == 0);
    if (retro->waiting.len == 0) {
        allow_free(retro->allow);
        retro->allow = allow_copy(allow);
    }
    if (!list_add(&retro->waiting, type, value, subdomains)) {
        core_count(retro->counters, CORE_COUNT_LOOKBACK_UNASKED, 1);
    }
    MUST(pthread_mutex_unlock(&retro->lock) == 0);
}

/* ---- the cursor on the disk ------------------------------------------------------------------------------------------------------ */

static bool cursor_load(struct retro *retro) {
    FILE *file = fopen(retro->cursor_path, "re");
    if (file == NULL) {
        return false;
    }
    bool is_read = fscanf(file, "%39s %47s", retro->cursor.epoch, retro->cursor.id) == 2;
    (void)fclose(file);
    retro->saved = retro->cursor;
    return is_read;
}

static bool cursor_is(const struct store_cursor *a, const struct store_cursor *b) {
    return strcmp(a->epoch, b->epoch) == 0 && strcmp(a->id, b->id) == 0;
}

/* A cursor that could not be saved only makes the next start look again for what is told already. */
static void cursor_save(struct retro *retro, const struct store_cursor *cursor) {
    char temporary[PATH_BYTES + 8];
    char text[sizeof(struct store_cursor) + 4];
    retro->saved_tick = core_tick_ns();
    if (cursor->epoch[0] == '\0' || cursor_is(cursor, &retro->saved)) {
        return;
    }
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", retro->cursor_path);
    int len = snprintf(text, sizeof text, "%s %s\n", cursor->epoch, cursor->id);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    bool is_saved = fd >= 0 && write(fd, text, (size_t)len) == len && fsync(fd) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (is_saved && rename(temporary, retro->cursor_path) == 0) {
        retro->saved = *cursor;
        return;
    }
    struct core_fail fail;
    (void)core_fail_errno(&fail, retro->cursor_path, "cannot write where the stream of new indicators was read to");
    core_log_fail(CORE_LEVEL_WARN, "lookback", "after a restart some new indicators are looked for once more", &fail);
}

/* ---- following ------------------------------------------------------------------------------------------------------------------- */

static void on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    struct retro *retro = ctx;
    if (!list_add(&retro->waiting, type, value, subdomains)) {
        core_count(retro->counters, CORE_COUNT_LOOKBACK_UNASKED, 1);
    }
}

static void list_remove(struct wanted_list *list, enum core_indicator type, struct core_span value) {
    for (size_t i = 0; i < list->len; i++) {
        struct wanted *wanted = &list->items[i];
        if (wanted->type == type && core_span_eq((struct core_span){wanted->value, wanted->value_len}, value)) {
            wanted->type = CORE_INDICATOR_NONE; /* no range has it */
        }
    }
}

static void on_remove(void *ctx, enum core_indicator type, struct core_span value) {
    struct retro *retro = ctx;
    list_remove(&retro->waiting, type, value);
    list_remove(&retro->batch, type, value);
}

static void on_allow(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    struct retro *retro = ctx;
    bool is_taken CORE_UNUSED = allow_set(retro->allow, type, value, is_allowed); /* the follower says if it is not */
}

static bool goes_on(void *ctx) {
    const struct retro *retro = ctx;
    return retro->waiting.len < RETRO_BATCH_MAX;
}

static bool allowed_add(void *ctx, enum core_indicator type, struct core_span value) {
    on_allow(ctx, type, value, true);
    return true;
}

static void none_added(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    (void)ctx, (void)type, (void)value, (void)subdomains;
}

static void none_removed(void *ctx, enum core_indicator type, struct core_span value) {
    (void)ctx, (void)type, (void)value;
}

static void none_allowed(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    (void)ctx, (void)type, (void)value, (void)is_allowed;
}

static bool never(void *ctx) {
    (void)ctx;
    return false;
}

/* Begin with what comes from now on: a build that is ended at once says where the stream stands. */
static enum core_err begin_now(struct retro *retro, struct core_fail *fail) {
    const struct store_changes calls = {none_added, none_removed, none_allowed, never, NULL};
    retro->cursor = (struct store_cursor){0};
    enum core_err err = store_build(retro->store, &retro->cursor, &calls, fail);
    err = err == CORE_AGAIN ? CORE_OK : err;
    retro->has_cursor = err == CORE_OK;
    if (err == CORE_OK) {
        core_log(CORE_LEVEL_INFO, "lookback", "indicators that come from now on are looked for in what was seen before",
                 "at=%s", retro->cursor.id);
    }
    if (err == CORE_OK && retro->batch.len == 0 && retro->waiting.len == 0) {
        cursor_save(retro, &retro->cursor);
    }
    return err;
}

static enum core_err store_ready(struct retro *retro, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    if (retro->store == NULL) {
        err = retro->opener->open(retro->opener->ctx, &retro->store, fail);
        if (err == CORE_OK) {
            allow_free(retro->allow);
            retro->allow = allow_new();
            err = enrich_store_allowed(retro->store, allowed_add, retro, fail);
        }
    }
    if (err == CORE_OK && !retro->has_cursor) {
        retro->has_cursor = cursor_load(retro);
        err = retro->has_cursor ? CORE_OK : begin_now(retro, fail);
    }
    return err;
}

static enum core_err stream_follow(struct retro *retro, int timeout_ms, struct core_fail *fail) {
    const struct store_changes calls = {on_add, on_remove, on_allow, goes_on, retro};
    enum core_err err = store_ready(retro, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = store_follow(retro->store, &retro->cursor, &calls, timeout_ms, fail);
    if (err == CORE_GONE) {
        core_log_fail(CORE_LEVEL_WARN, "lookback",
                      "which indicators are new cannot be told; those that came since the stream was last read are not "
                      "looked for in what was seen, those that come from now on are",
                      fail);
        err = begin_now(retro, fail);
    }
    return err == CORE_AGAIN ? CORE_OK : err;
}

void retro_follow(struct retro *retro, int timeout_ms) {
    struct core_fail fail;
    if (retro->opener == NULL || core_tick_ns() < retro->retry_tick || retro->waiting.len >= RETRO_BATCH_MAX) {
        return;
    }
    bool was_away = retro->is_away;
    enum core_err err = stream_follow(retro, timeout_ms, &fail);
    retro->is_away = err != CORE_OK;
    if (err != CORE_OK) {
        retro->retry_tick = core_tick_ns() + RETRY_NS;
        enrich_store_close(retro->store);
        retro->store = NULL;
        if (!was_away) {
            core_log_fail(CORE_LEVEL_INFO, "lookback",
                          "new indicators are not looked for in what was seen until their store answers again", &fail);
        }
    } else if (retro->waiting.len == 0 && retro->batch.len == 0 && core_tick_ns() - retro->saved_tick > SAVE_NS) {
        cursor_save(retro, &retro->cursor);
    }
}

bool retro_is_due(struct retro *retro, int64_t settle_ns) {
    MUST(pthread_mutex_lock(&retro->lock) == 0);
    int64_t now = core_tick_ns();
    if (retro->batch.len == 0 && retro->waiting.len > 0 &&
        (now - retro->waiting.since_tick >= COLLECT_NS || retro->waiting.len >= RETRO_BATCH_MAX)) {
        retro->batch = retro->waiting;
        retro->waiting = (struct wanted_list){0};
        retro->settled = retro->cursor;
        retro->batch_tick = now;
    }
    MUST(pthread_mutex_unlock(&retro->lock) == 0);
    return retro->batch.len > 0 && now - retro->batch_tick >= settle_ns;
}

/* ---- what is told ---------------------------------------------------------------------------------------------------------------- */

static void text_put(struct core_buf *buf, const char *name, struct core_span text) {
    core_buf_char(buf, ',');
    core_buf_string(buf, core_span_of(name));
    core_buf_char(buf, ':');
    core_buf_string(buf, text);
}

static void time_put(struct core_buf *buf, const char *name, int64_t us) {
    char time[TIME_BYTES];
    if (core_time_iso(us * CORE_NS_PER_US, time)) {
        text_put(buf, name, (struct core_span){time, sizeof time});
    }
}

static void samples_put(struct core_buf *buf, const struct seen_record *record) {
    core_buf_span(buf, CORE_SPAN(",\"records\":["));
    for (unsigned i = 0; i < record->samples_len; i++) {
        char id[32];
        core_record_id(record->samples[i].gen, record->samples[i].start, id);
        core_buf_put(buf, ",", i > 0);
        core_buf_string(buf, (struct core_span){id, sizeof id});
    }
    core_buf_char(buf, ']');
    bool is_first = true;
    for (unsigned i = 0; i < record->samples_len; i++) {
        if (record->samples[i].uid_len > 0) {
            core_buf_span(buf, is_first ? CORE_SPAN(",\"uids\":[") : CORE_SPAN(","));
            core_buf_string(buf, (struct core_span){record->samples[i].uid, record->samples[i].uid_len});
            is_first = false;
        }
    }
    core_buf_put(buf, "]", !is_first);
}

/* STIX's words, as threat.indicator.type has them, are the map's business; here are ours. */
static bool line_write(struct core_buf *buf, uint64_t id, const struct wanted *wanted,
                       const struct seen_record *record) {
    char room[ENRICH_VALUE_BYTES_MAX];
    char digits[40];
    enum core_indicator type;
    struct core_span value;
    if (!seen_key_read(record->key, room, &type, &value)) {
        return false;
    }
    int len = snprintf(digits, sizeof digits, "%016llx%016llx", (unsigned long long)id,
                       (unsigned long long)core_hash64(record->key.ptr, record->key.len, id));
    core_buf_span(buf, CORE_SPAN("{\"id\":\""));
    core_buf_put(buf, digits, (size_t)len);
    core_buf_span(buf, CORE_SPAN("\",\"_path\":\"retro_match\""));
    time_put(buf, "ts", core_now_ns() / CORE_NS_PER_US);
    text_put(buf, "indicator_type", core_span_of(core_indicator_word(wanted->type)));
    text_put(buf, "indicator", (struct core_span){wanted->value, wanted->value_len});
    text_put(buf, "observed_type", core_span_of(core_indicator_word(type)));
    text_put(buf, "observed", value);
    text_put(buf, core_indicator_word(type), value); /* by its own name, for what the map marks */
    time_put(buf, "first", record->first_us);
    time_put(buf, "last", record->last_us);
    core_buf_span(buf, CORE_SPAN(",\"count\":"));
    core_buf_u64(buf, record->count);
    samples_put(buf, record);
    core_buf_char(buf, '}');
    return !buf->is_full;
}

static bool is_silenced(const struct retro *retro, const struct seen_record *record) {
    char room[ENRICH_VALUE_BYTES_MAX];
    enum core_indicator type;
    struct core_span value;
    return retro->allow != NULL && seen_key_read(record->key, room, &type, &value) &&
           allow_has(retro->allow, type, value);
}

static bool on_match(void *ctx, size_t range, const struct seen_record *record) {
    struct retro *retro = ctx;
    struct wanted *wanted = &retro->batch.items[range];
    if (is_silenced(retro, record)) {
        return true;
    }
    uint64_t id = core_hash64(wanted->value, wanted->value_len, (uint64_t)wanted->type);
    id = core_hash64(record->key.ptr, record->key.len, id);
    id += id == 0;
    if (wanted->matches < RETRO_MATCHES_MAX && own_log_has(retro->log, id)) { /* it counts: a repetition tells the same */
        wanted->matches++;
        return true;
    }
    if (wanted->matches == RETRO_MATCHES_MAX) {
        retro->left_out++;
        return true;
    }
    core_arena_reset(&retro->line, retro->line.cap);
    char *start = core_arena_alloc(&retro->line, LINE_BYTES_MAX);
    struct core_buf buf = {start, start, start + LINE_BYTES_MAX, false};
    if (line_write(&buf, id, wanted, record)) {
        retro->told_err = own_log_add(retro->log, id, core_buf_written(&buf), &retro->told_fail);
        if (retro->told_err != CORE_OK) {
            return false;
        }
        wanted->matches++;
        core_count(retro->counters, CORE_COUNT_LOOKBACK_MATCHES, 1);
    }
    return true;
}

/* ---- looking --------------------------------------------------------------------------------------------------------------------- */

static int wanted_compare(const void *a, const void *b) {
    const struct wanted *one = a;
    const struct wanted *two = b;
    return seen_range_compare(&one->range, &two->range);
}

/* Sorted ranges of all that can name an observable. */
static struct seen_range *batch_sort(struct wanted_list *batch) {
    size_t kept = 0;
    for (size_t i = 0; i < batch->len; i++) {
        struct wanted wanted = batch->items[i];
        struct core_span value = {wanted.value, wanted.value_len};
        if (wanted.room == NULL) {
            wanted.room = malloc(SEEN_KEY_BYTES_MAX * 2);
            MUST(wanted.room != NULL);
        }
        if (!seen_range_of(wanted.type, value, wanted.subdomains, wanted.room, &wanted.range)) {
            free(wanted.value);
            free(wanted.room);
            continue;
        }
        batch->items[kept++] = wanted;
    }
    batch->len = kept;
    qsort(batch->items, batch->len, sizeof *batch->items, wanted_compare);
    struct seen_range *ranges = calloc(batch->len + 1, sizeof *ranges);
    MUST(ranges != NULL);
    for (size_t i = 0; i < batch->len; i++) {
        ranges[i] = batch->items[i].range;
    }
    return ranges;
}

enum core_err retro_run(struct retro *retro, struct seen *seen, struct core_fail *fail) {
    int64_t start = core_tick_ns();
    uint64_t before = core_counted(retro->counters, CORE_COUNT_LOOKBACK_MATCHES);
    struct seen_range *ranges = batch_sort(&retro->batch);
    retro->told_err = CORE_OK;
    enum core_err err = seen_ask(seen, ranges, retro->batch.len, on_match, retro, fail);
    free(ranges);
    if (retro->told_err != CORE_OK) {
        *fail = retro->told_fail;
        return retro->told_err;
    }
    /* What was found before an error stays known, and need not be found again. */
    enum core_err flushed = own_log_flush(retro->log, err == CORE_OK ? fail : NULL);
    err = err == CORE_OK ? flushed : err;
    if (err != CORE_OK) {
        return err;
    }
    core_count(retro->counters, CORE_COUNT_LOOKBACK_ASKED, retro->batch.len);
    core_log(CORE_LEVEL_INFO, "lookback", "new indicators were looked for in what was seen before",
             "indicators=%zu matches=%llu ms=%lld", retro->batch.len,
             (unsigned long long)(core_counted(retro->counters, CORE_COUNT_LOOKBACK_MATCHES) - before),
             (long long)((core_tick_ns() - start) / CORE_NS_PER_MS));
    if (retro->left_out > 0) {
        core_log(CORE_LEVEL_WARN, "lookback",
                 "an indicator that names very much is told only so often; tapline intel allow silences what is known",
                 "left_out=%llu max=%d", (unsigned long long)retro->left_out, RETRO_MATCHES_MAX);
        core_count(retro->counters, CORE_COUNT_LOOKBACK_MATCHES_LEFT, retro->left_out);
        retro->left_out = 0;
    }
    list_clear(&retro->batch);
    if (retro->opener != NULL) {
        cursor_save(retro, &retro->settled);
    }
    return CORE_OK;
}

/* ---- making it ------------------------------------------------------------------------------------------------------------------- */

enum core_err retro_open(struct retro **out, const char *state_dir, const struct follower_opener *opener,
                         struct core_counters *counters, struct core_fail *fail) {
    struct retro *retro = calloc(1, sizeof *retro);
    char own[PATH_BYTES];
    MUST(retro != NULL);
    *out = NULL;
    retro->opener = opener;
    retro->counters = counters;
    MUST(pthread_mutex_init(&retro->lock, NULL) == 0);
    (void)snprintf(retro->cursor_path, sizeof retro->cursor_path, "%s/seen/cursor", state_dir);
    (void)snprintf(own, sizeof own, "%s/own", state_dir);
    enum core_err err = own_log_open(&retro->log, own, "retro_match", fail);
    err = err == CORE_OK ? core_arena_init(&retro->line, LINE_BYTES_MAX, fail) : err;
    if (err != CORE_OK) {
        retro_close(retro);
        return err;
    }
    *out = retro;
    return CORE_OK;
}

void retro_close(struct retro *retro) {
    if (retro == NULL) {
        return;
    }
    list_clear(&retro->waiting);
    list_clear(&retro->batch);
    allow_free(retro->allow);
    own_log_close(retro->log);
    enrich_store_close(retro->store);
    core_arena_destroy(&retro->line);
    MUST(pthread_mutex_destroy(&retro->lock) == 0);
    free(retro);
}
