/* enrich/store_redis_follow.c: every indicator once (build), then what changes (follow).
 *
 * A build notes where the stream of changes stands before it looks at the keys, so that whatever changes meanwhile comes
 * again by follow(). It takes the names by SCAN; of domains it also asks for the words, because whether subdomains are
 * meant stands in them.
 *
 * A cursor is the epoch and the id of the last entry seen. Before entries behind it are believed, three things must hold, or
 * a build is needed (CORE_GONE): the epoch is the same (else somebody flushed the database), the stream's last id is not
 * before ours (else this is a server that never had it: a failover to a replica that was behind), and the entry with our id is
 * still there, or ours is the last id (else entries were trimmed that we have not seen, or history went another way). That is
 * asked in the exchange that reads the entries, behind them, and of every one: the stream may be trimmed at any moment, also
 * while we catch up, and what was still there after the entries had been read was there before.
 * What is too long to get through in time, or for the limit of an answer, would be so for ever: of entries only half as many
 * are asked for next time, and after each read that was told one more (one entry of ours has REDIS_CHUNK_MAX names at most).
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/store_redis_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define BUILD_SCAN_COUNT "2000"
#define ENTRIES_MAX 64               /* of one read of the stream */
#define GRACE_NS (2 * CORE_NS_PER_S) /* for an answer beyond the time the stream is waited for */
#define NUMBER_BYTES 24

/* Send what was collected. CORE_AGAIN of follow() says that nothing changed: what is not in time is CORE_NET. */
static enum core_err exchange(struct redis *on, int64_t wait_ns, struct core_fail *fail) {
    enum core_err err = redis_exchange(on, core_tick_ns() + wait_ns, fail);
    if (err != CORE_AGAIN) {
        return err;
    }
    fail->err = CORE_NET;
    return CORE_NET;
}

static bool goes_on(const struct store_changes *calls) {
    return calls->goes_on == NULL || calls->goes_on(calls->ctx);
}

static enum core_err ended(const struct redis *on, struct core_fail *fail) {
    return core_fail_set(fail, CORE_AGAIN, redis_where(on), "ended on request");
}

/* ---- where the stream stands ------------------------------------------------------------------------------------------------- */

struct stream_info {
    bool is_there;
    int64_t len;
    int64_t added; /* ever; -1: not known, before Redis 7 */
    char last_id[sizeof((struct store_cursor *)NULL)->id];
};

/* The answer to XINFO STREAM: names and values in turn. */
static enum core_err info_read(const struct redis *on, const struct redis_reply *reply, struct stream_info *info,
                               struct core_fail *fail) {
    *info = (struct stream_info){.last_id = "0-0", .added = -1};
    if (reply->type == REDIS_ERROR && core_span_starts(reply->text, CORE_SPAN("ERR no such key"))) {
        return CORE_OK;
    }
    enum core_err err = redis_refused(on, reply, fail);
    for (size_t i = 0; err == CORE_OK && i + 1 < reply->len; i += 2) {
        if (core_span_is(reply->items[i]->text, "last-generated-id")) {
            info->is_there = true;
            snprintf(info->last_id, sizeof info->last_id, "%s", reply->items[i + 1]->text.ptr);
        } else if (core_span_is(reply->items[i]->text, "length")) {
            info->len = reply->items[i + 1]->integer;
        } else if (core_span_is(reply->items[i]->text, "entries-added")) {
            info->added = reply->items[i + 1]->integer;
        }
    }
    if (err == CORE_OK && !info->is_there) {
        err = core_fail_set(fail, CORE_BAD, redis_where(on),
                            "XINFO STREAM says no last-generated-id; Redis 6.2 or newer "
                            "is needed");
    }
    return err;
}

/* "1700000000000-5" */
static bool id_before(const char *a, const char *b) {
    char *rest_a, *rest_b;
    unsigned long long ms_a = strtoull(a, &rest_a, 10), ms_b = strtoull(b, &rest_b, 10);
    if (ms_a != ms_b) {
        return ms_a < ms_b;
    }
    unsigned long long seq_a = *rest_a == '-' ? strtoull(rest_a + 1, NULL, 10) : 0;
    unsigned long long seq_b = *rest_b == '-' ? strtoull(rest_b + 1, NULL, 10) : 0;
    return seq_a < seq_b;
}

static void epoch_read(const struct redis_reply *reply, char out[sizeof((struct store_cursor *)NULL)->epoch]) {
    snprintf(out, sizeof((struct store_cursor *)NULL)->epoch, "%s", reply->type == REDIS_STRING ? reply->text.ptr : "");
}

static void stand_ask(const struct redis_store *redis, struct redis *on) {
    char name[REDIS_NAME_MAX];
    REDIS_ASK(on, "GET", redis_name(redis, name, "epoch", ""));
    REDIS_ASK(on, "XINFO", "STREAM", redis_name(redis, name, "changes", ""));
}

/* The answers to stand_ask(), of which the first is the command `at`. */
static enum core_err stand_read(const struct redis *on, size_t at,
                                char epoch[sizeof((struct store_cursor *)NULL)->epoch], struct stream_info *info,
                                struct core_fail *fail) {
    enum core_err err = redis_refused(on, redis_answer(on, at), fail);
    err = err == CORE_OK ? info_read(on, redis_answer(on, at + 1), info, fail) : err;
    if (err == CORE_OK) {
        epoch_read(redis_answer(on, at), epoch);
    }
    return err;
}

/* Where it stands now, and what else was asked in the same exchange. */
static enum core_err stand_take(struct redis *on, struct store_cursor *cursor, struct core_fail *fail) {
    struct stream_info info;
    enum core_err err = exchange(on, REDIS_WALK_NS, fail);
    err = err == CORE_OK ? stand_read(on, 0, cursor->epoch, &info, fail) : err;
    if (err == CORE_OK) {
        memcpy(cursor->id, info.last_id, sizeof cursor->id);
    }
    return err;
}

enum core_err redis_now(struct enrich_store *store, struct store_cursor *cursor, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    redis_begin(redis->follow);
    stand_ask(redis, redis->follow);
    return stand_take(redis->follow, cursor, fail);
}

/* ---- build --------------------------------------------------------------------------------------------------------------------- */

struct named {
    enum core_indicator type;
    struct core_span value;
};

struct build {
    struct redis_store *redis;
    struct redis *on;
    const struct store_changes *calls;
};

/* Do the words of an answer to HVALS mean subdomains? */
static bool means_subdomains(struct build *build, const struct redis_reply *reply) {
    bool subdomains = false;
    struct core_arena *scratch = &build->redis->scratch;
    for (size_t i = 0; reply->type == REDIS_ARRAY && i < reply->len && !subdomains; i++) {
        struct enrich_provider said;
        struct core_fail fail;
        size_t used = scratch->used;
        if (memmem(reply->items[i]->text.ptr, reply->items[i]->text.len, "\"subdomains\"", 12) == NULL) {
            continue; /* most do not */
        }
        subdomains = store_said_read(build->redis->follow_reader, CORE_SPAN("-"), reply->items[i]->text, scratch, &said,
                                     &fail) == CORE_OK &&
                     said.subdomains;
        scratch->used = used;
    }
    return subdomains;
}

/* The page's names into a list; those of domains are asked for their words, too. */
static struct named *page_read(struct build *build, const struct redis_reply *keys, size_t *len) {
    size_t prefix_len = build->redis->prefix_len;
    core_arena_reset(&build->redis->scratch, CORE_MIB);
    struct named *list = core_arena_alloc(&build->redis->scratch, (keys->len + 1) * sizeof *list);
    MUST(list != NULL);
    *len = 0;
    for (size_t i = 0; i < keys->len; i++) {
        struct core_span key = keys->items[i]->text;
        struct named *named = &list[*len];
        if (key.len < prefix_len || !redis_key_read((struct core_span){key.ptr + prefix_len, key.len - prefix_len},
                                                    &named->type, &named->value)) {
            continue;
        }
        if (named->type == CORE_INDICATOR_DOMAIN) {
            redis_command(build->on, 2);
            redis_word(build->on, CORE_SPAN("HVALS"));
            redis_word(build->on, key);
        }
        (*len)++;
    }
    return list;
}

static enum core_err page_tell(struct build *build, const struct named *list, size_t len, struct core_fail *fail) {
    size_t answer = 1; /* that of SCAN is the first */
    for (size_t i = 0; i < len; i++) {
        bool subdomains = false;
        if (list[i].type == CORE_INDICATOR_DOMAIN) {
            const struct redis_reply *reply = redis_answer(build->on, answer++);
            enum core_err err = redis_is_foreign(reply) ? CORE_OK : redis_refused(build->on, reply, fail);
            if (err != CORE_OK) {
                return err;
            }
            subdomains = means_subdomains(build, reply);
        }
        build->calls->on_add(build->calls->ctx, list[i].type, list[i].value, subdomains);
    }
    return CORE_OK;
}

static void allow_tell(const struct build *build, const struct redis_reply *members) {
    for (size_t i = 0; i < members->len; i++) {
        enum core_indicator type;
        struct core_span value;
        if (redis_key_read(members->items[i]->text, &type, &value)) {
            build->calls->on_allow(build->calls->ctx, type, value, true);
        }
    }
}

/* The cursor first, then the allow-list and the first page, so nothing falls between. */
static enum core_err build_begin(struct build *build, struct store_cursor *cursor, struct core_fail *fail) {
    char name[REDIS_NAME_MAX];
    redis_begin(build->on);
    stand_ask(build->redis, build->on);
    REDIS_ASK(build->on, "SMEMBERS", redis_name(build->redis, name, "allow", ""));
    enum core_err err = stand_take(build->on, cursor, fail);
    err = err == CORE_OK ? redis_refused(build->on, redis_answer(build->on, 2), fail) : err;
    if (err != CORE_OK) {
        return err;
    }
    allow_tell(build, redis_answer(build->on, 2));
    redis_continue(build->on); /* a cursor of SCAN is good for one server */
    redis_scan_ask(build->redis, build->on, "0", BUILD_SCAN_COUNT);
    return exchange(build->on, REDIS_WALK_NS, fail);
}

enum core_err redis_build(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                          struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    struct build build = {redis, redis->follow, calls};
    char scan[32] = "0";
    bool is_last = false;
    enum core_err err = build_begin(&build, cursor, fail);
    while (err == CORE_OK && !is_last) {
        const struct redis_reply *keys;
        size_t len;
        err = redis_scan_read(build.on, redis_answer(build.on, 0), scan, &keys, fail);
        if (err != CORE_OK) {
            break;
        }
        if (!goes_on(calls)) {
            return ended(build.on, fail);
        }
        is_last = strcmp(scan, "0") == 0;
        redis_continue(build.on);
        redis_scan_ask(redis, build.on, scan, is_last ? "1" : BUILD_SCAN_COUNT); /* the last one's answer is not used */
        struct named *list = page_read(&build, keys, &len);
        err = exchange(build.on, REDIS_WALK_NS, fail);
        err = err == CORE_OK ? page_tell(&build, list, len, fail) : err;
    }
    return err;
}

/* ---- follow -------------------------------------------------------------------------------------------------------------------- */

static enum core_err gone(const struct redis *on, const char *why, struct core_fail *fail) {
    return core_fail_set(fail, CORE_GONE, redis_where(on), "%s; all indicators are read again", why);
}

/* Its answers: of the entries, of stand_ask(), and of the entry with our id. */
enum changes_answer { CHANGES_ENTRIES, CHANGES_STAND, CHANGES_OURS = CHANGES_STAND + 2 };

static void changes_ask(const struct redis_store *redis, struct redis *on, const struct store_cursor *cursor,
                        int timeout_ms) {
    char name[REDIS_NAME_MAX], wait[NUMBER_BYTES], most[NUMBER_BYTES];
    const char *changes = redis_name(redis, name, "changes", "");
    snprintf(wait, sizeof wait, "%d", timeout_ms);
    snprintf(most, sizeof most, "%zu", redis->entries_max);
    redis_begin(on);
    if (timeout_ms > 0) {
        REDIS_ASK(on, "XREAD", "COUNT", most, "BLOCK", wait, "STREAMS", changes, cursor->id);
    } else {
        REDIS_ASK(on, "XREAD", "COUNT", most, "STREAMS", changes, cursor->id);
    }
    stand_ask(redis, on);
    REDIS_ASK(on, "XRANGE", changes, cursor->id, cursor->id);
}

/* May the entries behind the cursor be believed? A database that had no epoch yet gets its first. */
static enum core_err changes_judge(const struct redis *on, struct store_cursor *cursor, struct core_fail *fail) {
    char epoch[sizeof cursor->epoch];
    struct stream_info info;
    const struct redis_reply *ours = redis_answer(on, CHANGES_OURS);
    enum core_err err = redis_refused(on, redis_answer(on, CHANGES_ENTRIES), fail);
    err = err == CORE_OK ? stand_read(on, CHANGES_STAND, epoch, &info, fail) : err;
    err = err == CORE_OK ? redis_refused(on, ours, fail) : err;
    if (err != CORE_OK) {
        return err;
    }
    if (cursor->epoch[0] == '\0') {
        memcpy(cursor->epoch, epoch, sizeof epoch);
    }
    if (strcmp(epoch, cursor->epoch) != 0) {
        return gone(on, epoch[0] == '\0' ? "the database was emptied" : "the database is another one than before",
                    fail);
    }
    bool is_at_start = strcmp(cursor->id, "0-0") == 0;
    if (!info.is_there && !is_at_start) {
        return gone(on, "the stream of changes was removed", fail);
    }
    if (id_before(info.last_id, cursor->id)) {
        return gone(on, "the stream of changes went back: this server never had the last changes", fail);
    }
    bool has_ours = ours->type == REDIS_ARRAY && ours->len > 0;
    bool is_untrimmed = info.added >= 0 ? info.added <= info.len : info.len < REDIS_CHANGES_MAX;
    bool is_ours = is_at_start ? is_untrimmed : has_ours || strcmp(info.last_id, cursor->id) == 0;
    if (!is_ours) {
        return gone(on, "the stream of changes was trimmed further than we had read it, or is another one", fail);
    }
    return CORE_OK;
}

/* Entries of an answer to XREAD: [[name, [[id, [verb, key, …]], …]]]. NULL: none. */
static const struct redis_reply *entries_of(const struct redis_reply *reply) {
    bool is_list = reply->type == REDIS_ARRAY && reply->len == 1 && reply->items[0]->type == REDIS_ARRAY &&
                   reply->items[0]->len == 2 && reply->items[0]->items[1]->type == REDIS_ARRAY;
    return is_list ? reply->items[0]->items[1] : NULL;
}

static bool entry_is_good(const struct redis_reply *entry) {
    return entry->type == REDIS_ARRAY && entry->len == 2 && entry->items[0]->type == REDIS_STRING &&
           entry->items[1]->type == REDIS_ARRAY;
}

/* One by one the changes of the entries: verb and key. on_change false: nothing more. */
static void changes_walk(const struct redis_reply *entries, void *ctx,
                         void (*on_change)(void *ctx, struct core_span verb, enum core_indicator type,
                                           struct core_span value)) {
    for (size_t i = 0; i < entries->len; i++) {
        if (!entry_is_good(entries->items[i])) {
            continue;
        }
        const struct redis_reply *pairs = entries->items[i]->items[1];
        for (size_t j = 0; j + 1 < pairs->len; j += 2) {
            enum core_indicator type;
            struct core_span value;
            if (redis_key_read(pairs->items[j + 1]->text, &type, &value)) {
                on_change(ctx, pairs->items[j]->text, type, value);
            }
        }
    }
}

struct telling {
    struct build *build;
    size_t answer;
};

/* Words of the domains that are new: asked for in the order in which they will be told. */
static void change_ask(void *ctx, struct core_span verb, enum core_indicator type, struct core_span value) {
    const struct telling *telling = ctx;
    char key[REDIS_KEY_MAX];
    if (type == CORE_INDICATOR_DOMAIN && core_span_is(verb, "add")) {
        redis_command(telling->build->on, 2);
        redis_word(telling->build->on, CORE_SPAN("HVALS"));
        redis_word(telling->build->on, redis_key(telling->build->redis, key, type, value));
    }
}

static void change_tell(void *ctx, struct core_span verb, enum core_indicator type, struct core_span value) {
    struct telling *telling = ctx;
    const struct store_changes *calls = telling->build->calls;
    if (core_span_is(verb, "add")) {
        bool is_asked = type == CORE_INDICATOR_DOMAIN;
        bool subdomains =
            is_asked && means_subdomains(telling->build, redis_answer(telling->build->on, telling->answer++));
        calls->on_add(calls->ctx, type, value, subdomains);
    } else if (core_span_is(verb, "remove")) {
        calls->on_remove(calls->ctx, type, value);
    } else if (core_span_is(verb, "allow") || core_span_is(verb, "unallow")) {
        calls->on_allow(calls->ctx, type, value, core_span_is(verb, "allow"));
    } /* "change": another word about an indicator that is known; verbs of later versions */
}

/* Not "no": a word that is refused (a replica without its primary, a right that was taken away) may yet name subdomains. */
static enum core_err words_judge(const struct redis *on, struct core_fail *fail) {
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < redis_asked(on) && err == CORE_OK; i++) {
        const struct redis_reply *reply = redis_answer(on, i);
        err = redis_is_foreign(reply) ? CORE_OK : redis_refused(on, reply, fail);
    }
    return err;
}

/* Ask for what must be asked, tell, and move the cursor. */
static enum core_err entries_tell(struct build *build, const struct redis_reply *entries, struct store_cursor *cursor,
                                  struct core_fail *fail) {
    struct telling telling = {.build = build};
    redis_continue(build->on);
    changes_walk(entries, &telling, change_ask);
    enum core_err err = exchange(build->on, REDIS_WALK_NS, fail);
    err = err == CORE_OK ? words_judge(build->on, fail) : err; /* of all, before anybody is told */
    if (err != CORE_OK) {
        return err;
    }
    core_arena_reset(&build->redis->scratch, CORE_MIB);
    changes_walk(entries, &telling, change_tell);
    const struct redis_reply *last = entries->items[entries->len - 1];
    if (!entry_is_good(last) || last->items[0]->text.len >= sizeof cursor->id) {
        return core_fail_set(fail, CORE_BAD, redis_where(build->on),
                             "an entry of the stream of changes cannot be read");
    }
    memcpy(cursor->id, last->items[0]->text.ptr, last->items[0]->text.len + 1);
    return CORE_OK;
}

/* Up to entries_max entries behind the cursor, and only such as may be believed. *entries NULL: there are none. */
static enum core_err changes_read(const struct build *build, struct store_cursor *cursor, int timeout_ms,
                                  const struct redis_reply **entries, struct core_fail *fail) {
    struct redis *on = build->on;
    int64_t wait_ns = timeout_ms * CORE_NS_PER_MS + (timeout_ms > 0 ? GRACE_NS : REDIS_WALK_NS);
    *entries = NULL;
    changes_ask(build->redis, on, cursor, timeout_ms);
    enum core_err err = exchange(on, wait_ns, fail);
    if (err == CORE_NET && redis_has_another(on)) { /* this one hangs: the other, before anybody is told */
        changes_ask(build->redis, on, cursor, 0);
        err = exchange(on, REDIS_WALK_NS, fail);
    }
    err = err == CORE_OK ? changes_judge(on, cursor, fail) : err;
    if (err == CORE_OK) {
        *entries = entries_of(redis_answer(on, CHANGES_ENTRIES));
    }
    return err;
}

/* How many entries next time, after a read that ended so. */
static void entries_adapt(struct redis_store *redis, enum core_err err) {
    if (err == CORE_NET || err == CORE_LIMIT) {
        redis->entries_max = redis->entries_max > 1 ? redis->entries_max / 2 : 1;
    } else if (err == CORE_OK && redis->entries_max < ENTRIES_MAX) {
        redis->entries_max++;
    }
}

enum core_err redis_follow(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                           int timeout_ms, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    struct build build = {redis, redis->follow, calls};
    const struct redis_reply *entries;
    bool has_told = false;
    redis->entries_max = redis->entries_max == 0 ? ENTRIES_MAX : redis->entries_max;
    enum core_err err = changes_read(&build, cursor, timeout_ms, &entries, fail);
    while (err == CORE_OK && entries != NULL && entries->len > 0) {
        bool may_be_more = entries->len >= redis->entries_max; /* its answer is gone when the next question is asked */
        err = entries_tell(&build, entries, cursor, fail);
        has_told = true;
        if (err != CORE_OK || !may_be_more) {
            break;
        }
        if (!goes_on(calls)) {
            return ended(build.on, fail);
        }
        entries_adapt(redis, err);
        err = changes_read(&build, cursor, 0, &entries, fail);
    }
    entries_adapt(redis, err);
    return err != CORE_OK ? err : has_told ? CORE_OK : CORE_AGAIN;
}
