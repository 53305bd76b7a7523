/* enrich/retro.c: new indicators, and the events that tell what they name of what was seen before.
 *
 *     stream of changes -> parts on the disk -> (settled) batch, sorted -> one pass over the segments -> lines of retro_match.log
 *
 * With Redis, the stream is followed by a cursor of its own, also while a batch is being looked for; what comes is written
 * down at once (enrich/retro_queue.c), and the cursor with it. So what came while this process was down is looked for at its
 * next start, a burst waits on the disk and not in the stream, and a kill loses nothing; what is looked for twice then is
 * found in the log. The first start begins with what comes after it. With intel.files, the follower tells what a changed file
 * brought.
 *
 * A part is settled when all its indicators are in effect on what is seen now, and what was seen before that is in segments:
 * else it could be in neither (enrich/lookback.c sees to that). Before a batch is looked for the store is asked which of it
 * still are indicators: what was taken back or has expired meanwhile is not told.
 *
 * An event's id is made of node, indicator and observable alone. So a node tells the two once, also when an indicator goes
 * and comes again, as long as the log and its three older files reach back.
 * Thread: lookback's; retro_on_new(): the follower's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/lookback_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PATH_BYTES 4096
#define COLLECT_NS (2 * CORE_NS_PER_S)
#define REACH_NS CORE_NS_PER_S       /* between two cursors on the disk while names come, */
#define SAVE_NS (60 * CORE_NS_PER_S) /* and while none do */
#define RETRY_NS CORE_NS_PER_S
#define LINE_BYTES_MAX (128 * CORE_KIB)  /* a line has five texts of at most 2 KiB, each byte six at the most */
#define BATCH_BYTES_MAX (128 * CORE_MIB) /* address space: names, and what sorts them */
#define ANSWER_BYTES_MAX (64 * CORE_MIB) /* address space: what the store says of some of them */
#define ASK_MAX 256
#define ASK_MS 5000
#define TIME_BYTES 27
#define WORDS_MAX (8 * CORE_KIB)

/* An indicator to look for. All in retro's arena. */
struct wanted {
    enum core_indicator type;
    bool subdomains;
    bool is_gone; /* it is no indicator any more */
    struct core_span value;
    struct seen_range range;
    uint32_t matches;
};

struct retro {
    const struct follower_opener *opener; /* NULL: nothing is followed */
    struct core_counters *counters;
    const _Atomic bool *is_stopping; /* NULL: never */
    uint64_t node;                   /* hash of its name */
    struct own_log *log;
    struct enrich_store *store;
    struct store_cursor cursor; /* where the stream was read to */
    bool has_cursor;
    bool is_away;
    int64_t retry_tick;
    int64_t reached_tick;
    uint64_t added; /* since then */
    struct core_fail queue_fail;
    enum core_err queue_err; /* of what a callback did, with queue_fail */
    pthread_mutex_t lock;    /* over queue and allow_next, with intel.files */
    struct retro_queue *queue;
    struct allow *allow_next; /* NULL: as it was */
    struct allow *allow;
    uint64_t settling; /* parts before it will be settled, */
    uint64_t settled;  /* parts before it are */
    /* A batch. */
    struct core_arena arena;
    struct core_arena answers;
    struct wanted *wanted;
    size_t wanted_len;
    uint64_t told;
    uint64_t left_out;
    struct core_arena line;
    enum core_err told_err; /* of the last line, with told_fail */
    struct core_fail told_fail;
};

static bool is_stopping(const struct retro *retro) {
    return retro->is_stopping != NULL && atomic_load_explicit(retro->is_stopping, memory_order_relaxed);
}

/* ---- what is new ---------------------------------------------------------------------------------------------------------------- */

static enum core_err new_add(struct retro *retro, enum core_indicator type, struct core_span value, bool subdomains,
                             struct core_fail *fail) {
    enum core_err err = retro_queue_add(retro->queue, type, value, subdomains, fail);
    if (err == CORE_LIMIT) {
        core_count(retro->counters, CORE_COUNT_LOOKBACK_UNASKED, 1);
        core_log_fail(CORE_LEVEL_WARN, "lookback",
                      "more indicators come than are looked for; some are left out (counter lookback.unasked)", fail);
        err = CORE_OK;
    }
    return err;
}

void retro_on_new(struct retro *retro, enum core_indicator type, struct core_span value, bool subdomains,
                  const struct allow *allow) {
    struct core_fail fail;
    MUST(pthread_mutex_lock(&retro->lock) == 0);
    if (retro->allow_next == NULL) {
        retro->allow_next = allow_copy(allow);
    }
    if (new_add(retro, type, value, subdomains, &fail) != CORE_OK) {
        core_count(retro->counters, CORE_COUNT_LOOKBACK_UNASKED, 1);
        core_log_fail(CORE_LEVEL_ERROR, "lookback",
                      "a new indicator is not looked for in what was seen before (counter lookback.unasked)", &fail);
    }
    MUST(pthread_mutex_unlock(&retro->lock) == 0);
}

static void on_add(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    struct retro *retro = ctx;
    if (retro->queue_err == CORE_OK) {
        retro->queue_err = new_add(retro, type, value, subdomains, &retro->queue_fail);
        retro->added++;
    }
}

/* Whether it still is one is asked of the store when it is looked for. */
static void on_remove(void *ctx, enum core_indicator type, struct core_span value) {
    (void)ctx, (void)type, (void)value;
}

static void on_allow(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed) {
    struct retro *retro = ctx;
    bool is_taken CORE_UNUSED = allow_set(retro->allow, type, value, is_allowed); /* the follower says if it is not */
}

static void cursor_reach(struct retro *retro) {
    struct store_cursor before = {0};
    bool is_same = retro_queue_cursor(retro->queue, &before) && strcmp(before.id, retro->cursor.id) == 0 &&
                   strcmp(before.epoch, retro->cursor.epoch) == 0;
    retro->reached_tick = core_tick_ns();
    retro->added = 0;
    if (!is_same && retro->queue_err == CORE_OK && retro->has_cursor) {
        retro->queue_err = retro_queue_reach(retro->queue, &retro->cursor, &retro->queue_fail);
    }
}

static bool goes_on(void *ctx) {
    struct retro *retro = ctx;
    if (retro->added > 0 && core_tick_ns() - retro->reached_tick >= REACH_NS) {
        cursor_reach(retro);
    }
    return retro->queue_err == CORE_OK && !is_stopping(retro);
}

static bool allowed_add(void *ctx, enum core_indicator type, struct core_span value) {
    struct allow *allow = ctx;
    bool is_taken CORE_UNUSED = allow_set(allow, type, value, true);
    return true;
}

static enum core_err allow_read(struct retro *retro, struct core_fail *fail) {
    struct allow *allow = allow_new();
    enum core_err err = enrich_store_allowed(retro->store, allowed_add, allow, fail);
    allow_free(err == CORE_OK ? retro->allow : allow);
    retro->allow = err == CORE_OK ? allow : retro->allow;
    return err;
}

/* Begin with what comes from now on. */
static enum core_err begin_now(struct retro *retro, struct core_fail *fail) {
    retro->cursor = (struct store_cursor){0};
    enum core_err err = store_now(retro->store, &retro->cursor, fail);
    retro->has_cursor = err == CORE_OK;
    if (err == CORE_OK) {
        core_log(CORE_LEVEL_INFO, "lookback", "indicators that come from now on are looked for in what was seen before",
                 "at=%s", retro->cursor.id);
        cursor_reach(retro);
    }
    return err;
}

static enum core_err store_ready(struct retro *retro, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    if (retro->store == NULL) {
        err = retro->opener->open(retro->opener->ctx, &retro->store, fail);
        err = err == CORE_OK ? allow_read(retro, fail) : err;
    }
    if (err == CORE_OK && !retro->has_cursor) {
        retro->has_cursor = retro_queue_cursor(retro->queue, &retro->cursor);
        err = retro->has_cursor ? CORE_OK : begin_now(retro, fail);
    }
    return err;
}

static enum core_err stream_follow(struct retro *retro, int timeout_ms, struct core_fail *fail) {
    const struct store_changes calls = {on_add, on_remove, on_allow, goes_on, retro};
    retro->queue_err = CORE_OK;
    enum core_err err = store_ready(retro, fail);
    if (err != CORE_OK) {
        return err;
    }
    err = store_follow(retro->store, &retro->cursor, &calls, timeout_ms, fail);
    if (err == CORE_GONE && retro->queue_err == CORE_OK) {
        core_count(retro->counters, CORE_COUNT_LOOKBACK_GAPS, 1);
        core_log_fail(CORE_LEVEL_WARN, "lookback",
                      "which indicators are new cannot be told; those that came since the stream was last read are not "
                      "looked for in what was seen, those that come from now on are (counter lookback.gaps)",
                      fail);
        err = begin_now(retro, fail);
    } else if (retro->added > 0 || core_tick_ns() - retro->reached_tick > SAVE_NS) {
        cursor_reach(retro);
    }
    if (retro->queue_err != CORE_OK) { /* read on from what is on the disk */
        retro->has_cursor = false;
        *fail = retro->queue_fail;
        return retro->queue_err;
    }
    return err == CORE_AGAIN ? CORE_OK : err;
}

static void follow_failed(struct retro *retro, enum core_err err, const struct core_fail *fail) {
    if (is_stopping(retro)) {
        return;
    }
    retro->retry_tick = core_tick_ns() + RETRY_NS;
    if (err == CORE_IO) {
        core_log_fail(CORE_LEVEL_ERROR, "lookback",
                      "new indicators cannot be written down, so they are not looked for; trying again each second, as "
                      "long as the stream of changes still has them (about 10,000 changes). Make room on the disk",
                      fail);
    } else if (!retro->is_away) {
        core_log_fail(CORE_LEVEL_INFO, "lookback",
                      "new indicators are not looked for in what was seen until their store answers again", fail);
    }
    retro->is_away = err != CORE_IO;
    enrich_store_close(retro->store);
    retro->store = NULL;
}

void retro_follow(struct retro *retro, int timeout_ms) {
    struct core_fail fail;
    if (retro->opener == NULL || core_tick_ns() < retro->retry_tick || is_stopping(retro)) {
        return;
    }
    enum core_err err = stream_follow(retro, timeout_ms, &fail);
    if (err == CORE_OK) {
        retro->is_away = false;
    } else {
        follow_failed(retro, err, &fail);
    }
}

/* ---- settling ---------------------------------------------------------------------------------------------------------------------- */

static uint64_t parts_end(const struct retro *retro) {
    return retro_queue_part(retro->queue) + retro_queue_parts(retro->queue);
}

bool retro_is_due(struct retro *retro) {
    MUST(pthread_mutex_lock(&retro->lock) == 0);
    bool can_ask = retro->opener == NULL || retro->store != NULL;
    bool is_due = can_ask && retro_queue_parts(retro->queue) > 0 && retro_queue_part(retro->queue) < retro->settled;
    MUST(pthread_mutex_unlock(&retro->lock) == 0);
    return is_due;
}

bool retro_collects(struct retro *retro, struct store_cursor *cursor) {
    struct core_fail fail;
    int64_t since_tick;
    if (retro_is_due(retro)) { /* first those */
        return false;
    }
    MUST(pthread_mutex_lock(&retro->lock) == 0);
    if (retro_queue_has_new(retro->queue, &since_tick) && core_tick_ns() - since_tick >= COLLECT_NS &&
        retro_queue_cut(retro->queue, &fail) != CORE_OK) {
        core_log_fail(CORE_LEVEL_ERROR, "lookback", "new indicators wait until they can be written down", &fail);
    }
    retro->settling = parts_end(retro);
    bool has_some = retro_queue_parts(retro->queue) > 0 && retro->settling > retro->settled;
    if (has_some && retro->allow_next != NULL) {
        allow_free(retro->allow);
        retro->allow = retro->allow_next;
        retro->allow_next = NULL;
    }
    MUST(pthread_mutex_unlock(&retro->lock) == 0);
    *cursor = retro->cursor;
    return has_some;
}

bool retro_cursor(const struct retro *retro, struct store_cursor *cursor) {
    *cursor = retro->cursor;
    return retro->has_cursor;
}

void retro_settled(struct retro *retro) {
    retro->settled = retro->settling;
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

/* What a person reads: "new indicator 203.0.113.64/27: 203.0.113.77 was seen 20 times from … to …". */
static void words_put(struct core_buf *buf, const struct wanted *wanted, struct core_span value,
                      const struct seen_record *record) {
    char words[WORDS_MAX];
    struct core_buf text = {words, words, words + sizeof words, false};
    char first[TIME_BYTES], last[TIME_BYTES];
    core_buf_span(&text, CORE_SPAN("new indicator"));
    if (!core_span_eq(wanted->value, value)) {
        core_buf_char(&text, ' ');
        core_buf_span(&text, wanted->value);
    }
    core_buf_span(&text, CORE_SPAN(": "));
    core_buf_span(&text, value);
    core_buf_span(&text, CORE_SPAN(" was seen "));
    core_buf_u64(&text, record->count);
    core_buf_span(&text, record->count == 1 ? CORE_SPAN(" time") : CORE_SPAN(" times"));
    if (core_time_iso(record->first_us * CORE_NS_PER_US, first) &&
        core_time_iso(record->last_us * CORE_NS_PER_US, last)) {
        core_buf_span(&text, record->count == 1 ? CORE_SPAN(", at ") : CORE_SPAN(" from "));
        core_buf_put(&text, first, sizeof first);
        core_buf_put(&text, " to ", record->count == 1 ? 0 : sizeof " to " - 1);
        core_buf_put(&text, last, record->count == 1 ? 0 : sizeof last);
    }
    MUST(!text.is_full);
    text_put(buf, "message", core_buf_written(&text));
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
    core_buf_char(buf, '"');
    time_put(buf, "ts", core_now_ns() / CORE_NS_PER_US);
    words_put(buf, wanted, value, record);
    text_put(buf, "indicator_type", core_span_of(core_indicator_word(wanted->type)));
    text_put(buf, "indicator", wanted->value);
    text_put(buf, "observed_type", core_span_of(core_indicator_word(type)));
    text_put(buf, "observed", value);
    text_put(buf, core_indicator_word(type), value); /* by its own name, for what the map marks */
    time_put(buf, "first", record->first_us);
    time_put(buf, "last", record->last_us);
    core_buf_span(buf, CORE_SPAN(",\"count\":"));
    core_buf_u64(buf, record->count);
    samples_put(buf, record);
    core_buf_char(buf, '}');
    MUST(!buf->is_full);
    return true;
}

static bool is_silenced(const struct retro *retro, const struct seen_record *record) {
    char room[ENRICH_VALUE_BYTES_MAX];
    enum core_indicator type;
    struct core_span value;
    return retro->allow != NULL && seen_key_read(record->key, room, &type, &value) &&
           allow_has(retro->allow, type, value);
}

static uint64_t id_of(const struct retro *retro, const struct wanted *wanted, const struct seen_record *record) {
    uint64_t id = core_hash64(wanted->value.ptr, wanted->value.len, retro->node + (uint64_t)wanted->type);
    id = core_hash64(record->key.ptr, record->key.len, id);
    return id + (id == 0);
}

/* What is known already counts, too: a repetition tells the same, and leaves out the same. */
static bool on_match(void *ctx, size_t range, const struct seen_record *record) {
    struct retro *retro = ctx;
    struct wanted *wanted = &retro->wanted[range];
    if (is_silenced(retro, record)) {
        return true;
    }
    if (wanted->matches >= (retro->told < RETRO_TOLD_MAX ? RETRO_MATCHES_MAX : RETRO_MATCHES_FEW)) {
        retro->left_out++;
        return true;
    }
    uint64_t id = id_of(retro, wanted, record);
    if (!own_log_has(retro->log, id)) {
        core_arena_reset(&retro->line, retro->line.cap);
        char *start = core_arena_alloc(&retro->line, LINE_BYTES_MAX);
        struct core_buf buf = {start, start, start + LINE_BYTES_MAX, false};
        if (!line_write(&buf, id, wanted, record)) {
            return true; /* not a key of ours */
        }
        retro->told_err = own_log_add(retro->log, id, core_buf_written(&buf), &retro->told_fail);
        if (retro->told_err != CORE_OK) {
            return false;
        }
        core_count(retro->counters, CORE_COUNT_LOOKBACK_MATCHES, 1);
    }
    wanted->matches++;
    retro->told++;
    return true;
}

/* ---- a batch ----------------------------------------------------------------------------------------------------------------------- */

static struct core_span span_keep(struct core_arena *arena, struct core_span span) {
    char *copy = core_arena_copy(arena, span);
    MUST(copy != NULL); /* BATCH_BYTES_MAX holds RETRO_BATCH_MAX of the longest */
    return (struct core_span){copy, span.len};
}

static void on_name(void *ctx, enum core_indicator type, struct core_span value, bool subdomains) {
    struct retro *retro = ctx;
    if (retro->wanted_len == RETRO_BATCH_MAX || value.len > ENRICH_VALUE_BYTES_MAX) {
        return; /* not a part of ours */
    }
    retro->wanted[retro->wanted_len++] =
        (struct wanted){.type = type, .subdomains = subdomains, .value = span_keep(&retro->arena, value)};
}

static enum core_err batch_read(struct retro *retro, struct core_fail *fail) {
    core_arena_reset(&retro->arena, CORE_MIB);
    retro->wanted = core_arena_alloc(&retro->arena, RETRO_BATCH_MAX * sizeof *retro->wanted);
    MUST(retro->wanted != NULL);
    retro->wanted_len = 0;
    MUST(pthread_mutex_lock(&retro->lock) == 0);
    enum core_err err = retro_queue_read(retro->queue, on_name, retro, fail);
    MUST(pthread_mutex_unlock(&retro->lock) == 0);
    return err;
}

/* What was taken back meanwhile, or has expired, is no indicator; whether subdomains are meant is what is said now. */
static void answer_take(struct wanted *wanted, const struct enrich_found *found) {
    wanted->is_gone = found->providers_len == 0;
    wanted->subdomains = false;
    for (size_t i = 0; i < found->providers_len; i++) {
        wanted->subdomains = wanted->subdomains || found->providers[i].subdomains;
    }
}

static enum core_err batch_ask(struct retro *retro, struct core_fail *fail) {
    struct enrich_found found[ASK_MAX];
    enum core_err err = CORE_OK;
    for (size_t at = 0; retro->store != NULL && err == CORE_OK && at < retro->wanted_len; at += ASK_MAX) {
        size_t len = retro->wanted_len - at < ASK_MAX ? retro->wanted_len - at : ASK_MAX;
        for (size_t i = 0; i < len; i++) {
            found[i] = (struct enrich_found){.type = retro->wanted[at + i].type, .value = retro->wanted[at + i].value};
        }
        core_arena_reset(&retro->answers, CORE_MIB);
        err = enrich_store_get(retro->store, found, len, &retro->answers, ASK_MS, fail);
        for (size_t i = 0; err == CORE_OK && i < len; i++) {
            answer_take(&retro->wanted[at + i], &found[i]);
        }
        err = err == CORE_LIMIT ? CORE_OK : err; /* very much is said of these: they are there */
    }
    return err;
}

static int wanted_compare(const void *a, const void *b) {
    const struct wanted *one = a;
    const struct wanted *two = b;
    int order = seen_range_compare(&one->range, &two->range);
    if (order == 0 && one->type != two->type) {
        order = one->type < two->type ? -1 : 1;
    }
    return order != 0 ? order : seen_key_compare(one->value, two->value);
}

/* Sorted ranges of all that can name an observable, each once. */
static struct seen_range *batch_sort(struct retro *retro) {
    char room[SEEN_KEY_BYTES_MAX * 2];
    size_t kept = 0;
    for (size_t i = 0; i < retro->wanted_len; i++) {
        struct wanted wanted = retro->wanted[i];
        if (wanted.is_gone || !seen_range_of(wanted.type, wanted.value, wanted.subdomains, room, &wanted.range)) {
            continue;
        }
        wanted.range.from = span_keep(&retro->arena, wanted.range.from);
        wanted.range.to = span_keep(&retro->arena, wanted.range.to);
        retro->wanted[kept++] = wanted;
    }
    qsort(retro->wanted, kept, sizeof *retro->wanted, wanted_compare);
    struct seen_range *ranges = core_arena_alloc(&retro->arena, (kept + 1) * sizeof *ranges);
    MUST(ranges != NULL);
    retro->wanted_len = 0;
    for (size_t i = 0; i < kept; i++) {
        if (i > 0 && wanted_compare(&retro->wanted[i], &retro->wanted[retro->wanted_len - 1]) == 0) {
            continue;
        }
        ranges[retro->wanted_len] = retro->wanted[i].range;
        retro->wanted[retro->wanted_len++] = retro->wanted[i];
    }
    return ranges;
}

/* ---- looking ----------------------------------------------------------------------------------------------------------------------- */

static enum core_err batch_done(struct retro *retro, size_t asked, struct core_fail *fail) {
    MUST(pthread_mutex_lock(&retro->lock) == 0);
    enum core_err err = retro_queue_done(retro->queue, fail);
    MUST(pthread_mutex_unlock(&retro->lock) == 0);
    if (err == CORE_OK) {
        core_count(retro->counters, CORE_COUNT_LOOKBACK_ASKED, asked);
        core_count(retro->counters, CORE_COUNT_LOOKBACK_MATCHES_LEFT, retro->left_out);
    }
    return err;
}

/* What was found before an error stays known, and need not be found again. */
static enum core_err batch_look(struct retro *retro, struct seen *seen, struct core_fail *fail) {
    const struct seen_range *ranges = batch_sort(retro);
    retro->told_err = CORE_OK;
    retro->told = retro->left_out = 0;
    enum core_err err = seen_ask(seen, ranges, retro->wanted_len, on_match, retro, fail);
    if (retro->told_err != CORE_OK) {
        *fail = retro->told_fail;
        return retro->told_err;
    }
    enum core_err flushed = own_log_flush(retro->log, err == CORE_OK ? fail : NULL);
    return err == CORE_OK ? flushed : err;
}

enum core_err retro_run(struct retro *retro, struct seen *seen, struct core_fail *fail) {
    int64_t start = core_tick_ns();
    uint64_t before = core_counted(retro->counters, CORE_COUNT_LOOKBACK_MATCHES);
    enum core_err err = batch_read(retro, fail);
    size_t asked = retro->wanted_len;
    if (err == CORE_OK && batch_ask(retro, fail) != CORE_OK) {
        follow_failed(retro, CORE_NET, fail); /* it is not due before the store is open again */
        return CORE_AGAIN;
    }
    err = err == CORE_OK ? batch_look(retro, seen, fail) : err;
    err = err == CORE_OK ? batch_done(retro, asked, fail) : err;
    if (err != CORE_OK) {
        return err;
    }
    core_log(CORE_LEVEL_INFO, "lookback", "new indicators were looked for in what was seen before",
             "indicators=%zu gone_or_twice=%zu matches=%llu ms=%lld parts_that_wait=%zu", asked,
             asked - retro->wanted_len,
             (unsigned long long)(core_counted(retro->counters, CORE_COUNT_LOOKBACK_MATCHES) - before),
             (long long)((core_tick_ns() - start) / CORE_NS_PER_MS), retro_queue_parts(retro->queue));
    if (retro->left_out > 0) {
        core_log(CORE_LEVEL_WARN, "lookback",
                 "indicators that name very much are told only so often; tapline intel allow silences what is known",
                 "left_out=%llu max=%d", (unsigned long long)retro->left_out, RETRO_MATCHES_MAX);
    }
    return CORE_OK;
}

/* ---- making it ------------------------------------------------------------------------------------------------------------------- */

static enum core_err arenas_open(struct retro *retro, struct core_fail *fail) {
    enum core_err err = core_arena_init(&retro->line, LINE_BYTES_MAX, fail);
    err = err == CORE_OK ? core_arena_init(&retro->arena, BATCH_BYTES_MAX, fail) : err;
    return err == CORE_OK ? core_arena_init(&retro->answers, ANSWER_BYTES_MAX, fail) : err;
}

enum core_err retro_open(struct retro **out, const struct retro_env *env, struct core_fail *fail) {
    struct retro *retro = calloc(1, sizeof *retro);
    char new[PATH_BYTES];
    char own[PATH_BYTES];
    MUST(retro != NULL);
    *out = NULL;
    retro->opener = env->opener;
    retro->counters = env->counters;
    retro->is_stopping = env->is_stopping;
    retro->node = env->node == NULL ? 0 : core_hash64(env->node, strlen(env->node), 0);
    retro->reached_tick = core_tick_ns();
    MUST(pthread_mutex_init(&retro->lock, NULL) == 0);
    (void)snprintf(new, sizeof new, "%s/seen/new", env->state_dir);
    (void)snprintf(own, sizeof own, "%s/own", env->state_dir);
    enum core_err err = retro_queue_open(&retro->queue, new, fail);
    err = err == CORE_OK ? own_log_open(&retro->log, own, "retro_match", fail) : err;
    err = err == CORE_OK ? arenas_open(retro, fail) : err;
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
    allow_free(retro->allow);
    allow_free(retro->allow_next);
    own_log_close(retro->log);
    retro_queue_close(retro->queue);
    enrich_store_close(retro->store);
    core_arena_destroy(&retro->line);
    core_arena_destroy(&retro->arena);
    core_arena_destroy(&retro->answers);
    MUST(pthread_mutex_destroy(&retro->lock) == 0);
    free(retro);
}
