/* enrich/sighting_tell.c: what Redis has counted of a feed's indicators, told to the feed's server.
 *
 *     intel:seen:DAY - intel:told:FEED:DAY -> of those that this feed names now -> its server -> intel:told:FEED:DAY
 *
 * It is `tapline intel sync` that does so: it has the feeds' secrets, which no sensor needs, and counts of all sensors are in
 * Redis. Of today and the six days before, what was not told yet is told, with the day's number of new sightings; of a day
 * that is over the time is its end. One that syncs holds a lease, so that of many one tells.
 *
 * Crash: a page (PAGE_MAX) is told, then remembered. A kill between the two, or a server whose answer is lost, makes it be
 * told twice; nothing is left untold.
 * Thread: the command's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/sync_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define DAYS 7
#define ITEMS_MAX ((size_t)200000) /* indicators of a day; more are told when fewer of them are new */
#define SLOTS ((size_t)524288)
#define PAGE_MAX ((size_t)100)
#define TELL_MAX 500 /* in one sync; the rest in the next: of MISP that is 100 s */
#define VALUES_BYTES (512 * CORE_MIB)
#define GET_MS 10000
#define LEASE_NS (300 * CORE_NS_PER_S) /* of a page, renewed with each; nobody is in a hurry after a kill */
#define SECONDS_PER_DAY 86400

_Static_assert(SLOTS > 2 * ITEMS_MAX, "a search ends");
_Static_assert(PAGE_MAX <= ENRICH_SIGHTINGS_POST_MAX, "a page is posted at once");

/* An indicator of a day. */
struct item {
    enum core_indicator type;
    struct core_span value;
    uint64_t seen;
    uint64_t told;
};

struct telling {
    struct enrich_store *store;
    const struct enrich_feed_conf *feed;
    const struct enrich_sync_how *how;
    struct core_fail *fail;
    struct store_lease lease;
    struct core_arena values;
    struct core_arena answers;
    struct item *items;
    size_t items_len;
    uint32_t *slots; /* number of the item plus one; 0: none */
    uint64_t left;   /* items beyond ITEMS_MAX */
    uint64_t told;
    int64_t day;
};

/* ---- a day ---------------------------------------------------------------------------------------------------------------------- */

/* NULL: there are too many. */
static struct item *item_of(struct telling *telling, const struct store_sighting *sighting) {
    size_t at = (size_t)core_hash64(sighting->value.ptr, sighting->value.len, (uint64_t)sighting->type) % SLOTS;
    for (; telling->slots[at] != 0; at = (at + 1) % SLOTS) {
        struct item *item = &telling->items[telling->slots[at] - 1];
        if (item->type == sighting->type && core_span_eq(item->value, sighting->value)) {
            return item;
        }
    }
    const char *copy = telling->items_len < ITEMS_MAX ? core_arena_copy(&telling->values, sighting->value) : NULL;
    if (copy == NULL) {
        telling->left++;
        return NULL;
    }
    struct item *item = &telling->items[telling->items_len++];
    *item = (struct item){.type = sighting->type, .value = {copy, sighting->value.len}};
    telling->slots[at] = (uint32_t)telling->items_len;
    return item;
}

static bool goes_on(const struct telling *telling) {
    return telling->how->goes_on == NULL || telling->how->goes_on(telling->how->ctx);
}

/* HSCAN may name one twice: the same count. */
static bool on_seen(void *ctx, const struct store_sighting *sighting) {
    struct item *item = item_of(ctx, sighting);
    if (item != NULL) {
        item->seen = sighting->count;
    }
    return true;
}

static bool on_told(void *ctx, const struct store_sighting *sighting) {
    struct item *item = item_of(ctx, sighting);
    if (item != NULL) {
        item->told = sighting->count;
    }
    return true;
}

static enum core_err day_read(struct telling *telling) {
    core_arena_reset(&telling->values, CORE_ARENA_KEEP_BYTES);
    telling->items_len = 0;
    memset(telling->slots, 0, SLOTS * sizeof *telling->slots);
    enum core_err err =
        store_told_walk(telling->store, telling->feed->name, telling->day, on_told, telling, telling->fail);
    return err == CORE_OK ? store_sightings_walk(telling->store, telling->day, on_seen, telling, telling->fail) : err;
}

/* ---- a page --------------------------------------------------------------------------------------------------------------------- */

struct page {
    struct store_sighting seen[PAGE_MAX]; /* with the day's count */
    struct enrich_found found[PAGE_MAX];
    uint64_t news[PAGE_MAX];
    size_t len;
};

/* What the feed itself says of it. NULL: nothing, or not any more. */
static const struct enrich_provider *word_of(const struct telling *telling, const struct enrich_found *found) {
    const struct enrich_provider *word = NULL;
    for (size_t i = 0; i < found->providers_len; i++) {
        const struct enrich_provider *said = &found->providers[i];
        if (strcmp(said->feed, telling->feed->name) == 0 && (word == NULL || word->id == NULL)) {
            word = said;
        }
    }
    return word;
}

static enum core_err page_tell(struct telling *telling, struct page *page) {
    struct enrich_sighting tell[PAGE_MAX];
    struct store_sighting done[PAGE_MAX];
    size_t len = 0, posted = 0;
    int64_t now_s = core_now_ns() / CORE_NS_PER_S;
    int64_t end_s = (telling->day + 1) * SECONDS_PER_DAY - 1;
    core_arena_reset(&telling->answers, CORE_ARENA_KEEP_BYTES);
    enum core_err err =
        enrich_store_get(telling->store, page->found, page->len, &telling->answers, GET_MS, telling->fail);
    for (size_t i = 0; err == CORE_OK && i < page->len && telling->told + len < TELL_MAX; i++) {
        const struct enrich_provider *word = word_of(telling, &page->found[i]);
        if (word != NULL) {
            done[len] = page->seen[i];
            tell[len++] = (struct enrich_sighting){.type = page->seen[i].type,
                                                   .value = page->seen[i].value,
                                                   .id = word->id,
                                                   .last_s = now_s < end_s ? now_s : end_s,
                                                   .count = page->news[i]};
        }
    }
    if (err != CORE_OK || len == 0) {
        return err;
    }
    struct core_fail other;
    err = enrich_sightings_post(telling->feed, tell, len, &posted, telling->fail);
    enum core_err kept =
        store_told_put(telling->store, telling->feed->name, done, posted, err == CORE_OK ? telling->fail : &other);
    telling->told += posted;
    if (telling->how->on_progress != NULL) {
        telling->how->on_progress(telling->how->ctx, "telling sightings", -1, telling->told);
    }
    return err == CORE_OK ? kept : err;
}

static enum core_err day_tell(struct telling *telling) {
    struct page page = {.len = 0};
    enum core_err err = day_read(telling);
    for (size_t i = 0; err == CORE_OK && i < telling->items_len && telling->told < TELL_MAX; i++) {
        const struct item *item = &telling->items[i];
        if (item->seen > item->told) {
            page.seen[page.len] = (struct store_sighting){item->type, item->value, telling->day, item->seen};
            page.found[page.len] = (struct enrich_found){.type = item->type, .value = item->value};
            page.news[page.len++] = item->seen - item->told;
        }
        if (page.len == PAGE_MAX || (page.len > 0 && i + 1 == telling->items_len)) {
            err = goes_on(telling) ? store_lease_renew(telling->store, &telling->lease, LEASE_NS, telling->fail)
                                   : core_fail_set(telling->fail, CORE_AGAIN, telling->feed->name,
                                                   "it was ended; the next sync tells the other sightings");
            err = err == CORE_OK ? page_tell(telling, &page) : err;
            page.len = 0;
        }
    }
    return err;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------ */

static enum core_err leased(struct telling *telling) {
    enum core_err err = core_arena_init(&telling->values, VALUES_BYTES, telling->fail);
    err = err == CORE_OK ? core_arena_init(&telling->answers, VALUES_BYTES, telling->fail) : err;
    telling->items = calloc(ITEMS_MAX, sizeof *telling->items);
    telling->slots = calloc(SLOTS, sizeof *telling->slots);
    MUST(telling->items != NULL);
    MUST(telling->slots != NULL);
    const int64_t today = core_now_ns() / CORE_NS_PER_S / SECONDS_PER_DAY;
    for (telling->day = today - DAYS + 1; err == CORE_OK && telling->day <= today; telling->day++) {
        err = day_tell(telling);
    }
    if (telling->left > 0) {
        core_log(CORE_LEVEL_WARN, "sync", "so many indicators were seen in a day that some are not told to a feed",
                 "feed=%s max=%zu left_out=%llu", telling->feed->name, ITEMS_MAX, (unsigned long long)telling->left);
    }
    free(telling->items);
    free(telling->slots);
    core_arena_destroy(&telling->values);
    core_arena_destroy(&telling->answers);
    return err;
}

enum core_err enrich_sightings_tell(struct enrich_store *store, const struct enrich_feed_conf *feed,
                                    const struct enrich_sync_how *how, uint64_t *told, struct core_fail *fail) {
    struct telling telling = {.store = store, .feed = feed, .how = how, .fail = fail};
    char name[sizeof telling.lease.name];
    *told = 0;
    if (!feed->sightings) {
        return CORE_OK;
    }
    (void)snprintf(name, sizeof name, "sightings.%s", feed->name);
    enum core_err err = store_lease_take(store, name, LEASE_NS, &telling.lease, fail);
    if (err != CORE_OK) {
        return err == CORE_LOCKED ? CORE_OK : err; /* another one tells */
    }
    err = leased(&telling);
    if (how->on_progress != NULL) {
        how->on_progress(how->ctx, NULL, 0, 0);
    }
    struct core_fail other;
    enum core_err given = store_lease_give(store, &telling.lease, err == CORE_OK ? fail : &other);
    *told = telling.told;
    return err == CORE_GONE ? CORE_OK : err == CORE_OK ? given : err; /* GONE: another one has the lease now */
}
