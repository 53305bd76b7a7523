/* enrich/table_internal.h: a table of indicators in memory, for store_memory.c.
 *
 * Three pieces of memory: the entries (type, value), one behind the other; what providers say, in records of a fixed size,
 * and every text once; two indexes with open addressing, eight bytes a slot (32 bits of the hash, and where it is in units of
 * eight bytes). Nothing is moved out of a table or freed in it but with the whole of it.
 * Thread: one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_TABLE_INTERNAL_H
#define TAPLINE_ENRICH_TABLE_INTERNAL_H

#include "enrich/store_internal.h"

#define TABLE_ITEMS_MAX ((size_t)32 * 1000 * 1000)

/* Bytes that grow; a place in them is said in units of ALIGN, 0: nowhere. */
struct pool {
    char *base;
    size_t len;
    size_t cap;
};

struct index {
    uint64_t *slots; /* upper half: of the hash; lower: place. 0: empty */
    size_t cap;      /* a power of two */
    size_t len;
};

/* An indicator; its value stands behind it. */
struct entry {
    uint32_t first; /* struct said; 0: nobody says anything any more */
    uint16_t value_len;
    uint8_t type;
};

/* Texts and the next record: places in said_pool, 0: none. Times: seconds, 0: not said. */
struct said {
    uint32_t next;
    uint32_t text[7]; /* feed, provider, tlp, description, reference, tags, id */
    uint32_t first_seen;
    uint32_t last_seen;
    uint32_t expires;
    int16_t confidence_tenths;
    bool subdomains;
};

struct table {
    struct pool entries;
    struct pool said_pool;
    struct index by_value;
    struct index by_text;
    size_t len;        /* entries with a provider */
    struct pool allow; /* struct entry, too */
    /* Of table_count(). */
    size_t over;      /* of len, those that nobody says any more: their time is over */
    uint32_t over_at; /* more may be over from then on, seconds; 0: none will be */
};

/* SAME: nothing was changed. NEW: it was no indicator before, or did not name its subdomains. REFUSED: it has
 * ENRICH_PROVIDERS_MAX providers. FULL: TABLE_ITEMS_MAX, or no memory. */
enum put_result { PUT_SAME, PUT_CHANGED, PUT_NEW, PUT_REFUSED, PUT_FULL };

enum put_result table_put(struct table *table, const struct enrich_item *item);
/* NULL: never was in it. One without providers (first is 0) is no indicator any more. */
struct entry *table_find(const struct table *table, enum core_indicator type, struct core_span value);
/* Take off what a feed says (provider NULL: all of it). Returns how many providers that were. */
size_t table_remove(struct table *table, struct entry *entry, const char *feed, const char *provider);
bool table_subdomains(const struct table *table, const struct entry *entry);
/* Does anybody still say it at now_s? */
bool table_holds(const struct table *table, const struct entry *entry, int64_t now_s);
/* How many of these there are. The table is walked only when more may be over than the last time. */
size_t table_count(struct table *table, int64_t now_s);
/* Providers that hold at now_s, copied into arena. False: it is full. */
bool table_show(const struct table *table, const struct entry *entry, int64_t now_s, struct core_arena *arena,
                struct enrich_found *found);
void table_free(struct table *table); /* takes NULL */

/* Entries of a pool: entries, allow. */
static inline struct core_span table_value(const struct entry *entry) {
    return (struct core_span){(const char *)(entry + 1), entry->value_len};
}
void *table_at(const struct pool *pool, uint32_t place);
uint32_t table_entry_add(struct pool *pool, enum core_indicator type, struct core_span value); /* 0: no memory */
struct entry *table_entry_next(const struct pool *pool, size_t *at); /* at: 0 before the first; NULL behind the last */

#endif
