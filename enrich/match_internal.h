/* enrich/match_internal.h: from an observable to what the store is asked, and from its answer into the document.
 *
 *   probe.c     an observable's hashes, one for each indicator that would name it
 *   allow.c     what is never a hit
 *   view.c      filter, what is in use, allow-list: published by the follower, used by the enrich thread
 *   follower.c  the thread that builds the filter and follows the stream of changes
 *   match.c     a batch's observables -> possible hits -> the store's answers -> hits
 *   document.c  members merged into a document that is written already
 *   threat.c    which members: threat.enrichments and its flat copies
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_MATCH_INTERNAL_H
#define TAPLINE_ENRICH_MATCH_INTERNAL_H

#include "core/json.h"
#include "enrich/enrich_internal.h"

#include <pthread.h>

/* ---- networks -------------------------------------------------------------------------------------------------------------- */

/* An address and how many of its bits count; the others are zero. IPv4 stands in the upper 32 bits of high. */
struct network {
    uint64_t high;
    uint64_t low;
    uint8_t bits; /* of an address 32 or 128 */
    bool is_v6;
};
/* Read canonical text, with or without prefix. Shape: false: it is none (then *out is undefined). Thread: any. */
CORE_CHECKED bool network_read(struct core_span text, struct network *out);
/* The network of so many bits that it is in. */
struct network network_of(struct network address, unsigned bits);
#define NETWORK_TEXT_BYTES 64
/* As enrich_canonical() writes it. Shape: returns what is written in room. */
struct core_span network_text(struct network network, char room[NETWORK_TEXT_BYTES]);

/* ---- probes ---------------------------------------------------------------------------------------------------------------- */

#define PROBE_NEAR_WORDS 1024

/* What kinds of indicators there are, so that nobody asks for the others. Bits are only ever set. Written by the follower,
 * read by the enrich thread. */
struct probe_use {
    _Atomic uint32_t types;   /* bit n: enum core_indicator n, looked for as it stands */
    _Atomic uint64_t parents; /* bit n: domains of n labels whose subdomains are meant; bit 63: of 63 or more */
    _Atomic uint64_t v4;      /* bit n: IPv4 networks of n bits */
    _Atomic uint64_t v6[2];   /* bit n % 64 of v6[n / 64]: IPv6 networks */
    /* Where networks are at all, so that most addresses need not ask for each prefix length: a bit for the first 16 bits of
     * an IPv4 address; for a hash of the first 32 bits of an IPv6 address. */
    _Atomic uint64_t v4_near[PROBE_NEAR_WORDS];
    _Atomic uint64_t v6_near[PROBE_NEAR_WORDS];
};
/* The same, read once a batch. */
struct probe_used {
    uint32_t types;
    uint64_t parents;
    uint64_t v4;
    uint64_t v6[2];
    const struct probe_use *use; /* for what is near; NULL: networks may be anywhere */
};
struct probe_used probe_used_of(const struct probe_use *use);

enum probe_as { PROBE_AS_IT_IS, PROBE_AS_PARENT, PROBE_AS_NETWORK };
/* One question to the filter. */
struct probe {
    uint64_t hash;
    uint32_t event;      /* index in the batch */
    uint16_t observable; /* index in the event */
    uint8_t as;          /* enum probe_as */
    uint8_t at;          /* the parent's first byte in the domain, or the network's bits */
};
#define PROBES_MAX 130 /* of one observable: itself and 127 networks, or itself and each parent */

/* Put an indicator into the filter, under the one hash that finds it. Shape: false: the filter is full. Thread: follower. */
CORE_CHECKED bool probe_add(struct probe_use *use, struct filter *filter, enum core_indicator type,
                            struct core_span value, bool subdomains);
/* The questions an observable makes: itself, then networks, longest prefix first, or parents, longest first. event and
 * observable are left to the caller. Shape: returns how many; 0: nothing that there is an indicator of. Thread: any. */
size_t probe_make(const struct core_observable *observable, const struct probe_used *used,
                  struct probe out[PROBES_MAX]);
/* What a probe asks for: the key in the store. Shape: false: nothing (not a probe of this observable). The value points
 * into the observable or into room. */
CORE_CHECKED bool probe_value(const struct core_observable *observable, const struct probe *probe,
                              char room[ENRICH_VALUE_BYTES_MAX], enum core_indicator *type, struct core_span *value);

/* ---- the allow-list -------------------------------------------------------------------------------------------------------- */

/* What is never a hit: networks with their addresses, domains with all below them, of every other type exactly that value.
 * Exact: no hash decides. */
struct allow;
#define ALLOW_MAX 4000000                            /* more are refused, and said */
struct allow *allow_new(void);                       /* never NULL (MUST) */
void allow_free(struct allow *allow);                /* takes NULL */
struct allow *allow_copy(const struct allow *allow); /* never NULL (MUST) */
CORE_CHECKED bool allow_set(struct allow *allow, enum core_indicator type, struct core_span value, bool is_allowed);
size_t allow_len(const struct allow *allow);
/* Is a canonical value on it, or an address in, a domain below what is on it? */
bool allow_has(const struct allow *allow, enum core_indicator type, struct core_span value);

/* ---- documents ------------------------------------------------------------------------------------------------------------- */

/* What becomes of a leaf that the document has already. */
enum document_how {
    DOCUMENT_APPEND, /* json is a list: its items that are not there come behind; one value becomes a list */
    DOCUMENT_REPLACE
};
/* A member to add, at the end of a dotted path; json is its value. */
struct document_leaf {
    const char *path;
    struct core_span json;
    enum document_how how;
};
/* Write a document again, with leaves (sorted by path, each once) in it. Shape: false: no room in buf, or the document is no
 * object as we write them; what is in buf then is of no use. Thread: any. */
CORE_CHECKED bool document_merge(struct core_buf *buf, struct core_span doc, const struct document_leaf *leaves,
                                 size_t len);
/* The text of its @timestamp, or len 0. */
struct core_span document_time(struct core_span doc);

/* ---- threat ---------------------------------------------------------------------------------------------------------------- */

#define THREAT_ENRICHMENTS_MAX 64             /* of one event; the rest is counted */
#define THREAT_LIST_BYTES_MAX (48 * CORE_KIB) /* of threat.enrichments; the flat copies are at most as long */
#define THREAT_MARK_BYTES_MAX 128             /* of tags and labels.intel alone */
#define THREAT_ARENA_RESERVE (4 * CORE_MIB)   /* of a batch's arena: left for those who come after us */
_Static_assert(2 * THREAT_LIST_BYTES_MAX + CORE_KIB < CORE_DOC_ENRICH_BYTES_MAX,
               "all that may be said of a document fits");
_Static_assert(CORE_ARENA_NORMALIZE_BYTES + CORE_BATCH_LINES_MAX * THREAT_MARK_BYTES_MAX + THREAT_ARENA_RESERVE <
                   CORE_ARENA_ENRICH_BYTES,
               "each document of a batch can be marked");

/* An observable of an event, and what the store says of it. */
struct threat_match {
    const struct core_observable *observable;
    const struct enrich_found *found;
    bool is_parent; /* a parent of the domain: only providers count who mean its subdomains */
};
/* What an event gets. */
struct threat_event {
    struct core_event *event;
    const struct threat_match *matches;
    size_t matches_len;
    bool is_unavailable; /* for some or all of it the store was not there */
    bool is_partial;     /* some of it was not looked at, for a maximum */
    size_t room;         /* of the arena, at most, for the document */
};
enum threat_result {
    THREAT_NOTHING, /* no provider is left: nothing to say */
    THREAT_WRITTEN, /* event->doc is another one now */
    THREAT_NO_ROOM  /* not even for a mark: event->doc is as it was */
};
struct threat_said {
    uint64_t left_out; /* enrichments beyond a maximum, or for which there was no room */
    bool is_partial;   /* and so it says labels.intel: partial */
};
/* Does any provider of it count? */
bool threat_counts(const struct threat_match *match);
/* Write threat.enrichments, the flat copies, tags and labels.intel; where there is no room for all of it, less of it.
 * scratch: for pieces, given back. Owns: the document lives in arena. Thread: the arena's. */
enum threat_result threat_write(const struct threat_event *threat, struct core_arena *arena, struct core_arena *scratch,
                                struct threat_said *said);

/* ---- views ------------------------------------------------------------------------------------------------------------------ */

/* What the enrich thread needs of the follower for one batch. filter and use go on changing (one writer, one reader, no
 * locks), allow does not. */
struct view {
    struct probe_use *use;
    struct filter *filter;
    const struct allow *allow;
};
#define VIEWS_RETIRED_MAX 8

/* How views are handed over: the reader says which one it holds; the writer frees no other. */
struct view_door {
    struct view *_Atomic current; /* written by the follower */
    struct view *_Atomic held;    /* written by the enrich thread */
    struct view *retired[VIEWS_RETIRED_MAX];
    size_t retired_len;
};
/* Thread of these two: enrich. NULL: there is none yet. */
const struct view *view_take(struct view_door *door);
void view_leave(struct view_door *door);
/* Thread of these: follower. The view and what it points to are the door's from then on; filter and use may be those of the
 * view before. */
void view_publish(struct view_door *door, struct view *view);
void view_sweep(struct view_door *door);
bool view_has_room(const struct view_door *door); /* for one more that is retired */
void view_close(struct view_door *door);          /* nobody reads any more */

/* ---- the follower ----------------------------------------------------------------------------------------------------------- */

/* How the store is opened; tests have their own. */
struct follower_opener {
    enum core_err (*open)(void *ctx, struct enrich_store **out, struct core_fail *fail);
    void *ctx;
    bool opens_twice; /* a second one is cheap, and has the same indicators: Redis */
};

struct follower {
    uint32_t magic;
    struct follower_opener opener;
    struct core_counters *counters;
    int64_t count_gap_ns; /* between two looks at how many there are */
    bool holds;           /* intel.on_unavailable is wait: for messages */
    /* May be NULL. Told what changed the store after the filter was built, when the filter has it. */
    void (*on_new)(void *ctx, enum core_indicator type, struct core_span value, bool subdomains,
                   const struct allow *allow);
    void *on_new_ctx;
    pthread_t thread;
    int stop_fd; /* eventfd: wakes it */
    _Atomic bool is_stopping;
    struct view_door door;
    /* Written by the follower, read by anybody. */
    struct enrich_store *_Atomic store; /* NULL: not open yet; it stays the same until follower_stop() */
    _Atomic bool is_away;               /* the store does not answer the follower: nobody else need try */
    _Atomic uint64_t indicators;
    _Atomic uint64_t stale;
    _Atomic size_t bytes;
    _Atomic int64_t build_ns;
    _Atomic int64_t current_tick; /* when it last knew of all changes; 0: never */
    struct {
        _Atomic uint64_t version; /* odd: they are being written; 0: never were */
        _Atomic uint64_t epoch;   /* hash */
        _Atomic uint64_t ms;      /* the id's two numbers */
        _Atomic uint64_t seq;
    } passed;                /* the cursor whose changes the filter in use has */
    _Atomic bool is_current; /* the store's changes are this process's own: it is never behind */
    struct {
        pthread_mutex_t lock;
        int64_t since_ns; /* wall clock; 0: it is not */
        struct core_fail why;
        char where[STORE_WHERE_BYTES]; /* the store, and the server of it that was last spoken to; "": not open yet */
    } away;                            /* with is_away, for those who tell */
    /* Its own. */
    struct view *view; /* the newest that is published, or NULL */
    struct allow *allow;
    bool is_allow_changed;
    bool is_missing;       /* an indicator found no room in the filter */
    bool is_short;         /* the store counts more than the filter has: changes were missed */
    int64_t others;        /* keys of the store's count that were no indicators when the filter was new */
    uint64_t live;         /* indicators there were when they were last counted */
    struct core_fail told; /* why the store is away, as it was last said */
    int64_t built_tick;
    int64_t failed_tick; /* when a new filter could not be built; 0: never */
    int64_t counted_tick;
    struct store_cursor cursor;
};
/* Begin. Owns: follower is the caller's; follower_stop() ends it, and closes the store. */
CORE_CHECKED enum core_err follower_start(struct follower *follower, struct core_fail *fail);
void follower_stop(struct follower *follower);
/* Has the filter that is in use all changes up to there? false: not yet, or it follows another stream. Thread: any. */
bool follower_passed(const struct follower *follower, const struct store_cursor *cursor);
/* Since when the store has not answered the follower (wall clock), and why; 0: it does. Thread: any. */
int64_t follower_away(const struct follower *follower, struct core_fail *why);
/* Which store it is, for people. (store_where() is for who uses the store: here the follower only.) Thread: any. */
void follower_where(const struct follower *follower, char out[STORE_WHERE_BYTES]);
/* How long ago all changes were known; INT64_MAX: never. Thread: any. */
int64_t follower_behind_ns(const struct follower *follower);

/* ---- a batch ---------------------------------------------------------------------------------------------------------------- */

#define MATCH_POSSIBLE_MAX                                                                                             \
    65536                  /* possible hits of a batch; observables beyond are not looked at: partial, and counted */
#define MATCH_ASK_MAX 4096 /* indicators in one round trip; more make a second one */
#define MATCH_ASK_MIN 64   /* not fewer, however late answers come */
#define MATCH_SCRATCH_BYTES (256 * CORE_MIB) /* address space, of questions and of answers, each */
#define MATCH_HELD_NS (60 * CORE_NS_PER_S)   /* so long answers count for a batch that is held */

/* A question that the filter let through, and the key it asks for. */
struct possible {
    struct probe probe;
    uint32_t key;
};
/* A document of the batch, and an indicator that it was enriched with. */
struct sighted {
    uint32_t event;
    uint32_t key;
    bool is_parent; /* as a parent of what stands in it */
};
/* Answers for a batch that is held, until it is looked at again. */
struct match_held {
    const struct core_batch *batch; /* NULL: none is held */
    struct enrich_found *keys;      /* in the arena of answers */
    size_t len;
    size_t max;
    int64_t tick; /* when the first of them was asked */
};
/* One batch's work; everything in it lives until the next batch. Added up for the counters when it is done. */
struct match {
    struct core_arena scratch; /* begun anew whenever a batch is looked at */
    struct core_arena answers; /* what the store said, until the batch is written */
    struct core_batch *batch;
    struct possible *possible;
    size_t possible_len;
    struct enrich_found *keys; /* each different */
    size_t keys_len;
    size_t answered;  /* of keys: the first so many */
    bool *is_partial; /* of each event: some of it was not looked at */
    bool has_partial; /* any of them */
    size_t owed;      /* bytes that documents still to be written take in the batch's arena, marked and no more */
    struct match_held held;
    size_t ask_max;          /* indicators in the next round trip */
    struct sighted *sighted; /* by match_write(), in the order of events */
    size_t sighted_len;
    uint64_t counts[CORE_COUNT__MAX];
};
CORE_CHECKED enum core_err match_open(struct match *match, struct core_fail *fail);
void match_close(struct match *match); /* takes a zeroed one */
/* Thread of all: enrich. In this order. */
/* Ask the filter of all the batch's observables. */
void match_look(struct match *match, const struct view *view, struct core_batch *batch);
/* What is not silenced becomes a key. What was answered when the batch was held is first, and is not asked again. */
void match_keys(struct match *match, const struct allow *allow);
/* Ask the store. No round trip is begun that would end too late, going by the one before.
 * Errors: as enrich_store_get(), CORE_LIMIT one answer alone is too long; what was answered before the error counts. */
CORE_CHECKED enum core_err match_ask(struct match *match, struct enrich_store *store, int timeout_ms,
                                     struct core_fail *fail);
/* Write the documents: of hits, of what got no answer, and of what was not looked at. */
void match_write(struct match *match);
/* Instead of writing: the batch will come again, and what was answered counts then. */
void match_hold(struct match *match);
/* Mark all events with observables: nothing can be looked at. */
void match_mark(struct match *match, struct core_batch *batch);

/* ---- the stage -------------------------------------------------------------------------------------------------------------- */

/* enrich_open() with another way to the store. */
CORE_CHECKED enum core_err enrich_open_with(struct enrich **out, const struct enrich_conf *conf,
                                            const struct follower_opener *opener, const struct enrich_env *env,
                                            struct core_fail *fail);

#endif
