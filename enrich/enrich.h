/* enrich/enrich.h: adds what the community knows about a record's observables to its document.
 *
 * Indicators live in a store: Redis, shared by all sensors, or, without one in the config, this process's own memory, filled
 * from files. Readers see either through the same functions. Nearly every observable is answered by a local filter
 * ("certainly not"); only what may be a hit is asked of the store, one round trip a batch, and the store's answer decides.
 * docs/reference/intel.rst has the layout of the keys.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_ENRICH_H
#define TAPLINE_ENRICH_ENRICH_H

#include "core/batch.h"
#include "core/conf.h"

/* ---- the config --------------------------------------------------------------------------------------------------------- */

enum enrich_on_unavailable { ENRICH_PASS, ENRICH_WAIT };

/* Section `intel.lookback:`. */
struct enrich_lookback_conf {
    uint64_t days;          /* kept so long; 0: nothing is kept; default 30 */
    uint64_t bytes_max;     /* of all on the disk; default 1 GiB */
    uint64_t memory_bytes;  /* of what is not written yet; default 64 MiB */
    int64_t write_every_ns; /* what a kill may lose; default 5m */
};

/* Section `intel:`. */
struct enrich_conf {
    struct core_conf_list files; /* indicators held in the process; with redis.urls: a mistake */
    struct core_conf_list allow; /* with files: addresses, networks, domains that are never a hit */
    int on_unavailable;          /* enum enrich_on_unavailable; default pass */
    int64_t timeout_ns;          /* of a batch's questions, before it passes unlooked at; default 200ms */
    int64_t stale_after_ns; /* the change stream not followed for so long: everything is `unavailable`; default 30s */
    int64_t start_wait_ns;  /* of the first events, while the filter is built (cmd/pipeline_enrich.c); default 30s */
    int64_t sightings_every_ns; /* between two tellings of what was seen; 0: it is not counted; default 60s */
    struct enrich_lookback_conf lookback;
};

/* Section `intel.redis:`. */
struct enrich_redis_conf {
    struct core_conf_list urls; /* redis://host:port/db, rediss://…, unix:///path; primary first, then replicas */
    char *username;
    char *password; /* secret */
    char *ca_file;  /* PEM; default: the system's */
    char *cert_file;
    char *key_file;
    char *prefix; /* of every key; default "intel:" */
    int64_t connect_timeout_ns;
};
/* Is what this section says possible? Errors: CORE_BAD, with fail->where the key. */
CORE_CHECKED enum core_err enrich_redis_check(const struct enrich_redis_conf *conf, struct core_fail *fail);

/* An item of `intel.feeds:`; its own section "intel.feeds[]". */
struct enrich_feed_conf {
    char *name;      /* [a-z0-9_.-]+; feed.name of documents */
    int type;        /* index into enrich_feed_types */
    char *url;       /* or */
    char *path;      /* file, glob */
    char *token;     /* secret: API key */
    char *username;  /* with it, token is a password (HTTP's Basic) */
    char *ca_file;   /* PEM; default: the system's */
    char *cert_file; /* PEM, ours */
    char *key_file;
    char *format;                  /* of a plain list: the indicator type of each line, or "csv:COLUMN=…" */
    struct core_conf_list options; /* the source's own, pairs */
    int64_t interval_ns;           /* between two syncs; default 1h */
    int64_t full_interval_ns;      /* between two in which all of it is read; default 1d */
    int64_t timeout_ns;            /* of one answer; default 10m */
    int64_t patience_ns;           /* of one request with all its tries; default 5m */
    int64_t expire_after_ns;       /* an indicator without an expiry of its own; default 0: never */
    uint64_t limit;                /* at most so many indicators; default 10 M */
    uint64_t drop_max;             /* per cent it may become shorter by from one sync to the next; default 50 */
    char *tlp;                     /* of indicators that say none */
    char *confidence; /* of indicators that say none, "0" … "10", one digit behind the point; NULL: none */
    bool subdomains;  /* its domains name their subdomains, too */
    bool sightings;   /* what was seen is told to it */
};

/* The rows of these sections. */
extern const struct core_opt enrich_opts[], enrich_lookback_opts[], enrich_redis_opts[], enrich_feed_opts[];
extern const size_t enrich_opts_len, enrich_lookback_opts_len, enrich_redis_opts_len, enrich_feed_opts_len;

/* ---- indicators ---------------------------------------------------------------------------------------------------------- */

#define ENRICH_VALUE_BYTES_MAX 2048 /* a longer indicator is refused, a longer observable not looked at */
#define ENRICH_PROVIDERS_MAX 32     /* of one indicator; further ones are refused and counted */
#define ENRICH_TEXT_BYTES_MAX 1024  /* description, reference, tags together are cut, each, to this */
#define ENRICH_CONFIDENCE_NONE (-1)
#define ENRICH_FEED_NAME_BYTES_MAX 64

/* What one provider says of an indicator. Texts are NUL-terminated UTF-8; NULL: not said. Times are seconds since 1970; 0:
 * not said. */
struct enrich_provider {
    const char *feed;      /* intel.feeds[].name, or "local" */
    const char *provider;  /* who says it, within the feed: Zeek's meta.source, MISP's org …; else the feed */
    int confidence_tenths; /* 0 … 100: tenths of the scale 0 to 10; ENRICH_CONFIDENCE_NONE */
    const char *tlp;       /* CLEAR GREEN AMBER AMBER+STRICT RED (white is CLEAR) */
    const char *description;
    const char *reference;
    const char *tags; /* separated by commas */
    int64_t first_seen;
    int64_t last_seen;
    int64_t expires; /* from then on it is no indicator; 0: never */
    bool subdomains; /* of a domain: its subdomains are meant, too */
    const char *id;  /* the provider's own, for sightings */
};

/* An indicator as a source has it. value is canonical: enrich_canonical() made it. */
struct enrich_item {
    enum core_indicator type;
    struct core_span value;
    struct enrich_provider said;
};

/* Bring an indicator or an observable into the one form both are compared in: IP text as inet_ntop writes it (IPv4 in IPv6 as
 * IPv4), networks with zeros behind the prefix (a /32, /128 is CORE_INDICATOR_IP), domains in lower case, punycode, without the
 * trailing dot, URLs without scheme, user and fragment, host in lower case, without a default port, "/" for no path, the path
 * as it is, e-mail in lower case, hashes in lower case without colons (public keys keep theirs: MD5 has them, SHA256:base64 is
 * as it is), users, file names and software as they are, but for blanks at either end.
 * *type may be changed (a network of one address; CIDR for IP with a slash; IP for a domain that is one).
 * Shape: *out points into in or room. Returns false, with *why (static text), if it is none. Thread: any. */
CORE_CHECKED bool enrich_canonical(enum core_indicator *type, struct core_span in, char room[ENRICH_VALUE_BYTES_MAX],
                                   struct core_span *out, const char **why);
/* The same for an item of an allow-list. *type NONE: it is guessed; what cannot be told is a domain. */
CORE_CHECKED bool enrich_allow_canonical(enum core_indicator *type, struct core_span in,
                                         char room[ENRICH_VALUE_BYTES_MAX], struct core_span *out, const char **why);
/* Of which type is this text, most likely (for `intel match VALUE` and lists without types)? NONE: nothing of these. */
enum core_indicator enrich_guess(struct core_span text);

/* "tlp:white" → "CLEAR"; NULL: no such word. "7.5" → 75; ENRICH_CONFIDENCE_NONE: no number from 0 to 10. Both take NULL. */
const char *enrich_tlp(const char *word);
int enrich_confidence(const char *text);

/* What the store is asked for an observable. */
struct enrich_probe {
    enum core_indicator type;
    struct core_span value;
    bool is_parent; /* only what a provider says who means subdomains counts */
};
#define ENRICH_PROBES_MAX 130
/* All that could name an observable, if nothing is known of which networks and parents there are: itself, then each network
 * that an address is in, longest prefix first, or each parent of a domain, longest first. out has ENRICH_PROBES_MAX.
 * Shape: returns how many; 0: the text is none of its type, or arena is full. Owns: values live in text or arena. */
size_t enrich_probes(enum core_indicator type, struct core_span text, struct core_arena *arena,
                     struct enrich_probe *out);

/* ---- the store ----------------------------------------------------------------------------------------------------------- */

struct enrich_store;
/* Where the indicators are. is_writer: may change them (the commands); needs Redis's primary.
 * Errors: CORE_NET Redis is away · CORE_BAD a file is wrong, credentials are. Owns: enrich_store_close(*out). */
CORE_CHECKED enum core_err enrich_store_open(struct enrich_store **out, const struct enrich_conf *conf,
                                             const struct enrich_redis_conf *redis, bool is_writer,
                                             struct core_fail *fail);
void enrich_store_close(struct enrich_store *store); /* takes NULL */

/* An indicator as the store has it: providers whose expiry has passed are left out, so an indicator has at least one. */
struct enrich_found {
    enum core_indicator type;
    struct core_span value;
    const struct enrich_provider *providers;
    size_t providers_len;
};
/* Look up len exact keys in one round trip. Shape: found[i].providers_len 0: it is none. Owns: texts live in arena.
 * Errors: CORE_NET · CORE_AGAIN not within timeout. found is then undefined. Thread: the store's one. */
CORE_CHECKED enum core_err enrich_store_get(struct enrich_store *store, struct enrich_found *found, size_t len,
                                            struct core_arena *arena, int timeout_ms, struct core_fail *fail);
/* Can a store take this item: are its value and what is said of it short enough? Needs none. Errors: CORE_BAD. */
CORE_CHECKED enum core_err enrich_item_check(const struct enrich_item *item, struct core_fail *fail);
/* Add or replace what item->said.feed/provider says. Buffered: enrich_store_flush() makes it so, in chunks of which each is
 * in effect whole or not at all, with its entry in the stream of changes. */
CORE_CHECKED enum core_err enrich_store_put(struct enrich_store *store, const struct enrich_item *item,
                                            struct core_fail *fail);
/* Take back what this feed (provider NULL: each of its providers) says of the indicator. */
CORE_CHECKED enum core_err enrich_store_remove(struct enrich_store *store, enum core_indicator type,
                                               struct core_span value, const char *feed, const char *provider,
                                               struct core_fail *fail);
CORE_CHECKED enum core_err enrich_store_flush(struct enrich_store *store, struct core_fail *fail);
uint64_t enrich_store_done(const struct enrich_store *store); /* how many that were put are in effect, or were before */
/* The allow-list: "ip", "cidr", "domain" (with its subdomains), canonical. */
CORE_CHECKED enum core_err enrich_store_allow(struct enrich_store *store, enum core_indicator type,
                                              struct core_span value, bool is_allowed, struct core_fail *fail);
/* Call on_allowed for each item of the allow-list, in no order. false ends it. */
CORE_CHECKED enum core_err enrich_store_allowed(struct enrich_store *store,
                                                bool (*on_allowed)(void *ctx, enum core_indicator type,
                                                                   struct core_span value),
                                                void *ctx, struct core_fail *fail);
/* Call on_found for each indicator, in no order, each at least once; providers too if wants_providers. false ends it. */
CORE_CHECKED enum core_err enrich_store_walk(struct enrich_store *store, bool wants_providers,
                                             bool (*on_found)(void *ctx, const struct enrich_found *found), void *ctx,
                                             struct core_fail *fail);
/* About how many there are (Redis: all keys of the database): for a bar. */
CORE_CHECKED enum core_err enrich_store_count(struct enrich_store *store, uint64_t *items, struct core_fail *fail);

/* ---- sources: files and feeds -------------------------------------------------------------------------------------------- */

/* Told while a source is read. */
struct enrich_read_calls {
    bool (*on_item)(void *ctx, const struct enrich_item *item); /* texts live during the call; false: stop */
    void (*on_refused)(void *ctx, uint64_t line, struct core_span what, const char *why); /* and left out */
    bool (*on_gone)(void *ctx, const struct enrich_item *item); /* is no indicator any more; NULL: it is refused */
    bool (*goes_on)(void *ctx); /* while a server is waited for, a file is read; false: stop; NULL: always */
    void *ctx;
    void (*on_progress)(void *ctx, size_t done, size_t total); /* bytes of this text, now and then; may be NULL */
    const char **counts; /* may be NULL; gets what `line` counts in this text: "line" or "item" */
};

extern const char *const enrich_feed_types[]; /* NULL-terminated: "zeek", "list", … (enrich/sources.c) */
int enrich_feed_type(const char *name);       /* its index, or -1 */
/* For the reference: what a type of feed is, and its options by number, from 0. NULL, false: there is none. */
const char *enrich_feed_summary(int type);
bool enrich_feed_option(int type, size_t i, const char **key, const char **help);

bool enrich_is_feed_name(const char *name); /* [a-z0-9_.-]+, at most ENRICH_FEED_NAME_BYTES_MAX */
/* Is what a feed's section says possible? Errors: CORE_BAD, with fail->where the key. */
CORE_CHECKED enum core_err enrich_feed_check(const struct enrich_feed_conf *feed, struct core_fail *fail);

/* Read a file (plain or .gz) of indicators. type -1: told by content (an empty one has none). feed: name and defaults.
 * Errors: CORE_IO · CORE_BAD nothing of it can be read as its type; single bad lines go to on_refused · CORE_LIMIT it is
 * too long · CORE_AGAIN on_item wanted to stop. Thread: any. */
CORE_CHECKED enum core_err enrich_read_file(const char *path, int type, const struct enrich_feed_conf *feed,
                                            const struct enrich_read_calls *calls, struct core_fail *fail);

struct enrich_sync_report {
    uint64_t items;    /* read */
    uint64_t put;      /* new, or said differently */
    uint64_t removed;  /* no longer in a feed that tells all of it */
    uint64_t refused;  /* no indicators, or beyond a limit */
    uint64_t told;     /* sightings, by enrich_sightings_tell() */
    int64_t next_s;    /* when it is due again, seconds since 1970 */
    int64_t wait_s;    /* its server wants to be left alone for so long; 0: it did not say */
    bool is_unchanged; /* the server said so (304), or the files are the same */
    bool is_delta;     /* only what changed since the last time was read */
    bool is_cut;       /* the server's limit cut the feed off, and it could not be paged: an alarm */
    bool is_elsewhere; /* another sync has this feed's lease */
    bool is_early;     /* it is not due yet */
};
struct enrich_sync_how {
    bool is_due_only;           /* do nothing before the feed's interval has passed, whoever synced it last */
    bool is_full;               /* read all of it, whatever the last sync left */
    bool takes_fewer;           /* however few indicators it has now */
    bool (*goes_on)(void *ctx); /* asked about once a second; false: end, the next sync goes on; NULL: always */
    /* Ten times a second at most, may be NULL. share: 0 … 1, -1: not known. doing NULL: that is over. */
    void (*on_progress)(void *ctx, const char *doing, double share, uint64_t items);
    void *ctx;
};
/* Bring the store (a writer's) up to date with one feed, under its lease. Nothing is written before all of the feed was read:
 * one that is broken, cut off or suddenly short leaves the last good state. Killed anywhere, the next sync ends in the same.
 * Errors: CORE_NET, CORE_BAD, CORE_IO, CORE_LIMIT: fail says which side · CORE_AGAIN goes_on ended it. */
CORE_CHECKED enum core_err enrich_sync(struct enrich_store *store, const struct enrich_feed_conf *feed,
                                       const struct enrich_sync_how *how, struct enrich_sync_report *report,
                                       struct core_fail *fail);

/* Call on_seen for each indicator that sensors saw on a day (since 1970-01-01, UTC), in no order. false ends it.
 * Errors: CORE_BAD without Redis nobody counts, or this user may not ask · CORE_NET. */
CORE_CHECKED enum core_err enrich_sightings_walk(struct enrich_store *store, int64_t day,
                                                 bool (*on_seen)(void *ctx, enum core_indicator type,
                                                                 struct core_span value, uint64_t count),
                                                 void *ctx, struct core_fail *fail);
/* If the feed wants it (sightings), tell its server what the store has counted of its indicators and was not told yet, under
 * a lease. *told: how many. Errors: as enrich_sync(); what was told is remembered, and the next call tells the rest. */
CORE_CHECKED enum core_err enrich_sightings_tell(struct enrich_store *store, const struct enrich_feed_conf *feed,
                                                 const struct enrich_sync_how *how, uint64_t *told,
                                                 struct core_fail *fail);

/* ---- the stage ------------------------------------------------------------------------------------------------------------ */

struct enrich;
struct enrich_env {
    const char *node;
    const char *state_dir; /* for what was seen */
    struct core_counters *counters;
};

/* Never waits for Redis: the filter is built by a thread of its own, and until it is there, events are marked. */
CORE_CHECKED enum core_err enrich_open(struct enrich **out, const struct enrich_conf *conf,
                                       const struct enrich_redis_conf *redis, const struct enrich_env *env,
                                       struct core_fail *fail);
/* Put what is known onto the batch's events: event->doc is another one then. CORE_AGAIN: on_unavailable is `wait`, and the
 * store does not answer: call again with the same batch (unchanged). Waits at most twice conf->timeout (for a batch that is
 * held 2 s, if longer): for a connection, and for the answers. Thread: the enrich thread. */
CORE_CHECKED enum core_err enrich_batch(struct enrich *enrich, struct core_batch *batch);
/* Go on with the connection to the store, about once a second. Never waits. Thread: the enrich thread. */
void enrich_tick(struct enrich *enrich);
void enrich_close(struct enrich *enrich); /* takes NULL */
/* ENRICH_OFF: there is no stage; for those who report. */
enum enrich_state { ENRICH_OFF, ENRICH_BUILDING, ENRICH_READY, ENRICH_STALE, ENRICH_UNAVAILABLE };
struct enrich_status {
    enum enrich_state state;
    uint64_t indicators; /* in the filter */
    uint64_t stale;      /* of these, gone since */
    size_t filter_bytes;
    int64_t build_ns;  /* of the last build */
    int64_t behind_ns; /* since the change stream was last read to its end */
    bool is_late;      /* the store is there, but does not answer within conf->timeout */
};
void enrich_status(const struct enrich *enrich, struct enrich_status *out); /* thread: any */
struct core_health_page;
void enrich_health(struct enrich *enrich, struct core_health_page *page); /* row, complaints; thread: enrich */

#endif
