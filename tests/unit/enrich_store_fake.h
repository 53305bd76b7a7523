/* tests/unit/enrich_store_fake.h: a store that fails when it is told to, which a real one cannot be asked for. It keeps
 * indicators in memory, with a stream of changes as Redis has one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_TESTS_ENRICH_STORE_FAKE_H
#define TAPLINE_TESTS_ENRICH_STORE_FAKE_H

#include "enrich/match_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Who says it: two feeds at most; bit 0: "a", whose word is of the domain alone; bit 1: "b", who means subdomains, too. */
enum fake_said { FAKE_NOBODY = 0, FAKE_A = 1, FAKE_B = 2, FAKE_BOTH = 3 };

struct fake_item {
    enum core_indicator type;
    char *value; /* NUL-terminated */
    unsigned said;
    bool is_expired; /* gone without a word in the stream */
};
struct fake_change {
    size_t item;
    bool is_allow; /* of the allow-list, else of the indicator */
    bool is_there;
    bool subdomains;
};
struct fake_allowed {
    enum core_indicator type;
    const char *value;
    bool is_there;
};

/* What all handles share. */
struct fake_world {
    pthread_mutex_t lock;
    struct fake_item *items;
    size_t items_len;
    size_t items_cap;
    uint32_t *slots; /* numbers of items plus one, by hash */
    size_t slots_len;
    struct fake_allowed allowed[256];
    size_t allowed_len;
    struct fake_change *changes;
    size_t changes_len;
    size_t changes_cap;
    unsigned epoch;
    /* What to answer instead, if not CORE_OK. */
    _Atomic int open_err;
    _Atomic int get_err;
    _Atomic int build_err;
    _Atomic int follow_err;
    _Atomic int build_us;         /* build() waits so long at each item */
    _Atomic int connect_us;       /* a connection takes so long; get() makes it if there is none */
    _Atomic int get_us;           /* an answer takes so long; one that does not come in time ends the connection */
    _Atomic int key_us;           /* and so much more for each key */
    _Atomic int follow_us;        /* follow() waits so long before it looks */
    _Atomic uint64_t uncounted;   /* count() says so many fewer */
    _Atomic uint64_t others;      /* count() says so many more: keys of somebody else */
    _Atomic(const char *) reason; /* of errors; NULL: "as the test wants it" */
    const struct store_ops *ops;  /* NULL: fake_ops */
    /* What was done. */
    _Atomic unsigned opens;
    _Atomic unsigned gets;
    _Atomic unsigned asked; /* keys */
    _Atomic unsigned told;  /* keys that were answered */
    _Atomic unsigned connects;
    _Atomic unsigned builds;
    _Atomic unsigned follows; /* that came back with OK or AGAIN */
};

struct fake_store {
    struct enrich_store store;
    struct fake_world *world;
    int64_t connect_tick; /* when the connection is there; 0: none is begun */
};

static inline void fake_sleep_us(long us) {
    const struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    (void)nanosleep(&pause, NULL);
}

/* Within two and a half minutes. Under a sanitizer on a busy machine much takes long, and a follower waits ten times as long
 * as its last build took before it builds again. */
#define EVENTUALLY(what)                                                                                               \
    for (int64_t until_ = core_tick_ns() + 150 * CORE_NS_PER_S; !(what); fake_sleep_us(1000)) {                        \
        assert_true(core_tick_ns() < until_);                                                                          \
    }

/* ---- the world ------------------------------------------------------------------------------------------------------------------ */

static inline struct fake_world *fake_world_new(size_t items_max) {
    struct fake_world *world = calloc(1, sizeof *world);
    MUST(world != NULL);
    MUST(pthread_mutex_init(&world->lock, NULL) == 0);
    world->items_cap = items_max;
    world->items = calloc(items_max, sizeof *world->items);
    for (world->slots_len = 16; world->slots_len < 2 * items_max;) {
        world->slots_len *= 2;
    }
    world->slots = calloc(world->slots_len, sizeof *world->slots);
    MUST(world->items != NULL && world->slots != NULL);
    return world;
}

static inline void fake_world_free(struct fake_world *world) {
    for (size_t i = 0; i < world->items_len; i++) {
        free(world->items[i].value);
    }
    MUST(pthread_mutex_destroy(&world->lock) == 0);
    free(world->items);
    free(world->slots);
    free(world->changes);
    free(world);
}

static inline void fake_change_add(struct fake_world *world, struct fake_change change) {
    if (world->changes_len == world->changes_cap) {
        world->changes_cap = 2 * world->changes_cap + 64;
        world->changes = realloc(world->changes, world->changes_cap * sizeof *world->changes);
        MUST(world->changes != NULL);
    }
    world->changes[world->changes_len++] = change;
}

/* The item's slot, or the empty one where it belongs. */
static inline uint32_t *fake_slot(struct fake_world *world, enum core_indicator type, struct core_span value) {
    size_t at = (size_t)core_hash64(value.ptr, value.len, (uint64_t)type) & (world->slots_len - 1);
    for (; world->slots[at] != 0; at = (at + 1) & (world->slots_len - 1)) {
        const struct fake_item *item = &world->items[world->slots[at] - 1];
        if (item->type == type && core_span_is(value, item->value)) {
            break;
        }
    }
    return &world->slots[at];
}

/* Under the lock. Returns which item it is. */
static inline size_t fake_put(struct fake_world *world, enum core_indicator type, const char *value, unsigned said) {
    uint32_t *slot = fake_slot(world, type, core_span_of(value));
    if (*slot == 0) {
        MUST(world->items_len < world->items_cap);
        char *copy = malloc(strlen(value) + 1);
        MUST(copy != NULL);
        strcpy(copy, value);
        world->items[world->items_len++] = (struct fake_item){.type = type, .value = copy};
        *slot = (uint32_t)world->items_len;
    }
    struct fake_item *item = &world->items[*slot - 1];
    item->said = said;
    item->is_expired = false;
    return *slot - 1;
}

/* Who says it from now on; nobody: it is gone. Thread: any. */
static inline void fake_say(struct fake_world *world, enum core_indicator type, const char *value, unsigned said) {
    MUST(pthread_mutex_lock(&world->lock) == 0);
    size_t item = fake_put(world, type, value, said);
    fake_change_add(world, (struct fake_change){item, false, said != FAKE_NOBODY, (said & FAKE_B) != 0});
    MUST(pthread_mutex_unlock(&world->lock) == 0);
}

/* User names v0 … are there, all at once, and nothing in the stream says so: entries that were trimmed. */
static inline void fake_say_unheard(struct fake_world *world, unsigned len) {
    MUST(pthread_mutex_lock(&world->lock) == 0);
    for (unsigned i = 0; i < len; i++) {
        char text[16];
        MUST(snprintf(text, sizeof text, "v%u", i) > 0);
        MUST(fake_put(world, CORE_INDICATOR_USER, text, FAKE_A) < world->items_len);
    }
    MUST(pthread_mutex_unlock(&world->lock) == 0);
}

/* It is gone, and nothing in the stream says so. */
static inline void fake_expire(struct fake_world *world, enum core_indicator type, const char *value) {
    MUST(pthread_mutex_lock(&world->lock) == 0);
    uint32_t *slot = fake_slot(world, type, core_span_of(value));
    MUST(*slot != 0);
    world->items[*slot - 1].is_expired = true;
    MUST(pthread_mutex_unlock(&world->lock) == 0);
}

/* value outlives the world. */
static inline void fake_allow(struct fake_world *world, enum core_indicator type, const char *value, bool is_there) {
    MUST(pthread_mutex_lock(&world->lock) == 0);
    size_t at = 0;
    while (at < world->allowed_len &&
           (world->allowed[at].type != type || strcmp(world->allowed[at].value, value) != 0)) {
        at++;
    }
    MUST(at < 256);
    world->allowed[at] = (struct fake_allowed){type, value, is_there};
    world->allowed_len += at == world->allowed_len;
    fake_change_add(world, (struct fake_change){at, true, is_there, false});
    MUST(pthread_mutex_unlock(&world->lock) == 0);
}

/* As after FLUSHALL: the stream is another one. */
static inline void fake_flush(struct fake_world *world) {
    MUST(pthread_mutex_lock(&world->lock) == 0);
    world->epoch++;
    world->changes_len = 0;
    MUST(pthread_mutex_unlock(&world->lock) == 0);
}

/* ---- the store ------------------------------------------------------------------------------------------------------------------- */

static inline struct fake_world *fake_world_of(struct enrich_store *store) {
    return ((struct fake_store *)store)->world;
}

static inline enum core_err fake_fails(struct fake_world *world, _Atomic int *err, struct core_fail *fail) {
    int wanted = atomic_load(err);
    const char *reason = atomic_load(&world->reason);
    return wanted == CORE_OK ? CORE_OK
                             : core_fail_set(fail, (enum core_err)wanted, "fake", "%s",
                                             reason == NULL ? "as the test wants it" : reason);
}

static inline void fake_where(const struct enrich_store *store, char *out, size_t len) {
    MUST(store->magic == ENRICH_STORE_MAGIC);
    (void)snprintf(out, len, "fake");
}

static inline void fake_close(struct enrich_store *store) {
    free(store);
}

static const struct enrich_provider fake_providers[] = {
    {.feed = "a", .confidence_tenths = 50},
    {.feed = "b", .confidence_tenths = ENRICH_CONFIDENCE_NONE, .subdomains = true},
};

/* Of the thread that calls get(). */
static inline enum core_err fake_connect(struct enrich_store *store, int timeout_ms, struct core_fail *fail) {
    struct fake_store *fake = (struct fake_store *)store;
    int64_t now = core_tick_ns();
    if (fake->connect_tick == 0) {
        atomic_fetch_add(&fake->world->connects, 1);
        fake->connect_tick = now + atomic_load(&fake->world->connect_us) * INT64_C(1000);
    }
    int64_t left = fake->connect_tick - now;
    int64_t wait = left < timeout_ms * CORE_NS_PER_MS ? left : timeout_ms * CORE_NS_PER_MS;
    if (wait > 0) {
        fake_sleep_us((long)(wait / 1000) + 1);
    }
    return core_tick_ns() >= fake->connect_tick ? CORE_OK : core_fail_set(fail, CORE_AGAIN, "fake", "still connecting");
}

static inline enum core_err fake_wait(struct fake_store *fake, size_t len, int timeout_ms, struct core_fail *fail) {
    int64_t until = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    int64_t takes = (atomic_load(&fake->world->get_us) + (int64_t)len * atomic_load(&fake->world->key_us)) * 1000;
    enum core_err err = fake_connect(&fake->store, timeout_ms, fail);
    int64_t left = until - core_tick_ns();
    if (err != CORE_OK || takes == 0) {
        return err;
    }
    fake_sleep_us((long)((takes < left ? takes : left > 0 ? left : 0) / 1000));
    if (takes > left) {
        fake->connect_tick = 0;
        return core_fail_set(fail, CORE_AGAIN, "fake", "the answers are late");
    }
    return CORE_OK;
}

static inline enum core_err fake_get(struct enrich_store *store, struct enrich_found *found, size_t len,
                                     struct core_arena *arena, int timeout_ms, struct core_fail *fail) {
    struct fake_world *world = fake_world_of(store);
    (void)arena;
    atomic_fetch_add(&world->gets, 1);
    atomic_fetch_add(&world->asked, (unsigned)len);
    enum core_err err = fake_fails(world, &world->get_err, fail);
    if (err != CORE_OK) {
        fake_sleep_us(err == CORE_AGAIN ? timeout_ms * 1000L : 0);
        return err;
    }
    err = fake_wait((struct fake_store *)store, len, timeout_ms, fail);
    if (err != CORE_OK) {
        return err;
    }
    atomic_fetch_add(&world->told, (unsigned)len);
    MUST(pthread_mutex_lock(&world->lock) == 0);
    for (size_t i = 0; i < len; i++) {
        uint32_t slot = *fake_slot(world, found[i].type, found[i].value);
        const struct fake_item *item = slot == 0 ? NULL : &world->items[slot - 1];
        unsigned said = item == NULL || item->is_expired ? FAKE_NOBODY : item->said;
        found[i].providers = &fake_providers[said == FAKE_B];
        found[i].providers_len = said == FAKE_NOBODY ? 0 : said == FAKE_BOTH ? 2 : 1;
    }
    MUST(pthread_mutex_unlock(&world->lock) == 0);
    return CORE_OK;
}

static inline enum core_err fake_count(struct enrich_store *store, uint64_t *items, struct core_fail *fail) {
    struct fake_world *world = fake_world_of(store);
    MUST(pthread_mutex_lock(&world->lock) == 0);
    *items = 0;
    for (size_t i = 0; i < world->items_len; i++) {
        *items += world->items[i].said != FAKE_NOBODY && !world->items[i].is_expired;
    }
    MUST(pthread_mutex_unlock(&world->lock) == 0);
    *items += atomic_load(&world->others) - atomic_load(&world->uncounted);
    return fake_fails(world, &world->build_err, fail);
}

static inline enum core_err fake_build(struct enrich_store *store, struct store_cursor *cursor,
                                       const struct store_changes *calls, struct core_fail *fail) {
    struct fake_world *world = fake_world_of(store);
    enum core_err err = fake_fails(world, &world->build_err, fail);
    if (err != CORE_OK) {
        return err;
    }
    atomic_fetch_add(&world->builds, 1);
    MUST(pthread_mutex_lock(&world->lock) == 0);
    MUST(snprintf(cursor->epoch, sizeof cursor->epoch, "%u", world->epoch) > 0);
    MUST(snprintf(cursor->id, sizeof cursor->id, "%zu", world->changes_len) > 0);
    for (size_t i = 0; i < world->allowed_len; i++) {
        if (world->allowed[i].is_there) {
            calls->on_allow(calls->ctx, world->allowed[i].type, core_span_of(world->allowed[i].value), true);
        }
    }
    size_t len = world->items_len;
    for (size_t i = 0; i < len && err == CORE_OK; i++) {
        const struct fake_item item = world->items[i];
        MUST(pthread_mutex_unlock(&world->lock) == 0); /* others may change the world between any two */
        if (atomic_load(&world->build_us) > 0) {
            fake_sleep_us(atomic_load(&world->build_us));
        }
        if (item.said != FAKE_NOBODY && !item.is_expired) {
            calls->on_add(calls->ctx, item.type, core_span_of(item.value), (item.said & FAKE_B) != 0);
        }
        err = i % 64 == 0 && calls->goes_on != NULL && !calls->goes_on(calls->ctx) ? CORE_AGAIN : CORE_OK;
        MUST(pthread_mutex_lock(&world->lock) == 0);
    }
    MUST(pthread_mutex_unlock(&world->lock) == 0);
    return err;
}

static inline size_t fake_tell(struct fake_world *world, size_t from, const struct store_changes *calls) {
    for (; from < world->changes_len; from++) {
        const struct fake_change change = world->changes[from];
        if (change.is_allow) {
            calls->on_allow(calls->ctx, world->allowed[change.item].type,
                            core_span_of(world->allowed[change.item].value), change.is_there);
            continue;
        }
        const struct fake_item *item = &world->items[change.item];
        if (change.is_there) {
            calls->on_add(calls->ctx, item->type, core_span_of(item->value), change.subdomains);
        } else {
            calls->on_remove(calls->ctx, item->type, core_span_of(item->value));
        }
    }
    return from;
}

static inline enum core_err fake_follow(struct enrich_store *store, struct store_cursor *cursor,
                                        const struct store_changes *calls, int timeout_ms, struct core_fail *fail) {
    struct fake_world *world = fake_world_of(store);
    int64_t until = core_tick_ns() + timeout_ms * CORE_NS_PER_MS;
    fake_sleep_us(atomic_load(&world->follow_us));
    for (;;) {
        enum core_err err = fake_fails(world, &world->follow_err, fail);
        if (err != CORE_OK) {
            return err;
        }
        MUST(pthread_mutex_lock(&world->lock) == 0);
        size_t from = strtoul(cursor->id, NULL, 10);
        bool is_same = strtoul(cursor->epoch, NULL, 10) == world->epoch && from <= world->changes_len;
        size_t to = is_same ? fake_tell(world, from, calls) : from;
        MUST(pthread_mutex_unlock(&world->lock) == 0);
        if (!is_same) {
            return core_fail_set(fail, CORE_GONE, "fake", "the epoch is another one");
        }
        MUST(snprintf(cursor->id, sizeof cursor->id, "%zu", to) > 0);
        if (to > from || core_tick_ns() >= until) {
            atomic_fetch_add(&world->follows, 1);
            return to > from ? CORE_OK : CORE_AGAIN;
        }
        fake_sleep_us(500);
    }
}

static inline enum core_err fake_now(struct enrich_store *store, struct store_cursor *cursor, struct core_fail *fail) {
    struct fake_world *world = fake_world_of(store);
    (void)fail;
    MUST(pthread_mutex_lock(&world->lock) == 0);
    snprintf(cursor->epoch, sizeof cursor->epoch, "%u", world->epoch);
    snprintf(cursor->id, sizeof cursor->id, "%zu", world->changes_len);
    MUST(pthread_mutex_unlock(&world->lock) == 0);
    return CORE_OK;
}

static inline enum core_err fake_allowed(struct enrich_store *store,
                                         bool (*on_allowed)(void *ctx, enum core_indicator type,
                                                            struct core_span value),
                                         void *ctx, struct core_fail *fail) {
    struct fake_world *world = fake_world_of(store);
    (void)fail;
    for (size_t i = 0; i < world->allowed_len; i++) {
        if (world->allowed[i].is_there) {
            on_allowed(ctx, world->allowed[i].type, core_span_of(world->allowed[i].value));
        }
    }
    return CORE_OK;
}

static const struct store_ops fake_ops = {.name = "fake",
                                          .where = fake_where,
                                          .close = fake_close,
                                          .connect = fake_connect,
                                          .get = fake_get,
                                          .count = fake_count,
                                          .build = fake_build,
                                          .now = fake_now,
                                          .follow = fake_follow,
                                          .allowed = fake_allowed};

static inline enum core_err fake_open(void *ctx, struct enrich_store **out, struct core_fail *fail) {
    struct fake_world *world = ctx;
    enum core_err err = fake_fails(world, &world->open_err, fail);
    *out = NULL;
    if (err == CORE_OK) {
        struct fake_store *store = calloc(1, sizeof *store);
        MUST(store != NULL);
        const struct store_ops *ops = world->ops == NULL ? &fake_ops : world->ops;
        *store = (struct fake_store){.store = {.magic = ENRICH_STORE_MAGIC, .ops = ops}, .world = world};
        *out = &store->store;
        atomic_fetch_add(&world->opens, 1);
    }
    return err;
}

/* Wait until the follower has looked twice: so it knows all that was said before this call. */
static inline void fake_settle(struct fake_world *world) {
    unsigned before = atomic_load(&world->follows);
    for (unsigned i = 0; atomic_load(&world->follows) - before < 2; i++) {
        MUST(i < 60000);
        fake_sleep_us(1000);
    }
}

#endif
