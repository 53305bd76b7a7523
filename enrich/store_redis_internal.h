/* enrich/store_redis_internal.h: indicators in Redis; what its files share.
 *
 *   store_redis.c         opening, looking up, walking, the allow-list; the names of keys
 *   store_redis_write.c   put and remove: chunks, each a transaction with its entry in the stream of changes
 *   store_redis_follow.c  build and follow
 *   store_redis_extra.c   state of feeds, leases, sightings
 *
 * The layout of the keys is an interface: docs/reference/intel.rst; why it is so: ADR 0030.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_STORE_REDIS_INTERNAL_H
#define TAPLINE_ENRICH_STORE_REDIS_INTERNAL_H

#include "enrich/redis_internal.h"
#include "enrich/store_internal.h"

#define REDIS_WRITE_NS (30 * CORE_NS_PER_S) /* of a command's exchange; a data path has its own */
#define REDIS_WALK_NS (10 * CORE_NS_PER_S)  /* of one step of a build */
#define REDIS_CHANGES_MAX 10000             /* entries of the stream, of up to REDIS_CHUNK_MAX changes each; about */
#define REDIS_CHUNK_MAX 512                 /* keys of a transaction */
#define REDIS_PREFIX_MAX 64
#define REDIS_KEY_MAX (REDIS_PREFIX_MAX + 16 + ENRICH_VALUE_BYTES_MAX)
#define REDIS_NAME_MAX (REDIS_PREFIX_MAX + 200)

struct redis_chunk;

struct redis_store {
    struct enrich_store store;
    const char *prefix;
    size_t prefix_len;
    struct redis *ask;    /* get(); put(), remove(), flush(), allow(), state, leases, sightings */
    struct redis *follow; /* count(), build(), follow(), walk(), allowed() */
    struct store_said_reader *ask_reader;
    struct store_said_reader *follow_reader;
    struct core_arena scratch; /* of the thread that follows, or writes */
    size_t entries_max;        /* of the next read of the stream of changes; 0: none was read yet */
    struct redis_chunk *chunk; /* put() and remove() that flush() has not sent; NULL: a reader's */
};

static inline struct redis_store *redis_store_of(struct enrich_store *store) {
    MUST(store->magic == ENRICH_STORE_MAGIC);
    return (struct redis_store *)store;
}

/* prefix + name, NUL-terminated. */
const char *redis_name(const struct redis_store *redis, char out[REDIS_NAME_MAX], const char *name, const char *more);
/* prefix + "type:value". */
struct core_span redis_key(const struct redis_store *redis, char out[REDIS_KEY_MAX], enum core_indicator type,
                           struct core_span value);
/* "type:value" read again. False: none of ours. */
bool redis_key_read(struct core_span text, enum core_indicator *type, struct core_span *value);
/* A page of SCAN, as a command to add to an exchange; cursor: "0" at first. */
void redis_scan_ask(const struct redis_store *redis, struct redis *on, const char *cursor, const char *count);
/* Its answer: the keys that are indicators', one by one. Errors: CORE_BAD no answer to SCAN. */
CORE_CHECKED enum core_err redis_scan_read(const struct redis *on, const struct redis_reply *reply, char cursor[32],
                                           const struct redis_reply **keys, struct core_fail *fail);
/* Is the answer that this key is no hash? Then another program has it. */
bool redis_is_foreign(const struct redis_reply *reply);

struct redis_chunk *redis_chunk_new(void);        /* never NULL (MUST) */
void redis_chunk_free(struct redis_chunk *chunk); /* takes NULL */
enum core_err redis_put(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail);
enum core_err redis_remove(struct enrich_store *store, enum core_indicator type, struct core_span value,
                           const char *feed, const char *provider, struct core_fail *fail);
enum core_err redis_remove_said(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail);
enum core_err redis_flush(struct enrich_store *store, struct core_fail *fail);
void redis_forget(struct enrich_store *store);
enum core_err redis_allow(struct enrich_store *store, enum core_indicator type, struct core_span value, bool is_allowed,
                          struct core_fail *fail);

enum core_err redis_now(struct enrich_store *store, struct store_cursor *cursor, struct core_fail *fail);
enum core_err redis_build(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                          struct core_fail *fail);
enum core_err redis_follow(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                           int timeout_ms, struct core_fail *fail);

extern const struct store_extra_ops redis_extra;
/* len random bytes as hex, with a NUL behind. */
void redis_random(char *out, size_t len);

#endif
