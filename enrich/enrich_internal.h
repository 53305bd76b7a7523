/* enrich/enrich_internal.h: what the files of this folder share.
 *
 *   enrich.c    the stage: a batch's observables -> filter -> store -> documents; the follower thread
 *   filter.c    certainly not, or perhaps: a set of hashes
 *   probe.c     what to ask of an observable: itself, the networks an address is in, the parents of a domain
 *   document.c  threat.enrichments and its flat copies, into a document that is written already
 *   canonical.c the one form of an indicator
 *   store.c     redis or memory, behind one table of functions; store_redis.c, store_memory.c
 *   redis.c     the wrapper of hiredis: one connection, TCP, TLS or Unix
 *   sources.c   the table of sources; source_zeek.c, source_list.c, source_misp.c, source_stix.c, source_taxii.c, source_cif.c
 *   sync.c      a feed into the store, under a lease
 *   seen*.c     what was seen lately, on disk; looking back
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_INTERNAL_H
#define TAPLINE_ENRICH_INTERNAL_H

#include "core/core.h"
#include "enrich/enrich.h"

/* ---- the filter ---------------------------------------------------------------------------------------------------------- */

/* The hash under which an indicator is in the filter. Of a domain whose subdomains are meant there are two: as DOMAIN, and
 * as PROBE_PARENT. A network's value is its canonical text. */
enum probe_kind { PROBE_EXACT, PROBE_PARENT };
uint64_t probe_hash(enum core_indicator type, enum probe_kind kind, struct core_span value);

/* A set of 64-bit hashes that forgets all but 32 bits of each: of what is not in it, fewer than 1 in 10^8 look as if it were.
 * A line of 16 slots is one cache line, so a look-up is one miss, hidden by filter_prefetch(). One thread adds; any look. */
struct filter;
CORE_CHECKED enum core_err filter_new(struct filter **out, size_t items, struct core_fail *fail);
void filter_free(struct filter *filter);               /* takes NULL */
bool filter_add(struct filter *filter, uint64_t hash); /* false: it is full; make a bigger one */
void filter_prefetch(const struct filter *filter, uint64_t hash);
bool filter_has(const struct filter *filter, uint64_t hash);
size_t filter_len(const struct filter *filter);
size_t filter_bytes(const struct filter *filter);

/* ---- the store ----------------------------------------------------------------------------------------------------------- */

/* What the follower is told. Thread: the follower's. */
struct store_changes {
    void (*on_add)(void *ctx, enum core_indicator type, struct core_span value, bool subdomains);
    void (*on_remove)(void *ctx, enum core_indicator type, struct core_span value);
    void (*on_allow)(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed);
    void *ctx;
};

/* Where the reader of changes is. A changed epoch, a trimmed or a backward id: build again. */
struct store_cursor {
    char epoch[40];
    char id[48];
};

struct store_ops {
    const char *name;
    void (*close)(struct enrich_store *store);
    enum core_err (*get)(struct enrich_store *store, struct enrich_found *found, size_t len, struct core_arena *arena,
                         int timeout_ms, struct core_fail *fail);
    enum core_err (*put)(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail);
    enum core_err (*remove)(struct enrich_store *store, enum core_indicator type, struct core_span value,
                            const char *feed, const char *provider, struct core_fail *fail);
    enum core_err (*flush)(struct enrich_store *store, struct core_fail *fail);
    enum core_err (*allow)(struct enrich_store *store, enum core_indicator type, struct core_span value,
                           bool is_allowed, struct core_fail *fail);
    enum core_err (*walk)(struct enrich_store *store, bool wants_providers,
                          bool (*on_found)(void *ctx, const struct enrich_found *found), void *ctx,
                          struct core_fail *fail);
    /* Begin anew: where the stream of changes stands now, then every indicator and the allow-list; *estimate first (for
     * progress and the filter's size). Changes made meanwhile come by follow() again, or twice. */
    enum core_err (*count)(struct enrich_store *store, uint64_t *items, struct core_fail *fail);
    enum core_err (*build)(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                           struct core_fail *fail);
    /* Changes since the cursor, waiting up to timeout_ms for the first. CORE_AGAIN none came · CORE_GONE build again, fail
     * says why · CORE_NET. */
    enum core_err (*follow)(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                            int timeout_ms, struct core_fail *fail);
};
struct enrich_store {
    uint32_t magic;
    const struct store_ops *ops;
};
#define ENRICH_STORE_MAGIC 0x73746f72u

CORE_CHECKED enum core_err store_memory_open(struct enrich_store **out, const struct enrich_conf *conf,
                                             struct core_fail *fail);
CORE_CHECKED enum core_err store_redis_open(struct enrich_store **out, const struct enrich_redis_conf *conf,
                                            bool is_writer, struct core_fail *fail);

/* ---- sources ------------------------------------------------------------------------------------------------------------- */

/* One kind of source: a file and a row of sources.c. */
struct source_ops {
    const char *name;
    const char *summary;
    /* Does the beginning of a file look like it? 0 no … 100 certainly. */
    int (*looks)(struct core_span head);
    /* Read a whole text. path: for messages. */
    enum core_err (*read)(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                          const struct enrich_read_calls *calls, struct core_fail *fail);
    /* Fetch from a server: NULL: what feed->url gives is what read() takes. state: what the last sync left (ETag, cursor …),
     * kept in the store by sync.c. */
    enum core_err (*fetch)(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                           const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                           struct core_fail *fail);
    bool tells_all; /* what a complete read leaves out is no indicator any more */
};
extern const struct source_ops *const source_table[]; /* NULL-terminated, in the order of enrich_feed_types */
extern const struct source_ops source_zeek;
extern const struct source_ops source_list;
extern const struct source_ops source_csv;
extern const struct source_ops source_misp;
extern const struct source_ops source_stix;
extern const struct source_ops source_taxii;
extern const struct source_ops source_cif;

/* An item under construction, with its defaults from the feed; source_give() makes it canonical, fills defaults, and calls
 * on_item, or on_refused with the reason. */
void source_give(const struct enrich_read_calls *calls, const struct enrich_feed_conf *feed, uint64_t line,
                 struct enrich_item *item);

#endif
