/* enrich/table.c: a table of indicators in memory. See table_internal.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/table_internal.h"

#include <stdlib.h>

#define ALIGN ((size_t)8)
#define SLOTS_MIN ((size_t)1024)
#define BYTES_MIN ((size_t)64 * CORE_KIB)
#define BYTES_MAX (ALIGN * UINT32_MAX)

static uint32_t pool_take(struct pool *pool, size_t len) {
    size_t at = pool->len == 0 ? ALIGN : (pool->len + ALIGN - 1) / ALIGN * ALIGN;
    if (at + len > pool->cap) {
        size_t cap = pool->cap == 0 ? BYTES_MIN : pool->cap + pool->cap / 2;
        cap = cap < at + len ? at + len : cap;
        char *grown = cap > BYTES_MAX ? NULL : realloc(pool->base, cap);
        if (grown == NULL) {
            return 0;
        }
        pool->base = grown;
        pool->cap = cap;
    }
    pool->len = at + len;
    return (uint32_t)(at / ALIGN);
}

void *table_at(const struct pool *pool, uint32_t place) {
    MUST(place != 0);
    MUST(place * ALIGN < pool->len);
    return pool->base + place * ALIGN;
}

static size_t index_home(const struct index *index, uint32_t hash) {
    return (size_t)(hash * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (index->cap - 1);
}

static void index_set(struct index *index, uint32_t hash, uint32_t place) {
    size_t i = index_home(index, hash);
    while (index->slots[i] != 0) {
        i = (i + 1) & (index->cap - 1);
    }
    index->slots[i] = (uint64_t)hash << 32 | place;
    index->len++;
}

/* Room for one more, at most four fifths full. */
static bool index_grow(struct index *index) {
    if (index->cap > 0 && (index->len + 1) * 5 <= index->cap * 4) {
        return true;
    }
    struct index grown = {.cap = index->cap == 0 ? SLOTS_MIN : index->cap * 2};
    grown.slots = calloc(grown.cap, sizeof *grown.slots);
    if (grown.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < index->cap; i++) {
        if (index->slots[i] != 0) {
            index_set(&grown, (uint32_t)(index->slots[i] >> 32), (uint32_t)index->slots[i]);
        }
    }
    free(index->slots);
    *index = grown;
    return true;
}

void table_free(struct table *table) {
    if (table == NULL) {
        return;
    }
    free(table->entries.base);
    free(table->said_pool.base);
    free(table->allow.base);
    free(table->by_value.slots);
    free(table->by_text.slots);
    free(table);
}

static uint32_t hash_of(unsigned type, struct core_span value) {
    return (uint32_t)core_hash64(value.ptr, value.len, type);
}

struct entry *table_find(const struct table *table, enum core_indicator type, struct core_span value) {
    uint32_t hash = hash_of(type, value);
    if (table->by_value.cap == 0) {
        return NULL;
    }
    for (size_t i = index_home(&table->by_value, hash);; i = (i + 1) & (table->by_value.cap - 1)) {
        uint64_t slot = table->by_value.slots[i];
        if (slot == 0) {
            return NULL;
        }
        struct entry *entry = slot >> 32 == hash ? table_at(&table->entries, (uint32_t)slot) : NULL;
        if (entry != NULL && entry->type == type && core_span_eq(table_value(entry), value)) {
            return entry;
        }
    }
}

uint32_t table_entry_add(struct pool *pool, enum core_indicator type, struct core_span value) {
    uint32_t place = pool_take(pool, sizeof(struct entry) + value.len);
    if (place != 0) {
        struct entry *entry = table_at(pool, place);
        *entry = (struct entry){.value_len = (uint16_t)value.len, .type = (uint8_t)type};
        memcpy(entry + 1, value.ptr, value.len);
    }
    return place;
}

/* Entry after entry; at: 0 for the first. */
struct entry *table_entry_next(const struct pool *pool, size_t *at) {
    *at = *at == 0 ? ALIGN : (*at + ALIGN - 1) / ALIGN * ALIGN;
    if (*at >= pool->len) {
        return NULL;
    }
    struct entry *entry = table_at(pool, (uint32_t)(*at / ALIGN));
    *at += sizeof *entry + entry->value_len;
    return entry;
}

static struct entry *table_add(struct table *table, enum core_indicator type, struct core_span value) {
    if (table->by_value.len >= TABLE_ITEMS_MAX || !index_grow(&table->by_value)) {
        return NULL;
    }
    uint32_t place = table_entry_add(&table->entries, type, value);
    if (place == 0) {
        return NULL;
    }
    index_set(&table->by_value, hash_of(type, value), place);
    return table_at(&table->entries, place);
}

/* Where a text stands, each once. 0: no memory, or no text. */
static uint32_t text_keep(struct table *table, const char *text) {
    size_t len = text == NULL ? 0 : strlen(text);
    if (len == 0 || !index_grow(&table->by_text)) {
        return 0;
    }
    uint32_t hash = (uint32_t)core_hash64(text, len, 0);
    for (size_t i = index_home(&table->by_text, hash);; i = (i + 1) & (table->by_text.cap - 1)) {
        uint64_t slot = table->by_text.slots[i];
        if (slot == 0) {
            break;
        }
        if (slot >> 32 == hash && strcmp(table_at(&table->said_pool, (uint32_t)slot), text) == 0) {
            return (uint32_t)slot;
        }
    }
    uint32_t place = pool_take(&table->said_pool, len + 1);
    if (place != 0) {
        memcpy(table_at(&table->said_pool, place), text, len + 1);
        index_set(&table->by_text, hash, place);
    }
    return place;
}

static const char *text_at(const struct table *table, uint32_t place) {
    return place == 0 ? NULL : table_at(&table->said_pool, place);
}

static struct enrich_provider said_show(const struct table *table, const struct said *said) {
    return (struct enrich_provider){.feed = text_at(table, said->text[0]),
                                    .provider = text_at(table, said->text[1]),
                                    .tlp = text_at(table, said->text[2]),
                                    .description = text_at(table, said->text[3]),
                                    .reference = text_at(table, said->text[4]),
                                    .tags = text_at(table, said->text[5]),
                                    .id = text_at(table, said->text[6]),
                                    .confidence_tenths = said->confidence_tenths,
                                    .first_seen = said->first_seen,
                                    .last_seen = said->last_seen,
                                    .expires = said->expires,
                                    .subdomains = said->subdomains};
}

/* Times before 1970 or after 2106 are none. */
static uint32_t seconds32(int64_t seconds) {
    return seconds < 0 || seconds > UINT32_MAX ? 0 : (uint32_t)seconds;
}

static struct said said_pack(struct table *table, const struct enrich_provider *said) {
    return (struct said){.text = {text_keep(table, said->feed), text_keep(table, said->provider),
                                  text_keep(table, said->tlp), text_keep(table, said->description),
                                  text_keep(table, said->reference), text_keep(table, said->tags),
                                  text_keep(table, said->id)},
                         .first_seen = seconds32(said->first_seen),
                         .last_seen = seconds32(said->last_seen),
                         .expires = seconds32(said->expires),
                         .confidence_tenths = (int16_t)said->confidence_tenths,
                         .subdomains = said->subdomains};
}

bool table_subdomains(const struct table *table, const struct entry *entry) {
    bool subdomains = false;
    for (uint32_t at = entry->first; at != 0 && !subdomains;) {
        const struct said *said = table_at(&table->said_pool, at);
        subdomains = said->subdomains;
        at = said->next;
    }
    return subdomains;
}

bool table_holds(const struct table *table, const struct entry *entry, int64_t now_s) {
    bool holds = false;
    for (uint32_t at = entry->first; at != 0 && !holds;) {
        const struct said *said = table_at(&table->said_pool, at);
        holds = said->expires == 0 || said->expires > now_s;
        at = said->next;
    }
    return holds;
}

/* 0: never. */
static uint32_t sooner(uint32_t a, uint32_t b) {
    return a == 0 || (b != 0 && b < a) ? b : a;
}

size_t table_count(struct table *table, int64_t now_s) {
    if (table->over_at == 0 || now_s < table->over_at) {
        return table->len - table->over;
    }
    const struct entry *entry;
    uint32_t next_s = 0;
    size_t over = 0;
    for (size_t at = 0; (entry = table_entry_next(&table->entries, &at)) != NULL;) {
        over += entry->first != 0 && !table_holds(table, entry, now_s);
        for (uint32_t place = entry->first; place != 0;) {
            const struct said *said = table_at(&table->said_pool, place);
            next_s = said->expires > now_s ? sooner(next_s, said->expires) : next_s;
            place = said->next;
        }
    }
    MUST(over <= table->len);
    table->over = over;
    table->over_at = next_s;
    return table->len - over;
}

/* The record of a provider, or where the next would be linked. */
static uint32_t *said_link(struct table *table, struct entry *entry, const struct enrich_provider *said,
                           size_t *others) {
    uint32_t *link = &entry->first;
    for (*others = 0; *link != 0; (*others)++) {
        struct said *there = table_at(&table->said_pool, *link);
        if (strcmp(text_at(table, there->text[0]), said->feed) == 0 &&
            strcmp(text_at(table, there->text[1]), said->provider) == 0) {
            break;
        }
        link = &there->next;
    }
    return link;
}

/* New: an indicator that was none, or that did not name its subdomains before. */
enum put_result table_put(struct table *table, const struct enrich_item *item) {
    struct enrich_provider said = item->said;
    said.provider = said.provider == NULL || said.provider[0] == '\0' ? said.feed : said.provider;
    struct entry *entry = table_find(table, item->type, item->value);
    entry = entry == NULL ? table_add(table, item->type, item->value) : entry;
    if (entry == NULL) {
        return PUT_FULL;
    }
    bool was_empty = entry->first == 0;
    bool had_subdomains = table_subdomains(table, entry);
    size_t others;
    uint32_t place = *said_link(table, entry, &said, &others);
    if (place != 0) {
        struct enrich_provider before = said_show(table, table_at(&table->said_pool, place));
        if (store_said_same(&before, &said)) {
            return PUT_SAME;
        }
    } else if (others >= ENRICH_PROVIDERS_MAX) {
        return PUT_REFUSED;
    }
    struct said packed = said_pack(table, &said); /* may move said_pool */
    if (place == 0) {
        place = pool_take(&table->said_pool, sizeof packed);
        if (place == 0 || packed.text[0] == 0 || packed.text[1] == 0) {
            return PUT_FULL;
        }
        *said_link(table, entry, &said, &others) = place;
    } else {
        packed.next = ((struct said *)table_at(&table->said_pool, place))->next;
    }
    *(struct said *)table_at(&table->said_pool, place) = packed;
    table->len += was_empty;
    table->over_at = table->over > 0 ? 1 : sooner(table->over_at, packed.expires);
    return was_empty || (said.subdomains && !had_subdomains) ? PUT_NEW : PUT_CHANGED;
}

/* How many providers were taken off. */
size_t table_remove(struct table *table, struct entry *entry, const char *feed, const char *provider) {
    size_t removed = 0;
    for (uint32_t *link = &entry->first; *link != 0;) {
        struct said *said = table_at(&table->said_pool, *link);
        if (strcmp(text_at(table, said->text[0]), feed) == 0 &&
            (provider == NULL || strcmp(text_at(table, said->text[1]), provider) == 0)) {
            *link = said->next;
            removed++;
        } else {
            link = &said->next;
        }
    }
    table->len -= removed > 0 && entry->first == 0;
    table->over_at = table->over > 0 ? 1 : table->over_at;
    return removed;
}

static const char *keep(struct core_arena *arena, const char *text, bool *is_full) {
    if (text == NULL) {
        return NULL;
    }
    const char *copy = core_arena_copy(arena, core_span_of(text));
    *is_full = *is_full || copy == NULL;
    return copy;
}

/* Providers that hold still, copied into arena. False: it is full. */
bool table_show(const struct table *table, const struct entry *entry, int64_t now_s, struct core_arena *arena,
                struct enrich_found *found) {
    struct enrich_provider *out = core_arena_alloc(arena, ENRICH_PROVIDERS_MAX * sizeof *out);
    bool is_full = out == NULL;
    size_t len = 0;
    for (uint32_t at = entry->first; at != 0 && !is_full;) {
        const struct said *said = table_at(&table->said_pool, at);
        at = said->next;
        if (said->expires != 0 && said->expires <= now_s) {
            continue;
        }
        struct enrich_provider shown = said_show(table, said);
        shown.feed = keep(arena, shown.feed, &is_full);
        shown.provider = keep(arena, shown.provider, &is_full);
        shown.tlp = keep(arena, shown.tlp, &is_full);
        shown.description = keep(arena, shown.description, &is_full);
        shown.reference = keep(arena, shown.reference, &is_full);
        shown.tags = keep(arena, shown.tags, &is_full);
        shown.id = keep(arena, shown.id, &is_full);
        out[len++] = shown;
    }
    if (!is_full) {
        store_said_sort(out, len);
        found->providers = out;
        found->providers_len = len;
    }
    return !is_full;
}
