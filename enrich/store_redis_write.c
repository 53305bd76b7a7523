/* enrich/store_redis_write.c: changes of indicators in Redis.
 *
 * put() and remove() gather up to REDIS_CHUNK_MAX keys: a chunk. It goes to Redis in two exchanges:
 *
 *   WATCH, HGETALL of every key        what is said now, and a word from Redis should somebody change it meanwhile (see
 *                                      chunk_watch(): which of the two is watched, the stream or the keys)
 *   MULTI … EXEC                       only what differs: HSET, HDEL, EXPIREAT or PERSIST, and one XADD with all of it
 *
 * If somebody did, EXEC does nothing, and the chunk is begun again. So a chunk is in effect whole or not at all, whatever
 * dies; a feed that says the same again changes nothing, and the stream of changes has only changes. No script is needed,
 * so an ACL without EVAL will do.
 * After an error the chunk is kept: the next flush() tries it again, and finds done what was done. Who gives up says so by
 * forget(), or the next one to use the store would write it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/store_redis_internal.h"

#include <stdlib.h>

#define CHUNK_ARENA_BYTES (32 * CORE_MIB)
#define CHUNK_BYTES_MAX ((size_t)2 * CORE_MIB) /* then it is sent, though it has few keys */
#define CHUNK_SLOTS (4 * (size_t)REDIS_CHUNK_MAX)
#define TRIES_MAX 20
#define EPOCH_BYTES 16
#define FIELD_BYTES_MAX 1200

/* One put() or remove(). */
struct op {
    struct op *next; /* of the same key, in the order of the calls */
    struct core_span field;
    struct core_span json; /* ptr NULL: take it back */
    bool is_feed;          /* take back every provider of the feed `field` */
    bool is_of_id;         /* take it back if it is said under this id */
    struct core_span id;   /* empty: under none */
    int64_t expires;
    bool subdomains;
};

struct key {
    struct core_span name;
    struct core_span word; /* "type:value", the end of name */
    enum core_indicator type;
    struct op *first;
    struct op *last;
};

/* What is said of a key after the chunk. */
struct word {
    struct core_span field;
    struct core_span json;
    bool is_new; /* HSET */
    bool is_off; /* HDEL */
    bool was_there;
    int64_t expires;
    bool subdomains;
};

struct redis_chunk {
    struct core_arena arena; /* the keys and ops */
    struct core_arena work;  /* while it is sent */
    struct key keys[REDIS_CHUNK_MAX];
    size_t len;
    uint16_t slots[CHUNK_SLOTS]; /* 1 + place in keys; 0: empty */
    /* What the transaction now made would count as. */
    uint64_t put, same, removed, refused;
};

struct redis_chunk *redis_chunk_new(void) {
    struct redis_chunk *chunk = calloc(1, sizeof *chunk);
    struct core_fail fail;
    MUST(chunk != NULL);
    MUST(core_arena_init(&chunk->arena, CHUNK_ARENA_BYTES, &fail) == CORE_OK);
    MUST(core_arena_init(&chunk->work, CHUNK_ARENA_BYTES, &fail) == CORE_OK);
    return chunk;
}

void redis_chunk_free(struct redis_chunk *chunk) {
    if (chunk != NULL) {
        core_arena_destroy(&chunk->arena);
        core_arena_destroy(&chunk->work);
        free(chunk);
    }
}

static void chunk_clear(struct redis_chunk *chunk) {
    chunk->len = 0;
    memset(chunk->slots, 0, sizeof chunk->slots);
    core_arena_reset(&chunk->arena, CHUNK_BYTES_MAX);
}

static struct core_span copy(struct core_arena *arena, struct core_span text) {
    const char *bytes = core_arena_copy(arena, text);
    MUST(bytes != NULL); /* a chunk is sent long before its arena is full */
    return (struct core_span){bytes, text.len};
}

/* The chunk's key, made if it is a new one. */
static struct key *key_of(struct redis_store *redis, enum core_indicator type, struct core_span value) {
    struct redis_chunk *chunk = redis->chunk;
    char text[REDIS_KEY_MAX];
    struct core_span name = redis_key(redis, text, type, value);
    size_t at = (size_t)core_hash64(name.ptr, name.len, 0) % CHUNK_SLOTS;
    while (chunk->slots[at] != 0) {
        struct key *key = &chunk->keys[chunk->slots[at] - 1];
        if (core_span_eq(key->name, name)) {
            return key;
        }
        at = (at + 1) % CHUNK_SLOTS;
    }
    MUST(chunk->len < REDIS_CHUNK_MAX);
    struct key *key = &chunk->keys[chunk->len++];
    size_t prefix_len = redis->prefix_len;
    *key = (struct key){.name = copy(&chunk->arena, name), .type = type};
    key->word = (struct core_span){key->name.ptr + prefix_len, name.len - prefix_len};
    chunk->slots[at] = (uint16_t)chunk->len;
    return key;
}

/* Add to the chunk, and send it when it is full. */
static enum core_err op_add(struct redis_store *redis, struct key *key, const struct op *op, struct core_fail *fail) {
    struct redis_chunk *chunk = redis->chunk;
    struct op *kept = core_arena_alloc(&chunk->arena, sizeof *kept);
    MUST(kept != NULL);
    *kept = *op;
    kept->field = copy(&chunk->arena, op->field);
    if (op->json.ptr != NULL) {
        kept->json = copy(&chunk->arena, op->json);
    }
    if (op->id.len > 0) {
        kept->id = copy(&chunk->arena, op->id);
    }
    if (key->last == NULL) {
        key->first = kept;
    } else {
        key->last->next = kept;
    }
    key->last = kept;
    return chunk->len == REDIS_CHUNK_MAX || chunk->arena.used > CHUNK_BYTES_MAX ? redis_flush(&redis->store, fail)
                                                                                : CORE_OK;
}

/* A chunk that could not be sent must be before it takes more. */
static enum core_err room(struct redis_store *redis, struct core_fail *fail) {
    MUST(redis->chunk != NULL); /* opened as a writer */
    bool is_full = redis->chunk->len == REDIS_CHUNK_MAX || redis->chunk->arena.used > CHUNK_BYTES_MAX;
    return is_full ? redis_flush(&redis->store, fail) : CORE_OK;
}

static struct core_span field_of(char out[FIELD_BYTES_MAX], const char *feed, const char *provider) {
    provider = provider == NULL || provider[0] == '\0' ? feed : provider;
    struct core_buf buf = {.start = out, .pos = out, .end = out + FIELD_BYTES_MAX};
    core_buf_span(&buf, core_span_of(feed));
    core_buf_char(&buf, '/');
    size_t len = strlen(provider), room = (size_t)(buf.end - buf.pos); /* a provider's name is cut, not refused */
    core_buf_put(&buf, provider, len < room ? len : room);
    return core_buf_written(&buf);
}

enum core_err redis_put(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char field[FIELD_BYTES_MAX], json[STORE_SAID_BYTES_MAX];
    struct core_buf buf = {.start = json, .pos = json, .end = json + sizeof json};
    enum core_err err = room(redis, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct op op = {.field = field_of(field, item->said.feed, item->said.provider),
                    .expires = item->said.expires,
                    .subdomains = item->said.subdomains};
    store_said_write(&buf, &item->said);
    MUST(!buf.is_full); /* enrich_item_check() */
    bool is_past = item->said.expires != 0 && item->said.expires <= core_now_ns() / CORE_NS_PER_S;
    op.json = is_past ? (struct core_span){NULL, 0} : core_buf_written(&buf); /* what is over is taken back */
    return op_add(redis, key_of(redis, item->type, item->value), &op, fail);
}

enum core_err redis_remove(struct enrich_store *store, enum core_indicator type, struct core_span value,
                           const char *feed, const char *provider, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char field[FIELD_BYTES_MAX];
    enum core_err err = room(redis, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct op op = {.is_feed = provider == NULL};
    op.field = op.is_feed ? core_span_of(feed) : field_of(field, feed, provider);
    return op_add(redis, key_of(redis, type, value), &op, fail);
}

enum core_err redis_remove_said(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char field[FIELD_BYTES_MAX];
    enum core_err err = room(redis, fail);
    if (err != CORE_OK) {
        return err;
    }
    struct op op = {.field = field_of(field, item->said.feed, item->said.provider),
                    .is_of_id = true,
                    .id = item->said.id == NULL ? CORE_SPAN("") : core_span_of(item->said.id)};
    return op_add(redis, key_of(redis, item->type, item->value), &op, fail);
}

/* ---- a transaction ---------------------------------------------------------------------------------------------------------- */

struct change {
    struct redis_store *redis;
    struct redis *on;
    int64_t now_s;
    struct word words[2 * ENRICH_PROVIDERS_MAX + 2];
    size_t len;
    size_t told; /* words of the XADD: verb and key of each */
    struct core_span *tell;
    bool sets_expiry;
};

/* expires and subdomains of a word; what cannot be read does not expire, and names no subdomains. */
static void word_read(struct change *change, struct word *word) {
    struct enrich_provider said;
    struct core_fail fail;
    struct core_arena *work = &change->redis->chunk->work;
    size_t used = work->used;
    if (store_said_read(change->redis->follow_reader, word->field, word->json, work, &said, &fail) == CORE_OK) {
        word->expires = said.expires;
        word->subdomains = said.subdomains;
    }
    work->used = used; /* only the two numbers were wanted */
}

static struct word *word_find(struct change *change, struct core_span field) {
    for (size_t i = 0; i < change->len; i++) {
        if (core_span_eq(change->words[i].field, field)) {
            return &change->words[i];
        }
    }
    return NULL;
}

static bool is_of_feed(struct core_span field, struct core_span feed) {
    return core_span_starts(field, feed) && (field.len == feed.len || field.ptr[feed.len] == '/');
}

static size_t words_standing(const struct change *change) {
    size_t standing = 0;
    for (size_t i = 0; i < change->len; i++) {
        standing += !change->words[i].is_off;
    }
    return standing;
}

static void op_put(struct change *change, const struct op *op) {
    struct redis_chunk *chunk = change->redis->chunk;
    struct word *word = word_find(change, op->field);
    if (word != NULL && !word->is_off && core_span_eq(word->json, op->json)) {
        chunk->same++;
        return;
    }
    if (word == NULL && (words_standing(change) >= ENRICH_PROVIDERS_MAX ||
                         change->len >= sizeof change->words / sizeof change->words[0])) {
        chunk->refused++;
        return;
    }
    word = word != NULL ? word : &change->words[change->len++];
    bool was_there = word->field.ptr != NULL && word->was_there;
    *word = (struct word){.field = op->field,
                          .json = op->json,
                          .is_new = true,
                          .was_there = was_there,
                          .expires = op->expires,
                          .subdomains = op->subdomains};
    chunk->put++;
}

/* Is the word said under this id? One that cannot be read is under none that we know. */
static bool has_id(const struct change *change, const struct word *word, struct core_span id) {
    struct enrich_provider said;
    struct core_fail fail;
    struct core_arena *work = &change->redis->chunk->work;
    size_t used = work->used;
    bool is_same =
        store_said_read(change->redis->follow_reader, word->field, word->json, work, &said, &fail) == CORE_OK &&
        core_span_eq(said.id == NULL ? CORE_SPAN("") : core_span_of(said.id), id);
    work->used = used;
    return is_same;
}

static void op_remove(struct change *change, const struct op *op) {
    for (size_t i = 0; i < change->len; i++) {
        struct word *word = &change->words[i];
        bool is_meant = op->is_feed ? is_of_feed(word->field, op->field) : core_span_eq(word->field, op->field);
        if (is_meant && !word->is_off && (!op->is_of_id || has_id(change, word, op->id))) {
            word->is_off = true;
            word->is_new = false;
            change->redis->chunk->removed++;
        }
    }
}

/* What a key says together: when it ends (0: never), whether it names subdomains, whether it says anything. */
struct sum {
    size_t standing;
    int64_t expires;
    bool subdomains;
};

static struct sum sum_of(const struct change *change) {
    struct sum sum = {0};
    bool is_forever = false;
    for (size_t i = 0; i < change->len; i++) {
        const struct word *word = &change->words[i];
        if (!word->is_off) {
            sum.standing++;
            sum.subdomains = sum.subdomains || word->subdomains;
            is_forever = is_forever || word->expires == 0;
            sum.expires = word->expires > sum.expires ? word->expires : sum.expires;
        }
    }
    sum.expires = is_forever ? 0 : sum.expires;
    return sum;
}

static void words_load(struct change *change, const struct redis_reply *reply) {
    change->len = 0;
    memset(change->words, 0, sizeof change->words);
    for (size_t i = 0; i + 1 < reply->len && change->len < ENRICH_PROVIDERS_MAX; i += 2) {
        struct word *word = &change->words[change->len++];
        *word = (struct word){.field = reply->items[i]->text, .json = reply->items[i + 1]->text, .was_there = true};
        word_read(change, word);
    }
}

/* What is put comes first: a key that had nothing for a moment would have lost its expiry. */
static void words_write(const struct change *change, const struct key *key) {
    struct redis *on = change->on;
    for (size_t i = 0; i < change->len; i++) {
        const struct word *word = &change->words[i];
        if (word->is_new) {
            redis_command(on, 4);
            redis_word(on, CORE_SPAN("HSET"));
            redis_word(on, key->name);
            redis_word(on, word->field);
            redis_word(on, word->json);
        }
    }
    for (size_t i = 0; i < change->len; i++) {
        const struct word *word = &change->words[i];
        if (word->is_off && word->was_there) {
            redis_command(on, 3);
            redis_word(on, CORE_SPAN("HDEL"));
            redis_word(on, key->name);
            redis_word(on, word->field);
        }
    }
}

/* When it ends is said with every change of a key that was there, though it is the same as a rule: who wrote it by hand may
 * have forgotten it. */
static void key_write(struct change *change, const struct key *key, bool is_new, const struct sum *after) {
    struct redis *on = change->on;
    words_write(change, key);
    if (after->standing > 0 && after->expires != 0) {
        change->sets_expiry = true;
        redis_command(on, 3);
        redis_word(on, CORE_SPAN("EXPIREAT"));
        redis_word(on, key->name);
        redis_word_u64(on, (uint64_t)after->expires);
    } else if (after->standing > 0 && !is_new) {
        redis_command(on, 2);
        redis_word(on, CORE_SPAN("PERSIST"));
        redis_word(on, key->name);
    }
}

/* One key's part of the transaction. */
static void key_change(struct change *change, const struct key *key, const struct redis_reply *reply) {
    if (redis_is_foreign(reply)) { /* another program's key: it is not ours to change */
        change->redis->chunk->refused++;
        return;
    }
    words_load(change, reply);
    struct sum before = sum_of(change);
    for (const struct op *op = key->first; op != NULL; op = op->next) {
        if (op->json.ptr != NULL) {
            op_put(change, op);
        } else {
            op_remove(change, op);
        }
    }
    bool is_changed = false;
    for (size_t i = 0; i < change->len; i++) {
        struct word *word = &change->words[i];
        is_changed = is_changed || word->is_new || (word->is_off && word->was_there);
    }
    if (!is_changed) {
        return;
    }
    for (size_t i = 0; i < change->len; i++) { /* what was over already goes with it */
        struct word *word = &change->words[i];
        word->is_off =
            word->is_off || (word->was_there && !word->is_new && word->expires != 0 && word->expires <= change->now_s);
    }
    struct sum after = sum_of(change);
    key_write(change, key, before.standing == 0, &after);
    bool is_new = before.standing == 0 || (after.subdomains && !before.subdomains);
    change->tell[change->told++] = after.standing == 0 ? CORE_SPAN("remove")
                                   : is_new            ? CORE_SPAN("add")
                                                       : CORE_SPAN("change");
    change->tell[change->told++] = key->word;
}

/* What every change begins with: MULTI, and an epoch if there is none. */
static void change_begin(const struct redis_store *redis, struct redis *on) {
    char name[REDIS_NAME_MAX], epoch[2 * EPOCH_BYTES + 1];
    redis_random(epoch, EPOCH_BYTES);
    REDIS_ASK(on, "MULTI");
    REDIS_ASK(on, "SET", redis_name(redis, name, "epoch", ""), epoch, "NX");
}

static void stream_add(const struct redis_store *redis, struct redis *on, const struct core_span *tell, size_t len) {
    char name[REDIS_NAME_MAX];
    redis_command(on, 6 + len);
    redis_word(on, CORE_SPAN("XADD"));
    redis_word(on, core_span_of(redis_name(redis, name, "changes", "")));
    redis_word(on, CORE_SPAN("MAXLEN"));
    redis_word(on, CORE_SPAN("~"));
    redis_word_u64(on, REDIS_CHANGES_MAX);
    redis_word(on, CORE_SPAN("*"));
    for (size_t i = 0; i < len; i++) {
        redis_word(on, tell[i]);
    }
}

/* Send MULTI … EXEC. CORE_AGAIN: somebody changed one of the keys meanwhile. */
static enum core_err transact(struct redis *on, struct core_fail *fail) {
    REDIS_ASK(on, "EXEC");
    enum core_err err = redis_exchange(on, core_tick_ns() + REDIS_WRITE_NS, fail);
    if (err == CORE_AGAIN) { /* not in time */
        return CORE_NET;
    }
    err = err == CORE_OK ? redis_refused_any(on, fail) : err; /* a command that was not let in says why */
    if (err != CORE_OK) {
        return err;
    }
    const struct redis_reply *done = redis_answer(on, redis_asked(on) - 1);
    if (done->type == REDIS_NIL) {
        return core_fail_set(fail, CORE_AGAIN, redis_where(on), "somebody changed the same indicators meanwhile");
    }
    for (size_t i = 0; i < done->len && err == CORE_OK; i++) {
        err = redis_refused(on, done->items[i], fail);
    }
    return err;
}

/* Who changes an indicator says so in the stream, so watching the stream is enough to see tapline's other writers, and costs
 * the server nothing; watching 512 keys costs it more than all the rest (ADR 0030). The keys are watched on every try but the
 * first: when the first one failed, because two who write at once would fail all the time; and when it would set an expiry,
 * because people write a word first and its entry in the stream last, and our expiry might end a word that came in between. */
static void chunk_watch(const struct redis_store *redis, struct redis *on, bool is_first) {
    const struct redis_chunk *chunk = redis->chunk;
    char name[REDIS_NAME_MAX];
    if (is_first) {
        REDIS_ASK(on, "WATCH", redis_name(redis, name, "changes", ""));
        return;
    }
    redis_command(on, 1 + chunk->len);
    redis_word(on, CORE_SPAN("WATCH"));
    for (size_t i = 0; i < chunk->len; i++) {
        redis_word(on, chunk->keys[i].name);
    }
}

/* WATCH, and HGETALL of every key. */
static enum core_err chunk_read(struct redis_store *redis, bool is_first, struct core_fail *fail) {
    struct redis_chunk *chunk = redis->chunk;
    struct redis *on = redis->ask;
    redis_begin(on);
    chunk_watch(redis, on, is_first);
    for (size_t i = 0; i < chunk->len; i++) {
        redis_command(on, 2);
        redis_word(on, CORE_SPAN("HGETALL"));
        redis_word(on, chunk->keys[i].name);
    }
    enum core_err err = redis_exchange(on, core_tick_ns() + REDIS_WRITE_NS, fail);
    err = err == CORE_AGAIN ? CORE_NET : err;
    for (size_t i = 0; i < redis_asked(on) && err == CORE_OK; i++) {
        err = redis_is_foreign(redis_answer(on, i)) ? CORE_OK : redis_refused(on, redis_answer(on, i), fail);
    }
    return err;
}

/* Nothing is watched any more, and what was collected is forgotten. */
static enum core_err chunk_unwatch(struct redis *on, struct core_fail *fail) {
    redis_continue(on);
    REDIS_ASK(on, "UNWATCH");
    enum core_err err = redis_exchange(on, core_tick_ns() + REDIS_WRITE_NS, fail);
    return err == CORE_AGAIN ? CORE_NET : err;
}

/* CORE_AGAIN: once more, with the keys watched. */
static enum core_err chunk_try(struct redis_store *redis, bool is_first, struct core_fail *fail) {
    struct redis_chunk *chunk = redis->chunk;
    enum core_err err = chunk_read(redis, is_first, fail);
    if (err != CORE_OK) {
        redis_drop(redis->ask); /* and nothing is watched any more */
        return err;
    }
    core_arena_reset(&chunk->work, CHUNK_BYTES_MAX);
    chunk->put = chunk->same = chunk->removed = chunk->refused = 0;
    struct change *change = core_arena_alloc(&chunk->work, sizeof *change);
    MUST(change != NULL);
    *change = (struct change){.redis = redis, .on = redis->ask, .now_s = core_now_ns() / CORE_NS_PER_S};
    change->tell = core_arena_alloc(&chunk->work, 2 * REDIS_CHUNK_MAX * sizeof *change->tell);
    MUST(change->tell != NULL);
    redis_continue(redis->ask);
    change_begin(redis, redis->ask);
    for (size_t i = 0; i < chunk->len; i++) {
        key_change(change, &chunk->keys[i], redis_answer_before(redis->ask, i + 1));
    }
    if (change->told == 0 || (is_first && change->sets_expiry)) {
        err = chunk_unwatch(redis->ask, fail);
        return err == CORE_OK && change->told > 0 ? CORE_AGAIN : err;
    }
    stream_add(redis, redis->ask, change->tell, change->told);
    return transact(redis->ask, fail);
}

enum core_err redis_flush(struct enrich_store *store, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    struct redis_chunk *chunk = redis->chunk;
    MUST(chunk != NULL); /* opened as a writer */
    enum core_err err = CORE_OK;
    for (int tries = 0; chunk->len > 0 && tries < TRIES_MAX; tries++) {
        err = chunk_try(redis, tries == 0, fail);
        if (err == CORE_OK) {
            chunk_clear(chunk);
            store->put += chunk->put;
            store->same += chunk->same;
            store->removed += chunk->removed;
            store->refused += chunk->refused;
        } else if (err != CORE_AGAIN) {
            return err;
        }
    }
    return err != CORE_AGAIN
               ? err
               : core_fail_set(fail, CORE_NET, redis_where(redis->ask),
                               "others changed the same indicators %d times in a row; is a feed loaded by "
                               "two programs? Try again later",
                               TRIES_MAX);
}

void redis_forget(struct enrich_store *store) {
    struct redis_store *redis = redis_store_of(store);
    if (redis->chunk != NULL) {
        chunk_clear(redis->chunk);
    }
}

enum core_err redis_allow(struct enrich_store *store, enum core_indicator type, struct core_span value, bool is_allowed,
                          struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char name[REDIS_NAME_MAX], key[REDIS_KEY_MAX];
    struct core_span word = redis_key(redis, key, type, value);
    word.ptr += redis->prefix_len;
    word.len -= redis->prefix_len;
    struct core_span allow = core_span_of(redis_name(redis, name, "allow", ""));
    redis_begin(redis->ask);
    redis_command(redis->ask, 3);
    redis_word(redis->ask, CORE_SPAN("SISMEMBER"));
    redis_word(redis->ask, allow);
    redis_word(redis->ask, word);
    enum core_err err = redis_exchange(redis->ask, core_tick_ns() + REDIS_WRITE_NS, fail);
    err = err == CORE_AGAIN ? CORE_NET : err;
    err = err == CORE_OK ? redis_refused_any(redis->ask, fail) : err;
    if (err != CORE_OK || redis_answer(redis->ask, 0)->integer == is_allowed) {
        return err; /* twice is once */
    }
    redis_begin(redis->ask);
    change_begin(redis, redis->ask);
    redis_command(redis->ask, 3);
    redis_word(redis->ask, is_allowed ? CORE_SPAN("SADD") : CORE_SPAN("SREM"));
    redis_word(redis->ask, allow);
    redis_word(redis->ask, word);
    stream_add(redis, redis->ask, (struct core_span[]){is_allowed ? CORE_SPAN("allow") : CORE_SPAN("unallow"), word},
               2);
    return transact(redis->ask, fail);
}
