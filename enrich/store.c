/* enrich/store.c: the store, whichever it is: Redis or this process's own memory, behind one table of functions.
 *
 * What is checked here is checked once for both: that an indicator has a type and a value of a length that can be found
 * again, that what is said of it is not too long, and that a feed's name can be part of a field's name. The pairs a feed's
 * state is made of are kept here, too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/store_internal.h"

#include <stdlib.h>

static void check(const struct enrich_store *store) {
    MUST(store != NULL);
    MUST(store->magic == ENRICH_STORE_MAGIC);
}

static bool has_urls(const struct enrich_redis_conf *redis) {
    return redis != NULL && redis->urls.len > 0;
}

static enum core_err conf_check(const struct enrich_conf *conf, const struct enrich_redis_conf *redis,
                                struct core_fail *fail) {
    bool has_redis = has_urls(redis);
    if (has_redis && conf != NULL && conf->files.len > 0) {
        return core_fail_set(
            fail, CORE_BAD, "intel.files",
            "both intel.files and intel.redis.urls are given; indicators come from one of them. Remove "
            "intel.files and load them into Redis: tapline intel load FILE");
    }
    if (has_redis && conf != NULL && conf->allow.len > 0) {
        return core_fail_set(
            fail, CORE_BAD, "intel.allow",
            "intel.allow goes with intel.files; with Redis, the list is there, for all sensors: tapline "
            "intel allow %s",
            conf->allow.items[0].value);
    }
    return CORE_OK;
}

enum core_err store_open_until(struct enrich_store **out, const struct enrich_conf *conf,
                               const struct enrich_redis_conf *redis, int stop_fd, struct core_fail *fail) {
    MUST(out != NULL);
    *out = NULL;
    enum core_err err = conf_check(conf, redis, fail);
    if (err != CORE_OK) {
        return err;
    }
    return has_urls(redis) ? store_redis_open(out, redis, false, stop_fd, fail)
                           : store_memory_open(out, conf, false, stop_fd, fail);
}

enum core_err enrich_store_open(struct enrich_store **out, const struct enrich_conf *conf,
                                const struct enrich_redis_conf *redis, bool is_writer, struct core_fail *fail) {
    MUST(out != NULL);
    *out = NULL;
    enum core_err err = conf_check(conf, redis, fail);
    if (err != CORE_OK) {
        return err;
    }
    if (has_urls(redis)) {
        return store_redis_open(out, redis, is_writer, -1, fail);
    }
    if (is_writer) {
        return core_fail_set(fail, CORE_BAD, "intel.redis.urls",
                             "no Redis is given, so there is no store to change; give intel.redis.urls");
    }
    return store_memory_open(out, conf, true, -1, fail);
}

void store_where(const struct enrich_store *store, char *out, size_t len) {
    check(store);
    MUST(len > 0);
    store->ops->where(store, out, len);
}

void enrich_store_close(struct enrich_store *store) {
    if (store == NULL) {
        return;
    }
    check(store);
    store->ops->close(store);
}

static enum core_err bad_item(enum core_indicator type, struct core_span value, const char *feed,
                              struct core_fail *fail) {
    MUST(type > CORE_INDICATOR_NONE && type < CORE_INDICATOR__MAX);
    if (value.len == 0 || value.len > ENRICH_VALUE_BYTES_MAX) {
        return core_fail_set(fail, CORE_BAD, core_indicator_word(type),
                             "an indicator of %zu bytes; it has 1 to %d bytes, so this one is left out", value.len,
                             ENRICH_VALUE_BYTES_MAX);
    }
    if (feed != NULL && !enrich_is_feed_name(feed)) {
        return core_fail_set(fail, CORE_BAD, "feed", "\"%.*s\" is no name of a feed: 1 to %d of a-z 0-9 _ . -",
                             ENRICH_FEED_NAME_BYTES_MAX, feed, ENRICH_FEED_NAME_BYTES_MAX);
    }
    return CORE_OK;
}

#define SAID_OTHERS_BYTES 512 /* of its JSON: names, times, the rest but texts */
#define ESCAPED_BYTES 6       /* of one byte at most */

enum core_err enrich_item_check(const struct enrich_item *item, struct core_fail *fail) {
    const struct enrich_provider *said = &item->said;
    const char *const texts[] = {said->tlp, said->description, said->reference, said->tags, said->id};
    size_t most = SAID_OTHERS_BYTES;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        most += texts[i] == NULL ? 0 : ESCAPED_BYTES * strlen(texts[i]);
    }
    enum core_err err = bad_item(item->type, item->value, NULL, fail);
    if (err != CORE_OK || most <= STORE_SAID_BYTES_MAX) {
        return err;
    }
    char json[STORE_SAID_BYTES_MAX];
    struct core_buf buf = {.start = json, .pos = json, .end = json + sizeof json};
    store_said_write(&buf, said);
    if (buf.is_full) {
        return core_fail_set(fail, CORE_BAD, core_indicator_word(item->type),
                             "what is said of %.*s is longer than %d bytes, so it is left out",
                             (int)(item->value.len > 100 ? 100 : item->value.len), item->value.ptr,
                             STORE_SAID_BYTES_MAX);
    }
    return CORE_OK;
}

enum core_err enrich_store_get(struct enrich_store *store, struct enrich_found *found, size_t len,
                               struct core_arena *arena, int timeout_ms, struct core_fail *fail) {
    check(store);
    MUST(timeout_ms >= 0);
    for (size_t i = 0; i < len; i++) {
        found[i].providers = NULL;
        found[i].providers_len = 0;
    }
    return len == 0 ? CORE_OK : store->ops->get(store, found, len, arena, timeout_ms, fail);
}

enum core_err enrich_store_put(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail) {
    check(store);
    MUST(item->said.feed != NULL);
    enum core_err err = bad_item(item->type, item->value, item->said.feed, fail);
    err = err == CORE_OK ? enrich_item_check(item, fail) : err;
    return err != CORE_OK ? err : store->ops->put(store, item, fail);
}

enum core_err enrich_store_remove(struct enrich_store *store, enum core_indicator type, struct core_span value,
                                  const char *feed, const char *provider, struct core_fail *fail) {
    check(store);
    MUST(feed != NULL);
    enum core_err err = bad_item(type, value, feed, fail);
    return err != CORE_OK ? err : store->ops->remove(store, type, value, feed, provider, fail);
}

enum core_err store_remove_said(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail) {
    check(store);
    MUST(item->said.feed != NULL);
    MUST(store->ops->remove_said != NULL);
    enum core_err err = bad_item(item->type, item->value, item->said.feed, fail);
    return err != CORE_OK ? err : store->ops->remove_said(store, item, fail);
}

enum core_err enrich_store_flush(struct enrich_store *store, struct core_fail *fail) {
    check(store);
    return store->ops->flush(store, fail);
}

void store_forget(struct enrich_store *store) {
    check(store);
    if (store->ops->forget != NULL) {
        store->ops->forget(store);
    }
}

uint64_t enrich_store_done(const struct enrich_store *store) {
    check(store);
    return store->put + store->same;
}

enum core_err enrich_store_allow(struct enrich_store *store, enum core_indicator type, struct core_span value,
                                 bool is_allowed, struct core_fail *fail) {
    check(store);
    enum core_err err = bad_item(type, value, NULL, fail);
    return err != CORE_OK ? err : store->ops->allow(store, type, value, is_allowed, fail);
}

enum core_err enrich_store_walk(struct enrich_store *store, bool wants_providers,
                                bool (*on_found)(void *ctx, const struct enrich_found *found), void *ctx,
                                struct core_fail *fail) {
    check(store);
    MUST(on_found != NULL);
    return store->ops->walk(store, wants_providers, on_found, ctx, fail);
}

enum core_err enrich_store_allowed(struct enrich_store *store,
                                   bool (*on_allowed)(void *ctx, enum core_indicator type, struct core_span value),
                                   void *ctx, struct core_fail *fail) {
    check(store);
    MUST(on_allowed != NULL);
    return store->ops->allowed(store, on_allowed, ctx, fail);
}

enum core_err store_count(struct enrich_store *store, uint64_t *items, struct core_fail *fail) {
    check(store);
    return store->ops->count(store, items, fail);
}

enum core_err enrich_store_count(struct enrich_store *store, uint64_t *items, struct core_fail *fail) {
    return store_count(store, items, fail);
}

enum core_err store_connect(struct enrich_store *store, int timeout_ms, struct core_fail *fail) {
    check(store);
    MUST(timeout_ms >= 0);
    return store->ops->connect == NULL ? CORE_OK : store->ops->connect(store, timeout_ms, fail);
}

enum core_err store_now(struct enrich_store *store, struct store_cursor *cursor, struct core_fail *fail) {
    check(store);
    *cursor = (struct store_cursor){.id = "0"};
    return store->ops->now == NULL ? CORE_OK : store->ops->now(store, cursor, fail);
}

enum core_err store_build(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                          struct core_fail *fail) {
    check(store);
    MUST(calls->on_add != NULL && calls->on_remove != NULL && calls->on_allow != NULL);
    *cursor = (struct store_cursor){0};
    return store->ops->build(store, cursor, calls, fail);
}

enum core_err store_follow(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                           int timeout_ms, struct core_fail *fail) {
    check(store);
    MUST(timeout_ms >= 0);
    MUST(cursor->id[0] != '\0'); /* store_build() or store_now() came first */
    return store->ops->follow(store, cursor, calls, timeout_ms, fail);
}

/* ---- what the store keeps besides ---------------------------------------------------------------------------------------- */

static enum core_err extra_of(struct enrich_store *store, const struct store_extra_ops **extra,
                              struct core_fail *fail) {
    check(store);
    *extra = store->ops->extra;
    return *extra != NULL ? CORE_OK
                          : core_fail_set(fail, CORE_BAD, "intel.redis.urls",
                                          "no Redis is given: the state of feeds, leases and sightings are kept there "
                                          "only; give intel.redis.urls");
}

enum core_err store_state_get(struct enrich_store *store, const char *feed, struct core_conf_list *state,
                              struct core_fail *fail) {
    const struct store_extra_ops *extra;
    *state = (struct core_conf_list){0};
    enum core_err err = extra_of(store, &extra, fail);
    return err != CORE_OK ? err : extra->state_get(store, feed, state, fail);
}

enum core_err store_state_put(struct enrich_store *store, const char *feed, const struct core_conf_list *state,
                              struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    MUST(state->len <= STORE_STATE_MAX);
    return err != CORE_OK ? err : extra->state_put(store, feed, state, fail);
}

static struct core_conf_item *state_at(const struct core_conf_list *state, const char *key) {
    for (size_t i = 0; i < state->len; i++) {
        if (strcmp(state->items[i].key, key) == 0) {
            return &state->items[i];
        }
    }
    return NULL;
}

const char *store_state_find(const struct core_conf_list *state, const char *key) {
    const struct core_conf_item *item = state_at(state, key);
    return item == NULL ? NULL : item->value;
}

enum core_err store_state_set(struct core_conf_list *state, const char *key, const char *value,
                              struct core_fail *fail) {
    struct core_conf_item *item = state_at(state, key);
    if (value == NULL) {
        if (item != NULL) {
            free(item->key);
            free(item->value);
            *item = state->items[--state->len];
        }
        return CORE_OK;
    }
    if (item == NULL) {
        struct core_conf_item *grown =
            state->len >= STORE_STATE_MAX ? NULL : realloc(state->items, (state->len + 1) * sizeof *state->items);
        if (grown == NULL) {
            return core_fail_set(fail, CORE_LIMIT, key, "%d pairs are kept for this feed already, so %s is not",
                                 STORE_STATE_MAX, key);
        }
        state->items = grown;
        item = &grown[state->len++];
        *item = (struct core_conf_item){.key = strdup(key)};
        MUST(item->key != NULL);
    }
    free(item->value);
    item->value = strdup(value);
    MUST(item->value != NULL);
    return CORE_OK;
}

void store_state_release(struct core_conf_list *state) {
    for (size_t i = 0; i < state->len; i++) {
        free(state->items[i].key);
        free(state->items[i].value);
    }
    free(state->items);
    *state = (struct core_conf_list){0};
}

enum core_err store_lease_take(struct enrich_store *store, const char *name, int64_t ttl_ns, struct store_lease *lease,
                               struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    MUST(ttl_ns >= CORE_NS_PER_MS);
    return err != CORE_OK ? err : extra->lease_take(store, name, ttl_ns, lease, fail);
}

enum core_err store_lease_renew(struct enrich_store *store, const struct store_lease *lease, int64_t ttl_ns,
                                struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    MUST(ttl_ns >= CORE_NS_PER_MS);
    return err != CORE_OK ? err : extra->lease_renew(store, lease, ttl_ns, fail);
}

enum core_err store_lease_give(struct enrich_store *store, const struct store_lease *lease, struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    return err != CORE_OK ? err : extra->lease_give(store, lease, fail);
}

enum core_err store_sightings_add(struct enrich_store *store, const struct store_sighting *sightings, size_t len,
                                  const char *once, struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    MUST(len <= STORE_SIGHTINGS_MAX);
    return err != CORE_OK || len == 0 ? err : extra->sightings_add(store, sightings, len, once, fail);
}

enum core_err store_sightings_walk(struct enrich_store *store, int64_t day,
                                   bool (*on_sighting)(void *ctx, const struct store_sighting *sighting), void *ctx,
                                   struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    return err != CORE_OK ? err : extra->sightings_walk(store, NULL, day, on_sighting, ctx, fail);
}

struct seen_call {
    bool (*on_seen)(void *ctx, enum core_indicator type, struct core_span value, uint64_t count);
    void *ctx;
};

static bool seen_give(void *ctx, const struct store_sighting *sighting) {
    const struct seen_call *call = ctx;
    return call->on_seen(call->ctx, sighting->type, sighting->value, sighting->count);
}

enum core_err enrich_sightings_walk(struct enrich_store *store, int64_t day,
                                    bool (*on_seen)(void *ctx, enum core_indicator type, struct core_span value,
                                                    uint64_t count),
                                    void *ctx, struct core_fail *fail) {
    struct seen_call call = {on_seen, ctx};
    return store_sightings_walk(store, day, seen_give, &call, fail);
}

enum core_err store_told_walk(struct enrich_store *store, const char *feed, int64_t day,
                              bool (*on_sighting)(void *ctx, const struct store_sighting *sighting), void *ctx,
                              struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    MUST(feed != NULL);
    return err != CORE_OK ? err : extra->sightings_walk(store, feed, day, on_sighting, ctx, fail);
}

enum core_err store_told_put(struct enrich_store *store, const char *feed, const struct store_sighting *sightings,
                             size_t len, struct core_fail *fail) {
    const struct store_extra_ops *extra;
    enum core_err err = extra_of(store, &extra, fail);
    MUST(len <= STORE_SIGHTINGS_MAX);
    return err != CORE_OK || len == 0 ? err : extra->told_put(store, feed, sightings, len, fail);
}
