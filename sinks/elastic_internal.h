/* sinks/elastic_internal.h: what the files of the elasticsearch sink share. elastic.c tells the design.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_SINKS_ELASTIC_INTERNAL_H
#define TAPLINE_SINKS_ELASTIC_INTERNAL_H

#include "core/health.h"
#include "core/http_pool.h"
#include "core/json.h"
#include "sinks/sinks_internal.h"

#define ELASTIC_OPTS_LEN 17
#define ELASTIC_CONNECTIONS_MAX 64
#define ELASTIC_DATASET_BYTES_MAX 100 /* the engines' limit of data_stream.dataset, and of data_stream.namespace */
#define ELASTIC_REASON_BYTES_MAX 2000 /* of one refused document */

/* ---- the keys (elastic_conf.c) ----------------------------------------------------------------------------------------- */

enum elastic_compression { ELASTIC_PLAIN, ELASTIC_GZIP };
enum elastic_mode { ELASTIC_INDEX, ELASTIC_DATA_STREAM };

struct elastic_conf {
    struct core_conf_list hosts;
    char *api_key;
    char *username;
    char *password;
    char *ca_file;
    char *cert_file;
    char *key_file;
    int compression; /* enum elastic_compression */
    char *namespace_name;
    int index_mode;              /* enum elastic_mode */
    struct core_conf_list daily; /* names and globs; an item may hold several, with blanks between */
    int64_t past_ns;
    int64_t future_ns;
    uint64_t connections;
    uint64_t bulk_bytes;
    uint64_t bulk_events;
    int64_t timeout_ns;
};

extern const struct core_opt elastic_opts[ELASTIC_OPTS_LEN];
void elastic_conf_check(const void *conf, const struct core_conf_file *file, const struct core_conf_node *node,
                        struct core_conf_mistakes *mistakes);
enum core_err elastic_conf_connect(const void *conf, int timeout_ms, struct core_fail *fail);

/* ---- which index (elastic_index.c) -------------------------------------------------------------------------------------- */

/* When: a day since the epoch (UTC), or out of range. */
#define ELASTIC_OUT_OF_RANGE INT64_MIN

/* What stands before and behind a document, but for its id. */
struct elastic_index {
    char dataset[256]; /* as the event names it; longer ones are not kept here */
    int64_t day;
    uint16_t head_len;
    uint16_t tail_len;
    uint16_t name_at; /* of the index, in head */
    uint16_t name_len;
    char head[384]; /* {"create":{"_index":"…","_id":" */
    char tail[384]; /* ,"data_stream":{…}}\n */
};

#define ELASTIC_INDICES 256 /* kept at once; a power of two */

/* RFC 3339, also with a comma, without seconds, or the day alone; without an offset it is UTC. False: it is none. */
CORE_CHECKED bool elastic_time_read(struct core_span text, int64_t *ms);
/* The day of a document by its own @timestamp, if that is near enough to the time it was accepted at. */
int64_t elastic_day_of(const struct elastic_conf *conf, struct core_span doc, int64_t accepted_ms);
/* table: ELASTIC_INDICES of them, zeroed at first. Valid until the next call. */
const struct elastic_index *elastic_index_of(struct elastic_index *table, const struct elastic_conf *conf,
                                             const char *dataset, int64_t day);

/* ---- what an answer says (elastic_answer.c, elastic_retry.c) ------------------------------------------------------------ */

enum elastic_verdict {
    ELASTIC_TAKEN,
    ELASTIC_REPEATED, /* it is there already */
    ELASTIC_REFUSED,  /* for good */
    ELASTIC_AGAIN,    /* the engine is busy, or a shard is away */
    ELASTIC_DOUBTFUL, /* again, but not for ever: refused if it does not change its mind */
    ELASTIC_WAITS,    /* the cluster is in a state that a person must end; tried again until then */
    ELASTIC_BARRED    /* our credentials do not do */
};

/* What an engine says of one document, as it stood in the answer. Texts are NUL-terminated, cut, "" if not there. */
struct elastic_error {
    int status;
    char failure_store[16];
    char type[128];
    char reason[1024];
    char cause_type[128]; /* of the innermost caused_by */
    char cause_reason[512];
};

struct elastic_said {
    enum elastic_verdict verdict;
    int status;
    const char *text;   /* why, for all but TAKEN and REPEATED; else NULL */
    const char *advice; /* for WAITS: what a person can do; static */
};

struct elastic_answer;
struct elastic_answer *elastic_answer_new(uint32_t items_max); /* never NULL (MUST) */
void elastic_answer_free(struct elastic_answer *answer);       /* takes NULL */
/* Read the body of an answer to len items. said: len of them, valid until the next call.
 * Errors: false: it is not the answer to so many items; why gets a text that is static. */
CORE_CHECKED bool elastic_answer_read(struct elastic_answer *answer, struct core_span body, uint32_t len,
                                      const struct elastic_said **said, const char **why);

/* What the error of one document means. *advice: see elastic_said. */
enum elastic_verdict elastic_meaning(const struct elastic_error *error, const char **advice);

/* What a status of a whole request means. */
enum elastic_whole {
    ELASTIC_WHOLE_ITEMS, /* look at the items */
    ELASTIC_WHOLE_AGAIN,
    ELASTIC_WHOLE_LESS,  /* again, with less at once */
    ELASTIC_WHOLE_SPLIT, /* again in halves; a document that is alone is refused */
    ELASTIC_WHOLE_WAITS,
    ELASTIC_WHOLE_BARRED
};
enum elastic_whole elastic_whole_of(int status, struct core_span body);
/* The reason an answer gives as a whole: "type: reason", or its first words. */
void elastic_whole_text(int status, struct core_span body, char *out, size_t out_len);
/* The wait before the next try, with a random part. */
int64_t elastic_wait_ns(unsigned tries, int64_t max_ns, int64_t retry_after_s);

/* ---- bulks (elastic_bulk.c) --------------------------------------------------------------------------------------------- */

struct elastic_item {
    struct core_batch *batch;
    uint32_t index; /* of the event */
    uint32_t at;    /* where its bytes begin in the body */
    bool is_letter; /* not the event's document: its dead letter */
};

enum elastic_bulk_state {
    ELASTIC_BULK_FREE,
    ELASTIC_BULK_FILLING,
    ELASTIC_BULK_READY,
    ELASTIC_BULK_SENT,
    ELASTIC_BULK_RESTING
};

/* A request's body, and whose documents are in it: items [0, filled) have their bytes there, in order; items [filled, len) are
 * refused documents whose dead letters come next. */
struct elastic_bulk {
    enum elastic_bulk_state state;
    struct core_arena body;
    struct core_arena packed; /* the part that is under way, with compression; base NULL: none */
    struct elastic_item *items;
    uint32_t len;
    uint32_t filled;
    uint32_t sent;   /* items under way, from the first */
    uint32_t window; /* so many items at once at most */
    unsigned tries;  /* without one document done */
    int64_t born_ns; /* first document in */
    int64_t due_ns;  /* while resting */
};

/* How much at once. */
struct elastic_limit {
    uint64_t bytes;
    uint32_t events;
};

/* Put a document in. False: the bulk must go first. It takes one that is longer than the limit if it is alone. */
CORE_CHECKED bool elastic_bulk_add(struct elastic_bulk *bulk, const struct elastic_limit *limit,
                                   const struct elastic_index *index, struct core_batch *batch, uint32_t at);
/* The same with the event's dead letter, whatever the limit. index: of dead letters. */
void elastic_bulk_add_letter(struct elastic_bulk *bulk, const struct elastic_index *index, struct core_batch *batch,
                             uint32_t at);
/* Can this document be in a bulk: an object, from bracket to bracket? */
bool elastic_bulk_fits(struct core_span doc);
/* The items that go next: bulk->sent. Returns their bytes. */
struct core_span elastic_bulk_window(struct elastic_bulk *bulk, const struct elastic_limit *limit);

/* ---- the sink (elastic.c, elastic_items.c, elastic_start.c) -------------------------------------------------------------- */

#define ELASTIC_SHARE_ALL 256 /* of bulk_bytes and bulk_events */
#define ELASTIC_PATH "/_bulk?timeout=%lldms&filter_path=errors,items.*.status,items.*.error,items.*.failure_store"

enum elastic_phase { ELASTIC_ASK_PRODUCT, ELASTIC_ASK_TEMPLATES, ELASTIC_OPEN };

/* What is kept for those who watch (elastic_health.c). */
struct elastic_told {
    struct sink_retries retries;
    struct core_histogram *latency; /* of each node */
    uint64_t *requests;             /* of each node: answered */
    int64_t away_since_ns;          /* wall clock; with is_away */
    int64_t waits_ns;               /* core_tick_ns() when the engine's state last let it take nothing; 0: never */
    int64_t waits_since_ns;         /* wall clock: of the first time in a row */
    char waits_why[512];
    char waits_node[CORE_HTTP_URL_SHOWN_MAX];
};

struct sink {
    uint32_t magic;
    const struct elastic_conf *conf;
    const struct sink_env *env;
    struct sink_elastic_places places;
    char path[160];
    struct core_http_pool *pool;
    struct core_gzip *gzip; /* NULL: bodies go as they are */
    struct core_buf packed; /* where it writes now */
    struct elastic_answer *answer;
    struct elastic_index *indices;
    struct elastic_bulk *bulks; /* connections, and the one being filled */
    uint32_t bulks_len;
    struct elastic_bulk *filling;
    struct elastic_item *letters; /* scratch: bulk_events of them */
    struct sink_fifo held;        /* every batch here, in the order they came */
    struct core_batch *unfilled;  /* of held: the first that is not wholly in bulks */
    uint32_t finished;            /* of held: nothing of them is open */
    uint32_t share;               /* in 256ths: how much goes at once, as the engine can bear it */
    uint32_t share_max;           /* more was too large for it */
    int64_t now_ms;               /* the time of day at the last turn */
    bool is_flush_wanted;
    /* the start, and again after each outage */
    enum elastic_phase phase;
    bool is_asking;
    unsigned ask_tries;
    int64_t ask_due_ns;
    bool was_open;
    int64_t woke_ns;  /* when it gave its first wrong answer since it was open; 0: none */
    char product[64]; /* "Elasticsearch 8.19.0" */
    bool is_away;
    int64_t away_since_ns;
    bool is_gone;
    struct core_fail gone;
    struct elastic_told told;
};
#define ELASTIC_SINK_MAGIC 0x656c6173u

/* An answer, or that there is none, to a bulk under way. */
void elastic_items_answered(struct sink *sink, struct elastic_bulk *bulk, const struct core_http_pool_done *done);
/* An event that can never go there, before it was sent. False: the bulk must go first. */
CORE_CHECKED bool elastic_items_refuse(struct sink *sink, struct elastic_bulk *bulk, struct core_batch *batch,
                                       uint32_t at, const char *why);
/* Nothing more is to be done about one event of the batch. */
void elastic_ended(struct sink *sink, struct core_batch *batch);
struct elastic_limit elastic_limit_now(const struct sink *sink);
const struct elastic_index *elastic_index_for(struct sink *sink, const struct core_event *event, const char *dataset);

/* Ask what it is and whether it is prepared, if that is not known and it is time to. */
void elastic_start_turn(struct sink *sink, int64_t now);
void elastic_start_answered(struct sink *sink, const struct core_http_pool_done *done);
/* No node is well: say so once, and begin anew. */
void elastic_start_away(struct sink *sink, const struct core_http_pool_done *done);
/* It can never go on. */
void elastic_gone(struct sink *sink, const char *where, const char *text);
/* ---- health (elastic_health.c) */
void elastic_health_open(struct sink *sink);
void elastic_health_close(struct sink *sink);
/* A bulk was answered, or not. */
void elastic_health_answered(struct sink *sink, const struct core_http_pool_done *done);
/* The engine's state lets it take no documents, says node. */
void elastic_health_waits(struct sink *sink, const char *node, const char *why);
int elastic_is_up(const struct sink *sink);
void elastic_health(struct sink *sink, struct core_health_page *page);
/* For `check --connect`. */
CORE_CHECKED enum core_err elastic_start_reach(const struct sink_elastic_places *places, int timeout_ms,
                                               struct core_fail *fail);

#endif
