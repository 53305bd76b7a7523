/* enrich/enrich_internal.h: what the files of this folder share.
 *
 *   enrich.c    the stage: a batch's observables -> filter -> store -> documents; the follower thread
 *   filter.c    certainly not, or perhaps: a set of hashes
 *   probe.c     what to ask of an observable: itself, the networks an address is in, the parents of a domain
 *   document.c  threat.enrichments and its flat copies, into a document that is written already
 *   canonical.c the one form of an indicator
 *   store.c     redis or memory, behind one table of functions; store_redis.c, store_memory.c
 *   redis.c     the wrapper of hiredis: one connection, TCP, TLS or Unix
 *   sources.c   the table of sources; source_zeek.c, source_list.c, source_csv.c, source_misp.c, source_stix.c with
 *               stix_pattern.c, source_taxii.c, source_cif.c; source_text.c: times, words, defanged texts
 *   sync.c      a feed into the store, under a lease
 *   seen*.c     what was seen lately, on disk
 *   lookback.c  looking back at it for new indicators: retro.c; own_log.c
 *   sighting*.c what was seen of indicators, counted, and told: events, Redis, servers of feeds
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_INTERNAL_H
#define TAPLINE_ENRICH_INTERNAL_H

#include "core/core.h"
#include "enrich/enrich.h"

/* ---- the filter ---------------------------------------------------------------------------------------------------------- */

/* The hash under which an indicator is in the filter: PROBE_PARENT for a domain whose subdomains are meant (only: whoever
 * looks for a domain asks for both), PROBE_EXACT for all else. A network's value is its canonical text. */
enum probe_kind { PROBE_EXACT, PROBE_PARENT };
uint64_t probe_hash(enum core_indicator type, enum probe_kind kind, struct core_span value);

/* A set of 64-bit hashes that forgets all but 32 bits of each: of what is not in it, fewer than 1 in 10^8 look as if it were.
 * A line of 16 slots is one cache line, so a look-up is one miss, hidden by filter_prefetch(). One thread adds; any look. */
struct filter;
#define FILTER_ITEMS_MAX ((size_t)1000000000)
CORE_CHECKED enum core_err filter_new(struct filter **out, size_t items, struct core_fail *fail);
void filter_free(struct filter *filter);               /* takes NULL */
bool filter_add(struct filter *filter, uint64_t hash); /* false: it is full; make a bigger one */
void filter_prefetch(const struct filter *filter, uint64_t hash);
bool filter_has(const struct filter *filter, uint64_t hash);
size_t filter_len(const struct filter *filter);
size_t filter_bytes(const struct filter *filter);
bool filter_is_crowded(const struct filter *filter); /* it has more than it was made for: time for a bigger one */

/* ---- the store ----------------------------------------------------------------------------------------------------------- */

/* What the follower is told. Thread: the follower's. */
struct store_changes {
    void (*on_add)(void *ctx, enum core_indicator type, struct core_span value, bool subdomains);
    void (*on_remove)(void *ctx, enum core_indicator type, struct core_span value);
    void (*on_allow)(void *ctx, enum core_indicator type, struct core_span value, bool is_allowed);
    /* May be NULL. Asked now and then by build() and follow(), at least each second; false: they end with CORE_AGAIN. */
    bool (*goes_on)(void *ctx);
    void *ctx;
};

/* Where the reader of changes is. A changed epoch, a trimmed or a backward id: build again. */
struct store_cursor {
    char epoch[40];
    char id[48];
};

struct store_ops {
    const char *name;
    /* Its changes are this process's own: whoever follows it is never behind, however long one follow() takes. */
    bool is_current;
    void (*where)(const struct enrich_store *store, char *out, size_t len);
    void (*close)(struct enrich_store *store);
    /* Make the connection that get() asks by; NULL: there is nothing to connect. */
    enum core_err (*connect)(struct enrich_store *store, int timeout_ms, struct core_fail *fail);
    enum core_err (*get)(struct enrich_store *store, struct enrich_found *found, size_t len, struct core_arena *arena,
                         int timeout_ms, struct core_fail *fail);
    enum core_err (*put)(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail);
    enum core_err (*remove)(struct enrich_store *store, enum core_indicator type, struct core_span value,
                            const char *feed, const char *provider, struct core_fail *fail);
    /* The word of item's feed and provider, if its id is item's; NULL: no feed is synced into this store. */
    enum core_err (*remove_said)(struct enrich_store *store, const struct enrich_item *item, struct core_fail *fail);
    enum core_err (*flush)(struct enrich_store *store, struct core_fail *fail);
    /* What flush() has not written is not to be; NULL: nothing waits for flush(). */
    void (*forget)(struct enrich_store *store);
    enum core_err (*allow)(struct enrich_store *store, enum core_indicator type, struct core_span value,
                           bool is_allowed, struct core_fail *fail);
    enum core_err (*walk)(struct enrich_store *store, bool wants_providers,
                          bool (*on_found)(void *ctx, const struct enrich_found *found), void *ctx,
                          struct core_fail *fail);
    /* How many there are, and maybe keys that are none: only how it differs from a count before is exact. Then begin anew:
     * where the stream of changes stands now, every indicator and the allow-list. Changes made meanwhile come by follow()
     * again, or twice. CORE_AGAIN: goes_on ended it. */
    enum core_err (*count)(struct enrich_store *store, uint64_t *items, struct core_fail *fail);
    /* Where the stream of changes stands now; NULL: what changes is told without one. */
    enum core_err (*now)(struct enrich_store *store, struct store_cursor *cursor, struct core_fail *fail);
    enum core_err (*build)(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                           struct core_fail *fail);
    /* Changes since the cursor, waiting up to timeout_ms for the first. CORE_OK: all that there were · CORE_AGAIN none came ·
     * CORE_GONE build again, fail says why · CORE_NET. */
    enum core_err (*follow)(struct enrich_store *store, struct store_cursor *cursor, const struct store_changes *calls,
                            int timeout_ms, struct core_fail *fail);
    enum core_err (*allowed)(struct enrich_store *store,
                             bool (*on_allowed)(void *ctx, enum core_indicator type, struct core_span value), void *ctx,
                             struct core_fail *fail);
    /* The functions below these words; NULL: this store keeps nothing but indicators. */
    const struct store_extra_ops *extra;
};
/* One store serves two threads at the same time, no more: one calls connect() and get(); the other count(), now(), build(),
 * follow(). Everything else is for a store that only one thread uses (the commands). */
struct enrich_store {
    uint32_t magic;
    const struct store_ops *ops;
    uint64_t put;     /* changed by put() and remove() since the store was opened: what was said already counts as */
    uint64_t same;    /* same, and is not streamed */
    uint64_t removed; /* words of providers */
    uint64_t refused; /* beyond ENRICH_PROVIDERS_MAX */
};
#define ENRICH_STORE_MAGIC 0x73746f72u

/* The same through the table, with checks (store.c). */

/* Connect for get(), so that all of get()'s time is for the question; one that the other side has closed meanwhile is made anew.
 * timeout_ms 0: goes on with what is begun, and never waits.
 * Errors: CORE_AGAIN not yet, what is begun is kept · CORE_NET, CORE_BAD as get(). Thread: get()'s. */
CORE_CHECKED enum core_err store_connect(struct enrich_store *store, int timeout_ms, struct core_fail *fail);
CORE_CHECKED enum core_err store_count(struct enrich_store *store, uint64_t *items, struct core_fail *fail);
/* As enrich_store_remove(), but what the provider says under another id (or, item having one, under none) stays: that is another
 * of its words for the same indicator. */
CORE_CHECKED enum core_err store_remove_said(struct enrich_store *store, const struct enrich_item *item,
                                             struct core_fail *fail);
/* What was put and removed, and no flush() has written, is not to be written any more. */
void store_forget(struct enrich_store *store);
/* A cursor for follow() that knows nothing of what was before: without the indicators that build() tells. */
CORE_CHECKED enum core_err store_now(struct enrich_store *store, struct store_cursor *cursor, struct core_fail *fail);
CORE_CHECKED enum core_err store_build(struct enrich_store *store, struct store_cursor *cursor,
                                       const struct store_changes *calls, struct core_fail *fail);
CORE_CHECKED enum core_err store_follow(struct enrich_store *store, struct store_cursor *cursor,
                                        const struct store_changes *calls, int timeout_ms, struct core_fail *fail);

/* For messages: "redis://host:6379/0, prefix intel:", "intel.files". */
#define STORE_WHERE_BYTES 512
void store_where(const struct enrich_store *store, char *out, size_t len);
/* enrich_store_open() for a reader that lives long. Opening reads nothing and connects nobody: count() and build() do. And
 * whatever waits or reads for long ends with CORE_AGAIN, or CORE_NET, once stop_fd (of the caller; -1: none) is readable. */
CORE_CHECKED enum core_err store_open_until(struct enrich_store **out, const struct enrich_conf *conf,
                                            const struct enrich_redis_conf *redis, int stop_fd, struct core_fail *fail);

/* ---- what the store keeps besides: state of feeds, leases, sightings. Without Redis: CORE_BAD, and it says so. ----------- */

/* A lease: who has it does the work, until it is given back or has run out. */
struct store_lease {
    char name[128];
    char token[128]; /* node:pid:random, so that a person sees who has it */
};

struct store_sighting {
    enum core_indicator type;
    struct core_span value;
    int64_t day; /* since 1970-01-01, UTC */
    uint64_t count;
};

struct store_extra_ops {
    enum core_err (*state_get)(struct enrich_store *store, const char *feed, struct core_conf_list *state,
                               struct core_fail *fail);
    enum core_err (*state_put)(struct enrich_store *store, const char *feed, const struct core_conf_list *state,
                               struct core_fail *fail);
    enum core_err (*lease_take)(struct enrich_store *store, const char *name, int64_t ttl_ns, struct store_lease *lease,
                                struct core_fail *fail);
    enum core_err (*lease_renew)(struct enrich_store *store, const struct store_lease *lease, int64_t ttl_ns,
                                 struct core_fail *fail);
    enum core_err (*lease_give)(struct enrich_store *store, const struct store_lease *lease, struct core_fail *fail);
    enum core_err (*sightings_add)(struct enrich_store *store, const struct store_sighting *sightings, size_t len,
                                   const char *once, struct core_fail *fail);
    /* feed NULL: what was seen; else what that feed was told. */
    enum core_err (*sightings_walk)(struct enrich_store *store, const char *feed, int64_t day,
                                    bool (*on_sighting)(void *ctx, const struct store_sighting *sighting), void *ctx,
                                    struct core_fail *fail);
    enum core_err (*told_put)(struct enrich_store *store, const char *feed, const struct store_sighting *sightings,
                              size_t len, struct core_fail *fail);
};

/* Pairs kept for a feed: ETag, cursor, last result. Nothing kept yet: an empty list. Owns: store_state_release(state). */
CORE_CHECKED enum core_err store_state_get(struct enrich_store *store, const char *feed, struct core_conf_list *state,
                                           struct core_fail *fail);
/* Replace all of them, in one step. At most STORE_STATE_MAX pairs. */
CORE_CHECKED enum core_err store_state_put(struct enrich_store *store, const char *feed,
                                           const struct core_conf_list *state, struct core_fail *fail);
#define STORE_STATE_MAX 64
const char *store_state_find(const struct core_conf_list *state, const char *key); /* NULL: none */
/* Set one in memory (value NULL: remove it); store_state_put() keeps it. CORE_LIMIT: STORE_STATE_MAX are there. */
CORE_CHECKED enum core_err store_state_set(struct core_conf_list *state, const char *key, const char *value,
                                           struct core_fail *fail);
void store_state_release(struct core_conf_list *state); /* takes an empty one */

/* CORE_LOCKED: somebody else has it, fail says who and for how long still. */
CORE_CHECKED enum core_err store_lease_take(struct enrich_store *store, const char *name, int64_t ttl_ns,
                                            struct store_lease *lease, struct core_fail *fail);
/* For so long again. CORE_GONE: it had run out, and may be somebody else's now: stop the work. */
CORE_CHECKED enum core_err store_lease_renew(struct enrich_store *store, const struct store_lease *lease,
                                             int64_t ttl_ns, struct core_fail *fail);
/* Give it back. One that had run out is nobody's mistake: CORE_OK. */
CORE_CHECKED enum core_err store_lease_give(struct enrich_store *store, const struct store_lease *lease,
                                            struct core_fail *fail);

/* Add to what was seen of these indicators (at most STORE_SIGHTINGS_MAX), all or nothing. once (unique for these counts, NULL: none): a second call with
 * it within a day adds nothing, so that an answer that was lost can be asked for again. */
CORE_CHECKED enum core_err store_sightings_add(struct enrich_store *store, const struct store_sighting *sightings,
                                               size_t len, const char *once, struct core_fail *fail);
/* Call on_sighting for each indicator seen on a day, in no order. false ends it. */
CORE_CHECKED enum core_err store_sightings_walk(struct enrich_store *store, int64_t day,
                                                bool (*on_sighting)(void *ctx, const struct store_sighting *sighting),
                                                void *ctx, struct core_fail *fail);
/* The same of what a feed's server was told of that day: the count it knows. */
CORE_CHECKED enum core_err store_told_walk(struct enrich_store *store, const char *feed, int64_t day,
                                           bool (*on_sighting)(void *ctx, const struct store_sighting *sighting),
                                           void *ctx, struct core_fail *fail);
/* Remember that it knows these counts now, all of one day (at most STORE_SIGHTINGS_MAX). */
CORE_CHECKED enum core_err store_told_put(struct enrich_store *store, const char *feed,
                                          const struct store_sighting *sightings, size_t len, struct core_fail *fail);
#define STORE_SIGHTINGS_MAX 10000
#define STORE_SIGHTINGS_DAYS 400 /* so long they are kept */

/* reads_now: else count() and build() read the files. stop_fd: as that of store_open_until(). */
CORE_CHECKED enum core_err store_memory_open(struct enrich_store **out, const struct enrich_conf *conf, bool reads_now,
                                             int stop_fd, struct core_fail *fail);
CORE_CHECKED enum core_err store_redis_open(struct enrich_store **out, const struct enrich_redis_conf *conf,
                                            bool is_writer, int stop_fd, struct core_fail *fail);

/* ---- sources ------------------------------------------------------------------------------------------------------------- */

#define SOURCE_FILE_BYTES_MAX (CORE_MIB * 1024) /* of a file of indicators, decompressed */
#define SOURCE_JSON_BYTES_MAX (CORE_MIB * 256)

/* A key of a feed's `options`. */
struct source_option {
    const char *key;
    const char *help; /* one sentence */
};

/* One kind of source: a file and a row of sources.c. */
struct source_ops {
    const char *name;
    const char *summary;
    const struct source_option *options; /* ends with {0}; NULL: none */
    /* Are the options' values possible? NULL: any are. Errors: CORE_BAD, with fail->where "options". */
    enum core_err (*check)(const struct enrich_feed_conf *feed, struct core_fail *fail);
    /* Does the beginning of a file look like it? 0 no … 100 certainly. */
    int (*looks)(struct core_span head);
    /* Read a whole text. path: for messages. CORE_AGAIN: on_item wanted to stop. */
    enum core_err (*read)(struct core_span text, const char *path, const struct enrich_feed_conf *feed,
                          const struct enrich_read_calls *calls, struct core_fail *fail);
    /* Fetch from a server: NULL: what feed->url gives is what read() takes. state: what the last sync left (ETag, cursor …),
     * kept in the store by sync.c. */
    enum core_err (*fetch)(const struct enrich_feed_conf *feed, struct core_conf_list *state,
                           const struct enrich_read_calls *calls, struct enrich_sync_report *report,
                           struct core_fail *fail);
    bool tells_all;     /* what a complete read leaves out is no indicator any more */
    const char *counts; /* what the numbers of its entries count: "line", "item" */
};
extern const struct source_ops *const source_table[]; /* NULL-terminated, in the order of enrich_feed_types */
extern const struct source_ops source_zeek;
extern const struct source_ops source_list;
extern const struct source_ops source_csv;
extern const struct source_ops source_misp;
extern const struct source_ops source_stix;
extern const struct source_ops source_taxii;
extern const struct source_ops source_cif;

/* An item under construction: nothing said yet. type NONE: to be guessed. value is as the source wrote it. */
struct enrich_item source_item(enum core_indicator type, struct core_span value);
/* Make it canonical ("*.x" and ".x" are a domain x whose subdomains are meant), fill in what the feed says for what it
 * leaves out, and call on_item; or on_refused with the reason.
 * Shape:   line: where it is; in what has no lines the how-manieth it is, from 1. The texts of item->said are from
 *          source_text(), or shorter than ENRICH_TEXT_BYTES_MAX anyhow.
 * Errors:  false: on_item wants to stop. */
CORE_CHECKED bool source_give(const struct enrich_read_calls *calls, const struct enrich_feed_conf *feed, uint64_t line,
                              struct enrich_item *item);
/* The same for what a source says is no indicator any more (deleted, revoked): on_gone; without one it is refused, and gone
 * says why. */
CORE_CHECKED bool source_gone(const struct enrich_read_calls *calls, const struct enrich_feed_conf *feed, uint64_t line,
                              struct enrich_item *item, const char *gone);
/* Count what is no indicator. */
void source_refuse(const struct enrich_read_calls *calls, uint64_t line, struct core_span what, const char *why);
/* Tell now and then how far a text is read: rest is what is left of all. */
void source_progress(const struct enrich_read_calls *calls, uint64_t line, struct core_span rest, struct core_span all);
/* Bytes that were read. */
struct source_bytes {
    char *bytes; /* malloc'ed */
    size_t len;
    size_t cap;
};
/* The plain bytes of gzip's, in their place. Errors: CORE_BAD · CORE_LIMIT more than max · CORE_AGAIN goes_on ended it. */
CORE_CHECKED enum core_err source_gunzip(struct source_bytes *bytes, const char *where, size_t max,
                                         const struct enrich_read_calls *calls, struct core_fail *fail);
/* Can its server be told what was seen (sighting_post.c)? */
bool source_takes_sightings(const struct enrich_feed_conf *feed);
/* What was seen of a feed's indicator on a day. */
struct enrich_sighting {
    enum core_indicator type;
    struct core_span value;
    const char *id; /* the provider's own name for it (its word's id); NULL: not known */
    int64_t last_s; /* when last, seconds since 1970 */
    uint64_t count;
};
#define ENRICH_SIGHTINGS_POST_MAX 1000
/* Tell a feed's server (types cif and misp), five requests a second at most: of MISP one a sighting, of CIF one for 200.
 * Shape:   *posted gets how many were told, from the first on; after an error, tell the others again later.
 * Errors:  CORE_BAD its server takes none, or not with this token · CORE_NET. Thread: any; at most the feed's patience a request. */
CORE_CHECKED enum core_err enrich_sightings_post(const struct enrich_feed_conf *feed,
                                                 const struct enrich_sighting *sightings, size_t len, size_t *posted,
                                                 struct core_fail *fail);
/* The feed's option, or NULL. */
const char *source_option(const struct enrich_feed_conf *feed, const char *key);
/* Is it there, and true (yes, on, 1)? */
bool source_option_is(const struct enrich_feed_conf *feed, const char *key);

/* What sources find in texts (source_text.c). */

/* A text of an item: without blanks at its ends, cut at a character to ENRICH_TEXT_BYTES_MAX, in UTF-8 (other bytes become
 * \xNN), with a NUL. NULL: empty, or the arena is full. Owns: the arena's. */
const char *source_text(struct core_arena *arena, struct core_span text);
/* Foreign text for a message: cut at a character, signs that end a line, a quote or obey a terminal as \xNN, with a NUL. */
void source_show(struct core_span text, char *out, size_t out_len);
/* The two with a word between them; either may be NULL. The second is left out if the first is the same. */
const char *source_join(struct core_arena *arena, const char *first, const char *between, const char *second);
/* Seconds since 1970 of "2026-11-21T03:04:05.6Z", "2026-11-21 03:04:05 UTC", "…+01:00", "2026-11-21", "20261121", or of a
 * count of seconds, milliseconds or microseconds since 1970. 0: it is none of these. */
int64_t source_time(struct core_span text);
/* "tlp:white", "TLP:AMBER+STRICT", "green": CLEAR, AMBER+STRICT, GREEN; NULL: no such word. */
const char *source_tlp(struct core_span word);
/* A decimal number from 0 to scale_max as tenths of 0 … 10, rounded; ENRICH_CONFIDENCE_NONE: it is none. */
int source_confidence(struct core_span text, int scale_max);
/* How others call our types: "ipv4", "ip-dst", "Intel::ADDR", "fqdn", "FileHash-MD5", "sha256_hash", "ipv4-addr" …: NONE:
 * nobody calls any of them so. */
enum core_indicator source_type_of(struct core_span word);
/* Undo what keeps people from clicking: hxxp://, [.], (.), [dot], [:], [@], [at] …
 * Shape: room has at least text.len bytes; the result is text itself if there is nothing to undo. */
struct core_span source_refang(struct core_span text, char *room);
/* The next line without its "\n" or "\r\n", cut off *rest. false: there is none. */
bool source_line(struct core_span *rest, struct core_span *line);

#endif
