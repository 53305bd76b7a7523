/* enrich/store_redis_extra.c: what else Redis keeps for us: the state of feeds, leases, sightings.
 *
 *   <prefix>feed:NAME        hash: what a source wants to know next time (ETag, cursor, …)
 *   <prefix>lease:NAME       string with an expiry: who does the work
 *   <prefix>seen:YYYY-MM-DD  hash: "type:value" -> how often, that day (UTC)
 *   <prefix>once:ID          string with an expiry: these counts were added already
 *   <prefix>told:FEED:DAY    hash: "type:value" -> how often it was seen that day, as far as the feed's server knows
 *
 * Compare-and-change is WATCH, GET, MULTI … EXEC: no script is needed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/store_redis_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ONCE_SECONDS "86400"
#define TRIES_MAX 10
#define TOKEN_RANDOM_BYTES 8
#define NUMBER_BYTES 24
#define DAY_BYTES 12
#define TOLD_DAYS 30 /* so long it is remembered what a server was told; sighting_tell.c asks for a week */
#define SECONDS_PER_DAY 86400

/* Send what was collected, and let no answer be an error. */
static enum core_err exchange(struct redis *on, struct core_fail *fail) {
    enum core_err err = redis_exchange(on, core_tick_ns() + REDIS_WRITE_NS, fail);
    err = err == CORE_AGAIN ? CORE_NET : err;
    return err == CORE_OK ? redis_refused_any(on, fail) : err;
}

/* The same with EXEC at its end. CORE_AGAIN: what was watched has changed. */
static enum core_err exchange_exec(struct redis *on, struct core_fail *fail) {
    REDIS_ASK(on, "EXEC");
    enum core_err err = exchange(on, fail);
    if (err != CORE_OK) {
        return err;
    }
    const struct redis_reply *done = redis_answer(on, redis_asked(on) - 1);
    if (done->type != REDIS_ARRAY) {
        return core_fail_set(fail, CORE_AGAIN, redis_where(on), "somebody changed the same meanwhile");
    }
    for (size_t i = 0; i < done->len && err == CORE_OK; i++) {
        err = redis_refused(on, done->items[i], fail);
    }
    return err;
}

/* ---- the state of feeds ------------------------------------------------------------------------------------------------------ */

static enum core_err state_get(struct enrich_store *store, const char *feed, struct core_conf_list *state,
                               struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char name[REDIS_NAME_MAX];
    redis_begin(redis->ask);
    REDIS_ASK(redis->ask, "HGETALL", redis_name(redis, name, "feed:", feed));
    enum core_err err = exchange(redis->ask, fail);
    if (err != CORE_OK) {
        return err;
    }
    const struct redis_reply *pairs = redis_answer(redis->ask, 0);
    for (size_t i = 0; i + 1 < pairs->len && err == CORE_OK; i += 2) {
        err = store_state_set(state, pairs->items[i]->text.ptr, pairs->items[i + 1]->text.ptr, fail);
    }
    if (err != CORE_OK) {
        store_state_release(state);
    }
    return err;
}

static enum core_err state_put(struct enrich_store *store, const char *feed, const struct core_conf_list *state,
                               struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char name[REDIS_NAME_MAX];
    redis_name(redis, name, "feed:", feed);
    redis_begin(redis->ask);
    REDIS_ASK(redis->ask, "MULTI");
    REDIS_ASK(redis->ask, "DEL", name);
    for (size_t i = 0; i < state->len; i++) {
        REDIS_ASK(redis->ask, "HSET", name, state->items[i].key, state->items[i].value);
    }
    return exchange_exec(redis->ask, fail);
}

/* ---- leases -------------------------------------------------------------------------------------------------------------------- */

static void token_make(char out[sizeof((struct store_lease *)NULL)->token]) {
    char host[64], random[2 * TOKEN_RANDOM_BYTES + 1];
    if (gethostname(host, sizeof host) != 0) {
        snprintf(host, sizeof host, "unknown");
    }
    host[sizeof host - 1] = '\0';
    redis_random(random, TOKEN_RANDOM_BYTES);
    snprintf(out, sizeof((struct store_lease *)NULL)->token, "%s:%ld:%s", host, (long)getpid(), random);
}

static const char *milliseconds(int64_t ttl_ns, char out[NUMBER_BYTES]) {
    snprintf(out, NUMBER_BYTES, "%lld", (long long)(ttl_ns / CORE_NS_PER_MS));
    return out;
}

static enum core_err lease_take(struct enrich_store *store, const char *name, int64_t ttl_ns, struct store_lease *lease,
                                struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char key[REDIS_NAME_MAX], ttl[NUMBER_BYTES];
    MUST(strlen(name) < sizeof lease->name);
    *lease = (struct store_lease){0};
    snprintf(lease->name, sizeof lease->name, "%s", name);
    token_make(lease->token);
    redis_name(redis, key, "lease:", name);
    redis_begin(redis->ask);
    REDIS_ASK(redis->ask, "SET", key, lease->token, "NX", "PX", milliseconds(ttl_ns, ttl));
    REDIS_ASK(redis->ask, "GET", key);
    REDIS_ASK(redis->ask, "PTTL", key);
    enum core_err err = exchange(redis->ask, fail);
    if (err != CORE_OK || redis_answer(redis->ask, 0)->type != REDIS_NIL) {
        return err;
    }
    const struct redis_reply *who = redis_answer(redis->ask, 1);
    if (who->type == REDIS_STRING && core_span_is(who->text, lease->token)) {
        return CORE_OK; /* asked twice, and the first answer was lost */
    }
    return core_fail_set(fail, CORE_LOCKED, key,
                         "%s has it for %lld s still; if that process is gone, it runs out by itself",
                         who->type == REDIS_STRING ? who->text.ptr : "somebody else",
                         (long long)(redis_answer(redis->ask, 2)->integer / 1000));
}

/* WATCH, and is it ours still? CORE_GONE: no. */
static enum core_err lease_watch(struct redis_store *redis, const struct store_lease *lease, const char *key,
                                 struct core_fail *fail) {
    redis_begin(redis->ask);
    REDIS_ASK(redis->ask, "WATCH", key);
    REDIS_ASK(redis->ask, "GET", key);
    enum core_err err = exchange(redis->ask, fail);
    if (err != CORE_OK) {
        return err;
    }
    const struct redis_reply *who = redis_answer(redis->ask, 1);
    if (who->type == REDIS_STRING && core_span_is(who->text, lease->token)) {
        return CORE_OK;
    }
    redis_continue(redis->ask);
    REDIS_ASK(redis->ask, "UNWATCH");
    err = exchange(redis->ask, fail);
    return err != CORE_OK
               ? err
               : core_fail_set(fail, CORE_GONE, key, "the lease had run out; another process may have it now");
}

static enum core_err lease_change(struct redis_store *redis, const struct store_lease *lease, int64_t ttl_ns,
                                  struct core_fail *fail) {
    char key[REDIS_NAME_MAX], ttl[NUMBER_BYTES];
    redis_name(redis, key, "lease:", lease->name);
    enum core_err err = lease_watch(redis, lease, key, fail);
    if (err != CORE_OK) {
        return err;
    }
    redis_continue(redis->ask);
    REDIS_ASK(redis->ask, "MULTI");
    if (ttl_ns > 0) {
        REDIS_ASK(redis->ask, "PEXPIRE", key, milliseconds(ttl_ns, ttl));
    } else {
        REDIS_ASK(redis->ask, "DEL", key);
    }
    err = exchange_exec(redis->ask, fail);
    return err == CORE_AGAIN ? core_fail_set(fail, CORE_GONE, key, "the lease ran out just now") : err;
}

static enum core_err lease_renew(struct enrich_store *store, const struct store_lease *lease, int64_t ttl_ns,
                                 struct core_fail *fail) {
    return lease_change(redis_store_of(store), lease, ttl_ns, fail);
}

static enum core_err lease_give(struct enrich_store *store, const struct store_lease *lease, struct core_fail *fail) {
    enum core_err err = lease_change(redis_store_of(store), lease, 0, fail);
    return err == CORE_GONE ? CORE_OK : err;
}

/* ---- sightings ------------------------------------------------------------------------------------------------------------------ */

/* "2026-11-21" of a day since 1970. */
static const char *day_text(int64_t day, char out[DAY_BYTES]) {
    char iso[27];
    bool is_year = core_time_iso(day * SECONDS_PER_DAY * CORE_NS_PER_S, iso);
    MUST(is_year);
    memcpy(out, iso, DAY_BYTES - 2);
    out[DAY_BYTES - 2] = '\0';
    return out;
}

static void sighting_write(const struct redis_store *redis, const struct store_sighting *sighting) {
    char key[REDIS_KEY_MAX], name[REDIS_NAME_MAX], day[DAY_BYTES];
    struct core_span word = redis_key(redis, key, sighting->type, sighting->value);
    word.ptr += redis->prefix_len;
    word.len -= redis->prefix_len;
    redis_command(redis->ask, 4);
    redis_word(redis->ask, CORE_SPAN("HINCRBY"));
    redis_word(redis->ask, core_span_of(redis_name(redis, name, "seen:", day_text(sighting->day, day))));
    redis_word(redis->ask, word);
    redis_word_u64(redis->ask, sighting->count);
}

/* A day's hash ends STORE_SIGHTINGS_DAYS behind that day. */
static void day_expire(const struct redis_store *redis, int64_t day) {
    char name[REDIS_NAME_MAX], text[DAY_BYTES], at[NUMBER_BYTES];
    snprintf(at, sizeof at, "%lld", (long long)(day + STORE_SIGHTINGS_DAYS) * SECONDS_PER_DAY);
    REDIS_ASK(redis->ask, "EXPIREAT", redis_name(redis, name, "seen:", day_text(day, text)), at);
}

/* CORE_GONE: these counts were added already. What follows is sent once: counts must not be added twice. */
static enum core_err once_watch(const struct redis_store *redis, const char *once, struct core_fail *fail) {
    char name[REDIS_NAME_MAX];
    redis_begin(redis->ask);
    if (once == NULL) {
        REDIS_ASK(redis->ask, "UNWATCH"); /* is the connection there? */
        enum core_err err = exchange(redis->ask, fail);
        redis_continue(redis->ask);
        return err;
    }
    REDIS_ASK(redis->ask, "WATCH", redis_name(redis, name, "once:", once));
    REDIS_ASK(redis->ask, "GET", name);
    enum core_err err = exchange(redis->ask, fail);
    bool is_done = err == CORE_OK && redis_answer(redis->ask, 1)->type != REDIS_NIL;
    redis_continue(redis->ask);
    if (is_done) {
        REDIS_ASK(redis->ask, "UNWATCH");
        err = exchange(redis->ask, fail);
        err = err == CORE_OK ? CORE_GONE : err;
    }
    return err;
}

static enum core_err sightings_try(struct redis_store *redis, const struct store_sighting *sightings, size_t len,
                                   const char *once, struct core_fail *fail) {
    char name[REDIS_NAME_MAX];
    enum core_err err = once_watch(redis, once, fail);
    if (err != CORE_OK) {
        return err == CORE_GONE ? CORE_OK : err;
    }
    REDIS_ASK(redis->ask, "MULTI");
    for (size_t i = 0; i < len; i++) {
        sighting_write(redis, &sightings[i]);
        if (i + 1 == len || sightings[i + 1].day != sightings[i].day) {
            day_expire(redis, sightings[i].day);
        }
    }
    if (once != NULL) {
        REDIS_ASK(redis->ask, "SET", redis_name(redis, name, "once:", once), "1", "EX", ONCE_SECONDS);
    }
    return exchange_exec(redis->ask, fail);
}

static enum core_err sightings_add(struct enrich_store *store, const struct store_sighting *sightings, size_t len,
                                   const char *once, struct core_fail *fail) {
    enum core_err err = CORE_AGAIN;
    MUST(once == NULL || strlen(once) < REDIS_NAME_MAX - REDIS_PREFIX_MAX - 8);
    for (int tries = 0; err == CORE_AGAIN && tries < TRIES_MAX; tries++) {
        err = sightings_try(redis_store_of(store), sightings, len, once, fail);
    }
    return err == CORE_AGAIN ? CORE_NET : err;
}

/* feed NULL: what was seen. */
static const char *day_name(const struct redis_store *redis, const char *feed, int64_t day, char out[REDIS_NAME_MAX]) {
    char text[DAY_BYTES], more[ENRICH_FEED_NAME_BYTES_MAX + DAY_BYTES + 2];
    if (feed == NULL) {
        return redis_name(redis, out, "seen:", day_text(day, text));
    }
    snprintf(more, sizeof more, "%s:%s", feed, day_text(day, text));
    return redis_name(redis, out, "told:", more);
}

static enum core_err told_put(struct enrich_store *store, const char *feed, const struct store_sighting *sightings,
                              size_t len, struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char key[REDIS_KEY_MAX], name[REDIS_NAME_MAX], at[NUMBER_BYTES];
    day_name(redis, feed, sightings[0].day, name);
    redis_begin(redis->ask);
    REDIS_ASK(redis->ask, "MULTI");
    for (size_t i = 0; i < len; i++) {
        struct core_span word = redis_key(redis, key, sightings[i].type, sightings[i].value);
        MUST(sightings[i].day == sightings[0].day);
        redis_command(redis->ask, 4);
        redis_word(redis->ask, CORE_SPAN("HSET"));
        redis_word(redis->ask, core_span_of(name));
        redis_word(redis->ask, (struct core_span){word.ptr + redis->prefix_len, word.len - redis->prefix_len});
        redis_word_u64(redis->ask, sightings[i].count);
    }
    snprintf(at, sizeof at, "%lld", (long long)(sightings[0].day + TOLD_DAYS) * SECONDS_PER_DAY);
    REDIS_ASK(redis->ask, "EXPIREAT", name, at);
    return exchange_exec(redis->ask, fail);
}

static enum core_err sightings_walk(struct enrich_store *store, const char *feed, int64_t day,
                                    bool (*on_sighting)(void *ctx, const struct store_sighting *sighting), void *ctx,
                                    struct core_fail *fail) {
    struct redis_store *redis = redis_store_of(store);
    char name[REDIS_NAME_MAX], cursor[32] = "0";
    day_name(redis, feed, day, name);
    do {
        const struct redis_reply *pairs;
        redis_begin(redis->ask);
        REDIS_ASK(redis->ask, "HSCAN", name, cursor, "COUNT", "1000");
        enum core_err err = exchange(redis->ask, fail);
        err = err == CORE_OK ? redis_scan_read(redis->ask, redis_answer(redis->ask, 0), cursor, &pairs, fail) : err;
        if (err != CORE_OK) {
            return err;
        }
        for (size_t i = 0; i + 1 < pairs->len; i += 2) {
            struct store_sighting sighting = {.day = day, .count = strtoull(pairs->items[i + 1]->text.ptr, NULL, 10)};
            if (redis_key_read(pairs->items[i]->text, &sighting.type, &sighting.value) &&
                !on_sighting(ctx, &sighting)) {
                return CORE_OK;
            }
        }
    } while (strcmp(cursor, "0") != 0);
    return CORE_OK;
}

const struct store_extra_ops redis_extra = {.state_get = state_get,
                                            .state_put = state_put,
                                            .lease_take = lease_take,
                                            .lease_renew = lease_renew,
                                            .lease_give = lease_give,
                                            .sightings_add = sightings_add,
                                            .sightings_walk = sightings_walk,
                                            .told_put = told_put};
