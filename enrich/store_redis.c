/* enrich/store_redis.c: indicators in Redis: opening, looking up, walking.
 *
 * An indicator is one hash, <prefix>TYPE:VALUE; a field of it is FEED/PROVIDER, and its value what that provider says, as
 * JSON. So one provider's word is put and taken back without reading the others', the key expires as a whole when the last
 * word has, and looking up is one HGETALL. docs/reference/intel.rst has all of it.
 *
 * A store has two connections. One that reads has them for two threads: one asks (get), the other follows (count, build,
 * follow, walk). One that writes walks on the second, so that what a walk finds can be taken back, and a lease renewed, while
 * it goes on; all else is on the first. Nothing is connected before it is needed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/store_redis_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define SCRATCH_BYTES (64 * CORE_MIB)
#define SCRATCH_BYTES_KEPT CORE_MIB
#define SCAN_COUNT "1000"
#define SCAN_CURSOR_BYTES 32
#define SHOWN_BYTES 128

void redis_random(char *out, size_t len) {
    unsigned char bytes[64];
    MUST(len <= sizeof bytes);
    MUST(getrandom(bytes, len, 0) == (ssize_t)len);
    for (size_t i = 0; i < len; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

/* ---- names ----------------------------------------------------------------------------------------------------------------- */

const char *redis_name(const struct redis_store *redis, char out[REDIS_NAME_MAX], const char *name, const char *more) {
    int len = snprintf(out, REDIS_NAME_MAX, "%s%s%s", redis->prefix, name, more);
    MUST(len > 0 && len < REDIS_NAME_MAX);
    return out;
}

struct core_span redis_key(const struct redis_store *redis, char out[REDIS_KEY_MAX], enum core_indicator type,
                           struct core_span value) {
    struct core_buf buf = {.start = out, .pos = out, .end = out + REDIS_KEY_MAX};
    core_buf_put(&buf, redis->prefix, redis->prefix_len);
    core_buf_span(&buf, core_span_of(core_indicator_word(type)));
    core_buf_char(&buf, ':');
    core_buf_span(&buf, value);
    MUST(!buf.is_full);
    return core_buf_written(&buf);
}

bool redis_key_read(struct core_span text, enum core_indicator *type, struct core_span *value) {
    const char *colon = core_span_chr(text, ':');
    if (colon == NULL) {
        return false;
    }
    size_t word_len = (size_t)(colon - text.ptr);
    *type = core_indicator_of((struct core_span){text.ptr, word_len});
    *value = (struct core_span){colon + 1, text.len - word_len - 1};
    return *type != CORE_INDICATOR_NONE && value->len > 0 && value->len <= ENRICH_VALUE_BYTES_MAX;
}

/* ---- what is found --------------------------------------------------------------------------------------------------------- */

bool redis_is_foreign(const struct redis_reply *reply) {
    return reply->type == REDIS_ERROR && core_span_starts(reply->text, CORE_SPAN("WRONGTYPE"));
}

/* What others wrote and we cannot read: said, and left out, for one bad word must not make all the others silent. */
static void left_out(const struct enrich_found *found, struct core_span field, const char *why) {
    char value[SHOWN_BYTES], name[SHOWN_BYTES];
    source_show(found->value, value, sizeof value);
    source_show(field, name, sizeof name);
    core_log(CORE_LEVEL_WARN, "enrich", "a word in Redis cannot be read, and is left out",
             "type=%s value=\"%s\" field=\"%s\" why=\"%s\"", core_indicator_word(found->type), value, name, why);
}

/* The providers of an answer to HGETALL that hold at now_s. A field that cannot be read is left out, and said. */
static enum core_err found_read(const struct redis *on, struct store_said_reader *reader,
                                const struct redis_reply *reply, int64_t now_s, struct core_arena *arena,
                                struct enrich_found *found, struct core_fail *fail) {
    if (redis_is_foreign(reply)) {
        left_out(found, (struct core_span){NULL, 0}, "the key is no hash, see intel.redis.prefix");
        return CORE_OK;
    }
    enum core_err err = redis_refused(on, reply, fail);
    if (err != CORE_OK) {
        return err;
    }
    size_t len = reply->type == REDIS_ARRAY ? reply->len / 2 : 0, kept = 0;
    len = len > ENRICH_PROVIDERS_MAX ? ENRICH_PROVIDERS_MAX : len;
    struct enrich_provider *said = len == 0 ? NULL : core_arena_alloc(arena, len * sizeof *said);
    if (len > 0 && said == NULL) {
        return core_fail_set(fail, CORE_LIMIT, redis_where(on), "what is known does not fit into %zu bytes",
                             arena->cap);
    }
    for (size_t i = 0; i < len; i++) {
        struct core_fail why;
        struct core_span field = reply->items[2 * i]->text;
        err = store_said_read(reader, field, reply->items[2 * i + 1]->text, arena, &said[kept], &why);
        if (err == CORE_BAD) {
            left_out(found, field, why.text);
            continue;
        }
        if (err != CORE_OK) {
            return core_fail_set(fail, err, why.where, "%s", why.text);
        }
        kept += said[kept].expires == 0 || said[kept].expires > now_s;
    }
    store_said_sort(said, kept);
    found->providers = said;
    found->providers_len = kept;
    return CORE_OK;
}

static enum core_err redis_ask_connect(struct enrich_store *store, int timeout_ms, struct core_fail *fail) {
    return redis_connect(redis_store_of(store)->ask, core_tick_ns() + timeout_ms * CORE_NS_PER_MS, fail);
}

static enum core_err redis_get(struct enrich_store *store, struct enrich_found *found, size_t len,
                               struct core_arena *arena, int timeout_ms, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    int64_t deadline_ns = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    char key[REDIS_KEY_MAX];
    redis_begin(redis->ask);
    for (size_t i = 0; i < len; i++) {
        redis_command(redis->ask, 2);
        redis_word(redis->ask, CORE_SPAN("HGETALL"));
        redis_word(redis->ask, redis_key(redis, key, found[i].type, found[i].value));
    }
    enum core_err err = redis_exchange(redis->ask, deadline_ns, fail);
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        err = found_read(redis->ask, redis->ask_reader, redis_answer(redis->ask, i), now_s, arena, &found[i], fail);
    }
    return err;
}

/* ---- walking --------------------------------------------------------------------------------------------------------------- */

/* The prefix as a pattern: what would mean something in it is escaped. */
static void pattern_of(const char *prefix, char out[2 * REDIS_PREFIX_MAX + 2]) {
    size_t len = 0;
    for (; *prefix != '\0'; prefix++) {
        if (strchr("*?[]\\^", *prefix) != NULL) {
            out[len++] = '\\';
        }
        out[len++] = *prefix;
    }
    out[len++] = '*';
    out[len] = '\0';
}

void redis_scan_ask(const struct redis_store *redis, struct redis *on, const char *cursor, const char *count) {
    char pattern[2 * REDIS_PREFIX_MAX + 2];
    pattern_of(redis->prefix, pattern);
    REDIS_ASK(on, "SCAN", cursor, "MATCH", pattern, "COUNT", count);
}

enum core_err redis_scan_read(const struct redis *on, const struct redis_reply *reply, char cursor[32],
                              const struct redis_reply **keys, struct core_fail *fail) {
    enum core_err err = redis_refused(on, reply, fail);
    if (err != CORE_OK) {
        return err;
    }
    if (reply->type != REDIS_ARRAY || reply->len != 2 || reply->items[0]->type != REDIS_STRING ||
        reply->items[1]->type != REDIS_ARRAY || reply->items[0]->text.len >= SCAN_CURSOR_BYTES) {
        return core_fail_set(fail, CORE_BAD, redis_where(on), "the answer to SCAN is none; is this Redis?");
    }
    snprintf(cursor, SCAN_CURSOR_BYTES, "%s", reply->items[0]->text.ptr);
    *keys = reply->items[1];
    return CORE_OK;
}

struct walk {
    struct redis_store *redis;
    struct redis *on;
    bool wants_providers;
    bool (*on_found)(void *ctx, const struct enrich_found *found);
    void *ctx;
    bool is_ended;
};

/* The indicators among the keys of a page. */
static struct enrich_found *page_read(struct walk *walk, const struct redis_reply *keys, size_t *len) {
    struct core_arena *arena = &walk->redis->scratch;
    size_t prefix_len = walk->redis->prefix_len;
    struct enrich_found *found = core_arena_alloc(arena, (keys->len + 1) * sizeof *found);
    MUST(found != NULL); /* a page is far smaller than the scratch */
    *len = 0;
    for (size_t i = 0; i < keys->len; i++) {
        struct core_span key = keys->items[i]->text;
        struct enrich_found *now = &found[*len];
        *now = (struct enrich_found){0};
        if (key.len < prefix_len ||
            !redis_key_read((struct core_span){key.ptr + prefix_len, key.len - prefix_len}, &now->type, &now->value)) {
            continue; /* a key that is no indicator's */
        }
        (*len)++;
    }
    return found;
}

static enum core_err page_tell(struct walk *walk, struct enrich_found *found, size_t len, struct core_fail *fail) {
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < len && err == CORE_OK && !walk->is_ended; i++) {
        if (walk->wants_providers) {
            err = found_read(walk->on, walk->redis->follow_reader, redis_answer(walk->on, i + 1), now_s,
                             &walk->redis->scratch, &found[i], fail);
        }
        if (err == CORE_OK && (!walk->wants_providers || found[i].providers_len > 0)) {
            walk->is_ended = !walk->on_found(walk->ctx, &found[i]);
        }
    }
    return err;
}

/* Page after page: the exchange that asks for the words of one page asks for the next page, too. */
static enum core_err redis_walk(struct enrich_store *store, bool wants_providers,
                                bool (*on_found)(void *ctx, const struct enrich_found *found), void *ctx,
                                struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    struct walk walk = {redis, redis->follow, wants_providers, on_found, ctx, false};
    char cursor[SCAN_CURSOR_BYTES] = "0", key[REDIS_KEY_MAX];
    const struct redis_reply *keys = NULL;
    bool is_last = false;
    redis_begin(walk.on);
    redis_scan_ask(redis, walk.on, cursor, SCAN_COUNT);
    enum core_err err = redis_exchange(walk.on, core_tick_ns() + REDIS_WALK_NS, fail);
    while (err == CORE_OK && !is_last && !walk.is_ended) {
        size_t len;
        err = redis_scan_read(walk.on, redis_answer(walk.on, 0), cursor, &keys, fail);
        if (err != CORE_OK) {
            break;
        }
        is_last = strcmp(cursor, "0") == 0;
        core_arena_reset(&redis->scratch, SCRATCH_BYTES_KEPT);
        struct enrich_found *found = page_read(&walk, keys, &len);
        redis_continue(walk.on);
        redis_scan_ask(redis, walk.on, cursor, is_last ? "1" : SCAN_COUNT); /* the last one's answer is not used */
        for (size_t i = 0; i < len && wants_providers; i++) {
            redis_command(walk.on, 2);
            redis_word(walk.on, CORE_SPAN("HGETALL"));
            redis_word(walk.on, redis_key(redis, key, found[i].type, found[i].value));
        }
        err = redis_exchange(walk.on, core_tick_ns() + REDIS_WALK_NS, fail);
        err = err == CORE_OK ? page_tell(&walk, found, len, fail) : err;
    }
    return err == CORE_AGAIN ? CORE_NET : err;
}

static enum core_err redis_allowed(struct enrich_store *store,
                                   bool (*on_allowed)(void *ctx, enum core_indicator type, struct core_span value),
                                   void *ctx, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    struct redis *on = redis->follow;
    char name[REDIS_NAME_MAX];
    redis_begin(on);
    REDIS_ASK(on, "SMEMBERS", redis_name(redis, name, "allow", ""));
    enum core_err err = redis_exchange(on, core_tick_ns() + REDIS_WALK_NS, fail);
    if (err != CORE_OK) {
        return err;
    }
    const struct redis_reply *members = redis_answer(on, 0);
    err = redis_refused(on, members, fail);
    for (size_t i = 0; err == CORE_OK && i < members->len; i++) {
        enum core_indicator type;
        struct core_span value;
        if (redis_key_read(members->items[i]->text, &type, &value) && !on_allowed(ctx, type, value)) {
            break;
        }
    }
    return err;
}

/* All keys of the database: a few of them are no indicators, and those of others count, too. */
static enum core_err redis_count(struct enrich_store *store, uint64_t *items, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    struct redis *on = redis->follow;
    redis_begin(on);
    REDIS_ASK(on, "DBSIZE");
    enum core_err err = redis_exchange(on, core_tick_ns() + REDIS_WALK_NS, fail);
    err = err == CORE_OK ? redis_refused(on, redis_answer(on, 0), fail) : err;
    *items = err == CORE_OK ? (uint64_t)redis_answer(on, 0)->integer : 0;
    return err;
}

/* ---- opening ---------------------------------------------------------------------------------------------------------------- */

static void redis_close(struct enrich_store *store) {
    struct redis_store *redis = redis_store_of(store);
    redis_free(redis->ask);
    redis_free(redis->follow);
    redis_chunk_free(redis->chunk);
    store_said_reader_free(redis->ask_reader);
    store_said_reader_free(redis->follow_reader);
    core_arena_destroy(&redis->scratch);
    free(redis);
}

enum core_err enrich_redis_check(const struct enrich_redis_conf *conf, struct core_fail *fail) {
    struct redis_url url;
    enum core_err err = CORE_OK;
    for (size_t i = 0; i < conf->urls.len && err == CORE_OK; i++) {
        err = redis_url_read(conf->urls.items[i].value, &url, fail);
    }
    if (err == CORE_OK && conf->username != NULL && conf->password == NULL) {
        err = core_fail_set(fail, CORE_BAD, "intel.redis.username", "it is given without intel.redis.password");
    }
    if (err == CORE_OK && (conf->cert_file == NULL) != (conf->key_file == NULL)) {
        err = core_fail_set(fail, CORE_BAD, conf->cert_file != NULL ? "intel.redis.cert_file" : "intel.redis.key_file",
                            "cert_file and key_file go together; one is missing");
    }
    if (err == CORE_OK && conf->prefix != NULL &&
        (conf->prefix[0] == '\0' || strlen(conf->prefix) > REDIS_PREFIX_MAX)) {
        err = core_fail_set(fail, CORE_BAD, "intel.redis.prefix", "it has 1 to %d bytes, \"intel:\" for one",
                            REDIS_PREFIX_MAX);
    }
    return err;
}

static void redis_where_words(const struct enrich_store *store, char *out, size_t len) {
    const struct redis_store *redis = redis_store_of((struct enrich_store *)store);
    (void)snprintf(out, len, "%s, prefix %s", redis_where(redis->follow), redis->prefix);
}

static const struct store_ops redis_ops = {.name = "redis",
                                           .where = redis_where_words,
                                           .close = redis_close,
                                           .connect = redis_ask_connect,
                                           .get = redis_get,
                                           .put = redis_put,
                                           .remove = redis_remove,
                                           .remove_said = redis_remove_said,
                                           .flush = redis_flush,
                                           .forget = redis_forget,
                                           .allow = redis_allow,
                                           .walk = redis_walk,
                                           .count = redis_count,
                                           .now = redis_now,
                                           .build = redis_build,
                                           .follow = redis_follow,
                                           .allowed = redis_allowed,
                                           .extra = &redis_extra};

enum core_err store_redis_open(struct enrich_store **out, const struct enrich_redis_conf *conf, bool is_writer,
                               int stop_fd, struct core_fail *fail) {
    struct redis_store *redis = calloc(1, sizeof *redis);
    MUST(redis != NULL);
    redis->store = (struct enrich_store){.magic = ENRICH_STORE_MAGIC, .ops = &redis_ops};
    redis->prefix = conf->prefix == NULL ? "intel:" : conf->prefix;
    redis->prefix_len = strlen(redis->prefix);
    redis->ask_reader = store_said_reader_new();
    redis->follow_reader = store_said_reader_new();
    enum core_err err = core_arena_init(&redis->scratch, SCRATCH_BYTES, fail);
    err = err == CORE_OK ? enrich_redis_check(conf, fail) : err;
    err = err == CORE_OK ? redis_new(&redis->ask, conf, is_writer, fail) : err;
    err = err == CORE_OK ? redis_new(&redis->follow, conf, is_writer, fail) : err;
    if (err == CORE_OK && is_writer) {
        redis->chunk = redis_chunk_new();
    }
    if (err != CORE_OK) {
        redis_close(&redis->store);
        return err;
    }
    redis_stop_by(redis->ask, stop_fd);
    redis_stop_by(redis->follow, stop_fd);
    *out = &redis->store;
    return CORE_OK;
}
